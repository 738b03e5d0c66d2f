//! The sessions of one core: by connection, and as a dense list to walk for a `yield`.

use std::sync::Arc;

use super::cluster::Holding;
use super::demand::Demand;
use super::early::Early;
use super::rendering::Rendering;
use crate::cows::CowId;
use crate::directory::{Claims, Owner};
use crate::faults::{self, Point};
use crate::ids::{ConnectionId, ShardId};

#[derive(Debug)]
struct Session {
    holding: Holding,
    /// Where its connection stands in [`Roster::registered`].
    place: usize,
}

/// A session, as a receiver of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receiver {
    /// Its connection.
    pub connection: ConnectionId,
    /// How it wants messages.
    pub rendering: Rendering,
    /// Whether it has subscribed to notices.
    pub subscribed: bool,
}

/// The sessions of one core. `sessions` and `registered` change together, in a critical section.
#[derive(Debug)]
pub(super) struct Roster {
    shard: ShardId,
    pub(super) claims: Claims,
    demand: Arc<Demand>,
    /// By connection.
    sessions: Vec<Option<Session>>,
    /// By connection, registered or not.
    renderings: Vec<Rendering>,
    /// Of a new connection.
    default_rendering: Rendering,
    /// Dense, in no particular order.
    registered: Vec<Receiver>,
    /// For connections that are not registered yet.
    pub(super) early: Early,
    /// Still set after a panic in a critical section.
    in_critical: bool,
}

impl Roster {
    pub(super) fn new(shard: ShardId, claims: Claims, demand: Arc<Demand>, default_rendering: Rendering) -> Self {
        let (sessions, renderings, registered, early) = Default::default();
        Roster { shard, claims, demand, sessions, renderings, default_rendering, registered, early, in_critical: false }
    }

    pub(super) fn is_poisoned(&self) -> bool {
        self.in_critical
    }

    pub(super) fn registered(&self) -> &[Receiver] {
        &self.registered
    }

    pub(super) fn owner_and_cow(&self, connection: ConnectionId) -> Option<(Owner, CowId)> {
        self.session(connection).map(|Session { holding, .. }| (holding.claim.owner(), holding.claim.cow()))
    }

    /// The session with exactly this claim, as a slice; `None` if the claim has ended.
    pub(super) fn holder(&self, owner: Owner) -> Option<&[Receiver]> {
        let session = self.session(owner.connection())?;
        (session.holding.claim.owner() == owner).then(|| &self.registered[session.place..=session.place])
    }

    pub(super) fn rendering(&self, connection: ConnectionId) -> Rendering {
        self.renderings.get(connection.index()).copied().unwrap_or(self.default_rendering)
    }

    /// Registers `connection` as the cow that it holds.
    pub(super) fn join(&mut self, connection: ConnectionId, holding: Holding) -> CowId {
        assert!(self.session(connection).is_none(), "a session is never renamed");
        let cow = holding.claim.cow();
        self.critical(|roster| {
            let at = connection.index();
            if roster.sessions.len() <= at {
                roster.sessions.resize_with(at + 1, || None);
            }
            roster.sessions[at] = Some(Session { holding, place: roster.registered.len() });
            let receiver = Receiver { connection, rendering: roster.rendering(connection), subscribed: false };
            roster.registered.push(receiver);
            roster.count(receiver, true);
        });
        cow
    }

    /// Ends the session of `connection`, if it has one, frees its cow, and returns the cow.
    pub(super) fn leave(&mut self, connection: ConnectionId) -> Option<CowId> {
        self.session(connection)?;
        self.critical(|roster| {
            let session = roster.sessions[connection.index()].take()?;
            let receiver = roster.registered.swap_remove(session.place);
            faults::at(Point::Leave, b"");
            roster.count(receiver, false);
            if let Some(moved) = roster.registered.get(session.place)
                && let Some(Some(moved)) = roster.sessions.get_mut(moved.connection.index())
            {
                moved.place = session.place;
            }
            Some(session.holding.claim.cow())
        })
    }

    /// A change that leaves the roster inconsistent if it panics.
    fn critical<T>(&mut self, change: impl FnOnce(&mut Self) -> T) -> T {
        self.in_critical = true;
        let done = change(self);
        self.in_critical = false;
        done
    }

    /// From now on `connection` wants this rendering, registered or not.
    pub(super) fn set_rendering(&mut self, connection: ConnectionId, rendering: Rendering) {
        if self.rendering(connection) == rendering {
            return;
        }
        let at = connection.index();
        if self.renderings.len() <= at {
            self.renderings.resize(at + 1, self.default_rendering);
        }
        self.renderings[at] = rendering;
        self.change(connection, |receiver| receiver.rendering = rendering);
    }

    pub(super) fn set_subscribed(&mut self, connection: ConnectionId, subscribed: bool) {
        self.change(connection, |receiver| receiver.subscribed = subscribed);
    }

    /// The next connection at this place has the default rendering.
    pub(super) fn forget(&mut self, connection: ConnectionId) {
        self.set_rendering(connection, self.default_rendering);
    }

    fn change(&mut self, connection: ConnectionId, change: impl FnOnce(&mut Receiver)) {
        let Some(place) = self.session(connection).map(|session| session.place) else { return };
        self.count(self.registered[place], false);
        change(&mut self.registered[place]);
        self.count(self.registered[place], true);
    }

    fn count(&self, receiver: Receiver, more: bool) {
        self.demand.count(self.shard, receiver.rendering, receiver.subscribed, more);
    }

    fn session(&self, connection: ConnectionId) -> Option<&Session> {
        self.sessions.get(connection.index())?.as_ref()
    }
}
