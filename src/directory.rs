//! Who owns which cow, over all cores: one atomic word per cow.
//!
//! A slot is 0 when its cow is free, else the [`Owner`] that claimed it. Claiming is one
//! compare-exchange, looking up one load, and there is nothing else to keep in step: no core is told
//! of another's claims, so nothing can be stale.
//!
//! A [`Claim`] frees its slot when it is dropped, and only its own: every owner word is used once (its
//! generation), so a release that comes late finds another word in the slot and leaves it alone.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crossbeam_utils::CachePadded;

use crate::cows::CowId;
use crate::limits::{CONNECTIONS_PER_CORE_MAX, CORES_MAX};

/// One core's place among the shards, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(u16);

impl ShardId {
    /// The shard at this place; below [`CORES_MAX`].
    pub fn new(index: usize) -> Self {
        assert!(index < CORES_MAX, "more cores than an owner word can name");
        ShardId(index as u16)
    }

    /// Its place among the shards, from 0.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A connection's place among those of its core; used again once it is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(u32);

impl ConnectionId {
    /// The connection at this place; below [`CONNECTIONS_PER_CORE_MAX`].
    pub fn new(index: usize) -> Self {
        assert!(index < CONNECTIONS_PER_CORE_MAX, "more connections than an owner word can name");
        ConnectionId(index as u32)
    }

    /// Its place among the core's connections, from 0.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Who holds a claim: shard (10 bits), connection (22 bits) and generation (32 bits), never 0.
///
/// The generation counts a shard's claims from 1, so no two claims share a word until one core has made
/// 2^32 more: at a million logins a second that is over an hour in which one message would have to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Owner(NonZeroU64);

impl Owner {
    fn new(shard: ShardId, connection: ConnectionId, generation: u32) -> Option<Self> {
        let place = (u64::from(shard.0) << 22) | u64::from(connection.0);
        // A generation of 0 is never used, so the word is never 0.
        (generation != 0).then_some(())?;
        NonZeroU64::new((place << 32) | u64::from(generation)).map(Owner)
    }

    fn from_slot(word: u64) -> Option<Self> {
        NonZeroU64::new(word).map(Owner)
    }

    /// The core that the owner's connection lives on.
    pub fn shard(self) -> ShardId {
        ShardId((self.0.get() >> 54) as u16)
    }

    /// The owner's connection on that core.
    pub fn connection(self) -> ConnectionId {
        ConnectionId((self.0.get() >> 32) as u32 & (CONNECTIONS_PER_CORE_MAX as u32 - 1))
    }
}

/// The slots of all cows, shared by all cores.
#[derive(Debug)]
pub struct Directory {
    slots: Box<[AtomicU64]>,
    /// Claims held, by shard: each is written by its own core only, at login and close.
    held: Box<[CachePadded<AtomicUsize>]>,
}

impl Directory {
    /// All of `cows` free, for `shards` cores.
    pub fn new(cows: usize, shards: usize) -> Arc<Self> {
        Arc::new(Directory {
            slots: (0..cows).map(|_| AtomicU64::new(0)).collect(),
            held: (0..shards).map(|_| CachePadded::new(AtomicUsize::new(0))).collect(),
        })
    }

    /// Who holds `cow`, or `None` if it is free.
    pub fn owner(&self, cow: CowId) -> Option<Owner> {
        Owner::from_slot(self.slots[cow.index()].load(Ordering::Acquire))
    }

    /// How many cows are claimed, over all cores. Exact when nobody logs in or leaves meanwhile.
    pub fn claimed(&self) -> usize {
        self.held.iter().map(|held| held.load(Ordering::Acquire)).sum()
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
        let generation = self.generation.checked_add(1).unwrap_or(1);
        let owner = Owner::new(self.shard, connection, generation)?;
        self.directory.slots[cow.index()]
            .compare_exchange(0, owner.0.get(), Ordering::AcqRel, Ordering::Relaxed)
            .ok()?;
        self.generation = generation;
        self.directory.held[self.shard.index()].fetch_add(1, Ordering::Release);
        Some(Claim { directory: Arc::clone(&self.directory), cow, owner })
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
        self.directory.held[self.owner.shard().index()].fetch_sub(1, Ordering::Release);
        // Fails if the slot holds another claim, which is then none of ours.
        let _ = self.directory.slots[self.cow.index()].compare_exchange(
            self.owner.0.get(),
            0,
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cows::herd::{Cow, Herd};
    use std::sync::Barrier;

    fn herd(names: usize) -> Herd {
        let cow = |n| Cow { name: format!("cow{n}"), body: String::new() };
        Herd::new((0..names).map(cow).collect()).expect("distinct names")
    }

    #[test]
    fn an_owner_word_gives_back_what_went_in_at_both_ends_of_each_field() {
        for shard in [0, 1, CORES_MAX - 1] {
            for connection in [0, 1, CONNECTIONS_PER_CORE_MAX - 1] {
                for generation in [1, u32::MAX] {
                    let owner =
                        Owner::new(ShardId::new(shard), ConnectionId::new(connection), generation).expect("not 0");
                    assert_eq!(owner.shard().index(), shard);
                    assert_eq!(owner.connection().index(), connection);
                }
            }
        }
        assert_eq!(Owner::new(ShardId::new(1), ConnectionId::new(1), 0), None);
    }

    #[test]
    fn a_claimed_cow_is_taken_until_the_claim_is_dropped() {
        let herd = herd(2);
        let [first, second] = [0, 1].map(|n| herd.ids().nth(n).expect("two cows"));
        let directory = Directory::new(herd.len(), 2);
        let mut here = Claims::new(Arc::clone(&directory), ShardId::new(0));
        let mut there = Claims::new(Arc::clone(&directory), ShardId::new(1));

        let claim = here.claim(first, ConnectionId::new(7)).expect("free");
        assert_eq!(directory.owner(first), Some(claim.owner()));
        assert!(there.claim(first, ConnectionId::new(7)).is_none());
        let other = there.claim(second, ConnectionId::new(7)).expect("free");
        assert_eq!(directory.claimed(), 2);
        drop(claim);
        assert_eq!((directory.owner(first), directory.claimed()), (None, 1));
        let again = there.claim(first, ConnectionId::new(7)).expect("free again");
        assert_ne!(again.owner(), other.owner(), "every claim has a word of its own");
    }

    #[test]
    fn a_release_leaves_another_claim_alone() {
        let herd = herd(1);
        let cow = herd.ids().next().expect("a cow");
        let directory = Directory::new(1, 1);
        let mut claims = Claims::new(Arc::clone(&directory), ShardId::new(0));
        let old = claims.claim(cow, ConnectionId::new(1)).expect("free");
        // As if the slot had been freed and claimed again behind the old claim's back.
        directory.slots[0].store(0, Ordering::Release);
        let new = claims.claim(cow, ConnectionId::new(1)).expect("free");
        drop(old);
        assert_eq!(directory.owner(cow), Some(new.owner()));
    }

    #[test]
    fn of_many_threads_that_claim_one_cow_exactly_one_wins() {
        let herd = herd(1);
        let cow = herd.ids().next().expect("a cow");
        let threads = 4;
        for _ in 0..200 {
            let directory = Directory::new(1, threads);
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
}
