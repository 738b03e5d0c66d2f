//! The log: events go to stderr by a thread of their own.
//!
//! A core hands over a small value with its time and goes on. Formatting and the write happen in the thread, many lines
//! at once, so that a storm of logins costs little and a stuck terminal stops nobody.

use std::fmt::Write as _;
use std::io::Write as _;
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
    /// Events that did not fit since the last one that did.
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
            write_all(&entries, &lost);
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
fn write_all(entries: &Receiver<Entry>, lost: &AtomicU64) {
    let mut lines = Lines::default();
    while let Ok(first) = entries.recv() {
        // An event that is handed in while nobody waits for one wakes no thread.
        std::thread::park_timeout(LOG_GATHERING);
        let more = std::iter::from_fn(|| entries.try_recv().ok());
        for entry in std::iter::once(first).chain(more) {
            let Entry::Event(at, event) = entry else {
                lines.write_out();
                return;
            };
            lines.add(at, &event);
            match lost.swap(0, Ordering::Relaxed) {
                0 => {}
                events => lines.add(SystemTime::now(), &Event::Lost { events }),
            }
            if lines.text.len() >= LOG_WRITE_BYTES {
                lines.write_out();
            }
        }
        lines.write_out();
    }
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

    /// Writes all of them. What stderr does not take is lost.
    fn write_out(&mut self) {
        let _ = std::io::stderr().write_all(self.text.as_bytes());
        self.text.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::ShardId;
    use crate::events::ConnectionName;

    #[test]
    fn an_event_is_one_line_without_escapes() {
        let connection = ConnectionName { shard: ShardId::new(1), number: 7 };
        let mut lines = Lines::default();
        for message in ["é a\nb", "\x1b[31m\u{9b}1m", "fine"] {
            lines.add(
                UNIX_EPOCH + Duration::from_micros(1_500_000),
                &Event::Fault { connection, message: message.to_owned() },
            );
        }
        let begin = "1970-01-01T00:00:01.500000Z ERROR internal fault, session ended connection=1.7 panic=";
        let expected = ["\"é a?b\"", "\"?[31m?1m\"", "\"fine\""].map(|end| format!("{begin}{end}\n"));
        assert_eq!(lines.text, expected.concat());
    }
}
