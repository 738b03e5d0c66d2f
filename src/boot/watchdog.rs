//! The watchdog: which cores make progress.
//!
//! It is told what each core's progress is and what time it is, and says what has changed. It knows no threads and no
//! clock; `running` acts on its word.

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

    /// When a core's progress was last seen to change.
    pub(super) fn since(&self, core: ShardId) -> Instant {
        self.0[core.index()].since
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
        let stalled_for = |millis| CoreHealth::Recovered(Duration::from_millis(millis));
        // Core 0 makes progress all the time, core 1 first after 3000 ms and last at 3250.
        for (at, progress_of_one, health) in [
            (999, 0, CoreHealth::Running),
            (1000, 0, CoreHealth::Stalled),
            (1500, 0, CoreHealth::StillStalled),
            (3000, 6, stalled_for(3000)),
            (3250, 7, CoreHealth::Running),
            (4249, 7, CoreHealth::Running),
            (4250, 7, CoreHealth::Stalled),
            (9000, 8, stalled_for(5750)),
        ] {
            let now = began + Duration::from_millis(at);
            assert_eq!(watchdog.check(zero, at, now), CoreHealth::Running, "at {at}");
            let all_run = !matches!(health, CoreHealth::Stalled | CoreHealth::StillStalled);
            assert_eq!((watchdog.check(one, progress_of_one, now), watchdog.all_run()), (health, all_run), "at {at}");
        }
    }
}
