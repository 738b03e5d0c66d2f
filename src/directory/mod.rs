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

    /// The whole word, by which another server names this owner.
    pub fn word(self) -> u64 {
        self.0.get()
    }

    /// No claim, but an owner of this shard: of what comes from another server.
    pub fn without_claim(shard: ShardId) -> Self {
        Owner::new(shard, ConnectionId::new(0), 0)
    }

    /// The owner with this word, which may be none that ever was.
    pub fn of_word(word: u64) -> Option<Self> {
        NonZeroU64::new(word).map(Owner)
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

    /// How many of them a shard has claimed.
    pub fn claimed_by(&self, shard: ShardId) -> usize {
        self.held[shard.index()].load(Acquire)
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
        &self.owners[cow.place(self.size)]
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

    /// Claims `cow` for `connection`, or returns `None` if it is taken.
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
        self.claim_any_from(1, breed, connection)
    }

    /// The same, of the cows from this number on.
    pub fn claim_any_from(&mut self, number: u32, breed: Breed, connection: ConnectionId) -> Option<Claim> {
        let mut place = number - 1;
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

    #[test]
    fn an_owner_gives_back_both_ends_of_each_field() {
        let last = (CORES_MAX - 1, CONNECTIONS_PER_CORE_MAX - 1, u32::MAX);
        for (shard, connection, generation) in
            [(0, last.1, 1), (last.0, 0, last.2), (0, 0, last.2), (last.0, last.1, 1)]
        {
            let owner = Owner::new(ShardId::new(shard), ConnectionId::new(connection), generation);
            assert_eq!((owner.shard().index(), owner.connection().index()), (shard, connection));
        }
    }

    #[test]
    fn a_contested_cow_belongs_to_its_holder_until_the_release() {
        let seed = Cow { name: "cow".to_owned(), colour: String::new(), half: String::new(), plain: String::new() };
        let herd = Herd::new(vec![seed], 1, Bubble::default()).expect("one name");
        let cow = herd.find("cow", 1).expect("the cow");
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
