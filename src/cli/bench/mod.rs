//! `tollgate bench`: how fast it is here, on this machine and this broker.

mod broker;
mod commit;
pub mod events;
mod measure;
mod memory;
pub mod policies;

use std::sync::Arc;

use anyhow::{Result, anyhow};
use clap::Subcommand;

use self::events::{Events, Form};
use self::measure::Measured;
use super::telemetry::{self, Logging};
use super::{ConfigFile, Ended, Format, print};
use crate::config;

/// Measure how many events this machine can take
///
/// Events are made up: 210 bytes of framed Avro with 17 fields, 200 teams, every other project attributed by rules. Figures of a machine
/// that does other things at the same time are worth little: `load` says how busy it was.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  tollgate bench intake\n  tollgate bench intake --leaves 20000 --form json --format json")]
pub struct Arguments {
    #[command(subcommand)]
    what: What,

    /// How the result is printed
    #[arg(long, global = true, value_enum, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

#[derive(Debug, Subcommand)]
enum What {
    /// From bytes to fields, in memory
    Decode(InMemory),
    /// From bytes to sums: decode, validate, dedupe, attribute, price, combine, and the records of the sums; in memory, one thread
    Intake(InMemory),
    /// Ten policies on each event; in memory, one thread
    Policies(Policies),
    /// From sums to alerts: partials of so many leaves, ten minutes after ten minutes, closing hours; in memory, one thread
    Watch(InMemory),
    /// What reading the topic costs at the least: librdkafka's own batches, nothing done with them
    ///
    /// The broker is the one of the config. The topic is made and filled if it is empty; nothing else is written.
    #[command(after_help = "Example:\n  tollgate bench floor --config tollgate.toml --events 12000000")]
    Floor(OnBroker),
    /// Intake as it runs in production, exactly once, until all of the topic is committed; the floor first, in the same run
    ///
    /// The broker, threads and intervals are those of the config; group, internal topics and outputs are made for the run and removed
    /// after it. `ratio to floor` is CPU time for an event, intake's to the floor's.
    #[command(after_help = "Example:\n  tollgate bench end-to-end --config tollgate.toml --events 12000000")]
    EndToEnd(OnBroker),
    /// How long a transaction takes: the commit routine of all roles, back to back, and nothing else on our side
    ///
    /// Topics are made for the run and removed after it.
    #[command(after_help = "Example:\n  tollgate bench commit --config tollgate.toml --transactions 2000")]
    Commit(Transactions),
}

#[derive(Clone, Copy, Debug, clap::Args)]
struct Policies {
    /// How many events
    #[arg(long, value_name = "N", default_value = "5000000")]
    events: u64,
}

#[derive(Clone, Debug, clap::Args)]
struct Transactions {
    #[command(flatten)]
    config: ConfigFile,

    /// How many transactions
    #[arg(long, value_name = "N", default_value = "1000")]
    transactions: u64,

    /// Records of each
    #[arg(long, value_name = "N", default_value = "20")]
    records: u64,
}

#[derive(Clone, Debug, clap::Args)]
struct OnBroker {
    #[command(flatten)]
    config: ConfigFile,

    /// The topic of events; kept for the next run
    #[arg(long, value_name = "NAME", default_value = "tollgate-bench-usage")]
    topic: String,

    /// How many events an empty topic is filled with
    #[arg(long, value_name = "N", default_value = "2000000")]
    events: u64,

    /// Different series that they belong to
    #[arg(long, value_name = "N", default_value = "2000")]
    leaves: u64,

    /// The topic holds your own events: attribution, prices and schemas are those of the config
    #[arg(long)]
    own_events: bool,

    /// The topic holds the events of scripts/bench-compare.sh: the job is theirs
    #[arg(long, conflicts_with = "own_events")]
    team_minute: bool,
}

#[derive(Clone, Copy, Debug, clap::Args)]
struct InMemory {
    /// How many events (for watch: partials)
    #[arg(long, value_name = "N", default_value = "2000000")]
    events: u64,

    /// Different series that they belong to
    #[arg(long, value_name = "N", default_value = "2000")]
    leaves: u64,

    /// How the events are written
    #[arg(long, value_enum, value_name = "FORM", default_value = "avro")]
    form: Form,

    /// Records of one transaction
    #[arg(long, value_name = "N", default_value = "100000")]
    batch: u64,

    /// The ten policies of `bench policies` are asked as well (intake and watch)
    #[arg(long)]
    policies: bool,
}

impl InMemory {
    fn events(&self) -> Events {
        Events { leaves: self.leaves, form: self.form }
    }
}

pub fn run(arguments: &Arguments, logging: &Logging) -> Result<Ended> {
    let measured = match &arguments.what {
        What::Decode(options) | What::Intake(options) | What::Watch(options) => in_memory(&arguments.what, options)?,
        What::Policies(options) => vec![policies::measure(options.events)?],
        What::Commit(options) => {
            let Some(loaded) = options.config.load_or_say() else { return Ok(Ended::Unusable) };
            telemetry::start(logging, &loaded.settings.log)?;
            vec![broker::commits(&loaded, options.transactions, options.records)?]
        }
        What::Floor(options) | What::EndToEnd(options) => {
            let Some(measured) = on_broker(&arguments.what, options, logging)? else { return Ok(Ended::Unusable) };
            measured
        }
    };
    print(&text(&measured, arguments.format))?;
    Ok(Ended::Well)
}

fn in_memory(what: &What, options: &InMemory) -> Result<Vec<Measured>> {
    let loaded = config::load_text("", "", std::path::Path::new(""), std::iter::empty());
    let mut loaded = loaded.map_err(|problems| anyhow!("{problems:?}"))?;
    if options.policies {
        let policies = Arc::new(policies::stream(&[])?);
        (loaded.intake.policies, loaded.watch.policies) = (policies.clone(), policies);
    }
    match what {
        What::Decode(_) => memory::decode(&options.events(), options.events, loaded.intake.largest_record),
        What::Watch(_) => memory::watch(options.events, options.leaves, &loaded.watch),
        _ => memory::intake(&options.events(), options.events, loaded.intake, options.batch, loaded.settings.shard_count),
    }
}

/// `None`: the config cannot be used.
fn on_broker(what: &What, options: &OnBroker, logging: &Logging) -> Result<Option<Vec<Measured>>> {
    let Some(loaded) = options.config.load_or_say() else { return Ok(None) };
    telemetry::start(logging, &loaded.settings.log)?;
    let run = broker::Run::new(loaded, &options.topic)?;
    let bounds = run.prepare(&Events { leaves: options.leaves, form: Form::Avro }, options.events)?;
    let mut measured = vec![run.floor(&bounds)?];
    if let What::EndToEnd(_) = what {
        let job = match (options.own_events, options.team_minute) {
            (true, _) => broker::Job::AsConfigured,
            (false, true) => broker::Job::TeamMinute,
            (false, false) => broker::Job::Ours,
        };
        let mut whole = run.end_to_end(&bounds, job)?;
        let floor = measured.first().and_then(Measured::cpu_per_million);
        if let Some((own, floor)) = whole.cpu_per_million().zip(floor).filter(|(_, floor)| *floor > 0.0) {
            whole.more.push(("ratio to floor", own / floor));
        }
        measured.push(whole);
    }
    Ok(Some(measured))
}

fn text(measured: &[Measured], format: Format) -> String {
    match format {
        Format::Text => measured.iter().map(|line| format!("{}\n", line.text())).collect(),
        Format::Json => format!("{}\n", serde_json::Value::Array(measured.iter().map(Measured::json).collect())),
    }
}
