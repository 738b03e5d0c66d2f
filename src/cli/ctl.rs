//! The command line of `cowchat ctl`. A command is also the request that goes to the server, as JSON.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

use super::values::{ban_time, level, network, switch};
use crate::events::Level;

/// Arguments of `cowchat ctl`.
#[derive(Debug, Args)]
pub struct CtlArgs {
    /// The server's socket: the path of its --control
    #[arg(
        long,
        value_name = "PATH",
        env = "COWCHAT_CONTROL",
        default_value = "/run/cowchat/control.sock",
        global = true
    )]
    pub control: PathBuf,

    /// Print the server's reply as it is, a line of JSON
    #[arg(long, env = "COWCHAT_CTL_JSON", value_parser = switch, global = true)]
    pub json: bool,

    /// With stats and who: ask again each second, until Ctrl-C
    #[arg(long, env = "COWCHAT_CTL_WATCH", value_parser = switch, global = true)]
    pub watch: bool,

    /// What to ask of the server.
    #[command(subcommand)]
    pub command: ControlCommand,
}

/// What an operator asks of a running server.
#[derive(Debug, Clone, Subcommand, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
#[expect(missing_docs, reason = "clap would show a comment as help, and the command's says it")]
pub enum ControlCommand {
    /// Show the counters of all cores together
    Stats,
    /// List the connections
    Who,
    /// Close the connections of a cow, or of an address with or without a port
    Kick {
        #[arg(value_name = "COW|ADDRESS")]
        whom: String,
        /// Their last line says this
        #[arg(trailing_var_arg = true)]
        #[serde(default)]
        text: Vec<String>,
    },
    /// Refuse new connections from a network, and close those that are open
    Ban {
        #[arg(value_name = "NET", value_parser = network)]
        network: String,
        /// How long, such as 10m or 7days; without it until the server ends
        #[arg(value_parser = ban_time())]
        time: Option<Duration>,
    },
    /// Lift the ban of a network
    Unban {
        #[arg(value_name = "NET", value_parser = network)]
        network: String,
    },
    /// List the bans
    Bans,
    /// Send a line to all connections
    Notice {
        #[arg(required = true, trailing_var_arg = true)]
        text: Vec<String>,
    },
    /// List the last thousand connections that ended
    Closed,
    /// Shut the server down, as SIGTERM does
    Drain,
    /// Log events of this level and more important ones from now on
    Log {
        #[arg(value_parser = level())]
        level: Level,
    },
}
