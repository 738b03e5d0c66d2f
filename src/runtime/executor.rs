//! The executor of a core: the one file that names glommio.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use glommio::{LocalExecutorBuilder, Placement};
use rustix::thread::{CpuSet, sched_setaffinity};

use super::reactor::Reactor;
use super::remote_waker::RemoteWaker;
use super::retry;
use crate::limits::{EXECUTOR_PREEMPTION, EXECUTOR_RING_DEPTH, IO_MEMORY_BYTES};

/// Has this thread run on `cpu` alone.
///
/// # Errors
/// When that is forbidden, or the CPU is gone.
pub fn pin_to(cpu: usize) -> io::Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(cpu);
    Ok(sched_setaffinity(None, &cpus)?)
}

/// Runs a core's main task on this thread until it ends: with an executor, and a reactor that `remote_waker` wakes.
///
/// # Errors
/// When one of them cannot be had.
pub fn block_on<T>(remote_waker: Arc<RemoteWaker>, main: impl AsyncFnOnce(Rc<Reactor>) -> T) -> io::Result<T> {
    let reactor = retry::on(io::ErrorKind::OutOfMemory, || Reactor::new(Arc::clone(&remote_waker)))?;
    block_on_reactor(reactor, main)
}

/// The same with this thread's `reactor`, and wherever the thread may run.
pub(crate) fn block_on_reactor<T>(reactor: Rc<Reactor>, main: impl AsyncFnOnce(Rc<Reactor>) -> T) -> io::Result<T> {
    let executor = || {
        // A pinned thread is pinned already, and the threads that glommio starts inherit that.
        let builder = LocalExecutorBuilder::new(Placement::Unbound)
            .name("core")
            .ring_depth(EXECUTOR_RING_DEPTH)
            .io_memory(IO_MEMORY_BYTES)
            .preempt_timer(EXECUTOR_PREEMPTION);
        Ok(builder.make()?)
    };
    let executor = retry::on(io::ErrorKind::OutOfMemory, executor)?;
    Ok(executor.run(reactor.tracked(async {
        glommio::spawn_local(Rc::clone(&reactor).drive()).detach();
        let outcome = main(Rc::clone(&reactor)).await;
        // The kernel keeps a socket that was closed until it has heard that nobody watches it any more.
        reactor.yield_now().await;
        reactor.flush_submissions().await;
        reactor.stop();
        outcome
    })))
}
