//! The server as a handle: start, addresses, drain, wait.
//!
//! [`Server::start`] takes the port, starts a thread for each core and comes back when all of them accept.
//! [`Running::wait`] supervises the cores on the caller's thread until a drain is asked for or a core ends. Signals,
//! stdout and the thread that writes the log are the caller's.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Instant;

use super::config::{Config, ConfigError};
use super::machine;
use super::notify::ServiceManager;
use super::watchdog::{CoreHealth, Watchdog};
use crate::close_reason::CloseReason;
use crate::events::Event;
use crate::ids::ShardId;
use crate::limits::{HISTORY_BYTES_MAX, WATCH_INTERVAL};
use crate::log::Log;
use crate::metrics::{CoreMetrics, Counter, Metrics};
use crate::net::core::CoreContext;
use crate::net::delivery::mesh::Mesh;
use crate::net::worker::{self, CoreError, CoreSpec, CoreThread, Report};
use crate::policy::addresses::Addresses;
use crate::policy::limits::Limits;
use crate::policy::memory_budget::Budget;
use crate::runtime::listener;
use crate::shard;

/// Why the server cannot start, or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The kernel refuses the address.
    #[error("cannot listen on {address}: {}", bind_advice(.address, .error))]
    Bind {
        /// As in `--listen`.
        address: SocketAddr,
        /// The kernel's word.
        error: io::Error,
    },
    /// Something has to change first; it shows only when cores start.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The kernel refuses a thread, a descriptor or a signal handler.
    #[error("cannot start: {0}")]
    Start(#[from] io::Error),
    /// A core failed. The server ends with it, since its users cannot be reached any more.
    #[error("core {shard} {error}")]
    Core {
        /// Which one.
        shard: ShardId,
        /// Why.
        error: CoreError,
    },
}

fn bind_advice(address: &SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "address already in use (another server listens there; stop it or choose another --listen)".to_owned()
        }
        io::ErrorKind::PermissionDenied if (1..1024).contains(&address.port()) => {
            format!("{error} (ports below 1024 need privileges; choose another --listen)")
        }
        io::ErrorKind::AddrNotAvailable => format!("{error} (this machine does not have that address)"),
        _ => error.to_string(),
    }
}

/// What the supervising thread waits for.
#[derive(Debug)]
enum Wake {
    Drain(&'static str),
    Core(Report),
}

/// Asks a server to drain: from any thread, before, while and after it runs.
#[derive(Debug, Clone)]
pub struct Drainer(Sender<Wake>);

impl Drainer {
    /// Asks for a drain; `cause` goes to the log. Only the first time counts.
    pub fn drain(&self, cause: &'static str) {
        // A server that has ended does not listen.
        let _ = self.0.send(Wake::Drain(cause));
    }
}

/// A server that has not started.
#[derive(Debug)]
pub struct Server {
    config: Config,
    wakes: Sender<Wake>,
    waking: Receiver<Wake>,
}

impl Server {
    /// A server that is to run as `config` says.
    pub fn new(config: Config) -> Self {
        let (wakes, waking) = mpsc::channel();
        Server { config, wakes, waking }
    }

    /// The way to drain it, also while it starts.
    pub fn drainer(&self) -> Drainer {
        Drainer(self.wakes.clone())
    }

    /// Starts the cores, and waits until all of them accept or a drain is asked for.
    ///
    /// # Errors
    /// When the port is taken, a core cannot start, or memory is lacking.
    pub fn start(self, log: Log) -> Result<Running, ServerError> {
        let Server { config, wakes, waking } = self;
        log_oddities(&config, &log);
        let metrics = Metrics::new(config.cores.pins.len());
        let context = core_context(&config, Arc::clone(&metrics), log.clone())?;
        let (address, listeners) = listener::bind(config.listen, config.cores.pins.len(), config.keepalive)
            .map_err(|error| ServerError::Bind { address: config.listen, error })?;
        let manager = ServiceManager::from_environment();
        let mesh = Mesh::build(config.cores.pins.len(), config.mailbox_frames)?;
        let mut cores = Vec::new();
        for (index, ((listener, (mesh, inbox)), &cpu)) in
            listeners.into_iter().zip(mesh).zip(&config.cores.pins).enumerate()
        {
            let spec = CoreSpec { id: ShardId::new(index), cpu, listener, mesh, inbox };
            let wakes = wakes.clone();
            let report = move |report| {
                // The supervisor is gone when the process is about to exit.
                let _ = wakes.send(Wake::Core(report));
            };
            cores.push(worker::start(spec, context.clone(), report)?);
        }
        let limits = Arc::clone(&config.limits);
        let mut running =
            Running { address, limits, cores, wakes, waking, log, metrics, manager, cause: None, status: None };
        running.wait_until_ready()?;
        if running.cause.is_none() {
            let status = status(address, &config);
            running.manager.ready(&status);
            running.status = Some(status);
        }
        Ok(running)
    }
}

/// Logs what an operator may not have meant.
fn log_oddities(config: &Config, log: &Log) {
    let cores = config.cores.pins.len();
    if cores > config.cores.cpus {
        log.emit(Event::Unpinned { cores, cpus: config.cores.cpus });
    }
    if let Some(shortage) = &config.cores.shortage {
        log.emit(Event::FewerCores { cores, wanted: shortage.wanted(), lacking: shortage.to_string() });
    }
    for variable in &config.unknown_variables {
        log.emit(Event::UnknownVariable { name: variable.name.clone(), nearest: variable.nearest.clone() });
    }
    for file in &config.cow_files_skipped {
        log.emit(Event::CowSkipped { path: file.path.clone(), error: file.reason.to_string() });
    }
}

fn core_context(config: &Config, metrics: Arc<Metrics>, log: Log) -> Result<CoreContext, ConfigError> {
    let (cores, limits) = (config.cores.pins.len(), &config.limits);
    // Histories stay, so they have room of their own: they must not get connections cut.
    let histories = if config.rules.history_messages > 0 { cores as u64 * HISTORY_BYTES_MAX as u64 } else { 0 };
    let exempt = limits.address_exempt.clone();
    Ok(CoreContext {
        shards: shard::ShardContext::new(Arc::clone(&config.herd), cores, config.rules)?,
        metrics,
        log,
        began: Instant::now(),
        addresses: Addresses::new(limits.connections_per_address, exempt, limits.connect_rate),
        budget: Budget::new(limits.queues_bytes_total.saturating_add(histories), cores),
        limits: Arc::clone(limits),
        motd: config.motd.clone(),
    })
}

/// Where the server listens, and the limits in force.
fn status(address: SocketAddr, config: &Config) -> String {
    let (cores, cows, of_each) = (config.cores.pins.len(), config.herd.len(), config.herd.size());
    let plural = if cores == 1 { "" } else { "s" };
    let Limits { connections_max, connections_per_address, .. } = *config.limits;
    format!(
        "listening on {address} ({cores} core{plural}, {cows} cows, {of_each} of each, {connections_max} connections, \
         {connections_per_address} of an address)"
    )
}

/// A server whose cores run.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    limits: Arc<Limits>,
    cores: Vec<CoreThread>,
    wakes: Sender<Wake>,
    waking: Receiver<Wake>,
    log: Log,
    metrics: Arc<Metrics>,
    manager: ServiceManager,
    /// Why it drains.
    cause: Option<&'static str>,
    status: Option<String>,
}

impl Running {
    /// Where it listens: with the port that the kernel chose for port 0.
    pub fn addresses(&self) -> &[SocketAddr] {
        std::slice::from_ref(&self.address)
    }

    /// One line that says where it listens and which limits are in force; `None` if a drain was asked for before every
    /// core accepted.
    pub fn status(&self) -> Option<&str> {
        self.status.as_deref()
    }

    /// Asks for a drain, as [`Drainer::drain`] does. Does not wait for it.
    pub fn drain(&self, cause: &'static str) {
        Drainer(self.wakes.clone()).drain(cause);
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
    fn wait_until_ready(&mut self) -> Result<(), ServerError> {
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
            }
        }
        Ok(())
    }

    /// Watches the cores until a drain is asked for; a core that ends before ends the server.
    fn supervise(&mut self) -> Result<&'static str, ServerError> {
        let mut watchdog = Watchdog::new(self.cores.len(), Instant::now());
        loop {
            match self.waking.recv_timeout(WATCH_INTERVAL) {
                Ok(Wake::Drain(cause)) => return Ok(cause),
                Ok(Wake::Core(Report::Ended(shard, result))) => return Err(ended_early(shard, result)),
                Ok(Wake::Core(Report::Ready)) => {}
                Err(_) => self.check_cores(&mut watchdog, Instant::now()),
            }
        }
    }

    /// Logs a core that has stalled or recovered, and tells the service manager that the server is alive while no core
    /// is stalled.
    fn check_cores(&mut self, watchdog: &mut Watchdog, now: Instant) {
        for core in &self.cores {
            match watchdog.check(core.id, core.progress.count(), now) {
                CoreHealth::Running | CoreHealth::StillStalled => {}
                CoreHealth::Recovered(stalled) => self.log.emit(Event::CoreRecovered { shard: core.id, stalled }),
                CoreHealth::Stalled => {
                    CoreMetrics::new(Arc::clone(&self.metrics), core.id).add(Counter::Stalls, 1);
                    self.log.emit(Event::CoreStalled { shard: core.id });
                }
            }
        }
        if watchdog.all_run() {
            self.manager.alive(now);
        }
    }

    /// Has every core drain, and waits for them until the timeout.
    fn drain_cores(&mut self, cause: &'static str) -> Result<(), ServerError> {
        let began = Instant::now();
        let deadline = began + self.limits.drain_timeout;
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
                    return Ok(());
                }
            }
        }
        self.cores.drain(..).for_each(CoreThread::join);
        Ok(())
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

fn ended_at_start(cores: usize, shard: ShardId, result: Result<(), CoreError>) -> ServerError {
    if let Err(CoreError::Rings(error)) = &result
        && let Some(lacking) = machine::too_little_memlock(cores, error)
    {
        return ServerError::Config(lacking.into());
    }
    ended_early(shard, result)
}

fn ended_early(shard: ShardId, result: Result<(), CoreError>) -> ServerError {
    let error = result.err().unwrap_or(CoreError::Panicked("it ended without being asked to"));
    ServerError::Core { shard, error }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Mode};
    use crate::log::LogWriter;

    /// A server on a free port of this machine, not started.
    fn server() -> (Server, LogWriter) {
        let cli = Cli::parse_from(["cowchat", "serve", "--listen", "127.0.0.1:0", "--cores", "1", "--log", "error"]);
        let Mode::Serve(args) = cli.mode else { panic!("serve") };
        let config = Config::new(&args, Vec::new()).expect("a machine with io_uring");
        let writer = LogWriter::start(config.log).expect("a thread");
        (Server::new(config), writer)
    }

    #[test]
    fn a_handle_starts_serves_drains_and_waits() {
        let (server, writer) = server();
        let running = server.start(writer.log()).expect("a free port");
        let [address] = *running.addresses() else { panic!("one address") };
        assert!(running.status().is_some_and(|status| status.starts_with(&format!("listening on {address} (1 core,"))));
        let mut client = TcpStream::connect(address).expect("it accepts");
        client.write_all(b"login tux\n").expect("it reads");
        let mut greeting = [0; 3];
        client.read_exact(&mut greeting).expect("it answers");
        running.drain("a test");
        running.wait().expect("no core fails");
        let mut rest = String::new();
        client.read_to_string(&mut rest).expect("the end, and no reset");
        assert!(rest.ends_with("* the server is shutting down\n"), "{rest}");
        TcpStream::connect(address).expect_err("the port is free");
    }

    #[test]
    fn a_drain_asked_for_before_the_start_ends_it() {
        let (server, writer) = server();
        server.drainer().drain("a test");
        let running = server.start(writer.log()).expect("a free port");
        assert_eq!(running.status(), None);
        running.wait().expect("no core fails");
    }
}
