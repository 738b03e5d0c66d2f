//! The terminal: its mode, and the typed line in its last row with everything else above.
//!
//! A change is one write: the typed row is erased, what is new is printed in its place, and the row is drawn below. So the
//! typed line is never torn, and the terminal scrolls and keeps the rest.

use std::io::{self, IsTerminal, Write};

use crossterm::event::{DisableBracketedPaste, EnableBracketedPaste};
use crossterm::terminal::{
    BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, disable_raw_mode, enable_raw_mode, size,
};
use crossterm::{QueueableCommand, cursor, style};
use rustix::process::{Signal, kill_current_process_group};

use super::drawing::{Abilities, Window};
use super::line::Line;

/// The terminal in raw mode, until it is dropped.
#[derive(Debug)]
pub(super) struct Screen {
    abilities: Abilities,
    /// Whether a narrower window wraps the rows that it has.
    has_reflow: bool,
    /// Column of the cursor in the typed row as it is drawn.
    cursor: usize,
}

/// Whether a user sits in front of stdin and stdout, at a terminal that can move its cursor.
pub(super) fn is_at_terminal() -> bool {
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term.is_empty() || term == "dumb");
    io::stdin().is_terminal() && io::stdout().is_terminal() && !is_dumb
}

impl Screen {
    /// Turns raw mode on: each key arrives at once.
    ///
    /// # Errors
    /// When the terminal refuses.
    pub(super) fn new(abilities: Abilities) -> io::Result<Self> {
        let screen = Screen { abilities, has_reflow: has_reflow(), cursor: 0 };
        start()?;
        Ok(screen)
    }

    /// The size of the window now.
    pub(super) fn window(&self) -> Window {
        let (columns, rows) = size().unwrap_or_default();
        Window::new(columns, rows)
    }

    /// Prints `text`, whose lines end in LF, above the typed line, and draws that line as it is now.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub(super) fn draw(&mut self, text: &str, prompt: &str, line: &mut Line) -> io::Result<()> {
        let columns = self.window().columns;
        let mut out = Vec::with_capacity(text.len() + 256);
        out.queue(BeginSynchronizedUpdate)?;
        self.erase(columns, &mut out)?;
        out.extend(text.replace('\n', "\r\n").bytes());
        // A prompt that leaves no room for a line is none.
        let prompt = if 2 * line.width(prompt) > columns { "> " } else { prompt };
        let prompt_columns = line.width(prompt);
        let (visible, cursor) = line.visible(columns.saturating_sub(prompt_columns));
        let visible = visible.to_owned();
        if self.abilities.color {
            write!(out, "\x1b[1m{prompt}\x1b[m{visible}")?;
        } else {
            write!(out, "{prompt}{visible}")?;
        }
        out.queue(cursor::MoveToColumn(u16::try_from(prompt_columns + cursor).unwrap_or(u16::MAX)))?;
        out.queue(EndSynchronizedUpdate)?;
        self.cursor = prompt_columns + cursor;
        write(&out)
    }

    /// Erases the typed row. In a window that has become narrower it may be several, and the cursor stands in one of them.
    fn erase(&self, columns: usize, out: &mut Vec<u8>) -> io::Result<()> {
        let rows_above = if self.has_reflow { self.cursor / columns.max(1) } else { 0 };
        if rows_above > 0 {
            out.queue(cursor::MoveUp(u16::try_from(rows_above).unwrap_or(u16::MAX)))?;
        }
        out.queue(cursor::MoveToColumn(0))?.queue(Clear(ClearType::FromCursorDown))?;
        Ok(())
    }

    /// Clears the window. The next [`Screen::draw`] begins in its first row.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        let mut out = Vec::new();
        out.queue(Clear(ClearType::All))?.queue(cursor::MoveTo(0, 0))?;
        self.cursor = 0;
        write(&out)
    }

    /// Rings the terminal's bell.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub(super) fn ring(&self) -> io::Result<()> {
        write(b"\x07")
    }

    /// Stops the process, as Ctrl-Z does in a terminal that is not in raw mode. Returns when it goes on.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub(super) fn suspend(&mut self) -> io::Result<()> {
        self.leave();
        kill_current_process_group(Signal::TSTP)?;
        self.cursor = 0;
        start()
    }

    /// Leaves the typed row and raw mode.
    fn leave(&self) {
        let mut out = Vec::new();
        let erased = self.erase(self.window().columns, &mut out).and_then(|()| write(&out));
        // A terminal that is gone needs no mode.
        let _ = erased.and_then(|()| stop());
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.leave();
    }
}

/// xterm, the Linux console and GNU screen cut the rows of a window that becomes narrower. tmux, which sets TERM like screen,
/// and the others wrap them.
fn has_reflow() -> bool {
    let has = |name| std::env::var_os(name).is_some();
    let is_old =
        std::env::var("TERM").is_ok_and(|term| ["linux", "screen", "vt"].iter().any(|old| term.starts_with(old)));
    has("TMUX") || !(is_old || has("XTERM_VERSION"))
}

fn start() -> io::Result<()> {
    enable_raw_mode()?;
    let mut out = Vec::new();
    out.queue(EnableBracketedPaste)?;
    write(&out)
}

fn stop() -> io::Result<()> {
    let mut out = Vec::new();
    out.queue(DisableBracketedPaste)?.queue(style::ResetColor)?;
    write(&out)?;
    disable_raw_mode()
}

fn write(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}
