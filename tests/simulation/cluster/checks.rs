//! What holds after each step, and when everything works again.

use std::collections::HashSet;
use std::time::Duration;

use cowchat::cluster::records::{Key, Value};
use cowchat::cows::CowId;
use cowchat::directory::Owner;
use cowchat::ids::ConnectionId;
use cowchat::limits::CLUSTER_LOGIN_WAIT;
use cowchat::shard::{Cluster, Reach};

use super::server::{BRIDGE, Server};
use super::{CONNECTIONS, CORES, COWS, NODES, TICK, TIMES, World};

/// Of [`World::settle`]: far below the time of a lease.
const SETTLED: u64 = 1000;

impl World {
    /// An error says which cow has two users.
    pub fn check(&mut self) -> Result<(), String> {
        self.check_users()?;
        // An unfenced server is only to be caught with two users.
        if self.is_fenced {
            (0..NODES).for_each(|n| self.check_directory(n));
            (0..NODES).for_each(|n| self.check_lease(n));
        }
        Ok(())
    }

    /// No cow has two users: a session counts until its server would end it before its next line.
    ///
    /// A server that has not yet seen that the store was lost or set back may keep its sessions for as long as its lease, and
    /// others may take their cows meanwhile. So may one that has seen it, until its lease is renewed there: what was set back may
    /// have run out for others, and be taken out of the store, which is told only after the list.
    fn check_users(&self) -> Result<(), String> {
        let mut users = HashSet::new();
        for (n, server) in self.servers.iter().enumerate() {
            for (core, of_core) in server.cores.iter().enumerate() {
                if self.is_fenced && !server.has_live_sessions(core) {
                    continue;
                }
                for receiver in of_core.shard.registered() {
                    let cow = of_core.shard.cow(receiver.connection).expect("it is registered");
                    let owner = server.context.directory.owner(cow);
                    let claim = server.instance.zip(owner.map(Owner::word));
                    let written = claim.and_then(|claim| self.written.get(&claim)).copied().unwrap_or_default();
                    let history = server.history.max(written);
                    if !users.insert((history, cow)) {
                        return Err(format!("two users are {}", self.herd.name(cow.breed())));
                    }
                    let over = self.histories.get(history).map(|&ended| ended + TIMES.ttl);
                    if over.is_some_and(|over| self.time() >= over) {
                        return Err(format!("server {n} has sessions of a store that is no more"));
                    }
                }
            }
        }
        Ok(())
    }

    /// A server that was told all holds no cow for others which the store has for none that is there: what is given back is
    /// free at once. And it knows the cows of those that are there.
    fn check_directory(&self, n: usize) {
        let server = &self.servers[n];
        if server.link.is_none() || !server.entries.is_empty() || !server.node.is_sure() {
            return;
        }
        for cow in self.cows().filter(|&cow| is_remote(server, cow)) {
            let Some((_, Some(Value::Cow(record)))) = self.store.get(&Key::Cow(cow)) else {
                panic!("server {n} keeps a free cow from its users");
            };
            let is_there = (0..NODES).any(|other| self.instance_in_store(other) == Some(record.instance));
            assert!(is_there, "server {n} keeps the cow of a server that has gone from its users");
        }
        if server.uplink.has_asked() {
            return;
        }
        // A lease that was gone and is back with an earlier store counts for none.
        let is_live = |instance| {
            let is_its = |other: usize| self.instance_in_store(other).filter(|_| other != n) == Some(instance);
            !self.lapsed.contains(&instance)
                && (0..NODES).any(|other| is_its(other) && self.servers[other].instance == Some(instance))
        };
        for cow in self.cows().filter(|&cow| server.context.directory.owner(cow).is_none()) {
            if let Some((_, Some(Value::Cow(record)))) = self.store.get(&Key::Cow(cow)) {
                assert!(!is_live(record.instance), "server {n} has forgotten a cow of another");
            }
        }
    }

    /// A lease ends at its server before it may end for others, which count from when they see it written.
    fn check_lease(&self, n: usize) {
        let server = &self.servers[n];
        let ends_first = server.node.lost_at().is_none_or(|lost_at| lost_at < server.renewed + TIMES.ttl);
        assert!(ends_first, "server {n} holds for too long a lease that was written at {:?}", server.renewed);
    }

    pub fn cows(&self) -> impl Iterator<Item = CowId> {
        (0..COWS).filter_map(|cow| self.herd.at(cow))
    }

    /// A server that runs answers each login in time.
    pub fn check_logins(&self, n: usize) {
        let (now, server) = (self.time(), &self.servers[n]);
        for connection in server.cores.iter().flat_map(|core| &core.connections) {
            let is_late = connection.pending.is_some() && now >= connection.since + CLUSTER_LOGIN_WAIT + TICK;
            assert!(!is_late, "server {n} does not answer a login");
        }
    }

    /// Everything works again: all servers join and know the same users, every free cow can be had, and a server that leaves
    /// is gone at once, and back at once.
    pub fn heal(&mut self) {
        self.is_calm = true;
        for server in &mut self.servers {
            (server.is_stopped, server.is_full) = (false, false);
        }
        for _ in 0..10_000 {
            self.step().expect("C1");
        }
        // No line comes any more: what is under way ends.
        self.settle(2 * TIMES.ttl.as_millis() as u64);
        self.check_agreement();
        for n in 0..NODES {
            self.check_free_cows(n);
        }
        for n in 0..NODES {
            let process = self.servers[n].process;
            self.drain(n);
            self.settle(SETTLED);
            assert!(self.servers[n].process != process, "server {n} does not leave");
            assert_eq!(self.servers[n].sessions(), 0);
            self.check_agreement();
        }
    }

    /// Time goes on without lines.
    fn settle(&mut self, millis: u64) {
        for _ in 0..millis / 2 {
            self.pass(Duration::from_millis(2));
            for n in 0..NODES {
                self.connect(n);
                self.tell(n);
                self.bridge(n);
                (0..CORES).for_each(|core| self.pump(n, core, usize::MAX));
                self.serve();
            }
            self.check().expect("C1");
        }
    }

    fn check_agreement(&mut self) {
        let users: Vec<String> = (0..NODES).map(|n| self.who(n)).collect();
        assert!(users.iter().all(|who| *who == users[0]), "servers differ: {users:?}");
        let claims: usize = self.servers.iter().map(Server::sessions).sum();
        let named = users[0].matches("cow").count();
        assert_eq!(named, claims, "{}", users[0]);
        for (n, server) in self.servers.iter().enumerate() {
            assert_eq!(server.uplink.reach(), Reach::Open, "server {n} has not joined");
            let mut connections = server.cores.iter().flat_map(|core| &core.connections);
            assert!(connections.all(|connection| connection.pending.is_none()));
        }
    }

    fn check_free_cows(&mut self, n: usize) {
        let free: Vec<_> = self.cows().filter(|&cow| self.servers[n].context.directory.owner(cow).is_none()).collect();
        for cow in free {
            let login = format!("login {}", self.herd.name(cow.breed()));
            self.execute(n, 0, CONNECTIONS, &login);
            self.settle(100);
            let guest = &self.servers[n].cores[0].connections[CONNECTIONS];
            assert!(guest.session.is_some(), "server {n} does not answer '{login}'");
            self.execute(n, 0, CONNECTIONS, "quit");
            self.settle(100);
        }
    }

    fn who(&mut self, n: usize) -> String {
        let guest = ConnectionId::new(CONNECTIONS);
        let effects = self.servers[n].cores[0].shard.on_line(guest, b"who".as_slice().into());
        String::from_utf8(effects.reply).expect("ASCII")
    }
}

fn is_remote(server: &Server, cow: CowId) -> bool {
    server.context.directory.owner(cow).is_some_and(|owner| owner.shard().index() == BRIDGE)
}
