//! Processes of a simulated server: each is stopped in order, or killed, and another of the same name follows it.

use std::time::Duration;

use cowchat::ids::ConnectionId;
use cowchat::limits::CLUSTER_LEAVE_MAX;
use cowchat::shard::Frame;

use super::server::Server;
use super::{CONNECTIONS, CORES, World};

/// How far a server is on its way out, as `net::drain`, `boot::running` and `bridge` do it.
#[derive(Default)]
pub struct Drain {
    /// By core: it has sent its end frame.
    ended: [bool; CORES],
    /// End frames that the bridge has.
    pub seen: usize,
    /// By core: its connections are closed.
    closed: [bool; CORES],
    /// When the bridge was told to leave.
    leaves: Option<Duration>,
}

impl World {
    /// From here on a server executes no more lines.
    pub fn drain(&mut self, n: usize) {
        if self.servers[n].drain.is_none() {
            self.servers[n].drain = Some(Drain::default());
        }
    }

    /// The cores and the supervisor of a server that drains go on, as far as they can.
    pub fn drain_on(&mut self, n: usize) {
        let now = self.time();
        let server = &mut self.servers[n];
        let Some(drain) = &mut server.drain else { return };
        for (core, ended) in server.cores.iter().zip(&mut drain.ended) {
            let is_waiting = core.connections.iter().any(|connection| connection.pending.is_some());
            if !*ended && !is_waiting {
                *ended = true;
                server.frames.push_back(Frame::End);
            }
        }
        if drain.closed == [true; CORES] {
            drain.leaves.get_or_insert(now);
        }
    }

    /// The bridge has the end frame of a core.
    pub fn see_end(&mut self, n: usize) {
        let server = &mut self.servers[n];
        server.node.stop_entering();
        let drain = server.drain.as_mut().expect("it drains");
        drain.seen += 1;
        if drain.seen == CORES {
            server.cores.iter_mut().for_each(|core| core.inbox.push_back(Frame::End));
        }
    }

    /// A core has what all others have sent it, and ends its connections.
    pub fn close_core(&mut self, n: usize, core: usize) {
        let server = &mut self.servers[n];
        server.drain.as_mut().expect("it drains").closed[core] = true;
        let core = &mut server.cores[core];
        for at in 0..=CONNECTIONS {
            core.shard.on_close(ConnectionId::new(at));
            core.connections[at].session = None;
        }
    }

    /// The bridge leaves as soon as it can, and the process ends when it has, or after some time.
    pub fn leave(&mut self, n: usize) {
        let now = self.time();
        let server = &mut self.servers[n];
        let Some(leaves) = server.drain.as_ref().and_then(|drain| drain.leaves) else { return };
        server.node.leave(now);
        let (has_left, instance, process) = (server.node.has_left(), server.instance, server.process);
        self.act(n);
        if has_left {
            self.tally.add("left", 1);
            let server = &self.servers[n];
            // What it does not know of, or may come later, it cannot take back.
            let is_unsure =
                !server.entries.is_empty() || self.requests.iter().any(|request| request.process == process);
            if server.has_signed_off && !is_unsure {
                assert!(instance.is_none() || self.instance_in_store(n) != instance, "server {n} has left its lease");
            }
            self.kill(n);
        } else if now >= leaves + CLUSTER_LEAVE_MAX {
            self.kill(n);
        }
    }

    /// The process ends, and another one begins.
    pub fn kill(&mut self, n: usize) {
        self.disconnect(n);
        self.processes += 1;
        self.servers[n] = Server::new(n, self.processes, &self.herd, &self.now, &self.instances);
        let server = &mut self.servers[n];
        server.history = self.histories.len();
    }
}
