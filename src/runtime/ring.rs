//! The io_uring of a core's reactor: submits polls and cancellations, waits, and gives the completions.

#![expect(unsafe_code, reason = "entries of a ring are pushed unchecked")]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use rustix::event::PollFlags;

use crate::limits::{RING_COMPLETIONS, RING_POSTED_AT_ONCE, RING_SUBMISSIONS};

/// Names the completion of a cancellation, which says nothing.
pub(super) const CANCELLATION: u64 = u64::MAX - 1;

/// What waits for the ring, in order: polls and cancellations only.
#[derive(Default)]
pub(super) struct Submissions(RefCell<VecDeque<squeue::Entry>>);

impl Submissions {
    /// Begins a poll whose completions are named `poll`. It reports changes until it is cancelled.
    pub(super) fn poll(&self, descriptor: RawFd, events: PollFlags, poll: u64) {
        let entry = opcode::PollAdd::new(Fd(descriptor), events.bits().into()).multi(true).build();
        self.0.borrow_mut().push_back(entry.user_data(poll));
    }

    /// Ends a poll. A removal (POLL_REMOVE) would fail while an event is on its way to the ring.
    pub(super) fn cancel(&self, poll: u64) {
        self.0.borrow_mut().push_back(opcode::AsyncCancel::new(poll).build().user_data(CANCELLATION));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }
}

pub(super) struct Ring(IoUring);

impl Ring {
    pub(super) fn new() -> io::Result<Self> {
        Ring::deferred().or_else(|_| Ring::plain())
    }

    /// A ring that posts completions only when its thread enters the kernel: nothing interrupts the thread (Linux 6.1).
    pub(super) fn deferred() -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_cqsize(RING_COMPLETIONS)
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .build(RING_SUBMISSIONS)?;
        Ok(Ring(ring))
    }

    /// A ring for older kernels, which interrupt its thread to post completions.
    pub(super) fn plain() -> io::Result<Self> {
        Ok(Ring(IoUring::builder().setup_cqsize(RING_COMPLETIONS).build(RING_SUBMISSIONS)?))
    }

    /// Moves submissions into the ring; `false` if some do not fit.
    pub(super) fn fill(&mut self, submissions: &Submissions) -> bool {
        let mut submissions = submissions.0.borrow_mut();
        if submissions.is_empty() {
            return true;
        }
        let mut queue = self.0.submission();
        while let Some(entry) = submissions.front() {
            // SAFETY: polls and cancellations carry no pointers.
            if unsafe { queue.push(entry) }.is_err() {
                return false;
            }
            submissions.pop_front();
        }
        true
    }

    pub(super) fn has_completions(&mut self) -> bool {
        self.0.submission().taskrun() || !self.0.completion().is_empty()
    }

    /// Submits, and has the kernel post completions. With `waits` it blocks until there is one, for `timeout` at most.
    ///
    /// # Panics
    /// When the ring fails, which ends the core.
    pub(super) fn enter(&mut self, waits: bool, timeout: Option<Duration>) {
        match timeout {
            _ if !waits => {
                let queue = self.0.submission();
                let is_idle = queue.is_empty() && !queue.taskrun() && !queue.cq_overflow();
                drop(queue);
                if !is_idle {
                    check_entered(self.0.submit_and_wait(0));
                }
            }
            Some(timeout) => {
                let timeout = Timespec::from(timeout);
                check_entered(self.0.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&timeout)));
            }
            None => check_entered(self.0.submit_and_wait(1)),
        }
        // One call posts only a few completions. The rest must not wait until all runnable tasks have run again.
        let mut posted = 0;
        loop {
            let all = self.0.completion().len();
            if all - posted < RING_POSTED_AT_ONCE || !self.0.submission().taskrun() {
                break;
            }
            posted = all;
            check_entered(self.0.submit_and_wait(0));
        }
    }

    pub(super) fn completions(&mut self) -> cqueue::CompletionQueue<'_> {
        self.0.completion()
    }
}

fn check_entered(entered: io::Result<usize>) {
    // Time is over, a signal came, or completions have to be collected first: what was not submitted is still queued.
    let passing = [libc::ETIME, libc::EINTR, libc::EBUSY, libc::EAGAIN];
    if let Err(error) = entered
        && !error.raw_os_error().is_some_and(|code| passing.contains(&code))
    {
        panic!("io_uring failed: {error}");
    }
}
