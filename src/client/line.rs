//! The typed line: its text, its cursor, and the part of it that a row shows.
//!
//! A long line scrolls sideways, so it takes one row in any window.

use rustyline::line_buffer::{ChangeListener, DeleteListener, Direction, LineBuffer};
use rustyline::{At, GraphemeClusterMode, Movement, Word};
use unicode_segmentation::UnicodeSegmentation;

use crate::protocol::character::is_invisible;

/// Bytes of a typed line at most: far more than a server takes.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// The text that the last command has killed, for Ctrl-Y.
#[derive(Debug, Default)]
struct Killed(String);

impl DeleteListener for Killed {
    fn delete(&mut self, _at: usize, text: &str, _direction: Direction) {
        text.clone_into(&mut self.0);
    }
}

/// Deletes without keeping.
struct Ignored;

impl DeleteListener for Ignored {
    fn delete(&mut self, _at: usize, _text: &str, _direction: Direction) {}
}

impl ChangeListener for Ignored {
    fn insert_char(&mut self, _at: usize, _character: char) {}
    fn insert_str(&mut self, _at: usize, _text: &str) {}
    fn replace(&mut self, _at: usize, _old: &str, _new: &str) {}
}

/// A line and its cursor.
#[derive(Debug)]
pub(super) struct Line {
    buffer: LineBuffer,
    killed: Killed,
    /// How wide this terminal draws a grapheme.
    widths: GraphemeClusterMode,
    /// Where the visible part begins, in bytes.
    first: usize,
}

impl Line {
    pub(super) fn new() -> Self {
        let widths = GraphemeClusterMode::from_env();
        Line { buffer: LineBuffer::with_capacity(LINE_BYTES_MAX), killed: Killed::default(), widths, first: 0 }
    }

    pub(super) fn text(&self) -> &str {
        self.buffer.as_str()
    }

    pub(super) fn before_cursor(&self) -> &str {
        &self.buffer.as_str()[..self.buffer.pos()]
    }

    /// Replaces the line; the cursor stands at its end.
    pub(super) fn set(&mut self, text: &str) {
        self.buffer.update("", 0, &mut Ignored);
        self.insert(text);
    }

    /// Takes the line, which is empty then.
    pub(super) fn take(&mut self) -> String {
        let text = self.buffer.as_str().to_owned();
        self.set("");
        text
    }

    /// Inserts what was typed, pasted or recalled. A TAB or LF becomes a blank; control and
    /// invisible characters are dropped.
    /// Returns whether there was room for all of it.
    pub(super) fn insert(&mut self, text: &str) -> bool {
        let blank = |character| if matches!(character, '\t' | '\n') { ' ' } else { character };
        let mut characters =
            text.chars().map(blank).filter(|character| !character.is_control() && !is_invisible(*character));
        characters.all(|character| self.buffer.insert(character, 1, &mut Ignored).is_some())
    }

    /// Replaces what stands between `start` and the cursor.
    pub(super) fn complete(&mut self, start: usize, text: &str) {
        let end = self.buffer.pos();
        self.buffer.replace(start..end, text, &mut Ignored);
    }

    pub(super) fn left(&mut self) {
        self.buffer.move_backward(1);
    }

    pub(super) fn right(&mut self) {
        self.buffer.move_forward(1);
    }

    pub(super) fn word_left(&mut self) {
        self.buffer.move_to_prev_word(Word::Emacs, 1);
    }

    pub(super) fn word_right(&mut self) {
        self.buffer.move_to_next_word(At::AfterEnd, Word::Emacs, 1);
    }

    pub(super) fn home(&mut self) {
        self.buffer.move_buffer_start();
    }

    pub(super) fn end(&mut self) {
        self.buffer.move_buffer_end();
    }

    pub(super) fn backspace(&mut self) {
        self.buffer.backspace(1, &mut Ignored);
    }

    pub(super) fn delete(&mut self) {
        self.buffer.delete(1, &mut Ignored);
    }

    /// Deletes what `movement` passes, and keeps it for [`Line::yank`].
    pub(super) fn kill(&mut self, movement: &Movement) {
        self.buffer.kill(movement, &mut self.killed);
    }

    pub(super) fn yank(&mut self) {
        let killed = std::mem::take(&mut self.killed.0);
        self.insert(&killed);
        self.killed.0 = killed;
    }

    pub(super) fn transpose(&mut self) {
        self.buffer.transpose_chars(&mut Ignored);
    }

    /// How many columns this terminal takes for `text`.
    pub(super) fn width(&self, text: &str) -> usize {
        text.graphemes(true).map(|grapheme| usize::from(self.widths.width(grapheme))).sum()
    }

    /// The part of the line that `columns` columns show: what stands before the cursor, and after it.
    pub(super) fn visible(&mut self, columns: usize) -> (&str, &str) {
        let cursor = self.buffer.pos();
        let text = self.buffer.as_str();
        // The cursor takes a column, too.
        let room = columns.saturating_sub(1);
        let width = |text: &str| text.graphemes(true).map(|grapheme| usize::from(self.widths.width(grapheme))).sum();
        let before = |columns| suffix(&text[..cursor], columns, &width);
        // A third of the row is context, if there is so much, and no columns stay free at its end.
        let (least, most) = (before(room), before(room / 3).min(suffix(text, room, &width)));
        self.first = match self.first.min(cursor) {
            first if first < least || !text.is_char_boundary(first) => before(2 * room / 3),
            first => first.min(most).max(least),
        };
        let end = self.first + prefix_bytes(&text[self.first..], room, &width);
        (&text[self.first..cursor], &text[cursor..end.max(cursor)])
    }
}

/// Where the longest end of `text` begins that takes at most `columns`.
fn suffix(text: &str, columns: usize, width: &impl Fn(&str) -> usize) -> usize {
    let mut taken = 0;
    let fitting = text.grapheme_indices(true).rev().take_while(|(_, grapheme)| {
        taken += width(grapheme);
        taken <= columns
    });
    fitting.last().map_or(text.len(), |(at, _)| at)
}

/// The bytes of the longest beginning of `text` that takes at most `columns`.
fn prefix_bytes(text: &str, columns: usize, width: &impl Fn(&str) -> usize) -> usize {
    let mut taken = 0;
    let fitting = text.grapheme_indices(true).take_while(|(_, grapheme)| {
        taken += width(grapheme);
        taken <= columns
    });
    fitting.last().map_or(0, |(at, grapheme)| at + grapheme.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_visible_part_has_the_cursor_and_fits() {
        let mut line = Line::new();
        line.insert("привет 世界 👋 hello, this is a longer line");
        let all = line.text().to_owned();
        for _ in 0..=all.graphemes(true).count() {
            for columns in [1, 2, 3, 10, 30, 80] {
                let (before, after) = line.visible(columns);
                let shown = [before, after].map(str::to_owned);
                let [before, after] = &shown;
                assert!(line.before_cursor().ends_with(before), "{shown:?}");
                assert!(all[line.before_cursor().len()..].starts_with(after), "{shown:?}");
                let width = line.width(&shown.concat());
                assert!(width < columns.max(1), "{shown:?} in {columns}");
                // Of a line that does not fit, no column but one half of a wide character stays free.
                assert!(width + 2 >= columns || shown.concat() == all, "{shown:?} in {columns}");
                assert!(before.is_empty() == line.before_cursor().is_empty() || columns < 9, "{shown:?} in {columns}");
            }
            line.left();
        }
        assert_eq!(line.visible(80), ("", all.as_str()), "all of it, if it fits");
        line.end();
        line.visible(10);
        line.kill(&Movement::BackwardWord(2, Word::Big));
        let (before, after) = line.visible(10);
        assert_eq!((before.graphemes(true).count(), after), (9, ""), "a row is filled after much is erased");
    }

    #[test]
    fn graphemes_are_erased_whole_and_controls_do_not_get_in() {
        let mut line = Line::new();
        line.insert("a\te\u{301}👩\u{200d}👧\x07");
        line.backspace();
        line.backspace();
        assert_eq!(line.text(), "a ");
        line.home();
        line.kill(&Movement::EndOfBuffer);
        assert_eq!(line.text(), "");
        line.yank();
        line.yank();
        assert_eq!(line.take(), "a a ");
    }
}
