//! The budget for all that waits, of all connections of all cores together: messages in mailboxes and send queues, replies,
//! the history, and input that is not executed yet.
//!
//! What is counted is the memory that it takes ([`crate::held`]): a message that waits for a thousand connections is there
//! once. (By their lengths, a yield to 20,000 would be 92 MB, and a paste of 64 would cut readers at full speed.)
//!
//! Each core tells the others its balance once a beat, and only while their sum is over the budget does it look at its
//! queues, one number each. So over the budget may be what is made within [`QUEUES_GRACE`] and two beats.
//!
//! The core with the largest queue cuts it, and the others wait for that. To cut a queue of which others share much gives
//! little back: the next beat shows what is still too much. A core that stands still cuts no connection: what it holds
//! still counts, but after [`QUEUES_BEATS_MISSED_MAX`] beats without a word from it the others go by their own.
//!
//! Beats of two cores are up to 50 ms apart, so what one makes and the other drops within that time may count in full: a
//! budget of less than a few MiB is imprecise.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_utils::CachePadded;

use crate::ids::ShardId;
use crate::limits::{QUEUES_BEATS_MISSED_MAX, QUEUES_GRACE};

/// What cutting a connection gives back is at most this multiple of its load: a buffer that grows has up to twice the room.
const LOADS_PART: u64 = 2;

/// What one core has told the others.
#[derive(Debug, Default)]
struct Row {
    /// Bytes made there, less those dropped there.
    held: AtomicI64,
    /// Bytes that wait for its connections, or came from them: what cutting all of them gives back at most.
    loads: AtomicU64,
    /// Those of the largest one.
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

    fn loads(&self) -> u64 {
        self.cores.iter().map(|core| core.loads.load(Ordering::Relaxed)).sum()
    }

    /// How much more is held than may be.
    fn excess(&self) -> u64 {
        let held: i64 = self.cores.iter().map(|core| core.held.load(Ordering::Relaxed)).sum();
        u64::try_from(held).unwrap_or(0).saturating_sub(self.bytes_max)
    }
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
    /// Since when all together have been over the budget, by the core's clock.
    over_since: Cell<Option<Duration>>,
    /// Of each core. In looks, not by a clock: while the whole process stands still nobody falls behind.
    heard: Box<[Cell<Heard>]>,
}

impl Account {
    /// The part of `me`.
    pub fn new(budget: Arc<Budget>, me: ShardId) -> Self {
        let heard = budget.cores.iter().map(|_| Cell::default()).collect();
        Account { budget, me, over_since: Cell::new(None), heard }
    }

    /// Tells the others what this core holds; once a beat. Whether all together are over the budget.
    pub fn is_over(&self, held: i64) -> bool {
        self.row().held.store(held, Ordering::Relaxed);
        self.row().told.fetch_add(1, Ordering::Relaxed);
        let is_over = self.budget.excess() > 0;
        if !is_over {
            self.over_since.set(None);
        }
        is_over
    }

    /// Takes in the load of each connection here at `now`, in bytes; once a beat at most. Which of them to cut: none unless all
    /// together have been over the budget for a while, and none if that would not be enough; then the largest first, as
    /// many as have to go, but none that is smaller than the largest of another core that beats.
    pub fn to_cut<Q>(&self, mut queues: Vec<(Q, u64)>, now: Duration) -> Vec<Q> {
        queues.sort_unstable_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        self.row().loads.store(queues.iter().map(|(_, bytes)| *bytes).sum(), Ordering::Relaxed);
        self.row().largest.store(queues.first().map_or(0, |(_, bytes)| *bytes), Ordering::Relaxed);
        let larger = self.largest_elsewhere();
        let since = self.over_since.get().unwrap_or(now);
        self.over_since.set(Some(since));
        if now.saturating_sub(since) < QUEUES_GRACE {
            return Vec::new();
        }
        let mut excess = self.budget.excess();
        if LOADS_PART * self.budget.loads() < excess {
            // Most of it waits in mailboxes, which a core that goes on empties.
            return Vec::new();
        }
        let cut = queues.into_iter().take_while(|(_, bytes)| {
            let is_cut = excess > 0 && *bytes > 0 && *bytes >= larger;
            excess = excess.saturating_sub(*bytes);
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

    const LATER: Duration = Duration::from_secs(1);

    /// A beat of a core that holds these queues, which share nothing: the places of those that it cuts.
    fn beat(account: &Account, queues: &[u64], now: Duration) -> Vec<usize> {
        let held: u64 = queues.iter().sum();
        if !account.is_over(held as i64) {
            return Vec::new();
        }
        account.to_cut(queues.iter().copied().enumerate().collect(), now)
    }

    /// A beat, which cuts nobody yet, and one more when the grace is over.
    fn cut_later(account: &Account, queues: &[u64]) -> Vec<usize> {
        assert_eq!(beat(account, queues, Duration::ZERO), [0; 0]);
        beat(account, queues, LATER)
    }

    #[test]
    fn what_is_made_on_one_core_and_dropped_on_another_is_held_by_neither() {
        let [one, two] = &accounts(100, 2)[..] else { panic!("two") };
        assert!(!one.is_over(60) && !two.is_over(40), "exactly all of it");
        assert!(two.is_over(41) && one.is_over(60));
        assert!(!two.is_over(-900) && !one.is_over(1000));
        assert!(one.is_over(1001));
    }

    #[test]
    fn the_largest_goes_first_and_no_more_than_have_to() {
        let cut = |queues: &[u64]| cut_later(&accounts(100, 1)[0], queues);
        assert_eq!(cut(&[20, 50, 30]), [0; 0], "exactly all of it");
        assert_eq!(cut(&[20, 50, 31]), [1]);
        assert_eq!(cut(&[20, 50, 30, 40]), [1]);
        assert_eq!(cut(&[20, 50, 30, 51]), [3]);
        assert_eq!(cut(&[20, 50, 30, 52]), [3]);
        assert_eq!(cut(&[60, 60, 61]).len(), 2);
    }

    #[test]
    fn nobody_is_cut_for_a_moment() {
        let account = &accounts(100, 1)[0];
        let just = QUEUES_GRACE - Duration::from_millis(1);
        assert_eq!(beat(account, &[200], LATER), [0; 0]);
        assert_eq!(beat(account, &[200], LATER + just), [0; 0]);
        assert_eq!(beat(account, &[100], LATER + just), [0; 0], "the moment is over");
        assert_eq!(beat(account, &[200], LATER + QUEUES_GRACE), [0; 0]);
        assert_eq!(beat(account, &[200], LATER + 2 * QUEUES_GRACE), [0]);
    }

    #[test]
    fn a_core_leaves_its_queues_alone_while_another_has_a_larger_one() {
        let [one, two] = &accounts(100, 2)[..] else { panic!("two") };
        let beat_both = |ours: &[u64], theirs: &[u64], now| [beat(one, ours, now), beat(two, theirs, now)];
        assert_eq!(beat_both(&[70, 10], &[80], Duration::ZERO), [[0; 0], [0; 0]]);
        assert_eq!(beat_both(&[70, 10], &[80], Duration::ZERO), [[0; 0], [0; 0]], "now each knows of the other's");
        assert_eq!(beat_both(&[70, 10], &[80], LATER), [vec![], vec![0]]);
        // With that gone there is room.
        assert_eq!(beat_both(&[70, 10], &[], LATER), [[0; 0], [0; 0]]);
        // And of those that are left the largest is here.
        assert_eq!(beat_both(&[70, 10], &[60], 2 * LATER), [[0; 0], [0; 0]]);
        assert_eq!(beat_both(&[70, 10], &[60], 2 * LATER), [[0; 0], [0; 0]]);
        assert_eq!(beat_both(&[70, 10], &[60], 3 * LATER), [vec![0], vec![]]);
    }

    #[test]
    fn a_core_that_stands_still_is_not_waited_for() {
        let [one, two] = &accounts(100, 2)[..] else { panic!("two") };
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
        beat(two, &[80], Duration::ZERO);
        assert_eq!(beat(one, &[30], LATER), [0; 0]);
        assert_eq!(beat(one, &[30], 2 * LATER), [0; 0]);
    }

    #[test]
    fn no_connection_is_cut_in_vain() {
        let account = &accounts(100, 1)[0];
        let loads = || vec![(1, 0), (2, 0), (3, 7)];
        assert!(account.is_over(115), "15 bytes too many");
        assert_eq!(account.to_cut(loads(), Duration::ZERO), [0; 0]);
        assert_eq!(account.to_cut(loads(), LATER), [0; 0], "7 are not enough, whatever their room");
        assert!(account.is_over(114));
        assert_eq!(account.to_cut(loads(), LATER), [3]);
        // An empty one gives nothing back.
        assert!(account.is_over(101));
        assert_eq!(account.to_cut(vec![(1, 0), (2, 7), (3, 0)], LATER), [2]);
    }
}
