//! Why a connection ended: one key for each reason, the same in the log, the counters and the documents.
//!
//! The table says for each reason what becomes of the output that still waits. `protocol/PROTOCOL.md` says when each
//! applies.

use std::borrow::Cow;
use std::time::Duration;

use crate::protocol::reply::{
    ADDRESS_IS_BANNED, CLOSED_BANNED, CLOSED_IDLE, CLOSED_KICKED, CLOSED_SCARCE, SERVER_IS_FULL, SHUTTING_DOWN,
    TOO_MANY_FROM_ADDRESS, closed_not_logged_in,
};

/// Why a connection ended, or was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "some names say it all")]
pub enum CloseReason {
    Quit,
    EndOfInput,
    /// Usually by a reset.
    ReadFailed,
    /// Usually by a reset.
    WriteFailed,
    /// The peer's machine has not answered for too long.
    PeerGone,
    /// More messages from others waited for it than its send queue may hold.
    SlowConsumer,
    /// It took nothing of its send queue for too long.
    Stalled,
    /// All queues together were over their limit, and its queue was the longest.
    QueuesFull,
    NotLoggedIn,
    Idle,
    /// It was logged in and silent for long, and few cows were free.
    CowsScarce,
    Shutdown,
    /// An operator closed it.
    Kicked,
    /// An operator banned its network while it was open.
    Banned,
    /// A bug of the server ended this session.
    InternalFault,
    /// It sent HTTP or TLS.
    WrongProtocol,
    ServerFull,
    /// Its address has as many connections as one may have.
    AddressFull,
    /// An operator has banned the network of its address.
    AddressBanned,
}

/// What becomes of the output that waits for a connection when it ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Output {
    /// It is written before the connection closes.
    Written,
    /// The server drops what waits in its own queue.
    Dropped,
    /// The kernel drops its part, too: the peer reads too slowly, or not at all.
    Reset,
}

/// In the order of the enum.
const TABLE: [(CloseReason, &str, Output); 19] = {
    use CloseReason::*;
    use Output::*;
    [
        (Quit, "quit", Written),
        (EndOfInput, "end_of_input", Written),
        (ReadFailed, "read_failed", Dropped),
        (WriteFailed, "write_failed", Dropped),
        (PeerGone, "peer_gone", Reset),
        (SlowConsumer, "slow_consumer", Reset),
        (Stalled, "stalled", Reset),
        (QueuesFull, "queues_full", Reset),
        (NotLoggedIn, "not_logged_in", Written),
        (Idle, "idle", Written),
        (CowsScarce, "cows_scarce", Written),
        (Shutdown, "shutdown", Written),
        (Kicked, "kicked", Written),
        (Banned, "banned", Written),
        (InternalFault, "internal_fault", Dropped),
        (WrongProtocol, "wrong_protocol", Written),
        (ServerFull, "server_full", Dropped),
        (AddressFull, "address_full", Dropped),
        (AddressBanned, "address_banned", Dropped),
    ]
};

impl CloseReason {
    /// All of them.
    pub const ALL: [CloseReason; TABLE.len()] = {
        let mut all = [CloseReason::Quit; TABLE.len()];
        let mut at = 0;
        while at < all.len() {
            all[at] = TABLE[at].0;
            assert!(all[at] as usize == at, "the table has another order than the enum");
            at += 1;
        }
        all
    };

    /// Its name in the log, the counters and the documents.
    pub fn key(self) -> &'static str {
        TABLE[self as usize].1
    }

    /// What the connection is told last, LF included, if anything; `login_timeout` is the one in force.
    pub fn last_line(self, login_timeout: Duration) -> Option<Cow<'static, str>> {
        match self {
            CloseReason::Shutdown => Some(SHUTTING_DOWN.into()),
            CloseReason::NotLoggedIn => Some(closed_not_logged_in(login_timeout).into()),
            CloseReason::Kicked => Some(CLOSED_KICKED.into()),
            CloseReason::Banned => Some(CLOSED_BANNED.into()),
            CloseReason::Idle => Some(CLOSED_IDLE.into()),
            CloseReason::CowsScarce => Some(CLOSED_SCARCE.into()),
            CloseReason::ServerFull => Some(SERVER_IS_FULL.into()),
            CloseReason::AddressFull => Some(TOO_MANY_FROM_ADDRESS.into()),
            CloseReason::AddressBanned => Some(ADDRESS_IS_BANNED.into()),
            // After `quit`, HTTP or TLS the reply is the last line; a peer that has closed reads no more; a connection that
            // is cut has received a prefix of what was sent.
            _ => None,
        }
    }

    /// Whether what is queued for the connection is still written before it closes.
    pub fn is_orderly(self) -> bool {
        TABLE[self as usize].2 == Output::Written
    }

    /// Whether the kernel, too, drops what it still holds for the connection.
    pub fn is_cut(self) -> bool {
        TABLE[self as usize].2 == Output::Reset
    }
}
