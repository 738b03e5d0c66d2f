//! A core's thread: its tasks, and how it ends.

use std::io;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::mpsc::{self, Receiver, Sender};
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

/// Something for a core to do between its tasks.
type Request = Box<dyn FnOnce(&Rc<Core>) + Send>;

/// A request has panicked, and changed nothing that it has not finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a bug of the server ended the request (please report what the log says at event=internal_fault)")]
pub struct RequestFault;

/// Asks a core from any thread.
#[derive(Debug, Clone)]
pub struct CoreHandle {
    requests: Sender<Request>,
    remote_waker: Arc<RemoteWaker>,
}

impl CoreHandle {
    /// Has the core do `act` soon, after what was asked before, and returns where the reply comes. It must be short: it
    /// delays all connections of the core. A core that drains or has ended drops it, and no reply comes.
    pub fn ask<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Rc<Core>) -> T + Send + 'static,
    ) -> Receiver<Result<T, RequestFault>> {
        let (reply, replies) = mpsc::sync_channel(1);
        let request: Request = Box::new(move |core| {
            // The asker need not wait.
            let _ = reply.send(guard(core, act));
        });
        // It fails if the core takes no more, and drops the request.
        let _ = self.requests.send(request);
        self.remote_waker.wake();
        replies
    }
}

/// Does `act`. A panic ends nothing else, unless it left state half changed that connections share.
fn guard<T>(core: &Rc<Core>, act: impl FnOnce(&Rc<Core>) -> T) -> Result<T, RequestFault> {
    std::panic::catch_unwind(AssertUnwindSafe(|| act(core))).map_err(|panic| {
        if core.is_poisoned() {
            std::panic::resume_unwind(panic);
        }
        core.record_fault(None, &*panic);
        // What it has queued until then.
        core.dirty.schedule_flush();
        RequestFault
    })
}

/// What other threads ask of a core.
struct Asked {
    /// Since when it is to drain.
    draining: Arc<OnceLock<Instant>>,
    requests: Receiver<Request>,
}

/// A core's thread, and the way to ask it to end.
#[derive(Debug)]
pub struct CoreThread {
    pub id: ShardId,
    /// Since when it is to drain.
    draining: Arc<OnceLock<Instant>>,
    handle: CoreHandle,
    pub progress: Progress,
    thread: JoinHandle<()>,
}

impl CoreThread {
    /// Asks the core to drain, as the server does since `began`. A second call changes nothing.
    pub fn drain(&self, began: Instant) {
        self.draining.get_or_init(|| began);
        self.handle.remote_waker.wake();
    }

    /// The way to ask it for anything else.
    pub fn handle(&self) -> CoreHandle {
        self.handle.clone()
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
    let (sender, requests) = mpsc::channel();
    let handle = CoreHandle { requests: sender, remote_waker: Arc::clone(spec.mesh.remote_waker()) };
    let draining = Arc::new(OnceLock::new());
    let progress = Progress::default();
    let (asked, counted) = (Asked { draining: Arc::clone(&draining), requests }, progress.clone());
    let thread = std::thread::Builder::new().name(format!("core-{id}")).spawn(move || {
        let run = AssertUnwindSafe(|| run(spec, context, asked, counted, &notify));
        let result =
            std::panic::catch_unwind(run).unwrap_or_else(|panic| Err(CoreError::Panicked(panics::text(&*panic))));
        notify(Report::Ended(id, result));
    })?;
    Ok(CoreThread { id, draining, handle, progress, thread })
}

fn run(
    spec: CoreSpec,
    context: CoreContext,
    asked: Asked,
    progress: Progress,
    notify: &dyn Fn(Report),
) -> Result<(), CoreError> {
    if let Some(cpu) = spec.cpu
        && let Err(error) = pin_to(cpu)
    {
        context.log.emit(Event::PinFailed { shard: spec.id, cpu, error: error.to_string() });
    }
    let remote_waker = Arc::clone(spec.mesh.remote_waker());
    let main = async move |reactor: Rc<Reactor>| serve(spec, context, reactor, asked, notify).await;
    Ok(block_on(remote_waker, progress, main)?)
}

async fn serve(spec: CoreSpec, context: CoreContext, reactor: Rc<Reactor>, asked: Asked, notify: &dyn Fn(Report)) {
    let listener = Rc::new(spec.listener.watched_by(&reactor));
    let core = Core::new(spec.id, context, spec.mesh, Rc::clone(&reactor));
    reactor.spawn(housekeeping::run(Rc::clone(&core)));
    reactor.spawn(housekeeping::visit_connections(Rc::clone(&core)));
    reactor.spawn(flush::run(Rc::clone(&core)));
    reactor.spawn(pump::run(Rc::clone(&core), spec.inbox));
    reactor.spawn(accept::accept_loop(Rc::clone(&core), Rc::clone(&listener)));
    notify(Report::Ready);
    let began = serve_requests(&core, asked).await;
    drain::run(&core, &listener, began).await;
}

/// Does what other threads ask until the core is to drain; returns since when.
async fn serve_requests(core: &Rc<Core>, asked: Asked) -> Instant {
    let mut notifications = core.reactor.notifications();
    loop {
        // Other tasks run between two requests.
        while asked.draining.get().is_none()
            && let Ok(request) = asked.requests.try_recv()
        {
            request(core);
            core.reactor.yield_now().await;
        }
        match asked.draining.get() {
            Some(&began) => return began,
            None => notifications.notified().await,
        }
    }
}
