//! `tollgate route`: who would be told of an alert, and why.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{ConfigFile, Ended, assemble};
use crate::deliver::rules::{Step, explain, route};
use crate::model::alert::Alert;
use crate::model::wire;

/// Say who would be told of an alert, and why
///
/// Goes through the routes of the config in their order and says of each what it makes of the alert. Sends nothing. The alert is JSON, as
/// on the topic `alerts` (alerts.format = "json"), or as `tollgate alerts show` prints it.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  tollgate route --explain alert.json --config tollgate.toml\n  tollgate alerts show ID --format json | tollgate route --explain -"
)]
pub struct Arguments {
    /// File with the alert; - reads it from stdin
    #[arg(long, value_name = "FILE")]
    explain: PathBuf,

    #[command(flatten)]
    config: ConfigFile,
}

pub fn run(arguments: &Arguments) -> Result<Ended> {
    let Some(loaded) = arguments.config.load_or_say() else { return Ok(Ended::Unusable) };
    let alert = match read(&arguments.explain) {
        Ok(alert) => alert,
        Err(problem) => {
            eprintln!("{}: {problem}", arguments.explain.display());
            return Ok(Ended::Unusable);
        }
    };
    let rules = assemble::deliver_rules(&loaded.settings);
    let (steps, falls_back) = explain(&rules.routes, &alert);
    println!(
        "{} alert of {}, {}, {} {} extra",
        alert.severity.as_str(),
        alert.team,
        alert.kind.as_str(),
        alert.excess,
        alert.currency.as_str()
    );
    for (number, step) in steps.iter().enumerate() {
        let what = match step {
            Step::Other(why) => format!("not for this one: {why}"),
            Step::TooLight(why) => format!("too light: {why}"),
            Step::Tells(receivers) => format!("tells {}", receivers.join(", ")),
            Step::NotAsked => "not asked: a route above tells somebody and does not say go_on = true".to_string(),
        };
        println!("  route {}: {what}", number + 1);
    }
    if falls_back {
        println!("  no route is for it: deliver.fallback");
    }
    let receivers = route(&rules.routes, &alert);
    if !alert.notify {
        println!("Nobody: the alert is for topics only (observe mode, or the team's first day)");
    } else if receivers.is_empty() {
        println!("Nobody is told");
    } else {
        println!("Told: {}", receivers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
    }
    Ok(Ended::Well)
}

fn read(path: &Path) -> Result<Alert, String> {
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().lock().read_to_end(&mut bytes).map_err(|error| format!("cannot be read: {error}"))?;
    } else {
        bytes = std::fs::read(path).map_err(|error| format!("cannot be read: {error}"))?;
    }
    wire::alert_from_json(&bytes).map_err(|error| format!("no alert: {error}"))
}
