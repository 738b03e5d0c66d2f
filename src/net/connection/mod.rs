//! A connection: what its own task shares with tasks that have something for it.
//!
//! - `serve`: the connection's task, which reads and executes lines; `throttle` says when it may;
//! - `output`: what waits to be written to it ([`send_queue`]), and writing;
//! - `close`: the end, so that the peer gets the last byte.
//!
//! There is no second task for writing. Output is queued and the core's flusher writes it; only when the socket does not
//! take all of it does the connection's own task wait for room. So an idle connection holds no buffer.

pub(crate) mod close;
mod output;
pub mod send_queue;
pub(crate) mod serve;
pub(crate) mod throttle;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use self::send_queue::SendQueue;
use crate::close_reason::CloseReason;
use crate::cows::CowId;
use crate::faults::{self, Point};
use crate::held_bytes::HeldBytes;
use crate::ids::{ConnectionId, ConnectionName, ShardId};
use crate::limits::SENDQ_MESSAGE_BYTES_MIN;
use crate::metrics::CoreMetrics;
use crate::policy::addresses::{ConnectionPermit, Shared};
use crate::policy::admission::Admitted;
use crate::policy::flood::Bucket;
use crate::policy::idle::IdleTimer;
use crate::policy::liveness::{AckTimer, TcpHealth};
use crate::protocol::line::LineBuffer;
use crate::runtime::poll_clock::PollClock;
use crate::runtime::socket::Socket;
use crate::shard::Backlogs;

/// Why a connection ends, and the kernel's error if there is one. What waits for something else returns this if the
/// connection ends before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Close {
    pub(crate) reason: CloseReason,
    pub(crate) error: Option<io::ErrorKind>,
}

impl Close {
    pub(crate) fn of_read(error: io::Error) -> Self {
        Close::of(CloseReason::ReadFailed, error)
    }

    pub(crate) fn of_write(error: io::Error) -> Self {
        Close::of(CloseReason::WriteFailed, error)
    }

    /// The kernel's error, or that it has given up on the peer.
    fn of(reason: CloseReason, error: io::Error) -> Self {
        use io::ErrorKind::{HostUnreachable, NetworkUnreachable, TimedOut};
        let is_gone = matches!(error.kind(), TimedOut | HostUnreachable | NetworkUnreachable);
        Close { reason: if is_gone { CloseReason::PeerGone } else { reason }, error: Some(error.kind()) }
    }
}

impl From<CloseReason> for Close {
    fn from(reason: CloseReason) -> Self {
        Close { reason, error: None }
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Read {
    /// `false` if the peer sends no more.
    pub(crate) open: bool,
    /// Other tasks could run meanwhile.
    pub(crate) waited: bool,
    /// Bytes that are in no line.
    pub(crate) wasted: usize,
}

/// What all connections of a core have in common.
#[derive(Debug)]
pub(crate) struct ConnectionContext {
    pub(crate) shard: ShardId,
    /// Where a connection says that much waits for it.
    pub(crate) backlogs: Arc<Backlogs>,
    /// More bytes than these of messages from others are much.
    pub(crate) backlog_bytes: Cell<usize>,
    pub(crate) clock: Rc<PollClock>,
    pub(crate) metrics: CoreMetrics,
}

/// What a connection's task shares with tasks that have something for it.
pub(crate) struct Connection {
    pub(crate) id: ConnectionId,
    /// Among those that the core accepted.
    number: u64,
    pub(crate) socket: Socket,
    /// The peer's address and port: the kernel forgets them when the peer resets the connection.
    peer: Option<(IpAddr, u16)>,
    /// When it was accepted, in seconds of the server's time.
    opened: u32,
    /// Lines read, refused ones, too.
    pub(crate) lines: Cell<u32>,
    queue: RefCell<SendQueue>,
    context: Rc<ConnectionContext>,
    /// It has said that much waits for it.
    is_behind: Cell<bool>,
    /// It is in the core's list of connections with something to write.
    pub(crate) is_dirty: Cell<bool>,
    /// It is in the core's list of connections over their limit.
    pub(crate) is_listed_as_over: Cell<bool>,
    /// Set once.
    close: Cell<Option<Close>>,
    /// The counters know that all its output is written.
    pub(crate) is_counted_written: Cell<bool>,
    /// Its last output is given up.
    discarded: Cell<bool>,
    /// The cow that it logged in as, also after it has left: for the log.
    pub(crate) cow: Cell<Option<CowId>>,
    /// Its task, while that waits.
    waker: Cell<Option<Waker>>,
    /// Bytes that the peer had not acknowledged when housekeeping last asked; the maximum before that.
    unacknowledged: Cell<u32>,
    /// Input that is not executed yet.
    received: Cell<HeldBytes>,
    /// Since its last line.
    pub(crate) idle: IdleTimer,
    /// Since it last sent a message.
    pub(crate) quiet: IdleTimer,
    /// When its next line may be executed.
    pub(crate) bucket: Cell<Bucket>,
    /// What it shares with other connections of its address; `None` if their number is not limited.
    pub(crate) shared: Option<Arc<Shared>>,
    /// It may stay without a login.
    pub(crate) login_exempt: bool,
    /// Counts it among the connections of its address, until it is forgotten.
    pub(crate) permit: Cell<Option<ConnectionPermit>>,
    /// It is served, and the log has said so; a connection whose address connects too often waits for that.
    pub(crate) is_served: Cell<bool>,
    /// Since when the peer has acknowledged nothing.
    ack_timer: Cell<AckTimer>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({})", self.name())
    }
}

impl Connection {
    /// A connection that was accepted just now.
    pub(crate) fn new(
        id: ConnectionId,
        number: u64,
        socket: Socket,
        peer: Option<SocketAddr>,
        opened: Duration,
        admitted: Admitted,
        context: Rc<ConnectionContext>,
    ) -> Self {
        let now = context.clock.now();
        Connection {
            id,
            number,
            socket,
            peer: peer.map(|peer| (peer.ip(), peer.port())),
            opened: seconds(opened),
            lines: Cell::new(0),
            queue: RefCell::default(),
            context,
            is_behind: Cell::new(false),
            is_dirty: Cell::new(false),
            is_listed_as_over: Cell::new(false),
            close: Cell::new(None),
            is_counted_written: Cell::new(false),
            discarded: Cell::new(false),
            cow: Cell::new(None),
            waker: Cell::new(None),
            unacknowledged: Cell::new(u32::MAX),
            received: Cell::default(),
            idle: IdleTimer::paused(),
            quiet: IdleTimer::since(now),
            bucket: Cell::new(admitted.bucket),
            shared: admitted.shared,
            login_exempt: admitted.login_exempt,
            permit: Cell::new(admitted.permit),
            is_served: Cell::new(admitted.wait.is_zero()),
            ack_timer: Cell::default(),
        }
    }

    fn now(&self) -> Duration {
        self.context.clock.now()
    }

    pub(crate) fn name(&self) -> ConnectionName {
        ConnectionName { shard: self.context.shard, number: self.number }
    }

    /// The peer's address, without the zone of a link-local one.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.peer.map(SocketAddr::from)
    }

    /// How long ago it was accepted, at `now` of the server's time, to the second.
    pub(crate) fn age(&self, now: Duration) -> Duration {
        Duration::from_secs(seconds(now).saturating_sub(self.opened).into())
    }

    /// Why it ends, if it does.
    pub(crate) fn closing(&self) -> Option<Close> {
        self.close.get()
    }

    /// Its session has ended, and it goes on as a guest.
    pub(crate) fn log_out(&self) {
        self.end_backlog();
        self.cow.set(None);
        self.idle.restart(self.now());
    }

    /// No sender waits for its cow any more.
    fn end_backlog(&self) {
        if self.is_behind.take()
            && let Some(cow) = self.cow.get()
        {
            self.context.backlogs.set(cow, false);
        }
    }

    /// Records why the connection ends, and wakes its task; `false` if it ended before.
    pub(crate) fn set_close(&self, close: Close) -> bool {
        if self.close.get().is_some() {
            return false;
        }
        self.close.set(Some(close));
        if !close.reason.is_orderly() {
            self.queue.borrow_mut().clear();
        }
        self.end_backlog();
        self.wake();
        true
    }

    /// Gives up what is queued for a connection that ends; `false` if it was given up before.
    pub(crate) fn discard_output(&self) -> bool {
        self.queue.borrow_mut().clear();
        self.wake();
        !self.discarded.replace(true)
    }

    /// Whether the peer has gone without a word: it has not acknowledged for `timeout` what was sent
    /// (`policy::liveness`). To be called once a second; costs nothing where nothing was written.
    pub(crate) fn is_gone(&self, timeout: Duration) -> bool {
        let before = self.ack_timer.get();
        if !self.queue.borrow_mut().take_written() && before == AckTimer::Stopped {
            return false;
        }
        // Without TCP_INFO the kernel's own timeout applies.
        let Some(info) = self.socket.tcp_info() else { return false };
        let health = TcpHealth {
            unacked_packets: info.tcpi_unacked,
            window_bytes: info.tcpi_snd_wnd,
            unsent_bytes: info.tcpi_notsent_bytes,
            probes: info.tcpi_probes.into(),
            since_last_ack: Duration::from_millis(info.tcpi_last_ack_recv.into()),
        };
        let now = self.now();
        let timer = before.after(health, now);
        self.ack_timer.set(timer);
        timer.is_expired(health, now, timeout)
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn store_waker(&self, cx: &Context<'_>) {
        self.waker.set(Some(cx.waker().clone()));
    }

    /// Waits for `future`, and meanwhile writes on as the socket takes more.
    pub(crate) async fn until_closed_or<T>(&self, future: impl Future<Output = T>) -> Result<T, Close> {
        let mut future = pin!(future);
        poll_fn(|cx| {
            if let Some(close) = self.close.get() {
                return Poll::Ready(Err(close));
            }
            // Only once blocked: what is merely not flushed yet leaves when the flusher runs.
            let blocked = self.queue.borrow().blocked_since().is_some();
            if blocked && let Poll::Ready(Err(error)) = self.poll_write(cx) {
                return Poll::Ready(Err(Close::of_write(error)));
            }
            match future.as_mut().poll(cx) {
                Poll::Ready(result) => Poll::Ready(Ok(result)),
                Poll::Pending => {
                    self.store_waker(cx);
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Waits for input and takes it in.
    pub(crate) async fn read(&self, buffer: &RefCell<Box<[u8]>>, lines: &mut LineBuffer) -> Result<Read, Close> {
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
        let outcome: io::Result<Read> = self.until_closed_or(read).await?;
        outcome.map_err(Close::of_read)
    }

    /// Counts the memory of input that is not executed yet.
    pub(crate) fn set_received_bytes(&self, bytes: usize) {
        let mut received = self.received.take();
        received.set(bytes);
        self.received.set(received);
    }

    /// Bytes of memory, about, of what waits to be written to it or to be executed for it.
    pub(crate) fn load(&self) -> u64 {
        let queue = self.queue.borrow();
        let waiting = queue.bytes().max(queue.pieces() * SENDQ_MESSAGE_BYTES_MIN);
        let received = self.received.take();
        let received_bytes = received.bytes();
        self.received.set(received);
        (waiting + received_bytes) as u64
    }
}

/// Whole seconds: 32 bits are enough for 136 years.
fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}
