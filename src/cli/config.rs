//! `tollgate config default`: the commented default file, to start one's own from.

use std::io::Write as _;

use anyhow::{Context as _, Result};
use clap::Subcommand;

use super::Ended;
use crate::config::DEFAULTS;

/// Print the default configuration
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print every option with its default and a comment that says what it is good for
    ///
    /// Your own file needs only what differs from this one.
    #[command(after_help = "Example:\n  tollgate config default > tollgate.toml")]
    Default,
}

pub fn run(arguments: &Arguments) -> Result<Ended> {
    match arguments.action {
        Action::Default => {
            let written = std::io::stdout().lock().write_all(DEFAULTS.as_bytes());
            // A reader that has seen enough (`| head`) is no failure.
            match written {
                Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error).context("cannot write to stdout"),
                _ => Ok(Ended::Well),
            }
        }
    }
}
