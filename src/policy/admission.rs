//! Admission: whether a new connection is let in, and on which terms, by its address.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::addresses::{AddressFull, Addresses, ConnectionPermit, Entered, Shared};
use super::flood::Bucket;
use super::limits::Limits;
use crate::close_reason::CloseReason;

/// What a connection may do, and what it is counted as. [`Entered`] says what comes from its address.
#[derive(Debug)]
pub struct Admitted {
    pub bucket: Bucket,
    pub shared: Option<Arc<Shared>>,
    /// It may stay without a login.
    pub login_exempt: bool,
    pub permit: Option<ConnectionPermit>,
    pub wait: Duration,
}

impl Admitted {
    /// On the terms of a peer that is gone already: its address is not known any more.
    pub fn unknown() -> Self {
        Admitted { bucket: Bucket::FULL, shared: None, login_exempt: false, permit: None, wait: Duration::ZERO }
    }
}

/// A new connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    pub reason: CloseReason,
    /// The log names this one.
    pub is_logged: bool,
}

/// Decides about a new connection at `now`, the server's time, while `open` connections are open.
///
/// Cores that ask at the same moment may each admit one more than the limit: the descriptors in reserve are more than
/// there are such cores.
pub fn admit(
    limits: &Limits,
    addresses: &Arc<Addresses>,
    open: u64,
    peer: Option<IpAddr>,
    now: Duration,
) -> Result<Admitted, Refused> {
    // A ban is explicit: it holds for exempt networks and loopback, too. The log does not name each connection that it
    // refuses; the ban counts them.
    if peer.is_some_and(|peer| addresses.bans.refuse(peer, now)) {
        return Err(Refused { reason: CloseReason::AddressBanned, is_logged: false });
    }
    if open >= limits.connections_max {
        return Err(Refused { reason: CloseReason::ServerFull, is_logged: true });
    }
    let Some(peer) = peer else { return Ok(Admitted::unknown()) };
    let is_limited = !limits.flood_exempt.contains(peer);
    let entered = addresses.enter(peer, is_limited, now);
    let Entered { permit, wait, debt, shared } = entered
        .map_err(|AddressFull { is_too_fast }| Refused { reason: CloseReason::AddressFull, is_logged: !is_too_fast })?;
    let bucket = if is_limited { Bucket::with_debt(now, debt) } else { Bucket::EXEMPT };
    Ok(Admitted { bucket, shared, login_exempt: limits.login_exempt.contains(peer), permit, wait })
}
