//! What the tests share: server processes, netcat-like clients, and what messages look like.
//!
//! Nothing here sleeps: a client waits for bytes, and a test for events of the server's log. The guards only turn a hang
//! into a failure.

mod client;
mod drawing;
mod listener;
mod log_line;
mod process;
mod screen;
mod server;
mod terminal;

use std::time::{Duration, Instant};

pub use client::{Client, ask_at_once, connect_from, connect_narrow, say_bytes};
pub use drawing::{all_cows, builtin, filled, message, numbered, picture};
pub use listener::Listener;
pub use log_line::LogLine;
pub use process::{
    Guarded, Scratch, at_a_terminal, bpf, confine, cores, cowchat, forbid, full_pipe, kib_of, restore_limit, serve,
    set_soft_limit, under, without_override, without_terminal,
};
pub use screen::Screen;
pub use server::Server;
pub use terminal::{Key, Terminal};

/// After this long a wait counts as a hang. No test passes or fails by how long anything takes below it.
pub const GUARD: Duration = Duration::from_secs(60);

/// The smallest `--sendq-bytes-max` that can be asked for.
pub const SENDQ_BYTES_MIN: &str = "57344";

/// A `--sendq-bytes-max` with room for all that a test sends: no connection is cut for the speed of the machine.
pub const ROOMY: &str = "1073741824";

/// The reply to `help`, and to a blank line.
pub const HELP: &str = "commands: who, cows, login COW, say COW TEXT, yield TEXT, quit";

/// The reply to `who` when no cow is taken.
pub const NO_USERS: &str = "Registered users: (none)";

/// What every connection reads at the end of a drain.
pub const LAST_LINE: &str = "* the server is shutting down\n";

/// How many of something a test uses: what `ci/soak.sh` says by this variable, or the default.
pub fn count_of(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |count| count.parse().expect("a number"))
}

/// Asks until it is so, and fails with `otherwise` after [`GUARD`].
pub fn wait_until(mut is_so: impl FnMut() -> bool, otherwise: &str) {
    let deadline = Instant::now() + GUARD;
    while !is_so() {
        assert!(Instant::now() < deadline, "{otherwise}");
        std::thread::yield_now();
    }
}
