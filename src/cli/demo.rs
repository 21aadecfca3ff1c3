//! `tollgate demo`: the whole path on this machine, without a Kafka.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::Ended;
use super::telemetry::{self, Logging};
use crate::demo::{self, Options};

/// See it at work in less than a minute: no Kafka, no config, nothing to install
///
/// Replays 14 days of real usage at high speed through intake, watch and deliver, on a broker inside this process. Five incidents
/// are hidden in it; alerts appear as they are found, mails become files. Ends with 0 if every incident was found, else with 1.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  tollgate demo\n  tollgate demo --keep --out /tmp/demo")]
pub struct Arguments {
    /// Serve health and metrics after the replay, until Ctrl-C
    #[arg(long)]
    keep: bool,

    /// Hours of the story that pass in a second, at most
    #[arg(long, value_name = "HOURS", default_value = "12", value_parser = speed)]
    speed: f64,

    /// Folder for mails and log; made if it is not there, mails of an earlier demo in it are replaced
    #[arg(long, value_name = "DIR", default_value = "demo-out")]
    out: PathBuf,
}

fn speed(text: &str) -> Result<f64, String> {
    let speed: f64 = text.parse().map_err(|_| "write a number".to_string())?;
    if speed.is_finite() && speed > 0.0 { Ok(speed) } else { Err("write a number above 0".to_string()) }
}

pub fn run(arguments: &Arguments, logging: &Logging) -> Result<Ended> {
    let out = &arguments.out;
    std::fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    let log = out.join("tollgate.log");
    telemetry::start_in(&log, logging.level.as_deref().unwrap_or("info"))?;
    let options = Options { keep: arguments.keep, speed: arguments.speed, out: out.clone(), log };
    Ok(if demo::run(&options)? { Ended::Well } else { Ended::No })
}
