//! What a target and the load generator use between two moments.

use std::time::Instant;

use serde_json::json;

use super::figures::{Figures, histogram};
use super::ledger::Faults;
use super::procfs::{Usage, machine_cpu_ns};
use super::target::Target;

/// A measurement under way.
pub struct Stopwatch {
    began: Instant,
    server: Usage,
    broker: Usage,
    generator: Usage,
    machine_ns: u64,
}

impl Stopwatch {
    /// From now on.
    pub fn start(target: &Target) -> anyhow::Result<Stopwatch> {
        let (server, broker) = (target.usage()?, target.broker_usage()?);
        let generator = Usage::of(std::process::id())?;
        Ok(Stopwatch { began: Instant::now(), server, broker, generator, machine_ns: machine_cpu_ns()? })
    }

    /// Until now; the caller fills in what it has counted.
    pub fn stop(&self, target: &Target) -> anyhow::Result<Figures> {
        let server = target.usage()?.since(self.server);
        let broker = target.broker_usage()?.since(self.broker);
        let generator = Usage::of(std::process::id())?.since(self.generator);
        let machine_ns = machine_cpu_ns()?.saturating_sub(self.machine_ns);
        Ok(Figures {
            target: target.label,
            events: 0,
            seconds: self.began.elapsed().as_secs_f64(),
            server,
            broker,
            generator,
            others_ns: machine_ns.saturating_sub(server.cpu_ns + generator.cpu_ns),
            latency: histogram(),
            faults: Faults::default(),
            complaint: None,
            more: json!({}),
        })
    }
}
