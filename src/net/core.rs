//! One core: its shard, its connections, and what its tasks share.
//!
//! All of it belongs to one thread, so there are cells instead of locks. Every method returns without
//! waiting; the state is never borrowed over an `.await`.

use std::any::Any;
use std::borrow::Cow;
use std::cell::{Cell, Ref, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use slab::Slab;

use crate::close_reason::CloseReason;
use crate::cows::CowId;
use crate::directory::Quota;
use crate::events::Event;
use crate::faults::{self, Point};
use crate::ids::ConnectionName;
use crate::ids::{ConnectionId, ShardId};
use crate::limits::{BACKLOG_SENDQ_PART, READ_BYTES, SCARCE_PART};
use crate::log::Log;
use crate::metrics::{CoreMetrics, Counter, Metrics};
use crate::net::connection::{Close, Connection, ConnectionContext};
use crate::net::delivery::batch::Batch;
use crate::net::delivery::dirty::DirtyList;
use crate::net::delivery::mesh::Mesh;
use crate::net::delivery::outbox::Outbox;
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
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// Where events go.
    pub log: Log,
    /// The limits in force.
    pub limits: Arc<Limits>,
    /// Connections by address.
    pub addresses: Arc<Addresses>,
    /// What waits for all connections together.
    pub budget: Arc<Budget>,
    /// The greeting of each new connection.
    pub motd: Option<Arc<[u8]>>,
    /// When the server started: what rates are measured by.
    pub began: Instant,
}

/// What the tasks of one core share.
#[derive(Debug)]
pub struct Core {
    pub(crate) id: ShardId,
    pub(crate) limits: Arc<Limits>,
    pub(crate) addresses: Arc<Addresses>,
    pub(crate) motd: Option<Arc<[u8]>>,
    pub(crate) mesh: Mesh,
    /// What waits for room in the mailboxes of other cores.
    pub(crate) outbox: Outbox,
    pub(crate) reactor: Rc<Reactor>,
    pub(crate) metrics: CoreMetrics,
    pub(crate) log: Log,
    /// What its shard has in common with all others.
    pub(crate) common: shard::ShardContext,
    shard: RefCell<Shard>,
    /// Something that is everybody's is being changed, or a panic has left it half changed.
    in_critical: Cell<bool>,
    connections: RefCell<Slab<Rc<Connection>>>,
    context: Rc<ConnectionContext>,
    /// Its part of what may wait for all connections together.
    pub(crate) account: Account,
    /// Connections that have something to be written.
    pub(crate) dirty: DirtyList,
    /// Writes to many of them.
    pub(crate) batch: RefCell<Batch>,
    /// Connections for which more waits than the limit allows for longer than a moment.
    pub(crate) over_limit: RefCell<Vec<Rc<Connection>>>,
    /// Who has come or gone and was not yet told of, here or elsewhere.
    pub(crate) changes: RefCell<VecDeque<Presence>>,
    /// By core: what it could not be told of, its mailbox being full.
    pub(crate) pending: RefCell<Vec<Option<Presence>>>,
    /// Lent to whoever reads, for the length of one read.
    pub(crate) read_buffer: RefCell<Box<[u8]>>,
    /// Lines whose effects are not all done: they wait for room in a mailbox.
    pub(crate) lines_waiting: Cell<usize>,
    /// Cores that have said that they will send nothing more.
    pub(crate) ended: Cell<usize>,
    /// Newcomers that are being told that there is no room.
    pub(crate) refusing: Cell<usize>,
    began: Instant,
    draining: Cell<bool>,
    accepted: Cell<u64>,
}

impl Core {
    /// A core without connections.
    pub(crate) fn new(id: ShardId, context: CoreContext, mesh: Mesh, reactor: Rc<Reactor>) -> Rc<Self> {
        let CoreContext { shards: common, metrics, log, limits, addresses, budget, motd, began } = context;
        let metrics = CoreMetrics::new(metrics, id);
        let shard = Shard::new(id, common.clone(), metrics.clone());
        let of_connections = ConnectionContext {
            backlogs: Arc::clone(&common.backlogs),
            backlog_bytes: limits.sendq_bytes_max / BACKLOG_SENDQ_PART,
            clock: Rc::clone(reactor.clock()),
        };
        Rc::new(Core {
            id,
            account: Account::new(budget, id),
            limits,
            addresses,
            motd,
            outbox: Outbox::new(mesh.clone()),
            mesh,
            reactor,
            metrics,
            log,
            common,
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
            lines_waiting: Cell::new(0),
            ended: Cell::new(0),
            refusing: Cell::new(0),
            began,
            draining: Cell::new(false),
            accepted: Cell::new(0),
        })
    }

    /// Takes in a new connection from `peer`.
    pub(crate) fn open(&self, socket: Socket, peer: Option<SocketAddr>, admitted: Admitted) -> Rc<Connection> {
        self.accepted.set(self.accepted.get() + 1);
        self.metrics.add(Counter::Accepted, 1);
        let name = ConnectionName { shard: self.id, number: self.accepted.get() };
        // One that waits for its turn is told of when that has come.
        if admitted.wait.is_zero() {
            self.log.emit(Event::Accepted { connection: name, peer });
        }
        let mut connections = self.connections.borrow_mut();
        let entry = connections.vacant_entry();
        let (id, context) = (ConnectionId::new(entry.key()), Rc::clone(&self.context));
        let connection = Rc::new(Connection::new(id, name, socket, admitted, context));
        entry.insert(Rc::clone(&connection));
        connection
    }

    /// Ends a connection's session: from here on it gets nothing new, and its cow is free. What it has
    /// been sent so far is still written if the ending is an orderly one. Its own task does the rest.
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
            permit.iter().for_each(ConnectionPermit::was_unserved);
            connection.permit.set(permit);
            return;
        }
        self.log.emit(Event::Closed {
            connection: connection.name,
            cow: connection.cow().map(|cow| self.name(cow)),
            reason: close.reason,
            error: close.error.map(|error| error.to_string()),
        });
    }

    /// Ends a connection's session because of a panic that concerns nobody else.
    pub(crate) fn end_by_fault(&self, connection: &Connection, panic: &(dyn Any + Send)) {
        self.metrics.add(Counter::Faults, 1);
        self.log.emit(Event::InternalFault { connection: connection.name, message: panics::text(panic) });
        self.end(connection, CloseReason::InternalFault.into());
    }

    /// Gives up what still waits for a connection that ends.
    pub(crate) fn discard_output(&self, connection: &Connection) {
        if connection.discard_output() {
            self.log.emit(Event::OutputDiscarded { connection: connection.name });
        }
    }

    /// What somebody is told last whose connection ends for this reason.
    pub(crate) fn last_line(&self, reason: CloseReason) -> Option<Cow<'static, str>> {
        reason.last_line(self.limits.login_timeout.unwrap_or_default())
    }

    /// Forgets a connection whose task is done; its place may be used again.
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

    /// Logs that a connection has become somebody, and remembers as whom.
    pub(crate) fn record_login(&self, connection: &Connection, cow: CowId) {
        connection.set_cow(cow);
        connection.quiet.restart(self.now());
        self.log.emit(Event::LoggedIn { connection: connection.name, cow: self.name(cow) });
    }

    /// Somebody has come or gone; whoever wants to know is told soon (`effects::broadcast_presence`). Nobody
    /// is told of everybody's end.
    pub(crate) fn record_presence(&self, change: Presence) {
        if self.common.demand.has_subscribers_anywhere() && !self.is_draining() {
            self.changes.borrow_mut().push_back(change);
        }
    }

    /// How a cow is called.
    fn name(&self, cow: CowId) -> String {
        shard::name(&self.common.herd, cow).to_string()
    }

    /// The time by the core's clock: how long it could have noticed what its connections do.
    pub(crate) fn now(&self) -> Duration {
        self.reactor.clock().now()
    }

    /// The time since the server started, the same on all cores, at this core's last poll: rates are measured by it.
    pub(crate) fn server_time(&self) -> Duration {
        self.reactor.clock().polled().saturating_duration_since(self.began)
    }

    /// Decides what a line means. A panic in that ends only the sender's session, unless it left the shard half changed.
    pub(crate) fn on_line(&self, from: &Connection, line: Line<'_>) -> Effects {
        let quota = from.shared.as_ref().map(|shared| Quota::new(&shared.cows, self.limits.cows_per_address));
        let mut shard = self.shard.borrow_mut();
        faults::at(Point::Line, line.bytes.unwrap_or_default());
        shard.on_line_within(from.id, line, quota)
    }

    /// Whether so few cows are free that those who say nothing are to make room.
    pub(crate) fn lacks_cows(&self) -> bool {
        let all = self.common.herd.len();
        all.saturating_sub(self.common.directory.claimed()) < all.div_ceil(SCARCE_PART)
    }

    /// Looks into or changes the shard, all or nothing.
    pub(crate) fn with_shard<T>(&self, act: impl FnOnce(&mut Shard) -> T) -> T {
        self.critical(|| act(&mut self.shard.borrow_mut()))
    }

    /// Does something to what is everybody's: a panic meanwhile breaks the core.
    pub(crate) fn critical<T>(&self, act: impl FnOnce() -> T) -> T {
        let before = self.in_critical.replace(true);
        let done = act();
        self.in_critical.set(before);
        done
    }

    /// To be asked after a panic: whether it has left something half changed that is everybody's. The core must
    /// not go on then.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.in_critical.get() || self.shard.borrow().is_poisoned()
    }

    /// All connections of this core, by their ids. None may be opened or forgotten meanwhile.
    pub(crate) fn connections(&self) -> Ref<'_, Slab<Rc<Connection>>> {
        self.connections.borrow()
    }

    /// How many connections this core has.
    pub(crate) fn connection_count(&self) -> usize {
        self.connections.borrow().len()
    }

    /// From now on no line is executed.
    pub(crate) fn start_draining(&self) {
        self.draining.set(true);
    }

    /// Whether the server is shutting down.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.get()
    }
}
