//! Making a line safe, once, on input: what one user types cannot change another user's terminal.
//!
//! [`sanitize`] is the only way from a user's bytes to a string, so no other room asks whether text is clean. The property
//! tests below prove what it promises.

use std::borrow::Cow;

use unicode_segmentation::UnicodeSegmentation;

use super::character::{is_common, is_invisible, joins_its_base};
use super::escape::{is_introducer, sequence_bytes};
use super::joiner::{self, FLAG, ZWJ, ZWNJ};
use crate::limits::{COMBINING_MARKS_MAX, ECHO_CHARS_MAX};

/// What a terminal sends to erase the last character, and the whole line.
pub(super) const ERASE_CHARACTER: u8 = 0x08;
pub(super) const ERASE_LINE: u8 = 0x15;
const BACKSPACE: char = ERASE_CHARACTER as char;
const DELETE: char = '\x7f';
const KILL: char = ERASE_LINE as char;

const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;

/// Bytes searched for the start of the last grapheme: a family's picture has 25, and a longer grapheme is erased by parts.
const GRAPHEME_BYTES: usize = 128;

/// `line` as text that is safe to show to every user: what the protocol page says under "Lines".
///
/// Of an incomplete escape sequence only the introducer goes, so that no text is swallowed.
/// Text of common characters is borrowed.
pub fn sanitize(line: &[u8]) -> Cow<'_, str> {
    // Nearly every line is ASCII or at least valid, and both are quicker to see than the rest.
    let text = str::from_utf8(line).map_or_else(|_| String::from_utf8_lossy(line), Cow::Borrowed);
    if is_printable_ascii(line) || text.chars().all(is_common) { text } else { Cow::Owned(safe(&text)) }
}

/// A fold without an early exit, which the compiler vectorizes.
fn is_printable_ascii(bytes: &[u8]) -> bool {
    bytes.iter().fold(true, |so_far, byte| so_far & matches!(byte, b' '..=b'~'))
}

/// See [`sanitize`].
fn safe(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    // Combining marks and joiners on the last base.
    let mut marks = 0;
    let mut rest = text;
    loop {
        let common = rest.find(|character| !is_common(character)).unwrap_or(rest.len());
        safe.push_str(&rest[..common]);
        if common > 0 {
            marks = 0;
        }
        rest = &rest[common..];
        let Some(character) = rest.chars().next() else { return safe };
        let mut length = character.len_utf8();
        match character {
            FLAG => {
                marks = 0;
                length = joiner::region_flag_bytes(rest).unwrap_or(length);
                safe.push_str(&rest[..length]);
            }
            '\t' | '\x0b' | '\x0c' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => {
                marks = 0;
                safe.push(' ');
            }
            BACKSPACE | DELETE | KILL => {
                safe.truncate(if character == KILL { 0 } else { last_grapheme(&safe) });
                // A joiner may have lost what it joined.
                while let Some(joiner @ (ZWNJ | ZWJ)) = safe.chars().next_back()
                    && !joiner::has_meaning(joiner, safe.chars().rev().skip(1), "")
                {
                    safe.pop();
                }
                marks = safe.chars().rev().take_while(|character| joins_its_base(*character)).count();
            }
            REPLACEMENT if safe.ends_with(REPLACEMENT) => {}
            _ if is_introducer(character) => length = sequence_bytes(rest).unwrap_or(length),
            _ if character.is_control() || is_invisible(character) => {}
            _ if joins_its_base(character) => {
                marks += 1;
                let has_meaning = || match character {
                    ZWNJ | ZWJ => joiner::has_meaning(character, safe.chars().rev(), &rest[length..]),
                    _ => true,
                };
                if marks <= COMBINING_MARKS_MAX && has_meaning() {
                    safe.push(character);
                }
            }
            _ => {
                marks = 0;
                safe.push(character);
            }
        }
        rest = &rest[length..];
    }
}

/// Where the last grapheme of `text` begins.
fn last_grapheme(text: &str) -> usize {
    let from = text.ceil_char_boundary(text.len().saturating_sub(GRAPHEME_BYTES));
    text[from..].grapheme_indices(true).next_back().map_or(0, |(at, _)| from + at)
}

/// Whether nothing of `text` is visible.
pub(crate) fn is_blank(text: &str) -> bool {
    // The last one is Braille without dots.
    text.chars().all(|character| character.is_whitespace() || joins_its_base(character) || character == '\u{2800}')
}

/// As much of a sanitized word as an error echoes.
pub(super) fn echo(word: &str) -> &str {
    let end = word.char_indices().nth(ECHO_CHARS_MAX).map_or(word.len(), |(end, _)| end);
    &word[..end]
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
    fn text_of_common_characters_is_borrowed() {
        for text in ["say tux it's ok ~", "привет, мир", "今日は良い天気", "오늘은 날씨가 좋다", "café"]
        {
            assert!(matches!(sanitize(text.as_bytes()), Cow::Borrowed(same) if same == text));
        }
    }

    #[test]
    fn a_run_of_invalid_utf8_becomes_one_replacement_character() {
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
        let sequences = "\x1b[31m|\x1b[?25l|\x1b[1;2 q|\x1b]0;title\x07|\x1b]8;;http://x\x1b\\|\x1bPq#0\x1b\\|\x1b_apc\x1b\\|\
                         \x1b^pm\u{9c}|\x1bXsos\x1b\\|\x1b(B|\x1bc|\x1b7|\u{9b}31m|\u{9d}0;title\u{9c}|\u{90}q\x1b\\";
        for sequence in sequences.split('|') {
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

    /// Bytes that are likely to be wrong: escapes, controls, invisible characters, pieces of UTF-8.
    fn hostile() -> impl Strategy<Value = Vec<u8>> {
        const KNOWN: &str = "\x1b[|\x1b]|\x1bP|\x1b\\|\x07|31m|\u{9b}|\u{202e}|\u{200b}|\u{301}|\u{e0041}| |\t|\u{200c}|\u{200d}|\
                             👩|م|क\u{94d}|\x08|\x7f|\x15|🇩";
        let piece = prop_oneof![
            any::<u8>().prop_map(|byte| vec![byte]),
            any::<char>().prop_map(|character| character.to_string().into_bytes()),
            prop::sample::select(KNOWN.split('|').chain([REGION]).collect::<Vec<_>>())
                .prop_map(|text| text.as_bytes().to_vec()),
        ];
        proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
    }

    #[test]
    fn an_erased_letter_takes_its_joiner_with_it() {
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
