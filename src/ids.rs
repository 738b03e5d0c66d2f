//! How cores and connections are called, in words and in the log.

use std::fmt;

use crate::limits::{CONNECTIONS_PER_CORE_MAX, CORES_MAX};

/// One core's place among the shards, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(u16);

impl ShardId {
    /// The shard at this place; below [`CORES_MAX`].
    pub fn new(index: usize) -> Self {
        assert!(index < CORES_MAX, "more cores than an owner word can name");
        ShardId(index as u16)
    }

    /// Its place among the shards, from 0.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A connection's place among those of its core; used again once it is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(u32);

impl ConnectionId {
    /// The connection at this place; below [`CONNECTIONS_PER_CORE_MAX`].
    pub fn new(index: usize) -> Self {
        assert!(index < CONNECTIONS_PER_CORE_MAX, "more connections than an owner word can name");
        ConnectionId(index as u32)
    }

    /// Its place among the core's connections, from 0.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A connection's name in the log: core, and its number among those the core has accepted.
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
