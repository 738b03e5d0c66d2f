//! The counters as Prometheus text (exposition format 0.0.4), read for each scrape.
//!
//! Names and labels are constant: no label has a cow, an address or a text. docs/OPERATING.md lists them, and a test
//! compares the list with what a server says.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::prometheus_text;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::health::Health;
use crate::close_reason::CloseReason;
use crate::cluster::figures::Figures;
use crate::limits::{DELIVERY_DELAYS, DELIVERY_SAMPLED_EVERY};
use crate::metrics::{Counter, Delays, LoginResult, Metrics};

/// What only the parts of the server know that own it.
#[derive(Debug, Clone, Copy)]
pub struct Gauges {
    /// Cows that are taken.
    pub cows_taken: usize,
    /// All cows.
    pub cows: usize,
    /// Bytes that wait for all connections together.
    pub queues_bytes: u64,
    /// How many may wait.
    pub queues_bytes_max: u64,
    /// Lines of the log that were lost.
    pub log_lines_lost: u64,
    /// Of the cluster, if the server is part of one.
    pub cluster: Option<Figures>,
}

/// Where a scrape reads.
pub struct Source {
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// The supervisor's view.
    pub health: Arc<Health>,
    /// What is asked for each scrape.
    pub gauges: Box<dyn Fn() -> Gauges + Send + Sync>,
    /// When the server started.
    pub started: SystemTime,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").finish_non_exhaustive()
    }
}

/// The text of a scrape.
pub(super) struct Exposition(Registry);

impl Exposition {
    pub(super) fn new(source: Source) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(source));
        Exposition(registry)
    }

    /// The text now.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        prometheus_text::encode(&mut text, &self.0).expect("writing to memory does not fail");
        text
    }
}

/// A close reason of a connection that was never let in.
pub(super) fn is_refusal(reason: CloseReason) -> bool {
    matches!(reason, CloseReason::ServerFull | CloseReason::AddressFull | CloseReason::AddressBanned)
}

impl Collector for Source {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Out(encoder);
        let total = |counter| self.metrics.total(counter);
        let reasons = |refused| CloseReason::ALL.into_iter().filter(move |&reason| is_refusal(reason) == refused);
        let by_reason = |refused| reasons(refused).map(|reason| (reason.key(), self.metrics.ended(reason)));
        let gauges = (self.gauges)();
        out.info()?;
        let started = self.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        out.gauge("start_time_seconds", "When the server started, in seconds since 1970", started)?;
        out.gauge("connections_open", "Connections open now", self.metrics.open() as f64)?;
        out.gauge("connections_max", "Connections that may be open at once", self.health.connections_max() as f64)?;
        out.counter("connections_accepted", "Connections accepted and not refused", total(Counter::Accepted))?;
        let help = "Connections refused, by reason";
        out.counters("connections_refused", help, "reason", by_reason(true))?;
        let help = "Connections that ended, by reason";
        out.counters("connections_ended", help, "reason", by_reason(false))?;
        let help = "Times that a core became unable to accept";
        out.counter("accept_failures", help, total(Counter::AcceptFailures))?;
        out.gauge("cows_taken", "Cows that are taken now", gauges.cows_taken as f64)?;
        out.gauge("cows", "All cows", gauges.cows as f64)?;
        let logins = LoginResult::ALL.into_iter().map(|(result, key)| (key, self.metrics.logins(result)));
        out.counters("logins", "Lines that asked for a login, by result", "result", logins)?;
        let lines = self.metrics.lines().map(|(word, count)| (word.unwrap_or("none"), count));
        out.counters("lines", "Lines executed, by command; none is a line that is no command", "command", lines)?;
        let help = "Lines that flood control refused";
        out.counter("lines_too_soon", help, total(Counter::LinesTooSoon))?;
        out.counter("says", "Private messages accepted", total(Counter::Says))?;
        out.counter("yields", "Messages to all accepted", total(Counter::Yields))?;
        out.counter("deliveries", "Messages queued for a receiver", total(Counter::Deliveries))?;
        let help = "Bytes that the kernel has taken for connections";
        out.counter("written_bytes", help, total(Counter::BytesWritten))?;
        let help = "Private messages dropped because the receiver had left, or its login had failed";
        out.counter("stale_frames", help, total(Counter::StaleFrames))?;
        let help = "Private messages that waited for a receiver that was far behind";
        out.counter("receiver_waits", help, total(Counter::ReceiverWaits))?;
        let help = "Frames that waited for room in another core's mailbox";
        out.counter("mailbox_waits", help, total(Counter::MailboxWaits))?;
        let frames = self.metrics.mailbox_frames().map(|frames| frames as f64);
        out.by_core("mailbox_frames", "Frames in a core's mailbox when the core last looked", frames)?;
        let help = "Bytes that wait for all connections together";
        out.gauge("queues_bytes", help, gauges.queues_bytes as f64)?;
        out.gauge("queues_bytes_max", "Bytes that may wait (--queues-bytes-total)", gauges.queues_bytes_max as f64)?;
        let ages = self.health.progress_ages().map(|age| age.as_secs_f64());
        out.by_core("core_progress_age_seconds", "Time since a core was last seen to make progress", ages)?;
        out.counter("core_stalls", "Times that a core made no progress for 1 s", total(Counter::Stalls))?;
        out.counter("faults", "Sessions and requests ended by a bug of the server", total(Counter::Faults))?;
        out.counter("log_lines_lost", "Lines of the log that were lost", gauges.log_lines_lost)?;
        if let Some(cluster) = gauges.cluster {
            out.cluster(cluster)?;
        }
        out.delays(&self.metrics.delays())
    }
}

/// Writes metrics whose names begin with `cowchat_`.
struct Out<'e>(DescriptorEncoder<'e>);

impl Out<'_> {
    fn metric(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        put: impl FnOnce(MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        put(self.0.encode_descriptor(&format!("cowchat_{name}"), help, None, kind)?)
    }

    fn info(&mut self) -> fmt::Result {
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        let help = "The version of the server; always 1";
        self.metric("build_info", help, MetricType::Gauge, |mut metric| {
            metric.encode_family(&version)?.encode_gauge(&1.0)
        })
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.metric(name, help, MetricType::Gauge, |mut metric| metric.encode_gauge(&value))
    }

    /// `_total` is added to the name.
    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.metric(name, help, MetricType::Counter, |mut metric| {
            metric.encode_counter::<NoLabelSet, _, u64>(&value, None)
        })
    }

    /// The same, with a label.
    fn counters(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl Iterator<Item = (&'static str, u64)>,
    ) -> fmt::Result {
        self.metric(name, help, MetricType::Counter, |mut metric| {
            values.into_iter().try_for_each(|(key, value)| {
                metric.encode_family(&[(label, key)])?.encode_counter::<NoLabelSet, _, u64>(&value, None)
            })
        })
    }

    fn by_core(&mut self, name: &str, help: &str, values: impl Iterator<Item = f64>) -> fmt::Result {
        self.metric(name, help, MetricType::Gauge, |mut metric| {
            values
                .enumerate()
                .try_for_each(|(core, value)| metric.encode_family(&[("core", core.to_string())])?.encode_gauge(&value))
        })
    }

    fn cluster(&mut self, figures: Figures) -> fmt::Result {
        let Figures { is_in_reach, others, sent, received, missed, dropped, lost } = figures;
        let help = "1 while this server can speak to the others of its cluster";
        self.gauge("cluster_in_reach", help, f64::from(u8::from(is_in_reach)))?;
        self.gauge("cluster_other_nodes", "Other servers of the cluster that are known", others as f64)?;
        self.counter("cluster_sent", "Messages sent to other servers", sent)?;
        self.counter("cluster_received", "Messages of other servers for users here", received)?;
        self.counter("cluster_missed", "Messages of other servers that have not come", missed)?;
        let help = "Messages from or for other servers whose receiver or sender had gone";
        self.counter("cluster_dropped", help, dropped)?;
        self.counter("cluster_lost", "Times that this server lost its cluster and ended its sessions", lost)
    }

    fn delays(&mut self, delays: &Delays) -> fmt::Result {
        let bounds = DELIVERY_DELAYS.iter().map(|most| most.as_secs_f64()).chain([f64::MAX]);
        let buckets: Vec<(f64, u64)> = bounds.zip(delays.counts).collect();
        let (sum, count) = (delays.sum.as_secs_f64(), delays.counts.iter().sum());
        let help = format!(
            "From the read of a line to the write of its message to a core's receivers, for 1 line in {DELIVERY_SAMPLED_EVERY}"
        );
        self.metric("delivery_delay_seconds", &help, MetricType::Histogram, |mut metric| {
            metric.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
        })
    }
}
