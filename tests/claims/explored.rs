//! The atomics of `src/directory/` in this package: shuttle's, before each step of which another thread may run, and
//! which a [`Fault`] can break, so that the tests show what they would notice.

use std::cell::Cell;
use std::sync::atomic::Ordering;

use shuttle::sync::atomic::AtomicU64 as Word;

/// What a step of a broken atomic does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `compare_exchange` is a load and a store: two claims may find the same cow free.
    ClaimsInTwoSteps,
    /// `fetch_or` and `fetch_and` are a load and a store: a bit of another cow may be lost.
    MarksInTwoSteps,
}

thread_local! {
    // One thread runs all threads of an exploration.
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

/// Zeros. An exploration has few, so the allocation does not fail.
pub(crate) fn zeros(count: usize) -> Option<Box<[AtomicU64]>> {
    Some((0..count).map(|_| AtomicU64(Word::new(0))).collect())
}

/// The part of the standard library's that claims use.
#[derive(Debug)]
pub(crate) struct AtomicU64(Word);

impl AtomicU64 {
    pub(crate) fn load(&self, order: Ordering) -> u64 {
        self.0.load(order)
    }

    pub(crate) fn store(&self, word: u64, order: Ordering) {
        self.0.store(word, order);
    }

    pub(crate) fn fetch_and(&self, bits: u64, order: Ordering) -> u64 {
        self.mark(|word| word & bits).unwrap_or_else(|| self.0.fetch_and(bits, order))
    }

    pub(crate) fn fetch_or(&self, bits: u64, order: Ordering) -> u64 {
        self.mark(|word| word | bits).unwrap_or_else(|| self.0.fetch_or(bits, order))
    }

    /// With a fault in marking: changes the word in two steps, and returns it as it was before.
    fn mark(&self, change: impl FnOnce(u64) -> u64) -> Option<u64> {
        let is_broken = FAULT.get() == Some(Fault::MarksInTwoSteps);
        is_broken.then(|| {
            let before = self.0.load(Ordering::SeqCst);
            self.0.store(change(before), Ordering::SeqCst);
            before
        })
    }

    pub(crate) fn compare_exchange(
        &self,
        current: u64,
        new: u64,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u64, u64> {
        if FAULT.get() == Some(Fault::ClaimsInTwoSteps) {
            let before = self.0.load(Ordering::SeqCst);
            if before != current {
                return Err(before);
            }
            self.0.store(new, Ordering::SeqCst);
            return Ok(before);
        }
        self.0.compare_exchange(current, new, success, failure)
    }
}
