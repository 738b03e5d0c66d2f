//! Tests of the reactor, each over both kinds of ring.

use super::*;
use crate::limits::{RING_COMPLETIONS, RING_SUBMISSIONS};
use crate::runtime::executor::block_on_reactor;
use crate::runtime::registrations::{Direction, HangUp};
use futures_lite::future::poll_once;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::OwnedFd;
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

const RINGS: [fn() -> io::Result<Ring>; 2] = [Ring::deferred, Ring::plain];

/// Runs `main` as a core's main task, over a ring of each kind.
fn run(main: impl AsyncFn(Rc<Reactor>)) {
    for ring in RINGS {
        run_over(ring, Arc::new(RemoteWaker::new().expect("a descriptor")), &main);
    }
}

fn run_over(ring: fn() -> io::Result<Ring>, remote_waker: Arc<RemoteWaker>, main: impl AsyncFnOnce(Rc<Reactor>)) {
    let reactor = Reactor::new(ring().expect("io_uring"), remote_waker, Progress::default());
    block_on_reactor(reactor, main).expect("io_uring");
}

/// A descriptor that is readable once it has been written to.
fn event() -> OwnedFd {
    eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).expect("a descriptor")
}

fn write(event: &OwnedFd) {
    rustix::io::write(event, &1u64.to_ne_bytes()).expect("an event descriptor takes a number");
}

async fn readable(watch: &Watch) {
    poll_fn(|cx| watch.poll_readable(cx)).await;
}

async fn is_readable(watch: &Watch) -> bool {
    poll_once(readable(watch)).await.is_some()
}

async fn hangup(watch: &Watch, known: HangUp) {
    poll_fn(|cx| watch.poll_hangup(cx, known)).await;
}

#[test]
fn a_read_poll_that_the_kernel_ends_is_armed_again() {
    run(async |reactor| {
        let event = event();
        let watch = reactor.watch(event.as_fd());
        watch.cancel(Direction::Read);
        readable(&watch).await;
        watch.clear_readable();
        assert!(!watch.with(|source| source.is_armed[0]), "no task waits");
        assert!(!is_readable(&watch).await);
        write(&event);
        readable(&watch).await;
    });
}

#[test]
fn a_hangup_poll_that_the_kernel_ends_is_armed_again() {
    run(async |reactor| {
        let (ours, theirs) = UnixStream::pair().expect("descriptors");
        let watch = Rc::new(reactor.watch(ours.as_fd()));
        watch.pause_reading();
        theirs.shutdown(Shutdown::Write).expect("connected");
        hangup(&watch, HangUp::None).await;
        let waiting = Rc::clone(&watch);
        let breaks = reactor.spawn(async move { hangup(&waiting, HangUp::ReadClosed).await });
        reactor.yield_now().await;
        // One turn submits the cancellation, one collects it, in one the task runs.
        watch.cancel(Direction::HangUp);
        for _ in 0..3 {
            reactor.yield_now().await;
        }
        assert!(watch.with(|source| source.is_armed[2]), "the task waits for a poll that has ended");
        drop(theirs);
        breaks.await.expect("the test does not cancel it");
    });
}

#[test]
fn paused_input_wakes_no_task_but_a_hangup_does() {
    run(async |reactor| {
        let (ours, mut theirs) = UnixStream::pair().expect("descriptors");
        let watch = reactor.watch(ours.as_fd());
        assert!(!is_readable(&watch).await);
        watch.pause_reading();
        assert!(poll_once(hangup(&watch, HangUp::None)).await.is_none());
        // The first call submits, the second collects.
        reactor.poll_io(false);
        reactor.poll_io(false);
        let armed = watch.with(|source| source.is_armed);
        assert_eq!(armed, [false, false, true], "only the poll for the hang-up is left");
        theirs.write_all(b"moo").expect("connected");
        reactor.ring.borrow_mut().enter(false, None);
        assert_eq!(reactor.collect(), 0, "input is not reported");
        // The next read is tried at once; input after it wakes the task.
        readable(&watch).await;
        watch.clear_readable();
        assert!(!is_readable(&watch).await);
        theirs.write_all(b"moo").expect("connected");
        readable(&watch).await;
        watch.pause_reading();
        drop(theirs);
        hangup(&watch, HangUp::None).await;
    });
}

#[test]
fn one_poll_collects_all_that_has_changed() {
    run(async |reactor| {
        let events: Vec<OwnedFd> = (0..1000).map(|_| event()).collect();
        let watches: Vec<Watch> = events.iter().map(|event| reactor.watch(event.as_fd())).collect();
        reactor.poll_io(false);
        events.iter().for_each(write);
        reactor.poll_io(false);
        for watch in &watches {
            assert!(is_readable(watch).await);
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
fn a_core_in_its_pause_does_not_yield_its_cpu() {
    run(async |reactor| {
        reactor.yields_from.set(Instant::now() + Duration::from_secs(3600));
        assert_eq!(reactor.yield_cpu(), Duration::ZERO);
        reactor.yields_from.set(Instant::now());
        assert!(reactor.yield_cpu() > Duration::ZERO);
    });
}

#[test]
fn readiness_lasts_until_a_call_disproves_it() {
    run(async |reactor| {
        let (ours, theirs) = UnixStream::pair().expect("descriptors");
        let watch = reactor.watch(ours.as_fd());
        reactor.yield_now().await;
        (&theirs).write_all(b"moo\n").expect("connected");
        readable(&watch).await;
        assert!(is_readable(&watch).await);
        watch.clear_readable_unconfirmed();
        assert!(!is_readable(&watch).await);
        watch.recheck_readable();
        assert!(is_readable(&watch).await);
        watch.clear_readable();
        watch.recheck_readable();
        assert!(!is_readable(&watch).await, "the kernel has confirmed it");
        theirs.shutdown(Shutdown::Write).expect("connected");
        readable(&watch).await;
        watch.clear_readable_unconfirmed();
        assert!(is_readable(&watch).await, "the end has not been read");
    });
}

#[test]
fn a_full_ring_loses_no_change_and_frees_each_registration() {
    // Each descriptor is watched many times: descriptors are scarcer than watches.
    const WATCHES_EACH: usize = 64;
    let descriptors = (RING_COMPLETIONS as usize + RING_SUBMISSIONS as usize) * 3 / 2 / WATCHES_EACH;
    run(async |reactor| {
        for round in 0..2 {
            let events: Vec<OwnedFd> = (0..descriptors).map(|_| event()).collect();
            let watched = events.iter().cycle().take(descriptors * WATCHES_EACH);
            let watches: Vec<Watch> = watched.map(|event| reactor.watch(event.as_fd())).collect();
            reactor.yield_now().await;
            for _ in 0..2 {
                events.iter().for_each(write);
                for watch in &watches {
                    readable(watch).await;
                    watch.clear_readable();
                }
            }
            let registered = || reactor.registrations.sources.borrow().len();
            assert_eq!(registered(), watches.len(), "round {round}");
            // Some cancellations find an event under way.
            events.iter().for_each(write);
            drop(watches);
            while registered() > 0 {
                reactor.yield_now().await;
            }
        }
    });
}

#[test]
fn sleeps_end_on_time_and_leave_no_timer() {
    run(async |reactor| {
        let began = Instant::now();
        let sleepers = [30, 10, 20, 10].map(|millis| {
            let end = began + Duration::from_millis(millis);
            let sleep = Sleep::until(end, Rc::clone(&reactor.timers));
            reactor.spawn(async move {
                sleep.await;
                assert!(Instant::now() >= end);
            })
        });
        let never = reactor.spawn(reactor.sleep(Duration::MAX / 4));
        for sleeper in sleepers {
            sleeper.await.expect("the test does not cancel it");
        }
        assert_eq!(reactor.timers.borrow().waiting.len(), 1, "the sleep that never ends");
        never.cancel();
        assert!(poll_once(reactor.sleep(Duration::from_secs(60))).await.is_none());
        reactor.yield_now().await;
        assert_eq!(reactor.timers.borrow().waiting.len(), 0);
    });
}

#[test]
fn yield_now_lets_every_runnable_task_run() {
    run(async |reactor| {
        let ran = Rc::new(Cell::new(0));
        let (its_reactor, counter) = (Rc::clone(&reactor), Rc::clone(&ran));
        reactor.spawn(async move {
            loop {
                counter.set(counter.get() + 1);
                its_reactor.yield_now().await;
            }
        });
        for rounds in 1..100 {
            assert_eq!(ran.get(), rounds);
            reactor.yield_now().await;
        }
    });
}

#[test]
fn a_core_makes_progress_when_a_task_runs_and_not_by_polling() {
    run(async |reactor| {
        let before = reactor.progress.count();
        reactor.poll_io(false);
        assert_eq!(reactor.progress.count(), before);
        reactor.spawn(std::future::ready(()));
        reactor.yield_now().await;
        assert_eq!(reactor.progress.count(), before + 2, "the other task, and this one");
    });
}

#[test]
fn each_wake_reaches_a_parked_core() {
    for ring in RINGS {
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
