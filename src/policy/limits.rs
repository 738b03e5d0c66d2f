//! The limits in force: what the flags, and the machine where no flag is given, allow connections.
//!
//! [`crate::limits`] has the defaults and their reasons; `boot::config` fills this in. Every core shares one value behind
//! an `Arc`. What is counted against a limit ([`super::addresses`], [`super::memory_budget`]) is state and lives elsewhere.

use std::time::Duration;

use super::addresses::ConnectRate;
use super::flood::Rate;
use super::networks::Networks;

/// All limits, timeouts and exempt networks of a server; a timeout of `None` is off.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Messages of other senders that may wait for one connection, in bytes.
    pub sendq_bytes_max: usize,
    /// How long they may wait while the peer takes nothing.
    pub sendq_stall: Duration,
    /// What may wait for all connections together, in bytes.
    pub queues_bytes_total: u64,
    /// How long a connection without a cow may send no line.
    pub login_timeout: Option<Duration>,
    /// Addresses without that timeout.
    pub login_exempt: Networks,
    /// How long a connection with a cow may send no line.
    pub idle_timeout: Option<Duration>,
    /// How long a session may say nothing to others while cows are scarce.
    pub scarce_idle: Option<Duration>,
    /// Cows that the connections of one address may hold together.
    pub cows_per_address: u32,
    /// Lines of one connection.
    pub flood: Rate,
    /// Addresses whose lines are not counted.
    pub flood_exempt: Networks,
    /// Bytes of messages that one address may send to each receiver.
    pub message_rate: Rate,
    /// Connections over all cores.
    pub connections_max: u64,
    /// Connections of one address, over all cores.
    pub connections_per_address: usize,
    /// How often one address may connect.
    pub connect_rate: Option<ConnectRate>,
    /// Addresses whose connections, cows and messages are not counted together.
    pub address_exempt: Networks,
    /// How long sent bytes may stay unacknowledged.
    pub user_timeout: Option<Duration>,
    /// How long a shutdown may take.
    pub drain_timeout: Duration,
}

#[cfg(test)]
impl Limits {
    /// Limits that end nothing: a test sets those that it is about.
    pub(crate) fn of_tests() -> Self {
        use crate::limits::DRAIN_TIMEOUT;
        Limits {
            sendq_bytes_max: 1,
            sendq_stall: DRAIN_TIMEOUT,
            queues_bytes_total: 1,
            login_timeout: None,
            login_exempt: Networks::default(),
            idle_timeout: None,
            scarce_idle: None,
            cows_per_address: 1,
            flood: Rate::new(1, 1, DRAIN_TIMEOUT),
            flood_exempt: Networks::default(),
            message_rate: Rate::new(1, 1, DRAIN_TIMEOUT),
            connections_max: 1000,
            connections_per_address: 1,
            connect_rate: None,
            address_exempt: Networks::default(),
            user_timeout: None,
            drain_timeout: DRAIN_TIMEOUT,
        }
    }
}
