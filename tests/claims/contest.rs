//! Threads that claim and release cows of one herd, and what must be true however their steps fall between each other.

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
struct Contest {
    herd: &'static Herd,
    directory: Arc<Directory>,
    /// The numbers that come and go. All lower ones are taken throughout.
    contested: RangeInclusive<u32>,
    past: Mutex<Past>,
}

#[derive(Default)]
struct Past {
    now: usize,
    /// The cows whose claim is held: from its return until its drop begins.
    held: BTreeSet<u32>,
    holds: Vec<Hold>,
    refusals: Vec<Refusal>,
    /// Cows that a look found free, and when.
    sightings: Vec<(u32, RangeInclusive<usize>)>,
}

/// A claim and its release, each from its start to its end.
#[derive(Debug, Clone)]
struct Hold {
    number: u32,
    claim: RangeInclusive<usize>,
    release: RangeInclusive<usize>,
}

#[derive(Debug)]
struct Refusal {
    call: RangeInclusive<usize>,
    /// The cow that was asked for; `None` for any.
    number: Option<u32>,
}

impl Contest {
    /// All of `herd` free, for three cores and a fourth that takes the cows below `contested`.
    fn new(herd: &'static Herd, contested: RangeInclusive<u32>) -> Arc<Self> {
        let directory = Directory::new(1, herd.size(), 4).expect("memory");
        Arc::new(Contest { herd, directory, contested, past: Mutex::default() })
    }

    fn cow(&self, number: u32) -> CowId {
        self.herd.find("cow", number).expect("a number of the herd")
    }

    fn claims(&self, shard: usize) -> Claims {
        Claims::new(Arc::clone(&self.directory), ShardId::new(shard))
    }

    fn past<T>(&self, look: impl FnOnce(&mut Past) -> T) -> T {
        look(&mut self.past.lock().expect("no thread fails while holding it"))
    }

    /// A moment of its own.
    fn tick(&self) -> usize {
        self.past(|past| {
            past.now += 1;
            past.now
        })
    }

    /// Claims a cow, or any free one, and records the outcome.
    ///
    /// One connection of each core makes all claims: only the generation tells them apart.
    fn claim(&self, claims: &mut Claims, number: Option<u32>) -> Option<(Claim, Hold)> {
        let connection = ConnectionId::new(0);
        let asked = self.tick();
        let claim = match number {
            Some(number) => claims.claim(self.cow(number), connection),
            None => claims.claim_any(self.cow(1).breed(), connection),
        };
        let call = asked..=self.tick();
        let Some(claim) = claim else {
            self.past(|past| past.refusals.push(Refusal { call, number }));
            return None;
        };
        let given = claim.cow().number();
        assert!(number.is_none_or(|number| number == given));
        promise("I1", self.past(|past| past.held.insert(given)), format_args!("two hold cow {given}"));
        self.assert_held(&claim);
        Some((claim, Hold { number: given, claim: call, release: 0..=0 }))
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
        let number = claim.cow().number();
        let is_owner = self.directory.owner(claim.cow()) == Some(claim.owner());
        promise("I2", is_owner, format_args!("cow {number} is not its holder's any more"));
        promise("I2", self.is_indexed(number), format_args!("cow {number} is held and listed as free"));
    }

    fn is_indexed(&self, number: u32) -> bool {
        self.directory.count_taken(self.cow(1).breed(), number..=number) == 1
    }

    /// Looks whether a cow is free.
    fn look(&self, number: u32) {
        let begun = self.tick();
        if self.directory.owner(self.cow(number)).is_none() {
            let look = begun..=self.tick();
            self.past(|past| past.sightings.push((number, look)));
        }
    }

    /// Asserts that every refusal had a cause and that all contested cows are free again.
    fn check(&self) {
        self.past(|past| {
            for refusal in &past.refusals {
                let has_cause = !past.was_one_free(refusal, &self.contested);
                promise("refused", has_cause, format_args!("{refusal:?} without cause"));
            }
        });
        assert_eq!(self.directory.claimed(), 0);
        for number in self.contested.clone() {
            let is_free = self.directory.owner(self.cow(number)).is_none() && !self.is_indexed(number);
            promise("I2", is_free, format_args!("cow {number} stays taken"));
        }
    }
}

impl Past {
    /// When a cow was free again, at the latest: its release had ended, or a look had found it free.
    fn end_of(&self, hold: &Hold) -> usize {
        let is_of = |number, look: &RangeInclusive<usize>| number == hold.number && hold.claim.end() < look.start();
        let seen = self.sightings.iter().filter(|(number, look)| is_of(*number, look)).map(|(_, look)| *look.end());
        seen.min().map_or(*hold.release.end(), |seen| seen.min(*hold.release.end()))
    }

    /// Whether a cow that would have done was free from the start of the call to its end.
    fn was_one_free(&self, refusal: &Refusal, contested: &RangeInclusive<u32>) -> bool {
        let mut numbers = refusal.number.map_or(contested.clone(), |number| number..=number);
        numbers.any(|number| {
            let mut holds = self.holds.iter().filter(|hold| hold.number == number);
            holds.all(|hold| refusal.call.end() < hold.claim.start() || self.end_of(hold) < *refusal.call.start())
        })
    }
}

/// Of two cows one thread claims the first, another any.
pub fn one_of_two_cows() {
    static HERD: LazyLock<Herd> = LazyLock::new(|| herd(&["cow"], 2));
    let contest = Contest::new(&HERD, 1..=2);
    let compete = |shard: usize, number: Option<u32>| {
        let contest = Arc::clone(&contest);
        move || {
            if let Some(held) = contest.claim(&mut contest.claims(shard), number) {
                contest.release(held);
            }
        }
    };
    let other = thread::spawn(compete(1, None));
    compete(0, Some(1))();
    other.join().expect("no panic");
    contest.check();
}

/// Three threads come and go, and claim one of these cows or any.
fn come_and_go(herd: &'static Herd, contested: RangeInclusive<u32>) {
    let contest = Contest::new(herd, contested.clone());
    let mut claims = contest.claims(3);
    let below: Vec<_> = (1..*contested.start())
        .map(|number| claims.claim(contest.cow(number), ConnectionId::new(number as usize)).expect("free"))
        .collect();
    let compete = |shard| {
        let contest = Arc::clone(&contest);
        move || {
            let (mut random, mut claims) = (thread_rng(), contest.claims(shard));
            let mut held = VecDeque::new();
            for _ in 0..4 {
                if random.gen_bool(0.3) {
                    contest.look(random.gen_range(contest.contested.clone()));
                }
                let number = random.gen_bool(0.5).then(|| random.gen_range(contest.contested.clone()));
                held.extend(contest.claim(&mut claims, number));
                if random.gen_bool(0.6)
                    && let Some(oldest) = held.pop_front()
                {
                    contest.release(oldest);
                }
            }
            held.into_iter().for_each(|held| contest.release(held));
        }
    };
    let threads: Vec<_> = (0..3).map(|shard| thread::spawn(compete(shard))).collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    let any = contest.claim(&mut claims, None).expect("all of these are free");
    let number = any.1.number;
    promise("lowest", number == *contested.start(), format_args!("no other claim runs, and {number} is given"));
    contest.release(any);
    below.iter().for_each(|claim| contest.assert_held(claim));
    drop(below);
    contest.check();
}

/// Few cows, so that all are taken again and again.
pub fn two_cows() {
    static HERD: LazyLock<Herd> = LazyLock::new(|| herd(&["cow"], 2));
    come_and_go(&HERD, 1..=2);
}

/// The last two of one word of the index and the first two of the next.
pub fn four_cows_of_two_words() {
    static HERD: LazyLock<Herd> = LazyLock::new(|| herd(&["cow"], 66));
    come_and_go(&HERD, 63..=66);
}
