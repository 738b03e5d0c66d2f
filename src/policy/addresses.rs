//! Where peers come from: networks that are treated apart, how many connections an address has, how often it connects,
//! and what its connections leave unpaid.
//!
//! Owns what counts as one address: an IPv4 address, mapped into IPv6 or not; an IPv6 network of 64 bits,
//! since that is what one subscriber gets. It is one table behind a lock for all cores, so it is
//! exact; it is touched when a connection comes and when it goes, and never in between.

use std::collections::{HashMap, hash_map};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ipnet::{IpNet, Ipv4Net};

use super::flood::SharedBucket;

/// A set of networks. An address that is IPv4 mapped into IPv6 is looked for as IPv4.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

/// What is no list of networks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("use networks and addresses with commas between, such as 10.0.0.0/8,2001:db8::/32,192.0.2.1, or none")]
pub struct NotNetworks;

impl Networks {
    /// Whether an address is in one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

impl FromStr for Networks {
    type Err = NotNetworks;

    /// Networks and addresses with commas between; `none` or nothing is the empty set.
    fn from_str(text: &str) -> Result<Self, NotNetworks> {
        if text.trim().is_empty() || text.trim().eq_ignore_ascii_case("none") {
            return Ok(Networks::default());
        }
        text.split(',').map(|part| network(part.trim())).collect::<Option<_>>().map(Networks).ok_or(NotNetworks)
    }
}

/// A network, or an address as a network of its own; IPv4 where it is that mapped into IPv6.
fn network(text: &str) -> Option<IpNet> {
    let network = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))?;
    let mapped = match network {
        IpNet::V6(network) => network.addr().to_ipv4_mapped().zip(network.prefix_len().checked_sub(96)),
        IpNet::V4(_) => None,
    };
    match mapped {
        Some((address, bits)) => Ipv4Net::new(address, bits).ok().map(IpNet::V4),
        None => Some(network),
    }
}

/// What counts as one address, in one word, since every connection keeps one: the upper half of an IPv6
/// address; an IPv4 address stands behind 32 bits of ones, where IPv6 has multicast and no peer.
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
    /// As addresses and networks are written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 >> 32 {
            0xffff_ffff => Ipv4Addr::from(self.0 as u32).fmt(f),
            _ => write!(f, "{}/64", Ipv6Addr::from(u128::from(self.0) << 64)),
        }
    }
}

/// The address has as many connections as one may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressFull {
    /// Nor may it have so many in this time: the log need not tell of each.
    pub is_too_fast: bool,
}

/// How often an address may connect: so many times at once, and then once in each interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectRate {
    /// At least 1.
    pub burst: u32,
    /// Between two of them.
    pub interval: Duration,
    /// No connection waits for longer.
    pub wait_max: Duration,
}

/// What is known of each address, over all cores.
#[derive(Debug)]
pub struct Addresses {
    connections_max: usize,
    exempt: Networks,
    connect_rate: Option<ConnectRate>,
    began: Instant,
    table: Mutex<Table>,
}

#[derive(Debug)]
struct Table {
    entries: HashMap<Source, Entry>,
    /// Beyond so many entries it is looked for some that say nothing any more.
    crowded: usize,
    /// Connections that were not served, nor told of by the log one by one.
    unserved: HashMap<Source, u64>,
}

/// Entries that are no crowd.
const FEW: usize = 1024;

/// What is known of one address. Times are since the table began.
#[derive(Debug, Default)]
struct Entry {
    connections: usize,
    /// When the debt of its connections that are over will be paid.
    debt_until: Duration,
    /// When it may connect as often at once as any other address.
    connects_until: Duration,
    shared: Arc<Shared>,
}

/// What the connections of one address share, on all cores.
#[derive(Debug, Default)]
pub struct Shared {
    /// What they send to others, by the clock of [`Addresses::now`].
    pub messages: SharedBucket,
    /// How many cows they hold.
    pub cows: Arc<AtomicU32>,
}

impl Entry {
    fn says_nothing(&self, now: Duration) -> bool {
        self.connections == 0
            && self.debt_until <= now
            && self.connects_until <= now
            && self.shared.messages.is_full(now)
    }
}

/// On which terms a connection is let in.
#[derive(Debug)]
pub struct Entered {
    /// To be kept for as long as the connection lives; an address that is exempt from everything needs none.
    pub permit: Option<ConnectionPermit>,
    /// How long it has to wait before it is served.
    pub wait: Duration,
    /// For how long its address has sent too much on connections before, in time until that is paid.
    pub debt: Duration,
    /// What it has in common with other connections of its address; `None` if their number is not limited.
    pub shared: Option<Arc<Shared>>,
}

impl Addresses {
    /// Nobody is connected yet. Of the addresses in `exempt` any number may be, but not more often than `connect_rate`
    /// says, if anything.
    pub fn new(connections_max: usize, exempt: Networks, connect_rate: Option<ConnectRate>) -> Arc<Self> {
        let table = Table { entries: HashMap::new(), crowded: FEW, unserved: HashMap::new() };
        Arc::new(Addresses { connections_max, exempt, connect_rate, began: Instant::now(), table: Mutex::new(table) })
    }

    /// The time since the table began, the same on all cores.
    pub fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Counts a connection from `peer` for as long as its permit lives. What it sends is limited or not.
    ///
    /// # Errors
    /// When the address has as many as it may have.
    pub fn enter(self: &Arc<Self>, peer: IpAddr, is_limited: bool) -> Result<Entered, AddressFull> {
        self.enter_at(self.now(), peer, is_limited)
    }

    fn enter_at(self: &Arc<Self>, now: Duration, peer: IpAddr, is_limited: bool) -> Result<Entered, AddressFull> {
        let is_counted = !self.exempt.contains(peer);
        if !is_counted && !is_limited {
            return Ok(Entered { permit: None, wait: Duration::ZERO, debt: Duration::ZERO, shared: None });
        }
        let source = Source::from(peer);
        let mut table = self.lock();
        table.make_room(now);
        let entry = table.entries.entry(source).or_default();
        let rate = self.connect_rate.filter(|_| is_limited);
        let wait = rate.map_or(Duration::ZERO, |rate| {
            let from = entry.connects_until.max(now);
            let wait = (from - now).saturating_sub(rate.interval * (rate.burst - 1)).min(rate.wait_max);
            let latest = now + rate.interval * rate.burst + rate.wait_max;
            entry.connects_until = (from + rate.interval).min(latest);
            wait
        });
        if is_counted && entry.connections >= self.connections_max {
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

    /// Connections that were not told of one by one since this was last asked, each with where they came from.
    pub fn take_unserved(&self) -> Vec<(String, u64)> {
        let unserved = std::mem::take(&mut self.lock().unserved);
        unserved.into_iter().map(|(source, count)| (source.to_string(), count)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Forgets addresses of which there is nothing to be known, when there are many.
    fn make_room(&mut self, now: Duration) {
        if self.entries.len() > self.crowded {
            self.entries.retain(|_, entry| !entry.says_nothing(now));
            self.crowded = FEW.max(2 * self.entries.len());
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
    /// The connection is over, and has sent too much for so long.
    pub fn leave(self, debt: Duration) {
        let until = self.addresses.now() + debt;
        if let Some(entry) = self.addresses.lock().entries.get_mut(&self.source) {
            entry.debt_until = entry.debt_until.max(until);
        }
    }

    /// The connection has ended before it was served.
    pub fn was_unserved(&self) {
        *self.addresses.lock().unserved.entry(self.source).or_default() += 1;
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let now = self.addresses.now();
        let mut table = self.addresses.lock();
        if let hash_map::Entry::Occupied(mut entry) = table.entries.entry(self.source) {
            entry.get_mut().connections -= 1;
            // An address that is gone takes no memory.
            if entry.get().says_nothing(now) {
                entry.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::flood::{Price, Rate};
    use super::*;
    use proptest::prelude::*;

    fn networks(text: &str) -> Networks {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn networks_contain_both_their_ends_and_nothing_beyond() {
        let set = networks("127.0.0.0/8, ::1,10.1.0.0/16,2001:db8::/32,192.0.2.7");
        for inside in [
            "127.0.0.0",
            "127.255.255.255",
            "::ffff:127.0.0.1",
            "::1",
            "10.1.0.0",
            "10.1.255.255",
            "192.0.2.7",
            "::ffff:192.0.2.7",
            "2001:db8::",
            "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
        ] {
            assert!(set.contains(ip(inside)), "{inside}");
        }
        for outside in [
            "126.255.255.255",
            "128.0.0.0",
            "::2",
            "::127.0.0.1",
            "10.0.255.255",
            "10.2.0.0",
            "192.0.2.6",
            "192.0.2.8",
            "2001:db7:ffff::",
            "2001:db9::",
            "::ffff:10.2.0.0",
        ] {
            assert!(!set.contains(ip(outside)), "{outside}");
        }
    }

    #[test]
    fn none_and_nothing_are_nobody_and_all_are_everybody() {
        for text in ["", " ", "none", "None"] {
            assert_eq!(networks(text), Networks::default(), "{text:?}");
        }
        assert!(!networks("none").contains(ip("127.0.0.1")));
        let all = networks("0.0.0.0/0,::/0");
        assert!(["192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1"].iter().all(|text| all.contains(ip(text))));
        assert!(!networks("::/0").contains(ip("::ffff:192.0.2.1")), "that is IPv4");
    }

    #[test]
    fn a_mapped_network_is_an_ipv4_network() {
        assert_eq!(networks("::ffff:10.0.0.0/104,::ffff:192.0.2.1"), networks("10.0.0.0/8,192.0.2.1/32"));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for bad in ["tux", "10.0.0.0/33", "10.0.0/8", "::/129", "127.0.0.1,,::1", "127.0.0.1,", "none,::1", "/8", "1"] {
            assert_eq!(bad.parse::<Networks>(), Err(NotNetworks), "{bad}");
        }
    }

    #[test]
    fn an_address_has_as_many_places_as_it_may_and_one_that_goes_makes_room() {
        let addresses = Addresses::new(2, networks("127.0.0.0/8"), None);
        let enter = |text| addresses.enter(ip(text), true).map(|entered| entered.permit);
        let one = enter("192.0.2.1").expect("the first").expect("counted");
        let two = enter("::ffff:192.0.2.1").expect("the second").expect("counted");
        assert!(enter("192.0.2.1").is_err() && enter("::ffff:192.0.2.1").is_err());
        let other = enter("192.0.2.2").expect("another address has room");
        drop(one);
        let three = enter("192.0.2.1").expect("room again");
        assert!(enter("192.0.2.1").is_err());
        drop((two, three, other));
        assert!(addresses.lock().entries.is_empty(), "who is gone is forgotten");
    }

    #[test]
    fn an_exempt_address_has_any_number_and_is_not_counted() {
        let addresses = Addresses::new(1, networks("127.0.0.0/8,::1"), None);
        for text in ["127.0.0.1", "127.0.0.1", "::ffff:127.0.0.1", "::1", "::1"] {
            assert!(addresses.enter(ip(text), false).expect("exempt").permit.is_none());
        }
        assert!(addresses.lock().entries.is_empty());
    }

    #[test]
    fn a_network_of_64_bits_counts_as_one_address() {
        let addresses = Addresses::new(1, Networks::default(), None);
        let _place = addresses.enter(ip("2001:db8:1:2::1"), true).expect("the first");
        assert!(addresses.enter(ip("2001:db8:1:2:ffff:ffff:ffff:ffff"), true).is_err());
        assert!(addresses.enter(ip("2001:db8:1:3::1"), true).is_ok());
    }

    const RATE: ConnectRate =
        ConnectRate { burst: 3, interval: Duration::from_millis(500), wait_max: Duration::from_secs(30) };

    #[test]
    fn an_address_that_connects_too_fast_is_served_later_and_another_is_not() {
        let addresses = Addresses::new(1000, networks("127.0.0.0/8"), Some(RATE));
        let wait = |at, text| {
            let entered = addresses.enter_at(Duration::from_millis(at), ip(text), true).expect("there is room");
            entered.wait.as_millis()
        };
        assert_eq!([(); 6].map(|()| wait(1000, "192.0.2.1")), [0, 0, 0, 500, 1000, 1500]);
        assert_eq!(wait(1000, "192.0.2.2"), 0);
        assert_eq!([2000, 2500, 3000].map(|at| wait(at, "192.0.2.1")), [1000, 1000, 1000], "it keeps to its rate");
        assert_eq!([(); 3].map(|()| wait(60_000, "192.0.2.1")), [0, 0, 0]);
        // Whatever one of its users does, another one waits for half a minute at most.
        (0..1000).for_each(|_| _ = wait(61_000, "192.0.2.3"));
        assert_eq!(wait(61_000, "192.0.2.3"), 30_000);
        assert_eq!(wait(92_000, "192.0.2.3"), 0);
        let exempt = addresses.enter_at(Duration::ZERO, ip("192.0.2.3"), false).expect("there is room");
        assert_eq!(exempt.wait, Duration::ZERO);
    }

    #[test]
    fn what_a_connection_leaves_unpaid_the_next_one_of_its_address_finds() {
        let addresses = Addresses::new(9, Networks::default(), None);
        let enter = |text, is_limited| addresses.enter(ip(text), is_limited).expect("there is room");
        let leave = |text, seconds| enter(text, true).permit.expect("counted").leave(Duration::from_secs(seconds));
        leave("192.0.2.1", 60);
        leave("192.0.2.1", 20);
        let debt = enter("192.0.2.1", true).debt;
        assert!(debt > Duration::from_secs(50) && debt <= Duration::from_secs(60), "{debt:?}");
        assert_eq!(enter("192.0.2.1", false).debt, Duration::ZERO);
        assert_eq!(enter("192.0.2.2", true).debt, Duration::ZERO);
    }

    #[test]
    fn what_an_address_has_sent_counts_for_its_next_connection_on_any_core() {
        let addresses = Addresses::new(9, Networks::default(), None);
        let enter = |text| addresses.enter(ip(text), true).expect("there is room");
        let rate = Rate::new(1000, 1000, Duration::from_secs(1));
        let Entered { permit, shared, .. } = enter("192.0.2.1");
        let messages = &shared.expect("counted").messages;
        assert_eq!(messages.take(addresses.now(), rate, Price::of_message(60_000)), Ok(()));
        drop(permit);
        let wait = |text| enter(text).shared.expect("counted").messages.wait(addresses.now(), rate).as_secs();
        assert_eq!(wait("192.0.2.1"), 58, "59 s, and a little is over");
        assert_eq!(wait("192.0.2.2"), 0);
    }

    #[test]
    fn what_is_not_told_of_one_by_one_is_counted_by_address() {
        let addresses = Addresses::new(1, Networks::default(), Some(RATE));
        let _first = addresses.enter(ip("192.0.2.1"), true).expect("there is room");
        let refused: Vec<bool> =
            (0..5).map(|_| addresses.enter(ip("192.0.2.1"), true).expect_err("there is no room").is_too_fast).collect();
        assert_eq!(refused, [false, false, true, true, true]);
        addresses.enter(ip("2001:db8::7"), true).expect("there is room").permit.expect("counted").was_unserved();
        let mut unserved = addresses.take_unserved();
        unserved.sort();
        assert_eq!(unserved, [("192.0.2.1".to_owned(), 3), ("2001:db8::/64".to_owned(), 1)]);
        assert!(addresses.take_unserved().is_empty());
    }

    #[test]
    fn addresses_of_which_there_is_nothing_to_know_are_forgotten() {
        let addresses = Addresses::new(9, Networks::default(), Some(RATE));
        for second in 0..5 {
            for address in 0..1000_u32 {
                let peer = IpAddr::from((second * 1000 + address).to_be_bytes());
                let at = Duration::from_secs(u64::from(second) * 1000);
                drop(addresses.enter_at(at, peer, true).expect("there is room"));
            }
        }
        assert!(addresses.lock().entries.len() <= 2 * FEW);
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
