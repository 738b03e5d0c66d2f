//! Admission: which limits apply to a new connection, by its address.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::close_reason::CloseReason;
use crate::net::core::Core;
use crate::policy::addresses::{AddressFull, ConnectionPermit, Entered, Shared};
use crate::policy::flood::Bucket;

/// What a connection may do, and what it is counted as.
#[derive(Debug)]
pub(crate) struct Terms {
    /// Its lines.
    pub(crate) bucket: Bucket,
    /// What it has in common with other connections of its address, unless that may have any number of them.
    pub(crate) shared: Option<Arc<Shared>>,
    /// Whether it may stay without logging in.
    pub(crate) login_exempt: bool,
    /// Its place among those of its address, until this is dropped.
    pub(crate) permit: Option<ConnectionPermit>,
    /// How long it waits before it is served.
    pub(crate) wait: Duration,
}

/// A new connection that is refused.
#[derive(Debug)]
pub(crate) struct TurnedAway {
    pub(crate) reason: CloseReason,
    /// The log tells of it.
    pub(crate) is_logged: bool,
}

impl Terms {
    /// The terms for a newcomer from `peer`.
    ///
    /// # Errors
    /// Why it is not let in.
    pub(crate) fn of(core: &Core, peer: Option<SocketAddr>) -> Result<Self, TurnedAway> {
        if core.is_full() {
            return Err(TurnedAway { reason: CloseReason::ServerFull, is_logged: true });
        }
        let Some(address) = peer.map(|peer| peer.ip()) else {
            // It is gone already.
            let wait = Duration::ZERO;
            return Ok(Terms { bucket: Bucket::FULL, shared: None, login_exempt: false, permit: None, wait });
        };
        let is_limited = !core.limits.flood_exempt.contains(address);
        let entered = core.addresses.enter(address, is_limited);
        let Entered { permit, wait, debt, shared } = entered.map_err(|AddressFull { is_too_fast }| TurnedAway {
            reason: CloseReason::AddressFull,
            is_logged: !is_too_fast,
        })?;
        let bucket = if is_limited { Bucket::with_debt(core.now(), debt) } else { Bucket::EXEMPT };
        Ok(Terms { bucket, shared, login_exempt: core.limits.login_exempt.contains(address), permit, wait })
    }
}
