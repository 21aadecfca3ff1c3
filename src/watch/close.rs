//! Closes hours that the watermark has passed: final verdicts, roll-ups, and only then do baselines learn them.

use std::sync::Arc;

use super::Moment;
use super::account::{AccountState, NodeId};
use super::alert::{drop, episode};
use super::baseline::{Baseline, Learn, LocalHour};
use super::days;
use super::detect::verdict;
use super::drift;
use super::feedback;
use super::history::Point;
use super::judge::{self, Judged};
use super::matters;
use super::places::Place;
use super::recent::Held;
use super::rules::WatchRules;
use super::series::{AMENDABLE_HOURS, Grain};
use super::shard::{Closing, Shard};
use crate::model::effect::Effect;
use crate::model::leaf::Scope;
use crate::model::time::{Hour, Timestamp};

/// Leaves without usage for so long go, and their baselines with them: what comes back after five weeks is new, and nobody's monthly job
/// is forgotten between two runs.
pub const FORGET_AFTER_HOURS: i64 = 35 * 24;

/// Notes the hours whose end plus lateness the watermark has passed.
pub(crate) fn note_due_hours(shard: &mut Shard, watermark: Option<Timestamp>, rules: &WatchRules) {
    let Some(watermark) = watermark else { return };
    let last = Hour(watermark.minus_ms(rules.lateness_ms).hour().0.saturating_sub(1));
    let first = match shard.header.closed_through {
        Some(closed) => Some(closed.next()),
        // Before the first usage hours stay open for a backfill, unless something waits for them to close: a bill, a resource.
        None => shard.header.first_hour.or_else(|| waits_for_closes(shard).then_some(last)),
    };
    if shard.header.closed_through.is_none() {
        shard.header.first_hour = first;
    }
    shard.header.closing = first.filter(|first| *first <= last).map(|hour| Closing { hour, last, done: None });
}

/// Whether something is kept that is judged, ends or is forgotten when hours close, also of teams without any usage.
fn waits_for_closes(shard: &Shard) -> bool {
    shard.matters.wait_for_closes() || shard.drift.waits_for_closes()
}

/// Closes due hours, oldest first, account by account, until about `most_series` series are done.
pub(crate) fn close_slice(shard: &mut Shard, rules: &WatchRules, most_series: usize) -> Vec<Effect> {
    let mut effects = Vec::new();
    let mut left = most_series.max(1);
    while let Some(closing) = shard.header.closing.clone() {
        let Some((account, number)) = shard.accounts.after(closing.done.as_ref()) else {
            shard.header.closed_through = Some(closing.hour);
            matters::close_hour(shard, closing.hour, rules, &mut effects);
            drift::close_hour(shard, closing.hour, rules, &mut effects);
            let next = Closing { hour: closing.hour.next(), last: closing.last, done: None };
            shard.header.closing = Some(next).filter(|next| next.hour <= next.last);
            continue;
        };
        if left == 0 {
            break;
        }
        let done = Some(account.clone());
        // Of an account that was not born yet nothing is judged: one amount of years ago must not make all others pay for each hour since.
        let born = shard.accounts.get(number).filter(|state| state.born().is_some_and(|born| born <= closing.hour));
        let series = born.map_or(1, AccountState::len);
        close_account_hour(shard, number, closing.hour, rules, &mut effects);
        shard.header.closing = Some(Closing { done, ..closing });
        left = left.saturating_sub(series);
    }
    effects
}

fn close_account_hour(shard: &mut Shard, number: u32, hour: Hour, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let Some(account) = shard.accounts.get(number).map(|state| state.account.clone()) else { return };
    feedback::end_of_hour(shard, &account.team, hour);
    let books = Arc::clone(&shard.books);
    let moment = shard.moment(rules, &books);
    let Some(state) = shard.accounts.get_mut(number) else { return };
    if state.born().is_none_or(|born| born > hour) {
        return;
    }
    let local = judge::local_hour_of(rules, &account.team, hour);
    let series = judge::series_in_team(state, hour, rules);
    let born = state.ids().iter().filter(|id| state.node(**id).is_some_and(|node| node.closed.born <= hour));
    let (judged, awake): (Vec<Judged>, Vec<Baseline>) =
        born.filter_map(|id| judge::judge_and_wake(state, &account, *id, (hour, local), rules, series)).unzip();
    drift::close_account_hour(shard, number, hour, rules);
    matters::missing::close_account_hour(shard, number, hour, &judged, rules, effects);
    let still_used = drop::still_used(&shard.accounts, &account, hour, &judged, moment);
    let Some(state) = shard.accounts.get_mut(number) else { return };
    let episodes = episode::close_hour(state, &account, hour, local, &judged, &still_used, moment, effects);
    let mut room = Vec::new();
    let mut changed: Vec<NodeId> = judged
        .iter()
        .zip(awake)
        .filter_map(|(judged, baseline)| learn(state, judged, baseline, &mut room, (hour, local), moment))
        .collect();
    let in_episodes = state.hours_of_episodes();
    let held =
        Held { holds: &|hour| in_episodes.contains(&hour), onset: state.first_onset().map_or(hour.next(), |onset| onset.min(hour.next())) };
    let oldest = Hour(hour.0 - AMENDABLE_HOURS);
    let mut forgotten = Vec::new();
    for id in state.ids().to_vec() {
        let Some(node) = state.node_mut(id) else { continue };
        let usage = node.minutes.as_ref().map_or(node.closed.born, |minutes| minutes.newest().hour());
        let Grain::Leaf(leaf) = &mut node.grain else { continue };
        if let (Some(mut totals), Scope::Leaf(dimensions)) = (leaf.hours.remove(hour), &node.scope) {
            effects.push(Effect::Rollup(Box::new(totals.roll_up(&dimensions.leaf_of(&account), hour))));
            leaf.recent.put(hour, totals, oldest, &held);
            changed.push(id);
        } else if leaf.recent.forget(oldest, &held) {
            changed.push(id);
        }
        if hour.0 - usage.0 > FORGET_AFTER_HOURS && leaf.recent.is_empty() && leaf.hours.first().is_none() {
            forgotten.push(id);
        }
    }
    if days::ends_with(hour) {
        days::add(state, hour);
        shard.pending.days.insert(number);
    }
    matters::advice::close_account_hour(shard, number, hour, rules, effects);
    for id in changed {
        shard.changed(number, id);
    }
    shard.episodes_changed(number, episodes);
    forget(shard, number, forgotten, hour, moment, effects);
}

fn forget(shard: &mut Shard, account: u32, leaves: Vec<NodeId>, hour: Hour, moment: Moment<'_>, effects: &mut Vec<Effect>) {
    if leaves.is_empty() {
        return;
    }
    for node in leaves {
        let gone = shard.accounts.get(account).and_then(|state| Some((state.account.clone(), state.node(node)?.scope.clone())));
        if let Some((account, Scope::Leaf(dimensions))) = gone {
            matters::advice::forget(&mut shard.matters, &account, &dimensions, hour, moment, effects);
        }
        shard.remove_leaf(Place { account, node });
    }
    if let Some(state) = shard.accounts.get_mut(account) {
        state.add_up();
    }
    shard.forget_names();
}

/// Buckets that belong to an alert stay out of the tail, else the next incident would look normal.
fn learn(
    state: &mut AccountState,
    judged: &Judged,
    mut baseline: Baseline,
    room: &mut Vec<u8>,
    (hour, local): (Hour, LocalHour),
    moment: Moment<'_>,
) -> Option<NodeId> {
    let related = |scope: &Scope| scope.within(&judged.scope) || judged.scope.within(scope);
    let in_episode =
        state.unfinished().any(|episode| !episode.is_of_fall() && related(&episode.scope) && episode.hours.contains_key(&hour));
    let told = judged.verdict.fires || (in_episode && judged.actual > judged.expectation.upper);
    let book = moment.books.get(&state.account.team);
    let is_allowed = book.is_some_and(|book| book.allows(&judged.scope, hour, judged.actual, judged.expectation.expected, false));
    // What somebody expects is not what is usual: the old normal holds again when it is over.
    let is_set_aside = told && book.is_some_and(|book| book.sets_aside(&judged.scope, hour));
    let lesson = if is_allowed { Learn::Normal } else { verdict::lesson(&judged.verdict, &judged.expectation, told) };
    let node = state.node_mut(judged.node)?;
    let known = judged.expectation.hours_seen > 0;
    let band = known.then_some((judged.expectation.expected as f32, judged.expectation.upper as f32));
    if !is_set_aside {
        baseline.observe(hour, local, judged.actual, lesson);
        node.closed.baseline.rest(&baseline, room);
    }
    // What was known of the hours after this one is old now.
    node.outlook = None;
    node.closed.history.push(Point { hour, actual: judged.actual as f32, band });
    if let Grain::Sum(sum) = &mut node.grain {
        sum.hours.remove(hour);
    }
    Some(judged.node)
}
