//! Closes hours that the watermark has passed: final verdicts, roll-ups, and only then do baselines learn them.

use super::alert::episode;
use super::baseline::Learn;
use super::judge::{self, Judged};
use super::rules::WatchRules;
use super::series::{AMENDABLE_HOURS, PackedPoint};
use super::state::StateKey;
use super::{AccountState, Moment, Shard};
use crate::model::effect::Effect;
use crate::model::leaf::{Account, Leaf, LeafDimensions, Scope};
use crate::model::time::{Hour, Timestamp};

/// Closes every hour whose end plus lateness the watermark has passed, oldest first.
pub(crate) fn close_due_hours(shard: &mut Shard, watermark: Option<Timestamp>, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let Some(watermark) = watermark else { return };
    let last = Hour(watermark.minus_ms(rules.lateness_ms).hour().0.saturating_sub(1));
    let first = match shard.header.closed_through {
        Some(closed) => closed.next(),
        // Before the first usage there is nothing to close, and hours stay open for a backfill.
        None => match first_open_hour(shard) {
            Some(hour) => hour,
            None => return,
        },
    };
    for hour in (first.0..=last.0).map(Hour) {
        let moment = shard.moment(rules);
        let Shard { accounts, dirty, .. } = &mut *shard;
        for (account, state) in accounts {
            close_account_hour(state, account, hour, moment, effects, &mut |key| {
                dirty.insert(key);
            });
        }
        shard.header.closed_through = Some(hour);
    }
}

fn first_open_hour(shard: &Shard) -> Option<Hour> {
    let leaves = shard.accounts.values().flat_map(|state| state.leaves.values());
    leaves.filter_map(|leaf| leaf.open.hours.keys().next().copied()).min()
}

fn close_account_hour(
    state: &mut AccountState,
    account: &Account,
    hour: Hour,
    moment: Moment<'_>,
    effects: &mut Vec<Effect>,
    changed: &mut impl FnMut(StateKey),
) {
    if state.born().is_none_or(|born| born > hour) {
        return;
    }
    let local = judge::local_hour(&judge::zone_of(moment.rules, &account.team), hour);
    let born = state.nodes.iter().filter(|(_, node)| node.closed.born <= hour).map(|(scope, _)| scope.clone());
    let scopes: Vec<Scope> = born.collect();
    let judged: Vec<Judged> = scopes.iter().filter_map(|scope| judge::judge(state, account, scope, hour, local, moment.rules)).collect();
    for id in episode::close_hour(state, account, hour, local, &judged, moment, effects) {
        changed(StateKey::Episode(account.clone(), id));
    }
    for judged in &judged {
        learn(state, judged, hour, local);
        changed(StateKey::Node(account.clone(), judged.scope.clone()));
    }
    for (dimensions, leaf) in &mut state.leaves {
        if let Some(mut totals) = leaf.open.hours.remove(&hour) {
            effects.push(Effect::Rollup(Box::new(totals.roll_up(&leaf_of(account, dimensions), hour))));
            leaf.closed.recent.insert(hour, totals);
            changed(StateKey::LeafOpen(account.clone(), dimensions.clone()));
            changed(StateKey::LeafClosed(account.clone(), dimensions.clone()));
        }
        let oldest = Hour(hour.0 - AMENDABLE_HOURS);
        if leaf.closed.recent.keys().next().is_some_and(|first| *first <= oldest) {
            leaf.closed.recent.retain(|kept, _| *kept > oldest);
            changed(StateKey::LeafClosed(account.clone(), dimensions.clone()));
        }
    }
}

/// Buckets that belong to an alert stay out of the tail, else the next incident would look normal.
fn learn(state: &mut AccountState, judged: &Judged, hour: Hour, local: super::baseline::LocalHour) {
    let related = |scope: &Scope| scope.within(&judged.scope) || judged.scope.within(scope);
    let in_episode = state.open_episodes().any(|episode| related(&episode.scope) && episode.hours.contains_key(&hour));
    let alarmed = judged.verdict.fires || (in_episode && judged.actual > judged.expectation.upper);
    let Some(node) = state.nodes.get_mut(&judged.scope) else { return };
    let known = judged.expectation.hours_seen > 0;
    let band = known.then_some((judged.expectation.expected as f32, judged.expectation.upper as f32));
    node.closed.baseline.observe(hour, local, judged.actual, if alarmed { Learn::Alarmed } else { Learn::Normal });
    node.remember(PackedPoint { hour, actual: judged.actual as f32, band });
    node.open.hours.remove(&hour);
}

fn leaf_of(account: &Account, dimensions: &LeafDimensions) -> Leaf {
    Leaf {
        team: account.team.clone(),
        project: dimensions.project.clone(),
        model: dimensions.model.clone(),
        provider: dimensions.provider.clone(),
        region: dimensions.region.clone(),
        environment: dimensions.environment.clone(),
        meter: dimensions.meter.clone(),
        currency: account.currency,
        measure: account.measure,
    }
}
