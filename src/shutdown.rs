//! Signals: the first SIGTERM or SIGINT asks for a drain, the second ends the process at once.

use std::io;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// A signal that asks the server to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopSignal(i32);

impl StopSignal {
    /// Its name.
    pub fn name(self) -> &'static str {
        if self.0 == SIGINT { "SIGINT" } else { "SIGTERM" }
    }

    /// The exit code of a process that it ended, by the shell's convention.
    pub fn exit_code(self) -> i32 {
        128 + self.0
    }
}

/// Calls `on_first` when the process is asked to stop, and exits when it is asked again.
///
/// # Errors
/// When the signals can not be caught.
pub fn watch(on_first: impl FnOnce(StopSignal) + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let watch = move || {
        let mut signals = signals.forever();
        if let Some(first) = signals.next() {
            on_first(StopSignal(first));
        }
        if let Some(second) = signals.next() {
            std::process::exit(StopSignal(second).exit_code());
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(watch).map(drop)
}
