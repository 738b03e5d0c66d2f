//! Listening: one socket per core on the same port, and the task that accepts.

use std::cell::RefCell;
use std::fs::File;
use std::future::poll_fn;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, SockFilter, Socket as RawSocket, TcpKeepalive, Type};

use super::core::Core;
use super::reactor::{Reactor, Watch};
use super::serve;
use super::socket::Socket;
use super::terms::{Terms, TurnedAway};
use super::turn::Turn;
use crate::close_reason::CloseReason;
use crate::events::Event;
use crate::limits::{
    ACCEPT_BACKOFF, BACKLOG, KEEPALIVE_INTERVAL_PART, KEEPALIVE_PROBES, REFUSED_LINGERING_MAX,
    SOCKET_RECEIVE_BUFFER_BYTES, SOCKET_SEND_BUFFER_BYTES, TURN_ACCEPTS,
};
use crate::metrics::Counter;
use crate::retry;

/// Classic BPF, as in linux/filter.h: load the byte at a constant offset, jump if it has any of these bits,
/// end with a constant, the number of bytes of the packet to keep.
const BPF_LOAD_BYTE: u16 = 0x30;
const BPF_JUMP_IF_SET: u16 = 0x45;
const BPF_RETURN: u16 = 0x06;

/// Where a TCP header has its flags, and the one that begins a handshake.
const TCP_FLAGS_OFFSET: u32 = 13;
const TCP_SYN: u32 = 0x02;

/// Reads of at most 4 KiB that are spent on what a newcomer has sent before it was turned away.
const REFUSED_READS_MAX: usize = 16;

/// One core's listening socket, before its executor runs.
#[derive(Debug)]
pub struct Listener(RawSocket);

/// Binds one listener per core to `address`; with port 0, to one port that was free.
///
/// All but the first share the port by SO_REUSEPORT, and the kernel spreads connections over them. The
/// first binds and listens without it, which succeeds only if nobody else listens there, and joins the
/// others afterwards: so a second server is refused, also one that starts at the same moment.
///
/// # Errors
/// [`io::ErrorKind::AddrInUse`] when the port stays taken for as long as [`retry`] tries; whatever else the
/// kernel says.
pub fn bind(address: SocketAddr, cores: usize, keepalive: Option<Duration>) -> io::Result<(SocketAddr, Vec<Listener>)> {
    let first = retry::on(io::ErrorKind::AddrInUse, || {
        let socket = new_socket(address, keepalive)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket)
    })?;
    first.set_reuse_port(true)?;
    let bound = first.local_addr()?;
    let address = bound.as_socket().unwrap_or(address);
    let mut listeners = vec![Listener(first)];
    while listeners.len() < cores {
        let socket = new_socket(address, keepalive)?;
        socket.set_reuse_port(true)?;
        socket.bind(&bound)?;
        socket.listen(BACKLOG)?;
        listeners.push(Listener(socket));
    }
    Ok((address, listeners))
}

/// An unbound socket; what is set here, accepted sockets inherit.
fn new_socket(address: SocketAddr, keepalive: Option<Duration>) -> io::Result<RawSocket> {
    let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for connections of the last run that are still being taken down.
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    // Telnet's DM is urgent and has its place in the stream. Apart from it, urgent data would wake a core and bring nothing.
    socket.set_out_of_band_inline(true)?;
    if let Some(time) = keepalive {
        let interval = (time / KEEPALIVE_INTERVAL_PART).max(Duration::from_secs(1));
        let keepalive = TcpKeepalive::new().with_time(time).with_interval(interval).with_retries(KEEPALIVE_PROBES);
        socket.set_tcp_keepalive(&keepalive)?;
    }
    socket.set_send_buffer_size(SOCKET_SEND_BUFFER_BYTES)?;
    // Before it listens: the scale of windows is agreed on in the handshake.
    socket.set_recv_buffer_size(SOCKET_RECEIVE_BUFFER_BYTES)?;
    Ok(socket)
}

impl Listener {
    /// Hands the socket to this thread's core.
    ///
    /// # Errors
    /// When it cannot be kept from blocking.
    pub(super) fn watched_by(self, reactor: &Rc<Reactor>) -> io::Result<Listening> {
        self.0.set_nonblocking(true)?;
        Ok(Listening { watch: reactor.watch(self.0.as_fd()), socket: self.0, spare: RefCell::new(spare_descriptor()) })
    }
}

/// A core's listening socket, while its executor runs.
#[derive(Debug)]
pub(super) struct Listening {
    // Dropped before the socket: what is watched is open.
    watch: Watch,
    socket: RawSocket,
    /// A descriptor to be given up when there is no other, so that those who wait can be told.
    spare: RefCell<Option<File>>,
}

impl Listening {
    /// A connection that waits to be accepted.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when there is none; whatever else the kernel says.
    fn take_waiting(&self) -> io::Result<(RawSocket, Option<SocketAddr>)> {
        self.socket.accept().map(|(socket, peer)| (socket, peer.as_socket()))
    }

    /// Waits until there may be a connection to accept, when there was none.
    async fn is_waited_for(&self) {
        self.watch.note_empty();
        poll_fn(|cx| self.watch.poll_readable(cx, self.socket.as_fd())).await;
    }

    /// From now on handshakes that begin are ignored; the peer's kernel will try again. Those under way go
    /// on, so that after a little while nobody is connected and not accepted, to be reset with the listener.
    pub(super) fn ignore_newcomers(&self) {
        // A filter sees a packet from its TCP header on. Without it the window is microseconds wide.
        let _ = self.socket.attach_filter(&[
            SockFilter::new(BPF_LOAD_BYTE, 0, 0, TCP_FLAGS_OFFSET),
            SockFilter::new(BPF_JUMP_IF_SET, 0, 1, TCP_SYN),
            SockFilter::new(BPF_RETURN, 0, 0, 0),
            SockFilter::new(BPF_RETURN, 0, 0, u32::MAX),
        ]);
    }

    /// Accepts all that wait, then ends the listener: newcomers are refused by the kernel. Without descriptors for
    /// them they get their last line on the spare one, one after the other. Returns whether it has ended; if not,
    /// somebody waits for whom there is not even that one, and it has to be called again.
    pub(super) fn empty_and_end(&self, core: &Rc<Core>) -> bool {
        // The kernel's queue holds one more than it was asked for, and handshakes come to their end meanwhile.
        for _ in 0..2 * BACKLOG {
            match self.take_waiting() {
                Ok((socket, peer)) if self.has_spare() => admit(core, socket, peer),
                Ok((socket, peer)) => refuse_at_once(core, socket, peer, CloseReason::Shutdown),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if is_of_one_connection(&error) => {}
                Err(_) if self.give_up_spare() => {}
                Err(_) if self.has_waiting() => return false,
                Err(_) => break,
            }
        }
        let _ = self.socket.shutdown(Shutdown::Read);
        true
    }

    /// Whether somebody waits to be accepted, as far as that can be known without a descriptor for him.
    fn has_waiting(&self) -> bool {
        let mut listener = [PollFd::new(&self.socket, PollFlags::IN)];
        poll(&mut listener, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    /// Whether there is a descriptor beyond the spare one.
    fn is_room(&self) -> bool {
        self.has_spare() && spare_descriptor().is_some()
    }

    fn has_spare(&self) -> bool {
        self.spare.borrow().is_some()
    }

    /// Closes the spare descriptor; `false` if there was none.
    fn give_up_spare(&self) -> bool {
        self.spare.take().is_some()
    }

    /// Sees to it that there is a spare descriptor, if one can be had.
    fn renew_spare(&self) {
        let mut spare = self.spare.borrow_mut();
        *spare = spare.take().or_else(spare_descriptor);
    }
}

/// Accepts until the server drains, which then empties the listener.
pub(super) async fn accept_loop(core: Rc<Core>, listener: Rc<Listening>) {
    let mut is_failing = false;
    let mut turn = Turn::of(TURN_ACCEPTS);
    while !core.is_draining() {
        match listener.take_waiting() {
            Ok((socket, peer)) if core.metrics.all().lacks_descriptors() && !listener.is_room() => {
                // There was a descriptor only because a core has let go of its spare one: give that back.
                refuse_at_once(&core, socket, peer, CloseReason::ServerFull);
                listener.renew_spare();
                core.reactor.sleep(ACCEPT_BACKOFF).await;
            }
            Ok((socket, peer)) => {
                if std::mem::take(&mut is_failing) {
                    core.metrics.add(Counter::AcceptRecoveries, 1);
                    core.log.emit(Event::AcceptRecovered { shard: core.id });
                    listener.renew_spare();
                }
                admit(&core, socket, peer);
                if turn.step() {
                    core.reactor.breathe().await;
                    turn = Turn::of(TURN_ACCEPTS);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                listener.is_waited_for().await;
                turn = Turn::of(TURN_ACCEPTS);
            }
            Err(error) if is_of_one_connection(&error) => {
                // A security module may refuse each of them, and take none out of the queue.
                if turn.step() {
                    core.reactor.sleep(ACCEPT_BACKOFF).await;
                    turn = Turn::of(TURN_ACCEPTS);
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut is_failing, true) {
                    core.metrics.add(Counter::AcceptFailures, 1);
                    core.log.emit(Event::AcceptFailed { shard: core.id, error: error.to_string() });
                }
                // Out of descriptors, most likely: give up the spare one to tell those who wait.
                listener.give_up_spare();
                refuse_waiting(&core, &listener);
                listener.renew_spare();
                core.reactor.sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

fn spare_descriptor() -> Option<File> {
    File::open("/dev/null").ok()
}

/// Errors that concern the connection being accepted and say nothing about the next one.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionReset
            | Interrupted
            | PermissionDenied
            | TimedOut
            | HostUnreachable
            | NetworkUnreachable
    )
}

/// Tells those who wait, one after the other on the same descriptor, that there is no room.
fn refuse_waiting(core: &Core, listener: &Listening) {
    for _ in 0..TURN_ACCEPTS {
        let Ok((socket, peer)) = listener.take_waiting() else { return };
        refuse_at_once(core, socket, peer, CloseReason::ServerFull);
    }
}

/// Refuses a newcomer, and closes: another is to have his descriptor.
fn refuse_at_once(core: &Core, socket: RawSocket, peer: Option<SocketAddr>, reason: CloseReason) {
    tell_refused(core, &socket, peer, &TurnedAway { reason, is_logged: true });
}

/// Tells a newcomer why he is not let in, and the log and the counters, too. Waits for nothing.
fn tell_refused(core: &Core, socket: &RawSocket, peer: Option<SocketAddr>, turned_away: &TurnedAway) {
    let &TurnedAway { reason, is_logged } = turned_away;
    core.metrics.add_ended(reason);
    if is_logged {
        core.log.emit(Event::Refused { shard: core.id, peer, reason });
    }
    let last_line = core.last_line(reason).unwrap_or_default();
    // A new socket's buffer is empty: it takes one line, or the peer is gone.
    let _ = socket.set_nonblocking(true);
    let _ = socket.send(last_line.as_bytes());
    let _ = socket.shutdown(Shutdown::Write);
    // What it has already sent must not turn the close into a reset that loses the line.
    let mut input = [std::mem::MaybeUninit::uninit(); 4096];
    for _ in 0..REFUSED_READS_MAX {
        if !matches!(socket.recv(&mut input), Ok(1..)) {
            break;
        }
    }
}

/// Takes a new connection in, or tells it why not.
fn admit(core: &Rc<Core>, socket: RawSocket, peer: Option<SocketAddr>) {
    let terms = match Terms::of(core, peer) {
        Ok(terms) => terms,
        Err(turned_away) => return refuse(core, socket, peer, &turned_away),
    };
    let wait = terms.wait;
    let connection = core.open(Socket::new(&core.reactor, socket), peer, terms);
    if wait.is_zero() {
        core.reactor.spawn(serve::run(Rc::clone(core), connection));
    } else {
        core.reactor.spawn(serve::run_later(Rc::clone(core), connection, wait));
    }
}

/// Refuses a newcomer. His last line gets the same care as anybody's, but not that of more than
/// [`REFUSED_LINGERING_MAX`] at once: it is descriptors that are scarce.
fn refuse(core: &Rc<Core>, socket: RawSocket, peer: Option<SocketAddr>, turned_away: &TurnedAway) {
    tell_refused(core, &socket, peer, turned_away);
    if core.refusing.get() < REFUSED_LINGERING_MAX {
        core.refusing.set(core.refusing.get() + 1);
        let core = Rc::clone(core);
        let lingering = Rc::clone(&core);
        core.reactor.spawn(async move {
            serve::linger(&lingering, &Socket::new(&lingering.reactor, socket)).await;
            lingering.refusing.set(lingering.refusing.get() - 1);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_sockets_inherit_what_is_set_on_the_listener() {
        let seconds = Duration::from_secs;
        for (time, interval) in [(60, 10), (12, 2), (1, 1)] {
            let address = SocketAddr::from(([127, 0, 0, 1], 0));
            let (address, listeners) = bind(address, 2, Some(seconds(time))).expect("a free port");
            let clients: Vec<_> = (0..16).map(|_| std::net::TcpStream::connect(address).expect("it listens")).collect();
            let accepted = |Listener(socket): &Listener| {
                socket.set_nonblocking(true).expect("a socket");
                std::iter::from_fn(|| socket.accept().ok()).collect::<Vec<_>>()
            };
            let sockets: Vec<_> = listeners.iter().flat_map(accepted).collect();
            assert_eq!(sockets.len(), clients.len());
            for (socket, _) in sockets {
                assert!(socket.keepalive().expect("a socket") && socket.tcp_nodelay().expect("a socket"));
                assert!(socket.out_of_band_inline().expect("a socket"));
                assert_eq!(socket.tcp_keepalive_time().expect("a socket"), seconds(time));
                assert_eq!(socket.tcp_keepalive_interval().expect("a socket"), seconds(interval));
                assert_eq!(socket.tcp_keepalive_retries().expect("a socket"), KEEPALIVE_PROBES);
                assert_eq!(socket.tcp_user_timeout().expect("a socket"), None, "it ends live peers");
                assert_eq!(socket.send_buffer_size().expect("a socket"), 2 * SOCKET_SEND_BUFFER_BYTES);
                assert_eq!(socket.recv_buffer_size().expect("a socket"), 2 * SOCKET_RECEIVE_BUFFER_BYTES);
            }
        }
        let (_, listeners) = bind(SocketAddr::from(([127, 0, 0, 1], 0)), 1, None).expect("a free port");
        assert!(!listeners[0].0.keepalive().expect("a socket"));
    }
}
