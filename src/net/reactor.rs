//! Sharing a core: a turn is bounded, and after it the reactor may poll.

use std::time::{Duration, Instant};

use glommio::timer::Timer;

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

/// Lets the reactor poll before the caller goes on.
///
/// glommio's `yield_now` does not: a task queue that stays runnable keeps the reactor waiting for 100 ms.
/// A timer is registered with the reactor, however short it is.
pub(super) async fn breathe() {
    Timer::new(Duration::from_micros(1)).await;
}
