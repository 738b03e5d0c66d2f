//! Compares what came with what was sent: each delivery arrives once and in order, or the run has failed.
//!
//! A lane is one receiver's view of one sender; its messages are numbered from 1 without gaps. Pure: numbers in, counts
//! out, so `tests/stampede.rs` shows that a lost, a repeated and a reordered delivery are found. A lane takes 4 bytes, and
//! more only for what is missing.

use std::collections::BTreeSet;

/// What must be zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// Never came.
    pub lost: u64,
    /// Came again.
    pub repeated: u64,
    /// Came after a later one.
    pub reordered: u64,
    /// Broke the protocol: a broken block, a refusal, a wrong count, a connection that ended.
    pub broken: u64,
}

impl Faults {
    /// Whether there are none.
    pub fn is_clean(self) -> bool {
        self == Faults::default()
    }

    /// The sum.
    pub fn plus(self, other: Faults) -> Faults {
        Faults {
            lost: self.lost + other.lost,
            repeated: self.repeated + other.repeated,
            reordered: self.reordered + other.reordered,
            broken: self.broken + other.broken,
        }
    }
}

/// The lanes of one run.
#[derive(Debug)]
pub struct Ledger {
    /// The number that comes next on each lane.
    next: Vec<u32>,
    /// Skipped so far: late or lost, which the end of the run shows.
    missing: BTreeSet<(usize, u32)>,
    faults: Faults,
}

impl Ledger {
    /// This many lanes, on which nothing has come yet.
    pub fn new(lanes: usize) -> Ledger {
        Ledger { next: vec![1; lanes], missing: BTreeSet::new(), faults: Faults::default() }
    }

    /// Records that message `number` came on `lane`. Returns whether it is new, in order or not.
    pub fn record(&mut self, lane: usize, number: u32) -> bool {
        let next = self.next[lane];
        if number == next {
            self.next[lane] = next + 1;
            return true;
        }
        if number > next {
            self.missing.extend((next..number).map(|skipped| (lane, skipped)));
            self.next[lane] = number + 1;
            return true;
        }
        if self.missing.remove(&(lane, number)) {
            self.faults.reordered += 1;
            return true;
        }
        self.faults.repeated += 1;
        false
    }

    /// The faults, given that `sent(lane)` messages were sent on each lane and no more will come.
    pub fn faults(&self, sent: impl Fn(usize) -> u32) -> Faults {
        let unseen = |(lane, &next): (usize, &u32)| u64::from((sent(lane) + 1).saturating_sub(next));
        let after_last: u64 = self.next.iter().enumerate().map(unseen).sum();
        Faults { lost: self.missing.len() as u64 + after_last, ..self.faults }
    }
}
