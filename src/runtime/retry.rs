//! Tries again to get what a killed process still holds: its port, and the memory that its rings have locked. Both are
//! free some milliseconds after its end.

use std::io;
use std::time::{Duration, Instant};

use crate::limits::START_PATIENCE;

/// Between two attempts: too short to notice, and some hundred attempts in all.
const PAUSE: Duration = Duration::from_millis(10);

/// Tries until the attempt succeeds, or fails otherwise than by `passing`, for [`START_PATIENCE`] at most. For the start:
/// the thread sleeps between attempts.
///
/// # Errors
/// The error of the last attempt.
#[expect(clippy::disallowed_methods, reason = "no core runs yet")]
pub fn on<T>(passing: io::ErrorKind, mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let patience = Instant::now() + START_PATIENCE;
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
        let mut attempts = 0;
        let mut outcomes = [Err(io::ErrorKind::AddrInUse), Err(io::ErrorKind::AddrInUse), Ok(7)].into_iter();
        let outcome = on(io::ErrorKind::AddrInUse, || {
            attempts += 1;
            outcomes.next().expect("it works by now").map_err(io::Error::from)
        });
        assert_eq!((outcome.expect("the third time"), attempts), (7, 3));
        let mut failures = 0;
        let outcome = on(io::ErrorKind::AddrInUse, || {
            failures += 1;
            Err::<(), _>(io::ErrorKind::PermissionDenied.into())
        });
        assert_eq!((outcome.expect_err("it is forbidden").kind(), failures), (io::ErrorKind::PermissionDenied, 1));
    }
}
