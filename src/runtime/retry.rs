//! Tries again to get what a killed process still holds: its port, and the memory that its rings have locked. Both are
//! free some milliseconds after its end.

use std::io;
use std::time::{Duration, Instant};

use crate::limits::START_RETRY_MAX;

/// Between two attempts: too short to notice, and some hundred attempts in all.
const PAUSE: Duration = Duration::from_millis(10);

/// Tries until the attempt succeeds, or fails otherwise than by `passing`, for [`START_RETRY_MAX`] at most. For the start:
/// the thread sleeps between attempts.
///
/// # Errors
/// The error of the last attempt.
#[expect(clippy::disallowed_methods, reason = "no core runs yet")]
pub fn on<T>(passing: io::ErrorKind, mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let patience = Instant::now() + START_RETRY_MAX;
    loop {
        match attempt() {
            Err(error) if error.kind() == passing && Instant::now() < patience => std::thread::sleep(PAUSE),
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_passing_error_is_tried_again() {
        let try_all = |outcomes: &[Result<(), io::ErrorKind>]| {
            let mut left = outcomes.iter();
            let attempt = || (*left.next().expect("an outcome")).map_err(io::Error::from);
            let outcome = on(io::ErrorKind::AddrInUse, attempt).map_err(|error| error.kind());
            (outcome, left.len())
        };
        let (taken, forbidden) = (Err(io::ErrorKind::AddrInUse), Err(io::ErrorKind::PermissionDenied));
        assert_eq!(try_all(&[taken, taken, Ok(()), taken]), (Ok(()), 1));
        assert_eq!(try_all(&[forbidden, Ok(())]), (forbidden, 1));
    }
}
