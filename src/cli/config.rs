//! `tollgate config default`: the commented default file, to start one's own from.

use anyhow::Result;
use clap::Subcommand;

use super::{Ended, print};
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
            print(DEFAULTS)?;
            Ok(Ended::Well)
        }
    }
}
