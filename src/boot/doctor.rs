//! `cowchat doctor`: what this machine allows a server, each with the command that mends it.
//!
//! [`Facts`] are read; what they mean is decided by [`checks`], which reads nothing. The errors of io_uring and of the limits are
//! those with which `serve` ends.

use std::fmt::{self, Display};
use std::fs;

use rustix::process::{Resource, getrlimit};
use serde::Serialize;

use super::machine;
use crate::cli::DoctorArgs;
use crate::limits::{BACKLOG, IDLE_CONNECTION_BYTES, MEMLOCK_PER_CORE};

/// A machine is not fit to run a server.
#[derive(Debug, thiserror::Error)]
#[error("{0} of the checks failed: a server does not start here, or not for as many connections")]
pub struct Unfit(usize);

/// What a check comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    /// A server runs, but not as well as it could.
    Warn,
    /// A server does not start, or not for as many connections.
    Fail,
}

/// One check.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Check {
    name: &'static str,
    status: Status,
    found: String,
    /// What mends it; empty if nothing is wrong.
    fix: String,
}

/// What is known of the machine and the process; `None` is not readable here, as in a container.
#[derive(Debug, Clone)]
struct Facts {
    /// Why io_uring does not work, if it does not.
    uring: Result<(), String>,
    kernel: String,
    cores: usize,
    /// CPUs that the process may run on, and those that a quota leaves of them.
    cpus: usize,
    cpus_by_quota: usize,
    /// Soft and hard.
    descriptors: [u64; 2],
    memlock: [u64; 2],
    memory_bytes: u64,
    somaxconn: Option<u64>,
    syn_backlog: Option<u64>,
    files_all: Option<u64>,
    files_process: Option<u64>,
    /// In pages: above it the kernel drops what it receives.
    tcp_pages: Option<u64>,
    conntrack: Option<u64>,
    ports: Option<u64>,
}

impl Facts {
    fn read() -> Facts {
        let number = |name: &str| sysctl(name)?.parse().ok();
        let numbers = |name: &str| -> Option<Vec<u64>> {
            sysctl(name)?.split_whitespace().map(|word| word.parse().ok()).collect()
        };
        let limit = |resource| {
            let limit = getrlimit(resource);
            [limit.current, limit.maximum].map(|limit| limit.unwrap_or(u64::MAX))
        };
        let cpus = machine::usable_cpus().len();
        let cpus_by_quota = std::thread::available_parallelism().map_or(1, usize::from).min(cpus);
        Facts {
            uring: machine::check_io_uring(1).map_err(|error| error.to_string()),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            cores: cpus_by_quota,
            cpus,
            cpus_by_quota,
            descriptors: limit(Resource::Nofile),
            memlock: limit(Resource::Memlock),
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

    /// Connections that the descriptors allow.
    fn possible(&self) -> u64 {
        self.descriptors[1].saturating_sub(machine::descriptors_reserved(self.cores))
    }
}

fn sysctl(name: &str) -> Option<String> {
    fs::read_to_string(format!("/proc/sys/{name}")).ok().map(|text| text.trim().to_owned())
}

/// All checks for this many connections.
fn checks(facts: &Facts, connections: u64) -> Vec<Check> {
    let check = |name, is_fine: bool, otherwise, found: String, fix: String| Check {
        name,
        status: if is_fine { Status::Ok } else { otherwise },
        found,
        fix: if is_fine { String::new() } else { fix },
    };
    let sysctl = |name, value: Option<u64>, needed: u64, key: &str| {
        let found = value.map_or("not readable here".to_owned(), |value| value.to_string());
        let fix = format!("sudo sysctl -w {key}={needed}");
        check(name, value.is_none_or(|value| value >= needed), Status::Warn, found, fix)
    };
    let descriptors = connections.saturating_add(machine::descriptors_reserved(facts.cores));
    let memlock = facts.cores as u64 * MEMLOCK_PER_CORE;
    let memory = connections.saturating_mul(IDLE_CONNECTION_BYTES);
    let [uring, uring_fix] = match &facts.uring {
        Ok(()) => ["a ring takes every call", ""],
        Err(error) => error.split_once(": ").map_or([error.as_str(), error.as_str()], |(what, fix)| [what, fix]),
    };
    // What waits in the kernel: a page for each connection.
    let pages = connections;
    vec![
        check("io_uring", facts.uring.is_ok(), Status::Fail, uring.to_owned(), uring_fix.to_owned()),
        kernel(&facts.kernel),
        check(
            "descriptors",
            facts.descriptors[1] >= descriptors,
            Status::Fail,
            format!("{} (hard limit), {descriptors} needed for {connections} connections", Limit(facts.descriptors[1])),
            format!("ulimit -n {descriptors}, or LimitNOFILE={descriptors} in the unit"),
        ),
        check(
            "locked memory",
            facts.memlock[1] >= memlock,
            Status::Warn,
            format!(
                "{} KiB (hard limit), {} KiB for {} cores on any kernel",
                Limit(facts.memlock[1] / 1024),
                memlock / 1024,
                facts.cores
            ),
            format!("ulimit -l {}, or LimitMEMLOCK={memlock} in the unit", memlock / 1024),
        ),
        check(
            "memory",
            facts.memory_bytes / 2 >= memory,
            if facts.memory_bytes >= memory { Status::Warn } else { Status::Fail },
            format!("{} MiB, {} MiB for {connections} idle connections", facts.memory_bytes >> 20, memory >> 20),
            format!("give the machine or the control group {} MiB, or lower --connections-max", (2 * memory) >> 20),
        ),
        check(
            "cpus",
            facts.cpus_by_quota == facts.cpus,
            Status::Warn,
            format!("{}, of which a quota leaves {}", facts.cpus, facts.cpus_by_quota),
            "raise CPUQuota in the unit or --cpus of the container, or pin it to as many CPUs as it may use".to_owned(),
        ),
        sysctl("accept queue", facts.somaxconn, BACKLOG.unsigned_abs().into(), "net.core.somaxconn"),
        sysctl("handshakes", facts.syn_backlog, 1024, "net.ipv4.tcp_max_syn_backlog"),
        sysctl("files of the system", facts.files_all, descriptors, "fs.file-max"),
        sysctl("files of a process", facts.files_process, descriptors, "fs.nr_open"),
        check(
            "tcp memory",
            facts.tcp_pages.is_none_or(|most| most >= pages),
            Status::Warn,
            facts.tcp_pages.map_or("not readable here".to_owned(), |most| format!("{most} pages")),
            format!("sudo sysctl -w net.ipv4.tcp_mem=\"{} {} {}\"", pages / 2, pages, 2 * pages),
        ),
        check(
            "connection tracking",
            facts.conntrack.is_none_or(|most| most >= 2 * connections),
            Status::Warn,
            facts.conntrack.map_or("not in use".to_owned(), |most| format!("{most} connections")),
            format!("sudo sysctl -w net.netfilter.nf_conntrack_max={}", 2 * connections),
        ),
        check(
            "ports of a client",
            facts.ports.is_none_or(|ports| ports >= connections),
            Status::Warn,
            facts
                .ports
                .map_or("not readable here".to_owned(), |ports| format!("{ports}, of one address to this server")),
            "sudo sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\" (on machines that make load)".to_owned(),
        ),
    ]
}

/// Linux 5.13 is needed, which io_uring shows; 6.1 interrupts a core less.
fn kernel(release: &str) -> Check {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let (status, fix) = match version {
        (6.., _) if version >= (6, 1) => (Status::Ok, ""),
        _ if version >= (5, 13) => (Status::Warn, "Linux 6.1 or later costs a core less"),
        _ => (Status::Fail, "use Linux 5.13 or later, better 6.1"),
    };
    Check { name: "kernel", status, found: release.to_owned(), fix: fix.to_owned() }
}

/// A limit, which may be none.
struct Limit(u64);

impl Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 >= u64::MAX / 1024 { f.write_str("unlimited") } else { self.0.fmt(f) }
    }
}

/// The text of `cowchat doctor`, and whether the machine is fit. Blocks as long as the kernel needs.
pub fn examine(args: &DoctorArgs) -> (String, Result<(), Unfit>) {
    let facts = Facts::read();
    let connections = args.connections.unwrap_or_else(|| facts.possible());
    let checks = checks(&facts, connections);
    let failed = checks.iter().filter(|check| check.status == Status::Fail).count();
    let text = if args.json {
        format!("{}\n", serde_json::json!({ "ok": failed == 0, "connections": connections, "checks": checks }))
    } else {
        checks.iter().map(line).collect()
    };
    (text, if failed == 0 { Ok(()) } else { Err(Unfit(failed)) })
}

fn line(check: &Check) -> String {
    let status = match check.status {
        Status::Ok => "ok",
        Status::Warn => "warn",
        Status::Fail => "FAIL",
    };
    let fix = if check.fix.is_empty() { String::new() } else { format!(": {}", check.fix) };
    format!("{status:4}  {:19}  {}{fix}\n", check.name, check.found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine on which nothing is wrong for 1,000 connections.
    fn good() -> Facts {
        Facts {
            uring: Ok(()),
            kernel: "6.1.0-18-amd64".to_owned(),
            cores: 2,
            cpus: 2,
            cpus_by_quota: 2,
            descriptors: [1024, 1064],
            memlock: [1 << 20; 2],
            memory_bytes: 2 * 1000 * IDLE_CONNECTION_BYTES,
            somaxconn: Some(4096),
            syn_backlog: Some(1024),
            files_all: Some(1064),
            files_process: Some(1064),
            tcp_pages: Some(1000),
            conntrack: Some(2000),
            ports: Some(1000),
        }
    }

    /// The checks that are not fine, if `change` is made to a good machine.
    fn wrong(change: impl FnOnce(&mut Facts)) -> Vec<(&'static str, Status)> {
        let mut facts = good();
        change(&mut facts);
        let checks = checks(&facts, 1000);
        assert!(checks.iter().all(|check| check.fix.is_empty() == (check.status == Status::Ok)), "{checks:?}");
        checks.iter().map(|check| (check.name, check.status)).filter(|(_, status)| *status != Status::Ok).collect()
    }

    #[test]
    fn each_bound_has_two_sides() {
        use Status::{Fail, Warn};
        assert_eq!(wrong(|_| {}), []);
        assert_eq!(wrong(|facts| facts.uring = Err("it is forbidden: allow it".to_owned())), [("io_uring", Fail)]);
        assert_eq!(wrong(|facts| facts.kernel = "6.0.1".to_owned()), [("kernel", Warn)]);
        assert_eq!(wrong(|facts| facts.kernel = "5.13.0".to_owned()), [("kernel", Warn)]);
        assert_eq!(wrong(|facts| facts.kernel = "5.12.9".to_owned()), [("kernel", Fail)]);
        assert_eq!(wrong(|facts| facts.descriptors[1] -= 1), [("descriptors", Fail)]);
        assert_eq!(wrong(|facts| facts.memlock[1] -= 1), [("locked memory", Warn)]);
        assert_eq!(wrong(|facts| facts.memory_bytes -= 2), [("memory", Warn)]);
        assert_eq!(wrong(|facts| facts.memory_bytes = facts.memory_bytes / 2 - 1), [("memory", Fail)]);
        assert_eq!(wrong(|facts| facts.cpus_by_quota = 1), [("cpus", Warn)]);
        assert_eq!(wrong(|facts| facts.somaxconn = Some(4095)), [("accept queue", Warn)]);
        assert_eq!(wrong(|facts| facts.syn_backlog = Some(1023)), [("handshakes", Warn)]);
        assert_eq!(wrong(|facts| facts.files_all = Some(1063)), [("files of the system", Warn)]);
        assert_eq!(wrong(|facts| facts.files_process = Some(1063)), [("files of a process", Warn)]);
        assert_eq!(wrong(|facts| facts.tcp_pages = Some(999)), [("tcp memory", Warn)]);
        assert_eq!(wrong(|facts| facts.conntrack = Some(1999)), [("connection tracking", Warn)]);
        assert_eq!(wrong(|facts| facts.ports = Some(999)), [("ports of a client", Warn)]);
    }

    #[test]
    fn what_cannot_be_read_is_no_fault() {
        let hidden = |facts: &mut Facts| {
            (facts.somaxconn, facts.syn_backlog, facts.files_all, facts.files_process) = (None, None, None, None);
            (facts.tcp_pages, facts.conntrack, facts.ports) = (None, None, None);
        };
        assert_eq!(wrong(hidden), []);
    }
}
