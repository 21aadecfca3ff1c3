//! Amounts for hours that have closed. Within 48 hours they restate the hour's roll-up and amend the alerts that cover it, and where the
//! hour turns out to have been abnormal they open one: a gateway that was cut off sends its spike when all others are past it. Older ones
//! become a supplement of the roll-up (revision 0), to be added to what the hour already has. Baselines are not rewritten: later hours
//! were judged by them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::account::{AccountState, NodeId};
use super::alert::episode::{self, Trigger};
use super::alert::{habit, moved, select};
use super::baseline::{Channel, LocalHour};
use super::detect::verdict;
use super::judge::{self, Judged};
use super::matters::missing::bill;
use super::recent::Held;
use super::rules::WatchRules;
use super::series::{AMENDABLE_HOURS, HourTotals, to_units};
use super::{Moment, Shard};
use crate::model::alert::AlertKind;
use crate::model::effect::Effect;
use crate::model::leaf::{Account, Scope};
use crate::model::money::Nanos;
use crate::model::partial::Partial;
use crate::model::time::Hour;

/// Nodes whose closed hours late amounts of one record have changed, by account number and hour.
pub(crate) type Amended = BTreeMap<u32, BTreeMap<Hour, BTreeSet<NodeId>>>;

/// An hour of a node, in money, before and after late amounts.
struct Change {
    node: NodeId,
    before: f64,
    after: f64,
}

/// The nodes of an account that late amounts came for, and what their hour has come to.
struct Late<'a> {
    costs: &'a BTreeMap<NodeId, Nanos>,
    hour: Hour,
    local: LocalHour,
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
    bill::add_late(&mut shard.matters, partial, closed, rules);
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
    // What has just come is kept whole: an alert that it opens names users, and when they came.
    let held = Held { holds: &|known| known == hour || in_episodes.contains(&known), onset };
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
    amended.entry(place.account).or_default().entry(hour).or_default().extend(shard.lineage(place));
}

/// Judges the hours that a record's late amounts have changed.
pub(crate) fn judge_closed_hours(shard: &mut Shard, amended: Amended, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let books = Arc::clone(&shard.books);
    let moment = shard.moment(rules, &books);
    // In the order of names, so that numbers, which depend on who came first, have no say.
    let mut in_order: Vec<_> = amended.into_iter().collect();
    in_order.sort_by_cached_key(|(number, _)| shard.accounts.get(*number).map(|state| state.account.clone()));
    for (number, hours) in in_order {
        // Added up anew, since a picture's two bytes would swallow many small amounts.
        let Some(costs) = shard.accounts.get(number).map(|state| state.costs_of(&hours)) else { continue };
        for (hour, costs) in costs {
            let Some(state) = shard.accounts.get_mut(number) else { continue };
            let account = state.account.clone();
            let late = Late { costs: &costs, hour, local: judge::local_hour_of(rules, &account.team, hour) };
            let changes: Vec<Change> = costs.iter().filter_map(|(node, cost)| amend_history(state, *node, hour, *cost)).collect();
            let changed = judge_closed_hour(state, &account, &late, &changes, moment, effects);
            shard.episodes_changed(number, changed);
            for change in changes {
                shard.changed(number, change.node);
            }
        }
    }
}

/// What the hour has come to. `None`: it was before the node's time.
fn amend_history(state: &mut AccountState, node: NodeId, hour: Hour, cost: Nanos) -> Option<Change> {
    let history = &mut state.node_mut(node)?.closed.history;
    let before = f64::from(history.at(hour)?.actual);
    history.amend(hour, to_units(cost) as f32);
    Some(Change { node, before, after: f64::from(history.at(hour)?.actual) })
}

/// Ids of the episodes that have changed.
fn judge_closed_hour(
    state: &mut AccountState,
    account: &Account,
    late: &Late<'_>,
    changes: &[Change],
    moment: Moment<'_>,
    effects: &mut Vec<Effect>,
) -> Vec<String> {
    let series = judge::series_in_team(state, late.hour, moment.rules);
    let firing = changes.iter().filter_map(|change| crosses(state, account, change, late, moment.rules, series));
    let mut firing: Vec<Judged> = firing.collect();
    if firing.is_empty() {
        return Vec::new();
    }
    firing.sort_by(|a, b| a.scope.depth().cmp(&b.scope.depth()).then(b.excess().total_cmp(&a.excess())).then(a.scope.cmp(&b.scope)));
    let told_before: Vec<Option<f64>> = firing.iter().map(|top| select::told_of(state, late.hour, top)).collect();
    let mut changed = episode::add_closed_hour(state, account, late.hour, late.local, &firing, moment, effects);
    for (top, told_before) in firing.into_iter().zip(told_before) {
        // What an episode that goes on has taken up is told, and what was opened just now for most of it.
        let told = select::told_of(state, late.hour, &top).zip(told_before).map(|(now, before)| now - before);
        let is_told = told.is_none_or(|told| told >= select::EXPLAINS * top.excess());
        if is_told || habit::is_habit(state, &top.scope, late.hour, top.actual) {
            continue;
        }
        let chosen = late.lowest(state, account, &top, moment.rules).unwrap_or(top);
        // Only what takes from one and gives to another is a move: what another lacks may be on its way.
        let is_move = changes.iter().any(|change| change.after < change.before);
        let moved = is_move && moved::is_move(state, account, &chosen, late.hour, late.local, 1.0, moment);
        if moved && state.episodes.values().any(|known| known.kind == AlertKind::SpendMoved && known.is_of(&chosen.scope, late.hour)) {
            continue;
        }
        let trigger = Trigger { moved, ..Trigger::spike(chosen) };
        changed.extend(episode::open(state, account, late.hour, trigger, false, moment, effects));
    }
    changed
}

/// An hour to which late amounts were added, without what alerts tell of it already, if the rest is beyond what was normal then and fires by
/// itself.
fn crosses(state: &AccountState, account: &Account, change: &Change, late: &Late<'_>, rules: &WatchRules, series: f64) -> Option<Judged> {
    let node = state.node(change.node)?;
    let (_, upper) = node.closed.history.at(late.hour)?.band?;
    if change.after <= change.before.max(f64::from(upper)) {
        return None;
    }
    let (judged, baseline) = judge::judge_and_wake(state, account, change.node, (late.hour, late.local), rules, series)?;
    let limits = judge::thresholds(rules, account, &node.scope);
    let judged = judged.seen_on(Channel::Bucket);
    let actual = change.after - select::told_of(state, late.hour, &judged)?;
    let verdict = verdict::judge_alone(&baseline, &judged.expectation, actual, limits, series);
    (actual > f64::from(upper) && verdict.fires).then_some(Judged { actual, verdict, ..judged })
}

impl Late<'_> {
    /// The deepest of the nodes that amounts came for which explains what is too much, and of which nothing is told.
    fn lowest(&self, state: &AccountState, account: &Account, top: &Judged, rules: &WatchRules) -> Option<Judged> {
        let below = self.costs.iter().filter_map(|(id, cost)| state.node(*id).map(|node| (cost, node)));
        let below = below.filter(|(_, node)| node.scope != top.scope && node.scope.within(&top.scope));
        let explaining = below.filter_map(|(cost, node)| {
            let judged = judge::judge(state, account, &node.scope, self.hour, self.local, rules)?.seen_on(Channel::Bucket);
            let actual = to_units(*cost) - select::told_of(state, self.hour, &judged)?;
            let judged = Judged { actual, ..judged };
            (judged.excess() > 0.0 && judged.excess() >= select::EXPLAINS * top.excess()).then_some(judged)
        });
        explaining.max_by(|a, b| a.scope.depth().cmp(&b.scope.depth()).then(a.excess().total_cmp(&b.excess())).then(b.scope.cmp(&a.scope)))
    }
}
