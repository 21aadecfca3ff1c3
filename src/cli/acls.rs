//! `tollgate topics acls`: the rights that Kafka has to give to the user of Tollgate, as commands for `kafka-acls.sh`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::{ConfigFile, assemble, print, ready};
use crate::config::settings::Settings;
use crate::kafka::access::{Operation, Resource};
use crate::runtime::rights;

/// What a user is going to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Purpose {
    /// `run` and `check`.
    Run,
    /// `topics create` and `topics check`.
    Create,
    /// What people type: reset, redrive, import, showback, alerts, violations, access, data-flow.
    Operate,
}

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pub config: ConfigFile,

    /// Who it is to Kafka: User:NAME, where NAME is kafka.security.username, or what the brokers make of the client certificate
    #[arg(value_name = "PRINCIPAL", value_parser = principal)]
    principal: String,

    /// What the user is going to do
    #[arg(long = "for", value_enum, value_name = "PURPOSE", default_value = "run")]
    purpose: Purpose,

    /// Properties of whoever may give rights, for kafka-acls.sh
    #[arg(long, value_name = "FILE")]
    command_config: Option<String>,
}

/// Rights that are given in one command: all of the operations on each of the resources.
struct Grant {
    operations: Vec<Operation>,
    resources: Vec<Resource>,
    is_prefix: bool,
}

fn principal(text: &str) -> Result<String, String> {
    let is_whole = text.split_once(':').is_some_and(|(kind, name)| !kind.is_empty() && !name.is_empty());
    if !is_whole {
        return Err(format!("write User:{text}"));
    }
    if text.contains('\'') || text.chars().any(char::is_control) {
        return Err("it holds a character that no shell would pass on".to_string());
    }
    Ok(text.to_string())
}

/// # Errors
/// Nothing can be written to stdout.
pub fn show(arguments: &Arguments, settings: &Settings) -> Result<()> {
    let grants = match arguments.purpose {
        Purpose::Run => for_run(settings),
        Purpose::Create => for_create(settings),
        Purpose::Operate => for_operate(settings),
    };
    let command_config = arguments.command_config.as_ref().map(|file| format!(" --command-config {file}")).unwrap_or_default();
    let head = format!(
        "kafka-acls.sh --bootstrap-server {}{command_config} --add --allow-principal '{}'",
        settings.kafka.bootstrap_servers, arguments.principal
    );
    print(&grants.iter().map(|grant| format!("{head}{}\n", grant.options())).collect::<String>())
}

impl Grant {
    fn on(operations: &[Operation], resources: Vec<Resource>, is_prefix: bool) -> Grant {
        Grant { operations: operations.to_vec(), resources, is_prefix }
    }

    fn options(&self) -> String {
        let operations = self.operations.iter().map(|operation| format!(" --operation {}", operation.as_str()));
        let pattern = if self.is_prefix { " --resource-pattern-type prefixed" } else { "" };
        let resources = self.resources.iter().map(|resource| {
            let (option, name) = resource.option();
            format!(" {option} {name}")
        });
        operations.chain([pattern.to_string()]).chain(resources).collect()
    }
}

/// What our own topics, groups and transactions begin with.
fn prefixes(settings: &Settings) -> (Resource, Resource, Resource) {
    let (prefix, id) = (&settings.kafka.topic_prefix, &settings.kafka.application_id);
    (Resource::Topic(format!("{prefix}{id}-")), Resource::Group(format!("{id}-")), Resource::TransactionalId(format!("{id}-")))
}

fn topics(names: &[&String]) -> Vec<Resource> {
    names.iter().map(|name| Resource::Topic((*name).clone())).collect()
}

fn for_run(settings: &Settings) -> Vec<Grant> {
    use Operation::{Delete, DescribeConfigs, Read, Write};
    let names = assemble::topic_names(settings);
    let (own, groups, transactions) = prefixes(settings);
    let (inputs, outputs) = (names.inputs(), names.outputs());
    let mut needed: BTreeMap<String, BTreeSet<Operation>> = BTreeMap::new();
    for right in rights::roles().into_iter().flat_map(|role| rights::of_role(role, &names)) {
        needed.entry(right.resource.option().1.to_string()).or_default().insert(right.operation);
    }
    if ready::takes_answers(settings) {
        needed.entry(names.feedback.clone()).or_default().insert(Write);
    }
    let mut alike: Vec<(Vec<Operation>, Vec<&String>)> = Vec::new();
    for topic in inputs.into_iter().chain(outputs) {
        // `check` compares settings.
        let operations = needed.get(topic).into_iter().flatten().copied().chain([DescribeConfigs]).collect();
        match alike.iter_mut().find(|(known, _)| *known == operations) {
            Some((_, names)) => names.push(topic),
            None => alike.push((operations, vec![topic])),
        }
    }
    let mut grants: Vec<Grant> = alike.into_iter().map(|(operations, names)| Grant::on(&operations, topics(&names), false)).collect();
    grants.push(Grant::on(&[Read, Write, DescribeConfigs], vec![own], true));
    grants.push(Grant::on(&[Delete], topics(&[&names.shard_log]), false));
    grants.push(Grant::on(&[Read], vec![groups], true));
    grants.push(Grant::on(&[Write], vec![transactions], true));
    grants
}

fn for_create(settings: &Settings) -> Vec<Grant> {
    let operations = [Operation::Create, Operation::Describe, Operation::DescribeConfigs];
    let names = assemble::topic_names(settings);
    let (inputs, outputs) = (names.inputs(), names.outputs());
    let all: Vec<&String> = inputs.into_iter().chain(outputs).collect();
    vec![Grant::on(&operations, topics(&all), false), Grant::on(&operations, vec![prefixes(settings).0], true)]
}

fn for_operate(settings: &Settings) -> Vec<Grant> {
    use Operation::{Create, Delete, DescribeConfigs, Read, Write};
    let names = assemble::topic_names(settings);
    let (own, groups, transactions) = prefixes(settings);
    let (inputs, outputs) = (names.inputs(), names.outputs());
    vec![
        Grant::on(&[Read, Write], topics(&inputs), false),
        Grant::on(&[Read], topics(&outputs), false),
        Grant::on(&[Read, Write, Create, Delete, DescribeConfigs], vec![own], true),
        Grant::on(&[Read, Delete], vec![groups], true),
        Grant::on(&[Write], vec![transactions], true),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::topics::TopicNames;

    #[test]
    fn every_role_reads_or_writes_and_own_topics_are_all_read_and_written() {
        let names = TopicNames::new("", "tollgate");
        let rights: Vec<_> = rights::roles().into_iter().map(|role| rights::of_role(role, &names)).collect();
        assert!(rights.iter().all(|rights| !rights.is_empty()));
        let mut own: BTreeMap<String, BTreeSet<Operation>> = BTreeMap::new();
        for right in rights.into_iter().flatten() {
            own.entry(right.resource.option().1.to_string()).or_default().insert(right.operation);
        }
        own.retain(|topic, _| topic.starts_with("tollgate-"));
        assert!(own.len() == 9 && own.values().all(|operations| operations.len() == 2), "{own:?}");
    }

    #[test]
    fn a_principal_has_a_kind() {
        assert_eq!(principal("User:ann"), Ok("User:ann".to_string()));
        assert_eq!(principal("ann"), Err("write User:ann".to_string()));
        assert!(principal("User:a'b").is_err() && principal("User:").is_err());
    }
}
