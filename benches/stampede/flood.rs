//! One address that floods, beside pairs that talk: it gets its rate, and they do not wait.
//!
//! The talkers come from 127.0.0.1 and are exempt from all limits; the [`flooder`](super::flood_thread) comes from
//! 127.0.0.2, for which the server's defaults hold. What it yields reaches the talkers, too: they compare it byte for byte,
//! like every message, and count its bytes. The run fails if the server cuts a talker, or loses a message between talkers.
//! The talkers' messages are due at fixed times, and latency begins there: a server that delays them does not look quick.
//!
//! The flooder begins before the warm-up, so its burst counts for little and its rate for much. What it does to the talkers
//! before that is not measured, but must not cut one.

use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::json;

use super::cli::{self, Common, FloodKind};
use super::comparison::Comparison;
use super::crowd::fetch_blocks;
use super::figures::{Figures, Runs, latency_ratio, median};
use super::flood_role::{NAMES, expensive, token};
use super::flooder::{Counts, Flooder};
use super::report::Report;
use super::script::Script;

/// The flags by which the server limits the flooder and not the talkers, which come from this network. This run needs nearly
/// the whole herd, and the flooder more than the half of it that one address gets by default.
const FLAGS: [(&str, &str); 4] = [
    ("--flood-exempt", TALKERS),
    ("--address-exempt", TALKERS),
    ("--login-exempt", TALKERS),
    ("--cows-per-address", "1000"),
];
const TALKERS: &str = "127.0.0.1/32";

/// How often the run checks whether the flooder is ready.
const READY_POLL: Duration = Duration::from_millis(20);

/// Runs with and without the flooder, and prints a table. Returns all runs, of each pair the one with the flooder first.
pub fn run(
    report: &mut Report,
    common: &Common,
    kind: FloodKind,
    pairs_of_cows: usize,
    rate: u32,
) -> anyhow::Result<Runs> {
    let (pace, kind_name) = (Some(Duration::from_secs(1) / rate), cli::name(&kind));
    let script = Script { pace, strangers: NAMES, ..Script::pairs(pairs_of_cows * 2, 0) };
    let mut comparison = Comparison::prepare(&with_flags(common), script.clients + script.strangers)?;
    if let Some((name, rest)) = expensive(kind, &comparison.gallery, script.clients) {
        let cow = &comparison.gallery.names()[name];
        let blocks = fetch_blocks(comparison.server().address, cow, token(name), &[&rest])?;
        let learned = comparison.gallery.learn_own(name, rest, &blocks.concat());
        learned.map_err(|_| anyhow::anyhow!("no message: the dearest text that a cow says to itself"))?;
    }
    let mut parameters = comparison.parameters("flood", &script);
    parameters["kind"] = json!(kind_name);
    let runs = comparison
        .with_and_without(report, &parameters, |is_flooded| once(&comparison, &script, is_flooded.then_some(kind)))?;
    let title = format!("flood: {} talkers, and one address that floods ({kind_name})", script.clients);
    report.table(&title, "delivery", &runs);
    say_figures(report, &runs);
    comparison.explain_faults(report);
    Ok(runs)
}

/// The flags with [`FLAGS`], unless they set these already.
fn with_flags(common: &Common) -> Common {
    let mut common = common.clone();
    for (flag, value) in FLAGS {
        if !common.server_args.contains(flag) {
            common.server_args = format!("{} {flag} {value}", common.server_args).trim().to_owned();
        }
    }
    common
}

fn say_figures(report: &Report, runs: &Runs) {
    let a_second = |key: &str| {
        let rate = |both: &Vec<Figures>| Some(both[0].more[key].as_f64()? / both[0].seconds);
        median(runs.iter().filter_map(rate).collect())
    };
    report.say(&format!(
        "p50 of the talkers {:.2} and p99 {:.2} times that without; {:.1} lines a second of the flooder executed, \
         {:.0} bytes a second to each talker",
        latency_ratio(runs, 0),
        latency_ratio(runs, 1),
        a_second("flooder_executed"),
        a_second("bytes_to_each_talker"),
    ));
    let cuts: f64 = runs.iter().filter_map(|both| both[0].more["flooder_cut"].as_f64()).sum();
    report.say(&format!(
        "the flooder opened {:.1} connections a second, {:.1} of its lines a second were refused, {cuts} of its connections \
         cut in all; its thread took {:.1} % of a CPU",
        a_second("flooder_opened"),
        a_second("flooder_refused"),
        a_second("flooder_cpu_seconds") * 100.0,
    ));
}

fn once(comparison: &Comparison, script: &Script, kind: Option<FloodKind>) -> anyhow::Result<Figures> {
    let server = comparison.server();
    let mut exchange = comparison.exchange(server, script)?;
    let mut flooder = kind.map(|kind| Flooder::start(server.address, kind, &comparison.gallery, script.clients));
    if let Some(flooder) = &mut flooder {
        // The talkers read meanwhile, since it yields already. A talker that is cut ends the wait.
        while exchange.complaint.is_none() && !flooder.is_ready().context("the flooder")? {
            exchange.drive(Instant::now() + READY_POLL)?;
        }
        flooder.begin();
    }
    comparison.warm_up(&mut exchange)?;
    let counts = || flooder.as_ref().map_or(Ok(Counts::default()), Flooder::counts).context("the flooder");
    let before = counts()?;
    let measured = comparison.measure(server, &mut exchange)?;
    let mut more = counts()?.json_since(before);
    more["bytes_to_each_talker"] = json!(exchange.tally().stranger_bytes as f64 / script.clients as f64);
    let target = if flooder.is_some() { "with a flood" } else { "without" };
    if let Some(flooder) = flooder {
        flooder.stop().context("the flooder")?;
    }
    exchange.figures(Figures { target, more, ..measured })
}
