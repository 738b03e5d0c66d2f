//! The last messages to all, in the order in which this core delivered them: bounded in number and in bytes.

use std::collections::VecDeque;

use super::message::{Drawing, MessageBody};
use super::rendering::Rendering;
use crate::limits::{HISTORY_BYTES_MAX, HISTORY_REPLY_BYTES_MAX, HISTORY_REPLY_MESSAGES_MAX};

#[derive(Debug)]
pub(super) struct History {
    /// Oldest first.
    bodies: VecDeque<MessageBody>,
    bytes: usize,
    messages_max: usize,
}

impl History {
    /// At most `messages_max` messages; with 0 there is no history.
    pub(super) fn new(messages_max: usize) -> Self {
        History { bodies: VecDeque::new(), bytes: 0, messages_max }
    }

    pub(super) fn is_on(&self) -> bool {
        self.messages_max > 0
    }

    /// Keeps a message, and drops the oldest beyond the bounds.
    pub(super) fn record(&mut self, body: &MessageBody) {
        if !self.is_on() {
            return;
        }
        self.bodies.push_back(body.clone());
        self.bytes += body.size_bytes();
        while self.bodies.len() > self.messages_max || self.bytes > HISTORY_BYTES_MAX {
            let Some(oldest) = self.bodies.pop_front() else { break };
            self.bytes -= oldest.size_bytes();
        }
    }

    /// The last `wanted` messages in a rendering, oldest first: as many as a reply may have, and as fit it.
    pub(super) fn last(&self, wanted: usize, drawing: Drawing<'_>, rendering: Rendering) -> Vec<String> {
        let mut room = HISTORY_REPLY_BYTES_MAX;
        let newest_first = self.bodies.iter().rev().take(wanted.min(HISTORY_REPLY_MESSAGES_MAX));
        let fitting = newest_first.map_while(|body| {
            let block = body.draw_or_spell(drawing, false, rendering);
            room = room.checked_sub(block.len())?;
            Some(block)
        });
        let mut blocks: Vec<String> = fitting.collect();
        blocks.reverse();
        blocks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::art::Art;
    use crate::shard::{Message, herd_of};

    #[test]
    fn history_and_its_reply_are_bounded_in_bytes() {
        let (mut history, herd) = (History::new(usize::MAX), herd_of(&["tux"], 1));
        let long = "moo ".repeat(1000);
        let tux = herd.find("tux", 1).expect("tux");
        for _ in 0..HISTORY_BYTES_MAX / long.len() * 2 {
            history.record(Message::new(tux, &long, false, None).body());
        }
        let bytes: usize = history.bodies.iter().map(MessageBody::size_bytes).sum();
        assert_eq!(bytes, history.bytes);
        assert!((HISTORY_BYTES_MAX / 2..=HISTORY_BYTES_MAX).contains(&bytes), "{bytes}");
        let color = Rendering::of(Art::Color);
        let given = history.last(99, Drawing { herd: &herd, header: true }, color);
        let bytes: usize = given.iter().map(String::len).sum();
        assert!((HISTORY_REPLY_BYTES_MAX / 2..=HISTORY_REPLY_BYTES_MAX).contains(&bytes), "{bytes}");
    }
}
