//! `tollgate data-flow`: which data feeds which model, and where does it answer?

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::ValueEnum;

use super::telemetry::{self, Logging};
use super::{ConfigFile, Ended, assemble, policy, print};
use crate::clock;
use crate::config::Loaded;
use crate::http::flow::{Drawn, Lineages};
use crate::lab::data_flow::live::Live;
use crate::lab::data_flow::{self, Rules};
use crate::lineage::map::EdgeState;
use crate::runtime::Setup;

/// Show where data goes: which datasets feed which models, where these answer, what breaks a policy, what nobody knows
///
/// Of the running Tollgate, whose topics are read, or, with FILES, of these: JSON Lines, plain or as .gz or .zst: OpenLineage events as its clients write them, or {"topic": "lineage-events", "value":
/// {...}} in one file with activity-events (registrations, deployments) and usage-events (where models answer). Origins are what the
/// facet tollgate_origin of a dataset says ({"regions": ["eu-central-1", "FR"]}), else the rules [[lineage.origin]] of the config; a
/// dataset with the facet tollgate_model ({"model": "risk-scorer", "version": "3"}) is that model. Each region in which a model answers
/// is judged as a deployment there, once for each origin of its data; of the running one these are the deployments, and where models
/// answered within two days. Ends with 1 if anything breaks a policy, with 2 if no line can be used.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  tollgate data-flow --config tollgate.toml --team risk\n  tollgate data-flow --policies policies lineage.jsonl activity.jsonl\n  tollgate data-flow --policies policies --format svg --team risk events.jsonl.gz > flow.svg"
)]
pub struct Arguments {
    /// Event files, in order, - for stdin; without any: what runs
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Only what this team deployed, pays for or builds, and what leads there
    #[arg(long, value_name = "TEAM")]
    team: Option<String>,

    /// Folder of policies [default: policies.dir of the config; without any nothing is judged]
    #[arg(long, value_name = "FOLDER")]
    policies: Option<PathBuf>,

    #[command(flatten)]
    config: ConfigFile,

    /// How the map is printed
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    format: MapFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum MapFormat {
    Text,
    Json,
    Svg,
}

pub fn run(arguments: &Arguments, logging: &Logging) -> Result<Ended> {
    let Some(loaded) = arguments.config.load_or_say() else { return Ok(Ended::Unusable) };
    let folder = match policy::folder(arguments.policies.as_deref(), &loaded) {
        Ok(folder) => folder,
        Err(ended) => return Ok(ended),
    };
    let folder = folder.as_deref();
    let found = if arguments.files.is_empty() {
        telemetry::start(logging, &loaded.settings.log)?;
        of_config(&loaded).map(folder, arguments.team.as_deref(), clock::now())?
    } else {
        let rules = Rules { intake: &loaded.intake, lineage: &loaded.lineage, policies: folder, now: clock::now() };
        match data_flow::run(&arguments.files, &rules, arguments.team.as_deref()) {
            Ok(found) => found,
            Err(problem) => {
                eprintln!("{problem}");
                return Ok(Ended::Unusable);
            }
        }
    };
    print(&match arguments.format {
        MapFormat::Text => found.text(),
        MapFormat::Json => format!("{:#}\n", found.json()),
        MapFormat::Svg => found.svg(arguments.team.as_deref()),
    })?;
    if found.is_unusable() {
        // A picture has no room for it.
        if let Some(first) = found.first_rejected.as_ref().filter(|_| arguments.format == MapFormat::Svg) {
            eprintln!("none of the {} lines can be used, the first: {first}", found.read);
        }
        return Ok(Ended::Unusable);
    }
    let breaks = found.map.edges.iter().any(|edge| edge.state == EdgeState::Breaks);
    Ok(if breaks { Ended::No } else { Ended::Well })
}

/// What lineage knows where this config leads to.
pub fn of_config(loaded: &Loaded) -> Live {
    let (connection, names) = (assemble::connection(&loaded.settings), assemble::topic_names(&loaded.settings));
    let lineage = Arc::new(loaded.lineage.clone());
    Live::new(connection, names, Box::new(move || lineage.clone()))
}

/// For the pages: what lineage knows, read when somebody asks.
pub fn lineages(setup: &Arc<Setup>) -> Lineages {
    let rules = setup.clone();
    let live = Live::new(setup.connection.clone(), setup.topics.clone(), Box::new(move || rules.lineage_rules.load_full()));
    let live = Arc::new(live);
    let of_map = live.clone();
    Lineages {
        map: Box::new(move |policies, team, now| {
            let found = of_map.map(policies, team, now)?;
            Ok(Drawn { svg: found.svg(team), json: found.json() })
        }),
        known: Box::new(move |model, version, now| live.known(model, version, now)),
    }
}
