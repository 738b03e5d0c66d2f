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

use super::reactor::Reactor;
use super::registrations::Watch;
use crate::limits::{
    BACKLOG, KEEPALIVE_INTERVAL_PART, KEEPALIVE_PROBES, SOCKET_RECEIVE_BUFFER_BYTES, SOCKET_SEND_BUFFER_BYTES,
};
use crate::runtime::retry;

/// Classic BPF, as in linux/filter.h: load the byte at a constant offset, jump if it has any of these bits,
/// end with a constant, the number of bytes of the packet to keep.
const BPF_LOAD_BYTE: u16 = 0x30;
const BPF_JUMP_IF_SET: u16 = 0x45;
const BPF_RETURN: u16 = 0x06;

/// Where a TCP header has its flags, and the one that begins a handshake.
const TCP_FLAGS_OFFSET: u32 = 13;
const TCP_SYN: u32 = 0x02;

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
/// [`io::ErrorKind::AddrInUse`] when the port stays taken for as long as `retry` tries; whatever else the
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
    pub(crate) fn watched_by(self, reactor: &Rc<Reactor>) -> io::Result<Listening> {
        self.0.set_nonblocking(true)?;
        Ok(Listening { watch: reactor.watch(self.0.as_fd()), socket: self.0, reserve: RefCell::new(reserve_fd()) })
    }
}

/// A core's listening socket, while its executor runs.
#[derive(Debug)]
pub(crate) struct Listening {
    // Dropped before the socket: what is watched is open.
    watch: Watch,
    socket: RawSocket,
    /// A descriptor to be given up when there is no other, so that those who wait can be told.
    reserve: RefCell<Option<File>>,
}

impl Listening {
    /// A connection that waits to be accepted.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when there is none; whatever else the kernel says.
    pub(crate) fn take_waiting(&self) -> io::Result<(RawSocket, Option<SocketAddr>)> {
        self.socket.accept().map(|(socket, peer)| (socket, peer.as_socket()))
    }

    /// Waits until there may be a connection to accept, when there was none.
    pub(crate) async fn is_waited_for(&self) {
        self.watch.clear_readable();
        poll_fn(|cx| self.watch.poll_readable(cx, self.socket.as_fd())).await;
    }

    /// From now on handshakes that begin are ignored; the peer's kernel will try again. Those under way go
    /// on, so that after a little while nobody is connected and not accepted, to be reset with the listener.
    pub(crate) fn ignore_newcomers(&self) {
        // A filter sees a packet from its TCP header on. Without it the window is microseconds wide.
        let _ = self.socket.attach_filter(&[
            SockFilter::new(BPF_LOAD_BYTE, 0, 0, TCP_FLAGS_OFFSET),
            SockFilter::new(BPF_JUMP_IF_SET, 0, 1, TCP_SYN),
            SockFilter::new(BPF_RETURN, 0, 0, 0),
            SockFilter::new(BPF_RETURN, 0, 0, u32::MAX),
        ]);
    }

    /// Ends the listener: the kernel refuses new connections.
    pub(crate) fn end(&self) {
        let _ = self.socket.shutdown(Shutdown::Read);
    }

    /// Whether somebody waits to be accepted, as far as that can be known without a descriptor for him.
    pub(crate) fn has_waiting(&self) -> bool {
        let mut listener = [PollFd::new(&self.socket, PollFlags::IN)];
        poll(&mut listener, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    /// Whether there is a descriptor beyond the reserve one.
    pub(crate) fn is_room(&self) -> bool {
        self.has_reserve() && reserve_fd().is_some()
    }

    pub(crate) fn has_reserve(&self) -> bool {
        self.reserve.borrow().is_some()
    }

    /// Closes the reserve descriptor; `false` if there was none.
    pub(crate) fn give_up_reserve(&self) -> bool {
        self.reserve.take().is_some()
    }

    /// Sees to it that there is a reserve descriptor, if one can be had.
    pub(crate) fn refill_reserve(&self) {
        let mut reserve = self.reserve.borrow_mut();
        *reserve = reserve.take().or_else(reserve_fd);
    }
}

fn reserve_fd() -> Option<File> {
    File::open("/dev/null").ok()
}

/// Errors that concern the connection being accepted and say nothing about the next one.
pub(crate) fn is_of_one_connection(error: &io::Error) -> bool {
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
