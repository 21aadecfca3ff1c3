//! Looks whether every partition of the groups that this process takes part in has an owner, and has a group form anew that leaves some to
//! nobody: see [`crate::kafka::owners`] for how that comes about.
//!
//! Whatever is found: the group decides who owns what, and a rebalance too many only costs time.

use std::time::Duration;

use anyhow::Result;

use super::{Setup, Stop, whole};
use crate::clock;
use crate::health::RoleState;
use crate::kafka::owners::{Ownership, Watcher};

pub const NAME: &str = "owners";
const LOOK: Duration = Duration::from_secs(5);
/// A hand-over of partitions looks the same, for as long as who gives them up commits what it has begun.
const PATIENCE: Duration = Duration::from_secs(10);
/// Each process waits longer than the one before it by this: one is enough.
const TURN: Duration = Duration::from_secs(10);
/// A rebalance needs time, and one that did not help is not to be followed by another at once.
const AGAIN: Duration = Duration::from_secs(60);

/// A group, and what it reads.
struct Group {
    role: &'static str,
    topic: String,
    /// Another topic, that the role may look at and its group does not read.
    beside: String,
    hole: Hole,
}

/// Until asked to stop. `roles`: those of this process.
///
/// # Errors
/// Clients that cannot be made.
pub fn run(setup: &Setup, roles: &[&'static str], stop: &Stop) -> Result<()> {
    let watcher = Watcher::new(&setup.connection)?;
    let client = |role: &str| format!("{}-{}-{role}", setup.connection.application_id, setup.connection.instance_id);
    let mut groups: Vec<Group> = roles.iter().filter_map(|role| group(setup, role)).collect();
    setup.health.report(NAME, 0, RoleState::Running, clock::now());
    let started = clock::Stopwatch::start();
    while !stop.asked() {
        for group in &mut groups {
            setup.health.beat(NAME, 0, clock::now());
            if stop.asked() {
                break;
            }
            if let Err(error) = look(setup, &watcher, group, &client(group.role), started.elapsed()) {
                tracing::debug!(role = group.role, error = format!("{error:#}"), "looking for owners; it is tried again");
            }
        }
        let since = clock::Stopwatch::start();
        while since.elapsed() < LOOK && !stop.asked() {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}

/// `None`: no role that shares anything.
fn group(setup: &Setup, role: &'static str) -> Option<Group> {
    let topics = &setup.topics;
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
    Some(Group { role, topic: topic.clone(), beside: beside.clone(), hole: Hole::default() })
}

fn look(setup: &Setup, watcher: &Watcher, group: &mut Group, client: &str, uptime: Duration) -> Result<()> {
    let Some(ownership) = watcher.ownership(group.role)? else {
        group.hole.since = None;
        return Ok(());
    };
    let lost = without_owner(&ownership, &group.topic, watcher.partition_count(&group.topic)?);
    setup.metrics.without_owner(group.role, &group.topic, lost.len());
    let place = ownership.members.iter().position(|member| member == client);
    if group.hole.is_due(!lost.is_empty(), place, uptime) {
        tracing::warn!(
            role = group.role,
            topic = group.topic,
            partitions = ?lost,
            "nobody owns these partitions, and the group takes itself for complete: it is made to form anew"
        );
        watcher.pass_by(group.role, &group.beside)?;
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
    helped: Option<Duration>,
}

impl Hole {
    /// Whether it is for this process to do something now. `place` is its place among the members: the first does it, the next only where
    /// that one did not; who is no member does nothing, as it cannot know.
    fn is_due(&mut self, is_there: bool, place: Option<usize>, uptime: Duration) -> bool {
        if !is_there {
            self.since = None;
            return false;
        }
        let since = *self.since.get_or_insert(uptime);
        let Some(place) = place else { return false };
        let patience = PATIENCE + TURN * u32::try_from(place).unwrap_or(u32::MAX);
        let is_due = uptime.saturating_sub(since) >= patience && self.helped.is_none_or(|helped| uptime.saturating_sub(helped) >= AGAIN);
        if is_due {
            self.helped = Some(uptime);
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

    #[test]
    fn the_first_of_the_members_helps_once_it_has_lasted_and_the_next_only_if_that_did_not() {
        let seconds = Duration::from_secs;
        let looks = |place: Option<usize>, there: &dyn Fn(u64) -> bool| {
            let mut hole = Hole::default();
            (0..30).map(|look| look * 5).filter(|second| hole.is_due(there(*second), place, seconds(*second))).collect::<Vec<u64>>()
        };
        assert_eq!(looks(Some(0), &|_| true), [10, 70, 130]);
        assert_eq!(looks(Some(1), &|_| true), [20, 80, 140]);
        assert_eq!(looks(None, &|_| true), [0; 0]);
        assert_eq!(looks(Some(0), &|second| second % 10 != 0), [0; 0], "hand-overs");
        assert_eq!(looks(Some(0), &|second| !(10..60).contains(&second)), [70, 130], "it counts from its own begin");
    }
}
