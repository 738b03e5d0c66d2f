//! Listening: one socket per core on the same port.

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

/// Classic BPF, as in linux/filter.h: load the byte at a constant offset, jump if it has any of these bits, end with the
/// number of bytes of the packet to keep.
const BPF_LOAD_BYTE: u16 = 0x30;
const BPF_JUMP_IF_SET: u16 = 0x45;
const BPF_RETURN: u16 = 0x06;

/// The flags of a TCP header, and the flag that begins a handshake.
const TCP_FLAGS_OFFSET: u32 = 13;
const TCP_SYN: u32 = 0x02;

/// One core's listening socket, before the core runs.
#[derive(Debug)]
pub struct Listener(RawSocket);

/// Binds one listener per core to `address`; with port 0, to one port that was free.
///
/// They share the port by SO_REUSEPORT, and the kernel spreads connections over them. The first listens without that
/// option, which fails if another socket listens there, and sets it afterwards: so a second server is refused, also one
/// that starts at the same moment.
///
/// # Errors
/// [`io::ErrorKind::AddrInUse`] when the port stays taken for as long as `retry` tries; any other error of the kernel.
pub fn bind(address: SocketAddr, cores: usize, keepalive: Option<Duration>) -> io::Result<(SocketAddr, Vec<Listener>)> {
    let first = retry::on(io::ErrorKind::AddrInUse, || listen(address, keepalive, false))?;
    first.0.set_reuse_port(true)?;
    let address = first.0.local_addr()?.as_socket().unwrap_or(address);
    let mut listeners = vec![first];
    for _ in 1..cores {
        listeners.push(listen(address, keepalive, true)?);
    }
    Ok((address, listeners))
}

/// Accepted sockets inherit all that is set here, except that they block.
fn listen(address: SocketAddr, keepalive: Option<Duration>, shares_port: bool) -> io::Result<Listener> {
    let socket = RawSocket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_port(shares_port)?;
    // A restart does not wait for connections of the last run that still close.
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    // Telnet's DM is urgent and has its place in the stream. Out of the stream, urgent data would wake a core for nothing.
    socket.set_out_of_band_inline(true)?;
    if let Some(time) = keepalive {
        let interval = (time / KEEPALIVE_INTERVAL_PART).max(Duration::from_secs(1));
        let keepalive = TcpKeepalive::new().with_time(time).with_interval(interval).with_retries(KEEPALIVE_PROBES);
        socket.set_tcp_keepalive(&keepalive)?;
    }
    socket.set_send_buffer_size(SOCKET_SEND_BUFFER_BYTES)?;
    // Before the socket listens: the handshake fixes the scale of the window.
    socket.set_recv_buffer_size(SOCKET_RECEIVE_BUFFER_BYTES)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(Listener(socket))
}

impl Listener {
    /// Hands the socket to this thread's core.
    pub(crate) fn watched_by(self, reactor: &Rc<Reactor>) -> Listening {
        Listening { watch: reactor.watch(self.0.as_fd()), socket: self.0, reserve: RefCell::new(reserve_fd()) }
    }
}

/// A core's listening socket, while the core runs.
pub(crate) struct Listening {
    // Dropped before the socket: a watched socket is open.
    watch: Watch,
    socket: RawSocket,
    /// Released when no other descriptor is free, so that a waiting connection can be accepted and told why it is refused.
    reserve: RefCell<Option<File>>,
}

impl Listening {
    /// Accepts a connection; fails with [`io::ErrorKind::WouldBlock`] when none waits.
    pub(crate) fn accept(&self) -> io::Result<(RawSocket, Option<SocketAddr>)> {
        self.socket.accept().map(|(socket, peer)| (socket, peer.as_socket()))
    }

    /// Waits until there may be a connection to accept, after [`Listening::accept`] has found none.
    pub(crate) async fn wait_for_connection(&self) {
        self.watch.clear_readable();
        poll_fn(|cx| self.watch.poll_readable(cx)).await;
    }

    /// Ignores handshakes that begin from now on; the peer's kernel tries again. Handshakes under way go on, so that soon no
    /// connection waits that the end of the listener would reset.
    pub(crate) fn ignore_new_handshakes(&self) {
        // A filter sees a packet from its TCP header on. It may fail: without it the window is microseconds wide.
        let _ = self.socket.attach_filter(&[
            SockFilter::new(BPF_LOAD_BYTE, 0, 0, TCP_FLAGS_OFFSET),
            SockFilter::new(BPF_JUMP_IF_SET, 0, 1, TCP_SYN),
            SockFilter::new(BPF_RETURN, 0, 0, 0),
            SockFilter::new(BPF_RETURN, 0, 0, u32::MAX),
        ]);
    }

    /// From now on the kernel refuses new connections.
    pub(crate) fn shut_down(&self) {
        let _ = self.socket.shutdown(Shutdown::Read);
    }

    /// Whether a connection waits; needs no descriptor for it.
    pub(crate) fn has_connection(&self) -> bool {
        let mut listener = [PollFd::new(&self.socket, PollFlags::IN)];
        poll(&mut listener, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    /// Whether a descriptor is free beyond the reserve.
    pub(crate) fn has_free_fd(&self) -> bool {
        self.has_reserve() && reserve_fd().is_some()
    }

    pub(crate) fn has_reserve(&self) -> bool {
        self.reserve.borrow().is_some()
    }

    /// `false` if there is none.
    pub(crate) fn release_reserve(&self) -> bool {
        self.reserve.take().is_some()
    }

    /// Opens the reserve descriptor if there is none, and one is free.
    pub(crate) fn refill_reserve(&self) {
        let mut reserve = self.reserve.borrow_mut();
        *reserve = reserve.take().or_else(reserve_fd);
    }
}

fn reserve_fd() -> Option<File> {
    File::open("/dev/null").ok()
}

/// Whether an error of accepting says nothing about the next connection.
pub(crate) fn concerns_one_connection(error: &io::Error) -> bool {
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
    fn accepted_sockets_inherit_the_options_of_the_listener() {
        let seconds = Duration::from_secs;
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        for (time, interval) in [(60, 10), (12, 2), (1, 1)] {
            let (address, listeners) = bind(address, 1, Some(seconds(time))).expect("a free port");
            let _client = std::net::TcpStream::connect(address).expect("it listens");
            listeners[0].0.set_nonblocking(false).expect("a socket");
            let (socket, _) = listeners[0].0.accept().expect("a connection waits");
            assert!(socket.keepalive().expect("a socket") && socket.tcp_nodelay().expect("a socket"));
            assert!(socket.out_of_band_inline().expect("a socket"));
            assert_eq!(socket.tcp_keepalive_time().expect("a socket"), seconds(time));
            assert_eq!(socket.tcp_keepalive_interval().expect("a socket"), seconds(interval));
            assert_eq!(socket.tcp_keepalive_retries().expect("a socket"), KEEPALIVE_PROBES);
            assert_eq!(socket.tcp_user_timeout().expect("a socket"), None, "it cuts live peers");
            assert_eq!(socket.send_buffer_size().expect("a socket"), 2 * SOCKET_SEND_BUFFER_BYTES);
            assert_eq!(socket.recv_buffer_size().expect("a socket"), 2 * SOCKET_RECEIVE_BUFFER_BYTES);
        }
        let (_, listeners) = bind(address, 1, None).expect("a free port");
        assert!(!listeners[0].0.keepalive().expect("a socket"));
    }
}
