//! Who owns which cow, over all cores: one atomic word per cow, and a bit that says whether it is taken.
//!
//! A cow's *slot* is 0 when nobody speaks for it, else the [`Owner`] that claimed it; where to deliver to
//! its holder is one load. Its *bit* is what a claim is decided by: one atomic step, which exactly one of any
//! number of claimants wins. Bits are dense, so lists of a hundred thousand names and the search for the
//! lowest free number cost microseconds. No core is told of another's claims, so nothing can be stale.
//!
//! A [`Claim`] frees its cow when it is dropped: first the bit, so that the next one may have it, then the
//! slot, unless the next one's word stands there already. Every owner word is used once (its generation), so
//! a release that comes late leaves another's claim alone.

mod atomics;
#[cfg(shuttle)]
pub mod explored;
mod taken;

use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{self, Relaxed};

use atomics::{AtomicU64, AtomicUsize, zeros};
use crossbeam_utils::CachePadded;

use crate::allocator::may_fail;
use crate::cows::{Breed, CowId};
use crate::ids::{ConnectionId, ShardId};
use crate::limits::CONNECTIONS_PER_CORE_MAX;
use taken::Taken;

/// Who holds a claim: shard (10 bits), connection (22 bits) and generation (32 bits), never 0.
///
/// The generation counts a shard's claims from 1, so no two claims share a word until one core has made
/// 2^32 more: at a million logins a second that is over an hour in which one message would have to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Owner(NonZeroU64);

impl Owner {
    fn new(shard: ShardId, connection: ConnectionId, generation: u32) -> Self {
        let place = ((shard.index() as u64) << 22) | connection.index() as u64;
        let word = NonZeroU64::new((place << 32) | u64::from(generation));
        Owner(word.expect("generations are counted from 1"))
    }

    fn from_slot(word: u64) -> Option<Self> {
        NonZeroU64::new(word).map(Owner)
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

/// There is no memory for the slots and bits of a herd.
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

/// A slot, and a word of the shard's `backlogs`. The bits take a sixty-fourth of that.
const BYTES_PER_COW: usize = size_of::<u64>() + size_of::<u32>();

/// The slots and bits of all cows, shared by all cores.
#[derive(Debug)]
pub struct Directory {
    slots: Box<[AtomicU64]>,
    taken: Taken,
    /// Cows to a breed.
    size: u32,
    /// Claims held, by shard: each is written by its own core only, at login and close.
    held: Box<[CachePadded<AtomicUsize>]>,
}

impl Directory {
    /// All cows of `breeds` of `size` free, for `shards` cores.
    ///
    /// # Errors
    /// When there is no memory for this many cows.
    pub fn new(breeds: usize, size: u32, shards: usize) -> Result<Arc<Self>, NoMemory> {
        let cows = breeds * size as usize;
        // A herd may be much larger than its users are many.
        let rows = may_fail(|| Some((zeros(cows)?, Taken::new(breeds, size)?)));
        let (slots, taken) = rows.ok_or(NoMemory { cows })?;
        let held = (0..shards).map(|_| CachePadded::new(AtomicUsize::new(0))).collect();
        Ok(Arc::new(Directory { slots, taken, size, held }))
    }

    /// Who holds `cow`, or `None` if nobody can be reached by it.
    pub fn owner(&self, cow: CowId) -> Option<Owner> {
        Owner::from_slot(self.slot(cow).load(Ordering::Acquire))
    }

    /// Whether `cow` is taken.
    pub fn is_taken(&self, cow: CowId) -> bool {
        self.taken.is_taken(cow.breed().index(), cow.number() - 1)
    }

    /// How many cows are claimed, over all cores. Exact when nobody logs in or leaves meanwhile.
    pub fn claimed(&self) -> usize {
        self.held.iter().map(|held| held.load(Ordering::Acquire)).sum()
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
            // Whoever takes `first` meanwhile must not make the run empty, or it would be looked for again.
            Some(first..=next(first + 1, true).map_or(self.size, |taken| taken - 1))
        };
        std::iter::successors(run(1), move |last| run(last.end() + 1))
    }

    fn slot(&self, cow: CowId) -> &AtomicU64 {
        &self.slots[cow.breed().index() * self.size as usize + cow.number() as usize - 1]
    }
}

/// How many cows some connections may hold together: one address's, counted in a word that they share.
#[derive(Debug, Clone, Copy)]
pub struct Quota<'a> {
    held: &'a Arc<AtomicU32>,
    cows_max: u32,
}

impl<'a> Quota<'a> {
    /// At most `cows_max`, of which as many are held as `held` says.
    pub fn new(held: &'a Arc<AtomicU32>, cows_max: u32) -> Self {
        Quota { held, cows_max }
    }

    /// How many may be held.
    pub fn cows_max(self) -> u32 {
        self.cows_max
    }

    /// One more, for as long as what comes back lives; `None` if that is too many.
    pub fn take(self) -> Option<Held> {
        let more = |held| Some(held + 1).filter(|&held| held <= self.cows_max);
        // A number by itself: nothing else has to be seen in its order.
        let taken = self.held.fetch_update(Relaxed, Relaxed, more);
        taken.is_ok().then(|| Held(Arc::clone(self.held)))
    }
}

/// One cow of a [`Quota`], given back when dropped.
#[derive(Debug)]
pub struct Held(Arc<AtomicU32>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Hands out one shard's claims.
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
        let is_won = self.directory.taken.take(cow.breed().index(), cow.number() - 1);
        is_won.then(|| self.hold(cow, connection))
    }

    /// Claims a cow of `breed` for `connection`: the one whose number was the lowest free at a moment of this
    /// call. `None` if none was free all the while.
    pub fn claim_lowest(&mut self, breed: Breed, connection: ConnectionId) -> Option<Claim> {
        let place = self.directory.taken.take_lowest(breed.index())?;
        Some(self.hold(breed.cow(place + 1), connection))
    }

    /// Makes a cow whose bit was won known as this connection's.
    fn hold(&mut self, cow: CowId, connection: ConnectionId) -> Claim {
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        let owner = Owner::new(self.shard, connection, self.generation);
        self.directory.slot(cow).store(owner.0.get(), Ordering::Release);
        self.directory.held[self.shard.index()].fetch_add(1, Ordering::Release);
        Claim { directory: Arc::clone(&self.directory), cow, owner }
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

    /// The word that stands in the cow's slot.
    pub fn owner(&self) -> Owner {
        self.owner
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let Directory { taken, held, .. } = &*self.directory;
        held[self.owner.shard().index()].fetch_sub(1, Ordering::Release);
        taken.release(self.cow.breed().index(), self.cow.number() - 1);
        self.vacate();
    }
}

impl Claim {
    /// Empties the slot. Fails if the slot holds another claim by now, which is then none of ours.
    fn vacate(&self) {
        let slot = self.directory.slot(self.cow);
        let _ = slot.compare_exchange(self.owner.0.get(), 0, Ordering::AcqRel, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cows::bubble::Bubble;
    use crate::cows::herd::{Cow, Herd};
    use crate::limits::CORES_MAX;
    use std::sync::Barrier;

    fn cows(count: usize) -> Vec<CowId> {
        let cow = |n| Cow { name: format!("cow{n}"), colour: String::new(), plain: String::new() };
        let herd = Herd::new((0..count).map(cow).collect(), 9, Bubble::default()).expect("distinct names");
        herd.breeds().map(|breed| breed.cow(1)).collect()
    }

    #[test]
    fn an_owner_word_gives_back_what_went_in_at_both_ends_of_each_field() {
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
        assert_eq!(directory.owner(first), Some(claim.owner()));
        assert!(directory.is_taken(first) && !directory.is_taken(second));
        assert!(there.claim(first, ConnectionId::new(7)).is_none());
        let other = there.claim(second, ConnectionId::new(7)).expect("free");
        assert_eq!(directory.claimed(), 2);
        drop(claim);
        assert_eq!((directory.owner(first), directory.is_taken(first), directory.claimed()), (None, false, 1));
        let again = there.claim(first, ConnectionId::new(7)).expect("free again");
        assert_ne!(again.owner(), other.owner(), "every claim has a word of its own");
    }

    #[test]
    fn a_release_leaves_another_claim_alone() {
        let cow = cows(1)[0];
        let directory = Directory::new(1, 1, 1).expect("memory");
        let mut claims = Claims::new(Arc::clone(&directory), ShardId::new(0));
        let old = claims.claim(cow, ConnectionId::new(1)).expect("free");
        // Half a release: the cow may be claimed again before the old word is gone.
        directory.taken.release(0, 0);
        let new = claims.claim(cow, ConnectionId::new(1)).expect("free");
        old.vacate();
        assert_eq!(directory.owner(cow), Some(new.owner()));
        std::mem::forget(old);
    }

    #[test]
    fn taken_cows_and_free_runs_are_listed_in_order() {
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
        let lowest = claims.claim_lowest(breed, ConnectionId::new(0)).expect("some are free");
        assert_eq!(lowest.cow().number(), 1);
        assert_eq!(directory.owner(lowest.cow()), Some(lowest.owner()));
        drop((held, lowest));
        assert_eq!((runs(&directory), directory.claimed()), (vec![1..=9], 0));
    }

    #[test]
    fn a_quota_is_never_exceeded_and_comes_back() {
        let held = Arc::new(AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        let quota = Quota::new(&held, 3);
                        let taken: Vec<Held> = std::iter::from_fn(|| quota.take()).collect();
                        assert!(taken.len() <= 3 && held.load(Relaxed) <= 3);
                    }
                });
            }
        });
        assert_eq!(held.load(Relaxed), 0);
    }

    #[test]
    fn of_many_threads_that_claim_one_cow_exactly_one_wins() {
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
    fn a_cow_that_many_threads_claim_and_release_always_belongs_to_its_holder() {
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
}
