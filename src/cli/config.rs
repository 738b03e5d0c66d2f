//! The command line of `cowchat config`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::values::switch;

/// Arguments of `cowchat config`.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// Say whether this file is right for serve --config, and nothing else
    #[arg(long, value_name = "FILE", env = "COWCHAT_CONFIG_CHECK", conflicts_with_all = ["defaults", "flags"])]
    pub check: Option<PathBuf>,

    /// Print a file with every flag, what it means, its default and the reason of that
    #[arg(long, env = "COWCHAT_CONFIG_DEFAULTS", value_parser = switch, conflicts_with = "flags")]
    pub defaults: bool,

    /// Flags of cowchat serve, such as --config FILE: print each value that would be in force, and where it comes from
    #[arg(value_name = "SERVE FLAGS", trailing_var_arg = true, allow_hyphen_values = true)]
    pub flags: Vec<OsString>,
}
