//! Users who join and leave, as one core tells its subscribers: a few lines a second at most, the rest as two numbers.
//!
//! No task waits for a notice and none costs more than a line, so a storm of logins disturbs no conversation.

use std::collections::VecDeque;
use std::time::Duration;

use crate::cows::CowId;
use crate::limits::NOTICES_A_SECOND;

/// A change among the sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// This cow has a session now.
    Joined(CowId),
    /// This cow's session has ended.
    Left(CowId),
    /// Several changes in one.
    Several {
        /// How many have joined.
        joined: u32,
        /// How many have left.
        left: u32,
    },
}

impl Presence {
    /// Both in one.
    pub fn and(self, other: Presence) -> Presence {
        let (mine, others) = (self.counts(), other.counts());
        Presence::Several { joined: mine.0.saturating_add(others.0), left: mine.1.saturating_add(others.1) }
    }

    fn counts(self) -> (u32, u32) {
        match self {
            Presence::Joined(_) => (1, 0),
            Presence::Left(_) => (0, 1),
            Presence::Several { joined, left } => (joined, left),
        }
    }
}

/// One core's notices: which are due, and what is pending.
#[derive(Debug, Default)]
pub(super) struct Notices {
    /// When the last notices were due, oldest first: at most as many as fit a second.
    recent: VecDeque<Duration>,
    pending: Option<Presence>,
}

impl Notices {
    /// Takes in a change, and returns the notice that is due at `now`, if one is.
    pub(super) fn take_in(&mut self, presence: Presence, now: Duration) -> Option<Presence> {
        self.pending = Some(self.pending.map_or(presence, |pending| pending.and(presence)));
        self.due(now)
    }

    /// The notice of what had to wait, if it is due at `now`.
    pub(super) fn due(&mut self, now: Duration) -> Option<Presence> {
        let pending = self.pending?;
        if self.recent.len() == NOTICES_A_SECOND {
            let oldest = self.recent.front().copied()?;
            if now.saturating_sub(oldest) < Duration::from_secs(1) {
                return None;
            }
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        self.pending = None;
        Some(pending)
    }

    /// Without subscribers nothing is pending.
    pub(super) fn forget(&mut self) {
        self.pending = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_subscribers_nothing_is_told_later() {
        let mut notices = Notices::default();
        let one = Presence::Several { joined: 1, left: 0 };
        for _ in 0..20 {
            notices.take_in(one, Duration::ZERO);
        }
        notices.forget();
        assert_eq!(notices.due(Duration::from_secs(9)), None);
    }
}
