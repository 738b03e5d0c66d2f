//! Why a connection ended: the reason in the log, in the counters and in the last line.

use std::borrow::Cow;
use std::time::Duration;

use crate::protocol::reply::{
    CLOSED_IDLE, CLOSED_SCARCE, SERVER_IS_FULL, SHUTTING_DOWN, TOO_MANY_FROM_ADDRESS, closed_not_logged_in,
};

/// Why a connection ended, or was not let in. `protocol/PROTOCOL.md` has them in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// It said `quit`.
    Quit,
    /// It closed its side.
    EndOfInput,
    /// A read failed: usually a reset.
    ReadFailed,
    /// A write failed: usually a reset.
    WriteFailed,
    /// The peer's machine has not answered for too long.
    PeerGone,
    /// More of other people's messages waited for it than its send queue holds.
    SlowConsumer,
    /// It took nothing for too long of what waited for it.
    Stalled,
    /// More waited for all together than they may have, and for it most of all.
    QueuesFull,
    /// It was not logged in and sent no line for too long.
    NotLoggedIn,
    /// It was logged in and sent no line for too long.
    Idle,
    /// It had said nothing for long, and few cows were free.
    Scarce,
    /// The server shut down.
    Shutdown,
    /// A fault of the server's own while it served this session.
    Fault,
    /// It spoke HTTP or TLS.
    Foreign,
    /// There was no room for one more.
    ServerFull,
    /// Its address has as many connections as one may have.
    AddressFull,
}

impl CloseReason {
    /// All of them.
    pub const ALL: [CloseReason; 16] = {
        use CloseReason::*;
        [
            Quit,
            EndOfInput,
            ReadFailed,
            WriteFailed,
            PeerGone,
            SlowConsumer,
            Stalled,
            QueuesFull,
            NotLoggedIn,
            Idle,
            Scarce,
            Shutdown,
            Fault,
            Foreign,
            ServerFull,
            AddressFull,
        ]
    };

    /// The words for it in the log.
    pub fn label(self) -> &'static str {
        match self {
            CloseReason::Quit => "quit",
            CloseReason::EndOfInput => "end of input",
            CloseReason::ReadFailed => "read failed",
            CloseReason::WriteFailed => "write failed",
            CloseReason::PeerGone => "peer gone",
            CloseReason::SlowConsumer => "slow consumer",
            CloseReason::Stalled => "stalled",
            CloseReason::QueuesFull => "queues full",
            CloseReason::NotLoggedIn => "not logged in",
            CloseReason::Idle => "idle",
            CloseReason::Scarce => "cows scarce",
            CloseReason::Shutdown => "shutdown",
            CloseReason::Fault => "internal fault",
            CloseReason::Foreign => "wrong protocol",
            CloseReason::ServerFull => "server full",
            CloseReason::AddressFull => "address full",
        }
    }

    /// What the connection is told last, LF included, if it is told anything; `login_timeout` is the one in
    /// force.
    pub fn last_line(self, login_timeout: Duration) -> Option<Cow<'static, str>> {
        match self {
            CloseReason::Shutdown => Some(SHUTTING_DOWN.into()),
            CloseReason::NotLoggedIn => Some(closed_not_logged_in(login_timeout).into()),
            CloseReason::Idle => Some(CLOSED_IDLE.into()),
            CloseReason::Scarce => Some(CLOSED_SCARCE.into()),
            CloseReason::ServerFull => Some(SERVER_IS_FULL.into()),
            CloseReason::AddressFull => Some(TOO_MANY_FROM_ADDRESS.into()),
            // After `quit`, HTTP or TLS the reply is the last line; a peer that has closed reads no more; a connection that
            // is cut has received a prefix of what was sent.
            _ => None,
        }
    }

    /// Whether what is queued for the connection is still written before it closes.
    pub fn is_orderly(self) -> bool {
        use CloseReason::*;
        matches!(self, Quit | EndOfInput | NotLoggedIn | Idle | Scarce | Shutdown | Foreign)
    }

    /// Whether it reads too slowly or not at all, so that the kernel is to forget what it still holds for it.
    pub fn is_cut(self) -> bool {
        use CloseReason::*;
        matches!(self, SlowConsumer | Stalled | QueuesFull | PeerGone)
    }
}
