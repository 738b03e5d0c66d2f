//! What a core knows of each watched socket, and what the socket's task waits for.
//!
//! A poll reports changes only. The poll for input is armed from the start, and again after a pause in reading; the poll
//! for room when the socket is full for the first time. What the kernel said last is kept until a call on the socket disproves it, or makes it so
//! unlikely that the task may go on without asking.

use std::cell::RefCell;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use rustix::event::PollFlags;
use slab::Slab;

use super::ring::Submissions;

/// All watched sockets of a core, and the polls that wait for its ring.
#[derive(Default)]
pub(super) struct Registrations {
    /// Also dropped sockets, until their polls have ended.
    pub(super) sources: RefCell<Slab<Registration>>,
    pub(super) submissions: Submissions,
}

impl Registrations {
    /// Records what a poll has said, and whether it goes on. Returns the task to wake.
    pub(super) fn record(&self, poll: u64, events: PollFlags, goes_on: bool) -> Option<Waker> {
        let (key, direction) = ((poll >> 2) as usize, (poll & 3) as usize);
        let mut sources = self.sources.borrow_mut();
        let source = sources.get_mut(key)?;
        source.is_armed[direction] = goes_on;
        source.is_read_ending &= source.is_armed[Direction::Read as usize];
        // A task that is woken because its poll has ended waits again, which arms the poll again.
        let has_lost_poll = !goes_on && source.wants[direction];
        let waker = if source.record(events) || has_lost_poll { source.waker.take() } else { None };
        if source.is_dropped && !source.has_polls() {
            sources.remove(key);
        }
        waker
    }

    fn arm(&self, key: usize, source: &mut Registration, direction: Direction) {
        if !std::mem::replace(&mut source.is_armed[direction as usize], true) {
            self.submissions.poll(source.socket, direction.events(), direction.of(key));
        }
    }
}

/// What the kernel has said of a connection's end; the later, the worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum HangUp {
    #[default]
    None,
    /// The peer sends nothing more after what it has sent.
    ReadClosed,
    /// The connection is broken.
    Error,
}

/// What is known of a socket.
#[derive(Default)]
pub(super) struct Registration {
    socket: RawFd,
    /// The socket's task, while it waits.
    waker: Option<Waker>,
    /// By [`Direction`]: what the task waits for.
    wants: [bool; Direction::ALL.len()],
    is_readable: bool,
    /// "Not readable" was assumed, not said by the kernel.
    is_unconfirmed: bool,
    is_writable: bool,
    hangup: HangUp,
    /// By [`Direction`]: a poll is under way in the ring.
    pub(super) is_armed: [bool; Direction::ALL.len()],
    /// The poll for input is being cancelled.
    is_read_ending: bool,
    /// The owner is gone.
    is_dropped: bool,
}

/// What a poll is for.
#[derive(Clone, Copy)]
pub(super) enum Direction {
    /// Input, and its end.
    Read = 0,
    /// Room.
    Write = 1,
    /// The end of a connection that is not read for now: input does not wake the core.
    HangUp = 2,
}

impl Direction {
    const ALL: [Direction; 3] = [Direction::Read, Direction::Write, Direction::HangUp];

    fn events(self) -> PollFlags {
        match self {
            Direction::Read => PollFlags::IN | PollFlags::RDHUP,
            Direction::Write => PollFlags::OUT,
            Direction::HangUp => PollFlags::RDHUP,
        }
    }

    /// Names the completions of a source's poll.
    fn of(self, key: usize) -> u64 {
        (key as u64) << 2 | self as u64
    }
}

impl Registration {
    /// Records what a poll has said. Returns whether the task waits for that.
    fn record(&mut self, events: PollFlags) -> bool {
        let is_broken = events.intersects(PollFlags::ERR | PollFlags::HUP);
        self.is_readable |= is_broken || events.intersects(PollFlags::IN | PollFlags::RDHUP);
        self.is_writable |= is_broken || events.contains(PollFlags::OUT);
        let hangup = match () {
            () if is_broken => HangUp::Error,
            () if events.contains(PollFlags::RDHUP) => HangUp::ReadClosed,
            () => HangUp::None,
        };
        let is_news = hangup > self.hangup;
        self.hangup = self.hangup.max(hangup);
        let [wants_read, wants_write, wants_hangup] = self.wants;
        wants_read && self.is_readable || wants_write && self.is_writable || wants_hangup && is_news
    }

    fn has_polls(&self) -> bool {
        self.is_armed.contains(&true)
    }
}

/// A socket's registration, held by the socket's owner and dropped before the socket is closed.
pub(crate) struct Watch {
    registrations: Rc<Registrations>,
    key: usize,
}

impl Watch {
    pub(super) fn new(registrations: Rc<Registrations>, socket: BorrowedFd<'_>) -> Self {
        let source = Registration { socket: socket.as_raw_fd(), is_writable: true, ..Registration::default() };
        let key = registrations.sources.borrow_mut().insert(source);
        let watch = Watch { registrations, key };
        watch.with(|source| watch.registrations.arm(key, source, Direction::Read));
        watch
    }

    pub(super) fn with<T>(&self, act: impl FnOnce(&mut Registration) -> T) -> T {
        act(&mut self.registrations.sources.borrow_mut()[self.key])
    }

    pub(super) fn cancel(&self, direction: Direction) {
        self.registrations.submissions.cancel(direction.of(self.key));
    }

    /// Waits until the socket has something to read, as far as is known.
    pub(crate) fn poll_readable(&self, cx: &Context<'_>) -> Poll<()> {
        self.poll(cx, Direction::Read, |source| source.is_readable)
    }

    /// Waits until the socket has room, as far as is known.
    pub(crate) fn poll_writable(&self, cx: &Context<'_>) -> Poll<()> {
        self.poll(cx, Direction::Write, |source| source.is_writable)
    }

    /// Waits until the kernel says worse of the connection's end than `known`.
    pub(crate) fn poll_hangup(&self, cx: &Context<'_>, known: HangUp) -> Poll<()> {
        self.poll(cx, Direction::HangUp, |source| source.hangup > known)
    }

    fn poll(&self, cx: &Context<'_>, direction: Direction, is_ready: impl FnOnce(&Registration) -> bool) -> Poll<()> {
        self.with(|source| {
            let is_ready = is_ready(source);
            source.wants[direction as usize] = !is_ready;
            if is_ready {
                return Poll::Ready(());
            }
            if !source.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                source.waker = Some(cx.waker().clone());
            }
            self.registrations.arm(self.key, source, direction);
            Poll::Pending
        })
    }

    /// What the kernel has said of the connection's end so far.
    pub(crate) fn hangup(&self) -> HangUp {
        self.with(|source| source.hangup)
    }

    /// Has input not wake the core until the task waits for input again. The task then tries to read first.
    pub(crate) fn pause_reading(&self) {
        let is_armed = self.with(|source| {
            source.is_readable = true;
            source.is_armed[Direction::Read as usize] && !std::mem::replace(&mut source.is_read_ending, true)
        });
        if is_armed {
            self.cancel(Direction::Read);
        }
    }

    /// The socket had nothing to read.
    pub(crate) fn clear_readable(&self) {
        self.with(|source| (source.is_readable, source.is_unconfirmed) = (false, false));
    }

    /// A read took less than there was room for, up to the end of a line: most likely nothing is left. But it may have
    /// stopped before urgent data, so the owner has to call [`Watch::recheck_readable`] now and then. A connection that
    /// the peer has ended stays readable, so that its end is read.
    pub(crate) fn clear_readable_unconfirmed(&self) {
        self.with(|source| {
            if source.hangup == HangUp::None {
                (source.is_readable, source.is_unconfirmed) = (false, true);
            }
        });
    }

    /// Has the task read again, if "not readable" was only assumed.
    pub(crate) fn recheck_readable(&self) {
        let waker = self.with(|source| {
            if !std::mem::take(&mut source.is_unconfirmed) {
                return None;
            }
            source.is_readable = true;
            if source.wants[Direction::Read as usize] { source.waker.take() } else { None }
        });
        waker.into_iter().for_each(Waker::wake);
    }

    /// The socket did not take all that it was offered.
    pub(crate) fn clear_writable(&self) {
        self.with(|source| source.is_writable = false);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Dropped last, with nothing borrowed: it may be the last to keep a task, and with it other sockets.
        let _waker = self.with(|source| source.waker.take());
        let mut sources = self.registrations.sources.borrow_mut();
        let source = &mut sources[self.key];
        // The ring holds the socket until its polls have ended.
        source.is_dropped = true;
        Direction::ALL.into_iter().filter(|&poll| source.is_armed[poll as usize]).for_each(|poll| self.cancel(poll));
        if !source.has_polls() {
            sources.remove(self.key);
        }
    }
}
