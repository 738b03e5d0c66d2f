//! What one run gives, and the medians of several. Pure arithmetic.
//!
//! A ratio is taken inside each pair, from runs that followed each other, and the median of those is printed: on a shared
//! machine no other figure means anything.

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::ledger::Faults;
use super::procfs::Usage;

/// Percentiles that are printed; the last is the maximum.
const PERCENTILES: [(&str, f64); 4] = [("p50", 50.0), ("p99", 99.0), ("p99_9", 99.9), ("max", 100.0)];

/// All runs of a workload: by pair, one of each target, always in the same order.
pub type Runs = Vec<Vec<Figures>>;

/// One run of one target.
#[derive(Debug)]
pub struct Figures {
    /// The target's label.
    pub target: &'static str,
    /// Deliveries, or what else the workload counts.
    pub events: u64,
    /// By the clock.
    pub seconds: f64,
    /// The target's.
    pub server: Usage,
    /// The part of it that is the broker's of a cluster.
    pub broker: Usage,
    /// This process's.
    pub generator: Usage,
    /// CPU time of all other processes meanwhile.
    pub others_ns: u64,
    /// In nanoseconds.
    pub latency: Histogram<u64>,
    /// What must be zero.
    pub faults: Faults,
    /// The first fault, in words.
    pub complaint: Option<String>,
    /// More figures of this workload, for the JSON.
    pub more: Value,
}

impl Figures {
    /// The target's CPU time for one event.
    pub fn cost_us(&self) -> f64 {
        self.per_event(self.server.cpu_ns) / 1000.0
    }

    /// `count` for one event.
    pub fn per_event(&self, count: u64) -> f64 {
        count as f64 / self.events.max(1) as f64
    }

    /// Latencies in microseconds, as [`PERCENTILES`].
    pub fn latency_us(&self) -> [f64; 4] {
        PERCENTILES.map(|(_, percentile)| self.latency.value_at_percentile(percentile) as f64 / 1000.0)
    }

    /// For a line of JSON.
    pub fn json(&self) -> Value {
        let mut value = json!({
            "target": self.target,
            "events": self.events,
            "seconds": self.seconds,
            "server_cpu_us_per_event": self.cost_us(),
            "events_per_server_cpu_second": 1e6 / self.cost_us(),
            "broker_cpu_us_per_event": self.per_event(self.broker.cpu_ns) / 1000.0,
            "server_switches_per_event": self.per_event(self.server.switches),
            "generator_cpu_us_per_event": self.per_event(self.generator.cpu_ns) / 1000.0,
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

/// Nanoseconds up to a minute, to 3 digits.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("bounds in order, 3 digits")
}

/// The median over all pairs of the first target's cost compared with that of `target`.
pub fn ratio(runs: &Runs, target: &str) -> f64 {
    let in_pair = |pair: &Vec<Figures>| {
        let other = pair.iter().find(|figures| figures.target == target)?;
        Some(pair.first()?.cost_us() / other.cost_us())
    };
    median(runs.iter().filter_map(in_pair).collect())
}

/// The median over all pairs of one of the first run's latencies compared with that of the second.
pub fn latency_ratio(runs: &Runs, percentile: usize) -> f64 {
    median(runs.iter().map(|both| both[0].latency_us()[percentile] / both[1].latency_us()[percentile]).collect())
}

/// The median of a figure over the runs of one target.
pub fn median_of(runs: &Runs, target: &str, figure: impl Fn(&Figures) -> f64) -> f64 {
    median(runs.iter().flatten().filter(|figures| figures.target == target).map(figure).collect())
}

/// The middle value, or the mean of the two in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => values[length / 2],
        length => f64::midpoint(values[length / 2 - 1], values[length / 2]),
    }
}

/// Adds the fields of `from`.
pub fn merge(into: &mut Value, from: &Value) {
    if let (Some(into), Some(from)) = (into.as_object_mut(), from.as_object()) {
        into.extend(from.iter().map(|(key, value)| (key.clone(), value.clone())));
    }
}
