#![doc = include_str!("PROTOCOL.md")]

pub mod command;
pub mod line;
pub mod name;
pub mod reply;
pub mod text;
