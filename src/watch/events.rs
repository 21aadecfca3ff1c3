//! Events that come whole, not summed: each goes to what judges it.

use super::drift;
use super::feedback;
use super::matters::budget::cost_center;
use super::matters::waste;
use super::rules::WatchRules;
use super::shard::Shard;
use super::violation;
use crate::model::effect::Effect;
use crate::model::partial::ShardEvent;

/// What one event leads to. What changes of the shard is among the changes of the same transaction: a restore does not see it again.
pub(super) fn take(shard: &mut Shard, event: &ShardEvent, _offset: i64, rules: &WatchRules, effects: &mut Vec<Effect>) {
    match event {
        ShardEvent::Resource(sample) => waste::take(shard, sample, rules, effects),
        ShardEvent::Activity(activity) => drift::take(shard, activity, rules, effects),
        ShardEvent::Feedback(said) => feedback::take(shard, said, rules, effects),
        ShardEvent::Facts(facts) => violation::take_facts(shard, facts, rules, effects),
        ShardEvent::Spent(spent) => cost_center::take(shard, spent, rules, effects),
        // What it grants, once alerts and policies are done: see `access`.
        ShardEvent::Grant(activity) => waste::take_departure(shard, activity, rules),
        ShardEvent::GrantUsed(_) | ShardEvent::DatasetUse(_) => {}
    }
}
