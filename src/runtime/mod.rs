//! One core's event loop, and nothing of chat: tasks, sockets, timers, and wake-ups from other threads.
//!
//! The trap for a new task: glommio only runs the tasks here, and its own event loop never does anything.
//! - Start a task by `Reactor::spawn`. A task started otherwise is not seen to run, so the core may park while it is
//!   runnable.
//! - Wait only for what the reactor wakes: a socket, `sleep`, `yield_now`, `Notifications`, or another task of the core.
//!   A timer or an I/O call of glommio never completes.
//! - From another thread, wake the core by its `RemoteWaker`: a `Waker` that is woken there is lost.
//! - The executor's queue has to stay first in, first out: the driver concludes from it that no task is runnable.
//! - A task that does not wait holds up its core. After about a millisecond of work, let others run by `yield_now`.

pub mod executor;
pub(crate) mod listener;
pub mod notifications;
pub(crate) mod poll_clock;
pub(crate) mod probe;
pub mod progress;
pub mod reactor;
mod registrations;
pub mod remote_waker;
mod retry;
mod ring;
pub(crate) mod send_batch;
pub(crate) mod socket;
mod timers;
