//! Where the results go: a line of JSON for each run, and a table of medians.

use std::fs::{File, OpenOptions};
use std::io::Write;

use anyhow::Context;
use serde_json::{Value, json};

use super::cli::Common;
use super::figures::{Figures, Runs, median_of, merge, ratio};
use super::ledger::Faults;
use super::procfs::{load, provenance};

/// A report under way.
pub struct Report {
    /// Set by `--json`: no tables.
    is_json: bool,
    out: Option<File>,
    provenance: Value,
    /// The machine's load before the first run.
    load_before: f64,
    /// Faults of all runs so far.
    pub faults: Faults,
}

impl Report {
    /// As the flags say.
    pub fn new(common: &Common) -> anyhow::Result<Report> {
        let open = |path| OpenOptions::new().create(true).append(true).open(path);
        let out = common.out.as_ref().map(open).transpose().context("--out cannot be written")?;
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

    /// Adds one run.
    pub fn add(&mut self, parameters: &Value, pair: u32, figures: &Figures) -> anyhow::Result<()> {
        self.faults = self.faults.plus(figures.faults);
        let mut value = figures.json();
        value["pair"] = json!(pair);
        self.line(parameters, &value)
    }

    /// Adds the faults of a run that has no line of its own.
    pub fn add_faults(&mut self, (faults, complaint): (Faults, Option<String>)) {
        self.faults = self.faults.plus(faults);
        complaint.iter().for_each(|complaint| self.say(&format!("wrong: {complaint}")));
    }

    /// Prints text, unless JSON is wanted.
    pub fn say(&self, text: &str) {
        if !self.is_json {
            println!("{text}");
        }
    }

    /// Prints how busy the machine was.
    pub fn say_load(&self) {
        self.say(&format!(
            "load before the first run: {:.2}; generator, others: CPU time, of one CPU",
            self.load_before
        ));
    }

    /// Prints the medians of `runs`; the first target is compared with each other one. `event` is the noun for what is
    /// counted.
    pub fn table(&self, title: &str, event: &str, runs: &Runs) {
        let Some(first) = runs.first() else { return };
        self.say(&format!("\n{title}\n"));
        let cost = format!("us/{event}");
        self.say(&format!(
            "{:<19}{cost:>12}{:>8}{:>9}{:>9}{:>9}{:>9}{:>9}{:>10}{:>11}{:>9}",
            "", "ratio", "/CPU s", "p50 us", "p99 us", "p99.9 us", "max us", "switches", "generator", "others"
        ));
        for target in first.iter().map(|figures| figures.target) {
            let of = |figure: &dyn Fn(&Figures) -> f64| median_of(runs, target, figure);
            let cost = of(&Figures::cost_us);
            let ratio = if target == first[0].target { String::new() } else { format!("{:.2}", ratio(runs, target)) };
            let [p50, p99, p99_9, max] = std::array::from_fn(|at| of(&|figures| figures.latency_us()[at]));
            let switches = of(&|figures| figures.per_event(figures.server.switches));
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
            self.say(&format!(
                "\nratio: CPU time of \"{name}\", to that of the line in each pair; switches: voluntary, for one {event}"
            ));
        }
        for target in first.iter().filter(|figures| figures.broker.cpu_ns > 0).map(|figures| figures.target) {
            let cost = median_of(runs, target, |figures| figures.per_event(figures.broker.cpu_ns) / 1000.0);
            self.say(&format!("{target}: {cost:.2} us/{event} of it are the broker's"));
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
