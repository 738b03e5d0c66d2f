//! Whether this process may have the rings that cores need.
//!
//! Each operation in use is done once, on a ring of its own and on sockets of its own. No filter of system calls sees an
//! operation, but a kernel, a security module or a sandbox may refuse one.

#![expect(unsafe_code, reason = "entries of a ring point to this module's bytes")]

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, Probe, cqueue, opcode, squeue};
use rustix::event::{EventfdFlags, PollFlags, eventfd};

use super::retry;
use crate::limits::{MEMLOCK_PER_CORE_RINGS, PROBE_WAIT_MAX};
use crate::runtime::socket::SEND_FLAGS;

/// What does not work.
#[derive(Debug, thiserror::Error)]
#[error("{call}: {error}")]
pub struct ProbeError {
    /// The system call, or the ring's operation.
    pub(crate) call: &'static str,
    /// The kernel's; [`io::ErrorKind::Unsupported`] when it is too old.
    pub(crate) error: io::Error,
}

/// Does once what the executor and the reactor do with rings. Blocks for some milliseconds.
///
/// # Errors
/// The first thing that does not work. Whether lockable memory is enough for all cores shows only when they start.
pub(crate) fn check() -> Result<(), ProbeError> {
    let mut ring = retry::on(io::ErrorKind::OutOfMemory, || IoUring::new(8)).map_err(failed("io_uring_setup"))?;
    // Enters the kernel, though with nothing to do.
    ring.submitter().submit().map_err(failed("io_uring_enter"))?;
    // glommio panics if it cannot ask for this.
    ring.submitter().register_probe(&mut Probe::new()).map_err(failed("io_uring_register"))?;
    // As old as polls that report more than one change, which no feature flag shows.
    if !ring.params().is_feature_resource_tagging() {
        return Err(failed("multishot poll")(io::ErrorKind::Unsupported.into()));
    }
    do_all(&mut ring)?;
    // glommio has one for files.
    retry::on(io::ErrorKind::OutOfMemory, || IoUring::builder().setup_iopoll().build(8).map(drop::<IoUring>))
        .map_err(failed("io_uring_setup with IORING_SETUP_IOPOLL"))
}

/// Submits each operation in use: the reactor's send, poll and cancellation, and glommio's read of an event descriptor and
/// timeout.
fn do_all(ring: &mut IoUring) -> Result<(), ProbeError> {
    // Without these a server does not start either, but for that io_uring is not to blame.
    let (Ok((ours, theirs)), Ok(event)) = (UnixStream::pair(), eventfd(1, EventfdFlags::CLOEXEC)) else {
        return Ok(());
    };
    let send = opcode::Send::new(Fd(theirs.as_raw_fd()), b"moo".as_ptr(), 3).flags(SEND_FLAGS);
    do_one(ring, "send", &send.build(), &[])?;

    let poll = opcode::PollAdd::new(Fd(ours.as_raw_fd()), PollFlags::IN.bits().into()).multi(true).build();
    let polled = do_one(ring, "multishot poll", &poll, &[])?;
    if !cqueue::more(polled.flags()) {
        return Err(failed("multishot poll")(io::ErrorKind::Unsupported.into()));
    }
    do_one(ring, "cancel", &opcode::AsyncCancel::new(poll.get_opcode().into()).build(), &[])?;

    // Leaked, eight bytes in the life of a process: a read that comes too late still writes there.
    let count = Box::leak(Box::new([0; 8]));
    do_one(ring, "read", &opcode::Read::new(Fd(event.as_raw_fd()), count.as_mut_ptr(), 8).build(), &[])?;
    let soon = Timespec::new().nsec(1);
    do_one(ring, "timeout", &opcode::Timeout::new(&raw const soon).build(), &[libc::ETIME])?;
    Ok(())
}

/// Submits `entry`, waits for its completion and fails with the error that it has, unless that is `expected`. Completions
/// are named by the operation.
fn do_one(
    ring: &mut IoUring,
    call: &'static str,
    entry: &squeue::Entry,
    expected: &[i32],
) -> Result<cqueue::Entry, ProbeError> {
    let name = entry.get_opcode().into();
    let entry = entry.clone().user_data(name);
    // SAFETY: what it points to lives until the process ends, except a timeout's time, which the kernel copies at once.
    unsafe { ring.submission().push(&entry) }.expect("a ring with one entry at a time");
    let patience = Timespec::from(PROBE_WAIT_MAX);
    // A poll that is cancelled has a completion of its own, before that of the cancellation or after it.
    loop {
        match ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&patience)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            entered => drop(entered.map_err(failed(call))?),
        }
        if let Some(done) = ring.completion().find(|done| done.user_data() == name) {
            let errno = -done.result();
            let is_fine = errno <= 0 || expected.contains(&errno);
            return if is_fine { Ok(done) } else { Err(failed(call)(io::Error::from_raw_os_error(errno))) };
        }
    }
}

fn failed(call: &'static str) -> impl Fn(io::Error) -> ProbeError {
    move |error| ProbeError { call, error }
}

/// For how many of `wanted` cores, at least one, the kernel sets up rings. It is tried, since whether their memory counts as
/// locked depends on the kernel, on the user, and on what else that user runs.
pub(crate) fn cores_with_rings(wanted: usize) -> usize {
    let mut cores = 1;
    // A server that was killed just now holds its memory for some milliseconds.
    let _ = retry::on(io::ErrorKind::OutOfMemory, || {
        let mut rings: Vec<IoUring> = Vec::new();
        for core in 1..=wanted {
            for entries in MEMLOCK_PER_CORE_RINGS {
                rings.push(IoUring::new(entries)?);
            }
            cores = cores.max(core);
        }
        Ok(())
    });
    cores
}

#[cfg(test)]
mod tests {
    use super::*;
    use io_uring::register::Restriction;

    const IN_USE: [(u8, &str); 5] = [
        (opcode::Send::CODE, "send"),
        (opcode::PollAdd::CODE, "multishot poll"),
        (opcode::AsyncCancel::CODE, "cancel"),
        (opcode::Read::CODE, "read"),
        (opcode::Timeout::CODE, "timeout"),
    ];

    #[test]
    fn an_operation_that_is_refused_is_named() {
        for (refused, name) in IN_USE {
            let mut ring = IoUring::builder().setup_r_disabled().build(8).expect("io_uring");
            let allowed = IN_USE.iter().filter(|(operation, _)| *operation != refused);
            let mut allowed: Vec<_> = allowed.map(|(operation, _)| Restriction::sqe_op(*operation)).collect();
            ring.submitter().register_restrictions(&mut allowed).expect("a ring that is disabled");
            ring.submitter().register_enable_rings().expect("a ring that is disabled");
            let error = do_all(&mut ring).expect_err(name);
            assert_eq!((error.call, error.error.kind()), (name, io::ErrorKind::PermissionDenied));
        }
        check().expect("io_uring works here");
    }

    #[test]
    fn an_operation_that_never_ends_is_given_up() {
        let mut ring = IoUring::new(8).expect("io_uring");
        let (ours, _theirs) = UnixStream::pair().expect("sockets");
        let poll = opcode::PollAdd::new(Fd(ours.as_raw_fd()), PollFlags::IN.bits().into()).build();
        let error = do_one(&mut ring, "poll", &poll, &[]).expect_err("no input comes");
        assert_eq!((error.call, error.error.raw_os_error()), ("poll", Some(libc::ETIME)));
    }
}
