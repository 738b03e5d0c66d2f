//! What waits to be written to one connection, in order and bounded.
//!
//! The contract:
//! 1. Pushing never waits and never writes.
//! 2. What is pushed leaves in the order in which it was pushed, each byte once.
//! 3. Everything that waits leaves in as few writes as the socket allows.
//! 4. Only messages from other connections count towards the limit. Replies do not: the connection is throttled instead
//!    (`limits::SENDQ_OWN_BYTES`), so none is cut for its own replies.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::time::Duration;

use crate::faults::{self, Point};
use crate::held_bytes;
use crate::limits::{READ_BYTES, SENDQ_GRACE, SENDQ_MESSAGE_BYTES_MIN, SENDQ_OVERRUN, WRITE_SLICES_MAX};
use crate::shard::Payload;

/// Room for chunks that an emptied queue keeps: 8 of 24 bytes are nothing, those of a full queue are kilobytes.
const CHUNKS_KEPT: usize = 8;

/// The queue would hold more messages from others than it ever may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueFull;

/// How a message was queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// Within the limit.
    Within,
    /// Over it, which a reader may be for a moment.
    Over,
}

/// A piece that waits. Its memory, but for what is shared, is counted while it lives.
#[derive(Debug)]
struct Chunk(Content);

#[derive(Debug)]
enum Content {
    /// The connection's own: replies and notices.
    Own(Vec<u8>),
    /// A message, shared with its other receivers.
    Message { payload: Payload, from_others: bool },
}

impl Chunk {
    fn new(content: Content) -> Self {
        let chunk = Chunk(content);
        held_bytes::count(chunk.held_bytes());
        chunk
    }

    fn held_bytes(&self) -> i64 {
        let own = if let Content::Own(bytes) = &self.0 { bytes.capacity() } else { 0 };
        (size_of::<Chunk>() + own) as i64
    }

    fn bytes(&self) -> &[u8] {
        match &self.0 {
            Content::Own(bytes) => bytes,
            Content::Message { payload, .. } => payload,
        }
    }

    fn payload(&self) -> Option<&Payload> {
        if let Content::Message { payload, .. } = &self.0 { Some(payload) } else { None }
    }

    fn is_from_others(&self) -> bool {
        matches!(self.0, Content::Message { from_others: true, .. })
    }

    /// Appends `more` to bytes of the connection's own, unless these are many already: then it needs another chunk.
    fn append(&mut self, more: Vec<u8>) -> Result<(), Vec<u8>> {
        let before = self.held_bytes();
        match &mut self.0 {
            Content::Own(bytes) if bytes.len() < READ_BYTES => bytes.extend_from_slice(&more),
            _ => return Err(more),
        }
        held_bytes::count(self.held_bytes() - before);
        Ok(())
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        held_bytes::count(-self.held_bytes());
    }
}

/// What a message of this length counts towards the limit.
fn cost(message_bytes: usize) -> usize {
    message_bytes.max(SENDQ_MESSAGE_BYTES_MIN)
}

/// The output of one connection that the kernel has not taken yet.
#[derive(Debug, Default)]
pub struct SendQueue {
    chunks: VecDeque<Chunk>,
    /// Bytes of the first chunk that are already written.
    written: usize,
    /// Bytes waiting.
    bytes: usize,
    /// What the messages from others that wait count towards the limit; a message counts until its last byte has left.
    others_bytes: usize,
    /// The limit on them when the queue last went over it.
    bytes_max: u32,
    /// The socket has taken something since that was last asked.
    has_written: bool,
    /// Since when the socket has taken nothing, or, if that is later, since when messages of others have waited for it;
    /// `None` while it takes what it is given. By the core's clock, as all times here.
    blocked_since: Option<Duration>,
    /// Since when messages from others have waited beyond the limit.
    over_since: Option<Duration>,
}

impl SendQueue {
    /// Bytes that wait to be written.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Since when the socket has taken nothing of what waits, if that is so.
    pub fn blocked_since(&self) -> Option<Duration> {
        self.blocked_since
    }

    /// Whether messages from others wait.
    pub fn holds_others(&self) -> bool {
        self.others_bytes > 0
    }

    pub(crate) fn others_bytes(&self) -> usize {
        self.others_bytes
    }

    /// Whether anything was written since this was last asked.
    pub(crate) fn take_written(&mut self) -> bool {
        std::mem::take(&mut self.has_written)
    }

    /// Queues bytes of the connection's own.
    pub fn push_reply(&mut self, bytes: Vec<u8>) {
        self.bytes += bytes.len();
        // Replies of one turn share a chunk, but none grows without end.
        let apart = match self.chunks.back_mut() {
            Some(last) => last.append(bytes).err(),
            None => Some(bytes),
        };
        self.chunks.extend(apart.map(|bytes| Chunk::new(Content::Own(bytes))));
    }

    /// Queues a message that the connection sent to itself.
    pub fn push_echo(&mut self, payload: Payload) {
        self.bytes += payload.len();
        self.chunks.push_back(Chunk::new(Content::Message { payload, from_others: false }));
    }

    /// Queues a message from another connection; more than `bytes_max` of them may wait for [`SENDQ_GRACE`].
    ///
    /// # Errors
    /// When that time is over, or more than [`SENDQ_OVERRUN`] times as many would wait; the message is not
    /// queued then. Into an empty queue one message is always let in.
    pub fn push_delivery(&mut self, payload: Payload, bytes_max: usize, now: Duration) -> Result<Fit, QueueFull> {
        let bytes = self.others_bytes + cost(payload.len());
        let over = self.others_bytes > 0 && bytes > bytes_max;
        if over && (bytes > SENDQ_OVERRUN * bytes_max || self.is_over_for(SENDQ_GRACE, now)) {
            return Err(QueueFull);
        }
        if over {
            self.over_since.get_or_insert(now);
            self.bytes_max = u32::try_from(bytes_max).unwrap_or(u32::MAX);
        }
        if self.others_bytes == 0 && self.blocked_since.is_some() {
            // The clock of a stall measures how long others have been kept waiting.
            self.blocked_since = Some(now);
        }
        self.bytes += payload.len();
        self.others_bytes = bytes;
        self.chunks.push_back(Chunk::new(Content::Message { payload, from_others: true }));
        Ok(if over { Fit::Over } else { Fit::Within })
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over_since.is_some()
    }

    /// Whether it has been over its limit for this long.
    pub fn is_over_for(&self, time: Duration, now: Duration) -> bool {
        self.over_since.is_some_and(|since| now.saturating_sub(since) >= time)
    }

    /// The peer has taken something, although not so much that the socket would take more.
    pub(crate) fn restart_stall(&mut self, now: Duration) {
        if let Some(since) = &mut self.blocked_since {
            *since = now;
        }
    }

    /// The first bytes that wait: what a writer waits to write.
    pub(crate) fn head(&self) -> &[u8] {
        self.chunks.front().map_or(&[], |first| &first.bytes()[self.written..])
    }

    /// Writes what waits by `send`, which takes some of the slices' bytes or would block; whether the socket is full.
    ///
    /// # Errors
    /// What `send` gave, but for [`io::ErrorKind::WouldBlock`] and [`io::ErrorKind::Interrupted`].
    pub fn write_by(
        &mut self,
        now: Duration,
        mut send: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<bool> {
        faults::at(Point::Write, self.head());
        while !self.is_empty() {
            let mut slices = [IoSlice::new(&[]); WRITE_SLICES_MAX];
            let mut used = 0;
            for (slice, chunk) in slices.iter_mut().zip(&self.chunks) {
                let from = if used == 0 { self.written } else { 0 };
                *slice = IoSlice::new(&chunk.bytes()[from..]);
                used += 1;
            }
            let offered: usize = slices[..used].iter().map(|slice| slice.len()).sum();
            let sent = send(&slices[..used]);
            if self.record_sent(offered, sent, now)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The first `offered` bytes that wait were offered to the socket, with this result. Whether the socket is full; if it is
    /// not, the caller offers what is left.
    pub(crate) fn record_sent(&mut self, offered: usize, sent: io::Result<usize>, now: Duration) -> io::Result<bool> {
        let is_full = match sent {
            Ok(count) => {
                self.advance(count);
                // A socket that takes less than it is offered is full: no need to hear it say so.
                count < offered
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => true,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => false,
            Err(error) => return Err(error),
        };
        if is_full {
            self.blocked_since.get_or_insert(now);
        }
        Ok(is_full)
    }

    /// How many pieces wait: what is given in one slice, at best.
    pub fn pieces(&self) -> usize {
        self.chunks.len()
    }

    /// What waits, if it is messages only and nothing of them is written yet.
    pub(crate) fn messages(&self) -> Option<impl Iterator<Item = &Payload>> {
        let only_messages = self.written == 0 && self.chunks.iter().all(|chunk| chunk.payload().is_some());
        only_messages.then(|| self.chunks.iter().filter_map(Chunk::payload))
    }

    /// The kernel took the first `count` bytes that waited.
    pub(crate) fn advance(&mut self, count: usize) {
        self.bytes -= count;
        self.written += count;
        while let Some(first) = self.chunks.front()
            && self.written >= first.bytes().len()
        {
            let length = first.bytes().len();
            if first.is_from_others() {
                self.others_bytes -= cost(length);
            }
            self.written -= length;
            self.chunks.pop_front();
        }
        if count > 0 {
            self.blocked_since = None;
            self.has_written = true;
        }
        if self.others_bytes <= self.bytes_max as usize {
            self.over_since = None;
        }
        if self.is_empty() && self.chunks.capacity() > CHUNKS_KEPT {
            self.chunks = VecDeque::new();
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = SendQueue::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1);

    /// A payload of 100 bytes that differs by `n`.
    fn payload(n: usize) -> Payload {
        Payload::from(format!("message {n:92}"))
    }

    #[test]
    fn all_that_waits_leaves_in_one_write() {
        let mut queue = SendQueue::default();
        for n in 0..10 {
            queue.push_delivery(payload(n), usize::MAX, NOW).expect("room");
            queue.push_reply(b"reply\n".to_vec());
        }
        let mut writes = 0;
        let progress = queue.write_by(NOW, |slices| {
            writes += 1;
            Ok(slices.iter().map(|slice| slice.len()).sum())
        });
        assert_eq!((progress.expect("no error"), writes), (false, 1));
    }

    #[test]
    fn messages_fill_it_to_twice_the_limit_and_no_further() {
        let limit = 2 * cost(payload(1).len());
        let mut queue = SendQueue::default();
        queue.push_reply(vec![b'x'; 1_000_000]);
        queue.push_echo(payload(1));
        assert_eq!(queue.push_delivery(payload(1), limit, NOW), Ok(Fit::Within));
        assert_eq!(queue.push_delivery(payload(1), limit, NOW), Ok(Fit::Within), "exactly full");
        assert_eq!(queue.push_delivery(payload(1), limit, NOW), Ok(Fit::Over));
        assert_eq!(queue.push_delivery(payload(1), limit, NOW), Ok(Fit::Over), "exactly twice as much");
        let before = queue.bytes();
        assert_eq!(queue.push_delivery(payload(1), limit, NOW), Err(QueueFull));
        assert_eq!(queue.bytes(), before, "what does not fit is not queued");
        queue.clear();
        assert_eq!(queue.push_delivery(payload(1), 1, NOW), Ok(Fit::Within), "one is let in whatever its length");
        assert_eq!(queue.push_delivery(payload(1), 1, NOW), Err(QueueFull));
    }

    #[test]
    fn a_shared_block_counts_as_memory_once_until_it_has_left() {
        let before = held_bytes::balance();
        let held = || usize::try_from(held_bytes::balance() - before).expect("nothing of others is dropped here");
        let mut queues: Vec<SendQueue> = (0..4).map(|_| SendQueue::default()).collect();
        let shared = payload(1);
        let one = held();
        assert!((shared.len()..shared.len() + SENDQ_MESSAGE_BYTES_MIN).contains(&one), "{one}");
        for queue in &mut queues {
            queue.push_delivery(shared.clone(), usize::MAX, NOW).expect("room");
        }
        drop(shared);
        assert_eq!(held(), one + 4 * size_of::<Chunk>());
        let waiting = queues[0].bytes();
        queues[0].advance(waiting);
        assert_eq!(held(), one + 3 * size_of::<Chunk>());
        // Its own counts, too.
        for _ in 0..100 {
            queues[0].push_reply(vec![b'x'; 1000]);
        }
        assert!(held() >= one + 100_000);
        queues[0].advance(50_000);
        assert!(held() <= one + 3 * size_of::<Chunk>() + 2 * 50_000 + READ_BYTES);
        queues[0].clear();
        assert_eq!(held(), one + 3 * size_of::<Chunk>());
        drop(queues);
        assert_eq!(held(), 0);
    }

    #[test]
    fn a_short_message_counts_for_what_it_takes_in_memory() {
        let short = || Payload::from("* tux has left\n".to_owned());
        let mut queue = SendQueue::default();
        let limit = 10 * SENDQ_MESSAGE_BYTES_MIN;
        (0..10).for_each(|_| assert_eq!(queue.push_delivery(short(), limit, NOW), Ok(Fit::Within)));
        (0..10).for_each(|_| assert_eq!(queue.push_delivery(short(), limit, NOW), Ok(Fit::Over)));
        assert_eq!(queue.push_delivery(short(), limit, NOW), Err(QueueFull));
        assert_eq!(queue.bytes(), 20 * short().len());
        queue.advance(queue.bytes());
        assert_eq!((queue.holds_others(), queue.is_over()), (false, false));
    }

    #[test]
    fn a_blocked_queue_says_since_when_until_something_leaves() {
        let mut queue = SendQueue::default();
        queue.push_reply(b"reply\n".to_vec());
        let block = |_: &[IoSlice<'_>]| Err(io::ErrorKind::WouldBlock.into());
        assert!(queue.write_by(NOW, block).expect("no error"));
        assert!(queue.write_by(2 * NOW, block).expect("no error"));
        assert_eq!((queue.blocked_since(), queue.take_written()), (Some(NOW), false), "still the same stall");
        assert_eq!(queue.head(), b"reply\n");
        queue.restart_stall(3 * NOW);
        assert_eq!(queue.blocked_since(), Some(3 * NOW), "the peer has read, so a new stall begins");
        queue.advance(2);
        assert_eq!((queue.blocked_since(), queue.head()), (None, &b"ply\n"[..]));
        assert!(queue.take_written() && !queue.take_written(), "it is told once");
        queue.restart_stall(NOW);
        assert_eq!(queue.blocked_since(), None);
        let error = queue.write_by(NOW, |_| Err(io::ErrorKind::ConnectionReset.into())).expect_err("reset");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}
