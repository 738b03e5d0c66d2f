//! From a send queue to a peer: the server's own queue, and a socket with as much room as its peer makes.
//!
//! What the peer reads is held against what was queued, byte for byte, so at any time it has read a prefix of
//! that; and the queue's limit, grace and stall against a count of what waits that is kept here.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use cowchat::limits::{SENDQ_GRACE, SENDQ_MESSAGE_BYTES_MIN, SENDQ_OVERRUN};
use cowchat::net::connection::send_queue::{Fit, QueueFull, SendQueue};
use cowchat::shard::Payload;

/// How a peer reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appetite {
    /// All there is, at once.
    Full,
    /// At most this many bytes now and then.
    Small(usize),
    /// Nothing, ever.
    None,
}

/// More waited for the peer than may.
#[derive(Debug, PartialEq, Eq)]
pub struct Cut;

/// What is on its way to one peer.
pub struct Wire {
    pub appetite: Appetite,
    bytes_max: usize,
    queue: SendQueue,
    /// What was queued and not yet read.
    due: VecDeque<u8>,
    /// Messages from others of which some bytes wait: where each ends among all bytes ever queued, and what it counts.
    others: VecDeque<(usize, usize)>,
    queued_bytes: usize,
    read_bytes: usize,
    /// Since when more than the limit has waited.
    over_since: Option<Duration>,
    /// When the peer last took something, or messages from others began to wait.
    taken_at: Duration,
    /// Nothing more is queued: the last line is, or the peer was cut.
    ended: bool,
}

impl Wire {
    /// An empty queue with a limit of `bytes_max` for messages from others.
    pub fn new(appetite: Appetite, bytes_max: usize) -> Self {
        Wire {
            appetite,
            bytes_max,
            queue: SendQueue::default(),
            due: VecDeque::new(),
            others: VecDeque::new(),
            queued_bytes: 0,
            read_bytes: 0,
            over_since: None,
            taken_at: Duration::ZERO,
            ended: false,
        }
    }

    /// Bytes that wait.
    pub fn waiting_bytes(&self) -> usize {
        self.due.len()
    }

    /// Whether nothing more is queued.
    pub fn is_closing(&self) -> bool {
        self.ended
    }

    /// Whether nothing more is queued, and all that was is read.
    pub fn is_done(&self) -> bool {
        self.ended && self.due.is_empty()
    }

    /// Queues a reply, or the server's last line.
    pub fn push_reply(&mut self, bytes: &[u8]) {
        self.expect(bytes);
        self.queue.push_reply(bytes.to_vec());
    }

    /// Queues a message that the session sends to itself.
    pub fn push_echo(&mut self, payload: &Payload) {
        self.expect(payload);
        self.queue.push_echo(payload.clone());
    }

    /// Queues a message from another session; if there is no room, after the peer has read what it has appetite for.
    pub fn push_delivery(&mut self, payload: &Payload, now: Duration) -> Result<(), Cut> {
        let counts = payload.len().max(SENDQ_MESSAGE_BYTES_MIN);
        if self.fit(counts, now).is_err() {
            self.flush(usize::MAX, now);
        }
        let fit = self.fit(counts, now);
        let queued = self.queue.push_delivery(payload.clone(), self.bytes_max, now);
        assert_eq!(queued.map_err(|QueueFull| Cut), fit, "{counts} more than {:?}", self.others);
        if fit? == Fit::Over {
            self.over_since.get_or_insert(now);
        }
        if self.others.is_empty() {
            self.taken_at = now;
        }
        self.expect(payload);
        self.others.push_back((self.queued_bytes, counts));
        Ok(())
    }

    fn others_bytes(&self) -> usize {
        self.others.iter().map(|(_, counts)| counts).sum()
    }

    /// How a message fits that counts this much: for the grace the limit may be exceeded, but not by more than the overrun.
    fn fit(&self, counts: usize, now: Duration) -> Result<Fit, Cut> {
        let waits = self.others_bytes();
        if waits == 0 || waits + counts <= self.bytes_max {
            return Ok(Fit::Within);
        }
        let is_too_much = waits + counts > SENDQ_OVERRUN * self.bytes_max;
        if is_too_much || self.is_over_for(SENDQ_GRACE, now) { Err(Cut) } else { Ok(Fit::Over) }
    }

    /// Whether more than the limit has waited for this long; the queue says the same.
    pub fn is_over_for(&self, time: Duration, now: Duration) -> bool {
        let is_over = self.over_since.is_some_and(|since| now - since >= time);
        assert_eq!(self.queue.is_over_for(time, now), is_over);
        is_over
    }

    /// How long messages from others have waited for a peer that takes nothing.
    pub fn waits_in_vain_for(&self, now: Duration) -> Duration {
        if self.others.is_empty() { Duration::ZERO } else { now - self.taken_at }
    }

    /// The same by the queue.
    pub fn stalled_since(&self) -> Option<Duration> {
        self.queue.blocked_since().filter(|_| self.queue.holds_others())
    }

    /// Bytes of memory, about, of what waits.
    pub fn load(&self) -> u64 {
        self.queue.bytes().max(self.queue.pieces() * SENDQ_MESSAGE_BYTES_MIN) as u64
    }

    /// Nothing more comes.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Writes as much as the peer has appetite for, now that it is asked; it reads all that.
    pub fn flush(&mut self, asked: usize, now: Duration) {
        let mut room = match self.appetite {
            Appetite::Full => usize::MAX,
            Appetite::Small(most) => most.min(asked),
            Appetite::None => 0,
        };
        let before = self.read_bytes;
        let (due, read_bytes) = (&mut self.due, &mut self.read_bytes);
        let written = self.queue.write_by(now, |slices: &[io::IoSlice<'_>]| {
            let room_before = room;
            for byte in slices.iter().flat_map(|slice| slice.iter()).take(room_before) {
                assert_eq!(due.pop_front(), Some(*byte), "I6: byte {read_bytes} is not what was sent");
                *read_bytes += 1;
                room -= 1;
            }
            if room == room_before { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(room_before - room) }
        });
        written.expect("the socket has no other error");
        if self.read_bytes > before {
            self.taken_at = now;
        }
        while self.others.front().is_some_and(|(end, _)| *end <= self.read_bytes) {
            self.others.pop_front();
        }
        if self.others_bytes() <= self.bytes_max {
            self.over_since = None;
        }
        assert_eq!(self.queue.bytes(), self.due.len(), "I6: some bytes are lost");
    }

    fn expect(&mut self, bytes: &[u8]) {
        assert!(!self.ended, "nothing comes after the end");
        self.queued_bytes += bytes.len();
        self.due.extend(bytes);
    }
}
