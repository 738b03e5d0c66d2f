//! What the node makes of what the store tells: what it has, what changes, and what has come of a request.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use super::cows::Known;
use super::node::{Action, Node, WriteError};
use super::peers::{Peer, Renewal};
use super::records::{CowRecord, Instance, Key, NodeRecord, Revision, StoreId, Value, differs};
use crate::cows::CowId;
use crate::events::Event;
use crate::limits::CLUSTER_UNSURE_AGAIN;

impl Node {
    /// This store can be asked, and [`Node::on_listed`] will follow what it has.
    pub fn on_connected(&mut self, store: StoreId, now: Duration) {
        self.is_connected = true;
        self.listed = Some(HashSet::new());
        // The list is the truth, also of a store that was set back to what it had before.
        self.nodes.clear();
        self.unsure.clear();
        self.doubts.clear();
        self.dead.clear();
        self.known.values_mut().for_each(|known| known.revision = 0);
        self.lease.forget_revision();
        if self.store.replace(store).is_some_and(|before| before != store) {
            // What the one before had is lost, the lease too.
            std::mem::take(&mut self.known).into_keys().for_each(|cow| self.apply(cow));
            let peers: Vec<_> = self.peers.live().map(|(instance, _)| instance).collect();
            peers.into_iter().for_each(|instance| self.remove(instance, now));
            self.lose(now);
        }
    }

    /// Nothing can be asked or sent.
    pub fn on_disconnected(&mut self) {
        self.is_connected = false;
    }

    /// All that the store has was told since [`Node::on_connected`].
    pub fn on_listed(&mut self, now: Duration) {
        let Some(listed) = self.listed.take() else { return };
        self.is_synced = true;
        if self.lease.is_gone() {
            // Others do not know it: they may take its cows.
            self.lose(now);
        }
        let is_own = |known: &Known| is_of(known, self.lease.instance);
        let missing = |cow: CowId| !listed.contains(&Key::Cow(cow));
        let own = self.known.iter().filter(|&(&cow, known)| is_own(known) && missing(cow)).map(|(&cow, _)| cow);
        own.collect::<Vec<_>>().into_iter().for_each(|cow| _ = self.known.remove(&cow));
        // What another node has written meanwhile is told after the list, so only a read says that it is gone.
        let cows = self.known.keys().map(|&cow| Key::Cow(cow));
        let nodes = self.peers.live().map(|(_, peer)| Key::Node(peer.name.clone()));
        self.unsure = cows.chain(nodes).filter(|key| !listed.contains(key)).collect();
        self.unsure_asked = None;
        self.ask_unsure(now);
        // Also those that the store never had.
        let cows: BTreeSet<_> = self.known.keys().copied().chain(self.own.all()).collect();
        for cow in cows {
            self.apply(cow);
            self.step(cow, now);
        }
        self.step_lease(now);
    }

    /// The store tells that it has this of a node. Changes are told in their order, after what was there at first.
    pub fn on_node(&mut self, name: &str, revision: Revision, record: Option<NodeRecord>, now: Duration) {
        if let Some(listed) = &mut self.listed {
            listed.insert(Key::Node(name.to_owned()));
        }
        self.learn_node(name, revision, record, now);
    }

    pub(super) fn learn_node(&mut self, name: &str, revision: Revision, record: Option<NodeRecord>, now: Duration) {
        let is_own = name == self.config.name;
        // A read may have been ahead of what the store tells.
        let known = self.nodes.entry(name.to_owned()).or_default();
        if revision < *known {
            return;
        }
        *known = revision;
        let record = record.filter(|record| {
            if record.has_left {
                self.peers.sign_off(record.instance);
            }
            !record.has_left
        });
        let instance = record.as_ref().map(|record| record.instance);
        if let Some(before) = self.peers.named(name).filter(|&before| Some(before) != instance) {
            self.remove(before, now);
        }
        match record {
            Some(record) if record.instance == self.lease.instance => self.lease.found(revision),
            Some(record) if self.past.contains(&record.instance) => {}
            record => {
                if is_own && !self.is_signing_off && self.lease.revision.is_some_and(|own| revision > own) {
                    self.lose(now);
                }
                if let Some(record) = record {
                    self.greet(name, record, revision, now);
                }
            }
        }
        self.step_lease(now);
    }

    pub(super) fn greet(&mut self, name: &str, record: NodeRecord, revision: Revision, now: Duration) {
        let instance = record.instance;
        match self.peers.renew(name, &record, revision, self.is_synced, now) {
            Renewal::New if self.is_synced && self.listed.is_none() => self.peers.has_joined(instance),
            Renewal::New => {}
            // A node that has crashed would not.
            Renewal::Renewed if name == self.config.name => {
                let reason = format!("there is a node {name} already (give this one another --node)");
                return self.actions.push(Action::Refuse(reason));
            }
            Renewal::Renewed => return self.check_herds(),
            Renewal::Known => return,
        }
        self.actions.push(Action::Log(Event::NodeJoined { node: name.to_owned() }));
        if self.lease.revision.is_some() {
            self.check_herds();
        }
        let cows: Vec<_> = self.known.iter().filter(|(_, known)| is_of(known, instance)).map(|(&cow, _)| cow).collect();
        cows.into_iter().for_each(|cow| self.apply(cow));
        let waiting = self.peers.introduced(instance);
        waiting.into_iter().for_each(|envelope| self.on_message(envelope, now));
    }

    /// The store tells that it has this of a cow, as [`Node::on_node`] says.
    pub fn on_cow(&mut self, cow: CowId, revision: Revision, record: Option<CowRecord>, now: Duration) {
        if let Some(listed) = &mut self.listed {
            listed.insert(Key::Cow(cow));
        }
        let is_own = record.as_ref().is_some_and(|record| record.instance == self.lease.instance);
        if !self.learn(cow, revision, record) {
            return;
        }
        if is_own {
            self.own.adopt(cow);
        }
        self.apply(cow);
        self.step(cow, now);
    }

    /// A write or a delete has ended.
    pub fn on_written(&mut self, key: Key, value: Option<Value>, result: Result<Revision, WriteError>, now: Duration) {
        match (key, result) {
            (Key::Cow(cow), Ok(revision)) => {
                let record = match value {
                    Some(Value::Cow(record)) => Some(record),
                    _ => None,
                };
                self.own.set_busy(cow, false);
                let is_own = record.as_ref().is_some_and(|record| record.instance == self.lease.instance);
                self.learn(cow, revision, record);
                if is_own {
                    // Its slot may have ended with a lease meanwhile.
                    self.own.adopt(cow);
                }
                self.apply(cow);
                self.step(cow, now);
            }
            (Key::Cow(cow), Err(_)) => {
                self.own.set_busy(cow, true);
                self.actions.push(Action::Read(Key::Cow(cow)));
            }
            (Key::Node(name), Ok(revision)) => match value {
                Some(Value::Node(record)) if record.has_left => self.has_left = true,
                Some(Value::Node(record)) => {
                    let known = self.nodes.entry(name).or_default();
                    *known = revision.max(*known);
                    if record.instance == self.lease.instance && self.lease.written(revision) {
                        // Of those that have joined meanwhile.
                        self.check_herds();
                        self.actions.push(Action::Log(Event::ClusterReached { node: self.config.name.clone() }));
                    }
                }
                _ => self.learn_node(&name, revision, None, now),
            },
            (Key::Node(name), Err(error)) => {
                match &value {
                    Some(Value::Node(record)) if record.has_left => self.is_signing_off = false,
                    Some(Value::Node(record)) if record.instance == self.lease.instance => {
                        if self.lease.revision.is_none() {
                            // It may have joined, and lapsed: others would take it for gone.
                            self.begin_instance();
                        }
                        self.lease.failed(now);
                    }
                    Some(_) | None => {}
                }
                if error == WriteError::Conflict {
                    self.actions.push(Action::Read(Key::Node(name)));
                }
            }
        }
    }

    /// A read has ended: with nothing if the key never was, or with what it has; `None` in it was deleted.
    pub fn on_read(&mut self, key: Key, result: Result<Option<(Revision, Option<Value>)>, ()>, now: Duration) {
        match (key, result) {
            (Key::Cow(cow), Ok(found)) => {
                if found.is_none() {
                    self.known.remove(&cow);
                }
                self.unsure.remove(&Key::Cow(cow));
                let (revision, value) = found.unwrap_or_default();
                let record = match value {
                    Some(Value::Cow(record)) => Some(record),
                    _ => None,
                };
                if revision < self.known(cow).revision {
                    // It has lost what it had, or is behind: what it tells will say.
                    self.own.retry(cow, now);
                    return;
                }
                self.own.set_busy(cow, false);
                self.learn(cow, revision, record);
                self.apply(cow);
                self.step(cow, now);
            }
            (Key::Cow(cow), Err(())) => self.own.retry(cow, now),
            (Key::Node(name), Ok(found)) => {
                if found.is_none() {
                    self.nodes.remove(&name);
                }
                let (revision, value) = found.unwrap_or_default();
                let record = match value {
                    Some(Value::Node(record)) => Some(record),
                    _ => None,
                };
                self.unsure.remove(&Key::Node(name.clone()));
                let was_missing = name == self.config.name && self.lease.is_missing();
                self.learn_node(&name, revision, record, now);
                if was_missing && self.lease.is_missing() {
                    // Others do not know it: they may take its cows.
                    self.lose(now);
                }
                if name == self.config.name {
                    self.lease.read(now);
                }
            }
            (Key::Node(name), Err(())) if name == self.config.name => self.lease.read(now),
            // It is taken out of the store when its time is over, if it does not renew.
            (Key::Node(_), Err(())) => {}
        }
    }

    /// Whether the store has told, or was asked, of all that is known here.
    pub fn is_sure(&self) -> bool {
        self.unsure.is_empty()
    }

    /// Reads what the list lacked, again and again until there is an answer.
    pub(super) fn ask_unsure(&mut self, now: Duration) {
        if self.unsure_asked.is_none_or(|asked| now.saturating_sub(asked) >= CLUSTER_UNSURE_AGAIN) {
            self.unsure_asked = Some(now);
            self.actions.extend(self.unsure.iter().cloned().map(Action::Read));
        }
    }

    /// Whether the cow may be another instance's of which nothing is known yet: the store may tell of a cow before the lease, which
    /// has been renewed since. Then it is asked.
    pub(super) fn doubts_holder(&mut self, known: &Known, now: Duration) -> bool {
        let Some(record) = &known.record else { return false };
        let CowRecord { node, instance, .. } = record;
        let is_known = *instance == self.lease.instance || self.past.contains(instance) || self.peers.knows(*instance);
        if is_known || node.is_empty() || self.dead.contains(instance) {
            return false;
        }
        if !self.doubts.contains_key(instance) {
            self.doubts.insert(*instance, now);
            self.actions.push(Action::Confirm(node.clone(), *instance));
        }
        true
    }

    /// The record of an instance's node was read, and was told by [`Node::on_read`]; or it could not be.
    pub fn on_confirmed(&mut self, instance: Instance, is_read: bool, now: Duration) {
        if !is_read || self.doubts.remove(&instance).is_none() {
            return;
        }
        if !self.peers.knows(instance) {
            self.dead.insert(instance);
        }
        let cows: Vec<_> = self.known.iter().filter(|(_, known)| is_of(known, instance)).map(|(&cow, _)| cow).collect();
        cows.into_iter().for_each(|cow| self.step(cow, now));
    }

    /// Asks again where no answer came.
    pub(super) fn ask_doubted(&mut self, now: Duration) {
        let is_late = |asked: &Duration| now.saturating_sub(*asked) >= CLUSTER_UNSURE_AGAIN;
        let late: Vec<_> =
            self.doubts.extract_if(.., |_, asked| is_late(asked)).map(|(instance, _)| instance).collect();
        for instance in late {
            let cows = self.known.iter().filter(|(_, known)| is_of(known, instance)).map(|(&cow, _)| cow);
            cows.collect::<Vec<_>>().into_iter().for_each(|cow| self.step(cow, now));
        }
    }

    /// Refuses to be in a cluster with a node that lives and does not fit. Of two that have joined at the same moment one goes.
    pub(super) fn check_herds(&mut self) {
        let has_joined = self.lease.revision.is_some();
        let yields_to = |peer: &Peer| peer.is_alive && (!has_joined || self.config.name > peer.name);
        let other = self.peers.live().find(|(_, peer)| !peer.record.fits(&self.print) && yields_to(peer));
        if let Some((_, peer)) = other {
            let reason = differs(&self.config.name, &self.print, &peer.name, &peer.record);
            self.actions.push(Action::Refuse(reason));
        }
    }

    pub(super) fn remove(&mut self, instance: Instance, now: Duration) {
        let Some(peer) = self.peers.get(instance) else { return };
        // A node that leaves in order has renewed shortly before.
        let cause = if peer.is_overdue(peer.record.ttl() / 2, now) { "lapsed" } else { "left" };
        let name = peer.name.clone();
        if !self.peers.remove(instance) {
            return;
        }
        self.actions.push(Action::Log(Event::NodeLeft { node: name, cause }));
        let cows: Vec<_> = self.known.iter().filter(|(_, known)| is_of(known, instance)).map(|(&cow, _)| cow).collect();
        cows.into_iter().for_each(|cow| self.apply(cow));
    }

    /// Takes in what the store has of a cow; `false` if something newer is known.
    pub(super) fn learn(&mut self, cow: CowId, revision: Revision, record: Option<CowRecord>) -> bool {
        let known = self.known.entry(cow).or_default();
        let is_news = revision >= known.revision;
        if is_news {
            *known = Known { revision, record };
        }
        is_news
    }
}

fn is_of(known: &Known, instance: Instance) -> bool {
    known.record.as_ref().is_some_and(|record| record.instance == instance)
}
