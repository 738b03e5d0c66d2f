//! A core's reactor: readiness of sockets, timers, and wake-ups from other cores, by one io_uring of its own.
//!
//! glommio's own reactor enters the kernel nine times and makes a barrier on all threads whenever it sleeps and
//! wakes (its three rings have their timers and cancellations), which is more than most lines cost; and it can
//! sleep with runnable tasks queued. So its executor runs the tasks here and never sleeps: one more task, the
//! *driver*, is always runnable, and when nobody else was, it sleeps itself, in the one system call that
//! submits, waits and collects. Before that it yields the CPU once: another thread there may have work for it.
//!
//! Readiness is told by edges: a poll for input is armed once for each socket's life, one for room when the socket
//! was first full, and they say when something has changed. What the kernel said last is kept here until a call
//! on the socket disproves it, or makes it so unlikely that the owner may go on without asking.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use glommio::task::JoinHandle;
use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use pin_project_lite::pin_project;
use rustix::event::PollFlags;
use rustix::thread::sched_yield;

use super::notifications::{Notifications, WakeUps};
use super::poll_clock::PollClock;
use super::registrations::{Sources, Watch};
use super::timers::{self, Timers};
use crate::limits::{
    CPU_YIELD_LONG, CPU_YIELD_PAUSE, CPU_YIELD_WORTH, IO_POLL_INTERVAL, RING_COMPLETIONS, RING_POSTED_AT_ONCE,
    RING_SUBMISSIONS,
};
use crate::metrics::{CoreMetrics, Counter};
use crate::runtime::remote_waker::RemoteWaker;

/// Names a completion of the remote waker's poll.
const REMOTE_WAKER: u64 = u64::MAX;
/// Names a completion that nobody waits for.
pub(super) const NOBODY: u64 = u64::MAX - 1;

/// A ring whose completions are posted when its thread enters, and only then: nothing interrupts it (Linux 6.1).
fn deferred_ring() -> io::Result<IoUring> {
    IoUring::builder()
        .setup_cqsize(RING_COMPLETIONS)
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .build(RING_SUBMISSIONS)
}

/// A ring for older kernels: they interrupt its thread to post.
fn plain_ring() -> io::Result<IoUring> {
    IoUring::builder().setup_cqsize(RING_COMPLETIONS).build(RING_SUBMISSIONS)
}

/// What became of a call to enter a ring.
///
/// # Panics
/// When the ring has failed.
fn check_entered(entered: io::Result<usize>) {
    // Time over, a signal, or completions that are to be collected first: what was not submitted is still there.
    let passing = [libc::ETIME, libc::EINTR, libc::EBUSY, libc::EAGAIN];
    if let Err(error) = entered
        && !error.raw_os_error().is_some_and(|code| passing.contains(&code))
    {
        panic!("io_uring failed: {error}");
    }
}

/// Whether a yield of the CPU was worth the time that it took: it was short, or has brought events or another core's
/// frames.
fn is_cpu_yield_worthwhile(took: Duration, events: usize, has_frames: bool) -> bool {
    took < CPU_YIELD_LONG || events >= CPU_YIELD_WORTH || has_frames
}

/// A core's reactor, see the module.
pub struct Reactor {
    ring: RefCell<IoUring>,
    /// What is to be submitted when the ring is next entered.
    pub(super) submissions: RefCell<VecDeque<squeue::Entry>>,
    pub(super) sources: RefCell<Sources>,
    timers: RefCell<Timers>,
    remote_waker: Arc<RemoteWaker>,
    wake_ups: Rc<WakeUps>,
    /// Tasks that let all other tasks run, and the ring be polled, before they go on.
    yielding: RefCell<Vec<Waker>>,
    /// Some task has run since the driver last did.
    tasks_ran: Cell<bool>,
    /// Where the beats of the core's heart are counted.
    heart: OnceCell<CoreMetrics>,
    clock: Rc<PollClock>,
    /// Before this it does not yield its CPU.
    yields_from: Cell<Instant>,
    is_over: Cell<bool>,
}

impl Reactor {
    /// A reactor for this thread, whose core is reached by `remote_waker`.
    ///
    /// # Errors
    /// When the kernel or its limits do not allow its ring.
    pub(crate) fn new(remote_waker: Arc<RemoteWaker>) -> io::Result<Rc<Self>> {
        Ok(Reactor::over(deferred_ring().or_else(|_| plain_ring())?, remote_waker))
    }

    fn over(ring: IoUring, remote_waker: Arc<RemoteWaker>) -> Rc<Self> {
        let reactor = Rc::new(Reactor {
            ring: RefCell::new(ring),
            submissions: RefCell::default(),
            sources: RefCell::default(),
            timers: RefCell::default(),
            remote_waker,
            wake_ups: Rc::default(),
            yielding: RefCell::default(),
            tasks_ran: Cell::new(true),
            heart: OnceCell::new(),
            clock: Rc::new(PollClock::new(Instant::now())),
            yields_from: Cell::new(Instant::now()),
            is_over: Cell::new(false),
        });
        reactor.arm_remote_waker();
        reactor
    }

    /// From now on whatever task runs is a beat of the core's heart. A core on which many want to run at the same
    /// time is slow to each of them, but it lives.
    pub(crate) fn beat_for(&self, metrics: CoreMetrics) {
        assert!(self.heart.set(metrics).is_ok(), "a core has one heart");
    }

    /// Starts a task on this core.
    pub(crate) fn spawn<T: 'static>(self: &Rc<Self>, task: impl Future<Output = T> + 'static) -> JoinHandle<T> {
        glommio::spawn_local(self.tracked(task)).detach()
    }

    /// `task`, so that the driver knows when it ran. All tasks of a core have to be.
    pub(crate) fn tracked<F: Future>(self: &Rc<Self>, task: F) -> Tracked<F> {
        Tracked { task, reactor: Rc::clone(self) }
    }

    /// The driver: keeps the executor from sleeping, and sleeps when nobody else can run.
    ///
    /// # Panics
    /// When the ring fails, which ends the core.
    pub(crate) async fn drive(self: Rc<Self>) {
        poll_fn(|cx| {
            if self.is_over.get() {
                return Poll::Ready(());
            }
            // Tasks are run in the order in which they were woken: who did not run since the last time cannot.
            let is_alone = !self.tasks_ran.take() && self.yielding.borrow().is_empty();
            let is_time = || !self.yielding.borrow().is_empty() || self.clock.polled().elapsed() >= IO_POLL_INTERVAL;
            if is_alone || is_time() {
                self.poll_io(is_alone);
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    /// Waits until every queued submission has reached the kernel.
    pub(crate) async fn flush_submissions(&self) {
        while !self.submissions.borrow().is_empty() {
            self.yield_now().await;
        }
    }

    /// Has the driver end, and with it, when no other task can run, the executor.
    pub(crate) fn stop(&self) {
        self.is_over.set(true);
    }

    /// Submits, collects, and wakes the tasks concerned; sleeps until there is one if it may.
    fn poll_io(&self, may_sleep: bool) {
        let is_all = self.fill();
        let first_timer = self.timers.borrow().first();
        let is_idle = may_sleep && is_all && first_timer.is_none_or(|at| at > Instant::now()) && !self.has_news();
        let yielded = if is_idle { self.yield_cpu() } else { Duration::ZERO };
        let timeout = first_timer.map(|at| at.saturating_duration_since(Instant::now()));
        let sleeps = is_idle && !self.has_news() && timeout != Some(Duration::ZERO) && self.remote_waker.prepare_park();
        self.enter(sleeps, timeout);
        let events = self.collect();
        let is_notified = self.remote_waker.unpark();
        let now = Instant::now();
        // What has come while the core slept is not what the yield has brought.
        if !is_cpu_yield_worthwhile(yielded, events, is_notified && !sleeps) {
            self.yields_from.set(now + CPU_YIELD_PAUSE);
        }
        if is_notified {
            self.wake_ups.record();
        }
        self.clock.record_poll(now);
        self.timers.borrow_mut().fire(now);
        self.yielding.take().into_iter().for_each(Waker::wake);
    }

    /// Lets the other threads of this CPU run before the core sleeps; returns how long they did.
    ///
    /// They are often other cores, or clients on the same machine, and what they do is work for this core: to yield costs
    /// less than to sleep and be woken, and there is more to do at once. Alone on its CPU a thread goes on at once. But a
    /// thread that computes keeps the CPU for a whole slice, where a core that is woken would get it back sooner. After
    /// a yield of that kind, which has brought little to do, the core sleeps without yielding for [`CPU_YIELD_PAUSE`].
    fn yield_cpu(&self) -> Duration {
        let began = Instant::now();
        if began < self.yields_from.get() {
            return Duration::ZERO;
        }
        sched_yield();
        began.elapsed()
    }

    /// Whether there is something to do, as far as that can be seen without a system call.
    fn has_news(&self) -> bool {
        let mut ring = self.ring.borrow_mut();
        ring.submission().taskrun() || !ring.completion().is_empty() || self.remote_waker.is_notified()
    }

    /// Moves what is to be submitted into the ring; `false` if some of it did not fit.
    fn fill(&self) -> bool {
        let mut submissions = self.submissions.borrow_mut();
        if submissions.is_empty() {
            return true;
        }
        let mut ring = self.ring.borrow_mut();
        let mut queue = ring.submission();
        while let Some(entry) = submissions.front() {
            // SAFETY: polls and their ends carry no pointers.
            if unsafe { queue.push(entry) }.is_err() {
                return false;
            }
            submissions.pop_front();
        }
        true
    }

    fn enter(&self, sleeps: bool, timeout: Option<Duration>) {
        let mut ring = self.ring.borrow_mut();
        match timeout {
            _ if !sleeps => {
                let queue = ring.submission();
                let is_idle = queue.is_empty() && !queue.taskrun() && !queue.cq_overflow();
                drop(queue);
                if !is_idle {
                    check_entered(ring.submit_and_wait(0));
                }
            }
            Some(timeout) => {
                let timeout = Timespec::from(timeout);
                check_entered(ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&timeout)));
            }
            None => check_entered(ring.submit_and_wait(1)),
        }
        // A call posts a few only, and what is left must not wait until all who can run have run again.
        let mut posted = 0;
        loop {
            let all = ring.completion().len();
            if all - posted < RING_POSTED_AT_ONCE || !ring.submission().taskrun() {
                break;
            }
            posted = all;
            check_entered(ring.submit_and_wait(0));
        }
    }

    /// Takes in what the ring says, and wakes whom it concerns; returns how many events that were.
    fn collect(&self) -> usize {
        let mut ring = self.ring.borrow_mut();
        let mut sources = self.sources.borrow_mut();
        let mut is_deaf = false;
        let mut events = 0;
        for completion in ring.completion() {
            events += 1;
            let goes_on = cqueue::more(completion.flags());
            match completion.user_data() {
                NOBODY => {}
                REMOTE_WAKER => is_deaf = !goes_on,
                poll => {
                    // A poll that failed says nothing of the socket: whoever waits is to try, and to ask again.
                    let failed = PollFlags::IN | PollFlags::OUT;
                    let events = u16::try_from(completion.result()).map_or(failed, PollFlags::from_bits_retain);
                    if let Some(waker) = sources.record(poll, events, goes_on) {
                        waker.wake();
                    }
                }
            }
        }
        drop(ring);
        if is_deaf {
            self.arm_remote_waker();
        }
        events
    }

    pub(super) fn submit_poll(&self, descriptor: i32, events: PollFlags, user_data: u64) {
        let poll = opcode::PollAdd::new(Fd(descriptor), events.bits().into()).multi(true).build();
        self.submissions.borrow_mut().push_back(poll.user_data(user_data));
    }

    fn arm_remote_waker(&self) {
        self.submit_poll(self.remote_waker.descriptor(), PollFlags::IN, REMOTE_WAKER);
    }

    /// Watches a socket until the [`Watch`] is dropped, which has to be before the socket is closed.
    pub(crate) fn watch(self: &Rc<Self>, socket: BorrowedFd<'_>) -> Watch {
        Watch::new(Rc::clone(self), socket)
    }

    /// Waits for some time.
    pub(crate) fn sleep(self: &Rc<Self>, time: Duration) -> Sleep {
        let key = self.timers.borrow_mut().key(Instant::now() + time);
        Sleep { reactor: Rc::clone(self), key }
    }

    /// The core's clock.
    pub(crate) fn clock(&self) -> &Rc<PollClock> {
        &self.clock
    }

    /// Lets every runnable task run, and polls the ring, before the caller goes on.
    pub(crate) async fn yield_now(&self) {
        let mut yielded = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut yielded, true) {
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

impl std::fmt::Debug for Reactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reactor")
    }
}

pin_project! {
    /// See [`Reactor::tracked`].
    pub(crate) struct Tracked<F> {
        #[pin]
        task: F,
        reactor: Rc<Reactor>,
    }
}

impl<F: Future> Future for Tracked<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        this.reactor.tasks_ran.set(true);
        if let Some(metrics) = this.reactor.heart.get() {
            metrics.add(Counter::Beats, 1);
        }
        this.task.poll(cx)
    }
}

/// See [`Reactor::sleep`].
#[derive(Debug)]
pub(crate) struct Sleep {
    reactor: Rc<Reactor>,
    key: timers::Key,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.key.at {
            return Poll::Ready(());
        }
        self.reactor.timers.borrow_mut().set(self.key, cx.waker());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.reactor.timers.borrow_mut().forget(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::POLL_GAP_MAX;
    use crate::runtime::executor::block_on_reactor;
    use crate::runtime::registrations::{HangUp, end_of_poll};
    use rustix::event::{EventfdFlags, eventfd};
    use rustix::fd::OwnedFd;
    use std::io::Write;
    use std::net::Shutdown;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    /// Runs `main` as a core's main task, over a ring of each kind.
    fn run(main: impl AsyncFn(Rc<Reactor>)) {
        for ring in [deferred_ring, plain_ring] {
            let remote_waker = Arc::new(RemoteWaker::new().expect("a descriptor"));
            run_over(ring, remote_waker, &main);
        }
    }

    fn run_over(
        ring: fn() -> io::Result<IoUring>,
        remote_waker: Arc<RemoteWaker>,
        main: impl AsyncFnOnce(Rc<Reactor>),
    ) {
        let reactor = Reactor::over(ring().expect("io_uring"), remote_waker);
        block_on_reactor(reactor, main).expect("io_uring");
    }

    /// Something that can be read once it has been written to.
    fn event() -> OwnedFd {
        eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).expect("a descriptor")
    }

    fn write(event: &OwnedFd) {
        rustix::io::write(event, &1u64.to_ne_bytes()).expect("an event descriptor takes a number");
    }

    async fn is_readable(watch: &Watch, event: &OwnedFd) {
        poll_fn(|cx| watch.poll_readable(cx, event.as_fd())).await;
    }

    #[test]
    fn each_change_is_told_until_it_is_disproved() {
        run(async |reactor| {
            let event = event();
            let watch = reactor.watch(event.as_fd());
            for _ in 0..3 {
                write(&event);
                is_readable(&watch, &event).await;
                is_readable(&watch, &event).await;
                watch.clear_readable();
                let early = futures_lite::future::poll_once(is_readable(&watch, &event)).await;
                assert!(early.is_none(), "nothing has changed since");
            }
        });
    }

    #[test]
    fn a_poll_that_has_ended_by_itself_is_armed_again() {
        run(async |reactor| {
            let event = event();
            let watch = reactor.watch(event.as_fd());
            reactor.submissions.borrow_mut().push_back(end_of_poll(watch.polls()[0]));
            is_readable(&watch, &event).await;
            watch.clear_readable();
            assert!(!watch.with(|source| source.is_armed[0]), "nobody waits");
            assert!(futures_lite::future::poll_once(is_readable(&watch, &event)).await.is_none());
            write(&event);
            is_readable(&watch, &event).await;
        });
    }

    #[test]
    fn a_poll_for_the_end_that_has_ended_by_itself_is_armed_again() {
        run(async |reactor| {
            let (ours, theirs) = UnixStream::pair().expect("descriptors");
            let watched = Rc::new((reactor.watch(ours.as_fd()), ours));
            let ends = |known| {
                let watched = Rc::clone(&watched);
                poll_fn(move |cx| watched.0.poll_hangup(cx, watched.1.as_fd(), known))
            };
            watched.0.pause_reading();
            theirs.shutdown(Shutdown::Write).expect("connected");
            ends(HangUp::None).await;
            let breaks = reactor.spawn(ends(HangUp::ReadClosed));
            reactor.yield_now().await;
            // One breath to submit it, one to be answered, one for the task that waits.
            reactor.submissions.borrow_mut().push_back(end_of_poll(watched.0.polls()[1]));
            for _ in 0..3 {
                reactor.yield_now().await;
            }
            assert!(watched.0.with(|source| source.is_armed[2]), "the task waits for what nobody tells it");
            drop(theirs);
            breaks.await.expect("nobody cancels it");
        });
    }

    #[test]
    fn what_arrives_while_reading_is_paused_wakes_nobody_but_the_end_does() {
        run(async |reactor| {
            let (ours, mut theirs) = UnixStream::pair().expect("descriptors");
            let watch = reactor.watch(ours.as_fd());
            let readable = || poll_fn(|cx| watch.poll_readable(cx, ours.as_fd()));
            let end = || poll_fn(|cx| watch.poll_hangup(cx, ours.as_fd(), HangUp::None));
            assert!(futures_lite::future::poll_once(readable()).await.is_none());
            watch.pause_reading();
            assert!(futures_lite::future::poll_once(end()).await.is_none());
            // What was asked for is submitted by one look, and answered by the next.
            reactor.poll_io(false);
            reactor.poll_io(false);
            let armed = watch.with(|source| source.is_armed);
            assert_eq!(armed, [false, false, true], "nothing is left but the poll for the end");
            theirs.write_all(b"moo").expect("the other end is there");
            reactor.enter(false, None);
            assert_eq!(reactor.collect(), 0, "the ring says nothing");
            // The next reader tries first, and is woken by what comes later.
            readable().await;
            watch.clear_readable();
            assert!(futures_lite::future::poll_once(readable()).await.is_none());
            theirs.write_all(b"moo").expect("the other end is there");
            readable().await;
            watch.pause_reading();
            drop(theirs);
            end().await;
        });
    }

    #[test]
    fn one_look_hears_of_all_that_has_changed() {
        run(async |reactor| {
            let events: Vec<OwnedFd> = (0..1000).map(|_| event()).collect();
            let watches: Vec<Watch> = events.iter().map(|event| reactor.watch(event.as_fd())).collect();
            reactor.poll_io(false);
            events.iter().for_each(write);
            reactor.poll_io(false);
            for (watch, event) in watches.iter().zip(&events) {
                assert!(futures_lite::future::poll_once(is_readable(watch, event)).await.is_some());
            }
        });
    }

    #[test]
    fn a_cpu_yield_is_worth_its_time_if_it_is_short_or_brings_work() {
        let moment = Duration::from_nanos(1);
        assert!(is_cpu_yield_worthwhile(CPU_YIELD_LONG - moment, 0, false));
        assert!(!is_cpu_yield_worthwhile(CPU_YIELD_LONG, CPU_YIELD_WORTH - 1, false));
        assert!(is_cpu_yield_worthwhile(CPU_YIELD_LONG, CPU_YIELD_WORTH, false));
        assert!(is_cpu_yield_worthwhile(CPU_YIELD_LONG, 0, true));
    }

    #[test]
    fn a_core_that_pauses_does_not_yield() {
        run(async |reactor| {
            reactor.yields_from.set(Instant::now() + Duration::from_secs(3600));
            assert_eq!(reactor.yield_cpu(), Duration::ZERO);
            reactor.yields_from.set(Instant::now());
            assert!(reactor.yield_cpu() > Duration::ZERO);
        });
    }

    #[test]
    fn readiness_that_was_cleared_unconfirmed_is_asked_again() {
        run(async |reactor| {
            let (ours, theirs) = UnixStream::pair().expect("descriptors");
            let watch = reactor.watch(ours.as_fd());
            let is_readable = async || {
                let readable = poll_fn(|cx| watch.poll_readable(cx, ours.as_fd()));
                futures_lite::future::poll_once(readable).await.is_some()
            };
            reactor.yield_now().await;
            (&theirs).write_all(b"moo\n").expect("connected");
            while !is_readable().await {
                reactor.yield_now().await;
            }
            watch.clear_readable_unconfirmed();
            assert!(!is_readable().await);
            watch.recheck_readable();
            assert!(is_readable().await);
            watch.clear_readable();
            watch.recheck_readable();
            assert!(!is_readable().await, "the kernel has said so");
            theirs.shutdown(Shutdown::Write).expect("connected");
            while !is_readable().await {
                reactor.yield_now().await;
            }
            watch.clear_readable_unconfirmed();
            assert!(is_readable().await, "the end is yet to be read");
        });
    }

    #[test]
    fn more_changes_than_the_ring_holds_are_all_told_and_the_places_are_given_back() {
        // Many watch the same descriptor: those are scarcer.
        const WATCHES_EACH: usize = 64;
        let descriptors = (RING_COMPLETIONS as usize + RING_SUBMISSIONS as usize) * 3 / 2 / WATCHES_EACH;
        run(async |reactor| {
            for round in 0..2 {
                let events: Vec<OwnedFd> = (0..descriptors).map(|_| event()).collect();
                let watched = || events.iter().cycle().take(descriptors * WATCHES_EACH);
                let watches: Vec<Watch> = watched().map(|event| reactor.watch(event.as_fd())).collect();
                reactor.yield_now().await;
                for _ in 0..2 {
                    events.iter().for_each(write);
                    for (watch, event) in watches.iter().zip(watched()) {
                        is_readable(watch, event).await;
                        watch.clear_readable();
                    }
                }
                assert_eq!(reactor.sources.borrow().len(), watches.len(), "round {round}");
                // Whatever is on its way: some ends find an event under way.
                events.iter().for_each(write);
                drop(watches);
                while reactor.sources.borrow().len() > 0 {
                    reactor.yield_now().await;
                }
            }
        });
    }

    #[test]
    fn sleeps_end_when_it_is_time_and_forget_themselves() {
        run(async |reactor| {
            let sleepers = [30, 10, 20].map(|millis| {
                let (time, began) = (Duration::from_millis(millis), Instant::now());
                let sleep = reactor.sleep(time);
                reactor.spawn(async move {
                    sleep.await;
                    assert!(began.elapsed() >= time, "{:?} of {time:?}", began.elapsed());
                })
            });
            let never = reactor.spawn(reactor.sleep(Duration::MAX / 4));
            for sleeper in sleepers {
                sleeper.await.expect("nobody cancels it");
            }
            assert_eq!(reactor.timers.borrow().len(), 1, "the one that never ends");
            never.cancel();
            assert!(futures_lite::future::poll_once(reactor.sleep(Duration::from_secs(60))).await.is_none());
            reactor.yield_now().await;
            assert_eq!(reactor.timers.borrow().len(), 0);
        });
    }

    #[test]
    fn a_long_turn_counts_for_one_poll_gap_at_most() {
        run(async |reactor| {
            reactor.yield_now().await;
            let (before, began) = (reactor.clock().now(), Instant::now());
            while began.elapsed() < POLL_GAP_MAX * 4 {}
            assert!(reactor.clock().now() <= before + POLL_GAP_MAX);
            reactor.yield_now().await;
            assert!(reactor.clock().now() <= before + POLL_GAP_MAX * 2);
        });
    }

    #[test]
    fn who_breathes_lets_all_others_run_however_often_they_wake_each_other() {
        run(async |reactor| {
            let ran = Rc::new(Cell::new(0));
            let (reactor_of_it, counter) = (Rc::clone(&reactor), Rc::clone(&ran));
            reactor.spawn(async move {
                loop {
                    counter.set(counter.get() + 1);
                    reactor_of_it.yield_now().await;
                }
            });
            for rounds in 1..100 {
                assert_eq!(ran.get(), rounds);
                reactor.yield_now().await;
            }
        });
    }

    #[test]
    fn each_wake_reaches_a_parked_core() {
        for ring in [deferred_ring, plain_ring] {
            let remote_waker = Arc::new(RemoteWaker::new().expect("a descriptor"));
            let (notify, notified) = std::sync::mpsc::channel();
            std::thread::scope(|scope| {
                let waker = Arc::clone(&remote_waker);
                scope.spawn(move || {
                    run_over(ring, waker, async |reactor| {
                        let mut notifications = reactor.notifications();
                        for _ in 0..1000 {
                            notifications.notified().await;
                            notify.send(()).expect("the test waits for it");
                        }
                    });
                });
                // The first one needs no wake-up.
                notified.recv().expect("the core is notified");
                for _ in 1..1000 {
                    remote_waker.wake();
                    notified.recv().expect("the core is notified");
                }
            });
        }
    }
}
