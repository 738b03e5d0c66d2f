//! How an item looks in a window: a bubble as wide as fits, and the largest picture that fits.
//!
//! No text is cut: what is wider than the window is wrapped, by the bubble or by the terminal. Without colours replies,
//! messages to all and private messages still differ by their words.

use unicode_width::UnicodeWidthStr;

use super::item::{Item, said, says};
use super::picture::{Picture, without_colours};
use crate::cows::bubble::{Bubble, BubbleKind};
use crate::cows::plain::shade;
use crate::cows::small;
use crate::cows::wrap::wrap;
use crate::limits::BUBBLE_COLUMNS_ALLOWED;
use crate::protocol::art::Art;

/// Columns of a bubble beside its text.
const BUBBLE_EDGES: usize = 6;

/// Columns and rows of a terminal that does not tell them.
const DEFAULT_SIZE: (usize, usize) = (80, 24);

/// What stands before the further rows of a text without a bubble.
const INDENT: &str = "  ";

/// Columns of such a row at least, in however narrow a window.
const COLUMNS_MIN: usize = 2;

/// What can be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Abilities {
    /// Colours.
    pub(super) colour: bool,
    /// Characters beyond ASCII.
    pub(super) utf8: bool,
}

/// A window's size in cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) columns: usize,
    pub(super) rows: usize,
}

impl Window {
    /// A window of this size; a terminal that does not know its size says 0.
    pub(super) fn new(columns: u16, rows: u16) -> Self {
        let or = |size: u16, default| if size == 0 { default } else { usize::from(size) };
        Window { columns: or(columns, DEFAULT_SIZE.0), rows: or(rows, DEFAULT_SIZE.1) }
    }
}

/// A colour, as SGR parameters.
#[derive(Clone, Copy)]
struct Style(&'static str);

const DIM: Style = Style("2");
const BOLD: Style = Style("1");
const GREEN: Style = Style("32");
const RED: Style = Style("31");
const PUBLIC: Style = Style("1;36");
const PRIVATE: Style = Style("1;35");

/// How items are drawn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Drawing<'t> {
    pub(super) abilities: Abilities,
    pub(super) window: Window,
    /// The style that the user has chosen; `None`: what fits.
    pub(super) art: Option<Art>,
    /// The time, in the user's format, empty for none.
    pub(super) time: &'t str,
}

impl Drawing<'_> {
    /// `item` as lines, each ended by LF.
    pub(super) fn draw(&self, item: &Item) -> String {
        let line = match item {
            Item::Status(text) => self.paint(DIM, &format!("- {text}")),
            Item::Problem(text) => self.paint(RED, &format!("- {text}")),
            Item::Refusal(text) => self.paint(RED, &format!("error: {text}")),
            Item::Reply(text) => self.paint(GREEN, text),
            Item::Notice(text) => self.stamped(&self.paint(DIM, text)),
            Item::Typed { prompt, text } => self.paint(BOLD, &format!("{prompt}{text}")),
            Item::Past { sender, text } => {
                let said = said(sender);
                return self.paint(DIM, &self.folded(&said, said.width(), text)) + "\n";
            }
            Item::Raw(text) if self.abilities.colour => format!("{text}\x1b[m"),
            Item::Raw(text) => without_colours(text),
            Item::Cow { name, picture } => return self.cow(name, picture),
            Item::Message { sender, private, text, picture } => {
                return self.message(sender, *private, text, picture.as_deref());
            }
        };
        line + "\n"
    }

    fn message(&self, sender: &str, private: bool, text: &str, picture: Option<&Picture>) -> String {
        let style = if private { PRIVATE } else { PUBLIC };
        let says = says(sender, private);
        let stamp_columns = if self.time.is_empty() { 0 } else { self.time.width() + 1 };
        let says_columns = stamp_columns + says.width();
        let says = self.stamped(&self.paint(style, &says));
        let columns = self.window.columns.saturating_sub(BUBBLE_EDGES).min(*BUBBLE_COLUMNS_ALLOWED.end());
        let has_room = BUBBLE_COLUMNS_ALLOWED.contains(&columns) && !text.trim().is_empty();
        let bubble = has_room.then(|| Bubble::new(BubbleKind::default(), columns).draw(text));
        let drawn = bubble.and_then(|bubble| {
            // The lines above: of the sender, and of the bubble.
            let rows_above = 1 + bubble.lines().count();
            let body = match self.art {
                Some(Art::Off) => return None,
                Some(art) => Picture::form(picture, art).or_else(|| Picture::form(None, Art::Small))?.0,
                None => self.fitting(picture, rows_above)?,
            };
            Some(format!("{says}\n{bubble}{}\n", self.ended(body)))
        });
        drawn.unwrap_or_else(|| self.folded(&says, says_columns, text) + "\n")
    }

    /// `text` after `head`, which takes `head_columns`. Further rows are indented, so that no sender can make one that looks
    /// like the beginning of another message.
    fn folded(&self, head: &str, head_columns: usize, text: &str) -> String {
        let columns = self.window.columns.saturating_sub(INDENT.len()).max(COLUMNS_MIN);
        let room = columns.saturating_sub(head_columns);
        let mut rows = wrap(text, columns).peekable();
        let first = rows.next_if(|row| row.width() <= room).map_or(String::new(), |row| format!(" {row}"));
        rows.fold(format!("{head}{first}"), |drawn, row| format!("{drawn}\n{INDENT}{row}"))
    }

    /// A cow whose picture the user has asked for: if no form fits, the smallest, of which the window shows the end.
    fn cow(&self, name: &str, picture: &Picture) -> String {
        let smallest = if self.abilities.colour { Art::Half } else { Art::Plain };
        let body = self.fitting(Some(picture), 1).filter(|body| *body != small::BODY);
        let body = body.or_else(|| Some(Picture::form(Some(picture), self.art.unwrap_or(smallest))?.0));
        let name = self.paint(PUBLIC, &format!("{name}:"));
        body.map_or_else(|| format!("{name} no picture\n"), |body| format!("{name}\n{}\n", self.ended(body)))
    }

    /// The largest form that the terminal can show, that is no wider than the window, and that leaves `rows_above` and the
    /// typed line in it.
    fn fitting<'p>(&self, picture: Option<&'p Picture>, rows_above: usize) -> Option<&'p str> {
        let Abilities { colour, utf8 } = self.abilities;
        let can_show = |art: &Art| match art {
            Art::Color => colour,
            Art::Half => colour && utf8,
            Art::Plain => !colour,
            Art::Small | Art::Off => true,
        };
        let forms = Art::ALL.into_iter().filter(can_show).filter_map(|art| Picture::form(picture, art));
        let fits = |columns, rows| columns <= self.window.columns && rows_above + rows < self.window.rows;
        forms.into_iter().find(|(_, (columns, rows))| fits(*columns, *rows)).map(|(body, _)| body)
    }

    /// A body as this terminal shows it, without colours at its end.
    fn ended(&self, body: &str) -> String {
        if self.abilities.colour { format!("{body}\x1b[m") } else { shade(body) }
    }

    fn stamped(&self, text: &str) -> String {
        if self.time.is_empty() { text.to_owned() } else { format!("{} {text}", self.paint(DIM, self.time)) }
    }

    fn paint(&self, Style(style): Style, text: &str) -> String {
        if self.abilities.colour { format!("\x1b[{style}m{text}\x1b[m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::cows::Herd;

    const ALL: Abilities = Abilities { colour: true, utf8: true };
    const NONE: Abilities = Abilities { colour: false, utf8: false };

    fn drawing(columns: u16, rows: u16, abilities: Abilities) -> Drawing<'static> {
        Drawing { abilities, window: Window::new(columns, rows), art: None, time: "12:34" }
    }

    fn pictures() -> Vec<Rc<Picture>> {
        let cows = Herd::builtin(&Bubble::default()).expect("charasay draws");
        cows.into_iter().map(|cow| Rc::new(Picture::new(cow.colour))).collect()
    }

    fn message(text: &str, picture: Option<Rc<Picture>>) -> Item {
        Item::Message { sender: "remilia-scarlet".to_owned(), private: true, text: text.to_owned(), picture }
    }

    #[test]
    fn no_row_of_a_message_is_wider_or_higher_than_the_window() {
        let text = "moo moo moo, привет, 世界, and a word-that-is-longer-than-a-small-window-has-columns";
        for picture in pictures() {
            for (columns, rows) in [(80, 24), (200, 60), (30, 16), (16, 40)] {
                for abilities in [ALL, Abilities { utf8: false, ..ALL }, NONE] {
                    let drawn = drawing(columns, rows, abilities).draw(&message(text, Some(Rc::clone(&picture))));
                    let plain = without_colours(&drawn);
                    assert!(plain.lines().count() < usize::from(rows), "{columns}x{rows}: {drawn}");
                    // The terminal wraps the first line, if the window is narrower than the sender's name.
                    let widest = plain.lines().skip(1).map(UnicodeWidthStr::width).max().unwrap_or(0);
                    assert!(widest <= usize::from(columns), "{columns}x{rows}: {drawn}");
                    let letters = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).collect::<String>();
                    assert!(letters(&plain).contains(&letters(text)), "{columns}x{rows}: {drawn}");
                }
            }
        }
    }

    #[test]
    fn the_largest_form_that_fits_is_shown() {
        let picture = &pictures()[0];
        let size_of = |art| {
            let (columns, rows) = Picture::form(Some(picture), art).expect("a form").1;
            [columns, rows].map(|cells| u16::try_from(cells).expect("a small picture"))
        };
        let ([columns, rows], [half_columns, _]) = (size_of(Art::Color), size_of(Art::Half));
        // Above it are the sender and a bubble of three rows, below it is the typed line.
        for (columns, rows, art) in [
            (columns, rows + 5, Art::Color),
            (columns - 1, rows + 5, Art::Half),
            (columns, rows + 4, Art::Half),
            (half_columns - 1, rows, Art::Small),
        ] {
            let drawn = drawing(columns, rows, ALL).draw(&message("moo", Some(Rc::clone(picture))));
            let (form, _) = Picture::form(Some(picture), art).expect("a form");
            assert!(drawn.contains(form), "{art:?} in {columns}x{rows}:\n{drawn}");
        }
        let drawn = drawing(80, 8, ALL).draw(&message("moo", Some(Rc::clone(picture))));
        assert_eq!(without_colours(&drawn), "12:34 remilia-scarlet says to you: moo\n");
        let drawn = drawing(200, 90, Abilities { utf8: false, ..ALL }).draw(&message("moo", None));
        assert!(drawn.contains(small::BODY), "without a picture it is the small cow:\n{drawn}");
    }

    #[test]
    fn a_style_that_the_user_has_chosen_is_shown_in_any_window() {
        let picture = &pictures()[0];
        for art in Art::ALL {
            let drawing = Drawing { art: Some(art), ..drawing(80, 10, ALL) };
            let drawn = drawing.draw(&message("moo", Some(Rc::clone(picture))));
            match Picture::form(Some(picture), art) {
                Some((form, _)) => assert!(drawn.contains(form), "{art:?}:\n{drawn}"),
                None => assert_eq!(drawn.lines().count(), 1, "{drawn}"),
            }
        }
    }

    #[test]
    fn a_text_cannot_look_like_another_message() {
        for (columns, rows) in [(60, 4), (30, 5), (8, 4), (1, 1)] {
            let text = format!("hi{}12:34 mew says to you: my key", " ".repeat(60));
            let item = Item::Past { sender: "tux".to_owned(), text: text.clone() };
            for item in [message(&text, None), item] {
                let drawn = drawing(columns, rows, NONE).draw(&item);
                assert!(drawn.lines().skip(1).all(|row| row.starts_with(INDENT)), "{drawn}");
                assert_eq!(drawn.matches("my").count(), 1, "{drawn}");
            }
        }
    }

    #[test]
    fn without_colours_no_escape_sequence_is_drawn() {
        let picture = &pictures()[0];
        for item in [
            message("moo", Some(Rc::clone(picture))),
            Item::Cow { name: "tux".to_owned(), picture: Rc::clone(picture) },
            Item::Raw("\x1b[31mred".to_owned()),
            Item::Reply("Sent".to_owned()),
            Item::Problem("no".to_owned()),
        ] {
            for (columns, rows) in [(80, 24), (200, 90), (30, 8)] {
                let drawn = drawing(columns, rows, NONE).draw(&item);
                assert!(!drawn.contains('\x1b') && drawn.is_ascii() && drawn.ends_with('\n'), "{drawn:?}");
            }
        }
    }
}
