//! The flags of `cowchat serve` that make a server a node of a cluster.

use std::fmt;
use std::net::Ipv6Addr;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use percent_encoding::percent_decode_str;

use super::values::{show_time, time, whole};
use crate::cluster::records::is_node_name;
use crate::limits;

/// How a server is part of a cluster.
#[derive(Debug, Clone, Args)]
pub struct ClusterArgs {
    /// Share the cows with the other servers that use these NATS servers, which need JetStream: URLs with commas between,
    /// as nats://10.0.0.1:4222, or tls://USER:PASSWORD@10.0.0.1:4222
    #[arg(long, value_name = "URLS", env = "COWCHAT_CLUSTER", hide_env_values = true, value_delimiter = ',', value_parser = url)]
    pub cluster: Vec<BrokerUrl>,

    /// The name of this server in the cluster, which no other has: 1 to 32 of A-Z a-z 0-9 _ -
    #[arg(long, value_name = "NAME", env = "COWCHAT_NODE", value_parser = node)]
    pub node: Option<String>,

    /// A file of NATS credentials for the cluster
    #[arg(long, value_name = "FILE", env = "COWCHAT_CLUSTER_CREDENTIALS")]
    pub cluster_credentials: Option<PathBuf>,

    /// A file of certificates that sign those of the NATS servers, instead of the system's: no NATS server without TLS is used
    #[arg(long, value_name = "FILE", env = "COWCHAT_CLUSTER_CA")]
    pub cluster_ca: Option<PathBuf>,

    /// A file of this server's own certificate and its key, both PEM, for NATS servers that ask for one: none without TLS is used
    #[arg(long, value_name = "FILE", env = "COWCHAT_CLUSTER_CERTIFICATE")]
    pub cluster_certificate: Option<PathBuf>,

    /// After what time without a sign of life this server's cows are free for others, as 30s or 2m (2s to 1day)
    #[arg(long, value_name = "TIME", env = "COWCHAT_CLUSTER_TTL", default_value = show_time(limits::CLUSTER_TTL), value_parser = time(limits::CLUSTER_TTL_MIN))]
    pub cluster_ttl: Duration,

    /// How often this server gives a sign of life: at most a third of --cluster-ttl, as 5s or 500ms (100ms to 1day)
    #[arg(long, value_name = "TIME", env = "COWCHAT_CLUSTER_RENEW", default_value = show_time(limits::CLUSTER_RENEW), value_parser = time(limits::CLUSTER_RENEW_MIN))]
    pub cluster_renew: Duration,

    /// Copies that the NATS servers keep of who has which cow, if this server is the first of its cluster (1 to 5)
    #[arg(long, value_name = "N", env = "COWCHAT_CLUSTER_REPLICAS", default_value_t = 1, value_parser = whole::<usize>(1..=5))]
    pub cluster_replicas: usize,
}

/// Where a NATS server is, and who this server is to it.
#[derive(Clone, PartialEq, Eq)]
pub struct BrokerUrl {
    /// Without user and password.
    pub server: String,
    /// A user with its password, or a token.
    pub login: Option<(String, Option<String>)>,
}

/// Without what must not be in a log.
impl fmt::Debug for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerUrl").field("server", &self.server).finish_non_exhaustive()
    }
}

fn url(text: &str) -> Result<BrokerUrl, String> {
    const ADVICE: &str = "use nats://HOST:PORT, tls://HOST:PORT or tls://USER:PASSWORD@HOST:PORT, with %2C for a comma in a \
                          password, %40 for @, %2F for /";
    let read = || {
        let (scheme, rest) = text.split_once("://").filter(|(scheme, _)| matches!(*scheme, "nats" | "tls"))?;
        let (login, place) = rest.rsplit_once('@').map_or((None, rest), |(login, place)| (Some(login), place));
        let place = place.strip_suffix('/').unwrap_or(place);
        let login = login.map(|login| self::login(login).ok_or(())).transpose().ok()?;
        is_place(place).then(|| BrokerUrl { server: format!("{scheme}://{place}"), login })
    };
    read().ok_or_else(|| ADVICE.to_owned())
}

/// `HOST` or `HOST:PORT`, with brackets around an IPv6 address.
fn is_place(text: &str) -> bool {
    let is_of_name = |letter: u8| letter.is_ascii_alphanumeric() || b".-_".contains(&letter);
    let (is_host, port) = match text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        Some((address, port)) => (address.parse::<Ipv6Addr>().is_ok(), port),
        None => {
            let (name, port) = text.split_at(text.find(':').unwrap_or(text.len()));
            (!name.is_empty() && name.bytes().all(is_of_name), port)
        }
    };
    let is_port = |port: &str| port.bytes().all(|digit| digit.is_ascii_digit()) && port.parse::<NonZeroU16>().is_ok();
    is_host && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
}

/// `USER:PASSWORD` or a token.
fn login(text: &str) -> Option<(String, Option<String>)> {
    let decoded = |text: &str| {
        let is_url = !text.is_empty() && !text.contains(|c: char| "@/?#".contains(c) || c.is_whitespace());
        Some(percent_decode_str(text).decode_utf8().ok()?.into_owned()).filter(|_| is_url)
    };
    match text.split_once(':') {
        Some((user, password)) => Some((decoded(user)?, Some(decoded(password)?))),
        None => Some((decoded(text)?, None)),
    }
}

fn node(text: &str) -> Result<String, String> {
    let name = is_node_name(text).then(|| text.to_owned());
    name.ok_or_else(|| "use 1 to 32 of A-Z a-z 0-9 _ -".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_place_and_perhaps_a_login() {
        let read = |text: &str| url(text).map(|url| (url.server, url.login));
        let login = |user: &str, password: Option<&str>| Some((user.to_owned(), password.map(str::to_owned)));
        for (text, server, expected) in [
            ("nats://10.0.0.1:4222", "nats://10.0.0.1:4222", None),
            ("tls://nats.example/", "tls://nats.example", None),
            ("nats://[::1]:4222", "nats://[::1]:4222", None),
            ("nats://[::1]", "nats://[::1]", None),
            ("nats://h:65535", "nats://h:65535", None),
            ("tls://token@h", "tls://h", login("token", None)),
            ("nats://u:p:w@h:1", "nats://h:1", login("u", Some("p:w"))),
            ("nats://u%40:%2C%40%2F%c3%a9@h", "nats://h", login("u@", Some(",@/é"))),
        ] {
            assert_eq!(read(text), Ok((server.to_owned(), expected)), "{text}");
        }
        for text in [
            "",
            "h",
            "nats://",
            "natz://h",
            "nats://u:p@",
            "nats://@h",
            "nats://u:@h",
            "nats://:p@h",
            "nats://u:p/w@h",
            "nats://u:p@w@h",
            "nats://h/x",
            "nats://h?x",
            "nats://a b",
            "nats://u:%ff@h",
            "NATS://h",
            "nats://h:0",
            "nats://h:65536",
            "nats://h:+1",
            "nats://h:",
            "nats://a:b:1",
            "nats://[::1",
            "nats://[::g]:1",
            "nats://::1",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_shown_of_a_url_has_no_password() {
        let shown = format!("{:?}", url("nats://user:secret@h").expect("a URL"));
        assert!(shown.contains("nats://h") && !shown.contains("secret"), "{shown}");
    }
}
