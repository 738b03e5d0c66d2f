//! The integration tests: real servers on 2 cores or more and port 0, and netcat-like clients.
//!
//! One binary, so that the server's code is linked once. A file holds one theme, and a filter picks it:
//! `cargo test --test suite delivery::`. The tests share this process: one that lowers a limit or sends a signal does so
//! to a process of its own. Apart stand `simulation` (no process, no kernel), `stampede` (the load generator's modules),
//! `architecture` (the sources) and `claims` (built for an explorer of schedules).

mod client;
mod client_faults;
#[cfg(feature = "cluster")]
mod cluster;
#[cfg(feature = "cluster")]
mod cluster_security;
mod config_file;
mod control;
mod cow_files;
mod crowd;
mod delivery;
mod doctor;
mod foreign_protocols;
mod framing;
mod generate;
mod herds;
mod history;
mod limits;
mod metrics;
mod notices;
mod notify_socket;
mod ownership;
mod protocol_page;
mod readers;
mod reload;
mod rendering;
mod server_faults;
mod service_unit;
mod show;
mod shutdown;
mod start;
mod support;
mod telnet;
mod terminal_connection;
mod terminal_drawing;
mod terminal_pictures;
mod terminal_typing;
