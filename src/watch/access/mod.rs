//! ACCESS: who may use a model or a dataset, and who does. Grants, revocations and departures come to every shard; each shard judges the
//! uses of its own teams, and the grants that its own teams gave. What is found lives on as a violation does.
//!
//! Only what is governed is judged: something that was granted to somebody once, or that the config names. Who sends no grants hears
//! nothing. Reading order: `book` (what is kept), `told` (what is known of grants), `uses`, then `standing` (what nobody did).

mod book;
#[cfg(test)]
mod fleet;
pub mod held;
mod keys;
#[cfg(test)]
mod late_tests;
pub mod rules;
mod standing;
#[cfg(test)]
mod tests;
mod told;
mod uses;
mod words;

use std::collections::BTreeMap;

use self::book::Looked;
pub use self::book::{Access, AccessKey};
use self::rules::{AccessRules, Kind, PREFIX};
use super::rules::WatchRules;
use super::shard::Shard;
use super::violation::{self, Hit, Key};
use crate::model::Text;
use crate::model::alert::Severity;
use crate::model::effect::Effect;
use crate::model::leaf::{Measure, OTHER};
use crate::model::money::Nanos;
use crate::model::partial::{Said, ShardEvent, ShardRecord};
use crate::model::time::Timestamp;
use crate::policy::stream::Finding;

/// After policies: what one record says of grants and uses.
pub(crate) fn judge(shard: &mut Shard, record: &ShardRecord, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let Some(access) = &rules.matters.access else {
        end_all(shard, rules, effects);
        keep_up(shard, record, rules, effects);
        return;
    };
    for event in &record.events {
        match event {
            ShardEvent::Grant(activity) => told::take(shard, activity, access, rules, effects),
            ShardEvent::GrantUsed(used) => told::take_used(shard, used, rules, effects),
            ShardEvent::Activity(activity) => {
                uses::take_activity(shard, activity, access, rules, effects);
                keys::take(shard, activity, access, rules, effects);
            }
            ShardEvent::Resource(_) | ShardEvent::Feedback(_) | ShardEvent::Facts(_) | ShardEvent::Spent(_) | ShardEvent::DatasetUse(_) => {
            }
        }
    }
    // Most companies have none of it, and each user of each partial would be asked for.
    if !shard.matters.access.is_empty() || !access.governed.is_empty() {
        for partial in record.partials.iter().filter(|partial| partial.leaf.measure == Measure::Estimated) {
            uses::take_partial(shard, partial, access, rules, effects);
        }
    }
    uses::judge_waiting(shard, access, rules, effects);
    standing::look(shard, access, rules, effects);
}

/// While nobody looks at access: grants, departures and uses are known when somebody looks again, and nothing is told.
fn keep_up(shard: &mut Shard, record: &ShardRecord, rules: &WatchRules, effects: &mut Vec<Effect>) {
    if shard.matters.access.is_empty() {
        return;
    }
    let access = AccessRules { off: Kind::ALL.iter().map(|(_, kind)| *kind).collect(), ..AccessRules::default() };
    for event in &record.events {
        match event {
            ShardEvent::Grant(activity) => told::take(shard, activity, &access, rules, effects),
            ShardEvent::GrantUsed(used) => told::take_used(shard, used, rules, effects),
            ShardEvent::Activity(activity) => uses::take_activity(shard, activity, &access, rules, effects),
            ShardEvent::Resource(_) | ShardEvent::Feedback(_) | ShardEvent::Facts(_) | ShardEvent::Spent(_) | ShardEvent::DatasetUse(_) => {
            }
        }
    }
    for partial in record.partials.iter().filter(|partial| partial.leaf.measure == Measure::Estimated) {
        uses::take_partial(shard, partial, &access, rules, effects);
    }
}

/// Something that is wrong: what is told of it, and of whom.
struct Wrong<'a> {
    kind: Kind,
    severity: Severity,
    team: &'a Text,
    finding: Finding,
    at: Timestamp,
    ingest: Timestamp,
    identity: Option<u128>,
    events: u64,
    users: Vec<&'a Text>,
    /// It goes on until it is ended here.
    lasts: bool,
}

fn tell(shard: &mut Shard, wrong: Wrong<'_>, access: &AccessRules, rules: &WatchRules, effects: &mut Vec<Effect>) {
    if !access.is_on(wrong.kind) {
        return;
    }
    let policy = wrong.kind.policy(wrong.severity);
    shard.violations.count(&policy.id, Said::Violates, wrong.events);
    let hit = Hit {
        // No policy of a file.
        place: usize::MAX,
        policy: &policy,
        finding: wrong.finding,
        team: wrong.team,
        currency: None,
        events: wrong.events,
        cost: Nanos::ZERO,
        hourly: None,
        event_time: wrong.at,
        ingest_time: wrong.ingest,
        identity: wrong.identity,
        leaf: None,
        users: wrong.users,
        lasts: wrong.lasts,
        grants: Vec::new(),
    };
    violation::hit(shard, hit, rules, effects);
}

fn key(kind: Kind, team: &Text, subject: &str) -> Key {
    Key { team: team.clone(), policy: kind.id().into(), subject: subject.to_string(), currency: None }
}

fn is_open(shard: &Shard, key: &Key) -> bool {
    shard.violations.get(key).is_some_and(|tracked| tracked.is_open())
}

fn end(shard: &mut Shard, key: Key, at: Timestamp, rules: &WatchRules, effects: &mut Vec<Effect>) {
    if let Some(seen) = shard.violations.get(&key).filter(|tracked| tracked.is_open()).map(|tracked| tracked.last_seen) {
        violation::end(shard, key, at.max(seen), "", rules, effects);
    }
}

/// Ends all open ones of a kind for which this holds; their key and dimensions are handed in.
fn end_those(
    shard: &mut Shard,
    kind: Kind,
    at: Timestamp,
    is_over: impl Fn(&Key, &BTreeMap<String, String>) -> bool,
    rules: &WatchRules,
    effects: &mut Vec<Effect>,
) {
    for key in shard.violations.open_of(kind.id(), |key, dimensions| key.subject != OTHER && is_over(key, dimensions)) {
        end(shard, key, at, rules, effects);
    }
}

/// Nobody looks at access any more.
fn end_all(shard: &mut Shard, rules: &WatchRules, effects: &mut Vec<Effect>) {
    if shard.matters.access.looked == Looked::default() {
        return;
    }
    shard.matters.access.look(Looked::default());
    let now = shard.header.watermarks.shard_time();
    for key in shard.violations.open_of(PREFIX, |_, _| true) {
        end(shard, key, now, rules, effects);
    }
}
