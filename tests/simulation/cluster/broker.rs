//! The simulated broker and its store: they delay, lose, repeat and part, and the store may be lost or set back.

use std::collections::{BTreeMap, HashSet};

use cowchat::cluster::node::{Node, Read, WriteError};
use cowchat::cluster::records::{Instance, Key, Revision, Value};

use super::server::{Entry, name};
use super::{NODES, World};

/// What the store has, and the number of its last change.
pub type Records = (BTreeMap<Key, (Revision, Option<Value>)>, Revision);

/// A request under way to the store.
pub struct Request {
    pub server: usize,
    pub process: u64,
    pub link: u64,
    pub history: usize,
    pub key: Key,
    pub ask: Ask,
    /// It was given up, and may be done yet.
    pub is_given_up: bool,
}

pub enum Ask {
    /// This, or that nothing is there, if the key is still at this revision.
    Write(Option<Value>, Revision),
    Read(Read),
}

impl World {
    pub fn connect(&mut self, n: usize) {
        let (now, store) = (self.time(), self.store_id);
        let server = &mut self.servers[n];
        if server.link.is_some() || server.is_stopped {
            return;
        }
        self.links += 1;
        server.link = Some(self.links);
        server.node.on_connected(store, now);
        let list = self.store.iter().map(|(key, (revision, value))| (*revision, key.clone(), value.clone()));
        let mut list: Vec<_> = list.collect();
        list.sort_by_key(|(revision, ..)| *revision);
        server.entries = list.into_iter().map(|(revision, key, value)| Entry::Changed(key, revision, value)).collect();
        server.entries.push_back(Entry::Listed);
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
            self.tally.set_back += 1;
        } else {
            self.store_id += 1;
            self.tally.lost += 1;
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

    /// The store does one of the requests, in any order, or it or its answer is lost, or it is done after it was given up.
    pub fn serve(&mut self) {
        if self.requests.is_empty() {
            return;
        }
        let mut request = self.requests.swap_remove(self.random.usize(..self.requests.len()));
        let (n, now) = (request.server, self.time());
        let server = &self.servers[n];
        let is_awaited = server.process == request.process && !request.is_given_up;
        let is_linked = server.link == Some(request.link);
        let is_late = !self.is_calm && !request.is_given_up && self.random.u8(..20) == 0;
        // A request of a connection that has ended may still arrive.
        let is_sent = request.link != 0 && request.history == self.histories.len() && (is_linked || self.random.bool());
        let is_done = !is_late && is_sent && (self.is_calm || self.random.u8(..20) > 0);
        let is_answered = is_done && is_linked && (self.is_calm || self.random.u8(..20) > 0);
        let key = request.key.clone();
        match &request.ask {
            Ask::Write(value, expected) => {
                let (value, expected) = (value.clone(), *expected);
                let done =
                    if is_done { self.write(&request, value.clone(), expected) } else { Err(WriteError::Unknown) };
                let result = if is_answered { done } else { Err(WriteError::Unknown) };
                if is_awaited {
                    self.when_running(n, move |node| node.on_written(key, value, result, now));
                }
            }
            Ask::Read(read) if is_awaited => {
                let read = read.clone();
                let found = self.store.get(&key).cloned();
                if is_answered
                    && let Some((_, Some(Value::Node(record)))) = &found
                    && !record.has_left
                {
                    self.servers[n].told.insert(record.instance);
                }
                let result = if is_answered { Ok(found) } else { Err(()) };
                self.when_running(n, move |node| node.on_read(read, result, now));
            }
            Ask::Read(_) => {}
        }
        if is_late {
            request.is_given_up = true;
            self.requests.push(request);
        }
        if is_awaited {
            self.act(n);
        }
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

    fn write(&mut self, request: &Request, value: Option<Value>, expected: Revision) -> Result<Revision, WriteError> {
        let Request { key, server: n, .. } = request;
        let revision = self.store.get(key).map_or(0, |(revision, _)| *revision);
        if revision != expected {
            return Err(WriteError::Conflict);
        }
        let before = self.instances_in_store();
        self.revision += 1;
        self.store.insert(key.clone(), (self.revision, value.clone()));
        let server = &mut self.servers[*n];
        let is_its = *key == Key::Node(name(*n)) && server.process == request.process;
        let signs_off = matches!(&value, Some(Value::Node(record)) if record.has_left);
        match &value {
            Some(Value::Node(_)) if is_its && signs_off => server.has_signed_off = true,
            Some(Value::Node(record)) if is_its => server.instance = Some(record.instance),
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
                server.told.extend(record.iter().filter(|record| !record.has_left).map(|record| record.instance));
                server.node.on_node(&name, revision, record, now);
            }
            Some(Entry::Changed(Key::Cow(cow), revision, value)) => {
                let record = value.map(|value| if let Value::Cow(record) = value { record } else { unreachable!() });
                server.node.on_cow(cow, revision, record, now);
            }
            Some(Entry::Listed) => {
                server.node.on_listed(now);
                server.history = self.histories.len();
            }
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
