//! On which terms a newcomer is let in: by where he comes from.

use std::net::SocketAddr;

use super::core::Core;
use super::flood::Bucket;
use crate::addresses::{AddressFull, Place};
use crate::events::CloseReason;

/// What a connection may do, and what it is counted as.
#[derive(Debug)]
pub(super) struct Terms {
    /// Its lines.
    pub(super) bucket: Bucket,
    /// Whether it may stay without logging in.
    pub(super) may_look_on: bool,
    /// Its place among those of its address, until this is dropped.
    pub(super) place: Option<Place>,
}

impl Terms {
    /// The terms for a newcomer from `peer`.
    ///
    /// # Errors
    /// Why he is not let in.
    pub(super) fn of(core: &Core, peer: Option<SocketAddr>) -> Result<Self, CloseReason> {
        if core.is_full() {
            return Err(CloseReason::ServerFull);
        }
        let settings = &core.settings;
        let Some(address) = peer.map(|peer| peer.ip()) else {
            // He is gone already.
            return Ok(Terms { bucket: Bucket::FULL, may_look_on: false, place: None });
        };
        let bucket = if settings.flood_exempt.contains(address) { Bucket::EXEMPT } else { Bucket::FULL };
        let place = settings.addresses.enter(address).map_err(|AddressFull| CloseReason::AddressFull)?;
        Ok(Terms { bucket, may_look_on: settings.login_exempt.contains(address), place })
    }
}
