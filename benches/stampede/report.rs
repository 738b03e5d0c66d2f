//! What a run gives: a line of JSON for each, and a table of medians.
//!
//! A ratio is taken inside each pair, from runs that followed each other, and the median of those is printed:
//! on a machine that others share it is the only figure that means something.

use std::fs::OpenOptions;
use std::io::{IsTerminal, Write};

use anyhow::Context;
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use crate::cli::Common;
use crate::ledger::Faults;
use crate::procfs::{Usage, load, provenance};

/// Percentiles that are printed; the last is the maximum.
const PERCENTILES: [(&str, f64); 4] = [("p50", 50.0), ("p99", 99.0), ("p99_9", 99.9), ("max", 100.0)];

/// One run of one target.
#[derive(Debug)]
pub struct Figures {
    /// Whose.
    pub target: &'static str,
    /// Deliveries, or whatever else is counted.
    pub events: u64,
    /// On the clock.
    pub seconds: f64,
    /// Of the target.
    pub server: Usage,
    /// Of this process.
    pub generator: Usage,
    /// CPU time of everybody else on the machine meanwhile.
    pub others_ns: u64,
    /// In nanoseconds.
    pub latency: Histogram<u64>,
    /// What must be zero.
    pub faults: Faults,
    /// What went wrong first.
    pub complaint: Option<String>,
    /// More figures of this workload, for the JSON.
    pub more: Value,
}

impl Figures {
    /// The target's CPU time for one event.
    pub fn cost_us(&self) -> f64 {
        self.server.cpu_ns as f64 / 1000.0 / (self.events.max(1)) as f64
    }

    /// Latencies in microseconds, as [`PERCENTILES`].
    pub fn latency_us(&self) -> [f64; 4] {
        PERCENTILES.map(|(_, percentile)| self.latency.value_at_percentile(percentile) as f64 / 1000.0)
    }

    fn json(&self) -> Value {
        let per_event = |count: u64| count as f64 / self.events.max(1) as f64;
        let mut value = json!({
            "target": self.target,
            "events": self.events,
            "seconds": self.seconds,
            "server_cpu_us_per_event": self.cost_us(),
            "events_per_server_cpu_second": 1e6 / self.cost_us(),
            "server_switches_per_event": per_event(self.server.switches),
            "generator_cpu_us_per_event": per_event(self.generator.cpu_ns) / 1000.0,
            "generator_cores": self.generator.cpu_ns as f64 / 1e9 / self.seconds,
            "others_cores": self.others_ns as f64 / 1e9 / self.seconds,
            "lost": self.faults.lost,
            "repeated": self.faults.repeated,
            "reordered": self.faults.reordered,
            "broken": self.faults.broken,
        });
        for ((name, _), latency) in PERCENTILES.iter().zip(self.latency_us()) {
            value[format!("latency_us_{name}")] = json!(latency);
        }
        merge(&mut value, &self.more);
        value
    }
}

/// Where results go.
pub struct Report {
    /// Set by `--json`: no tables.
    is_json: bool,
    out: Option<std::fs::File>,
    provenance: Value,
    /// The machine's load before the first run.
    load_before: f64,
    /// Faults of all runs so far.
    pub faults: Faults,
}

impl Report {
    /// As the flags say.
    ///
    /// # Errors
    /// When the file can not be written.
    pub fn new(common: &Common) -> anyhow::Result<Report> {
        let open = |path| OpenOptions::new().create(true).append(true).open(path);
        let out = common.out.as_ref().map(open).transpose().context("--out can not be written")?;
        let (provenance, load_before) = (provenance(), load()?);
        Ok(Report { is_json: common.json, out, provenance, load_before, faults: Faults::default() })
    }

    /// Writes a line of JSON.
    pub fn line(&mut self, parameters: &Value, figures: &Value) -> anyhow::Result<()> {
        let mut line = parameters.clone();
        merge(&mut line, figures);
        line["machine"] = self.provenance.clone();
        line["load_before"] = json!(self.load_before);
        if self.is_json {
            println!("{line}");
        }
        if let Some(out) = &mut self.out {
            writeln!(out, "{line}")?;
        }
        Ok(())
    }

    /// Notes one run.
    pub fn add(&mut self, parameters: &Value, pair: u32, figures: &Figures) -> anyhow::Result<()> {
        self.faults = self.faults.plus(figures.faults);
        let mut value = figures.json();
        value["pair"] = json!(pair);
        self.line(parameters, &value)
    }

    /// Says something to people.
    pub fn say(&self, text: &str) {
        if !self.is_json {
            println!("{text}");
        }
    }

    /// Says how busy the machine was.
    pub fn say_load(&self) {
        self.say(&format!(
            "load before the first run: {:.2}; generator, others: CPU time, of one CPU",
            self.load_before
        ));
    }

    /// The medians of `runs`, which are grouped by pair: each pair has one of each target, the first of which
    /// the others are compared with. `event` is the noun for what is counted.
    pub fn table(&self, title: &str, event: &str, runs: &[Vec<Figures>]) {
        let Some(first) = runs.first() else { return };
        self.say(&format!("\n{title}\n"));
        let cost = format!("us/{event}");
        self.say(&format!(
            "{:<19}{cost:>12}{:>8}{:>9}{:>9}{:>9}{:>9}{:>9}{:>10}{:>11}{:>9}",
            "", "ratio", "/CPU s", "p50 us", "p99 us", "p99.9 us", "max us", "switches", "generator", "others"
        ));
        for target in first.iter().map(|figures| figures.target) {
            let of = |figure: &dyn Fn(&Figures) -> f64| median(column(runs, target).map(figure).collect());
            let cost = of(&Figures::cost_us);
            let ratio = match ratio(runs, target) {
                Some(ratio) if target != first[0].target => format!("{ratio:.2}"),
                _ => String::new(),
            };
            let [p50, p99, p99_9, max] = std::array::from_fn(|at| of(&|figures| figures.latency_us()[at]));
            let switches = of(&|figures| figures.server.switches as f64 / figures.events.max(1) as f64);
            let generator = of(&|figures| figures.generator.cpu_ns as f64 / 1e7 / figures.seconds);
            let others = of(&|figures| figures.others_ns as f64 / 1e7 / figures.seconds);
            let rate = 1e6 / cost;
            self.say(&format!(
                "{target:<19}{cost:>12.2}{ratio:>8}{rate:>9.0}{p50:>9.0}{p99:>9.0}{p99_9:>9.0}{max:>9.0}{switches:>10.3}\
                 {generator:>9.0} %{others:>7.0} %"
            ));
        }
        if first.len() > 1 {
            let name = first[0].target;
            self.say(&format!("\nratio: CPU time of \"{name}\", to that of the line in each pair; switches: voluntary, for one {event}"));
        }
        self.say_load();
        let counted: u64 = runs.iter().flatten().map(|figures| figures.events).sum();
        let faults = runs.iter().flatten().fold(Faults::default(), |faults, figures| faults.plus(figures.faults));
        let Faults { lost, repeated, reordered, broken } = faults;
        self.say(&format!(
            "{counted} counted: {lost} lost, {repeated} repeated, {reordered} reordered, {broken} otherwise wrong"
        ));
        if let Some(complaint) = runs.iter().flatten().find_map(|figures| figures.complaint.as_ref()) {
            self.say(&format!("the first of it: {complaint}"));
        }
    }
}

/// The median over all pairs of what the first target costs, compared with `target`.
pub fn ratio(runs: &[Vec<Figures>], target: &str) -> Option<f64> {
    let in_pair = |pair: &Vec<Figures>| {
        let other = pair.iter().find(|figures| figures.target == target)?;
        Some(pair.first()?.cost_us() / other.cost_us())
    };
    runs.iter().map(in_pair).collect::<Option<Vec<_>>>().filter(|ratios| !ratios.is_empty()).map(median)
}

/// The runs of one target.
pub fn column<'r>(runs: &'r [Vec<Figures>], target: &str) -> impl Iterator<Item = &'r Figures> {
    runs.iter().flatten().filter(move |figures| figures.target == target)
}

/// The middle one, or the mean of the two in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => values[length / 2],
        length => f64::midpoint(values[length / 2 - 1], values[length / 2]),
    }
}

/// A bar for this many seconds, on a terminal; elsewhere nothing.
pub fn progress(seconds: f64) -> ProgressBar {
    let bar = ProgressBar::new((seconds * 1000.0) as u64);
    if !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {percent:>3} %  {msg}") {
        bar.set_style(style);
    }
    bar
}

fn merge(into: &mut Value, from: &Value) {
    if let (Some(into), Some(from)) = (into.as_object_mut(), from.as_object()) {
        into.extend(from.iter().map(|(key, value)| (key.clone(), value.clone())));
    }
}
