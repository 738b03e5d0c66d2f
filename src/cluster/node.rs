//! What this node makes of what it is told. Pure: `net` and the store are the caller's, and so is time, which must go on
//! while the process is stopped.
//!
//! Every call may leave [`Action`]s, to be done in their order.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::cows::{Known, OwnCows, Step};
use super::envelope::Envelope;
use super::figures::Figures;
use super::lease::{Lease, Times};
use super::peers::Peers;
use super::records::{CowRecord, HerdPrint, Instance, Key, Revision, StoreId, Value};
use crate::cows::{CowId, Herd};
use crate::directory::{Claim, Claims, Owner};
use crate::events::Event;
use crate::ids::ShardId;
use crate::limits::CLUSTER_MISSED_TOLD;
use crate::shard::{Entered, Frame, ShardContext};

/// Something for the caller to do.
#[derive(Debug)]
pub enum Action {
    /// Write to the store if the key is still at this revision; then call [`Node::on_written`].
    Write {
        /// Of what.
        key: Key,
        /// What it has from then on.
        value: Value,
        /// The key's revision; 0 if it must not exist.
        expected: Revision,
    },
    /// Delete from the store if the key is still at this revision; then call [`Node::on_written`].
    Delete {
        /// Of what.
        key: Key,
        /// The key's revision.
        expected: Revision,
    },
    /// Read from the store; then call [`Node::on_read`] with the same request.
    Read(Read),
    /// Send to all other nodes, or to the one of the claim ([`Node::name_of`]), in order.
    Publish(Envelope),
    /// Tell the login with this claim, on its core.
    Answer(Owner, Entered),
    /// Hand to a core of this server.
    Deliver(ShardId, Frame),
    /// End all sessions of this server.
    LogOutAll,
    /// Tell the operator.
    Log(Event),
    /// This node must not be in this cluster, for this reason.
    Refuse(String),
}

/// What is read from the store, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// Of what.
    pub key: Key,
    /// The last revision of the key that was known when this was asked.
    pub(super) known: Revision,
    /// The instance of that node which a login is in doubt about.
    pub(super) confirms: Option<Instance>,
}

/// Why the store has not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteError {
    /// The key is at another revision.
    Conflict,
    /// It may have, or not.
    Unknown,
}

/// What one node is.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Its name in the cluster.
    pub name: String,
    /// Of its lease.
    pub times: Times,
    /// The shard that stands for all other nodes.
    pub shard: ShardId,
    /// Shards of its own.
    pub cores: usize,
}

/// One node of a cluster.
#[derive(Debug)]
pub struct Node {
    pub(super) config: NodeConfig,
    pub(super) print: HerdPrint,
    pub(super) context: ShardContext,
    pub(super) claims: Claims,
    pub(super) instances: Box<dyn InstanceIds>,
    pub(super) lease: Lease,
    /// Instances that this node was, oldest first.
    pub(super) past: VecDeque<Instance>,
    /// The last revisions of nodes' keys that are known.
    pub(super) node_revisions: HashMap<String, Revision>,
    pub(super) peers: Peers,
    pub(super) own: OwnCows,
    pub(super) known: BTreeMap<CowId, Known>,
    /// Cows of other nodes, claimed in the directory.
    pub(super) remote: HashMap<CowId, Remote>,
    pub(super) by_owner: HashMap<Owner, CowId>,
    /// Cows of other nodes that a login here still claims.
    pub(super) blocked: BTreeSet<CowId>,
    /// Which store it is: another one counts from 1 again.
    pub(super) store: Option<StoreId>,
    /// Keys that the store has, while they are listed.
    pub(super) listed: Option<HashSet<Key>>,
    /// The store's last revision when the list began: the list has come to its end when it has come so far.
    pub(super) list_until: Revision,
    /// Keys that the list lacked, and when they were last read.
    pub(super) unsure: BTreeSet<Key>,
    pub(super) unsure_asked: Option<Duration>,
    /// Instances that have a cow which a login waits for, but of which no lease was told; and when that was last asked.
    pub(super) doubts: BTreeMap<Instance, Duration>,
    /// Instances of which it is known that they have no lease.
    pub(super) dead: BTreeSet<Instance>,
    pub(super) is_synced: bool,
    pub(super) is_connected: bool,
    pub(super) is_leaving: bool,
    /// It gives its lease back.
    pub(super) is_signing_off: bool,
    pub(super) has_left: bool,
    /// Messages that this instance has sent to all.
    pub(super) yields: u64,
    pub(super) figures: Figures,
    /// When missed messages were last logged.
    pub(super) missed_told: Duration,
    pub(super) actions: Vec<Action>,
}

/// Another node's cow, claimed in the directory.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) claim: Claim,
    pub(super) record: CowRecord,
}

/// Makes the numbers of instances, each once in the life of a cluster.
pub trait InstanceIds: std::fmt::Debug + Send {
    /// The next one.
    fn next(&mut self) -> Instance;
}

impl Node {
    /// A node that has not joined yet.
    pub fn new(config: NodeConfig, context: ShardContext, mut instances: Box<dyn InstanceIds>) -> Self {
        let lease = Lease::new(instances.next(), config.times);
        let claims = Claims::new(Arc::clone(&context.directory), config.shard);
        Node {
            print: HerdPrint::of(&context.herd),
            config,
            claims,
            context,
            instances,
            lease,
            past: VecDeque::new(),
            node_revisions: HashMap::new(),
            peers: Peers::default(),
            own: OwnCows::default(),
            known: BTreeMap::new(),
            remote: HashMap::new(),
            by_owner: HashMap::new(),
            blocked: BTreeSet::new(),
            store: None,
            listed: None,
            list_until: 0,
            unsure: BTreeSet::new(),
            unsure_asked: None,
            doubts: BTreeMap::new(),
            dead: BTreeSet::new(),
            is_synced: false,
            is_connected: false,
            is_leaving: false,
            is_signing_off: false,
            has_left: false,
            yields: 0,
            figures: Figures::default(),
            missed_told: Duration::ZERO,
            actions: Vec::new(),
        }
    }

    /// What to do since the last call.
    pub fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// Whether it may speak and take claims now.
    pub fn is_in_reach(&self, now: Duration) -> bool {
        self.is_connected && self.lease.is_live(now)
    }

    /// The store's last revision when the list began.
    pub fn list_until(&self) -> Revision {
        self.list_until
    }

    /// When its users' cows may be given to others, unless the lease is renewed before.
    pub fn lost_at(&self) -> Option<Duration> {
        self.lease.until().filter(|_| !self.has_left)
    }

    /// Sessions and logins of this server.
    pub fn sessions(&self) -> usize {
        self.context.directory.claimed().saturating_sub(self.remote.len())
    }

    /// What it has counted, and what is now.
    pub fn figures(&self, now: Duration) -> Figures {
        Figures { is_in_reach: self.is_in_reach(now), others: self.peers.live().count() as u64, ..self.figures }
    }

    /// Whether it has left the cluster.
    pub fn has_left(&self) -> bool {
        self.has_left
    }

    // What cores ask.

    /// A login asks to enter its claim.
    pub fn enter(&mut self, cow: CowId, owner: Owner, now: Duration) {
        if !self.is_in_reach(now) || self.is_leaving {
            self.actions.push(Action::Answer(owner, Entered::OutOfReach));
            return;
        }
        self.own.enter(cow, owner);
        self.step(cow, now);
    }

    /// A claim that was to be entered, or was, has ended.
    pub fn release(&mut self, cow: CowId, owner: Owner, now: Duration) {
        self.own.release(cow, owner);
        self.step(cow, now);
        self.unblock(cow);
    }

    // Time, and the end.

    /// To be called several times a second.
    pub fn on_tick(&mut self, now: Duration) {
        if self.has_left {
            return;
        }
        self.check_lease(now);
        self.figures.dropped += self.peers.forget_strangers(now);
        if now >= self.missed_told + CLUSTER_MISSED_TOLD {
            self.missed_told = now;
            for (node, messages) in self.peers.take_missed() {
                self.actions.push(Action::Log(Event::MessagesMissed { node, messages }));
            }
        }
        if self.is_connected {
            self.ask_unsure(now);
            self.ask_doubted(now);
            for cow in self.own.due(now) {
                self.step(cow, now);
            }
            // If that succeeds, a renewal that is still under way comes too late.
            for (name, expected) in self.peers.overdue(self.config.times.renew, now) {
                let key = Key::Node(name);
                if self.revision(&key) == expected {
                    self.actions.push(Action::Delete { key, expected });
                } else {
                    // The store was set back: that revision may come to be another lease's.
                    self.read(key, None);
                }
            }
        }
        self.step_lease(now);
        let blocked: Vec<_> = self.blocked.iter().copied().collect();
        blocked.into_iter().for_each(|cow| self.unblock(cow));
    }

    /// No login is entered from here on.
    pub fn stop_entering(&mut self) {
        self.is_leaving = true;
    }

    /// All sessions have ended: gives the lease back, and with it all cows, or leaves at once if it cannot.
    pub fn leave(&mut self, now: Duration) {
        if !std::mem::replace(&mut self.is_signing_off, true) {
            self.is_leaving = true;
            self.forget_own_cows();
        }
        if self.lease.revision.is_none() || !self.is_connected {
            self.has_left = true;
        }
        self.step_lease(now);
    }

    pub(super) fn known(&self, cow: CowId) -> Known {
        self.known.get(&cow).cloned().unwrap_or_default()
    }

    /// The last revision of a key that is known.
    pub(super) fn revision(&self, key: &Key) -> Revision {
        let revision = match key {
            Key::Node(name) => self.node_revisions.get(name).copied(),
            Key::Cow(cow) => self.known.get(cow).map(|known| known.revision),
        };
        revision.unwrap_or_default()
    }

    pub(super) fn read(&mut self, key: Key, confirms: Option<Instance>) {
        let known = self.revision(&key);
        self.actions.push(Action::Read(Read { key, known, confirms }));
    }

    /// Takes the next step for a cow of its own.
    pub(super) fn step(&mut self, cow: CowId, now: Duration) {
        // While the store is listed, a cow may be told before the lease of its node. For others a cow of a node without one is free.
        if !self.is_connected || !self.is_synced || self.listed.is_some() || self.lease.is_missing() {
            return;
        }
        let (known, is_taken) = (self.known(cow), self.holder(cow).is_some());
        let instance = self.lease.instance;
        if self.own.awaits(cow) && self.doubts_holder(&known, now) {
            return;
        }
        match self.own.step(cow, &known, instance, is_taken, now) {
            Step::None => {}
            Step::Write(owner) => {
                let value = Value::Cow(CowRecord { node: self.config.name.clone(), instance, owner: owner.word() });
                self.actions.push(Action::Write { key: Key::Cow(cow), value, expected: known.revision });
            }
            // It goes with the lease.
            Step::Delete if self.is_leaving => {}
            Step::Delete => self.actions.push(Action::Delete { key: Key::Cow(cow), expected: known.revision }),
            Step::Answer(owner, entered) => {
                self.actions.push(Action::Answer(owner, entered));
                // A login that was taken back leaves nothing to do; one that is entered neither.
                self.own.step(cow, &known, instance, is_taken, now);
            }
            // Until a read says so, too.
            Step::Lost if self.unsure.contains(&Key::Cow(cow)) => {}
            Step::Lost => self.lose(now),
        }
    }

    /// The herd that all nodes have.
    pub fn herd(&self) -> &Herd {
        &self.context.herd
    }
}

#[cfg(test)]
mod tests;
