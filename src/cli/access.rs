//! `tollgate access`: who may use which model or dataset, and when each did last.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::telemetry::{self, Logging};
use super::{ConfigFile, Ended, Format, assemble, print};
use crate::clock;
use crate::deliver::render::clean::name;
use crate::kafka::read::Reader;
use crate::kafka::topics;
use crate::model::time::Timestamp;
use crate::watch::access::held::{Held, Holdings, Status};

/// Of names, in characters.
const LONGEST: usize = 40;

/// List who may use which model or dataset, who granted it, and when it was last used
///
/// From what every shard knows of grants (`[access]` of the config): their changelog is read, so that nothing has to run. Without --all
/// those are listed that can be used now, or later; what was revoked, has expired, or belongs to somebody who has left comes with it.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  tollgate access --object risk-scorer --config tollgate.toml\n  tollgate access --principal acme --all --format json"
)]
pub struct Arguments {
    #[command(flatten)]
    config: ConfigFile,

    /// Of this model or dataset only
    #[arg(long, value_name = "NAME")]
    object: Option<String>,

    /// Of this user, key, service or `team:NAME` only
    #[arg(long, value_name = "NAME")]
    principal: Option<String>,

    /// Granted by this team only
    #[arg(long, value_name = "NAME")]
    team: Option<String>,

    /// Also what cannot be used any more
    #[arg(long)]
    all: bool,

    /// How the list is printed
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

pub fn run(arguments: &Arguments, logging: &Logging) -> Result<Ended> {
    let Some(loaded) = arguments.config.load_or_say() else { return Ok(Ended::Unusable) };
    telemetry::start(logging, &loaded.settings.log)?;
    let (connection, names) = (assemble::connection(&loaded.settings), assemble::topic_names(&loaded.settings));
    let topic = &names.watch_changelog;
    let shards = topics::partitions_of(&connection, topic)?;
    let (mut reader, mut holdings) = (Reader::new(&connection)?, Holdings::default());
    for shard in 0..shards {
        for (key, value) in reader.live_keys(topic, shard)? {
            holdings.put(&key, &value).with_context(|| format!("{topic}[{shard}]"))?;
        }
    }
    let held: Vec<Held> = holdings.held(clock::now()).into_iter().filter(|held| arguments.names(held)).collect();
    if holdings.is_full {
        eprintln!("There are more grants than are kept: some are missing here, and uses without a grant are not told.");
    }
    print(&match arguments.format {
        Format::Text => text(&held),
        Format::Json => format!("{:#}\n", json!(held.iter().map(one).collect::<Vec<_>>())),
    })?;
    Ok(Ended::Well)
}

impl Arguments {
    fn names(&self, held: &Held) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| wanted.as_deref().is_none_or(|wanted| found == Some(wanted));
        let whole = held.name.object.whole();
        (is(&self.object, Some(held.name.object.name())) || whole.is_some_and(|whole| is(&self.object, Some(whole.name()))))
            && is(&self.principal, Some(&held.name.principal))
            && is(&self.team, held.granted_by.as_deref())
            && (self.all || matches!(held.status, Status::Holds | Status::Later))
    }
}

fn text(held: &[Held]) -> String {
    if held.is_empty() {
        return "No grant is known.\n".to_string();
    }
    let header = ["what", "who", "role", "granted by", "since", "until", "last used", "status"].map(str::to_string);
    let rows: Vec<[String; 8]> = std::iter::once(header).chain(held.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; 8] = std::array::from_fn(width);
    let line = |row: &[String; 8]| {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

fn row(held: &Held) -> [String; 8] {
    let shown = |text: Option<&str>| text.map_or_else(|| "-".to_string(), |text| name(text, LONGEST));
    let time = |time: Option<Timestamp>, none: &str| time.map_or_else(|| none.to_string(), |time| time.to_string());
    let who = match held.principal_type.as_deref() {
        Some(kind) => format!("{} ({})", name(&held.name.principal, LONGEST), name(kind, LONGEST)),
        None => name(&held.name.principal, LONGEST),
    };
    let used = match (held.last_used, held.used_by.as_deref()) {
        (Some(at), Some(by)) => format!("{at} by {}", name(by, LONGEST)),
        (at, _) => time(at, "never"),
    };
    [
        format!("{} {}", held.name.object.kind(), name(held.name.object.name(), LONGEST)),
        who,
        shown(held.name.role.as_deref()),
        shown(held.granted_by.as_deref()),
        time(held.from, "-"),
        time(held.until, "-"),
        used,
        held.status.as_str().to_string(),
    ]
}

fn one(held: &Held) -> Value {
    json!({
        "object_type": held.name.object.kind(),
        "object": &**held.name.object.name(),
        "principal": &*held.name.principal,
        "principal_type": held.principal_type.as_deref(),
        "role": held.name.role.as_deref(),
        "granted_by": held.granted_by.as_deref(),
        "from": held.from.map(|time| time.to_string()),
        "until": held.until.map(|time| time.to_string()),
        "last_used": held.last_used.map(|time| time.to_string()),
        "used_by": held.used_by.as_deref(),
        "status": held.status.as_str(),
    })
}
