//! How many users of each core want which rendering, and notices: shared by all cores, so that a core draws and forwards
//! only what users want.
//!
//! A core writes its own row only: at a login, a release, `art` and `notify`. What another core reads may be a moment
//! old, so it is a hint: a rendering that it misses is drawn where the message arrives.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crossbeam_utils::CachePadded;

use super::rendering::Rendering;
use crate::ids::ShardId;

#[derive(Debug, Default)]
struct Row {
    /// Users, by the rendering that they want.
    renderings: [AtomicU32; Rendering::COUNT],
    /// Users that have subscribed to notices.
    subscribers: AtomicU32,
}

/// The rows of all cores.
#[derive(Debug)]
pub struct Demand {
    rows: Box<[CachePadded<Row>]>,
}

impl Demand {
    /// No users yet.
    pub fn new(shards: usize) -> Arc<Self> {
        Arc::new(Demand { rows: (0..shards).map(|_| CachePadded::default()).collect() })
    }

    /// How many users of a core want this rendering.
    pub fn users(&self, shard: ShardId, rendering: Rendering) -> u32 {
        self.rows[shard.index()].renderings[rendering.index()].load(Ordering::Relaxed)
    }

    /// How many users of all cores want this rendering.
    pub fn users_anywhere(&self, rendering: Rendering) -> u32 {
        self.rows.iter().map(|row| row.renderings[rendering.index()].load(Ordering::Relaxed)).sum()
    }

    /// Whether any user of a core has subscribed to notices.
    pub fn has_subscribers(&self, shard: ShardId) -> bool {
        self.rows[shard.index()].subscribers.load(Ordering::Relaxed) > 0
    }

    /// Whether any user of any core has subscribed.
    pub fn has_subscribers_anywhere(&self) -> bool {
        self.rows.iter().any(|row| row.subscribers.load(Ordering::Relaxed) > 0)
    }

    /// One user more, or fewer, on core `shard`, which is the caller's.
    pub(super) fn count(&self, shard: ShardId, rendering: Rendering, subscribed: bool, more: bool) {
        let row = &self.rows[shard.index()];
        let add = |cell: &AtomicU32| {
            // No other core writes this row.
            let users = cell.load(Ordering::Relaxed);
            cell.store(if more { users + 1 } else { users - 1 }, Ordering::Relaxed);
        };
        add(&row.renderings[rendering.index()]);
        if subscribed {
            add(&row.subscribers);
        }
    }
}
