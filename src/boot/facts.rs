//! What is known of the machine and of this process, for `doctor`: read, not judged.

use std::fs;

use rustix::process::{Resource, getrlimit};

use super::machine;
use super::machine_error::MachineError;

/// CAP_IPC_LOCK in capabilities(7).
const IPC_LOCK: u64 = 1 << 14;

/// `None` is not readable here, as in a container.
#[derive(Debug)]
pub(super) struct Facts {
    /// What of io_uring does not work, if anything does not.
    pub(super) uring: Result<(), MachineError>,
    /// kernel.io_uring_disabled, since Linux 6.6: 1 and 2 forbid it to some or all.
    pub(super) uring_disabled: Option<u64>,
    pub(super) kernel: Option<String>,
    pub(super) cores: usize,
    /// CPUs that the process may run on, and those that a quota leaves of them.
    pub(super) cpus: usize,
    pub(super) cpus_by_quota: usize,
    /// The CPUs that the process may run on, and those of the machine, as the kernel lists them.
    pub(super) cpuset: Option<[String; 2]>,
    /// Soft and hard.
    pub(super) descriptors: [u64; 2],
    pub(super) memlock: [u64; 2],
    /// The limit on locked memory does not hold for this process.
    pub(super) locks_all: bool,
    pub(super) memory_bytes: u64,
    pub(super) somaxconn: Option<u64>,
    pub(super) syn_backlog: Option<u64>,
    pub(super) files_all: Option<u64>,
    pub(super) files_process: Option<u64>,
    /// In pages: above it the kernel drops what it receives.
    pub(super) tcp_pages: Option<u64>,
    pub(super) conntrack: Option<u64>,
    pub(super) ports: Option<u64>,
}

impl Facts {
    /// Of this process, with limits as they are; `uring` is called first, and may raise them.
    pub(super) fn read(uring: impl FnOnce() -> Result<(), MachineError>) -> Facts {
        let numbers = |name: &str| -> Option<Vec<u64>> {
            sysctl(name)?.split_whitespace().map(|word| word.parse().ok()).collect()
        };
        let number = |name: &str| numbers(name)?.first().copied();
        let limit = |resource| {
            let limit = getrlimit(resource);
            [limit.current, limit.maximum].map(|limit| limit.unwrap_or(u64::MAX))
        };
        let [descriptors, memlock] = [Resource::Nofile, Resource::Memlock].map(limit);
        let cpus = machine::usable_cpus().len();
        let cpus_by_quota = std::thread::available_parallelism().map_or(1, usize::from).min(cpus);
        let status = read("/proc/self/status").unwrap_or_default();
        let cpuset =
            || Some([field(&status, "Cpus_allowed_list")?.to_owned(), read("/sys/devices/system/cpu/online")?]);
        Facts {
            uring: uring(),
            uring_disabled: number("kernel/io_uring_disabled"),
            kernel: sysctl("kernel/osrelease"),
            cores: cpus_by_quota,
            cpus,
            cpus_by_quota,
            cpuset: cpuset(),
            descriptors,
            memlock,
            locks_all: may_lock_all(&status, &read("/proc/self/uid_map").unwrap_or_default()),
            memory_bytes: machine::memory_bytes(),
            somaxconn: number("net/core/somaxconn"),
            syn_backlog: number("net/ipv4/tcp_max_syn_backlog"),
            files_all: number("fs/file-max"),
            files_process: number("fs/nr_open"),
            tcp_pages: numbers("net/ipv4/tcp_mem").and_then(|pages| pages.last().copied()),
            conntrack: number("net/netfilter/nf_conntrack_max"),
            ports: numbers("net/ipv4/ip_local_port_range")
                .and_then(|range| Some(range.last()?.saturating_sub(*range.first()?) + 1)),
        }
    }
}

fn read(file: &str) -> Option<String> {
    fs::read_to_string(file).ok().map(|text| text.trim().to_owned())
}

fn sysctl(name: &str) -> Option<String> {
    read(&format!("/proc/sys/{name}"))
}

/// A field of `/proc/self/status`.
fn field<'s>(status: &'s str, name: &str) -> Option<&'s str> {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// Whether the process has CAP_IPC_LOCK outside of user namespaces, by its status and its `uid_map`: in one of them the
/// kernel does not ask for it.
fn may_lock_all(status: &str, uid_map: &str) -> bool {
    let capabilities = field(status, "CapEff").and_then(|text| u64::from_str_radix(text, 16).ok()).unwrap_or(0);
    capabilities & IPC_LOCK != 0 && uid_map.split_whitespace().eq(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capability_of_a_user_namespace_locks_no_memory() {
        let all = "Name:\tcowchat\nCapEff:\t000001ffffffffff\n";
        let whole = "         0          0 4294967295\n";
        assert!(may_lock_all(all, whole));
        assert!(!may_lock_all(all, "0 1000 1\n"));
        assert!(!may_lock_all("CapEff:\t000001ffffffbfff\n", whole), "all but CAP_IPC_LOCK");
        assert!(!may_lock_all("", "") && !may_lock_all("", whole));
    }
}
