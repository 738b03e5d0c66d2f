//! Runs in which clients talk: prepared once, then every target in turn, pair by pair.
//!
//! Odd pairs go backwards, so that a machine which gets slower or faster meanwhile favours nobody.

use std::time::{Duration, Instant};

use anyhow::bail;
use indicatif::ProgressBar;
use serde_json::{Value, json};

use crate::cli::Common;
use crate::crowd::Crowd;
use crate::exchange::{Exchange, Script};
use crate::procfs::{Usage, machine_cpu_ns};
use crate::report::{Figures, Report, progress};
use crate::storm::Storm;
use crate::target::{self, Target};
use crate::wire::Gallery;

/// Part of a run that comes before what is measured.
pub const WARM_UP: f64 = 0.1;

/// The servers of a comparison and what they deliver.
pub struct Field {
    /// The server, then another build of it and the floors, if they were asked for.
    pub targets: Vec<Target>,
    /// How their messages look.
    pub gallery: Gallery,
    /// What a floor is told.
    pub recipe: Value,
}

impl Field {
    /// A server with names for this many clients, and what it is compared with.
    ///
    /// # Errors
    /// When one of them does not start.
    pub fn prepare(common: &Common, clients: usize) -> anyhow::Result<Field> {
        let names = target::names(clients);
        let mut targets = vec![target::server(common, clients)?];
        if let Some(binary) = &common.against {
            targets.push(target::other_server(binary, common, clients)?);
        }
        let recipe = target::recipe(targets[0].address, &names, common.texts())?;
        if common.against.is_some() && target::recipe(targets[1].address, &names, common.texts())? != recipe {
            bail!("--against: that server draws other pictures, so its deliveries cannot be compared");
        }
        if common.floor {
            targets.push(target::floor(false, None, &recipe)?);
            targets.push(target::floor(true, None, &recipe)?);
        }
        Ok(Field { targets, gallery: target::gallery(&recipe)?, recipe })
    }

    /// When something was wrong, the server's log says why.
    pub fn blame(&self, report: &Report) {
        if !report.faults.is_clean() {
            eprintln!("the server's log ends:\n{}", self.targets[0].last_words());
        }
    }

    /// Bytes of a message of the first client, in the mean over all texts.
    pub fn block_bytes(&self) -> usize {
        self.gallery.mean_block_bytes()
    }
}

/// Runs `script` on all targets, as often as the flags say.
///
/// # Errors
/// When a target can not be measured.
pub fn converse(
    report: &mut Report,
    common: &Common,
    script: &Script,
    field: &Field,
    parameters: &Value,
) -> anyhow::Result<Vec<Vec<Figures>>> {
    in_pairs(report, common, field, parameters, |target, bar| converse_once(target, field, script, common, bar))
}

/// The same for a storm of `clients`.
///
/// # Errors
/// When a target can not be measured.
pub fn storm(
    report: &mut Report,
    common: &Common,
    field: &Field,
    parameters: &Value,
) -> anyhow::Result<Vec<Vec<Figures>>> {
    in_pairs(report, common, field, parameters, |target, bar| {
        let mut storm = Storm::new(target, field.gallery.names())?;
        let mut tick = || bar.tick();
        storm.rage(Instant::now() + seconds(common.seconds * WARM_UP), &mut tick)?;
        let stopwatch = Stopwatch::start(target)?;
        storm.rage(Instant::now() + seconds(common.seconds), &mut tick)?;
        let figures = stopwatch.stop(target)?;
        Ok(Figures {
            events: storm.rounds,
            latency: storm.latency,
            faults: storm.faults,
            complaint: storm.complaint,
            ..figures
        })
    })
}

fn in_pairs(
    report: &mut Report,
    common: &Common,
    field: &Field,
    parameters: &Value,
    mut run: impl FnMut(&Target, &ProgressBar) -> anyhow::Result<Figures>,
) -> anyhow::Result<Vec<Vec<Figures>>> {
    let one = common.seconds * (1.0 + WARM_UP);
    let bar = progress(one * f64::from(common.pairs) * field.targets.len() as f64);
    let mut runs = Vec::new();
    for pair in 0..common.pairs {
        let mut order: Vec<&Target> = field.targets.iter().collect();
        if pair % 2 == 1 {
            order.reverse();
        }
        let mut figures = Vec::new();
        for target in order {
            bar.set_message(format!("{}, {} of {}", target.label, pair + 1, common.pairs));
            figures.push(run(target, &bar)?);
            bar.inc(seconds(one).as_millis() as u64);
            report.add(parameters, pair + 1, &figures[figures.len() - 1])?;
        }
        if pair % 2 == 1 {
            figures.reverse();
        }
        runs.push(figures);
    }
    bar.finish_and_clear();
    Ok(runs)
}

/// Alternates runs without and with something that disturbs, as often as the flags say. `run` is told the pair,
/// from 0, and whether it is to be disturbed. The disturbed one comes first in each pair, to be compared with the
/// other.
///
/// # Errors
/// When a run fails.
pub fn undisturbed_and_disturbed(
    report: &mut Report,
    common: &Common,
    parameters: &Value,
    mut run: impl FnMut(usize, bool) -> anyhow::Result<Figures>,
) -> anyhow::Result<Vec<Vec<Figures>>> {
    let mut runs = Vec::new();
    for pair in 0..common.pairs {
        let mut both = Vec::new();
        for disturbed in [pair % 2 == 1, pair % 2 == 0] {
            both.push(run(pair as usize, disturbed)?);
            report.add(parameters, pair + 1, &both[both.len() - 1])?;
        }
        if pair % 2 == 0 {
            both.reverse();
        }
        runs.push(both);
    }
    Ok(runs)
}

fn converse_once(
    target: &Target,
    field: &Field,
    script: &Script,
    common: &Common,
    bar: &ProgressBar,
) -> anyhow::Result<Figures> {
    let mut tick = || bar.tick();
    let mut exchange = Exchange::new(gather(target, field, script.clients)?, &field.gallery, script);
    exchange.drive(Instant::now() + seconds(common.seconds * WARM_UP), &mut tick)?;
    exchange.land(&mut tick)?;
    exchange.reset();
    let stopwatch = Stopwatch::start(target)?;
    exchange.drive(Instant::now() + seconds(common.seconds), &mut tick)?;
    exchange.land(&mut tick)?;
    let figures = stopwatch.stop(target)?;
    let (events, latency) = (exchange.tally().deliveries, exchange.tally().latency.clone());
    let (faults, complaint) = exchange.finish()?;
    Ok(Figures { events, latency, faults, complaint, ..figures })
}

/// With what a run was made, for its line of JSON.
pub fn parameters(workload: &str, script: &Script, common: &Common, block_bytes: usize) -> Value {
    json!({
        "workload": workload,
        "clients": script.clients,
        "senders": script.senders,
        "window": script.window,
        "rate": script.pace.map(|pace| 1.0 / pace.as_secs_f64()),
        "yields_percent": script.yields,
        "never_reading": script.others,
        "text_bytes": common.texts(),
        "block_bytes": block_bytes,
        "cores": common.cores,
        "server_args": common.server_args,
    })
}

/// The first so many clients of the field, logged in.
///
/// # Errors
/// When one of them is not let in.
pub fn gather(target: &Target, field: &Field, clients: usize) -> anyhow::Result<Crowd> {
    let names = field.gallery.names();
    Crowd::assemble(target.address, clients, |at| {
        (format!("login {}\n", names[at]), format!("Logged in as {}", names[at]))
    })
}

/// What target and generator use from a moment on.
pub struct Stopwatch {
    began: Instant,
    server: Usage,
    generator: Usage,
    machine_ns: u64,
}

impl Stopwatch {
    /// From now on.
    ///
    /// # Errors
    /// When the target is gone.
    pub fn start(target: &Target) -> anyhow::Result<Stopwatch> {
        let (server, generator) = (Usage::of(target.pid)?, Usage::of(std::process::id())?);
        Ok(Stopwatch { began: Instant::now(), server, generator, machine_ns: machine_cpu_ns()? })
    }

    /// Until now; what was counted is for the caller to fill in.
    ///
    /// # Errors
    /// When the target is gone.
    pub fn stop(&self, target: &Target) -> anyhow::Result<Figures> {
        let server = Usage::of(target.pid)?.since(self.server);
        let generator = Usage::of(std::process::id())?.since(self.generator);
        let machine_ns = machine_cpu_ns()?.saturating_sub(self.machine_ns);
        Ok(Figures {
            target: target.label,
            events: 0,
            seconds: self.began.elapsed().as_secs_f64(),
            server,
            generator,
            others_ns: machine_ns.saturating_sub(server.cpu_ns + generator.cpu_ns),
            latency: crate::exchange::histogram(),
            faults: crate::ledger::Faults::default(),
            complaint: None,
            more: json!({}),
        })
    }
}

/// A duration from a flag.
pub fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}
