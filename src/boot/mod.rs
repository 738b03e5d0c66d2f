//! What happens around the cores: configuration, start, supervision, signals, shutdown.
//!
//! `config` turns flags into a [`config::Config`], asking `machine` what is possible. [`server`] starts the
//! cores; `running` supervises them with `watchdog`, gives them what `reload` reads, and tells `notify` how they are. [`invocation`] and [`signals`] are main's.

pub mod config;
mod cow_files;
mod files;
pub mod invocation;
mod machine;
mod notify;
mod reload;
mod running;
pub mod server;
mod settings;
pub mod signals;
mod watchdog;

pub use machine::raise_limits;
