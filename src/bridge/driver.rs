//! The bridge's thread: it brings the node what cores, the store and other nodes say, and does what the node decides.
//!
//! Nothing here waits for the broker: requests run beside the loop, and what cannot be sent stays in the mailbox until that
//! is full, which the cores see.

use std::collections::VecDeque;
use std::future::{Future, pending, ready};
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::task::{Context, Waker};
use std::time::Duration;

use async_nats::{ClientError, ConnectOptions};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::UnboundedReceiver;

use super::BridgeReport;
use super::access;
use super::incoming::Incoming;
use super::requests::{Requests, Told};
use super::store;
use super::uplink::{Asked, Uplink, now};
use crate::cluster::envelope::{Envelope, To};
use crate::cluster::node::{Action, Node};
use crate::events::Event;
use crate::ids::ShardId;
use crate::limits::CLUSTER_STUCK_FRAMES;
use crate::log::Log;
use crate::net::cluster;
use crate::net::delivery::mesh::{Inbox, Mesh};
use crate::net::worker::CoreHandle;
use crate::shard::{Frame, Presence};

/// How often the node is told the time.
const TICK: Duration = Duration::from_millis(100);

/// Messages that are published, or taken in, before anything else is done.
const TURN: u64 = 64;

pub(super) type Publishing = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(super) struct Driver {
    pub(super) node: Node,
    pub(super) uplink: Arc<Uplink>,
    pub(super) mesh: Mesh,
    pub(super) inbox: Inbox,
    pub(super) asked: Receiver<Asked>,
    pub(super) cores: Vec<CoreHandle>,
    pub(super) log: Log,
    pub(super) report: Box<dyn Fn(BridgeReport) + Send>,
    pub(super) requests: Requests,
    pub(super) incoming: Option<Box<Incoming>>,
    /// The broker has said on this connection that this server may not exchange messages.
    pub(super) is_forbidden: bool,
    /// Counts attempts to open the store; the watch of an earlier one is void.
    pub(super) setting_up: u64,
    /// When the watch had told all that its copy of the store has, until the list ends.
    pub(super) listed_at: Option<Duration>,
    /// By core: frames for which its mailbox has no room.
    pub(super) stuck: Vec<VecDeque<Frame>>,
    /// By core: who has come and gone, which waits behind those.
    pub(super) pending: Vec<Option<Presence>>,
    /// What cores have asked, each with how many frames come before it.
    pub(super) waiting: VecDeque<(u64, Asked)>,
    /// Frames taken from the mailbox.
    pub(super) taken: u64,
    /// What the client has no room for.
    pub(super) publishing: Option<Publishing>,
    /// Cores that have sent their end frame.
    pub(super) ended: usize,
    /// All end frames have come, and were answered.
    pub(super) has_ended: bool,
    /// The supervisor has asked to leave.
    pub(super) is_leaving: bool,
    pub(super) name: String,
    /// What was last logged of the way to the broker, and when.
    pub(super) told_error: Option<(String, Duration)>,
    /// As it was last logged.
    pub(super) is_in_reach: bool,
    /// How often sessions were ended, as far as the node knows.
    pub(super) epoch: u64,
}

impl Driver {
    pub(super) async fn serve(
        mut self,
        servers: Vec<String>,
        options: ConnectOptions,
        mut told: UnboundedReceiver<Told>,
    ) -> io::Result<()> {
        let event: OwnedFd = self.mesh.remote_waker().descriptor().try_clone_to_owned()?;
        #[expect(
            deprecated,
            reason = "the new way is unsafe for types that lie about their descriptor, which OwnedFd does not"
        )]
        let event = AsyncFd::new(event)?;
        self.connect(servers, options);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !(self.is_leaving && self.node.has_left()) {
            self.mesh.remote_waker().unpark();
            let is_idle = self.take_turn() && self.mesh.remote_waker().prepare_park();
            tokio::select! {
                guard = event.readable() => guard?.clear_ready(),
                () = ready(()), if !is_idle => {}
                Some(what) = told.recv() => self.on_told(what),
                envelope = next(&mut self.incoming), if self.has_room() => self.node.on_message(envelope, now()),
                () = published(&mut self.publishing) => self.publishing = None,
                _ = tick.tick() => {
                    self.end_list(0);
                    self.node.on_tick(now());
                }
            }
        }
        Ok(())
    }

    fn connect(&self, servers: Vec<String>, options: ConnectOptions) {
        let tell = self.requests.tell();
        let (events, attempts) = (tell.clone(), tell.clone());
        let options = options.event_callback(move |event| {
            let told = match event {
                async_nats::Event::Connected => Some(Told::Connected),
                async_nats::Event::Disconnected => {
                    Some(Told::Disconnected("the connection to the broker ended".to_owned()))
                }
                async_nats::Event::ClientError(ClientError::Other(error)) => {
                    access::of_a_name(&error).map(Told::Failed)
                }
                async_nats::Event::ServerError(error) => {
                    let error = error.to_string();
                    Some(if access::forbids_messages(&error) { Told::Forbidden(error) } else { Told::Failed(error) })
                }
                _ => None,
            };
            // The loop has ended.
            told.into_iter().for_each(|told| _ = events.send(told));
            ready(())
        });
        // Its events tell only the kind of an error. Before each attempt it can be asked for those of the last ones.
        let options = options.reconnect_to_server_callback(move |brokers, _| {
            access::in_the_way(&brokers).into_iter().for_each(|error| _ = attempts.send(Told::Failed(error)));
            ready(None)
        });
        tokio::spawn(async move {
            let told = match options.connect(servers).await {
                Ok(client) => Told::Client(client),
                Err(error) => Told::Disconnected(error.to_string()),
            };
            let _ = tell.send(told);
        });
    }

    /// Takes some of what cores ask and send, and acts; `false` if there may be more.
    fn take_turn(&mut self) -> bool {
        // What a user has said before it left goes first: it is in the inbox by the time that its core asks.
        let asked = self.asked.try_iter().map(|asked| (self.taken + self.inbox.len() as u64, asked));
        self.waiting.extend(asked);
        let turn_ends = self.taken + TURN;
        while self.taken < turn_ends && self.can_publish() {
            let Ok(frame) = self.inbox.try_recv() else { break };
            self.taken += 1;
            if let Frame::End = frame {
                self.ended += 1;
                self.node.stop_entering();
            } else {
                self.node.on_frame(frame, now());
            }
            self.act();
        }
        while self.waiting.front().is_some_and(|(behind, _)| *behind <= self.taken) {
            let Some((_, asked)) = self.waiting.pop_front() else { break };
            match asked {
                Asked::Enter(cow, owner) => self.node.enter(cow, owner, now()),
                Asked::Release(cow, owner) => self.node.release(cow, owner, now()),
                Asked::Leave => self.is_leaving = true,
            }
        }
        self.mesh.announce_room();
        if self.ended == self.cores.len() && self.can_publish() {
            (self.ended, self.has_ended) = (0, true);
            self.stuck.iter_mut().for_each(|stuck| stuck.push_back(Frame::End));
        }
        // Cores may still wait for clients to read their last line.
        let can_leave = self.has_ended && self.node.sessions() == 0 && self.node.is_in_reach(now());
        if self.is_leaving || can_leave {
            self.node.leave(now());
        }
        self.act();
        // A core may have seen that the lease was over while its renewal was taken in.
        if self.uplink.epochs() != self.epoch {
            self.node.on_ended(now());
            self.act();
        }
        self.send_stuck();
        let figures = self.node.figures(now());
        self.uplink.set(figures, self.node.lost_at());
        if figures.is_in_reach && !self.is_in_reach {
            self.told_error = None;
            self.log.emit(Event::ClusterReached { node: self.name.clone() });
        }
        self.is_in_reach = figures.is_in_reach;
        self.taken < turn_ends
    }

    /// Whether the client has room for a message, or there is no way for one.
    fn can_publish(&self) -> bool {
        self.publishing.is_none() || !self.node.is_in_reach(now())
    }

    /// Whether no core is so far behind that messages have to wait in the client.
    fn has_room(&self) -> bool {
        self.stuck.iter().all(|stuck| stuck.len() < CLUSTER_STUCK_FRAMES)
    }

    /// Does what the node has decided.
    fn act(&mut self) {
        for action in self.node.take_actions() {
            match action {
                Action::Write { key, value, expected } => {
                    self.requests.write(key, Some(value), expected, self.node.herd());
                }
                Action::Delete { key, expected } => self.requests.write(key, None, expected, self.node.herd()),
                Action::Read(read) => self.requests.read(read, self.node.herd()),
                Action::Publish(envelope) => self.publish(&envelope),
                Action::Answer(owner, entered) => {
                    self.stuck[owner.shard().index()].push_back(Frame::Entered(owner, entered));
                }
                Action::Deliver(core, Frame::Presence(change)) => {
                    let pending = &mut self.pending[core.index()];
                    *pending = Some(pending.take().map_or(change, |pending| pending.and(change)));
                }
                Action::Deliver(core, frame) => self.stuck[core.index()].push_back(frame),
                Action::LogOutAll => {
                    self.epoch = self.uplink.end_epoch();
                    self.cores.iter().for_each(|core| _ = core.ask(cluster::check));
                }
                Action::Log(event) => {
                    if let Event::ClusterReached { .. } = event {
                        (self.told_error, self.is_in_reach) = (None, true);
                        (self.report)(BridgeReport::Joined);
                    }
                    self.log.emit(event);
                }
                Action::Refuse(reason) => (self.report)(BridgeReport::Refused(reason)),
            }
        }
    }

    /// Hands each core what waits for it and has room.
    fn send_stuck(&mut self) {
        for (core, (stuck, pending)) in self.stuck.iter_mut().zip(&mut self.pending).enumerate() {
            let core = ShardId::new(core);
            while let Some(frame) = stuck.pop_front() {
                if let Err(frame) = self.mesh.forward_or_want_room(core, frame) {
                    stuck.push_front(frame);
                    break;
                }
            }
            if stuck.is_empty()
                && let Some(change) = pending.take()
                && self.mesh.forward_or_want_room(core, Frame::Presence(change)).is_err()
            {
                *pending = Some(change);
            }
        }
    }

    fn publish(&mut self, envelope: &Envelope) {
        let Some(client) = self.requests.client.clone() else { return };
        let subject = match envelope.to {
            To::All => store::SUBJECT.to_owned(),
            To::Claim(instance, _) => store::subject_of(self.node.name_of(instance).unwrap_or_default()),
        };
        let text = serde_json::to_vec(envelope).expect("an envelope has no map with odd keys");
        let before = self.publishing.take();
        let mut publishing: Publishing = Box::pin(async move {
            if let Some(before) = before {
                before.await;
            }
            // It fails only when the client has ended.
            let _ = client.publish(subject, text.into()).await;
        });
        // Mostly there is room.
        let mut cx = Context::from_waker(Waker::noop());
        if publishing.as_mut().poll(&mut cx).is_pending() {
            self.publishing = Some(publishing);
        }
    }
}

async fn next(incoming: &mut Option<Box<Incoming>>) -> Envelope {
    match incoming {
        Some(incoming) => incoming.next().await,
        None => pending().await,
    }
}

async fn published(publishing: &mut Option<Publishing>) {
    match publishing {
        Some(publishing) => publishing.await,
        None => pending().await,
    }
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").field("node", &self.node).finish_non_exhaustive()
    }
}
