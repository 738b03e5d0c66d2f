//! The cores: sockets, tasks and channels. The only rooms that know glommio and flume.
//!
//! A core is one thread with one glommio executor, pinned to a CPU if the server uses them all, and on it:
//!
//! - [`listener`]: a listener of its own (the kernel spreads connections over the cores) and the task that
//!   accepts;
//! - `serve`: one task per `connection`, which reads, executes lines and waits for its `socket`;
//! - `pump`: one task that delivers what other cores send over the [`mesh`], and sends what waits for room in the `outbox`;
//! - `flush`: one task that writes what the turns of the others have queued, by the `send_ring`;
//! - `heartbeat`: a task that runs however little there is to do, and another that looks after connections that
//!   stalled, are silent or gone;
//! - [`reactor`]: one task that waits for the kernel when nobody else can run, and for the [`doorbell`];
//! - `drain`: the way out.
//!
//! What they decide by, arithmetic only: [`crate::policy`], [`silence`], [`half_open`], [`budget`]; and the `clock`,
//! by which they wait for a peer.
//!
//! What the turns of them all queue for a connection leaves in one write when all have had theirs. No borrow of
//! a core's state is held over an `.await`.

mod batch;
pub mod budget;
mod clock;
mod connection;
pub mod core;
mod dirty;
pub mod doorbell;
mod drain;
mod effects;
pub mod executor;
mod fanout;
mod flush;
pub mod half_open;
mod heartbeat;
pub mod listener;
pub mod mesh;
mod outbox;
mod presence;
mod pump;
pub mod reactor;
pub mod send_queue;
mod send_ring;
mod serve;
pub mod silence;
mod socket;
mod terms;
mod throttle;
mod turn;
