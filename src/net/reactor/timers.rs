//! When which task is to be woken.

use std::collections::BTreeMap;
use std::task::Waker;
use std::time::Instant;

/// One timer: its time, and a number that no other has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) at: Instant,
    number: u64,
}

/// The timers that somebody waits for.
#[derive(Debug, Default)]
pub(super) struct Timers {
    waiting: BTreeMap<Key, Waker>,
    made: u64,
}

impl Timers {
    /// A timer of one's own, not set yet.
    pub(super) fn key(&mut self, at: Instant) -> Key {
        self.made += 1;
        Key { at, number: self.made }
    }

    /// Has `waker` woken when it is time.
    pub(super) fn set(&mut self, key: Key, waker: &Waker) {
        self.waiting.insert(key, waker.clone());
    }

    /// Nobody waits for it any more.
    pub(super) fn forget(&mut self, key: Key) {
        self.waiting.remove(&key);
    }

    /// When the next is due.
    pub(super) fn first(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|(key, _)| key.at)
    }

    /// Wakes those whose time has come.
    pub(super) fn fire(&mut self, now: Instant) {
        while let Some(first) = self.waiting.first_entry()
            && first.key().at <= now
        {
            first.remove().wake();
        }
    }

    /// How many wait.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}
