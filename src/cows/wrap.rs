//! Text to lines, filled greedily at blanks, as `cowsay` fills them.
//!
//! - A line takes as many words as fit. Blanks separate words; a line may also break between two wide characters, as Chinese
//!   and Japanese have them.
//! - A word longer than a line begins a line and is cut at the width.
//! - A grapheme is cut only if it alone is wider than a line: one of four kilobytes would widen all lines of its bubble.
//! - Nothing is lost but the blanks where a line ends.
//!
//! Widths are those of `unicode-width`, by which charasay pads. They depend on the neighbours (an Arabic ligature takes one
//! column, a family emoji two), so the sum over characters is only an upper bound and is corrected where it matters. Time is
//! linear in the text: each line looks at its characters a bounded number of times.

use memchr::memrchr;
use unicode_segmentation::{GraphemeCursor, GraphemeIncomplete};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// How often a line is measured exactly because the sum says that it is full. A text takes at least a third of its sum, so each
/// measurement fills a third of the room left: after 16 less than one of at most 400 columns is left. Only joiners make a
/// larger sum.
const MEASURES_MAX: u32 = 16;

/// A line of a bubble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line<'t> {
    /// Not empty, without a blank at its end.
    pub(super) text: &'t str,
    /// The columns that it takes.
    pub(super) width: usize,
}

/// The lines of `text`, which is sanitized, each of at most `columns` columns, which are at least 2.
pub fn wrap(text: &str, columns: usize) -> impl Iterator<Item = &str> {
    Lines::of(text, columns).map(|line| line.text)
}

/// The lines of a text.
#[derive(Debug, Clone)]
pub(super) struct Lines<'t> {
    rest: &'t str,
    columns: usize,
}

impl<'t> Lines<'t> {
    /// The lines of `text`, which is sanitized, of at most `columns` columns.
    pub(super) fn of(text: &'t str, columns: usize) -> Self {
        Lines { rest: text, columns }
    }
}

impl<'t> Iterator for Lines<'t> {
    type Item = Line<'t>;

    fn next(&mut self) -> Option<Line<'t>> {
        while !self.rest.is_empty() {
            let (line, rest) = first_line(self.rest, self.columns);
            self.rest = skip_blanks(rest);
            // Leading blanks of a text may fill a line.
            if !line.text.is_empty() {
                return Some(line);
            }
        }
        None
    }
}

/// The first line of `rest`, empty if all of it is blanks, and what follows it.
fn first_line(rest: &str, columns: usize) -> (Line<'_>, &str) {
    let bytes = rest.as_bytes();
    // The line, the character that does not fit, and the one after that: a blank there may carry a mark.
    if bytes[..bytes.len().min(columns + 2)].is_ascii() {
        let end = if rest.len() <= columns { rest.len() } else { memrchr(b' ', &bytes[..=columns]).unwrap_or(columns) };
        let text = without_last_blanks(&rest[..end]);
        return (Line { text, width: text.len() }, &rest[end..]);
    }
    let measured = |measures_max| {
        let (line, rest) = rest.split_at(line_end(rest, columns, measures_max));
        let text = without_last_blanks(line);
        (Line { text, width: text.width() }, rest)
    };
    // A letter may end a ligature that was measured without it; the sum is never too small.
    Some(measured(MEASURES_MAX)).filter(|(line, _)| line.width <= columns).unwrap_or_else(|| measured(0))
}

/// Where the first line of `rest` ends, which is not all ASCII.
fn line_end(rest: &str, columns: usize, measures_max: u32) -> usize {
    let Some((overflow, character)) = first_overflow(rest, columns, measures_max) else { return rest.len() };
    let candidates = rest[..overflow + character.len_utf8()].char_indices().rev();
    for (at, character) in candidates {
        let may_break = match character {
            ' ' => is_boundary(rest, at + 1),
            _ => is_wide(character) && follows_wide(&rest[..at]) && is_boundary(rest, at),
        };
        if may_break {
            return at;
        }
    }
    // A word longer than a line.
    match last_boundary(rest, overflow) {
        0 => overflow.max(rest.chars().next().map_or(0, char::len_utf8)),
        cut => cut,
    }
}

/// The first character for which `columns` columns have no room, and its place.
fn first_overflow(rest: &str, columns: usize, measures_max: u32) -> Option<(usize, char)> {
    let (mut width, mut measures, mut before) = (0, 0, ' ');
    // How far the line is measured, its width so far, and the last place up to which it can be measured alone.
    let (mut measured, mut measured_width, mut anchor) = (0, 0, 0);
    for (at, character) in rest.char_indices() {
        if is_apart(before, character) {
            anchor = at;
        }
        width += width_at_most(character, before);
        before = character;
        if width > columns {
            if measures == measures_max {
                return Some((at, character));
            }
            measures += 1;
            measured_width += rest[measured..anchor].width();
            measured = anchor;
            // Together with its marks, since a variation selector may make it narrow.
            let after = rest[at..].char_indices().skip(1).find(|(_, mark)| mark.width() != Some(0));
            width = measured_width + rest[measured..after.map_or(rest.len(), |(next, _)| at + next)].width();
            if width > columns {
                return Some((at, character));
            }
        }
    }
    None
}

/// Whether `character` and what stands before it can be measured apart. True only of blanks and wide characters, which begin no
/// ligature; but an emoji may be joined to the one before, and a skin colour belongs to it.
fn is_apart(before: char, character: char) -> bool {
    let is_colour = matches!(character, '\u{1f3fb}'..='\u{1f3ff}');
    character == ' ' || is_wide(character) && before != '\u{200d}' && !is_colour
}

/// The most columns that `character` adds to a line after `before`. One variation selector may make its base wide, and
/// Tifinagh's joiner may take room.
fn width_at_most(character: char, before: char) -> usize {
    let selects = |character| matches!(character, '\u{fe00}'..='\u{fe0f}');
    let may_add = selects(character) && !selects(before) || character == '\u{2d7f}';
    character.width().unwrap_or(0) + usize::from(may_add)
}

fn is_wide(character: char) -> bool {
    character.width() == Some(2)
}

/// Whether the last character of `before` that takes room is wide.
fn follows_wide(before: &str) -> bool {
    before.chars().rev().find(|character| character.width() != Some(0)).is_some_and(is_wide)
}

/// `text` without its trailing blanks.
fn without_last_blanks(text: &str) -> &str {
    &text[..text.len() - count_blanks(text.bytes().rev())]
}

/// `text` without its leading blanks. A blank that carries a mark is no blank.
fn skip_blanks(text: &str) -> &str {
    let blanks = count_blanks(text.bytes());
    if blanks == 0 || is_boundary(text, blanks) { &text[blanks..] } else { &text[blanks - 1..] }
}

fn count_blanks(bytes: impl Iterator<Item = u8>) -> usize {
    bytes.take_while(|byte| *byte == b' ').count()
}

/// Whether a grapheme may begin at `at`, a place between characters.
fn is_boundary(text: &str, at: usize) -> bool {
    // There is one between any two ASCII characters of a sanitized text.
    let near = &text.as_bytes()[at.saturating_sub(1)..text.len().min(at + 1)];
    near.is_ascii() || whole(GraphemeCursor::new(at, text.len(), true).is_boundary(text, 0))
}

/// The last place up to `at` where a grapheme begins.
fn last_boundary(text: &str, at: usize) -> usize {
    if is_boundary(text, at) {
        return at;
    }
    whole(GraphemeCursor::new(at, text.len(), true).prev_boundary(text, 0)).unwrap_or(0)
}

fn whole<T>(answer: Result<T, GraphemeIncomplete>) -> T {
    answer.expect("the cursor is given all of the text")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::text::sanitize;
    use proptest::prelude::*;
    use unicode_segmentation::UnicodeSegmentation;

    fn lines(text: &str, columns: usize) -> Vec<&str> {
        Lines::of(text, columns).map(|line| line.text).collect()
    }

    /// The same by definition, in quadratic time: a line ends at the last place that fits and where it may break, else at the
    /// last grapheme, else at the last character.
    fn lines_by_definition(text: &str, columns: usize) -> Vec<&str> {
        let mut lines = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let fits = |end: &usize| rest[..*end].trim_end_matches(' ').width() <= columns;
            let graphemes: Vec<(usize, &str)> = rest.grapheme_indices(true).collect();
            let is_wide = |character: Option<char>| character.and_then(UnicodeWidthChar::width) == Some(2);
            let shown = |before: &str| before.chars().rev().find(|character| character.width() != Some(0));
            let breaks = graphemes.iter().skip(1).filter_map(|(at, after)| {
                let wide = is_wide(shown(&rest[..*at])) && is_wide(after.chars().next());
                (*after == " " || wide).then_some(*at)
            });
            let starts = (graphemes[0].1 == " ").then_some(0);
            let last = |places: Vec<usize>| places.into_iter().rfind(fits);
            let end = last(starts.into_iter().chain(breaks).chain([rest.len()]).collect());
            let end = end.or_else(|| last(graphemes.iter().skip(1).map(|(at, _)| *at).collect()));
            let end = end.or_else(|| last(rest.char_indices().skip(1).map(|(at, _)| at).collect()));
            let (line, after) = rest.split_at(end.unwrap_or(rest.len()));
            let blanks = after.graphemes(true).take_while(|grapheme| *grapheme == " ").count();
            rest = &after[blanks..];
            lines.extend(Some(line.trim_end_matches(' ')).filter(|line| !line.is_empty()));
        }
        lines
    }

    #[test]
    fn lines_break_where_the_page_says() {
        for (text, columns, expected) in [
            ("one  two three", 8, &["one  two", "three"][..]),
            ("see http://example.com/a-b/c-d now", 30, &["see http://example.com/a-b/c-d", "now"]),
            ("ab abcdefghijk lm", 8, &["ab", "abcdefgh", "ijk lm"]),
            ("привет-привет", 8, &["привет-п", "ривет"]),
            ("今日は 良い天気ですね", 10, &["今日は 良", "い天気です", "ね"]),
            ("가나다라마바", 8, &["가나다라", "마바"]),
            ("  x  y ", 40, &["  x  y"]),
            ("   abcdefgh", 8, &["abcdefgh"]),
            // A blank that carries a mark is none.
            ("abcdefg \u{301}hi", 8, &["abcdefg \u{301}", "hi"]),
            ("abcdefgh   \u{301}hi", 8, &["abcdefgh", " \u{301}hi"]),
        ] {
            assert_eq!(lines(text, columns), expected, "{text}");
        }
    }

    #[test]
    fn a_grapheme_is_not_cut() {
        // A letter and its marks, a flag, a thumb and its colour, a family.
        for grapheme in ["e\u{301}\u{302}", "🇩🇪", "👍🏽", "👩\u{200d}👩\u{200d}👧", "❤\u{fe0f}"] {
            let text = grapheme.repeat(9);
            for line in lines(&text, 8) {
                assert_eq!(line, grapheme.repeat(line.graphemes(true).count()), "{grapheme}");
                assert!((7..=8).contains(&line.width()) || text.ends_with(line), "{line}");
            }
        }
    }

    #[test]
    fn a_grapheme_wider_than_a_line_is_cut_all_the_same() {
        let text = "\u{1112}".repeat(100);
        assert_eq!(text.graphemes(true).count(), 1);
        assert!(lines(&text, 8).iter().all(|line| line.width() == 8));
    }

    #[test]
    fn a_line_is_full_by_its_width_and_not_by_the_sum() {
        for (piece, columns) in ["لا", "❤\u{fe0e}\u{fe0e}\u{fe0e}\u{fe0e}", "👍\u{fe0e}"]
            .into_iter()
            .flat_map(|piece| [8, 40, 400].map(|columns| (piece, columns)))
        {
            assert_eq!(piece.width(), 1);
            let text = piece.repeat(1000);
            let widths: Vec<usize> = Lines::of(&text, columns).map(|line| line.width).collect();
            assert!(widths[..widths.len() - 1].iter().all(|width| *width == columns), "{widths:?}");
        }
    }

    /// Pieces that matter to how lines break.
    fn text() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            4 => "[a-z]{1,9}",
            4 => " {1,3}",
            1 => "[a-z]{30,60}",
            1 => " {30,60}",
            2 => "[а-я]{1,12}",
            2 => "[一-龥]{1,12}",
            1 => "[가-힣\u{1100}-\u{1112}\u{1161}-\u{1175}\u{11a8}-\u{11c2}]{1,6}",
            1 => "[😀-😎👍🏻🏽🏿❤☺\u{fe0f}\u{fe0e}👨👩👧🏳🌈]{1,8}",
            1 => "[\u{1f1e6}-\u{1f1ff}]{1,7}",
            1 => "[\u{300}-\u{305}\u{20e3}\u{fe00}-\u{fe0f}]{1,3}",
            1 => "([❤👍]\u{fe0e}{0,4}){1,40}",
            1 => "[ا-يلآأإا ]{1,12}",
            1 => "[क-ह\u{94d}\u{93e}-\u{940}]{1,9}",
            1 => "[\u{a4d0}-\u{a4fd}]{1,9}",
            1 => "[‘’“”\u{3000}-\u{3010}ｱ-ﾝ]{1,9}",
            1 => "\\PC{1,6}",
        ];
        proptest::collection::vec(piece, 1..16).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        // PROPTEST_CASES asks for more.
        #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(2000), ..Default::default() })]

        #[test]
        fn lines_are_filled_as_the_definition_says(text in text(), columns in 8_usize..=400) {
            let text = sanitize(text.as_bytes());
            prop_assert_eq!(lines(&text, columns), lines_by_definition(&text, columns));
        }

        #[test]
        fn no_line_is_too_wide_and_no_text_is_lost(
            // Joiners make graphemes of any length. In Tifinagh and Khmer one more letter may take one column less.
            text in prop_oneof![
                text(),
                "\\PC{1,200}",
                "([👍👩🏽🇩🇪🏳❤a ]\u{fe0f}?\u{200d}?){1,90}",
                "[\u{2d31}-\u{2d40}\u{2d7f}\u{1780}-\u{178f}\u{17d2}\u{200d} ]{1,90}",
            ],
            columns in 8_usize..=60,
        ) {
            let mut rest = &text[..];
            for line in Lines::of(&text, columns) {
                prop_assert!(line.width <= columns && line.width == line.text.width(), "{:?}", line);
                prop_assert!(!line.text.is_empty() && !line.text.ends_with(' '), "{:?}", line);
                let at = rest.find(line.text).expect("its text");
                prop_assert!(rest[..at].bytes().all(|byte| byte == b' '), "{:?}", &rest[..at]);
                rest = &rest[at + line.text.len()..];
            }
            prop_assert!(rest.bytes().all(|byte| byte == b' '), "{:?}", rest);
        }
    }
}
