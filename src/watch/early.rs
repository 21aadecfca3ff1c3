//! Judges hours that are still open: an additive upper-tail test and the guard on minutes, why an alert takes seconds and not an hour.

use std::sync::Arc;

use super::account::{AccountState, NodeId};
use super::alert::episode::{self, Trigger};
use super::alert::{habit, moved, select};
use super::judge::{self, Judged};
use super::merge::Touched;
use super::rules::WatchRules;
use super::{Moment, Shard};
use crate::model::effect::Effect;
use crate::model::leaf::{Account, Scope};
use crate::model::partial::Partial;
use crate::model::time::Hour;

/// Sources report at least this often, in minutes.
const REPORTED_WITHIN: i64 = 10;

pub(crate) fn judge_open_hours(shard: &mut Shard, partials: &[Partial], touched: Touched, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let suspects: Vec<&Partial> = partials.iter().filter(|partial| habit::dominant(partial).is_some()).collect();
    let books = Arc::clone(&shard.books);
    let moment = shard.moment(rules, &books);
    // In the order of names, so that numbers, which depend on who came first, have no say.
    let name = |shard: &Shard, number: u32| shard.accounts.get(number).map(|state| state.account.clone());
    let mut in_order: Vec<(Option<Account>, Hour, u32, Vec<NodeId>)> =
        touched.into_iter().map(|((number, hour), nodes)| (name(shard, number), hour, number, nodes)).collect();
    in_order.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    for (account, hour, number, nodes) in in_order {
        let (Some(account), Some(state)) = (account, shard.accounts.get_mut(number)) else { continue };
        let own = |partial: &&&Partial| partial.minute.hour() == hour && partial.leaf.account() == account;
        let suspects: Vec<&Partial> = suspects.iter().filter(own).copied().collect();
        let changed = judge_open_hour(state, &account, hour, &nodes, &suspects, moment, effects);
        shard.episodes_changed(number, changed);
    }
}

/// Ids of the episodes that have changed.
fn judge_open_hour(
    state: &mut AccountState,
    account: &Account,
    hour: Hour,
    touched: &[NodeId],
    partials: &[&Partial],
    moment: Moment<'_>,
    effects: &mut Vec<Effect>,
) -> Vec<String> {
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
        if let Some(runaway) = judge::guard(state, *id, hour, local, limits) {
            running_away.extend(state.node(*id).map(|node| (node.scope.clone(), runaway)));
        }
    }
    spiking.sort();
    running_away.sort_by(|a, b| a.0.cmp(&b.0));
    let judged = |scope: &Scope| judge::judge(state, account, scope, hour, local, moment.rules);
    let spikes: Vec<Judged> = spiking.iter().filter_map(judged).filter(|judged| judged.verdict.fires).collect();
    let mut changed = episode::grow(state, account, hour, touched, &spikes, moment, effects);
    let heavy: Vec<Trigger> = partials.iter().filter_map(|partial| habit::runaway_user(state, account, partial, local, moment)).collect();
    if spikes.is_empty() && running_away.is_empty() && heavy.is_empty() {
        return changed;
    }
    let elapsed = elapsed(state, hour);
    // A move is no news that cannot wait for the whole hour.
    let has_moved = |chosen: &Judged| moved::counterpart(state, account, chosen, hour, local, elapsed, moment).is_some();
    let chosen = select::lowest(state, account, hour, local, &spikes, moment).into_iter().filter(|chosen| !has_moved(chosen));
    let mut triggers: Vec<Trigger> = chosen.map(Trigger::spike).collect();
    if triggers.is_empty() {
        triggers = select::lowest_runaway(state, account, hour, local, running_away, moment);
    }
    for trigger in triggers {
        changed.extend(episode::open(state, account, hour, trigger, true, moment, effects));
    }
    // Two minutes of the same user are one matter. What is held is no reason to wait with somebody who runs away.
    let is_told = |trigger: &Trigger| habit::is_told(state, &trigger.judged.scope, hour);
    if let Some(trigger) = heavy.into_iter().next().filter(|trigger| !is_told(trigger)) {
        changed.extend(episode::open(state, account, hour, trigger, true, moment, effects));
    }
    changed
}

/// The part of an hour that has passed, by the team's latest usage and the time until the next may come.
fn elapsed(state: &AccountState, hour: Hour) -> f64 {
    let newest = state
        .get(&Scope::Team)
        .and_then(|team| team.minutes.as_ref())
        .map_or(hour.end().minute().0, |minutes| minutes.newest().0 + REPORTED_WITHIN);
    ((newest - hour.start().minute().0) as f64 / 60.0).clamp(0.0, 1.0)
}
