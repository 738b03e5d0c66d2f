//! Several shards in one thread, with mailboxes of any size and no kernel, driven by a seed.
//!
//! Every step is one thing that can happen: a line, a frame taken from a mailbox, a forward that finds room
//! at last, a peer that reads a little, a connection that ends, a core that does nothing for a while, in the
//! end a drain with all that in flight. After each step the world is held against a reference model, which knows
//! nothing of claims, owners or frames:
//!
//! - I1: no two live sessions hold the same cow, and the directory says what the model says;
//! - I4, I5: what one session sends another arrives in order, `say` and `yield` mixed, and never twice;
//! - I6: what was acknowledged is queued for its receivers that have not left, and for no other; what a peer has read is a
//!   prefix of what was queued for it, and all of it if the peer is there when the server ends;
//! - I8: a connection without a cow neither sends nor receives;
//! - I12, I14: a peer that reads is never cut; a peer over its limit, one that takes nothing, a silent one and the largest
//!   loads over the budget are, when their time has come and not before;
//! - I20: full mailboxes, half of them of one frame, never deadlock and never drop anything;
//! - each user gets messages in the rendering that it asked for, its history in the order in which its core delivered it,
//!   and notices, if it has subscribed to them, at no more than their pace.
//!
//! `cluster` does the same with several servers, a store and a broker.
//!
//! `COWCHAT_SIM_SEEDS` and `COWCHAT_SIM_STEPS` say how much, `COWCHAT_SIM_SEED` runs the one seed that a
//! failure has named.

mod cluster;
mod drain;
mod frames;
mod lines;
mod upkeep;
mod wire;
mod words;
mod world;

use world::{Tally, World};

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} must be a number: {value}")))
}

/// The seeds to run.
fn seeds() -> std::ops::Range<u64> {
    match from_environment("COWCHAT_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..from_environment("COWCHAT_SIM_SEEDS").unwrap_or(50),
    }
}

/// What `run` returns; a panic names the seed.
fn with_seed<T>(seed: u64, steps: u64, run: impl FnOnce() -> T) -> T {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        eprintln!("seed {seed} fails; COWCHAT_SIM_SEED={seed} COWCHAT_SIM_STEPS={steps} runs it again");
        std::panic::resume_unwind(panic)
    })
}

fn simulate(seed: u64, steps: u64) -> Tally {
    with_seed(seed, steps, || {
        let mut world = World::new(seed);
        (0..steps).for_each(|_| world.step());
        world.end();
        world.into_tally()
    })
}

#[test]
fn shards_keep_their_promises_for_every_seed() {
    let steps = from_environment("COWCHAT_SIM_STEPS").unwrap_or(2_000);
    let seeds = seeds();
    let count = seeds.end - seeds.start;
    let mut all = Tally::default();
    seeds.for_each(|seed| all.add(simulate(seed, steps)));
    println!("{count} seeds of {steps} steps: {all:?}");
    assert!(count < 10 || all.is_rich(), "a simulation in which nothing happens proves nothing");
}
