//! What holds after each step, and when everything works again.

use std::collections::HashSet;
use std::time::Duration;

use cowchat::cluster::records::{Key, Value};
use cowchat::cows::CowId;
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
        (0..NODES).for_each(|n| self.check_directory(n));
        Ok(())
    }

    /// No cow has two users: a session counts until its server would end it before its next line.
    ///
    /// A server that has not yet seen that the store was lost or set back may keep its sessions for as long as its lease, and
    /// others may take their cows meanwhile.
    fn check_users(&self) -> Result<(), String> {
        let mut users = HashSet::new();
        for (n, server) in self.servers.iter().enumerate() {
            for (core, of_core) in server.cores.iter().enumerate() {
                if self.is_fenced && !server.has_live_sessions(core) {
                    continue;
                }
                for receiver in of_core.shard.registered() {
                    let cow = of_core.shard.cow(receiver.connection).expect("it is registered");
                    if !users.insert((server.history, cow)) {
                        return Err(format!("two users are {}", self.herd.name(cow.breed())));
                    }
                    let over = self.histories.get(server.history).map(|&ended| ended + TIMES.ttl);
                    if over.is_some_and(|over| self.time() >= over) {
                        return Err(format!("server {n} has sessions of a store that is no more"));
                    }
                }
            }
        }
        Ok(())
    }

    /// A server that was told all holds no cow for others which the store has for none that is there: what is given back is
    /// free at once.
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
            self.step().expect("I1 across nodes");
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
            self.check().expect("I1 across nodes");
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
