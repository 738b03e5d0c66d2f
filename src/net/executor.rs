//! A core's thread: its executor, its tasks, and how it ends.

use std::io;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use flume::{Receiver, Sender};
use glommio::timer::Timer;
use glommio::{GlommioError, LocalExecutor, LocalExecutorBuilder, Placement};
use rustix::thread::{CpuSet, sched_setaffinity};

use super::core::{Core, Settings};
use super::listener::{self, Listener};
use super::mesh::{Inbox, Mesh};
use super::serve::panic_text;
use super::{drain, flush, heartbeat, pump};
use crate::directory::ShardId;
use crate::events::{Event, Log};
use crate::limits::{IO_MEMORY_BYTES, RING_DEPTHS};
use crate::metrics::{CoreMetrics, Metrics};
use crate::shard;

/// What all cores have in common.
#[derive(Debug, Clone)]
pub struct Common {
    /// What the shards share: names, pictures, who owns which.
    pub shards: shard::Common,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// Where events go.
    pub log: Log,
    /// The limits in force.
    pub settings: Settings,
}

/// What one core has of its own.
#[derive(Debug)]
pub struct Plan {
    /// Its place.
    pub id: ShardId,
    /// The CPU it is pinned to; `None` leaves it to the kernel.
    pub cpu: Option<usize>,
    /// Its listener.
    pub listener: Listener,
    /// Its way to the others.
    pub mesh: Mesh,
    /// Their way to it.
    pub inbox: Inbox,
}

/// What a core's thread tells whoever supervises it.
#[derive(Debug)]
pub enum Report {
    /// It accepts.
    Ready(ShardId),
    /// It has ended: drained, or with the reason why it could not go on.
    Ended(ShardId, Result<(), CoreError>),
}

/// Why a core could not start, or go on.
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    /// The CPU can not be had.
    #[error("can not run on CPU {cpu}: {error}")]
    Pin {
        /// The CPU that was asked for.
        cpu: usize,
        /// The kernel's word.
        error: io::Error,
    },
    /// The executor can not be made.
    #[error("can not set up io_uring: {0}")]
    Executor(String),
    /// The listener can not be had twice.
    #[error("can not set up its listener: {0}")]
    Listener(io::Error),
    /// Something panicked that other sessions depend on.
    #[error("panicked: {0}")]
    Panicked(String),
}

/// A core's thread, and the way to ask it to end.
#[derive(Debug)]
pub struct CoreThread {
    /// Its place.
    pub id: ShardId,
    orders: Sender<Order>,
    thread: JoinHandle<()>,
}

/// What a core is told from outside.
#[derive(Debug, Clone, Copy)]
enum Order {
    /// To look up: a wake-up may have been lost.
    Wake,
    /// To drain.
    Drain,
}

/// Orders that may wait for a core: one of each.
const ORDERS: usize = 2;

impl CoreThread {
    /// Asks the core to drain; asking twice is as good as once.
    pub fn drain(&self) {
        let _ = self.orders.try_send(Order::Drain);
    }

    /// Wakes the core from outside, in case that it sleeps although there is something to do.
    pub fn wake(&self) {
        if self.orders.is_empty() {
            let _ = self.orders.try_send(Order::Wake);
        }
    }

    /// Waits for the thread, which has said that it ended.
    pub fn join(self) {
        // How it ended, its report has told.
        let _ = self.thread.join();
    }
}

/// Starts a core; what becomes of it is told to `notify`, on the core's own thread.
///
/// # Errors
/// When the thread can not be started.
pub fn start(plan: Plan, common: Common, notify: impl Fn(Report) + Send + 'static) -> io::Result<CoreThread> {
    let id = plan.id;
    let (sender, orders) = flume::bounded(ORDERS);
    let thread = std::thread::Builder::new().name(format!("core-{id}")).spawn(move || {
        let run = AssertUnwindSafe(|| run(plan, common, &orders, &notify));
        let result =
            std::panic::catch_unwind(run).unwrap_or_else(|panic| Err(CoreError::Panicked(panic_text(&*panic))));
        notify(Report::Ended(id, result));
    })?;
    Ok(CoreThread { id, orders: sender, thread })
}

fn run(plan: Plan, common: Common, orders: &Receiver<Order>, notify: &dyn Fn(Report)) -> Result<(), CoreError> {
    if let Some(cpu) = plan.cpu {
        let mut cpus = CpuSet::new();
        cpus.set(cpu);
        sched_setaffinity(None, &cpus).map_err(|error| CoreError::Pin { cpu, error: error.into() })?;
    }
    let executor = executor(plan.id, &common.log)?;
    executor.run(serve(plan, common, orders, notify))
}

/// An executor with the deepest rings that the locked-memory limit allows.
fn executor(id: ShardId, log: &Log) -> Result<LocalExecutor, CoreError> {
    let mut failure = String::new();
    for depth in RING_DEPTHS {
        // The thread is pinned already, and what glommio starts inherits that. `preempt_timer` stays at
        // its default and no queue asks for latency: both make the lost wake-up (`heartbeat`) likelier.
        let made = LocalExecutorBuilder::new(Placement::Unbound)
            .name("core")
            .ring_depth(depth)
            .io_memory(IO_MEMORY_BYTES)
            .make();
        match made {
            Ok(executor) => {
                if depth != RING_DEPTHS[0] {
                    log.emit(Event::RingFallback { shard: id, depth });
                }
                return Ok(executor);
            }
            Err(error) => {
                failure = error.to_string();
                let out_of_memory = matches!(&error,
                    GlommioError::IoError(error) if error.kind() == io::ErrorKind::OutOfMemory);
                if !out_of_memory {
                    break;
                }
            }
        }
    }
    Err(CoreError::Executor(failure))
}

async fn serve(plan: Plan, common: Common, orders: &Receiver<Order>, notify: &dyn Fn(Report)) -> Result<(), CoreError> {
    // An executor's first sleep takes 19 ms; nobody should have to wait for that later.
    Timer::new(Duration::from_millis(1)).await;
    let metrics = CoreMetrics::new(common.metrics, plan.id);
    let core = Core::new(plan.id, common.settings, common.shards, plan.mesh, metrics, common.log);
    let waiting = Rc::new(plan.listener.handle().map_err(CoreError::Listener)?);
    let ending = Rc::clone(&waiting);
    let listener = plan.listener.into_glommio();
    glommio::spawn_local(heartbeat::run(Rc::clone(&core), Rc::clone(&waiting))).detach();
    glommio::spawn_local(flush::run(Rc::clone(&core))).detach();
    glommio::spawn_local(pump::run(Rc::clone(&core), plan.inbox)).detach();
    let accepting = glommio::spawn_local(listener::accept_loop(Rc::clone(&core), listener, waiting)).detach();
    notify(Report::Ready(plan.id));
    // An error means that the supervisor is gone; there is nothing left to serve for.
    while let Ok(Order::Wake) = orders.recv_async().await {}
    drain::run(&core, &ending, accepting).await;
    Ok(())
}
