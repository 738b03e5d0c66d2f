//! The connections of a core that ended last, for `cowchat ctl closed`.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use crate::close_reason::CloseReason;
use crate::cows::CowId;
use crate::ids::ConnectionName;
use crate::limits::CLOSED_KEPT;

/// A connection that has ended.
#[derive(Debug, Clone)]
pub(crate) struct Closed {
    pub(crate) at: SystemTime,
    pub(crate) connection: ConnectionName,
    pub(crate) cow: Option<CowId>,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) age: Duration,
    pub(crate) reason: CloseReason,
}

/// The last [`CLOSED_KEPT`] of them, oldest first.
#[derive(Debug, Default)]
pub(crate) struct RecentlyClosed(VecDeque<Closed>);

impl RecentlyClosed {
    pub(crate) fn push(&mut self, closed: Closed) {
        if self.0.len() == CLOSED_KEPT {
            self.0.pop_front();
        }
        self.0.push_back(closed);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Closed> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ShardId;

    #[test]
    fn only_the_last_are_kept() {
        let mut closed = RecentlyClosed::default();
        for number in 0..CLOSED_KEPT as u64 + 7 {
            let connection = ConnectionName { shard: ShardId::new(0), number };
            let (at, age, reason) = (SystemTime::UNIX_EPOCH, Duration::ZERO, CloseReason::Quit);
            closed.push(Closed { at, connection, cow: None, peer: None, age, reason });
        }
        let numbers: Vec<u64> = closed.iter().map(|closed| closed.connection.number).collect();
        assert_eq!(numbers, (7..CLOSED_KEPT as u64 + 7).collect::<Vec<_>>());
        assert!(closed.0.capacity() <= 2 * CLOSED_KEPT);
    }
}
