//! Peers that vanished while output was on its way to them.
//!
//! The kernel sends no keepalive while data is unacknowledged: it retransmits, and gives up after 15 minutes.
//! TCP_USER_TIMEOUT is shorter, but it ends live peers (Linux 6.18, loopback, 5 s), so it is never set:
//! - readers that pause, and readers of 2 KB a second: their window is closed most of the time, and that they answer each
//!   probe does not count. To set it only while data is in flight to an open window still ended 40 of 40 slow readers;
//! - idle peers at the first lost keepalive probe, after 72 s, instead of the third, after 93 s;
//! - slow readers of their last replies, since it outlives close().
//!
//! Instead each socket that was written to is asked once a second how long ago the peer acknowledged or answered anything.
//! The probes of a closed window stay unanswered if the peer has vanished, up to 15 of them. It is gone when
//! [`KEEPALIVE_PROBES`] are unanswered and the timeout is over. The pause between probes doubles from 0.2 s to two minutes,
//! so a peer that has not read for long is missed only after minutes.

use std::time::Duration;

use crate::limits::KEEPALIVE_PROBES;

/// What TCP_INFO says about the output of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpHealth {
    /// Packets that are sent and not acknowledged.
    pub unacked_packets: u32,
    /// The peer's receive window; 0 if it is closed.
    pub window_bytes: u32,
    /// Bytes that are not sent yet.
    pub unsent_bytes: u32,
    /// Probes that are sent since the last answer.
    pub probes: u32,
    /// Since the peer last acknowledged or answered anything.
    pub since_last_ack: Duration,
}

/// What the output of a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AckTimer {
    /// For nothing: all is acknowledged.
    #[default]
    Stopped,
    /// For the peer to open its window.
    WindowClosed,
    /// For an acknowledgement, and none has come since then.
    InFlight(Duration),
}

impl AckTimer {
    /// The timer after a look at `now`.
    pub fn after(self, health: TcpHealth, now: Duration) -> Self {
        match health {
            TcpHealth { unacked_packets: 0, unsent_bytes: 0, .. } => AckTimer::Stopped,
            TcpHealth { unacked_packets: 1.., window_bytes: 1.., since_last_ack, .. } => match self {
                AckTimer::InFlight(since) if since_last_ack >= now.saturating_sub(since) => self,
                // Something is acknowledged since the last look, so what is in flight now is newer.
                _ => AckTimer::InFlight(now),
            },
            _ => AckTimer::WindowClosed,
        }
    }

    /// Whether that look also shows that the peer is gone.
    pub fn is_expired(self, health: TcpHealth, now: Duration, timeout: Duration) -> bool {
        let is_unanswered = match self {
            AckTimer::Stopped => false,
            AckTimer::WindowClosed => health.probes >= KEEPALIVE_PROBES,
            // By the look, not by the last answer alone: that is old where nothing was sent for long.
            AckTimer::InFlight(since) => now.saturating_sub(since) >= timeout,
        };
        is_unanswered && health.since_last_ack >= timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(5);
    const SECOND: Duration = Duration::from_secs(1);

    fn health(unacked_packets: u32, window_bytes: u32, unsent_bytes: u32) -> TcpHealth {
        TcpHealth { unacked_packets, window_bytes, unsent_bytes, probes: 0, since_last_ack: Duration::ZERO }
    }

    /// Looks at a socket with an open window, at a given second. Returns whether the peer is gone.
    fn look_at_open_window() -> impl FnMut(u32, u32, Duration) -> bool {
        let mut timer = AckTimer::default();
        move |second, unacked_packets, since_last_ack| {
            let (now, health) =
                (SECOND + second * SECOND, TcpHealth { since_last_ack, ..health(unacked_packets, 9, 0) });
            timer = timer.after(health, now);
            timer.is_expired(health, now, TIMEOUT)
        }
    }

    #[test]
    fn only_output_to_an_open_window_is_in_flight() {
        let after = |packets, window, unsent| AckTimer::Stopped.after(health(packets, window, unsent), SECOND);
        for (packets, window, unsent, expected) in [
            (0, 65_536, 0, AckTimer::Stopped),
            (0, 0, 0, AckTimer::Stopped),
            (1, 65_536, 0, AckTimer::InFlight(SECOND)),
            (3, 1, 9, AckTimer::InFlight(SECOND)),
            // The peer does not read.
            (0, 0, 9, AckTimer::WindowClosed),
            // The peer closed its window over what was in flight.
            (3, 0, 9, AckTimer::WindowClosed),
            (3, 0, 0, AckTimer::WindowClosed),
            // More than the window holds, or the kernel has not sent it yet.
            (0, 9, 9, AckTimer::WindowClosed),
        ] {
            assert_eq!(after(packets, window, unsent), expected, "{packets} packets, window {window}, {unsent} unsent");
        }
    }

    #[test]
    fn a_peer_that_acknowledges_nothing_is_gone_after_the_timeout() {
        let mut look = look_at_open_window();
        assert!(!look(0, 1, 3600 * SECOND), "it was silent before, and had nothing to answer");
        assert!(!look(4, 1, 3604 * SECOND));
        assert!(!look(5, 1, SECOND), "it answers");
        assert!(!look(9, 1, 5 * SECOND - Duration::from_millis(1)));
        assert!(look(10, 1, 6 * SECOND));
        assert!(!look(11, 0, 7 * SECOND), "nothing waits for it");
        assert!(!look(12, 1, 8 * SECOND), "from now on something does");
        assert!(!look(16, 1, 12 * SECOND));
        assert!(look(17, 1, 13 * SECOND));
    }

    #[test]
    fn a_pause_of_the_server_counts_against_no_peer() {
        let mut look = look_at_open_window();
        assert!((0..35).all(|second| !look(second, 1, SECOND / 12)), "it answers all the time");
        // The process was stopped for a minute: the peer had no time to answer what is sent now.
        assert!(!look(35, 1, 60 * SECOND));
        assert!(!look(38, 1, 63 * SECOND));
        assert!(look(39, 1, 64 * SECOND));
    }

    #[test]
    fn a_closed_window_is_gone_after_three_probes_and_the_timeout() {
        let is_expired = |health: TcpHealth, probes, since_last_ack| {
            let health = TcpHealth { probes, since_last_ack, ..health };
            AckTimer::Stopped.after(health, SECOND).is_expired(health, SECOND, TIMEOUT)
        };
        let closed = health(0, 0, 9);
        assert!(is_expired(closed, KEEPALIVE_PROBES, TIMEOUT));
        assert!(!is_expired(closed, KEEPALIVE_PROBES - 1, 60 * TIMEOUT), "two may be lost, however far apart");
        assert!(
            !is_expired(closed, KEEPALIVE_PROBES, TIMEOUT - Duration::from_millis(1)),
            "the first probes are close"
        );
        assert!(!is_expired(closed, 0, 60 * TIMEOUT), "it was probed and has answered");
        assert!(!is_expired(health(0, 0, 0), KEEPALIVE_PROBES, TIMEOUT), "an idle one is keepalive's affair");
    }
}
