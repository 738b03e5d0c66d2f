//! Sharing a core: a turn is bounded, and after it others run.

use std::time::Instant;

use crate::limits::{RING_SENDS, TURN_TIME};
use crate::net::delivery::fanout::Delivered;

/// What a task may do before it lets others run.
pub(crate) struct Turn {
    left: usize,
    /// It has queued something for many, or too much for one.
    is_large: bool,
    until: Instant,
}

impl Turn {
    /// A turn of at most `steps` steps and [`TURN_TIME`], from now on.
    pub(crate) fn of(steps: usize) -> Self {
        Turn { left: steps, is_large: false, until: Instant::now() + TURN_TIME }
    }

    /// Takes note of what it has delivered. Its next step is the last when somebody should read first.
    pub(crate) fn note(&mut self, delivered: Delivered) {
        self.is_large |= delivered.receivers >= RING_SENDS as u64 || delivered.is_too_much;
        if delivered.is_too_much {
            self.left = 0;
        }
    }

    /// Whether what it has queued had better be written before the next: for as many as one batch writes to, or
    /// more for somebody than should wait.
    pub(crate) fn is_large(&self) -> bool {
        self.is_large
    }

    /// One step is done; whether it was the last.
    pub(crate) fn step(&mut self) -> bool {
        self.left = self.left.saturating_sub(1);
        self.left == 0 || Instant::now() >= self.until
    }
}
