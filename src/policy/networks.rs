//! Sets of networks, as flags name them: `10.0.0.0/8,2001:db8::/32,192.0.2.1`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};

/// A set of networks. An IPv4 address that is mapped into IPv6 is looked up as IPv4.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

/// One network, or an address as a network of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(IpNet);

/// The text is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("use an address or a network, such as 192.0.2.1, 10.0.0.0/8 or 2001:db8::/32")]
pub struct NotNetwork;

/// The text is no list of networks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("use networks and addresses with commas between, such as 10.0.0.0/8,2001:db8::/32,192.0.2.1, or none")]
pub struct NotNetworks;

impl Networks {
    /// Whether `address` is in one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

impl Network {
    /// Whether `address` is in it. An IPv4 address that is mapped into IPv6 is looked up as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for Network {
    type Err = NotNetwork;

    fn from_str(text: &str) -> Result<Self, NotNetwork> {
        network(text).map(|network| Network(network.trunc())).ok_or(NotNetwork)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Networks {
    type Err = NotNetworks;

    /// Networks and addresses with commas between; `none` or an empty text is the empty set.
    fn from_str(text: &str) -> Result<Self, NotNetworks> {
        if text.trim().is_empty() || text.trim().eq_ignore_ascii_case("none") {
            return Ok(Networks::default());
        }
        text.split(',').map(|part| network(part.trim())).collect::<Option<_>>().map(Networks).ok_or(NotNetworks)
    }
}

/// A network, or an address as a network of its own. IPv4 mapped into IPv6 becomes IPv4.
fn network(text: &str) -> Option<IpNet> {
    let network = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))?;
    let IpNet::V6(v6) = network else { return Some(network) };
    match v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(96)) {
        Some((address, bits)) => Ipv4Net::new(address, bits).ok().map(IpNet::V4),
        None => Some(network),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(text: &str) -> Networks {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn networks_contain_both_their_ends_and_nothing_beyond() {
        let set = networks("127.0.0.0/8, ::1,10.1.0.0/16,2001:db8::/32,192.0.2.7");
        let inside = "127.0.0.0 127.255.255.255 ::ffff:127.0.0.1 ::1 10.1.0.0 10.1.255.255 192.0.2.7 ::ffff:192.0.2.7 \
                      2001:db8:: 2001:db8:ffff:ffff:ffff:ffff:ffff:ffff";
        assert_eq!(inside.split(' ').find(|address| !set.contains(ip(address))), None, "it is inside");
        let outside = "126.255.255.255 128.0.0.0 ::2 ::127.0.0.1 10.0.255.255 10.2.0.0 192.0.2.6 192.0.2.8 \
                       2001:db7:ffff:: 2001:db9:: ::ffff:10.2.0.0";
        assert_eq!(outside.split(' ').find(|address| set.contains(ip(address))), None, "it is outside");
    }

    #[test]
    fn none_is_the_empty_set_and_zero_bits_are_all() {
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
    fn anything_else_is_refused() {
        for bad in ["tux", "10.0.0.0/33", "10.0.0/8", "::/129", "127.0.0.1,,::1", "127.0.0.1,", "none,::1", "/8", "1"] {
            assert_eq!(bad.parse::<Networks>(), Err(NotNetworks), "{bad}");
        }
    }
}
