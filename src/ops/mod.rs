//! What an operator asks of a server that runs.
//!
//! [`control`] is the server's side of the control socket, [`ctl`] that of `cowchat ctl`. A request is a line of JSON, and
//! so is the reply: `{"ok": ...}`, or `{"error": "why"}`.

pub mod control;
pub mod ctl;
mod requests;
mod socket;

pub use requests::Handles;
pub use socket::ControlError;
