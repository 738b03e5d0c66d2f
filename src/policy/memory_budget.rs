//! The budget for all that waits, for all connections of all cores together: messages in mailboxes and send queues,
//! replies, the history, and input that is not executed yet.
//!
//! Memory is counted ([`crate::held_bytes`]), not length: a message that waits for a thousand connections exists once. (By length
//! a yield to 20,000 would be 92 MB, and a paste of 64 would cut readers at full speed.)
//!
//! Each core publishes its balance at each check, and looks at its queues only while the sum is over the budget. So the
//! excess is at most what is made within [`QUEUES_GRACE`] and two checks.
//!
//! The core with the largest queue cuts it, and the others leave it to that core. Cutting a queue that shares much with
//! others gives little back: the next check shows the remaining excess. A core that makes no progress cuts nothing. What it
//! holds still counts, but after [`QUEUE_CHECKS_MISSED_MAX`] checks without a report the others ignore its queues.
//!
//! The checks of two cores are up to 50 ms apart, so what one makes and the other drops within that time may count in full:
//! a budget below a few MiB is imprecise.

use std::cell::Cell;
use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_utils::CachePadded;

use crate::ids::ShardId;
use crate::limits::{QUEUE_CHECKS_MISSED_MAX, QUEUES_GRACE};

/// Cutting a connection gives back at most this multiple of its load: a buffer that grows has up to twice the room.
const ROOM_FACTOR: u64 = 2;

/// What one core reports to the others.
#[derive(Debug, Default)]
struct Report {
    /// Bytes made there, minus those dropped there.
    held: AtomicI64,
    /// Bytes that wait for its connections, or came from them.
    loads: AtomicU64,
    /// Those of its largest connection.
    largest: AtomicU64,
    /// How often it has reported: once each check.
    checks: AtomicU64,
}

/// The budget, and what the cores report.
#[derive(Debug)]
pub struct Budget {
    bytes_max: AtomicU64,
    reports: Box<[CachePadded<Report>]>,
}

impl Budget {
    /// A budget of `bytes_max` for this many cores, which hold nothing yet.
    pub fn new(bytes_max: u64, cores: usize) -> Arc<Self> {
        Arc::new(Budget { bytes_max: bytes_max.into(), reports: (0..cores).map(|_| CachePadded::default()).collect() })
    }

    /// Changes the budget; each core heeds it from its next check on.
    pub fn set_bytes_max(&self, bytes_max: u64) {
        self.bytes_max.store(bytes_max, Ordering::Relaxed);
    }

    fn loads(&self) -> u64 {
        self.reports.iter().map(|core| core.loads.load(Ordering::Relaxed)).sum()
    }

    /// The budget.
    pub fn bytes_max(&self) -> u64 {
        self.bytes_max.load(Ordering::Relaxed)
    }

    /// Bytes held for all connections together, by the last check of each core.
    pub fn held_bytes(&self) -> u64 {
        let held: i64 = self.reports.iter().map(|core| core.held.load(Ordering::Relaxed)).sum();
        u64::try_from(held).unwrap_or(0)
    }

    /// Bytes held beyond the budget.
    fn excess(&self) -> u64 {
        self.held_bytes().saturating_sub(self.bytes_max())
    }
}

/// The last check that this core has seen of another, and how often it has checked since and seen no new one.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    checks: u64,
    missed: u32,
}

/// One core's part in the budget.
#[derive(Debug)]
pub struct Account {
    budget: Arc<Budget>,
    me: ShardId,
    /// Since when all cores together are over the budget, by this core's clock.
    over_since: Cell<Option<Duration>>,
    /// By core. In checks, not by a clock: while the whole process is stopped no core falls behind.
    seen: Box<[Cell<Seen>]>,
}

impl Account {
    /// The part of core `me`.
    pub fn new(budget: Arc<Budget>, me: ShardId) -> Self {
        let seen = budget.reports.iter().map(|_| Cell::default()).collect();
        Account { budget, me, over_since: Cell::new(None), seen }
    }

    /// Reports what this core holds, once each check. Returns whether all cores together are over the budget.
    pub fn publish(&self, held: i64) -> bool {
        self.report().held.store(held, Ordering::Relaxed);
        self.report().checks.fetch_add(1, Ordering::Relaxed);
        let is_over = self.budget.excess() > 0;
        if !is_over {
            self.over_since.set(None);
        }
        is_over
    }

    /// Which of this core's connections to cut at `now`, by their loads in bytes; at most once each check. None unless the budget
    /// has been exceeded for [`QUEUES_GRACE`], and none if cutting all would not be enough. Otherwise the largest, as many as
    /// the excess takes, but none that is smaller than the largest of another core that makes progress.
    pub fn to_cut<Q>(&self, mut loads: Vec<(Q, u64)>, now: Duration) -> Vec<Q> {
        loads.sort_unstable_by_key(|(_, bytes)| Reverse(*bytes));
        self.report().loads.store(loads.iter().map(|(_, bytes)| *bytes).sum(), Ordering::Relaxed);
        self.report().largest.store(loads.first().map_or(0, |(_, bytes)| *bytes), Ordering::Relaxed);
        let larger = self.largest_elsewhere();
        let since = self.over_since.get().unwrap_or(now);
        self.over_since.set(Some(since));
        let mut excess = self.budget.excess();
        // What cutting does not give back waits in mailboxes, which their cores empty.
        if now.saturating_sub(since) < QUEUES_GRACE || ROOM_FACTOR * self.budget.loads() < excess {
            return Vec::new();
        }
        let cut = loads.into_iter().take_while(|(_, bytes)| {
            let is_cut = excess > 0 && *bytes > 0 && *bytes >= larger;
            excess = excess.saturating_sub(*bytes);
            is_cut
        });
        cut.map(|(connection, _)| connection).collect()
    }

    /// The largest load on those other cores that have reported lately. Counts as a check of each of them.
    fn largest_elsewhere(&self) -> u64 {
        let others =
            self.budget.reports.iter().zip(&self.seen).enumerate().filter(|(core, _)| *core != self.me.index());
        let progressing = others.filter(|(_, (report, seen))| {
            let (checks, before) = (report.checks.load(Ordering::Relaxed), seen.get());
            let missed = if checks == before.checks { before.missed.saturating_add(1) } else { 0 };
            seen.set(Seen { checks, missed });
            missed < QUEUE_CHECKS_MISSED_MAX
        });
        progressing.map(|(_, (report, _))| report.largest.load(Ordering::Relaxed)).max().unwrap_or(0)
    }

    fn report(&self) -> &Report {
        &self.budget.reports[self.me.index()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts(bytes_max: u64, cores: usize) -> Vec<Account> {
        let budget = Budget::new(bytes_max, cores);
        (0..cores).map(|core| Account::new(Arc::clone(&budget), ShardId::new(core))).collect()
    }

    const LATER: Duration = Duration::from_secs(1);

    /// A check of a core that holds these queues, which share nothing: the indexes of those that it cuts.
    fn check(account: &Account, queues: &[u64], now: Duration) -> Vec<usize> {
        let held: u64 = queues.iter().sum();
        let is_over = account.publish(held as i64);
        if is_over { account.to_cut(queues.iter().copied().enumerate().collect(), now) } else { Vec::new() }
    }

    /// A check, which cuts nothing yet, and one more when the grace is over.
    fn cut_later(account: &Account, queues: &[u64]) -> Vec<usize> {
        assert_eq!(check(account, queues, Duration::ZERO), [0; 0]);
        check(account, queues, LATER)
    }

    #[test]
    fn what_one_core_makes_and_another_drops_is_not_held() {
        let [one, two] = &accounts(100, 2)[..] else { panic!("two") };
        assert!(!one.publish(60) && !two.publish(40), "exactly the budget");
        assert!(two.publish(41) && one.publish(60));
        assert!(!two.publish(-900) && !one.publish(1000));
        assert!(one.publish(1001));
    }

    #[test]
    fn the_largest_are_cut_and_no_more_than_needed() {
        let cut = |queues: &[u64]| cut_later(&accounts(100, 1)[0], queues);
        assert_eq!(cut(&[20, 50, 30]), [0; 0], "exactly the budget");
        assert_eq!(cut(&[20, 50, 31]), [1]);
        assert_eq!(cut(&[20, 50, 30, 40]), [1]);
        assert_eq!(cut(&[20, 50, 30, 51]), [3]);
        assert_eq!(cut(&[20, 50, 30, 52]), [3]);
        assert_eq!(cut(&[60, 60, 61]).len(), 2);
    }

    #[test]
    fn a_moment_over_the_budget_cuts_nothing() {
        let account = &accounts(100, 1)[0];
        let just = QUEUES_GRACE - Duration::from_millis(1);
        assert_eq!(check(account, &[200], LATER), [0; 0]);
        assert_eq!(check(account, &[200], LATER + just), [0; 0]);
        assert_eq!(check(account, &[100], LATER + just), [0; 0], "the moment is over");
        assert_eq!(check(account, &[200], LATER + QUEUES_GRACE), [0; 0]);
        assert_eq!(check(account, &[200], LATER + 2 * QUEUES_GRACE), [0]);
    }

    #[test]
    fn only_the_core_with_the_largest_queue_cuts() {
        let [one, two] = &accounts(100, 2)[..] else { panic!("two") };
        let check_both = |ours: &[u64], theirs: &[u64], now| [check(one, ours, now), check(two, theirs, now)];
        assert_eq!(check_both(&[70, 10], &[80], Duration::ZERO), [[0; 0], [0; 0]]);
        assert_eq!(
            check_both(&[70, 10], &[80], Duration::ZERO),
            [[0; 0], [0; 0]],
            "now each knows the other's largest"
        );
        assert_eq!(check_both(&[70, 10], &[80], LATER), [vec![], vec![0]]);
        // Without that one there is room.
        assert_eq!(check_both(&[70, 10], &[], LATER), [[0; 0], [0; 0]]);
        // Of what is left the largest is on the first core.
        assert_eq!(check_both(&[70, 10], &[60], 2 * LATER), [[0; 0], [0; 0]]);
        assert_eq!(check_both(&[70, 10], &[60], 2 * LATER), [[0; 0], [0; 0]]);
        assert_eq!(check_both(&[70, 10], &[60], 3 * LATER), [vec![0], vec![]]);
    }

    #[test]
    fn a_core_without_progress_is_not_waited_for() {
        let [one, two] = &accounts(100, 2)[..] else { panic!("two") };
        let check_in_vain = |does_two_check: bool| {
            for look in 0..QUEUE_CHECKS_MISSED_MAX {
                if does_two_check || look == 0 {
                    check(two, &[80], Duration::ZERO);
                }
                assert_eq!(check(one, &[70, 10], LATER), [0; 0], "look {look}");
            }
        };
        check(two, &[80], Duration::ZERO);
        check(one, &[70, 10], Duration::ZERO);
        // A core that makes progress is left its time.
        (0..3).for_each(|_| check_in_vain(true));
        check_in_vain(false);
        assert_eq!(check(one, &[70, 10], LATER), [0], "80 + 70 + 10: 70 are enough");
        // What the other core holds counts as before.
        assert_eq!(check(one, &[30], LATER), [0]);
        assert_eq!(check(one, &[20], LATER), [0; 0], "exactly the budget");
        // Once it reports again, it is waited for again.
        check(two, &[80], Duration::ZERO);
        assert_eq!(check(one, &[30], LATER), [0; 0]);
        assert_eq!(check(one, &[30], 2 * LATER), [0; 0]);
    }

    #[test]
    fn no_connection_is_cut_in_vain() {
        let account = &accounts(100, 1)[0];
        let loads = || vec![(1, 0), (2, 0), (3, 7)];
        assert!(account.publish(115), "15 bytes over");
        assert_eq!(account.to_cut(loads(), Duration::ZERO), [0; 0]);
        assert_eq!(account.to_cut(loads(), LATER), [0; 0], "7 bytes are not enough, even with twice the room");
        assert!(account.publish(114));
        assert_eq!(account.to_cut(loads(), LATER), [3]);
        // An empty queue gives nothing back.
        assert!(account.publish(101));
        assert_eq!(account.to_cut(vec![(1, 0), (2, 7), (3, 0)], LATER), [2]);
    }
}
