//! Parse, run, map errors to exit codes.
//!
//! 0: done as asked. 1: it could not be done here and now (port taken, no server there, a core failed).
//! 2: something has to be changed first (a flag, a limit, io_uring forbidden).

use std::process::ExitCode;

use cowchat::cli::Command;
use cowchat::config::{self, Config, ConfigError};
use cowchat::invocation::{Invocation, without_controls};
use cowchat::server::ServerError;

fn main() -> ExitCode {
    let invocation = match Invocation::read() {
        Ok(invocation) => invocation,
        Err(error) => return error.show(),
    };
    match run(&invocation) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Each error's text holds its cause.
            eprintln!("cowchat: {}", without_controls(&invocation.by_their_names(&error.to_string())));
            let is_to_be_changed =
                error.is::<ConfigError>() || matches!(error.downcast_ref(), Some(ServerError::Config(_)));
            ExitCode::from(if is_to_be_changed { 2 } else { 1 })
        }
    }
}

fn run(invocation: &Invocation) -> anyhow::Result<()> {
    match &invocation.cli.command {
        Command::Serve(args) => {
            config::raise_limits();
            cowchat::server::run(Config { unknown_variables: invocation.unknown_variables(), ..Config::new(args)? })?;
        }
        Command::Connect(args) => cowchat::client::run(&args.address)?,
    }
    Ok(())
}
