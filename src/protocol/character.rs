//! What kinds of characters there are, as far as a terminal cares.

use unicode_normalization::char::is_combining_mark;
use unicode_width::UnicodeWidthChar;

/// Whether `character` is one of those that most texts are made of: not invisible, a control, a mark, U+FFFD or the flag of
/// regions. The other predicates say the same of it, but take longer.
pub(super) fn is_common(character: char) -> bool {
    matches!(character,
        ' '..='~'
        | '\u{a1}'..='\u{ac}' | '\u{ae}'..='\u{2ff}' // Latin
        | '\u{370}'..='\u{377}' | '\u{391}'..='\u{3a1}' | '\u{3a3}'..='\u{482}' | '\u{48a}'..='\u{52f}' // Greek, Cyrillic
        | '\u{3041}'..='\u{3096}' | '\u{309b}'..='\u{30ff}' // Kana
        | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' // Ideographs
        | '\u{ac00}'..='\u{d7a3}' // Hangul
        | '\u{1f300}'..='\u{1f3f3}' | '\u{1f400}'..='\u{1f64f}' | '\u{1f900}'..='\u{1f9ff}') // Emoji
}

/// Whether a terminal draws `character` into the cell of the one before it.
pub(super) fn joins_its_base(character: char) -> bool {
    is_combining_mark(character) || character.width() == Some(0)
}

/// Invisible characters that are no combining marks: Unicode's Default_Ignorable_Code_Point without the variation selectors,
/// which count as marks, and without the two joiners (`joiner.rs`); also interlinear annotations, the format controls of
/// hieroglyphs, the note without a head, and noncharacters.
pub fn is_invisible(character: char) -> bool {
    matches!(u32::from(character), 0xfdd0..=0xfdef)
        || u32::from(character) & 0xfffe == 0xfffe
        || matches!(character,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180e}'
        | '\u{200b}' | '\u{200e}' | '\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}'
        | '\u{13430}'..='\u{1343f}'
        | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d159}'
        | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e00ff}'
        | '\u{e01f0}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::super::escape::is_introducer;
    use super::super::joiner::FLAG;
    use super::*;

    #[test]
    fn a_common_character_is_of_no_other_kind() {
        for character in (char::MIN..=char::MAX).filter(|character| is_common(*character)) {
            let is_odd = character.is_control() || is_invisible(character) || is_introducer(character);
            assert!(!is_odd && !joins_its_base(character), "{character:?}");
            assert!(![char::REPLACEMENT_CHARACTER, FLAG].contains(&character), "{character:?}");
        }
    }
}
