//! One address that floods, beside pairs that talk: it gets its rate, and they do not wait.
//!
//! The talkers come from 127.0.0.1 and are exempt from all limits; the flooder ([`attack`](crate::attack)) comes from
//! 127.0.0.2, for which the server's defaults hold. What the flooder yields reaches the talkers, too: they compare it
//! byte for byte, as every message, and count its bytes. A talker that the server cuts fails the run, as does a message
//! between talkers that is lost. What the talkers say is due at fixed times, and that is when latency begins: a server
//! that keeps them waiting does not look quick.
//!
//! The flooder begins before the warm-up, so that its burst counts for little and its rate for much. What it does to
//! the talkers before that is not measured, but must not cut one.

use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};

use crate::attack::{self, Deeds, Flooder};
use crate::cli::{Common, FloodKind};
use crate::crowd::fetch_blocks;
use crate::exchange::{Exchange, Script};
use crate::report::{Figures, Report, median};
use crate::talk::{Field, Stopwatch, WARM_UP, gather, parameters, seconds, undisturbed_and_disturbed};

/// The flags by which the server limits the flooder and not the talkers, which come from this network. Of a herd that is no
/// larger than this run needs the flooder may have more than half, as of a larger one.
const FLAGS: [(&str, &str); 4] = [
    ("--flood-exempt", TALKERS),
    ("--address-exempt", TALKERS),
    ("--login-exempt", TALKERS),
    ("--cows-per-address", "1000"),
];
const TALKERS: &str = "127.0.0.1/32";

/// How often it is looked whether the flooder is ready.
const SETTING_UP: Duration = Duration::from_millis(20);

/// Alternates runs without and with the flooder; medians as a table. Returns all runs, of each pair the one with the
/// flooder first.
///
/// # Errors
/// When the server cannot be measured, or does not let the flooder in.
pub fn run(
    report: &mut Report,
    common: &Common,
    kind: FloodKind,
    pairs_of_cows: usize,
    rate: u32,
) -> anyhow::Result<Vec<Vec<Figures>>> {
    let common = with_flags(common);
    let pace = Some(Duration::from_secs(1) / rate);
    let script = Script { pace, strangers: attack::NAMES, ..Script::pairs(pairs_of_cows * 2, 0) };
    let mut field = Field::prepare(&common, script.clients + script.strangers)?;
    if let Some((name, rest)) = attack::expensive(kind, &field.gallery, script.clients) {
        let cow = &field.gallery.names()[name];
        let blocks = fetch_blocks(field.targets[0].address, cow, attack::token(name), &[&rest])?;
        let learned = field.gallery.learn_own(name, rest, &blocks.concat());
        learned.map_err(|_| anyhow::anyhow!("no message: the dearest text that a cow says to itself"))?;
    }
    let mut parameters = parameters("flood", &script, &common, field.block_bytes());
    parameters["kind"] = json!(kind.name());
    let runs = undisturbed_and_disturbed(report, &common, &parameters, |_, flooded| {
        once(&common, &script, &field, flooded.then_some(kind))
    })?;
    let title = format!("flood: {} talkers, and one address that floods ({})", script.clients, kind.name());
    report.table(&title, "delivery", &runs);
    say_figures(report, &runs);
    field.blame(report);
    Ok(runs)
}

/// The flags with [`FLAGS`], unless they say something about that already.
fn with_flags(common: &Common) -> Common {
    let mut common = common.clone();
    for (flag, value) in FLAGS {
        if !common.server_args.contains(flag) {
            common.server_args = format!("{} {flag} {value}", common.server_args).trim().to_owned();
        }
    }
    common
}

fn say_figures(report: &Report, runs: &[Vec<Figures>]) {
    let ratio =
        |at: usize| median(runs.iter().map(|both| both[0].latency_us()[at] / both[1].latency_us()[at]).collect());
    let of_flooded = |key: &str| {
        let rate = |both: &Vec<Figures>| Some(both[0].more[key].as_f64()? / both[0].seconds);
        median(runs.iter().filter_map(rate).collect())
    };
    report.say(&format!(
        "p50 of the talkers {:.2} and p99 {:.2} times that without; {:.1} lines a second of the flooder executed, \
         {:.0} bytes a second to each talker",
        ratio(0),
        ratio(1),
        of_flooded("flooder_executed"),
        of_flooded("bytes_to_each_talker"),
    ));
    let cuts: f64 = runs.iter().filter_map(|both| both[0].more["flooder_cut"].as_f64()).sum();
    report.say(&format!(
        "the flooder opened {:.1} connections a second, {:.1} of its lines a second were refused, {cuts} of its connections \
         cut in all; its thread took {:.1} % of a CPU",
        of_flooded("flooder_opened"),
        of_flooded("flooder_refused"),
        of_flooded("flooder_cpu_seconds") * 100.0,
    ));
}

fn once(common: &Common, script: &Script, field: &Field, kind: Option<FloodKind>) -> anyhow::Result<Figures> {
    let target = &field.targets[0];
    let mut exchange = Exchange::new(gather(target, field, script.clients)?, &field.gallery, script);
    let mut flooder = kind.map(|kind| Flooder::start(target.address, kind, &field.gallery, script.clients));
    if let Some(flooder) = &mut flooder {
        // It yields already, so the talkers have to read. One that is cut ends the wait.
        while exchange.complaint.is_none() && !flooder.is_ready().context("the flooder")? {
            exchange.drive(Instant::now() + SETTING_UP, &mut || {})?;
        }
        flooder.begin();
    }
    exchange.drive(Instant::now() + seconds(common.seconds * WARM_UP), &mut || {})?;
    exchange.land(&mut || {})?;
    exchange.reset();
    let deeds = || flooder.as_ref().map_or(Ok(Deeds::default()), Flooder::deeds).context("the flooder");
    let before = deeds()?;
    let stopwatch = Stopwatch::start(target)?;
    exchange.drive(Instant::now() + seconds(common.seconds), &mut || {})?;
    exchange.land(&mut || {})?;
    let figures = stopwatch.stop(target)?;
    let deeds = deeds()?.since(before);
    let tally = exchange.tally();
    let (events, latency) = (tally.deliveries, tally.latency.clone());
    let more = more(deeds, tally.strange_bytes as f64 / script.clients as f64);
    let label = if flooder.is_some() { "one floods" } else { "nobody floods" };
    if let Some(flooder) = flooder {
        flooder.stop().context("the flooder")?;
    }
    let (faults, complaint) = exchange.finish()?;
    Ok(Figures { target: label, events, latency, faults, complaint, more, ..figures })
}

fn more(deeds: Deeds, bytes_to_each_talker: f64) -> Value {
    let Deeds { executed, refused, opened, cut, cpu_ns } = deeds;
    json!({
        "flooder_executed": executed,
        "flooder_refused": refused,
        "flooder_opened": opened,
        "flooder_cut": cut,
        "flooder_cpu_seconds": cpu_ns as f64 / 1e9,
        "bytes_to_each_talker": bytes_to_each_talker,
    })
}
