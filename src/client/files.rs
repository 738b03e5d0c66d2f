//! What the client keeps in files: typed lines, in the XDG state directory, and a transcript.
//!
//! A file that cannot be read or written is said once. The chat goes on without it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;
use etcetera::base_strategy::Xdg;
use rustix::fs::OFlags;
use rustyline::error::ReadlineError;
use rustyline::history::{FileHistory, History as _};

/// Lines to recall.
const HISTORY_LINES_MAX: usize = 1000;

/// Typed lines to recall. Those that are not private are in a file, for the next time.
pub(super) struct History {
    /// All lines, oldest first.
    lines: Vec<String>,
    /// Those of the file.
    file: Option<(FileHistory, PathBuf)>,
    /// Which line is recalled; their number is the line being typed.
    at: usize,
    /// The line being typed while another is recalled.
    typed: String,
}

impl History {
    /// Without a file.
    pub(super) fn in_memory() -> Self {
        History { lines: Vec::new(), file: None, at: 0, typed: String::new() }
    }

    /// With the lines of the file, which need not exist.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn load() -> Result<Self, String> {
        let path = path().ok_or("no history is kept: the home directory is unknown")?;
        let mut file = FileHistory::new();
        let loaded = file.set_max_len(HISTORY_LINES_MAX).and_then(|()| {
            path.parent().map_or(Ok(()), fs::create_dir_all)?;
            // To open a pipe would wait for its other end.
            if fs::metadata(&path).is_ok_and(|metadata| !metadata.is_file()) {
                return Err(io::Error::new(ErrorKind::InvalidInput, "it is no file").into());
            }
            match file.load(&path) {
                Err(ReadlineError::Io(error)) if error.kind() == ErrorKind::NotFound => Ok(()),
                loaded => loaded,
            }
        });
        loaded.map_err(|error| unusable(&path, &error))?;
        let lines: Vec<String> = file.iter().cloned().collect();
        Ok(History { at: lines.len(), lines, file: Some((file, path)), typed: String::new() })
    }

    /// Adds a line that was typed, unless it is blank. A private one is not written.
    pub(super) fn add(&mut self, line: &str, is_private: bool) {
        if !line.is_empty() && self.lines.last().is_none_or(|last| last != line) {
            self.lines.push(line.to_owned());
            if let Some((file, _)) = self.file.as_mut().filter(|_| !is_private) {
                // It fails for a file only, and this is memory.
                let _ = file.add(line);
            }
        }
        if self.lines.len() > HISTORY_LINES_MAX {
            self.lines.remove(0);
        }
        self.at = self.lines.len();
    }

    /// Writes the lines that were added.
    ///
    /// # Errors
    /// When the file cannot be written: nothing more is then.
    pub(super) fn save(&mut self) -> Result<(), String> {
        let Some((file, path)) = &mut self.file else { return Ok(()) };
        let written = file.append(path).map_err(|error| unusable(path, &error));
        if written.is_err() {
            self.file = None;
        }
        written
    }

    /// The line before the one that is shown, which is `shown`.
    pub(super) fn previous(&mut self, shown: &str) -> Option<&str> {
        let at = self.at.checked_sub(1)?;
        if self.at == self.lines.len() {
            shown.clone_into(&mut self.typed);
        }
        self.at = at;
        self.lines.get(at).map(String::as_str)
    }

    /// The line after the one that is shown.
    pub(super) fn next(&mut self) -> Option<&str> {
        if self.at == self.lines.len() {
            return None;
        }
        self.at += 1;
        Some(self.lines.get(self.at).map_or(self.typed.as_str(), String::as_str))
    }
}

/// `$XDG_STATE_HOME/cowchat/history`, by default `~/.local/state/cowchat/history`.
fn path() -> Option<PathBuf> {
    Some(Xdg::new().ok()?.state_dir()?.join("cowchat").join("history"))
}

fn unusable(path: &Path, error: &ReadlineError) -> String {
    format!("no history is kept: {}: {error} (--no-history does without)", path.display())
}

/// A file to which everything that is shown is appended.
pub(super) struct Transcript {
    path: PathBuf,
    file: Option<File>,
}

impl Transcript {
    /// Opens the file, or makes it, for this user only.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        // A pipe without a reader is an error, and one that is full, too: the chat does not wait for it.
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let file = OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(flags).open(path)?;
        Ok(Transcript { path: path.to_owned(), file: Some(file) })
    }

    /// Appends a line.
    ///
    /// # Errors
    /// When it cannot be written: nothing more is then.
    pub(super) fn append(&mut self, line: &str) -> Result<(), String> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let time = jiff::ZonedDateTime::now().strftime("%Y-%m-%d %H:%M:%S");
        file.write_all(format!("{time} {line}\n").as_bytes()).map_err(|error| {
            self.file = None;
            format!("{}: {error}; the transcript ends here", self.path.display())
        })
    }
}
