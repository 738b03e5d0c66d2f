//! Counters: one row for each core, summed when read. Each counter has one thread that writes it.
//!
//! A core adds with a plain load and store to lines of its own, so counting never slows another core.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

use crate::close_reason::CloseReason;
use crate::ids::ShardId;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// Connections accepted and not refused.
    Accepted,
    /// Of those, connections closed.
    Closed,
    /// Of those, connections whose last output is with the kernel or discarded: they are closed, or linger.
    Written,
    /// Times that the core became unable to accept, most likely for lack of descriptors.
    AcceptFailures,
    /// Times that it became able again.
    AcceptRecoveries,
    /// Lines executed.
    Lines,
    /// Lines refused by flood control.
    LinesTooSoon,
    /// Private messages accepted.
    Says,
    /// Messages to all accepted.
    Yields,
    /// Messages queued for a receiver.
    Deliveries,
    /// Private messages dropped because the receiver's claim had ended.
    StaleFrames,
    /// Private messages that waited for a receiver that was far behind.
    ReceiverWaits,
    /// Frames that waited for room in another core's mailbox.
    MailboxWaits,
    /// Sessions ended by a bug of the server.
    Faults,
    /// Times that the core made no progress for a while; the watchdog's thread counts them.
    Stalls,
}

const COUNTERS: usize = Counter::Stalls as usize + 1;

/// One core's counters.
#[derive(Debug, Default)]
struct Row {
    counters: [AtomicU64; COUNTERS],
    /// Connections that ended or were refused, by reason.
    ended: [AtomicU64; CloseReason::ALL.len()],
}

/// The counters of all cores.
#[derive(Debug)]
pub struct Metrics {
    cores: Box<[CachePadded<Row>]>,
}

impl Metrics {
    /// All counters at 0, for `shards` cores.
    pub fn new(shards: usize) -> Arc<Self> {
        Arc::new(Metrics { cores: (0..shards).map(|_| CachePadded::default()).collect() })
    }

    /// The sum over all cores.
    pub fn total(&self, counter: Counter) -> u64 {
        self.cores.iter().map(|core| core.counters[counter as usize].load(Ordering::Acquire)).sum()
    }

    /// Connections that ended or were refused for this reason, over all cores.
    pub fn ended(&self, reason: CloseReason) -> u64 {
        self.cores.iter().map(|core| core.ended[reason as usize].load(Ordering::Acquire)).sum()
    }

    /// Whether a core is unable to accept now.
    pub fn lacks_descriptors(&self) -> bool {
        let recoveries = self.total(Counter::AcceptRecoveries);
        self.total(Counter::AcceptFailures) > recoveries
    }

    /// Connections open now, over all cores, give or take those that open or close meanwhile.
    pub fn open(&self) -> u64 {
        // Closed is read first: a connection that closes in between counts as open, and the difference is never negative.
        let closed = self.total(Counter::Closed);
        self.total(Counter::Accepted).saturating_sub(closed)
    }

    /// Connections that may still have unwritten output, over all cores.
    pub fn unwritten(&self) -> u64 {
        let written = self.total(Counter::Written);
        self.total(Counter::Accepted).saturating_sub(written)
    }
}

/// One core's row. Only one thread may write each of its counters.
#[derive(Debug, Clone)]
pub struct CoreMetrics {
    metrics: Arc<Metrics>,
    shard: ShardId,
}

impl CoreMetrics {
    /// The row of `shard`.
    pub fn new(metrics: Arc<Metrics>, shard: ShardId) -> Self {
        CoreMetrics { metrics, shard }
    }

    /// Adds `count`.
    pub fn add(&self, counter: Counter, count: u64) {
        add(&self.row().counters[counter as usize], count);
    }

    /// Counts a connection that ended or was refused.
    pub fn add_ended(&self, reason: CloseReason) {
        add(&self.row().ended[reason as usize], 1);
    }

    fn row(&self) -> &Row {
        &self.metrics.cores[self.shard.index()]
    }

    /// The counters of all cores.
    pub fn all(&self) -> &Metrics {
        &self.metrics
    }
}

fn add(cell: &AtomicU64, count: u64) {
    // No other thread writes this cell, so the step need not be atomic. Release: a thread that sees a connection closed sees
    // it accepted.
    cell.store(cell.load(Ordering::Relaxed) + count, Ordering::Release);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_total_is_the_sum_over_the_cores() {
        let metrics = Metrics::new(2);
        let cores = [0, 1].map(|shard| CoreMetrics::new(Arc::clone(&metrics), ShardId::new(shard)));
        let [zero, one] = &cores;
        zero.add(Counter::Accepted, 3);
        one.add(Counter::Accepted, 4);
        one.add(Counter::Closed, 2);
        one.add(Counter::Written, 3);
        assert_eq!(metrics.total(Counter::Accepted), 7);
        assert_eq!(metrics.open(), 5);
        assert_eq!(metrics.unwritten(), 4);
        assert_eq!(metrics.total(Counter::Lines), 0);
        for (times, reason) in CloseReason::ALL.into_iter().enumerate() {
            (0..times).for_each(|n| cores[n % 2].add_ended(reason));
        }
        for (times, reason) in CloseReason::ALL.into_iter().enumerate() {
            assert_eq!(metrics.ended(reason), times as u64, "{reason:?}");
        }
    }
}
