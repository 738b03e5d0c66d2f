//! Several shards in one thread, with mailboxes of any size and no kernel, driven by a seed.
//!
//! Every step is one thing that can happen: a line, a frame taken from a mailbox, a forward that finds room
//! at last, a connection that ends. After each step the world is held against a reference model, which knows
//! nothing of claims, owners or frames:
//!
//! - I1: no two live sessions hold the same cow, and the directory says what the model says;
//! - I4, I5: what one session sends another arrives in order, `say` and `yield` mixed, and never twice;
//! - I6: what was acknowledged is delivered unless its receiver has left, and to nobody else;
//! - I8: who is not registered neither sends nor receives;
//! - I20: full mailboxes never deadlock and never drop anything.
//!
//! `COWCHAT_SIM_SEEDS` and `COWCHAT_SIM_STEPS` say how much, `COWCHAT_SIM_SEED` runs the one seed that a
//! failure has named.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use cowchat::cows::Herd;
use cowchat::cows::herd::Cow;
use cowchat::directory::{ConnectionId, Directory, ShardId};
use cowchat::metrics::{CoreMetrics, Counter, Metrics};
use cowchat::protocol::line::LineTooLong;
use cowchat::shard::{Effects, Forward, Frame, Outcome, Rules, Shard};

/// Connections per core, cows in all, mailbox frames at most: few enough that everything collides.
const CONNECTIONS: usize = 5;
const COWS: usize = 6;
const MAILBOX_MAX: usize = 4;

/// A registered stretch of a connection's life; numbered over the whole run, never used again.
type SessionId = usize;

/// A message as the model knows it: who sent it, as which number of his.
type Token = (SessionId, usize);

/// One connection: its core and its place there.
type Place = (usize, usize);

#[derive(Default)]
struct Connection {
    session: Option<SessionId>,
    /// A line whose forwards have not all found room.
    waiting: Option<Waiting>,
}

struct Waiting {
    forwards: VecDeque<(usize, Frame)>,
    effects: Effects,
    /// The message that the line sends, and to whom.
    sends: Option<(Token, BTreeSet<SessionId>)>,
}

/// What the model knows of a session, also after it has ended.
struct Session {
    cow: usize,
    live: bool,
    place: Place,
    sent: usize,
    /// The last number received from each sender.
    received: HashMap<SessionId, usize>,
}

struct World {
    random: fastrand::Rng,
    herd: Arc<Herd>,
    directory: Arc<Directory>,
    metrics: Arc<Metrics>,
    shards: Vec<Shard>,
    mailboxes: Vec<VecDeque<Frame>>,
    mailbox_frames: usize,
    pump_percent: u8,
    connections: BTreeMap<Place, Connection>,
    sessions: Vec<Session>,
    /// To whom each private message was sent; a message to everybody has none.
    private: HashMap<Token, SessionId>,
    /// Acknowledged messages, and who was to get them when they were accepted.
    acknowledged: Vec<(Token, BTreeSet<SessionId>)>,
    delivered: BTreeSet<(Token, SessionId)>,
    frames_sent: usize,
    frames_taken: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let cores = random.usize(1..=4);
        let cows = (0..COWS).map(|n| Cow { name: format!("cow{n}"), body: "moo".to_owned() });
        let herd = Arc::new(Herd::new(cows.collect()).expect("distinct names"));
        let directory = Directory::new(COWS, cores);
        let metrics = Metrics::new(cores);
        let rules = Rules { header: true, line_bytes_max: 100 };
        let shard = |n| {
            let id = ShardId::new(n);
            let counters = CoreMetrics::new(Arc::clone(&metrics), id);
            Shard::new(id, Arc::clone(&herd), Arc::clone(&directory), rules, counters)
        };
        World {
            mailbox_frames: random.usize(1..=MAILBOX_MAX),
            pump_percent: random.u8(2..40),
            shards: (0..cores).map(shard).collect(),
            mailboxes: vec![VecDeque::new(); cores],
            random,
            herd,
            directory,
            metrics,
            connections: BTreeMap::new(),
            sessions: Vec::new(),
            private: HashMap::new(),
            acknowledged: Vec::new(),
            delivered: BTreeSet::new(),
            frames_sent: 0,
            frames_taken: 0,
        }
    }

    fn step(&mut self) {
        let core = self.random.usize(..self.shards.len());
        let place = (core, self.random.usize(..CONNECTIONS));
        // Lazy pumps keep frames in the mailboxes for long enough to grow stale.
        match self.random.u8(..100) {
            pump if pump < self.pump_percent => self.pump(core),
            0..60 => self.go_on(place),
            60..63 => self.close(place),
            _ => self.line(place),
        }
        self.check();
    }

    /// A connection sends a line, unless its last one still waits.
    fn line(&mut self, place: Place) {
        let connection = self.connections.entry(place).or_default();
        if connection.waiting.is_some() {
            return;
        }
        let session = connection.session;
        let cow = self.random.usize(..COWS);
        match self.random.u8(..100) {
            0..30 => self.login(place, session, cow),
            30..55 => self.say(place, session, cow),
            55..75 => self.yield_to_all(place, session),
            75..80 => self.expect_reply(place, "who", &self.list("Registered users: ", true)),
            80..85 => self.expect_reply(place, "cows", &self.list("Available cow names: ", false)),
            85..88 => self.expect_reply(place, "moo \u{202e}\x1b[31m", "error: unknown command moo (try help)"),
            88..90 => self.expect_reply(
                place,
                "say cow0",
                if session.is_some() { "error: usage: say COW TEXT" } else { "error: login first" },
            ),
            90..91 => {
                let effects = self.shards[place.0].on_line(ConnectionId::new(place.1), Err(LineTooLong));
                assert_eq!(effects.reply, b"error: line too long (max 100 bytes)\n");
            }
            91..98 => {
                self.expect_reply(place, "quit", "Goodbye.");
                self.end_session(place);
            }
            _ => self.expect_reply(place, "", cowchat::protocol::reply::HELP),
        }
    }

    fn login(&mut self, place: Place, session: Option<SessionId>, cow: usize) {
        let holder = self.holder(cow);
        let expected = match (session, holder) {
            (Some(mine), _) => format!("error: you are already logged in as cow{}", self.sessions[mine].cow),
            (None, Some(_)) => format!("error: cow cow{cow} is already taken"),
            (None, None) => format!("Logged in as cow{cow}"),
        };
        self.expect_reply(place, &format!("login cow{cow}"), &expected);
        if session.is_none() && holder.is_none() {
            self.connections.entry(place).or_default().session = Some(self.sessions.len());
            self.sessions.push(Session { cow, live: true, place, sent: 0, received: HashMap::new() });
        }
    }

    fn say(&mut self, place: Place, session: Option<SessionId>, cow: usize) {
        let Some(mine) = session else {
            return self.expect_reply(place, &format!("say cow{cow} hi"), "error: login first");
        };
        let Some(receiver) = self.holder(cow) else {
            let expected = format!("error: cow cow{cow} is not logged in");
            return self.expect_reply(place, &format!("say cow{cow} hi"), &expected);
        };
        let token = self.next_token(mine);
        self.private.insert(token, receiver);
        let effects = self.execute(place, &format!("say cow{cow} {}", text_of(token)));
        assert_eq!(reply(&effects), format!("Sent to cow{cow}"));
        self.apply(place, effects, Some((token, BTreeSet::from([receiver]))));
    }

    fn yield_to_all(&mut self, place: Place, session: Option<SessionId>) {
        let Some(mine) = session else {
            return self.expect_reply(place, "yield hi", "error: login first");
        };
        let token = self.next_token(mine);
        let others: BTreeSet<_> = self.live().filter(|&other| other != mine).collect();
        let effects = self.execute(place, &format!("yield {}", text_of(token)));
        let plural = if others.len() == 1 { "" } else { "s" };
        assert_eq!(reply(&effects), format!("Sent to {} cow{plural}", others.len()));
        self.apply(place, effects, Some((token, others)));
    }

    fn next_token(&mut self, session: SessionId) -> Token {
        self.sessions[session].sent += 1;
        (session, self.sessions[session].sent)
    }

    fn execute(&mut self, place: Place, line: &str) -> Effects {
        self.shards[place.0].on_line(ConnectionId::new(place.1), Ok(line.as_bytes()))
    }

    /// Executes a line that sends nothing.
    fn expect_reply(&mut self, place: Place, line: &str, expected: &str) {
        let effects = self.execute(place, line);
        assert_eq!(reply(&effects), expected, "to {line:?}");
        assert!(matches!(effects.forward, Forward::Nowhere) && effects.local.is_none(), "{line:?} sends something");
        assert_eq!(effects.outcome == Outcome::Quit, line == "quit");
    }

    /// What `net::effects::apply` does: forward, waiting for room; then acknowledge; then deliver here.
    fn apply(&mut self, place: Place, mut effects: Effects, sends: Option<(Token, BTreeSet<SessionId>)>) {
        let others = (0..self.shards.len()).filter(|&core| core != place.0);
        let forwards = match std::mem::replace(&mut effects.forward, Forward::Nowhere) {
            Forward::Nowhere => VecDeque::new(),
            Forward::To(shard, frame) => VecDeque::from([(shard.index(), frame)]),
            Forward::ToOthers(frame) => others.map(|core| (core, frame.clone())).collect(),
        };
        self.connections.entry(place).or_default().waiting = Some(Waiting { forwards, effects, sends });
        self.go_on(place);
    }

    /// Hands over as many frames of the waiting line as there is room for; finishes it after the last.
    fn go_on(&mut self, place: Place) {
        let Some(connection) = self.connections.get_mut(&place) else { return };
        let Some(mut waiting) = connection.waiting.take() else { return };
        while let Some((core, frame)) = waiting.forwards.pop_front() {
            if self.mailboxes[core].len() == self.mailbox_frames {
                waiting.forwards.push_front((core, frame));
                connection.waiting = Some(waiting);
                return;
            }
            self.mailboxes[core].push_back(frame);
            self.frames_sent += 1;
        }
        self.acknowledged.extend(waiting.sends);
        if let Some(frame) = waiting.effects.local {
            self.deliver(place.0, frame);
        }
    }

    fn pump(&mut self, core: usize) {
        for _ in 0..self.random.usize(1..=MAILBOX_MAX) {
            let Some(frame) = self.mailboxes[core].pop_front() else { return };
            self.frames_taken += 1;
            self.deliver(core, frame);
        }
    }

    fn deliver(&mut self, core: usize, frame: Frame) {
        let Some(delivery) = self.shards[core].on_frame(frame) else { return };
        let token = token_of(&delivery.payload);
        for receiver in delivery.receivers() {
            let connection = self.connections.get(&(core, receiver.index()));
            let session = connection.and_then(|connection| connection.session);
            let session = session.expect("I8: only a registered connection receives");
            assert_eq!(self.sessions[session].place, (core, receiver.index()));
            match self.private.get(&token) {
                Some(&meant) => assert_eq!(session, meant, "I6: a private message reaches the session it was for"),
                None => assert_ne!(session, token.0, "a yield does not come back"),
            }
            assert!(self.delivered.insert((token, session)), "I5: {token:?} arrives twice");
            let last = self.sessions[session].received.insert(token.0, token.1);
            assert!(last < Some(token.1), "I4: {token:?} arrives after {last:?}");
        }
    }

    /// A connection ends; a line of it that still waits is never acknowledged.
    fn close(&mut self, place: Place) {
        self.shards[place.0].on_close(ConnectionId::new(place.1));
        self.end_session(place);
        self.connections.remove(&place);
    }

    fn end_session(&mut self, place: Place) {
        let session = self.connections.get_mut(&place).and_then(|connection| connection.session.take());
        if let Some(session) = session {
            self.sessions[session].live = false;
        }
    }

    fn live(&self) -> impl Iterator<Item = SessionId> + use<'_> {
        (0..self.sessions.len()).filter(|&session| self.sessions[session].live)
    }

    fn holder(&self, cow: usize) -> Option<SessionId> {
        self.live().find(|&session| self.sessions[session].cow == cow)
    }

    fn list(&self, title: &str, taken: bool) -> String {
        let cows = (0..COWS).filter(|&cow| self.holder(cow).is_some() == taken);
        let names: Vec<String> = cows.map(|cow| format!("cow{cow}")).collect();
        title.to_owned() + &if names.is_empty() { "(none)".to_owned() } else { names.join(", ") }
    }

    /// The world is as the model says.
    fn check(&self) {
        let mut held = BTreeSet::new();
        for session in self.live() {
            let Session { cow, place, .. } = self.sessions[session];
            assert!(held.insert(cow), "I1: cow{cow} is held twice");
            let id = self.herd.find(&format!("cow{cow}")).expect("a cow of the herd");
            let owner = self.directory.owner(id).expect("I1: a live session's cow is taken");
            assert_eq!((owner.shard().index(), owner.connection().index()), place, "I1: who owns cow{cow}");
            assert_eq!(self.shards[place.0].cow(ConnectionId::new(place.1)), Some(id));
        }
        for (cow, id) in self.herd.ids().enumerate() {
            assert_eq!(self.directory.owner(id).is_some(), held.contains(&cow), "I3: cow{cow}");
        }
        assert_eq!(self.directory.claimed(), held.len());
        let registered: usize = self.shards.iter().map(|shard| shard.registered().len()).sum();
        assert_eq!(registered, held.len());
        assert!(self.mailboxes.iter().all(|mailbox| mailbox.len() <= self.mailbox_frames));
    }

    /// No more lines: everything that waits gets through, and what was acknowledged has arrived.
    fn drain(&mut self) {
        let frames =
            self.connections.len() * self.shards.len() + self.mailboxes.iter().map(VecDeque::len).sum::<usize>();
        for _ in 0..=frames {
            (0..self.shards.len()).for_each(|core| self.pump(core));
            let places: Vec<Place> = self.connections.keys().copied().collect();
            places.into_iter().for_each(|place| self.go_on(place));
            self.check();
        }
        assert!(
            self.connections.values().all(|connection| connection.waiting.is_none()),
            "I20: somebody waits forever"
        );
        assert!(self.mailboxes.iter().all(VecDeque::is_empty), "I20: something is never taken");
        assert_eq!(self.frames_sent, self.frames_taken, "I20: nothing is dropped");
        for (token, receivers) in &self.acknowledged {
            for &receiver in receivers {
                let arrived = self.delivered.contains(&(*token, receiver));
                assert!(arrived || !self.sessions[receiver].live, "I6: {token:?} was acknowledged and is lost");
            }
        }
    }
}

fn reply(effects: &Effects) -> &str {
    let text = std::str::from_utf8(&effects.reply).expect("replies are UTF-8");
    text.strip_suffix('\n').filter(|line| !line.contains('\n')).expect("exactly one line")
}

/// A message's text names it.
fn text_of((session, number): Token) -> String {
    format!("<{session}:{number}>")
}

fn token_of(payload: &[u8]) -> Token {
    let text = std::str::from_utf8(payload).expect("messages are UTF-8");
    // The bubble of one line is `<  text  >`, so the token's own bracket is the second.
    let inside = text.split("<  <").nth(1).and_then(|rest| rest.split('>').next()).expect("a token");
    let (session, number) = inside.split_once(':').expect("a token");
    (session.parse().expect("a number"), number.parse().expect("a number"))
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} must be a number: {value}")))
}

/// What a run of one seed has seen, to show that it saw anything.
struct Tally {
    delivered: usize,
    stale: u64,
}

fn simulate(seed: u64, steps: u64) -> Tally {
    let outcome = std::panic::catch_unwind(|| {
        let mut world = World::new(seed);
        for _ in 0..steps {
            world.step();
        }
        world.drain();
        Tally { delivered: world.delivered.len(), stale: world.metrics.total(Counter::StaleFrames) }
    });
    outcome.unwrap_or_else(|panic| {
        eprintln!("seed {seed} fails; COWCHAT_SIM_SEED={seed} COWCHAT_SIM_STEPS={steps} runs it again");
        std::panic::resume_unwind(panic)
    })
}

#[test]
fn shards_keep_their_promises_for_every_seed() {
    let steps = from_environment("COWCHAT_SIM_STEPS").unwrap_or(2_000);
    let seeds = match from_environment("COWCHAT_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..from_environment("COWCHAT_SIM_SEEDS").unwrap_or(50),
    };
    let count = seeds.end - seeds.start;
    let tallies: Vec<Tally> = seeds.map(|seed| simulate(seed, steps)).collect();
    let delivered: usize = tallies.iter().map(|tally| tally.delivered).sum();
    let stale: u64 = tallies.iter().map(|tally| tally.stale).sum();
    println!("{count} seeds of {steps} steps: {delivered} deliveries, {stale} dropped as stale");
    assert!(count < 10 || (delivered > 1_000 && stale > 10), "a simulation in which nothing happens proves nothing");
}
