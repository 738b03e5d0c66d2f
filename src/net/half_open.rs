//! Peers that went away without a word while something is on its way to them.
//!
//! A silent peer is found by keepalive, but the kernel does not probe while data is unacknowledged: it
//! retransmits, and gives up after 15 minutes. TCP_USER_TIMEOUT makes that shorter, and must not simply be
//! set on every socket, as measured on Linux 6.18 over loopback with 5 s:
//!
//! - It ends live peers whose window is closed, although they answer every probe: who does not read for so
//!   long, and even who reads 2 KB a second, since a window opens only when much of the buffer is free.
//!   Without it nobody was ended who answers. So it would break the promise that nobody who reads is cut for
//!   his own replies.
//! - It ends idle peers at the first keepalive probe without an answer, after 72 s with a keepalive of 60 s
//!   and three probes: one lost packet. Without it the third one counts, after 93 s.
//!
//! So a socket has the timeout only while something is in flight to a peer whose window is open: this is
//! looked at once a second, but only on sockets that were written to. The kernel measures from the first
//! transmission that is not acknowledged, however late the timeout was set.
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
pub struct Flight {
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

/// How long a socket waits for a peer that may have gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Patience {
    /// All that was sent is acknowledged, as far as anybody looked.
    #[default]
    Rest,
    /// Something waits for its window to open.
    Closed,
    /// Something is in flight: the timeout is set.
    Timed,
}

impl Patience {
    /// What follows from another look.
    pub fn after(flight: Flight) -> Self {
        match flight {
            Flight { packets: 0, unsent: 0, .. } => Patience::Rest,
            Flight { packets: 1.., window: 1.., .. } => Patience::Timed,
            _ => Patience::Closed,
        }
    }

    /// Whether that look has shown, too, that the peer has gone while its window is closed.
    pub fn is_over(self, flight: Flight, timeout: Duration) -> bool {
        self == Patience::Closed && flight.probes >= KEEPALIVE_PROBES && flight.unheard >= timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flight(packets: u32, window: u32, unsent: u32) -> Flight {
        Flight { packets, window, unsent, probes: 0, unheard: Duration::ZERO }
    }

    #[test]
    fn only_what_is_in_flight_to_an_open_window_is_timed() {
        let after = |packets, window, unsent| Patience::after(flight(packets, window, unsent));
        assert_eq!(after(0, 65_536, 0), Patience::Rest);
        assert_eq!(after(0, 0, 0), Patience::Rest);
        assert_eq!(after(1, 65_536, 0), Patience::Timed);
        assert_eq!(after(3, 1, 9), Patience::Timed);
        // Its peer does not read.
        assert_eq!(after(0, 0, 9), Patience::Closed);
        // Its peer has closed its window over what was on its way.
        assert_eq!(after(3, 0, 9), Patience::Closed);
        assert_eq!(after(3, 0, 0), Patience::Closed);
        // Too much for the window, or the kernel has not got round to it.
        assert_eq!(after(0, 9, 9), Patience::Closed);
    }

    #[test]
    fn who_answers_no_probe_has_gone_after_three_and_the_timeout() {
        let (timeout, moment) = (Duration::from_secs(5), Duration::from_millis(1));
        let is_over = |flight: Flight, probes, unheard| {
            let flight = Flight { probes, unheard, ..flight };
            Patience::after(flight).is_over(flight, timeout)
        };
        let closed = flight(0, 0, 9);
        assert!(is_over(closed, KEEPALIVE_PROBES, timeout));
        assert!(!is_over(closed, KEEPALIVE_PROBES - 1, 60 * timeout), "two may be lost, however far apart");
        assert!(!is_over(closed, KEEPALIVE_PROBES, timeout - moment), "the first follow each other soon");
        assert!(!is_over(closed, 0, 60 * timeout), "it was probed and has answered");
        // These the kernel looks after.
        assert!(!is_over(flight(0, 0, 0), KEEPALIVE_PROBES, timeout), "it is idle: keepalive's probes");
        assert!(!is_over(flight(1, 1, 0), KEEPALIVE_PROBES, timeout), "the user timeout is set");
    }
}
