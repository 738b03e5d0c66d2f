//! The screen of a terminal, as an emulator makes it of the output.
//!
//! The emulator keeps synchronized updates: a screen is looked at between two of them, never within one.

use std::io::Read;
use std::num::NonZeroU16;
use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Instant;

use super::GUARD;

/// Rows that have left the window and are kept.
const SCROLLBACK_ROWS: usize = 1000;

/// A cell: what is in it, its colour and its background.
pub type Look = (String, vt100::Color, vt100::Color);

/// What the terminal shows at one moment.
#[derive(Clone)]
pub struct Screen {
    inner: vt100::Screen,
    /// How often the bell has rung.
    pub bells: usize,
    /// Chunks of output so far.
    pub(super) chunks: usize,
}

impl Screen {
    /// What a window of this size shows of these lines.
    pub fn of(lines: &[String], size: (u16, u16)) -> Screen {
        let mut parser = vt100::Parser::new(emulated(size.1), emulated(size.0), 0);
        parser.process(lines.join("\r\n").as_bytes());
        Screen { inner: parser.screen().clone(), bells: 0, chunks: 0 }
    }

    fn columns(&self) -> u16 {
        self.inner.size().1.get()
    }

    /// The rows of the window.
    pub fn rows(&self) -> Vec<String> {
        self.inner.rows(0, self.columns()).collect()
    }

    /// What `of_row` makes of each row, also of those that have left the window.
    fn each_row<T>(&self, of_row: impl Fn(&vt100::Screen, u16) -> T) -> Vec<T> {
        let mut screen = self.inner.clone();
        screen.set_scrollback(usize::MAX);
        let mut made = Vec::new();
        for offset in (1..=screen.scrollback()).rev() {
            screen.set_scrollback(offset);
            made.push(of_row(&screen, 0));
        }
        made.extend((0..self.inner.size().0.get()).map(|row| of_row(&self.inner, row)));
        made
    }

    /// All rows, also those that have left the window.
    pub fn all_rows(&self) -> Vec<String> {
        let columns = self.columns();
        self.each_row(|screen, row| screen.rows(0, columns).nth(usize::from(row)).unwrap_or_default())
    }

    /// Whether a row has `text`, also one that has left the window.
    pub fn has(&self, text: &str) -> bool {
        self.count(text) > 0
    }

    /// How many rows have `text`.
    pub fn count(&self, text: &str) -> usize {
        self.all_rows().iter().filter(|row| row.contains(text)).count()
    }

    /// The row of the window that has `text`.
    pub fn row_of(&self, text: &str) -> Option<usize> {
        self.rows().iter().position(|row| row.contains(text))
    }

    /// Row and column of the cursor.
    pub fn cursor(&self) -> (u16, u16) {
        self.inner.cursor_position()
    }

    /// The row of the cursor: the prompt, and the typed line.
    pub fn typed(&self) -> String {
        self.rows().swap_remove(usize::from(self.cursor().0))
    }

    /// Whether text has run over the right edge of this row of the window.
    pub fn is_wrapped(&self, row: usize) -> bool {
        self.inner.row_wrapped(u16::try_from(row).expect("a row of the window"))
    }

    /// The cell in which `text` begins in the first row of the window that has it.
    pub fn cell_of(&self, text: &str) -> &vt100::Cell {
        let row = self.row_of(text).unwrap_or_else(|| panic!("no {text:?} on the screen\n{}", self.shown()));
        let row = u16::try_from(row).expect("a row of the window");
        let begins = |column: &u16| self.inner.contents_between(row, *column, row, self.columns()).starts_with(text);
        let column = (0..self.columns()).find(begins).expect("the row has it");
        self.inner.cell(row, column).expect("a cell of the window")
    }

    /// How many cells have a colour, also those that have left the window.
    pub fn coloured_cells(&self) -> usize {
        let is_coloured = |cell: &vt100::Cell| [cell.fgcolor(), cell.bgcolor()] != [vt100::Color::Default; 2];
        let of_row = |screen: &vt100::Screen, row| {
            let cells = (0..self.columns()).filter_map(|column| screen.cell(row, column));
            cells.filter(|cell| is_coloured(cell)).count()
        };
        self.each_row(of_row).iter().sum()
    }

    /// How the cells of some rows of the window look, without the blank ends of rows.
    pub fn cells(&self, rows: Range<usize>) -> Vec<Vec<Look>> {
        let look = |cell: &vt100::Cell| {
            let contents = if cell.has_contents() { cell.contents() } else { " " };
            (contents.to_owned(), cell.fgcolor(), cell.bgcolor())
        };
        let of_row = |row: usize| {
            let row = u16::try_from(row).expect("a row of the window");
            let cells = (0..self.columns()).filter_map(|column| self.inner.cell(row, column));
            let mut looks: Vec<Look> = cells.map(look).collect();
            let is_blank = |(contents, _, back): &Look| contents == " " && *back == vt100::Color::Default;
            looks.truncate(looks.iter().rposition(|look| !is_blank(look)).map_or(0, |last| last + 1));
            looks
        };
        rows.map(of_row).collect()
    }

    /// Whether the program has asked for pastes in brackets.
    pub fn brackets_pastes(&self) -> bool {
        self.inner.bracketed_paste()
    }

    /// The window, for a failure.
    pub(super) fn shown(&self) -> String {
        let rows: String = self.rows().iter().map(|row| format!("|{row}\n")).collect();
        format!("{rows}cursor at {:?}, {} bells", self.cursor(), self.bells)
    }
}

/// What the emulator tells beside the cells.
#[derive(Default)]
struct Told {
    bells: usize,
    /// Between the begin and the end of a synchronized update.
    is_updating: bool,
}

impl vt100::Callbacks for Told {
    fn audible_bell(&mut self, _: &mut vt100::Screen) {
        self.bells += 1;
    }

    fn unhandled_csi(
        &mut self,
        _: &mut vt100::Screen,
        intermediate: Option<u8>,
        _: Option<u8>,
        parameters: &[&[u16]],
        end: char,
    ) {
        if (intermediate, parameters) == (Some(b'?'), &[&[2026]]) {
            self.is_updating = end == 'h';
        }
    }
}

/// The emulator, and what is known of its input.
struct Emulator {
    parser: vt100::Parser<Told>,
    chunks: usize,
    /// The other side has closed the terminal.
    has_ended: bool,
    /// This side is about to close it: the next chunk is not read.
    is_closing: bool,
}

impl Emulator {
    fn screen(&self) -> Screen {
        let Emulator { parser, chunks, .. } = self;
        Screen { inner: parser.screen().clone(), bells: parser.callbacks().bells, chunks: *chunks }
    }
}

/// A screen that one thread feeds and another one looks at.
pub(super) struct Display {
    emulator: Mutex<Emulator>,
    more: Condvar,
}

impl Display {
    /// A window of this many columns and rows.
    pub(super) fn new(size: (u16, u16)) -> Display {
        let (rows, columns) = (emulated(size.1), emulated(size.0));
        let parser = vt100::Parser::new_with_callbacks(rows, columns, SCROLLBACK_ROWS, Told::default());
        let emulator = Emulator { parser, chunks: 0, has_ended: false, is_closing: false };
        Display { emulator: Mutex::new(emulator), more: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Emulator> {
        self.emulator.lock().expect("no panic")
    }

    /// Shows `output` until it ends, or until a test closes the terminal.
    pub(super) fn show(&self, mut output: impl Read) {
        let mut chunk = vec![0; 64 * 1024];
        loop {
            // A terminal that the other side has closed fails.
            let count = output.read(&mut chunk).unwrap_or(0);
            let mut emulator = self.lock();
            if emulator.is_closing {
                return;
            }
            emulator.parser.process(&chunk[..count]);
            emulator.chunks += 1;
            emulator.has_ended = count == 0;
            self.more.notify_all();
            if count == 0 {
                return;
            }
        }
    }

    /// [`Display::show`] returns at the next chunk.
    pub(super) fn close(&self) {
        self.lock().is_closing = true;
    }

    pub(super) fn resize(&self, size: (u16, u16)) {
        self.lock().parser.set_size(emulated(size.1), emulated(size.0));
    }

    /// What is shown now.
    pub(super) fn screen(&self) -> Screen {
        self.lock().screen()
    }

    /// Waits until the screen, between two updates, is so. Fails with the screen.
    #[track_caller]
    pub(super) fn wait_for(&self, is_so: impl Fn(&Screen) -> bool) -> Screen {
        let deadline = Instant::now() + GUARD;
        let mut emulator = self.lock();
        loop {
            let screen = emulator.screen();
            if !emulator.parser.callbacks().is_updating && is_so(&screen) {
                return screen;
            }
            if emulator.has_ended || Instant::now() >= deadline {
                drop(emulator);
                panic!("the client has ended, or hangs:\n{}", screen.shown());
            }
            emulator = self.more.wait_timeout(emulator, GUARD).expect("no panic").0;
        }
    }
}

fn emulated(size: u16) -> NonZeroU16 {
    NonZeroU16::new(size).expect("a window has cells")
}
