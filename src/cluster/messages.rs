//! Messages between nodes: from frames of this server's cores, and to frames for them.

use std::sync::Arc;
use std::time::Duration;

use super::envelope::{Envelope, To};
use super::node::{Action, Node, Remote};
use super::peers::Verdict;
use super::records::Instance;
use crate::directory::Owner;
use crate::ids::ShardId;
use crate::limits::CLUSTER_TEXT_BYTES_MAX;
use crate::protocol::text::sanitize;
use crate::shard::{Frame, Message};

impl Node {
    /// A frame of a core for other nodes.
    pub fn on_frame(&mut self, frame: Frame, now: Duration) {
        let (message, author, to) = match frame {
            Frame::Say { message, author, to, .. } => {
                let remote = self.by_owner.get(&to).and_then(|cow| self.remote.get(cow));
                let Some(Remote { record, .. }) = remote else {
                    self.figures.dropped += 1;
                    return;
                };
                (message, author, To::Claim(record.instance, record.owner))
            }
            // There is no other node.
            Frame::Yield { .. } if self.peers.live().next().is_none() => return,
            Frame::Yield { message, author } => (message, author, To::All),
            Frame::Presence(_) | Frame::Entered(..) | Frame::End => return,
        };
        // A sender may have lost its cow with a lease since.
        if !self.own.holds(message.body().sender(), author) {
            self.figures.dropped += 1;
            return;
        }
        let number = match to {
            To::All => {
                self.yields += 1;
                self.yields
            }
            To::Claim(instance, _) => self.peers.count_say(instance),
        };
        if !self.is_in_reach(now) {
            // Others see by the numbers that it is lost.
            self.figures.dropped += 1;
            return;
        }
        self.figures.sent += 1;
        let body = message.body();
        let sender = body.sender().place(self.context.herd.size()) as u32;
        let text = body.text().to_owned();
        self.actions.push(Action::Publish(Envelope {
            from: self.lease.instance,
            number,
            yields: self.yields,
            sender,
            to,
            text,
        }));
    }

    /// The name of another node.
    pub fn name_of(&self, instance: Instance) -> Option<&str> {
        self.peers.get(instance).map(|peer| peer.name.as_str())
    }

    /// A message of another node.
    pub fn on_message(&mut self, envelope: Envelope, now: Duration) {
        let is_late = matches!(envelope.to, To::Claim(instance, _) if instance != self.lease.instance);
        if is_late || envelope.text.len() > CLUSTER_TEXT_BYTES_MAX {
            self.figures.dropped += 1;
            return;
        }
        match self.peers.judge(&envelope, now) {
            Verdict::Deliver { missed } => {
                self.figures.missed = self.figures.missed.saturating_add(missed);
                self.deliver(envelope);
            }
            Verdict::Drop => self.figures.dropped += 1,
            Verdict::Keep => {
                if !self.peers.keep(envelope, now) {
                    self.figures.dropped += 1;
                }
            }
        }
    }

    fn deliver(&mut self, envelope: Envelope) {
        let Envelope { sender, to, text, .. } = envelope;
        let Some(sender) = self.context.herd.at(sender as usize) else {
            self.figures.dropped += 1;
            return;
        };
        // Its node has done that, if it is one.
        let text = sanitize(text.as_bytes());
        let author = Owner::without_claim(self.config.shard);
        match to {
            To::All => {
                self.figures.received += 1;
                let message = Message::new(sender, &text, false, None);
                for core in (0..self.config.cores).map(ShardId::new) {
                    let frame = Frame::Yield { message: Arc::clone(&message), author };
                    self.actions.push(Action::Deliver(core, frame));
                }
            }
            To::Claim(_, owner) => {
                let Some(to) = Owner::of_word(owner).filter(|to| to.shard().index() < self.config.cores) else {
                    self.figures.dropped += 1;
                    return;
                };
                self.figures.received += 1;
                let message = Message::new(sender, &text, true, None);
                let frame = Frame::Say { message, author, to, in_flight: None };
                self.actions.push(Action::Deliver(to.shard(), frame));
            }
        }
    }
}
