//! Pictures for terminals without colour: what blanks and block characters paint with colours, in ASCII characters.
//!
//! Darker is denser, and each picture is stretched over the whole ramp: the cows have dark outlines, so they look drawn in ink
//! on a light terminal and in chalk on a dark one, and every painted cell leaves a mark on both. Cells are replaced one for
//! one, so the pointer, columns and rows stay where they were.

use super::sgr::{Colours, Rgb, cells, halves};

/// From a picture's darkest colour to its lightest. No blank, or the lightest would vanish; no `\`, which is the pointer's.
/// More steps are hard to tell apart.
const RAMP: &[u8; 8] = b"#%*+=-:.";

/// `body` without colours: each blank on a coloured background, and each block character with a colour, becomes a character
/// by its luminance; every other visible character stays, in the same row and column.
///
/// Has no control character but LF, no blanks at the end of a line, and no LF at its end.
pub fn shade(body: &str) -> String {
    let lights = || cells(body).filter_map(|(character, colours)| luminance_of_pixel(character, colours));
    let darkest = lights().min().unwrap_or_default();
    // One more than the span, so that the lightest colour falls on the last step and not beyond it.
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

/// Of 255000, as ITU-R BT.601 weighs the three; `None` if nothing is painted here by colours alone. A block that fills a part
/// of its cell shows both colours.
fn luminance_of_pixel(character: char, colours: Colours) -> Option<usize> {
    let luminance = |colour: Rgb| {
        let [red, green, blue] = colour.map(usize::from);
        299 * red + 587 * green + 114 * blue
    };
    match halves(character, colours).map(|half| half.map(luminance)) {
        [Some(one), Some(other)] => Some((one + other) / 2),
        [one, other] => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::super::art::{BUILTIN_NAMES, builtin_body};
    use super::super::bubble::Bubble;
    use super::super::sgr::is_colour_only;
    use super::*;
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
    fn every_painted_cell_and_no_other_becomes_ascii_in_its_place() {
        for (name, body) in bodies() {
            assert!(is_colour_only(&body), "{name}");
            let plain = shade(&body);
            assert!(plain.bytes().all(|byte| matches!(byte, b'\n' | b' '..=b'~')), "{name}:\n{plain}");
            assert!(plain.lines().all(|line| !line.ends_with(' ')) && !plain.ends_with('\n'), "{name}:\n{plain}");
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
    fn builtin_cows_look_different_and_use_the_whole_ramp() {
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
        let black = "\x1b[40m \x1b[m";
        for (seen, sgrs) in [
            ("#", "40,1;40,48;5;16,48;2;0;0;0,40;38;5;47,40;38;2;47;47;47,40;39,40;48;5,40;48;2;1,40;48;9,40;999"),
            ("+", "100"),
            (".", "107,38;5;40,7"),
            (" ", "40;49,40;0,40;,"),
        ] {
            for sgr in sgrs.split(',') {
                let body = format!("{black}{white}\x1b[{sgr}m \x1b[m\\");
                assert_eq!(shade(&body), format!("#.{seen}\\"), "{sgr}");
            }
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
}
