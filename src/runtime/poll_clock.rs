//! A clock for everybody's patience: it goes on while the core of this thread looks at its sockets.
//!
//! How long somebody has been silent, has taken nothing, or has had too much waiting for him is held against
//! him only as far as the core could have noticed that he is not. When the process was stopped, or one turn took
//! a second, what he did meanwhile stands in his socket and has not been looked at.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::limits::LOOK_GAP_MAX;

thread_local! {
    /// When the core last looked, if this is a core's thread.
    static LOOKED: Cell<Option<Instant>> = const { Cell::new(None) };
    /// Time that counts for nothing.
    static LOST: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// The time by this clock, to be compared with others of it only. It stands still from [`LOOK_GAP_MAX`] after a
/// look until the next.
pub(crate) fn now() -> Instant {
    let now = Instant::now();
    LOOKED.get().map_or(now, |looked| now.min(looked + LOOK_GAP_MAX)) - LOST.get()
}

/// The core has looked at what is ready, at `now`.
pub(crate) fn note_look(now: Instant) {
    if let Some(looked) = LOOKED.replace(Some(now)) {
        let gap = now.saturating_duration_since(looked);
        LOST.set(LOST.get() + gap.saturating_sub(LOOK_GAP_MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_core_could_not_look_at_counts_for_nothing() {
        const STOPPED: Duration = Duration::from_secs(10);
        let looked = Instant::now();
        note_look(looked);
        let before = now();
        assert!(before >= looked);
        // As if that had been long ago.
        LOOKED.set(Some(looked - STOPPED));
        assert_eq!(now(), looked - STOPPED + LOOK_GAP_MAX, "it stands still");
        note_look(looked);
        let after = now();
        assert!(after >= looked - STOPPED + LOOK_GAP_MAX, "and goes on from there");
        assert!(after <= looked - STOPPED + 2 * LOOK_GAP_MAX);
    }
}
