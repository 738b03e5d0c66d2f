//! The bridge to the other servers of a cluster: one more end of the mesh, on a thread of its own. [`crate::cluster`] decides.
//!
//! - `thread`: how it starts and leaves; `access`: how it comes to a broker; `driver`: its loop; `told`: what it is told;
//!   `incoming`: messages of other nodes; `requests`, `store`: NATS, which has the records and carries the messages; `uplink`:
//!   what the cores see. Only with the feature `cluster`.

#[cfg(feature = "cluster")]
pub mod access;
#[cfg(feature = "cluster")]
mod driver;
#[cfg(feature = "cluster")]
mod incoming;
#[cfg(feature = "cluster")]
mod requests;
#[cfg(feature = "cluster")]
mod store;
#[cfg(feature = "cluster")]
pub mod thread;
#[cfg(feature = "cluster")]
mod told;
#[cfg(feature = "cluster")]
mod uplink;

use std::path::PathBuf;

use crate::cluster::lease::Times;

/// How a server is part of a cluster.
#[derive(Debug, Clone)]
pub struct ClusterConfig {
    /// Where brokers are: URLs without users and passwords.
    pub servers: Vec<String>,
    /// This node's name.
    pub node: String,
    /// Who this server is to the brokers.
    pub login: Option<Login>,
    /// Certificates that a broker's must be signed by, instead of those of the system.
    pub ca: Option<PathBuf>,
    /// The certificate that this server shows brokers, with its key.
    pub certificate: Option<PathBuf>,
    /// Of the lease.
    pub times: Times,
    /// Copies of the store, if this node makes it.
    pub replicas: usize,
}

/// Who a server is to the brokers.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    /// A user and its password.
    User(String, String),
    /// A token, which all clients of a broker share.
    Token(String),
    /// The text of a file of credentials, as `nsc` writes it.
    Credentials(String),
}

/// None of it may be in a log.
impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Login")
    }
}

/// What has become of a bridge.
#[derive(Debug)]
pub enum BridgeReport {
    /// It has joined the cluster.
    Joined,
    /// This server must not be in that cluster, for this reason.
    Refused(String),
    /// It cannot go on.
    Failed(String),
}
