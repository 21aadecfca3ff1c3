//! `tollgate topics create|check`: the topics, set up as they have to be.

use anyhow::{Context as _, Result};

use super::{assemble, print};
use crate::config::settings::Settings;
use crate::kafka::access::{self, Right};
use crate::kafka::client::Connection;
use crate::kafka::probe::Probe;
use crate::kafka::topics::{self, TopicState};

/// Creates what is missing; leaves alone what is there. Answers whether everything is as it has to be.
///
/// # Errors
/// No broker answers, or it refuses.
pub fn create(settings: &Settings) -> Result<bool> {
    let plans = assemble::topic_plans(settings);
    let connection = assemble::connection(settings);
    let states = runtime()?.block_on(topics::create(&connection, &plans, settings.kafka.replication_factor))?;
    tell(&states, &connection)
}

/// # Errors
/// No broker answers, or it refuses.
pub fn check(settings: &Settings) -> Result<bool> {
    let plans = assemble::topic_plans(settings);
    let connection = assemble::connection(settings);
    let probe = Probe::connect(&connection)?;
    let states = runtime()?.block_on(topics::check(&probe, &plans))?;
    tell(&states, &connection)
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the Kafka admin client")
}

fn tell(states: &[(String, TopicState)], connection: &Connection) -> Result<bool> {
    print(&report(states, access::principal(connection).as_deref()))?;
    Ok(!states.iter().any(|(_, state)| matches!(state, TopicState::Missing | TopicState::Wrong(_) | TopicState::Forbidden(_))))
}

/// One line per topic, what is wrong below it.
fn report(states: &[(String, TopicState)], principal: Option<&str>) -> String {
    let width = states.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let (mut out, mut forbidden) = (String::new(), Vec::new());
    for (name, state) in states {
        let (word, details): (&str, &[String]) = match state {
            TopicState::Created => ("created", &[]),
            TopicState::Present => ("ok", &[]),
            TopicState::Missing => ("missing", &[]),
            TopicState::Differs(details) => ("differs", details),
            TopicState::Wrong(details) => ("wrong", details),
            TopicState::Forbidden(operation) => {
                forbidden.push(Right::on_topic(*operation, name));
                ("forbidden", &[])
            }
        };
        out.push_str(&format!("{name:width$}  {word}\n"));
        details.iter().for_each(|detail| out.push_str(&format!("{:width$}    {detail}\n", "")));
    }
    if states.iter().any(|(_, state)| *state == TopicState::Missing) {
        out.push_str("\nMissing topics are created by `tollgate topics create`.\n");
    }
    if states.iter().any(|(_, state)| matches!(state, TopicState::Wrong(_))) {
        out.push_str(
            "\nA topic that is wrong would lose or repeat data. Tollgate never changes existing topics: correct it with Kafka's own tools.\n",
        );
    }
    if !forbidden.is_empty() {
        out.push_str(&format!("\nWhat is forbidden was not looked at: {}.\n", access::not_authorised(&forbidden, principal)));
    }
    out
}
