//! What a body is made of: LF, visible characters and SGR sequences (ECMA-48 8.3.117), so nothing that moves a cursor.

use std::fmt::Write;

use unicode_width::UnicodeWidthChar;

/// Red, green and blue.
pub(super) type Rgb = [u8; 3];

/// The colours in which a character is drawn; `None` is the terminal's own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Colours {
    pub(super) foreground: Option<Rgb>,
    pub(super) background: Option<Rgb>,
}

/// A piece of a picture.
#[derive(Debug, Clone, Copy)]
pub enum Token<'a> {
    /// A visible or control character.
    Character(char),
    /// What stands between `ESC [` and `m`.
    Sgr(&'a str),
}

/// The pieces of a picture. What looks like an SGR sequence and is none comes as its characters.
pub fn tokens(mut rest: &str) -> impl Iterator<Item = Token<'_>> {
    std::iter::from_fn(move || {
        if let Some((parameters, after)) = leading_sgr(rest) {
            rest = after;
            return Some(Token::Sgr(parameters));
        }
        let mut characters = rest.chars();
        let character = characters.next()?;
        rest = characters.as_str();
        Some(Token::Character(character))
    })
}

/// The parameters of the SGR sequence that `text` begins with, and what follows it.
fn leading_sgr(text: &str) -> Option<(&str, &str)> {
    let parameters = text.strip_prefix("\x1b[")?;
    let end = parameters.find(|character: char| !character.is_ascii_digit() && character != ';')?;
    let after = parameters[end..].strip_prefix('m')?;
    Some((&parameters[..end], after))
}

/// The visible characters of a body and its LFs, each with its colours.
pub(super) fn cells(body: &str) -> impl Iterator<Item = (char, Colours)> {
    let mut colours = Colours::default();
    tokens(body).filter_map(move |token| match token {
        Token::Sgr(parameters) => {
            colours = colours.after(parameters);
            None
        }
        Token::Character(character) => (character == '\n' || !character.is_control()).then_some((character, colours)),
    })
}

/// How large a body is on a terminal that does not wrap it: columns, of its widest row, and rows.
pub fn size(body: &str) -> (usize, usize) {
    let (mut columns, mut column) = (0, 0);
    for (character, _) in cells(body) {
        column = if character == '\n' { 0 } else { column + character.width().unwrap_or_default() };
        columns = columns.max(column);
    }
    (columns, body.lines().count())
}

/// What the halves of a cell show by colours alone: nothing, if they show a visible character. Of a block that fills a part
/// of its cell, that part counts as the first half.
pub(super) fn halves(character: char, Colours { foreground, background }: Colours) -> [Option<Rgb>; 2] {
    match character {
        ' ' => [background; 2],
        '\u{2588}' => [foreground; 2],
        '\u{2580}'..='\u{2590}' | '\u{2594}'..='\u{259f}' => [foreground, background],
        _ => [None; 2],
    }
}

/// The shortest SGR sequence that turns `from` into `to`; nothing if they are the same.
pub(super) fn change(from: Colours, to: Colours) -> String {
    if from == to {
        return String::new();
    }
    let mut sgr = String::from("\x1b[");
    if to != Colours::default() {
        let (foreground, background) = (from.foreground != to.foreground, from.background != to.background);
        if foreground {
            push_colour(&mut sgr, 30, to.foreground);
        }
        if foreground && background {
            sgr.push(';');
        }
        if background {
            push_colour(&mut sgr, 40, to.background);
        }
    }
    sgr.push('m');
    sgr
}

/// Appends the parameters of a colour: by its number if it is one of the 240 that all palettes have in common.
fn push_colour(out: &mut String, base: u8, colour: Option<Rgb>) {
    let (extended, own) = (base + 8, base + 9);
    let written = match colour {
        None => write!(out, "{own}"),
        Some(colour) => match index_of(colour) {
            Some(index) => write!(out, "{extended};5;{index}"),
            None => {
                let [red, green, blue] = colour;
                write!(out, "{extended};2;{red};{green};{blue}")
            }
        },
    };
    written.expect("writing to memory does not fail");
}

impl Colours {
    /// The colours after an SGR sequence. One that is not about colours, or not well-formed, changes nothing.
    fn after(mut self, parameters: &str) -> Colours {
        // An absent parameter is 0. All that are too large are equally unknown to terminals.
        let mut codes =
            parameters.split(';').map(|code| if code.is_empty() { 0 } else { code.parse().unwrap_or(u8::MAX) });
        while let Some(code) = codes.next() {
            match code {
                0 => self = Colours::default(),
                39 => self.foreground = None,
                49 => self.background = None,
                30..=37 => self.foreground = Some(palette(code - 30)),
                40..=47 => self.background = Some(palette(code - 40)),
                90..=97 => self.foreground = Some(palette(code - 90 + 8)),
                100..=107 => self.background = Some(palette(code - 100 + 8)),
                38 => self.foreground = extended_colour(&mut codes).or(self.foreground),
                48 => self.background = extended_colour(&mut codes).or(self.background),
                _ => {}
            }
        }
        self
    }
}

/// What follows 38 or 48: `5;N` from the palette, or `2;R;G;B`.
fn extended_colour(codes: &mut impl Iterator<Item = u8>) -> Option<Rgb> {
    match codes.next()? {
        5 => codes.next().map(palette),
        2 => Some([codes.next()?, codes.next()?, codes.next()?]),
        _ => None,
    }
}

/// xterm's first sixteen colours, as 0xRRGGBB. The other 240 of its palette follow by rule.
const BASICS: [u32; 16] = [
    0x000000, 0xcd0000, 0x00cd00, 0xcdcd00, 0x0000ee, 0xcd00cd, 0x00cdcd, 0xe5e5e5, 0x7f7f7f, 0xff0000, 0x00ff00,
    0xffff00, 0x5c5cff, 0xff00ff, 0x00ffff, 0xffffff,
];

/// A colour of xterm's palette: 16 basics, a cube of 6x6x6, 24 greys without black and white.
fn palette(index: u8) -> Rgb {
    match index {
        0..16 => {
            let [_, rgb @ ..] = BASICS[usize::from(index)].to_be_bytes();
            rgb
        }
        16..232 => {
            let place = index - 16;
            [step(place / 36), step(place / 6 % 6), step(place % 6)]
        }
        232..=255 => [8 + 10 * (index - 232); 3],
    }
}

/// The cube's steps: 0, 95, 135, 175, 215, 255.
fn step(level: u8) -> u8 {
    if level == 0 { 0 } else { 55 + 40 * level }
}

/// The place of a colour among the cube and the greys, if it is one of them.
fn index_of(colour: Rgb) -> Option<u8> {
    let level = |part: u8| (0..6).find(|&level| step(level) == part);
    match colour.map(level) {
        [Some(red), Some(green), Some(blue)] => Some(16 + 36 * red + 6 * green + blue),
        _ => (232..=255).find(|&index| palette(index) == colour),
    }
}

/// Whether `body` can do no more to a terminal than colour it: its only control characters are LF, and ESC where it begins
/// an SGR sequence (`ESC [`, digits and semicolons, `m`).
#[cfg(test)]
pub(super) fn is_colour_only(body: &str) -> bool {
    tokens(body).all(|token| match token {
        Token::Character(character) => character == '\n' || !character.is_control(),
        Token::Sgr(_) => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sgr_sequences_and_lf_are_colour() {
        for body in ["", "moo", "a\nb", "\x1b[m", "\x1b[0m", "\x1b[48;5;1m  \x1b[49m", "\x1b[;;m", "муу▀"] {
            assert!(is_colour_only(body), "{body:?}");
        }
        let others = "\x1b|\x1b[|\x1b[1|\x1b[1;|\x1b[2J|\x1b[?25m|\x1b[>4m|\x1b[38:5:1m|\x1b[1 m|\x1b]0;m|\x1b\x1b[1m|\x1bm|\
                      \r|\t|\x07|\x7f|\0|\u{9b}1m|\u{85}";
        for body in others.split('|') {
            assert!(!is_colour_only(body), "{body:?}");
            assert!(!is_colour_only(&format!("\x1b[1mmoo{body} moo")), "{body:?}");
        }
    }

    #[test]
    fn a_size_is_in_columns_and_rows_of_a_terminal() {
        for (body, expected) in [
            ("", (0, 0)),
            ("moo", (3, 1)),
            ("\x1b[48;5;16m  \x1b[49m \n\n a", (3, 3)),
            ("牛😀\ne\u{301}", (4, 2)),
            ("мoo\r\n", (3, 1)),
        ] {
            assert_eq!(size(body), expected, "{body:?}");
        }
    }

    #[test]
    fn a_change_of_colours_is_what_it_says() {
        let colours = [None, Some([0, 0, 0]), Some([255, 135, 0]), Some([1, 2, 3]), Some([205, 0, 0])];
        let all =
            || colours.iter().flat_map(|&foreground| colours.map(|background| Colours { foreground, background }));
        for from in all() {
            for to in all() {
                let body = format!("{}a{}b", change(Colours::default(), from), change(from, to));
                assert!(is_colour_only(&body), "{body:?}");
                assert_eq!(cells(&body).collect::<Vec<_>>(), [('a', from), ('b', to)], "{body:?}");
            }
        }
        assert_eq!(change(Colours::default(), Colours { foreground: colours[2], background: None }), "\x1b[38;5;208m");
    }

    #[test]
    fn the_palette_is_xterms() {
        for (index, colour) in [
            (0, [0, 0, 0]),
            (15, [255, 255, 255]),
            (16, [0, 0, 0]),
            (17, [0, 0, 95]),
            (208, [255, 135, 0]),
            (231, [255, 255, 255]),
            (232, [8, 8, 8]),
            (255, [238, 238, 238]),
        ] {
            assert_eq!(palette(index), colour, "{index}");
        }
        assert!((16..=255).all(|index| index_of(palette(index)) == Some(index)));
        assert_eq!([[1, 0, 0], [255, 135, 1], [8, 8, 9], [205, 0, 0]].map(index_of), [None; 4]);
    }
}
