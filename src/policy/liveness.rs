//! Peers that went away without a word while something is on its way to them.
//!
//! A silent peer is found by keepalive, but the kernel does not probe while data is unacknowledged: it
//! retransmits, and gives up after 15 minutes. TCP_USER_TIMEOUT would make that shorter, but it ends live peers, as
//! measured on Linux 6.18 over loopback with 5 s:
//!
//! - It ends those whose window is closed, although they answer every probe: who does not read for so
//!   long, and even who reads 2 KB a second, since a window opens only when much of the buffer is free.
//!   Without it nobody was ended who answers.
//! - To set it only while something is in flight to an open window does not help: of 40 who read 5 KB a second
//!   through a small window all were ended after 6 s, most likely because the kernel counts from the first time that
//!   the window was closed.
//! - It ends idle peers at the first keepalive probe without an answer, after 72 s with a keepalive of 60 s
//!   and three probes: one lost packet. Without it the third one counts, after 93 s.
//! - It is still in force when the socket is closed, so that who reads his last replies slowly loses them.
//!
//! So it would break the promise that nobody who reads is cut for his own replies, and is never set. Instead a look
//! once a second, only at sockets that were written to, asks how long ago the peer was heard of: who acknowledges
//! anything, or answers a probe, is there.
//!
//! Who goes away while his window is closed leaves the kernel's probes unanswered, of which it sends 15 before
//! it gives up. A live peer answers each, and with the answer the kernel counts anew. So he has gone when
//! [`KEEPALIVE_PROBES`] are unanswered, and he was not heard of for the timeout at least. The pause between probes
//! doubles as long as the window stays closed, from a fifth of a second to two minutes: somebody who has not
//! read for long is missed after some minutes only.

use std::time::Duration;

use crate::limits::KEEPALIVE_PROBES;

/// What is known of what a socket has sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpHealth {
    /// Packets that were sent and not acknowledged.
    pub packets: u32,
    /// Bytes that the peer would take at most; 0 if its window is closed.
    pub window: u32,
    /// Bytes that were not sent yet.
    pub unsent: u32,
    /// Probes that were sent since the peer was last heard of.
    pub probes: u32,
    /// How long ago that was.
    pub unheard: Duration,
}

/// What a socket waits for that has sent something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AckTimer {
    /// All that was sent is acknowledged, as far as anybody looked.
    #[default]
    Rest,
    /// Something waits for its window to open.
    Closed,
    /// Something is in flight, and the peer was not heard of since then.
    InFlight(Duration),
}

impl AckTimer {
    /// What follows from another look, at `now`.
    pub fn after(self, flight: TcpHealth, now: Duration) -> Self {
        match flight {
            TcpHealth { packets: 0, unsent: 0, .. } => AckTimer::Rest,
            TcpHealth { packets: 1.., window: 1.., unheard, .. } => match self {
                AckTimer::InFlight(since) if unheard >= now.saturating_sub(since) => self,
                // What follows each other so closely that each look finds some of it waits from anew.
                _ => AckTimer::InFlight(now),
            },
            _ => AckTimer::Closed,
        }
    }

    /// Whether that look has shown, too, that the peer has gone.
    pub fn is_over(self, flight: TcpHealth, now: Duration, timeout: Duration) -> bool {
        let is_left_unanswered = match self {
            AckTimer::Rest => false,
            AckTimer::Closed => flight.probes >= KEEPALIVE_PROBES,
            // Who was not heard of for long may have been sent nothing for long.
            AckTimer::InFlight(since) => now.saturating_sub(since) >= timeout,
        };
        is_left_unanswered && flight.unheard >= timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(5);
    const SECOND: Duration = Duration::from_secs(1);

    fn flight(packets: u32, window: u32, unsent: u32) -> TcpHealth {
        TcpHealth { packets, window, unsent, probes: 0, unheard: Duration::ZERO }
    }

    #[test]
    fn what_is_on_its_way_to_an_open_window_is_in_flight() {
        let now = SECOND;
        let after = |packets, window, unsent| AckTimer::Rest.after(flight(packets, window, unsent), now);
        assert_eq!(after(0, 65_536, 0), AckTimer::Rest);
        assert_eq!(after(0, 0, 0), AckTimer::Rest);
        assert_eq!(after(1, 65_536, 0), AckTimer::InFlight(now));
        assert_eq!(after(3, 1, 9), AckTimer::InFlight(now));
        // Its peer does not read.
        assert_eq!(after(0, 0, 9), AckTimer::Closed);
        // Its peer has closed its window over what was on its way.
        assert_eq!(after(3, 0, 9), AckTimer::Closed);
        assert_eq!(after(3, 0, 0), AckTimer::Closed);
        // Too much for the window, or the kernel has not got round to it.
        assert_eq!(after(0, 9, 9), AckTimer::Closed);
    }

    #[test]
    fn who_acknowledges_nothing_in_flight_has_gone_after_the_timeout() {
        let began = SECOND;
        let mut patience = AckTimer::Rest;
        // At each second: is something in flight, and how long ago was the peer heard of?
        let mut look = |second: u32, packets, unheard| {
            let (now, flight) = (began + second * SECOND, TcpHealth { unheard, ..flight(packets, 9, 0) });
            patience = patience.after(flight, now);
            patience.is_over(flight, now, TIMEOUT)
        };
        assert!(!look(0, 1, 3600 * SECOND), "it was silent before, and had no reason to answer");
        assert!(!look(4, 1, 3604 * SECOND));
        assert!(!look(5, 1, SECOND), "there it is");
        assert!(!look(9, 1, 5 * SECOND - Duration::from_millis(1)));
        assert!(look(10, 1, 6 * SECOND));
        assert!(!look(11, 0, 7 * SECOND), "nothing waits for it");
        assert!(!look(12, 1, 8 * SECOND), "from now on something does");
        assert!(!look(16, 1, 12 * SECOND));
        assert!(look(17, 1, 13 * SECOND));
    }

    #[test]
    fn time_in_which_nobody_could_look_is_held_against_nobody() {
        let began = SECOND;
        let mut patience = AckTimer::Rest;
        let mut look = |second: u32, unheard| {
            let (now, flight) = (began + second * SECOND, TcpHealth { unheard, ..flight(1, 9, 0) });
            patience = patience.after(flight, now);
            patience.is_over(flight, now, TIMEOUT)
        };
        // He is sent something all the time, and answers.
        assert!((0..35).all(|second| !look(second, SECOND / 12)));
        // The process was stopped for a minute: the peer has had no time to answer what is sent now.
        assert!(!look(35, 60 * SECOND));
        assert!(!look(38, 63 * SECOND));
        assert!(look(39, 64 * SECOND));
    }

    #[test]
    fn who_answers_no_probe_has_gone_after_three_and_the_timeout() {
        let (now, moment) = (SECOND, Duration::from_millis(1));
        let is_over = |flight: TcpHealth, probes, unheard| {
            let flight = TcpHealth { probes, unheard, ..flight };
            AckTimer::Rest.after(flight, now).is_over(flight, now, TIMEOUT)
        };
        let closed = flight(0, 0, 9);
        assert!(is_over(closed, KEEPALIVE_PROBES, TIMEOUT));
        assert!(!is_over(closed, KEEPALIVE_PROBES - 1, 60 * TIMEOUT), "two may be lost, however far apart");
        assert!(!is_over(closed, KEEPALIVE_PROBES, TIMEOUT - moment), "the first follow each other soon");
        assert!(!is_over(closed, 0, 60 * TIMEOUT), "it was probed and has answered");
        assert!(!is_over(flight(0, 0, 0), KEEPALIVE_PROBES, TIMEOUT), "it is idle: keepalive's probes");
    }
}
