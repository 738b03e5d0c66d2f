//! What an operator reads of a server that runs, and asks of it.
//!
//! - `http`: `--metrics`, a thread that answers `/metrics`, `/healthz` and `/readyz`; `exposition`: the counters as Prometheus
//!   text; [`health`]: whether the server serves, as its supervisor says;
//! - [`control`] is the server's side of the control socket, [`ctl`] that of `cowchat ctl`. A request is a line of JSON, and
//!   so is the reply: `{"ok": ...}`, or `{"error": "why"}`.
//!
//! No core waits for a thread of this room.

pub mod control;
pub mod ctl;
mod exposition;
pub mod health;
pub mod http;
mod requests;
mod socket;

pub use exposition::{Gauges, Source};
pub use requests::Handles;
pub use socket::ControlError;
