//! The index of taken cows: one bit each, so that lists and searches read 64 cows at once.
//!
//! A bit decides nothing: a claim trusts the cow's word alone. Each write keeps the other 63 bits, whose holders may
//! write at the same time. It needs no order of its own: see `super`.

use std::ops::RangeInclusive;
use std::sync::atomic::Ordering::Relaxed;

use super::atomics::{AtomicU64, zeros};

const COWS_PER_WORD: u32 = u64::BITS;

#[derive(Debug)]
pub(super) struct Taken {
    words: Box<[AtomicU64]>,
    /// Cows of each breed.
    size: u32,
    words_per_breed: usize,
}

impl Taken {
    /// All free: `breeds` of `size` cows, at places counted from 0. `None` if the allocation fails.
    pub(super) fn new(breeds: usize, size: u32) -> Option<Self> {
        let words_per_breed = size.div_ceil(COWS_PER_WORD) as usize;
        Some(Taken { words: zeros(breeds * words_per_breed)?, size, words_per_breed })
    }

    /// Only the cow's holder sets and clears its bit.
    pub(super) fn set(&self, breed: usize, place: u32) {
        self.word(breed, place / COWS_PER_WORD).fetch_or(1 << (place % COWS_PER_WORD), Relaxed);
    }

    pub(super) fn clear(&self, breed: usize, place: u32) {
        self.word(breed, place / COWS_PER_WORD).fetch_and(!(1 << (place % COWS_PER_WORD)), Relaxed);
    }

    /// How many of these places are taken.
    pub(super) fn count(&self, breed: usize, places: RangeInclusive<u32>) -> usize {
        let (first, last) = places.into_inner();
        debug_assert!(last < self.size);
        let words = first / COWS_PER_WORD..=last / COWS_PER_WORD;
        let taken = words.map(|word| {
            let from = u64::MAX << first.saturating_sub(word * COWS_PER_WORD);
            let to = u64::MAX >> (COWS_PER_WORD - 1).saturating_sub(last - word * COWS_PER_WORD);
            (self.word(breed, word).load(Relaxed) & from & to).count_ones() as usize
        });
        taken.sum()
    }

    /// The first place from `from` on that is taken, if `taken`, or free.
    pub(super) fn next(&self, breed: usize, from: u32, taken: bool) -> Option<u32> {
        let flip = if taken { 0 } else { u64::MAX };
        let mut wanted = u64::MAX << (from % COWS_PER_WORD);
        for word in from / COWS_PER_WORD..self.words_per_breed as u32 {
            let found = (self.word(breed, word).load(Relaxed) ^ flip) & wanted;
            if found != 0 {
                let place = word * COWS_PER_WORD + found.trailing_zeros();
                // The bits beyond the last cow are never set.
                return (place < self.size).then_some(place);
            }
            wanted = u64::MAX;
        }
        None
    }

    fn word(&self, breed: usize, word: u32) -> &AtomicU64 {
        &self.words[breed * self.words_per_breed + word as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// Both sides of a word's end.
    const SIZES: [u32; 6] = [1, 2, 63, 64, 65, 4200];

    proptest! {
        // Each case is thousands of steps.
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

        #[test]
        fn bits_are_as_a_set_of_places_says(size in prop::sample::select(&SIZES[..]), seed in any::<u64>()) {
            let taken = Taken::new(3, size).expect("memory");
            let mut random = fastrand::Rng::with_seed(seed);
            let mut model = BTreeSet::new();
            // Mostly taken, then mostly free, so that words fill up and empty again.
            for round in 0..6 {
                for _ in 0..size.min(3000) {
                    let place = random.u32(..size);
                    if (round % 2 == 0) == (random.u8(..8) > 0) {
                        taken.set(1, place);
                        model.insert(place);
                    } else {
                        taken.clear(1, place);
                        model.remove(&place);
                    }
                }
                let (from, to) = (random.u32(..size), random.u32(..size));
                let (from, to) = (from.min(to), from.max(to));
                prop_assert_eq!(taken.count(1, from..=to), model.range(from..=to).count());
                prop_assert_eq!(taken.next(1, from, true), model.range(from..).next().copied());
                prop_assert_eq!(taken.next(1, from, false), (from..size).find(|place| !model.contains(place)));
                prop_assert_eq!((taken.count(0, 0..=size - 1), taken.next(2, 0, true)), (0, None), "other breeds");
            }
        }
    }
}
