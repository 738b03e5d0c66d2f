//! What the bridge of a simulated server does: it brings the node what cores say and what time it is, and does what the node decides.

use cowchat::cluster::node::Action;
use cowchat::cluster::records::Key;
use cowchat::shard::{Frame, Reach};

use super::requests::{Ask, Request};
use super::server::Asked;
use super::{CORES, World};

impl World {
    /// A turn of a server's bridge.
    pub fn bridge(&mut self, n: usize) {
        if self.servers[n].is_stopped {
            return;
        }
        let now = self.time();
        self.drain_on(n);
        // What was said before a session ended goes first.
        while let Some(frame) = self.servers[n].frames.pop_front() {
            match frame {
                Frame::End => self.see_end(n),
                frame => self.take_frame(n, frame),
            }
        }
        let server = &mut self.servers[n];
        for asked in server.uplink.take_asked() {
            match asked {
                Asked::Enter(cow, owner) => server.node.enter(cow, owner, now),
                Asked::Release(cow, owner) => server.node.release(cow, owner, now),
            }
        }
        if self.is_fenced || server.node.lost_at().is_none_or(|lost_at| now < lost_at) {
            server.node.on_tick(now);
        }
        server.ticked = now;
        self.act(n);
        self.leave(n);
    }

    /// Does what a node has decided.
    pub fn act(&mut self, n: usize) {
        let now = self.time();
        for action in self.servers[n].node.take_actions() {
            match action {
                Action::Write { key, value, expected } => self.ask(n, key, Ask::Write(Some(value), expected)),
                Action::Delete { key, expected } => self.ask(n, key, Ask::Write(None, expected)),
                Action::Read(read) => self.ask(n, read.key.clone(), Ask::Read(read)),
                Action::Publish(envelope) => self.publish(n, &envelope),
                Action::Answer(owner, entered) => {
                    let frame = Frame::Entered(owner, entered);
                    self.servers[n].cores[owner.shard().index()].inbox.push_back(frame);
                }
                Action::Deliver(core, frame) => self.servers[n].cores[core.index()].inbox.push_back(frame),
                Action::LogOutAll => {
                    let server = &mut self.servers[n];
                    server.uplink.end_epoch();
                    server.void_frames = server.frames.len();
                    (0..CORES).for_each(|core| self.check_epoch(n, core));
                }
                Action::Log(_) => {}
                Action::Refuse(reason) => {
                    panic!("{reason}");
                }
            }
        }
        let server = &mut self.servers[n];
        let reach = if server.node.is_in_reach(now) { Reach::Open } else { Reach::Gone };
        server.uplink.set(reach, server.node.lost_at());
    }

    fn ask(&mut self, n: usize, key: Key, ask: Ask) {
        let (server, history) = (&self.servers[n], self.histories.len());
        // Without a connection it fails at once.
        let link = server.link.unwrap_or(0);
        self.requests.push(Request {
            server: n,
            process: server.process,
            link,
            history,
            key,
            ask,
            is_given_up: false,
            done: None,
        });
    }
}
