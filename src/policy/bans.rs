//! Networks that an operator has banned. One list behind a lock serves all cores; it is used when a connection opens, and
//! without a ban that is one load. A ban needs no timer: each use of the list first drops the bans whose time is over.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::networks::Network;
use crate::limits::BANS_MAX;

/// The bans in force. Times are the server's, the same on all cores.
#[derive(Debug, Default)]
pub struct Bans {
    /// The length of the list, for a look without the lock.
    len: AtomicUsize,
    list: Mutex<Vec<Ban>>,
}

/// A network, and until when it is banned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ban {
    pub network: Network,
    /// `None`: until the server ends.
    pub until: Option<Duration>,
    /// New connections that it has refused.
    pub refused: u64,
}

/// There are [`BANS_MAX`] bans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there are {BANS_MAX} bans, and no more are possible: unban some, or ban a larger network")]
pub struct TooManyBans;

impl Bans {
    /// Whether a new connection from `peer` is refused. If so, it is counted.
    pub fn refuse(&self, peer: IpAddr, now: Duration) -> bool {
        // A core that does not see a new ban yet lets a connection in before that ban closes those that are open.
        if self.len.load(Ordering::Acquire) == 0 {
            return false;
        }
        self.with_list(now, |list| {
            let found = list.iter_mut().find(|ban| ban.network.contains(peer));
            found.map(|ban| ban.refused += 1).is_some()
        })
    }

    /// Bans `network` for `time`, or until the server ends. An earlier ban of the same network gets the new time.
    ///
    /// # Errors
    /// When there are too many.
    pub fn add(&self, network: Network, time: Option<Duration>, now: Duration) -> Result<(), TooManyBans> {
        let until = time.map(|time| now + time);
        self.with_list(now, |list| {
            if let Some(ban) = list.iter_mut().find(|ban| ban.network == network) {
                ban.until = until;
            } else if list.len() < BANS_MAX {
                list.push(Ban { network, until, refused: 0 });
            } else {
                return Err(TooManyBans);
            }
            Ok(())
        })
    }

    /// Lifts the ban of exactly this network. Returns whether there was one.
    pub fn remove(&self, network: Network, now: Duration) -> bool {
        self.with_list(now, |list| {
            let before = list.len();
            list.retain(|ban| ban.network != network);
            list.len() < before
        })
    }

    /// The bans in force, the oldest first.
    pub fn all(&self, now: Duration) -> Vec<Ban> {
        self.with_list(now, |list| list.clone())
    }

    fn with_list<T>(&self, now: Duration, act: impl FnOnce(&mut Vec<Ban>) -> T) -> T {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.retain(|ban| ban.until.is_none_or(|until| now < until));
        let done = act(&mut list);
        self.len.store(list.len(), Ordering::Release);
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(7);

    fn network(text: &str) -> Network {
        text.parse().expect("a network")
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_ban_refuses_its_network_until_its_time_is_over() {
        let bans = Bans::default();
        bans.add(network("10.0.0.0/8"), Some(Duration::from_secs(5)), NOW).expect("there is room");
        bans.add(network("2001:db8::/32"), None, NOW).expect("there is room");
        let refuses = |peer, seconds| bans.refuse(ip(peer), NOW + Duration::from_secs(seconds));
        assert!(["10.0.0.0", "10.255.255.255", "::ffff:10.9.9.9", "2001:db8::7"].iter().all(|peer| refuses(peer, 4)));
        assert!(!["9.255.255.255", "11.0.0.0", "2001:db7::7"].iter().any(|peer| refuses(peer, 4)));
        let refused: Vec<_> = bans.all(NOW).iter().map(|ban| (ban.network.to_string(), ban.refused)).collect();
        assert_eq!(refused, [("10.0.0.0/8".to_owned(), 3), ("2001:db8::/32".to_owned(), 1)]);
        assert!(!refuses("10.0.0.0", 5));
        assert!(refuses("2001:db8::7", 1_000_000));
        assert!(!bans.remove(network("10.0.0.0/8"), NOW), "it is over");
    }

    #[test]
    fn the_same_network_is_banned_once_and_lifted_at_once() {
        let bans = Bans::default();
        bans.add(network("192.0.2.1"), Some(Duration::from_secs(5)), NOW).expect("there is room");
        bans.add(network("::ffff:192.0.2.1"), None, NOW).expect("there is room");
        let ban = Ban { network: network("192.0.2.1/32"), until: None, refused: 0 };
        assert_eq!(bans.all(NOW + Duration::from_secs(9)), [ban]);
        assert!(!bans.remove(network("192.0.2.0/24"), NOW));
        assert!(bans.remove(network("192.0.2.1"), NOW));
        assert!(!bans.refuse(ip("192.0.2.1"), NOW));
    }

    #[test]
    fn bans_are_bounded_and_those_that_are_over_free_room() {
        let bans = Bans::default();
        let add = |n: usize, now| {
            let address = IpAddr::from(u32::try_from(n).expect("small").to_be_bytes());
            bans.add(network(&address.to_string()), Some(Duration::from_secs(5)), now)
        };
        (0..BANS_MAX).for_each(|n| add(n, NOW).expect("there is room"));
        assert_eq!(add(BANS_MAX, NOW), Err(TooManyBans));
        assert_eq!(add(0, NOW), Ok(()), "it is banned already");
        assert_eq!(add(BANS_MAX, NOW + Duration::from_secs(5)), Ok(()));
    }
}
