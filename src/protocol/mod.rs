#![doc = include_str!("PROTOCOL.md")]

pub mod art;
pub mod character;
pub mod command;
mod escape;
pub mod foreign;
mod joiner;
pub mod line;
pub mod name;
pub mod refusal;
pub mod reply;
pub mod request_id;
pub mod server_line;
pub mod telnet;
pub mod text;

/// The port of a server that was given none.
pub const PORT: u16 = 1337;
