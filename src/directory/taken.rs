//! Which cows are taken: a bit each, and a second row of bits by which a free one is found quickly.
//!
//! A cow's bit in its *leaf* is the truth: who sets it has claimed the cow. Of each 32 leaves one *summary*
//! word keeps which are full, and counts how often one of their cows was let go. A summary may say "not full"
//! of a full leaf, which costs a look; it says "full" of a leaf with room only while the release that made the
//! room is still under way:
//! - a release clears the cow's bit, then in one step the leaf's flag and counts itself;
//! - who fills a leaf reads the summary, sees that the leaf is full, and sets the flag only if the summary is
//!   still what it was: any release in between has changed the count.
//!
//! All steps are sequentially consistent: they are few, and one order of all is easier to trust.

use std::ops::RangeInclusive;
use std::sync::atomic::Ordering::SeqCst;

use super::atomics::AtomicU64;

/// Cows to a leaf.
const LEAF_COWS: u32 = 64;

/// Leaves to a summary: their flags are its low half, the count of releases its high half.
const SUMMARY_LEAVES: usize = 32;

const FULL: u64 = u64::MAX;

/// The bits of all cows.
#[derive(Debug)]
pub(super) struct Taken {
    leaves: Box<[AtomicU64]>,
    summaries: Box<[AtomicU64]>,
    /// Cows to a breed.
    size: u32,
    leaves_per_breed: usize,
    summaries_per_breed: usize,
}

impl Taken {
    /// All free: `breeds` of `size` cows, whose places are counted from 0. `None` if the allocation fails.
    pub(super) fn new(breeds: usize, size: u32) -> Option<Self> {
        let leaves_per_breed = size.div_ceil(LEAF_COWS) as usize;
        let summaries_per_breed = leaves_per_breed.div_ceil(SUMMARY_LEAVES);
        // What is beyond the last cow counts as taken, and beyond the last leaf as full.
        let last_leaf = FULL.checked_shl((size - 1) % LEAF_COWS + 1).unwrap_or(0);
        let last_summary =
            u64::from(u32::MAX.checked_shl(((leaves_per_breed - 1) % SUMMARY_LEAVES) as u32 + 1).unwrap_or(0));
        let row = |length: usize, last: u64| {
            let word = move |at| AtomicU64::new(if at % length == length - 1 { last } else { 0 });
            let mut words = Vec::new();
            words.try_reserve_exact(breeds * length).ok()?;
            words.extend((0..breeds * length).map(word));
            Some(words.into_boxed_slice())
        };
        Some(Taken {
            leaves: row(leaves_per_breed, last_leaf)?,
            summaries: row(summaries_per_breed, last_summary)?,
            size,
            leaves_per_breed,
            summaries_per_breed,
        })
    }

    /// Takes a cow; `false` if somebody has it. Of any number of takers of a free one exactly one gets it.
    pub(super) fn take(&self, breed: usize, place: u32) -> bool {
        let (leaf, bit) = self.bit(breed, place);
        let before = self.leaves[leaf].fetch_or(bit, SeqCst);
        if before | bit == FULL {
            self.note_full(breed, leaf);
        }
        before & bit == 0
    }

    /// Takes the lowest free cow of a breed: one that was the lowest at a moment of this call. `None` if none
    /// was free all the while.
    pub(super) fn take_lowest(&self, breed: usize) -> Option<u32> {
        loop {
            let place = self.lowest_free(breed)?;
            if self.take(breed, place) {
                return Some(place);
            }
        }
    }

    /// Lets go of a cow that the caller has taken.
    pub(super) fn release(&self, breed: usize, place: u32) {
        let (leaf, bit) = self.bit(breed, place);
        self.leaves[leaf].fetch_and(!bit, SeqCst);
        let (summary, flag) = self.flag(breed, leaf);
        let released = |word: u64| Some((word & !flag).wrapping_add(1 << 32));
        // It always has something to store, so it always succeeds.
        let _ = self.summaries[summary].fetch_update(SeqCst, SeqCst, released);
    }

    /// Whether somebody has it.
    pub(super) fn is_taken(&self, breed: usize, place: u32) -> bool {
        let (leaf, bit) = self.bit(breed, place);
        self.leaves[leaf].load(SeqCst) & bit != 0
    }

    /// How many of these places are taken.
    pub(super) fn count(&self, breed: usize, places: RangeInclusive<u32>) -> usize {
        let (first, last) = places.into_inner();
        let leaves = first / LEAF_COWS..=last.min(self.size - 1) / LEAF_COWS;
        let taken = leaves.map(|leaf| {
            let from = FULL << first.saturating_sub(leaf * LEAF_COWS);
            let to = FULL >> (LEAF_COWS - 1).saturating_sub(last.min(self.size - 1) - leaf * LEAF_COWS);
            let word = self.leaves[breed * self.leaves_per_breed + leaf as usize].load(SeqCst);
            (word & from & to).count_ones() as usize
        });
        taken.sum()
    }

    /// The first place from `from` on that is taken, if `taken`, or free.
    pub(super) fn next(&self, breed: usize, from: u32, taken: bool) -> Option<u32> {
        let flip = if taken { 0 } else { FULL };
        let mut wanted = FULL << (from % LEAF_COWS);
        for leaf in (from / LEAF_COWS) as usize..self.leaves_per_breed {
            let word = (self.leaves[breed * self.leaves_per_breed + leaf].load(SeqCst) ^ flip) & wanted;
            if word != 0 {
                let place = leaf as u32 * LEAF_COWS + word.trailing_zeros();
                return (place < self.size).then_some(place);
            }
            wanted = FULL;
        }
        None
    }

    /// A place that is free and was the lowest free one at a moment of this call, where a cow counts as free from
    /// when its release is counted.
    ///
    /// That moment exists if no release was counted, from the first summary that was read to the look at the
    /// leaf, in any summary up to there: what was full when it was passed was full all the while.
    fn lowest_free(&self, breed: usize) -> Option<u32> {
        let summaries = &self.summaries[breed * self.summaries_per_breed..][..self.summaries_per_breed];
        let counted = |summaries: &[AtomicU64]| summaries.iter().map(|summary| summary.load(SeqCst) >> 32).sum::<u64>();
        'again: loop {
            let mut releases = 0u64;
            for (at, summary) in summaries.iter().enumerate() {
                let word = summary.load(SeqCst);
                releases += word >> 32;
                let mut full = word as u32;
                while full != u32::MAX {
                    let within = at * SUMMARY_LEAVES + full.trailing_ones() as usize;
                    let leaf = breed * self.leaves_per_breed + within;
                    let cows = self.leaves[leaf].load(SeqCst);
                    if cows != FULL {
                        if counted(&summaries[..=at]) != releases {
                            continue 'again;
                        }
                        return Some(within as u32 * LEAF_COWS + cows.trailing_ones());
                    }
                    self.note_full(breed, leaf);
                    full |= 1 << full.trailing_ones();
                }
            }
            // A release that is under way may have freed a cow and not said so here yet: nobody is refused for
            // that. Releases while all leaves were looked through may have freed a lower one behind the look.
            let place = self.next(breed, 0, false);
            if place.is_none() || counted(summaries) == releases {
                return place;
            }
        }
    }

    /// Flags a leaf that is full, unless it is not any more.
    fn note_full(&self, breed: usize, leaf: usize) {
        let (summary, flag) = self.flag(breed, leaf);
        let flagged = |word: u64| {
            let is_news = word & flag == 0 && self.leaves[leaf].load(SeqCst) == FULL;
            is_news.then_some(word | flag)
        };
        // Nothing to store is as good as stored.
        let _ = self.summaries[summary].fetch_update(SeqCst, SeqCst, flagged);
    }

    /// The leaf of a place, and its bit there.
    fn bit(&self, breed: usize, place: u32) -> (usize, u64) {
        debug_assert!(place < self.size);
        (breed * self.leaves_per_breed + (place / LEAF_COWS) as usize, 1 << (place % LEAF_COWS))
    }

    /// The summary of a leaf, and its flag there.
    fn flag(&self, breed: usize, leaf: usize) -> (usize, u64) {
        let within = leaf - breed * self.leaves_per_breed;
        (breed * self.summaries_per_breed + within / SUMMARY_LEAVES, 1 << (within % SUMMARY_LEAVES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::sync::Barrier;

    /// Both sides of every border: of a leaf, of a summary.
    const SIZES: [u32; 10] = [1, 2, 63, 64, 65, 2047, 2048, 2049, 4200, 10_000];

    #[test]
    fn the_lowest_free_one_is_taken_until_none_is_left() {
        for size in SIZES {
            let taken = Taken::new(2, size).expect("memory");
            for place in 0..size {
                assert_eq!(taken.take_lowest(1), Some(place), "of {size}");
            }
            assert_eq!(taken.take_lowest(1), None, "of {size}");
            assert_eq!(taken.count(1, 0..=size - 1), size as usize);
            assert_eq!(taken.count(0, 0..=size - 1), 0, "another breed");
            taken.release(1, size / 2);
            assert_eq!(taken.take_lowest(1), Some(size / 2));
            assert_eq!(taken.take_lowest(1), None);
        }
    }

    proptest! {
        // Each case is thousands of steps.
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

        #[test]
        fn bits_and_summaries_are_as_a_set_of_places_says(
            size in prop::sample::select(&SIZES[..]),
            seed in any::<u64>(),
        ) {
            let taken = Taken::new(1, size).expect("memory");
            let mut random = fastrand::Rng::with_seed(seed);
            let mut model = BTreeSet::new();
            let mut free: BTreeSet<u32> = (0..size).collect();
            // Long runs of one kind, so that leaves fill up and empty again.
            for round in 0..6 {
                for _ in 0..size.min(3000) {
                    let place = random.u32(..size);
                    match (round % 2, random.bool()) {
                        (0, true) => {
                            let lowest = free.pop_first();
                            prop_assert_eq!(taken.take_lowest(0), lowest);
                            model.extend(lowest);
                        }
                        (0, false) => {
                            prop_assert_eq!(taken.take(0, place), model.insert(place));
                            free.remove(&place);
                        }
                        _ if model.remove(&place) => {
                            taken.release(0, place);
                            free.insert(place);
                        }
                        _ => {}
                    }
                }
                let (from, to) = (random.u32(..size), random.u32(..size));
                let (from, to) = (from.min(to), from.max(to));
                prop_assert_eq!(taken.count(0, from..=to), model.range(from..=to).count());
                prop_assert_eq!(taken.next(0, from, true), model.range(from..).next().copied());
                prop_assert_eq!(taken.next(0, from, false), (from..size).find(|place| !model.contains(place)));
                prop_assert_eq!(taken.is_taken(0, from), model.contains(&from));
            }
        }
    }

    #[test]
    fn takers_of_the_lowest_on_many_threads_never_get_the_same_and_miss_none() {
        let (threads, each) = (4, 700);
        let size = threads * each;
        let taken = Taken::new(1, size).expect("memory");
        for _ in 0..20 {
            let start = Barrier::new(threads as usize);
            let got: Vec<u32> = std::thread::scope(|scope| {
                let take = || {
                    start.wait();
                    (0..each).map(|_| taken.take_lowest(0).expect("as many as there are")).collect::<Vec<_>>()
                };
                let takers: Vec<_> = (0..threads).map(|_| scope.spawn(take)).collect();
                takers.into_iter().flat_map(|taker| taker.join().expect("no panic")).collect()
            });
            assert_eq!(got.iter().copied().collect::<BTreeSet<_>>().len(), size as usize);
            assert_eq!(taken.take_lowest(0), None);
            got.into_iter().for_each(|place| taken.release(0, place));
        }
    }

    #[test]
    fn while_others_come_and_go_the_lowest_is_never_above_what_they_can_hold() {
        // Three threads hold at most 100 cows each; whoever asks gets one of the lowest 301, whatever they do.
        let taken = Taken::new(1, 4096).expect("memory");
        std::thread::scope(|scope| {
            for seed in 0..3 {
                let taken = &taken;
                scope.spawn(move || {
                    let mut random = fastrand::Rng::with_seed(seed);
                    let mut held = Vec::new();
                    for _ in 0..20_000 {
                        if held.len() == 100 || (!held.is_empty() && random.bool()) {
                            taken.release(0, held.swap_remove(random.usize(..held.len())));
                        } else {
                            let place = taken.take_lowest(0).expect("most are free");
                            assert!(place < 300, "{place} was never the lowest");
                            held.push(place);
                        }
                    }
                    held.into_iter().for_each(|place| taken.release(0, place));
                });
            }
        });
        assert_eq!(taken.count(0, 0..=4095), 0);
        assert_eq!(taken.take_lowest(0), Some(0));
    }
}
