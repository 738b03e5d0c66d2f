//! The command line of `cowchat doctor`.

use clap::Args;

use super::values::{switch, whole};

/// Arguments of `cowchat doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Check for this many connections [default: what descriptors and memory allow]
    #[arg(long, value_name = "N", env = "COWCHAT_DOCTOR_CONNECTIONS", value_parser = whole::<u64>(1..=1 << 32))]
    pub connections: Option<u64>,

    /// Print the checks as JSON
    #[arg(long, env = "COWCHAT_DOCTOR_JSON", value_parser = switch)]
    pub json: bool,
}
