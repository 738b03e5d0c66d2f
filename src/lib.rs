//! cowchat: a chat server in which every user is a cow. This page is the map of the code.
//!
//! [`protocol`] is the contract with clients. Each core is a thread with an event loop on io_uring; cores share only
//! the names and a few counters. A core's logic is pure: the shard takes a line or a frame and returns effects, and
//! `net` carries them out.
//!
//! # The path of a `say`
//! `say tux hi` arrives on core 0; tux is on core 1.
//!
//! 1. `net::accept` takes the connection from the kernel; `net::connection::serve` is its task, which reads.
//! 2. [`protocol::line::LineBuffer`] cuts the bytes into lines.
//! 3. [`shard::Shard::on_line`] has the line made safe ([`protocol::text`]) and parsed ([`protocol::command`]).
//!    `Execution::execute` in `shard/execution.rs` decides what comes of it: it looks the owner of tux up in the
//!    [`directory`], and returns the effects: a frame for core 1, and the reply. `shard/message.rs` draws the message by
//!    [`cows`], if all of core 1 wants the same rendering.
//! 4. `net::delivery::apply` carries the effects out. If tux is far behind it waits for a moment. It puts the frame
//!    into the inbox of core 1 ([`net::delivery::mesh`]), waiting if that is full, and queues the reply.
//! 5. On core 1 `net::delivery::pump` takes the frame. [`shard::Shard::on_frame`] drops it if tux's claim is gone, and
//!    draws the message in tux's rendering if no core has drawn it yet.
//! 6. The payload goes to the send queue of tux's connection ([`net::connection::send_queue`]). When all tasks that can
//!    run have run, `net::delivery::flush` writes all that waits for tux in one write.
//!
//! A `yield` takes the same path, with one frame to each other core. So do notices.
//!
//! # Where is what
//! A folder is an import rule: never upward, and no circles, not between files either. A row names what a folder mainly
//! imports; `tests/architecture.rs` has the whole table and fails on any other import.
//!
//! | folder, file | what it is | imports |
//! |---|---|---|
//! | `main.rs`, [`cli`] | the command line; errors to exit codes | `boot`, `client` |
//! | [`ops`] | what an operator asks of a server that runs: the control socket, `cowchat ctl`, metrics over HTTP | `net`, `metrics`, `cli` |
//! | [`boot`] | what happens around the cores: configuration, start, signals, watchdog, the service manager, cow files | `net` and all below |
//! | [`net`] | chat over sockets: `accept`, [`net::connection`] (one task each), [`net::delivery`] (between cores, and to sockets), `slow_consumers`, `housekeeping`, `drain` | `runtime`, `policy`, `shard`, `metrics`, `events`, `log` |
//! | [`runtime`] | one core's event loop, and nothing of chat: executor, reactor, timers, wake-ups, sockets; the only folder that knows glommio | |
//! | [`policy`] | pure: which limits hold for an address and a connection, and when it is throttled or cut | `ids`, `close_reason` |
//! | [`shard`] | pure: one core's logic | `protocol`, `cows`, `directory`, `metrics`, `ids` |
//! | [`protocol`] | pure: bytes to commands, replies to bytes | |
//! | [`cows`] | pure: names, pictures, bubbles; the only folder that knows charasay | |
//! | [`bridge`] | the other servers of a cluster, over NATS: one more end of the mesh (feature `cluster`) | `cluster`, `net`, `shard` |
//! | [`cluster`] | pure: what a server makes of the other servers | `shard`, `directory`, `cows`, `events` |
//! | [`directory`] | pure: which connection owns which cow | `cows`, `ids` |
//! | [`events`], [`log`], [`metrics`] | what is told to the operator, the thread that writes it, counters | `close_reason`, `ids` |
//! | [`close_reason`], [`ids`] | why a connection ended; how cores and connections are called | `protocol` |
//! | [`panics`], [`allocator`], [`last_words`] | what a panic, a failed allocation and the end of the process say | |
//! | [`client`] | `cowchat connect`, which knows nothing of the server; the only folder that knows a terminal | `protocol`, `cows` |
//!
//! Pure means: no socket, file, thread or clock, and no `await`; time is told. The simulation in `tests/` runs any
//! number of shards in one thread for that reason. [`faults`] is where tests have the server panic or stall; a release
//! has none.
//!
//! # Words
//! A word means the same in code, log, metrics and documents.
//!
//! - **herd**: all cow names; **breed**: the cows with one picture, numbered from 1
//! - **directory**: cow to owner; **claim**: the ownership of a name, released when dropped
//! - **session**: a connection that is logged in; **roster**: the sessions of one core
//! - **standing**: what a connection is, as far as commands care: a guest, or registered as a cow
//! - **core**: a thread and its executor; **shard**: the state of one core
//! - **effects**: what to do about a line: a frame, a reply, a local delivery; **outcome**: what the line made of its
//!   sender (logged in, quit); **refusal**: why a line was refused
//! - **message body**: what a user says and which cow it is, not drawn yet; **rendering**: how a connection wants
//!   messages (art, tagged for a program or not, line ends); **demand**: how many users of each core want which
//!   rendering
//! - **presence**: a user has joined or left; **notice**: the line that says so, for sessions that have subscribed
//! - **drawing**: how this server draws; **block**: a message in one rendering, all its lines; **payload**: a core's
//!   reference to a block, which its receivers share
//! - **frame**: what one core sends another; **mesh**: the senders to all cores; **inbox**: where a core's frames
//!   arrive; **pump**: the task that takes them out; **delivery**: something for users of this core, and which of them
//!   get it
//! - **send queue**: the bounded output of a connection; **slow consumer**: a connection beyond that bound
//! - **turn**: what a task does before others run; **flush**: one write for each connection that turns have queued for
//! - **node**: a server of a cluster; **lease**: how long it is there without a sign of life; **instance**: one stretch of its
//!   lease; **entry**: a claim that the whole cluster knows
//! - **drain**: the shutdown, which has a deadline
//! - **item**: one thing that the client shows, not drawn yet; **form**: a picture in one style, with its size;
//!   **transcript**: the items as lines of a file

pub mod allocator;
pub mod boot;
pub mod bridge;
pub mod cli;
pub mod client;
pub mod close_reason;
pub mod cluster;
pub mod cows;
pub mod directory;
pub(crate) mod events;
pub(crate) mod faults;
pub mod held_bytes;
pub mod ids;
pub mod last_words;
pub mod limits;
pub mod log;
pub mod metrics;
pub mod net;
pub mod ops;
pub mod panics;
pub mod policy;
pub mod protocol;
pub mod runtime;
pub mod shard;
