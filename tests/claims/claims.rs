//! The real claim and release code, and what a core does with a `say`, under explored schedules: before each step of an
//! atomic, and of a channel, another thread may run.
//!
//! This package compiles `src/directory/` with shuttle's atomics. These are sequentially consistent, whatever ordering a
//! step asks for. So the tests explore how steps fall between each other; that Acquire and Release are enough is the
//! argument in `src/directory/mod.rs`.
//!
//! A scenario is a handful of threads with random programs. A scheduler draws the schedule: at random, or by PCT, which
//! places few preemptions where they hurt most. Both have fixed seeds, so a failure comes back in the next run.
//! `COWCHAT_CLAIMS_SCHEDULES` says how many schedules of each kind.

mod contest;
mod talk;

use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rooms::cows::Herd;
use rooms::cows::bubble::Bubble;
use rooms::cows::herd::Cow;
use rooms::explored::{Fault, with_fault};
use shuttle::scheduler::{DfsScheduler, PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, FailurePersistence, Runner};

use talk::Address;

/// Schedules of each kind that a scenario is tried with.
const SCHEDULES: usize = 2_000;

/// A fault must be found within this many schedules.
const SCHEDULES_TO_FIND: usize = 2_000;

const SEED: u64 = 1337;

/// Preemptions at chosen moments in one of PCT's schedules.
const PREEMPTIONS: usize = 4;

/// How many schedules of each kind to explore.
fn schedules() -> usize {
    match std::env::var("COWCHAT_CLAIMS_SCHEDULES") {
        Ok(count) => count.parse().expect("COWCHAT_CLAIMS_SCHEDULES is a number"),
        Err(_) => SCHEDULES,
    }
}

/// Runs `scenario` under this many schedules of each kind.
fn explore(schedules: usize, scenario: impl Fn() + Clone + Send + Sync + 'static) {
    run(RandomScheduler::new_from_seed(SEED, schedules), FailurePersistence::Print, scenario.clone());
    run(PctScheduler::new_from_seed(SEED, PREEMPTIONS, schedules), FailurePersistence::Print, scenario);
}

/// Which of the schedules is the first in which `scenario` fails, and which promise is broken first in it.
fn first_failure(scenario: impl Fn() + Send + Sync + 'static) -> (usize, &'static str) {
    let tried = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&tried);
    let scenario = move || {
        count.fetch_add(1, Ordering::Relaxed);
        scenario();
    };
    let scheduler = RandomScheduler::new_from_seed(SEED, SCHEDULES_TO_FIND);
    let outcome = catch_unwind(AssertUnwindSafe(|| run(scheduler, FailurePersistence::None, scenario)));
    assert!(outcome.is_err(), "the fault goes unnoticed");
    (tried.load(Ordering::Relaxed), BROKEN.take().expect("no promise is broken, it fails otherwise"))
}

thread_local! {
    /// The first promise that a scenario broke. One thread runs all explored threads. When one of them fails, the others
    /// continue for a while, in a broken world.
    static BROKEN: Cell<Option<&'static str>> = const { Cell::new(None) };
}

/// Asserts a promise by its name.
#[track_caller]
fn promise(name: &'static str, is_kept: bool, what: fmt::Arguments<'_>) {
    if !is_kept {
        BROKEN.set(BROKEN.get().or(Some(name)));
        panic!("{name}: {what}");
    }
}

/// Returns how many schedules there were.
fn run(
    scheduler: impl Scheduler + 'static,
    on_failure: FailurePersistence,
    scenario: impl Fn() + Send + Sync + 'static,
) -> usize {
    let mut config = Config::new();
    config.failure_persistence = on_failure;
    config.silence_warnings = true; // About weaker orderings; see above.
    config.stack_size = 256 * 1024;
    Runner::new(scheduler, config).run(scenario)
}

/// A herd of `size` cows of each of these breeds.
fn herd(breeds: &[&str], size: u32) -> Herd {
    let cow = |name: &&str| Cow {
        name: (*name).to_owned(),
        colour: String::new(),
        half: String::new(),
        plain: String::new(),
    };
    Herd::new(breeds.iter().map(cow).collect(), size, Bubble::default()).expect("names of their own")
}

#[test]
fn in_every_schedule_each_cow_has_one_holder_at_most() {
    let schedules = run(DfsScheduler::new(None, false), FailurePersistence::Print, contest::one_of_two_cows);
    println!("{schedules} schedules, which are all");
    assert!(schedules > 1_000, "two threads that never meet prove nothing");
}

#[test]
fn two_contested_cows_have_one_holder_each() {
    explore(schedules(), contest::two_cows);
}

#[test]
fn no_search_fails_while_a_cow_stays_free() {
    explore(schedules(), contest::four_cows_of_two_words);
}

#[test]
fn a_say_reaches_the_claim_that_it_was_meant_for() {
    let stale = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&stale);
    explore(schedules(), move || {
        count.fetch_add(talk::about_tux(Address::Claim), Ordering::Relaxed);
    });
    let stale = stale.load(Ordering::Relaxed);
    println!("{stale} dropped as stale");
    assert!(stale > schedules() / 10, "a claim that never ends too soon proves nothing");
}

// What these explorations would notice: without that they prove nothing.

/// Asserts that one of these promises is the first that is broken, and says when.
fn assert_noticed(promises: &[&str], find: impl FnOnce() -> (usize, &'static str)) {
    let (schedule, broken) = find();
    println!("{broken} is broken in schedule {schedule}");
    assert!(promises.contains(&broken), "{broken}");
}

#[test]
fn a_claim_in_two_steps_is_noticed() {
    assert_noticed(&["I1", "I2"], || with_fault(Fault::ClaimsInTwoSteps, || first_failure(contest::two_cows)));
}

#[test]
fn a_mark_in_two_steps_is_noticed() {
    let scenario = contest::four_cows_of_two_words;
    assert_noticed(&["I2", "refused"], || with_fault(Fault::MarksInTwoSteps, || first_failure(scenario)));
}

#[test]
fn a_say_to_a_cow_instead_of_a_claim_is_noticed() {
    let scenario = || {
        talk::about_tux(Address::Cow);
    };
    assert_noticed(&["I6"], || first_failure(scenario));
}
