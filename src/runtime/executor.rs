//! The executor of a core: the one file that names glommio.

use std::future::Future;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use glommio::task::JoinHandle;
use glommio::{LocalExecutorBuilder, Placement};
use rustix::thread::{CpuSet, sched_setaffinity};

use super::progress::Progress;
use super::reactor::Reactor;
use super::remote_waker::RemoteWaker;
use super::retry;
use super::ring::Ring;
use crate::limits::{EXECUTOR_PREEMPTION, EXECUTOR_RING_DEPTH, IO_MEMORY_BYTES};

/// Pins this thread to `cpu`; fails when that is forbidden, or the CPU is gone.
pub fn pin_to(cpu: usize) -> io::Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(cpu);
    Ok(sched_setaffinity(None, &cpus)?)
}

/// Runs a core's main task on this thread until it ends. `remote_waker` wakes the core, `progress` counts what it does.
/// Fails when the kernel or its limits do not allow the rings of the executor or of the reactor.
pub fn block_on<T>(
    remote_waker: Arc<RemoteWaker>,
    progress: Progress,
    main: impl AsyncFnOnce(Rc<Reactor>) -> T,
) -> io::Result<T> {
    let ring = retry::on(io::ErrorKind::OutOfMemory, Ring::new)?;
    block_on_reactor(Reactor::new(ring, remote_waker, progress), main)
}

/// The same with a reactor of this thread.
pub(super) fn block_on_reactor<T>(reactor: Rc<Reactor>, main: impl AsyncFnOnce(Rc<Reactor>) -> T) -> io::Result<T> {
    let executor = retry::on(io::ErrorKind::OutOfMemory, || {
        // A pinned thread is pinned already, and the threads that glommio starts inherit that.
        let builder = LocalExecutorBuilder::new(Placement::Unbound)
            .name("core")
            .ring_depth(EXECUTOR_RING_DEPTH)
            .io_memory(IO_MEMORY_BYTES)
            .preempt_timer(EXECUTOR_PREEMPTION);
        Ok(builder.make()?)
    })?;
    Ok(executor.run(reactor.progress.track(async {
        glommio::spawn_local(Rc::clone(&reactor).drive()).detach();
        let outcome = main(Rc::clone(&reactor)).await;
        reactor.stop().await;
        outcome
    })))
}

impl Reactor {
    /// Starts a task on this core. It runs until it ends, also without the handle.
    pub(crate) fn spawn<T: 'static>(&self, task: impl Future<Output = T> + 'static) -> JoinHandle<T> {
        glommio::spawn_local(self.progress.track(task)).detach()
    }
}
