//! A core's event loop: sockets, timers and wake-ups from other threads, over one io_uring.
//!
//! Whenever glommio parks and wakes, it enters the kernel nine times and makes a barrier on all threads, which costs more
//! than most lines; and it can park while tasks are runnable. So it never parks: one more task, the *driver*, is always
//! runnable. When no other task has run since the driver's last turn, the driver parks the core itself, by the one system
//! call that submits, waits and collects.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use io_uring::cqueue;
use rustix::event::PollFlags;
use rustix::thread::sched_yield;

use super::notifications::{Notifications, WakeUps};
use super::poll_clock::PollClock;
use super::progress::Progress;
use super::registrations::{Registrations, Watch};
use super::remote_waker::RemoteWaker;
use super::ring::{CANCELLATION, Ring};
use super::timers::{Sleep, Timers};
use crate::limits::{CPU_YIELD_LONG, CPU_YIELD_PAUSE, CPU_YIELD_WORTH, IO_POLL_INTERVAL};

/// Names the completions of the remote waker's poll.
const REMOTE_WAKER: u64 = u64::MAX;

/// Whether a yield of the CPU was worth its time: it was short, or has brought events or another core's frames.
fn is_cpu_yield_worthwhile(took: Duration, events: usize, has_frames: bool) -> bool {
    took < CPU_YIELD_LONG || events >= CPU_YIELD_WORTH || has_frames
}

/// A core's event loop.
pub struct Reactor {
    ring: RefCell<Ring>,
    registrations: Rc<Registrations>,
    timers: Rc<RefCell<Timers>>,
    remote_waker: Arc<RemoteWaker>,
    wake_ups: Rc<WakeUps>,
    /// Tasks that let all other tasks run, and the ring be polled, before they go on.
    yielding: RefCell<Vec<Waker>>,
    /// How often the core's tasks have run.
    pub(super) progress: Progress,
    /// The progress at the driver's last turn.
    progress_seen: Cell<u64>,
    pub(crate) clock: Rc<PollClock>,
    /// The core does not yield its CPU before this.
    yields_from: Cell<Instant>,
    is_over: Cell<bool>,
}

impl Reactor {
    /// A reactor of this thread, whose core `remote_waker` wakes.
    pub(super) fn new(ring: Ring, remote_waker: Arc<RemoteWaker>, progress: Progress) -> Rc<Self> {
        let now = Instant::now();
        let reactor = Rc::new(Reactor {
            ring: RefCell::new(ring),
            registrations: Rc::default(),
            timers: Rc::default(),
            remote_waker,
            wake_ups: Rc::default(),
            yielding: RefCell::default(),
            progress,
            progress_seen: Cell::new(u64::MAX),
            clock: Rc::new(PollClock::new(now)),
            yields_from: Cell::new(now),
            is_over: Cell::new(false),
        });
        reactor.arm_remote_waker();
        reactor
    }

    /// The driver: keeps the executor from parking, and parks when no task can run.
    pub(super) async fn drive(self: Rc<Self>) {
        poll_fn(|cx| {
            if self.is_over.get() {
                return Poll::Ready(());
            }
            // Tasks run in the order in which they were woken: if none ran since the last turn, none is runnable.
            let progress = self.progress.count();
            let is_yielded_to = !self.yielding.borrow().is_empty();
            let is_alone = self.progress_seen.replace(progress) == progress && !is_yielded_to;
            if is_alone || is_yielded_to || self.clock.polled().elapsed() >= IO_POLL_INTERVAL {
                self.poll_io(is_alone);
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    /// Ends the driver, and with it the executor when no task is runnable. Before that every queued submission reaches the
    /// kernel, which keeps a closed socket until its polls are cancelled.
    pub(super) async fn stop(&self) {
        self.yield_now().await;
        while !self.registrations.submissions.is_empty() {
            self.yield_now().await;
        }
        self.is_over.set(true);
    }

    /// Submits, collects, and wakes the tasks concerned. With `may_park` it waits until there is such a task.
    fn poll_io(&self, may_park: bool) {
        let is_all_submitted = self.ring.borrow_mut().fill(&self.registrations.submissions);
        let first_timer = self.timers.borrow().first();
        let is_idle =
            may_park && is_all_submitted && first_timer.is_none_or(|at| at > Instant::now()) && !self.has_news();
        let yielded = if is_idle { self.yield_cpu() } else { Duration::ZERO };
        let timeout = first_timer.map(|at| at.saturating_duration_since(Instant::now()));
        let parks = is_idle && !self.has_news() && timeout != Some(Duration::ZERO) && self.remote_waker.prepare_park();
        self.ring.borrow_mut().enter(parks, timeout);
        let events = self.collect();
        let is_notified = self.remote_waker.unpark();
        let now = Instant::now();
        // What came while the core was parked is not what the yield has brought.
        if !is_cpu_yield_worthwhile(yielded, events, is_notified && !parks) {
            self.yields_from.set(now + CPU_YIELD_PAUSE);
        }
        if is_notified {
            self.wake_ups.record();
        }
        self.clock.record_poll(now);
        self.timers.borrow_mut().fire(now);
        self.yielding.take().into_iter().for_each(Waker::wake);
    }

    /// Lets the other threads of this CPU run before the core parks; returns how long they did.
    ///
    /// They are often other cores, or clients on the same machine, which make work for this core: to yield costs less than
    /// to park and be woken. Alone on its CPU the thread goes on at once. But a thread that computes keeps the CPU for a
    /// whole slice, where a parked core would get it back sooner: after such a yield the core parks without yielding for
    /// [`CPU_YIELD_PAUSE`].
    fn yield_cpu(&self) -> Duration {
        let began = Instant::now();
        if began < self.yields_from.get() {
            return Duration::ZERO;
        }
        sched_yield();
        began.elapsed()
    }

    /// Whether the ring or another thread has something, as far as that shows without a system call.
    fn has_news(&self) -> bool {
        self.ring.borrow_mut().has_completions() || self.remote_waker.is_notified()
    }

    /// Takes the ring's completions, and wakes the tasks concerned; returns how many there were.
    fn collect(&self) -> usize {
        let mut count = 0;
        for completion in self.ring.borrow_mut().completions() {
            count += 1;
            let goes_on = cqueue::more(completion.flags());
            match completion.user_data() {
                CANCELLATION => {}
                REMOTE_WAKER if goes_on => {}
                REMOTE_WAKER => self.arm_remote_waker(),
                poll => {
                    // A poll that failed says nothing of the socket: its task tries, and asks again.
                    let failed = PollFlags::IN | PollFlags::OUT;
                    let events = u16::try_from(completion.result()).map_or(failed, PollFlags::from_bits_retain);
                    self.registrations.record(poll, events, goes_on).into_iter().for_each(Waker::wake);
                }
            }
        }
        count
    }

    fn arm_remote_waker(&self) {
        self.registrations.submissions.poll(self.remote_waker.event.as_raw_fd(), PollFlags::IN, REMOTE_WAKER);
    }

    /// Watches a socket until the [`Watch`] is dropped.
    pub(crate) fn watch(&self, socket: BorrowedFd<'_>) -> Watch {
        Watch::new(Rc::clone(&self.registrations), socket)
    }

    pub(crate) fn sleep(&self, time: Duration) -> Sleep {
        Sleep::until(Instant::now() + time, Rc::clone(&self.timers))
    }

    /// Lets every runnable task run, and polls the ring, before the caller goes on.
    pub(crate) async fn yield_now(&self) {
        let mut has_yielded = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut has_yielded, true) {
                return Poll::Ready(());
            }
            self.yielding.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Tells one task of this core when the remote waker has woken the core.
    pub fn notifications(&self) -> Notifications {
        Notifications::new(Rc::clone(&self.wake_ups))
    }
}

#[cfg(test)]
mod tests;
