//! A clock for everybody's patience: it goes on while the core of this thread runs.
//!
//! How long somebody has been silent, has taken nothing, or has had too much waiting for him is held against
//! him only as far as the core could have noticed that he is not. When the process was stopped, the machine was
//! suspended, or one turn took a second, what he did meanwhile stands in his socket and has not been looked at.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::limits::LOOK_GAP_MAX;

thread_local! {
    /// Time that counts for nothing.
    static LOST: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// The time by this clock, to be compared with others of it only. It is set back when [`note_gap`] finds that it
/// should not have gone on.
pub(super) fn now() -> Instant {
    Instant::now() - LOST.get()
}

/// So long passed between two looks at what is ready: more than [`LOOK_GAP_MAX`] of it does not count.
pub(super) fn note_gap(gap: Duration) {
    LOST.set(LOST.get() + gap.saturating_sub(LOOK_GAP_MAX));
}

/// What counted for nothing so far.
#[cfg(test)]
pub(super) fn lost() -> Duration {
    LOST.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_core_could_not_look_at_counts_for_nothing() {
        let began = now();
        note_gap(LOOK_GAP_MAX);
        assert!(now() >= began, "a core that rests looks as often as that");
        note_gap(LOOK_GAP_MAX + Duration::from_hours(1));
        let after = now();
        assert!(after < began, "the hour has not passed yet");
        assert!(after + Duration::from_hours(1) >= began, "and no more than the hour was taken off");
    }
}
