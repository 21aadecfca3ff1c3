//! Amounts for hours that have closed. Within 48 hours they restate the hour's roll-up and amend the alerts that cover it, and where the
//! hour turns out to have been abnormal they open one: a gateway that was cut off sends its spike when all others are past it. Older ones
//! become a supplement of the roll-up (revision 0), to be added to what the hour already has. Baselines are not rewritten: later hours
//! were judged by them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::account::{AccountState, NodeId};
use super::alert::episode::{self, Trigger};
use super::alert::{moved, select};
use super::baseline::LocalHour;
use super::detect::verdict;
use super::judge::{self, Judged};
use super::matters::missing::bill;
use super::recent::Held;
use super::rules::WatchRules;
use super::series::{AMENDABLE_HOURS, Grain, HourTotals, to_units};
use super::{Moment, Shard};
use crate::model::effect::Effect;
use crate::model::leaf::{Account, Scope};
use crate::model::money::Nanos;
use crate::model::partial::Partial;
use crate::model::time::Hour;

/// What late amounts of one record have added to nodes, by account number and hour.
pub(crate) type Amended = BTreeMap<(u32, Hour), BTreeMap<NodeId, Nanos>>;

/// An hour of a node, in money, before and after late amounts.
struct Change {
    node: NodeId,
    before: f64,
    after: f64,
}

/// Takes an amount for an hour up to `closed`, the last one that has closed.
pub(crate) fn take(
    shard: &mut Shard,
    partial: &Partial,
    closed: Hour,
    offset: i64,
    rules: &WatchRules,
    amended: &mut Amended,
    effects: &mut Vec<Effect>,
) {
    let hour = partial.minute.hour();
    let books = Arc::clone(&shard.books);
    let moment = shard.moment(rules, &books);
    shard.header.late_partials = shard.header.late_partials.saturating_add(1);
    bill::add_late(&mut shard.matters, partial, rules);
    if closed.0 - hour.0 >= AMENDABLE_HOURS {
        let mut totals = HourTotals::default();
        totals.add(partial);
        let mut supplement = totals.roll_up(&partial.leaf, hour);
        supplement.revision = 0;
        let (shard, number) = (shard.header.shard, shard.header.late_partials);
        effects.push(Effect::RollupSupplement { shard, number, rollup: Box::new(supplement) });
        return;
    }
    // A series that begins with late data has learnt nothing before the hours that are open now.
    let place = shard.place_for(&partial.leaf, closed.next(), offset, rules);
    shard.changed(place.account, place.node);
    let Some(state) = shard.accounts.get_mut(place.account) else { return };
    let account = state.account.clone();
    let in_episodes = state.hours_of_episodes();
    let onset = state.first_onset().map_or(closed.next(), |onset| onset.min(closed.next()));
    let held = Held { holds: &|hour| in_episodes.contains(&hour), onset };
    let Some(node) = state.node_mut(place.node) else { return };
    let scope = node.scope.clone();
    let Some(leaf) = node.leaf_mut() else { return };
    let mut totals = leaf.recent.get(hour).unwrap_or_default();
    totals.add(partial);
    if let Scope::Leaf(dimensions) = &scope {
        effects.push(Effect::Rollup(Box::new(totals.roll_up(&dimensions.leaf_of(&account), hour))));
    }
    leaf.recent.put(hour, totals, Hour(closed.0 - AMENDABLE_HOURS), &held);
    let changed = episode::amend(state, &account, &scope, hour, partial, moment, effects);
    shard.episodes_changed(place.account, changed);
    let added = amended.entry((place.account, hour)).or_default();
    for node in shard.lineage(place) {
        let sum = added.entry(node).or_default();
        *sum = sum.saturating_add(partial.cost);
    }
}

/// Judges the hours that a record's late amounts have changed.
pub(crate) fn judge_closed_hours(shard: &mut Shard, amended: Amended, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let books = Arc::clone(&shard.books);
    let moment = shard.moment(rules, &books);
    // In the order of names, so that numbers, which depend on who came first, have no say.
    let mut in_order: Vec<_> = amended.into_iter().collect();
    in_order.sort_by_cached_key(|((number, hour), _)| (shard.accounts.get(*number).map(|state| state.account.clone()), *hour));
    for ((number, hour), added) in in_order {
        let Some(state) = shard.accounts.get_mut(number) else { continue };
        let account = state.account.clone();
        let changes: Vec<Change> = added.iter().filter_map(|(node, added)| amend_history(state, *node, hour, *added)).collect();
        let changed = judge_closed_hour(state, &account, hour, &changes, moment, effects);
        shard.episodes_changed(number, changed);
        for change in changes {
            shard.changed(number, change.node);
        }
    }
}

/// `None`: the hour was before the node's time.
fn amend_history(state: &mut AccountState, node: NodeId, hour: Hour, added: Nanos) -> Option<Change> {
    let series = state.node_mut(node)?;
    let before = f64::from(series.closed.history.at(hour)?.actual);
    // A leaf's hour is known to the nano. Of a sum each record's amounts are rounded to a thousandth of the hour.
    let now = match &series.grain {
        Grain::Leaf(leaf) => leaf.recent.get(hour).map_or(before, |totals| to_units(totals.cost)),
        Grain::Sum(_) => before + to_units(added),
    };
    series.closed.history.amend(hour, now as f32);
    let after = f64::from(series.closed.history.at(hour)?.actual);
    Some(Change { node, before, after })
}

/// Ids of the episodes that have changed.
fn judge_closed_hour(
    state: &mut AccountState,
    account: &Account,
    hour: Hour,
    changes: &[Change],
    moment: Moment<'_>,
    effects: &mut Vec<Effect>,
) -> Vec<String> {
    let series = judge::series_in_team(state, hour, moment.rules);
    let local = judge::local_hour_of(moment.rules, &account.team, hour);
    let crossing = changes.iter().filter_map(|change| crosses(state, account, change, (hour, local), moment.rules, series));
    let firing: Vec<Judged> = crossing.filter(|judged| !select::is_held(state, hour, judged)).collect();
    if firing.is_empty() {
        return Vec::new();
    }
    let mut changed = episode::add_closed_hour(state, account, hour, local, &firing, moment, effects);
    for chosen in select::lowest(state, account, hour, local, &firing, moment) {
        // Only what takes from one and gives to another is a move: what another lacks may be on its way.
        let is_move = changes.iter().any(|change| change.after < change.before);
        let moved = is_move && moved::counterpart(state, account, &chosen, hour, local, 1.0, moment).is_some();
        let trigger = Trigger { moved, at_once: true, ..Trigger::spike(chosen) };
        changed.extend(episode::open(state, account, hour, trigger, false, moment, effects));
    }
    changed
}

/// Whether late amounts are what takes an hour out of what was normal then, and what makes it fire by itself.
fn crosses(
    state: &AccountState,
    account: &Account,
    change: &Change,
    (hour, local): (Hour, LocalHour),
    rules: &WatchRules,
    series: f64,
) -> Option<Judged> {
    let node = state.node(change.node)?;
    let (_, upper) = node.closed.history.at(hour)?.band?;
    if change.after <= change.before.max(f64::from(upper)) {
        return None;
    }
    let limits = judge::thresholds(rules, account, &node.scope);
    let (judged, baseline) = judge::judge_and_wake(state, account, change.node, (hour, local), rules, series)?;
    let alone = |money: f64| verdict::judge_alone(&baseline, &judged.expectation, money, limits, series);
    let verdict = alone(change.after);
    (verdict.fires && !alone(change.before).fires).then_some(Judged { verdict, ..judged })
}
