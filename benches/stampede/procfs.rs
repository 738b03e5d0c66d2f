//! What the kernel says about a process (CPU time, switches, memory) and about this machine.
//!
//! CPU time is the sum over each thread's `schedstat`, in nanoseconds, user and system together: a process's `stat` counts
//! ticks of 10 ms.

use std::fs;
use std::io;
use std::process::Command;
use std::str::FromStr;

use anyhow::Context;
use serde_json::{Value, json};

/// Linux counts the CPU time of a machine in hundredths of a second for user space (USER_HZ).
const NS_PER_TICK: u64 = 10_000_000;

/// What a process has used so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// CPU time of all its threads.
    pub cpu_ns: u64,
    /// How often one of its threads went to sleep by itself.
    pub switches: u64,
}

impl Usage {
    /// Of process `pid`.
    pub fn of(pid: u32) -> anyhow::Result<Usage> {
        let mut usage = Usage::default();
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("process {pid} is gone"))?;
        for task in tasks {
            let task = task?.path();
            // A thread may end between the two readings.
            let Ok(schedstat) = fs::read_to_string(task.join("schedstat")) else { continue };
            let Ok(status) = fs::read_to_string(task.join("status")) else { continue };
            usage.cpu_ns += first_number(&schedstat).unwrap_or(0);
            usage.switches += field(&status, "voluntary_ctxt_switches:");
        }
        Ok(usage)
    }

    /// What was used since `earlier`.
    pub fn since(self, earlier: Usage) -> Usage {
        Usage { cpu_ns: self.cpu_ns - earlier.cpu_ns, switches: self.switches.saturating_sub(earlier.switches) }
    }
}

impl std::iter::Sum for Usage {
    fn sum<I: Iterator<Item = Usage>>(usages: I) -> Usage {
        let add = |sum: Usage, usage: Usage| Usage {
            cpu_ns: sum.cpu_ns + usage.cpu_ns,
            switches: sum.switches + usage.switches,
        };
        usages.fold(Usage::default(), add)
    }
}

/// CPU time of a thread of this process in nanoseconds.
pub fn thread_cpu_ns(thread: u32) -> io::Result<u64> {
    let schedstat = fs::read_to_string(format!("/proc/self/task/{thread}/schedstat"))?;
    Ok(first_number(&schedstat).unwrap_or(0))
}

/// The machine's load average over the last minute.
pub fn load() -> io::Result<f64> {
    Ok(first_number(&fs::read_to_string("/proc/loadavg")?).unwrap_or(f64::NAN))
}

/// CPU time of all processes of this machine so far, and what its host took for other machines, in nanoseconds. Exact to some
/// ticks of 10 ms.
pub fn machine_cpu_ns() -> io::Result<u64> {
    let stat = fs::read_to_string("/proc/stat")?;
    // user, nice, system, idle, iowait, irq, softirq, steal; guests are part of user.
    let fields: Vec<u64> = stat.split_whitespace().skip(1).take(8).filter_map(|field| field.parse().ok()).collect();
    let busy = fields.iter().enumerate().filter(|(index, _)| !matches!(index, 3 | 4));
    Ok(busy.map(|(_, ticks)| ticks).sum::<u64>() * NS_PER_TICK)
}

/// Resident memory of a process in bytes.
pub fn rss_bytes(pid: u32) -> io::Result<u64> {
    Ok(field(&fs::read_to_string(format!("/proc/{pid}/status"))?, "VmRSS:") * 1024)
}

/// The kernel's slabs and TCP buffers in bytes, for all processes of this machine: differences are an estimate.
pub fn kernel_bytes() -> io::Result<u64> {
    let slab = field(&fs::read_to_string("/proc/meminfo")?, "Slab:") * 1024;
    let sockets = fs::read_to_string("/proc/net/sockstat")?;
    let tcp = sockets.lines().find(|line| line.starts_with("TCP:")).unwrap_or_default();
    let pages: u64 = tcp.rsplit(' ').next().and_then(|pages| pages.parse().ok()).unwrap_or(0);
    let page = field(&fs::read_to_string("/proc/self/smaps")?, "KernelPageSize:") * 1024;
    Ok(slab + pages * page)
}

/// Where and with what a run was made.
pub fn provenance() -> Value {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1)).unwrap_or("unknown");
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(["-C", env!("CARGO_MANIFEST_DIR")]).args(arguments).output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
    };
    json!({
        "cpu": model,
        "cpus": std::thread::available_parallelism().map_or(0, usize::from),
        "kernel": kernel.trim(),
        "commit": git(&["rev-parse", "--short=12", "HEAD"]),
        // Each run changes these files.
        "changed": !git(&["status", "--porcelain", "--untracked-files=no", ":!benches/runs"]).is_empty(),
        "unix_time": std::time::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_secs()),
    })
}

fn first_number<N: FromStr>(text: &str) -> Option<N> {
    text.split(' ').next()?.parse().ok()
}

/// The number after `name` at the start of a line.
fn field(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    value.and_then(|value| value.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
