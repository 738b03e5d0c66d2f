//! Where a server listens: what its status says, and what helps if it cannot.

use std::io;
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

/// What to do about an address of `flag` that cannot be taken.
pub(super) fn bind_advice(flag: &str, address: &SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("address already in use (another server listens there; stop it or choose another {flag})")
        }
        io::ErrorKind::PermissionDenied if (1..1024).contains(&address.port()) => {
            format!("{error} (ports below 1024 need privileges; choose another {flag})")
        }
        io::ErrorKind::AddrNotAvailable => format!("{error} (this machine does not have that address)"),
        _ => error.to_string(),
    }
}
