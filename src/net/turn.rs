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

    /// It has queued much: that is written before the next turn.
    pub(crate) fn mark_large(&mut self) {
        self.is_large = true;
    }

    /// Its present step is the last.
    pub(crate) fn end_after_this_step(&mut self) {
        self.left = 0;
    }

    pub(crate) fn is_large(&self) -> bool {
        self.is_large
    }

    /// One step is done; whether it was the last.
    pub(crate) fn step(&mut self) -> bool {
        self.left = self.left.saturating_sub(1);
        self.left == 0 || Instant::now() >= self.until
    }
}
