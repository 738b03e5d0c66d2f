//! Pictures for terminals without colour: what blanks and block characters paint with colours, in ASCII characters.
//!
//! Darker is denser, and the stretch is each picture's own: the cows have dark outlines, so on a light
//! terminal they look drawn in ink, on a dark one in chalk, and every painted cell leaves a mark on both.
//! Cells are replaced one for one, so nothing moves: pointer, columns and rows stay where they were.
//!
//! Also what a body may be made of: LF, visible characters and SGR sequences (ECMA-48 8.3.117), nothing that
//! moves a cursor.

/// Red, green and blue.
pub type Rgb = [u8; 3];

/// From the darkest colour of a picture to the lightest. No blank, or the lightest would vanish; no `\`,
/// which is the pointer's. More steps than these are hard to tell apart.
const RAMP: &[u8; 8] = b"#%*+=-:.";

/// xterm's first sixteen colours, which the other 240 of its palette follow by rule.
const BASICS: [Rgb; 16] = [
    [0, 0, 0],
    [205, 0, 0],
    [0, 205, 0],
    [205, 205, 0],
    [0, 0, 238],
    [205, 0, 205],
    [0, 205, 205],
    [229, 229, 229],
    [127, 127, 127],
    [255, 0, 0],
    [0, 255, 0],
    [255, 255, 0],
    [92, 92, 255],
    [255, 0, 255],
    [0, 255, 255],
    [255, 255, 255],
];

/// `body` without colours: each blank on a coloured background, and each block character with a colour, becomes a character
/// by its luminance; every other visible character stays, in the same row and column.
///
/// Has no control character but LF, no blanks at the end of a line, and no LF at its end.
pub fn shade(body: &str) -> String {
    let lights = || cells(body).filter_map(|(character, colours)| luminance_of_pixel(character, colours));
    let darkest = lights().min().unwrap_or_default();
    // One more than the span, so that the lightest colour falls on the last step and not behind it.
    let span = lights().max().unwrap_or_default() - darkest + 1;
    let mut plain = String::with_capacity(body.len());
    for (character, colours) in cells(body) {
        if character == '\n' {
            plain.truncate(plain.trim_end_matches(' ').len());
        }
        plain.push(match luminance_of_pixel(character, colours) {
            Some(luminance) => char::from(RAMP[(luminance - darkest) * RAMP.len() / span]),
            None => character,
        });
    }
    plain.truncate(plain.trim_end_matches([' ', '\n']).len());
    plain
}

/// Whether nothing in `body` could do more to a terminal than colour it: of all control characters it has
/// only LF, and ESC where it begins an SGR sequence (`ESC [`, digits and semicolons, `m`).
pub fn is_colour_only(body: &str) -> bool {
    tokens(body).all(|token| match token {
        Token::Character(character) => character == '\n' || !character.is_control(),
        Token::Sgr(_) => true,
    })
}

/// A colour of xterm's palette: 16 basics, a cube of 6x6x6, 24 greys without black and white.
pub fn palette(index: u8) -> Rgb {
    // The cube's steps are 0, 95, 135, 175, 215, 255.
    let step = |level: u8| if level == 0 { 0 } else { 55 + 40 * level };
    match index {
        0..16 => BASICS[usize::from(index)],
        16..232 => {
            let place = index - 16;
            [step(place / 36), step(place / 6 % 6), step(place % 6)]
        }
        232..=255 => [8 + 10 * (index - 232); 3],
    }
}

/// A piece of a picture.
#[derive(Debug, Clone, Copy)]
pub(super) enum Token<'a> {
    Character(char),
    /// What stands between `ESC [` and `m`.
    Sgr(&'a str),
}

/// A picture's pieces. What looks like an SGR sequence and is none comes as its characters.
pub(super) fn tokens(mut rest: &str) -> impl Iterator<Item = Token<'_>> {
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

/// Which colours a character is drawn in; `None` is the terminal's own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Colours {
    foreground: Option<Rgb>,
    background: Option<Rgb>,
}

/// The characters of a body that take a place, and LFs, each with its colours.
fn cells(body: &str) -> impl Iterator<Item = (char, Colours)> {
    let mut colours = Colours::default();
    tokens(body).filter_map(move |token| match token {
        Token::Sgr(parameters) => {
            colours = colours.after(parameters);
            None
        }
        Token::Character(character) => (character == '\n' || !character.is_control()).then_some((character, colours)),
    })
}

impl Colours {
    /// The colours after an SGR sequence. What is not about them, or not well-formed, leaves them as they were.
    fn after(mut self, parameters: &str) -> Colours {
        // An absent parameter is 0; one that no terminal knows is as good as any other.
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

/// Of 255000, as ITU-R BT.601 weighs the three; `None` if nothing is painted here by colours alone. A block that fills a part
/// of its cell shows both colours.
fn luminance_of_pixel(character: char, Colours { foreground, background }: Colours) -> Option<usize> {
    let luminance = |colour: Rgb| {
        let [red, green, blue] = colour.map(usize::from);
        299 * red + 587 * green + 114 * blue
    };
    match character {
        ' ' => background.map(luminance),
        '\u{2588}' => foreground.map(luminance),
        '\u{2580}'..='\u{2590}' | '\u{2594}'..='\u{259f}' => match (foreground, background) {
            (Some(foreground), Some(background)) => Some((luminance(foreground) + luminance(background)) / 2),
            (one, other) => one.or(other).map(luminance),
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cows::art::{BUILTIN_NAMES, builtin_body};
    use crate::cows::bubble::Bubble;
    use std::collections::HashMap;

    fn bodies() -> impl Iterator<Item = (&'static str, String)> {
        BUILTIN_NAMES
            .into_iter()
            .map(|name| (name, builtin_body(name, &Bubble::default()).expect("a built-in cow has a body")))
    }

    /// Each line's characters with their colours.
    fn grid(body: &str) -> Vec<Vec<(char, Colours)>> {
        let cells: Vec<_> = cells(body).collect();
        cells.split(|(character, _)| *character == '\n').map(<[_]>::to_vec).collect()
    }

    #[test]
    fn every_builtin_cow_is_a_colour_only_body_and_ascii_when_shaded() {
        for (name, body) in bodies() {
            assert!(is_colour_only(&body), "{name}");
            let plain = shade(&body);
            assert!(plain.bytes().all(|byte| matches!(byte, b'\n' | b' '..=b'~')), "{name}:\n{plain}");
            assert!(plain.lines().all(|line| !line.ends_with(' ')), "{name}:\n{plain}");
            assert!(!plain.ends_with('\n'), "{name}:\n{plain}");
        }
    }

    #[test]
    fn what_is_painted_or_written_is_seen_in_its_place_and_nothing_else_is() {
        for (name, body) in bodies() {
            let plain = shade(&body);
            let (colour, plain) = (grid(&body), plain.lines().collect::<Vec<_>>());
            assert_eq!(colour.len(), plain.len(), "{name}");
            for (cells, line) in colour.iter().zip(plain) {
                assert!(line.len() <= cells.len(), "{name}: {line}");
                for (at, &(character, Colours { background, .. })) in cells.iter().enumerate() {
                    let seen = line.as_bytes().get(at).copied().unwrap_or(b' ');
                    match background {
                        Some(_) if character == ' ' => assert!(RAMP.contains(&seen), "{name}: {line}"),
                        _ => assert_eq!(char::from(seen), character, "{name}: {line}"),
                    }
                }
            }
        }
    }

    #[test]
    fn all_builtin_cows_look_different_and_use_both_ends_of_the_ramp() {
        let mut owners = HashMap::new();
        for (name, body) in bodies() {
            let plain = shade(&body);
            for end in ['#', '.'] {
                assert!(plain.matches(end).count() >= 4, "{name} has too few {end}:\n{plain}");
            }
            let ink = plain.bytes().filter(|byte| RAMP.contains(byte)).count();
            assert!(ink >= 200, "{name} is nearly blank:\n{plain}");
            // The pointer and the margin alone must not be what tells them apart.
            let drawn: String = plain.chars().filter(|character| !" \\\n".contains(*character)).collect();
            if let Some(twin) = owners.insert(drawn, name) {
                panic!("{name} looks like {twin}");
            }
        }
    }

    #[test]
    fn two_colours_however_close_are_told_apart() {
        assert_eq!(shade("\x1b[48;5;234m  \x1b[48;5;235m  \x1b[49m  "), "##..");
        assert_eq!(shade("\x1b[48;2;0;0;1m  \x1b[48;2;0;0;0m  "), "..##");
        assert_eq!(shade("\x1b[48;5;231m  "), "##", "one alone is its own darkest");
    }

    #[test]
    fn the_ramp_goes_from_dark_and_dense_to_light_and_sparse() {
        let body: String = (0..8).map(|step| format!("\x1b[48;2;{0};{0};{0}m ", 36 * step)).collect();
        assert_eq!(shade(&body).as_bytes(), RAMP);
    }

    #[test]
    fn all_ways_to_set_a_background_are_known() {
        let white = "\x1b[48;5;231m ";
        for (sgr, seen) in [
            ("40", "#"),
            ("100", "+"),
            ("107", "."),
            ("1;40", "#"),
            ("48;5;16", "#"),
            ("48;2;0;0;0", "#"),
            ("40;38;5;47", "#"),
            ("40;38;2;47;47;47", "#"),
            ("40;39", "#"),
            ("40;48;5", "#"),
            ("40;48;2;1", "#"),
            ("40;48;9", "#"),
            ("40;999", "#"),
            ("40;49", " "),
            ("40;0", " "),
            ("40;", " "),
            ("", " "),
            ("38;5;40", "."),
            ("7", "."),
        ] {
            let black = "\x1b[40m \x1b[m";
            let body = format!("{black}{white}\x1b[{sgr}m \x1b[m\\");
            assert_eq!(shade(&body), format!("#.{seen}\\"), "{sgr}");
        }
    }

    #[test]
    fn a_block_shows_its_own_colour_and_the_one_behind_it() {
        let ends = "\x1b[40m \x1b[107m \x1b[m";
        for (block, seen) in [
            ("\x1b[30m█", "#"),
            ("\x1b[97m▄", "."),
            ("\x1b[30;107m▀", "+"),
            ("\x1b[38;5;231;48;5;16m▐", "+"),
            ("\x1b[107m▄", "."),
            ("\x1b[30;39m▄", "▄"),
            ("\x1b[97;107;0m█", "█"),
            ("\x1b[30mo", "o"),
        ] {
            assert_eq!(shade(&format!("{ends}{block}")), format!("#.{seen}"), "{block:?}");
        }
    }

    #[test]
    fn a_background_goes_on_in_the_next_line() {
        assert_eq!(shade("\x1b[40m \n \x1b[107m \n "), "#\n#.\n.");
    }

    #[test]
    fn visible_characters_stay_and_controls_go() {
        assert_eq!(shade("a \x1b[31mмуу\x1b[40m° \x1b[0m  \n\n\r\x07b\x1b\u{9b}  \n \n"), "a муу°#\n\nb");
        assert_eq!(shade(""), "");
        assert_eq!(shade(" \n "), "");
    }

    #[test]
    fn only_sgr_sequences_and_lf_are_colour() {
        for body in ["", "moo", "a\nb", "\x1b[m", "\x1b[0m", "\x1b[48;5;1m  \x1b[49m", "\x1b[;;m", "муу▀"] {
            assert!(is_colour_only(body), "{body:?}");
        }
        for body in [
            "\x1b",
            "\x1b[",
            "\x1b[1",
            "\x1b[1;",
            "\x1b[2J",
            "\x1b[?25m",
            "\x1b[>4m",
            "\x1b[38:5:1m",
            "\x1b[1 m",
            "\x1b]0;m",
            "\x1b\x1b[1m",
            "\x1bm",
            "\r",
            "\t",
            "\x07",
            "\x7f",
            "\0",
            "\u{9b}1m",
            "\u{85}",
        ] {
            assert!(!is_colour_only(body), "{body:?}");
            assert!(!is_colour_only(&format!("\x1b[1mmoo{body} moo")), "{body:?}");
        }
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
    }
}
