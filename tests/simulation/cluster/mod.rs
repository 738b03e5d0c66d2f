//! Several servers of a cluster in one thread, with a store and a broker that delay, lose, repeat and part them, and with
//! servers that stand still, are stopped in order, are killed, and come back. After each step:
//!
//! - C1: no cow has two users in the whole cluster, but for those of a server that has not yet seen that the store was lost or
//!   set back, and only until its lease is over;
//! - C3: a server that runs answers each login in time;
//! - C4: what was acknowledged arrives once, in order, and is lost only where the broker or a lease was lost; the receiver counts
//!   what the broker has lost as soon as a later message comes;
//! - C6: what a server gives back is free at once, after its last messages, and a server that leaves leaves nothing behind.
//!
//! - `server`: one server, and what is on its way to it; `cores`, `bridge`: what its threads do; `lifecycle`: how it ends and comes back
//! - `broker`: the broker and the store; `requests`: what the store is asked; `messages`: what is owed; `checks`: what holds

mod bridge;
mod broker;
mod checks;
mod cores;
mod lifecycle;
mod messages;
mod requests;
mod server;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use broker::Records;
use cowchat::cluster::lease::Times;
use cowchat::cluster::records::{Instance, Key, Revision, Value};
use cowchat::cows::bubble::Bubble;
use cowchat::cows::herd::Cow;
use cowchat::cows::{CowId, Herd};
use requests::Request;
use server::Server;

/// Few enough that everything collides.
const NODES: usize = 3;
const CORES: usize = 2;
/// Of each core; one more is a guest's.
const CONNECTIONS: usize = 3;
const COWS: usize = 5;

const TIMES: Times = Times { ttl: Duration::from_secs(3), renew: Duration::from_millis(500) };

/// How often a server that runs is told the time at least.
const TICK: Duration = Duration::from_millis(100);

/// A session; numbered over the whole run, never used again.
type SessionId = usize;

/// Where a session is, or was.
struct Session {
    server: usize,
    core: usize,
    at: usize,
}

/// How often what has happened.
#[derive(Debug, Default)]
struct Tally(BTreeMap<&'static str, usize>);

/// A run in which one of these is rare proves little.
const HAPPENS: [&str; 19] = [
    "logins",
    "taken",
    "out_of_reach",
    "late",
    "remote_says",
    "yields",
    "core_frames",
    "heard_elsewhere",
    "owed",
    "fences",
    "takeovers",
    "left",
    "lost",
    "set_back",
    "stale",
    "opened_again",
    "missed",
    "behind",
    "early",
];

impl Tally {
    fn add(&mut self, what: &'static str, count: usize) {
        *self.0.entry(what).or_default() += count;
    }
}

struct World {
    random: fastrand::Rng,
    now: Arc<AtomicU64>,
    instances: Arc<AtomicU64>,
    herd: Arc<Herd>,
    servers: Vec<Server>,
    /// Counts processes of servers, and their connections to the broker.
    processes: u64,
    links: u64,
    store: BTreeMap<Key, (Revision, Option<Value>)>,
    revision: Revision,
    store_id: i128,
    /// What the store had some time ago.
    earlier: Option<Records>,
    /// When the store was lost or set back.
    histories: Vec<Duration>,
    /// Instances whose lease the store has no longer, and which have not signed off.
    lapsed: HashSet<Instance>,
    requests: Vec<Request>,
    sessions: Vec<Session>,
    /// By what the store has of them.
    claims: HashMap<(Instance, u64), SessionId>,
    /// Which past of the store each was written in.
    written: HashMap<(Instance, u64), usize>,
    said: u64,
    published: u64,
    /// The last number that a receiver had of a sender.
    heard: HashMap<(SessionId, SessionId), u64>,
    /// The sessions of a server which a message is for.
    owed: HashMap<(u64, usize), Vec<SessionId>>,
    /// Cows by the server that last had them.
    had: HashMap<CowId, usize>,
    /// Whether servers give their cows up when their lease is over.
    is_fenced: bool,
    /// Nothing fails.
    is_calm: bool,
    tally: Tally,
}

impl World {
    fn new(seed: u64, is_fenced: bool) -> World {
        let cow = |n: usize| Cow {
            name: format!("cow{n}"),
            colour: String::new(),
            half: String::new(),
            plain: String::new(),
        };
        let herd = Arc::new(Herd::new((0..COWS).map(cow).collect(), 1, Bubble::default()).expect("distinct names"));
        let (now, instances) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let servers = (0..NODES).map(|n| Server::new(n, n as u64, &herd, &now, &instances)).collect();
        World {
            random: fastrand::Rng::with_seed(seed),
            now,
            instances,
            herd,
            servers,
            processes: NODES as u64,
            links: 0,
            store: BTreeMap::new(),
            revision: 0,
            store_id: 0,
            earlier: None,
            histories: Vec::new(),
            lapsed: HashSet::new(),
            requests: Vec::new(),
            sessions: Vec::new(),
            claims: HashMap::new(),
            written: HashMap::new(),
            said: 0,
            published: 0,
            heard: HashMap::new(),
            owed: HashMap::new(),
            had: HashMap::new(),
            is_fenced,
            is_calm: false,
            tally: Tally::default(),
        }
    }

    fn time(&self) -> Duration {
        Duration::from_millis(self.now.load(Ordering::Relaxed))
    }

    /// One thing happens; an error says which cow has two users.
    fn step(&mut self) -> Result<(), String> {
        let n = self.random.usize(..NODES);
        let may_fail = !self.is_calm && self.random.u8(..4) == 0;
        match self.random.u8(if may_fail { 0 } else { 50 }..=255) {
            0..4 => self.servers[n].is_stopped = true,
            4..10 => self.servers.iter_mut().for_each(|server| server.is_stopped = false),
            10..13 => self.disconnect(n),
            13..14 => (0..NODES).for_each(|n| self.disconnect(n)),
            14..18 => self.lose_message(n),
            18..22 => {
                let repeated = self.servers[n].messages.back().cloned();
                self.servers[n].messages.extend(repeated);
            }
            22..24 => self.drain(n),
            24 => self.sometimes(4, |world| world.kill(n)),
            25 => self.sometimes(8, |world| world.restart_store(None)),
            26 => self.sometimes(4, |world| {
                if let Some(earlier) = world.earlier.take() {
                    world.restart_store(Some(earlier));
                }
            }),
            27 => self.earlier = Some((self.store.clone(), self.revision)),
            28..30 => self.servers[n].is_full = self.random.bool(),
            30..33 => self.end_watch(n),
            33..50 => {}
            50..90 => self.line(n),
            90..100 => self.bridge(n),
            100..108 => self.connect(n),
            108..116 => {
                let time = Duration::from_millis(self.random.u64(..150));
                self.pass(time);
            }
            116..150 => self.serve(),
            150..180 => self.tell(n),
            180..210 => self.line(n),
            210..226 => {
                let (core, frames) = (self.random.usize(..CORES), self.random.usize(1..4));
                self.pump(n, core, frames);
            }
            _ => self.bridge(n),
        }
        self.check()
    }

    fn sometimes(&mut self, one_of: u8, mishap: impl FnOnce(&mut World)) {
        if self.random.u8(..one_of) == 0 {
            mishap(self);
        }
    }

    /// Time goes on. A server that does not stand still is told so often enough.
    fn pass(&mut self, time: Duration) {
        let end = self.time() + time;
        while self.time() < end {
            let next = end.min(self.time() + TICK / 2);
            self.now.store(next.as_millis() as u64, Ordering::Relaxed);
            for n in 0..NODES {
                if self.servers[n].is_stopped || next < self.servers[n].ticked + TICK {
                    continue;
                }
                self.bridge(n);
                (0..CORES).for_each(|core| self.pump(n, core, usize::MAX));
                self.check_logins(n);
            }
        }
    }
}

fn run(seed: u64, is_fenced: bool, steps: u64) -> Result<World, String> {
    let mut world = World::new(seed, is_fenced);
    for _ in 0..steps {
        world.step()?;
    }
    Ok(world)
}

#[test]
fn nodes_keep_their_promises_for_every_seed() {
    let steps = crate::from_environment("COWCHAT_SIM_STEPS").unwrap_or(4_000);
    let seeds = crate::seeds();
    let count = seeds.end - seeds.start;
    let mut all = Tally::default();
    for seed in seeds {
        let world = crate::with_seed(seed, steps, || {
            let mut world = run(seed, true, steps).unwrap_or_else(|broken| panic!("{broken}"));
            world.heal();
            world
        });
        world.tally.0.into_iter().for_each(|(what, count)| all.add(what, count));
    }
    println!("{count} seeds of {steps} steps: {all:?}");
    assert!(
        count < 10 || HAPPENS.iter().all(|what| all.0.get(what).is_some_and(|&seen| seen > 10)),
        "too little to prove anything: {all:?}"
    );
}

#[test]
fn without_its_fence_a_node_is_caught() {
    assert!((0..200).any(|seed| run(seed, false, 4_000).is_err()), "no cow had two users");
}
