//! The simulated broker and its store: they delay, lose, repeat and part, and the store may be lost or set back.

use std::collections::{BTreeMap, HashSet};

use cowchat::cluster::node::WriteError;
use cowchat::cluster::records::{Instance, Key, Revision, Value};

use super::requests::Request;
use super::server::{Entry, name};
use super::{NODES, World};

/// What the store has, and the number of its last change.
pub type Records = (BTreeMap<Key, (Revision, Option<Value>)>, Revision);

impl World {
    pub fn connect(&mut self, n: usize) {
        let server = &mut self.servers[n];
        if server.link.is_some() || server.is_stopped {
            return;
        }
        self.links += 1;
        server.link = Some(self.links);
        self.open_store(n);
    }

    /// What tells a server of the store ends, and the store is opened again; nothing else of the connection ends.
    pub fn end_watch(&mut self, n: usize) {
        let server = &self.servers[n];
        if server.link.is_some() && !server.is_stopped {
            self.tally.add("opened_again", 1);
            self.open_store(n);
        }
    }

    fn open_store(&mut self, n: usize) {
        let (now, store) = (self.time(), self.store_id);
        let server = &mut self.servers[n];
        server.node.on_connected(store, self.revision, now);
        // A replica that is behind tells what was there some time ago, and then what has changed since: as a part of the list, or
        // when the server no longer waits for it.
        let earlier = self.earlier.as_ref().filter(|_| !self.is_calm && self.random.bool());
        let (first, at) = earlier.map_or((&self.store, self.revision), |(store, revision)| (store, *revision));
        let later = self.store.iter().filter(|(_, (revision, _))| *revision > at);
        let list = first.iter().chain(later).map(|(key, (revision, value))| (*revision, key.clone(), value.clone()));
        let mut list: Vec<_> = list.collect();
        let is_behind = list.len() > self.store.len();
        self.tally.add("behind", usize::from(is_behind));
        list.sort_by_key(|(revision, ..)| *revision);
        let listed = if is_behind && self.random.bool() {
            list.iter().take_while(|(revision, ..)| *revision <= at).count()
        } else {
            list.len()
        };
        server.entries = list.into_iter().map(|(revision, key, value)| Entry::Changed(key, revision, value)).collect();
        server.entries.insert(listed, Entry::Listed);
        let is_another = server.store.replace(store).is_some_and(|before| before != store);
        self.act(n);
        if is_another && self.is_fenced {
            assert_eq!(self.servers[n].sessions(), 0, "server {n} keeps sessions of a store that is lost");
        }
    }

    pub fn disconnect(&mut self, n: usize) {
        let server = &mut self.servers[n];
        if server.link.take().is_some() {
            server.entries.clear();
            // It hears of it even if it stands still: as soon as it goes on.
            server.node.on_disconnected();
            while !self.servers[n].messages.is_empty() {
                self.lose_message(n);
            }
            self.act(n);
        }
    }

    /// The broker starts again: with nothing, or with what it had at an earlier moment.
    pub fn restart_store(&mut self, earlier: Option<Records>) {
        (0..NODES).for_each(|n| self.disconnect(n));
        let before = self.instances_in_store();
        if earlier.is_some() {
            self.tally.add("set_back", 1);
        } else {
            self.store_id += 1;
            self.tally.add("lost", 1);
        }
        (self.store, self.revision) = earlier.unwrap_or_default();
        self.earlier = None;
        self.lapsed.extend(before.difference(&self.instances_in_store()));
        self.servers.iter_mut().for_each(|server| server.has_signed_off = false);
        self.histories.push(self.time());
    }

    fn instances_in_store(&self) -> HashSet<Instance> {
        (0..NODES).filter_map(|n| self.instance_in_store(n)).collect()
    }

    /// The instance whose lease the store has for a node.
    pub fn instance_in_store(&self, n: usize) -> Option<Instance> {
        match self.store.get(&Key::Node(name(n))) {
            Some((_, Some(Value::Node(record)))) if !record.has_left => Some(record.instance),
            _ => None,
        }
    }

    pub fn write(
        &mut self,
        request: &Request,
        value: Option<Value>,
        expected: Revision,
    ) -> Result<Revision, WriteError> {
        let Request { key, server: n, .. } = request;
        let revision = self.store.get(key).map_or(0, |(revision, _)| *revision);
        if revision != expected {
            return Err(WriteError::Conflict);
        }
        let (before, now) = (self.instances_in_store(), self.time());
        if let Some(Value::Cow(record)) = &value {
            self.written.insert((record.instance, record.owner), self.histories.len());
        }
        self.revision += 1;
        self.store.insert(key.clone(), (self.revision, value.clone()));
        let server = &mut self.servers[*n];
        let is_its = *key == Key::Node(name(*n)) && server.process == request.process;
        let signs_off = matches!(&value, Some(Value::Node(record)) if record.has_left);
        match &value {
            Some(Value::Node(_)) if is_its && signs_off => server.has_signed_off = true,
            Some(Value::Node(record)) if is_its => {
                server.instance = Some(record.instance);
                server.renewed = now;
            }
            _ => {}
        }
        if !signs_off {
            self.lapsed.extend(before.difference(&self.instances_in_store()));
        }
        for server in self.servers.iter_mut().filter(|server| server.link.is_some()) {
            // The store keeps one value of a key: what was replaced before it was told is not told, also of a list.
            server.entries.retain(|entry| !matches!(entry, Entry::Changed(replaced, ..) if replaced == key));
            server.entries.push_back(Entry::Changed(key.clone(), self.revision, value.clone()));
        }
        Ok(self.revision)
    }

    /// The broker tells a server the next change of the store.
    pub fn tell_entry(&mut self, n: usize) {
        let now = self.time();
        let server = &mut self.servers[n];
        match server.entries.pop_front() {
            Some(Entry::Changed(Key::Node(name), revision, value)) => {
                let record = value.map(|value| if let Value::Node(record) = value { record } else { unreachable!() });
                record.iter().for_each(|record| self.note_told(n, &name, record));
                self.servers[n].node.on_node(&name, revision, record, now);
            }
            Some(Entry::Changed(Key::Cow(cow), revision, value)) => {
                let record = value.map(|value| if let Value::Cow(record) = value { record } else { unreachable!() });
                server.node.on_cow(cow, revision, record, now);
            }
            Some(Entry::Listed) => server.node.on_listed(now),
            None => {}
        }
        self.act(n);
    }

    /// The broker tells a server something, of the store or of other servers.
    pub fn tell(&mut self, n: usize) {
        if self.servers[n].is_stopped {
            return;
        }
        let lanes = self.random.u8(1..=3);
        for _ in 0..self.random.usize(1..4) {
            if lanes & 1 > 0 {
                self.tell_entry(n);
            }
            if lanes & 2 > 0 && !self.servers[n].is_full {
                self.tell_message(n);
            }
        }
    }
}
