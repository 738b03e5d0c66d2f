//! The flags of `cowchat serve` that make a server a node of a cluster.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::values::{show_time, time, whole};
use crate::limits;

/// How a server is part of a cluster.
#[derive(Debug, Clone, Args)]
pub struct ClusterArgs {
    /// Share the cows with the other servers that use these NATS servers, which need JetStream: URLs with commas between,
    /// as nats://10.0.0.1:4222
    #[arg(long, value_name = "URLS", env = "COWCHAT_CLUSTER", value_delimiter = ',', value_parser = url, requires = "node")]
    pub cluster: Vec<String>,

    /// The name of this server in the cluster, which no other has: 1 to 32 of A-Z a-z 0-9 _ -
    #[arg(long, value_name = "NAME", env = "COWCHAT_NODE", value_parser = node, requires = "cluster")]
    pub node: Option<String>,

    /// A file of NATS credentials for the cluster
    #[arg(long, value_name = "FILE", env = "COWCHAT_CLUSTER_CREDENTIALS", requires = "cluster")]
    pub cluster_credentials: Option<PathBuf>,

    /// A file of certificates that sign those of the NATS servers, for URLs that begin with tls://
    #[arg(long, value_name = "FILE", env = "COWCHAT_CLUSTER_CA", requires = "cluster")]
    pub cluster_ca: Option<PathBuf>,

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

fn url(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("nats://").or_else(|| text.strip_prefix("tls://"));
    let fits = rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(char::is_whitespace));
    fits.then(|| text.to_owned()).ok_or_else(|| "use nats://HOST:PORT or tls://HOST:PORT".to_owned())
}

fn node(text: &str) -> Result<String, String> {
    let is_allowed = |letter: u8| letter.is_ascii_alphanumeric() || matches!(letter, b'_' | b'-');
    let fits = (1..=32).contains(&text.len()) && text.bytes().all(is_allowed);
    fits.then(|| text.to_owned()).ok_or_else(|| "use 1 to 32 of A-Z a-z 0-9 _ -".to_owned())
}
