//! What the status of a server says.

use std::net::SocketAddr;

use super::config::Config;
use crate::policy::limits::Limits;

/// Where a server listens, and with how many cows.
#[derive(Debug)]
pub(super) struct Place(String);

impl Place {
    pub(super) fn new(address: SocketAddr, config: &Config) -> Self {
        let (cores, cows, of_each) = (config.cores.pins.len(), config.herd.len(), config.herd.size());
        let plural = if cores == 1 { "" } else { "s" };
        Place(format!("listening on {address} ({cores} core{plural}, {cows} cows, {of_each} of each"))
    }

    /// The status of a server with these limits.
    pub(super) fn status(&self, limits: &Limits) -> String {
        let Limits { connections_max, connections_per_address, .. } = limits;
        format!("{}, {connections_max} connections, {connections_per_address} of an address)", self.0)
    }
}
