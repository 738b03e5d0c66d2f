//! What is known of each socket, and what its owner may ask of that.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use io_uring::{opcode, squeue};
use rustix::event::PollFlags;
use slab::Slab;

use super::reactor::{NOBODY, Reactor};

/// All sockets that are watched, by their places.
#[derive(Debug, Default)]
pub(super) struct Sources(Slab<Source>);

impl Sources {
    /// Takes in what a poll has said, and whether it goes on. Returns who is to be woken.
    pub(super) fn record(&mut self, poll: u64, events: PollFlags, goes_on: bool) -> Option<Waker> {
        let (place, direction) = ((poll >> 2) as usize, (poll & 3) as usize);
        let source = self.0.get_mut(place)?;
        source.is_armed[direction] = goes_on;
        source.is_read_ending &= source.is_armed[Direction::Read as usize];
        if !source.is_dropped {
            // A waiter that is woken for a poll that has ended waits again, and so arms it again.
            let is_deaf = !goes_on && [source.wants_read, source.wants_write, source.wants_hangup][direction];
            let is_wanted = source.record(events) || is_deaf;
            return if is_wanted { source.waker.take() } else { None };
        }
        if source.is_armed == [false; Direction::ALL.len()] {
            self.0.remove(place);
        }
        None
    }

    /// How many there are, with those whose polls have not ended.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// What the kernel has said of a connection's end; the later, the worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum HangUp {
    /// Nothing.
    #[default]
    None,
    /// The peer sends nothing more after what it has sent.
    ReadClosed,
    /// The connection is broken.
    Error,
}

/// A socket, as the reactor sees it.
#[derive(Debug, Default)]
pub(super) struct Source {
    /// Its task, while it waits for one or the other.
    waker: Option<Waker>,
    wants_read: bool,
    wants_write: bool,
    wants_hangup: bool,
    is_readable: bool,
    /// That it is not readable was assumed, not said by the kernel.
    is_unconfirmed: bool,
    is_writable: bool,
    hangup: HangUp,
    /// By [`Direction`]: a poll is under way in the ring.
    pub(super) is_armed: [bool; Direction::ALL.len()],
    /// The poll for input has been asked to end.
    is_read_ending: bool,
    /// Its owner is gone; its place is free when its polls have ended.
    is_dropped: bool,
}

/// What a poll is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    /// For input, and its end.
    Read = 0,
    /// For room.
    Write = 1,
    /// For the end of a connection that is not to be read: input does not wake the core.
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
    fn of(self, place: usize) -> u64 {
        (place as u64) << 2 | self as u64
    }
}

impl Source {
    /// Takes in what its poll has said. Returns whether its task waits for that.
    fn record(&mut self, events: PollFlags) -> bool {
        let broken = events.intersects(PollFlags::ERR | PollFlags::HUP);
        self.is_readable |= broken || events.intersects(PollFlags::IN | PollFlags::RDHUP);
        self.is_writable |= broken || events.contains(PollFlags::OUT);
        let hangup = match () {
            () if broken => HangUp::Error,
            () if events.contains(PollFlags::RDHUP) => HangUp::ReadClosed,
            () => HangUp::None,
        };
        let is_news = hangup > self.hangup;
        self.hangup = self.hangup.max(hangup);
        self.wants_read && self.is_readable || self.wants_write && self.is_writable || self.wants_hangup && is_news
    }
}

/// Ends a poll. A removal (POLL_REMOVE) would fail while an event is on its way to the ring.
pub(super) fn end_of_poll(poll: u64) -> squeue::Entry {
    opcode::AsyncCancel::new(poll).build().user_data(NOBODY)
}

/// What the reactor knows of a socket, for its owner.
#[derive(Debug)]
pub(crate) struct Watch {
    reactor: Rc<Reactor>,
    place: usize,
}

impl Watch {
    /// See [`Reactor::watch`].
    pub(super) fn new(reactor: Rc<Reactor>, socket: BorrowedFd<'_>) -> Self {
        let place = reactor.sources.borrow_mut().0.insert(Source { is_writable: true, ..Source::default() });
        let watch = Watch { reactor, place };
        watch.arm(socket, Direction::Read);
        watch
    }

    pub(super) fn with<T>(&self, act: impl FnOnce(&mut Source) -> T) -> T {
        act(&mut self.reactor.sources.borrow_mut().0[self.place])
    }

    /// The names of its polls for input and for the end.
    #[cfg(test)]
    pub(super) fn polls(&self) -> [u64; 2] {
        [Direction::Read, Direction::HangUp].map(|direction| direction.of(self.place))
    }

    /// Waits until the socket has something to read, as far as is known.
    pub(crate) fn poll_readable(&self, cx: &Context<'_>, socket: BorrowedFd<'_>) -> Poll<()> {
        let is_ready = self.with(|source| {
            source.wants_read = !source.is_readable;
            source.is_readable
        });
        if is_ready { Poll::Ready(()) } else { self.wait(cx, socket, Direction::Read) }
    }

    /// Waits until the socket has room, as far as is known.
    pub(crate) fn poll_writable(&self, cx: &Context<'_>, socket: BorrowedFd<'_>) -> Poll<()> {
        let is_ready = self.with(|source| {
            source.wants_write = !source.is_writable;
            source.is_writable
        });
        if is_ready { Poll::Ready(()) } else { self.wait(cx, socket, Direction::Write) }
    }

    /// What the kernel has said of its end so far.
    pub(crate) fn hangup(&self) -> HangUp {
        self.with(|source| source.hangup)
    }

    /// Waits until the kernel says more of its end than `known`.
    pub(crate) fn poll_hangup(&self, cx: &Context<'_>, socket: BorrowedFd<'_>, known: HangUp) -> Poll<()> {
        let is_news = self.with(|source| {
            source.wants_hangup = source.hangup <= known;
            source.hangup > known
        });
        if is_news { Poll::Ready(()) } else { self.wait(cx, socket, Direction::HangUp) }
    }

    /// The socket is not read for a while: what arrives does not wake the core until somebody waits for it again, who is
    /// then told to try first.
    pub(crate) fn pause_reading(&self) {
        let poll = Direction::Read.of(self.place);
        let is_armed = self.with(|source| {
            source.is_readable = true;
            source.is_armed[Direction::Read as usize] && !std::mem::replace(&mut source.is_read_ending, true)
        });
        if is_armed {
            self.reactor.submissions.borrow_mut().push_back(end_of_poll(poll));
        }
    }

    fn wait(&self, cx: &Context<'_>, socket: BorrowedFd<'_>, direction: Direction) -> Poll<()> {
        self.with(|source| {
            if !source.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                source.waker = Some(cx.waker().clone());
            }
        });
        self.arm(socket, direction);
        Poll::Pending
    }

    fn arm(&self, socket: BorrowedFd<'_>, direction: Direction) {
        if !self.with(|source| std::mem::replace(&mut source.is_armed[direction as usize], true)) {
            self.reactor.submit_poll(socket.as_raw_fd(), direction.events(), direction.of(self.place));
        }
    }

    /// The socket had nothing to read.
    pub(crate) fn clear_readable(&self) {
        self.with(|source| (source.is_readable, source.is_unconfirmed) = (false, false));
    }

    /// A read took less than there was room for, up to the end of a line: nothing is left, most likely. It may have ended
    /// before urgent data, so [`Watch::recheck_readable`] has to be called some time. A connection that the peer has ended
    /// stays readable, so that its end is read.
    pub(crate) fn clear_readable_unconfirmed(&self) {
        self.with(|source| {
            if source.hangup == HangUp::None {
                (source.is_readable, source.is_unconfirmed) = (false, true);
            }
        });
    }

    /// Has the reader ask the kernel, if it was only assumed that there is nothing to read.
    pub(crate) fn recheck_readable(&self) {
        let waker = self.with(|source| {
            if !std::mem::take(&mut source.is_unconfirmed) {
                return None;
            }
            source.is_readable = true;
            if source.wants_read { source.waker.take() } else { None }
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
        // Last, and with nothing borrowed: it may be what keeps a task, and with it other sockets.
        let _waker = self.with(|source| source.waker.take());
        let mut sources = self.reactor.sources.borrow_mut();
        let source = &mut sources.0[self.place];
        if source.is_armed == [false; Direction::ALL.len()] {
            sources.0.remove(self.place);
            return;
        }
        // The ring holds the socket until its polls have ended.
        source.is_dropped = true;
        for direction in Direction::ALL {
            if source.is_armed[direction as usize] {
                self.reactor.submissions.borrow_mut().push_back(end_of_poll(direction.of(self.place)));
            }
        }
    }
}
