//! The speech bubble over a cow: one of charasay's five, as wide as the server likes it.

use charasay::bubbles::{BubbleType, SpeechBubble};

use crate::limits::{BUBBLE_COLUMNS, SHORT_COLUMNS_MAX};

/// What the bubbles of a server look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bubble {
    kind: BubbleType,
    /// Column at which a text is wrapped.
    columns: usize,
}

impl Bubble {
    /// The kinds there are, by name.
    pub const NAMES: [&str; 5] = ["cowsay", "ascii", "round", "unicode", "think"];

    /// The kind of this name with texts wrapped at `columns`, if there is such a kind.
    pub fn new(name: &str, columns: usize) -> Option<Self> {
        let kinds = [BubbleType::Cowsay, BubbleType::Ascii, BubbleType::Round, BubbleType::Unicode, BubbleType::Think];
        let place = Self::NAMES.iter().position(|known| *known == name)?;
        Some(Bubble { kind: kinds[place], columns })
    }

    /// The bubble around `text`, several lines, each with its LF.
    ///
    /// `text` is sanitized and not blank. Costs 1 us for a word, 0.15 us a byte beyond one line: 35 us for 250
    /// bytes, a millisecond for the longest line.
    pub fn draw(self, text: &str) -> String {
        SpeechBubble::new(self.kind)
            .create(text, &self.columns)
            .expect("charasay 3.3 has no failing path in SpeechBubble::create")
    }

    /// What leads from the bubble to a classic cow.
    pub fn thoughts(self) -> &'static str {
        if self.kind == BubbleType::Think { "o" } else { "\\" }
    }

    pub(super) fn kind(self) -> BubbleType {
        self.kind
    }

    pub(super) fn columns(self) -> usize {
        self.columns
    }
}

/// Bubbles of one line, each drawn once and kept without its text: most messages are short, and charasay takes
/// microseconds to find that there is nothing to wrap, and no escape sequence to leave out.
#[derive(Debug)]
pub struct ShortBubbles {
    bubble: Bubble,
    /// By the text's length in bytes, from 1: what stands before it and after it.
    around: Vec<[Box<str>; 2]>,
}

impl ShortBubbles {
    /// Of all lengths that fit a line of `bubble`, as far as they are worth keeping.
    pub fn new(bubble: Bubble) -> Self {
        let around = |length| {
            let sample = "x".repeat(length);
            let drawn = bubble.draw(&sample);
            let (before, after) = drawn.split_once(&sample).expect("a line that fits is not wrapped");
            [before.into(), after.into()]
        };
        ShortBubbles { bubble, around: (1..bubble.columns.min(SHORT_COLUMNS_MAX)).map(around).collect() }
    }

    /// As [`Bubble::draw`], the same to the byte.
    pub fn draw(&self, text: &str) -> String {
        // One column to a byte, nothing that could be wrapped or trimmed.
        let is_plain =
            text.bytes().all(|byte| matches!(byte, b' '..=b'~')) && !text.starts_with(' ') && !text.ends_with(' ');
        match text.len().checked_sub(1).and_then(|place| self.around.get(place)).filter(|_| is_plain) {
            Some([before, after]) => [before, text, after].concat(),
            None => self.bubble.draw(text),
        }
    }
}

impl Default for Bubble {
    fn default() -> Self {
        Bubble { kind: BubbleType::Cowsay, columns: BUBBLE_COLUMNS }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::text::{is_blank, sanitize};
    use proptest::prelude::*;
    use unicode_width::UnicodeWidthStr;

    #[test]
    fn one_line_stands_between_angle_brackets() {
        assert_eq!(Bubble::default().draw("hi there"), " ____________ \n<  hi there  >\n ------------ \n");
    }

    #[test]
    fn a_long_text_is_wrapped() {
        let bubble = Bubble::default().draw(&"moo ".repeat(20));
        assert_eq!(bubble.lines().count(), 4, "{bubble}");
        let wide = Bubble::new("cowsay", 100).expect("a kind").draw(&"moo ".repeat(20));
        assert_eq!(wide.lines().count(), 3, "{wide}");
    }

    #[test]
    fn the_five_kinds_look_different() {
        let drawn = Bubble::NAMES.map(|name| Bubble::new(name, 40).expect("a kind").draw("hi"));
        for (at, bubble) in drawn.iter().enumerate() {
            assert!(!drawn[..at].contains(bubble), "{bubble}");
        }
        assert_eq!(Bubble::new("cowsay", 40), Some(Bubble::default()));
        assert_eq!(Bubble::new("square", 40), None);
    }

    #[test]
    fn a_short_bubble_of_every_length_is_charasays() {
        for (name, columns) in [("cowsay", 40), ("think", 10), ("unicode", 400)] {
            let bubble = Bubble::new(name, columns).expect("a kind");
            let short = ShortBubbles::new(bubble);
            for length in 1..columns.min(200) + 2 {
                let text: String = "moo-cow/x ".chars().cycle().take(length - 1).chain(['!']).collect();
                assert_eq!(short.draw(&text), bubble.draw(&text), "{text}");
            }
        }
    }

    proptest! {
        // PROPTEST_CASES asks for more.
        #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(4000), ..Default::default() })]

        #[test]
        fn a_short_bubble_of_any_text_is_charasays(text in "[ -~]{0,44}|[ a-zé世\u{301}-]{0,44}|x{35,45}") {
            // Not `prop_assume`: of a hundred thousand cases more are blank than proptest lets pass.
            if !is_blank(&text) {
                let bubble = Bubble::default();
                prop_assert_eq!(ShortBubbles::new(bubble).draw(&text), bubble.draw(&text));
            }
        }

        #[test]
        fn all_lines_of_a_bubble_are_equally_wide(text in "[a-z \u{301}\u{302}一-龥😀-😎가-힣\u{1100}-\u{1112}\u{1161}-\u{1175}\u{fe0f}-]{1,120}") {
            let text = sanitize(text.as_bytes());
            if !is_blank(&text) {
                let bubble = Bubble::default().draw(&text);
                let widths: Vec<usize> = bubble.lines().map(UnicodeWidthStr::width).collect();
                prop_assert!(widths.windows(2).all(|pair| pair[0] == pair[1]), "{:?}\n{}", widths, bubble);
            }
        }
    }
}
