//! `tollgate topics create|check`: the topics, with the settings they need.

use anyhow::{Context as _, Result};
use clap::Subcommand;

use super::telemetry::{self, Logging};
use super::{ConfigFile, Ended, shell};
use crate::config::Loaded;
use crate::kafka::topics::{self, TopicState};

/// Create the topics, or check those that exist
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Create the topics that are missing, with the partitions and settings that Tollgate needs
    ///
    /// Topics that exist are compared and left as they are. Safe to run again, and before every start.
    #[command(after_help = "Example:\n  tollgate topics create --config tollgate.toml")]
    Create(ConfigFile),
    /// Compare the topics with what Tollgate needs; changes nothing
    ///
    /// Ends with 2 if a topic is missing or must not be used as it is.
    #[command(after_help = "Example:\n  tollgate topics check --config tollgate.toml")]
    Check(ConfigFile),
}

pub fn run(arguments: &Arguments, logging: &Logging) -> Result<Ended> {
    let (Action::Create(file) | Action::Check(file)) = &arguments.action;
    let Some(loaded) = file.load_or_say() else { return Ok(Ended::Unusable) };
    telemetry::start(logging, &loaded.settings.log)?;
    let states = ask(&arguments.action, &loaded)?;
    let mut usable = true;
    for (name, state) in states {
        usable &= !matches!(state, TopicState::Missing | TopicState::Wrong(_));
        println!("{}", line(&name, &state));
    }
    Ok(if usable { Ended::Well } else { Ended::Unusable })
}

fn ask(action: &Action, loaded: &Loaded) -> Result<Vec<(String, TopicState)>> {
    let connection = shell::connection(&loaded.settings);
    let sizes = shell::topic_sizes(&loaded.settings);
    let plans = topics::plan(&shell::topic_names(&loaded.settings), &sizes);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start a runtime")?;
    runtime.block_on(async {
        match action {
            Action::Create(_) => topics::create(&connection, &plans, sizes.replication_factor).await,
            Action::Check(_) => topics::check(&connection, &plans).await,
        }
    })
}

fn line(name: &str, state: &TopicState) -> String {
    let (word, detail) = match state {
        TopicState::Created => ("created", String::new()),
        TopicState::Present => ("ok", String::new()),
        TopicState::Missing => ("missing", "run `tollgate topics create`".to_string()),
        TopicState::Differs(found) => ("differs", format!("works, but has {}", found.join(", "))),
        TopicState::Wrong(found) => ("wrong", format!("cannot be used with {}", found.join(", "))),
    };
    let text = format!("{word:<8} {name}");
    if detail.is_empty() { text } else { format!("{text}: {detail}") }
}
