//! What housekeeping decides about a connection when it checks it, once a second.
//!
//! [`Condition`] is all that is known here. Times are those of the core's clock, which is told.

use std::time::Duration;

use super::idle::IdleTimer;
use super::limits::Limits;
use crate::close_reason::CloseReason;
use crate::limits::{LAST_OUTPUT_STALL, SCARCE_PART};

/// A connection as housekeeping sees it.
#[derive(Debug, Clone, Copy)]
pub struct Condition<'c> {
    /// It has ended, and its last output may wait.
    pub is_closing: bool,
    /// The server drains, which ends every connection at the same moment.
    pub is_draining: bool,
    /// It has a cow.
    pub is_registered: bool,
    /// It may stay without a login.
    pub login_exempt: bool,
    /// It is counted with other connections of its address.
    pub is_counted: bool,
    /// Since its last line.
    pub idle: &'c IdleTimer,
    /// Since it last sent a message.
    pub quiet: &'c IdleTimer,
    /// Since when its peer has taken nothing of what waits.
    pub stalled_since: Option<Duration>,
    /// Its peer does not answer any more.
    pub is_gone: bool,
}

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Keep,
    /// It ends, with its last line if there is one for this reason.
    Close(CloseReason),
    /// It has ended, and its output is given up.
    Discard,
}

/// Whether so few of `all` cows are free that quiet sessions must make room.
pub fn are_scarce(claimed: usize, all: usize) -> bool {
    all.saturating_sub(claimed) < all.div_ceil(SCARCE_PART)
}

/// Decides at `now`, by the core's clock. `are_cows_scarce` is called where that matters.
pub fn verdict(
    limits: &Limits,
    connection: Condition<'_>,
    now: Duration,
    are_cows_scarce: impl FnOnce() -> bool,
) -> Verdict {
    let has_stalled = |time| connection.stalled_since.is_some_and(|since| now.saturating_sub(since) >= time);
    if connection.is_closing {
        let is_over = connection.is_gone || has_stalled(LAST_OUTPUT_STALL);
        return if is_over { Verdict::Discard } else { Verdict::Keep };
    }
    if has_stalled(limits.sendq_stall) {
        return Verdict::Close(CloseReason::Stalled);
    }
    if connection.is_gone {
        return Verdict::Close(CloseReason::PeerGone);
    }
    if connection.is_draining {
        return Verdict::Keep;
    }
    let is_over = |timer: &IdleTimer, time: Option<Duration>| time.is_some_and(|time| timer.is_for(time, now));
    if !connection.is_registered {
        let is_over = !connection.login_exempt && is_over(connection.idle, limits.login_timeout);
        return if is_over { Verdict::Close(CloseReason::NotLoggedIn) } else { Verdict::Keep };
    }
    if is_over(connection.idle, limits.idle_timeout) {
        return Verdict::Close(CloseReason::Idle);
    }
    if connection.is_counted && is_over(connection.quiet, limits.scarce_idle) && are_cows_scarce() {
        return Verdict::Close(CloseReason::CowsScarce);
    }
    Verdict::Keep
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const NOW: Duration = Duration::from_secs(10_000);

    /// What becomes of a connection that was idle and quiet for these times, changed by `change`.
    fn of(idle: Duration, quiet: Duration, change: impl FnOnce(&mut Condition<'_>), are_cows_scarce: bool) -> Verdict {
        let [idle, quiet] = [idle, quiet].map(|time| IdleTimer::since(NOW - time));
        let mut condition = Condition {
            is_closing: false,
            is_draining: false,
            is_registered: true,
            login_exempt: false,
            is_counted: true,
            idle: &idle,
            quiet: &quiet,
            stalled_since: None,
            is_gone: false,
        };
        change(&mut condition);
        let limits = Limits {
            sendq_stall: 10 * SECOND,
            login_timeout: Some(20 * SECOND),
            idle_timeout: Some(30 * SECOND),
            scarce_idle: Some(25 * SECOND),
            ..Limits::of_tests()
        };
        verdict(&limits, condition, NOW, || are_cows_scarce)
    }

    #[test]
    fn silence_ends_guests_sessions_and_holders_of_scarce_cows() {
        let guest = |condition: &mut Condition<'_>| condition.is_registered = false;
        let exempt = |condition: &mut Condition<'_>| (condition.is_registered, condition.login_exempt) = (false, true);
        assert_eq!(of(19 * SECOND, SECOND, guest, true), Verdict::Keep);
        assert_eq!(of(21 * SECOND, SECOND, guest, true), Verdict::Close(CloseReason::NotLoggedIn));
        assert_eq!(of(99 * SECOND, SECOND, exempt, true), Verdict::Keep);
        let draining = |condition: &mut Condition<'_>| condition.is_draining = true;
        assert_eq!(of(99 * SECOND, 99 * SECOND, draining, true), Verdict::Keep);
        assert_eq!(of(29 * SECOND, SECOND, |_| {}, true), Verdict::Keep);
        assert_eq!(of(31 * SECOND, SECOND, |_| {}, true), Verdict::Close(CloseReason::Idle));
        assert_eq!(of(SECOND, 26 * SECOND, |_| {}, true), Verdict::Close(CloseReason::CowsScarce));
        assert_eq!(of(SECOND, 26 * SECOND, |_| {}, false), Verdict::Keep);
        assert_eq!(of(SECOND, 26 * SECOND, |condition| condition.is_counted = false, true), Verdict::Keep);
    }

    #[test]
    fn a_peer_that_takes_nothing_is_cut_and_later_discarded() {
        let stalled = |time| move |condition: &mut Condition<'_>| condition.stalled_since = Some(NOW - time);
        let closing = |time| {
            move |condition: &mut Condition<'_>| {
                (condition.is_closing, condition.stalled_since) = (true, Some(NOW - time))
            }
        };
        assert_eq!(of(SECOND, SECOND, stalled(9 * SECOND), false), Verdict::Keep);
        assert_eq!(of(SECOND, SECOND, stalled(10 * SECOND), false), Verdict::Close(CloseReason::Stalled));
        assert_eq!(of(99 * SECOND, SECOND, closing(LAST_OUTPUT_STALL - SECOND), false), Verdict::Keep);
        assert_eq!(of(SECOND, SECOND, closing(LAST_OUTPUT_STALL), false), Verdict::Discard);
    }

    #[test]
    fn cows_are_scarce_when_less_than_one_in_eight_is_free() {
        assert_eq!([0, 21, 22, 24].map(|claimed| are_scarce(claimed, 24)), [false, false, true, true]);
        assert_eq!([5, 6].map(|claimed| are_scarce(claimed, 6)), [false, true]);
    }

    #[test]
    fn a_peer_that_is_gone_ends_at_once() {
        let gone = |condition: &mut Condition<'_>| condition.is_gone = true;
        let closing = |condition: &mut Condition<'_>| (condition.is_gone, condition.is_closing) = (true, true);
        assert_eq!(of(SECOND, SECOND, gone, false), Verdict::Close(CloseReason::PeerGone));
        assert_eq!(of(SECOND, SECOND, closing, false), Verdict::Discard);
    }
}
