//! The servers of a comparison: prepared once, then measured in turn, pair by pair.
//!
//! Every second pair goes backwards, so a machine that gets slower or faster meanwhile favours no target.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anyhow::bail;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use super::cli::Common;
use super::crowd::{Crowd, wait_for_users};
use super::exchange::Exchange;
use super::figures::{Figures, Runs};
use super::report::Report;
use super::script::Script;
use super::stopwatch::Stopwatch;
use super::target::{self, Target};
use super::wire::Gallery;

/// The part of a run that precedes what is measured.
const WARM_UP: f64 = 0.1;

/// Targets, and what they deliver.
pub struct Comparison {
    /// The flags.
    pub common: Common,
    /// The server, then another build of it and the floors, if the flags ask for them.
    pub targets: Vec<Target>,
    /// How their messages look.
    pub gallery: Gallery,
    /// What a floor reads from stdin.
    pub recipe: Value,
}

impl Comparison {
    /// A server with names for this many clients, and what it is compared with.
    pub fn prepare(common: &Common, clients: usize) -> anyhow::Result<Comparison> {
        let names = target::names(clients);
        let mut targets = vec![target::server(common, clients)?];
        if let Some(binary) = &common.against {
            targets.push(target::other_server(binary, common, clients)?);
        }
        let recipe = target::recipe(targets[0].address, &names, common.texts())?;
        if common.against.is_some() && target::recipe(targets[1].address, &names, common.texts())? != recipe {
            bail!("--against: that server draws other pictures, so its deliveries cannot be compared");
        }
        if let Some(servers) = common.cluster {
            targets.push(target::cluster(common, servers, clients)?);
        }
        if common.floor {
            targets.push(target::floor(false, None, &recipe)?);
            targets.push(target::floor(true, None, &recipe)?);
        }
        Ok(Comparison { common: common.clone(), targets, gallery: target::gallery(&recipe)?, recipe })
    }

    /// The server that is compared.
    pub fn server(&self) -> &Target {
        &self.targets[0]
    }

    /// The first `clients` clients, logged in.
    pub fn log_in(&self, target: &Target, clients: usize) -> anyhow::Result<Crowd> {
        let names = self.gallery.names();
        let addresses = target.addresses();
        let crowd = Crowd::assemble(&addresses, clients, |client| {
            (format!("login {}\n", names[client]), format!("Logged in as {}", names[client]))
        })?;
        if addresses.len() > 1 {
            // One server hears of the users of another a moment later.
            addresses.into_iter().try_for_each(|address| wait_for_users(address, clients))?;
        }
        Ok(crowd)
    }

    /// The clients of `script`, logged in and about to talk.
    pub fn exchange<'a>(&'a self, target: &Target, script: &'a Script) -> anyhow::Result<Exchange<'a>> {
        Ok(Exchange::new(self.log_in(target, script.clients)?, &self.gallery, script))
    }

    /// How long a run is measured.
    pub fn run_time(&self) -> Duration {
        Duration::from_secs_f64(self.common.seconds)
    }

    /// How long it warms up before that.
    pub fn warm_up_time(&self) -> Duration {
        self.run_time().mul_f64(WARM_UP)
    }

    /// Talks without being measured, until all is as it will stay.
    pub fn warm_up(&self, exchange: &mut Exchange<'_>) -> anyhow::Result<()> {
        exchange.drive(Instant::now() + self.warm_up_time())?;
        exchange.drain()?;
        exchange.reset();
        Ok(())
    }

    /// Talks and is measured.
    pub fn measure(&self, target: &Target, exchange: &mut Exchange<'_>) -> anyhow::Result<Figures> {
        let stopwatch = Stopwatch::start(target)?;
        exchange.drive(Instant::now() + self.run_time())?;
        exchange.drain()?;
        stopwatch.stop(target)
    }

    /// Runs `script` on all targets, as often as the flags say.
    pub fn converse(&self, report: &mut Report, script: &Script, parameters: &Value) -> anyhow::Result<Runs> {
        self.in_pairs(report, parameters, |target| {
            let mut exchange = self.exchange(target, script)?;
            self.warm_up(&mut exchange)?;
            let measured = self.measure(target, &mut exchange)?;
            exchange.figures(measured)
        })
    }

    /// Runs all targets in turn, as often as the flags say.
    pub fn in_pairs(
        &self,
        report: &mut Report,
        parameters: &Value,
        mut run: impl FnMut(&Target) -> anyhow::Result<Figures>,
    ) -> anyhow::Result<Runs> {
        let pairs = self.common.pairs;
        let bar = progress_bar(u64::from(pairs) * self.targets.len() as u64);
        let mut runs = Vec::new();
        for pair in 0..pairs {
            let figures = in_turns(self.targets.iter().collect(), pair, |target| {
                bar.set_message(format!("{}, {} of {pairs}", target.label, pair + 1));
                let figures = run(target)?;
                bar.inc(1);
                report.add(parameters, pair + 1, &figures)?;
                Ok(figures)
            });
            runs.push(figures?);
        }
        bar.finish_and_clear();
        Ok(runs)
    }

    /// Runs with and without something that disturbs the server, as often as the flags say. `run` gets which.
    pub fn with_and_without(
        &self,
        report: &mut Report,
        parameters: &Value,
        mut run: impl FnMut(bool) -> anyhow::Result<Figures>,
    ) -> anyhow::Result<Runs> {
        let mut run_pair = |pair: u32| {
            // The one without comes first in the first pair.
            in_turns(vec![true, false], pair + 1, |is_disturbed| {
                let figures = run(is_disturbed)?;
                report.add(parameters, pair + 1, &figures)?;
                Ok(figures)
            })
        };
        (0..self.common.pairs).map(&mut run_pair).collect()
    }

    /// How a run is made, for its line of JSON.
    pub fn parameters(&self, workload: &str, script: &Script) -> Value {
        json!({
            "workload": workload,
            "clients": script.clients,
            "senders": script.senders,
            "window": script.window,
            "rate": script.pace.map(|pace| 1.0 / pace.as_secs_f64()),
            "yields_percent": script.yields,
            "never_reading": script.others,
            "text_bytes": self.common.texts(),
            "block_bytes": self.gallery.mean_block_bytes(),
            "cores": self.common.cores,
            "server_args": self.common.server_args,
        })
    }

    /// Prints the end of the server's log if there were faults.
    pub fn explain_faults(&self, report: &Report) {
        if !report.faults.is_clean() {
            eprintln!("the server's log ends:\n{}", self.server().log_end());
        }
    }
}

/// Does `run` with each of `items`, backwards in every second pair. Returns the results in the order of `items`.
fn in_turns<T>(
    mut items: Vec<T>,
    pair: u32,
    run: impl FnMut(T) -> anyhow::Result<Figures>,
) -> anyhow::Result<Vec<Figures>> {
    let is_backwards = pair % 2 == 1;
    if is_backwards {
        items.reverse();
    }
    let mut figures = items.into_iter().map(run).collect::<anyhow::Result<Vec<_>>>()?;
    if is_backwards {
        figures.reverse();
    }
    Ok(figures)
}

/// A bar for this many runs on a terminal, and nothing elsewhere.
fn progress_bar(runs: u64) -> ProgressBar {
    let bar = ProgressBar::new(runs);
    if !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {percent:>3} %  {msg}") {
        bar.set_style(style);
    }
    bar
}
