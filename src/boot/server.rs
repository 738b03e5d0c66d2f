//! Boot, supervision, shutdown: what happens around the cores.
//!
//! Boot order: signals, log, listeners, cores; the ready line is printed and the service manager told
//! when every core accepts. From then on this thread waits for one of three things: a signal, a core that
//! ended, a deadline.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::boot::config::{self, Config, ConfigError};
use crate::boot::notify::Manager;
use crate::boot::signals::{self, StopSignal};
use crate::close_reason::CloseReason;
use crate::events::Event;
use crate::ids::ShardId;
use crate::limits::{HISTORY_BYTES_MAX, STALL_NOTICED, WATCH_INTERVAL};
use crate::log::{Log, LogWriter};
use crate::metrics::{CoreMetrics, Counter, Metrics};
use crate::net::core::CoreContext;
use crate::net::delivery::mesh::Mesh;
use crate::net::worker::{self, CoreError, CoreSpec, CoreThread, Report};
use crate::panics;
use crate::policy::addresses::Addresses;
use crate::policy::memory_budget::Budget;
use crate::runtime::listener;
use crate::shard;

/// Why the server could not start, or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The port cannot be had.
    #[error("cannot listen on {address}: {}", bind_advice(.address, .error))]
    Bind {
        /// What was asked for.
        address: SocketAddr,
        /// The kernel's word.
        error: io::Error,
    },
    /// Something has to be changed first that shows only when cores start.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A thread or a signal handler cannot be had.
    #[error("cannot start: {0}")]
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
enum Wake {
    Signal(StopSignal),
    Core(Report),
}

/// Runs a server until it is asked to stop.
///
/// # Errors
/// When it cannot start, or a core cannot go on.
pub fn run(config: Config) -> Result<(), ServerError> {
    let (wakes, waking) = mpsc::channel();
    let on_signal = wakes.clone();
    signals::watch(move |signal| {
        let _ = on_signal.send(Wake::Signal(signal));
    })?;
    let writer = LogWriter::start(config.log)?;
    let log = writer.log();
    panics::log_to(log.clone());
    if config.is_crowded() {
        log.emit(Event::Unpinned { cores: config.cores.len(), cpus: config.cpus });
    }
    if let Some(lacking) = &config.lacking {
        let (cores, wanted) = (config.cores.len(), lacking.wanted());
        log.emit(Event::FewerCores { cores, wanted, lacking: lacking.to_string() });
    }
    for variable in &config.unknown_variables {
        log.emit(Event::UnknownVariable { name: variable.name.clone(), nearest: variable.nearest.clone() });
    }
    for file in &config.cow_files_skipped {
        log.emit(Event::CowSkipped { path: file.path.clone(), reason: file.reason.to_string() });
    }
    let metrics = Metrics::new(config.cores.len());
    let context = context(&config, Arc::clone(&metrics), log.clone())?;
    let (address, listeners) = listener::bind(config.listen, config.cores.len(), config.keepalive)
        .map_err(|error| ServerError::Bind { address: config.listen, error })?;

    let manager = Manager::from_environment();
    let mut server = Server { cores: Vec::new(), waking, log, metrics, manager };
    let mesh = Mesh::build(config.cores.len(), config.mailbox_frames)?;
    for (index, ((listener, (mesh, inbox)), &cpu)) in listeners.into_iter().zip(mesh).zip(&config.cores).enumerate() {
        let spec = CoreSpec { id: ShardId::new(index), cpu, listener, mesh, inbox };
        let wakes = wakes.clone();
        let notify = move |report| {
            // Nobody listens any more when the process is about to exit.
            let _ = wakes.send(Wake::Core(report));
        };
        server.cores.push(worker::start(spec, context.clone(), notify)?);
    }
    let signal = match server.wait_until_ready()? {
        Some(signal) => signal,
        None => {
            server.manager.ready(&announce(address, &config)?);
            server.wait_for_signal()?
        }
    };
    server.drain(signal, config.limits.drain_timeout)?;
    server.report();
    Ok(())
}

/// The one line on stdout: clients may connect now. Returns what it says: where, and the limits in
/// force.
///
/// # Errors
/// When no thread can be started: a full pipe on stdout must not keep this one from its signals.
fn announce(address: SocketAddr, config: &Config) -> io::Result<String> {
    let (cores, cows) = (config.cores.len(), config.herd.len());
    let plural = if cores == 1 { "" } else { "s" };
    let (of_each, connections, per_address) =
        (config.herd.size(), config.limits.connections_max, config.limits.connections_per_address);
    let said = format!(
        "listening on {address} ({cores} core{plural}, {cows} cows, {of_each} of each, {connections} connections, \
         {per_address} of an address)"
    );
    let line = format!("{said}\n");
    let write = move || {
        let mut stdout = io::stdout().lock();
        // A closed stdout is no reason not to serve.
        let _ = stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush());
    };
    std::thread::Builder::new().name("announce".to_owned()).spawn(write).map(|_| said)
}

fn context(config: &Config, metrics: Arc<Metrics>, log: Log) -> Result<CoreContext, ConfigError> {
    let (cores, limits) = (config.cores.len(), &config.limits);
    // A history stays: it must not make others go.
    let histories = if config.rules.history_messages > 0 { cores as u64 * HISTORY_BYTES_MAX as u64 } else { 0 };
    let exempt = limits.address_exempt.clone();
    Ok(CoreContext {
        shards: shard::Common::new(Arc::clone(&config.herd), cores, config.rules)?,
        metrics,
        log,
        addresses: Addresses::new(limits.connections_per_address, exempt, limits.connect_rate),
        budget: Budget::new(limits.queues_bytes_total.saturating_add(histories), cores),
        limits: Arc::clone(limits),
        motd: config.motd.clone(),
    })
}

/// The running cores and those who watch over them.
struct Server {
    cores: Vec<CoreThread>,
    waking: Receiver<Wake>,
    log: Log,
    metrics: Arc<Metrics>,
    manager: Manager,
}

impl Server {
    /// Waits until every core accepts; a signal that comes before is returned.
    fn wait_until_ready(&self) -> Result<Option<StopSignal>, ServerError> {
        let mut ready = 0;
        while ready < self.cores.len() {
            match self.waking.recv() {
                Ok(Wake::Core(Report::Ready(_))) => ready += 1,
                Ok(Wake::Core(Report::Ended(shard, result))) => {
                    return Err(ended_at_start(self.cores.len(), shard, result));
                }
                Ok(Wake::Signal(signal)) => return Ok(Some(signal)),
                Err(mpsc::RecvError) => unreachable!("the cores and the signal watcher hold senders"),
            }
        }
        Ok(None)
    }

    /// Waits for the signal to stop; a core that ends before that ends the server.
    fn wait_for_signal(&mut self) -> Result<StopSignal, ServerError> {
        let mut pulses = Pulses::new(self.cores.len(), Instant::now());
        loop {
            match self.waking.recv_timeout(WATCH_INTERVAL) {
                Ok(Wake::Signal(signal)) => return Ok(signal),
                Ok(Wake::Core(Report::Ended(shard, result))) => return Err(ended_early(shard, result)),
                Ok(Wake::Core(Report::Ready(_))) => {}
                Err(RecvTimeoutError::Timeout) => self.look_after_cores(&mut pulses, Instant::now()),
                Err(RecvTimeoutError::Disconnected) => unreachable!("the signal watcher holds a sender"),
            }
        }
    }

    /// Feels the cores' pulse: the log tells of one that has stalled, and the service manager hears that the
    /// server lives only while all cores do.
    fn look_after_cores(&mut self, pulses: &mut Pulses, now: Instant) {
        for core in &self.cores {
            match pulses.feel(core.id, self.metrics.of(core.id, Counter::Beats), now) {
                Pulse::Beats | Pulse::Missing => {}
                Pulse::Returned(stalled) => self.log.emit(Event::Recovered { shard: core.id, stalled }),
                Pulse::Stopped => {
                    CoreMetrics::new(Arc::clone(&self.metrics), core.id).add(Counter::Stalls, 1);
                    self.log.emit(Event::Stalled { shard: core.id });
                }
            }
        }
        if pulses.all_beat() {
            self.manager.alive(now);
        }
    }

    /// Has every core drain, and waits for them until the timeout.
    fn drain(&mut self, signal: StopSignal, timeout: Duration) -> Result<(), ServerError> {
        let began = Instant::now();
        let deadline = began + timeout;
        let draining = Event::Draining { signal: signal.name(), connections: self.metrics.open() };
        self.manager.stopping(&draining.to_string());
        self.log.emit(draining);
        self.cores.iter().for_each(|core| core.drain(began));
        let mut running = self.cores.len();
        while running > 0 {
            match self.waking.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Wake::Core(Report::Ended(_, Ok(())))) => running -= 1,
                Ok(Wake::Core(Report::Ended(shard, Err(error)))) => return Err(ServerError::Core { shard, error }),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => {
                    // The others have handed everything to the kernel, and only wait for their peers' end.
                    let connections = self.metrics.unwritten();
                    if connections > 0 {
                        self.log.emit(Event::DrainTimedOut { connections });
                    }
                    return Ok(());
                }
                Err(RecvTimeoutError::Disconnected) => unreachable!("the signal watcher holds a sender"),
            }
        }
        self.cores.drain(..).for_each(CoreThread::join);
        Ok(())
    }

    /// What the server has done, as the last line of its log, and before it what it would rather not have.
    fn report(&self) {
        let [faults, stalls] = [Counter::Faults, Counter::Stalls].map(|counter| self.metrics.total(counter));
        if faults + stalls > 0 {
            self.log.emit(Event::Mishaps { faults, stalls });
        }
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

/// What is known of the cores' hearts.
struct Pulses {
    /// Beats of each core when it was last seen to beat, and when that was.
    seen: Vec<(u64, Instant)>,
    stalled: Vec<bool>,
}

/// How a core's heart is.
#[derive(Debug, PartialEq, Eq)]
enum Pulse {
    /// It has beaten within [`STALL_NOTICED`].
    Beats,
    /// It beats again after that long.
    Returned(Duration),
    /// It has not beaten for [`STALL_NOTICED`], and was not known to.
    Stopped,
    /// It still does not beat.
    Missing,
}

impl Pulses {
    fn new(cores: usize, now: Instant) -> Self {
        Pulses { seen: vec![(0, now); cores], stalled: vec![false; cores] }
    }

    /// Takes note of how often a core has beaten until now.
    fn feel(&mut self, core: ShardId, beats: u64, now: Instant) -> Pulse {
        let at = core.index();
        let (seen, since) = self.seen[at];
        let silent = now.saturating_duration_since(since);
        let was_stalled = self.stalled[at];
        if beats != seen {
            self.seen[at] = (beats, now);
            self.stalled[at] = false;
            return if was_stalled { Pulse::Returned(silent) } else { Pulse::Beats };
        }
        self.stalled[at] = silent >= STALL_NOTICED;
        match (was_stalled, self.stalled[at]) {
            (_, false) => Pulse::Beats,
            (false, true) => Pulse::Stopped,
            (true, true) => Pulse::Missing,
        }
    }

    /// Whether every core has beaten within [`STALL_NOTICED`].
    fn all_beat(&self) -> bool {
        !self.stalled.contains(&true)
    }
}

fn ended_at_start(cores: usize, shard: ShardId, result: Result<(), CoreError>) -> ServerError {
    if let Err(CoreError::Rings(error)) = &result
        && let Some(to_be_changed) = config::too_little_memlock(cores, error)
    {
        return ServerError::Config(to_be_changed);
    }
    ended_early(shard, result)
}

fn ended_early(shard: ShardId, result: Result<(), CoreError>) -> ServerError {
    let error = result.err().unwrap_or(CoreError::Panicked("it ended without being asked to"));
    ServerError::Core { shard, error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_that_does_not_beat_is_missed_after_a_second_and_until_it_beats_again() {
        let began = Instant::now();
        let [zero, one] = [0, 1].map(ShardId::new);
        let mut pulses = Pulses::new(2, began);
        // Core 0 beats all the time, core 1 at the beginning and from 3000 ms on.
        let mut look = |at: u64, beats_of_one| {
            let now = began + Duration::from_millis(at);
            assert_eq!(pulses.feel(zero, at, now), Pulse::Beats, "at {at}");
            (pulses.feel(one, beats_of_one, now), pulses.all_beat())
        };
        assert_eq!(look(250, 5), (Pulse::Beats, true));
        assert_eq!(look(500, 5), (Pulse::Beats, true));
        assert_eq!(look(1249, 5), (Pulse::Beats, true));
        assert_eq!(look(1250, 5), (Pulse::Stopped, false));
        assert_eq!(look(1500, 5), (Pulse::Missing, false));
        assert_eq!(look(3000, 6), (Pulse::Returned(Duration::from_millis(2750)), true));
        assert_eq!(look(3250, 7), (Pulse::Beats, true));
        assert_eq!(look(9000, 7), (Pulse::Stopped, false));
    }

    #[test]
    fn a_core_that_has_never_beaten_is_missed_too() {
        let began = Instant::now();
        let mut pulses = Pulses::new(1, began);
        assert_eq!(pulses.feel(ShardId::new(0), 0, began + STALL_NOTICED), Pulse::Stopped);
        assert!(!pulses.all_beat());
    }
}
