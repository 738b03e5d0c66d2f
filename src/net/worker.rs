//! A core's thread: its tasks, and how it ends.

use std::io;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Instant;

use super::accept;
use super::core::{Core, CoreContext};
use super::delivery::mesh::{Inbox, Mesh};
use super::delivery::{flush, pump};
use super::{drain, housekeeping};
use crate::events::Event;
use crate::ids::ShardId;
use crate::panics;
use crate::runtime::executor::{block_on, pin_to};
use crate::runtime::listener::Listener;
use crate::runtime::progress::Progress;
use crate::runtime::reactor::Reactor;
use crate::runtime::remote_waker::RemoteWaker;

/// What one core has of its own.
#[derive(Debug)]
pub struct CoreSpec {
    pub id: ShardId,
    /// The CPU it is pinned to; `None` leaves it to the kernel.
    pub cpu: Option<usize>,
    pub listener: Listener,
    /// Its way to the others.
    pub mesh: Mesh,
    /// Their way to it.
    pub inbox: Inbox,
}

/// What a core's thread reports to its supervisor.
#[derive(Debug)]
pub enum Report {
    /// It accepts.
    Ready,
    /// Drained, or with the reason why it could not go on.
    Ended(ShardId, Result<(), CoreError>),
}

/// Why a core could not start, or go on.
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    /// The kernel refuses a ring.
    #[error("cannot set up io_uring: {0}")]
    Rings(#[from] io::Error),
    /// A panic left state half changed that other sessions depend on.
    #[error("panicked: {0}")]
    Panicked(&'static str),
}

/// A core's thread, and the way to ask it to end.
#[derive(Debug)]
pub struct CoreThread {
    pub id: ShardId,
    /// Since when it is to drain.
    draining: Arc<OnceLock<Instant>>,
    remote_waker: Arc<RemoteWaker>,
    pub progress: Progress,
    thread: JoinHandle<()>,
}

impl CoreThread {
    /// Asks the core to drain, as the server does since `began`. A second call changes nothing.
    pub fn drain(&self, began: Instant) {
        self.draining.get_or_init(|| began);
        self.remote_waker.wake();
    }

    /// Waits for the thread, which has said that it ended.
    pub fn join(self) {
        // Its report said how it ended.
        let _ = self.thread.join();
    }
}

/// Starts a core, which calls `notify` on its own thread.
pub fn start(spec: CoreSpec, context: CoreContext, notify: impl Fn(Report) + Send + 'static) -> io::Result<CoreThread> {
    let id = spec.id;
    let remote_waker = Arc::clone(spec.mesh.remote_waker());
    let draining = Arc::new(OnceLock::new());
    let progress = Progress::default();
    let (asked, counted) = (Arc::clone(&draining), progress.clone());
    let thread = std::thread::Builder::new().name(format!("core-{id}")).spawn(move || {
        let run = AssertUnwindSafe(|| run(spec, context, &asked, counted, &notify));
        let result =
            std::panic::catch_unwind(run).unwrap_or_else(|panic| Err(CoreError::Panicked(panics::text(&*panic))));
        notify(Report::Ended(id, result));
    })?;
    Ok(CoreThread { id, draining, remote_waker, progress, thread })
}

fn run(
    spec: CoreSpec,
    context: CoreContext,
    draining: &OnceLock<Instant>,
    progress: Progress,
    notify: &dyn Fn(Report),
) -> Result<(), CoreError> {
    if let Some(cpu) = spec.cpu
        && let Err(error) = pin_to(cpu)
    {
        context.log.emit(Event::PinFailed { shard: spec.id, cpu, error: error.to_string() });
    }
    let remote_waker = Arc::clone(spec.mesh.remote_waker());
    let main = async move |reactor: Rc<Reactor>| serve(spec, context, reactor, draining, notify).await;
    Ok(block_on(remote_waker, progress, main)?)
}

async fn serve(
    spec: CoreSpec,
    context: CoreContext,
    reactor: Rc<Reactor>,
    draining: &OnceLock<Instant>,
    notify: &dyn Fn(Report),
) {
    let listener = Rc::new(spec.listener.watched_by(&reactor));
    let core = Core::new(spec.id, context, spec.mesh, Rc::clone(&reactor));
    reactor.spawn(housekeeping::run(Rc::clone(&core)));
    reactor.spawn(housekeeping::visit_connections(Rc::clone(&core)));
    reactor.spawn(flush::run(Rc::clone(&core)));
    reactor.spawn(pump::run(Rc::clone(&core), spec.inbox));
    reactor.spawn(accept::accept_loop(Rc::clone(&core), Rc::clone(&listener)));
    notify(Report::Ready);
    let mut notifications = reactor.notifications();
    let began = loop {
        match draining.get() {
            Some(&began) => break began,
            None => notifications.notified().await,
        }
    };
    drain::run(&core, &listener, began).await;
}
