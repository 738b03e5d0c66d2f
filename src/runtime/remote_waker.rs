//! Wakes a core from another thread.
//!
//! Waking a parked core costs one system call. A core that runs, or that is already notified, costs one load.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU8, Ordering, fence};

use crossbeam_utils::CachePadded;
use rustix::event::{EventfdFlags, eventfd};

/// The core runs, and no wake-up is pending.
const RUNNING: u8 = 0;
/// The core is about to park, or is parked.
const PARKED: u8 = 1;
/// A wake-up is pending.
const NOTIFIED: u8 = 2;

/// The handle that wakes one core.
#[derive(Debug)]
pub struct RemoteWaker {
    state: CachePadded<AtomicU8>,
    /// Becomes readable when a parked core is woken. It is never read: a multishot poll reports each write.
    pub(super) event: OwnedFd,
}

impl RemoteWaker {
    /// The waker of a core that runs; fails when no descriptor is left for it.
    pub fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(RemoteWaker { state: CachePadded::new(AtomicU8::new(RUNNING)), event })
    }

    /// After this call the core reads everything that the calling thread wrote before it.
    pub fn wake(&self) {
        // Pairs with the fence in `unpark`: either the core sees that write, or this thread sees that the core has
        // not unparked yet.
        fence(Ordering::SeqCst);
        if self.state.load(Ordering::Relaxed) != NOTIFIED && self.state.swap(NOTIFIED, Ordering::AcqRel) == PARKED {
            // It fails only at a count of 2^64.
            let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
        }
    }

    /// What becomes readable when it is woken while parked.
    #[cfg(feature = "cluster")]
    pub(crate) fn descriptor(&self) -> std::os::fd::BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.event)
    }

    /// Whether a wake-up is pending; for the core itself, while it runs.
    pub(crate) fn is_notified(&self) -> bool {
        self.state.load(Ordering::Relaxed) == NOTIFIED
    }

    /// Marks the core as parked. `false` if a wake-up is pending: then the core must not park.
    pub(crate) fn prepare_park(&self) -> bool {
        self.state.compare_exchange(RUNNING, PARKED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Marks the core as running; returns whether a wake-up was pending. Only after this call may the core read what
    /// other threads left for it.
    pub(crate) fn unpark(&self) -> bool {
        if self.state.load(Ordering::Relaxed) == RUNNING {
            return false;
        }
        let was_notified = self.state.swap(RUNNING, Ordering::AcqRel) == NOTIFIED;
        fence(Ordering::SeqCst);
        was_notified
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    fn is_readable(waker: &RemoteWaker, within: Option<&Timespec>) -> bool {
        poll(&mut [PollFd::new(&waker.event, PollFlags::IN)], within).expect("an event descriptor") > 0
    }

    #[test]
    fn only_a_parked_core_is_woken_by_the_kernel() {
        let (waker, now) = (RemoteWaker::new().expect("a descriptor"), Some(&Timespec::default()));
        waker.wake();
        assert!(!is_readable(&waker, now));
        assert!(!waker.prepare_park(), "a wake-up is pending");
        assert!(waker.unpark() && !waker.unpark());
        assert!(waker.prepare_park());
        waker.wake();
        assert!(is_readable(&waker, now));
        assert!(waker.unpark());
    }

    #[test]
    fn no_wake_up_is_lost_between_running_and_parking() {
        const WRITES: u64 = 200_000;
        let waker = RemoteWaker::new().expect("a descriptor");
        let written = std::sync::atomic::AtomicU64::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 1..=WRITES {
                    written.store(n, Ordering::Relaxed);
                    waker.wake();
                }
            });
            while written.load(Ordering::Relaxed) < WRITES {
                if waker.prepare_park() {
                    assert!(is_readable(&waker, None));
                    rustix::io::read(&waker.event, &mut [0; 8]).expect("it was readable");
                }
                waker.unpark();
            }
        });
    }
}
