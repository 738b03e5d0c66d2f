//! Counters: one row for each core, summed when read. Each counter has one thread that writes it.
//!
//! A core adds with a plain load and store to lines of its own, so counting never slows another core.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_utils::CachePadded;

use crate::close_reason::CloseReason;
use crate::ids::ShardId;
use crate::limits::{DELIVERY_DELAY_BUCKETS, DELIVERY_DELAYS};
use crate::protocol::command;

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
    /// Bytes that the kernel has taken for connections.
    BytesWritten,
    /// Private messages dropped because the receiver's claim had ended.
    StaleFrames,
    /// Private messages that waited for a receiver that was far behind.
    ReceiverWaits,
    /// Frames that waited for room in another core's mailbox.
    MailboxWaits,
    /// Sessions and operators' requests ended by a bug of the server.
    Faults,
    /// Times that the core made no progress for a while; the watchdog's thread counts them.
    Stalls,
}

const COUNTERS: usize = Counter::Stalls as usize + 1;

/// What came of a `login`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it all")]
pub enum LoginResult {
    LoggedIn,
    Taken,
    NoSuchCow,
    AlreadyLoggedIn,
    TooManyCows,
    OutOfReach,
}

impl LoginResult {
    /// All of them, with their keys.
    pub const ALL: [(LoginResult, &'static str); 6] = [
        (LoginResult::LoggedIn, "logged_in"),
        (LoginResult::Taken, "taken"),
        (LoginResult::NoSuchCow, "no_such_cow"),
        (LoginResult::AlreadyLoggedIn, "already_logged_in"),
        (LoginResult::TooManyCows, "too_many_cows"),
        (LoginResult::OutOfReach, "out_of_reach"),
    ];
}

/// How long sampled messages took from line to write, over all cores.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Delays {
    /// By bucket: messages that took at most that long and longer than the one before; the last has no bound.
    pub counts: [u64; DELIVERY_DELAY_BUCKETS],
    /// Of all of them together.
    pub sum: Duration,
}

/// One core's counters.
#[derive(Debug, Default)]
struct Row {
    counters: [AtomicU64; COUNTERS],
    /// Connections that ended or were refused, by reason.
    ended: [AtomicU64; CloseReason::ALL.len()],
    /// Lines executed, by the command's place in [`command::words`]; the last is of lines that are no command.
    lines: [AtomicU64; command::COUNT + 1],
    logins: [AtomicU64; LoginResult::ALL.len()],
    delays: [AtomicU64; DELIVERY_DELAY_BUCKETS],
    delays_sum_nanos: AtomicU64,
    /// Frames that waited in the core's mailbox when it last looked: set, not added to.
    mailbox_frames: AtomicU64,
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
        self.sum(|core| &core.counters[counter as usize])
    }

    /// Connections that ended or were refused for this reason, over all cores.
    pub fn ended(&self, reason: CloseReason) -> u64 {
        self.sum(|core| &core.ended[reason as usize])
    }

    /// By the command's word, or `None` if they were no command: lines executed, over all cores.
    pub fn lines(&self) -> impl Iterator<Item = (Option<&'static str>, u64)> {
        let words = command::words().map(Some).chain([None]);
        words.enumerate().map(|(place, word)| (word, self.sum(|core| &core.lines[place])))
    }

    /// Logins with this result, over all cores.
    pub fn logins(&self, result: LoginResult) -> u64 {
        self.sum(|core| &core.logins[result as usize])
    }

    /// How long sampled messages took, over all cores.
    pub fn delays(&self) -> Delays {
        let counts = std::array::from_fn(|bucket| self.sum(|core| &core.delays[bucket]));
        Delays { counts, sum: Duration::from_nanos(self.sum(|core| &core.delays_sum_nanos)) }
    }

    /// By core: frames that waited in its mailbox when it last looked.
    pub fn mailbox_frames(&self) -> impl Iterator<Item = u64> {
        self.cores.iter().map(|core| core.mailbox_frames.load(Ordering::Relaxed))
    }

    fn sum(&self, cell: impl Fn(&Row) -> &AtomicU64) -> u64 {
        self.cores.iter().map(|core| cell(core).load(Ordering::Acquire)).sum()
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

    /// Counts a line that was executed, by the place of its command, or `None` if it was no command.
    pub fn add_line(&self, command: Option<usize>) {
        add(&self.row().lines[command.unwrap_or(command::COUNT)], 1);
    }

    /// Counts a login.
    pub fn add_login(&self, result: LoginResult) {
        add(&self.row().logins[result as usize], 1);
    }

    /// Counts a sampled message that took this long.
    pub fn add_delay(&self, delay: Duration) {
        let bucket = DELIVERY_DELAYS.iter().position(|most| delay <= *most).unwrap_or(DELIVERY_DELAYS.len());
        add(&self.row().delays[bucket], 1);
        add(&self.row().delays_sum_nanos, u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Says how many frames wait in the core's mailbox now.
    pub fn set_mailbox_frames(&self, frames: usize) {
        self.row().mailbox_frames.store(frames as u64, Ordering::Relaxed);
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
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(count), Ordering::Release);
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
