//! What the log tells the operator: typed events, which [`crate::log`] writes.
//!
//! An event has a key, which never changes, a level, and fields; these are data, whatever the format of the log. Some have
//! a sentence that says what the fields cannot. `docs/OPERATING.md` has them in a table, which a test compares with this
//! file. No event carries a message's text.

use std::fmt::{self, Display};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::close_reason::CloseReason;
use crate::ids::{ConnectionName, ShardId};

/// How important an event is; the most important level is the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Error,
    Warn,
    Info,
}

impl Level {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
        }
    }

    /// Its number in syslog(3).
    pub fn priority(self) -> u8 {
        match self {
            Level::Error => 3,
            Level::Warn => 4,
            Level::Info => 6,
        }
    }

    /// Padded to five characters.
    pub fn label(self) -> &'static str {
        match self {
            Level::Error => "ERROR",
            Level::Warn => " WARN",
            Level::Info => " INFO",
        }
    }
}

/// Something that happened; `docs/OPERATING.md` says what each means.
#[derive(Debug, Clone)]
pub enum Event {
    Unpinned { cores: usize, cpus: usize },
    PinFailed { shard: ShardId, cpu: usize, error: String },
    FewerCores { cores: usize, wanted: usize, lacking: String },
    MachineWarning { check: &'static str, found: String, fix: String },
    UnknownVariable { name: String, nearest: Option<String> },
    CowSkipped { path: PathBuf, error: String },
    MetricsServed { address: SocketAddr },
    Accepted { connection: ConnectionName, peer: Option<SocketAddr> },
    Refused { shard: ShardId, peer: Option<SocketAddr>, reason: CloseReason },
    Unserved { address: String, connections: u64 },
    LoggedIn { connection: ConnectionName, cow: String },
    LoggedOut { connection: ConnectionName, cow: Option<String> },
    Closed { connection: ConnectionName, cow: Option<String>, reason: CloseReason, error: Option<String> },
    OutputDiscarded { connection: ConnectionName },
    Banned { network: String, seconds: Option<u64>, connections: u64 },
    Unbanned { network: String },
    CoreStalled { shard: ShardId },
    CoreRecovered { shard: ShardId, stalled: Duration },
    AcceptFailed { shard: ShardId, error: String },
    AcceptRecovered { shard: ShardId },
    NoSendRing { shard: ShardId },
    InternalFault { connection: Option<ConnectionName>, message: &'static str },
    Panicked { thread: String, place: Option<String>, message: &'static str },
    Reloaded { changed: String },
    RestartNeeded { flags: String },
    ReloadFailed { error: String },
    ClusterReached { node: String },
    ClusterUnreached { error: String },
    ClusterError { error: String },
    ClusterLost { sessions: usize },
    NodeJoined { node: String },
    NodeLeft { node: String, cause: &'static str },
    MessagesMissed { node: String, messages: u64 },
    Draining { cause: &'static str, connections: u64 },
    DrainTimedOut { connections: u64 },
    Stopped { connections: u64, says: u64, yields: u64, deliveries: u64, stale: u64, ended: Vec<(CloseReason, u64)> },
    Mishaps { faults: u64, stalls: u64 },
    LogLinesLost { lines: u64 },
}

/// What all events of a kind have in common.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// Its name for programs, in snake_case.
    pub key: &'static str,
    pub level: Level,
    /// What its fields do not say, or nothing.
    pub sentence: &'static str,
}

/// A field's value. One that prints as nothing is no field.
pub trait Value: Display {
    /// Whether it always prints as a whole number.
    fn is_number(&self) -> bool {
        false
    }
}

/// Takes fields, each a name and a value.
pub type Sink<'a> = dyn FnMut(&[(&str, &dyn Value)]) + 'a;

macro_rules! values {
    ($is_number:literal: $($kind:ty),+) => {
        $(impl Value for $kind {
            fn is_number(&self) -> bool {
                $is_number
            }
        })+
    };
}

values!(true: usize, u64, u128, ShardId);
values!(false: &str, String, SocketAddr, ConnectionName, std::path::Display<'_>);

impl<T: Value> Value for Maybe<'_, T> {
    fn is_number(&self) -> bool {
        self.0.as_ref().is_some_and(Value::is_number)
    }
}

/// Prints as nothing if there is none.
struct Maybe<'a, T>(&'a Option<T>);

impl<T: Display> Display for Maybe<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |value| value.fmt(f))
    }
}

impl Event {
    pub fn kind(&self) -> Kind {
        use Level::{Error, Info, Warn};
        let (level, key, sentence) = match self {
            Event::Unpinned { .. } => (Warn, "unpinned", "there are more cores than CPUs: cores take turns, unpinned"),
            Event::PinFailed { .. } => (Warn, "pin_failed", "the core runs unpinned (--pin off ends this warning)"),
            Event::FewerCores { .. } => (Warn, "fewer_cores", ""),
            Event::MachineWarning { .. } => (Warn, "machine_warning", ""),
            Event::UnknownVariable { .. } => {
                (Warn, "unknown_variable", "it sets nothing; cowchat serve --help has all variables")
            }
            Event::CowSkipped { .. } => (Warn, "cow_skipped", ""),
            Event::MetricsServed { .. } => (Info, "metrics_served", ""),
            Event::Accepted { .. } => (Info, "accepted", ""),
            Event::Refused { .. } => (Info, "refused", ""),
            Event::Unserved { .. } => (Info, "unserved", "they came too fast and were not served (--connect-rate)"),
            Event::LoggedIn { .. } => (Info, "logged_in", ""),
            Event::LoggedOut { .. } => (Info, "logged_out", ""),
            Event::Closed { .. } => (Info, "closed", ""),
            Event::OutputDiscarded { .. } => (Info, "output_discarded", "the peer does not read its last output"),
            Event::Banned { .. } => (Info, "banned", ""),
            Event::Unbanned { .. } => (Info, "unbanned", ""),
            Event::CoreStalled { .. } => (Warn, "core_stalled", "the core has made no progress for 1 s"),
            Event::CoreRecovered { .. } => (Warn, "core_recovered", ""),
            Event::AcceptFailed { .. } => {
                (Error, "accept_failed", "new connections wait, or hear that the server is full")
            }
            Event::AcceptRecovered { .. } => (Info, "accept_recovered", ""),
            Event::NoSendRing { .. } => {
                (Warn, "no_send_ring", "the core writes to one socket at a time until it has one")
            }
            Event::InternalFault { .. } => {
                (Error, "internal_fault", "a bug ended this session or request; the others go on")
            }
            Event::Panicked { .. } => (Error, "panicked", ""),
            Event::Reloaded { .. } => (Info, "reloaded", ""),
            Event::RestartNeeded { .. } => (Warn, "restart_needed", "a restart changes these, a reload does not"),
            Event::ReloadFailed { .. } => (Error, "reload_failed", "nothing changes"),
            Event::ClusterReached { .. } => (Info, "cluster_reached", ""),
            Event::ClusterUnreached { .. } => (Warn, "cluster_unreached", "only users of this server hear each other"),
            Event::ClusterError { .. } => (Warn, "cluster_error", "the cluster is in reach"),
            Event::ClusterLost { .. } => (Error, "cluster_lost", "other servers may have their cows now"),
            Event::NodeJoined { .. } => (Info, "node_joined", ""),
            Event::NodeLeft { .. } => (Info, "node_left", "its cows are free"),
            Event::MessagesMissed { .. } => (Warn, "messages_missed", "the cluster has lost them"),
            Event::Draining { .. } => (Info, "draining", ""),
            Event::DrainTimedOut { .. } => (Warn, "drain_timed_out", "these connections close with output pending"),
            Event::Stopped { .. } => (Info, "stopped", ""),
            Event::Mishaps { .. } => (Warn, "mishaps", ""),
            Event::LogLinesLost { .. } => (Warn, "log_lines_lost", "stderr was too slow, or a write to it failed"),
        };
        Kind { key, level, sentence }
    }

    /// Hands its fields to `put`, in the order of a log line.
    pub fn fields(&self, put: &mut Sink<'_>) {
        match self {
            Event::Unpinned { cores, cpus } => put(&[("cores", cores), ("cpus", cpus)]),
            Event::PinFailed { shard, cpu, error } => put(&[("core", shard), ("cpu", cpu), ("error", error)]),
            Event::FewerCores { cores, wanted, lacking } => {
                put(&[("cores", cores), ("wanted", wanted), ("lacking", lacking)]);
            }
            Event::MachineWarning { check, found, fix } => put(&[("check", check), ("found", found), ("fix", fix)]),
            Event::UnknownVariable { name, nearest } => put(&[("name", name), ("nearest", &Maybe(nearest))]),
            Event::CowSkipped { path, error } => put(&[("path", &path.display()), ("error", error)]),
            Event::MetricsServed { address } => put(&[("address", address)]),
            Event::Accepted { connection, peer } => put(&[("connection", connection), ("peer", &Maybe(peer))]),
            Event::Refused { shard, peer, reason } => {
                put(&[("reason", &reason.key()), ("core", shard), ("peer", &Maybe(peer))]);
            }
            Event::Unserved { address, connections } => put(&[("address", address), ("connections", connections)]),
            Event::LoggedIn { connection, cow } => put(&[("connection", connection), ("cow", cow)]),
            Event::LoggedOut { connection, cow } => put(&[("connection", connection), ("cow", &Maybe(cow))]),
            Event::Closed { connection, cow, reason, error } => {
                put(&[("reason", &reason.key()), ("connection", connection), ("cow", &Maybe(cow))]);
                put(&[("error", &Maybe(error))]);
            }
            Event::OutputDiscarded { connection } => put(&[("connection", connection)]),
            Event::Banned { network, seconds, connections } => {
                put(&[("network", network), ("seconds", &Maybe(seconds)), ("connections", connections)]);
            }
            Event::Unbanned { network } => put(&[("network", network)]),
            Event::CoreStalled { shard } | Event::AcceptRecovered { shard } | Event::NoSendRing { shard } => {
                put(&[("core", shard)]);
            }
            Event::CoreRecovered { shard, stalled } => put(&[("core", shard), ("stalled_ms", &stalled.as_millis())]),
            Event::AcceptFailed { shard, error } => put(&[("core", shard), ("error", error)]),
            Event::InternalFault { connection, message } => {
                put(&[("connection", &Maybe(connection)), ("panic", message)]);
            }
            Event::Panicked { thread, place, message } => {
                put(&[("thread", thread), ("at", &Maybe(place)), ("panic", message)]);
            }
            Event::Reloaded { changed } => put(&[("changed", changed)]),
            Event::RestartNeeded { flags } => put(&[("flags", flags)]),
            Event::ReloadFailed { error } => put(&[("error", error)]),
            Event::ClusterReached { node } | Event::NodeJoined { node } => put(&[("node", node)]),
            Event::ClusterUnreached { error } | Event::ClusterError { error } => put(&[("error", error)]),
            Event::ClusterLost { sessions } => put(&[("sessions", sessions)]),
            Event::NodeLeft { node, cause } => put(&[("node", node), ("cause", cause)]),
            Event::MessagesMissed { node, messages } => put(&[("node", node), ("messages", messages)]),
            Event::Draining { cause, connections } => put(&[("cause", cause), ("connections", connections)]),
            Event::DrainTimedOut { connections } => put(&[("connections", connections)]),
            Event::Stopped { connections, says, yields, deliveries, stale, ended } => {
                put(&[("connections", connections), ("says", says), ("yields", yields), ("deliveries", deliveries)]);
                put(&[("stale_frames", stale)]);
                ended.iter().for_each(|(reason, count)| put(&[(&format!("ended_{}", reason.key()), count)]));
            }
            Event::Mishaps { faults, stalls } => put(&[("faults", faults), ("stalls", stalls)]),
            Event::LogLinesLost { lines } => put(&[("lines", lines)]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPERATING: &str = include_str!("../docs/OPERATING.md");

    /// One of each kind, with all fields.
    fn samples() -> Vec<Event> {
        let text = || "x".to_owned();
        let (shard, peer) = (ShardId::new(0), Some(([192, 0, 2, 9], 50_000).into()));
        let (connection, reason) = (ConnectionName { shard, number: 7 }, CloseReason::Quit);
        vec![
            Event::Unpinned { cores: 2, cpus: 1 },
            Event::PinFailed { shard, cpu: 0, error: text() },
            Event::FewerCores { cores: 1, wanted: 2, lacking: text() },
            Event::MachineWarning { check: "x", found: text(), fix: text() },
            Event::UnknownVariable { name: text(), nearest: Some(text()) },
            Event::CowSkipped { path: text().into(), error: text() },
            Event::MetricsServed { address: ([127, 0, 0, 1], 9090).into() },
            Event::Accepted { connection, peer },
            Event::Refused { shard, peer, reason },
            Event::Unserved { address: text(), connections: 4 },
            Event::LoggedIn { connection, cow: text() },
            Event::LoggedOut { connection, cow: Some(text()) },
            Event::Closed { connection, cow: Some(text()), reason, error: Some(text()) },
            Event::OutputDiscarded { connection },
            Event::Banned { network: text(), seconds: Some(600), connections: 2 },
            Event::Unbanned { network: text() },
            Event::CoreStalled { shard },
            Event::CoreRecovered { shard, stalled: Duration::from_secs(1) },
            Event::AcceptFailed { shard, error: text() },
            Event::AcceptRecovered { shard },
            Event::NoSendRing { shard },
            Event::InternalFault { connection: Some(connection), message: "x" },
            Event::Panicked { thread: text(), place: Some(text()), message: "x" },
            Event::Reloaded { changed: text() },
            Event::RestartNeeded { flags: text() },
            Event::ReloadFailed { error: text() },
            Event::ClusterReached { node: text() },
            Event::ClusterUnreached { error: text() },
            Event::ClusterError { error: text() },
            Event::ClusterLost { sessions: 2 },
            Event::NodeJoined { node: text() },
            Event::NodeLeft { node: text(), cause: "x" },
            Event::MessagesMissed { node: text(), messages: 2 },
            Event::Draining { cause: "SIGTERM", connections: 4 },
            Event::DrainTimedOut { connections: 4 },
            Event::Stopped { connections: 4, says: 1, yields: 1, deliveries: 3, stale: 0, ended: vec![] },
            Event::Mishaps { faults: 1, stalls: 1 },
            Event::LogLinesLost { lines: 8 },
        ]
    }

    /// The variants of an enum in this source, in snake_case.
    fn variants(source: &str, name: &str) -> Vec<String> {
        let (_, rest) = source.split_once(&format!("\npub enum {name} {{\n")).expect("the enum");
        let (body, _) = rest.split_once("\n}\n").expect("its end");
        let names = body.lines().filter_map(|line| line.strip_prefix("    ")?.split([',', ' ']).next());
        let names = names.filter(|name| name.starts_with(|first: char| first.is_ascii_uppercase()));
        let snake = |name: &str| {
            let mut key = String::new();
            for (at, letter) in name.char_indices() {
                let is_word = at > 0 && letter.is_ascii_uppercase();
                key.extend(is_word.then_some('_').into_iter().chain([letter.to_ascii_lowercase()]));
            }
            key
        };
        names.map(snake).collect()
    }

    #[test]
    fn every_kind_has_the_key_of_its_name() {
        let keys: Vec<&str> = samples().iter().map(|event| event.kind().key).collect();
        assert_eq!(keys, variants(include_str!("events.rs"), "Event"));
        assert_eq!(
            CloseReason::ALL.map(CloseReason::key)[..],
            variants(include_str!("close_reason.rs"), "CloseReason")
        );
    }

    #[test]
    fn the_operators_page_has_every_event_and_reason() {
        let (_, section) = OPERATING.split_once("\n## The log\n").expect("the section");
        let (events, reasons) = section.split_once("\n| reason | ").expect("the second table");
        for event in samples() {
            let Kind { key, level, .. } = event.kind();
            let mut names = Vec::new();
            event.fields(&mut |fields| names.extend(fields.iter().map(|(name, _)| format!("`{name}`"))));
            let row = format!("| `{key}` | {} | {} | ", level.label().trim().to_lowercase(), names.join(", "));
            assert!(events.lines().any(|line| line.starts_with(&row)), "no row begins with {row}");
        }
        let named: String = reasons.lines().filter_map(|row| row.strip_prefix("| ")?.split(" | ").next()).collect();
        for reason in CloseReason::ALL {
            assert_eq!(named.matches(&format!("`{}`", reason.key())).count(), 1, "{reason:?}");
        }
    }
}
