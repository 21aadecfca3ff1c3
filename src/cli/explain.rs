//! `tollgate explain`: what a difference between two sums comes from, out of a CSV file.

use std::path::PathBuf;

use anyhow::Result;
use clap::ValueEnum;

use super::Ended;
use super::print;
use crate::lab::explain;

/// Explain a difference: the fewest combinations of dimensions that it comes from
///
/// INPUT is a CSV file with a header and one row per leaf: any columns that name it (project, model, region, ...), then `expected`
/// (last month, the budget, a forecast) and `actual`. The code is the one that finds the causes of alerts. A cause's share is its part
/// of all absolute deviations; what lies in no cause is printed as unexplained.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  tollgate explain july-against-june.csv\n  tollgate explain --format json july-against-june.csv\n\nINPUT looks like this:\n  project,model,expected,actual\n  ranker,gpt-4o,120.50,480.10\n  search,gpt-4o,88.00,90.20"
)]
pub struct Arguments {
    /// How the causes are printed
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    format: ReportFormat,

    /// CSV file with one row per leaf, plain or as .gz or .zst; - reads stdin
    #[arg(value_name = "INPUT.csv")]
    input: PathBuf,
}

/// How a report is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    Text,
    Json,
}

pub fn run(arguments: &Arguments) -> Result<Ended> {
    match explain::file(&arguments.input) {
        Ok(explained) => {
            print(&match arguments.format {
                ReportFormat::Text => explained.text(),
                ReportFormat::Json => format!("{:#}\n", explained.json()),
            })?;
            Ok(Ended::Well)
        }
        Err(problems) => {
            problems.iter().for_each(|problem| eprintln!("{problem}"));
            Ok(Ended::Unusable)
        }
    }
}
