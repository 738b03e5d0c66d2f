//! What is owed: a message that a server has acknowledged is heard by the sessions of other servers that it was sent to, unless
//! the broker has lost it, the receiver has gone, or the lease of the sender has lapsed.

use cowchat::cluster::envelope::{Envelope, To};
use cowchat::cluster::records::{Key, Value};
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
        let is_due = !is_void && has_receiver && server.node.is_in_reach(now);
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
        if let Some(envelope) = self.servers[n].messages.pop_front() {
            self.owed.remove(&(parse(&envelope.text).1, n));
        }
    }

    /// A server gets the next message.
    pub fn tell_message(&mut self, n: usize) {
        let (now, server) = (self.time(), &mut self.servers[n]);
        let Some(envelope) = server.messages.pop_front() else { return };
        let (from, message) = (envelope.from, parse(&envelope.text));
        let is_known = server.told.contains(&from);
        server.node.on_message(envelope, now);
        self.act(n);
        // One of a node that is not known yet waits for its lease, which may come too late.
        if !is_known || self.lapsed.contains(&from) {
            self.owed.remove(&(message.1, n));
            return;
        }
        let Some(receivers) = self.owed.get(&(message.1, n)) else { return };
        self.tally.owed += receivers.len();
        for &session in receivers.iter().filter(|&&session| self.is_live(session)) {
            let inbox = &self.servers[n].cores[self.sessions[session].core].inbox;
            let is_there = inbox.iter().any(|frame| number_of(frame) == Some(message));
            assert!(is_there || self.has_heard(session, message), "server {n} drops {message:?} for session {session}");
        }
    }

    fn has_heard(&self, session: SessionId, (from, number): (SessionId, u64)) -> bool {
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
