//! What happens around the cores: configuration, start, supervision, signals, shutdown.
//!
//! [`invocation`] reads flags, variables and the file of `--config` (`config_file`); `config_page` is what `cowchat config` prints.
//! `config` turns that into a [`config::Config`], asking `machine` what is possible. [`server`] starts the cores; `running`
//! supervises them with `watchdog`, gives them what `reload` reads, and tells `notify` how they are. [`signals`] is main's.
//! [`doctor`] tells what the machine allows, before a start.

#[cfg(feature = "cluster")]
pub mod cluster_flags;
pub mod config;
mod config_file;
mod config_page;
mod cow_files;
pub mod doctor;
mod facts;
mod files;
mod flag_text;
pub mod invocation;
mod machine;
mod machine_error;
mod notify;
mod place;
mod reload;
mod running;
pub mod server;
mod settings;
pub mod signals;
mod watchdog;

pub use flag_text::without_controls;
pub use machine::raise_limits;
