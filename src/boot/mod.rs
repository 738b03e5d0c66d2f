//! What happens around the cores: configuration, start, supervision, signals, shutdown.

pub mod config;
pub mod cow_dir;
pub mod files;
pub mod invocation;
pub mod machine;
mod notify;
pub mod server;
pub mod signals;
mod watchdog;
