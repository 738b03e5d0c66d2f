//! What a connection's task shares with those who have something for it: queue, socket, ending.
//!
//! There is no second task for writing. What somebody has for a connection is queued, and written by the core's
//! flusher (`flush`); only when the socket does not take it all does the connection's own task (`serve`) wait
//! for room, and until then everybody else just appends. An idle connection therefore holds no buffer.

pub mod send_queue;
pub(crate) mod serve;
pub(crate) mod throttle;

use std::cell::{Cell, Ref, RefCell};
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use crate::close_reason::CloseReason;
use crate::cows::CowId;
use crate::faults::{self, Point};
use crate::held::HeldBytes;
use crate::ids::ConnectionId;
use crate::ids::ConnectionName;
use crate::limits::{SENDQ_MESSAGE_BYTES_MIN, SENDQ_OWN_BYTES};
use crate::net::connection::send_queue::{Fill, Overflow, Progress, SendQueue};
use crate::net::terms::Terms;
use crate::policy::addresses::{Place, Shared};
use crate::policy::flood::Bucket;
use crate::policy::idle::Silence;
use crate::policy::liveness::{Flight, Patience};
use crate::protocol::line::LineBuffer;
use crate::runtime::poll_clock::PollClock;
use crate::runtime::socket::Socket;
use crate::shard::{Backlogs, Payload};

/// Why a connection ends, and the kernel's word for it if there is one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ending {
    pub(crate) reason: CloseReason,
    pub(crate) error: Option<io::ErrorKind>,
}

impl Ending {
    /// A read failed.
    pub(crate) fn of_read(error: io::Error) -> Self {
        Ending { reason: CloseReason::ReadFailed, error: Some(error.kind()) }
    }

    /// A write failed.
    pub(crate) fn of_write(error: io::Error) -> Self {
        Ending { reason: CloseReason::WriteFailed, error: Some(error.kind()) }
    }

    /// The same, but by its name if the kernel has given up on the peer.
    pub(crate) fn or_peer_gone(self) -> Self {
        use io::ErrorKind::{HostUnreachable, NetworkUnreachable, TimedOut};
        let is_gone = matches!(self.error, Some(TimedOut | HostUnreachable | NetworkUnreachable));
        if is_gone { Ending { reason: CloseReason::PeerGone, ..self } } else { self }
    }
}

impl From<CloseReason> for Ending {
    fn from(reason: CloseReason) -> Self {
        Ending { reason, error: None }
    }
}

/// What came of a read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Read {
    /// There may be more; if not, this was the peer's end.
    pub(crate) open: bool,
    /// Others could run meanwhile.
    pub(crate) waited: bool,
    /// Bytes that are in no line.
    pub(crate) wasted: usize,
}

/// What all connections of a core have in common.
#[derive(Debug)]
pub(crate) struct ConnectionContext {
    /// Where connections tell that much waits for them.
    pub(crate) backlogs: Arc<Backlogs>,
    /// Of messages from others: more than these bytes are much.
    pub(crate) backlog_bytes: usize,
    pub(crate) clock: Rc<PollClock>,
}

/// What a connection's task shares with those who have something for it.
pub(crate) struct Connection {
    pub(crate) id: ConnectionId,
    pub(crate) name: ConnectionName,
    socket: Socket,
    queue: RefCell<SendQueue>,
    context: Rc<ConnectionContext>,
    /// It has told that much waits for it.
    is_behind: Cell<bool>,
    /// It stands in the core's list of those that have something to be written.
    pub(crate) is_dirty: Cell<bool>,
    /// It stands in the core's list of those for whom more waits than should.
    pub(crate) is_listed_as_over: Cell<bool>,
    /// Set once, by whoever ends it.
    ending: Cell<Option<Ending>>,
    /// The counters know that nothing waits to be written any more.
    pub(crate) is_counted_written: Cell<bool>,
    /// Its last output is not worth waiting for any more.
    abandoned: Cell<bool>,
    /// The cow it logged in as, also after it has left: for the log.
    cow: Cell<Option<CowId>>,
    /// Its task, while that waits.
    waker: RefCell<Option<Waker>>,
    /// Bytes that the peer's kernel had not taken when that was last asked; more than there can be until it is.
    unacknowledged: Cell<u32>,
    /// What it has sent and is not executed yet.
    received: RefCell<HeldBytes>,
    /// Since when it has sent no line.
    pub(crate) silence: Silence,
    /// Since when it has said nothing to others.
    pub(crate) quiet: Silence,
    /// How soon its next line may be executed.
    pub(crate) bucket: Cell<Bucket>,
    /// What it has in common with other connections of its address, unless that may have any number of them.
    pub(crate) shared: Option<Arc<Shared>>,
    /// It may stay without logging in.
    pub(crate) may_look_on: bool,
    /// Its place among those of its address, until it is forgotten.
    pub(crate) place: Cell<Option<Place>>,
    /// It is served, and the log has told of it; one whose address connects too often waits for that.
    pub(crate) is_served: Cell<bool>,
    /// What its peer has left unanswered.
    patience: Cell<Patience>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({})", self.name)
    }
}

impl Connection {
    /// A connection that was accepted just now.
    pub(crate) fn new(
        id: ConnectionId,
        name: ConnectionName,
        socket: Socket,
        terms: Terms,
        context: Rc<ConnectionContext>,
    ) -> Self {
        let now = context.clock.now();
        Connection {
            id,
            name,
            socket,
            queue: RefCell::default(),
            context,
            is_behind: Cell::new(false),
            is_dirty: Cell::new(false),
            is_listed_as_over: Cell::new(false),
            ending: Cell::new(None),
            is_counted_written: Cell::new(false),
            abandoned: Cell::new(false),
            cow: Cell::new(None),
            waker: RefCell::new(None),
            unacknowledged: Cell::new(u32::MAX),
            received: RefCell::default(),
            silence: Silence::since(now),
            quiet: Silence::since(now),
            bucket: Cell::new(terms.bucket),
            shared: terms.shared,
            may_look_on: terms.may_look_on,
            place: Cell::new(terms.place),
            is_served: Cell::new(terms.wait.is_zero()),
            patience: Cell::default(),
        }
    }

    fn now(&self) -> Duration {
        self.context.clock.now()
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Whether what was still queued for it has been given up.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned.get()
    }

    /// The cow it is or was logged in as.
    pub(crate) fn cow(&self) -> Option<CowId> {
        self.cow.get()
    }

    pub(crate) fn set_cow(&self, cow: CowId) {
        self.cow.set(Some(cow));
    }

    /// Queues bytes of the connection's own.
    pub(crate) fn push_own(&self, bytes: Vec<u8>) {
        self.queue.borrow_mut().push_own(bytes);
    }

    /// Queues a message that it sent to itself.
    pub(crate) fn push_own_message(&self, payload: Payload) {
        self.queue.borrow_mut().push_own_message(payload);
    }

    /// Queues somebody else's message, unless too many wait.
    pub(crate) fn push_message(&self, payload: Payload, bytes_max: usize) -> Result<Fill, Overflow> {
        let mut queue = self.queue.borrow_mut();
        let pushed = queue.push_message(payload, bytes_max, self.now());
        self.mark_backlog(&queue);
        pushed
    }

    /// Tells senders when much waits for it, and when that is over.
    fn mark_backlog(&self, queue: &SendQueue) {
        // Its cow may have another holder by now.
        if self.ending.get().is_some() {
            return;
        }
        let is_behind = queue.others_bytes() > self.context.backlog_bytes;
        if self.is_behind.get() != is_behind
            && let Some(cow) = self.cow.get()
        {
            self.is_behind.set(is_behind);
            self.context.backlogs.set(cow, is_behind);
        }
    }

    /// Records why the connection ends and wakes its task; `false` if that is known already.
    pub(crate) fn set_ending(&self, ending: Ending) -> bool {
        if self.ending.get().is_some() {
            return false;
        }
        self.ending.set(Some(ending));
        if !ending.reason.is_orderly() {
            self.queue.borrow_mut().clear();
        }
        if self.is_behind.take()
            && let Some(cow) = self.cow.get()
        {
            self.context.backlogs.set(cow, false);
        }
        self.wake();
        true
    }

    /// Gives up on what is still queued for a connection that ends; `false` if that has been done.
    pub(crate) fn abandon(&self) -> bool {
        self.queue.borrow_mut().clear();
        self.wake();
        !self.abandoned.replace(true)
    }

    pub(crate) fn ending(&self) -> Option<Ending> {
        self.ending.get()
    }

    /// Since when others, or the connection's own end, have been waiting for a peer that takes nothing.
    ///
    /// A socket takes more only when a third of its buffer is free, which a slow reader needs long for:
    /// that he has read something shows in what is unacknowledged. To be asked at intervals; the first time says
    /// nothing.
    pub(crate) fn stalled_since(&self) -> Option<Duration> {
        let mut queue = self.queue.borrow_mut();
        let matters = queue.holds_others() || self.ending.get().is_some();
        if !matters || queue.blocked_since().is_none() {
            self.unacknowledged.set(u32::MAX);
            return None;
        }
        let unacknowledged = self.socket.unacknowledged_bytes();
        if unacknowledged < self.unacknowledged.replace(unacknowledged) {
            queue.record_progress(self.now());
        }
        queue.blocked_since()
    }

    /// Whether the peer has gone without the kernel's noticing: it has not acknowledged for `timeout` what was sent
    /// (`half_open`). To be called once a second; costs nothing where nothing was written.
    pub(crate) fn is_gone(&self, timeout: Duration) -> bool {
        let before = self.patience.get();
        if !self.queue.borrow_mut().take_written() && before == Patience::Rest {
            return false;
        }
        // Where nobody can tell, the kernel's own patience has to do.
        let Some(info) = self.socket.tcp_info() else { return false };
        let flight = Flight {
            packets: info.unacked_packets,
            window: info.send_window_bytes,
            unsent: info.unsent_bytes,
            probes: info.probes,
            unheard: info.since_last_ack,
        };
        let now = self.now();
        let patience = before.after(flight, now);
        self.patience.set(patience);
        patience.is_over(flight, now, timeout)
    }

    /// Whether too many of other people's messages wait for it, and for how long: at least so.
    pub(crate) fn is_over_for(&self, time: Duration) -> bool {
        self.queue.borrow().is_over_for(time, self.now())
    }

    /// Whether too many of other people's messages wait for it at all.
    pub(crate) fn is_over(&self) -> bool {
        self.queue.borrow().is_over()
    }

    /// Writes what is queued, as far as the socket takes it now. What is left is for the connection's own
    /// task, which is told so.
    pub(crate) fn write_now(&self) -> io::Result<()> {
        if self.queue.borrow().blocked_since().is_some() {
            return Ok(());
        }
        self.write_again()
    }

    /// The same for a socket that was full when it was last tried.
    pub(crate) fn write_again(&self) -> io::Result<()> {
        let throttled = self.queued_bytes() > SENDQ_OWN_BYTES;
        let progress = self.write_queued()?;
        // Its task has to wait for the socket from now on, or waits for the room that there is now.
        if progress == Progress::Blocked || throttled {
            self.wake();
        }
        Ok(())
    }

    /// Writes what is queued for the last time, to leave with the FIN if the socket takes all of it.
    ///
    /// # Errors
    /// What the kernel says of the socket.
    pub(crate) fn write_last(&self) -> io::Result<()> {
        if self.queue.borrow().blocked_since().is_none()
            && self.queue.borrow_mut().write_by(self.now(), |slices| self.socket.send_last(slices))?
                == Progress::Blocked
        {
            self.socket.clear_writable();
        }
        Ok(())
    }

    fn write_queued(&self) -> io::Result<Progress> {
        let mut queue = self.queue.borrow_mut();
        let progress = queue.write_by(self.now(), |slices| self.socket.send(slices))?;
        self.mark_backlog(&queue);
        if progress == Progress::Blocked {
            self.socket.clear_writable();
        }
        Ok(progress)
    }

    /// What a batch of sends needs: the queue and the socket, if something waits and the socket may take it.
    pub(crate) fn offer(&self) -> Option<(Ref<'_, SendQueue>, &Socket)> {
        let queue = self.queue.borrow();
        let is_ready = !queue.is_empty() && queue.blocked_since().is_none();
        is_ready.then_some((queue, &self.socket))
    }

    /// The first `offered` bytes of its queue were offered to the socket by a batch, with this result.
    pub(crate) fn record_sent(&self, offered: usize, sent: io::Result<usize>) -> io::Result<()> {
        let throttled = self.queued_bytes() > SENDQ_OWN_BYTES;
        let mut queue = self.queue.borrow_mut();
        let progress = queue.record_sent(offered, sent, self.now())?;
        self.mark_backlog(&queue);
        drop(queue);
        if progress == Progress::Blocked {
            self.socket.clear_writable();
        }
        if progress == Progress::Blocked || throttled {
            self.wake();
        }
        // What the batch did not offer.
        if progress == Progress::Empty && self.queued_bytes() > 0 { self.write_again() } else { Ok(()) }
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    fn park(&self, cx: &Context<'_>) {
        *self.waker.borrow_mut() = Some(cx.waker().clone());
    }

    /// Once the socket has refused something: writes on as it takes more.
    fn poll_write(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        while self.queued_bytes() > 0 {
            ready!(self.socket.poll_writable(cx));
            self.write_queued()?;
        }
        Poll::Ready(Ok(()))
    }

    /// Waits for `future`, and meanwhile for the socket to take what is queued.
    ///
    /// # Errors
    /// When the connection ends before that.
    pub(crate) async fn attend<T>(&self, future: impl Future<Output = T>) -> Result<T, Ending> {
        let mut future = pin!(future);
        poll_fn(|cx| {
            if let Some(ending) = self.ending.get() {
                return Poll::Ready(Err(ending));
            }
            // Only once blocked: what is merely unflushed leaves when the flusher runs.
            let blocked = self.queue.borrow().blocked_since().is_some();
            if blocked && let Poll::Ready(Err(error)) = self.poll_write(cx) {
                return Poll::Ready(Err(Ending::of_write(error)));
            }
            match future.as_mut().poll(cx) {
                Poll::Ready(result) => Poll::Ready(Ok(result)),
                Poll::Pending => {
                    self.park(cx);
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Waits for input and takes it in.
    ///
    /// # Errors
    /// When the connection ends before that.
    pub(crate) async fn read(&self, buffer: &RefCell<Box<[u8]>>, lines: &mut LineBuffer) -> Result<Read, Ending> {
        let mut waited = false;
        let read = poll_fn(|cx| {
            let mut buffer = buffer.borrow_mut();
            let Poll::Ready(count) = self.socket.poll_read(cx, &mut buffer)? else {
                waited = true;
                return Poll::Pending;
            };
            faults::at(Point::Read, &buffer[..count]);
            let wasted = lines.feed(&buffer[..count]);
            Poll::Ready(Ok(Read { open: count > 0, waited, wasted }))
        });
        let outcome: io::Result<Read> = self.attend(read).await?;
        outcome.map_err(Ending::of_read)
    }

    /// Counts the memory of what it has sent and is not executed yet.
    pub(crate) fn note_received(&self, bytes: usize) {
        self.received.borrow_mut().set(bytes);
    }

    /// What waits to be written to it, or to be executed for it, in bytes of memory, about.
    pub(crate) fn load(&self) -> u64 {
        let queue = self.queue.borrow();
        let waiting = queue.bytes().max(queue.pieces() * SENDQ_MESSAGE_BYTES_MIN);
        (waiting + self.received.borrow().bytes()) as u64
    }

    /// Bytes that wait to be written.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.queue.borrow().bytes()
    }

    /// Waits until at most `bytes_max` wait to be written. Whoever queued them has to have flushed.
    ///
    /// # Errors
    /// When the connection ends before that, or has ended already.
    pub(crate) async fn has_room(&self, bytes_max: usize) -> Result<(), Ending> {
        let room = poll_fn(|_| if self.queued_bytes() <= bytes_max { Poll::Ready(()) } else { Poll::Pending });
        self.attend(room).await
    }

    /// Waits until all that is queued is written, or given up.
    pub(crate) async fn is_written(&self) -> io::Result<()> {
        poll_fn(|cx| {
            let written = self.poll_write(cx);
            if written.is_pending() {
                self.park(cx);
            }
            written
        })
        .await
    }
}
