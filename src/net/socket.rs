//! One connected socket: what the kernel can do at once, and waiting for what it can not.
//!
//! A send tries at once and never waits; only [`Socket::poll_writable`] and [`Socket::poll_read`] go
//! through glommio's ring. The socket closes when its owner drops it.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_lite::{AsyncRead, AsyncWrite};
use glommio::net::TcpStream;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::ioctl::{Getter, Opcode, ioctl};
use socket2::SockRef;

use super::half_open::Flight;

/// Linux's values; no peer that went away may raise SIGPIPE, and nothing here may block.
const MSG_DONTWAIT: i32 = 0x40;
const MSG_NOSIGNAL: i32 = 0x4000;
pub(super) const SEND_FLAGS: i32 = MSG_DONTWAIT | MSG_NOSIGNAL;

/// Asks for the unacknowledged bytes of a TCP socket.
const SIOCOUTQ: Opcode = 0x5411;

/// The part of struct tcp_info (linux/tcp.h) that Linux 5.4 has, in words of 32 bits, and three of its
/// fields: packets that are not acknowledged, bytes that were not sent, and the window that the peer offers.
const TCP_INFO_WORDS: usize = 58;
const TCP_INFO_UNACKED: usize = 6;
const TCP_INFO_NOTSENT: usize = 36;
const TCP_INFO_WINDOW: usize = 57;

/// A connected TCP socket of this core.
#[derive(Debug)]
pub(super) struct Socket(TcpStream);

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Self {
        Socket(stream)
    }

    /// The other end, unless it is gone already.
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        self.0.peer_addr().ok()
    }

    /// Hands bytes to the kernel, as many as it takes now.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when it takes none.
    pub(super) fn send(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.with(|socket| match slices {
            [one] => socket.send_with_flags(one, SEND_FLAGS),
            many => socket.send_vectored_with_flags(many, SEND_FLAGS),
        })
    }

    /// Waits until the kernel takes some of `head`, and hands that over.
    pub(super) fn poll_writable(&mut self, cx: &mut Context<'_>, head: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, head)
    }

    /// Whether the peer has said that it will send no more, read or not.
    pub(super) fn peer_has_finished(&self) -> bool {
        self.with_descriptor(|descriptor| {
            let mut asked = [PollFd::new(&descriptor, PollFlags::RDHUP)];
            poll(&mut asked, Some(&Timespec::default())).is_ok() && asked[0].revents().contains(PollFlags::RDHUP)
        })
    }

    /// Bytes handed over that the peer's kernel has not acknowledged; 0 if nobody can tell.
    pub(super) fn unacknowledged_bytes(&self) -> u32 {
        self.with_descriptor(|descriptor| {
            // SAFETY: SIOCOUTQ (tcp(7)) writes one int.
            let asked = unsafe { Getter::<SIOCOUTQ, i32>::new() };
            // SAFETY: as above, and it changes nothing.
            let bytes = unsafe { ioctl(descriptor, asked) };
            bytes.ok().and_then(|bytes| u32::try_from(bytes).ok()).unwrap_or(0)
        })
    }

    /// What was sent and has not arrived; `None` if nobody can tell.
    pub(super) fn flight(&self) -> Option<Flight> {
        let mut info = [0_u32; TCP_INFO_WORDS];
        let mut length = size_of_val(&info) as libc::socklen_t;
        let socket = self.descriptor().as_raw_fd();
        // SAFETY: the kernel writes at most `length` bytes to `info` and nothing else.
        let failed = unsafe {
            libc::getsockopt(socket, libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &raw mut length)
        };
        let is_whole = failed == 0 && length as usize == size_of_val(&info);
        let [packets, unsent, window] = [TCP_INFO_UNACKED, TCP_INFO_NOTSENT, TCP_INFO_WINDOW].map(|word| info[word]);
        is_whole.then_some(Flight { packets, window, unsent })
    }

    /// Has the kernel give up on a peer that acknowledges nothing for this long.
    pub(super) fn set_user_timeout(&self, timeout: Option<Duration>) {
        // On a socket that has failed there is nobody to wait for.
        let _ = self.with(|socket| socket.set_tcp_user_timeout(timeout));
    }

    /// Whether the peer has ended and all that it has sent is read. Reads nothing.
    ///
    /// # Errors
    /// What the kernel has to say of the connection, which it does once.
    pub(super) fn has_ended(&self) -> io::Result<bool> {
        let mut byte = [MaybeUninit::uninit()];
        match self.with(|socket| socket.recv_with_flags(&mut byte, MSG_DONTWAIT | libc::MSG_PEEK)) {
            Ok(count) => Ok(count == 0),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads what has arrived; 0 bytes are the peer's end.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }

    /// Sends FIN after what has been handed over. A peer that is gone needs none.
    pub(super) fn finish(&self) {
        let _ = self.with(|socket| socket.shutdown(Shutdown::Write));
    }

    /// Makes the close a reset: the kernel forgets what it still holds for a peer that does not read.
    pub(super) fn reset_on_close(&self) {
        let _ = self.with(|socket| socket.set_linger(Some(Duration::ZERO)));
    }

    fn with<T>(&self, act: impl FnOnce(SockRef<'_>) -> T) -> T {
        self.with_descriptor(|descriptor| act(SockRef::from(&descriptor)))
    }

    /// The descriptor, to hand to a [`super::send_ring`].
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        // SAFETY: it is open for as long as `self.0` lives, which is borrowed for as long as the descriptor.
        unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) }
    }

    fn with_descriptor<T>(&self, act: impl FnOnce(BorrowedFd<'_>) -> T) -> T {
        act(self.descriptor())
    }
}
