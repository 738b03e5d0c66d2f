//! The sessions of one core: by connection, and as a dense list to walk for a `yield`.

use std::sync::Arc;

use super::demand::Demand;
use super::rendering::Rendering;
use crate::cows::{Breed, CowId};
use crate::directory::{Claim, Claims, CowPermit, Directory, Owner};
use crate::faults::{self, Point};
use crate::ids::{ConnectionId, ShardId};

/// A registered connection.
#[derive(Debug)]
struct Session {
    claim: Claim,
    /// Where its connection stands in [`Roster::registered`].
    place: usize,
    /// Given back with the session.
    _permit: Option<CowPermit>,
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
    claims: Claims,
    demand: Arc<Demand>,
    /// By connection.
    sessions: Vec<Option<Session>>,
    /// By connection, registered or not.
    renderings: Vec<Rendering>,
    /// Of a new connection.
    default_rendering: Rendering,
    registered: Vec<Receiver>,
    /// Still set after a panic in a critical section.
    in_critical: bool,
}

impl Roster {
    pub(super) fn new(shard: ShardId, claims: Claims, demand: Arc<Demand>, default_rendering: Rendering) -> Self {
        Roster {
            shard,
            claims,
            demand,
            sessions: Vec::new(),
            renderings: Vec::new(),
            default_rendering,
            registered: Vec::new(),
            in_critical: false,
        }
    }

    pub(super) fn directory(&self) -> &Directory {
        self.claims.directory()
    }

    pub(super) fn demand(&self) -> &Demand {
        &self.demand
    }

    /// Whether a panic has left the roster inconsistent.
    pub(super) fn is_poisoned(&self) -> bool {
        self.in_critical
    }

    /// All registered connections, dense, in no particular order.
    pub(super) fn registered(&self) -> &[Receiver] {
        &self.registered
    }

    pub(super) fn owner_and_cow(&self, connection: ConnectionId) -> Option<(Owner, CowId)> {
        self.session(connection).map(|session| (session.claim.owner(), session.claim.cow()))
    }

    /// The session with exactly this claim, as a slice; `None` if the claim has ended.
    pub(super) fn holder(&self, owner: Owner) -> Option<&[Receiver]> {
        let session = self.session(owner.connection())?;
        (session.claim.owner() == owner).then(|| &self.registered[session.place..=session.place])
    }

    /// How `connection` wants what others send it.
    pub(super) fn rendering(&self, connection: ConnectionId) -> Rendering {
        self.renderings.get(connection.index()).copied().unwrap_or(self.default_rendering)
    }

    /// Registers `connection` as `cow`; `false` if the cow is taken. A session is never renamed.
    pub(super) fn join(&mut self, connection: ConnectionId, cow: CowId, permit: Option<CowPermit>) -> bool {
        assert!(self.session(connection).is_none(), "a session is never renamed");
        let claim = self.claims.claim(cow, connection);
        claim.map(|claim| self.enter(connection, claim, permit)).is_some()
    }

    /// Registers `connection` as a free cow of `breed`; `None` if none is free.
    pub(super) fn join_any(
        &mut self,
        connection: ConnectionId,
        breed: Breed,
        permit: Option<CowPermit>,
    ) -> Option<CowId> {
        assert!(self.session(connection).is_none(), "a session is never renamed");
        let claim = self.claims.claim_any(breed, connection)?;
        let cow = claim.cow();
        self.enter(connection, claim, permit);
        Some(cow)
    }

    fn enter(&mut self, connection: ConnectionId, claim: Claim, permit: Option<CowPermit>) {
        self.critical(|roster| {
            let at = connection.index();
            if roster.sessions.len() <= at {
                roster.sessions.resize_with(at + 1, || None);
            }
            roster.sessions[at] = Some(Session { claim, place: roster.registered.len(), _permit: permit });
            let receiver = Receiver { connection, rendering: roster.rendering(connection), subscribed: false };
            roster.registered.push(receiver);
            roster.count(receiver, true);
        });
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
            Some(session.claim.cow())
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

    /// From now on the session of `connection` gets notices, or none.
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
