//! What the registered users of each core want to be sent: shared by all cores, so that nothing is drawn or
//! forwarded that nobody would look at.
//!
//! A core writes its own row only, when somebody logs in, leaves or changes his mind; all others just read.
//! What a reader sees may be a moment old, so it is a hint: who is not in it is served all the same, later.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crossbeam_utils::CachePadded;

use super::frame::Form;
use crate::ids::ShardId;

#[derive(Debug, Default)]
struct Row {
    /// Users by the form in which they want messages.
    forms: [AtomicU32; Form::COUNT],
    /// Users who want notices.
    listeners: AtomicU32,
}

/// The rows of all cores.
#[derive(Debug)]
pub struct Wants {
    rows: Box<[CachePadded<Row>]>,
}

impl Wants {
    /// Nobody wants anything yet.
    pub fn new(shards: usize) -> Arc<Self> {
        Arc::new(Wants { rows: (0..shards).map(|_| CachePadded::default()).collect() })
    }

    /// How many users of a core want messages in this form.
    pub fn users(&self, shard: ShardId, form: Form) -> u32 {
        self.rows[shard.index()].forms[form.index()].load(Ordering::Relaxed)
    }

    /// How many users of all cores do.
    pub fn users_anywhere(&self, form: Form) -> u32 {
        self.rows.iter().map(|row| row.forms[form.index()].load(Ordering::Relaxed)).sum()
    }

    /// Whether any user of a core wants notices.
    pub fn has_listeners(&self, shard: ShardId) -> bool {
        self.rows[shard.index()].listeners.load(Ordering::Relaxed) > 0
    }

    /// Whether any user of any core does.
    pub fn has_listeners_anywhere(&self) -> bool {
        self.rows.iter().any(|row| row.listeners.load(Ordering::Relaxed) > 0)
    }

    /// To be called by the shard itself: one user more, or fewer, who wants this.
    pub(super) fn count(&self, shard: ShardId, form: Form, listening: bool, more: bool) {
        let row = &self.rows[shard.index()];
        let add = |cell: &AtomicU32| {
            // Nobody else writes this row.
            let users = cell.load(Ordering::Relaxed);
            cell.store(if more { users + 1 } else { users - 1 }, Ordering::Relaxed);
        };
        add(&row.forms[form.index()]);
        if listening {
            add(&row.listeners);
        }
    }
}
