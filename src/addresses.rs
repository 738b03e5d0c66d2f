//! Where peers come from: networks that are treated apart, and how many connections an address has.
//!
//! Owns what counts as one address: an IPv4 address, mapped into IPv6 or not; an IPv6 network of 64 bits,
//! since that is what one subscriber gets. The count is one table behind a lock for all cores, so it is
//! exact; it is touched when a connection comes and when it goes, and never in between.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use ipnet::{IpNet, Ipv4Net};

/// A set of networks. An address that is IPv4 mapped into IPv6 is looked for as IPv4.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

/// What is no list of networks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("use networks and addresses parted by commas, such as 10.0.0.0/8,2001:db8::/32,192.0.2.1, or none")]
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

    /// Networks and addresses parted by commas; `none` or nothing is the empty set.
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

/// The address has as many connections as one may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressFull;

/// How many connections each address has, over all cores.
#[derive(Debug)]
pub struct Addresses {
    connections_max: usize,
    exempt: Networks,
    counts: Mutex<HashMap<Source, usize>>,
}

impl Addresses {
    /// Nobody is connected yet. Of the addresses in `exempt` any number may be.
    pub fn new(connections_max: usize, exempt: Networks) -> Arc<Self> {
        Arc::new(Addresses { connections_max, exempt, counts: Mutex::default() })
    }

    /// Counts a connection from `peer` for as long as the place lives; an exempt one needs none.
    ///
    /// # Errors
    /// When the address has as many as it may have.
    pub fn enter(self: &Arc<Self>, peer: IpAddr) -> Result<Option<Place>, AddressFull> {
        if self.exempt.contains(peer) {
            return Ok(None);
        }
        let source = Source::from(peer);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(source).or_default();
        if *count >= self.connections_max {
            return Err(AddressFull);
        }
        *count += 1;
        Ok(Some(Place { addresses: Arc::clone(self), source }))
    }
}

/// One connection of an address, counted until this is dropped.
#[derive(Debug)]
pub struct Place {
    addresses: Arc<Addresses>,
    source: Source,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.addresses.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = counts.entry(self.source) {
            *count.get_mut() -= 1;
            // An address that is gone takes no memory.
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
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
        let addresses = Addresses::new(2, networks("127.0.0.0/8"));
        let enter = |text| addresses.enter(ip(text));
        let one = enter("192.0.2.1").expect("the first").expect("counted");
        let two = enter("::ffff:192.0.2.1").expect("the second").expect("counted");
        assert!(enter("192.0.2.1").is_err() && enter("::ffff:192.0.2.1").is_err());
        let other = enter("192.0.2.2").expect("another address has room");
        drop(one);
        let three = enter("192.0.2.1").expect("room again");
        assert!(enter("192.0.2.1").is_err());
        drop((two, three, other));
        assert!(addresses.counts.lock().expect("no panic").is_empty(), "who is gone is forgotten");
    }

    #[test]
    fn an_exempt_address_has_any_number_and_is_not_counted() {
        let addresses = Addresses::new(1, networks("127.0.0.0/8,::1"));
        for text in ["127.0.0.1", "127.0.0.1", "::ffff:127.0.0.1", "::1", "::1"] {
            assert!(addresses.enter(ip(text)).expect("exempt").is_none());
        }
        assert!(addresses.counts.lock().expect("no panic").is_empty());
    }

    #[test]
    fn a_network_of_64_bits_counts_as_one_address() {
        let addresses = Addresses::new(1, Networks::default());
        let _place = addresses.enter(ip("2001:db8:1:2::1")).expect("the first");
        assert!(addresses.enter(ip("2001:db8:1:2:ffff:ffff:ffff:ffff")).is_err());
        assert!(addresses.enter(ip("2001:db8:1:3::1")).is_ok());
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
