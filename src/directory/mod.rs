//! Who owns which cow, over all cores: one atomic word per cow, which is 0 or the [`Owner`] that claimed it.
//!
//! A claim changes the word from 0 to its owner in one step, so of any number of claims of one cow one wins; the
//! delivery to a cow's holder is one load. No core is told of another core's claims, so nothing can be stale. A [`Claim`]
//! frees its cow when it is dropped. `taken` is only an index for lists and searches, a bit for each cow.
//!
//! Why Acquire and Release are enough, and a search misses no cow that is free from the search's start to its end:
//! - Only a claim changes a word from 0 (Acquire), and only its holder changes it back (Release).
//! - Only the holder writes the cow's bit: it sets the bit after the claim, and clears it before the release. So one
//!   holder's clearing happens before the next holder's setting, and the bit of a free cow is clear.
//! - A cow that is free when a search starts has been released before, so its bit has been cleared before, and the
//!   search reads no older value. Until the next claim nothing sets the bit; the search sees it clear and its claim wins.
//! - A bit that lags behind, during a claim or a release, costs a search one claim in vain, and a list one cow.

mod atomics;
mod quota;
mod taken;

use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use atomics::{AtomicU64, zeros};
use crossbeam_utils::CachePadded;
pub use quota::{CowPermit, Quota};

use crate::allocator::may_fail;
use crate::cows::{Breed, CowId};
use crate::ids::{ConnectionId, ShardId};
use crate::limits::CONNECTIONS_PER_CORE_MAX;
use taken::Taken;

/// The holder of a claim: shard (10 bits), connection (22 bits) and generation (32 bits), never 0.
///
/// The generation counts a shard's claims from 1. So two claims share a word only if 2^32 claims of one core lie between
/// them: at a million logins a second, a frame would have to be on its way for over an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Owner(NonZeroU64);

impl Owner {
    fn new(shard: ShardId, connection: ConnectionId, generation: u32) -> Self {
        let place = ((shard.index() as u64) << 22) | connection.index() as u64;
        let word = NonZeroU64::new((place << 32) | u64::from(generation));
        Owner(word.expect("generations are counted from 1"))
    }

    /// The core that the owner's connection lives on.
    pub fn shard(self) -> ShardId {
        ShardId::new((self.0.get() >> 54) as usize)
    }

    /// The owner's connection on that core.
    pub fn connection(self) -> ConnectionId {
        ConnectionId::new((self.0.get() >> 32) as usize & (CONNECTIONS_PER_CORE_MAX - 1))
    }
}

/// There is no memory for a herd.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no memory for a herd of {cows} cows, {mib} MiB: ask for a smaller --herd, or give the process more memory \
     (`ulimit -v`, a container's limit)",
    mib = (.cows * BYTES_PER_COW).div_ceil(1 << 20)
)]
pub struct NoMemory {
    /// Cows of all breeds.
    pub cows: usize,
}

/// An owner's word, and a word of the shard's `backlogs`. The index takes a sixty-fourth of that.
const BYTES_PER_COW: usize = size_of::<u64>() + size_of::<u32>();

/// The owners of all cows, shared by all cores.
#[derive(Debug)]
pub struct Directory {
    owners: Box<[AtomicU64]>,
    taken: Taken,
    /// Cows of each breed.
    size: u32,
    /// Claims held, by shard. A core writes its own count only.
    held: Box<[CachePadded<AtomicUsize>]>,
}

impl Directory {
    /// All cows of `breeds` of `size` free, for `shards` cores.
    ///
    /// # Errors
    /// When there is no memory for this many cows.
    pub fn new(breeds: usize, size: u32, shards: usize) -> Result<Arc<Self>, NoMemory> {
        let cows = breeds * size as usize;
        // The size of a herd is a flag, so its memory may be too much to ask for.
        let rows = may_fail(|| Some((zeros(cows)?, Taken::new(breeds, size)?)));
        let (owners, taken) = rows.ok_or(NoMemory { cows })?;
        let held = (0..shards).map(|_| CachePadded::new(AtomicUsize::new(0))).collect();
        Ok(Arc::new(Directory { owners, taken, size, held }))
    }

    /// The holder of `cow`, or `None` if it is free.
    pub fn owner(&self, cow: CowId) -> Option<Owner> {
        NonZeroU64::new(self.word(cow).load(Acquire)).map(Owner)
    }

    /// How many cows are claimed, over all cores. Exact while no login and no release is under way.
    pub fn claimed(&self) -> usize {
        self.held.iter().map(|held| held.load(Acquire)).sum()
    }

    /// How many cows of these numbers are taken.
    pub fn count_taken(&self, breed: Breed, numbers: RangeInclusive<u32>) -> usize {
        self.taken.count(breed.index(), numbers.start() - 1..=numbers.end() - 1)
    }

    /// The taken cows of these numbers, ascending.
    pub fn taken(&self, breed: Breed, numbers: RangeInclusive<u32>) -> impl Iterator<Item = CowId> {
        let (first, last) = numbers.into_inner();
        let next = move |from: u32| Some(self.taken.next(breed.index(), from - 1, true)? + 1).filter(|at| *at <= last);
        std::iter::successors(next(first), move |&number| next(number + 1)).map(move |number| breed.cow(number))
    }

    /// The numbers of the free cows of a breed, in runs, ascending.
    pub fn free_runs(&self, breed: Breed) -> impl Iterator<Item = RangeInclusive<u32>> {
        let next = move |from: u32, taken: bool| Some(self.taken.next(breed.index(), from - 1, taken)? + 1);
        let run = move |from: u32| {
            let first = next(from, false)?;
            // From `first + 1` on: a login that takes `first` now must not make the run empty, or the walk would stand still.
            Some(first..=next(first + 1, true).map_or(self.size, |taken| taken - 1))
        };
        std::iter::successors(run(1), move |last| run(last.end() + 1))
    }

    fn word(&self, cow: CowId) -> &AtomicU64 {
        &self.owners[cow.breed().index() * self.size as usize + cow.number() as usize - 1]
    }
}

/// Makes one shard's claims.
#[derive(Debug)]
pub struct Claims {
    directory: Arc<Directory>,
    shard: ShardId,
    /// Of the last claim made.
    generation: u32,
}

impl Claims {
    /// The claims of `shard`, which must be the only ones of that shard.
    pub fn new(directory: Arc<Directory>, shard: ShardId) -> Self {
        Claims { directory, shard, generation: 0 }
    }

    /// Where the claims are kept.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Claims `cow` for `connection`, or returns `None` if it is taken.
    ///
    /// Of any number of claims of one free cow, on any cores, exactly one succeeds.
    pub fn claim(&mut self, cow: CowId, connection: ConnectionId) -> Option<Claim> {
        let generation = self.generation.checked_add(1).unwrap_or(1);
        let owner = Owner::new(self.shard, connection, generation);
        let Directory { taken, held, .. } = &*self.directory;
        self.directory.word(cow).compare_exchange(0, owner.0.get(), Acquire, Relaxed).ok()?;
        self.generation = generation;
        taken.set(cow.breed().index(), cow.number() - 1);
        held[self.shard.index()].fetch_add(1, Release);
        Some(Claim { directory: Arc::clone(&self.directory), cow, owner })
    }

    /// Claims a free cow of `breed` for `connection`: the lowest one, unless another claim or release of the breed runs
    /// at the same time. Never `None` while a cow of the breed is free from the start of this call to its end.
    pub fn claim_any(&mut self, breed: Breed, connection: ConnectionId) -> Option<Claim> {
        let mut place = 0;
        loop {
            place = self.directory.taken.next(breed.index(), place, false)?;
            if let Some(claim) = self.claim(breed.cow(place + 1), connection) {
                return Some(claim);
            }
            place += 1;
        }
    }
}

/// Ownership of a cow's name, released when dropped.
#[derive(Debug)]
pub struct Claim {
    directory: Arc<Directory>,
    cow: CowId,
    owner: Owner,
}

impl Claim {
    /// The cow that is held.
    pub fn cow(&self) -> CowId {
        self.cow
    }

    /// What the directory says of the cow while it is held.
    pub fn owner(&self) -> Owner {
        self.owner
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let Directory { taken, held, .. } = &*self.directory;
        held[self.owner.shard().index()].fetch_sub(1, Release);
        taken.clear(self.cow.breed().index(), self.cow.number() - 1);
        // Last: from here on the cow and its bit are another claim's.
        self.directory.word(self.cow).store(0, Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cows::bubble::Bubble;
    use crate::cows::herd::{Cow, Herd};
    use crate::limits::CORES_MAX;
    use std::sync::Barrier;
    use std::sync::atomic::AtomicBool;

    fn cows(breeds: usize) -> Vec<CowId> {
        let cow = |n| Cow { name: format!("cow{n}"), colour: String::new(), plain: String::new() };
        let herd = Herd::new((0..breeds).map(cow).collect(), 9, Bubble::default()).expect("distinct names");
        herd.breeds().map(|breed| breed.cow(1)).collect()
    }

    #[test]
    fn an_owner_gives_back_both_ends_of_each_field() {
        for shard in [0, 1, CORES_MAX - 1] {
            for connection in [0, 1, CONNECTIONS_PER_CORE_MAX - 1] {
                for generation in [1, u32::MAX] {
                    let owner = Owner::new(ShardId::new(shard), ConnectionId::new(connection), generation);
                    assert_eq!(owner.shard().index(), shard);
                    assert_eq!(owner.connection().index(), connection);
                }
            }
        }
    }

    #[test]
    fn a_herd_that_no_memory_holds_is_refused() {
        // More than there are addresses.
        let refused = Directory::new(1 << 25, u32::MAX, 1).expect_err("no machine has this much");
        assert_eq!(refused, NoMemory { cows: (1 << 25) * u32::MAX as usize });
        let said = NoMemory { cows: 24 << 20 }.to_string();
        assert!(
            said.starts_with("there is no memory for a herd of 25165824 cows, 288 MiB: ask for a smaller --herd, "),
            "{said}"
        );
    }

    #[test]
    fn a_claimed_cow_is_taken_until_the_claim_is_dropped() {
        let [first, second] = cows(2)[..] else { panic!("two cows") };
        let directory = Directory::new(2, 1, 2).expect("memory");
        let mut here = Claims::new(Arc::clone(&directory), ShardId::new(0));
        let mut there = Claims::new(Arc::clone(&directory), ShardId::new(1));

        let claim = here.claim(first, ConnectionId::new(7)).expect("free");
        assert_eq!((directory.owner(first), directory.owner(second)), (Some(claim.owner()), None));
        assert!(there.claim(first, ConnectionId::new(7)).is_none());
        let other = there.claim(second, ConnectionId::new(7)).expect("free");
        assert_eq!(directory.claimed(), 2);
        drop(claim);
        assert_eq!((directory.owner(first), directory.claimed()), (None, 1));
        let again = there.claim(first, ConnectionId::new(7)).expect("free again");
        assert_ne!(again.owner(), other.owner(), "every claim has a word of its own");
    }

    #[test]
    fn taken_and_free_cows_are_found_in_order() {
        let breed = cows(1)[0].breed();
        let directory = Directory::new(1, 9, 1).expect("memory");
        let mut claims = Claims::new(Arc::clone(&directory), ShardId::new(0));
        let runs = |directory: &Directory| directory.free_runs(breed).collect::<Vec<_>>();
        assert_eq!(runs(&directory), [1..=9]);
        let claim = |claims: &mut Claims, number| claims.claim(breed.cow(number), ConnectionId::new(number as usize));
        let held: Vec<_> = [2, 3, 5, 9].map(|number| claim(&mut claims, number)).into_iter().collect();
        assert_eq!(runs(&directory), [1..=1, 4..=4, 6..=8]);
        let taken = |numbers| directory.taken(breed, numbers).map(CowId::number).collect::<Vec<_>>();
        assert_eq!(taken(1..=9), [2, 3, 5, 9]);
        assert_eq!(taken(3..=8), [3, 5]);
        assert!(taken(6..=8).is_empty());
        assert_eq!(directory.count_taken(breed, 3..=9), 3);
        let lowest = [1, 4, 6, 7, 8].map(|number| {
            let claim = claims.claim_any(breed, ConnectionId::new(0)).expect("some are free");
            assert_eq!((claim.cow().number(), directory.owner(claim.cow())), (number, Some(claim.owner())));
            claim
        });
        assert!(claims.claim_any(breed, ConnectionId::new(0)).is_none());
        drop((held, lowest));
        assert_eq!((runs(&directory), directory.claimed()), (vec![1..=9], 0));
    }

    #[test]
    fn one_of_many_threads_wins_a_contested_cow() {
        let cow = cows(1)[0];
        let threads = 4;
        for _ in 0..200 {
            let directory = Directory::new(1, 1, threads).expect("memory");
            let start = Barrier::new(threads);
            let winners: Vec<Option<Claim>> = std::thread::scope(|scope| {
                let racers: Vec<_> = (0..threads)
                    .map(|n| {
                        let mut claims = Claims::new(Arc::clone(&directory), ShardId::new(n));
                        let start = &start;
                        scope.spawn(move || {
                            start.wait();
                            claims.claim(cow, ConnectionId::new(0))
                        })
                    })
                    .collect();
                racers.into_iter().map(|racer| racer.join().expect("no panic")).collect()
            });
            assert_eq!(winners.iter().flatten().count(), 1);
            assert_eq!(directory.claimed(), 1);
        }
    }

    #[test]
    fn a_contested_cow_belongs_to_its_holder_until_the_release() {
        let cow = cows(1)[0];
        let threads = 3;
        let directory = Directory::new(1, 1, threads).expect("memory");
        std::thread::scope(|scope| {
            for n in 0..threads {
                let mut claims = Claims::new(Arc::clone(&directory), ShardId::new(n));
                let directory = &directory;
                scope.spawn(move || {
                    for connection in 0..20_000 {
                        if let Some(claim) = claims.claim(cow, ConnectionId::new(connection)) {
                            assert_eq!(directory.owner(cow), Some(claim.owner()));
                        }
                    }
                });
            }
        });
        assert_eq!((directory.owner(cow), directory.claimed()), (None, 0));
    }

    #[test]
    fn no_search_fails_while_one_cow_stays_free() {
        // Two threads fill and empty the cows of a word and one of the next; only the search takes the last one.
        const SIZE: u32 = 66;
        let breed = cows(1)[0].breed();
        let directory = Directory::new(1, SIZE, 3).expect("memory");
        let claims = |shard| Claims::new(Arc::clone(&directory), ShardId::new(shard));
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for shard in [1, 2] {
                let (mut claims, is_over) = (claims(shard), &is_over);
                scope.spawn(move || {
                    let mut random = fastrand::Rng::with_seed(shard as u64);
                    let mut held: Vec<Option<Claim>> = (1..SIZE).map(|_| None).collect();
                    while !is_over.load(Relaxed) {
                        let at = random.usize(..held.len());
                        held[at] = match held[at].take() {
                            Some(_) if random.u8(..64) == 0 => None,
                            Some(claim) => Some(claim),
                            None => claims.claim(breed.cow(at as u32 + 1), ConnectionId::new(0)),
                        };
                    }
                });
            }
            let mut claims = claims(0);
            let (mut refused, mut last) = (0, 0);
            while refused == 0 && last < 10_000 {
                let claim = claims.claim_any(breed, ConnectionId::new(0));
                refused += usize::from(claim.is_none());
                last += usize::from(claim.is_some_and(|claim| claim.cow().number() == SIZE));
            }
            is_over.store(true, Relaxed);
            assert_eq!(refused, 0, "the last cow is free");
        });
        assert_eq!((directory.claimed(), directory.count_taken(breed, 1..=SIZE)), (0, 0));
    }
}
