//! The watchdog: which cores make progress.
//!
//! It is told what each core's progress is and what time it is, and says what has changed. It knows no threads and no
//! clock; `server` acts on its word.

use std::time::{Duration, Instant};

use crate::ids::ShardId;
use crate::limits::STALL_NOTICED;

/// What is known of each core, by its index.
#[derive(Debug)]
pub(super) struct Watchdog(Vec<Core>);

#[derive(Debug, Clone)]
struct Core {
    progress: u64,
    /// When that was last seen to change.
    since: Instant,
    is_stalled: bool,
}

/// What a look at a core finds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CoreHealth {
    /// Progress within [`STALL_NOTICED`].
    Running,
    /// Progress again, after this long without.
    Recovered(Duration),
    /// No progress for [`STALL_NOTICED`]: new.
    Stalled,
    /// Still no progress.
    StillStalled,
}

impl Watchdog {
    /// Of cores that are about to start.
    pub(super) fn new(cores: usize, now: Instant) -> Self {
        Watchdog(vec![Core { progress: 0, since: now, is_stalled: false }; cores])
    }

    /// Compares a core's count of progress with the one before.
    pub(super) fn check(&mut self, core: ShardId, progress: u64, now: Instant) -> CoreHealth {
        let core = &mut self.0[core.index()];
        let still = now.saturating_duration_since(core.since);
        let has_moved = progress != core.progress;
        let was_stalled = core.is_stalled;
        core.is_stalled = !has_moved && still >= STALL_NOTICED;
        if has_moved {
            (core.progress, core.since) = (progress, now);
        }
        match (was_stalled, core.is_stalled) {
            (false, false) => CoreHealth::Running,
            (true, false) => CoreHealth::Recovered(still),
            (false, true) => CoreHealth::Stalled,
            (true, true) => CoreHealth::StillStalled,
        }
    }

    /// Whether no core is stalled.
    pub(super) fn all_run(&self) -> bool {
        self.0.iter().all(|core| !core.is_stalled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_is_stalled_from_a_second_until_its_next_progress() {
        let began = Instant::now();
        let [zero, one] = [0, 1].map(ShardId::new);
        let mut watchdog = Watchdog::new(2, began);
        // Core 0 makes progress all the time, core 1 at the beginning and from 3000 ms on.
        let mut check = |at: u64, progress_of_one| {
            let now = began + Duration::from_millis(at);
            assert_eq!(watchdog.check(zero, at, now), CoreHealth::Running, "at {at}");
            (watchdog.check(one, progress_of_one, now), watchdog.all_run())
        };
        assert_eq!(check(250, 5), (CoreHealth::Running, true));
        assert_eq!(check(500, 5), (CoreHealth::Running, true));
        assert_eq!(check(1249, 5), (CoreHealth::Running, true));
        assert_eq!(check(1250, 5), (CoreHealth::Stalled, false));
        assert_eq!(check(1500, 5), (CoreHealth::StillStalled, false));
        assert_eq!(check(3000, 6), (CoreHealth::Recovered(Duration::from_millis(2750)), true));
        assert_eq!(check(3250, 7), (CoreHealth::Running, true));
        assert_eq!(check(9000, 7), (CoreHealth::Stalled, false));
    }

    #[test]
    fn a_core_that_never_makes_progress_is_stalled_too() {
        let began = Instant::now();
        let mut watchdog = Watchdog::new(1, began);
        assert_eq!(watchdog.check(ShardId::new(0), 0, began + STALL_NOTICED), CoreHealth::Stalled);
        assert!(!watchdog.all_run());
    }
}
