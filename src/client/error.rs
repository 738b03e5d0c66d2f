//! Why the client ends otherwise than by its user's wish.

use std::io;
use std::path::PathBuf;

use super::conversation::Failure;

/// Characters of a line that an error shows.
const SAID_MAX: usize = 80;

/// Why there is no conversation, or no more of it.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each text says it")]
pub enum ClientError {
    #[error("cannot find {address}: {error} (give host and port, such as 127.0.0.1:1337)")]
    Resolve { address: String, error: io::Error },
    #[error("cannot connect to {address}: {error} (is a server running there? `cowchat serve` starts one)")]
    Connect { address: String, error: io::Error },
    #[error("the connection to {address} broke: {error}")]
    Broken { address: String, error: io::Error },
    #[error("{address} is no cow chat: it said {said:?} (are host and port right?)")]
    NoChat { address: String, said: String },
    #[error("{address} does not answer as a cow chat does (are host and port right?)")]
    Silent { address: String },
    #[error("{address} takes no more connections: {reason} (try later)")]
    TurnedAway { address: String, reason: String },
    #[error("cannot write to stdout: {0}")]
    Stdout(io::Error),
    #[error("cannot use the terminal: {0} (in a pipe no terminal is needed: `cat | cowchat connect`)")]
    Terminal(io::Error),
    #[error("cannot write {}: {error} (--log)", path.display())]
    Transcript { path: PathBuf, error: io::Error },
}

impl ClientError {
    /// The failure of a conversation with the server at `address`.
    pub(super) fn of(failure: Failure, address: &str) -> Self {
        let address = address.to_owned();
        match failure {
            Failure::NoChat(said) => ClientError::NoChat { address, said: said.chars().take(SAID_MAX).collect() },
            Failure::Silent => ClientError::Silent { address },
            Failure::TurnedAway(reason) => ClientError::TurnedAway { address, reason },
        }
    }

    /// Why there is no connection, without the address.
    pub(super) fn reason(&self) -> String {
        match self {
            ClientError::Connect { error, .. } | ClientError::Broken { error, .. } => error.to_string(),
            other => other.to_string(),
        }
    }
}
