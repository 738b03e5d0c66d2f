//! Sends to many sockets by one system call: a small io_uring of a core's own.
//!
//! A send with MSG_DONTWAIT completes inside the submission, so one `io_uring_enter` returns with all completions and
//! never waits: `sendmmsg`, but over many sockets.
//!
//! A ring whose call fails is closed, whatever the error: entries that the kernel has not taken cannot be withdrawn, and
//! they point to bytes that are borrowed for this call only. The core builds a new ring later.

#![expect(unsafe_code, reason = "entries of a ring point to the sender's bytes")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Instant;

use io_uring::{IoUring, opcode, types};

use crate::limits::{RING_SENDS, SEND_RING_PAUSE};
use crate::runtime::socket::SEND_FLAGS;

/// One send: a socket and its bytes.
pub(crate) type SendOp<'s> = (BorrowedFd<'s>, &'s [u8]);

/// A core's ring for sends, while it has one. Between two calls the ring is empty.
#[derive(Default)]
pub(crate) struct SendBatch {
    ring: Option<IoUring>,
    /// No ring is built before this.
    not_before: Option<Instant>,
}

impl SendBatch {
    /// Whether there is a ring. Without one it tries to build one, but only once in [`SEND_RING_PAUSE`].
    pub(crate) fn is_ready(&mut self, now: Instant) -> bool {
        if self.ring.is_none() && self.not_before.is_none_or(|at| now >= at) {
            self.not_before = Some(now + SEND_RING_PAUSE);
            self.ring = build().ok();
        }
        self.ring.is_some()
    }

    /// Does all of `sends`, at most [`RING_SENDS`], and calls `done` for each by its index, in any order: with the bytes
    /// that the kernel took, or why it took none. The ring has to be ready.
    ///
    /// # Errors
    /// When the ring fails. It is closed then, and a send for which `done` was not called was not done.
    pub(crate) fn send_all(
        &mut self,
        sends: &[SendOp<'_>],
        now: Instant,
        mut done: impl FnMut(usize, io::Result<usize>),
    ) -> io::Result<()> {
        let mut ring = self.ring.take().expect("a ring that is ready");
        self.not_before = Some(now + SEND_RING_PAUSE);
        for (place, (socket, bytes)) in sends.iter().enumerate() {
            let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            let send = opcode::Send::new(types::Fd(socket.as_raw_fd()), bytes.as_ptr(), length);
            let entry = send.flags(SEND_FLAGS).build().user_data(place as u64);
            // SAFETY: descriptor and bytes are borrowed for longer than this call. With MSG_DONTWAIT the kernel neither
            // parks the request nor hands it to a worker: what it has taken is done when the call returns. On an error
            // the rest goes with the ring.
            unsafe { ring.submission().push(&entry) }.map_err(io::Error::other)?;
        }
        let mut completed = 0;
        while completed < sends.len() {
            let taken = ring.submit_and_wait(sends.len() - completed);
            for completion in ring.completion() {
                let result = completion.result();
                let count = usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result));
                done(completion.user_data() as usize, count);
                completed += 1;
            }
            if let Err(error) = taken
                && error.kind() != io::ErrorKind::Interrupted
                && completed < sends.len()
            {
                return Err(error);
            }
        }
        self.ring = Some(ring);
        Ok(())
    }
}

fn build() -> io::Result<IoUring> {
    // Only this thread enters the ring: the kernel need not interrupt it (Linux 6.0).
    let alone = IoUring::builder().setup_single_issuer().setup_coop_taskrun().build(RING_SENDS as u32);
    alone.or_else(|_| IoUring::new(RING_SENDS as u32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let ours = TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
        (ours, listener.accept().expect("the same").0)
    }

    #[test]
    fn each_send_reports_the_bytes_taken_or_why_none() {
        let pairs: Vec<_> = (0..RING_SENDS).map(|_| pair()).collect();
        let full = &pairs[3].0;
        full.set_nonblocking(true).expect("a socket");
        let block = vec![b'x'; 1 << 16];
        while (&mut &*full).write(&block).is_ok() {}
        pairs[5].0.shutdown(std::net::Shutdown::Write).expect("connected");

        let texts: Vec<_> = (0..pairs.len()).map(|place| (place as u32).to_ne_bytes()).collect();
        let sends: Vec<SendOp<'_>> =
            pairs.iter().zip(&texts).map(|((ours, _), text)| (ours.as_fd(), &text[..])).collect();
        let mut reports = vec![0; pairs.len()];
        let (mut ring, now) = (SendBatch::default(), Instant::now());
        assert!(ring.is_ready(now), "io_uring");
        let done = |place: usize, result: io::Result<usize>| {
            reports[place] += 1;
            match place {
                3 => assert_eq!(result.expect_err("full").kind(), io::ErrorKind::WouldBlock),
                5 => assert_eq!(result.expect_err("closed").kind(), io::ErrorKind::BrokenPipe),
                _ => assert_eq!(result.expect("taken"), 4),
            }
        };
        ring.send_all(&sends, now, done).expect("the ring is well");
        assert!(reports.iter().all(|&count| count == 1));
        for (place, (_, theirs)) in pairs.iter().enumerate().filter(|(place, _)| ![3, 5].contains(place)) {
            let mut got = [0; 4];
            (&mut &*theirs).read_exact(&mut got).expect("it arrives");
            assert_eq!(got, texts[place]);
        }
        ring.send_all(&[], now, |_, _| panic!("nothing was sent")).expect("the ring is still well");
    }

    #[test]
    fn a_ring_that_fails_is_closed_and_replaced_after_a_pause() {
        let (ours, mut theirs) = pair();
        let sends = [(ours.as_fd(), b"moo\n".as_slice())];
        let (mut ring, mut now) = (SendBatch::default(), Instant::now());
        for _ in 0..2 {
            // A ring that is not enabled refuses every call.
            ring.ring = Some(IoUring::builder().setup_r_disabled().build(8).expect("io_uring"));
            ring.send_all(&sends, now, |_, _| panic!("nothing was sent")).expect_err("it is not enabled");
            assert!(!ring.is_ready(now + SEND_RING_PAUSE - std::time::Duration::from_nanos(1)));
            now += SEND_RING_PAUSE;
            assert!(ring.is_ready(now));
            ring.send_all(&sends, now, |_, sent| assert_eq!(sent.expect("connected"), 4))
                .expect("the new ring is well");
            theirs.read_exact(&mut [0; 4]).expect("it arrives once");
        }
        theirs.set_nonblocking(true).expect("a socket");
        theirs.read(&mut [0; 4]).expect_err("nothing came by a ring that failed");
    }
}
