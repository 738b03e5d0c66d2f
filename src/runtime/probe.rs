//! Whether this process may have the rings that cores need.

use std::io;

use io_uring::{IoUring, Probe, opcode};

use super::retry;
use crate::limits::MEMLOCK_PER_CORE_RINGS;

/// What cores submit; no filter of system calls sees one of these.
const OPERATIONS: [u8; 3] = [opcode::PollAdd::CODE, opcode::AsyncCancel::CODE, opcode::Send::CODE];

/// Sets up a ring and makes both other calls on it: glommio panics where one of them is forbidden.
///
/// # Errors
/// The kernel's; [`io::ErrorKind::Unsupported`] when it is too old. Whether lockable memory is enough for all cores shows
/// only when they start.
pub(crate) fn check() -> io::Result<()> {
    let ring = retry::on(io::ErrorKind::OutOfMemory, || IoUring::new(8))?;
    // Enters the kernel, though with nothing to do.
    ring.submitter().submit()?;
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe)?;
    if !OPERATIONS.iter().all(|&operation| probe.is_supported(operation)) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    // As old as polls that report more than one change, which no feature flag shows.
    if ring.params().is_feature_resource_tagging() { Ok(()) } else { Err(io::ErrorKind::Unsupported.into()) }
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
