//! The server as a handle: start, addresses, drain, wait.
//!
//! [`Server::start`] takes the port, starts a thread for each core and comes back when all of them accept.
//! [`Running::wait`] supervises the cores on the caller's thread until a drain is asked for or a core ends. Signals,
//! stdout and the thread that writes the log are the caller's.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Instant, SystemTime};

use super::config::{Config, ConfigError};
use super::doctor::Check;
use super::notify::ServiceManager;
use super::place::Place;
use super::reload::Reloader;
use super::running::Wake;
pub use super::running::{Drainer, Running, ServerError};
#[cfg(feature = "cluster")]
use crate::bridge::thread::Bridge;
use crate::cluster::figures::Figures;
use crate::events::Event;
use crate::ids::ShardId;
use crate::limits::HISTORY_BYTES_MAX;
use crate::log::Log;
use crate::metrics::Metrics;
use crate::net::core::CoreContext;
use crate::net::delivery::mesh::Mesh;
use crate::net::worker::{self, CoreSpec, CoreThread, Report};
use crate::ops::control::Control;
use crate::ops::health::Health;
use crate::ops::http::MetricsListener;
use crate::ops::{Gauges, Source};
use crate::policy::addresses::Addresses;
use crate::policy::memory_budget::Budget;
use crate::runtime::listener;
use crate::shard;

/// Takes a core's reports, on the core's thread.
type Notify = Box<dyn Fn(Report) + Send>;

/// A server that has not started.
#[derive(Debug)]
pub struct Server {
    config: Config,
    wakes: Sender<Wake>,
    waking: Receiver<Wake>,
}

impl Server {
    /// One that runs as `config` says.
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
        self.start_by(worker::start, log)
    }

    /// The same; `start` starts a core.
    fn start_by(
        self,
        start: impl Fn(CoreSpec, CoreContext, Notify) -> io::Result<CoreThread>,
        log: Log,
    ) -> Result<Running, ServerError> {
        let Server { config, wakes, waking } = self;
        log_oddities(&config, &log);
        let started = SystemTime::now();
        let metrics = Metrics::new(config.cores.pins.len());
        let health = Arc::new(Health::new(config.cores.pins.len(), config.settings.limits.connections_max));
        #[cfg_attr(not(feature = "cluster"), expect(unused_mut, reason = "only a bridge is added"))]
        let mut context = core_context(&config, Arc::clone(&metrics), log.clone())?;
        let cores = config.cores.pins.len();
        let mut mesh = Mesh::build(ends(&config), config.mailbox_frames)?.into_iter();
        let ends: Vec<_> = mesh.by_ref().take(cores).collect();
        #[cfg(feature = "cluster")]
        let bridge = mesh.next().map(|(mesh, inbox)| Bridge::new(ShardId::new(cores), mesh, inbox));
        #[cfg(feature = "cluster")]
        let uplink = bridge.as_ref().map(Bridge::uplink);
        #[cfg(feature = "cluster")]
        if let Some(uplink) = uplink.clone() {
            context.shards.cluster = Some(uplink);
        }
        #[cfg(feature = "cluster")]
        let cluster = move || uplink.as_ref().map(|uplink| uplink.figures());
        #[cfg(not(feature = "cluster"))]
        let cluster = || None;
        let (address, listeners) = listener::bind(config.listen, config.cores.pins.len(), config.keepalive)
            .map_err(|error| ServerError::Bind { address: config.listen, error })?;
        let control = config.control.as_deref().map(Control::open).transpose()?;
        if let Some(address) = config.metrics {
            let listener =
                MetricsListener::bind(address).map_err(|error| ServerError::BindMetrics { address, error })?;
            log.emit(Event::MetricsServed { address: listener.address });
            listener.serve(source(&config, &context, Arc::clone(&health), started, cluster))?;
        }
        let manager = ServiceManager::from_environment();
        // Before the first core: if another one cannot start, its drop drains those that have.
        let mut running = Running {
            address,
            reloader: Reloader::new(
                config.settings.clone(),
                config.cores.pins.len(),
                config.herd.len(),
                histories(&config),
                &context,
            ),
            place: Place::new(address, &config),
            cores: Vec::new(),
            wakes,
            waking,
            log,
            metrics,
            health,
            manager,
            control,
            cause: None,
            status: None,
            #[cfg(feature = "cluster")]
            bridge: None,
        };
        for ((listener, (mesh, inbox)), &cpu) in listeners.into_iter().zip(ends).zip(&config.cores.pins) {
            let spec = CoreSpec { id: ShardId::new(running.cores.len()), cpu, listener, mesh, inbox };
            let wakes = running.wakes.clone();
            let notify = move |report| {
                // The supervisor is gone when a start has failed, or the process is about to exit.
                let _ = wakes.send(Wake::Core(report));
            };
            running.cores.push(start(spec, context.clone(), Box::new(notify))?);
        }
        running.wait_until_ready()?;
        #[cfg(feature = "cluster")]
        if let (Some(bridge), Some(cluster)) = (bridge, config.cluster) {
            running.join(bridge, cluster, context.shards)?;
        }
        running.serve_control()?;
        if running.cause.is_none() {
            let status = running.place.status(&config.settings.limits);
            running.health.set_ready();
            running.manager.ready(&status);
            running.status = Some(status);
        }
        Ok(running)
    }
}

/// What a scrape reads.
fn source(
    config: &Config,
    context: &CoreContext,
    health: Arc<Health>,
    started: SystemTime,
    cluster: impl Fn() -> Option<Figures> + Send + Sync + 'static,
) -> Source {
    let (directory, budget) = (Arc::clone(&context.shards.directory), Arc::clone(&context.budget));
    let (log, cows) = (context.log.clone(), config.herd.len());
    let gauges = move || Gauges {
        cows_taken: directory.claimed(),
        cows,
        queues_bytes: budget.held_bytes(),
        queues_bytes_max: budget.bytes_max(),
        log_lines_lost: log.lines_lost(),
        cluster: cluster(),
    };
    Source { metrics: Arc::clone(&context.metrics), health, gauges: Box::new(gauges), started }
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
    for Check { name, found, fix, .. } in &config.warnings {
        log.emit(Event::MachineWarning { check: name, found: found.clone(), fix: fix.clone() });
    }
    for variable in &config.unknown_variables {
        log.emit(Event::UnknownVariable { name: variable.name.clone(), nearest: variable.nearest.clone() });
    }
    for file in &config.cow_files_skipped {
        log.emit(Event::CowSkipped { path: file.path.clone(), error: file.reason.to_string() });
    }
}

/// The ends of the mesh: the cores, and the bridge, if there is a cluster.
fn ends(config: &Config) -> usize {
    config.cores.pins.len() + usize::from(config.cluster.is_some())
}

fn core_context(config: &Config, metrics: Arc<Metrics>, log: Log) -> Result<CoreContext, ConfigError> {
    let (cores, limits) = (config.cores.pins.len(), &config.settings.limits);
    let ends = ends(config);
    let exempt = limits.address_exempt.clone();
    Ok(CoreContext {
        shards: shard::ShardContext::new(Arc::clone(&config.herd), ends, config.rules)?,
        metrics,
        log,
        began: Instant::now(),
        addresses: Addresses::new(limits.connections_per_address, exempt, limits.connect_rate),
        budget: Budget::new(limits.queues_bytes_total.saturating_add(histories(config)), cores),
        limits: Arc::clone(limits),
        motd: config.settings.motd.clone(),
    })
}

/// Room for the histories of all cores. They stay, so it is their own: they must not get connections cut.
fn histories(config: &Config) -> u64 {
    if config.rules.history_messages > 0 { config.cores.pins.len() as u64 * HISTORY_BYTES_MAX as u64 } else { 0 }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};
    use std::rc::Rc;
    use std::time::Duration;

    use clap::Parser;

    use super::*;
    use crate::boot::settings::Settings;
    use crate::cli::{Cli, Mode};
    use crate::log::LogWriter;
    use crate::net::core::Core;

    /// How long a test waits before it fails.
    const PATIENCE: Duration = Duration::from_secs(30);

    /// A server on a free port of this machine, not started.
    fn server() -> (Server, LogWriter) {
        let serve = ["cowchat", "serve", "--listen", "127.0.0.1:0", "--cores", "1", "--log", "error"];
        let cli = Cli::parse_from(serve.into_iter().chain(["--drain-timeout", "1s"]));
        let Mode::Serve(args) = cli.mode else { panic!("serve") };
        let config = Config::new(&args, Vec::new()).expect("a machine with io_uring");
        let writer = LogWriter::start(config.log, config.log_format).expect("a thread");
        (Server::new(config), writer)
    }

    fn logged_in(address: SocketAddr) -> TcpStream {
        let mut client = TcpStream::connect(address).expect("it accepts");
        client.set_read_timeout(Some(PATIENCE)).expect("an open socket");
        client.write_all(b"login tux\n").expect("it reads");
        let mut greeting = [0; 3];
        client.read_exact(&mut greeting).expect("it answers");
        client
    }

    #[test]
    fn a_handle_starts_serves_drains_and_waits() {
        let (server, writer) = server();
        let running = server.start(writer.log()).expect("a free port");
        let [address] = *running.addresses() else { panic!("one address") };
        assert!(running.status().is_some_and(|status| status.starts_with(&format!("listening on {address} (1 core,"))));
        let mut client = logged_in(address);
        running.drain("a test");
        running.wait().expect("no core fails");
        let mut rest = String::new();
        client.read_to_string(&mut rest).expect("the end, and no reset");
        assert!(rest.ends_with("* the server is shutting down\n"), "{rest}");
        TcpStream::connect(address).expect_err("the port is free");
    }

    #[test]
    fn a_core_takes_requests_in_order_until_it_drains() {
        let (server, writer) = server();
        let running = server.start(writer.log()).expect("a free port");
        let core = running.cores[0].handle();
        let (reply, replies) = mpsc::channel();
        for n in 0..100 {
            let reply = reply.clone();
            core.ask(move |core| reply.send((n, core.id)).expect("the test waits"));
        }
        for n in 0..100 {
            assert_eq!(replies.recv_timeout(PATIENCE), Ok((n, ShardId::new(0))));
        }
        running.drain("a test");
        running.wait().expect("no core fails");
        core.ask(move |_| reply.send((100, ShardId::new(0))).expect("the test waits"));
        assert_eq!(replies.recv_timeout(PATIENCE), Err(mpsc::RecvTimeoutError::Disconnected));
    }

    #[test]
    fn a_reload_gives_every_core_its_limits() {
        let (server, writer) = server();
        let mut running = server.start(writer.log()).expect("a free port");
        let flags = ["cowchat", "serve", "--connections-max", "1", "--drain-timeout", "1s"];
        let Mode::Serve(args) = Cli::parse_from(flags).mode else { panic!("serve") };
        running.reload(Ok(Settings::new(&args, 1, 24).expect("good flags")));
        let (told, heard) = mpsc::channel();
        let tell = move |core: &Rc<Core>| told.send(core.limits().connections_max).expect("the test waits");
        running.cores[0].handle().ask(tell);
        assert_eq!(heard.recv_timeout(PATIENCE), Ok(1));
        assert!(running.status().is_some_and(|status| status.contains(", 1 connections, ")));
        let address = running.addresses()[0];
        let _first = logged_in(address);
        let mut refusal = String::new();
        TcpStream::connect(address).and_then(|mut second| second.read_to_string(&mut refusal)).expect("a last line");
        assert_eq!(refusal, "error: server is full\n");
        running.drain("a test");
        running.wait().expect("no core fails");
    }

    #[test]
    fn a_drain_asked_for_before_the_start_ends_it() {
        let (server, writer) = server();
        server.drainer().drain("a test");
        let running = server.start(writer.log()).expect("a free port");
        assert_eq!(running.status(), None);
        running.wait().expect("no core fails");
    }

    #[test]
    fn a_server_that_is_dropped_drains() {
        let (server, writer) = server();
        let running = server.start(writer.log()).expect("a free port");
        let mut client = logged_in(running.addresses()[0]);
        drop(running);
        let mut rest = String::new();
        client.read_to_string(&mut rest).expect("the end, and no reset");
        assert!(rest.ends_with("* the server is shutting down\n"), "{rest}");
    }

    #[test]
    fn an_error_half_way_through_the_start_ends_the_cores() {
        let (mut server, writer) = server();
        server.config.cores.pins = vec![None; 2];
        let (end, ended) = mpsc::channel();
        let start_first = |spec: CoreSpec, context, notify: Notify| {
            if spec.id != ShardId::new(0) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let end = end.clone();
            let notify = move |report| {
                if let Report::Ended(..) = &report {
                    end.send(()).expect("the test waits");
                }
                notify(report);
            };
            worker::start(spec, context, notify)
        };
        let error = server.start_by(start_first, writer.log()).expect_err("a core cannot start");
        assert!(matches!(error, ServerError::Start(_)), "{error}");
        ended.recv_timeout(PATIENCE).expect("the other core ends");
    }
}
