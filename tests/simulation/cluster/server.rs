//! One server of the simulated cluster: its cores, what they see of the bridge, and what is on its way to it.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cowchat::cluster::envelope::Envelope;
use cowchat::cluster::node::{InstanceIds, Node, NodeConfig};
use cowchat::cluster::records::{Instance, Key, Revision, Value};
use cowchat::cows::{CowId, Herd};
use cowchat::directory::Owner;
use cowchat::ids::ShardId;
use cowchat::metrics::{CoreMetrics, Metrics};
use cowchat::protocol::art::Art;
use cowchat::shard::{Cluster, Frame, PendingLogin, Reach, Rules, Shard, ShardContext};

use super::lifecycle::Drain;
use super::messages::{Lane, LaneId};
use super::{CONNECTIONS, CORES, SessionId, TIMES};

/// The shard that stands for all other servers.
pub const BRIDGE: usize = CORES;

/// What the cores of a server see of its bridge.
#[derive(Debug)]
pub struct Uplink {
    now: Arc<AtomicU64>,
    reach: Mutex<Reach>,
    lost_at: AtomicU64,
    epoch: AtomicU64,
    asked: Mutex<VecDeque<Asked>>,
}

#[derive(Debug)]
pub enum Asked {
    Enter(CowId, Owner),
    Release(CowId, Owner),
}

impl Uplink {
    fn new(now: &Arc<AtomicU64>) -> Arc<Self> {
        Arc::new(Uplink {
            now: Arc::clone(now),
            reach: Mutex::new(Reach::Gone),
            lost_at: AtomicU64::new(u64::MAX),
            epoch: AtomicU64::new(0),
            asked: Mutex::default(),
        })
    }

    pub fn end_epoch(&self) {
        self.lost_at.store(u64::MAX, Ordering::Relaxed);
        *self.reach.lock().expect("one thread") = Reach::Gone;
        self.epoch.fetch_add(1, Ordering::Relaxed);
    }

    fn is_lost(&self) -> bool {
        self.now.load(Ordering::Relaxed) >= self.lost_at.load(Ordering::Relaxed)
    }

    pub fn set(&self, reach: Reach, lost_at: Option<Duration>) {
        *self.reach.lock().expect("one thread") = reach;
        let lost_at = lost_at.map_or(u64::MAX, |lost_at| lost_at.as_millis() as u64);
        self.lost_at.store(lost_at, Ordering::Relaxed);
    }

    pub fn has_asked(&self) -> bool {
        !self.asked.lock().expect("one thread").is_empty()
    }

    pub fn take_asked(&self) -> VecDeque<Asked> {
        std::mem::take(&mut self.asked.lock().expect("one thread"))
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
    fn next(&mut self) -> Instance {
        1 + self.0.fetch_add(1, Ordering::Relaxed)
    }
}

#[derive(Default)]
pub struct Connection {
    pub session: Option<SessionId>,
    pub pending: Option<Box<PendingLogin>>,
    /// Of its login.
    pub epoch: u64,
    /// When its login began.
    pub since: Duration,
}

/// One core of a server.
pub struct Core {
    pub shard: Shard,
    pub epoch: u64,
    pub connections: Vec<Connection>,
    /// What the other cores and the bridge have sent it.
    pub inbox: VecDeque<Frame>,
}

#[derive(Debug, Clone)]
pub enum Entry {
    Changed(Key, Revision, Option<Value>),
    Listed,
}

/// What a server was told of an instance.
pub struct Told {
    pub name: String,
    pub has_left: bool,
}

/// A process of a server.
pub struct Server {
    /// Counts processes, of all servers.
    pub process: u64,
    pub node: Node,
    pub context: ShardContext,
    pub cores: Vec<Core>,
    pub uplink: Arc<Uplink>,
    /// What cores have sent and the bridge has not taken.
    pub frames: VecDeque<Frame>,
    /// Those of the frames, the first ones, whose sessions have ended with a lease.
    pub void_frames: usize,
    pub is_stopped: bool,
    /// A core of it is behind: messages wait in the client of the broker.
    pub is_full: bool,
    /// When its bridge was told the time.
    pub ticked: Duration,
    pub drain: Option<Drain>,
    /// Which connection to the broker it has.
    pub link: Option<u64>,
    /// What the broker still has to tell it.
    pub entries: VecDeque<Entry>,
    pub messages: VecDeque<Envelope>,
    pub lanes: HashMap<LaneId, Lane>,
    /// Instances that the store has told it of, but for those that it takes for crashed.
    pub told: HashMap<Instance, Told>,
    /// Its instance that has joined last.
    pub instance: Option<Instance>,
    /// When the store has written that instance's lease.
    pub renewed: Duration,
    /// It has taken its lease out of the store.
    pub has_signed_off: bool,
    /// Which past of the store its lease, and so its sessions, are in.
    pub history: usize,
    /// The store that it has seen last.
    pub store: Option<i128>,
}

impl Server {
    pub fn new(n: usize, process: u64, herd: &Arc<Herd>, now: &Arc<AtomicU64>, instances: &Arc<AtomicU64>) -> Server {
        let rules = Rules { art: Art::Off, ..Rules::default() };
        let mut context = ShardContext::new(Arc::clone(herd), CORES + 1, rules).expect("memory");
        let uplink = Uplink::new(now);
        context.cluster = Some(Arc::clone(&uplink) as Arc<dyn Cluster>);
        let metrics = Metrics::new(CORES);
        let core = |id| Core {
            shard: Shard::new(id, context.clone(), CoreMetrics::new(Arc::clone(&metrics), id)),
            epoch: 0,
            connections: (0..=CONNECTIONS).map(|_| Connection::default()).collect(),
            inbox: VecDeque::new(),
        };
        let config = NodeConfig { name: name(n), times: TIMES, shard: ShardId::new(BRIDGE), cores: CORES };
        Server {
            process,
            node: Node::new(config, context.clone(), Box::new(Instances(Arc::clone(instances)))),
            cores: (0..CORES).map(ShardId::new).map(core).collect(),
            context,
            uplink,
            frames: VecDeque::new(),
            void_frames: 0,
            is_stopped: false,
            is_full: false,
            ticked: Duration::ZERO,
            drain: None,
            link: None,
            entries: VecDeque::new(),
            messages: VecDeque::new(),
            lanes: HashMap::new(),
            told: HashMap::new(),
            instance: None,
            renewed: Duration::ZERO,
            has_signed_off: false,
            history: 0,
            store: None,
        }
    }

    /// Whether its sessions go on: they do not if it would end them before its next line.
    pub fn has_live_sessions(&self, core: usize) -> bool {
        !self.uplink.is_lost() && self.cores[core].epoch == self.uplink.epoch.load(Ordering::Relaxed)
    }

    pub fn sessions(&self) -> usize {
        self.cores.iter().map(|core| core.shard.registered().len()).sum()
    }
}

pub fn name(n: usize) -> String {
    format!("node{n}")
}
