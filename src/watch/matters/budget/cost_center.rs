//! Budgets of cost centres. The teams of a cost centre are spread over shards, its budget is in one: that of the team that it is of. A shard
//! that sees spend of the cost centre tells that one, in the transaction of the record that brought it, so that each amount is counted once.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::rules::BudgetRule;
use super::{Seen, has_pace, take_seen};
use crate::model::Text;
use crate::model::effect::Effect;
use crate::model::hash::shard_of;
use crate::model::money::Nanos;
use crate::model::partial::{Partial, ShardEvent, ShardRecord};
use crate::model::spent::{Spent, SpentMinute};
use crate::model::time::Minute;
use crate::watch::rules::WatchRules;
use crate::watch::shard::Shard;

/// Takes what came in one record, and the cost centres that it is booked to, for a cost centre's budget: into it, or to the shard that keeps
/// it.
pub(super) fn take_partials(
    shard: &mut Shard,
    rule: &BudgetRule,
    cost_center: &Text,
    booked: &[(&Partial, Option<&Text>)],
    rules: &WatchRules,
    effects: &mut Vec<Effect>,
) {
    let own = booked.iter().filter(|(partial, booked_to)| *booked_to == Some(cost_center) && rule.counts_kind_of(&partial.leaf));
    let own: Vec<&Partial> = own.map(|(partial, _)| *partial).collect();
    let Some(first) = own.first() else { return };
    let (mut minutes, mut without_pace) = (BTreeMap::new(), BTreeMap::new());
    let (mut last_event_time, mut last_ingest_time) = (first.last_event_time, first.last_ingest_time);
    for partial in own {
        add(&mut minutes, partial);
        if !has_pace(&partial.leaf) {
            add(&mut without_pace, partial);
        }
        last_event_time = last_event_time.max(partial.last_event_time);
        last_ingest_time = last_ingest_time.max(partial.last_ingest_time);
    }
    let spent = Spent {
        budget: rule.name.clone(),
        team: rule.team.clone(),
        cost_center: cost_center.clone(),
        measure: rule.measure,
        currency: rule.currency,
        minutes: listed(minutes),
        without_pace: listed(without_pace),
        last_event_time,
        last_ingest_time,
    };
    let home = shard_of(&rule.team, shard.header.shard_count);
    if home == shard.header.shard {
        take(shard, &spent, rules, effects);
    } else {
        let record = ShardRecord { events: vec![ShardEvent::Spent(Box::new(spent))], ..ShardRecord::default() };
        effects.push(Effect::Shard { shard: home, record });
    }
}

fn add(minutes: &mut BTreeMap<Minute, Nanos>, partial: &Partial) {
    let sum = minutes.entry(partial.minute).or_default();
    *sum = sum.saturating_add(partial.cost);
}

fn listed(minutes: BTreeMap<Minute, Nanos>) -> Vec<SpentMinute> {
    minutes.into_iter().map(|(minute, cost)| SpentMinute { minute, cost }).collect()
}

/// Takes what a shard has seen for a budget of this one. What it is of may have changed since: then it counts no more.
pub(in crate::watch) fn take(shard: &mut Shard, spent: &Spent, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let is_meant = |rule: &&BudgetRule| {
        rule.name == spent.budget
            && rule.team == spent.team
            && rule.cost_center.as_ref() == Some(&spent.cost_center)
            && (rule.measure, rule.currency) == (spent.measure, spent.currency)
    };
    let Some(rule) = rules.matters.budgets.iter().find(is_meant) else { return };
    let books = Arc::clone(&shard.books);
    let moment = shard.moment(rules, &books);
    let (last_event_time, last_ingest_time) = (spent.last_event_time, spent.last_ingest_time);
    let seen = |minute, cost, has_pace| Seen { minute, cost, last_event_time, last_ingest_time, has_pace };
    let fees: BTreeMap<Minute, Nanos> = spent.without_pace.iter().map(|part| (part.minute, part.cost)).collect();
    let parts = spent.minutes.iter().flat_map(|part| {
        let fee = fees.get(&part.minute).copied();
        let used = seen(part.minute, part.cost.saturating_sub(fee.unwrap_or_default()), true);
        std::iter::once(used).chain(fee.map(|fee| seen(part.minute, fee, false)))
    });
    take_seen(&mut shard.matters, rule, parts, moment, effects);
}
