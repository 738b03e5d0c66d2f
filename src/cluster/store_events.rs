//! What the node makes of what the store tells: what it has, what changes, and what has come of a request.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use super::cows::Known;
use super::node::{Action, Node, Read, WriteError};
use super::peers::{Peer, Renewal};
use super::records::{CowRecord, Instance, Key, NodeRecord, Revision, StoreId, Value, differs};
use crate::cows::CowId;
use crate::events::Event;

impl Node {
    /// This store can be asked, and [`Node::on_listed`] will follow what it has. Its last change was `last`.
    pub fn on_connected(&mut self, store: StoreId, last: Revision, now: Duration) {
        self.is_connected = true;
        self.listed = Some(HashSet::new());
        self.list_until = last;
        // The list is the truth, also of a store that was set back to what it had before.
        self.node_revisions.clear();
        self.unsure.clear();
        self.doubts.clear();
        self.dead.clear();
        self.known.values_mut().for_each(|known| known.revision = 0);
        self.lease.forget_revision();
        if self.store.replace(store).is_some_and(|before| before != store) {
            // What the one before had is lost, the lease too.
            std::mem::take(&mut self.known).into_keys().for_each(|cow| self.apply(cow));
            let peers: Vec<_> = self.peers.live().map(|(instance, _)| instance).collect();
            peers.into_iter().for_each(|instance| self.remove(instance));
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
        // What was written meanwhile is told after the list, so only a read says that it is gone.
        let cows = self.known.iter().filter(|(_, known)| known.record.is_some()).map(|(&cow, _)| Key::Cow(cow));
        let cows = cows.filter(|key| !listed.contains(key));
        let nodes = self.peers.live().map(|(_, peer)| (peer, Key::Node(peer.name.clone())));
        let nodes = nodes.filter(|(peer, key)| peer.revision > self.revision(key)).map(|(_, key)| key);
        // Nor is a cow lost because a copy of the store that is behind has not this claim.
        let lost = self.own.all().into_iter().filter(|&cow| self.is_lost(cow)).map(Key::Cow);
        self.unsure = cows.chain(nodes).chain(lost).collect();
        if self.lease.is_missing() {
            self.unsure.insert(Key::Node(self.config.name.clone()));
        }
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
        // A copy of the store that is behind tells, also after its list, what there was before.
        let is_news = self.listed.is_none() && revision > self.list_until;
        self.learn_node(name, revision, record, is_news, now);
    }

    /// `is_news`: it was written since this node is connected, or a read says so.
    fn learn_node(&mut self, name: &str, revision: Revision, record: Option<NodeRecord>, is_news: bool, now: Duration) {
        let is_own = name == self.config.name;
        // A read may have been ahead of what the store tells.
        let known = self.node_revisions.entry(name.to_owned()).or_default();
        if revision < *known {
            return;
        }
        *known = revision;
        let record = record.filter(|record| {
            if record.has_left {
                self.peers.sign_off(record.instance, now);
                self.has_left |= record.instance == self.lease.instance;
            }
            !record.has_left
        });
        let instance = record.as_ref().map(|record| record.instance);
        let gone = self.peers.replaced(name, instance, revision, is_news, now);
        gone.into_iter().for_each(|before| self.remove(before));
        match record {
            Some(record) if is_own && record.instance == self.lease.instance => {
                let was_missing = self.lease.is_missing();
                self.lease.found(revision);
                if was_missing {
                    self.own.all().into_iter().for_each(|cow| self.step(cow, now));
                }
            }
            Some(record) if self.past.contains(&record.instance) => {}
            record => {
                // A lease that is missing is over only if a read says so.
                let is_over = self.lease.revision.is_some_and(|own| own > 0 && revision > own);
                if is_own && is_over && !self.has_left {
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
        let (instance, is_readable) = (record.instance, record.version > 0);
        let is_news = self.listed.is_none() && revision > self.list_until;
        match self.peers.renew(name, &record, revision, self.is_synced, is_news, now) {
            // A record that cannot be read is taken for a live node's only when it is renewed: anyone can have written it.
            Renewal::New if is_news && is_readable => self.peers.has_joined(instance),
            Renewal::New => {}
            // A node that has crashed would not.
            Renewal::Renewed if name == self.config.name => {
                let reason = format!("there is a node {name} already (give this one another --node)");
                return self.actions.push(Action::Refuse(reason));
            }
            Renewal::Renewed => return self.check_herds(),
            Renewal::Seen => return,
        }
        self.actions.push(Action::Log(if name == self.config.name {
            let seconds = record.ttl / 1000;
            let error = format!("the process before had a lease of {seconds} s: no login succeeds before that is over");
            Event::ClusterUnreached { error }
        } else {
            Event::NodeJoined { node: name.to_owned() }
        }));
        if self.lease.revision.is_some() {
            self.check_herds();
        }
        self.cows_of(instance).into_iter().for_each(|cow| self.apply(cow));
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
                let record = value.and_then(Value::into_cow);
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
                self.read(Key::Cow(cow), None);
            }
            (Key::Node(name), Ok(revision)) => match value {
                Some(Value::Node(record)) if record.has_left => self.has_left = true,
                Some(Value::Node(record)) => {
                    let known = self.node_revisions.entry(name).or_default();
                    *known = revision.max(*known);
                    // A renewal that comes too late must not hide that the lease was over.
                    self.check_lease(now);
                    if record.instance == self.lease.instance && self.lease.written(revision) {
                        // Of those that have joined meanwhile.
                        self.check_herds();
                        self.actions.push(Action::Log(Event::ClusterReached { node: self.config.name.clone() }));
                    }
                }
                _ => self.learn_node(&name, revision, None, true, now),
            },
            (Key::Node(name), Err(error)) => {
                let record = value.and_then(Value::into_node);
                if record.is_some_and(|record| record.instance == self.lease.instance) {
                    if self.lease.revision.is_none() {
                        // It may have joined, and lapsed: others would take it for gone.
                        self.begin_instance();
                    }
                    self.lease.failed(now);
                }
                if error == WriteError::Conflict {
                    self.read(Key::Node(name), None);
                }
            }
        }
    }

    /// A read has ended: with nothing if the key never was, or with what it has; `None` in it was deleted.
    pub fn on_read(&mut self, read: Read, result: Result<Option<(Revision, Option<Value>)>, ()>, now: Duration) {
        let Read { key, known, confirms } = read;
        match (key, result) {
            (Key::Cow(cow), Ok(found)) => {
                let (revision, value) = found.unwrap_or_default();
                let before = self.known(cow).revision;
                if revision < before && known != before {
                    // More was told since it was asked.
                    self.own.set_busy(cow, false);
                    return self.step(cow, now);
                }
                self.unsure.remove(&Key::Cow(cow));
                if revision < before {
                    // The store has lost what it had.
                    self.known.remove(&cow);
                }
                if revision == before {
                    // Without news a write that was refused would be refused again.
                    self.own.retry(cow, now);
                } else {
                    self.own.set_busy(cow, false);
                }
                self.learn(cow, revision, value.and_then(Value::into_cow));
                self.apply(cow);
                self.step(cow, now);
            }
            (Key::Cow(cow), Err(())) => self.own.retry(cow, now),
            (Key::Node(name), Ok(found)) => {
                let (revision, value) = found.unwrap_or_default();
                let counts = self.on_node_read(&name, known, revision, value.and_then(Value::into_node), now);
                confirms.filter(|_| counts).into_iter().for_each(|instance| self.on_confirmed(instance, now));
            }
            // It is taken out of the store when its time is over, if it does not renew.
            (Key::Node(_), Err(())) => {}
        }
    }

    /// A read of a node's record has ended; `false` if it says nothing.
    fn on_node_read(
        &mut self,
        name: &str,
        known: Revision,
        revision: Revision,
        record: Option<NodeRecord>,
        now: Duration,
    ) -> bool {
        let key = Key::Node(name.to_owned());
        let before = self.revision(&key);
        // More was told since it was asked. Or a broker has answered that does not know yet that it leads no longer.
        if revision < before && known != before || self.peers.has_renewed_after(name, revision, now) {
            return false;
        }
        self.unsure.remove(&key);
        if revision < before {
            // The store has lost what it had.
            self.node_revisions.remove(name);
        }
        let is_own = record.as_ref().is_some_and(|record| record.instance == self.lease.instance);
        self.learn_node(name, revision, record, true, now);
        if name == self.config.name && !is_own && self.lease.revision.is_some() && !self.has_left {
            // Others do not know of its lease: they may take its cows.
            self.lose(now);
        }
        true
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

    pub(super) fn remove(&mut self, instance: Instance) {
        let Some(peer) = self.peers.get(instance) else { return };
        let cause = if peer.left.is_some() { "left" } else { "lapsed" };
        let name = peer.name.clone();
        if !self.peers.remove(instance) {
            return;
        }
        self.actions.push(Action::Log(Event::NodeLeft { node: name, cause }));
        self.cows_of(instance).into_iter().for_each(|cow| self.apply(cow));
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

    /// The cows that the store has for this instance.
    pub(super) fn cows_of(&self, instance: Instance) -> Vec<CowId> {
        let is_its = |known: &Known| known.record.as_ref().is_some_and(|record| record.instance == instance);
        self.known.iter().filter(|(_, known)| is_its(known)).map(|(&cow, _)| cow).collect()
    }
}
