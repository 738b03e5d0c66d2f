//! A turn: what a task does before it yields.

use std::time::Instant;

use crate::limits::TURN_TIME;

/// What a task may still do before it yields.
pub(crate) struct Turn {
    left: usize,
    is_large: bool,
    until: Instant,
}

impl Turn {
    /// A turn of at most `steps` steps and [`TURN_TIME`], from now on.
    pub(crate) fn of(steps: usize) -> Self {
        Turn { left: steps, is_large: false, until: Instant::now() + TURN_TIME }
    }

    /// It has queued something for many connections, or more than its limit for one: then its next step is the last,
    /// so that the receiver can read first.
    pub(crate) fn mark_large(&mut self, is_over: bool) {
        self.is_large = true;
        if is_over {
            self.left = 0;
        }
    }

    /// Whether what it has queued should be written before the next turn.
    pub(crate) fn is_large(&self) -> bool {
        self.is_large
    }

    /// One step is done; whether it was the last.
    pub(crate) fn step(&mut self) -> bool {
        self.left = self.left.saturating_sub(1);
        self.left == 0 || Instant::now() >= self.until
    }
}
