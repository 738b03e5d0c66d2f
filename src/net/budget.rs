//! The budget for other people's messages that wait, of all connections of all cores together.
//!
//! What is counted is the memory that they take: a message that waits for a thousand connections is there
//! once, so each of them has a thousandth of it, and the last one that it waits for has all of it. (By their
//! lengths, a yield to 20,000 would be 92 MB, and a paste of 64 would cut people who read at full speed.)
//! What a connection's own lines have brought is not counted, here as little as towards its own limit: it is
//! bounded by throttling it, and nobody is cut for it.
//!
//! A delivery only adds its length to a plain counter of its core, by which more can be held than when that
//! was last counted. Once a beat the counters are looked at together, and only if their sum is over the
//! budget does a core walk through its queues. So over the budget may be what is queued within
//! [`QUEUES_GRACE`] and two beats.
//!
//! The core with the largest queue cuts it, and the others wait for that. A core that stands still cuts nobody:
//! what it holds still counts, but after [`QUEUES_BEATS_MISSED_MAX`] beats without a word from it the others go
//! by their own.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_utils::CachePadded;

use crate::directory::ShardId;
use crate::limits::{QUEUES_BEATS_MISSED_MAX, QUEUES_GRACE};

/// What one core has told the others.
#[derive(Debug, Default)]
struct Row {
    /// Bytes that its queues held when they were last counted.
    held: AtomicU64,
    /// Bytes queued since.
    queued: AtomicU64,
    /// Bytes of its largest queue.
    largest: AtomicU64,
    /// How often it has told anything: once a beat.
    told: AtomicU64,
}

/// The budget, and what the cores have told.
#[derive(Debug)]
pub struct Budget {
    bytes_max: u64,
    cores: Box<[CachePadded<Row>]>,
}

impl Budget {
    /// Nothing waits on any of so many cores.
    pub fn new(bytes_max: u64, cores: usize) -> Arc<Self> {
        Arc::new(Budget { bytes_max, cores: (0..cores).map(|_| CachePadded::default()).collect() })
    }

    fn held(&self) -> u64 {
        self.cores.iter().map(|core| core.held.load(Ordering::Relaxed)).sum()
    }

    fn queued(&self) -> u64 {
        self.cores.iter().map(|core| core.queued.load(Ordering::Relaxed)).sum()
    }
}

/// How much waits for one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Other people's messages by their lengths: how far it is behind.
    pub bytes: u64,
    /// The memory that they take, where what is shared counts in part.
    pub held: u64,
}

/// What a core was last heard to have told, and for how many looks at it that has been all.
#[derive(Debug, Clone, Copy, Default)]
struct Heard {
    told: u64,
    missed: u32,
}

/// One core's part in the budget.
#[derive(Debug)]
pub struct Account {
    budget: Arc<Budget>,
    me: ShardId,
    /// Bytes queued since the queues were counted.
    queued: Cell<u64>,
    /// Since when all queues together have been over the budget, by the core's clock.
    over_since: Cell<Option<Duration>>,
    /// Of each core. In looks, not by a clock: while the whole process stands still nobody falls behind.
    heard: Box<[Cell<Heard>]>,
}

impl Account {
    /// The part of `me`.
    pub fn new(budget: Arc<Budget>, me: ShardId) -> Self {
        let heard = budget.cores.iter().map(|_| Cell::default()).collect();
        Account { budget, me, queued: Cell::new(0), over_since: Cell::new(None), heard }
    }

    /// So many bytes were queued here, for however many connections.
    pub fn add(&self, bytes: u64) {
        self.queued.set(self.queued.get() + bytes);
    }

    /// Tells the others; once a beat. Whether all together may be over the budget, so that the queues have to
    /// be counted.
    pub fn may_be_over(&self) -> bool {
        self.row().queued.store(self.queued.get(), Ordering::Relaxed);
        self.row().told.fetch_add(1, Ordering::Relaxed);
        let is_possible = self.budget.held() + self.budget.queued() > self.budget.bytes_max;
        if !is_possible {
            self.over_since.set(None);
        }
        is_possible
    }

    /// Takes in what was counted at `now`, the loads of all queues here; once a beat at most. Which of them to
    /// cut: none unless all together have been over the budget for a while; then the largest first, as many as
    /// have to go, but none that is smaller than the largest of another core that beats.
    pub fn to_cut<Q>(&self, mut loads: Vec<(Q, Load)>, now: Duration) -> Vec<Q> {
        loads.sort_by_key(|(_, load)| std::cmp::Reverse(load.bytes));
        let row = self.row();
        row.held.store(loads.iter().map(|(_, load)| load.held).sum(), Ordering::Relaxed);
        row.largest.store(loads.first().map_or(0, |(_, load)| load.bytes), Ordering::Relaxed);
        row.queued.store(0, Ordering::Relaxed);
        self.queued.set(0);
        let larger = self.largest_elsewhere();
        let Some(mut excess) = self.budget.held().checked_sub(self.budget.bytes_max).filter(|&excess| excess > 0)
        else {
            self.over_since.set(None);
            return Vec::new();
        };
        let since = self.over_since.get().unwrap_or(now);
        self.over_since.set(Some(since));
        if now.saturating_sub(since) < QUEUES_GRACE {
            return Vec::new();
        }
        let cut = loads.into_iter().take_while(|(_, load)| {
            let is_cut = excess > 0 && load.bytes > 0 && load.bytes >= larger;
            excess = excess.saturating_sub(load.held);
            is_cut
        });
        cut.map(|(queue, _)| queue).collect()
    }

    /// Bytes of the largest queue on those other cores that have told something lately. A look at each of them.
    fn largest_elsewhere(&self) -> u64 {
        let others = self.budget.cores.iter().zip(&self.heard).enumerate().filter(|(core, _)| *core != self.me.index());
        let beating = others.filter(|(_, (row, heard))| {
            let (told, before) = (row.told.load(Ordering::Relaxed), heard.get());
            let missed = if told == before.told { before.missed.saturating_add(1) } else { 0 };
            heard.set(Heard { told, missed });
            missed < QUEUES_BEATS_MISSED_MAX
        });
        beating.map(|(_, (row, _))| row.largest.load(Ordering::Relaxed)).max().unwrap_or(0)
    }

    fn row(&self) -> &Row {
        &self.budget.cores[self.me.index()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts(bytes_max: u64, cores: usize) -> Vec<Account> {
        let budget = Budget::new(bytes_max, cores);
        (0..cores).map(|core| Account::new(Arc::clone(&budget), ShardId::new(core))).collect()
    }

    /// Queues of these lengths that share nothing, by their places.
    fn loads(bytes: &[u64]) -> Vec<(usize, Load)> {
        bytes.iter().map(|&bytes| Load { bytes, held: bytes }).enumerate().collect()
    }

    const LATER: Duration = Duration::from_secs(1);

    /// Counts now, which cuts nobody yet, and once more when the grace is over.
    fn cut_later(account: &Account, queues: &[u64]) -> Vec<usize> {
        assert_eq!(account.to_cut(loads(queues), Duration::ZERO), [0; 0]);
        account.to_cut(loads(queues), LATER)
    }

    #[test]
    fn queues_are_counted_only_when_they_may_be_over() {
        let [one, two] = &accounts(100, 2)[..] else { panic!("two") };
        one.add(60);
        assert!(!one.may_be_over());
        two.add(40);
        assert!(!two.may_be_over(), "exactly all of it");
        two.add(1);
        assert!(two.may_be_over() && one.may_be_over());
        // It turns out that most has been read.
        assert_eq!(two.to_cut(loads(&[5, 6]), Duration::ZERO), [0; 0]);
        assert!(!two.may_be_over() && !one.may_be_over());
        two.add(30);
        assert!(two.may_be_over(), "60 + 11 + 30");
    }

    #[test]
    fn the_largest_goes_first_and_no_more_than_have_to() {
        let cut = |queues: &[u64]| cut_later(&accounts(100, 1)[0], queues);
        assert_eq!(cut(&[20, 50, 30]), [0; 0], "exactly all of it");
        assert_eq!(cut(&[20, 50, 31]), [1]);
        assert_eq!(cut(&[20, 50, 30, 40]), [1]);
        assert_eq!(cut(&[20, 50, 30, 51]), [3]);
        assert_eq!(cut(&[20, 50, 30, 52]), [3]);
        assert_eq!(cut(&[60, 60, 60]), [0, 1]);
    }

    #[test]
    fn nobody_is_cut_for_a_moment() {
        let account = &accounts(100, 1)[0];
        let just = QUEUES_GRACE - Duration::from_millis(1);
        assert_eq!(account.to_cut(loads(&[200]), LATER), [0; 0]);
        assert_eq!(account.to_cut(loads(&[200]), LATER + just), [0; 0]);
        assert_eq!(account.to_cut(loads(&[100]), LATER + just), [0; 0], "the moment is over");
        assert_eq!(account.to_cut(loads(&[200]), LATER + QUEUES_GRACE), [0; 0]);
        assert_eq!(account.to_cut(loads(&[200]), LATER + 2 * QUEUES_GRACE), [0]);
    }

    #[test]
    fn a_core_leaves_its_queues_alone_while_another_has_a_larger_one() {
        let [one, two] = &accounts(100, 2)[..] else { panic!("two") };
        assert_eq!(two.to_cut(loads(&[80]), Duration::ZERO), [0; 0]);
        assert_eq!(cut_later(one, &[70, 10]), [0; 0]);
        assert_eq!(two.to_cut(loads(&[80]), Duration::ZERO), [0; 0]);
        assert_eq!(two.to_cut(loads(&[80]), LATER), [0]);
        // With that gone there is room.
        assert_eq!(two.to_cut(loads(&[]), LATER), [0; 0]);
        assert_eq!(one.to_cut(loads(&[70, 10]), 2 * LATER), [0; 0]);
        // And of those that are left the largest is here.
        assert_eq!(two.to_cut(loads(&[60]), LATER), [0; 0]);
        assert_eq!(cut_later(one, &[70, 10]), [0]);
    }

    #[test]
    fn a_core_that_stands_still_is_not_waited_for() {
        let [one, two] = &accounts(100, 2)[..] else { panic!("two") };
        let beat = |account: &Account, queues: &[u64], time| {
            account.may_be_over();
            account.to_cut(loads(queues), time)
        };
        let beat_in_vain = |does_two_beat: bool| {
            for look in 0..QUEUES_BEATS_MISSED_MAX {
                if does_two_beat || look == 0 {
                    beat(two, &[80], Duration::ZERO);
                }
                assert_eq!(beat(one, &[70, 10], LATER), [0; 0], "look {look}");
            }
        };
        beat(two, &[80], Duration::ZERO);
        beat(one, &[70, 10], Duration::ZERO);
        // However long it takes, a core that beats may have a reason.
        (0..3).for_each(|_| beat_in_vain(true));
        beat_in_vain(false);
        assert_eq!(beat(one, &[70, 10], LATER), [0], "80 + 70 + 10: 70 are enough");
        // What is held there counts as before.
        assert_eq!(beat(one, &[30], LATER), [0]);
        assert_eq!(beat(one, &[20], LATER), [0; 0], "exactly all of it");
        // And once it beats again, it is waited for again.
        two.may_be_over();
        assert_eq!(beat(one, &[30], LATER), [0; 0]);
        assert_eq!(beat(one, &[30], 2 * LATER), [0; 0]);
    }

    #[test]
    fn who_holds_nothing_of_others_is_never_cut() {
        let [one, two] = &accounts(100, 2)[..] else { panic!("two") };
        assert_eq!(two.to_cut(loads(&[500]), Duration::ZERO), [0; 0]);
        assert_eq!(cut_later(one, &[0, 0]), [0; 0]);
        let account = &accounts(100, 1)[0];
        let shared = vec![(7, Load { bytes: 90, held: 200 }), (8, Load::default())];
        assert_eq!(account.to_cut(shared.clone(), Duration::ZERO), [0; 0]);
        assert_eq!(account.to_cut(shared, LATER), [7]);
    }
}
