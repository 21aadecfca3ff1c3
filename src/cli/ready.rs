//! What stands in the way of a start: topics that are missing, and rights that the user has not got. `check` tells it, `run` refuses it.

use anyhow::Result;

use super::assemble;
use crate::config::settings::Settings;
use crate::kafka::access::{self, Operation, Resource, Right};
use crate::kafka::describe::Told;
use crate::kafka::probe::Probe;
use crate::runtime::rights;

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Obstacles {
    /// Topics that the roles read or write.
    pub missing: Vec<String>,
    /// What they need, and may not do.
    pub refused: Vec<Right>,
    /// What they can do without, and what does not happen then.
    pub unwise: Vec<(Right, &'static str)>,
}

/// `groups`: whether groups and transactions are tried, too, which takes a second.
///
/// # Errors
/// The cluster does not answer in time.
pub fn look(probe: &Probe, settings: &Settings, roles: &[&str], groups: bool) -> Result<Obstacles> {
    let names = assemble::topic_names(settings);
    let needed: Vec<Right> = roles.iter().flat_map(|role| rights::of_role(role, &names)).collect();
    let wanted = wanted(settings, roles);
    let topics = needed.iter().chain(wanted.iter().map(|(right, _)| right)).map(|right| right.resource.option().1);
    let topics: Vec<&str> = std::collections::BTreeSet::from_iter(topics).into_iter().collect();
    let told = probe.topics(&topics)?;
    let is_missing = |right: &Right| told.get(right.resource.option().1).is_none_or(|told| *told == Told::Missing);
    let is_refused = |right: &Right| told.get(right.resource.option().1).is_some_and(|told| refuses(told, right.operation));

    let mut found = Obstacles::default();
    for right in &needed {
        let topic = right.resource.option().1.to_string();
        if is_missing(right) && !found.missing.contains(&topic) {
            found.missing.push(topic);
        } else if is_refused(right) && !found.refused.contains(right) {
            found.refused.push(right.clone());
        }
    }
    found.unwise = wanted.iter().filter(|(right, _)| is_refused(right)).cloned().collect();
    if !groups || !found.missing.is_empty() {
        return Ok(found);
    }
    // What a role reads first is what its group reads.
    let groups: Vec<(&str, Vec<Right>)> = roles.iter().map(|role| (*role, rights::of_role(role, &names))).collect();
    let groups = groups.iter().filter_map(|(role, rights)| Some((*role, rights.first()?.resource.option().1)));
    found.refused.extend(probe.refused_groups(&groups.collect::<Vec<_>>())?);
    found.refused.extend(probe.refused_transactions()?);
    Ok(found)
}

fn refuses(told: &Told, operation: Operation) -> bool {
    match told {
        Told::Missing => false,
        Told::Hidden => true,
        Told::There(found) => !found.allows(operation),
    }
}

/// Whether mails have links by which people answer. Does not make a key.
pub fn takes_answers(settings: &Settings) -> bool {
    settings.answers.key_file.is_some() && settings.answers.base_url.is_some()
}

fn wanted(settings: &Settings, roles: &[&str]) -> Vec<(Right, &'static str)> {
    let names = assemble::topic_names(settings);
    let mut wanted = Vec::new();
    if roles.contains(&"watch") {
        wanted.push((Right::on_topic(Operation::Delete, &names.shard_log), "the shard log is never trimmed, and grows without end"));
    }
    if takes_answers(settings) {
        wanted.push((Right::on_topic(Operation::Write, &names.feedback), "what people say by the links in mails is not taken"));
    }
    wanted
}

impl Obstacles {
    /// Each in a sentence.
    pub fn sentences(&self, principal: Option<&str>) -> Vec<String> {
        let mut sentences = Vec::new();
        if !self.missing.is_empty() {
            sentences.push(format!("topics are missing: {}; `tollgate topics create` creates them", self.missing.join(", ")));
        }
        if !self.refused.is_empty() {
            sentences.push(access::not_authorised(&self.refused, principal));
        }
        sentences
    }

    pub fn warnings(&self, principal: Option<&str>) -> Vec<String> {
        let warning = |(right, what): &(Right, &str)| format!("{what}: {}", access::not_authorised(std::slice::from_ref(right), principal));
        self.unwise.iter().map(warning).collect()
    }

    /// Whether a right on this topic is among those that are missing: then nothing else need be said of it.
    pub fn is_refused_topic(&self, topic: &str) -> bool {
        self.refused.iter().any(|right| matches!(&right.resource, Resource::Topic(name) if name == topic))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::describe::Described;

    #[test]
    fn an_answer_without_operations_refuses_nothing() {
        let there = |operations: &[Operation]| Told::There(Described { operations: operations.to_vec(), ..Described::default() });
        assert!(!refuses(&there(&[]), Operation::Write) && !refuses(&there(&[Operation::Write]), Operation::Write));
        assert!(refuses(&there(&[Operation::Describe]), Operation::Write) && refuses(&Told::Hidden, Operation::Read));
    }
}
