//! Looks whether every partition of the groups that this process takes part in has an owner, and has a group form anew that leaves some to
//! nobody: see [`crate::kafka::owners`] for how that comes about.
//!
//! Whatever is found: the group decides who owns what, and a rebalance too many only costs time.

use std::time::Duration;

use anyhow::Result;

use super::{Setup, Stop, whole};
use crate::clock;
use crate::health::RoleState;
use crate::kafka::owners::{Found, Ownership, Watcher};
use crate::kafka::topics::TopicNames;

pub const NAME: &str = "owners";
/// Each look lists the groups of every broker, for each role.
const LOOK: Duration = Duration::from_secs(10);
/// A hand-over of partitions looks the same, for as long as who gives them up commits what it has begun.
const PATIENCE: Duration = Duration::from_secs(10);
/// Each process waits longer than the one before it by this: one is enough.
const TURN: Duration = Duration::from_secs(10);
/// A rebalance needs time, and one that did not help is not to be followed by another at once; each time it waits twice as long.
const AGAIN: Duration = Duration::from_secs(60);
const MOST_DOUBLINGS: u32 = 6;
/// Looks that may fail in a row before it is told.
const MOST_FAILURES: u32 = 6;

/// A group, and what it reads.
struct Group {
    role: &'static str,
    topic: String,
    /// Another topic, that the role may look at and its group does not read.
    beside: String,
    hole: Hole,
    /// Looks that failed in a row.
    failures: u32,
}

/// Until asked to stop. `roles`: those of this process.
///
/// # Errors
/// Clients that cannot be made.
pub fn run(setup: &Setup, roles: &[&'static str], stop: &Stop) -> Result<()> {
    let watcher = Watcher::new(&setup.connection)?;
    let mut groups: Vec<Group> = roles.iter().filter_map(|role| group(&setup.topics, role)).collect();
    setup.health.report(NAME, 0, RoleState::Running, clock::now());
    let started = clock::Stopwatch::start();
    while !stop.asked() {
        for group in &mut groups {
            setup.health.beat(NAME, 0, clock::now());
            if stop.asked() {
                break;
            }
            group.failures = match look(setup, &watcher, group, started.elapsed(), stop) {
                Ok(()) => 0,
                Err(error) => {
                    // Once only, and not of each broker that restarts.
                    if group.failures + 1 == MOST_FAILURES {
                        let (role, error) = (group.role, format!("{error:#}"));
                        tracing::warn!(role, error, "nobody can tell whether each partition has an owner; it is tried again");
                    }
                    group.failures.saturating_add(1).min(MOST_FAILURES)
                }
            };
        }
        let since = clock::Stopwatch::start();
        while since.elapsed() < LOOK && !stop.asked() {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}

/// `None`: no role that shares anything.
fn group(topics: &TopicNames, role: &'static str) -> Option<Group> {
    let (topic, beside) = match role {
        "intake" => (&topics.usage_events, &topics.shard_log),
        "watch" => (&topics.shard_log, &topics.watch_changelog),
        "billing" => (&topics.billing_events, &topics.ledger_log),
        "ledger" => (&topics.ledger_log, &topics.ledger_changelog),
        "lineage" => (&topics.lineage_log, &topics.lineage_changelog),
        "deliver" => (&topics.alerts, &topics.receipts),
        "deliver-violations" => (&topics.governance_violations, &topics.violation_receipts),
        other => {
            let inputs = [&topics.resource_events, &topics.activity_events, &topics.feedback, &topics.lineage_events];
            (inputs[whole::NAMES.iter().position(|name| *name == other)?], &topics.shard_log)
        }
    };
    Some(Group { role, topic: topic.clone(), beside: beside.clone(), hole: Hole::default(), failures: 0 })
}

fn look(setup: &Setup, watcher: &Watcher, group: &mut Group, uptime: Duration, stop: &Stop) -> Result<()> {
    let ownership = match watcher.ownership(group.role)? {
        Found::Formed(ownership) => ownership,
        // What was told of a hole stands until the group is whole.
        Found::Forming => {
            group.hole.since = None;
            return Ok(());
        }
        Found::Empty => {
            group.hole.since = None;
            setup.metrics.without_owner(group.role, &group.topic, 0);
            return Ok(());
        }
    };
    let lost = without_owner(&ownership, &group.topic, watcher.partition_count(&group.topic)?);
    setup.metrics.without_owner(group.role, &group.topic, lost.len());
    let client = setup.connection.client_id(group.role);
    let place = ownership.members.iter().position(|member| *member == client);
    if !group.hole.is_due(!lost.is_empty(), place, uptime) {
        return Ok(());
    }
    let (role, topic) = (group.role, group.topic.as_str());
    tracing::warn!(
        role,
        topic,
        partitions = ?lost,
        "nobody owns these partitions, and the group takes itself for complete: it is made to form anew"
    );
    let goes_on = || {
        setup.health.beat(NAME, 0, clock::now());
        !stop.asked()
    };
    if let Err(error) = watcher.pass_by(role, &group.beside, goes_on) {
        tracing::warn!(role, error = format!("{error:#}"), "the group could not be made to form anew; it is tried again");
    }
    Ok(())
}

/// Partitions of the topic, out of `all`.
fn without_owner(ownership: &Ownership, topic: &str, all: i32) -> Vec<i32> {
    let is_owned = |partition: &i32| ownership.owned.iter().any(|owned| owned.topic == topic && owned.partition == *partition);
    (0..all).filter(|partition| !is_owned(partition)).collect()
}

/// For how long partitions of a group have been without an owner.
#[derive(Default)]
struct Hole {
    since: Option<Duration>,
    /// When this process last did something about it, and how often.
    helped: Option<(Duration, u32)>,
}

impl Hole {
    /// Whether it is for this process to do something now. `place` is its place among the members: the first does it, the next only where
    /// that one did not; who is no member does nothing, as it cannot know.
    fn is_due(&mut self, has_hole: bool, place: Option<usize>, uptime: Duration) -> bool {
        if !has_hole {
            *self = Hole::default();
            return false;
        }
        let since = *self.since.get_or_insert(uptime);
        let Some(place) = place else { return false };
        let patience = PATIENCE + TURN * u32::try_from(place).unwrap_or(u32::MAX);
        let has_rested =
            self.helped.is_none_or(|(helped, times)| uptime.saturating_sub(helped) >= AGAIN * (1 << (times - 1).min(MOST_DOUBLINGS)));
        let is_due = has_rested && uptime.saturating_sub(since) >= patience;
        if is_due {
            self.helped = Some((uptime, self.helped.map_or(1, |(_, times)| times + 1)));
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::link::Partition;

    #[test]
    fn what_nobody_owns_is_found_among_the_partitions_of_the_topic() {
        let owned = [("a", 0), ("a", 2), ("b", 1)].map(|(topic, partition)| Partition { topic: topic.to_string(), partition });
        let ownership = Ownership { owned: owned.into_iter().collect(), ..Ownership::default() };
        assert_eq!(without_owner(&ownership, "a", 4), [1, 3]);
        assert_eq!(without_owner(&ownership, "a", 1), [0; 0]);
    }

    /// A role that is forgotten here would not be looked at, and nobody would say so.
    #[test]
    fn every_role_that_shares_a_topic_has_its_group() {
        let topics = TopicNames::new("", "tollgate");
        let roles = ["intake", "billing", "ledger", "lineage", "watch", "deliver", "deliver-violations"];
        let groups: Vec<Group> = roles.into_iter().chain(whole::NAMES).map(|role| group(&topics, role).unwrap()).collect();
        let read: std::collections::BTreeSet<&str> = groups.iter().map(|group| group.topic.as_str()).collect();
        assert_eq!(read.len(), groups.len(), "each reads another topic");
        assert!(groups.iter().all(|group| group.topic != group.beside));
        assert!(group(&topics, super::super::caretaker::NAME).is_none());
    }

    #[test]
    fn the_first_of_the_members_helps_once_it_has_lasted_and_the_next_only_if_that_did_not() {
        let seconds = Duration::from_secs;
        let looks = |place: Option<usize>, there: &dyn Fn(u64) -> bool| {
            let mut hole = Hole::default();
            (0..100).map(|look| look * 5).filter(|second| hole.is_due(there(*second), place, seconds(*second))).collect::<Vec<u64>>()
        };
        assert_eq!(looks(Some(0), &|_| true), [10, 70, 190, 430]);
        assert_eq!(looks(Some(1), &|_| true), [20, 80, 200, 440]);
        assert_eq!(looks(None, &|_| true), [0; 0]);
        assert_eq!(looks(Some(0), &|second| second % 10 != 0), [0; 0], "hand-overs");
        assert_eq!(looks(Some(0), &|second| second < 30 || (60..130).contains(&second)), [10, 70], "each counts from its own begin");
    }
}
