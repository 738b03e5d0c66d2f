//! Why a line is refused, to the byte.

use super::name::Name;
use super::text::echo;

/// How a refusal ends that a later try may not meet.
pub const TRY_AGAIN: &str = ", try again";

/// Why a line was refused; each text says what to do instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the texts are the documentation")]
pub enum Refusal<'a> {
    #[error("login first")]
    LoginFirst,
    #[error("you are already logged in as {0}")]
    AlreadyLoggedIn(Name<'a>),
    #[error("usage: {0}")]
    Usage(&'static str),
    #[error("no cow named {} (try cows)", echo(.0))]
    NoSuchCow(&'a str),
    #[error("cow {0} is already taken")]
    Taken(Name<'a>),
    #[error("every {0} is taken")]
    EveryTaken(&'a str),
    #[error("too many cows from your address (max {0})")]
    TooManyCows(u32),
    #[error("cow {0} is not logged in")]
    NotLoggedIn(Name<'a>),
    #[error("cow {0} is out of reach")]
    CowOutOfReach(Name<'a>),
    #[error("the cluster is out of reach, try again")]
    ClusterOutOfReach,
    #[error("the cluster is too slow, try again")]
    ClusterTooSlow,
    #[error("history is off")]
    HistoryIsOff,
    #[error("unknown command {} (try help)", echo(.0))]
    UnknownCommand(&'a str),
    #[error("id too long")]
    IdTooLong,
    #[error("line too long (max {0} bytes)")]
    LineTooLong(usize),
    #[error("slow down")]
    SlowDown,
    #[error("this is a chat for nc, not for HTTP or TLS")]
    Foreign,
}
