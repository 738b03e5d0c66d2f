//! Signals: the first SIGTERM, SIGINT or SIGHUP asks for a drain; without a terminal SIGHUP asks a server for a reload.
//!
//! After the first, SIGTERM or SIGINT ends the process at once. SIGHUP does not, since a terminal that closes sends more
//! than one. SIGXFSZ ends nothing.

#![expect(unsafe_code, reason = "the mask of signals is set by libc")]

use std::io;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use signal_hook::low_level::signal_name;

/// From now on a write beyond the limit on the size of a file (`ulimit -f`) fails, as on a full disk, and does not end the
/// process.
///
/// # Errors
/// When the signal cannot be caught.
pub fn survive_file_size_limit() -> io::Result<()> {
    // Nothing reads the flag: the failed write says enough.
    flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false))).map(drop)
}

/// What SIGHUP means.
pub enum Hangup {
    /// The terminal is gone: it stops the process like SIGTERM, unless the process was started with it ignored.
    Stops,
    /// It calls this.
    Calls(Box<dyn Fn() + Send>),
}

impl Hangup {
    /// What it means to a server. A terminal sends it when it closes, and the server must not survive that unnoticed. A
    /// server without a terminal, or under nohup, gets it from an operator.
    pub fn of_server(reload: impl Fn() + Send + 'static) -> Self {
        // Without a controlling terminal this fails (tty(4), ENXIO).
        let has_terminal = std::fs::File::open("/dev/tty").is_ok();
        if has_terminal && !is_ignored(SIGHUP) { Hangup::Stops } else { Hangup::Calls(Box::new(reload)) }
    }
}

/// Calls `on_first` with the name of the first signal to stop. On the second it calls `before_exit`, and exits. Call it
/// before there are other threads: they inherit which signals are blocked.
///
/// # Errors
/// When the signals cannot be caught.
pub fn watch(
    on_first: impl FnOnce(&'static str) + Send + 'static,
    before_exit: impl FnOnce() + Send + 'static,
    hangup: Hangup,
) -> io::Result<()> {
    unblock(&[SIGTERM, SIGINT, SIGHUP])?;
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    // nohup starts a process that outlives its terminal.
    if matches!(hangup, Hangup::Calls(_)) || !is_ignored(SIGHUP) {
        signals.add_signal(SIGHUP)?;
    }
    let watch = move || {
        let mut signals = signals.forever().filter(|signal| match &hangup {
            Hangup::Calls(call) if *signal == SIGHUP => {
                call();
                false
            }
            _ => true,
        });
        if let Some(first) = signals.next() {
            on_first(signal_name(first).unwrap_or("a signal"));
        }
        if let Some(second) = signals.find(|signal| *signal != SIGHUP) {
            before_exit();
            // By the shell's convention.
            std::process::exit(128 + second);
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(watch).map(drop)
}

/// Calls `on_resume` each time the process goes on after it was stopped (SIGCONT).
///
/// # Errors
/// When the signal cannot be caught.
pub fn watch_resume(on_resume: impl Fn() + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGCONT])?;
    let watch = move || signals.forever().for_each(|_| on_resume());
    std::thread::Builder::new().name("resume".to_owned()).spawn(watch).map(drop)
}

/// Lets this thread, and threads that it starts, receive these signals. A process inherits the mask of its parent.
fn unblock(signals: &[i32]) -> io::Result<()> {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initializes the set; the other calls change and read it. The null pointer asks for no old mask.
    let error = unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for &signal in signals {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        libc::pthread_sigmask(libc::SIG_UNBLOCK, set.as_ptr(), std::ptr::null_mut())
    };
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}

/// Whether the process was started with this signal ignored (proc_pid_status(5), SigIgn).
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}
