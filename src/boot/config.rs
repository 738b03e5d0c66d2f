//! From flags to a configuration that can run.
//!
//! Everything that an operator may have got wrong shows here, before a thread starts or a port is taken. What the machine
//! allows is asked of `machine`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "cluster")]
use super::cluster_flags::{self, ClusterFlagsError};
use super::cow_files::{self, CowDirError, Skipped};
use super::doctor::{self, Check};
use super::invocation::UnknownVariable;
use super::machine::{self, Cores};
use super::machine_error::MachineError;
use super::settings::{Settings, SettingsError};
use crate::bridge::ClusterConfig;
use crate::cli::ServeArgs;
use crate::cows::Herd;
use crate::cows::bubble::Bubble;
use crate::cows::herd::HerdError;
use crate::directory::NoMemory;
use crate::events::Level;
use crate::log::Format;
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
    /// What a reload may change.
    pub(super) settings: Settings,
    pub(super) keepalive: Option<Duration>,
    pub(super) mailbox_frames: usize,
    pub(super) control: Option<PathBuf>,
    /// What the machine could allow.
    pub(super) warnings: Vec<Check>,
    /// How it is part of a cluster, if it is.
    pub(super) cluster: Option<ClusterConfig>,
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
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    CowDir(#[from] CowDirError),
    #[error(transparent)]
    Herd(#[from] HerdError),
    #[error(transparent)]
    HerdMemory(#[from] NoMemory),
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// This server must not be in its cluster.
    #[error("not part of the cluster: {0}")]
    Cluster(String),
    #[cfg(feature = "cluster")]
    #[error(transparent)]
    ClusterFlags(#[from] ClusterFlagsError),
}

impl Config {
    /// Checks the flags against each other and against the machine.
    ///
    /// # Errors
    /// The first thing that an operator has to change.
    pub fn new(args: &ServeArgs, unknown_variables: Vec<UnknownVariable>) -> Result<Self, ConfigError> {
        let cores = machine::cores(args.cores, args.pin)?;
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
        let settings = Settings::new(args, cores.pins.len(), herd.len())?;
        #[cfg(feature = "cluster")]
        let cluster = cluster_flags::cluster(&args.cluster, cores.pins.len())?;
        #[cfg(not(feature = "cluster"))]
        let cluster = None;
        Ok(Config {
            listen: args.listen,
            warnings: doctor::warnings(args.connections_max),
            cores,
            unknown_variables,
            herd: Arc::new(herd),
            cow_files_skipped: cow_files.skipped,
            rules,
            settings,
            keepalive: args.keepalive,
            mailbox_frames: args.mailbox_frames,
            control: args.control.clone(),
            cluster,
            metrics: args.metrics,
            log: args.log,
            log_format: args.log_format,
        })
    }
}
