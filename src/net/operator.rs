//! What an operator asks of one core: to list, close or tell its connections.
//!
//! What concerns connections looks at a slice of them, from a slot on, and returns the slot of the next slice, or `None`
//! after the last. The core serves its connections in between.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use super::closed::Closed;
use super::connection::Connection;
use super::core::Core;
use super::delivery::apply;
use crate::close_reason::CloseReason;
use crate::faults::{self, Point};
use crate::limits::{SENDQ_OWN_BYTES, VISITED_AT_ONCE};
use crate::policy::bans::{Ban, TooManyBans};
pub use crate::policy::networks::Network;

/// A connection, as an operator sees it.
#[derive(Debug)]
pub struct Who {
    pub connection: String,
    pub cow: Option<String>,
    pub address: Option<SocketAddr>,
    /// Since it was accepted.
    pub age: Duration,
    /// Since its last line; `None` while it has one.
    pub idle: Option<Duration>,
    /// Output that waits in the server.
    pub queued_bytes: usize,
    /// Lines read, refused ones, too.
    pub lines: u32,
}

/// Which connections.
#[derive(Debug, Clone)]
pub enum Target {
    Cow(String),
    Address(IpAddr),
    Peer(SocketAddr),
    Network(Network),
}

impl Target {
    /// Reads what an operator writes. What is no address is a cow.
    pub fn of(text: &str) -> Self {
        let peer = text.parse().map(Target::Peer).ok();
        peer.or_else(|| text.parse().map(Target::Address).ok()).unwrap_or_else(|| Target::Cow(text.to_owned()))
    }

    fn is(&self, core: &Core, connection: &Connection) -> bool {
        let peer = connection.peer();
        match self {
            Target::Cow(name) => core.cow_of(connection).is_some_and(|cow| cow.eq_ignore_ascii_case(name)),
            Target::Address(address) => peer.is_some_and(|peer| peer.ip().to_canonical() == address.to_canonical()),
            Target::Peer(wanted) => peer.is_some_and(|peer| (peer.ip(), peer.port()) == (wanted.ip(), wanted.port())),
            Target::Network(network) => peer.is_some_and(|peer| network.contains(peer.ip())),
        }
    }
}

/// Cows that are taken, and all.
pub fn cows(core: &Rc<Core>) -> (u64, u64) {
    (core.shards.directory.claimed() as u64, core.shards.herd.len() as u64)
}

/// Lists connections.
pub fn who(core: &Rc<Core>, slot: usize) -> Option<(Vec<Who>, usize)> {
    visit(core, slot, |connection| Who {
        connection: connection.name().to_string(),
        cow: core.cow_of(connection),
        address: connection.peer(),
        age: connection.age(core.server_time()),
        idle: connection.idle.elapsed(core.now()),
        queued_bytes: connection.queued_bytes(),
        lines: connection.lines.get(),
    })
}

/// A connection that has ended, as an operator sees it.
#[derive(Debug)]
pub struct Ended {
    pub at: SystemTime,
    pub connection: String,
    pub cow: Option<String>,
    pub address: Option<SocketAddr>,
    /// Since it was accepted.
    pub age: Duration,
    pub reason: CloseReason,
}

/// Lists the connections of this core that ended last, oldest first.
pub fn closed(core: &Rc<Core>) -> Vec<Ended> {
    let seen = |closed: &Closed| Ended {
        at: closed.at,
        connection: closed.connection.to_string(),
        cow: closed.cow.map(|cow| core.name(cow)),
        address: closed.peer,
        age: closed.age,
        reason: closed.reason,
    };
    core.closed.borrow().iter().map(seen).collect()
}

/// Closes the connections of `target`, with `text` in their last line. Returns how many.
pub fn kick(core: &Rc<Core>, slot: usize, target: &Target, text: &str) -> Option<(u64, usize)> {
    end(core, slot, target, CloseReason::Kicked, &format!("* closed: {text}\n"))
}

/// Closes the connections that are open from a network which is banned. Returns how many.
pub fn end_banned(core: &Rc<Core>, slot: usize, network: Network) -> Option<(u64, usize)> {
    let last_line = core.last_line(CloseReason::Banned).unwrap_or_default();
    end(core, slot, &Target::Network(network), CloseReason::Banned, &last_line)
}

fn end(core: &Rc<Core>, slot: usize, target: &Target, reason: CloseReason, last_line: &str) -> Option<(u64, usize)> {
    let (targets, next) = visit(core, slot, |connection| target.is(core, connection).then(|| Rc::clone(connection)))?;
    let mut ended = 0;
    for connection in targets.iter().flatten() {
        apply::tell_and_end_with(core, connection, reason, Some(last_line));
        ended += 1;
    }
    core.dirty.schedule_flush();
    Some((ended, next))
}

/// A ban, as an operator sees it.
#[derive(Debug)]
pub struct Banned {
    pub network: String,
    /// How long it still lasts; `None`: until the server ends.
    pub left: Option<Duration>,
    pub refused: u64,
}

/// Has all cores refuse new connections from `network`; then [`end_banned`] closes those that are open.
pub fn ban(core: &Rc<Core>, network: Network, time: Option<Duration>) -> Result<(), TooManyBans> {
    core.addresses.bans.add(network, time, core.server_time())
}

/// Lifts a ban. Returns whether there was one.
pub fn unban(core: &Rc<Core>, network: Network) -> bool {
    core.addresses.bans.remove(network, core.server_time())
}

/// Lists the bans.
pub fn bans(core: &Rc<Core>) -> Vec<Banned> {
    let now = core.server_time();
    let bans = core.addresses.bans.all(now);
    let seen = |ban: &Ban| Banned {
        network: ban.network.to_string(),
        left: ban.until.map(|until| until.saturating_sub(now)),
        refused: ban.refused,
    };
    bans.iter().map(seen).collect()
}

/// Tells connections a line, except those that have not read much of their own replies. Returns how many.
pub fn notice(core: &Rc<Core>, slot: usize, text: &str) -> Option<(usize, usize)> {
    let line = format!("* notice: {text}\n");
    let (told, next) = visit(core, slot, |connection| {
        if !connection.is_served.get() || connection.queued_bytes() > SENDQ_OWN_BYTES {
            return 0;
        }
        faults::at(Point::Notice, text.as_bytes());
        let line = core.with_shard(|shard| shard.server_line(connection.id, &line));
        apply::queue_own(core, connection, line.into_bytes());
        1
    })?;
    core.dirty.schedule_flush();
    Some((told.iter().sum(), next))
}

/// Has `act` see the slice of open connections that begins at `slot`.
fn visit<T>(core: &Core, slot: usize, mut act: impl FnMut(&Rc<Connection>) -> T) -> Option<(Vec<T>, usize)> {
    let connections = core.connections();
    let next = slot + VISITED_AT_ONCE;
    let open = (slot..next).filter_map(|slot| connections.get(slot)).filter(|found| found.closing().is_none());
    (slot < connections.capacity()).then(|| (open.map(&mut act).collect(), next))
}
