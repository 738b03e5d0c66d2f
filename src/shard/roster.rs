//! Who is registered on one core: sessions by connection, and a dense list to walk for a `yield`.

use std::sync::Arc;

use super::demand::Demand;
use super::frame::Rendering;
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
    /// Its part of a quota, if its cow counts.
    _held: Option<CowPermit>,
}

/// One who gets what is sent to everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receiver {
    /// Its connection.
    pub connection: ConnectionId,
    /// How it wants messages.
    pub rendering: Rendering,
    /// Whether it has subscribed to notices.
    pub subscribed: bool,
}

/// The sessions of one core. A session leaves both of its places at once, so they never disagree.
#[derive(Debug)]
pub(super) struct Roster {
    shard: ShardId,
    claims: Claims,
    demand: Arc<Demand>,
    /// By connection.
    sessions: Vec<Option<Session>>,
    /// By connection, whether it is registered or not.
    renderings: Vec<Rendering>,
    /// Of a new connection.
    default_rendering: Rendering,
    registered: Vec<Receiver>,
    /// A change has begun and is not done: what a panic in it leaves behind is not to be trusted.
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

    /// Whether a change was begun and never done.
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

    /// The one connection that holds exactly this claim, as a slice; `None` if the claim has ended.
    pub(super) fn holder(&self, owner: Owner) -> Option<&[Receiver]> {
        let session = self.session(owner.connection())?;
        (session.claim.owner() == owner).then(|| &self.registered[session.place..=session.place])
    }

    /// How `connection` wants what others send it.
    pub(super) fn rendering(&self, connection: ConnectionId) -> Rendering {
        self.renderings.get(connection.index()).copied().unwrap_or(self.default_rendering)
    }

    /// Registers `connection` as `cow`; `false` if the cow is taken. A session is never renamed.
    /// `held` is for as long as the session.
    pub(super) fn join(&mut self, connection: ConnectionId, cow: CowId, held: Option<CowPermit>) -> bool {
        assert!(self.session(connection).is_none(), "a session is never renamed");
        let Some(claim) = self.claims.claim(cow, connection) else { return false };
        self.enter(connection, claim, held);
        true
    }

    /// Registers `connection` as a free cow of `breed`; `None` if none is free.
    /// `held` is for as long as the session.
    pub(super) fn join_any(
        &mut self,
        connection: ConnectionId,
        breed: Breed,
        held: Option<CowPermit>,
    ) -> Option<CowId> {
        assert!(self.session(connection).is_none(), "a session is never renamed");
        let claim = self.claims.claim_any(breed, connection)?;
        let cow = claim.cow();
        self.enter(connection, claim, held);
        Some(cow)
    }

    fn enter(&mut self, connection: ConnectionId, claim: Claim, held: Option<CowPermit>) {
        self.in_critical = true;
        let at = connection.index();
        if self.sessions.len() <= at {
            self.sessions.resize_with(at + 1, || None);
        }
        self.sessions[at] = Some(Session { claim, place: self.registered.len(), _held: held });
        let receiver = Receiver { connection, rendering: self.rendering(connection), subscribed: false };
        self.registered.push(receiver);
        self.count(receiver, true);
        self.in_critical = false;
    }

    /// Ends the session of `connection`, if it has one, and frees its cow, which is returned.
    pub(super) fn leave(&mut self, connection: ConnectionId) -> Option<CowId> {
        let session = self.sessions.get_mut(connection.index()).and_then(Option::take)?;
        self.in_critical = true;
        let receiver = self.registered.swap_remove(session.place);
        faults::at(Point::Leave, b"");
        self.count(receiver, false);
        if let Some(moved) = self.registered.get(session.place)
            && let Some(Some(moved)) = self.sessions.get_mut(moved.connection.index())
        {
            moved.place = session.place;
        }
        let cow = session.claim.cow();
        drop(session);
        self.in_critical = false;
        Some(cow)
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
