//! Messages between nodes: from frames of this server's cores, and to frames for them.

use std::sync::Arc;
use std::time::Duration;

use super::envelope::{Envelope, To};
use super::node::{Action, Node, Remote};
use super::peers::Verdict;
use crate::directory::Owner;
use crate::events::Event;
use crate::ids::ShardId;
use crate::shard::{Frame, Message};

impl Node {
    /// A frame of a core for other nodes.
    pub fn on_frame(&mut self, frame: Frame, now: Duration) {
        let (message, to) = match frame {
            Frame::Say { message, to, .. } => {
                let remote = self.by_owner.get(&to).and_then(|cow| self.remote.get(cow));
                let Some(&Remote { record, .. }) = remote else {
                    self.stale += 1;
                    return;
                };
                (message, To::Claim(record.instance, record.owner))
            }
            Frame::Yield { message, .. } => (message, To::All),
            Frame::Presence(_) | Frame::End => return,
        };
        if !self.is_in_reach(now) {
            self.stale += 1;
            return;
        }
        self.number += 1;
        let body = message.body();
        let sender = body.sender().place(self.context.herd.size()) as u32;
        let text = body.text().to_owned();
        self.actions.push(Action::Publish(Envelope {
            from: self.lease.instance,
            number: self.number,
            sender,
            to,
            text,
        }));
    }

    /// A message of another node.
    pub fn on_message(&mut self, envelope: Envelope, now: Duration) {
        match self.peers.judge(&envelope) {
            Verdict::Deliver { missed } => {
                if missed > 0
                    && let Some(peer) = self.peers.get(envelope.from)
                {
                    let event = Event::MessagesMissed { node: peer.name.clone(), messages: missed };
                    self.actions.push(Action::Log(event));
                }
                self.deliver(envelope);
            }
            Verdict::Drop => self.stale += 1,
            Verdict::Keep => {
                if !self.peers.keep(envelope, now) {
                    self.stale += 1;
                }
            }
        }
    }

    fn deliver(&mut self, envelope: Envelope) {
        let Envelope { sender, to, text, .. } = envelope;
        let Some(sender) = self.context.herd.at(sender as usize) else {
            self.stale += 1;
            return;
        };
        let author = Owner::nobody_of(self.config.shard);
        match to {
            To::All => {
                let message = Message::new(sender, &text, false, None);
                for core in (0..self.config.cores).map(ShardId::new) {
                    let frame = Frame::Yield { message: Arc::clone(&message), author };
                    self.actions.push(Action::Deliver(core, frame));
                }
            }
            To::Claim(instance, _) if instance != self.lease.instance => {}
            To::Claim(_, owner) => {
                let Some(to) = Owner::of_word(owner).filter(|to| to.shard().index() < self.config.cores) else {
                    self.stale += 1;
                    return;
                };
                let message = Message::new(sender, &text, true, None);
                let frame = Frame::Say { message, author, to, in_flight: None };
                self.actions.push(Action::Deliver(to.shard(), frame));
            }
        }
    }
}
