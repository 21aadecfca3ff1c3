//! `tollgate route`: who would be told of an alert, and why.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{ConfigFile, Ended, assemble};
use crate::clock;
use crate::deliver::rules::{Named, Step, explain, muted, route};
use crate::model::alert::Alert;
use crate::model::time::{MINUTE_MS, Timestamp};
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

    /// As if it came at this time (RFC 3339) instead of now: hours, rotations and mutes depend on it
    #[arg(long, value_name = "TIME", value_parser = at)]
    at: Option<Timestamp>,
}

fn at(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).ok_or_else(|| "write a time like 2026-12-01T22:00:00Z".to_string())
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
    let now = arguments.at.unwrap_or_else(clock::now);
    let (steps, falls_back) = explain(&rules.routes, &alert, now);
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
            Step::TellsLater(receivers, until, hours) => format!("tells {}, but {hours} only: from {until} on", receivers.join(", ")),
            Step::NotAsked => "not asked: a route above tells somebody and does not say go_on = true".to_string(),
        };
        println!("  route {}: {what}", number + 1);
        let route = rules
            .routes
            .routes
            .get(number)
            .filter(|route| matches!(step, Step::Tells(_) | Step::TellsLater(..)) && route.escalate_after_ms > 0);
        if let Some(route) = route {
            println!("    and {} if nobody has answered after {} min", route.escalate_to.join(", "), route.escalate_after_ms / MINUTE_MS);
        }
    }
    if falls_back {
        println!("  no route is for it: deliver.fallback");
    }
    let receivers: Vec<String> = route(&rules.routes, &alert, now).iter().map(shown).collect();
    if let Some((until, mute)) = muted(&rules.routes, &alert, now) {
        let note = if mute.note.is_empty() { String::new() } else { format!(" ({})", mute.note) };
        println!("  muted until {until}{note}: then, if it is still open");
    }
    if !alert.notify {
        println!("Nobody: the alert is for topics only (observe mode, or the team's first day)");
    } else if receivers.is_empty() {
        println!("Nobody is told");
    } else {
        println!("Told: {}", receivers.join(", "));
    }
    Ok(Ended::Well)
}

fn shown(named: &Named) -> String {
    let later = named.waits_until.map(|until| format!(" (from {until} on)")).unwrap_or_default();
    format!("{}{later}", named.receiver)
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
