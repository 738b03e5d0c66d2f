//! The names of cores and connections: indexes, which fit into an owner word of the directory and are used again, and a
//! name for the log that no other connection has.

use std::fmt;

use crate::limits::{CONNECTIONS_PER_CORE_MAX, CORES_MAX};

/// A shard, which is a core, by its index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(u16);

impl ShardId {
    /// The shard at `index`, which is below [`CORES_MAX`].
    pub fn new(index: usize) -> Self {
        assert!(index < CORES_MAX, "more cores than an owner word can name");
        ShardId(index as u16)
    }

    /// Its index, from 0.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A connection by its index on its core. A later connection may have the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(u32);

impl ConnectionId {
    /// The connection at `index`, which is below [`CONNECTIONS_PER_CORE_MAX`].
    pub fn new(index: usize) -> Self {
        assert!(index < CONNECTIONS_PER_CORE_MAX, "more connections than an owner word can name");
        ConnectionId(index as u32)
    }

    /// Its index, from 0.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A connection's name in the log: core, and number among those that the core accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionName {
    /// The core that accepted it.
    pub shard: ShardId,
    /// Counted from 1.
    pub number: u64,
}

impl fmt::Display for ConnectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.shard.index(), self.number)
    }
}
