//! A server whose cores run: supervision, drain, the last lines of the log, and why it ends.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Instant;

use super::config::ConfigError;
use super::machine;
use super::notify::ServiceManager;
use super::place::{Place, bind_advice};
use super::reload::{Read, Reloader};
use super::watchdog::{CoreHealth, Watchdog};
#[cfg(feature = "cluster")]
use crate::bridge::thread::{Bridge, RunningBridge};
#[cfg(feature = "cluster")]
use crate::bridge::{BridgeReport, ClusterConfig};
use crate::close_reason::CloseReason;
use crate::events::Event;
use crate::ids::ShardId;
use crate::limits::WATCH_INTERVAL;
#[cfg(feature = "cluster")]
use crate::limits::{CLUSTER_JOIN_WAIT, CLUSTER_LEAVE_MAX, CLUSTER_LEAVE_MIN};
use crate::log::Log;
use crate::metrics::{CoreMetrics, Counter, Metrics};
use crate::net::worker::{CoreError, CoreThread, Report};
use crate::ops::control::Control;
use crate::ops::health::Health;
use crate::ops::{ControlError, Handles};
#[cfg(feature = "cluster")]
use crate::shard::ShardContext;

/// Why the server cannot start, or go on.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each text says it")]
pub enum ServerError {
    #[error("cannot listen on {address}: {}", bind_advice("--listen", .address, .error))]
    Bind { address: SocketAddr, error: io::Error },
    #[error("cannot serve metrics on {address}: {}", bind_advice("--metrics", .address, .error))]
    BindMetrics { address: SocketAddr, error: io::Error },
    /// It shows only when cores start.
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error("cannot start: {0}")]
    Start(#[from] io::Error),
    /// Other servers take its cows soon.
    #[error("the bridge to the cluster: {0}")]
    Bridge(String),
    /// The server ends with its core, whose users cannot be reached any more.
    #[error("core {shard} {error}")]
    Core { shard: ShardId, error: CoreError },
}

/// What the supervising thread waits for.
#[derive(Debug)]
pub(super) enum Wake {
    Drain(&'static str),
    Reload,
    /// What a reload has read.
    Reread(Box<Read>),
    #[cfg(feature = "cluster")]
    Bridge(BridgeReport),
    Core(Report),
}

/// Asks a server to drain, or to reload: from any thread, before, while and after it runs.
#[derive(Debug, Clone)]
pub struct Drainer(pub(super) Sender<Wake>);

impl Drainer {
    /// Asks for a drain; `cause` goes to the log. Only the first time counts.
    pub fn drain(&self, cause: &'static str) {
        // A server that has ended does not listen.
        let _ = self.0.send(Wake::Drain(cause));
    }

    /// Asks it to read its configuration again; one that drains does not.
    pub fn reload(&self) {
        let _ = self.0.send(Wake::Reload);
    }
}

/// A server whose cores run. Dropping it drains them and does not wait for that.
#[derive(Debug)]
pub struct Running {
    pub(super) address: SocketAddr,
    pub(super) reloader: Reloader,
    pub(super) cores: Vec<CoreThread>,
    pub(super) wakes: Sender<Wake>,
    pub(super) waking: Receiver<Wake>,
    pub(super) log: Log,
    pub(super) metrics: Arc<Metrics>,
    pub(super) health: Arc<Health>,
    pub(super) manager: ServiceManager,
    pub(super) control: Option<Control>,
    /// Why it drains, if that was asked for before every core accepted.
    pub(super) cause: Option<&'static str>,
    pub(super) status: Option<String>,
    /// What its status says, beside the limits.
    pub(super) place: Place,
    #[cfg(feature = "cluster")]
    pub(super) bridge: Option<RunningBridge>,
}

impl Running {
    /// With the port that the kernel chose for port 0.
    pub fn addresses(&self) -> &[SocketAddr] {
        std::slice::from_ref(&self.address)
    }

    /// Where it listens, and the limits in force; `None` if a drain was asked for before every core accepted.
    pub fn status(&self) -> Option<&str> {
        self.status.as_deref()
    }

    /// Asks for a drain, as [`Drainer::drain`] does. Does not wait for it.
    pub fn drain(&self, cause: &'static str) {
        Drainer(self.wakes.clone()).drain(cause);
    }

    /// Lets operators ask by the control socket, if there is one.
    pub(super) fn serve_control(&self) -> io::Result<()> {
        let Some(control) = &self.control else { return Ok(()) };
        let drainer = Drainer(self.wakes.clone());
        control.serve(Handles {
            cores: self.cores.iter().map(CoreThread::handle).collect(),
            metrics: Arc::clone(&self.metrics),
            log: self.log.clone(),
            drain: Box::new(move || drainer.drain("ctl")),
        })
    }

    /// Supervises the cores until a drain is asked for, and then until it is over.
    ///
    /// # Errors
    /// When a core cannot go on.
    pub fn wait(mut self) -> Result<(), ServerError> {
        let cause = match self.cause {
            Some(cause) => cause,
            None => self.supervise()?,
        };
        self.drain_cores(cause)?;
        self.log_totals();
        Ok(())
    }

    /// Waits until every core accepts, or a drain is asked for.
    pub(super) fn wait_until_ready(&mut self) -> Result<(), ServerError> {
        let mut ready = 0;
        while ready < self.cores.len() {
            match self.waking.recv().expect("this server holds a sender itself") {
                Wake::Core(Report::Ready) => ready += 1,
                Wake::Core(Report::Ended(shard, result)) => {
                    return Err(ended_at_start(self.cores.len(), shard, result));
                }
                Wake::Drain(cause) => {
                    self.cause = Some(cause);
                    break;
                }
                // Read when it has started.
                Wake::Reload => self.reloader.is_asked = true,
                Wake::Reread(_) => {}
                #[cfg(feature = "cluster")]
                Wake::Bridge(_) => {}
            }
        }
        Ok(())
    }

    /// Starts the bridge to the cluster, and waits until this server has joined, for some time: without a broker its users
    /// wait for it, too.
    #[cfg(feature = "cluster")]
    pub(super) fn join(
        &mut self,
        bridge: Bridge,
        config: ClusterConfig,
        context: ShardContext,
    ) -> Result<(), ServerError> {
        let (cores, wakes) = (self.cores.iter().map(CoreThread::handle).collect(), self.wakes.clone());
        // The supervisor is gone when a start has failed, or the process is about to exit.
        let report = move |report| _ = wakes.send(Wake::Bridge(report));
        self.bridge = Some(bridge.start(config, context, cores, self.log.clone(), report)?);
        let deadline = Instant::now() + CLUSTER_JOIN_WAIT;
        while self.cause.is_none() {
            match self.waking.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Wake::Bridge(BridgeReport::Joined)) => break,
                Err(_) => {
                    let error = "not joined yet: no login succeeds before".to_owned();
                    self.log.emit(Event::ClusterUnreached { error });
                    break;
                }
                Ok(Wake::Bridge(BridgeReport::Refused(reason))) => return Err(ConfigError::Cluster(reason).into()),
                Ok(Wake::Bridge(BridgeReport::Failed(error))) => return Err(ServerError::Bridge(error)),
                Ok(Wake::Core(Report::Ended(shard, result))) => return Err(ended_early(shard, result)),
                Ok(Wake::Drain(cause)) => self.cause = Some(cause),
                Ok(Wake::Reload) => self.reloader.is_asked = true,
                Ok(Wake::Core(Report::Ready) | Wake::Reread(_)) => {}
            }
        }
        Ok(())
    }

    /// Watches the cores until a drain is asked for; a core that ends before ends the server.
    fn supervise(&mut self) -> Result<&'static str, ServerError> {
        let mut watchdog = Watchdog::new(self.cores.len(), Instant::now());
        let mut checked = Instant::now();
        loop {
            self.read_again_if_asked();
            match self.waking.recv_timeout(WATCH_INTERVAL.saturating_sub(checked.elapsed())) {
                Ok(Wake::Drain(cause)) => return Ok(cause),
                Ok(Wake::Core(Report::Ended(shard, result))) => return Err(ended_early(shard, result)),
                Ok(Wake::Reload) => self.reloader.is_asked = true,
                Ok(Wake::Reread(read)) => self.reload(*read),
                #[cfg(feature = "cluster")]
                Ok(Wake::Bridge(BridgeReport::Refused(reason))) => return Err(ConfigError::Cluster(reason).into()),
                #[cfg(feature = "cluster")]
                Ok(Wake::Bridge(BridgeReport::Failed(error))) => return Err(ServerError::Bridge(error)),
                #[cfg(feature = "cluster")]
                Ok(Wake::Bridge(BridgeReport::Joined)) => {}
                Ok(Wake::Core(Report::Ready)) | Err(_) => {}
            }
            // Not only when nothing else happens: SIGHUP may come all the time.
            if checked.elapsed() >= WATCH_INTERVAL {
                checked = Instant::now();
                self.check_cores(&mut watchdog, checked);
            }
        }
    }

    /// Starts a reload if one is asked for and none is under way.
    fn read_again_if_asked(&mut self) {
        let wakes = self.wakes.clone();
        // A server that has ended does not listen.
        if self.reloader.start(move |read| _ = wakes.send(Wake::Reread(Box::new(read)))) {
            self.manager.reloading();
        }
    }

    /// Ends a reload with what it has read.
    pub(super) fn reload(&mut self, read: Read) {
        self.reloader.end(read, &self.cores, &self.log);
        self.health.set_connections_max(self.reloader.settings.limits.connections_max);
        if let Some(status) = &mut self.status {
            *status = self.place.status(&self.reloader.settings.limits);
            self.manager.ready(status);
        }
    }

    /// Logs a core that has stalled or recovered, and tells the service manager that the server is alive while no core
    /// is stalled.
    fn check_cores(&mut self, watchdog: &mut Watchdog, now: Instant) {
        for core in &self.cores {
            let health = watchdog.check(core.id, core.progress.count(), now);
            self.health.record_progress(core.id, watchdog.since(core.id));
            match health {
                CoreHealth::Running | CoreHealth::StillStalled => {}
                CoreHealth::Recovered(stalled) => self.log.emit(Event::CoreRecovered { shard: core.id, stalled }),
                CoreHealth::Stalled => {
                    CoreMetrics::new(Arc::clone(&self.metrics), core.id).add(Counter::Stalls, 1);
                    self.log.emit(Event::CoreStalled { shard: core.id });
                }
            }
        }
        self.health.set_stalled(!watchdog.all_run());
        if watchdog.all_run() {
            self.manager.alive(now);
        }
    }

    /// Has every core drain, and waits for them until the timeout.
    fn drain_cores(&mut self, cause: &'static str) -> Result<(), ServerError> {
        let began = Instant::now();
        let deadline = began + self.reloader.settings.limits.drain_timeout;
        self.health.set_draining();
        let connections = self.metrics.open();
        self.manager.stopping(&format!("{cause}: draining {connections} connections"));
        self.log.emit(Event::Draining { cause, connections });
        self.cores.iter().for_each(|core| core.drain(began));
        let mut running = self.cores.len();
        while running > 0 {
            match self.waking.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Wake::Core(Report::Ended(_, Ok(())))) => running -= 1,
                Ok(Wake::Core(Report::Ended(shard, Err(error)))) => return Err(ServerError::Core { shard, error }),
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => unreachable!("this server holds a sender itself"),
                Err(RecvTimeoutError::Timeout) => {
                    // All other output has reached the kernel; those connections only wait for their peers' end.
                    let connections = self.metrics.unwritten();
                    if connections > 0 {
                        self.log.emit(Event::DrainTimedOut { connections });
                    }
                    self.leave(deadline);
                    return Ok(());
                }
            }
        }
        self.cores.drain(..).for_each(CoreThread::join);
        self.leave(deadline);
        Ok(())
    }

    /// Leaves the cluster, if the server is part of one.
    #[cfg_attr(not(feature = "cluster"), expect(unused_variables, clippy::unused_self, reason = "there is no cluster"))]
    fn leave(&self, deadline: Instant) {
        #[cfg(feature = "cluster")]
        if let Some(bridge) = &self.bridge {
            let left = deadline.saturating_duration_since(Instant::now());
            // Otherwise its lease ends by itself.
            let _ = bridge.leave(left.clamp(CLUSTER_LEAVE_MIN, CLUSTER_LEAVE_MAX));
        }
    }

    /// Logs what the server has done, and before it any mishaps.
    fn log_totals(&self) {
        let total = |counter| self.metrics.total(counter);
        let (faults, stalls) = (total(Counter::Faults), total(Counter::Stalls));
        if faults + stalls > 0 {
            self.log.emit(Event::Mishaps { faults, stalls });
        }
        let count = |reason| Some((reason, self.metrics.ended(reason))).filter(|(_, count)| *count > 0);
        self.log.emit(Event::Stopped {
            connections: total(Counter::Accepted),
            says: total(Counter::Says),
            yields: total(Counter::Yields),
            deliveries: total(Counter::Deliveries),
            stale: total(Counter::StaleFrames),
            ended: CloseReason::ALL.into_iter().filter_map(count).collect(),
        });
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let began = Instant::now();
        self.cores.iter().for_each(|core| core.drain(began));
    }
}

/// Of a core that ends before all `cores` accept.
fn ended_at_start(cores: usize, shard: ShardId, result: Result<(), CoreError>) -> ServerError {
    if let Err(CoreError::Rings(error)) = &result
        && let Some(lacking) = machine::too_little_memlock(cores, error)
    {
        return ServerError::Config(lacking.into());
    }
    ended_early(shard, result)
}

/// Of a core that ends before a drain.
fn ended_early(shard: ShardId, result: Result<(), CoreError>) -> ServerError {
    let error = result.err().unwrap_or(CoreError::Panicked("it ended without being asked to"));
    ServerError::Core { shard, error }
}
