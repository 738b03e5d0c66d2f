//! Signals: the first SIGTERM, SIGINT or SIGHUP asks for a drain. After that SIGTERM or SIGINT ends the process at once;
//! SIGHUP does not, since a terminal that goes sends more than one.

use std::io;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// A signal that asks the server to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopSignal(i32);

impl StopSignal {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self.0 {
            SIGINT => "SIGINT",
            SIGHUP => "SIGHUP",
            _ => "SIGTERM",
        }
    }

    /// The exit code of a process that it ended, by the shell's convention.
    pub fn exit_code(self) -> i32 {
        128 + self.0
    }
}

/// Calls `on_first` when the process is asked to stop, and exits when it is asked again.
///
/// # Errors
/// When the signals cannot be caught.
pub fn watch(on_first: impl FnOnce(StopSignal) + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    // nohup has the server outlive its terminal.
    if !is_ignored(SIGHUP) {
        signals.add_signal(SIGHUP)?;
    }
    let watch = move || {
        let mut signals = signals.forever();
        if let Some(first) = signals.next() {
            on_first(StopSignal(first));
        }
        if let Some(second) = signals.find(|signal| *signal != SIGHUP) {
            std::process::exit(StopSignal(second).exit_code());
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(watch).map(drop)
}

/// Whether whoever started the process had it ignore this signal (proc_pid_status(5), SigIgn).
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}
