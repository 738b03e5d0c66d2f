//! Parse, run, map errors to exit codes. Signals, stdout and the log's thread belong to this file.
//!
//! 0: done as asked. 1: it cannot be done here and now (port taken, no server there, a core failed).
//! 2: something has to change first (a flag, a limit, io_uring forbidden).

use std::io::{self, Write};
use std::process::ExitCode;

use clap::CommandFactory;
use cowchat::allocator::Allocator;
use cowchat::boot::config::{Config, ConfigError};
use cowchat::boot::invocation::{Invocation, Usage};
use cowchat::boot::server::{Server, ServerError};
use cowchat::boot::signals::Hangup;
use cowchat::boot::{doctor, raise_limits, signals, without_controls};
use cowchat::cli::{Cli, ConnectArgs, Mode};
use cowchat::client::{Address, Client, Options};
use cowchat::log::LogWriter;
use cowchat::ops::ctl;
use cowchat::{last_words, panics};

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

fn main() -> ExitCode {
    // If it fails, a write beyond that limit ends the process, as it does by default.
    let _ = signals::survive_file_size_limit();
    let invocation = match Invocation::read() {
        Ok(invocation) => invocation,
        Err(usage) => return usage.show(),
    };
    match run(&invocation) {
        Ok(code) => code,
        Err(error) => {
            let error = match error.downcast::<Usage>() {
                Ok(usage) => return usage.show(),
                Err(error) => error,
            };
            // Each error's text holds its cause.
            let text = without_controls(&invocation.by_their_names(&error.to_string()));
            last_words::say(move || {
                // A closed stderr takes nothing.
                let _ = writeln!(io::stderr(), "cowchat: {text}");
            });
            let must_change = error.is::<ConfigError>() || matches!(error.downcast_ref(), Some(ServerError::Config(_)));
            ExitCode::from(if must_change { 2 } else { 1 })
        }
    }
}

fn run(invocation: &Invocation) -> anyhow::Result<ExitCode> {
    match &invocation.cli.mode {
        Mode::Serve(args) => {
            raise_limits();
            serve(Config::new(args, invocation.unknown_variables())?)?;
        }
        Mode::Connect(args) => connect(args)?,
        Mode::Ctl(args) => ctl::run(args)?,
        Mode::Doctor(args) => {
            let (text, is_fit) = doctor::examine(args);
            io::stdout().write_all(text.as_bytes())?;
            return Ok(ExitCode::from(u8::from(!is_fit)));
        }
        Mode::Generate(args) => args.generate(Cli::command())?,
        Mode::Config(args) => {
            let page = Invocation::config_page(args)?;
            io::stdout().write_all(page.as_bytes())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Talks to a server until the user leaves. A signal leaves the terminal as it was.
fn connect(args: &ConnectArgs) -> anyhow::Result<()> {
    let client = Client::new(Options {
        address: Address::new(&args.address),
        cow: args.cow.clone(),
        color: args.color,
        time: (!args.no_time).then(|| args.time.clone()),
        bell: !args.no_bell,
        history: !args.no_history,
        quiet: args.quiet,
        log: args.log.clone(),
    });
    if let Some(handle) = client.handle() {
        let resumed = handle.clone();
        signals::watch(move |_| handle.stop(), Client::restore_terminal, Hangup::Stops)?;
        signals::watch_resume(move || resumed.resume())?;
    }
    Ok(client.run()?)
}

/// Runs a server until a signal asks it to stop.
fn serve(config: Config) -> Result<(), ServerError> {
    let (level, format) = (config.log, config.log_format);
    let server = Server::new(config);
    let drainer = server.drainer();
    let reloader = drainer.clone();
    let hangup = Hangup::of_server(move || reloader.reload());
    signals::watch(move |signal| drainer.drain(signal), || {}, hangup)?;
    // When it is dropped, it writes what is left.
    let writer = LogWriter::start(level, format)?;
    panics::log_to(writer.log());
    let running = server.start(writer.log())?;
    if let Some(status) = running.status() {
        announce(status)?;
    }
    running.wait()
}

/// Writes the one line of stdout: clients may connect now. A thread of its own writes it, so that a full pipe does not keep
/// the server from its signals.
fn announce(status: &str) -> io::Result<()> {
    let line = format!("{status}\n");
    let write = move || {
        let mut stdout = io::stdout().lock();
        // The server serves without stdout, too.
        let _ = stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush());
    };
    std::thread::Builder::new().name("announce".to_owned()).spawn(write).map(drop)
}
