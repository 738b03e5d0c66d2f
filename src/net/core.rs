//! One core: its shard, its connections, and what its tasks share.
//!
//! All of it belongs to one thread: cells, no locks. Every method returns without waiting; the state is never borrowed over
//! an `.await`.

use std::any::Any;
use std::borrow::Cow;
use std::cell::{Cell, Ref, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use slab::Slab;

use crate::close_reason::CloseReason;
use crate::cows::CowId;
use crate::directory::Quota;
use crate::events::Event;
use crate::faults::{self, Point};
use crate::ids::{ConnectionId, ShardId};
use crate::limits::{BACKLOG_SENDQ_PART, DELIVERY_SAMPLED_EVERY, READ_BYTES, VISITED_AT_ONCE};
use crate::log::Log;
use crate::metrics::{CoreMetrics, Counter, Metrics};
use crate::net::closed::{Closed, RecentlyClosed};
use crate::net::connection::{Close, Connection, ConnectionContext};
use crate::net::delivery::batch::Batch;
use crate::net::delivery::dirty::DirtyList;
use crate::net::delivery::mesh::Mesh;
use crate::net::delivery::outbox::Outbox;
use crate::net::entering::Entering;
use crate::panics;
use crate::policy::addresses::{Addresses, ConnectionPermit};
use crate::policy::admission::Admitted;
use crate::policy::limits::Limits;
use crate::policy::memory_budget::{Account, Budget};
use crate::protocol::line::Line;
use crate::runtime::reactor::Reactor;
use crate::runtime::socket::Socket;
use crate::shard::{self, Effects, Presence, Shard};

/// What all cores share.
#[derive(Debug, Clone)]
pub struct CoreContext {
    /// What the shards share: names, pictures, the owner of each cow.
    pub shards: shard::ShardContext,
    pub metrics: Arc<Metrics>,
    pub log: Log,
    pub limits: Arc<Limits>,
    pub addresses: Arc<Addresses>,
    pub budget: Arc<Budget>,
    /// The greeting of each new connection.
    pub motd: Option<Arc<[u8]>>,
    /// When the server started: what rates are measured by.
    pub began: Instant,
}

/// What the tasks of one core share.
pub struct Core {
    pub(crate) id: ShardId,
    limits: RefCell<Arc<Limits>>,
    pub(crate) addresses: Arc<Addresses>,
    motd: RefCell<Option<Arc<[u8]>>>,
    pub(crate) mesh: Mesh,
    /// What waits for room in the mailboxes of other cores.
    pub(crate) outbox: Outbox,
    pub(crate) reactor: Rc<Reactor>,
    pub(crate) metrics: CoreMetrics,
    pub(crate) log: Log,
    pub(crate) shards: shard::ShardContext,
    shard: RefCell<Shard>,
    /// State that connections share is being changed, or a panic has left it half changed.
    in_critical: Cell<bool>,
    connections: RefCell<Slab<Rc<Connection>>>,
    context: Rc<ConnectionContext>,
    pub(crate) account: Account,
    /// Connections that have something to be written.
    pub(crate) dirty: DirtyList,
    /// Writes to many of them.
    pub(crate) batch: RefCell<Batch>,
    /// Connections over the limit of their send queue.
    pub(crate) over_limit: RefCell<Vec<Rc<Connection>>>,
    /// Cows that have come or gone and are not announced yet.
    pub(crate) changes: RefCell<VecDeque<Presence>>,
    /// By core: announcements that its full mailbox did not take.
    pub(crate) pending: RefCell<Vec<Option<Presence>>>,
    /// Lent to a task for one read.
    pub(crate) read_buffer: RefCell<Box<[u8]>>,
    /// Logins that wait for the cluster.
    pub(crate) entering: Entering,
    /// Lines that wait for a receiver, for room in a mailbox or for the cluster.
    pub(crate) lines_waiting: Cell<usize>,
    /// Cores that have sent their end frame.
    pub(crate) ended: Cell<usize>,
    /// Refused connections that linger.
    pub(crate) refusing: Cell<usize>,
    began: Instant,
    /// From then on no line is executed.
    pub(crate) draining: Cell<bool>,
    accepted: Cell<u64>,
    /// Connections that have ended.
    pub(crate) closed: RefCell<RecentlyClosed>,
    /// Lines until one is timed again.
    untimed: Cell<u32>,
    /// When the line of a message was read that the next flush writes, if it is timed.
    timed: Cell<Option<Duration>>,
}

impl Core {
    pub(crate) fn new(id: ShardId, context: CoreContext, mesh: Mesh, reactor: Rc<Reactor>) -> Rc<Self> {
        let CoreContext { shards, metrics, log, limits, addresses, budget, motd, began } = context;
        let metrics = CoreMetrics::new(metrics, id);
        let shard = Shard::new(id, shards.clone(), metrics.clone());
        let of_connections = ConnectionContext {
            shard: id,
            backlogs: Arc::clone(&shards.backlogs),
            backlog_bytes: Cell::new(backlog_bytes(&limits)),
            clock: Rc::clone(&reactor.clock),
            metrics: metrics.clone(),
        };
        Rc::new(Core {
            id,
            account: Account::new(budget, id),
            limits: RefCell::new(limits),
            addresses,
            motd: RefCell::new(motd),
            outbox: Outbox::new(mesh.clone()),
            mesh,
            reactor,
            metrics,
            log,
            shards,
            shard: RefCell::new(shard),
            in_critical: Cell::new(false),
            connections: RefCell::new(Slab::new()),
            context: Rc::new(of_connections),
            dirty: DirtyList::default(),
            batch: RefCell::default(),
            over_limit: RefCell::default(),
            changes: RefCell::default(),
            pending: RefCell::default(),
            read_buffer: RefCell::new(vec![0; READ_BYTES].into_boxed_slice()),
            entering: Entering::default(),
            lines_waiting: Cell::new(0),
            ended: Cell::new(0),
            refusing: Cell::new(0),
            began,
            draining: Cell::new(false),
            accepted: Cell::new(0),
            closed: RefCell::default(),
            untimed: Cell::new(0),
            timed: Cell::new(None),
        })
    }

    /// The limits in force. Not borrowed over an `.await`, since a reload replaces them.
    pub(crate) fn limits(&self) -> Ref<'_, Limits> {
        Ref::map(self.limits.borrow(), |limits| &**limits)
    }

    /// The greeting of a new connection.
    pub(crate) fn motd(&self) -> Option<Arc<[u8]>> {
        self.motd.borrow().clone()
    }

    /// From now on these limits hold, and new connections get this greeting.
    pub(crate) fn reload(&self, limits: Arc<Limits>, motd: Option<Arc<[u8]>>) {
        self.context.backlog_bytes.set(backlog_bytes(&limits));
        self.limits.replace(limits);
        self.motd.replace(motd);
    }

    pub(crate) fn open(&self, socket: Socket, peer: Option<SocketAddr>, admitted: Admitted) -> Rc<Connection> {
        self.accepted.set(self.accepted.get() + 1);
        self.metrics.add(Counter::Accepted, 1);
        let is_served = admitted.wait.is_zero();
        let mut connections = self.connections.borrow_mut();
        let entry = connections.vacant_entry();
        let (id, context) = (ConnectionId::new(entry.key()), Rc::clone(&self.context));
        let (number, opened) = (self.accepted.get(), self.server_time());
        let connection = Rc::new(Connection::new(id, number, socket, peer, opened, admitted, context));
        // A connection that waits is logged when it is served.
        if is_served {
            self.log.emit(Event::Accepted { connection: connection.name(), peer });
        }
        entry.insert(Rc::clone(&connection));
        connection
    }

    /// Ends a connection's session: it gets nothing new, and its cow is free. What is queued is still written if the reason
    /// is an orderly one. Its own task does the rest.
    pub(crate) fn end(&self, connection: &Connection, close: Close) {
        if !connection.set_close(close) {
            return;
        }
        if let Some(cow) = self.with_shard(|shard| shard.on_close(connection.id)) {
            self.record_presence(Presence::Left(cow));
        }
        self.metrics.add_ended(close.reason);
        if !connection.is_served.get() {
            let permit = connection.permit.take();
            permit.iter().for_each(ConnectionPermit::mark_unserved);
            connection.permit.set(permit);
            return;
        }
        self.closed.borrow_mut().push(Closed {
            at: SystemTime::now(),
            connection: connection.name(),
            cow: connection.cow.get(),
            peer: connection.peer(),
            age: connection.age(self.server_time()),
            reason: close.reason,
        });
        self.log.emit(Event::Closed {
            connection: connection.name(),
            cow: self.cow_of(connection),
            reason: close.reason,
            error: close.error.map(|error| error.to_string()),
        });
    }

    /// Ends a connection's session because of a panic that concerns no other.
    pub(crate) fn end_by_fault(&self, connection: &Connection, panic: &(dyn Any + Send)) {
        self.record_fault(Some(connection), panic);
        self.end(connection, CloseReason::InternalFault.into());
    }

    /// A panic has ended the session of this connection, or else an operator's request.
    pub(crate) fn record_fault(&self, connection: Option<&Connection>, panic: &(dyn Any + Send)) {
        self.metrics.add(Counter::Faults, 1);
        let connection = connection.map(Connection::name);
        self.log.emit(Event::InternalFault { connection, message: panics::text(panic) });
    }

    /// Gives up the output of a connection that ends.
    pub(crate) fn discard_output(&self, connection: &Connection) {
        if connection.discard_output() {
            self.log.emit(Event::OutputDiscarded { connection: connection.name() });
        }
    }

    /// The last line of a connection that ends for this reason.
    pub(crate) fn last_line(&self, reason: CloseReason) -> Option<Cow<'static, str>> {
        reason.last_line(self.limits().login_timeout.unwrap_or_default())
    }

    /// Forgets a connection whose task is done; its slot is free.
    pub(crate) fn forget(&self, connection: &Connection) {
        let cow = self.with_shard(|shard| {
            shard.on_forget(connection.id);
            shard.cow(connection.id)
        });
        assert_eq!(cow, None, "a session ends before its connection is forgotten, or the next one would inherit it");
        self.connections.borrow_mut().remove(connection.id.index());
        if let Some(permit) = connection.permit.take() {
            let now = self.server_time();
            permit.release(connection.bucket.get().debt(now), now);
        }
        self.metrics.add(Counter::Closed, 1);
    }

    pub(crate) fn record_login(&self, connection: &Connection, cow: CowId) {
        connection.cow.set(Some(cow));
        connection.quiet.restart(self.now());
        self.log.emit(Event::LoggedIn { connection: connection.name(), cow: self.name(cow) });
    }

    /// A cow has come or gone: subscribers hear of it soon (`delivery::presence`), unless the server drains.
    pub(crate) fn record_presence(&self, change: Presence) {
        if self.shards.demand.has_subscribers_anywhere() && !self.is_draining() {
            self.changes.borrow_mut().push_back(change);
        }
    }

    /// The name of the cow that a connection has, or had last.
    pub(crate) fn cow_of(&self, connection: &Connection) -> Option<String> {
        connection.cow.get().map(|cow| self.name(cow))
    }

    pub(crate) fn name(&self, cow: CowId) -> String {
        shard::name(&self.shards.herd, cow).to_string()
    }

    /// The time by the core's clock: that in which it polled its sockets.
    pub(crate) fn now(&self) -> Duration {
        self.reactor.clock.now()
    }

    /// The time since the server started, the same on all cores, at this core's last poll: rates are measured by it.
    pub(crate) fn server_time(&self) -> Duration {
        self.reactor.clock.polled().saturating_duration_since(self.began)
    }

    /// Decides what a line does. A panic here ends only the sender's session, unless it left the shard half changed.
    pub(crate) fn on_line(&self, from: &Connection, line: Line<'_>) -> Effects {
        let quota =
            from.shared.as_ref().map(|shared| Quota { held: &shared.cows, cows_max: self.limits().cows_per_address });
        let mut shard = self.shard.borrow_mut();
        match self.untimed.get() {
            0 => {
                self.untimed.set(DELIVERY_SAMPLED_EVERY - 1);
                shard.time_next(self.server_time());
            }
            left => self.untimed.set(left - 1),
        }
        faults::at(Point::Line, line.bytes.unwrap_or_default());
        shard.on_line_within(from.id, line, quota)
    }

    /// The next flush writes a message whose line was read then, if that is known. Of several the first counts.
    pub(crate) fn time_until_flushed(&self, read_at: Option<Duration>) {
        if read_at.is_some() && self.timed.get().is_none() {
            self.timed.set(read_at);
        }
    }

    /// When the line was read of the timed message that a flush writes now.
    pub(crate) fn take_timed(&self) -> Option<Duration> {
        self.timed.take()
    }

    /// Counts how long the message took whose line was read then, and which is written now.
    pub(crate) fn record_delay(&self, read_at: Duration) {
        self.metrics.add_delay(self.began.elapsed().saturating_sub(read_at));
    }

    /// Uses the shard in a critical section.
    pub(crate) fn with_shard<T>(&self, act: impl FnOnce(&mut Shard) -> T) -> T {
        self.critical(|| act(&mut self.shard.borrow_mut()))
    }

    /// Changes state that connections share: a panic meanwhile poisons the core.
    pub(crate) fn critical<T>(&self, act: impl FnOnce() -> T) -> T {
        let before = self.in_critical.replace(true);
        let done = act();
        self.in_critical.set(before);
        done
    }

    /// Whether a panic has left shared state half changed. The core must not go on then.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.in_critical.get() || self.shard.borrow().is_poisoned()
    }

    /// All connections of this core, by their ids. None is opened or forgotten while this is borrowed.
    pub(crate) fn connections(&self) -> Ref<'_, Slab<Rc<Connection>>> {
        self.connections.borrow()
    }

    /// Visits all connections, some at a time: in between, what that has queued is flushed and other tasks run.
    pub(crate) async fn visit_all(&self, mut visit: impl FnMut(&Rc<Connection>)) {
        let mut slots = 0;
        while slots < self.connections().capacity() {
            for slot in slots..slots + VISITED_AT_ONCE {
                if let Some(connection) = self.connections().get(slot) {
                    visit(connection);
                }
            }
            slots += VISITED_AT_ONCE;
            self.dirty.schedule_flush();
            self.reactor.yield_now().await;
        }
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.get()
    }
}

/// More bytes than these of messages from others are much for one connection.
fn backlog_bytes(limits: &Limits) -> usize {
    limits.sendq_bytes_max / BACKLOG_SENDQ_PART
}
