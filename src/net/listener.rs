//! Listening: one socket per core on the same port, and the task that accepts.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, IntoRawFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use glommio::GlommioError;
use glommio::net::{TcpListener, TcpStream};
use glommio::timer::Timer;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, SockFilter, Socket as RawSocket, TcpKeepalive, Type};

use super::core::Core;
use super::effects;
use super::reactor::breathe;
use super::serve;
use super::socket::Socket;
use super::terms::Terms;
use crate::events::{CloseReason, Event};
use crate::limits::{
    ACCEPT_BACKOFF, BACKLOG, BIND_PATIENCE, KEEPALIVE_INTERVAL_PART, KEEPALIVE_PROBES, REFUSED_LINGERING_MAX,
    SOCKET_SEND_BUFFER_BYTES, TURN_ACCEPTS,
};
use crate::protocol::reply::SERVER_IS_FULL;

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
/// [`io::ErrorKind::AddrInUse`] when the port stays taken for [`BIND_PATIENCE`]; whatever else the
/// kernel says.
pub fn bind(address: SocketAddr, cores: usize, keepalive: Option<Duration>) -> io::Result<(SocketAddr, Vec<Listener>)> {
    let patience = Instant::now() + BIND_PATIENCE;
    let first = loop {
        let socket = new_socket(address, keepalive)?;
        match socket.bind(&address.into()).and_then(|()| socket.listen(BACKLOG)) {
            Ok(()) => break socket,
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < patience => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error) => return Err(error),
        }
    };
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
    if let Some(time) = keepalive {
        let interval = (time / KEEPALIVE_INTERVAL_PART).max(Duration::from_secs(1));
        let keepalive = TcpKeepalive::new().with_time(time).with_interval(interval).with_retries(KEEPALIVE_PROBES);
        socket.set_tcp_keepalive(&keepalive)?;
    }
    socket.set_send_buffer_size(SOCKET_SEND_BUFFER_BYTES)?;
    Ok(socket)
}

impl Listener {
    /// Hands the socket to this thread's executor.
    pub(super) fn into_glommio(self) -> TcpListener {
        // SAFETY: the descriptor is a listening socket that nobody else owns any more.
        unsafe { TcpListener::from_raw_fd(self.0.into_raw_fd()) }
    }

    /// A second descriptor of the same socket, to empty and end it while a task accepts.
    pub(super) fn handle(&self) -> io::Result<ListenerHandle> {
        let socket = self.0.try_clone()?;
        Ok(ListenerHandle { socket, accepted: Cell::new(0), failing: Cell::new(false) })
    }
}

/// The means to end a listener whose accepting task must never be cancelled.
#[derive(Debug)]
pub(super) struct ListenerHandle {
    socket: RawSocket,
    /// Connections that the accepting task has accepted, taken in or not.
    accepted: Cell<u64>,
    /// It has met an error and knows that newcomers wait.
    failing: Cell<bool>,
}

impl ListenerHandle {
    /// A connection that waits to be accepted, if there is one.
    fn take_waiting(&self) -> io::Result<RawSocket> {
        self.socket.set_nonblocking(true)?;
        let accepted = self.socket.accept();
        self.socket.set_nonblocking(false)?;
        accepted.map(|(socket, _)| socket)
    }

    /// Whether a connection waits to be accepted, and nothing is known to be in its way.
    pub(super) fn has_waiting(&self) -> bool {
        if self.failing.get() {
            return false;
        }
        let mut asked = [PollFd::new(&self.socket, PollFlags::IN)];
        poll(&mut asked, Some(&Timespec::default())).is_ok() && asked[0].revents().contains(PollFlags::IN)
    }

    /// How many connections the accepting task has accepted.
    pub(super) fn accepted(&self) -> u64 {
        self.accepted.get()
    }

    /// Takes in those that wait, as many as a turn may.
    pub(super) fn take_in_waiting(&self, core: &Rc<Core>) {
        for _ in 0..TURN_ACCEPTS {
            let Ok(socket) = self.take_waiting() else { return };
            // SAFETY: the descriptor is a connected socket that nobody else owns any more.
            admit(core, unsafe { TcpStream::from_raw_fd(socket.into_raw_fd()) });
        }
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

    /// Accepts all that wait, then ends the listener: the accepting task's pending accept fails, and
    /// newcomers are refused by the kernel.
    pub(super) fn empty_and_end(&self, core: &Rc<Core>) {
        while let Ok(socket) = self.take_waiting() {
            // SAFETY: the descriptor is a connected socket that nobody else owns any more.
            admit(core, unsafe { TcpStream::from_raw_fd(socket.into_raw_fd()) });
        }
        let _ = self.socket.shutdown(std::net::Shutdown::Read);
    }
}

/// Accepts until the listener ends. Nothing else is awaited in the same future: an accept must never be
/// cancelled or polled beside something (glommio leaks the connection, or panics after 32,767 polls).
pub(super) async fn accept_loop(core: Rc<Core>, listener: TcpListener, handle: Rc<ListenerHandle>) {
    let mut spare = spare_descriptor();
    let failing = &handle.failing;
    loop {
        let accepted = listener.shared_accept().await;
        handle.accepted.set(handle.accepted.get() + u64::from(accepted.is_ok()));
        match accepted {
            Ok(accepted) if failing.get() && (spare.is_none() || spare_descriptor().is_none()) => {
                // There was room only because another core let go of its spare: give that back.
                let socket = Socket::new(accepted.bind_to_executor());
                core.metrics.add_ended(CloseReason::ServerFull);
                let _ = socket.send(&[IoSlice::new(SERVER_IS_FULL.as_bytes())]);
                socket.finish();
                drop(socket);
                spare = spare.or_else(spare_descriptor);
                Timer::new(ACCEPT_BACKOFF).await;
            }
            Ok(accepted) => {
                if failing.take() {
                    core.log.emit(Event::AcceptRecovered { shard: core.id });
                    spare = spare.or_else(spare_descriptor);
                }
                admit(&core, accepted.bind_to_executor());
                if handle.accepted.get().is_multiple_of(TURN_ACCEPTS as u64) {
                    breathe().await;
                }
            }
            Err(_) if core.is_draining() => return,
            Err(GlommioError::IoError(error)) if is_of_one_connection(&error) => {}
            Err(error) => {
                if !failing.replace(true) {
                    let error = match error {
                        GlommioError::IoError(error) => error.to_string(),
                        other => other.to_string(),
                    };
                    core.log.emit(Event::AcceptFailed { shard: core.id, error });
                }
                // Out of descriptors, most likely: give up the spare one to tell those who wait.
                drop(spare.take());
                turn_away_waiting(&core, &handle);
                spare = spare_descriptor();
                Timer::new(ACCEPT_BACKOFF).await;
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
            | WouldBlock
    )
}

/// Tells those who wait, one after the other on the same descriptor, that there is no room.
fn turn_away_waiting(core: &Core, handle: &ListenerHandle) {
    for _ in 0..TURN_ACCEPTS {
        let Ok(socket) = handle.take_waiting() else { return };
        core.metrics.add_ended(CloseReason::ServerFull);
        let _ = socket.set_nonblocking(true);
        let _ = socket.send(SERVER_IS_FULL.as_bytes());
        let _ = socket.shutdown(std::net::Shutdown::Write);
        // What it has already sent must not turn the close into a reset that loses the line.
        let mut input = [std::mem::MaybeUninit::uninit(); 4096];
        for _ in 0..REFUSED_READS_MAX {
            if !matches!(socket.recv(&mut input), Ok(1..)) {
                break;
            }
        }
    }
}

/// Takes a new connection in, or tells it why not.
fn admit(core: &Rc<Core>, stream: TcpStream) {
    let socket = Socket::new(stream);
    let peer = socket.peer();
    let terms = match Terms::of(core, peer) {
        Ok(terms) => terms,
        Err(reason) => {
            glommio::spawn_local(turn_away(Rc::clone(core), socket, peer, reason)).detach();
            return;
        }
    };
    let connection = core.open(socket, peer, terms);
    if let Some(motd) = &core.settings.motd {
        effects::queue_own(core, &connection, motd.to_vec());
    }
    glommio::spawn_local(serve::run(Rc::clone(core), connection)).detach();
}

/// Tells a newcomer why it is not let in. It gets the same care as anybody's last line, but not for
/// more than [`REFUSED_LINGERING_MAX`] at once: it is descriptors that are scarce.
async fn turn_away(core: Rc<Core>, socket: Socket, peer: Option<SocketAddr>, reason: CloseReason) {
    core.metrics.add_ended(reason);
    core.log.emit(Event::Refused { shard: core.id, peer, reason });
    // A new socket's buffer is empty: it takes one line, or the peer is gone.
    let _ = socket.send(&[IoSlice::new(core.last_line(reason).unwrap_or_default().as_bytes())]);
    socket.finish();
    if core.refusing.get() < REFUSED_LINGERING_MAX {
        core.refusing.set(core.refusing.get() + 1);
        serve::linger(&core, &RefCell::new(socket)).await;
        core.refusing.set(core.refusing.get() - 1);
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
                assert_eq!(socket.tcp_keepalive_time().expect("a socket"), seconds(time));
                assert_eq!(socket.tcp_keepalive_interval().expect("a socket"), seconds(interval));
                assert_eq!(socket.tcp_keepalive_retries().expect("a socket"), KEEPALIVE_PROBES);
                assert_eq!(socket.tcp_user_timeout().expect("a socket"), None, "it is for those in flight only");
                assert_eq!(socket.send_buffer_size().expect("a socket"), 2 * SOCKET_SEND_BUFFER_BYTES);
            }
        }
        let (_, listeners) = bind(SocketAddr::from(([127, 0, 0, 1], 0)), 1, None).expect("a free port");
        assert!(!listeners[0].0.keepalive().expect("a socket"));
    }
}
