//! `cowchat generate`: the man pages and the completions of a package, made from the command line itself. So a new flag or
//! subcommand is in both. `ci/deb.sh` calls it; no help shows it.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Command, Subcommand};
use clap_complete::Shell;

/// Arguments of `cowchat generate`.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// What it writes.
    #[command(subcommand)]
    what: Generated,
}

#[derive(Debug, Subcommand)]
enum Generated {
    /// Write a man page for the program and each subcommand into this directory, which must exist
    Man {
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Print the completions of this shell
    Completions {
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },
}

impl GenerateArgs {
    /// Writes the pages of `command` as files, or its completions to stdout.
    ///
    /// # Errors
    /// When a file or stdout cannot be written.
    pub fn generate(&self, mut command: Command) -> io::Result<()> {
        match &self.what {
            Generated::Man { directory } => clap_mangen::generate_to(command, directory)
                .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", directory.display()))),
            Generated::Completions { shell } => {
                // Into memory first: it panics where it cannot write.
                let mut script = Vec::new();
                clap_complete::generate(*shell, &mut command, "cowchat", &mut script);
                io::stdout().write_all(&script)
            }
        }
    }
}
