//! What the command line says about the client.

use std::path::PathBuf;

use super::address::Address;

/// How the client looks at a terminal. In a pipe all but the address is ignored.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the server is.
    pub address: Address,
    /// The cow to log in as.
    pub cow: Option<String>,
    /// When to use colours. Auto: unless `NO_COLOR` is set.
    pub color: clap::ColorChoice,
    /// How the time of a message looks, as in strftime(3); `None` for no time.
    pub time: Option<String>,
    /// Private messages, and those that name the user's cow, ring the bell.
    pub bell: bool,
    /// Typed lines are kept for the next time.
    pub history: bool,
    /// Joins and leaves are not shown.
    pub quiet: bool,
    /// Where everything that is shown is appended.
    pub log: Option<PathBuf>,
}
