//! A stampede: many netcat-like clients against a real server, or against a floor beside it.
//!
//! `cargo bench --bench stampede -- fanout --floor` starts the release server, lets clients on one thread talk, counts each
//! delivery by a token in it, and prints what one costs in CPU time of the server and how long it takes. A delivery that is
//! lost, repeated, reordered or broken fails the run (exit code 1). Absolute times on a shared machine mean little:
//! `--floor` runs the same against the least that a server could do, and the paired ratio of the two counts.
//!
//! A run: [`target`] starts servers, [`crowd`] is the clients, [`exchange`] what they do by a [`script`], [`wire`] and
//! [`ledger`] judge what comes, [`comparison`] repeats it in pairs, [`report`] prints the [`figures`]. [`storm`], [`idle`],
//! [`slow`], [`flood`] and [`price`] are workloads of their own.

pub mod broker;
pub mod cli;
pub mod comparison;
pub mod crowd;
pub mod exchange;
pub mod figures;
pub mod flood;
pub mod flood_role;
pub mod flood_thread;
pub mod flooder;
pub mod floor;
pub mod idle;
pub mod ledger;
pub mod plot;
pub mod poll;
pub mod price;
pub mod procfs;
pub mod report;
pub mod script;
pub mod slow;
pub mod stopwatch;
pub mod storm;
pub mod target;
pub mod texts;
pub mod token;
pub mod wire;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::{CommandFactory, Parser, ValueEnum};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit};

use cli::{Cli, Common, Fault, Workload};
use comparison::Comparison;
use figures::Runs;
use report::Report;
use script::Script;

fn main() -> ExitCode {
    // cargo adds one of these.
    let arguments = std::env::args_os().filter(|argument| argument != "--bench" && argument != "--test");
    match run(Cli::parse_from(arguments)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("stampede: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether there were no faults.
fn run(Cli { workload, common }: Cli) -> anyhow::Result<bool> {
    let Some(workload) = workload else {
        // `cargo bench` alone runs every benchmark: this one measures only what it is asked.
        Cli::command().print_help()?;
        return Ok(true);
    };
    // Clients need many descriptors, and so do the floor and the server, which inherit the limit.
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    let mut report = Report::new(&common)?;
    use Workload::{Flood, Idle, Price, Slow};
    if common.floor && matches!(workload, Flood { .. } | Idle { .. } | Price { .. } | Slow { .. }) {
        bail!("idle, slow, flood and price have no floor: leave --floor out");
    }
    let runs_on_clusters = matches!(
        workload,
        Workload::Fanout { .. } | Workload::Say { .. } | Workload::Mix { .. } | Workload::Storm { .. }
    );
    if common.cluster.is_some() && !runs_on_clusters {
        bail!("only fanout, say, mix and storm run on a cluster: leave --cluster out");
    }
    match workload {
        Workload::Floor { coalesce, fault } => be_a_floor(coalesce, fault)?,
        Workload::SelfTest => return self_test(&report),
        Workload::Fanout { receivers, senders, window, rate, plot } => {
            let mut measured = Vec::new();
            for receivers in receivers {
                let pace = rate.map(|rate| Duration::from_secs(1) / rate);
                let script = Script { clients: receivers + senders, window, pace, ..Script::to_all(senders) };
                let how = match rate {
                    Some(rate) => format!("{rate} a second of each"),
                    None => format!("{window} in flight of each"),
                };
                let title = format!("fanout: {receivers} receivers, {senders} senders, {how}");
                measured.push((receivers, converse(&mut report, &common, &script, &title, "fanout")?));
            }
            if let Some(path) = plot {
                plot::draw(&path, &measured).context("--plot cannot be written")?;
            }
        }
        Workload::Say { pairs_of_cows } => {
            let script = Script { answer: true, ..Script::pairs(pairs_of_cows * 2, 0) };
            converse(&mut report, &common, &script, &format!("say: {pairs_of_cows} pairs"), "say")?;
        }
        Workload::Mix { clients, yields } => {
            if clients % 2 == 1 {
                bail!("mix takes an even number of clients: each has a partner");
            }
            let script = Script::pairs(clients as usize, yields);
            let title = format!("mix: {clients} clients, {yields} % of the lines are yields");
            converse(&mut report, &common, &script, &title, "mix")?;
        }
        Workload::Storm { clients } => storm::run(&mut report, &common, clients)?,
        Workload::Idle { clients, registered } => idle::run(&mut report, &common, clients, registered)?,
        Workload::Price { receivers } => price::run(&mut report, &common, receivers)?,
        Workload::Slow { receivers, stalled, window } => {
            let script = Script { clients: receivers + 1, window, others: stalled, ..Script::to_all(1) };
            slow::run(&mut report, &common, &script)?;
        }
        Workload::Flood { kind, pairs_of_cows, rate } => {
            flood::run(&mut report, &common, kind, pairs_of_cows, rate)?;
        }
    }
    Ok(report.faults.is_clean())
}

/// Runs `script` on all targets, and prints a table.
fn converse(
    report: &mut Report,
    common: &Common,
    script: &Script,
    title: &str,
    workload: &str,
) -> anyhow::Result<Runs> {
    let comparison = Comparison::prepare(common, script.clients)?;
    let runs = comparison.converse(report, script, &comparison.parameters(workload, script))?;
    let title = format!(
        "{title}; {}, blocks of {}; {} runs of {} s, medians",
        common.texts().map_or("texts of a chat".to_owned(), |bytes| format!("texts of {bytes} bytes")),
        comparison.gallery.mean_block_bytes(),
        common.pairs,
        common.seconds
    );
    report.table(&title, "delivery", &runs);
    if let Some(broker) = comparison.targets.iter().find_map(|target| target.broker) {
        let taken = broker::round_trips(broker)?;
        let [p50, p99] = [0.5, 0.99].map(|part| taken.value_at_quantile(part) as f64 / 1e3);
        report.say(&format!("a round trip of two bare clients over the broker: p50 {p50:.0} us, p99 {p99:.0} us"));
    }
    comparison.explain_faults(report);
    Ok(runs)
}

fn be_a_floor(coalesce: bool, fault: Option<Fault>) -> anyhow::Result<()> {
    // It ends with the process of the clients, even if that is killed.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let recipe = serde_json::from_reader(std::io::stdin())?;
    floor::run(target::gallery(&recipe)?, coalesce, fault)
}

/// Whether a floor without a fault passes, and each fault shows as what it is.
fn self_test(report: &Report) -> anyhow::Result<bool> {
    let common = Cli::parse_from(["stampede", "self-test"]).common;
    let script = Script { clients: 5, window: 4, ..Script::to_all(2) };
    let comparison = Comparison::prepare(&common, script.clients)?;
    let mut passed = true;
    for fault in std::iter::once(None).chain(Fault::value_variants().iter().copied().map(Some)) {
        let target = target::floor(false, fault, &comparison.recipe)?;
        let mut exchange = comparison.exchange(&target, &script)?;
        exchange.silence_max = Duration::from_millis(500);
        exchange.drive(Instant::now() + Duration::from_millis(200))?;
        exchange.drain()?;
        let (faults, complaint) = exchange.finish()?;
        let is_found = match fault {
            None => faults.is_clean(),
            Some(Fault::Lose) => (faults.lost, faults.repeated, faults.reordered) == (1, 0, 0),
            Some(Fault::Repeat) => (faults.lost, faults.repeated, faults.reordered) == (0, 1, 0),
            Some(Fault::Reorder) => (faults.lost, faults.repeated, faults.reordered) == (0, 0, 1),
            Some(Fault::Break) => faults.broken > 0,
        };
        passed &= is_found;
        let verdict = if is_found { "found" } else { "NOT FOUND" };
        let name = fault.map_or("nothing wrong".to_owned(), |fault| cli::name(&fault));
        report.say(&format!("{name:<14}{verdict:<10} {faults:?} {}", complaint.unwrap_or_default()));
    }
    Ok(passed)
}
