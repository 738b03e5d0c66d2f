#![doc = include_str!("PROTOCOL.md")]

pub mod art;
pub mod command;
pub mod foreign;
mod joiner;
pub mod line;
pub mod name;
pub mod reply;
pub mod telnet;
pub mod text;
