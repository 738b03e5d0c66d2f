//! `cowchat doctor`: what this machine allows a server, each with the command that mends it.
//!
//! [`Facts`] are read; what they mean is decided by [`checks`], which reads nothing. What ends a start is a [`MachineError`] here
//! and there. `serve` logs what this page would warn of.

use std::fmt::{self, Display};

use serde::Serialize;

use super::facts::Facts;
use super::machine;
use super::machine_error::{MachineError, descriptors_reserved, lower_connections, memlock_needed, raise_memlock};
use crate::cli::DoctorArgs;
use crate::limits::{BACKLOG, IDLE_CONNECTION_BYTES, TCP_PAGES_PER_CONNECTION};

/// For machines that make load, not for a server.
const CLIENT_PORTS: &str = "ports of a client";

/// A server that starts fewer cores for lack of it says so by an event of its own.
const LOCKED_MEMORY: &str = "locked memory";

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
pub(super) struct Check {
    pub(super) name: &'static str,
    status: Status,
    pub(super) found: String,
    /// What mends it; empty if nothing is wrong.
    pub(super) fix: String,
}

impl Check {
    fn ok(name: &'static str, found: String) -> Check {
        Check { name, status: Status::Ok, found, fix: String::new() }
    }

    /// A warning unless `is_fine`.
    fn warns(name: &'static str, is_fine: bool, found: String, fix: String) -> Check {
        if is_fine { Check::ok(name, found) } else { Check { name, status: Status::Warn, found, fix } }
    }

    /// With what is wrong in place of `found`, if anything is.
    fn fails(name: &'static str, outcome: &Result<(), MachineError>, found: String) -> Check {
        match outcome {
            Ok(()) => Check::ok(name, found),
            Err(error) => Check { name, status: Status::Fail, found: error.found(), fix: error.fix() },
        }
    }

    /// With `limits` before what is wrong.
    fn after(mut self, limits: &str) -> Check {
        if self.status != Status::Ok {
            self.found = format!("{limits}; {}", self.found);
        }
        self
    }

    /// A warning if a number of the kernel is less than needed.
    fn sysctl(name: &'static str, value: Option<u64>, needed: u64, key: &str) -> Check {
        let fix = format!("sudo sysctl -w {key}={needed}");
        Check::warns(name, value.is_none_or(|value| value >= needed), or_hidden(value), fix)
    }
}

fn or_hidden(value: Option<impl ToString>) -> String {
    value.map_or("not readable here".to_owned(), |value| value.to_string())
}

/// All checks for this many connections.
fn checks(facts: &Facts, connections: u64) -> Vec<Check> {
    let files = connections.saturating_add(descriptors_reserved(facts.cores));
    vec![
        Check::fails("io_uring", &facts.uring, "a ring does every operation in use".to_owned()),
        uring_sysctl(facts),
        kernel(facts.kernel.as_deref()),
        descriptors(facts, connections),
        locked_memory(facts),
        memory(facts.memory_bytes, connections),
        Check::warns(
            "cpu quota",
            facts.cpus_by_quota == facts.cpus,
            format!("{} of {} CPUs at a time", facts.cpus_by_quota, facts.cpus),
            format!("sudo systemctl set-property cowchat CPUQuota={0}00%  # --cpus {0} in a container", facts.cpus),
        ),
        Check::ok(
            "cpuset",
            or_hidden(facts.cpuset.as_ref().map(|[allowed, online]| format!("CPUs {allowed} of {online}"))),
        ),
        Check::sysctl("accept queue", facts.somaxconn, BACKLOG.unsigned_abs().into(), "net.core.somaxconn"),
        Check::sysctl("handshakes", facts.syn_backlog, 1024, "net.ipv4.tcp_max_syn_backlog"),
        Check::sysctl("files of the system", facts.files_all, files, "fs.file-max"),
        Check::sysctl("files of a process", facts.files_process, files, "fs.nr_open"),
        tcp_memory(facts.tcp_pages, connections),
        Check::warns(
            "connection tracking",
            facts.conntrack.is_none_or(|most| most >= 2 * connections),
            facts.conntrack.map_or("not in use".to_owned(), |most| format!("{most} connections")),
            format!("sudo sysctl -w net.netfilter.nf_conntrack_max={}", 2 * connections),
        ),
        Check::warns(
            CLIENT_PORTS,
            facts.ports.is_none_or(|ports| ports >= connections),
            or_hidden(facts.ports.map(|ports| format!("{ports} for one address and this server"))),
            "sudo sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\"  # on machines that make load, and proxies"
                .to_owned(),
        ),
    ]
}

/// Where a ring works, this process may have one whatever the sysctl forbids to others.
fn uring_sysctl(facts: &Facts) -> Check {
    let name = "io_uring_disabled";
    let found = or_hidden(facts.uring_disabled);
    if facts.uring.is_ok() || matches!(facts.uring_disabled, None | Some(0)) {
        return Check::ok(name, found);
    }
    Check { name, status: Status::Fail, found, fix: "sudo sysctl -w kernel.io_uring_disabled=0".to_owned() }
}

/// Linux 5.13 is needed, which io_uring shows; 6.1 interrupts a core less.
fn kernel(release: Option<&str>) -> Check {
    let numbers = release.unwrap_or_default().split(|c: char| !c.is_ascii_digit());
    let mut numbers = numbers.map(|number| number.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let (status, fix) = match version {
        _ if release.is_none() || version >= (6, 1) => (Status::Ok, ""),
        _ if version >= (5, 13) => (Status::Warn, "use Linux 6.1 or later, on which a core costs less"),
        _ => (Status::Fail, "use Linux 5.13 or later, better 6.1"),
    };
    Check { name: "kernel", status, found: or_hidden(release), fix: fix.to_owned() }
}

/// The server raises the soft limit to the hard one.
fn descriptors(facts: &Facts, connections: u64) -> Check {
    let [_, hard] = facts.descriptors;
    let outcome = machine::connections_within(hard, Some(connections), facts.cores).map(drop);
    let limits = soft_and_hard(facts.descriptors, 1);
    Check::fails("descriptors", &outcome, format!("{limits}, for {connections} connections")).after(&limits)
}

/// Without enough for all cores fewer start, unless the process may lock all.
fn locked_memory(facts: &Facts) -> Check {
    let name = LOCKED_MEMORY;
    let [_, hard] = facts.memlock;
    let limits = soft_and_hard(facts.memlock, 1024);
    let found = format!("{limits} KiB{}", if facts.locks_all { ", and CAP_IPC_LOCK" } else { "" });
    let outcome = machine::check_memlock(hard, facts.cores);
    let is_enough = facts.locks_all || hard >= memlock_needed(facts.cores);
    if outcome.is_err() || is_enough {
        return Check::fails(name, &outcome, found.clone()).after(&found);
    }
    Check::warns(
        name,
        false,
        format!("{found}, which may be too little for {} cores", facts.cores),
        raise_memlock(facts.cores),
    )
}

/// Idle connections leave half of it for messages.
fn memory(bytes: u64, connections: u64) -> Check {
    let needed = connections.saturating_mul(IDLE_CONNECTION_BYTES);
    let outcome = machine::check_memory(bytes, connections);
    let found = format!("{} MiB, {} of it for {connections} idle connections", bytes >> 20, needed >> 20);
    if outcome.is_err() || bytes / 2 >= needed {
        return Check::fails("memory", &outcome, found);
    }
    Check::warns("memory", false, found, lower_connections(connections, bytes / 2))
}

fn tcp_memory(most: Option<u64>, connections: u64) -> Check {
    let needed = connections.saturating_mul(TCP_PAGES_PER_CONNECTION);
    Check::warns(
        "tcp memory",
        most.is_none_or(|most| most >= needed),
        or_hidden(most.map(|most| format!("{most} pages"))),
        format!("sudo sysctl -w net.ipv4.tcp_mem=\"{} {} {needed}\"", needed / 2, needed / 4 * 3),
    )
}

/// Of a limit, in `unit`s.
fn soft_and_hard([soft, hard]: [u64; 2], unit: u64) -> String {
    format!("{} soft, {} hard", Limit(soft / unit), Limit(hard / unit))
}

/// A limit, which may be none.
struct Limit(u64);

impl Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 >= u64::MAX / 1024 { f.write_str("unlimited") } else { self.0.fmt(f) }
    }
}

/// The text of `cowchat doctor`, and whether the machine is fit. Raises the soft limits; blocks as long as the kernel needs.
pub fn examine(args: &DoctorArgs) -> (String, bool) {
    let facts = Facts::read(|| {
        machine::raise_limits();
        machine::try_io_uring(1)
    });
    let [_, hard] = facts.descriptors;
    let by_descriptors = machine::connections_within(hard, None, facts.cores).unwrap_or(1);
    let possible = by_descriptors.min(facts.memory_bytes / 2 / IDLE_CONNECTION_BYTES).max(1);
    let connections = args.connections.unwrap_or(possible);
    let checks = checks(&facts, connections);
    let is_fit = checks.iter().all(|check| check.status != Status::Fail);
    let text = if args.json {
        format!("{}\n", serde_json::json!({ "ok": is_fit, "connections": connections, "checks": checks }))
    } else {
        checks.iter().map(line).collect()
    };
    (text, is_fit)
}

/// What a server warns of at its start, whose rings work, if `--connections-max` is this. Without it the limit is no plan, and
/// nothing depends on it.
pub(super) fn warnings(connections_max: Option<u64>) -> Vec<Check> {
    let mut checks = checks(&Facts::read(|| Ok(())), connections_max.unwrap_or(1));
    checks.retain(|check| check.status == Status::Warn && ![CLIENT_PORTS, LOCKED_MEMORY].contains(&check.name));
    checks
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
            uring_disabled: Some(0),
            kernel: Some("6.1.0-18-amd64".to_owned()),
            cores: 2,
            cpus: 2,
            cpus_by_quota: 2,
            cpuset: Some(["0-1".to_owned(), "0-3".to_owned()]),
            descriptors: [1024, 1064],
            memlock: [1 << 20; 2],
            locks_all: false,
            memory_bytes: 2 * 1000 * IDLE_CONNECTION_BYTES,
            somaxconn: Some(4096),
            syn_backlog: Some(1024),
            files_all: Some(1064),
            files_process: Some(1064),
            tcp_pages: Some(1000 * TCP_PAGES_PER_CONNECTION),
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
        assert_eq!(wrong(|facts| facts.uring = Err(MachineError::TooLittleMemlock(1))), [("io_uring", Fail)]);
        assert_eq!(wrong(|facts| facts.uring_disabled = Some(2)), [], "for others");
        let forbid = |facts: &mut Facts| {
            (facts.uring, facts.uring_disabled) = (Err(MachineError::TooLittleMemlock(1)), Some(2));
        };
        assert_eq!(wrong(forbid), [("io_uring", Fail), ("io_uring_disabled", Fail)]);
        assert_eq!(wrong(|facts| facts.kernel = Some("6.0.1".to_owned())), [("kernel", Warn)]);
        assert_eq!(wrong(|facts| facts.kernel = Some("5.13.0".to_owned())), [("kernel", Warn)]);
        assert_eq!(wrong(|facts| facts.kernel = Some("5.12.9".to_owned())), [("kernel", Fail)]);
        assert_eq!(wrong(|facts| facts.descriptors[1] -= 1), [("descriptors", Fail)]);
        assert_eq!(wrong(|facts| facts.memlock[1] -= 1), [("locked memory", Warn)]);
        assert_eq!(wrong(|facts| (facts.memlock[1], facts.locks_all) = (512 * 1024, true)), []);
        assert_eq!(wrong(|facts| facts.memlock[1] = 512 * 1024 - 1), [("locked memory", Fail)]);
        assert_eq!(wrong(|facts| facts.memory_bytes -= 2), [("memory", Warn)]);
        assert_eq!(wrong(|facts| facts.memory_bytes = facts.memory_bytes / 2 - 1), [("memory", Fail)]);
        assert_eq!(wrong(|facts| facts.cpus_by_quota = 1), [("cpu quota", Warn)]);
        assert_eq!(wrong(|facts| facts.somaxconn = Some(4095)), [("accept queue", Warn)]);
        assert_eq!(wrong(|facts| facts.syn_backlog = Some(1023)), [("handshakes", Warn)]);
        assert_eq!(wrong(|facts| facts.files_all = Some(1063)), [("files of the system", Warn)]);
        assert_eq!(wrong(|facts| facts.files_process = Some(1063)), [("files of a process", Warn)]);
        assert_eq!(wrong(|facts| facts.tcp_pages = Some(1000 * TCP_PAGES_PER_CONNECTION - 1)), [("tcp memory", Warn)]);
        assert_eq!(wrong(|facts| facts.conntrack = Some(1999)), [("connection tracking", Warn)]);
        assert_eq!(wrong(|facts| facts.ports = Some(999)), [("ports of a client", Warn)]);
    }

    #[test]
    fn what_cannot_be_read_is_no_fault() {
        let hidden = |facts: &mut Facts| {
            (facts.somaxconn, facts.syn_backlog, facts.files_all, facts.files_process) = (None, None, None, None);
            (facts.tcp_pages, facts.conntrack, facts.ports) = (None, None, None);
            (facts.kernel, facts.cpuset, facts.uring_disabled) = (None, None, None);
        };
        assert_eq!(wrong(hidden), []);
    }
}
