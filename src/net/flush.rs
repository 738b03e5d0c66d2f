//! Writing what turns have queued: one write per connection, however many turns queued for it.
//!
//! A turn that ends does not write: it asks the core's flusher to, a task that runs when everybody who can run
//! now has had his turn. So replies ride with deliveries, and messages of many senders leave together. When
//! what waits to be written has waited for longer than a turn may take, a turn's end writes some of it itself;
//! and who has just queued much waits until it is written, so that nobody queues faster than
//! sockets take it. Nobody else waits for that: his reply is written before theirs.
//!
//! Where many connections wait for several messages at once, a core spends a quarter of its time on flushes: what comes in
//! the pauses leaves in the same writes, and under load that saves more time than it takes. Single messages do not wait.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use super::connection::{Connection, Ending};
use super::core::Core;
use super::effects;
use super::send_queue::SendQueue;
use super::send_ring::{Send, SendRing};
use crate::events::Event;
use crate::limits::{GATHERING_FLUSHES, GATHERING_MAX, RING_SENDS, RING_SENDS_WORTH, RUNS_MAX, TURN_TIME};
use crate::shard::Payload;

/// Connections that something was queued for and nothing was written to yet, and the means to write.
#[derive(Debug, Default)]
pub(super) struct Unflushed {
    connections: RefCell<VecDeque<Rc<Connection>>>,
    /// Since when the first of them has waited.
    since: Cell<Option<Instant>>,
    /// Until when a large flush waits for more.
    gathering: Cell<Option<Instant>>,
    wanted: Cell<bool>,
    flusher: RefCell<Option<Waker>>,
    batch: RefCell<Batch>,
}

impl Unflushed {
    /// Something was queued for this connection.
    pub(super) fn add(&self, connection: &Rc<Connection>) {
        if !connection.is_unflushed.replace(true) {
            if self.since.get().is_none() {
                self.since.set(Some(Instant::now()));
            }
            self.connections.borrow_mut().push_back(Rc::clone(connection));
        }
    }

    fn next(&self) -> Option<Rc<Connection>> {
        let mut connections = self.connections.borrow_mut();
        let connection = connections.pop_front()?;
        connection.is_unflushed.set(false);
        if connections.is_empty() {
            self.since.set(None);
        }
        Some(connection)
    }

    fn len(&self) -> usize {
        self.connections.borrow().len()
    }

    /// Much of what was there is written: from now on what is there waits anew.
    fn restart_clock(&self) {
        self.since.set((self.len() > 0).then(Instant::now));
    }

    fn is_due(&self) -> bool {
        self.since.get().is_some_and(|since| since.elapsed() >= TURN_TIME) && self.is_to_gather_for().is_none()
    }

    /// How long a flush had better wait, if it is a large one that follows another.
    fn is_to_gather_for(&self) -> Option<Duration> {
        let until = self.gathering.get().filter(|_| self.len() >= RING_SENDS)?;
        until.checked_duration_since(Instant::now())
    }

    /// Has the next large flush wait, if one that began at `began` has joined messages for most of a large number of
    /// connections.
    fn gather_after(&self, Written { connections, joined }: Written, began: Instant) {
        if connections >= RING_SENDS && joined > connections / 2 {
            let pause = (began.elapsed() * GATHERING_FLUSHES).min(GATHERING_MAX);
            self.gathering.set(Some(Instant::now() + pause));
        }
    }

    /// Has the flusher run when all who can run now have run.
    pub(super) fn flush_soon(&self) {
        self.wanted.set(true);
        if let Some(flusher) = self.flusher.borrow_mut().take() {
            flusher.wake();
        }
    }

    async fn wanted(&self) {
        poll_fn(|cx| {
            if self.wanted.take() {
                return Poll::Ready(());
            }
            *self.flusher.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// The flusher of a core.
pub(super) async fn run(core: Rc<Core>) {
    // Without a ring of its own it works as well, only not as cheaply.
    if !core.unflushed.batch.borrow_mut().ring.is_ready(Instant::now()) {
        core.log.emit(Event::NoSendRing { shard: core.id });
    }
    loop {
        core.unflushed.wanted().await;
        if let Some(pause) = core.unflushed.is_to_gather_for() {
            core.reactor.sleep(pause).await;
        }
        flush(&core).await;
    }
}

/// Ends a turn: what it has queued is written soon, by the flusher.
pub(super) fn end_turn(core: &Core) {
    if core.unflushed.is_due() {
        write_some(core, RING_SENDS);
        core.unflushed.restart_clock();
    }
    core.unflushed.flush_soon();
}

/// The same for a turn that has queued much, perhaps: if that has waited for too long, this waits until all of it
/// is written.
pub(super) async fn end_large_turn(core: &Rc<Core>) {
    if core.unflushed.is_due() { flush(core).await } else { core.unflushed.flush_soon() }
}

/// The same for a turn of `connection` that has not: its replies do not wait for what others have queued for many.
pub(super) fn end_small_turn(core: &Core, connection: &Connection) {
    if core.unflushed.len() >= RING_SENDS {
        write_alone(core, connection);
    }
    end_turn(core);
}

/// Writes what was queued for one connection.
pub(super) fn write_alone(core: &Core, connection: &Connection) {
    core.all_or_nothing(|| write(core, connection, || connection.write_now()));
}

/// Writes all that was queued before, one write per connection, and lets the reactor poll now and then. What is
/// queued meanwhile is for the turn that queues it. Several tasks may flush at once; each connection is written
/// to by one of them.
pub(super) async fn flush(core: &Rc<Core>) {
    effects::tell_changes(core);
    let (mut left, began) = (core.unflushed.len(), Instant::now());
    let mut all = Written::default();
    while left > 0 {
        let written = write_some(core, left.min(RING_SENDS));
        if written.connections == 0 {
            // Another flush has written them.
            break;
        }
        left -= written.connections;
        all.connections += written.connections;
        all.joined += written.joined;
        if left > 0 {
            core.reactor.breathe().await;
        }
    }
    core.unflushed.batch.borrow_mut().runs.clear();
    core.unflushed.restart_clock();
    core.unflushed.gather_after(all, began);
}

/// What a flush has written.
#[derive(Debug, Clone, Copy, Default)]
struct Written {
    /// Connections that were written to.
    connections: usize,
    /// Those of them that waited for several messages, the same as others.
    joined: usize,
}

/// Writes what was queued for the first `most` connections.
fn write_some(core: &Core, most: usize) -> Written {
    let connections: Vec<_> = std::iter::from_fn(|| core.unflushed.next()).take(most).collect();
    // Whoever stands in the list no more and is not written to would wait for the next message.
    let joined = core.all_or_nothing(|| {
        if connections.len() < RING_SENDS_WORTH {
            connections.iter().for_each(|connection| write(core, connection, || connection.write_now()));
            0
        } else {
            core.unflushed.batch.borrow_mut().send(core, &connections)
        }
    });
    Written { connections: connections.len(), joined }
}

/// Writes to a connection. What goes wrong in that, an error or a fault, is the end of it and of nobody else.
fn write(core: &Core, connection: &Connection, write: impl FnOnce() -> io::Result<()>) {
    match catch_unwind(AssertUnwindSafe(write)) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => core.end(connection, Ending::of_write(error)),
        Err(panic) => core.end_by_fault(connection, &*panic),
    }
}

/// Writes to many connections by one system call.
#[derive(Debug, Default)]
struct Batch {
    ring: SendRing,
    runs: Vec<Run>,
}

/// Messages that wait for several connections, in this order and nothing between them: joined once for all.
#[derive(Debug)]
struct Run {
    messages: Vec<Payload>,
    /// Empty until a second connection has the same run.
    joined: Vec<u8>,
}

/// How a connection of a batch is written to.
enum Way {
    /// By itself: its pieces are nobody else's.
    Alone,
    /// It has one piece.
    Piece,
    /// It has the messages of this run.
    Run(usize),
}

/// What was offered to a connection's socket, and what became of that.
struct Offered<'c> {
    connection: &'c Rc<Connection>,
    bytes: usize,
    sent: Option<io::Result<usize>>,
}

impl Batch {
    /// Writes to all of them. Returns to how many messages were joined.
    fn send(&mut self, core: &Core, connections: &[Rc<Connection>]) -> usize {
        let now = Instant::now();
        if !self.ring.is_ready(now) {
            connections.iter().for_each(|connection| write(core, connection, || connection.write_now()));
            return 0;
        }
        let offers: Vec<_> = connections.iter().map(|connection| connection.offer()).collect();
        let ways: Vec<Way> = offers.iter().map(|offer| self.way(offer.as_ref().map(|(queue, _)| &**queue))).collect();
        let mut sends: Vec<Send<'_>> = Vec::with_capacity(offers.len());
        let mut offered = Vec::with_capacity(offers.len());
        let (mut alone, mut joined) = (Vec::new(), 0);
        for ((connection, offer), way) in connections.iter().zip(&offers).zip(ways) {
            let Some((queue, socket)) = offer else { continue };
            let bytes = match way {
                Way::Alone => {
                    alone.push(connection);
                    continue;
                }
                Way::Piece => queue.head(),
                Way::Run(run) => {
                    joined += 1;
                    &self.runs[run].joined
                }
            };
            sends.push((socket.descriptor(), bytes));
            offered.push(Offered { connection, bytes: bytes.len(), sent: None });
        }
        if self.ring.send_all(&sends, now, |place, sent| offered[place].sent = Some(sent)).is_err() {
            core.log.emit(Event::NoSendRing { shard: core.id });
        }
        drop(sends);
        drop(offers);
        for Offered { connection, bytes, sent } in offered {
            // A ring that fails is gone; what it has not done is done without it.
            write(core, connection, || {
                sent.map_or_else(|| connection.write_now(), |sent| connection.note_sent(bytes, sent))
            });
        }
        alone.into_iter().for_each(|connection| write(core, connection, || connection.write_now()));
        joined
    }

    fn way(&mut self, queue: Option<&SendQueue>) -> Way {
        let Some(queue) = queue.filter(|queue| queue.pieces() > 0) else { return Way::Alone };
        if queue.pieces() == 1 {
            return Way::Piece;
        }
        let Some(messages) = queue.messages() else { return Way::Alone };
        let pieces = queue.pieces();
        let same = |run: &Run| {
            let pairs = || run.messages.iter().zip(queue.messages().into_iter().flatten());
            run.messages.len() == pieces && pairs().all(|(ours, theirs)| ours.is(theirs))
        };
        let Some(at) = self.runs.iter().position(same) else {
            // What nobody has shared so far makes room: a pair's own messages must not keep out what all share.
            // Those that are shared stay where they are: sends of this batch name them by their places.
            let run = Run { messages: messages.cloned().collect(), joined: Vec::new() };
            if self.runs.len() < RUNS_MAX {
                self.runs.push(run);
            } else if let Some(single) = self.runs.iter_mut().find(|run| run.joined.is_empty()) {
                *single = run;
            }
            return Way::Alone;
        };
        let run = &mut self.runs[at];
        if run.joined.is_empty() {
            let whole = run.messages.iter().map(|message| message.len()).sum();
            run.joined.reserve_exact(whole);
            run.messages.iter().for_each(|message| run.joined.extend_from_slice(message));
        }
        Way::Run(at)
    }
}
