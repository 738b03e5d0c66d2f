//! Sharing a core: a turn is bounded, and after it others run.

use std::time::Instant;

use crate::limits::TURN_TIME;

/// What a task may do before it lets others run.
pub(super) struct Turn {
    left: usize,
    until: Instant,
}

impl Turn {
    /// A turn of at most `steps` steps and [`TURN_TIME`], from now on.
    pub(super) fn of(steps: usize) -> Self {
        Turn { left: steps, until: Instant::now() + TURN_TIME }
    }

    /// The next step is the last.
    pub(super) fn end(&mut self) {
        self.left = 0;
    }

    /// One step is done; whether it was the last.
    pub(super) fn step(&mut self) -> bool {
        self.left = self.left.saturating_sub(1);
        self.left == 0 || Instant::now() >= self.until
    }
}
