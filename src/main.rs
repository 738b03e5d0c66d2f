//! Parse, run, map errors to exit codes.
//!
//! 0: done as asked. 1: it could not be done here and now (port taken, no server there, a core failed).
//! 2: something has to be changed first (a flag, a limit, io_uring forbidden).

use std::io::{self, Write};
use std::process::ExitCode;

use cowchat::allocator::Allocator;
use cowchat::boot::config::{self, Config, ConfigError};
use cowchat::boot::invocation::{Invocation, without_controls};
use cowchat::boot::server::ServerError;
use cowchat::boot::signals;
use cowchat::cli::Command;
use cowchat::last_words;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

fn main() -> ExitCode {
    // If that fails, such a write ends the process, as it does by default.
    let _ = signals::outlive_full_files();
    let invocation = match Invocation::read() {
        Ok(invocation) => invocation,
        Err(error) => return error.show(),
    };
    match run(&invocation) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Each error's text holds its cause.
            let said = without_controls(&invocation.by_their_names(&error.to_string()));
            last_words::say(move || {
                // A closed stderr takes nothing.
                let _ = writeln!(io::stderr(), "cowchat: {said}");
            });
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
            cowchat::boot::server::run(Config {
                unknown_variables: invocation.unknown_variables(),
                ..Config::new(args)?
            })?;
        }
        Command::Connect(args) => cowchat::client::run(&args.address)?,
    }
    Ok(())
}
