//! Chat over sockets: what runs on each core. Only this room knows flume.
//!
//! A core is one thread (`worker`) with an executor of [`crate::runtime`], and on it:
//!
//! - `accept`: the task that accepts, admits, and has `refuse` turn away;
//! - [`connection`]: one task per connection, which reads, executes lines and waits for its socket;
//! - [`delivery`]: one task that takes what other cores send (`pump`), and one that writes what all turns have queued
//!   (`flush`);
//! - `housekeeping`: a task that runs however little there is to do (it cuts `slow_consumers`), and another that looks at
//!   connections that are stalled, silent or gone;
//! - `cluster`, `entering`: the core as a part of a cluster;
//! - `closed`: the connections that ended last; `operator`: what an operator asks of the core;
//! - `drain`: the shutdown.
//!
//! [`crate::policy`] decides, this room acts. What all turns queue for a connection leaves in one write. No borrow of a
//! core's state is held over an `.await`.

mod accept;
mod closed;
pub(crate) mod cluster;
pub mod connection;
pub(crate) mod core;
pub mod delivery;
mod drain;
mod entering;
mod housekeeping;
pub(crate) mod operator;
mod refuse;
mod slow_consumers;
mod turn;
pub(crate) mod worker;
