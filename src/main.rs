//! Parse, run, map errors to exit codes.
//!
//! 0: done as asked. 1: it could not be done here and now (port taken, no server there, a core failed).
//! 2: something has to be changed first (a flag, a limit, io_uring forbidden).

use std::process::ExitCode;

use clap::Parser;
use cowchat::cli::{Cli, Command};
use cowchat::config::{Config, ConfigError};
use cowchat::server::ServerError;

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cowchat: {error:#}");
            let is_to_be_changed =
                error.is::<ConfigError>() || matches!(error.downcast_ref(), Some(ServerError::Config(_)));
            ExitCode::from(if is_to_be_changed { 2 } else { 1 })
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Serve(args) => cowchat::server::run(Config::new(&args)?)?,
        Command::Connect(args) => cowchat::client::run(&args.address)?,
    }
    Ok(())
}
