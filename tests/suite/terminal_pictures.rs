//! Pictures at a terminal: the largest form that fits the window, whole, or none; the text is always whole.

use crate::support::{Client, Key, Screen, Server, Terminal, all_cows, filled};

/// Forms of a picture, the largest first, as `art` names them, and where they are used.
struct Case {
    size: (u16, u16),
    env: &'static [(&'static str, &'static str)],
    forms: &'static [&'static str],
}

const CASES: [Case; 6] = [
    Case { size: (80, 24), env: &[], forms: &["color", "half", "small"] },
    Case { size: (200, 60), env: &[], forms: &["color", "half", "small"] },
    Case { size: (40, 60), env: &[], forms: &["color", "half", "small"] },
    Case { size: (30, 10), env: &[], forms: &["color", "half", "small"] },
    Case { size: (80, 24), env: &[("LANG", "C")], forms: &["color", "small"] },
    Case { size: (80, 24), env: &[("NO_COLOR", "1")], forms: &["plain", "small"] },
];

/// A window in which each picture fits.
const LARGE: (u16, u16) = (250, 100);

/// The lines of a picture, from the server.
fn picture(client: &mut Client, cow: &str, form: &str) -> Vec<String> {
    let reply = client.ask(&format!("show {cow} {form}"));
    let count = reply.strip_prefix(&format!("{cow}: ")).and_then(|rest| rest.strip_suffix(" lines"));
    let count = count.unwrap_or_else(|| panic!("no picture: {reply}"));
    (0..count.parse().expect("a number")).map(|_| client.read_line()).collect()
}

/// Columns and rows of a picture, its escape sequences left out.
fn size_of(picture: &[String]) -> (usize, usize) {
    let columns = |line: &String| {
        let mut pieces = line.split('\x1b');
        let first = pieces.next().map_or(0, |piece| piece.chars().count());
        let after = pieces.map(|piece| piece.split_once('m').map_or(0, |(_, text)| text.chars().count()));
        first + after.sum::<usize>()
    };
    (picture.iter().map(columns).max().unwrap_or_default(), picture.len())
}

/// `screen` shows in its first rows that `cow` says `text` in a bubble of so many lines above the picture.
fn expect_bubble(screen: &Screen, cow: &str, text: &[String], bubble_rows: usize, picture: &[String]) {
    let rows = screen.rows();
    assert_eq!(rows[0], format!("{cow} says:"), "{rows:#?}");
    let (bubble, below) = rows[1..].split_at(bubble_rows);
    let is_edge = |row: &str, edge: char| !row.trim().is_empty() && row.trim().chars().all(|it| it == edge);
    assert!(is_edge(&bubble[0], '_') && is_edge(&bubble[bubble_rows - 1], '-'), "{bubble:#?}");
    assert_eq!(below[picture.len()], "tux#2> ");
    let first = 1 + bubble_rows;
    let shown = screen.cells(first..first + picture.len());
    assert_eq!(shown, Screen::of(picture, LARGE).cells(0..picture.len()), "{cow}: {rows:#?}");
    assert!((0..first + picture.len()).all(|row| !screen.is_wrapped(row)), "{rows:#?}");
    let said = bubble.iter().flat_map(|row| row.split_whitespace()).filter(|word| word.ends_with('.'));
    assert_eq!(said.collect::<Vec<_>>(), text, "{bubble:#?}");
}

/// `text` must stand after `says`, and its further rows be indented.
fn expect_folded(screen: &Screen, says: &str, text: &str) {
    let rows = screen.all_rows();
    let first = rows.iter().rposition(|row| row.starts_with(says)).unwrap_or_else(|| panic!("{rows:#?}"));
    let end = rows.iter().rposition(|row| row.starts_with("tux#2> ")).expect("the typed line");
    let shown = &rows[first..end];
    assert!(shown[1..].iter().all(|row| row.starts_with("  ")), "{rows:#?}");
    let words: Vec<&str> = shown.iter().flat_map(|row| row.split_whitespace()).collect();
    assert_eq!(words, says.split(' ').chain(text.split(' ')).collect::<Vec<_>>(), "{rows:#?}");
}

#[test]
fn a_picture_is_the_largest_that_fits_and_no_row_is_torn() {
    let server = Server::with(&["--herd", "2"]);
    let mut guest = server.connect();
    for Case { size, env, forms } in CASES {
        let flags = ["--quiet", "--no-time"];
        let mut terminal = Terminal::with_env(server.address, &flags, size, env).connected().logged_in("tux#2");
        let (columns, rows) = (usize::from(size.0), usize::from(size.1));
        let mut round = 0;
        for cow in all_cows() {
            let pictures: Vec<_> = forms.iter().map(|form| picture(&mut guest, cow, form)).collect();
            // The client has the picture when it has shown it, or said that it does not fit.
            terminal.enter(&format!("show {cow}"));
            terminal.wait_for(|screen| screen.all_rows().iter().any(|row| row.starts_with(&format!("{cow}:"))));
            let mut sender = server.login(cow);
            for words in [1, 6, 60] {
                round += 1;
                terminal.press(Key::Ctrl('l'));
                terminal.wait_for(|screen| screen.rows()[0] == "tux#2> ");
                let words: Vec<String> = (1..=words).map(|n| format!("{round}x{n}.")).collect();
                let text = words.join(" ");
                assert_eq!(sender.ask(&format!("yield {text}")), "Sent to 1 cow");
                let screen = terminal.wait_for(|screen| {
                    screen.typed() == "tux#2> " && screen.all_rows().concat().contains(&words[words.len() - 1])
                });
                let bubble_rows = filled(&text, columns - 6).lines().count() + 2;
                let fits = |picture: &&Vec<String>| {
                    let size = size_of(picture);
                    size.0 <= columns && 1 + bubble_rows + size.1 < rows
                };
                let largest = pictures.iter().position(|picture| fits(&picture));
                if let Some(largest) = largest {
                    expect_bubble(&screen, cow, &words, bubble_rows, &pictures[largest]);
                } else {
                    expect_folded(&screen, &format!("{cow} says:"), &text);
                }
            }
            sender.quit();
        }
    }
}
