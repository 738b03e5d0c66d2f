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

use async_nats::jetstream::kv::Entry;
use async_nats::{ConnectOptions, Message, Subscriber};
use futures_lite::StreamExt;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::UnboundedReceiver;

use super::BridgeReport;
use super::requests::{Requests, Told};
use super::store::{self, Opened};
use super::uplink::{Asked, Uplink, now};
use crate::cluster::envelope::Envelope;
use crate::cluster::node::{Action, Node};
use crate::cluster::records::{Key, Value};
use crate::events::Event;
use crate::ids::ShardId;
use crate::log::Log;
use crate::net::cluster;
use crate::net::delivery::mesh::{Inbox, Mesh};
use crate::net::worker::CoreHandle;
use crate::shard::Frame;

/// How often the node is told the time.
const TICK: Duration = Duration::from_millis(100);

/// Messages that are published, or taken in, before anything else is done.
const TURN: usize = 64;

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
    pub(super) subscriber: Option<Subscriber>,
    /// Counts attempts to open the store; the watch of an earlier one is void.
    pub(super) setting_up: u64,
    /// For cores whose mailboxes are full.
    pub(super) stuck: VecDeque<(ShardId, Frame)>,
    /// What the client has no room for.
    pub(super) publishing: Option<Publishing>,
    /// Cores that have sent their end frame.
    pub(super) ended: usize,
    pub(super) is_leaving: bool,
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
        while !self.node.has_left() {
            self.mesh.remote_waker().unpark();
            let is_idle = self.take_turn() && self.mesh.remote_waker().prepare_park();
            tokio::select! {
                guard = event.readable() => guard?.clear_ready(),
                () = ready(()), if !is_idle => {}
                Some(what) = told.recv() => self.on_told(what),
                message = next(&mut self.subscriber), if self.stuck.is_empty() => self.on_message(&message),
                () = published(&mut self.publishing) => self.publishing = None,
                _ = tick.tick() => self.node.on_tick(now()),
            }
        }
        Ok(())
    }

    fn connect(&self, servers: Vec<String>, options: ConnectOptions) {
        let tell = self.requests.tell();
        let events = tell.clone();
        let options = options.event_callback(move |event| {
            let told = match event {
                async_nats::Event::Connected => Some(Told::Connected),
                async_nats::Event::Disconnected => {
                    Some(Told::Disconnected("the connection to the broker ended".to_owned()))
                }
                _ => None,
            };
            // The loop has ended.
            told.into_iter().for_each(|told| _ = events.send(told));
            ready(())
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
        while let Ok(asked) = self.asked.try_recv() {
            match asked {
                Asked::Enter(cow, owner) => self.node.enter(cow, owner, now()),
                Asked::Release(cow, owner) => self.node.release(cow, owner, now()),
                Asked::Leave => self.is_leaving = true,
            }
        }
        let mut taken = 0;
        while taken < TURN && self.publishing.is_none() {
            let Ok(frame) = self.inbox.try_recv() else { break };
            taken += 1;
            if let Frame::End = frame {
                self.ended += 1;
                self.node.stop_entering();
            } else {
                self.node.on_frame(frame, now());
            }
            self.act();
        }
        if taken > 0 {
            self.mesh.announce_room();
        }
        if self.ended == self.cores.len() && self.publishing.is_none() {
            self.ended = 0;
            let ends = (0..self.cores.len()).map(|core| (ShardId::new(core), Frame::End));
            self.stuck.extend(ends);
        }
        if self.is_leaving {
            self.node.leave(false);
        }
        self.act();
        self.send_stuck();
        taken < TURN
    }

    /// Does what the node has decided.
    fn act(&mut self) {
        for action in self.node.take_actions() {
            match action {
                Action::Write { key, value, expected } => {
                    self.requests.write(key, Some(value), expected, self.node.herd());
                }
                Action::Delete { key, expected } => self.requests.write(key, None, expected, self.node.herd()),
                Action::Read(key) => self.requests.read(key, self.node.herd()),
                Action::Publish(envelope) => self.publish(&envelope),
                Action::Answer(owner, entered) => {
                    if let Some(core) = self.cores.get(owner.shard().index()) {
                        core.ask(move |core| cluster::entered(core, owner, entered));
                    }
                }
                Action::Deliver(core, frame) => self.stuck.push_back((core, frame)),
                Action::LogOutAll => {
                    self.uplink.end_epoch();
                    self.cores.iter().for_each(|core| _ = core.ask(cluster::check));
                }
                Action::Log(event) => {
                    if let Event::ClusterReached { .. } = event {
                        (self.report)(BridgeReport::Joined);
                    }
                    self.log.emit(event);
                }
                Action::Refuse(reason) => (self.report)(BridgeReport::Refused(reason)),
            }
        }
        self.uplink.set(self.node.figures(now()), self.node.lost_at());
    }

    fn send_stuck(&mut self) {
        while let Some((core, frame)) = self.stuck.pop_front() {
            if let Err(frame) = self.mesh.forward_or_want_room(core, frame) {
                self.stuck.push_front((core, frame));
                return;
            }
        }
    }

    fn publish(&mut self, envelope: &Envelope) {
        let Some(client) = self.requests.client.clone() else { return };
        let text = serde_json::to_vec(envelope).expect("an envelope has no map with odd keys");
        let before = self.publishing.take();
        let mut publishing: Publishing = Box::pin(async move {
            if let Some(before) = before {
                before.await;
            }
            // It fails only when the client has ended.
            let _ = client.publish(store::SUBJECT, text.into()).await;
        });
        // Mostly there is room.
        let mut cx = Context::from_waker(Waker::noop());
        if publishing.as_mut().poll(&mut cx).is_pending() {
            self.publishing = Some(publishing);
        }
    }

    fn on_told(&mut self, told: Told) {
        match told {
            Told::Client(client) => {
                self.requests.client = Some(client.clone());
                self.requests.subscribe(client);
            }
            Told::Subscribed(Ok(subscriber)) => {
                self.subscriber = Some(subscriber);
                self.open();
            }
            Told::Connected => self.open(),
            Told::Subscribed(Err(error)) | Told::Disconnected(error) => self.disconnected(error),
            Told::Opened(number, _) if number != self.setting_up => {}
            Told::Opened(_, Ok(opened)) => self.opened(*opened),
            Told::Opened(_, Err(error)) => {
                self.disconnected(error);
                self.open();
            }
            Told::Entry(number, _) if number != self.setting_up => {}
            Told::Entry(_, Some(entry)) => self.on_entry(&entry),
            Told::Entry(_, None) => self.open(),
            Told::Written(key, value, result) => self.node.on_written(key, value, result, now()),
            Told::Read(key, result) => {
                let herd = self.node.herd();
                let found = result.map(|entry| {
                    let entry = entry?;
                    let (_, value) = store::read_entry(&entry, herd)?;
                    Some((entry.revision, value))
                });
                self.node.on_read(key, found, now());
            }
        }
    }

    fn disconnected(&mut self, error: String) {
        self.setting_up += 1;
        self.requests.store = None;
        self.node.on_disconnected();
        self.log.emit(Event::ClusterUnreached { error });
    }

    /// Opens the store; the attempts before are void.
    fn open(&mut self) {
        if let (Some(client), Some(_)) = (self.requests.client.clone(), &self.subscriber) {
            self.setting_up += 1;
            self.requests.open(client, self.setting_up);
        }
    }

    fn opened(&mut self, opened: Opened) {
        let Opened { store, watch, is_empty } = opened;
        self.requests.store = Some(store);
        self.node.on_connected();
        if is_empty {
            self.node.on_listed(now());
        }
        self.requests.follow(watch, self.setting_up);
    }

    fn on_entry(&mut self, entry: &Entry) {
        match store::read_entry(entry, self.node.herd()) {
            Some((Key::Node(name), value)) => {
                let record = value.and_then(|value| if let Value::Node(record) = value { Some(record) } else { None });
                self.node.on_node(&name, entry.revision, record, now());
            }
            Some((Key::Cow(cow), value)) => {
                let record = value.and_then(|value| if let Value::Cow(record) = value { Some(record) } else { None });
                self.node.on_cow(cow, entry.revision, record, now());
            }
            // Of another version.
            None => {}
        }
        if entry.seen_current {
            self.node.on_listed(now());
        }
    }

    fn on_message(&mut self, message: &Message) {
        // What cannot be read is of another version.
        if let Ok(envelope) = serde_json::from_slice(&message.payload) {
            self.node.on_message(envelope, now());
        }
    }
}

async fn next(subscriber: &mut Option<Subscriber>) -> Message {
    if let Some(subscriber) = subscriber
        && let Some(message) = subscriber.next().await
    {
        return message;
    }
    pending().await
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
