//! Colour pictures at half their width and height: two columns and two rows become one cell with a colour in each half.
//!
//! charasay's pixels are two blanks wide, so each of them becomes exactly one half of a cell. Of other pictures colours are
//! mixed.

use std::iter;

use unicode_width::UnicodeWidthChar;

use super::sgr::{Colours, Rgb, cells, change, halves};

/// A character in its colours.
type Cell = (char, Colours);

/// Two columns of two rows as one cell.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Half {
    /// The colours of its upper and its lower half.
    Pixels([Option<Rgb>; 2]),
    /// On the terminal's own background.
    Character(Cell),
}

const UNPAINTED: [Option<Rgb>; 2] = [None; 2];

/// `colour`, a body in colour, at half its columns and rows, rounded up. A picture that paints nothing by colours alone stays
/// as it is: letters cannot be halved.
///
/// A half of a cell covers two columns of one row. It is painted if at least half of that is, with the mean of the colours.
/// Where nothing is painted a visible character stays; of two rows that have some, those of the upper row, so that a pointer
/// stays one line.
///
/// Each line that sets colours ends without them. Has no control character but LF and those of SGR sequences, no unpainted
/// blanks at the end of a line, and no LF at its end. It is not ASCII: cells are U+2580, U+2584 and U+2588.
pub fn halve(colour: &str) -> String {
    if cells(colour).all(|(character, colours)| halves(character, colours) == UNPAINTED) {
        return colour.to_owned();
    }
    let mut half = String::with_capacity(colour.len());
    for pair in rows(colour).chunks(2) {
        let lower = pair.get(1).map_or(&[][..], Vec::as_slice);
        push_line(&mut half, &merged(&pair[0], lower));
        half.push('\n');
    }
    half.truncate(half.trim_end_matches('\n').len());
    half
}

/// A body's rows, a cell for each column.
fn rows(body: &str) -> Vec<Vec<Cell>> {
    let mut rows = vec![Vec::new()];
    for (character, colours) in cells(body) {
        if character == '\n' {
            rows.push(Vec::new());
            continue;
        }
        let row = rows.last_mut().expect("there is a first row");
        match character.width() {
            Some(1) => row.push((character, colours)),
            // Half of a wide character cannot be shown, but its background can.
            width => row.extend(iter::repeat_n((' ', colours), width.unwrap_or_default())),
        }
    }
    rows
}

/// Two rows as one.
fn merged(upper: &[Cell], lower: &[Cell]) -> Vec<Half> {
    let halved: Vec<[Half; 2]> = pairs(upper, lower)
        .map(|(upper, lower)| {
            let pixels = [mean(upper), mean(lower)];
            let visible = |row: &[Cell]| character(row).filter(|_| pixels == UNPAINTED);
            [upper, lower].map(|row| visible(row).unwrap_or(Half::Pixels(pixels)))
        })
        .collect();
    let row = usize::from(!halved.iter().any(|[upper, _]| matches!(upper, Half::Character(_))));
    halved.iter().map(|rows| rows[row]).collect()
}

/// Two columns of both rows after two, as long as one has any.
fn pairs<'r>(upper: &'r [Cell], lower: &'r [Cell]) -> impl Iterator<Item = (&'r [Cell], &'r [Cell])> {
    let columns = upper.len().max(lower.len());
    let pair = |row: &'r [Cell], at: usize| &row[at.min(row.len())..(at + 2).min(row.len())];
    (0..columns).step_by(2).map(move |at| (pair(upper, at), pair(lower, at)))
}

/// The colour of two columns of a row, if at least half of them is painted.
fn mean(columns: &[Cell]) -> Option<Rgb> {
    let shown = |&(character, colours): &Cell| {
        let halves = halves(character, colours);
        // A letter is too small to be seen on what is behind it.
        if halves == UNPAINTED { [colours.background; 2] } else { halves }
    };
    let painted: Vec<Rgb> = columns.iter().flat_map(shown).flatten().collect();
    let mean = |part: usize| {
        let sum: usize = painted.iter().map(|colour| usize::from(colour[part])).sum();
        (sum / painted.len()) as u8
    };
    // Of four halves.
    (painted.len() >= 2).then(|| [0, 1, 2].map(mean))
}

/// The first visible character of two columns, without what is behind it.
fn character(columns: &[Cell]) -> Option<Half> {
    let is_visible = |&&(character, colours): &&Cell| character != ' ' && halves(character, colours) == UNPAINTED;
    let &(character, Colours { foreground, .. }) = columns.iter().find(is_visible)?;
    Some(Half::Character((character, Colours { foreground, background: None })))
}

/// Appends a line.
fn push_line(out: &mut String, line: &[Half]) {
    let end = line.iter().rposition(|half| *half != Half::Pixels(UNPAINTED)).map_or(0, |last| last + 1);
    let mut current = Colours::default();
    for half in &line[..end] {
        let [one, other] =
            half.drawn(current).map(|(character, colours)| (change(current, colours), character, colours));
        let bytes = |(change, character, _): &(String, char, Colours)| change.len() + character.len_utf8();
        let (change, character, colours) = if bytes(&one) <= bytes(&other) { one } else { other };
        out.push_str(&change);
        out.push(character);
        current = colours;
    }
    out.push_str(&change(current, Colours::default()));
}

impl Half {
    /// Two cells that look the same, in the colours after `current`. The one in fewer bytes makes a picture a sixth smaller
    /// than always the same would.
    fn drawn(self, current: Colours) -> [Cell; 2] {
        let Colours { foreground, background } = current;
        let cell = |character, foreground, background| (character, Colours { foreground, background });
        match self {
            Half::Character(cell) => [cell; 2],
            Half::Pixels([None, None]) => [cell(' ', None, None), cell(' ', foreground, None)],
            Half::Pixels([upper, None]) => [cell('\u{2580}', upper, None); 2],
            Half::Pixels([None, lower]) => [cell('\u{2584}', lower, None); 2],
            Half::Pixels([upper, lower]) if upper == lower => {
                [cell(' ', foreground, upper), cell('\u{2588}', upper, background)]
            }
            Half::Pixels([upper, lower]) => [cell('\u{2580}', upper, lower), cell('\u{2584}', lower, upper)],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::art::{BUILTIN_NAMES, builtin_body};
    use super::super::bubble::Bubble;
    use super::super::sgr::{is_colour_only, size};
    use super::*;

    /// Each with its colour body and its half body.
    fn builtins() -> impl Iterator<Item = (&'static str, String, String)> {
        BUILTIN_NAMES.into_iter().map(|name| {
            let colour = builtin_body(name, &Bubble::default()).expect("a built-in cow has a body");
            let half = halve(&colour);
            (name, colour, half)
        })
    }

    /// What the upper and the lower half of each cell of a half body show.
    fn pixels(half: &str) -> Vec<Vec<Option<Rgb>>> {
        let of_row = |row: &Vec<Cell>| {
            let shown = |&(character, Colours { foreground, background }): &Cell| match character {
                '\u{2580}' => [foreground, background],
                '\u{2584}' => [background, foreground],
                '\u{2588}' => [foreground; 2],
                _ => [background; 2],
            };
            [0, 1].map(|half| row.iter().map(|cell| shown(cell)[half]).collect())
        };
        rows(half).iter().flat_map(of_row).collect()
    }

    #[test]
    fn every_pixel_of_a_builtin_cow_is_half_a_cell_of_its_colour() {
        for (name, colour, half) in builtins() {
            let pixels = pixels(&half);
            assert!(pixels.len() - rows(&colour).len() <= 1, "{name}");
            for (row, shown) in rows(&colour).iter().zip(&pixels) {
                for (at, pair) in row.chunks(2).enumerate() {
                    let [(_, Colours { background, .. }), ..] = pair else { panic!("a chunk has one cell") };
                    assert!(pair.iter().all(|(_, colours)| colours.background == *background), "{name}: half a pixel");
                    assert_eq!(shown.get(at).copied().flatten(), *background, "{name}");
                }
                assert!(shown.iter().skip(row.len().div_ceil(2)).all(Option::is_none), "{name}");
            }
            assert!(pixels[rows(&colour).len()..].iter().flatten().all(Option::is_none), "{name}");
        }
    }

    #[test]
    fn pointers_stay_one_line_from_the_bubble_to_the_cow() {
        for (name, colour, half) in builtins() {
            let columns = |body: &str| -> Vec<usize> {
                let rows = rows(body);
                let column = |row: &Vec<Cell>| row.iter().position(|(character, _)| *character == '\\');
                rows.iter().map_while(column).collect()
            };
            let expected: Vec<usize> = columns(&colour).iter().step_by(2).map(|column| column / 2).collect();
            let found = columns(&half);
            // The last one may be on a cell that is painted.
            assert!(
                expected.starts_with(&found) && expected.len() - found.len() <= 1,
                "{name}: {found:?} {expected:?}"
            );
            assert_eq!(half.matches('\\').count(), found.len(), "{name}:\n{half}");
        }
    }

    #[test]
    fn a_builtin_cow_takes_half_the_bytes_and_most_fit_a_screen() {
        let (mut bytes, mut fitting) = ([0, 0], 0);
        for (name, colour, half) in builtins() {
            assert!(half.len() * 100 <= colour.len() * 65, "{name}: {} of {} bytes", half.len(), colour.len());
            bytes = [bytes[0] + colour.len(), bytes[1] + half.len()];
            let ((columns, rows), (half_columns, half_rows)) = (size(&colour), size(&half));
            assert!(half_columns <= columns.div_ceil(2) && half_rows == rows.div_ceil(2), "{name}");
            let bubble = Bubble::default().draw("good morning, cows").lines().count();
            // One line is the header, and one is typed.
            let lines = bubble + half_rows + 2;
            fitting += usize::from(half_columns <= 80 && lines <= 24);
        }
        assert!(bytes[1] * 100 <= bytes[0] * 52, "{bytes:?}");
        assert!(fitting >= 21, "{fitting}");
    }

    #[test]
    fn lines_end_without_colours_and_without_unpainted_blanks() {
        let others = ["\x1b[41m \n\n  \x1b[0m \n \n\n", "\x1b[31mmoo\x1b[42m  \n\x1b[0m\\   \n"].map(str::to_owned);
        for half in builtins().map(|(.., half)| half).chain(others.map(|body| halve(&body))) {
            assert!(is_colour_only(&half) && !half.ends_with('\n'), "{half:?}");
            for line in half.lines() {
                let (last, colours) = cells(&format!("{line}|")).last().expect("a cell");
                assert_eq!((last, colours), ('|', Colours::default()), "{line:?}");
                let cell = cells(line).last();
                assert_ne!(
                    cell.map(|(character, colours)| (character, colours.background)),
                    Some((' ', None)),
                    "{line:?}"
                );
            }
        }
    }

    #[test]
    fn a_half_is_painted_with_the_mean_if_at_least_half_of_it_is() {
        let (black, white) = ("\x1b[48;5;16m", "\x1b[48;5;231m");
        for (colour, half) in [
            (format!("{black}  "), "\x1b[38;5;16m▀\x1b[m"),
            (format!("{black} "), "\x1b[38;5;16m▀\x1b[m"),
            (format!("\n{black} \x1b[m "), "\x1b[38;5;16m▄\x1b[m"),
            (format!("{black}  \n  "), "\x1b[48;5;16m \x1b[m"),
            (format!("{black}  \n{white}  "), "\x1b[38;5;16;48;5;231m▀\x1b[m"),
            (format!("{black} {white} "), "\x1b[38;2;127;127;127m▀\x1b[m"),
            (format!("{white} \x1b[m "), "\x1b[38;5;231m▀\x1b[m"),
            // Three halves of four, two, and one.
            ("\x1b[38;5;16;48;5;231m▀\x1b[49m▄".into(), "\x1b[38;2;85;85;85m▀\x1b[m"),
            ("\x1b[38;5;231m▀▄".into(), "\x1b[38;5;231m▀\x1b[m"),
            ("\x1b[38;5;231m▀ \x1b[m.".into(), " ."),
            ("\x1b[38;5;231m██".into(), "\x1b[38;5;231m▀\x1b[m"),
        ] {
            assert_eq!(halve(&colour), half, "{colour:?}");
        }
    }

    #[test]
    fn of_cells_that_look_the_same_the_shorter_is_taken() {
        let [red, blue] = ["\x1b[48;5;160m  ", "\x1b[48;5;21m  "];
        assert_eq!(halve(&format!("{red}{blue}\n{blue}{red}")), "\x1b[38;5;160;48;5;21m▀▄\x1b[m");
        assert_eq!(halve(&format!("{red}{red}\n{blue}{red}")), "\x1b[38;5;160;48;5;21m▀█\x1b[m");
        assert_eq!(halve(&format!("{red}{blue}\n{blue}{blue}")), "\x1b[38;5;160;48;5;21m▀ \x1b[m");
    }

    #[test]
    fn characters_stay_where_nothing_is_painted() {
        let red = "\x1b[41m  \x1b[m";
        for (colour, half) in [
            (
                format!("\\   {red}\n \\  {red}\n  \\ {red}\n   \\{red}"),
                "\\ \x1b[48;2;205;0;0m \x1b[m\n \\\x1b[48;2;205;0;0m \x1b[m",
            ),
            (format!("    {red}\n \\"), "\\ \x1b[38;2;205;0;0m▀\x1b[m"),
            (format!("{red}\no."), "\x1b[38;2;205;0;0m▀\x1b[m"),
            ("oo\x1b[31m.\n\x1b[41m  \x1b[m  \x1b[34mo".into(), "\x1b[38;2;205;0;0m▄.\x1b[m"),
            (format!("\x1b[31mo\x1b[m   {red}"), "\x1b[38;2;205;0;0mo ▀\x1b[m"),
        ] {
            assert_eq!(halve(&colour), half, "{colour:?}");
        }
    }

    #[test]
    fn a_picture_that_paints_nothing_stays_as_it_is() {
        for body in ["", "  \\ (oo)\n\n   ~~ ", "\x1b[31mмуу\x1b[0m", "\x1b[41mmoo\x1b[m", "██"] {
            assert_eq!(halve(body), body);
        }
    }
}
