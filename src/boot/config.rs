//! From flags to a configuration that can run.
//!
//! Everything that an operator may have got wrong shows here, before a thread starts or a port is taken. What the machine
//! allows is asked of `machine`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::cow_files::{self, CowDirError, Skipped};
use super::files::{self, FileError};
use super::invocation::UnknownVariable;
use super::machine::{self, Cores, MachineError};
use crate::cli::{LineRate, ServeArgs};
use crate::cows::Herd;
use crate::cows::bubble::Bubble;
use crate::cows::herd::HerdError;
use crate::directory::NoMemory;
use crate::events::Level;
use crate::limits::{
    CONNECT_BURST, CONNECT_WAIT_MAX, CONNECTIONS_PER_ADDRESS, COWS_PER_ADDRESS_MIN, COWS_PER_ADDRESS_PART,
    MESSAGES_SENDQ_PART, MOTD_BYTES_MAX, QUEUES_MEMORY_PART, SENDQ_BYTES_MAX,
};
use crate::log::Format;
use crate::policy::addresses::ConnectRate;
use crate::policy::flood::Rate;
use crate::policy::limits::Limits;
use crate::shard::Rules;

/// How a server is to run; every value is checked.
#[derive(Debug)]
pub struct Config {
    /// Where to listen; port 0 picks a free one.
    pub(super) listen: SocketAddr,
    pub(super) cores: Cores,
    /// Variables of the environment that look like flags of this program and set nothing.
    pub(super) unknown_variables: Vec<UnknownVariable>,
    pub(super) herd: Arc<Herd>,
    pub(super) cow_files_skipped: Vec<Skipped>,
    pub(super) rules: Rules,
    pub(super) limits: Arc<Limits>,
    pub(super) motd: Option<Arc<[u8]>>,
    pub(super) keepalive: Option<Duration>,
    pub(super) mailbox_frames: usize,
    pub(super) control: Option<PathBuf>,
    /// Where to answer scrapes.
    pub(super) metrics: Option<SocketAddr>,
    /// Least important events to log.
    pub log: Level,
    /// How they are written.
    pub log_format: Format,
}

/// What is wrong with the configuration or the machine; each says what to change.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each text says it")]
pub enum ConfigError {
    #[error("the file of --motd, {path}, {error}", path = .path.display())]
    Motd { path: PathBuf, error: FileError },
    #[error(transparent)]
    CowDir(#[from] CowDirError),
    #[error(transparent)]
    Herd(#[from] HerdError),
    #[error(transparent)]
    HerdMemory(#[from] NoMemory),
    #[error(
        "--queues-bytes-total {total} is less than --sendq-bytes-max {one}, which one connection may have: ask for at least that"
    )]
    TotalBelowOne { total: u64, one: usize },
    #[error(transparent)]
    Machine(#[from] MachineError),
}

impl Config {
    /// Checks the flags against each other and against the machine.
    ///
    /// # Errors
    /// The first thing that an operator has to change.
    pub fn new(args: &ServeArgs, unknown_variables: Vec<UnknownVariable>) -> Result<Self, ConfigError> {
        let cores = machine::cores(args.cores, args.pin)?;
        let connections_max = machine::connections_max(args.connections_max, cores.pins.len())?;
        let bubble = Bubble::new(args.bubble, args.width);
        let cow_files = cow_files::load(&args.cow_dir, &bubble)?;
        let mut breeds = Herd::builtin(&bubble)?;
        breeds.extend(cow_files.cows);
        let herd = Herd::new(breeds, args.herd, bubble)?;
        let rules = Rules {
            header: !args.no_header,
            art: args.art,
            history_messages: args.history,
            line_bytes_max: args.line_bytes_max,
        };
        let limits = Limits {
            sendq_bytes_max: args.sendq_bytes_max,
            sendq_stall: args.sendq_stall,
            queues_bytes_total: queues_bytes_total(args.queues_bytes_total, args.sendq_bytes_max)?,
            login_timeout: args.login_timeout,
            login_exempt: args.login_exempt.clone(),
            idle_timeout: args.idle_timeout,
            scarce_idle: args.scarce_idle,
            flood: Rate::new(args.flood_burst, args.flood_rate.lines, args.flood_rate.per),
            flood_exempt: args.flood_exempt.clone(),
            connections_max,
            connections_per_address: args
                .connections_per_address
                .unwrap_or_else(|| default_connections_per_address(connections_max)),
            cows_per_address: args.cows_per_address.unwrap_or_else(|| default_cows_per_address(herd.len())),
            connect_rate: args.connect_rate.map(connect_rate),
            message_rate: message_rate(args.sendq_bytes_max),
            address_exempt: args.address_exempt.clone(),
            user_timeout: args.user_timeout,
            drain_timeout: args.drain_timeout,
        };
        Ok(Config {
            listen: args.listen,
            cores,
            unknown_variables,
            herd: Arc::new(herd),
            cow_files_skipped: cow_files.skipped,
            rules,
            limits: Arc::new(limits),
            motd: args.motd.as_deref().map(read_motd).transpose()?,
            keepalive: args.keepalive,
            mailbox_frames: args.mailbox_frames,
            control: args.control.clone(),
            metrics: args.metrics,
            log: args.log,
            log_format: args.log_format,
        })
    }
}

/// What one address may say. A larger queue takes more at once, but its reader is not faster.
fn message_rate(sendq_bytes_max: usize) -> Rate {
    let [at_once, a_second] = [sendq_bytes_max, sendq_bytes_max.min(SENDQ_BYTES_MAX)]
        .map(|queue| u32::try_from(queue / MESSAGES_SENDQ_PART).unwrap_or(u32::MAX));
    Rate::new(at_once, a_second, Duration::from_secs(1))
}

fn connect_rate(rate: LineRate) -> ConnectRate {
    ConnectRate { burst: CONNECT_BURST, interval: rate.per / rate.lines, wait_max: CONNECT_WAIT_MAX }
}

/// An address leaves half of the connections to others.
fn default_connections_per_address(connections_max: u64) -> usize {
    let half = usize::try_from(connections_max / 2).unwrap_or(usize::MAX);
    CONNECTIONS_PER_ADDRESS.min(half.max(1))
}

/// An address leaves a part of the cows to others.
fn default_cows_per_address(cows: usize) -> u32 {
    u32::try_from(cows / COWS_PER_ADDRESS_PART).unwrap_or(u32::MAX).max(COWS_PER_ADDRESS_MIN)
}

/// The budget for all send queues: `asked`, or a part of the memory; at least as much as one queue may hold.
fn queues_bytes_total(asked: Option<u64>, one: usize) -> Result<u64, ConfigError> {
    match asked {
        None => Ok((machine::memory_bytes() / QUEUES_MEMORY_PART).max(one as u64)),
        Some(total) if total >= one as u64 => Ok(total),
        Some(total) => Err(ConfigError::TotalBelowOne { total, one }),
    }
}

fn read_motd(path: &Path) -> Result<Arc<[u8]>, ConfigError> {
    let mut text =
        files::read(path, MOTD_BYTES_MAX).map_err(|error| ConfigError::Motd { path: path.to_owned(), error })?;
    if text.last().is_some_and(|&last| last != b'\n') {
        text.push(b'\n');
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_queues_together_may_hold_at_least_one() {
        assert_eq!(queues_bytes_total(Some(1000), 1000).expect("as much"), 1000);
        assert!(matches!(
            queues_bytes_total(Some(999), 1000),
            Err(ConfigError::TotalBelowOne { total: 999, one: 1000 })
        ));
        assert_eq!(queues_bytes_total(None, 1000).expect("some"), machine::memory_bytes() / 4);
        assert_eq!(queues_bytes_total(None, 1 << 60).expect("at least for one"), 1 << 60);
    }

    #[test]
    fn an_address_leaves_half_of_connections_and_cows_to_others() {
        assert_eq!([1, 2, 32, 128, 20_000].map(default_connections_per_address), [1, 1, 16, 64, 64]);
        assert_eq!([1, 16, 24, 100].map(default_cows_per_address), [8, 8, 12, 50]);
    }
}
