//! From a send queue to a peer: the server's own queue, and a socket with as much room as its peer makes.
//!
//! What the peer reads is held against what was queued, byte for byte, so at any time it has read a prefix of
//! that; and the queue's limit against a count of what waits that is kept here.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use cowchat::limits::SENDQ_MESSAGE_BYTES_MIN;
use cowchat::net::connection::send_queue::{Fit, SendQueue};
use cowchat::shard::Payload;

/// How a peer reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appetite {
    /// All there is, at once.
    Full,
    /// At most so many bytes now and then.
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
    /// Other people's messages of which some bytes wait: where each ends among all bytes ever queued, and what
    /// it counts.
    others: VecDeque<(usize, usize)>,
    queued_bytes: usize,
    read_bytes: usize,
    /// Nothing more is queued: the last line is, or the peer was cut.
    ended: bool,
}

impl Wire {
    /// Nothing queued yet for a peer for whom so many bytes of other people's messages may wait.
    pub fn new(appetite: Appetite, bytes_max: usize) -> Self {
        Wire {
            appetite,
            bytes_max,
            queue: SendQueue::default(),
            due: VecDeque::new(),
            others: VecDeque::new(),
            queued_bytes: 0,
            read_bytes: 0,
            ended: false,
        }
    }

    /// Bytes that wait.
    pub fn waiting_bytes(&self) -> usize {
        self.due.len()
    }

    /// Whether nothing more is queued.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether nothing more is queued, and all that was is read.
    pub fn is_done(&self) -> bool {
        self.ended && self.due.is_empty()
    }

    /// Queues what the peer has asked for himself, or the server's last line.
    pub fn push_reply(&mut self, bytes: &[u8]) {
        self.expect(bytes);
        self.queue.push_reply(bytes.to_vec());
    }

    /// Queues a message that the peer sends to himself.
    pub fn push_echo(&mut self, payload: &Payload) {
        self.expect(payload);
        self.queue.push_echo(payload.clone());
    }

    /// Queues somebody else's message, after a look at what the peer takes if there is no room. The moment for
    /// which a queue may be over its limit is none here.
    pub fn push_delivery(&mut self, payload: &Payload, now: Duration) -> Result<(), Cut> {
        let counts = payload.len().max(SENDQ_MESSAGE_BYTES_MIN);
        if !self.has_room(counts) {
            self.flush(usize::MAX, now);
        }
        let has_room = self.has_room(counts);
        let queued = self.queue.push_delivery(payload.clone(), self.bytes_max, now);
        assert_eq!(queued == Ok(Fit::Within), has_room, "{counts} more than {:?}", self.others);
        if !has_room {
            return Err(Cut);
        }
        self.expect(payload);
        self.others.push_back((self.queued_bytes, counts));
        Ok(())
    }

    fn has_room(&self, counts: usize) -> bool {
        let waits: usize = self.others.iter().map(|(_, counts)| counts).sum();
        waits == 0 || waits + counts <= self.bytes_max
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
        let (due, read_bytes) = (&mut self.due, &mut self.read_bytes);
        let written = self.queue.write_by(now, |slices: &[io::IoSlice<'_>]| {
            let before = room;
            for byte in slices.iter().flat_map(|slice| slice.iter()).take(before) {
                assert_eq!(due.pop_front(), Some(*byte), "I6: byte {read_bytes} is not what was sent");
                *read_bytes += 1;
                room -= 1;
            }
            if room == before { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(before - room) }
        });
        written.expect("the socket has no other error");
        while self.others.front().is_some_and(|(end, _)| *end <= self.read_bytes) {
            self.others.pop_front();
        }
        assert_eq!(self.queue.bytes(), self.due.len(), "I6: some bytes are lost");
    }

    fn expect(&mut self, bytes: &[u8]) {
        assert!(!self.ended, "nothing comes after the end");
        self.queued_bytes += bytes.len();
        self.due.extend(bytes);
    }
}
