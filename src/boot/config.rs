//! From the command line to a configuration that can be run: everything that an operator may have got
//! wrong is found here, before a thread is started or a port is taken.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use io_uring::{IoUring, Probe};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity};

use crate::boot::cow_dir::{self, CowDirError, Skipped};
use crate::boot::files::{self, FileError};
use crate::boot::invocation::UnknownVariable;
use crate::boot::machine;
use crate::cli::{LineRate, Pin, ServeArgs};
use crate::cows::Herd;
use crate::cows::bubble::Bubble;
use crate::cows::herd::HerdError;
use crate::directory::NoMemory;
use crate::events::Level;
use crate::limits::{
    CONNECT_BURST, CONNECT_WAIT_MAX, CONNECTIONS_PER_ADDRESS, CONNECTIONS_PER_CORE_MAX, COWS_PER_ADDRESS_MIN,
    COWS_PER_ADDRESS_PART, DESCRIPTORS_MIN, DESCRIPTORS_PER_CORE, DESCRIPTORS_RESERVED, MEMLOCK_PER_CORE,
    MEMLOCK_PER_CORE_RINGS, MESSAGES_SENDQ_PART, MOTD_BYTES_MAX, QUEUES_MEMORY_PART, SENDQ_BYTES_MAX,
};
use crate::policy::addresses::ConnectRate;
use crate::policy::flood::Rate;
use crate::policy::limits::Limits;
use crate::runtime::retry;
use crate::shard::Rules;

/// glommio refuses to start below this much lockable memory, in bytes.
const MEMLOCK_MIN: u64 = 512 * 1024;

/// How a server is to run; every value has been checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen; port 0 picks a free one.
    pub listen: SocketAddr,
    /// One core each; the CPU to pin it to, or `None` to leave that to the kernel.
    pub cores: Vec<Option<usize>>,
    /// CPUs that the process may run on.
    pub cpus: usize,
    /// Why there are fewer cores than the process may use CPUs, unless they were asked for.
    pub lacking: Option<Lacking>,
    /// Variables of the environment that look like the program's own and set nothing.
    pub unknown_variables: Vec<UnknownVariable>,
    /// All cows.
    pub herd: Arc<Herd>,
    /// What the shards have to know of the flags.
    pub rules: Rules,
    /// The limits in force.
    pub limits: Arc<Limits>,
    /// Said to everybody who connects.
    pub motd: Option<Arc<[u8]>>,
    /// Files of `--cow-dir` that are no cows.
    pub cow_files_skipped: Vec<Skipped>,
    /// How long a peer may be silent before it is asked whether it is there.
    pub keepalive: Option<Duration>,
    /// Frames that may wait between two cores.
    pub mailbox_frames: usize,
    /// Least important events to log.
    pub log: Level,
}

/// What a machine has too little of for as many cores as CPUs; each says what to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Lacking {
    /// Memory that may be locked.
    #[error("lockable memory allows no more (run `ulimit -l {kib}`, or set LimitMEMLOCK in the unit)", kib = memlock_wanted(*.0) / 1024)]
    Memlock(usize),
    /// File descriptors.
    #[error("file descriptors allow no more (run `ulimit -n {descriptors}`, or set LimitNOFILE in the unit)", descriptors = descriptors_wanted(*.0))]
    Descriptors(usize),
}

/// What is wrong with the configuration or the machine; each says what to change.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The greeting cannot be read.
    #[error("the file of --motd, {path}, {error}", path = .path.display())]
    Motd {
        /// What was asked for.
        path: PathBuf,
        /// Why not.
        error: FileError,
    },
    /// A directory of cows cannot be read.
    #[error(transparent)]
    CowDir(#[from] CowDirError),
    /// The cows cannot be put together.
    #[error(transparent)]
    Herd(#[from] HerdError),
    /// There is no memory for the herd.
    #[error(transparent)]
    HerdMemory(#[from] NoMemory),
    /// Too few descriptors to serve anybody.
    #[error(
        "{0} file descriptors are too few: run `ulimit -n {DESCRIPTORS_MIN}` or more, or set LimitNOFILE in the unit"
    )]
    TooFewDescriptors(u64),
    /// Too few descriptors for so many cores.
    #[error(
        "{limit} file descriptors are too few for {cores} cores: run `ulimit -n {needed}` or more, or give fewer --cores"
    )]
    TooFewForCores {
        /// RLIMIT_NOFILE.
        limit: u64,
        /// The cores asked for.
        cores: usize,
        /// The least that would do.
        needed: u64,
    },
    /// More connections than descriptors.
    #[error(
        "--connections-max {asked} needs {needed} file descriptors, the limit is {limit}: run `ulimit -n {needed}` or ask for at most {possible}"
    )]
    TooManyConnections {
        /// What was asked for.
        asked: u64,
        /// Descriptors that would take.
        needed: u64,
        /// RLIMIT_NOFILE.
        limit: u64,
        /// What the limit allows.
        possible: u64,
    },
    /// All queues together may hold less than one of them.
    #[error(
        "--queues-bytes-total {total} is less than --sendq-bytes-max {one}, which one connection may have: ask for at least that"
    )]
    TotalBelowOne {
        /// For all.
        total: u64,
        /// For one.
        one: usize,
    },
    /// Too little lockable memory for the rings, by RLIMIT_MEMLOCK or because other processes of the same user
    /// have locked the rest.
    #[error(
        "too little lockable memory for the rings of {0} core{s}: run `ulimit -l {kib}` or more, set LimitMEMLOCK in the unit, or give fewer --cores",
        s = if *.0 == 1 { "" } else { "s" },
        kib = memlock_wanted(*.0) / 1024
    )]
    TooLittleMemlock(usize),
    /// More cores to pin than CPUs.
    #[error("--pin on needs a CPU for each core, and {cores} cores have {cpus}: give fewer --cores, or --pin auto")]
    PinnedTwice {
        /// Cores asked for.
        cores: usize,
        /// CPUs that the process may run on.
        cpus: usize,
    },
    /// io_uring is forbidden.
    #[error(
        "io_uring is forbidden here ({0}): in a container allow io_uring_setup, io_uring_enter and io_uring_register in its \
         seccomp profile (docker run --security-opt seccomp=unconfined allows all); on a host set the sysctl \
         kernel.io_uring_disabled=0"
    )]
    UringForbidden(io::Error),
    /// There is no io_uring.
    #[error(
        "there is no io_uring here ({0}): use Linux 5.13 or later, built with CONFIG_IO_URING; in a container a sandbox \
         such as gVisor may stand in for the kernel, or a seccomp profile say that there is none"
    )]
    UringMissing(io::Error),
    /// io_uring does not work for another reason.
    #[error("io_uring does not work here ({0}): it needs Linux 5.13 or later")]
    UringBroken(io::Error),
}

impl Lacking {
    /// The cores that there would be.
    pub fn wanted(self) -> usize {
        let (Lacking::Memlock(wanted) | Lacking::Descriptors(wanted)) = self;
        wanted
    }
}

impl Config {
    /// Checks the flags against each other and against the machine.
    ///
    /// # Errors
    /// The first thing that an operator has to change.
    pub fn new(args: &ServeArgs) -> Result<Self, ConfigError> {
        let cpus = usable_cpus();
        check_io_uring(args.cores.unwrap_or(1))?;
        let (cores, lacking) = match args.cores {
            Some(cores) => (cores, None),
            None => usual_cores(cpus.len()),
        };
        let cores = pinning(cores, &cpus, args.pin)?;
        let connections_max = connections_max(args.connections_max, cores.len())?;
        let bubble = Bubble::new(&args.bubble, args.width).unwrap_or_default();
        let cow_files = cow_dir::load(&args.cow_dir, &bubble)?;
        let mut breeds = Herd::builtin(&bubble)?;
        breeds.extend(cow_files.cows);
        let herd = Herd::new(breeds, args.herd, bubble)?;
        let rules = Rules {
            header: !args.no_header,
            art: args.art,
            history_messages: args.history,
            line_bytes_max: args.line_bytes_max,
        };
        let limits = Limits {
            sendq_bytes_max: args.sendq_bytes_max,
            sendq_stall: args.sendq_stall,
            queues_bytes_total: queues_bytes_total(args.queues_bytes_total, args.sendq_bytes_max)?,
            login_timeout: args.login_timeout,
            login_exempt: args.login_exempt.clone(),
            idle_timeout: args.idle_timeout,
            scarce_idle: args.scarce_idle,
            cows_per_address: args.cows_per_address.unwrap_or_else(|| usual_cows_per_address(herd.len())),
            flood: Rate::new(args.flood_burst, args.flood_rate.lines, args.flood_rate.per),
            flood_exempt: args.flood_exempt.clone(),
            message_rate: message_rate(args.sendq_bytes_max),
            connections_max,
            connections_per_address: args
                .connections_per_address
                .unwrap_or_else(|| usual_connections_per_address(connections_max)),
            connect_rate: args.connect_rate.map(connect_rate),
            address_exempt: args.address_exempt.clone(),
            user_timeout: args.user_timeout,
            drain_timeout: args.drain_timeout,
        };
        Ok(Config {
            listen: args.listen,
            cores,
            cpus: cpus.len(),
            lacking,
            unknown_variables: Vec::new(),
            herd: Arc::new(herd),
            rules,
            limits: Arc::new(limits),
            motd: args.motd.as_deref().map(read_motd).transpose()?,
            cow_files_skipped: cow_files.skipped,
            keepalive: args.keepalive,
            mailbox_frames: args.mailbox_frames,
            log: match args.log.as_str() {
                "error" => Level::Error,
                "warn" => Level::Warn,
                _ => Level::Info,
            },
        })
    }
}

/// The CPUs that this process may run on.
fn usable_cpus() -> Vec<usize> {
    let allowed = sched_getaffinity(None).unwrap_or_default();
    let cpus: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).collect();
    if cpus.is_empty() { vec![0] } else { cpus }
}

/// Raises the limits on descriptors and on locked memory as far as the process may. A shell's are often low for the sake of
/// programs that use select(2).
pub fn raise_limits() {
    for resource in [Resource::Nofile, Resource::Memlock] {
        let Rlimit { maximum, .. } = getrlimit(resource);
        // If that fails, what there is has to do, and is checked.
        let _ = setrlimit(resource, Rlimit { current: maximum, maximum });
    }
}

/// As many cores as the process may use CPUs at once, which a container's quota may make fewer than its CPUs, unless memory
/// or descriptors allow only fewer, and which of them does.
fn usual_cores(cpus: usize) -> (usize, Option<Lacking>) {
    let available = std::thread::available_parallelism().map_or(1, usize::from);
    let wanted = available.min(cpus).min(crate::limits::CORES_MAX);
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let described = (1..=wanted).rev().find(|&cores| descriptors_wanted(cores) <= descriptors).unwrap_or(1);
    let cores = cores_with_rings(described);
    let lacking = match cores {
        _ if cores < described => Some(Lacking::Memlock(wanted)),
        _ if cores < wanted => Some(Lacking::Descriptors(wanted)),
        _ => None,
    };
    (cores, lacking)
}

/// For how many cores, of so many and at least one, rings can be set up. It is tried, since whether their memory counts as
/// locked depends on the kernel, the user, and what else that user runs; and tried again, since a server that was killed
/// just now still holds some.
fn cores_with_rings(wanted: usize) -> usize {
    let mut cores = 1;
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

/// What one address may say: a larger queue takes more at once, but its reader is not faster.
fn message_rate(sendq_bytes_max: usize) -> Rate {
    let [at_once, a_second] = [sendq_bytes_max, sendq_bytes_max.min(SENDQ_BYTES_MAX)]
        .map(|queue| u32::try_from(queue / MESSAGES_SENDQ_PART).unwrap_or(u32::MAX));
    Rate::new(at_once, a_second, Duration::from_secs(1))
}

fn connect_rate(rate: LineRate) -> ConnectRate {
    ConnectRate { burst: CONNECT_BURST, interval: rate.per / rate.lines, wait_max: CONNECT_WAIT_MAX }
}

/// Connections of one address, of so many in all: an address leaves half of them to others.
fn usual_connections_per_address(connections_max: u64) -> usize {
    let half = usize::try_from(connections_max / 2).unwrap_or(usize::MAX);
    CONNECTIONS_PER_ADDRESS.min(half.max(1))
}

/// Cows that one address may hold, of `cows` in all.
fn usual_cows_per_address(cows: usize) -> u32 {
    u32::try_from(cows / COWS_PER_ADDRESS_PART).unwrap_or(u32::MAX).max(COWS_PER_ADDRESS_MIN)
}

/// A CPU for each core, or none for any.
fn pinning(cores: usize, cpus: &[usize], pin: Pin) -> Result<Vec<Option<usize>>, ConfigError> {
    let is_pinned = match pin {
        Pin::Auto => cores == cpus.len(),
        Pin::On if cores > cpus.len() => return Err(ConfigError::PinnedTwice { cores, cpus: cpus.len() }),
        Pin::On => true,
        Pin::Off => false,
    };
    Ok((0..cores).map(|core| cpus.get(core).copied().filter(|_| is_pinned)).collect())
}

/// Descriptors that the server needs beside connections.
fn descriptors_reserved(cores: usize) -> u64 {
    DESCRIPTORS_RESERVED + (cores as u64).saturating_sub(4) * DESCRIPTORS_PER_CORE
}

/// Descriptors with which so many cores are of use.
fn descriptors_wanted(cores: usize) -> u64 {
    descriptors_reserved(cores) + (DESCRIPTORS_MIN - DESCRIPTORS_RESERVED)
}

/// The limit on connections: what was asked for or what the descriptors allow.
fn connections_max(asked: Option<u64>, cores: usize) -> Result<u64, ConfigError> {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if limit < DESCRIPTORS_MIN {
        return Err(ConfigError::TooFewDescriptors(limit));
    }
    let reserved = descriptors_reserved(cores);
    let addressable = (cores * CONNECTIONS_PER_CORE_MAX) as u64;
    let possible = limit.saturating_sub(reserved).min(addressable);
    match asked {
        _ if possible == 0 => Err(ConfigError::TooFewForCores { limit, cores, needed: reserved + 1 }),
        None => Ok(possible),
        Some(asked) if asked <= possible => Ok(asked),
        Some(asked) => {
            let needed = asked.saturating_add(reserved);
            Err(ConfigError::TooManyConnections { asked, needed, limit, possible })
        }
    }
}

/// The budget for all send queues: what was asked for or a part of the memory, but at least what one may
/// have.
fn queues_bytes_total(asked: Option<u64>, one: usize) -> Result<u64, ConfigError> {
    match asked {
        None => Ok((machine::available_bytes() / QUEUES_MEMORY_PART).max(one as u64)),
        Some(total) if total >= one as u64 => Ok(total),
        Some(total) => Err(ConfigError::TotalBelowOne { total, one }),
    }
}

/// The greeting, ending in LF.
fn read_motd(path: &Path) -> Result<Arc<[u8]>, ConfigError> {
    let mut text =
        files::read(path, MOTD_BYTES_MAX).map_err(|error| ConfigError::Motd { path: path.to_owned(), error })?;
    if text.last().is_some_and(|&last| last != b'\n') {
        text.push(b'\n');
    }
    Ok(text.into())
}

/// Lockable memory with which so many cores start on any kernel, in bytes.
fn memlock_wanted(cores: usize) -> u64 {
    cores as u64 * MEMLOCK_PER_CORE
}

/// What has to be changed when the kernel has refused a ring for one of so many cores, if that may be the limit on
/// locked memory; if not, there may be some again later.
pub fn too_little_memlock(cores: usize, error: &io::Error) -> Option<ConfigError> {
    let limit = getrlimit(Resource::Memlock).current.unwrap_or(u64::MAX);
    let is_too_little = error.kind() == io::ErrorKind::OutOfMemory && limit < memlock_wanted(cores);
    is_too_little.then_some(ConfigError::TooLittleMemlock(cores))
}

/// Sets up a ring and takes it down again, and makes the other two calls on it: glommio panics where one of them
/// is forbidden. Whether the lockable memory is enough for all cores shows only when they start.
fn check_io_uring(cores: usize) -> Result<(), ConfigError> {
    let memlock = getrlimit(Resource::Memlock).current.unwrap_or(u64::MAX);
    if memlock < MEMLOCK_MIN {
        return Err(ConfigError::TooLittleMemlock(cores));
    }
    let may_use_all_of_it = |ring: IoUring| {
        // Enters the kernel, though with nothing to do.
        ring.submitter().submit()?;
        ring.submitter().register_probe(&mut Probe::new())?;
        Ok(ring.params().is_feature_resource_tagging())
    };
    match retry::on(io::ErrorKind::OutOfMemory, || IoUring::new(8)).and_then(may_use_all_of_it) {
        // As old as polls that tell of more than one change; nothing else shows them.
        Ok(true) => Ok(()),
        Ok(false) => Err(ConfigError::UringBroken(io::ErrorKind::Unsupported.into())),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(ConfigError::UringForbidden(error)),
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => Err(ConfigError::UringMissing(error)),
        Err(error) => Err(too_little_memlock(cores, &error).unwrap_or(ConfigError::UringBroken(error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_core_has_a_cpu_of_its_own_if_the_server_uses_them_all() {
        let pinned = |cores, pin| pinning(cores, &[3, 5, 7], pin).expect("enough CPUs");
        assert_eq!(pinned(3, Pin::Auto), [Some(3), Some(5), Some(7)]);
        assert_eq!(pinned(2, Pin::Auto), [None; 2], "another server would take the same ones");
        assert_eq!(pinned(4, Pin::Auto), [None; 4]);
        assert_eq!(pinned(2, Pin::On), [Some(3), Some(5)]);
        assert_eq!(pinned(3, Pin::Off), [None; 3]);
        assert!(matches!(pinning(4, &[3, 5, 7], Pin::On), Err(ConfigError::PinnedTwice { cores: 4, cpus: 3 })));
    }

    #[test]
    fn there_are_rings_for_at_least_one_core_and_not_for_more_than_asked_for() {
        assert_eq!(cores_with_rings(1), 1);
        assert!((1..=2).contains(&cores_with_rings(2)));
    }

    #[test]
    fn all_queues_together_may_hold_at_least_what_one_may() {
        assert_eq!(queues_bytes_total(Some(1000), 1000).expect("as much"), 1000);
        assert!(matches!(
            queues_bytes_total(Some(999), 1000),
            Err(ConfigError::TotalBelowOne { total: 999, one: 1000 })
        ));
        assert_eq!(queues_bytes_total(None, 1000).expect("some"), machine::available_bytes() / 4);
        assert_eq!(queues_bytes_total(None, 1 << 60).expect("at least for one"), 1 << 60);
    }

    #[test]
    fn an_address_leaves_half_of_the_connections_and_of_the_cows_to_others() {
        assert_eq!([1, 2, 32, 128, 20_000].map(usual_connections_per_address), [1, 1, 16, 64, 64]);
        assert_eq!([1, 16, 24, 100].map(usual_cows_per_address), [8, 8, 12, 50]);
    }

    #[test]
    fn more_connections_than_descriptors_are_refused() {
        let possible = connections_max(None, 2).expect("descriptors");
        assert_eq!(connections_max(Some(possible), 2).expect("exactly as many"), possible);
        assert!(matches!(connections_max(Some(possible + 1), 2), Err(ConfigError::TooManyConnections { .. })));
        assert!(matches!(connections_max(Some(u64::MAX), 2), Err(ConfigError::TooManyConnections { .. })));
    }
}
