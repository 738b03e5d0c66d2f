//! The log: events go to stderr by a thread of their own.
//!
//! A core hands over a small value with its time and goes on. Formatting and the write happen in the thread, many lines
//! at once, so that a storm of logins costs little and a stuck terminal stops nobody. A line that does not get out is
//! counted, whether there was no room for it or its write failed, and the count is told when writing works again.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Write};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::events::{Event, Level};
use crate::limits::{LOG_EVENTS, LOG_GATHERING, LOG_PATIENCE, LOG_WRITE_BYTES};

/// Pause between two tries to hand in the last entry while the log is full.
const STOP_RETRY: Duration = Duration::from_millis(10);

/// What the thread is sent.
#[derive(Debug)]
enum Entry {
    Event(SystemTime, Event),
    Stop,
}

/// Where events are handed in; cheap to clone, never waits.
#[derive(Debug, Clone)]
pub struct Log {
    entries: SyncSender<Entry>,
    level: Level,
    /// Events that did not get out and that no [`Event::Lost`] has told of yet.
    lost: Arc<AtomicU64>,
}

/// The thread that writes; dropping it waits until what has been handed in is written, for
/// [`LOG_PATIENCE`] at most.
#[derive(Debug)]
pub struct LogWriter {
    log: Log,
    /// Disconnected when the thread ends.
    writing: Receiver<()>,
}

impl Log {
    /// Hands in one event. When the log is [`LOG_EVENTS`] behind it is dropped and counted.
    pub fn emit(&self, event: Event) {
        if event.level() > self.level {
            return;
        }
        if self.entries.try_send(Entry::Event(SystemTime::now(), event)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl LogWriter {
    /// Starts writing events of `level` and more important ones to stderr.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(level: Level) -> std::io::Result<LogWriter> {
        let (sender, entries) = sync_channel(LOG_EVENTS);
        let log = Log { entries: sender, level, lost: Arc::default() };
        let lost = Arc::clone(&log.lost);
        let (end, writing) = sync_channel(1);
        let write = move || {
            let _end: SyncSender<()> = end;
            let mut lines = Lines::default();
            // A panic of this thread is an event, too: the log goes on and writes it.
            while std::panic::catch_unwind(AssertUnwindSafe(|| write_all(&entries, &lost, &mut lines))).is_err() {
                lost.fetch_add(std::mem::take(&mut lines).count() + 1, Ordering::Relaxed);
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
        let deadline = Instant::now() + LOG_PATIENCE;
        let mut left = LOG_PATIENCE;
        // A full log may be a busy one; only one that stays full is stuck.
        while let Err(TrySendError::Full(_)) = self.log.entries.try_send(Entry::Stop)
            && !left.is_zero()
        {
            std::thread::park_timeout(STOP_RETRY.min(left));
            left = deadline.saturating_duration_since(Instant::now());
        }
        let _ = self.writing.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

/// Writes entries until the last one.
fn write_all(entries: &Receiver<Entry>, lost: &AtomicU64, lines: &mut Lines) {
    while let Ok(first) = entries.recv() {
        // An event that is handed in while nobody waits for one wakes no thread.
        std::thread::park_timeout(LOG_GATHERING);
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

/// Whether there is a control character in `text`, or a byte that may begin one.
fn may_have_controls(text: &str) -> bool {
    text.bytes().fold(false, |so_far, byte| so_far | matches!(byte, 0..=0x1f | 0x7f | 0xc2))
}

/// Log lines on their way to stderr.
#[derive(Debug, Default)]
struct Lines {
    text: String,
    /// The second of the last line, counted from 1970, and how it is written: most lines share theirs with others.
    second: u64,
    written: String,
    /// Whether a write ended within a line, so that the next one has to begin on a line of its own.
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
        let (second, micros, level) = (&self.written, since.subsec_micros(), event.level().label());
        let begin = self.text.len();
        write!(self.text, "{second}.{micros:06}Z {level} {event}").expect("writing to memory does not fail");
        // A file's name or a panic's message may hold anything: an event is one line, and no escape.
        if may_have_controls(&self.text[begin..]) {
            let line = self.text.split_off(begin);
            self.text.push_str(&line.replace(char::is_control, "?"));
        }
        self.text.push('\n');
    }

    /// How many there are.
    fn count(&self) -> u64 {
        count_lines(self.text.as_bytes())
    }

    /// Writes all of them, and how many were lost until now. Those that `out` does not take whole are lost, and counted
    /// there.
    fn write_out(&mut self, out: &mut impl Write, lost: &AtomicU64) {
        let told = lost.swap(0, Ordering::Relaxed);
        if told > 0 {
            self.add(SystemTime::now(), &Event::Lost { events: told });
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
            // The last line is the one that tells of them: it counts for what it tells.
            left if told > 0 => _ = lost.fetch_add(left - 1 + told, Ordering::Relaxed),
            left => _ = lost.fetch_add(left, Ordering::Relaxed),
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
    use crate::ids::ConnectionName;
    use crate::ids::ShardId;

    #[test]
    fn an_event_is_one_line_without_escapes() {
        let connection = ConnectionName { shard: ShardId::new(1), number: 7 };
        let mut lines = Lines::default();
        for message in ["é a\nb", "\x1b[31m\u{9b}1m", "fine"] {
            lines.add(UNIX_EPOCH + Duration::from_micros(1_500_000), &Event::Fault { connection, message });
        }
        let begin = "1970-01-01T00:00:01.500000Z ERROR internal fault, session ended connection=1.7 panic=";
        let expected = ["\"é a?b\"", "\"?[31m?1m\"", "\"fine\""].map(|end| format!("{begin}{end}\n"));
        assert_eq!(lines.text, expected.concat());
    }

    /// Takes a number of bytes in small pieces, with a signal before each, and then fails.
    #[derive(Default)]
    struct Narrow {
        room: usize,
        taken: Vec<u8>,
        is_interrupted: bool,
    }

    impl Narrow {
        fn with_room(room: usize) -> Narrow {
            Narrow { room, ..Narrow::default() }
        }
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
    fn lines_that_do_not_get_out_whole_are_counted_wherever_a_write_ends() {
        let text = three_lines().text;
        for room in 0..=text.len() {
            let mut out = Narrow::with_room(room);
            let lost = AtomicU64::new(0);
            let mut lines = three_lines();
            lines.write_out(&mut out, &lost);
            assert_eq!(out.taken, text.as_bytes()[..room], "room for {room}");
            let left = 3 - count_lines(&out.taken);
            assert_eq!(lost.load(Ordering::Relaxed), left, "room for {room}");
            assert!(lines.text.is_empty());

            // And told when there is room again, on a line of its own, and once.
            out.room = usize::MAX;
            lines.add(UNIX_EPOCH, &Event::NoSendRing { shard: ShardId::new(7) });
            lines.write_out(&mut out, &lost);
            let taken = String::from_utf8(out.taken).expect("text");
            let whole = taken.lines().filter(|line| line.ends_with(" accepts again")).count() as u64;
            // The one that lacks nothing but its end counts as lost, and is there all the same.
            assert_eq!(whole + left, 3 + u64::from(text.as_bytes().get(room) == Some(&b'\n')));
            let told = format!(" WARN {left} log lines were lost: ");
            assert_eq!(taken.lines().filter(|line| line.contains(&told)).count(), usize::from(left > 0), "{taken}");
            assert!(
                taken.lines().any(|line| line.starts_with("1970-") && line.contains(" no ring for sends")),
                "{taken}"
            );
            assert_eq!(lost.load(Ordering::Relaxed), 0);
        }
    }

    #[test]
    fn what_was_lost_is_told_only_when_it_gets_out() {
        let lost = AtomicU64::new(5);
        let mut shut = Narrow::with_room(0);
        let mut lines = three_lines();
        lines.write_out(&mut shut, &lost);
        assert_eq!(lost.load(Ordering::Relaxed), 8);
        lines = three_lines();
        // All but the last byte of the line that tells of them.
        let mut narrow = Narrow::with_room(lines.text.len() + 40);
        lines.write_out(&mut narrow, &lost);
        assert_eq!(lost.load(Ordering::Relaxed), 8);
        let mut open = Narrow::with_room(usize::MAX);
        lines.write_out(&mut open, &lost);
        let taken = String::from_utf8(open.taken).expect("text");
        assert!(taken.starts_with('\n') && taken.contains(" WARN 8 log lines were lost: "), "{taken}");
    }
}
