//! The terminal: its mode, and the typed line in one row with everything else above.
//!
//! A change is one write: the typed row is erased, what is new is printed in its place, and the row is drawn below. So the
//! typed line is never torn, and the terminal scrolls and keeps the rest.

use std::io::{self, IsTerminal, Write};

use crossterm::event::{DisableBracketedPaste, EnableBracketedPaste};
use crossterm::terminal::{
    BeginSynchronizedUpdate, Clear, ClearType, DisableLineWrap, EnableLineWrap, EndSynchronizedUpdate,
    disable_raw_mode, enable_raw_mode,
};
use crossterm::{QueueableCommand, cursor, style};
use rustix::process::{Signal, kill_current_process_group};
use rustix::termios::tcgetwinsize;

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
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
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
        let size = tcgetwinsize(io::stdout());
        size.map_or_else(|_| Window::new(0, 0), |size| Window::new(size.ws_col, size.ws_row))
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
        // A prompt leaves room for a line.
        let has_room = |prompt: &&str| 2 * line.width(prompt) <= columns;
        let prompt = [prompt, "> "].into_iter().find(has_room).unwrap_or_default();
        let prompt_columns = line.width(prompt);
        let (before, after) = line.visible(columns.saturating_sub(prompt_columns));
        let (before, after) = (before.to_owned(), after.to_owned());
        // A row that the terminal draws wider than expected must not become two.
        out.queue(DisableLineWrap)?;
        if self.abilities.colour {
            write!(out, "\x1b[1m{prompt}\x1b[m{before}")?;
        } else {
            write!(out, "{prompt}{before}")?;
        }
        // The terminal itself knows best how wide it draws an emoji.
        out.queue(cursor::SavePosition)?;
        out.extend(after.bytes());
        out.queue(cursor::RestorePosition)?.queue(EnableLineWrap)?.queue(EndSynchronizedUpdate)?;
        self.cursor = (prompt_columns + line.width(&before)).min(columns - 1);
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
        // Terminals keep what they clear in their scrollback.
        self.erase(self.window().columns, &mut out)?;
        out.queue(Clear(ClearType::All))?.queue(cursor::MoveTo(0, 0))?;
        self.cursor = 0;
        write(&out)
    }

    /// Stops the process, as Ctrl-Z does in a terminal that is not in raw mode. Returns when it goes on.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub(super) fn suspend(&mut self) -> io::Result<()> {
        self.leave();
        kill_current_process_group(Signal::TSTP)?;
        self.resume()
    }

    /// The process was stopped, and goes on: the shell has changed the mode meanwhile, and the cursor's row is another.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub(super) fn resume(&mut self) -> io::Result<()> {
        // crossterm believes that raw mode is still on.
        restore();
        self.cursor = 0;
        start()
    }

    /// Leaves raw mode, and then the typed row.
    fn leave(&self) {
        restore();
        let mut out = Vec::new();
        let erased = self.erase(self.window().columns, &mut out).and_then(|()| {
            out.queue(DisableBracketedPaste)?.queue(style::ResetColor)?;
            write(&out)
        });
        // A terminal that is gone needs nothing.
        let _ = erased;
    }
}

/// Gives the terminal the mode that it had. Does not wait for it.
pub(super) fn restore() {
    // A terminal that is gone needs no mode.
    let _ = disable_raw_mode();
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

fn write(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

#[cfg(test)]
mod tests {
    use std::mem::ManuallyDrop;

    use super::*;

    #[test]
    fn a_row_that_a_narrower_window_wraps_is_erased_whole() {
        let erased = |cursor, columns, has_reflow| {
            let abilities = Abilities { colour: true, utf8: true };
            // Its end would write to the terminal of the test.
            let screen = ManuallyDrop::new(Screen { abilities, has_reflow, cursor });
            let mut out = Vec::new();
            screen.erase(columns, &mut out).expect("memory");
            String::from_utf8(out).expect("ASCII")
        };
        let here = "\x1b[1G\x1b[J";
        assert_eq!(erased(65, 30, true), format!("\x1b[2A{here}"));
        assert_eq!(erased(29, 30, true), here);
        assert_eq!(erased(65, 30, false), here, "rows that are cut are no more than before");
        assert_eq!(erased(0, 1, true), here);
    }
}
