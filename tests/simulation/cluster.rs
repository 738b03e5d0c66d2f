//! Several servers of a cluster in one thread, with a store and a broker that delay, lose, repeat and part them, and with
//! servers that stand still. After each step no cow has two users in the whole cluster.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cowchat::cluster::envelope::Envelope;
use cowchat::cluster::lease::Times;
use cowchat::cluster::node::{Action, InstanceIds, Node, NodeConfig, WriteError};
use cowchat::cluster::records::{Key, Revision, Value};
use cowchat::cows::bubble::Bubble;
use cowchat::cows::herd::Cow;
use cowchat::cows::{CowId, Herd};
use cowchat::directory::Owner;
use cowchat::ids::{ConnectionId, ShardId};
use cowchat::limits::CLUSTER_LOGIN_WAIT;
use cowchat::metrics::{CoreMetrics, Metrics};
use cowchat::protocol::art::Art;
use cowchat::shard::{
    Cluster, Effects, Entered, Forward, Frame, Outcome, PendingLogin, Reach, Rules, Shard, ShardContext,
};

/// Few enough that everything collides.
const NODES: usize = 3;
const CONNECTIONS: usize = 4;
const COWS: usize = 4;

const TIMES: Times = Times { ttl: Duration::from_secs(3), renew: Duration::from_millis(500) };

/// Its only core, and its bridge.
const CORE: usize = 0;
const BRIDGE: usize = 1;

/// A session; numbered over the whole run, never used again.
type SessionId = usize;

/// What the core of a node sees of its bridge.
#[derive(Debug)]
struct Uplink {
    now: Arc<AtomicU64>,
    reach: Mutex<Reach>,
    lost_at: AtomicU64,
    epoch: AtomicU64,
    asked: Mutex<VecDeque<Asked>>,
}

#[derive(Debug)]
enum Asked {
    Enter(CowId, Owner),
    Release(CowId, Owner),
}

impl Uplink {
    fn end_epoch(&self) {
        self.lost_at.store(u64::MAX, Ordering::Relaxed);
        *self.reach.lock().expect("one thread") = Reach::Gone;
        self.epoch.fetch_add(1, Ordering::Relaxed);
    }

    fn is_lost(&self) -> bool {
        self.now.load(Ordering::Relaxed) >= self.lost_at.load(Ordering::Relaxed)
    }
}

impl Cluster for Uplink {
    fn shard(&self) -> ShardId {
        ShardId::new(BRIDGE)
    }

    fn reach(&self) -> Reach {
        *self.reach.lock().expect("one thread")
    }

    fn epoch(&self) -> u64 {
        if self.is_lost() {
            self.end_epoch();
        }
        self.epoch.load(Ordering::Relaxed)
    }

    fn enter(&self, cow: CowId, owner: Owner) {
        self.asked.lock().expect("one thread").push_back(Asked::Enter(cow, owner));
    }

    fn release(&self, cow: CowId, owner: Owner) {
        self.asked.lock().expect("one thread").push_back(Asked::Release(cow, owner));
    }
}

#[derive(Debug)]
struct Instances(Arc<AtomicU64>);

impl InstanceIds for Instances {
    fn next(&mut self) -> u64 {
        1 + self.0.fetch_add(1, Ordering::Relaxed)
    }
}

#[derive(Default)]
struct Connection {
    session: Option<SessionId>,
    pending: Option<Box<PendingLogin>>,
    answer: Option<Entered>,
    /// Of its session, and of its login.
    epoch: u64,
    /// When its login began.
    since: Duration,
}

struct Server {
    node: Node,
    shard: Shard,
    uplink: Arc<Uplink>,
    epoch: u64,
    connections: Vec<Connection>,
    /// What cores have sent and the bridge has not taken.
    frames: VecDeque<Frame>,
    is_stopped: bool,
    /// Counts connections to the broker; `None` while there is none.
    link: Option<u64>,
    links: u64,
    /// What the broker still has to tell it.
    entries: VecDeque<Entry>,
    messages: VecDeque<Envelope>,
}

#[derive(Debug, Clone)]
enum Entry {
    Changed(Key, Revision, Option<Value>),
    Listed,
}

/// A request under way to the store, or its answer.
struct Request {
    server: usize,
    link: u64,
    action: Action,
}

#[derive(Default)]
struct Tally {
    logins: usize,
    taken: usize,
    out_of_reach: usize,
    remote_says: usize,
    yields: usize,
    fences: usize,
    takeovers: usize,
}

struct World {
    random: fastrand::Rng,
    now: Arc<AtomicU64>,
    herd: Arc<Herd>,
    servers: Vec<Server>,
    store: BTreeMap<Key, (Revision, Option<Value>)>,
    revision: Revision,
    requests: Vec<Request>,
    sessions: usize,
    said: u64,
    /// The last number that a receiver had of a sender.
    heard: HashMap<(SessionId, SessionId), u64>,
    /// Cows by the session that last had them.
    had: HashMap<CowId, usize>,
    /// Whether servers give their cows up when their lease is over.
    is_fenced: bool,
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
        let server = |n: usize| {
            let rules = Rules { art: Art::Off, ..Rules::default() };
            let mut context = ShardContext::new(Arc::clone(&herd), 2, rules).expect("memory");
            let uplink = Arc::new(Uplink {
                now: Arc::clone(&now),
                reach: Mutex::new(Reach::Gone),
                lost_at: AtomicU64::new(u64::MAX),
                epoch: AtomicU64::new(0),
                asked: Mutex::default(),
            });
            context.cluster = Some(Arc::clone(&uplink) as Arc<dyn Cluster>);
            let (id, metrics) = (ShardId::new(CORE), Metrics::new(1));
            let config = NodeConfig { name: format!("node{n}"), times: TIMES, shard: ShardId::new(BRIDGE), cores: 1 };
            Server {
                node: Node::new(config, context.clone(), Box::new(Instances(Arc::clone(&instances)))),
                shard: Shard::new(id, context, CoreMetrics::new(metrics, id)),
                uplink,
                epoch: 0,
                connections: (0..CONNECTIONS).map(|_| Connection::default()).collect(),
                frames: VecDeque::new(),
                is_stopped: false,
                link: None,
                links: 0,
                entries: VecDeque::new(),
                messages: VecDeque::new(),
            }
        };
        let servers = (0..NODES).map(server).collect();
        World {
            random: fastrand::Rng::with_seed(seed),
            now,
            herd,
            servers,
            store: BTreeMap::new(),
            revision: 0,
            requests: Vec::new(),
            sessions: 0,
            said: 0,
            heard: HashMap::new(),
            had: HashMap::new(),
            is_fenced,
            tally: Tally::default(),
        }
    }

    fn time(&self) -> Duration {
        Duration::from_millis(self.now.load(Ordering::Relaxed))
    }

    /// One thing happens; an error says which cow has two users.
    fn step(&mut self, is_calm: bool) -> Result<(), String> {
        let n = self.random.usize(..NODES);
        let mishap = if is_calm { 100 } else { 0 };
        match self.random.u8(mishap..=255) {
            0..4 => self.servers[n].is_stopped = true,
            4..10 => self.servers.iter_mut().for_each(|server| server.is_stopped = false),
            10..16 => self.disconnect(n),
            16..18 => (0..NODES).for_each(|n| self.disconnect(n)),
            18..24 => _ = self.servers[n].messages.pop_front(),
            24..28 => {
                let repeated = self.servers[n].messages.back().cloned();
                self.servers[n].messages.extend(repeated);
            }
            28..100 => {}
            100..104 => self.connect(n),
            104..112 => _ = self.now.fetch_add(self.random.u64(..150), Ordering::Relaxed),
            112..150 => self.serve(),
            150..180 => self.tell(n),
            180..220 => self.line(n),
            _ => self.bridge(n),
        }
        self.check()
    }

    // Servers.

    /// What a core does before each line.
    fn check_epoch(&mut self, n: usize) {
        let is_fenced = self.is_fenced;
        let server = &mut self.servers[n];
        let epoch = server.uplink.epoch();
        if std::mem::replace(&mut server.epoch, epoch) == epoch || !is_fenced {
            return;
        }
        self.tally.fences += 1;
        for (connection, _) in server.shard.log_out_all() {
            server.connections[connection.index()].session = None;
        }
    }

    fn line(&mut self, n: usize) {
        let at = self.random.usize(..CONNECTIONS);
        if self.servers[n].is_stopped {
            return;
        }
        self.check_epoch(n);
        if self.servers[n].connections[at].pending.is_some() {
            return;
        }
        let cow = self.random.usize(..COWS);
        let mine = self.servers[n].connections[at].session;
        let line = match (mine, self.random.u8(..20)) {
            (None, 0..15) => format!("login cow{cow}"),
            (None, _) => "login cow0#".to_owned(),
            (Some(_), 0..1) => "quit".to_owned(),
            (Some(mine), 1..14) => {
                self.said += 1;
                format!("say cow{cow} {mine} {}", self.said)
            }
            (Some(mine), _) => {
                self.said += 1;
                format!("yield {mine} {}", self.said)
            }
        };
        self.servers[n].connections[at].since = self.time();
        let connection = ConnectionId::new(at);
        let effects = self.servers[n].shard.on_line(connection, line.as_bytes().into());
        self.apply(n, at, effects);
    }

    fn apply(&mut self, n: usize, at: usize, effects: Effects) {
        let reply = String::from_utf8(effects.reply).expect("ASCII");
        let server = &mut self.servers[n];
        if let Some(login) = effects.pending {
            let connection = &mut server.connections[at];
            (connection.pending, connection.answer, connection.epoch) = (Some(login), None, server.epoch);
            return;
        }
        match effects.outcome {
            Outcome::LoggedIn(cow) => {
                self.tally.logins += 1;
                self.tally.takeovers += usize::from(self.had.insert(cow, n).is_some_and(|before| before != n));
                server.connections[at].session = Some(self.sessions);
                self.sessions += 1;
            }
            Outcome::Quit(_) => server.connections[at].session = None,
            Outcome::Unchanged | Outcome::Foreign => {}
        }
        self.tally.taken += usize::from(reply.contains("already taken"));
        self.tally.out_of_reach += usize::from(reply.contains("out of reach"));
        match effects.forward {
            Forward::Nowhere => {}
            Forward::To(_, frame) => {
                self.tally.remote_says += 1;
                self.servers[n].frames.push_back(frame);
            }
            Forward::ToOthers(frame, left_out) => {
                self.tally.yields += 1;
                self.servers[n].frames.extend(left_out.is_none().then_some(frame));
            }
        }
        if let Some(frame) = effects.local {
            self.deliver(n, frame);
        }
    }

    /// Hands a frame to the sessions of a server.
    fn deliver(&mut self, n: usize, frame: Frame) {
        let (now, server) = (self.time(), &mut self.servers[n]);
        let (shard, connections) = (&mut server.shard, &server.connections);
        let Some(delivery) = shard.on_frame(frame, now) else { return };
        for receiver in delivery.receivers() {
            let text = String::from_utf8(delivery.payload(receiver.rendering).to_vec()).expect("ASCII");
            // `cow1 says to you: 4 17`: session 4, its message 17.
            let Some((_, words)) = text.split_once(": ") else { continue };
            let mut words = words.split_whitespace().map(|word| word.parse::<u64>().expect("a number"));
            let (from, number) = (words.next().expect("a session") as usize, words.next().expect("a number"));
            let to = connections[receiver.connection.index()].session.expect("a session gets it");
            let before = self.heard.insert((from, to), number);
            assert!(before.is_none_or(|before| before < number), "session {to} hears {number} of {from} late or twice");
        }
    }

    /// A turn of a server's bridge, and of what it has woken.
    fn bridge(&mut self, n: usize) {
        if self.servers[n].is_stopped {
            return;
        }
        let now = self.time();
        let server = &mut self.servers[n];
        // What was said before a session ended goes first.
        while let Some(frame) = server.frames.pop_front() {
            server.node.on_frame(frame, now);
        }
        let asked: Vec<_> = server.uplink.asked.lock().expect("one thread").drain(..).collect();
        for asked in asked {
            match asked {
                Asked::Enter(cow, owner) => server.node.enter(cow, owner, now),
                Asked::Release(cow, owner) => server.node.release(cow, owner, now),
            }
        }
        if self.is_fenced || server.node.lost_at().is_none_or(|lost_at| now < lost_at) {
            server.node.on_tick(now);
        }
        self.act(n);
    }

    fn act(&mut self, n: usize) {
        let now = self.time();
        for action in self.servers[n].node.take_actions() {
            match action {
                Action::Write { .. } | Action::Delete { .. } | Action::Read(_) => {
                    // Without a connection it fails at once.
                    let link = self.servers[n].link.unwrap_or(0);
                    self.requests.push(Request { server: n, link, action });
                }
                Action::Publish(envelope) => {
                    let others = (0..NODES).filter(|&other| other != n && self.servers[n].link.is_some());
                    for other in others.collect::<Vec<_>>() {
                        if self.servers[other].link.is_some() {
                            self.servers[other].messages.push_back(envelope.clone());
                        }
                    }
                }
                Action::Answer(owner, entered) => {
                    let server = &mut self.servers[n];
                    let waits = |connection: &&mut Connection| {
                        connection.pending.as_ref().is_some_and(|login| login.owner() == owner)
                    };
                    if let Some(connection) = server.connections.iter_mut().find(waits) {
                        connection.answer = Some(entered);
                    }
                }
                Action::Deliver(_, frame) => self.deliver(n, frame),
                Action::LogOutAll => {
                    self.servers[n].uplink.end_epoch();
                    self.check_epoch(n);
                }
                Action::Log(_) => {}
                Action::Refuse(reason) => panic!("{reason}"),
            }
        }
        let server = &mut self.servers[n];
        let reach = if server.node.is_in_reach(now) { Reach::Open } else { Reach::Gone };
        *server.uplink.reach.lock().expect("one thread") = reach;
        let lost_at = server.node.lost_at().map_or(u64::MAX, |lost_at| lost_at.as_millis() as u64);
        server.uplink.lost_at.store(lost_at, Ordering::Relaxed);
        self.finish_logins(n);
    }

    fn finish_logins(&mut self, n: usize) {
        let now = self.time();
        for at in 0..CONNECTIONS {
            self.check_epoch(n);
            let server = &mut self.servers[n];
            let connection = &mut server.connections[at];
            let is_late = connection.pending.is_some() && now >= connection.since + CLUSTER_LOGIN_WAIT;
            let too_late = is_late.then_some(Entered::OutOfReach);
            let Some(answer) = connection.answer.take().or(too_late) else { continue };
            let login = connection.pending.take().expect("it waits");
            let is_void = connection.epoch != server.epoch && self.is_fenced;
            let answer = if is_void { Entered::OutOfReach } else { answer };
            let effects = server.shard.on_entered(ConnectionId::new(at), *login, answer);
            self.apply(n, at, effects);
        }
    }

    // The broker.

    fn connect(&mut self, n: usize) {
        let now = self.time();
        let server = &mut self.servers[n];
        if server.link.is_some() || server.is_stopped {
            return;
        }
        server.links += 1;
        server.link = Some(server.links);
        server.node.on_connected(1, now);
        let list = self.store.iter().map(|(key, (revision, value))| (*revision, key.clone(), value.clone()));
        let mut list: Vec<_> = list.collect();
        list.sort_by_key(|(revision, ..)| *revision);
        server.entries = list.into_iter().map(|(revision, key, value)| Entry::Changed(key, revision, value)).collect();
        server.entries.push_back(Entry::Listed);
        self.act(n);
    }

    fn disconnect(&mut self, n: usize) {
        let server = &mut self.servers[n];
        if server.link.take().is_some() {
            server.entries.clear();
            server.messages.clear();
            // It hears of it even if it stands still: as soon as it goes on.
            server.node.on_disconnected();
            self.act(n);
        }
    }

    /// The store does one of the requests, in any order, or it or its answer is lost.
    fn serve(&mut self) {
        if self.requests.is_empty() {
            return;
        }
        let request = self.requests.swap_remove(self.random.usize(..self.requests.len()));
        let Request { server: n, link, action } = request;
        // A request of a connection that has ended may still arrive.
        let is_sent = link != 0 && (self.servers[n].link == Some(link) || self.random.bool());
        let is_done = is_sent && self.random.u8(..20) > 0;
        let is_answered = is_done && self.servers[n].link == Some(link) && self.random.u8(..20) > 0;
        let now = self.time();
        match action {
            Action::Write { key, value, expected } => {
                let result =
                    if is_done { self.write(&key, Some(value.clone()), expected) } else { Err(WriteError::Unknown) };
                let result = if is_answered { result } else { Err(WriteError::Unknown) };
                self.when_running(n, move |node| node.on_written(key, Some(value), result, now));
            }
            Action::Delete { key, expected } => {
                let result = if is_done { self.write(&key, None, expected) } else { Err(WriteError::Unknown) };
                let result = if is_answered { result } else { Err(WriteError::Unknown) };
                self.when_running(n, move |node| node.on_written(key, None, result, now));
            }
            Action::Read(key) => {
                let found = self.store.get(&key).cloned();
                let result = if is_answered { Ok(found) } else { Err(()) };
                self.when_running(n, move |node| node.on_read(key, result, now));
            }
            _ => unreachable!("only requests are kept"),
        }
        self.act(n);
    }

    /// A server that stands still finds the answer when it goes on.
    fn when_running(&mut self, n: usize, tell: impl FnOnce(&mut Node)) {
        // Its clock has gone on: it is told the time in the same turn, first.
        let now = self.time();
        let server = &mut self.servers[n];
        if server.is_stopped {
            server.is_stopped = false;
            if self.is_fenced {
                server.node.on_tick(now);
            }
        }
        tell(&mut server.node);
    }

    fn write(&mut self, key: &Key, value: Option<Value>, expected: Revision) -> Result<Revision, WriteError> {
        let revision = self.store.get(key).map_or(0, |(revision, _)| *revision);
        if revision != expected {
            return Err(WriteError::Conflict);
        }
        self.revision += 1;
        self.store.insert(key.clone(), (self.revision, value.clone()));
        for server in self.servers.iter_mut().filter(|server| server.link.is_some()) {
            server.entries.push_back(Entry::Changed(key.clone(), self.revision, value.clone()));
        }
        Ok(self.revision)
    }

    /// The broker tells a server the next thing.
    fn tell(&mut self, n: usize) {
        if self.servers[n].is_stopped {
            return;
        }
        let now = self.time();
        let server = &mut self.servers[n];
        match server.entries.pop_front() {
            Some(Entry::Changed(Key::Node(name), revision, value)) => {
                let record = value.map(|value| if let Value::Node(record) = value { record } else { unreachable!() });
                server.node.on_node(&name, revision, record, now);
            }
            Some(Entry::Changed(Key::Cow(cow), revision, value)) => {
                let record = value.map(|value| if let Value::Cow(record) = value { record } else { unreachable!() });
                server.node.on_cow(cow, revision, record, now);
            }
            Some(Entry::Listed) => server.node.on_listed(now),
            None => {}
        }
        if let Some(envelope) = server.messages.pop_front() {
            server.node.on_message(envelope, now);
        }
        self.act(n);
    }

    // What holds.

    /// No cow has two users: a session counts until its server would end it before its next line.
    fn check(&mut self) -> Result<(), String> {
        let mut users = HashSet::new();
        for server in &self.servers {
            if self.is_fenced
                && (server.uplink.is_lost() || server.epoch != server.uplink.epoch.load(Ordering::Relaxed))
            {
                continue;
            }
            for receiver in server.shard.registered() {
                let cow = server.shard.cow(receiver.connection).expect("it is registered");
                if !users.insert(cow) {
                    return Err(format!("two users are {}", self.herd.name(cow.breed())));
                }
            }
        }
        Ok(())
    }

    /// Everything works again: all servers join, and know the same users.
    fn heal(&mut self) {
        for server in &mut self.servers {
            server.is_stopped = false;
        }
        for _ in 0..30_000 {
            self.step(true).expect("I1 across nodes");
        }
        // No line comes any more: what is under way ends.
        for _ in 0..3_000 {
            self.now.fetch_add(2, Ordering::Relaxed);
            for n in 0..NODES {
                self.connect(n);
                self.tell(n);
                self.bridge(n);
                self.serve();
            }
        }
        let users: Vec<String> = (0..NODES).map(|n| self.who(n)).collect();
        assert!(users.iter().all(|who| *who == users[0]), "servers differ: {users:?}");
        let claims: usize = self.servers.iter().map(|server| server.shard.registered().len()).sum();
        let named = users[0].matches("cow").count();
        assert_eq!(named, claims, "{}", users[0]);
        for n in 0..NODES {
            assert_eq!(self.servers[n].uplink.reach(), Reach::Open, "server {n} has not joined");
            assert!(self.servers[n].connections.iter().all(|connection| connection.pending.is_none()));
        }
    }

    fn who(&mut self, n: usize) -> String {
        let guest = ConnectionId::new(CONNECTIONS);
        let effects = self.servers[n].shard.on_line(guest, b"who".as_slice().into());
        String::from_utf8(effects.reply).expect("ASCII")
    }
}

fn run(seed: u64, is_fenced: bool, steps: u64) -> Result<World, String> {
    let mut world = World::new(seed, is_fenced);
    for _ in 0..steps {
        world.step(false)?;
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
        let Tally { logins, taken, out_of_reach, remote_says, yields, fences, takeovers } = world.tally;
        all.logins += logins;
        all.taken += taken;
        all.out_of_reach += out_of_reach;
        all.remote_says += remote_says;
        all.yields += yields;
        all.fences += fences;
        all.takeovers += takeovers;
    }
    let Tally { logins, taken, out_of_reach, remote_says, yields, fences, takeovers } = all;
    let seen = [logins, taken, out_of_reach, remote_says, yields, fences, takeovers];
    assert!(
        count < 10 || seen.into_iter().all(|seen| seen > 10),
        "too little has happened to prove anything: {seen:?}"
    );
}

#[test]
fn without_its_fence_a_node_is_caught() {
    assert!((0..200).any(|seed| run(seed, false, 4_000).is_err()), "no cow had two users");
}
