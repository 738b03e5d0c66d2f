//! One connected socket: what the kernel can do at once, and waiting for what it can not.
//!
//! Every call tries at once and never blocks; only [`Socket::poll_read`] and [`Socket::poll_writable`] wait,
//! by the reactor. The socket closes when its owner drops it.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::ioctl::{Getter, Opcode, ioctl};
use rustix::net::{RecvFlags, recv};
use socket2::Socket as RawSocket;

use super::reactor::{Reactor, Watch};

/// Linux's values; no peer that went away may raise SIGPIPE, and nothing here may block.
const MSG_DONTWAIT: i32 = 0x40;
const MSG_NOSIGNAL: i32 = 0x4000;
const MSG_MORE: i32 = 0x8000;
pub(super) const SEND_FLAGS: i32 = MSG_DONTWAIT | MSG_NOSIGNAL;

/// Asks for the unacknowledged bytes of a TCP socket.
const SIOCOUTQ: Opcode = 0x5411;

/// A connected TCP socket of this core.
#[derive(Debug)]
pub(super) struct Socket {
    // Dropped before the socket: what is watched is open.
    watch: Watch,
    socket: RawSocket,
}

impl Socket {
    pub(super) fn new(reactor: &Rc<Reactor>, socket: RawSocket) -> Self {
        Socket { watch: reactor.watch(socket.as_fd()), socket }
    }

    /// Hands bytes to the kernel, as many as it takes now.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when it takes none.
    pub(super) fn send(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match slices {
            [one] => self.socket.send_with_flags(one, SEND_FLAGS),
            many => self.socket.send_vectored_with_flags(many, SEND_FLAGS),
        }
    }

    /// Hands over what is the last: it may leave together with the FIN of [`Socket::finish`], which has to follow.
    ///
    /// # Errors
    /// As [`Socket::send`].
    pub(super) fn send_last(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.socket.send_vectored_with_flags(slices, SEND_FLAGS | MSG_MORE)
    }

    /// It did not take all that it was offered.
    pub(super) fn note_full(&self) {
        self.watch.note_full();
    }

    /// Waits until the kernel may take something.
    pub(super) fn poll_writable(&self, cx: &Context<'_>) -> Poll<()> {
        self.watch.poll_writable(cx, self.descriptor())
    }

    /// Bytes handed over that the peer's kernel has not acknowledged; 0 if nobody can tell.
    pub(super) fn unacknowledged_bytes(&self) -> u32 {
        // SAFETY: SIOCOUTQ (tcp(7)) writes one int.
        let asked = unsafe { Getter::<SIOCOUTQ, i32>::new() };
        // SAFETY: as above, and it changes nothing.
        let bytes = unsafe { ioctl(&self.socket, asked) };
        bytes.ok().and_then(|bytes| u32::try_from(bytes).ok()).unwrap_or(0)
    }

    /// Reads what has arrived; 0 bytes are the peer's end.
    pub(super) fn poll_read(&self, cx: &Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.watch.poll_readable(cx, self.descriptor()));
            match recv(&self.socket, &mut *into, RecvFlags::DONTWAIT).map_err(io::Error::from) {
                Ok((count, _)) => {
                    if count < into.len() {
                        self.watch.note_short_read();
                    }
                    return Poll::Ready(Ok(count));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.watch.note_empty(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Sends FIN after what has been handed over. A peer that is gone needs none.
    pub(super) fn finish(&self) {
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// Makes the close a reset: the kernel forgets what it still holds for a peer that does not read.
    pub(super) fn reset_on_close(&self) {
        let _ = self.socket.set_linger(Some(Duration::ZERO));
    }

    /// The descriptor, to hand to a [`super::send_ring`].
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
