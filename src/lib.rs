//! cowchat: a chat server where everybody is a cow.
//!
//! Line-based TCP for netcat-like clients; the protocol is in [`protocol`]. One glommio (io_uring)
//! executor per core, nothing shared between cores but the names and a few counters.
//!
//! # Words
//! The same in code, log and documentation.
//!
//! - **shard**: one core's state; **core**: its thread and executor
//! - **herd**: the set of cow names; **breed**: the cows with one picture, numbered from 1
//! - **directory**: cow -> owner
//! - **claim**: ownership of a name, released when dropped
//! - **session**: a registered connection
//! - **mesh**: the senders to all shards; **inbox**: a shard's receiver; **pump**: the loop that drains it
//! - **frame**: a cross-core message
//! - **form**: how a connection wants messages (art, numbered or not)
//! - **payload**: bytes drawn in a form, shared by their receivers
//! - **send queue**: a connection's bounded output; **slow consumer**: a connection over its limit
//! - **turn**: what a task does before it lets others run; **flush**: one write for what turns have queued; **drain**: the shutdown with a deadline
//!
//! # One message's path
//! `say tux hi` arrives on core 0, tux lives on core 1:
//!
//! 1. `net::accept::accept_loop` took the connection in; its task, `net::connection::serve::run`, reads.
//! 2. [`protocol::line::LineBuffer`] cuts the bytes into lines.
//! 3. [`shard::Shard::on_line`] makes the line safe ([`protocol::text`]), parses it
//!    ([`protocol::command`]), looks the owner of `tux` up ([`directory`]), draws the message ([`cows`]) if
//!    core 1 wants messages in one form only, and returns effects: a frame for core 1, and the reply.
//! 4. `net::delivery::apply::apply` waits for a moment if tux is far behind, puts the frame into core 1's mailbox
//!    ([`net::delivery::mesh`]), waiting if that is full, then queues the reply.
//! 5. On core 1 `net::delivery::pump` takes the frame; [`shard::Shard::on_frame`] checks that the claim still stands, and
//!    draws the message in tux's form if nobody has yet.
//! 6. The payload goes to tux's `net::connection::send_queue::SendQueue`, and all that turns have queued for tux leaves in
//!    one write when `net::delivery::flush` runs.
//!
//! # The map: a folder is an import rule
//! `main` -> [`boot`], [`client`], [`cli`]. [`boot`] -> [`net`], [`runtime`], [`policy`], [`shard`], [`log`], ...; [`net`] -> [`runtime`],
//! [`policy`], [`shard`], [`metrics`], [`events`]; [`shard`] -> [`protocol`], [`cows`], [`directory`]. Never upward, no circles.
//! [`runtime`] knows nothing of chat; [`protocol`], [`cows`], [`directory`], [`shard`] and [`policy`] do not wait and touch
//! no sockets, files or clocks. Only [`runtime`] knows glommio, only [`cows`] charasay. `tests/architecture.rs` holds the
//! rule. [`faults`] is nothing in a release build: it is where tests have the server panic or stall.

pub mod allocator;
pub mod boot;
pub mod cli;
pub mod client;
pub mod close_reason;
pub mod cows;
pub mod directory;
pub mod events;
pub mod faults;
pub mod held;
pub mod ids;
pub mod last_words;
pub mod limits;
pub mod log;
pub mod metrics;
pub mod net;
pub mod panics;
pub mod policy;
pub mod protocol;
pub mod runtime;
pub mod shard;
