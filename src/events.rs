//! What is worth telling the operator: typed events, which [`crate::log`] writes. No event carries a message's text.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::close_reason::CloseReason;
use crate::ids::{ConnectionName, ShardId};

/// Where in the source a panic began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PanicPlace {
    /// The file, as the compiler was told.
    pub file: String,
    /// Counted from 1.
    pub line: u32,
}

/// How important an event is; the most important level is the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something failed.
    Error,
    /// Something should be looked at.
    Warn,
    /// Something happened.
    Info,
}

impl Level {
    /// Its name in a log line, as wide as all others.
    pub fn label(self) -> &'static str {
        match self {
            Level::Error => "ERROR",
            Level::Warn => " WARN",
            Level::Info => " INFO",
        }
    }
}

/// Something that happened.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the log lines below say what each is")]
pub enum Event {
    Unpinned { cores: usize, cpus: usize },
    PinForbidden { shard: ShardId, cpu: usize, error: String },
    FewerCores { cores: usize, wanted: usize, lacking: String },
    UnknownVariable { name: String, nearest: Option<String> },
    CowSkipped { path: PathBuf, reason: String },
    Accepted { connection: ConnectionName, peer: Option<SocketAddr> },
    Refused { shard: ShardId, peer: Option<SocketAddr>, reason: CloseReason },
    Unserved { address: String, connections: u64 },
    LoggedIn { connection: ConnectionName, cow: String },
    Closed { connection: ConnectionName, cow: Option<String>, reason: CloseReason, error: Option<String> },
    Abandoned { connection: ConnectionName },
    Stalled { shard: ShardId },
    Recovered { shard: ShardId, stalled: Duration },
    AcceptFailed { shard: ShardId, error: String },
    NoSendRing { shard: ShardId },
    AcceptRecovered { shard: ShardId },
    Fault { connection: ConnectionName, message: &'static str },
    Panicked { thread: String, place: Option<PanicPlace>, message: &'static str },
    Draining { signal: &'static str, connections: u64 },
    DrainTimedOut { connections: u64 },
    Stopped { connections: u64, says: u64, yields: u64, deliveries: u64, stale: u64, ended: Vec<(CloseReason, u64)> },
    Mishaps { faults: u64, stalls: u64 },
    Lost { events: u64 },
}

impl Event {
    /// How important it is.
    pub fn level(&self) -> Level {
        match self {
            Event::Unpinned { .. }
            | Event::PinForbidden { .. }
            | Event::FewerCores { .. }
            | Event::UnknownVariable { .. }
            | Event::NoSendRing { .. }
            | Event::CowSkipped { .. }
            | Event::Stalled { .. }
            | Event::Recovered { .. }
            | Event::DrainTimedOut { .. }
            | Event::Mishaps { .. }
            | Event::Lost { .. } => Level::Warn,
            Event::AcceptFailed { .. } | Event::Fault { .. } | Event::Panicked { .. } => Level::Error,
            _ => Level::Info,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Unpinned { cores, cpus } => {
                write!(f, "{cores} cores on {cpus} CPUs: they are not pinned and will take turns")
            }
            Event::PinForbidden { shard, cpu, error } => {
                write!(f, "core {shard} is not pinned to CPU {cpu}: {error} (--pin off asks for that)")
            }
            Event::FewerCores { cores, wanted, lacking } => {
                write!(f, "{cores} of {wanted} cores are started: {lacking}")
            }
            Event::UnknownVariable { name, nearest } => {
                write!(f, "the variable {name} is not known and sets nothing")?;
                nearest.as_ref().map_or(Ok(()), |nearest| write!(f, " (is {nearest} meant?)"))
            }
            Event::CowSkipped { path, reason } => write!(f, "cow file {} is skipped: {reason}", path.display()),
            Event::Accepted { connection, peer } => {
                write!(f, "accepted connection={connection}")?;
                peer.map_or(Ok(()), |peer| write!(f, " peer={peer}"))
            }
            Event::Refused { shard, peer, reason } => {
                write!(f, "refused core={shard}")?;
                peer.map_or(Ok(()), |peer| write!(f, " peer={peer}"))?;
                write!(f, " reason=\"{}\"", reason.label())
            }
            Event::Unserved { address, connections } => {
                write!(
                    f,
                    "{connections} more connections of {address} came too fast and were not served (--connect-rate)"
                )
            }
            Event::LoggedIn { connection, cow } => write!(f, "logged in connection={connection} cow={cow}"),
            Event::Closed { connection, cow, reason, error } => {
                write!(f, "closed connection={connection}")?;
                if let Some(cow) = cow {
                    write!(f, " cow={cow}")?;
                }
                write!(f, " reason=\"{}\"", reason.label())?;
                error.as_ref().map_or(Ok(()), |error| write!(f, " error=\"{error}\""))
            }
            Event::Abandoned { connection } => {
                write!(f, "gave up on the last output connection={connection}: nobody reads it")
            }
            Event::Stalled { shard } => write!(f, "core {shard} is stalled: its heart has not beaten for a second"),
            Event::Recovered { shard, stalled } => {
                write!(f, "core {shard} has recovered after {} ms", stalled.as_millis())
            }
            Event::AcceptFailed { shard, error } => {
                write!(
                    f,
                    "core {shard} cannot accept: {error} (new connections wait, or are told that the server is full)"
                )
            }
            Event::NoSendRing { shard } => {
                write!(f, "core {shard} has no ring for sends: it writes one by one until it has one again")
            }
            Event::AcceptRecovered { shard } => write!(f, "core {shard} accepts again"),
            Event::Fault { connection, message } => {
                write!(f, "internal fault, session ended connection={connection} panic=\"{message}\"")
            }
            Event::Panicked { thread, place, message } => {
                write!(f, "panic in thread {thread}")?;
                if let Some(PanicPlace { file, line }) = place {
                    write!(f, " at {file}:{line}")?;
                }
                write!(f, ": {message}")
            }
            Event::Draining { signal, connections } => write!(f, "{signal}: draining {connections} connections"),
            Event::DrainTimedOut { connections } => {
                write!(f, "drain timed out: {connections} connections closed with output pending")
            }
            Event::Stopped { connections, says, yields, deliveries, stale, ended } => {
                write!(
                    f,
                    "stopped: {connections} connections, {says} says, {yields} yields, {deliveries} deliveries, \
                     {stale} dropped as stale"
                )?;
                let mut intro = "; ended by reason: ";
                for (reason, count) in ended {
                    write!(f, "{intro}{} {count}", reason.label())?;
                    intro = ", ";
                }
                Ok(())
            }
            Event::Mishaps { faults, stalls } => {
                write!(f, "there were {faults} internal faults, and {stalls} stalls of a core")
            }
            Event::Lost { events } => {
                write!(f, "{events} log lines were lost: stderr was too slow, or a write to it failed")
            }
        }
    }
}
