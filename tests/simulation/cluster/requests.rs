//! Requests to the simulated store: it does them in any order, or not, and their answers come later, in any order, or not.

use cowchat::cluster::node::{Node, Read, WriteError};
use cowchat::cluster::records::{Key, NodeRecord, Revision, Value};

use super::World;
use super::server::Told;

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
    /// What the store has made of it: the answer is under way.
    pub done: Option<Done>,
}

pub enum Ask {
    /// This, or that nothing is there, if the key is still at this revision.
    Write(Option<Value>, Revision),
    Read(Read),
}

pub enum Done {
    Written(Result<Revision, WriteError>),
    Found(Option<(Revision, Option<Value>)>),
}

impl World {
    /// The store does one of the requests, or one of the answers arrives. Either may be lost, and a request may be done after it
    /// was given up.
    pub fn serve(&mut self) {
        if self.requests.is_empty() {
            return;
        }
        let mut request = self.requests.swap_remove(self.random.usize(..self.requests.len()));
        if request.done.is_none() {
            if !request.is_given_up && self.is_unlucky() {
                self.answer(&mut request);
                request.is_given_up = true;
                self.requests.push(request);
                return;
            }
            request.done = self.perform(&request);
        }
        // What the store tells meanwhile is newer than this answer.
        if request.done.is_some() && self.random.u8(..4) > 0 {
            self.requests.push(request);
            return;
        }
        if self.is_unlucky() {
            request.done = None;
        }
        self.answer(&mut request);
    }

    fn is_unlucky(&mut self) -> bool {
        !self.is_calm && self.random.u8(..20) == 0
    }

    /// The store does a request; `None` if it does not reach it.
    fn perform(&mut self, request: &Request) -> Option<Done> {
        let is_linked = self.servers[request.server].link == Some(request.link);
        // A request of a connection that has ended may still arrive.
        let is_sent = request.link != 0 && request.history == self.histories.len() && (is_linked || self.random.bool());
        if !is_sent || self.is_unlucky() {
            return None;
        }
        Some(match &request.ask {
            Ask::Write(value, expected) => Done::Written(self.write(request, value.clone(), *expected)),
            Ask::Read(_) => Done::Found(self.store.get(&request.key).cloned()),
        })
    }

    /// A server is told what has come of a request.
    fn answer(&mut self, request: &mut Request) {
        let (n, key, now) = (request.server, request.key.clone(), self.time());
        if self.servers[n].process != request.process || request.is_given_up {
            return;
        }
        // What a connection has not brought before it ends is lost.
        let done = request.done.take().filter(|_| self.servers[n].link == Some(request.link));
        match &request.ask {
            Ask::Write(value, _) => {
                let value = value.clone();
                let result = if let Some(Done::Written(result)) = done { result } else { Err(WriteError::Unknown) };
                if result.is_ok() && matches!(&value, Some(Value::Node(record)) if !record.has_left) {
                    self.servers[n].history = self.histories.len();
                }
                self.when_running(n, move |node| node.on_written(key, value, result, now));
            }
            Ask::Read(read) => {
                let read = read.clone();
                let result = if let Some(Done::Found(found)) = done { Ok(found) } else { Err(()) };
                if let Ok(found) = &result {
                    self.tally.add("stale", usize::from(self.store.get(&key) != found.as_ref()));
                    if let (Key::Node(name), Some((_, Some(Value::Node(record))))) = (&key, found) {
                        self.note_told(n, name, record);
                    }
                }
                self.when_running(n, move |node| node.on_read(read, result, now));
            }
        }
        self.act(n);
    }

    /// A server is told of an instance. If that is old, the server may know better, and does not learn of the instance.
    pub fn note_told(&mut self, n: usize, name: &str, record: &NodeRecord) {
        let now_there = self.store.get(&Key::Node(name.to_owned())).and_then(|(_, value)| value.as_ref());
        let is_there = matches!(now_there, Some(Value::Node(there)) if there.instance == record.instance);
        let told = &mut self.servers[n].told;
        if record.has_left {
            told.get_mut(&record.instance).into_iter().for_each(|told| told.has_left = true);
        } else if is_there {
            // If it has heard only now that the one before is gone, it has not heard that it has left.
            told.retain(|_, told| told.name != name || told.has_left);
            told.insert(record.instance, Told { name: name.to_owned(), has_left: false });
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
}
