//! Why a server does not start, or ends.

use std::io;
use std::net::SocketAddr;

use super::config::ConfigError;
use super::machine;
use crate::ids::ShardId;
use crate::net::worker::CoreError;

/// Why the server cannot start, or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The kernel refuses the address.
    #[error("cannot listen on {address}: {}", bind_advice(.address, .error))]
    Bind {
        /// As in `--listen`.
        address: SocketAddr,
        /// The kernel's word.
        error: io::Error,
    },
    /// Something has to change first; it shows only when cores start.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The kernel refuses a thread, a descriptor or a signal handler.
    #[error("cannot start: {0}")]
    Start(#[from] io::Error),
    /// A core failed. The server ends with it, since its users cannot be reached any more.
    #[error("core {shard} {error}")]
    Core {
        /// Which one.
        shard: ShardId,
        /// Why.
        error: CoreError,
    },
}

fn bind_advice(address: &SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "address already in use (another server listens there; stop it or choose another --listen)".to_owned()
        }
        io::ErrorKind::PermissionDenied if (1..1024).contains(&address.port()) => {
            format!("{error} (ports below 1024 need privileges; choose another --listen)")
        }
        io::ErrorKind::AddrNotAvailable => format!("{error} (this machine does not have that address)"),
        _ => error.to_string(),
    }
}

/// Of a core that ends before all `cores` accept.
pub(super) fn ended_at_start(cores: usize, shard: ShardId, result: Result<(), CoreError>) -> ServerError {
    if let Err(CoreError::Rings(error)) = &result
        && let Some(lacking) = machine::too_little_memlock(cores, error)
    {
        return ServerError::Config(lacking.into());
    }
    ended_early(shard, result)
}

/// Of a core that ends before a drain.
pub(super) fn ended_early(shard: ShardId, result: Result<(), CoreError>) -> ServerError {
    let error = result.err().unwrap_or(CoreError::Panicked("it ended without being asked to"));
    ServerError::Core { shard, error }
}
