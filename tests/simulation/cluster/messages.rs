//! What is owed: a message that a server has acknowledged is heard by the sessions of other servers that it was sent to, unless
//! the broker has lost it, the receiver has gone, or the lease of the sender has lapsed.

use std::collections::{BTreeSet, HashMap};

use cowchat::cluster::envelope::{Envelope, To};
use cowchat::cluster::records::{Instance, Key, Value};
use cowchat::cows::CowId;
use cowchat::ids::ShardId;
use cowchat::shard::Frame;

use super::server::BRIDGE;
use super::{COWS, NODES, SessionId, World};

/// The sender of the message in a frame, and its number: its text is `4 17`, for session 4 and its message 17.
pub fn number_of(frame: &Frame) -> Option<(SessionId, u64)> {
    match frame {
        Frame::Say { message, .. } | Frame::Yield { message, .. } => Some(parse(message.body().text())),
        Frame::Presence(_) | Frame::Entered(..) | Frame::End => None,
    }
}

fn parse(text: &str) -> (SessionId, u64) {
    let (from, number) = text.split_once(' ').expect("two words");
    (from.parse().expect("a session"), number.parse().expect("a number"))
}

/// What one instance sends to all, or says to users of one other instance.
pub type LaneId = (Instance, Option<Instance>);

/// What a server has had of a lane.
pub struct Lane {
    /// The number of the last message that was delivered. `None` after one that waits, or was dropped, and before the first of
    /// those to all: there may have been others before.
    last: Option<u64>,
    /// Numbers of those that the broker has lost.
    lost: BTreeSet<u64>,
}

fn lane<'a>(lanes: &'a mut HashMap<LaneId, Lane>, envelope: &Envelope) -> &'a mut Lane {
    let (to, last) = match envelope.to {
        To::All => (None, None),
        To::Claim(instance, _) => (Some(instance), Some(0)),
    };
    lanes.entry((envelope.from, to)).or_insert_with(|| Lane { last, lost: BTreeSet::new() })
}

impl Lane {
    /// A message has come, and is delivered unless it is not new. Returns how many are lost since the last one.
    fn pass(&mut self, number: u64, is_delivered: bool) -> usize {
        let Some(last) = self.last.filter(|&last| number <= last || is_delivered) else {
            self.last = is_delivered.then_some(number);
            return 0;
        };
        assert_eq!(is_delivered, number > last, "message {number} after {last}");
        self.skip(number)
    }

    /// All up to this one have come, or are lost. Returns how many are lost since the last one.
    fn skip(&mut self, number: u64) -> usize {
        let last = self.last.unwrap_or(number);
        self.last = Some(number.max(last));
        self.lost.range(last + 1..number.max(last) + 1).count()
    }
}

impl World {
    /// A session has begun: messages name it by what the store has of it.
    pub fn note_claim(&mut self, n: usize, cow: CowId) {
        let owner = self.servers[n].context.directory.owner(cow).expect("it holds it").word();
        if let Some((_, Some(Value::Cow(record)))) = self.store.get(&Key::Cow(cow))
            && record.owner == owner
            && Some(record.instance) == self.servers[n].instance
        {
            self.claims.insert((record.instance, owner), self.sessions.len() - 1);
        }
    }

    fn is_live(&self, session: SessionId) -> bool {
        let place = &self.sessions[session];
        self.servers[place.server].cores[place.core].connections[place.at].session == Some(session)
    }

    /// The bridge hands a frame to its node, which sends it on if the receiver is still there.
    pub fn take_frame(&mut self, n: usize, frame: Frame) {
        let (now, herd, server) = (self.time(), &self.herd, &mut self.servers[n]);
        let is_void = server.void_frames > 0;
        server.void_frames = server.void_frames.saturating_sub(1);
        let directory = &server.context.directory;
        let has_receiver = match &frame {
            Frame::Say { to, .. } => {
                (0..COWS).filter_map(|cow| herd.at(cow)).any(|cow| directory.owner(cow) == Some(*to))
            }
            _ => directory.claimed_by(ShardId::new(BRIDGE)) > 0,
        };
        // Without its fence it keeps sessions whose claims it has given up.
        let is_due = self.is_fenced && !is_void && has_receiver && server.node.is_in_reach(now);
        let message = number_of(&frame);
        server.node.on_frame(frame, now);
        let before = self.published;
        self.act(n);
        assert!(!is_due || self.published > before, "server {n} has acknowledged {message:?} and does not send it");
    }

    /// The broker has a message for all others that it reaches.
    pub fn publish(&mut self, n: usize, envelope: &Envelope) {
        self.published += 1;
        let number = parse(&envelope.text).1;
        for other in (0..NODES).filter(|&other| other != n) {
            let server = &mut self.servers[other];
            if server.link.is_none() {
                lane(&mut server.lanes, envelope).lost.insert(envelope.number);
                continue;
            }
            let is_meant = |session: &SessionId| match envelope.to {
                To::All => true,
                To::Claim(instance, owner) => self.claims.get(&(instance, owner)) == Some(session),
            };
            let connections = server.cores.iter().flat_map(|core| &core.connections);
            let receivers = connections.filter_map(|connection| connection.session).filter(is_meant).collect();
            self.owed.insert((number, other), receivers);
            server.messages.push_back(envelope.clone());
        }
    }

    /// The broker has lost a message for a server.
    pub fn lose_message(&mut self, n: usize) {
        let server = &mut self.servers[n];
        if let Some(envelope) = server.messages.pop_front() {
            self.owed.remove(&(parse(&envelope.text).1, n));
            // It may have been sent twice.
            if !server.messages.contains(&envelope) {
                lane(&mut server.lanes, &envelope).lost.insert(envelope.number);
            }
        }
    }

    /// A server gets the next message.
    pub fn tell_message(&mut self, n: usize) {
        let (now, server) = (self.time(), &mut self.servers[n]);
        let Some(envelope) = server.messages.pop_front() else { return };
        let (from, message) = (envelope.from, parse(&envelope.text));
        let is_known = server.told.contains_key(&from);
        let (before, number) = (server.node.figures(now), envelope.number);
        let sent_to = envelope.clone();
        server.node.on_message(envelope, now);
        let after = server.node.figures(now);
        let is_delivered = after.received > before.received;
        let mut lost = lane(&mut server.lanes, &sent_to).pass(number, is_delivered);
        // A say tells how many messages to all were sent before it.
        let yields = lane(&mut server.lanes, &Envelope { to: To::All, ..sent_to.clone() });
        match sent_to.to {
            To::Claim(..) if is_delivered => lost += yields.skip(sent_to.yields),
            To::Claim(..) if !is_known => yields.last = None,
            To::Claim(..) | To::All => {}
        }
        // More are missed than the broker has lost: those that their server could not send.
        let missed = after.missed - before.missed;
        assert!(missed >= lost as u64, "{missed} of {lost} are missed before message {number}");
        self.tally.add("missed", lost);
        self.act(n);
        // One of a node that is not known yet waits for its lease, which may come too late.
        if !is_known || self.lapsed.contains(&from) {
            self.owed.remove(&(message.1, n));
            return;
        }
        let Some(receivers) = self.owed.get(&(message.1, n)) else { return };
        self.tally.add("owed", receivers.len());
        for &session in receivers.iter().filter(|&&session| self.is_live(session)) {
            let inbox = &self.servers[n].cores[self.sessions[session].core].inbox;
            let is_there = inbox.iter().any(|frame| number_of(frame) == Some(message));
            assert!(is_there || self.has_heard(session, message), "server {n} drops {message:?} for session {session}");
        }
    }

    pub fn has_heard(&self, session: SessionId, (from, number): (SessionId, u64)) -> bool {
        self.heard.get(&(from, session)).is_some_and(|&heard| heard >= number)
    }

    /// A core has delivered a message of another server to all that it was meant for.
    pub fn check_heard(&self, n: usize, core: usize, message: (SessionId, u64)) {
        let here = |&&session: &&SessionId| self.sessions[session].core == core && self.is_live(session);
        for &session in self.owed.get(&(message.1, n)).into_iter().flatten().filter(here) {
            assert!(self.has_heard(session, message), "session {session} does not hear {message:?}");
        }
    }
}
