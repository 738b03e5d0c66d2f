//! What this machine and the limits of this process allow: CPUs, file descriptors, memory, io_uring.
//!
//! Nothing is kept: each function asks the kernel. [`MachineError`] says what an operator has to change.

use std::path::{Path, PathBuf};
use std::{fs, io};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity};

use super::machine_error::{MachineError, Shortage, descriptors_needed, descriptors_reserved, memlock_needed};
use crate::cli::Pin;
use crate::limits::{CONNECTIONS_PER_CORE_MAX, CORES_MAX, DESCRIPTORS_MIN, IDLE_CONNECTION_BYTES};
use crate::runtime::probe;

/// glommio refuses to start below this much lockable memory, in bytes.
const MEMLOCK_MIN: u64 = 512 * 1024;

/// The cores of a server.
#[derive(Debug, Clone)]
pub(super) struct Cores {
    /// By core: the CPU that it is pinned to; `None` leaves the choice to the kernel.
    pub(super) pins: Vec<Option<usize>>,
    /// CPUs that the process may run on.
    pub(super) cpus: usize,
    /// Why there are fewer cores than CPUs, unless `--cores` asks for fewer.
    pub(super) shortage: Option<Shortage>,
}

/// Raises the soft limits on descriptors and on locked memory to the hard ones. A shell's soft limit on descriptors is low
/// for the sake of programs that use select(2).
pub fn raise_limits() {
    for resource in [Resource::Nofile, Resource::Memlock] {
        let Rlimit { maximum, .. } = getrlimit(resource);
        // If it fails, the limits stay as they are, and are checked below.
        let _ = setrlimit(resource, Rlimit { current: maximum, maximum });
    }
}

/// The cores to start: `asked`, or as many as the machine allows.
pub(super) fn cores(asked: Option<usize>, pin: Pin) -> Result<Cores, MachineError> {
    let cpus = usable_cpus();
    check_io_uring(asked.unwrap_or(1))?;
    let (count, shortage) = match asked {
        Some(count) => (count, None),
        None => default_cores(cpus.len()),
    };
    Ok(Cores { pins: pins(count, &cpus, pin)?, cpus: cpus.len(), shortage })
}

pub(super) fn usable_cpus() -> Vec<usize> {
    let allowed = sched_getaffinity(None).unwrap_or_default();
    let cpus: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).collect();
    if cpus.is_empty() { vec![0] } else { cpus }
}

/// A core for each CPU that the process may use at the same time (a container's quota may allow fewer than its CPUs), as far
/// as descriptors and lockable memory allow.
fn default_cores(cpus: usize) -> (usize, Option<Shortage>) {
    let available = std::thread::available_parallelism().map_or(1, usize::from);
    let wanted = available.min(cpus).min(CORES_MAX);
    let limit = soft_limit(Resource::Nofile);
    let by_descriptors = (1..=wanted).rev().find(|&cores| descriptors_needed(cores) <= limit).unwrap_or(1);
    let cores = probe::cores_with_rings(by_descriptors);
    let shortage = match cores {
        _ if cores < by_descriptors => Some(Shortage::Memlock(wanted)),
        _ if cores < wanted => Some(Shortage::Descriptors(wanted)),
        _ => None,
    };
    (cores, shortage)
}

/// By core: its CPU, or `None`.
fn pins(cores: usize, cpus: &[usize], pin: Pin) -> Result<Vec<Option<usize>>, MachineError> {
    let is_pinned = match pin {
        Pin::Auto => cores == cpus.len(),
        Pin::On if cores > cpus.len() => return Err(MachineError::TooFewCpus { cores, cpus: cpus.len() }),
        Pin::On => true,
        Pin::Off => false,
    };
    Ok((0..cores).map(|core| cpus.get(core).copied().filter(|_| is_pinned)).collect())
}

/// The limit on connections: `asked`, or what the descriptors allow.
pub(super) fn connections_max(asked: Option<u64>, cores: usize) -> Result<u64, MachineError> {
    let possible = connections_within(soft_limit(Resource::Nofile), asked, cores)?;
    // What nothing asks for is no plan.
    asked.map_or(Ok(()), |asked| check_memory(memory_bytes(), asked))?;
    Ok(possible)
}

/// The same with this limit on descriptors, whatever the memory.
pub(super) fn connections_within(limit: u64, asked: Option<u64>, cores: usize) -> Result<u64, MachineError> {
    if limit < DESCRIPTORS_MIN {
        return Err(MachineError::TooFewDescriptors(limit));
    }
    let reserved = descriptors_reserved(cores);
    let addressable = (cores * CONNECTIONS_PER_CORE_MAX) as u64;
    let possible = limit.saturating_sub(reserved).min(addressable);
    match asked {
        _ if possible == 0 => Err(MachineError::TooFewForCores { limit, cores, needed: reserved + 1 }),
        None => Ok(possible),
        Some(asked) if asked <= possible => Ok(asked),
        Some(asked) => {
            let needed = asked.saturating_add(reserved);
            Err(MachineError::TooManyConnections { asked, needed, limit, possible })
        }
    }
}

/// Whether memory suffices for this many connections that do nothing.
pub(super) fn check_memory(memory_bytes: u64, connections: u64) -> Result<(), MachineError> {
    let is_enough = memory_bytes >= connections.saturating_mul(IDLE_CONNECTION_BYTES);
    if is_enough { Ok(()) } else { Err(MachineError::TooLittleMemory { connections, memory_bytes }) }
}

fn soft_limit(resource: Resource) -> u64 {
    getrlimit(resource).current.unwrap_or(u64::MAX)
}

/// Whether `error`, of a ring for one of `cores`, may be due to the limit on locked memory. If not, memory is short for the
/// moment.
pub(super) fn too_little_memlock(cores: usize, error: &io::Error) -> Option<MachineError> {
    let is_too_little =
        error.kind() == io::ErrorKind::OutOfMemory && soft_limit(Resource::Memlock) < memlock_needed(cores);
    is_too_little.then_some(MachineError::TooLittleMemlock(cores))
}

/// Whether glommio starts with this limit on locked memory.
pub(super) fn check_memlock(limit: u64, cores: usize) -> Result<(), MachineError> {
    if limit < MEMLOCK_MIN { Err(MachineError::TooLittleMemlock(cores)) } else { Ok(()) }
}

fn check_io_uring(cores: usize) -> Result<(), MachineError> {
    check_memlock(soft_limit(Resource::Memlock), cores)?;
    try_io_uring(cores)
}

/// Does with a ring what cores do.
pub(super) fn try_io_uring(cores: usize) -> Result<(), MachineError> {
    probe::check().map_err(|failed| match failed.error.kind() {
        io::ErrorKind::PermissionDenied => MachineError::UringForbidden(failed),
        _ if failed.error.raw_os_error() == Some(libc::ENOSYS) => MachineError::UringMissing(failed),
        _ => too_little_memlock(cores, &failed.error).unwrap_or(MachineError::UringBroken(failed)),
    })
}

/// How much memory this process may have: that of the machine, or less by its control group.
pub(super) fn memory_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    let machine = info.totalram.saturating_mul(u64::from(info.mem_unit));
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limit = group_limit(&groups, |file| fs::read_to_string(file).ok());
    limit.map_or(machine, |limit| machine.min(limit))
}

/// The least limit of the control groups that `/proc/self/cgroup` names (cgroups(7)) and of their parents.
fn group_limit(groups: &str, read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let files = groups.lines().flat_map(limit_files);
    // `max` is no number and no limit.
    files.filter_map(|file| read(&file)?.trim().parse().ok()).min()
}

/// The files that may hold a limit, by one line of `/proc/self/cgroup`: `0::/a/b` in version 2, `7:cpu,memory:/a/b` in
/// version 1.
fn limit_files(line: &str) -> Vec<PathBuf> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(group)) = (parts.next(), parts.next()) else { return Vec::new() };
    let (mount, file) = match controllers {
        "" => ("/sys/fs/cgroup", "memory.max"),
        list if list.split(',').any(|controller| controller == "memory") => {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return Vec::new(),
    };
    let groups = Path::new(group.trim_start_matches('/')).ancestors();
    groups.map(|group| Path::new(mount).join(group).join(file)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_pinned_if_they_use_all_cpus_or_if_asked() {
        let pins = |cores, pin| pins(cores, &[3, 5, 7], pin).expect("enough CPUs");
        assert_eq!(pins(3, Pin::Auto), [Some(3), Some(5), Some(7)]);
        assert_eq!(pins(2, Pin::Auto), [None; 2], "another server would take the same ones");
        assert_eq!(pins(4, Pin::Auto), [None; 4]);
        assert_eq!(pins(2, Pin::On), [Some(3), Some(5)]);
        assert_eq!(pins(3, Pin::Off), [None; 3]);
        let too_many = super::pins(4, &[3, 5, 7], Pin::On);
        assert!(matches!(too_many, Err(MachineError::TooFewCpus { cores: 4, cpus: 3 })));
    }

    #[test]
    fn the_least_limit_of_the_control_groups_counts() {
        let limit = |groups: &str, files: &[(&str, &str)]| {
            group_limit(groups, |path| {
                let file = files.iter().find(|(name, _)| Path::new(name) == path);
                file.map(|(_, text)| (*text).to_owned())
            })
        };
        let files = [
            ("/sys/fs/cgroup/a/b/memory.max", "max\n"),
            ("/sys/fs/cgroup/a/memory.max", "1000\n"),
            ("/sys/fs/cgroup/memory.max", "5000\n"),
            ("/sys/fs/cgroup/c/memory.max", "10\n"),
            ("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "2000\n"),
        ];
        assert_eq!(limit("0::/a/b\n", &files), Some(1000));
        assert_eq!(limit("0::/a/b\n", &files[..1]), None, "no limit");
        assert_eq!(limit("0::/\n", &files), Some(5000), "as a container sees it");
        assert_eq!(limit("3:cpu:/a\n7:cpuacct,memory:/a/b\n", &files), Some(2000), "version 1");
        assert_eq!(["", "nonsense\n", "3:cpu:/a\n"].map(|groups| limit(groups, &files)), [None; 3]);
    }

    #[test]
    fn more_connections_than_descriptors_are_refused() {
        let possible = connections_max(None, 2).expect("descriptors");
        assert_eq!(connections_max(Some(possible), 2).expect("exactly as many"), possible);
        for asked in [possible + 1, u64::MAX] {
            assert!(matches!(connections_max(Some(asked), 2), Err(MachineError::TooManyConnections { .. })));
        }
    }

    #[test]
    fn memory_has_to_suffice_for_idle_connections() {
        check_memory(10 * IDLE_CONNECTION_BYTES, 10).expect("exactly enough");
        let error = check_memory(10 * IDLE_CONNECTION_BYTES - 1, 10).expect_err("a byte is lacking");
        assert!(error.fix().contains("--connections-max 9 "), "{error}");
    }
}
