//! One core's event loop, and nothing of chat: tasks, sockets, timers, and wake-ups from other cores.

pub mod executor;
pub mod listener;
pub mod notifications;
pub(crate) mod poll_clock;
pub mod reactor;
mod registrations;
pub mod remote_waker;
pub(crate) mod retry;
pub(crate) mod send_batch;
pub(crate) mod socket;
mod timers;
