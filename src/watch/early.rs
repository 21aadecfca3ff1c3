//! Judges hours that are still open: an additive upper-tail test and the guard on minutes, why an alert takes seconds and not an hour.

use super::alert::episode::{self, Trigger};
use super::alert::select;
use super::judge::{self, Judged};
use super::merge::{Touched, TouchedHour};
use super::rules::WatchRules;
use super::state::StateKey;
use super::{AccountState, Moment, Shard};
use crate::model::effect::Effect;
use crate::model::leaf::{Account, Scope};
use crate::model::time::Hour;

pub(crate) fn judge_open_hours(shard: &mut Shard, touched: &Touched, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let moment = shard.moment(rules);
    for ((account, hour), touched_hour) in touched {
        let Some(state) = shard.accounts.get_mut(account) else { continue };
        for id in judge_open_hour(state, account, *hour, touched_hour, moment, effects) {
            shard.dirty.insert(StateKey::Episode(account.clone(), id));
        }
    }
}

/// Ids of the episodes that have changed.
fn judge_open_hour(
    state: &mut AccountState,
    account: &Account,
    hour: Hour,
    touched: &TouchedHour,
    moment: Moment<'_>,
    effects: &mut Vec<Effect>,
) -> Vec<String> {
    let local = judge::local_hour(&judge::zone_of(moment.rules, &account.team), hour);
    let series = judge::series_in_team(state);
    let mut spiking: Vec<Scope> = Vec::new();
    let mut running_away = Vec::new();
    for scope in &touched.scopes {
        let limits = judge::thresholds(moment.rules, account, scope);
        let Some(node) = state.nodes.get_mut(scope) else { continue };
        if judge::crosses(node, series, hour, local, limits, moment) {
            spiking.push(scope.clone());
        }
        if let Some(runaway) = judge::guard(state, scope, hour, local, limits) {
            running_away.push((scope.clone(), runaway));
        }
    }
    let judged = |scope: &Scope| judge::judge(state, account, scope, hour, local, moment.rules);
    let spikes: Vec<Judged> = spiking.iter().filter_map(judged).filter(|judged| judged.verdict.fires).collect();
    let mut changed = episode::grow(state, account, hour, touched, &spikes, moment, effects);
    if spikes.is_empty() && running_away.is_empty() {
        return changed;
    }
    let mut triggers: Vec<Trigger> = select::lowest(state, account, hour, local, &spikes, moment).into_iter().map(Trigger::spike).collect();
    if triggers.is_empty() {
        triggers = select::lowest_runaway(state, account, hour, local, running_away, moment);
    }
    for trigger in triggers {
        changed.extend(episode::open(state, account, hour, trigger, true, moment, effects));
    }
    changed
}
