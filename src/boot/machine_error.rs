//! What the machine does not allow a server, and what mends it: the one source of these texts for `serve`, its log and
//! `cowchat doctor`.
//!
//! A fix is a command for a shell where there is one. What follows it behind `#` is for the unit and for containers, so that
//! the whole line can be pasted.

use std::fmt::{self, Display};

use crate::limits::{
    DESCRIPTORS_MIN, DESCRIPTORS_PER_CORE, DESCRIPTORS_RESERVED, IDLE_CONNECTION_BYTES, MEMLOCK_PER_CORE,
};
use crate::runtime::probe::ProbeError;

/// What the machine does not allow. Its text has a fix.
#[derive(Debug)]
pub enum MachineError {
    TooFewDescriptors(u64),
    TooFewForCores {
        limit: u64,
        cores: usize,
        needed: u64,
    },
    TooManyConnections {
        asked: u64,
        needed: u64,
        limit: u64,
        possible: u64,
    },
    /// For this many cores; by RLIMIT_MEMLOCK, or since other processes of the same user have locked the rest.
    TooLittleMemlock(usize),
    TooLittleMemory {
        connections: u64,
        memory_bytes: u64,
    },
    TooFewCpus {
        cores: usize,
        cpus: usize,
    },
    UringForbidden(ProbeError),
    UringMissing(ProbeError),
    UringBroken(ProbeError),
}

impl MachineError {
    /// What is wrong.
    pub(super) fn found(&self) -> String {
        match self {
            Self::TooFewDescriptors(limit) => format!("{limit} file descriptors are too few"),
            Self::TooFewForCores { limit, cores, .. } => {
                format!("{limit} file descriptors are too few for {cores} cores (or give fewer --cores)")
            }
            Self::TooManyConnections { asked, needed, limit, possible } => format!(
                "--connections-max {asked} needs {needed} file descriptors, and the limit of {limit} allows {possible} connections"
            ),
            Self::TooLittleMemlock(cores) => {
                let s = if *cores == 1 { "" } else { "s" };
                format!("too little lockable memory for the rings of {cores} core{s} (or give fewer --cores)")
            }
            Self::TooLittleMemory { connections, memory_bytes } => format!(
                "--connections-max {connections} needs {} MiB of memory for idle connections, and there are {}",
                connections.saturating_mul(IDLE_CONNECTION_BYTES) >> 20,
                memory_bytes >> 20
            ),
            Self::TooFewCpus { cores, cpus } => {
                format!("--pin on needs a CPU for each core, and {cores} cores have {cpus}")
            }
            Self::UringForbidden(error) => format!("io_uring is forbidden here ({error})"),
            Self::UringMissing(error) => format!("there is no io_uring here ({error})"),
            Self::UringBroken(error) => format!("io_uring does not work here ({error})"),
        }
    }

    /// What mends it.
    pub(super) fn fix(&self) -> String {
        match self {
            Self::TooFewDescriptors(_) => raise_descriptors(DESCRIPTORS_MIN),
            Self::TooFewForCores { needed, .. } | Self::TooManyConnections { needed, .. } => raise_descriptors(*needed),
            Self::TooLittleMemlock(cores) => raise_memlock(*cores),
            Self::TooLittleMemory { connections, memory_bytes } => lower_connections(*connections, *memory_bytes),
            Self::TooFewCpus { .. } => "give fewer --cores, or --pin auto".to_owned(),
            Self::UringForbidden(_) => {
                "sudo sysctl -w kernel.io_uring_disabled=0  # in a container give --security-opt seccomp=ci/seccomp.json, \
                 or allow io_uring_setup, io_uring_enter and io_uring_register in its seccomp profile"
                    .to_owned()
            }
            Self::UringMissing(_) => {
                "use Linux 5.13 or later, built with CONFIG_IO_URING; in a container a sandbox such as gVisor may stand in \
                 for the kernel, or a seccomp profile say that there is none"
                    .to_owned()
            }
            Self::UringBroken(_) => "use Linux 5.13 or later".to_owned(),
        }
    }
}

impl Display for MachineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.found(), self.fix())
    }
}

impl std::error::Error for MachineError {}

/// What allows fewer cores than there are CPUs, and how many cores that would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Shortage {
    #[error("lockable memory allows no more: {}", raise_memlock(*.0))]
    Memlock(usize),
    #[error("file descriptors allow no more: {}", raise_descriptors(descriptors_needed(*.0)))]
    Descriptors(usize),
}

impl Shortage {
    /// The cores that there would be without it.
    pub(super) fn wanted(self) -> usize {
        let (Shortage::Memlock(wanted) | Shortage::Descriptors(wanted)) = self;
        wanted
    }
}

/// Descriptors that the server needs beside connections.
pub(super) fn descriptors_reserved(cores: usize) -> u64 {
    DESCRIPTORS_RESERVED + (cores as u64).saturating_sub(4) * DESCRIPTORS_PER_CORE
}

/// Descriptors with which `cores` have some left for users.
pub(super) fn descriptors_needed(cores: usize) -> u64 {
    descriptors_reserved(cores) + (DESCRIPTORS_MIN - DESCRIPTORS_RESERVED)
}

/// Lockable memory with which `cores` start on any kernel, in bytes.
pub(super) fn memlock_needed(cores: usize) -> u64 {
    cores as u64 * MEMLOCK_PER_CORE
}

fn raise_descriptors(needed: u64) -> String {
    format!(
        "sudo prlimit --pid $$ --nofile={needed}  # LimitNOFILE={needed} in the unit, --ulimit nofile={needed} in a container"
    )
}

pub(super) fn raise_memlock(cores: usize) -> String {
    let needed = memlock_needed(cores);
    format!(
        "sudo prlimit --pid $$ --memlock={needed}  # LimitMEMLOCK={needed} in the unit, --ulimit memlock={needed} in a container"
    )
}

/// For connections that take more memory than there is, or so much that little is left for messages.
pub(super) fn lower_connections(connections: u64, memory_bytes: u64) -> String {
    let mib = (2 * connections.saturating_mul(IDLE_CONNECTION_BYTES)).div_ceil(1 << 20);
    let possible = memory_bytes / IDLE_CONNECTION_BYTES;
    format!(
        "cowchat serve --connections-max {possible}  # or MemoryMax={mib}M in the unit, --memory {mib}m in a container"
    )
}
