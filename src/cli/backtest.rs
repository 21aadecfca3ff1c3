//! `tollgate backtest`: what would have been said about these events?

use std::path::PathBuf;

use anyhow::Result;

use super::explain::ReportFormat;
use super::print;
use super::{ConfigFile, Ended};
use crate::clock;
use crate::lab::backtest::{self, labels, score};

/// Replay event files and print every alert and violation that would have been sent
///
/// Files are JSON Lines, plain or as .gz or .zst: {"topic": "usage-events", "value": {...}}, in the order in which the events came.
/// They go through the whole engine under your config, without a Kafka; nothing is sent to anybody. Lines that cannot be used are
/// counted as rejected; it ends with 2 if all are. What people have said (feedback) changes what comes after it, as it does live, and so does what
/// lineage events say of where data comes from.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  tollgate backtest --config tollgate.toml --events march.jsonl.gz\n  tollgate backtest --config tollgate.toml --events march.jsonl.gz --labels incidents.csv --format json\n\nLABELS.csv has the columns kind,team,start,end,dimensions (dimensions as name=value;name=value). A kind\nis any word; the report has a row for each."
)]
pub struct Arguments {
    #[command(flatten)]
    config: ConfigFile,

    /// Event files, in order; - reads stdin
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    events: Vec<PathBuf>,

    /// Incidents that are known to be in the events: the report then says how many were found, how soon and at what cost
    #[arg(long, value_name = "LABELS.csv")]
    labels: Option<PathBuf>,

    /// How the report is printed
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    format: ReportFormat,
}

pub fn run(arguments: &Arguments) -> Result<Ended> {
    let Some(loaded) = arguments.config.load_or_say() else { return Ok(Ended::Unusable) };
    let labels = match arguments.labels.as_deref().map(labels::read).transpose() {
        Ok(read) => read.map(|(labels, warnings)| {
            warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
            labels
        }),
        Err(problems) => {
            problems.iter().for_each(|problem| eprintln!("{problem}"));
            return Ok(Ended::Unusable);
        }
    };
    let backtest = match backtest::run(&arguments.events, &loaded.intake, &loaded.lineage, &loaded.watch, clock::now()) {
        Ok(backtest) => backtest,
        Err(problem) => {
            eprintln!("{problem}");
            return Ok(Ended::Unusable);
        }
    };
    let score = labels.map(|labels| score::score(&backtest.alerts, &labels));
    print(&match arguments.format {
        ReportFormat::Text => backtest::text(&backtest, score.as_ref()),
        ReportFormat::Json => format!("{:#}\n", backtest::json(&backtest, score.as_ref())),
    })?;
    Ok(if backtest.counts.is_unusable() { Ended::Unusable } else { Ended::Well })
}
