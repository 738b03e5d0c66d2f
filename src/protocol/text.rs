//! Making a line safe, once, on input: whatever a user types, other users' terminals stay theirs.
//!
//! [`sanitize`] is the only way from a user's bytes to a string, so nothing further in needs to ask
//! whether text is clean. What it promises is proven by the property tests below.

use std::borrow::Cow;

use unicode_normalization::char::is_combining_mark;
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthChar;

use super::joiner::{self, FLAG, ZWJ, ZWNJ};
use crate::limits::{COMBINING_MARKS_MAX, ECHO_CHARS_MAX};

/// What a terminal sends to erase the last character, and what erases all of them.
pub(super) const ERASE_CHARACTER: u8 = 0x08;
pub(super) const ERASE_LINE: u8 = 0x15;
const BACKSPACE: char = ERASE_CHARACTER as char;
const DELETE: char = '\x7f';
const KILL: char = ERASE_LINE as char;

/// Bytes that are looked at to find where the last grapheme begins: no picture of a family has so many, and a longer one is
/// erased by parts.
const GRAPHEME_BYTES: usize = 128;

const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;
const ESC: char = '\x1b';
const BEL: char = '\x07';
/// ST, the end of a control string, as one C1 character; in seven bits it is ESC `\`.
const STRING_TERMINATOR: char = '\u{9c}';

/// `line` as text that is safe to show to anybody.
///
/// Invalid UTF-8 becomes U+FFFD, and a run of these one; a TAB, VT, FF, NEL, a CR within the line, a line separator and a
/// paragraph separator become a blank; BS and DEL erase the grapheme before them, NAK (Ctrl-U) all that is before it; other
/// control characters (C0, C1) go, and so do complete escape sequences (ECMA-48: CSI, control strings such as OSC and DCS,
/// two-character and intermediate ones) - of an incomplete one only the introducer, so that no text is swallowed; bidi
/// controls, zero-width and other invisible characters go, joiners where they mean nothing (`joiner.rs`); of the
/// combining marks on one base the first [`COMBINING_MARKS_MAX`] stay.
///
/// Text that is safe already, the usual case, is borrowed.
pub fn sanitize(line: &[u8]) -> Cow<'_, str> {
    // Nearly every line is ASCII or at least valid, and both are much quicker to see than what is not.
    let text = str::from_utf8(line).map_or_else(|_| String::from_utf8_lossy(line), Cow::Borrowed);
    if is_printable_ascii(line) {
        return text;
    }
    match without_what_is_unsafe(&text) {
        None => text,
        Some(safe) => Cow::Owned(safe),
    }
}

/// Looks at all bytes, many at once: there is no way out before the last.
fn is_printable_ascii(bytes: &[u8]) -> bool {
    bytes.iter().fold(true, |so_far, byte| so_far & matches!(byte, b' '..=b'~'))
}

/// See [`sanitize`]; `None` if that would change nothing.
fn without_what_is_unsafe(text: &str) -> Option<String> {
    let mut safe: Option<String> = None;
    // What stands between `kept` and `at` is safe and not yet copied.
    let (mut at, mut kept) = (0, 0);
    let (mut marks, mut last) = (0, None);
    while let Some(character) = text[at..].chars().next() {
        let mut length = character.len_utf8();
        let put = match character {
            _ if is_letter_of_its_own(character) => {
                marks = 0;
                Some(character)
            }
            FLAG => {
                marks = 0;
                // With its tags, however many.
                length = joiner::region_flag_bytes(&text[at..]).unwrap_or(length);
                Some(character)
            }
            '\t' | '\x0b' | '\x0c' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => {
                marks = 0;
                Some(' ')
            }
            BACKSPACE | DELETE | KILL => {
                let safe = safe.get_or_insert_default();
                safe.push_str(&text[kept..at]);
                kept = at;
                safe.truncate(if character == KILL { 0 } else { last_grapheme(safe) });
                // What it joined may be gone.
                while let Some(joiner @ (ZWNJ | ZWJ)) = safe.chars().next_back()
                    && !joiner::has_meaning(joiner, safe.chars().rev().skip(1), "")
                {
                    safe.pop();
                }
                last = safe.chars().next_back();
                marks = safe.chars().rev().take_while(|character| joins_its_base(*character)).count();
                None
            }
            ZWNJ | ZWJ => {
                let so_far = text[kept..at].chars().rev();
                let so_far = so_far.chain(safe.as_deref().unwrap_or_default().chars().rev());
                marks += 1;
                let stays =
                    marks <= COMBINING_MARKS_MAX && joiner::has_meaning(character, so_far, &text[at + length..]);
                stays.then_some(character)
            }
            REPLACEMENT if last == Some(REPLACEMENT) => None,
            _ if is_introducer(character) => {
                length = escape_sequence_bytes(&text[at..]).unwrap_or(length);
                None
            }
            _ if character.is_control() || is_invisible(character) => None,
            _ if joins_its_base(character) => {
                marks += 1;
                (marks <= COMBINING_MARKS_MAX).then_some(character)
            }
            _ => {
                marks = 0;
                Some(character)
            }
        };
        if put != Some(character) {
            let safe = safe.get_or_insert_with(|| String::with_capacity(text.len()));
            safe.push_str(&text[kept..at]);
            safe.extend(put);
            kept = at + length;
        }
        last = put.or(last);
        at += length;
    }
    if let Some(safe) = &mut safe {
        safe.push_str(&text[kept..]);
    }
    safe
}

/// Where the last grapheme of `text` begins.
fn last_grapheme(text: &str) -> usize {
    let from = text.ceil_char_boundary(text.len().saturating_sub(GRAPHEME_BYTES));
    text[from..].grapheme_indices(true).next_back().map_or(0, |(at, _)| from + at)
}

/// Whether nothing would be seen of `text`.
pub fn is_blank(text: &str) -> bool {
    // The last one is Braille without dots.
    text.chars().all(|character| character.is_whitespace() || joins_its_base(character) || character == '\u{2800}')
}

/// As much of a sanitized word as an error echoes.
pub fn echo(word: &str) -> &str {
    let end = word.char_indices().nth(ECHO_CHARS_MAX).map_or(word.len(), |(end, _)| end);
    &word[..end]
}

/// Invisible characters that are not combining marks: Unicode's Default_Ignorable_Code_Point without
/// the variation selectors (which count as marks) and the two joiners; the interlinear annotation characters, the format
/// controls of hieroglyphs, the note without a head, and what is no character.
fn is_invisible(character: char) -> bool {
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

/// Whether `character` is one of those that most texts are made of: none of them is invisible, a control, a mark or the
/// replacement character. Whatever is not among them is asked for one by one, which takes longer.
fn is_letter_of_its_own(character: char) -> bool {
    matches!(character,
        ' '..='~'
        | '\u{a1}'..='\u{ac}' | '\u{ae}'..='\u{2ff}' // Latin
        | '\u{370}'..='\u{377}' | '\u{391}'..='\u{3a1}' | '\u{3a3}'..='\u{482}' | '\u{48a}'..='\u{52f}' // Greek, Cyrillic
        | '\u{3041}'..='\u{3096}' | '\u{309b}'..='\u{30ff}' // Kana
        | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' // Ideographs
        | '\u{ac00}'..='\u{d7a3}') // Hangul
}

/// Whether a terminal draws `character` into the cell of the one before it.
pub(super) fn joins_its_base(character: char) -> bool {
    is_combining_mark(character) || character.width() == Some(0)
}

/// ESC, or one of its eight-bit forms: DCS, SOS, CSI, OSC, PM, APC.
fn is_introducer(character: char) -> bool {
    character == ESC || eight_bit_kind(character).is_some()
}

/// The seven-bit character after ESC that stands for a C1 introducer.
fn eight_bit_kind(character: char) -> Option<char> {
    match character {
        '\u{90}' => Some('P'),
        '\u{98}' => Some('X'),
        '\u{9b}' => Some('['),
        '\u{9d}' => Some(']'),
        '\u{9e}' => Some('^'),
        '\u{9f}' => Some('_'),
        _ => None,
    }
}

/// Length of the escape sequence that `text` begins with, in bytes; `None` if it is incomplete.
fn escape_sequence_bytes(text: &str) -> Option<usize> {
    let mut characters = text.char_indices();
    let (_, introducer) = characters.next()?;
    let kind = match eight_bit_kind(introducer) {
        Some(kind) => kind,
        None => characters.next()?.1,
    };
    match kind {
        '[' => loop {
            let (at, character) = characters.next()?;
            match character {
                '\x20'..='\x3f' => {}
                '\x40'..='\x7e' => return Some(at + 1),
                _ => return None,
            }
        },
        // A control string runs to its terminator; any other control character spoils it.
        ']' | 'P' | 'X' | '^' | '_' => loop {
            let (at, character) = characters.next()?;
            match character {
                STRING_TERMINATOR => return Some(at + character.len_utf8()),
                BEL if kind == ']' => return Some(at + 1),
                ESC => {
                    let (at, end) = characters.next()?;
                    return (end == '\\').then_some(at + 1);
                }
                '\t' => {}
                _ if character.is_control() => return None,
                _ => {}
            }
        },
        '\x20'..='\x2f' => loop {
            let (at, character) = characters.next()?;
            match character {
                '\x20'..='\x2f' => {}
                '\x30'..='\x7e' => return Some(at + 1),
                _ => return None,
            }
        },
        '\x30'..='\x7e' => Some(2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The flag of a region.
    const REGION: &str = "🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}";

    fn safe(input: &str) -> String {
        sanitize(input.as_bytes()).into_owned()
    }

    #[test]
    fn printable_ascii_is_borrowed_as_it_is() {
        assert!(matches!(sanitize(b"say tux it's ok ~"), Cow::Borrowed("say tux it's ok ~")));
    }

    #[test]
    fn text_that_is_safe_is_borrowed_in_any_script() {
        for text in ["привет, мир", "今日は 良い天気", "e\u{301} ❤\u{fe0f} 👍🏽", "café"] {
            assert!(matches!(sanitize(text.as_bytes()), Cow::Borrowed(same) if same == text));
        }
    }

    #[test]
    fn what_is_known_at_first_sight_would_be_found_by_asking_too() {
        for character in (char::MIN..=char::MAX).filter(|character| is_letter_of_its_own(*character)) {
            let is_odd = character.is_control() || is_invisible(character) || is_introducer(character);
            assert!(!is_odd && !joins_its_base(character) && character != REPLACEMENT, "{character:?}");
        }
    }

    #[test]
    fn invalid_utf8_becomes_the_replacement_character_and_a_run_of_these_one() {
        assert_eq!(sanitize(b"a\xffb\xc3"), "a\u{fffd}b\u{fffd}");
        assert_eq!(sanitize(&[b'\xfe'; 4000]), "\u{fffd}");
        assert_eq!(sanitize(b"a\xff\x00\xfe\x1b[31m\xe2\x82 \xff\xef\xbf\xbdb"), "a\u{fffd} \u{fffd}b");
        assert_eq!(sanitize("привет".as_bytes()), "привет");
    }

    #[test]
    fn whatever_moves_on_becomes_a_blank_and_controls_go() {
        assert_eq!(safe("a\tb\u{2028}c\u{2029}d\re\x0bf\x0cg\u{85}h"), "a b c d e f g h");
        assert_eq!(safe("a\0b\x07c\x1dd\u{84}e"), "abcde");
    }

    #[test]
    fn what_terminals_send_to_erase_erases() {
        assert_eq!(safe("whi\x08o"), "who");
        assert_eq!(safe("sax\x7fy tux hello\x08\x08\x08\x08\x08moo"), "say tux moo");
        assert_eq!(safe("\x08\x7fwho"), "who");
        assert_eq!(safe("login tux\x15who"), "who");
        assert_eq!(safe("привет\x08\x08я"), "привя");
        // A letter and its marks, a flag, a family, an emoji and its colour.
        for grapheme in ["e\u{301}\u{302}", "🇩🇪", "👩\u{200d}👧", "👍🏽", "❤\u{fe0f}", "한"] {
            assert_eq!(safe(&format!("a{grapheme}\x08b")), "ab", "{grapheme}");
            assert_eq!(safe(&format!("{grapheme}{grapheme}\x7f")), grapheme);
        }
        // What is erased is no base for marks, and what stays has no more than it may have.
        let marks = "\u{301}\u{302}\u{303}\u{304}";
        assert_eq!(safe(&format!("a{marks}b\x08\u{305}")), format!("a{marks}"));
        assert_eq!(safe("\u{fffd}a\x08\u{fffd}"), "\u{fffd}");
    }

    #[test]
    fn joiners_stay_where_they_mean_something() {
        for text in [
            // Persian, with a non-joiner within a word; Hindi and Malayalam, after a virama; families.
            "می\u{200c}شود",
            "کتاب\u{200c}ها",
            "क\u{94d}\u{200d}ष",
            "क\u{94d}\u{200c}ष",
            "ന\u{d4d}\u{200d}",
            "ශ\u{dca}\u{200d}රී",
            "👩\u{200d}👩\u{200d}👧\u{200d}👦",
            "🏳\u{fe0f}\u{200d}🌈",
            "👩🏽\u{200d}🚀",
            "🏴\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}",
        ] {
            assert_eq!(safe(text), text);
        }
        for (text, without) in [
            ("a\u{200c}b\u{200d}c", "abc"),
            ("\u{200d}\u{200c}", ""),
            ("و\u{200c}ا", "وا"),
            ("م\u{200c} ش", "م ش"),
            ("👩\u{200d}a\u{200d}👩", "👩a👩"),
            ("👩\u{200d}\u{200d}👩", "👩\u{200d}👩"),
            ("🏴\u{e0067}\u{e0062}", "🏴"),
            ("🏴\u{e0067}\u{e0062}\u{e007f}", "🏴"),
            ("a\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}", "a"),
        ] {
            assert_eq!(safe(text), without);
        }
    }

    #[test]
    fn complete_escape_sequences_go_whole() {
        for sequence in [
            "\x1b[31m",
            "\x1b[?25l",
            "\x1b[1;2 q",
            "\x1b]0;title\x07",
            "\x1b]8;;http://x\x1b\\",
            "\x1bPq#0\x1b\\",
            "\x1b_apc\x1b\\",
            "\x1b^pm\u{9c}",
            "\x1bXsos\x1b\\",
            "\x1b(B",
            "\x1bc",
            "\x1b7",
            "\u{9b}31m",
            "\u{9d}0;title\u{9c}",
            "\u{90}q\x1b\\",
        ] {
            assert_eq!(safe(&format!("a{sequence}b")), "ab", "{sequence:?}");
        }
    }

    #[test]
    fn of_an_incomplete_sequence_the_escape_alone_goes() {
        assert_eq!(safe("a\x1b"), "a");
        assert_eq!(safe("a\x1b[31"), "a[31");
        assert_eq!(safe("a\x1b[31é"), "a[31é");
        assert_eq!(safe("a\x1b]0;title"), "a]0;title");
        assert_eq!(safe("a\x1b]0;t\x1b[31mb"), "a]0;tb");
        assert_eq!(safe("a\x1bPdata"), "aPdata");
        assert_eq!(safe("a\x1b("), "a(");
        assert_eq!(safe("a\x1bé"), "aé");
        assert_eq!(safe("a\u{9b}31"), "a31");
    }

    #[test]
    fn bidi_controls_zero_width_byte_order_and_tag_characters_go() {
        assert_eq!(safe("a\u{202e}\u{2066}\u{200f}\u{200b}\u{200d}\u{feff}\u{2060}\u{e0041}\u{e007f}\u{ad}b"), "ab");
    }

    #[test]
    fn four_combining_marks_stay_on_each_base() {
        let marks = "\u{301}\u{302}\u{303}\u{304}\u{305}\u{306}";
        assert_eq!(safe(&format!("a{marks}b{marks}")), "a\u{301}\u{302}\u{303}\u{304}b\u{301}\u{302}\u{303}\u{304}");
        assert_eq!(safe(&format!("a\u{301}\u{302}\u{200b}{marks}")), "a\u{301}\u{302}\u{301}\u{302}");
    }

    #[test]
    fn marks_without_anything_to_stand_on_are_blank() {
        assert!(is_blank("") && is_blank(" \u{3000}") && is_blank("\u{301}\u{fe0f}"));
        assert!(!is_blank("e\u{301}") && !is_blank("."));
    }

    #[test]
    fn an_echo_is_cut_at_64_characters() {
        assert_eq!(echo("cow"), "cow");
        assert_eq!(echo(&"x".repeat(64)), "x".repeat(64));
        assert_eq!(echo(&"é".repeat(65)), "é".repeat(64));
    }

    /// Bytes that are likely to be wrong: escapes, controls, invisible characters, pieces of UTF-8.
    fn hostile() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            any::<u8>().prop_map(|byte| vec![byte]),
            any::<char>().prop_map(|character| character.to_string().into_bytes()),
            prop::sample::select(vec![
                "\x1b[",
                "\x1b]",
                "\x1bP",
                "\x1b\\",
                "\x07",
                "31m",
                "\u{9b}",
                "\u{202e}",
                "\u{200b}",
                "\u{301}",
                "\u{e0041}",
                " ",
                "\t",
                "\u{200c}",
                "\u{200d}",
                "👩",
                "م",
                "क\u{94d}",
                REGION,
                "\x08",
                "\x7f",
                "\x15",
                "🇩"
            ])
            .prop_map(|text| text.as_bytes().to_vec()),
        ];
        proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
    }

    #[test]
    fn an_erased_letter_takes_the_joiner_with_it_that_it_gave_a_meaning() {
        assert_eq!(safe("\u{645}\u{200c}\u{634}\x08evil"), "\u{645}evil");
        assert_eq!(safe("\u{1f469}\u{200d}\u{1f467}\x7fz"), "z");
        let family = "\u{1f469}\u{200d}".repeat(40) + "\u{1f467}";
        let erased = safe(&(family + "\x08z"));
        assert_eq!(safe(&erased), erased);
        assert_eq!(safe("\u{915}\u{94d}\u{200d}\u{937}\x08"), "");
    }

    proptest! {
        #[test]
        fn nothing_that_could_move_a_cursor_or_hide_gets_through(input in hostile()) {
            // The flag of a region has tags, as many as there are letters in its name.
            let safe = sanitize(&input).replace(REGION, "");
            let mut marks = 0;
            for character in safe.chars() {
                prop_assert!(!character.is_control(), "{:?} in {:?}", character, safe);
                prop_assert!(!is_invisible(character), "{:?} in {:?}", character, safe);
                marks = if joins_its_base(character) { marks + 1 } else { 0 };
                prop_assert!(marks <= COMBINING_MARKS_MAX, "{:?}", safe);
            }
        }

        #[test]
        fn what_is_safe_stays_as_it_is(input in hostile()) {
            let once = sanitize(&input).into_owned();
            prop_assert_eq!(sanitize(once.as_bytes()), once.as_str());
        }

        #[test]
        fn ordinary_text_is_not_touched(text in "[ -~а-яА-Я一-龥😀-😎]{0,80}") {
            prop_assert_eq!(sanitize(text.as_bytes()), text.as_str());
        }
    }
}
