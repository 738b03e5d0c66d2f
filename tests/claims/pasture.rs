//! Threads that claim and release cows of one herd, and what must be true of whatever happened then.

use std::collections::{BTreeSet, VecDeque};
use std::ops::RangeInclusive;
use std::sync::{Arc, LazyLock, Mutex};

use rooms::cows::{CowId, Herd};
use rooms::directory::{Claim, Claims, Directory};
use rooms::ids::{ConnectionId, ShardId};
use shuttle::rand::{Rng, thread_rng};
use shuttle::thread;

use crate::{herd, promise};

/// A herd and everything that has happened in it, in one order: one thread runs all that are explored.
struct Pasture {
    herd: &'static Herd,
    directory: Arc<Directory>,
    /// The numbers that come and go; all lower ones are taken throughout.
    contested: RangeInclusive<u32>,
    past: Mutex<Past>,
}

#[derive(Default)]
struct Past {
    now: usize,
    /// Who certainly has a claim now: from when it was given until it is let go of.
    held: BTreeSet<u32>,
    holds: Vec<Hold>,
    refusals: Vec<Refusal>,
    /// Cows that somebody saw free, and when he looked.
    sightings: Vec<(u32, RangeInclusive<usize>)>,
}

/// A cow's way from being asked for to being free again.
#[derive(Debug, Clone)]
struct Hold {
    number: u32,
    /// When it was asked for, and when it was given.
    claim: RangeInclusive<usize>,
    /// Whether the lowest was asked for.
    as_lowest: bool,
    /// When the claim was let go of, and when that was done.
    release: RangeInclusive<usize>,
}

#[derive(Debug)]
struct Refusal {
    call: RangeInclusive<usize>,
    /// The cow that was asked for; `None` for the lowest.
    number: Option<u32>,
}

impl Pasture {
    /// All of `herd` free, of which those before `contested` are to be taken; for three cores and a fourth.
    fn new(herd: &'static Herd, contested: RangeInclusive<u32>) -> Arc<Self> {
        let directory = Directory::new(1, herd.size(), 4).expect("memory");
        Arc::new(Pasture { herd, directory, contested, past: Mutex::default() })
    }

    fn cow(&self, number: u32) -> CowId {
        self.herd.find("cow", number).expect("a number of the herd")
    }

    fn claims(&self, shard: usize) -> Claims {
        Claims::new(Arc::clone(&self.directory), ShardId::new(shard))
    }

    fn past<T>(&self, look: impl FnOnce(&mut Past) -> T) -> T {
        look(&mut self.past.lock().expect("nobody fails while holding it"))
    }

    /// The time, which nothing else has.
    fn tick(&self) -> usize {
        self.past(|past| {
            past.now += 1;
            past.now
        })
    }

    /// Asks for a cow, or for the lowest free one, and notes what came of it.
    ///
    /// One connection of each core asks for all: what tells its claims from each other is the generation.
    fn claim(&self, claims: &mut Claims, number: Option<u32>) -> Option<(Claim, Hold)> {
        let connection = ConnectionId::new(0);
        let asked = self.tick();
        let claim = match number {
            Some(number) => claims.claim(self.cow(number), connection),
            None => claims.claim_lowest(self.cow(1).breed(), connection),
        };
        let call = asked..=self.tick();
        let Some(claim) = claim else {
            self.past(|past| past.refusals.push(Refusal { call, number }));
            return None;
        };
        let given = claim.cow().number();
        assert!(number.is_none_or(|number| number == given));
        promise("I1", self.past(|past| past.held.insert(given)), format_args!("two hold cow {given}"));
        let hold = Hold { number: given, claim: call, as_lowest: number.is_none(), release: 0..=0 };
        self.assert_held(&claim);
        Some((claim, hold))
    }

    fn release(&self, (claim, mut hold): (Claim, Hold)) {
        self.assert_held(&claim);
        self.past(|past| past.held.remove(&hold.number));
        let begun = self.tick();
        drop(claim);
        hold.release = begun..=self.tick();
        self.past(|past| past.holds.push(hold));
    }

    fn assert_held(&self, claim: &Claim) {
        let (cow, number) = (claim.cow(), claim.cow().number());
        let is_reached = self.directory.owner(cow) == Some(claim.owner());
        promise("I2", is_reached, format_args!("cow {number} is not its holder's any more"));
        promise("I2", self.directory.is_taken(cow), format_args!("cow {number} is held and free"));
    }

    /// Looks whether a cow is free.
    fn look(&self, number: u32) {
        let begun = self.tick();
        if !self.directory.is_taken(self.cow(number)) {
            let look = begun..=self.tick();
            self.past(|past| past.sightings.push((number, look)));
        }
    }

    /// What has happened is what was promised; nobody holds anything any more.
    fn check(&self) {
        self.past(|past| {
            for refusal in &past.refusals {
                promise(
                    "refused",
                    past.may_refuse(refusal, &self.contested),
                    format_args!("{refusal:?} without cause"),
                );
            }
            for hold in past.holds.iter().filter(|hold| hold.as_lowest) {
                let may_be = past.may_be_lowest(hold, &self.contested);
                promise("lowest", may_be, format_args!("{hold:?} was never the lowest free one"));
            }
        });
        assert_eq!(self.directory.claimed(), 0);
        for cow in self.contested.clone().map(|number| self.cow(number)) {
            let is_free = self.directory.owner(cow).is_none() && !self.directory.is_taken(cow);
            promise("I2", is_free, format_args!("{cow:?} stays taken"));
        }
    }
}

impl Past {
    /// Whether a cow was free at this time, however long claims and releases under way took to have effect.
    fn is_free(&self, number: u32, now: usize) -> bool {
        let mut holds = self.holds.iter().filter(|hold| hold.number == number);
        holds.all(|hold| now < *hold.claim.start() || *hold.release.end() < now)
    }

    /// Whether a cow was surely held at this time by somebody else than this hold's.
    fn is_held_by_another(&self, hold: &Hold, now: usize) -> bool {
        let mut others = self.holds.iter().filter(|other| other.number == hold.number && other.claim != hold.claim);
        others.any(|other| *other.claim.end() < now && now < *other.release.start())
    }

    /// When a cow was surely free again: its release was done, or it was seen to be free.
    fn end_of(&self, hold: &Hold) -> usize {
        let is_of = |number, look: &RangeInclusive<usize>| number == hold.number && hold.claim.end() < look.start();
        let seen = self.sightings.iter().filter(|(number, look)| is_of(*number, look)).map(|(_, look)| *look.end());
        seen.min().map_or(*hold.release.end(), |seen| seen.min(*hold.release.end()))
    }

    /// Nobody is refused what was free all the while, even if only the one who looked knew.
    fn may_refuse(&self, refusal: &Refusal, contested: &RangeInclusive<u32>) -> bool {
        let numbers = refusal.number.map_or(contested.clone(), |number| number..=number);
        let is_apart =
            |hold: &Hold| refusal.call.end() < hold.claim.start() || self.end_of(hold) < *refusal.call.start();
        let mut free = numbers.filter(|&number| {
            let mut holds = self.holds.iter().filter(|hold| hold.number == number);
            holds.all(is_apart)
        });
        free.next().is_none()
    }

    /// The cow was the lowest free one at a moment of the call.
    fn may_be_lowest(&self, hold: &Hold, contested: &RangeInclusive<u32>) -> bool {
        let is_lowest = |now| !(*contested.start()..hold.number).any(|lower| self.is_free(lower, now));
        hold.claim.clone().any(|now| is_lowest(now) && !self.is_held_by_another(hold, now))
    }
}

/// Two threads want the same cow, once each.
pub fn one_cow() {
    static HERD: LazyLock<Herd> = LazyLock::new(|| herd(&["cow"], 2));
    let pasture = Pasture::new(&HERD, 1..=2);
    let graze = |shard: usize| {
        let pasture = Arc::clone(&pasture);
        move || {
            if let Some(held) = pasture.claim(&mut pasture.claims(shard), Some(1)) {
                pasture.release(held);
            }
        }
    };
    let other = thread::spawn(graze(1));
    graze(0)();
    other.join().expect("no panic");
    pasture.check();
}

/// Takes all cows below the contested ones.
fn settle(pasture: &Pasture, claims: &mut Claims) -> Vec<Claim> {
    let below = 1..*pasture.contested.start();
    below.map(|number| claims.claim(pasture.cow(number), ConnectionId::new(number as usize)).expect("free")).collect()
}

/// Three threads come and go, and want any of these cows or the lowest free one.
fn come_and_go(herd: &'static Herd, contested: RangeInclusive<u32>) {
    let pasture = Pasture::new(herd, contested.clone());
    let mut claims = pasture.claims(3);
    let settled = settle(&pasture, &mut claims);
    let graze = |shard| {
        let pasture = Arc::clone(&pasture);
        move || {
            let (mut random, mut claims) = (thread_rng(), pasture.claims(shard));
            let mut held = VecDeque::new();
            for _ in 0..4 {
                if random.gen_bool(0.3) {
                    pasture.look(random.gen_range(pasture.contested.clone()));
                }
                let number = random.gen_bool(0.5).then(|| random.gen_range(pasture.contested.clone()));
                held.extend(pasture.claim(&mut claims, number));
                if random.gen_bool(0.6)
                    && let Some(oldest) = held.pop_front()
                {
                    pasture.release(oldest);
                }
            }
            held.into_iter().for_each(|held| pasture.release(held));
        }
    };
    let threads: Vec<_> = (0..3).map(|shard| thread::spawn(graze(shard))).collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    let lowest = pasture.claim(&mut claims, None).expect("most are free");
    let number = lowest.1.number;
    promise("lowest", number == *contested.start(), format_args!("all are free again, and {number} is given"));
    pasture.release(lowest);
    settled.iter().for_each(|claim| pasture.assert_held(claim));
    drop(settled);
    pasture.check();
}

/// So few cows that all are taken again and again.
pub fn two_cows() {
    static HERD: LazyLock<Herd> = LazyLock::new(|| herd(&["cow"], 2));
    come_and_go(&HERD, 1..=2);
}

/// Two of the last in a leaf, two of the first in the next: full leaves come and go.
pub fn four_cows_of_two_leaves() {
    static HERD: LazyLock<Herd> = LazyLock::new(|| herd(&["cow"], 66));
    come_and_go(&HERD, 63..=66);
}

/// The same where a summary ends.
pub fn four_cows_of_two_summaries() {
    static HERD: LazyLock<Herd> = LazyLock::new(|| herd(&["cow"], 2050));
    come_and_go(&HERD, 2047..=2050);
}

/// All are taken, in two leaves, and all are let go of, while somebody wants the lowest.
pub fn all_let_go_of() {
    static HERD: LazyLock<Herd> = LazyLock::new(|| herd(&["cow"], 66));
    let contested = 63..=66;
    let pasture = Pasture::new(&HERD, contested.clone());
    let mut claims = pasture.claims(3);
    let settled = settle(&pasture, &mut claims);
    let mut held: [Vec<_>; 2] = Default::default();
    for number in contested {
        held[thread_rng().gen_range(0..2)].push(pasture.claim(&mut claims, Some(number)).expect("free"));
    }
    let let_go = |mut held: Vec<_>| {
        let pasture = Arc::clone(&pasture);
        move || {
            while !held.is_empty() {
                pasture.release(held.swap_remove(thread_rng().gen_range(0..held.len())));
            }
        }
    };
    let threads = held.map(|held| thread::spawn(let_go(held)));
    let mut claims = pasture.claims(2);
    let taken: Vec<_> = (0..3).filter_map(|_| pasture.claim(&mut claims, None)).collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    taken.into_iter().for_each(|held| pasture.release(held));
    drop(settled);
    pasture.check();
}
