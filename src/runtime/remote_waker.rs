//! What wakes a core from outside: others ring when they have left something for it.
//!
//! Only a core that sleeps costs whoever rings a system call; to one that is awake, or has been rung for
//! already, ringing is a look at one word.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU8, Ordering, fence};

use crossbeam_utils::CachePadded;
use rustix::event::{EventfdFlags, eventfd};

/// It is awake, and has looked since it was last rung for.
const AWAKE: u8 = 0;
/// It is about to sleep, or sleeps.
const ASLEEP: u8 = 1;
/// Somebody has rung since it last looked.
const RUNG: u8 = 2;

/// A core's doorbell.
#[derive(Debug)]
pub struct Doorbell {
    state: CachePadded<AtomicU8>,
    event: OwnedFd,
}

impl Doorbell {
    /// The doorbell of a core that is awake.
    ///
    /// # Errors
    /// When there is no descriptor left for it.
    pub fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Doorbell { state: CachePadded::new(AtomicU8::new(AWAKE)), event })
    }

    /// Makes the core look at what was left for it before.
    pub fn ring(&self) {
        // With the fence in `answer`: either the core sees what was left, or this sees that it has not looked.
        fence(Ordering::SeqCst);
        if self.state.load(Ordering::Relaxed) != RUNG && self.state.swap(RUNG, Ordering::AcqRel) == ASLEEP {
            // It fails only when nobody has looked for 2^64 times.
            let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
        }
    }

    /// Whether somebody has rung since the core last looked, for a core that is awake.
    pub(crate) fn is_notified(&self) -> bool {
        self.state.load(Ordering::Relaxed) == RUNG
    }

    /// Before the core sleeps: `false` if somebody has rung, and it must not.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.state.compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Whether somebody has rung since this was last asked. The core is awake from here on, and has to look for
    /// what was left only after this.
    pub(crate) fn answer(&self) -> bool {
        if self.state.load(Ordering::Relaxed) == AWAKE {
            return false;
        }
        let rung = self.state.swap(AWAKE, Ordering::AcqRel) == RUNG;
        fence(Ordering::SeqCst);
        rung
    }

    /// Becomes readable when the core is rung for while it sleeps. Nobody has to read it: each ring is an edge.
    pub(crate) fn descriptor(&self) -> RawFd {
        self.event.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    fn is_readable(bell: &Doorbell) -> bool {
        let mut asked = [PollFd::new(&bell.event, PollFlags::IN)];
        poll(&mut asked, Some(&Timespec::default())).expect("an event descriptor") > 0
    }

    #[test]
    fn only_a_core_that_sleeps_is_woken_by_the_kernel() {
        let bell = Doorbell::new().expect("a descriptor");
        bell.ring();
        assert!(!is_readable(&bell));
        assert!(!bell.fall_asleep(), "it has been rung for");
        assert!(bell.answer() && !bell.answer());
        assert!(bell.fall_asleep());
        bell.ring();
        assert!(is_readable(&bell));
        assert!(bell.answer());
    }

    #[test]
    fn what_is_left_before_a_ring_is_seen_by_a_core_that_then_looks_or_does_not_sleep() {
        const LEFT: u64 = 200_000;
        let bell = Doorbell::new().expect("a descriptor");
        let left = std::sync::atomic::AtomicU64::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 1..=LEFT {
                    left.store(n, Ordering::Relaxed);
                    bell.ring();
                }
            });
            while left.load(Ordering::Relaxed) < LEFT {
                if bell.fall_asleep() {
                    let mut asked = [PollFd::new(&bell.event, PollFlags::IN)];
                    poll(&mut asked, None).expect("an event descriptor");
                    let mut count = [0; 8];
                    rustix::io::read(&bell.event, &mut count).expect("it was readable");
                }
                bell.answer();
            }
        });
    }
}
