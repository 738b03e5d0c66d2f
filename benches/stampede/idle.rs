//! Connections that do nothing, and what each of them costs.
//!
//! Memory is the server's resident set before and after, and the kernel's slabs and TCP buffers before and after. These
//! belong to both ends of each connection and to all other processes of the machine, so they are an estimate.

use std::time::{Duration, Instant};

use serde_json::json;

use super::cli::Common;
use super::comparison::Comparison;
use super::crowd::Crowd;
use super::exchange::Exchange;
use super::figures::Figures;
use super::procfs::{Usage, kernel_bytes, rss_bytes};
use super::report::Report;
use super::script::Script;
use super::stopwatch::Stopwatch;

/// Rest before CPU time is counted: the server is done with the new connections by then.
const REST_BEFORE: Duration = Duration::from_secs(1);

/// Rest whose CPU time is counted.
const REST: Duration = Duration::from_secs(10);

/// Opens `clients` connections, logged in or not, and lets them rest.
#[expect(clippy::disallowed_methods, reason = "it measures a server at rest")]
pub fn run(report: &mut Report, common: &Common, clients: usize, registered: bool) -> anyhow::Result<()> {
    let comparison = Comparison::prepare(common, if registered { clients } else { 1 })?;
    let server = comparison.server();
    let memory = || anyhow::Ok((rss_bytes(server.pid)? as f64, kernel_bytes()? as f64));
    let before = memory()?;
    let arriving = Stopwatch::start(server)?;
    let crowd = if registered {
        comparison.log_in(server, clients)?
    } else {
        Crowd::assemble(&server.addresses(), clients, |_| ("help\n".to_owned(), "commands: ".to_owned()))?
    };
    let arrival_us = arriving.stop(server)?.server.cpu_ns as f64 / 1e3 / clients as f64;
    let after = memory()?;
    let each = |from: f64, to: f64| (to - from) / clients as f64 / 1024.0;
    let (rss_kib, kernel_kib) = (each(before.0, after.0), each(before.1, after.1));

    std::thread::sleep(REST_BEFORE);
    let stopwatch = Stopwatch::start(server)?;
    std::thread::sleep(REST);
    let Figures { server: Usage { cpu_ns, switches }, seconds, .. } = stopwatch.stop(server)?;
    let per_core = |count: f64| count / seconds / common.cores as f64;
    let (rest_ms, rest_switches) = (per_core(cpu_ns as f64 / 1e6), per_core(switches as f64));

    report.say(&format!("\nidle: {clients} connections, {}\n", if registered { "logged in" } else { "not logged in" }));
    let arrival = if registered { "connect and log in " } else { "connect, first line" };
    report.say(&format!("CPU to {arrival}        {arrival_us:>10.2} us"));
    report.say(&format!("resident memory of the server     {rss_kib:>10.2} KiB a connection"));
    report.say(&format!("kernel memory, both ends, about   {kernel_kib:>10.2} KiB a connection"));
    report.say(&format!("CPU at rest                       {rest_ms:>10.2} ms a second and core"));
    report.say(&format!("wake-ups at rest                  {rest_switches:>10.2} a second and core"));
    report.say_load();
    let mut figures = json!({
        "arrival_cpu_us": arrival_us,
        "rss_kib_per_connection": rss_kib,
        "kernel_kib_per_connection_estimate": kernel_kib,
        "rest_cpu_ms_per_second_and_core": rest_ms,
        "rest_switches_per_second_and_core": rest_switches,
    });
    if registered {
        let script = Script { clients, ..Script::to_all(1) };
        let mut exchange = Exchange::new(crowd, &comparison.gallery, &script);
        exchange.drive(Instant::now())?;
        exchange.drain()?;
        let latency = &exchange.tally().latency;
        let (p50, max) = (latency.value_at_quantile(0.5) as f64 / 1e6, latency.max() as f64 / 1e6);
        let yielded_kib = each(before.0, rss_bytes(server.pid)? as f64);
        let (faults, complaint) = exchange.finish()?;
        report.say(&format!("one yield to all: half have it after {p50:>8.1} ms, all after {max:.1} ms"));
        report.say(&format!("resident memory after that        {yielded_kib:>10.2} KiB a connection"));
        report.add_faults((faults, complaint));
        figures["yield_ms_p50"] = json!(p50);
        figures["yield_ms_max"] = json!(max);
        figures["rss_kib_per_connection_after_yield"] = json!(yielded_kib);
        figures["lost"] = json!(faults.lost);
    }
    let parameters = json!({ "workload": "idle", "clients": clients, "registered": registered, "cores": common.cores });
    report.line(&parameters, &figures)
}
