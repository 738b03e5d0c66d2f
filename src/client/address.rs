//! Where a server is: a host and a port, as a user types them.

use std::io;
use std::net::{Ipv6Addr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use super::error::ClientError;
use crate::protocol::PORT;

/// How long a connection to one address may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A server's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address(String);

impl Address {
    /// Reads `HOST`, `HOST:PORT`, `[IPV6]:PORT` or `IPV6`. Without a port it is [`PORT`]. The host is looked up when connecting.
    pub fn new(text: &str) -> Self {
        let is_ipv6 = |text: &str| text.parse::<Ipv6Addr>().is_ok();
        let bracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        Address(match text.rsplit_once(':') {
            _ if is_ipv6(text) => format!("[{text}]:{PORT}"),
            _ if bracketed.is_some_and(is_ipv6) => format!("{text}:{PORT}"),
            Some(_) => text.to_owned(),
            None if text.is_empty() => String::new(),
            None => format!("{text}:{PORT}"),
        })
    }

    /// Connects to the first address of the host that answers. Blocks for [`CONNECT_TIMEOUT`] for each at most.
    ///
    /// # Errors
    /// When the host has no address, or none of them answers.
    pub(super) fn connect(&self) -> Result<TcpStream, ClientError> {
        let Address(address) = self;
        let candidates = address.to_socket_addrs();
        let candidates = candidates.map_err(|error| ClientError::Resolve { address: address.clone(), error })?;
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "no address");
        for candidate in candidates {
            match TcpStream::connect_timeout(&candidate, CONNECT_TIMEOUT) {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = error,
            }
        }
        Err(ClientError::Connect { address: address.clone(), error: failure })
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_may_be_left_out() {
        for (typed, address) in [
            ("localhost", "localhost:1337"),
            ("localhost:7", "localhost:7"),
            ("127.0.0.1", "127.0.0.1:1337"),
            ("127.0.0.1:7", "127.0.0.1:7"),
            ("::1", "[::1]:1337"),
            ("[::1]", "[::1]:1337"),
            ("[::1]:7", "[::1]:7"),
            ("nowhere:", "nowhere:"),
        ] {
            assert_eq!(Address::new(typed).to_string(), address);
        }
    }
}
