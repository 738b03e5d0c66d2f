//! What is counted by address: connections, how often it connects, the debt that its connections leave, its messages.
//!
//! One address is an IPv4 address, mapped into IPv6 or not, or an IPv6 network of 64 bits, which is what one subscriber
//! gets. One table behind a lock serves all cores, so it is exact; it is used when a connection opens and when it
//! closes, never in between. Times are the server's, the same on all cores.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::bans::Bans;
use super::flood::SharedBucket;
use super::networks::Networks;

/// What counts as one address, in one word, since every connection keeps one: the upper half of an IPv6 address, or an
/// IPv4 address after 32 one bits, where IPv6 has multicast and no peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Source(u64);

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Source(u64::from(u32::MAX) << 32 | u64::from(u32::from(address))),
            IpAddr::V6(address) => Source((u128::from(address) >> 64) as u64),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 >> 32 {
            0xffff_ffff => Ipv4Addr::from(self.0 as u32).fmt(f),
            _ => write!(f, "{}/64", Ipv6Addr::from(u128::from(self.0) << 64)),
        }
    }
}

/// The address has as many connections as it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressFull {
    /// It also connects too fast: the log counts such connections instead of naming each.
    pub is_too_fast: bool,
}

/// How often an address may connect: `burst` times at once, then once in each `interval`. More often, it is served later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectRate {
    /// At least 1.
    pub burst: u32,
    /// Between two connections.
    pub interval: Duration,
    /// No connection waits longer.
    pub wait_max: Duration,
}

/// What all cores know of addresses.
#[derive(Debug)]
pub struct Addresses {
    table: Mutex<Table>,
    /// Networks that no connection may come from.
    pub bans: Bans,
}

#[derive(Debug)]
struct Table {
    connections_max: usize,
    exempt: Networks,
    connect_rate: Option<ConnectRate>,
    entries: HashMap<Source, Entry>,
    /// With more entries, stale ones are removed.
    entries_max: usize,
    /// Connections that were not served and that the log does not name one by one.
    unserved: HashMap<Source, u64>,
}

/// Fewer entries than these are never pruned: about 150 KiB.
const ENTRIES_MIN: usize = 1024;

#[derive(Debug, Default)]
struct Entry {
    connections: usize,
    /// When the debt of its closed connections is paid.
    debt_until: Duration,
    /// When it may connect a whole burst again.
    connects_until: Duration,
    shared: Arc<Shared>,
}

/// What the connections of one address share, on all cores.
#[derive(Debug, Default)]
pub struct Shared {
    /// Bytes of the messages that they send.
    pub messages: SharedBucket,
    /// How many cows they hold.
    pub cows: Arc<AtomicU32>,
}

impl Entry {
    /// Whether it is no different from a new one.
    fn is_stale(&self, now: Duration) -> bool {
        self.connections == 0
            && self.debt_until <= now
            && self.connects_until <= now
            && self.shared.messages.load().debt(now).is_zero()
    }
}

/// What a new connection gets from its address.
#[derive(Debug, Default)]
pub struct Entered {
    /// Lives as long as the connection; `None` if the address is exempt from every limit.
    pub permit: Option<ConnectionPermit>,
    /// How long the connection waits before it is served.
    pub wait: Duration,
    /// What earlier connections of the address left unpaid, as the time that it takes to pay.
    pub debt: Duration,
    /// What it shares with other connections of its address; `None` if their number is not limited.
    pub shared: Option<Arc<Shared>>,
}

impl Addresses {
    /// No connections yet. An address in `exempt` may have any number of them, but connects at `connect_rate` like others.
    pub fn new(connections_max: usize, exempt: Networks, connect_rate: Option<ConnectRate>) -> Arc<Self> {
        let table = Table {
            connections_max,
            exempt,
            connect_rate,
            entries: HashMap::new(),
            entries_max: ENTRIES_MIN,
            unserved: HashMap::new(),
        };
        Arc::new(Addresses { table: Mutex::new(table), bans: Bans::default() })
    }

    /// From now on these hold, for new connections.
    pub fn set_limits(&self, connections_max: usize, exempt: Networks, connect_rate: Option<ConnectRate>) {
        let mut table = self.lock();
        (table.connections_max, table.exempt, table.connect_rate) = (connections_max, exempt, connect_rate);
    }

    /// Counts a connection from `peer` at `now`, until its permit is dropped. `is_limited`: flood control applies to it.
    pub fn enter(self: &Arc<Self>, peer: IpAddr, is_limited: bool, now: Duration) -> Result<Entered, AddressFull> {
        let mut table = self.lock();
        let is_counted = !table.exempt.contains(peer);
        if !is_counted && !is_limited {
            return Ok(Entered::default());
        }
        let source = Source::from(peer);
        table.prune(now);
        let (connections_max, rate) = (table.connections_max, table.connect_rate.filter(|_| is_limited));
        let entry = table.entries.entry(source).or_default();
        let wait = rate.map_or(Duration::ZERO, |rate| {
            let from = entry.connects_until.max(now);
            let wait = (from - now).saturating_sub(rate.interval * (rate.burst - 1)).min(rate.wait_max);
            let latest = now + rate.interval * rate.burst + rate.wait_max;
            entry.connects_until = (from + rate.interval).min(latest);
            wait
        });
        if is_counted && entry.connections >= connections_max {
            let is_too_fast = !wait.is_zero();
            if is_too_fast {
                *table.unserved.entry(source).or_default() += 1;
            }
            return Err(AddressFull { is_too_fast });
        }
        entry.connections += 1;
        let debt = if is_limited { entry.debt_until.saturating_sub(now) } else { Duration::ZERO };
        let shared = is_counted.then(|| Arc::clone(&entry.shared));
        let permit = ConnectionPermit { addresses: Arc::clone(self), source };
        Ok(Entered { permit: Some(permit), wait, debt, shared })
    }

    /// Connections by address that were not served and not logged, since the last call.
    pub fn take_unserved(&self) -> Vec<(String, u64)> {
        let unserved = std::mem::take(&mut self.lock().unserved);
        unserved.into_iter().map(|(source, count)| (source.to_string(), count)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Removes stale entries when there are many. The limit then doubles, so an entry costs constant time on average.
    fn prune(&mut self, now: Duration) {
        if self.entries.len() > self.entries_max {
            self.entries.retain(|_, entry| !entry.is_stale(now));
            self.entries_max = ENTRIES_MIN.max(2 * self.entries.len());
        }
    }
}

/// One connection of an address, counted until this is dropped.
#[derive(Debug)]
pub struct ConnectionPermit {
    addresses: Arc<Addresses>,
    source: Source,
}

impl ConnectionPermit {
    /// Ends the connection at `now`, with a debt that takes this long to pay.
    pub fn release(self, debt: Duration, now: Duration) {
        if let Some(entry) = self.addresses.lock().entries.get_mut(&self.source) {
            entry.debt_until = entry.debt_until.max(now + debt);
        }
    }

    /// Counts the connection as one that ended before it was served.
    pub fn mark_unserved(&self) {
        *self.addresses.lock().unserved.entry(self.source).or_default() += 1;
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        if let Some(entry) = self.addresses.lock().entries.get_mut(&self.source) {
            entry.connections -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::flood::{Price, Rate};
    use super::*;
    use proptest::prelude::*;

    const NOW: Duration = Duration::from_secs(7);

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_network_of_64_bits_counts_as_one_address() {
        let addresses = Addresses::new(1, Networks::default(), None);
        let _permit = addresses.enter(ip("2001:db8:1:2::1"), true, NOW).expect("the first");
        assert!(addresses.enter(ip("2001:db8:1:2:ffff:ffff:ffff:ffff"), true, NOW).is_err());
        assert!(addresses.enter(ip("2001:db8:1:3::1"), true, NOW).is_ok());
    }

    const RATE: ConnectRate =
        ConnectRate { burst: 3, interval: Duration::from_millis(500), wait_max: Duration::from_secs(30) };

    #[test]
    fn only_an_address_that_connects_too_fast_is_served_later() {
        let addresses = Addresses::new(1000, Networks::default(), Some(RATE));
        let wait = |at, text| {
            let entered = addresses.enter(ip(text), true, Duration::from_millis(at)).expect("there is room");
            entered.wait.as_millis()
        };
        assert_eq!([(); 6].map(|()| wait(1000, "192.0.2.1")), [0, 0, 0, 500, 1000, 1500]);
        assert_eq!(wait(1000, "192.0.2.2"), 0);
        assert_eq!([2000, 2500, 3000].map(|at| wait(at, "192.0.2.1")), [1000, 1000, 1000], "it keeps to its rate");
        assert_eq!([(); 3].map(|()| wait(60_000, "192.0.2.1")), [0, 0, 0]);
        // Whatever one user of an address does, another waits half a minute at most.
        (0..1000).for_each(|_| _ = wait(61_000, "192.0.2.3"));
        assert_eq!(wait(61_000, "192.0.2.3"), 30_000);
        assert_eq!(wait(92_000, "192.0.2.3"), 0);
        let exempt = addresses.enter(ip("192.0.2.3"), false, Duration::ZERO).expect("there is room");
        assert_eq!(exempt.wait, Duration::ZERO);
    }

    #[test]
    fn the_next_connection_inherits_the_debt_of_its_address() {
        let addresses = Addresses::new(9, Networks::default(), None);
        let enter = |text, is_limited| addresses.enter(ip(text), is_limited, NOW).expect("there is room");
        let release =
            |text, seconds| enter(text, true).permit.expect("counted").release(Duration::from_secs(seconds), NOW);
        release("192.0.2.1", 60);
        release("192.0.2.1", 20);
        assert_eq!(enter("192.0.2.1", true).debt, Duration::from_secs(60));
        assert_eq!(enter("192.0.2.1", false).debt, Duration::ZERO);
        assert_eq!(enter("192.0.2.2", true).debt, Duration::ZERO);
    }

    #[test]
    fn the_next_connection_inherits_what_its_address_has_sent() {
        let addresses = Addresses::new(9, Networks::default(), None);
        let enter = |text| addresses.enter(ip(text), true, NOW).expect("there is room");
        let rate = Rate::new(1000, 1000, Duration::from_secs(1));
        let Entered { permit, shared, .. } = enter("192.0.2.1");
        let messages = &shared.expect("counted").messages;
        assert!(messages.try_take(NOW, rate, Price::of_message(60_000)));
        permit.expect("counted").release(Duration::ZERO, NOW);
        let wait = |text| enter(text).shared.expect("counted").messages.load().wait(NOW, rate).as_secs();
        assert_eq!(wait("192.0.2.1"), 59);
        assert_eq!(wait("192.0.2.2"), 0);
    }

    #[test]
    fn connections_that_are_not_logged_are_counted_by_address() {
        let addresses = Addresses::new(1, Networks::default(), Some(RATE));
        let _first = addresses.enter(ip("192.0.2.1"), true, NOW).expect("there is room");
        let refused: Vec<bool> = (0..5)
            .map(|_| addresses.enter(ip("192.0.2.1"), true, NOW).expect_err("there is no room").is_too_fast)
            .collect();
        assert_eq!(refused, [false, false, true, true, true]);
        addresses.enter(ip("2001:db8::7"), true, NOW).expect("there is room").permit.expect("counted").mark_unserved();
        let mut unserved = addresses.take_unserved();
        unserved.sort();
        assert_eq!(unserved, [("192.0.2.1".to_owned(), 3), ("2001:db8::/64".to_owned(), 1)]);
        assert!(addresses.take_unserved().is_empty());
    }

    #[test]
    fn stale_addresses_are_removed() {
        let addresses = Addresses::new(9, Networks::default(), Some(RATE));
        for second in 0..5 {
            for address in 0..1000_u32 {
                let peer = IpAddr::from((second * 1000 + address).to_be_bytes());
                let at = Duration::from_secs(u64::from(second) * 1000);
                drop(addresses.enter(peer, true, at).expect("there is room"));
            }
        }
        assert!(addresses.lock().entries.len() <= 2 * ENTRIES_MIN);
    }

    proptest! {
        #[test]
        fn different_addresses_never_share_a_count(a in any::<u32>(), b in any::<u32>(), network in 0..0xff00_u64 << 48) {
            let v4 = |bits: u32| Source::from(IpAddr::from(bits.to_be_bytes()));
            let v6 = Source::from(IpAddr::from((u128::from(network) << 64 | 1).to_be_bytes()));
            prop_assert_eq!(v4(a) == v4(b), a == b);
            prop_assert!(v4(a) != v6);
        }
    }
}
