//! Who is registered on one core: sessions by connection, and a dense list to walk for a `yield`.

use crate::cows::CowId;
use crate::directory::{Claim, Claims, ConnectionId, Directory, Owner};

/// A registered connection.
#[derive(Debug)]
struct Session {
    claim: Claim,
    /// Where its connection stands in [`Roster::registered`].
    place: usize,
}

/// The sessions of one core. A session leaves both of its places at once, so they never disagree.
#[derive(Debug)]
pub(super) struct Roster {
    claims: Claims,
    /// By connection.
    sessions: Vec<Option<Session>>,
    registered: Vec<ConnectionId>,
    /// A change has begun and is not done: what a panic in it leaves behind is not to be trusted.
    changing: bool,
}

impl Roster {
    pub(super) fn new(claims: Claims) -> Self {
        Roster { claims, sessions: Vec::new(), registered: Vec::new(), changing: false }
    }

    pub(super) fn directory(&self) -> &Directory {
        self.claims.directory()
    }

    /// Whether a change was begun and never done.
    pub(super) fn is_broken(&self) -> bool {
        self.changing
    }

    /// All registered connections, dense, in no particular order.
    pub(super) fn registered(&self) -> &[ConnectionId] {
        &self.registered
    }

    pub(super) fn owner_and_cow(&self, connection: ConnectionId) -> Option<(Owner, CowId)> {
        self.session(connection).map(|session| (session.claim.owner(), session.claim.cow()))
    }

    /// The one connection that holds exactly this claim, as a slice; `None` if the claim has ended.
    pub(super) fn holder(&self, owner: Owner) -> Option<&[ConnectionId]> {
        let session = self.session(owner.connection())?;
        (session.claim.owner() == owner).then(|| &self.registered[session.place..=session.place])
    }

    /// Registers `connection` as `cow`; `false` if the cow is taken. A session is never renamed.
    pub(super) fn join(&mut self, connection: ConnectionId, cow: CowId) -> bool {
        assert!(self.session(connection).is_none(), "a session is never renamed");
        let Some(claim) = self.claims.claim(cow, connection) else {
            return false;
        };
        self.changing = true;
        let at = connection.index();
        if self.sessions.len() <= at {
            self.sessions.resize_with(at + 1, || None);
        }
        self.sessions[at] = Some(Session { claim, place: self.registered.len() });
        self.registered.push(connection);
        self.changing = false;
        true
    }

    /// Ends the session of `connection`, if it has one, and frees its cow.
    pub(super) fn leave(&mut self, connection: ConnectionId) {
        let Some(session) = self.sessions.get_mut(connection.index()).and_then(Option::take) else { return };
        self.changing = true;
        self.registered.swap_remove(session.place);
        if let Some(moved) = self.registered.get(session.place)
            && let Some(Some(moved)) = self.sessions.get_mut(moved.index())
        {
            moved.place = session.place;
        }
        drop(session);
        self.changing = false;
    }

    fn session(&self, connection: ConnectionId) -> Option<&Session> {
        self.sessions.get(connection.index())?.as_ref()
    }
}
