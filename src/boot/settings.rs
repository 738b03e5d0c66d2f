//! What can change while the server runs: limits, the greeting, the level of the log.
//!
//! They are checked as a whole before anything holds, at the start and at each reload. A test sees that every flag is either
//! here or needs a restart.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::files::{self, FileError};
use super::invocation::{Invocation, Usage};
use super::machine;
use super::machine_error::MachineError;
use crate::cli::{LineRate, Mode, ServeArgs};
use crate::limits::{
    CONNECT_BURST, CONNECT_WAIT_MAX, CONNECTIONS_PER_ADDRESS, COWS_PER_ADDRESS_MIN, COWS_PER_ADDRESS_PART,
    MESSAGES_SENDQ_PART, MOTD_BYTES_MAX, QUEUES_MEMORY_PART, SENDQ_BYTES_MAX,
};
use crate::policy::addresses::ConnectRate;
use crate::policy::flood::Rate;
use crate::policy::limits::Limits;

/// What can change while the server runs.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    /// What it was made from, and what the next reload is compared with.
    pub(super) args: ServeArgs,
    pub(super) limits: Arc<Limits>,
    pub(super) motd: Option<Arc<[u8]>>,
}

/// What is wrong with them; each says what to change.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("the file of --motd, {path}, {error}", path = .path.display())]
    Motd { path: PathBuf, error: FileError },
    #[error(
        "--queues-bytes-total {total} is less than --sendq-bytes-max {one}, which one connection may have: ask for at least that"
    )]
    TotalBelowOne { total: u64, one: usize },
    #[error(transparent)]
    Machine(#[from] MachineError),
}

/// Why nothing changes.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReloadError {
    #[error("{0}")]
    Usage(#[from] Usage),
    #[error("{0}")]
    Config(String),
    #[error("the arguments are not those of a server")]
    NotServe,
    #[error("no thread can be started to read it: {0}")]
    Thread(#[from] io::Error),
}

impl Settings {
    /// Those that `args` ask for, on this many cores with this many cows.
    pub(super) fn new(args: &ServeArgs, cores: usize, cows: usize) -> Result<Self, SettingsError> {
        let limits = Arc::new(limits(args, cores, cows)?);
        let motd = args.motd.as_deref().map(read_motd).transpose()?;
        Ok(Settings { args: args.clone(), limits, motd })
    }

    /// Those that this process's arguments, environment and files ask for now.
    pub(super) fn read_again(cores: usize, cows: usize) -> Result<Self, ReloadError> {
        let invocation = Invocation::read()?;
        let Mode::Serve(args) = &invocation.cli.mode else { return Err(ReloadError::NotServe) };
        let settings = Settings::new(args, cores, cows);
        settings.map_err(|error| ReloadError::Config(invocation.by_their_names(&error.to_string())))
    }

    /// The flags that `new` changes.
    pub(super) fn changed(&self, new: &Settings) -> Vec<&'static str> {
        let motd = (self.motd != new.motd).then_some("motd");
        motd.into_iter().chain(different(CHANGE, &self.args, &new.args)).collect()
    }
}

/// The flags that differ and need a restart.
pub(super) fn restart_needed(old: &ServeArgs, new: &ServeArgs) -> Vec<&'static str> {
    different(RESTART, old, new).collect()
}

/// The flags of `table` that differ.
fn different(
    table: &[(&'static str, Differs)],
    old: &ServeArgs,
    new: &ServeArgs,
) -> impl Iterator<Item = &'static str> {
    table.iter().filter(|(_, differs)| differs(old, new)).map(|(name, _)| *name)
}

/// Whether a flag differs.
type Differs = fn(&ServeArgs, &ServeArgs) -> bool;

macro_rules! flags {
    ($($(#[$if:meta])? $name:literal $($field:ident).+,)+) => {
        &[$($(#[$if])? ($name, |old, new| old.$($field).+ != new.$($field).+)),+]
    };
}

/// Flags that a reload changes, beside `motd`, which is compared by the file's text.
const CHANGE: &[(&str, Differs)] = flags![
    "sendq-bytes-max" sendq_bytes_max,
    "sendq-stall" sendq_stall,
    "queues-bytes-total" queues_bytes_total,
    "login-timeout" login_timeout,
    "login-exempt" login_exempt,
    "idle-timeout" idle_timeout,
    "scarce-idle" scarce_idle,
    "flood-burst" flood_burst,
    "flood-rate" flood_rate,
    "flood-exempt" flood_exempt,
    "connections-max" connections_max,
    "connections-per-address" connections_per_address,
    "cows-per-address" cows_per_address,
    "connect-rate" connect_rate,
    "address-exempt" address_exempt,
    "user-timeout" user_timeout,
    "drain-timeout" drain_timeout,
    "log" log,
];

/// Flags that need a restart.
const RESTART: &[(&str, Differs)] = flags![
    "config" config,
    "listen" listen,
    "cores" cores,
    "pin" pin,
    "no-header" no_header,
    "art" art,
    "bubble" bubble,
    "width" width,
    "herd" herd,
    "history" history,
    "cow-dir" cow_dir,
    "line-bytes-max" line_bytes_max,
    "keepalive" keepalive,
    "mailbox-frames" mailbox_frames,
    "control" control,
    "metrics" metrics,
    "log-format" log_format,
    #[cfg(feature = "cluster")]
    "cluster" cluster.cluster,
    #[cfg(feature = "cluster")]
    "node" cluster.node,
    #[cfg(feature = "cluster")]
    "cluster-credentials" cluster.cluster_credentials,
    #[cfg(feature = "cluster")]
    "cluster-ca" cluster.cluster_ca,
    #[cfg(feature = "cluster")]
    "cluster-certificate" cluster.cluster_certificate,
    #[cfg(feature = "cluster")]
    "cluster-ttl" cluster.cluster_ttl,
    #[cfg(feature = "cluster")]
    "cluster-renew" cluster.cluster_renew,
    #[cfg(feature = "cluster")]
    "cluster-replicas" cluster.cluster_replicas,
];

/// What `args` allow on this many cores with this many cows.
fn limits(args: &ServeArgs, cores: usize, cows: usize) -> Result<Limits, SettingsError> {
    let connections_max = machine::connections_max(args.connections_max, cores)?;
    Ok(Limits {
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
        cows_per_address: args.cows_per_address.unwrap_or_else(|| default_cows_per_address(cows)),
        connect_rate: args.connect_rate.map(connect_rate),
        message_rate: message_rate(args.sendq_bytes_max),
        address_exempt: args.address_exempt.clone(),
        user_timeout: args.user_timeout,
        drain_timeout: args.drain_timeout,
    })
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
fn queues_bytes_total(asked: Option<u64>, one: usize) -> Result<u64, SettingsError> {
    match asked {
        None => Ok((machine::memory_bytes() / QUEUES_MEMORY_PART).max(one as u64)),
        Some(total) if total >= one as u64 => Ok(total),
        Some(total) => Err(SettingsError::TotalBelowOne { total, one }),
    }
}

fn read_motd(path: &Path) -> Result<Arc<[u8]>, SettingsError> {
    let mut text =
        files::read(path, MOTD_BYTES_MAX).map_err(|error| SettingsError::Motd { path: path.to_owned(), error })?;
    if text.last().is_some_and(|&last| last != b'\n') {
        text.push(b'\n');
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::cli::Cli;

    fn settings(flags: &[&str]) -> Result<Settings, SettingsError> {
        let cli = Cli::parse_from(["cowchat", "serve"].iter().chain(flags));
        let Mode::Serve(args) = cli.mode else { panic!("serve") };
        Settings::new(&args, 1, 24)
    }

    #[test]
    fn every_flag_changes_at_a_reload_or_needs_a_restart() {
        let command = Cli::command();
        let serve = command.find_subcommand("serve").expect("a subcommand");
        let mut flags: Vec<&str> = serve.get_arguments().filter_map(clap::Arg::get_long).collect();
        flags.sort_unstable();
        let mut known: Vec<&str> = CHANGE.iter().chain(RESTART).map(|(name, _)| *name).chain(["motd"]).collect();
        known.sort_unstable();
        assert_eq!(known, flags);
    }

    #[test]
    fn a_reload_names_what_it_changes_and_what_it_cannot() {
        let old = settings(&[]).expect("the defaults");
        let new = settings(&["--flood-burst", "7", "--idle-timeout", "9s", "--flood-exempt", "none", "--log", "warn"]);
        let new = new.expect("good flags");
        assert_eq!(old.changed(&new), ["idle-timeout", "flood-burst", "flood-exempt", "log"]);
        let needs_restart = |new: &Settings| restart_needed(&old.args, &new.args);
        assert_eq!(needs_restart(&new), [""; 0]);
        assert_eq!(new.limits.idle_timeout, Some(std::time::Duration::from_secs(9)));
        let moved = settings(&["--herd", "2", "--listen", "127.0.0.1:1", "--history", "3"]).expect("good flags");
        assert_eq!(old.changed(&moved), [""; 0]);
        assert_eq!(needs_restart(&moved), ["listen", "herd", "history"]);
    }

    #[test]
    fn limits_that_contradict_each_other_are_refused() {
        settings(&["--queues-bytes-total", "1000"]).expect_err("less than one queue may hold");
        settings(&["--motd", "/nosuch/file"]).expect_err("no such file");
    }

    #[test]
    fn all_queues_together_may_hold_at_least_one() {
        assert_eq!(queues_bytes_total(Some(1000), 1000).expect("as much"), 1000);
        assert!(matches!(
            queues_bytes_total(Some(999), 1000),
            Err(SettingsError::TotalBelowOne { total: 999, one: 1000 })
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
