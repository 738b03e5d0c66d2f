//! `cowchat ctl`: sends one request to the server's control socket and shows the reply.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::termios::tcgetwinsize;
use serde_json::Value;

use crate::cli::{ControlCommand, CtlArgs};

/// Longer than the server lets a core take.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);

/// Between two rounds of `--watch`.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each text says it")]
pub enum CtlError {
    #[error("cannot connect to {0}: only the server's user and root may (try sudo)")]
    Forbidden(String),
    #[error(
        "cannot reach a server at {path}: {error} (does it run? start it with --control, and give ctl the same path)"
    )]
    Unreachable { path: String, error: io::Error },
    #[error("the server gave no reply: {0}")]
    NoReply(io::Error),
    #[error("{0}")]
    Refused(String),
    #[error("cannot write to stdout: {0}")]
    Stdout(io::Error),
}

/// Asks the server and prints its reply; with `--watch`, again and again.
///
/// # Errors
/// When there is no server, or it refuses.
pub fn run(args: &CtlArgs) -> Result<(), CtlError> {
    let watches = args.watch && matches!(args.command, ControlCommand::Stats | ControlCommand::Who);
    loop {
        let reply = ask(&args.control, &args.command)?;
        let value: Value = serde_json::from_str(&reply).map_err(|error| CtlError::NoReply(error.into()))?;
        let text = match (args.json, &value["error"]) {
            (true, _) => reply,
            (false, Value::String(_)) => String::new(),
            (false, _) => table(&value["ok"]),
        };
        let text = if watches && !args.json { frame(&text, window()) } else { text };
        let mut stdout = io::stdout().lock();
        match write!(stdout, "{text}").and_then(|()| stdout.flush()) {
            // `head` has seen enough.
            Err(error) if watches && error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written.map_err(CtlError::Stdout)?,
        }
        if let Value::String(error) = &value["error"] {
            return Err(CtlError::Refused(error.clone()));
        }
        if !watches {
            return Ok(());
        }
        std::thread::park_timeout(WATCH_INTERVAL);
    }
}

/// Rows and columns of the terminal at stdout, if it is one; 0 if unknown.
fn window() -> Option<(usize, usize)> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    Some((size.ws_row.into(), size.ws_col.into()))
}

/// One round of `--watch`: over the last one, as much as fits the window; without a window, below it.
fn frame(text: &str, window: Option<(usize, usize)>) -> String {
    let Some((rows, columns)) = window else { return format!("{text}\n") };
    let mut lines: Vec<&str> = text.lines().collect();
    let all = lines.len();
    // The last row is for the cursor.
    let fit = if rows == 0 { all } else { rows.saturating_sub(1) };
    let more = format!("... {} more lines", all.saturating_sub(fit) + 1);
    if all > fit {
        lines.truncate(fit.saturating_sub(1));
        lines.push(&more);
    }
    let columns = if columns == 0 { usize::MAX } else { columns };
    // Each line clears its own rest, and the end what is below: nothing flickers.
    let clipped = lines.iter().map(|line| line.chars().take(columns).chain("\x1b[K\r\n".chars()).collect::<String>());
    format!("\x1b[H{}\x1b[J", clipped.collect::<String>())
}

/// The server's reply, a line.
fn ask(path: &Path, command: &ControlCommand) -> Result<String, CtlError> {
    let mut server = UnixStream::connect(path).map_err(|error| match (path.display().to_string(), error.kind()) {
        (path, io::ErrorKind::PermissionDenied) => CtlError::Forbidden(path),
        (path, _) => CtlError::Unreachable { path, error },
    })?;
    let mut exchange = || -> io::Result<String> {
        server.set_read_timeout(Some(REPLY_TIMEOUT))?;
        server.set_write_timeout(Some(REPLY_TIMEOUT))?;
        // One write: a server without a place for this client replies without reading.
        let sent = server.write_all(format!("{}\n", serde_json::to_string(command)?).as_bytes());
        let mut reply = String::new();
        BufReader::new(&server).read_line(&mut reply)?;
        if reply.is_empty() {
            sent?;
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(reply)
    };
    exchange().map_err(CtlError::NoReply)
}

/// A reply for people: names and values, or a row for each object of an array.
fn table(value: &Value) -> String {
    let cell = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let rows: Vec<Vec<String>> = match value {
        Value::Object(members) => {
            let rows = members.iter().flat_map(|(name, value)| match value {
                Value::Object(parts) => parts.iter().map(|(part, value)| (format!("{name}.{part}"), value)).collect(),
                value => vec![(name.clone(), value)],
            });
            rows.map(|(name, value)| vec![name, cell(value)]).collect()
        }
        Value::Array(objects) => {
            let objects = || objects.iter().filter_map(Value::as_object);
            let heading = objects().next().map(|first| first.keys().cloned().collect());
            heading.into_iter().chain(objects().map(|object| object.values().map(cell).collect())).collect()
        }
        other => vec![vec![cell(other)]],
    };
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0);
    let line = |row: &Vec<String>| {
        let cells = row.iter().enumerate().map(|(column, cell)| format!("{cell:<width$}", width = width(column)));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_frame_fits_its_window() {
        let text = "abcdef\nghi\njkl\n";
        assert_eq!(frame(text, Some((4, 4))), "\x1b[Habcd\x1b[K\r\nghi\x1b[K\r\njkl\x1b[K\r\n\x1b[J");
        assert_eq!(frame(text, Some((3, 9))), "\x1b[Habcdef\x1b[K\r\n... 2 mor\x1b[K\r\n\x1b[J");
        assert_eq!(frame(text, Some((9, 0))), format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\r\n")));
        assert_eq!(frame(text, None), format!("{text}\n"));
    }

    #[test]
    fn a_table_is_aligned() {
        assert_eq!(table(&json!({ "a": 1, "long": null })), "a     1\nlong  -\n");
        assert_eq!(table(&json!({ "n": { "a": 1, "b": 2 }, "none": {} })), "n.a  1\nn.b  2\n");
        let rows = json!([{ "cow": "tux", "n": 1 }, { "cow": "turtle", "n": 20 }]);
        assert_eq!(table(&rows), "cow     n\ntux     1\nturtle  20\n");
        assert_eq!(table(&json!([])), "");
    }
}
