//! `tollgate topics create|check`: the topics, set up as they have to be.

use anyhow::{Context as _, Result};

use super::assemble;
use crate::config::settings::Settings;
use crate::kafka::topics::{self, TopicState};

/// Creates what is missing; leaves alone what is there. Answers whether everything is as it has to be.
///
/// # Errors
/// No broker answers, or it refuses.
pub fn create(settings: &Settings) -> Result<bool> {
    let plans = assemble::topic_plans(settings);
    let connection = assemble::connection(settings);
    let states = runtime()?.block_on(topics::create(&connection, &plans, settings.kafka.replication_factor))?;
    Ok(report(&states))
}

/// # Errors
/// No broker answers, or it refuses.
pub fn check(settings: &Settings) -> Result<bool> {
    let plans = assemble::topic_plans(settings);
    let states = runtime()?.block_on(topics::check(&assemble::connection(settings), &plans))?;
    Ok(report(&states))
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the Kafka admin client")
}

/// One line per topic, what is wrong below it.
fn report(states: &[(String, TopicState)]) -> bool {
    let width = states.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut usable = true;
    for (name, state) in states {
        let (word, details): (&str, &[String]) = match state {
            TopicState::Created => ("created", &[]),
            TopicState::Present => ("ok", &[]),
            TopicState::Missing => ("missing", &[]),
            TopicState::Differs(details) => ("differs", details),
            TopicState::Wrong(details) => ("wrong", details),
        };
        usable &= !matches!(state, TopicState::Missing | TopicState::Wrong(_));
        println!("{name:width$}  {word}");
        for detail in details {
            println!("{:width$}    {detail}", "");
        }
    }
    if states.iter().any(|(_, state)| *state == TopicState::Missing) {
        println!("\nMissing topics are created by `tollgate topics create`.");
    }
    if states.iter().any(|(_, state)| matches!(state, TopicState::Wrong(_))) {
        println!(
            "\nA topic that is wrong would lose or repeat data. Tollgate never changes existing topics: correct it with Kafka's own tools."
        );
    }
    usable
}
