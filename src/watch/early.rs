//! Judges hours that are still open: an additive upper-tail test, the guard on minutes, and users who stand out in one: why an alert
//! takes seconds and not an hour.

use std::sync::Arc;

use super::account::{AccountState, NodeId};
use super::alert::episode::{self, Trigger};
use super::alert::{habit, moved, select};
use super::judge::{self, Judged};
use super::merge::Touched;
use super::places::Place;
use super::rules::WatchRules;
use super::series::Node;
use super::user_minutes::Leader;
use super::{Moment, Shard};
use crate::model::effect::Effect;
use crate::model::leaf::{Account, Scope};
use crate::model::time::{Minute, Timestamp};

/// Of what one minute has brought.
pub(crate) fn judge_minute(shard: &mut Shard, minute: Minute, touched: Touched, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let mut full = Vec::new();
    let books = Arc::clone(&shard.books);
    let moment = shard.moment(rules, &books);
    // In the order of names, so that numbers, which depend on who came first, have no say.
    let mut in_order: Vec<(Account, u32, Vec<NodeId>)> =
        touched.into_iter().filter_map(|(number, nodes)| Some((shard.accounts.get(number)?.account.clone(), number, nodes))).collect();
    in_order.sort_by(|a, b| a.0.cmp(&b.0));
    for (account, number, nodes) in in_order {
        let Some(state) = shard.accounts.get_mut(number) else { continue };
        let is_full = |id: &&NodeId| state.node(**id).and_then(Node::leaf).is_some_and(|leaf| leaf.user_minutes.is_full());
        full.extend(nodes.iter().filter(is_full).map(|id| Place { account: number, node: *id }));
        let changed = judge_open_hour(state, &account, minute, &nodes, moment, effects);
        shard.episodes_changed(number, changed);
    }
    // Leaves of which more minutes wait than may.
    let watermark = shard.header.watermarks.watermark();
    let mut due = Vec::new();
    for place in full {
        due.extend(shard.take_user_minutes(place, watermark).into_iter().map(|leader| (place, leader)));
    }
    judge_users(shard, due, rules, effects);
}

/// Users who stand out in minutes that the watermark has passed.
pub(crate) fn judge_passed_minutes(shard: &mut Shard, watermark: Option<Timestamp>, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let Some(watermark) = watermark else { return };
    let passed = shard.take_passed_minutes(watermark);
    judge_users(shard, passed, rules, effects);
}

/// Those who stand out in a leaf's minute that is complete.
fn judge_users(shard: &mut Shard, due: Vec<(Place, Leader)>, rules: &WatchRules, effects: &mut Vec<Effect>) {
    if due.is_empty() {
        return;
    }
    let names = |(place, leader): (Place, Leader)| {
        let state = shard.accounts.get(place.account)?;
        Some((state.account.clone(), leader, state.node(place.node)?.scope.clone(), place))
    };
    let mut due: Vec<(Account, Leader, Scope, Place)> = due.into_iter().filter_map(names).collect();
    due.sort_by(|a, b| (&a.0, a.1.minute, &a.2).cmp(&(&b.0, b.1.minute, &b.2)));
    let books = Arc::clone(&shard.books);
    let moment = shard.moment(rules, &books);
    for (account, leader, scope, place) in due {
        shard.note_stood_out(place, leader.minute.hour());
        let Some(state) = shard.accounts.get_mut(place.account) else { continue };
        let Some(trigger) = habit::runaway_user(state, &account, &scope, &leader, moment) else { continue };
        let changed = episode::open(state, &account, leader.minute.hour(), trigger, true, moment, effects);
        shard.episodes_changed(place.account, changed.into_iter().collect());
    }
}

/// Ids of the episodes that have changed.
fn judge_open_hour(
    state: &mut AccountState,
    account: &Account,
    minute: Minute,
    touched: &[NodeId],
    moment: Moment<'_>,
    effects: &mut Vec<Effect>,
) -> Vec<String> {
    let hour = minute.hour();
    let local = judge::local_hour_of(moment.rules, &account.team, hour);
    let series = judge::series_in_team(state, hour, moment.rules);
    let mut spiking: Vec<Scope> = Vec::new();
    let mut running_away = Vec::new();
    for id in touched {
        let Some(node) = state.node_mut(*id) else { continue };
        let limits = judge::thresholds(moment.rules, account, &node.scope);
        if judge::crosses(node, series, hour, local, limits, moment) {
            spiking.push(node.scope.clone());
        }
        if let Some(runaway) = judge::guard(state, *id, minute, local, limits) {
            running_away.extend(state.node(*id).map(|node| (node.scope.clone(), runaway)));
        }
    }
    spiking.sort();
    running_away.sort_by(|a, b| a.0.cmp(&b.0));
    let judged = |scope: &Scope| judge::judge(state, account, scope, hour, local, moment.rules);
    let spikes: Vec<Judged> = spiking.iter().filter_map(judged).filter(|judged| judged.verdict.fires).collect();
    let mut changed = episode::grow(state, account, hour, touched, &spikes, moment, effects);
    if spikes.is_empty() && running_away.is_empty() {
        return changed;
    }
    let elapsed = state.get(&Scope::Team).map_or(1.0, |team| judge::elapsed(team, hour));
    // A move is no news that cannot wait for the whole hour.
    let has_moved = |chosen: &Judged| moved::is_move(state, account, chosen, hour, local, elapsed, moment);
    let chosen = select::lowest(state, account, hour, local, &spikes, moment).into_iter().filter(|chosen| !has_moved(chosen));
    let mut triggers: Vec<Trigger> = chosen.map(Trigger::spike).collect();
    if triggers.is_empty() {
        triggers = select::lowest_runaway(state, account, hour, local, running_away, moment);
    }
    for trigger in triggers {
        changed.extend(episode::open(state, account, hour, trigger, true, moment, effects));
    }
    changed
}
