//! The simulated cores, the reference model that they are held against, and what happens in a step. What users
//! do is in `lines`, what becomes of that in `frames`, the end in `drain`.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use cowchat::cows::bubble::Bubble;
use cowchat::cows::herd::Cow;
use cowchat::cows::{CowId, Herd};
use cowchat::held_bytes;
use cowchat::ids::{ConnectionId, ShardId};
use cowchat::limits::SENDQ_MESSAGE_BYTES_MIN;
use cowchat::metrics::{CoreMetrics, Counter, Metrics};
use cowchat::policy::limits::Limits;
use cowchat::protocol::art::Art;
use cowchat::shard::{Frame, Presence, Rendering, Rules, Shard, ShardContext, name};

use crate::drain::Drain;
use crate::frames::Waiting;
use crate::upkeep::{self, Timers, Upkeep};
use crate::wire::{Appetite, Wire};
use crate::words::name_of;

/// Connections per core, breeds and cows of each, mailbox frames at most: few enough that everything collides.
const CONNECTIONS: usize = 5;
const BREEDS: usize = 3;
pub const HERD_SIZE: usize = 2;
pub const COWS: usize = BREEDS * HERD_SIZE;
pub const MAILBOX_MAX: usize = 4;

/// Turns for which a core that stalls does nothing, at most.
const STALL_TURNS_MAX: u32 = 60;

/// Short messages from others that may wait for a peer, at most.
const SENDQ_MESSAGES_MAX: usize = 12;

/// Messages that each core keeps.
pub const HISTORY: usize = 5;

/// A session; numbered over the whole run, never used again.
pub type SessionId = usize;

/// A message as the model knows it: its sender, and its number among those.
pub type Token = (SessionId, usize);

/// One connection: its core and its place there.
pub type Place = (usize, usize);

pub struct Connection {
    pub session: Option<SessionId>,
    pub rendering: Rendering,
    pub subscribed: bool,
    /// A line whose forwards have not all found room.
    pub waiting: Option<Waiting>,
    pub wire: Wire,
    pub timers: Timers,
}

/// What the model knows of a session, also after it has ended.
pub struct Session {
    pub cow: usize,
    pub place: Place,
    pub sent: usize,
    /// The last number received from each sender.
    pub received: HashMap<SessionId, usize>,
    /// It lived until its core sent the last lines.
    pub stayed: bool,
}

/// What a run has seen, to show that it saw anything.
#[derive(Debug, Default)]
pub struct Tally {
    pub delivered: usize,
    /// Messages dropped since the claim that they were meant for had ended.
    pub stale: usize,
    /// Lines that had to wait for room in a mailbox.
    pub waits: usize,
    /// Peers that read too slowly.
    pub cuts: usize,
    /// Times that a peer was over its limit, and read enough within the grace.
    pub graces: usize,
    /// Peers that took nothing for too long.
    pub stalled: usize,
    /// Connections that sent no line, or no message, for too long.
    pub silent: usize,
    /// Connections with the largest loads when all together held too much.
    pub over_budget: usize,
    pub stalls: usize,
    /// Frames and lines under way when the drain began.
    pub in_flight: usize,
    /// Sessions that were there to get the last line.
    pub stayed: usize,
}

impl Tally {
    /// Whether enough happened to prove anything.
    pub fn is_rich(&self) -> bool {
        let Tally { delivered, stale, waits, cuts, graces, stalled, silent, over_budget, stalls, in_flight, stayed } =
            *self;
        let upkeep = [cuts, graces, stalled, silent, over_budget];
        delivered > 1_000 && [stale, waits, stalls, in_flight, stayed].into_iter().chain(upkeep).all(|seen| seen > 10)
    }

    pub fn add(&mut self, other: Tally) {
        self.delivered += other.delivered;
        self.stale += other.stale;
        self.waits += other.waits;
        self.cuts += other.cuts;
        self.graces += other.graces;
        self.stalled += other.stalled;
        self.silent += other.silent;
        self.over_budget += other.over_budget;
        self.stalls += other.stalls;
        self.in_flight += other.in_flight;
        self.stayed += other.stayed;
    }
}

pub struct World {
    pub random: fastrand::Rng,
    pub context: ShardContext,
    metrics: Arc<Metrics>,
    pub shards: Vec<Shard>,
    /// By core: frames for it, each with the core that it comes from.
    pub mailboxes: Vec<VecDeque<(usize, Frame)>>,
    pub mailbox_frames: usize,
    pub pump_percent: u8,
    /// Whether connections end by themselves. Those that wait for each other's cores must not depend on it.
    pub some_leave: bool,
    pub limits: Limits,
    /// By core.
    pub upkeep: Vec<Upkeep>,
    /// What this thread held before the step.
    pub balance: i64,
    pub connections: BTreeMap<Place, Connection>,
    pub sessions: Vec<Session>,
    pub live: BTreeSet<SessionId>,
    /// The receiver of each private message; a yield has none.
    pub private: HashMap<Token, SessionId>,
    /// Acknowledged messages, and their receivers at that time.
    pub acknowledged: Vec<(Token, BTreeSet<SessionId>)>,
    pub delivered: BTreeSet<(Token, SessionId)>,
    pub frames_sent: usize,
    pub frames_taken: usize,
    pub now: Duration,
    /// By core: the last yields, as it delivered them.
    pub history: Vec<VecDeque<Token>>,
    /// By core: when notices were told, and by core and other core what found no room.
    pub told: Vec<Vec<Duration>>,
    pub pending: HashMap<(usize, usize), Presence>,
    /// By core: turns for which it still does nothing.
    stalls: Vec<u32>,
    pub drains: Vec<Drain>,
    pub tally: Tally,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let cores = random.usize(1..=4);
        let cow = |n| Cow {
            name: format!("cow{n}"),
            colour: "COLOUR".to_owned(),
            half: "HALF".to_owned(),
            plain: "PLAIN".to_owned(),
        };
        let herd = Herd::new((0..BREEDS).map(cow).collect(), HERD_SIZE as u32, Bubble::default());
        let rules = Rules { line_bytes_max: 100, history_messages: HISTORY, ..Rules::default() };
        let context = ShardContext::new(Arc::new(herd.expect("distinct names")), cores, rules).expect("memory");
        let metrics = Metrics::new(cores);
        let shard = |n| {
            let id = ShardId::new(n);
            Shard::new(id, context.clone(), CoreMetrics::new(Arc::clone(&metrics), id))
        };
        let sendq_bytes_max = random.usize(1..=SENDQ_MESSAGES_MAX) * SENDQ_MESSAGE_BYTES_MIN;
        let queues_bytes_total = if random.bool() { u64::MAX } else { random.u64(1_000..10_000) };
        World {
            mailbox_frames: if random.bool() { 1 } else { random.usize(2..=MAILBOX_MAX) },
            pump_percent: random.u8(2..40),
            some_leave: true,
            limits: upkeep::limits(sendq_bytes_max, queues_bytes_total),
            upkeep: upkeep::of_cores(cores, queues_bytes_total),
            balance: held_bytes::balance(),
            shards: (0..cores).map(shard).collect(),
            mailboxes: vec![VecDeque::new(); cores],
            random,
            context,
            metrics,
            connections: BTreeMap::new(),
            sessions: Vec::new(),
            live: BTreeSet::new(),
            private: HashMap::new(),
            acknowledged: Vec::new(),
            delivered: BTreeSet::new(),
            frames_sent: 0,
            frames_taken: 0,
            now: Duration::ZERO,
            history: vec![VecDeque::new(); cores],
            told: vec![Vec::new(); cores],
            pending: HashMap::new(),
            stalls: vec![0; cores],
            drains: (0..cores).map(|_| Drain::default()).collect(),
            tally: Tally::default(),
        }
    }

    /// One thing happens.
    pub fn step(&mut self) {
        let core = self.random.usize(..self.shards.len());
        let place = (core, self.random.usize(..CONNECTIONS));
        // Often nothing for hundreds of events, so that notices pile up.
        self.now += Duration::from_millis(if self.random.u8(..) < 8 { self.random.u64(..700) } else { 0 });
        if self.stalls[core] > 0 {
            self.stalls[core] -= 1;
            return;
        }
        self.balance = held_bytes::balance();
        // Lazy pumps keep frames in the mailboxes for long enough to grow stale.
        match self.random.u8(..100) {
            pump if pump < self.pump_percent => self.pump(core),
            0..50 => self.go_on(place),
            50..53 if self.some_leave => self.close(place),
            53..60 => self.drain_on(core),
            60..61 if self.random.u8(..4) == 0 => self.stall(core),
            _ => self.line(place),
        }
        self.flush(core);
        self.check_queues(core);
        self.upkeep[core].held += held_bytes::balance() - self.balance;
        self.check();
    }

    pub fn id_of(&self, cow: usize) -> CowId {
        let id = self.context.herd.find(&format!("cow{}", cow / HERD_SIZE), (cow % HERD_SIZE) as u32 + 1);
        id.expect("a cow of the herd")
    }

    /// The connection at a place, a new one if there is none.
    pub fn connection(&mut self, place: Place) -> &mut Connection {
        let World { connections, random, limits, now, .. } = self;
        connections.entry(place).or_insert_with(|| {
            let appetite = match random.u8(..10) {
                0 => Appetite::None,
                1..4 => Appetite::Small(random.usize(1..200)),
                _ => Appetite::Full,
            };
            let rendering = Rendering::of(Art::Color);
            let wire = Wire::new(appetite, limits.sendq_bytes_max);
            let talks_for =
                if random.u8(..10) == 0 { Duration::from_millis(random.u64(..2_000)) } else { Duration::MAX };
            let timers = Timers::new(*now, now.saturating_add(talks_for));
            Connection { session: None, rendering, subscribed: false, waiting: None, wire, timers }
        })
    }

    // Peers.

    /// More waits for these than may: their connections end, with what they have read by then.
    pub fn cut(&mut self, too_slow: Vec<Place>) {
        for place in too_slow {
            // The notice that another one has left may have been too much for it.
            let Some(connection) = self.connections.get(&place) else { continue };
            let appetite = connection.wire.appetite;
            assert_ne!(appetite, Appetite::Full, "a peer that reads all there is is never too slow");
            self.tally.cuts += 1;
            self.close(place);
        }
    }

    /// A core writes what its peers take; a closed connection that has read everything is forgotten.
    fn flush(&mut self, core: usize) {
        let asked = self.random.usize(..200);
        for place in (0..CONNECTIONS).map(|place| (core, place)) {
            let Some(connection) = self.connections.get_mut(&place) else { continue };
            let was_over = connection.wire.is_over_for(Duration::ZERO, self.now);
            connection.wire.flush(asked, self.now);
            let is_over = connection.wire.is_over_for(Duration::ZERO, self.now);
            self.tally.graces += usize::from(was_over && !is_over);
            if connection.wire.is_done() {
                self.connections.remove(&place);
                self.shards[core].on_forget(ConnectionId::new(place.1));
            }
        }
    }

    /// A connection ends; a line of it that still waits is never acknowledged.
    pub fn close(&mut self, place: Place) {
        let left = self.shards[place.0].on_close(ConnectionId::new(place.1));
        self.shards[place.0].on_forget(ConnectionId::new(place.1));
        let session = self.connections.get(&place).and_then(|connection| connection.session);
        assert_eq!(left, session.map(|session| self.id_of(self.sessions[session].cow)));
        self.end_session(place);
        self.connections.remove(&place);
        if let Some(cow) = left {
            self.tell(place.0, Presence::Left(cow));
        }
    }

    pub fn end_session(&mut self, place: Place) {
        let Some(connection) = self.connections.get_mut(&place) else { return };
        connection.subscribed = false;
        if let Some(session) = connection.session.take() {
            self.live.remove(&session);
        }
    }

    /// A core does nothing for a while.
    fn stall(&mut self, core: usize) {
        self.stalls[core] = self.random.u32(1..=STALL_TURNS_MAX);
        self.tally.stalls += 1;
    }

    // The model.

    pub fn register(&mut self, place: Place, cow: usize) {
        let session = self.sessions.len();
        self.sessions.push(Session { cow, place, sent: 0, received: HashMap::new(), stayed: false });
        self.live.insert(session);
        self.connection(place).session = Some(session);
    }

    pub fn holder(&self, cow: usize) -> Option<SessionId> {
        self.live.iter().copied().find(|&session| self.sessions[session].cow == cow)
    }

    /// The world is as the model says.
    pub fn check(&self) {
        let mut held = BTreeSet::new();
        for &session in &self.live {
            let Session { cow, place, .. } = self.sessions[session];
            assert!(held.insert(cow), "I1: {} is held twice", name_of(cow));
            let id = self.id_of(cow);
            let owner = self.context.directory.owner(id).expect("I1: a live session's cow is taken");
            assert_eq!((owner.shard().index(), owner.connection().index()), place, "I1: the owner of {}", name_of(cow));
            assert_eq!(self.shards[place.0].cow(ConnectionId::new(place.1)), Some(id));
        }
        for cow in 0..COWS {
            let (id, directory) = (self.id_of(cow), &self.context.directory);
            assert_eq!(name(&self.context.herd, id).to_string(), name_of(cow));
            assert_eq!(directory.owner(id).is_some(), held.contains(&cow), "I3: {}", name_of(cow));
            let indexed = directory.count_taken(id.breed(), id.number()..=id.number());
            assert_eq!(indexed, usize::from(held.contains(&cow)), "the index of {}", name_of(cow));
        }
        assert_eq!(self.context.directory.claimed(), held.len());
        for rendering in Rendering::all() {
            let users = self.connections.values().filter(|user| user.session.is_some() && user.rendering == rendering);
            assert_eq!(self.context.demand.users_anywhere(rendering) as usize, users.count());
        }
        let registered: usize = self.shards.iter().map(|shard| shard.registered().len()).sum();
        assert_eq!(registered, held.len());
        let waiting: usize = self.mailboxes.iter().map(VecDeque::len).sum();
        assert_eq!(self.frames_sent, self.frames_taken + waiting, "I20: nothing is dropped");
        assert!(self.mailboxes.iter().all(|mailbox| mailbox.len() <= self.mailbox_frames));
    }

    /// What happened, when all is over.
    pub fn into_tally(self) -> Tally {
        let stale = self.metrics.total(Counter::StaleFrames) as usize;
        Tally { delivered: self.delivered.len(), stale, ..self.tally }
    }
}
