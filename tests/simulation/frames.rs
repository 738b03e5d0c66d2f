//! From one simulated core to the others, and to the receivers of a frame: what `net::delivery::apply` and
//! `net::delivery::pump` do, one step at a time.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use cowchat::ids::ShardId;
use cowchat::limits::NOTICES_A_SECOND;
use cowchat::shard::{Delivery, Effects, Forward, Frame, Payload, Presence};

use crate::words::{RENDERING_OF_TOKENS, check_rendering, token_of};
use crate::world::{HISTORY, MAILBOX_MAX, Place, SessionId, Token, World};

/// A line whose forwards have not all found room.
pub struct Waiting {
    forwards: VecDeque<(usize, Frame)>,
    effects: Effects,
    /// The message that the line sends, and its receivers.
    sends: (Token, BTreeSet<SessionId>),
}

impl World {
    /// Puts a frame into a core's mailbox if there is room.
    pub fn try_forward(&mut self, from: usize, to: usize, frame: Frame) -> Result<(), Frame> {
        if self.mailboxes[to].len() == self.mailbox_frames {
            return Err(frame);
        }
        self.mailboxes[to].push_back((from, frame));
        self.frames_sent += 1;
        Ok(())
    }

    /// What `net::delivery::presence::broadcast_presence` does: to other cores if there is room, later as a number otherwise.
    pub fn tell(&mut self, core: usize, change: Presence) {
        if self.drains[core].has_begun() {
            return;
        }
        for other in (0..self.shards.len()).filter(|&other| other != core) {
            if self.context.demand.has_subscribers(ShardId::new(other)) {
                let change = self.pending.remove(&(core, other)).map_or(change, |pending| pending.and(change));
                if self.try_forward(core, other, Frame::Presence(change)).is_err() {
                    self.pending.insert((core, other), change);
                }
            }
        }
        let received = self.shards[core].on_presence(change, self.now).map(|delivery| received(&delivery));
        received.into_iter().for_each(|received| self.deliver_notice(core, received));
    }

    /// What `net::delivery::apply::apply` does: forward, waiting for room; then acknowledge; then deliver here.
    pub fn apply(&mut self, place: Place, mut effects: Effects, sends: (Token, BTreeSet<SessionId>)) {
        let others = (0..self.shards.len()).filter(|&core| core != place.0);
        let forwards = match std::mem::replace(&mut effects.forward, Forward::Nowhere) {
            Forward::Nowhere => VecDeque::new(),
            Forward::To(shard, frame) => VecDeque::from([(shard.index(), frame)]),
            Forward::ToOthers(frame, _) => others.map(|core| (core, frame.clone())).collect(),
        };
        self.connection(place).waiting = Some(Waiting { forwards, effects, sends });
        self.go_on(place);
        let waits = self.connections.get(&place).is_some_and(|connection| connection.waiting.is_some());
        self.tally.waits += usize::from(waits);
    }

    /// Hands over as many frames of the waiting line as there is room for; finishes it after the last.
    pub fn go_on(&mut self, place: Place) {
        let Some(mut waiting) = self.connections.get_mut(&place).and_then(|waits| waits.waiting.take()) else { return };
        while let Some((core, frame)) = waiting.forwards.pop_front() {
            if let Err(frame) = self.try_forward(place.0, core, frame) {
                waiting.forwards.push_front((core, frame));
                self.connection(place).waiting = Some(waiting);
                return;
            }
        }
        let now = self.now;
        self.connection(place).timers.line_ends(now, true);
        self.acknowledged.push(waiting.sends);
        self.connection(place).wire.push_reply(&waiting.effects.reply);
        if let Some(frame) = waiting.effects.local {
            self.deliver(place.0, frame);
        }
    }

    pub fn pump(&mut self, core: usize) {
        for _ in 0..self.random.usize(1..=MAILBOX_MAX) {
            let Some((from, frame)) = self.mailboxes[core].pop_front() else { return };
            self.frames_taken += 1;
            self.drains[core].record_frame(from, &frame);
            self.deliver(core, frame);
        }
    }

    fn deliver(&mut self, core: usize, frame: Frame) {
        let is_notice = match frame {
            Frame::Entered(..) | Frame::End => return,
            Frame::Presence(_) => true,
            Frame::Say { .. } | Frame::Yield { .. } => false,
        };
        let Some(delivery) = self.shards[core].on_frame(frame, self.now) else { return };
        let received = received(&delivery);
        if is_notice {
            return self.deliver_notice(core, received);
        }
        let token = token_of(delivery.payload(RENDERING_OF_TOKENS));
        if !self.private.contains_key(&token) {
            let kept = &mut self.history[core];
            kept.push_back(token);
            if kept.len() > HISTORY {
                kept.pop_front();
            }
        }
        let (mut too_slow, now) = (Vec::new(), self.now);
        for Received { place, payload, is_author } in received {
            let place = (core, place);
            let connection = self.connections.get_mut(&place).expect("I8: a connection");
            check_rendering(&payload, connection.rendering, token);
            let id = connection.session.expect("I8: only a registered connection receives");
            let session = &mut self.sessions[id];
            assert_eq!(session.place, place);
            match self.private.get(&token) {
                Some(&meant) => assert_eq!(id, meant, "I6: a private message reaches the session it was for"),
                None => assert_ne!(id, token.0, "a yield does not come back"),
            }
            assert_eq!(is_author, id == token.0);
            if is_author {
                connection.wire.push_echo(&payload);
            } else if connection.wire.push_delivery(&payload, now).is_err() {
                too_slow.push(place);
                continue;
            }
            assert!(self.delivered.insert((token, id)), "I5: {token:?} arrives twice");
            let last = session.received.insert(token.0, token.1);
            assert!(last < Some(token.1), "I4: {token:?} arrives after {last:?}");
        }
        self.cut(too_slow);
    }

    /// All subscribers get it, no other connection, and not too often.
    fn deliver_notice(&mut self, core: usize, received: Vec<Received>) {
        let on_core = self.connections.iter().filter(|((at, _), _)| *at == core);
        let subscribed = on_core.filter(|(_, connection)| connection.session.is_some() && connection.subscribed);
        let expected: BTreeSet<usize> = subscribed.map(|((_, place), _)| *place).collect();
        assert_eq!(received.iter().map(|received| received.place).collect::<BTreeSet<_>>(), expected);
        let (mut too_slow, now) = (Vec::new(), self.now);
        for Received { place, payload, .. } in received {
            let connection = self.connection((core, place));
            let line = std::str::from_utf8(&payload).expect("notices are UTF-8");
            let begin = if connection.rendering.tagged { "0 * " } else { "* " };
            let line = line.strip_prefix(begin).expect("how a notice begins");
            assert!(["has joined\n", "has left\n", "more left\n"].iter().any(|end| line.ends_with(end)), "{line}");
            if connection.wire.push_delivery(&payload, now).is_err() {
                too_slow.push((core, place));
            }
        }
        self.told[core].push(self.now);
        let told = &self.told[core];
        if let Some(before) = told.len().checked_sub(NOTICES_A_SECOND + 1) {
            assert!(self.now - told[before] >= Duration::from_secs(1), "a storm of notices");
        }
        self.cut(too_slow);
    }
}

/// One receiver of a delivery, and what it gets.
struct Received {
    place: usize,
    payload: Payload,
    is_author: bool,
}

fn received(delivery: &Delivery<'_>) -> Vec<Received> {
    let one = |to: cowchat::shard::Receiver| Received {
        place: to.connection.index(),
        payload: delivery.payload(to.rendering).clone(),
        is_author: delivery.author == Some(to.connection),
    };
    delivery.receivers().map(one).collect()
}
