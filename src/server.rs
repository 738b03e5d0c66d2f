//! Boot, supervision, shutdown: what happens around the cores.
//!
//! Boot order: signals, log, herd, listeners, cores; the ready line is printed when every core accepts.
//! From then on this thread waits for one of three things: a signal, a core that ended, a deadline.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Instant;

use crate::addresses::Addresses;
use crate::config::Config;
use crate::cows::Herd;
use crate::cows::herd::HerdError;
use crate::directory::ShardId;
use crate::events::{CloseReason, Event, Log, LogWriter};
use crate::limits::{STALL_NOTICED, WATCH_INTERVAL};
use crate::metrics::{Counter, Metrics};
use crate::net::budget::Budget;
use crate::net::core::Settings;
use crate::net::executor::{self, Common, CoreError, CoreThread, Plan, Report};
use crate::net::flood::Rate;
use crate::net::listener;
use crate::net::mesh::Mesh;
use crate::shard::{self, Rules};
use crate::shutdown::{self, StopSignal};

/// Why the server could not start, or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The port can not be had.
    #[error("can not listen on {address}: {}", bind_advice(.error))]
    Bind {
        /// What was asked for.
        address: SocketAddr,
        /// The kernel's word.
        error: io::Error,
    },
    /// The cows can not be put together.
    #[error(transparent)]
    Herd(#[from] HerdError),
    /// A thread or a signal handler can not be had.
    #[error("can not start: {0}")]
    Start(#[from] io::Error),
    /// A core failed; the others are stopped with it, so that nobody talks to half a server.
    #[error("core {shard} {error}")]
    Core {
        /// Which one.
        shard: ShardId,
        /// Why.
        error: CoreError,
    },
}

fn bind_advice(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "address already in use (another server listens there; stop it or choose another --listen)".to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            format!("{error} (ports below 1024 need privileges; choose another --listen)")
        }
        io::ErrorKind::AddrNotAvailable => format!("{error} (this machine does not have that address)"),
        _ => error.to_string(),
    }
}

/// What the supervising thread waits for.
enum Wake {
    Signal(StopSignal),
    Core(Report),
}

/// Runs a server until it is asked to stop.
///
/// # Errors
/// When it can not start, or a core can not go on.
pub fn run(config: Config) -> Result<(), ServerError> {
    let (wakes, waking) = mpsc::channel();
    let on_signal = wakes.clone();
    shutdown::watch(move |signal| {
        let _ = on_signal.send(Wake::Signal(signal));
    })?;
    let writer = LogWriter::start(config.log)?;
    let log = writer.log();
    if config.is_crowded() {
        log.emit(Event::Unpinned { cores: config.cores.len(), cpus: config.cpus });
    }
    for file in &config.cow_files.skipped {
        log.emit(Event::CowSkipped { path: file.path.clone(), reason: file.reason.to_string() });
    }
    let metrics = Metrics::new(config.cores.len());
    let mut breeds = Herd::builtin(config.bubble)?;
    breeds.extend(config.cow_files.cows.iter().cloned());
    let herd = Arc::new(Herd::new(breeds, config.herd_size, config.bubble)?);
    let (address, listeners) = listener::bind(config.listen, config.cores.len(), config.keepalive)
        .map_err(|error| ServerError::Bind { address: config.listen, error })?;
    let cows = herd.len();
    let common = common(&config, herd, Arc::clone(&metrics), log.clone());

    let mut server = Server { cores: Vec::new(), waking, log, metrics };
    let mesh = Mesh::build(config.cores.len(), config.mailbox_frames);
    for (index, ((listener, (mesh, inbox)), &cpu)) in listeners.into_iter().zip(mesh).zip(&config.cores).enumerate() {
        let plan = Plan { id: ShardId::new(index), cpu, listener, mesh, inbox };
        let wakes = wakes.clone();
        let notify = move |report| {
            // Nobody listens any more when the process is about to exit.
            let _ = wakes.send(Wake::Core(report));
        };
        server.cores.push(executor::start(plan, common.clone(), notify)?);
    }
    let signal = match server.wait_until_ready()? {
        Some(signal) => signal,
        None => {
            announce(address, server.cores.len(), cows)?;
            server.wait_for_signal()?
        }
    };
    server.drain(signal, config.drain_timeout)?;
    server.report();
    Ok(())
}

/// The one line on stdout: whoever started the server may connect now.
///
/// # Errors
/// When no thread can be started: a full pipe on stdout must not keep this one from its signals.
fn announce(address: SocketAddr, cores: usize, cows: usize) -> io::Result<()> {
    let plural = |count| if count == 1 { "" } else { "s" };
    let line = format!("listening on {address} ({cores} core{}, {cows} cow{})\n", plural(cores), plural(cows));
    let write = move || {
        let mut stdout = io::stdout().lock();
        // A closed stdout is no reason not to serve.
        let _ = stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush());
    };
    std::thread::Builder::new().name("announce".to_owned()).spawn(write).map(drop)
}

fn common(config: &Config, herd: Arc<Herd>, metrics: Arc<Metrics>, log: Log) -> Common {
    let rules = Rules {
        header: config.header,
        art: config.art,
        history_messages: config.history_messages,
        line_bytes_max: config.line_bytes_max,
    };
    Common {
        shards: shard::Common::new(herd, config.cores.len(), rules),
        metrics,
        log,
        settings: Settings {
            sendq_bytes_max: config.sendq_bytes_max,
            sendq_stall: config.sendq_stall,
            budget: Budget::new(config.queues_bytes_total, config.cores.len()),
            login_timeout: config.login_timeout,
            login_exempt: config.login_exempt.clone(),
            idle_timeout: config.idle_timeout,
            flood: Rate::new(config.flood_burst, config.flood_rate.lines, config.flood_rate.per),
            flood_exempt: config.flood_exempt.clone(),
            addresses: Addresses::new(config.connections_per_address, config.address_exempt.clone()),
            user_timeout: config.user_timeout,
            connections_max: config.connections_max,
            motd: config.motd.clone(),
        },
    }
}

/// The running cores and those who watch over them.
struct Server {
    cores: Vec<CoreThread>,
    waking: Receiver<Wake>,
    log: Log,
    metrics: Arc<Metrics>,
}

impl Server {
    /// Waits until every core accepts; a signal that comes before is returned.
    fn wait_until_ready(&self) -> Result<Option<StopSignal>, ServerError> {
        let mut ready = 0;
        while ready < self.cores.len() {
            match self.waking.recv() {
                Ok(Wake::Core(Report::Ready(_))) => ready += 1,
                Ok(Wake::Core(Report::Ended(shard, result))) => return Err(ended_early(shard, result)),
                Ok(Wake::Signal(signal)) => return Ok(Some(signal)),
                Err(mpsc::RecvError) => unreachable!("the cores and the signal watcher hold senders"),
            }
        }
        Ok(None)
    }

    /// Waits for the signal to stop; a core that ends before that ends the server.
    fn wait_for_signal(&self) -> Result<StopSignal, ServerError> {
        let mut watch = Watch::new(self.cores.len());
        loop {
            match self.waking.recv_timeout(WATCH_INTERVAL) {
                Ok(Wake::Signal(signal)) => return Ok(signal),
                Ok(Wake::Core(Report::Ended(shard, result))) => return Err(ended_early(shard, result)),
                Ok(Wake::Core(Report::Ready(_))) => {}
                Err(RecvTimeoutError::Timeout) => watch.look(self),
                Err(RecvTimeoutError::Disconnected) => unreachable!("the signal watcher holds a sender"),
            }
        }
    }

    /// Has every core drain, and waits for them until the timeout.
    fn drain(&mut self, signal: StopSignal, timeout: std::time::Duration) -> Result<(), ServerError> {
        let deadline = Instant::now() + timeout;
        self.log.emit(Event::Draining { signal: signal.name(), connections: self.metrics.open() });
        self.cores.iter().for_each(CoreThread::drain);
        let mut running = self.cores.len();
        while running > 0 {
            match self.waking.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Wake::Core(Report::Ended(_, Ok(())))) => running -= 1,
                Ok(Wake::Core(Report::Ended(shard, Err(error)))) => return Err(ServerError::Core { shard, error }),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => {
                    self.log.emit(Event::DrainTimedOut { connections: self.metrics.open() });
                    return Ok(());
                }
                Err(RecvTimeoutError::Disconnected) => unreachable!("the signal watcher holds a sender"),
            }
        }
        self.cores.drain(..).for_each(CoreThread::join);
        Ok(())
    }

    /// What the server has done, as the last line of its log.
    fn report(&self) {
        let count = |reason| Some((reason, self.metrics.ended(reason))).filter(|(_, count)| *count > 0);
        self.log.emit(Event::Stopped {
            connections: self.metrics.total(Counter::Accepted),
            says: self.metrics.total(Counter::Says),
            yields: self.metrics.total(Counter::Yields),
            deliveries: self.metrics.total(Counter::Deliveries),
            stale: self.metrics.total(Counter::StaleFrames),
            ended: CloseReason::ALL.into_iter().filter_map(count).collect(),
        });
    }
}

/// Watches the cores' hearts. One that has not beaten for [`STALL_NOTICED`] is woken from outside, in case
/// that it sleeps on a lost wake-up, and the log says so.
struct Watch {
    /// Beats of each core when it was last seen to beat, and when that was.
    seen: Vec<(u64, Instant)>,
    stalled: Vec<bool>,
}

impl Watch {
    fn new(cores: usize) -> Self {
        Watch { seen: vec![(0, Instant::now()); cores], stalled: vec![false; cores] }
    }

    fn look(&mut self, server: &Server) {
        let now = Instant::now();
        for core in &server.cores {
            let at = core.id.index();
            let beats = server.metrics.of(core.id, Counter::Beats);
            let (seen, since) = self.seen[at];
            if beats != seen {
                self.seen[at] = (beats, now);
                if std::mem::take(&mut self.stalled[at]) {
                    server.log.emit(Event::Recovered { shard: core.id, stalled: now - since });
                }
            } else if now - since >= STALL_NOTICED {
                core.wake();
                if !std::mem::replace(&mut self.stalled[at], true) {
                    server.log.emit(Event::Stalled { shard: core.id });
                }
            }
        }
    }
}

fn ended_early(shard: ShardId, result: Result<(), CoreError>) -> ServerError {
    let error = result.err().unwrap_or_else(|| CoreError::Panicked("it ended without being asked to".to_owned()));
    ServerError::Core { shard, error }
}
