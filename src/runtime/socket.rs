//! One connected socket.
//!
//! Every call tries at once and never blocks; only [`Socket::poll_read`], [`Socket::hangup_changes`] and the socket's
//! [`Watch`] wait, by the reactor. Dropping the socket closes it.

#![expect(unsafe_code, reason = "the kernel writes what it is asked for")]

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::{MaybeUninit, zeroed};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use libc::{MSG_DONTWAIT, MSG_MORE, MSG_NOSIGNAL, MSG_PEEK, tcp_info};
use rustix::net::{RecvFlags, recv};
use socket2::Socket as RawSocket;

use super::reactor::Reactor;
use super::registrations::{HangUp, Watch};

/// No send blocks, and a peer that is gone raises no SIGPIPE.
pub(crate) const SEND_FLAGS: i32 = MSG_DONTWAIT | MSG_NOSIGNAL;

/// A connected TCP socket of this core.
pub(crate) struct Socket {
    // Dropped before the socket: a watched socket is open.
    pub(crate) watch: Watch,
    socket: RawSocket,
}

impl Socket {
    pub(crate) fn new(reactor: &Rc<Reactor>, socket: RawSocket) -> Self {
        Socket { watch: reactor.watch(socket.as_fd()), socket }
    }

    /// Hands bytes to the kernel, as many as it takes now; fails with [`io::ErrorKind::WouldBlock`] when it takes none.
    pub(crate) fn send(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match slices {
            [one] => self.socket.send_with_flags(one, SEND_FLAGS),
            many => self.socket.send_vectored_with_flags(many, SEND_FLAGS),
        }
    }

    /// The same for the last bytes: they may leave together with the FIN of [`Socket::finish`], which has to follow.
    pub(crate) fn send_last(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.socket.send_vectored_with_flags(slices, SEND_FLAGS | MSG_MORE)
    }

    /// Bytes handed to the kernel that the peer's kernel has not acknowledged; 0 if the kernel does not say.
    pub(crate) fn unacknowledged_bytes(&self) -> u32 {
        let mut bytes: i32 = 0;
        // SAFETY: TIOCOUTQ, which tcp(7) calls SIOCOUTQ, writes one int.
        unsafe { libc::ioctl(self.socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
        u32::try_from(bytes).unwrap_or(0)
    }

    /// What the kernel knows of the output (tcp(7), TCP_INFO); `None` if it does not say. What it does not know is 0.
    pub(crate) fn tcp_info(&self) -> Option<tcp_info> {
        // SAFETY: it has numbers only.
        let mut info: tcp_info = unsafe { zeroed() };
        let mut length = size_of::<tcp_info>() as libc::socklen_t;
        let (socket, into) = (self.socket.as_raw_fd(), (&raw mut info).cast());
        // SAFETY: the kernel writes at most `length` bytes to `info` and nothing else.
        let failed = unsafe { libc::getsockopt(socket, libc::IPPROTO_TCP, libc::TCP_INFO, into, &raw mut length) };
        (failed == 0).then_some(info)
    }

    /// The error that has broken the connection, if one has; also while input is left to read. It comes once.
    pub(crate) fn take_error(&self) -> Option<io::Error> {
        if self.watch.hangup() == HangUp::Error { self.socket.take_error().ok().flatten() } else { None }
    }

    /// Waits until the kernel says more of the connection's end. Meanwhile it is not read, and input does not wake the core.
    pub(crate) async fn hangup_changes(&self) {
        self.watch.pause_reading();
        let known = self.watch.hangup();
        poll_fn(|cx| self.watch.poll_hangup(cx, known)).await;
    }

    /// Whether the peer has ended, and all that it has sent is read. Reads nothing. Fails with the error that has broken
    /// the connection, which comes once.
    pub(crate) fn is_at_eof(&self) -> io::Result<bool> {
        let mut byte = [MaybeUninit::uninit()];
        match self.socket.recv_with_flags(&mut byte, MSG_DONTWAIT | MSG_PEEK) {
            Ok(count) => Ok(count == 0),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads input; 0 bytes are the peer's end.
    pub(crate) fn poll_read(&self, cx: &Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.watch.poll_readable(cx));
            match recv(&self.socket, &mut *into, RecvFlags::DONTWAIT).map_err(io::Error::from) {
                Ok((count, _)) => {
                    // Another read would nearly always find nothing, and costs a system call.
                    if count < into.len() && into[..count].ends_with(b"\n") {
                        self.watch.clear_readable_unconfirmed();
                    }
                    return Poll::Ready(Ok(count));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.watch.clear_readable(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Sends FIN after what was handed to the kernel. A peer that is gone needs none.
    pub(crate) fn finish(&self) {
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// Makes the close a reset: the kernel drops what it holds for a peer that does not read.
    pub(crate) fn reset_on_close(&self) {
        let _ = self.socket.set_linger(Some(Duration::ZERO));
    }

    /// To hand to a [`crate::runtime::send_batch`].
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
