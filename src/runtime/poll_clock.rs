//! The clock of a core's event loop: it stands still while the core does not poll its sockets.
//!
//! A peer is cut for silence, or for output that it does not take. Only time counts in which the core could have noticed
//! otherwise: after a stop of the process or a turn of a second, what the peer did meanwhile waits in its socket.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::limits::POLL_GAP_MAX;

/// A core's clock: the time at the last poll, from zero. A gap between two polls counts for [`POLL_GAP_MAX`] at most. To
/// read it costs no system call.
#[derive(Debug)]
pub(crate) struct PollClock {
    polled: Cell<Instant>,
    now: Cell<Duration>,
}

impl PollClock {
    /// A clock at zero, as if the core had polled at `polled`.
    pub(crate) fn new(polled: Instant) -> Self {
        PollClock { polled: Cell::new(polled), now: Cell::new(Duration::ZERO) }
    }

    pub(crate) fn now(&self) -> Duration {
        self.now.get()
    }

    /// When the core last polled.
    pub(crate) fn polled(&self) -> Instant {
        self.polled.get()
    }

    pub(crate) fn record_poll(&self, polled: Instant) {
        let gap = polled.saturating_duration_since(self.polled.replace(polled));
        self.now.set(self.now.get() + gap.min(POLL_GAP_MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_between_polls_counts_for_its_limit_at_most() {
        let began = Instant::now();
        let clock = PollClock::new(began);
        let (gap, moment) = (POLL_GAP_MAX, Duration::from_millis(1));
        for (at, now) in
            [(gap, gap), (gap * 100, gap * 2), (gap * 100, gap * 2), (gap * 100 + moment, gap * 2 + moment)]
        {
            clock.record_poll(began + at);
            assert_eq!(clock.now(), now, "at {at:?}");
        }
    }
}
