//! For how long a connection has sent no line. A clock that lines push, not bytes: who trickles bytes and
//! never ends a line is as silent as who sends none.

use std::cell::Cell;
use std::time::Duration;

/// Tenths of a second of the core's time: a word of 32 bits is enough for 13 years.
const TICK: Duration = Duration::from_millis(100);

/// It has a line: it waits for us.
const SPEAKING: u32 = u32::MAX;

/// Since when a connection has had no line, if it has none.
#[derive(Debug)]
pub struct IdleTimer(Cell<u32>);

impl IdleTimer {
    /// Silent from `now` on.
    pub fn since(now: Duration) -> Self {
        IdleTimer(Cell::new(ticks(now)))
    }

    /// A line has come. Until its silence begins again it is none of the connection's doing.
    pub fn pause(&self) {
        self.0.set(SPEAKING);
    }

    /// It has no line any more, or still has none, in which case the silence goes on.
    pub fn resume(&self, now: Duration) {
        if self.0.get() == SPEAKING {
            self.0.set(ticks(now));
        }
    }

    /// Something has come at `now`, and its silence begins again.
    pub fn restart(&self, now: Duration) {
        self.0.set(ticks(now));
    }

    /// Whether at `now` it has been silent for at least this long; a tick or two later, never sooner.
    pub fn is_for(&self, time: Duration, now: Duration) -> bool {
        let since = self.0.get();
        since != SPEAKING && now.saturating_sub(TICK * since) >= time.saturating_add(TICK)
    }
}

fn ticks(time: Duration) -> u32 {
    u32::try_from(time.as_millis() / TICK.as_millis()).unwrap_or(SPEAKING).min(SPEAKING - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn silence_lasts_from_its_beginning_and_is_never_taken_for_longer_than_it_is() {
        for began in [0, 1, 99, 100, 199, 12_345] {
            let silence = IdleTimer::since(at(began));
            assert!(!silence.is_for(at(1000), at(began)));
            assert!(!silence.is_for(at(1000), at(began + 999)), "from {began} ms");
            assert!(silence.is_for(at(1000), at(began + 1100)), "from {began} ms");
        }
    }

    #[test]
    fn only_a_line_starts_it_anew() {
        let silence = IdleTimer::since(at(0));
        // It asks for input once more, as after some bytes.
        silence.resume(at(900));
        assert!(silence.is_for(at(1000), at(1100)));
        silence.pause();
        assert!(!silence.is_for(at(1000), at(1_000_000)), "who has a line is not silent");
        silence.resume(at(5000));
        assert!(!silence.is_for(at(1000), at(5999)));
        assert!(silence.is_for(at(1000), at(6100)));
    }

    #[test]
    fn a_core_may_be_as_old_as_it_likes() {
        let years = Duration::from_hours(24 * 365 * 20);
        let silence = IdleTimer::since(years);
        silence.pause();
        silence.resume(years);
        assert!(silence.is_for(at(1000), years + at(1100)));
    }
}
