//! The last messages to everybody, as one core's users saw them: bounded in number and in bytes.

use std::collections::VecDeque;

use super::frame::{Drawing, MessageBody, Rendering};
use crate::limits::{HISTORY_BYTES_MAX, HISTORY_REPLY_BYTES_MAX, HISTORY_REPLY_MESSAGES_MAX};

/// A ring of what was said, oldest first.
#[derive(Debug)]
pub(super) struct History {
    said: VecDeque<MessageBody>,
    bytes: usize,
    messages_max: usize,
}

impl History {
    /// A ring of at most so many messages; of 0, there is no history.
    pub(super) fn new(messages_max: usize) -> Self {
        History { said: VecDeque::new(), bytes: 0, messages_max }
    }

    pub(super) fn is_on(&self) -> bool {
        self.messages_max > 0
    }

    /// Remembers what was said, and forgets the oldest that it takes the place of.
    pub(super) fn record(&mut self, said: &MessageBody) {
        if !self.is_on() {
            return;
        }
        self.said.push_back(said.clone());
        self.bytes += said.size_bytes();
        while self.said.len() > self.messages_max || self.bytes > HISTORY_BYTES_MAX {
            let Some(oldest) = self.said.pop_front() else { break };
            self.bytes -= oldest.size_bytes();
        }
    }

    /// The last `wanted` messages in a rendering, oldest first, as far as they are not too many or too long.
    pub(super) fn last(&self, wanted: usize, drawing: Drawing<'_>, rendering: Rendering) -> Vec<String> {
        let mut room = HISTORY_REPLY_BYTES_MAX;
        let newest_first = self.said.iter().rev().take(wanted.min(HISTORY_REPLY_MESSAGES_MAX));
        let fitting = newest_first.map_while(|said| {
            let block = said.draw_or_spell(drawing, false, rendering);
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
    use crate::cows::Herd;
    use crate::cows::bubble::Bubble;
    use crate::cows::herd::Cow;
    use crate::protocol::art::Art;
    use crate::shard::Message;

    const OFF: Rendering = Rendering { art: Art::Off, tagged: false, crlf: false };

    fn herd() -> Herd {
        let cow = Cow { name: "tux".to_owned(), colour: "C".to_owned(), plain: "P".to_owned() };
        Herd::new(vec![cow], 1, Bubble::default()).expect("one cow")
    }

    fn say(history: &mut History, herd: &Herd, text: &str) {
        let tux = herd.find("tux", 1).expect("tux");
        history.record(Message::new(tux, text, false).said());
    }

    #[test]
    fn the_oldest_goes_when_there_are_too_many() {
        let (mut history, herd) = (History::new(3), herd());
        (1..=5).for_each(|n| say(&mut history, &herd, &n.to_string()));
        let drawing = Drawing { herd: &herd, header: true };
        assert_eq!(history.last(99, drawing, OFF), ["tux says: 3\n", "tux says: 4\n", "tux says: 5\n"]);
        assert_eq!(history.last(1, drawing, OFF), ["tux says: 5\n"]);
        assert!(history.last(0, drawing, OFF).is_empty());
    }

    #[test]
    fn it_is_bounded_in_bytes_and_so_is_what_it_gives() {
        let (mut history, herd) = (History::new(usize::MAX), herd());
        let long = "moo ".repeat(1000);
        for _ in 0..HISTORY_BYTES_MAX / long.len() * 2 {
            say(&mut history, &herd, &long);
        }
        let bytes: usize = history.said.iter().map(|said| said.size_bytes()).sum();
        assert_eq!(bytes, history.bytes);
        assert!((HISTORY_BYTES_MAX / 2..=HISTORY_BYTES_MAX).contains(&bytes), "{bytes}");
        let color = Rendering::of(Art::Color);
        let given = history.last(99, Drawing { herd: &herd, header: true }, color);
        let bytes: usize = given.iter().map(String::len).sum();
        assert!((HISTORY_REPLY_BYTES_MAX / 2..=HISTORY_REPLY_BYTES_MAX).contains(&bytes), "{bytes}");
    }

    #[test]
    fn it_gives_fifty_at_most() {
        let (mut history, herd) = (History::new(100), herd());
        (0..100).for_each(|n| say(&mut history, &herd, &n.to_string()));
        let given = history.last(usize::MAX, Drawing { herd: &herd, header: true }, OFF);
        assert_eq!((given.len(), given[0].as_str()), (50, "tux says: 50\n"));
    }
}
