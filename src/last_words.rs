//! The last line on stderr: why the program does not start or go on.
//!
//! A stopped terminal or a full pipe may take nothing: after [`LOG_WAIT_MAX`] the process ends without the line.

use std::io::IoSlice;
use std::sync::Arc;
use std::sync::mpsc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ReadWriteFlags, pwritev2, write};

use crate::limits::LOG_WAIT_MAX;

/// Runs `print`, which writes to stderr, and waits for it for [`LOG_WAIT_MAX`] at most. A stuck `print` keeps its thread, so
/// this is only for the end of the process.
pub fn say(print: impl Fn() + Send + Sync + 'static) {
    let print = Arc::new(print);
    let (apart, (done, end)) = (Arc::clone(&print), mpsc::channel());
    let act = move || {
        apart();
        let _ = done.send(());
    };
    if std::thread::Builder::new().name("last words".to_owned()).spawn(act).is_ok() {
        let _ = end.recv_timeout(LOG_WAIT_MAX);
    } else if is_ready(Timespec::try_from(LOG_WAIT_MAX).ok()) {
        // No thread can start, and that may be what `print` says.
        print();
    }
}

/// Writes a short line to stderr if stderr takes it without waiting. Allocates nothing and takes no lock.
pub fn say_now(line: &[u8]) {
    const HERE: u64 = u64::MAX;
    let written = pwritev2(std::io::stderr(), &[IoSlice::new(line)], HERE, ReadWriteFlags::NOWAIT);
    // Terminals do not support NOWAIT, nor do pipes before Linux 6.4. A pipe that is ready takes 4 KiB.
    if written == Err(Errno::OPNOTSUPP) && is_ready(Some(Timespec::default())) {
        let _ = write(std::io::stderr(), line);
    }
}

/// Whether stderr takes something within this time, or is closed.
fn is_ready(within: Option<Timespec>) -> bool {
    let stderr = std::io::stderr();
    poll(&mut [PollFd::new(&stderr, PollFlags::OUT)], within.as_ref()).is_ok_and(|ready| ready > 0)
}
