//! The speech bubble over a cow: one of charasay's five.
//!
//! Corners, sides and padding are charasay's to the byte, learned from what it draws when the server starts. Only the lines of
//! the text are ours (`wrap.rs`): charasay searches the best fit of all lines together, which takes hundreds of times as long
//! as drawing them.

use charasay::bubbles::{BubbleType, SpeechBubble};
use smallvec::SmallVec;

use super::wrap::{Line, Lines};
use crate::limits::BUBBLE_COLUMNS;

/// Lines that a layout holds without heap memory: 640 bytes of text in lines of 40 columns.
const LINES_INLINE: usize = 16;

/// Columns of an upper or lower edge beyond those of the text.
const EDGE_COLUMNS: usize = 4;

/// A kind of bubble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BubbleKind(BubbleType);

impl BubbleKind {
    /// The names of the kinds.
    pub const NAMES: [&str; 5] = ["cowsay", "ascii", "round", "unicode", "think"];

    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        let kinds = [BubbleType::Cowsay, BubbleType::Ascii, BubbleType::Round, BubbleType::Unicode, BubbleType::Think];
        let place = Self::NAMES.iter().position(|known| *known == name)?;
        Some(BubbleKind(kinds[place]))
    }
}

impl Default for BubbleKind {
    fn default() -> Self {
        BubbleKind(BubbleType::Cowsay)
    }
}

/// How a server draws its bubbles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bubble {
    pub(super) kind: BubbleType,
    /// The most columns of a line of text.
    pub(super) columns: usize,
    top: Edge,
    bottom: Edge,
    /// Around the only line of a text.
    only: Sides,
    first: Sides,
    middle: Sides,
    last: Sides,
    /// The padding of the shortest line.
    blanks: Box<str>,
}

/// An upper or lower edge.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Edge {
    left: Box<str>,
    /// One character for each column of the widest bubble.
    run: Box<str>,
    /// The bytes of one of these characters.
    step: usize,
    right: Box<str>,
}

/// What stands left and right of a line, blanks and LF included.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sides {
    left: Box<str>,
    right: Box<str>,
}

/// The bubble around one text, before it is drawn.
#[derive(Debug)]
pub struct Layout<'b> {
    bubble: &'b Bubble,
    lines: SmallVec<[Line<'b>; LINES_INLINE]>,
    /// The columns of the widest line.
    width: usize,
}

impl Bubble {
    /// A bubble whose texts are wrapped at `columns`, learned from what charasay draws.
    pub fn new(BubbleKind(kind): BubbleKind, columns: usize) -> Self {
        let one = charasay_draws(kind, "x", columns);
        let three = charasay_draws(kind, "x\nx\nx", columns);
        let rows: Vec<&str> = three.split_inclusive('\n').collect();
        let [top, first, middle, last, bottom] = rows[..] else { panic!("charasay draws three lines and two edges") };
        let only = one.split_inclusive('\n').nth(1).expect("charasay draws a line between two edges");
        let [top, bottom] = [top, bottom].map(|drawn| Edge::learn(drawn, columns));
        let [only, first, middle, last] = [only, first, middle, last].map(Sides::learn);
        let blanks = " ".repeat(columns).into();
        Bubble { kind, columns, top, bottom, only, first, middle, last, blanks }
    }

    /// The bubble around `text`, which is sanitized and not blank. Each line ends in LF.
    pub fn draw(&self, text: &str) -> String {
        let layout = self.lay_out(text);
        let mut drawn = String::with_capacity(layout.bytes());
        layout.draw_into(&mut drawn);
        drawn
    }

    /// The bubble around `text`, sanitized and not blank, before it is drawn.
    pub fn lay_out<'b>(&'b self, text: &'b str) -> Layout<'b> {
        let lines: SmallVec<[Line<'b>; LINES_INLINE]> = Lines::of(text, self.columns).collect();
        let width = lines.iter().map(|line| line.width).max().unwrap_or(0);
        Layout { bubble: self, lines, width }
    }

    /// The character that leads from the bubble to a classic cow.
    pub fn thoughts(&self) -> &'static str {
        if self.kind == BubbleType::Think { "o" } else { "\\" }
    }
}

impl Default for Bubble {
    fn default() -> Self {
        Bubble::new(BubbleKind::default(), BUBBLE_COLUMNS)
    }
}

impl Layout<'_> {
    /// Exactly the bytes that [`Layout::draw_into`] writes.
    pub fn bytes(&self) -> usize {
        let line = |(at, line): (usize, &Line<'_>)| {
            let Sides { left, right } = self.sides(at);
            left.len() + line.text.len() + (self.width - line.width) + right.len()
        };
        let edges = [&self.bubble.top, &self.bubble.bottom].map(|edge| edge.bytes(self.width));
        edges.iter().sum::<usize>() + self.lines.iter().enumerate().map(line).sum::<usize>()
    }

    /// Appends the bubble.
    pub fn draw_into(&self, out: &mut String) {
        self.bubble.top.draw_into(self.width, out);
        for (at, line) in self.lines.iter().enumerate() {
            let Sides { left, right } = self.sides(at);
            out.push_str(left);
            out.push_str(line.text);
            out.push_str(&self.bubble.blanks[..self.width - line.width]);
            out.push_str(right);
        }
        self.bubble.bottom.draw_into(self.width, out);
    }

    fn sides(&self, at: usize) -> &Sides {
        match at {
            0 if self.lines.len() == 1 => &self.bubble.only,
            0 => &self.bubble.first,
            _ if at + 1 == self.lines.len() => &self.bubble.last,
            _ => &self.bubble.middle,
        }
    }
}

impl Edge {
    /// Learns from an edge that charasay has drawn: a corner, equal characters, a corner, an LF.
    fn learn(drawn: &str, columns: usize) -> Self {
        let mut characters = drawn.chars();
        let (left, one) = (characters.next(), characters.next());
        let (left, one) = left.zip(one).expect("charasay draws a corner and an edge");
        let right = characters.as_str().trim_start_matches(one);
        let run = one.to_string().repeat(columns + EDGE_COLUMNS);
        Edge { left: left.to_string().into(), run: run.into(), step: one.len_utf8(), right: right.into() }
    }

    fn bytes(&self, width: usize) -> usize {
        self.left.len() + self.run_bytes(width) + self.right.len()
    }

    fn run_bytes(&self, width: usize) -> usize {
        (width + EDGE_COLUMNS) * self.step
    }

    fn draw_into(&self, width: usize, out: &mut String) {
        out.push_str(&self.left);
        out.push_str(&self.run[..self.run_bytes(width)]);
        out.push_str(&self.right);
    }
}

impl Sides {
    /// Learns from a line around an `x` that charasay has drawn.
    fn learn(drawn: &str) -> Self {
        let (left, right) = drawn.split_once('x').expect("charasay draws the text");
        Sides { left: left.into(), right: right.into() }
    }
}

/// The bubble as charasay itself draws it.
fn charasay_draws(kind: BubbleType, text: &str, columns: usize) -> String {
    let drawn = SpeechBubble::new(kind).create(text, &columns);
    drawn.expect("charasay 3.3 has no failing path in SpeechBubble::create")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{BUBBLE_BYTES_MAX, LINE_BYTES_MAX};
    use crate::protocol::text::{is_blank, sanitize};
    use proptest::prelude::*;
    use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

    fn bubble(name: &str, columns: usize) -> Bubble {
        Bubble::new(BubbleKind::from_name(name).expect("a kind"), columns)
    }

    #[test]
    fn the_five_kinds_look_different() {
        let drawn = BubbleKind::NAMES.map(|name| bubble(name, 40).draw("hi"));
        for (at, bubble) in drawn.iter().enumerate() {
            assert!(!drawn[..at].contains(bubble), "{bubble}");
        }
        assert_eq!(bubble("cowsay", 40), Bubble::default());
        assert_eq!(BubbleKind::from_name("square"), None);
    }

    #[test]
    fn no_bubble_is_larger_than_its_limit() {
        let mut largest = 0;
        for columns in [10, 11, 12, 13, 40, 41, 400] {
            // Of the five kinds this has the longest sides.
            let bubble = bubble("round", columns);
            // Bytes that become three when made safe, and words that fill lines badly: two that just do not fit.
            let units = ["x", "я", "世", "e\u{301}\u{302}"].map(str::as_bytes);
            for unit in units.into_iter().chain([&b"\xff."[..], b"\xff.\xff.\xff"]) {
                for (first, second) in (1..=columns).flat_map(|n| [(n, n), (n, columns - n), (n, columns)]) {
                    let words = [unit.repeat(first), unit.repeat(second)].join(&b' ');
                    let line: Vec<u8> =
                        [words, b" ".to_vec()].concat().into_iter().cycle().take(LINE_BYTES_MAX).collect();
                    largest = largest.max(bubble.lay_out(sanitize(&line).trim()).bytes());
                }
            }
        }
        assert!((BUBBLE_BYTES_MAX / 4 * 3..=BUBBLE_BYTES_MAX).contains(&largest), "{largest}");
    }

    /// Words, wide characters, marks, emoji, Hangul syllables and their parts, and any text.
    fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            "[ -~]{0,44}|[ -~]{0,500}|x{0,120}",
            "[a-z \u{301}\u{302}一-龥😀-😎가-힣\u{1100}-\u{1112}\u{1161}-\u{1175}\u{fe0f}-]{1,120}",
            "([ а-яa-z]{0,20}[👍🏻🇩🇪❤👩لاक\u{94d}\u{fe0f}]{0,4}){0,9}",
            "\\PC{0,120}",
        ]
    }

    proptest! {
        // PROPTEST_CASES asks for more.
        #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(2000), ..Default::default() })]

        #[test]
        fn a_bubble_is_what_charasay_draws_around_its_lines(text in text(), columns in 8_usize..=400) {
            let text = sanitize(text.as_bytes());
            // Not `prop_assume`: proptest gives up after too many blank cases.
            if !is_blank(&text) {
                let lines: Vec<&str> = Lines::of(&text, columns).map(|line| line.text).collect();
                // charasay wraps by the sum of the characters' widths, which may exceed the line's width.
                let sum = |line: &&str| line.chars().filter_map(UnicodeWidthChar::width).sum::<usize>();
                let room = lines.iter().map(sum).max().unwrap_or(0).max(columns);
                for name in BubbleKind::NAMES {
                    let bubble = bubble(name, columns);
                    let drawn = bubble.draw(&text);
                    prop_assert_eq!(&drawn, &charasay_draws(bubble.kind, &lines.join("\n"), room));
                    prop_assert_eq!(bubble.lay_out(&text).bytes(), drawn.len());
                }
            }
        }

        #[test]
        fn all_lines_of_a_bubble_are_equally_wide(text in text(), columns in 8_usize..=60) {
            let text = sanitize(text.as_bytes());
            if !is_blank(&text) {
                let bubble = bubble("cowsay", columns).draw(&text);
                let widths: Vec<usize> = bubble.lines().map(UnicodeWidthStr::width).collect();
                prop_assert!(widths.windows(2).all(|pair| pair[0] == pair[1]), "{:?}\n{}", widths, bubble);
                prop_assert!(widths[0] <= columns + EDGE_COLUMNS + 2, "{:?}\n{}", widths, bubble);
            }
        }
    }
}
