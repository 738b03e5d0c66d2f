//! Sets of networks, as flags name them: `10.0.0.0/8,2001:db8::/32,192.0.2.1`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// A set of networks. An IPv4 address that is mapped into IPv6 is looked up as IPv4.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

/// One network, or an address as a network of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(IpNet);

/// The text is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotNetwork {
    /// It is something else.
    #[error("use an address or a network, such as 192.0.2.1, 10.0.0.0/8 or 2001:db8::/32")]
    Other,
    /// It names an address and the length of a network, so it may mean either.
    #[error("{address} is one of {network}: use {network} for all of them, or {address}")]
    AddressOf {
        /// The address.
        address: IpAddr,
        /// The network that it is in.
        network: IpNet,
    },
}

/// The text is no list of networks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotNetworks {
    /// It is something else.
    #[error("use networks and addresses with commas between, such as 10.0.0.0/8,2001:db8::/32,192.0.2.1, or none")]
    Other,
    /// One of it may mean an address or a network.
    #[error(transparent)]
    One(NotNetwork),
}

impl From<NotNetwork> for NotNetworks {
    fn from(error: NotNetwork) -> Self {
        if error == NotNetwork::Other { NotNetworks::Other } else { NotNetworks::One(error) }
    }
}

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
        network(text).map(Network)
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
        Ok(Networks(text.split(',').map(|part| network(part.trim())).collect::<Result<_, _>>()?))
    }
}

/// A network, or an address as a network of its own. IPv4 mapped into IPv6 becomes IPv4.
fn network(text: &str) -> Result<IpNet, NotNetwork> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    let network = text.parse().or_else(|_| address()).map_err(|_| NotNetwork::Other)?;
    let mapped = |v6: Ipv6Net| {
        let (address, bits) = v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(96))?;
        Ipv4Net::new(address, bits).ok().map(IpNet::V4)
    };
    let network = if let IpNet::V6(v6) = network { mapped(v6).unwrap_or(network) } else { network };
    let whole = network.trunc();
    if network == whole { Ok(network) } else { Err(NotNetwork::AddressOf { address: network.addr(), network: whole }) }
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
            assert_eq!(bad.parse::<Networks>(), Err(NotNetworks::Other), "{bad}");
        }
    }

    #[test]
    fn an_address_with_the_length_of_a_network_is_refused() {
        for (text, whole) in [
            ("10.0.0.1/8", "10.0.0.0/8"),
            ("::ffff:10.0.0.1/104", "10.0.0.0/8"),
            ("::1/64", "::/64"),
            ("1.0.0.0/0", "0.0.0.0/0"),
        ] {
            let error = text.parse::<Network>().expect_err("it may mean either").to_string();
            assert!(error.contains(whole), "{error}");
            assert_eq!(format!("::1,{text}").parse::<Networks>().expect_err("in a list, too").to_string(), error);
        }
    }
}
