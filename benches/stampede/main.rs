//! A stampede: many netcat-like clients against a real server, or against a floor beside it.
//!
//! `cargo bench --bench stampede -- fanout --floor` starts the release server, lets clients on one thread talk,
//! counts every delivery by a token in it, and prints what one costs in CPU time of the server and how long it
//! takes. A delivery that is lost, repeated, reordered or not byte for byte what it should be makes the run fail
//! (exit code 1). Absolute times on a shared machine mean little: `--floor` runs the same against the least
//! that a server could do, and the ratio of the two, paired, is the figure that counts.
//!
//! A run: [`target`] starts servers, [`crowd`] is the clients, [`exchange`] (or [`storm`], [`idle`]) what they
//! do, [`attack`] what a flooder does beside them, [`wire`] and [`ledger`] judge what comes, [`talk`] repeats it in
//! pairs, [`report`] prints.

mod attack;
mod cli;
mod crowd;
mod exchange;
mod flood;
mod floor;
mod idle;
mod ledger;
mod plot;
mod price;
mod procfs;
mod report;
mod slow;
mod storm;
mod talk;
mod target;
mod texts;
mod wire;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::{CommandFactory, Parser};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;

use cli::{Cli, Common, Workload};
use exchange::{Exchange, Script};
use report::Report;
use talk::{Field, converse, parameters};

fn main() -> ExitCode {
    // cargo adds it to whatever is benchmarked.
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

/// Whether everything came as it should.
fn run(Cli { workload, common }: Cli) -> anyhow::Result<bool> {
    let Some(workload) = workload else {
        // `cargo bench` runs all there is: this one is to be asked.
        Cli::command().print_help()?;
        return Ok(true);
    };
    // What a client, a floor and a server inherit.
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    let mut report = Report::new(&common)?;
    use Workload::{Flood, Idle, Price, Slow};
    if common.floor && matches!(workload, Flood { .. } | Idle { .. } | Price { .. } | Slow { .. }) {
        bail!("idle, slow, flood and price have no floor to stand on: leave --floor out");
    }
    match workload {
        Workload::Floor { coalesce, fault } => be_a_floor(coalesce, fault.as_deref())?,
        Workload::SelfTest => return self_test(&report),
        Workload::Fanout { receivers, senders, window, rate, plot } => {
            let mut measured = Vec::new();
            for receivers in receivers {
                let to_all = Script::to_all(senders);
                let pace = rate.map(|rate| Duration::from_secs(1) / rate);
                let script = Script { clients: receivers + senders, window, pace, ..to_all };
                let how = match rate {
                    Some(rate) => format!("{rate} a second of each"),
                    None => format!("{window} under way of each"),
                };
                let title = format!("fanout: {receivers} receivers, {senders} senders, {how}");
                measured.push((receivers, talk(&mut report, &common, &script, &title, "fanout")?));
            }
            if let Some(path) = plot {
                plot::draw(&path, &measured).context("--plot can not be written")?;
            }
        }
        Workload::Say { pairs_of_cows } => {
            let script = Script { answer: true, ..Script::pairs(pairs_of_cows * 2, 0) };
            let title = format!("say: {pairs_of_cows} pairs");
            talk(&mut report, &common, &script, &title, "say")?;
        }
        Workload::Mix { clients, yields } => {
            if clients % 2 == 1 {
                bail!("mix needs an even number of clients: everybody has a partner");
            }
            let script = Script::pairs(clients as usize, yields);
            let title = format!("mix: {clients} clients, {yields} % of the lines are yields");
            talk(&mut report, &common, &script, &title, "mix")?;
        }
        Workload::Storm { clients } => {
            let field = Field::prepare(&common, clients)?;
            let parameters = json!({ "workload": "storm", "clients": clients, "cores": common.cores, "server_args": common.server_args });
            let runs = talk::storm(&mut report, &common, &field, &parameters)?;
            report.table(&format!("storm: {clients} at a time connect, log in, quit"), "login", &runs);
            field.blame(&report);
        }
        Workload::Idle { clients, registered } => idle::run(&mut report, &common, clients, registered)?,
        Workload::Price { receivers } => price::run(&mut report, &common, receivers)?,
        Workload::Slow { receivers, stalled, window } => {
            let script = Script { clients: receivers + 1, window, others: stalled, ..Script::to_all(1) };
            let field = Field::prepare(&common, script.clients + stalled)?;
            let parameters = parameters("slow", &script, &common, field.block_bytes());
            slow::run(&mut report, &common, &script, &field, &parameters)?;
            field.blame(&report);
        }
        Workload::Flood { kind, pairs_of_cows, rate } => {
            flood::run(&mut report, &common, kind, pairs_of_cows, rate)?;
        }
    }
    Ok(report.faults.is_clean())
}

fn talk(
    report: &mut Report,
    common: &Common,
    script: &Script,
    title: &str,
    workload: &str,
) -> anyhow::Result<Vec<Vec<report::Figures>>> {
    let field = Field::prepare(common, script.clients)?;
    let bytes = field.block_bytes();
    let parameters = parameters(workload, script, common, bytes);
    let runs = converse(report, common, script, &field, &parameters)?;
    let title = format!(
        "{title}; {}, blocks of {bytes}; {} runs of {} s, medians",
        common.texts().map_or("texts of a chat".to_owned(), |bytes| format!("texts of {bytes} bytes")),
        common.pairs,
        common.seconds
    );
    report.table(&title, "delivery", &runs);
    field.blame(report);
    Ok(runs)
}

fn be_a_floor(coalesce: bool, fault: Option<&str>) -> anyhow::Result<()> {
    // Nothing else would end it if the clients' process were killed.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let recipe = serde_json::from_reader(std::io::stdin())?;
    let fault = fault.map(|name| floor::Fault::ALL.into_iter().find(|(known, _)| *known == name));
    let fault = fault.map(|found| found.context("no such fault")).transpose()?.map(|(_, fault)| fault);
    floor::run(target::gallery(&recipe)?, coalesce, fault)
}

/// A floor that does nothing wrong must pass, and one wrong delivery must show as what it is.
fn self_test(report: &Report) -> anyhow::Result<bool> {
    let common = Cli::parse_from(["stampede", "self-test"]).common;
    let script = Script { clients: 5, window: 4, ..Script::to_all(2) };
    let field = Field::prepare(&common, script.clients)?;
    let mut passed = true;
    for fault in std::iter::once(None).chain(floor::Fault::ALL.iter().map(|(name, _)| Some(*name))) {
        let target = target::floor(false, fault, &field.recipe)?;
        let mut exchange = Exchange::new(talk::gather(&target, &field, script.clients)?, &field.gallery, &script);
        exchange.patience = Duration::from_millis(500);
        exchange.drive(Instant::now() + Duration::from_millis(200), &mut || {})?;
        exchange.land(&mut || {})?;
        let (faults, complaint) = exchange.finish()?;
        let is_right = match fault {
            None => faults.is_clean(),
            Some("lose") => (faults.lost, faults.repeated, faults.reordered) == (1, 0, 0),
            Some("repeat") => (faults.lost, faults.repeated, faults.reordered) == (0, 1, 0),
            Some("reorder") => (faults.lost, faults.repeated, faults.reordered) == (0, 0, 1),
            Some(_) => faults.broken > 0,
        };
        passed &= is_right;
        let verdict = if is_right { "found" } else { "NOT FOUND" };
        let name = fault.unwrap_or("nothing wrong");
        report.say(&format!("{name:<14}{verdict:<10} {faults:?} {}", complaint.unwrap_or_default()));
    }
    Ok(passed)
}
