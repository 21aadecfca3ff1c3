//! `tollgate tune`: how sensitive should it be for this team?

use std::path::PathBuf;

use anyhow::Result;

use super::explain::ReportFormat;
use super::print;
use super::{ConfigFile, Ended};
use crate::clock;
use crate::lab::tune;

/// Replay a team's history under several sensitivities, and print the config line for each
///
/// For each pair of alerts_per_team_month and least_excess, around what your config says now: how many alerts there would have been, what
/// others found and this one missed, and how much money above normal was spent before it spoke. Event files are as for backtest.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  tollgate tune --config tollgate.toml --team search --events march.jsonl.gz")]
pub struct Arguments {
    #[command(flatten)]
    config: ConfigFile,

    /// Event files, in order; - reads stdin
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    events: Vec<PathBuf>,

    /// The team
    #[arg(long, value_name = "TEAM")]
    team: String,

    /// How the report is printed
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    format: ReportFormat,
}

pub fn run(arguments: &Arguments) -> Result<Ended> {
    let Some(loaded) = arguments.config.load_or_say() else { return Ok(Ended::Unusable) };
    match tune::tune(&arguments.events, &arguments.team, &loaded.intake, &loaded.lineage, &loaded.watch, clock::now()) {
        Ok(tuning) => {
            print(&match arguments.format {
                ReportFormat::Text => tuning.text(),
                ReportFormat::Json => format!("{:#}\n", tuning.json()),
            })?;
            Ok(Ended::Well)
        }
        Err(problem) => {
            eprintln!("{problem}");
            Ok(Ended::Unusable)
        }
    }
}
