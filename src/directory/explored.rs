//! Atomics for exploring schedules: shuttle's, before each step of which another thread may go on, and which
//! can be given a [`Fault`], so that the tests show what they would notice.
//!
//! Only under `cfg(shuttle)`, which the server does not have. Every step is sequentially
//! consistent here, whatever it asks for: that Acquire and Release are enough for the slots and the counts of claims is
//! not explored. The bits of the cows ask for SeqCst anyway.

use std::cell::Cell;
use std::sync::atomic::Ordering;

use shuttle::sync::atomic::AtomicU64 as Word;
pub(super) use shuttle::sync::atomic::AtomicUsize;

/// What a step of a broken atomic does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `compare_exchange` stores without comparing: a release empties the slot, whoever's word stands there.
    ExchangesAnything,
    /// `fetch_or` is a load and a store: two may find the same cow free.
    TakesInTwoSteps,
    /// `fetch_update` is a load and a store: a release may be forgotten, and a leaf stay flagged as full.
    UpdatesInTwoSteps,
}

thread_local! {
    // All threads of an exploration are run by the one that explores.
    static FAULT: Cell<Option<Fault>> = const { Cell::new(None) };
}

/// Runs `explore` with atomics that are broken in this way.
pub fn with_fault<T>(fault: Fault, explore: impl FnOnce() -> T) -> T {
    struct Mended;
    impl Drop for Mended {
        fn drop(&mut self) {
            FAULT.set(None);
        }
    }
    FAULT.set(Some(fault));
    let _mended = Mended;
    explore()
}

fn is_broken(by: Fault) -> bool {
    FAULT.get() == Some(by)
}

/// As many zeros. An exploration has few, so the allocation does not fail.
pub(super) fn zeros(count: usize) -> Option<Box<[AtomicU64]>> {
    Some((0..count).map(|_| AtomicU64::new(0)).collect())
}

/// The part of the standard library's that claims use.
#[derive(Debug)]
pub(super) struct AtomicU64(Word);

impl AtomicU64 {
    pub(super) fn new(word: u64) -> Self {
        AtomicU64(Word::new(word))
    }

    pub(super) fn load(&self, order: Ordering) -> u64 {
        self.0.load(order)
    }

    pub(super) fn store(&self, word: u64, order: Ordering) {
        self.0.store(word, order);
    }

    pub(super) fn fetch_and(&self, bits: u64, order: Ordering) -> u64 {
        self.0.fetch_and(bits, order)
    }

    pub(super) fn fetch_or(&self, bits: u64, order: Ordering) -> u64 {
        if is_broken(Fault::TakesInTwoSteps) {
            let before = self.load(order);
            self.store(before | bits, order);
            return before;
        }
        self.0.fetch_or(bits, order)
    }

    pub(super) fn compare_exchange(
        &self,
        current: u64,
        new: u64,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u64, u64> {
        if is_broken(Fault::ExchangesAnything) {
            return Ok(self.0.swap(new, success));
        }
        self.0.compare_exchange(current, new, success, failure)
    }

    pub(super) fn fetch_update(
        &self,
        set: Ordering,
        fetch: Ordering,
        mut update: impl FnMut(u64) -> Option<u64>,
    ) -> Result<u64, u64> {
        if is_broken(Fault::UpdatesInTwoSteps) {
            let before = self.load(fetch);
            let new = update(before).ok_or(before)?;
            self.store(new, set);
            return Ok(before);
        }
        self.0.fetch_update(set, fetch, update)
    }
}
