//! The log: a thread writes events to stderr, one a line: time, level, then the event's fields, in logfmt or as JSON. The
//! journal gets each line's priority before it (sd-daemon(3)).
//!
//! A core hands over a small value with its time and goes on. The thread formats and writes many lines at once, so a storm
//! of logins costs little and a stuck terminal stops no core. A line that finds no room, or whose write fails, is counted;
//! the count is logged when writing works again.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Write};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::fstat;

use crate::events::{Event, Kind, Level, Value};
use crate::limits::{LOG_BATCHING, LOG_EVENTS, LOG_WAIT_MAX, LOG_WRITE_BYTES};

/// Why writing to a string never fails.
const INTO_MEMORY: &str = "writing to memory does not fail";

/// Pause between two tries to hand in the last entry while the queue is full.
const STOP_RETRY: Duration = Duration::from_millis(10);

/// How an event is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// In logfmt, for people and grep.
    #[default]
    Text,
    /// As one JSON object.
    Json,
}

impl Format {
    /// The names of the formats, in their order.
    pub const NAMES: [&str; 2] = ["text", "json"];

    /// The format of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        let place = Self::NAMES.iter().position(|known| *known == name)?;
        Some([Format::Text, Format::Json][place])
    }
}

#[derive(Debug)]
enum Entry {
    Event(SystemTime, Event),
    Stop,
}

/// Lines that were lost.
#[derive(Debug, Default)]
struct Lost {
    /// Since the last [`Event::LogLinesLost`].
    untold: AtomicU64,
    all: AtomicU64,
}

impl Lost {
    fn add(&self, lines: u64) {
        self.untold.fetch_add(lines, Ordering::Relaxed);
        self.all.fetch_add(lines, Ordering::Relaxed);
    }
}

/// Takes events; cheap to clone, never waits.
#[derive(Debug, Clone)]
pub struct Log {
    entries: SyncSender<Entry>,
    /// The priority of the least important events that are written.
    level: Arc<AtomicU8>,
    lost: Arc<Lost>,
}

/// The thread that writes. Dropping it waits until every event is written, for [`LOG_WAIT_MAX`] at most.
#[derive(Debug)]
pub struct LogWriter {
    log: Log,
    /// Disconnected when the thread ends.
    writing: Receiver<()>,
}

impl Log {
    /// Hands in one event; without room in the queue of [`LOG_EVENTS`] it is dropped and counted.
    pub fn emit(&self, event: Event) {
        let is_written = event.kind().level.priority() <= self.level.load(Ordering::Relaxed);
        if is_written && self.entries.try_send(Entry::Event(SystemTime::now(), event)).is_err() {
            self.lost.add(1);
        }
    }

    /// From now on events of `level` and more important ones are written, for all clones.
    pub fn set_level(&self, level: Level) {
        self.level.store(level.priority(), Ordering::Relaxed);
    }

    /// Lines that were lost so far: the queue was full, or a write failed.
    pub fn lines_lost(&self) -> u64 {
        self.lost.all.load(Ordering::Relaxed)
    }
}

impl LogWriter {
    /// Starts writing events of `level` and more important ones to stderr, in this format.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(level: Level, format: Format) -> io::Result<LogWriter> {
        let (sender, entries) = sync_channel(LOG_EVENTS);
        let log = Log { entries: sender, level: Arc::new(level.priority().into()), lost: Arc::default() };
        let lost = Arc::clone(&log.lost);
        let (end, writing) = sync_channel(1);
        let write = move || {
            let _end: SyncSender<()> = end;
            let new_lines = || Lines { format, has_priorities: is_stderr_the_journal(), ..Lines::default() };
            let mut lines = new_lines();
            // A panic of this thread is an event, too: the loop goes on and writes it.
            while std::panic::catch_unwind(AssertUnwindSafe(|| write_all(&entries, &lost, &mut lines))).is_err() {
                lost.add(count_lines(std::mem::replace(&mut lines, new_lines()).text.as_bytes()) + 1);
            }
        };
        std::thread::Builder::new().name("log".to_owned()).spawn(write)?;
        Ok(LogWriter { log, writing })
    }

    /// Where to hand events in.
    pub fn log(&self) -> Log {
        self.log.clone()
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        let deadline = Instant::now() + LOG_WAIT_MAX;
        let mut left = LOG_WAIT_MAX;
        // A full queue may be a busy one; only one that stays full is stuck.
        while let Err(TrySendError::Full(_)) = self.log.entries.try_send(Entry::Stop)
            && !left.is_zero()
        {
            std::thread::park_timeout(STOP_RETRY.min(left));
            left = deadline.saturating_duration_since(Instant::now());
        }
        let _ = self.writing.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

/// Whether systemd has connected stderr to its journal (systemd.exec(5), JOURNAL_STREAM).
fn is_stderr_the_journal() -> bool {
    let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    fstat(io::stderr()).is_ok_and(|stderr| stream == format!("{}:{}", stderr.st_dev, stderr.st_ino))
}

/// Writes entries until the last one.
fn write_all(entries: &Receiver<Entry>, lost: &Lost, lines: &mut Lines) {
    while let Ok(first) = entries.recv() {
        // While this thread is not in `recv`, `emit` wakes no thread.
        std::thread::park_timeout(LOG_BATCHING);
        let more = std::iter::from_fn(|| entries.try_recv().ok());
        for entry in std::iter::once(first).chain(more) {
            let Entry::Event(at, event) = entry else {
                lines.write_out(&mut io::stderr(), lost);
                return;
            };
            lines.add(at, &event);
            if lines.text.len() >= LOG_WRITE_BYTES {
                lines.write_out(&mut io::stderr(), lost);
            }
        }
        lines.write_out(&mut io::stderr(), lost);
    }
}

/// Writes as much of `bytes` as `out` takes, and returns how many that are.
fn write_some(out: &mut impl Write, bytes: &[u8]) -> usize {
    let mut written = 0;
    while written < bytes.len() {
        match out.write(&bytes[written..]) {
            Ok(0) => break,
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    written
}

/// Appends ` name=value`, or nothing if the value is empty. A value with more than ASCII, or a blank, quote or `=`, is quoted.
/// Control characters, as in a file's name, are escaped: an event is one line, and a terminal obeys nothing in it.
fn push_field(text: &mut String, name: &str, value: &dyn Value) {
    let begin = text.len();
    text.extend([" ", name, "="]);
    let at = text.len();
    write!(text, "{value}").expect(INTO_MEMORY);
    if text.len() == at {
        text.truncate(begin);
    } else if text[at..].bytes().any(|byte| !byte.is_ascii_graphic() || matches!(byte, b'"' | b'=')) {
        let raw = text.split_off(at);
        push_quoted(text, &raw);
    }
}

/// Appends `,"name":value`, or nothing if the value is empty.
fn push_member(text: &mut String, name: &str, value: &dyn Value) {
    let raw = value.to_string();
    if raw.is_empty() {
        return;
    }
    text.push(',');
    push_quoted(text, name);
    text.push(':');
    if value.is_number() { text.push_str(&raw) } else { push_quoted(text, &raw) }
}

/// Appends `raw` in quotes, as a JSON string.
fn push_quoted(text: &mut String, raw: &str) {
    text.push('"');
    for c in raw.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            c if c.is_control() => text.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => text.push(c),
        }
    }
    text.push('"');
}

/// Log lines on their way to stderr.
#[derive(Debug, Default)]
struct Lines {
    text: String,
    format: Format,
    /// A line begins with its priority.
    has_priorities: bool,
    /// The second of the last line, since 1970, and its text: most lines share theirs with others.
    second: u64,
    written: String,
    /// Whether a write ended within a line: the next one begins with a line feed.
    is_torn: bool,
}

impl Lines {
    fn add(&mut self, at: SystemTime, event: &Event) {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.second != since.as_secs() || self.written.is_empty() {
            self.second = since.as_secs();
            let whole = UNIX_EPOCH + Duration::from_secs(self.second);
            self.written = humantime::format_rfc3339_seconds(whole).to_string().trim_end_matches('Z').to_owned();
        }
        let (second, micros, Kind { key, level, sentence }) = (&self.written, since.subsec_micros(), event.kind());
        if self.has_priorities {
            write!(self.text, "<{}>", level.priority()).expect(INTO_MEMORY);
        }
        let (begun, push, end): (_, fn(&mut String, &str, &dyn Value), _) = match self.format {
            Format::Text => {
                let level = level.label();
                (write!(self.text, "{second}.{micros:06}Z {level} event={key}"), push_field, "\n")
            }
            Format::Json => {
                let level = level.name();
                let begin =
                    format_args!("{{\"time\":\"{second}.{micros:06}Z\",\"level\":\"{level}\",\"event\":\"{key}\"");
                (self.text.write_fmt(begin), push_member, "}\n")
            }
        };
        begun.expect(INTO_MEMORY);
        event.fields(&mut |fields| fields.iter().for_each(|(name, value)| push(&mut self.text, name, *value)));
        push(&mut self.text, "msg", &sentence);
        self.text.push_str(end);
    }

    /// Writes all lines, and one with the number of `lost` ones. A line that `out` does not take whole adds to `lost`.
    fn write_out(&mut self, out: &mut impl Write, lost: &Lost) {
        let counted = lost.untold.swap(0, Ordering::Relaxed);
        if counted > 0 {
            self.add(SystemTime::now(), &Event::LogLinesLost { lines: counted });
        }
        let bytes = self.text.as_bytes();
        if self.is_torn && !bytes.is_empty() {
            self.is_torn = write_some(out, b"\n") == 0;
        }
        let written = if self.is_torn { 0 } else { write_some(out, bytes) };
        if written > 0 {
            self.is_torn = bytes[written - 1] != b'\n';
        }
        match count_lines(&bytes[written..]) {
            0 => {}
            // The last line has the count of lost lines: if it is lost, the count stays.
            left if counted > 0 => {
                lost.untold.fetch_add(counted, Ordering::Relaxed);
                lost.add(left - 1);
            }
            left => lost.add(left),
        }
        self.text.clear();
    }
}

fn count_lines(text: &[u8]) -> u64 {
    text.iter().filter(|&&byte| byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::close_reason::CloseReason;
    use crate::ids::{ConnectionName, ShardId};

    fn line_of(event: &Event) -> String {
        let mut lines = Lines::default();
        lines.add(UNIX_EPOCH + Duration::from_micros(1_500_000), event);
        lines.text
    }

    #[test]
    fn an_event_is_one_line_without_controls() {
        for (error, shown) in [
            ("é a\nb", r#""é a\u000ab""#),
            ("\x1b[31m\u{9b}1m", r#""\u001b[31m\u009b1m""#),
            (r#"no "x" in C:\x"#, r#""no \"x\" in C:\\x""#),
            ("a=b", r#""a=b""#),
            (r"C:\fine", r"C:\fine"),
        ] {
            let event = Event::CowSkipped { path: "a b".into(), error: error.to_owned() };
            let begin = r#"1970-01-01T00:00:01.500000Z  WARN event=cow_skipped path="a b" error="#;
            assert_eq!(line_of(&event), format!("{begin}{shown}\n"));
        }
    }

    #[test]
    fn as_json_an_event_has_the_same_keys() {
        let connection = ConnectionName { shard: ShardId::new(0), number: 7 };
        let json = |event: &Event| {
            let mut lines = Lines { format: Format::Json, has_priorities: true, ..Lines::default() };
            lines.add(UNIX_EPOCH + Duration::from_micros(1_500_000), event);
            lines.text
        };
        let begin = "{\"time\":\"1970-01-01T00:00:01.500000Z\",\"level\":";
        let closed = Event::Closed {
            connection,
            cow: Some("a \"b\"\n\u{9b}".to_owned()),
            reason: CloseReason::SlowConsumer,
            error: None,
        };
        let fields = "\"reason\":\"slow_consumer\",\"connection\":\"0.7\",\"cow\":\"a \\\"b\\\"\\u000a\\u009b\"";
        assert_eq!(json(&closed), format!("<6>{begin}\"info\",\"event\":\"closed\",{fields}}}\n"));
        let recovered = Event::CoreRecovered { shard: ShardId::new(1), stalled: Duration::from_secs(2) };
        let fields = "\"core\":1,\"stalled_ms\":2000";
        assert_eq!(json(&recovered), format!("<4>{begin}\"warn\",\"event\":\"core_recovered\",{fields}}}\n"));
    }

    #[test]
    fn a_line_has_fields_then_a_sentence_and_no_empty_value() {
        let shard = ShardId::new(1);
        let closed = |cow, error| {
            line_of(&Event::Closed {
                connection: ConnectionName { shard, number: 7 },
                cow,
                reason: CloseReason::ReadFailed,
                error,
            })
        };
        let begin = "1970-01-01T00:00:01.500000Z  INFO event=closed reason=read_failed connection=1.7";
        let whole = closed(Some("tux#2".to_owned()), Some("connection reset".to_owned()));
        assert_eq!(whole, format!("{begin} cow=tux#2 error=\"connection reset\"\n"));
        assert_eq!(closed(None, None), format!("{begin}\n"));
        assert_eq!(
            line_of(&Event::CoreStalled { shard }),
            "1970-01-01T00:00:01.500000Z  WARN event=core_stalled core=1 msg=\"the core has made no progress for 1 s\"\n"
        );
    }

    /// Takes a number of bytes in small pieces, with a signal before each, and then fails.
    #[derive(Default)]
    struct Narrow {
        room: usize,
        taken: Vec<u8>,
        is_interrupted: bool,
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.is_interrupted = !self.is_interrupted;
            if self.is_interrupted {
                return Err(ErrorKind::Interrupted.into());
            }
            let count = bytes.len().min(3).min(self.room);
            self.taken.extend_from_slice(&bytes[..count]);
            self.room -= count;
            if count == 0 { Err(ErrorKind::StorageFull.into()) } else { Ok(count) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn three_lines() -> Lines {
        let mut lines = Lines::default();
        for shard in 0..3 {
            lines.add(UNIX_EPOCH, &Event::AcceptRecovered { shard: ShardId::new(shard) });
        }
        lines
    }

    #[test]
    fn a_line_that_is_not_written_whole_is_counted() {
        let text = three_lines().text;
        for room in 0..=text.len() {
            let mut out = Narrow { room, ..Narrow::default() };
            let lost = Lost::default();
            let mut lines = three_lines();
            lines.write_out(&mut out, &lost);
            assert_eq!(out.taken, text.as_bytes()[..room], "room for {room}");
            let left = 3 - count_lines(&out.taken);
            assert_eq!(lost.untold.load(Ordering::Relaxed), left, "room for {room}");
            assert!(lines.text.is_empty());

            // And told when there is room again, on a line of its own, and once.
            out.room = usize::MAX;
            lines.add(UNIX_EPOCH, &Event::NoSendRing { shard: ShardId::new(7) });
            lines.write_out(&mut out, &lost);
            let taken = String::from_utf8(out.taken).expect("text");
            let whole = taken.lines().filter(|line| text.lines().any(|whole| whole == *line)).count() as u64;
            // The one that lacks nothing but its end counts as lost, and is there all the same.
            assert_eq!(whole + left, 3 + u64::from(text.as_bytes().get(room) == Some(&b'\n')));
            let told = format!(" WARN event=log_lines_lost lines={left} ");
            assert_eq!(taken.lines().filter(|line| line.contains(&told)).count(), usize::from(left > 0), "{taken}");
            let next = |line: &str| line.starts_with("1970-") && line.contains(" event=no_send_ring core=7 ");
            assert!(taken.lines().any(next), "{taken}");
            assert_eq!(lost.untold.load(Ordering::Relaxed), 0);
        }
    }

    #[test]
    fn the_count_of_lost_lines_stays_until_it_is_written() {
        let lost = Lost::default();
        lost.add(5);
        let mut out = Narrow::default();
        let mut lines = three_lines();
        lines.write_out(&mut out, &lost);
        assert_eq!(lost.untold.load(Ordering::Relaxed), 8);
        lines = three_lines();
        // Room for a part of the line that tells of them.
        out.room = lines.text.len() + 40;
        lines.write_out(&mut out, &lost);
        assert_eq!(lost.untold.load(Ordering::Relaxed), 8);
        out = Narrow { room: usize::MAX, ..Narrow::default() };
        lines.write_out(&mut out, &lost);
        let taken = String::from_utf8(out.taken).expect("text");
        assert!(taken.starts_with('\n') && taken.contains(" WARN event=log_lines_lost lines=8 "), "{taken}");
    }
}
