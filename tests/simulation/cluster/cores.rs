//! What the cores of a simulated server do: lines, frames of each other and of the bridge, logins that wait.

use cowchat::ids::{ConnectionId, ShardId};
use cowchat::limits::CLUSTER_LOGIN_WAIT;
use cowchat::shard::{Effects, Entered, Forward, Frame, Outcome};

use super::messages::number_of;
use super::server::{BRIDGE, Connection};
use super::{CONNECTIONS, CORES, COWS, Session, World};

impl World {
    /// What a core does before each line.
    pub fn check_epoch(&mut self, n: usize, core: usize) {
        let is_fenced = self.is_fenced;
        let epoch = self.servers[n].context.cluster.as_ref().expect("it has one").epoch();
        let core = &mut self.servers[n].cores[core];
        if std::mem::replace(&mut core.epoch, epoch) == epoch || !is_fenced {
            return;
        }
        self.tally.add("fences", 1);
        for (connection, _) in core.shard.log_out_all() {
            core.connections[connection.index()].session = None;
        }
    }

    /// A line of a random connection.
    pub fn line(&mut self, n: usize) {
        let (core, at) = (self.random.usize(..CORES), self.random.usize(..CONNECTIONS));
        let server = &self.servers[n];
        if server.is_stopped || server.drain.is_some() {
            return;
        }
        self.check_epoch(n, core);
        let cow = self.random.usize(..COWS);
        let mine = self.servers[n].cores[core].connections[at].session;
        let line = match (mine, self.random.u8(..20)) {
            (None, 0..15) => format!("login cow{cow}"),
            (None, _) => "login cow0#".to_owned(),
            (Some(_), 0..2) => "quit".to_owned(),
            (Some(mine), 2..14) => {
                self.said += 1;
                format!("say cow{cow} {mine} {}", self.said)
            }
            (Some(mine), _) => {
                self.said += 1;
                format!("yield {mine} {}", self.said)
            }
        };
        self.execute(n, core, at, &line);
    }

    pub fn execute(&mut self, n: usize, core: usize, at: usize, line: &str) {
        let now = self.time();
        let connection = &mut self.servers[n].cores[core].connections[at];
        if connection.pending.is_some() {
            return;
        }
        connection.since = now;
        let effects = self.servers[n].cores[core].shard.on_line(ConnectionId::new(at), line.as_bytes().into());
        self.apply(n, core, at, effects);
    }

    fn apply(&mut self, n: usize, core: usize, at: usize, effects: Effects) {
        let reply = String::from_utf8(effects.reply).expect("ASCII");
        let server = &mut self.servers[n];
        let (epoch, connection) = (server.cores[core].epoch, &mut server.cores[core].connections[at]);
        if let Some(login) = effects.pending {
            (connection.pending, connection.epoch) = (Some(login), epoch);
            return;
        }
        match effects.outcome {
            Outcome::LoggedIn(cow) => {
                connection.session = Some(self.sessions.len());
                self.sessions.push(Session { server: n, core, at });
                self.tally.add("logins", 1);
                self.tally.add("takeovers", usize::from(self.had.insert(cow, n).is_some_and(|before| before != n)));
                self.note_claim(n, cow);
                let session = self.sessions.len() - 1;
                for say in self.servers[n].cores[core].shard.take_early(ConnectionId::new(at)) {
                    let message = number_of(&say).expect("it is a message");
                    self.deliver(n, core, say);
                    assert!(self.has_heard(session, message), "session {session} does not hear what was said early");
                    self.tally.add("early", 1);
                }
            }
            Outcome::Quit(_) => connection.session = None,
            Outcome::Unchanged | Outcome::Foreign => {}
        }
        self.tally.add("taken", usize::from(reply.contains("already taken")));
        self.tally.add("out_of_reach", usize::from(reply.contains("out of reach")));
        match effects.forward {
            Forward::Nowhere => {}
            Forward::To(to, frame) => self.forward(n, to, frame),
            Forward::ToOthers(frame, left_out) => {
                let others = (0..=BRIDGE).filter(|&shard| shard != core).map(ShardId::new);
                for other in others.filter(|other| Some(*other) != left_out) {
                    self.forward(n, other, frame.clone());
                }
            }
        }
        if let Some(frame) = effects.local {
            self.deliver(n, core, frame);
        }
    }

    fn forward(&mut self, n: usize, to: ShardId, frame: Frame) {
        let server = &mut self.servers[n];
        if to.index() == BRIDGE {
            self.tally.add("remote_says", usize::from(matches!(frame, Frame::Say { .. })));
            self.tally.add("yields", usize::from(matches!(frame, Frame::Yield { .. })));
            server.frames.push_back(frame);
        } else {
            self.tally.add("core_frames", 1);
            server.cores[to.index()].inbox.push_back(frame);
        }
    }

    /// A core takes some of what was sent to it, and ends the logins that have waited too long.
    pub fn pump(&mut self, n: usize, core: usize, frames: usize) {
        if self.servers[n].is_stopped {
            return;
        }
        for _ in 0..frames {
            let Some(frame) = self.servers[n].cores[core].inbox.pop_front() else { break };
            match frame {
                Frame::Entered(owner, entered) => {
                    let connections = &self.servers[n].cores[core].connections;
                    let waits = |connection: &Connection| {
                        connection.pending.as_ref().is_some_and(|login| login.owner() == owner)
                    };
                    if let Some(at) = connections.iter().position(waits) {
                        self.finish_login(n, core, at, entered);
                    }
                }
                Frame::End => self.close_core(n, core),
                frame => self.deliver(n, core, frame),
            }
        }
        let now = self.time();
        for at in 0..=CONNECTIONS {
            let connection = &self.servers[n].cores[core].connections[at];
            if connection.pending.is_some() && now >= connection.since + CLUSTER_LOGIN_WAIT {
                self.tally.add("late", 1);
                self.finish_login(n, core, at, Entered::OutOfReach);
            }
        }
    }

    fn finish_login(&mut self, n: usize, core: usize, at: usize, answer: Entered) {
        self.check_epoch(n, core);
        let core_of = &mut self.servers[n].cores[core];
        let connection = &mut core_of.connections[at];
        let login = connection.pending.take().expect("it waits");
        let is_void = connection.epoch != core_of.epoch && self.is_fenced;
        let answer = if is_void { Entered::OutOfReach } else { answer };
        let effects = core_of.shard.on_entered(ConnectionId::new(at), *login, answer);
        self.apply(n, core, at, effects);
    }

    /// Hands a frame to the sessions of a core.
    fn deliver(&mut self, n: usize, core: usize, frame: Frame) {
        let (now, message) = (self.time(), number_of(&frame));
        let core_of = &mut self.servers[n].cores[core];
        let Some(delivery) = core_of.shard.on_frame(frame, now) else { return };
        for receiver in delivery.receivers() {
            let text = String::from_utf8(delivery.payload(receiver.rendering).to_vec()).expect("ASCII");
            // `cow1 says to you: 4 17`: session 4, its message 17.
            let Some((_, words)) = text.split_once(": ") else { continue };
            let mut words = words.split_whitespace().map(|word| word.parse::<u64>().expect("a number"));
            let (from, said) = (words.next().expect("a session") as usize, words.next().expect("a number"));
            let to = core_of.connections[receiver.connection.index()].session.expect("a session gets it");
            let before = self.heard.insert((from, to), said);
            assert!(before.is_none_or(|before| before < said), "session {to} hears {said} of {from} late or twice");
            let is_remote = self.sessions[from].server != n;
            self.tally.add("heard_elsewhere", usize::from(is_remote));
        }
        if let Some(message) = message {
            self.check_heard(n, core, message);
        }
    }
}
