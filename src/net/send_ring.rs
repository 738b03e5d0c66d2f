//! Sends to many sockets by one system call: a small io_uring of a core's own.
//!
//! A send with MSG_DONTWAIT is done inside the submission, so one `io_uring_enter` returns with all its
//! completions and nothing is ever waited for: `sendmmsg`, but over many sockets.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use io_uring::{IoUring, opcode, types};

use super::socket::SEND_FLAGS;
use crate::limits::RING_SENDS;

/// One send: a socket and the bytes for it.
pub(super) type Send<'s> = (BorrowedFd<'s>, &'s [u8]);

/// A ring for sends, empty between two calls.
pub(super) struct SendRing(IoUring);

impl SendRing {
    /// A ring for [`RING_SENDS`] sends at once.
    ///
    /// # Errors
    /// When the kernel or its limits do not allow one more.
    pub(super) fn new() -> io::Result<Self> {
        // Only this thread uses it, and only from here: the kernel need not interrupt anybody (Linux 6.0).
        let alone = IoUring::builder().setup_single_issuer().setup_coop_taskrun().build(RING_SENDS as u32);
        alone.or_else(|_| IoUring::new(RING_SENDS as u32)).map(SendRing)
    }

    /// Does all of `sends`, at most [`RING_SENDS`]; `done` hears of each by its place, in any order: how many
    /// bytes the kernel took, or why none.
    ///
    /// # Errors
    /// When the ring itself fails; it is gone then, and those sends that `done` did not hear of were not done.
    pub(super) fn send_all(
        mut self,
        sends: &[Send<'_>],
        mut done: impl FnMut(usize, io::Result<usize>),
    ) -> io::Result<Self> {
        if sends.is_empty() {
            return Ok(self);
        }
        let ring = &mut self.0;
        for (place, (socket, bytes)) in sends.iter().enumerate() {
            let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            let send = opcode::Send::new(types::Fd(socket.as_raw_fd()), bytes.as_ptr(), length);
            let entry = send.flags(SEND_FLAGS).build().user_data(place as u64);
            // SAFETY: descriptor and bytes are borrowed for longer than this call. MSG_DONTWAIT makes the request one
            // that is never parked nor handed to a worker: what the kernel has taken of the ring is done when it
            // returns from taking it, and the rest goes with the ring on an error.
            unsafe { ring.submission().push(&entry) }.map_err(io::Error::other)?;
        }
        let mut heard = 0;
        loop {
            let taken = ring.submit_and_wait(sends.len() - heard);
            for completion in ring.completion() {
                let result = completion.result();
                let count = usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result));
                done(completion.user_data() as usize, count);
                heard += 1;
            }
            match taken {
                _ if heard == sends.len() => return Ok(self),
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
        }
    }
}

impl std::fmt::Debug for SendRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SendRing")
    }
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
    fn each_socket_gets_its_bytes_and_a_full_or_closed_one_says_so() {
        let pairs: Vec<_> = (0..RING_SENDS).map(|_| pair()).collect();
        let full = &pairs[3].0;
        full.set_nonblocking(true).expect("a socket");
        let block = vec![b'x'; 1 << 16];
        while (&mut &*full).write(&block).is_ok() {}
        pairs[5].0.shutdown(std::net::Shutdown::Write).expect("connected");

        let texts: Vec<String> = (0..pairs.len()).map(|place| format!("moo {place}")).collect();
        let sends: Vec<Send<'_>> =
            pairs.iter().zip(&texts).map(|((ours, _), text)| (ours.as_fd(), text.as_bytes())).collect();
        let mut results: Vec<Option<io::Result<usize>>> = sends.iter().map(|_| None).collect();
        let ring = SendRing::new().expect("io_uring");
        let ring = ring.send_all(&sends, |place, result| assert!(results[place].replace(result).is_none()));
        for (place, (result, (_, theirs))) in results.into_iter().zip(&pairs).enumerate() {
            let result = result.expect("each is heard of");
            match place {
                3 => assert_eq!(result.expect_err("full").kind(), io::ErrorKind::WouldBlock),
                5 => assert_eq!(result.expect_err("closed").kind(), io::ErrorKind::BrokenPipe),
                _ => {
                    assert_eq!(result.expect("taken"), texts[place].len());
                    let mut got = vec![0; texts[place].len()];
                    (&mut &*theirs).read_exact(&mut got).expect("it arrives");
                    assert_eq!(got, texts[place].as_bytes());
                }
            }
        }
        ring.expect("the ring is well").send_all(&[], |_, _| panic!("nothing was sent")).expect("and still is");
    }
}
