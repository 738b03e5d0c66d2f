//! How long a connection has sent no line, or no message. Lines restart the timer, not bytes: a peer that trickles bytes
//! and never ends a line is as idle as one that sends nothing.

use std::cell::Cell;
use std::time::Duration;

/// Tenths of a second of the core's time fit into 32 bits for 13 years.
const TICK: Duration = Duration::from_millis(100);

/// The connection has a line: the server is at work, not the peer.
const PAUSED: u32 = u32::MAX;

/// The moment since which a connection is idle, in ticks, or [`PAUSED`].
#[derive(Debug)]
pub struct IdleTimer(Cell<u32>);

impl IdleTimer {
    /// Stopped: the connection has not been read yet, so it is not silent.
    pub fn paused() -> Self {
        IdleTimer(Cell::new(PAUSED))
    }

    /// Idle from `now` on.
    pub fn since(now: Duration) -> Self {
        IdleTimer(Cell::new(ticks(now)))
    }

    /// A line has come: stops the timer until [`IdleTimer::resume`].
    pub fn pause(&self) {
        self.0.set(PAUSED);
    }

    /// No line is left: starts the timer, unless it runs already.
    pub fn resume(&self, now: Duration) {
        if self.0.get() == PAUSED {
            self.restart(now);
        }
    }

    /// Idle from `now` on.
    pub fn restart(&self, now: Duration) {
        self.0.set(ticks(now));
    }

    /// For how long it has run at `now`, in ticks; `None` if it is stopped.
    pub fn elapsed(&self, now: Duration) -> Option<Duration> {
        let since = self.0.get();
        (since != PAUSED).then(|| now.saturating_sub(TICK * since))
    }

    /// Whether it has run for at least `time` at `now`. True up to two ticks late, never early.
    pub fn is_for(&self, time: Duration, now: Duration) -> bool {
        let since = self.0.get();
        since != PAUSED && now.saturating_sub(TICK * since) >= time.saturating_add(TICK)
    }
}

fn ticks(time: Duration) -> u32 {
    u32::try_from(time.as_millis() / TICK.as_millis()).unwrap_or(PAUSED).min(PAUSED - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_connection_is_never_idle_early() {
        for began in [0, 1, 99, 100, 199, 12_345] {
            let timer = IdleTimer::since(at(began));
            assert!(!timer.is_for(at(1000), at(began)));
            assert!(!timer.is_for(at(1000), at(began + 999)), "from {began} ms");
            assert!(timer.is_for(at(1000), at(began + 1100)), "from {began} ms");
        }
    }

    #[test]
    fn the_timer_works_on_a_core_of_any_age() {
        let years = Duration::from_hours(24 * 365 * 20);
        let timer = IdleTimer::since(years);
        timer.pause();
        timer.resume(years);
        assert!(timer.is_for(at(1000), years + at(1100)));
    }
}
