//! Which node fires when several do: the lowest one that explains most of the excess, and none that an open episode already covers.

use std::cmp::Ordering;

use super::super::Moment;
use super::super::account::AccountState;
use super::super::baseline::{Channel, LocalHour};
use super::super::detect::runaway::Runaway;
use super::super::judge::{self, Judged};
use super::super::series::to_units;
use super::episode::{Episode, Trigger};
use super::habit;
use crate::model::alert::{AlertKind, Stage};
use crate::model::leaf::{Account, Scope};
use crate::model::time::{Hour, Minute};

/// A lower node stands for a higher one when it carries this share of the excess (DETECTION 6.4).
pub(crate) const EXPLAINS: f64 = 0.7;
/// A new level, or what has grown over a day, hides what leaps within so many hours of its onset: that is the same matter.
const SLOW_HOURS: i64 = 24;

/// Nodes to open an episode at, out of those that fire.
pub(crate) fn lowest(
    state: &AccountState,
    account: &Account,
    hour: Hour,
    local: LocalHour,
    firing: &[Judged],
    moment: Moment<'_>,
) -> Vec<Judged> {
    let mut order: Vec<&Judged> = firing.iter().collect();
    order.sort_by(|a, b| a.scope.depth().cmp(&b.scope.depth()).then(b.excess().total_cmp(&a.excess())).then(a.scope.cmp(&b.scope)));
    let mut chosen: Vec<Judged> = Vec::new();
    for candidate in order {
        if habit::is_habit(state, &candidate.scope, hour, candidate.actual) || is_inside(state, hour, candidate, &chosen) {
            continue;
        }
        let told_below = told_below(state, account, hour, local, candidate, &chosen, moment);
        if (told_below > 0.0 && told_below >= EXPLAINS * candidate.excess())
            || habit::is_usual_of_part(state, candidate, hour, local, judge::thresholds(moment.rules, account, &candidate.scope))
            || told_beside(state, account, hour, local, candidate, &chosen, moment)
        {
            continue;
        }
        let open = state.open_rises().filter(|episode| !is_slow_beside(episode, hour, candidate)).map(|episode| &episode.scope);
        let told: Vec<&Scope> = open.chain(chosen.iter().map(|other| &other.scope)).collect();
        // The excess of windows of several hours is none that an hour's can be taken off.
        let rest = (told_below > 0.0 && candidate.verdict.channel == Channel::Bucket).then(|| candidate.excess() - told_below);
        let node = rest
            .and_then(|rest| descend_apart(state, account, hour, local, candidate, rest, &told, moment))
            .unwrap_or_else(|| descend(state, account, hour, local, candidate, moment));
        if !told.iter().any(|other| node.scope.within(other)) {
            chosen.push(node);
        }
    }
    chosen
}

/// Whether an episode's node has most of what a node above it takes too much: as long as that one is abnormal, the episode goes on,
/// even where its own node is too new to say what is normal.
pub(crate) fn carries<'a>(episode: &Episode, own: &Judged, mut abnormal: impl Iterator<Item = &'a Judged>) -> bool {
    let excess = own.actual - episode.normal_of(own);
    abnormal.any(|top| own.scope != top.scope && own.scope.within(&top.scope) && top.excess() > 0.0 && excess >= EXPLAINS * top.excess())
}

/// The guard's counterpart: its windows reach across hours, so money is compared window by window, not hour by hour.
pub(crate) fn lowest_runaway(
    state: &AccountState,
    account: &Account,
    hour: Hour,
    local: LocalHour,
    mut firing: Vec<(Scope, Runaway)>,
    moment: Moment<'_>,
) -> Vec<Trigger> {
    firing.sort_by(|a, b| a.0.depth().cmp(&b.0.depth()).then(b.1.actual.cmp(&a.1.actual)).then(a.0.cmp(&b.0)));
    let mut taken: Vec<Scope> =
        state.open_rises().filter(|episode| hides_runaway(episode, hour)).map(|episode| episode.scope.clone()).collect();
    let mut triggers = Vec::new();
    for (top, runaway) in firing {
        if habit::is_habit(state, &top, hour, to_units(runaway.actual)) {
            continue;
        }
        let below: f64 = taken.iter().filter(|scope| scope.within(&top)).map(|scope| window_sum(state, scope, &runaway)).sum();
        if taken.iter().any(|scope| top.within(scope)) || below >= EXPLAINS * to_units(runaway.actual) {
            continue;
        }
        let carrying = |scope: &&Scope| scope.within(&top) && window_sum(state, scope, &runaway) >= EXPLAINS * to_units(runaway.actual);
        let lowest =
            state.nodes().map(|node| &node.scope).filter(carrying).max_by(|a, b| a.depth().cmp(&b.depth()).then(b.cmp(a))).unwrap_or(&top);
        // A model's money may be a project's that is told already.
        if taken.iter().any(|scope| lowest.within(scope)) {
            continue;
        }
        if let Some(judged) = judge::judge(state, account, lowest, hour, local, moment.rules) {
            taken.push(lowest.clone());
            let at_once = matches!(judged.expectation.stage, Stage::New | Stage::FirstDay);
            triggers.push(Trigger { at_once, ..Trigger::runaway(judged, runaway) });
        }
    }
    triggers
}

fn window_sum(state: &AccountState, scope: &Scope, runaway: &Runaway) -> f64 {
    let last = Minute(runaway.onset.0.saturating_add(i64::from(runaway.window_minutes) - 1));
    let minutes = state.get(scope).and_then(|node| node.minutes.as_ref());
    minutes.map_or(0.0, |minutes| to_units(minutes.sum(last.min(minutes.newest()), runaway.window_minutes)))
}

/// One is a part of the other.
pub(crate) fn is_about(episode: &Episode, scope: &Scope) -> bool {
    episode.scope.within(scope) || scope.within(&episode.scope)
}

/// Growth over days: by now it is about more than the hours in which it was noticed.
pub(crate) fn is_slow(episode: &Episode, hour: Hour) -> bool {
    episode.kind == AlertKind::LevelShift && hour.0 - episode.onset.hour().0 >= SLOW_HOURS
}

/// What has grown for days, and money that has only moved, is no word about minutes.
pub(crate) fn hides_runaway(episode: &Episode, hour: Hour) -> bool {
    !is_slow(episode, hour) && episode.kind != AlertKind::SpendMoved
}

/// What has grown for days may still leap: that is another matter.
fn is_slow_beside(episode: &Episode, hour: Hour, candidate: &Judged) -> bool {
    is_slow(episode, hour) && matches!(candidate.verdict.channel, Channel::Bucket | Channel::Hours)
}

/// Inside the node of an episode, or of what is chosen already.
fn is_inside(state: &AccountState, hour: Hour, candidate: &Judged, chosen: &[Judged]) -> bool {
    let unfinished = state.unfinished().filter(|episode| !episode.is_of_fall() && !is_slow_beside(episode, hour, candidate));
    unfinished.map(|episode| &episode.scope).chain(chosen.iter().map(|other| &other.scope)).any(|other| candidate.scope.within(other))
}

/// What of a candidate's excess episodes below it tell, and what is chosen below it. An open one has its part of an hour in which it is not
/// abnormal by itself yet, as has the candidate.
fn told_below(
    state: &AccountState,
    account: &Account,
    hour: Hour,
    local: LocalHour,
    candidate: &Judged,
    chosen: &[Judged],
    moment: Moment<'_>,
) -> f64 {
    let is_below = |scope: &Scope| *scope != candidate.scope && scope.within(&candidate.scope);
    let judged = |scope: &Scope| judge::judge(state, account, scope, hour, local, moment.rules).map(|judged| judged.excess().max(0.0));
    let unfinished = state.unfinished().filter(|episode| !episode.is_of_fall() && !is_slow_beside(episode, hour, candidate));
    let of_episode = |episode: &Episode| match episode.hours.get(&hour) {
        Some(part) => part.excess_units(),
        None => judged(&episode.scope).unwrap_or(0.0),
    };
    let told: f64 = unfinished.filter(|episode| is_below(&episode.scope)).map(of_episode).sum();
    told + chosen.iter().filter(|other| is_below(&other.scope)).map(Judged::excess).sum::<f64>()
}

/// Excess of the very hour that episodes below a node hold, open or over; `None` where one holds the hour of the node itself. What has grown for
/// days, and money that has only moved, says nothing of a leap.
pub(crate) fn told_of(state: &AccountState, hour: Hour, candidate: &Judged) -> Option<f64> {
    let is_told =
        |episode: &&Episode| !episode.is_of_fall() && episode.kind != AlertKind::SpendMoved && !is_slow_beside(episode, hour, candidate);
    let told = state.episodes.values().map(Box::as_ref).filter(is_told);
    let told: Vec<_> = told.filter_map(|episode| Some((&episode.scope, episode.hours.get(&hour)?.excess_units()))).collect();
    if told.iter().any(|(scope, _)| candidate.scope.within(scope)) {
        return None;
    }
    // Of what overlaps, as project and model do, at most what they share.
    let shared = |scope: &Scope| -> f64 {
        let leaves = state.leaves().filter(|(_, leaf, _)| leaf.scope.within(scope) && leaf.scope.within(&candidate.scope));
        leaves.map(|(_, leaf, _)| to_units(leaf.hour(hour).cost)).sum()
    };
    let told = told.into_iter().map(|(scope, excess)| if scope.within(&candidate.scope) { excess } else { excess.min(shared(scope)) });
    Some(told.map(|excess| excess.max(0.0)).sum())
}

/// Project and model overlap without one being in the other: most of the excess may lie in what they share, and be told already.
fn told_beside(
    state: &AccountState,
    account: &Account,
    hour: Hour,
    local: LocalHour,
    candidate: &Judged,
    chosen: &[Judged],
    moment: Moment<'_>,
) -> bool {
    let open = state.open_rises().filter(|episode| !is_slow_beside(episode, hour, candidate)).map(|episode| &episode.scope);
    let told: Vec<&Scope> = open.chain(chosen.iter().map(|other| &other.scope)).filter(|other| !other.within(&candidate.scope)).collect();
    if told.is_empty() {
        return false;
    }
    let shared = leaves_within(state, &candidate.scope).filter(|leaf| told.iter().any(|other| leaf.within(other)));
    let excess: f64 =
        shared.filter_map(|leaf| judge::judge(state, account, leaf, hour, local, moment.rules)).map(|leaf| leaf.excess()).sum();
    excess > 0.0 && excess >= EXPLAINS * candidate.excess()
}

/// The deepest node within `top` that explains what is left of it and shares little with what is told already: of two projects that leap one
/// after the other the second is told by itself, and not the model or the team that both are in.
#[expect(clippy::too_many_arguments, reason = "all that is known of an hour")]
fn descend_apart(
    state: &AccountState,
    account: &Account,
    hour: Hour,
    local: LocalHour,
    top: &Judged,
    rest: f64,
    told: &[&Scope],
    moment: Moment<'_>,
) -> Option<Judged> {
    let judged =
        |scope: &Scope| judge::judge(state, account, scope, hour, local, moment.rules).map(|judged| judged.seen_on(top.verdict.channel));
    let is_told = |leaf: &Scope| told.iter().any(|other| leaf.within(other));
    let shares_little = |node: &Judged| {
        let shared: f64 = leaves_within(state, &node.scope).filter(|leaf| is_told(leaf)).filter_map(judged).map(|leaf| leaf.excess()).sum();
        shared <= (1.0 - EXPLAINS) * node.excess()
    };
    let below = state.nodes().map(|node| &node.scope).filter(|scope| **scope != top.scope && scope.within(&top.scope) && !is_told(scope));
    let explaining = below.filter_map(judged).filter(|node| node.excess() > 0.0 && node.excess() >= EXPLAINS * rest && shares_little(node));
    explaining.max_by(deeper)
}

/// The deepest node within `top` that explains it; of several, the one with the largest excess.
fn descend(state: &AccountState, account: &Account, hour: Hour, local: LocalHour, top: &Judged, moment: Moment<'_>) -> Judged {
    let below = state.nodes().map(|node| &node.scope).filter(|scope| **scope != top.scope && scope.within(&top.scope));
    let channel = top.verdict.channel;
    let explaining = below
        .filter_map(|scope: &Scope| judge::judge(state, account, scope, hour, local, moment.rules))
        .map(|judged| judged.seen_on(channel))
        .filter(|judged| judged.excess() > 0.0 && judged.excess() >= EXPLAINS * top.excess());
    explaining.max_by(deeper).unwrap_or_else(|| top.clone())
}

/// The larger excess of two that are as deep, and by name where that is the same, too.
fn deeper(a: &Judged, b: &Judged) -> Ordering {
    a.scope.depth().cmp(&b.scope.depth()).then(a.excess().total_cmp(&b.excess())).then(b.scope.cmp(&a.scope))
}

fn leaves_within<'a>(state: &'a AccountState, scope: &'a Scope) -> impl Iterator<Item = &'a Scope> {
    state.nodes().map(|node| &node.scope).filter(move |leaf| matches!(leaf, Scope::Leaf(_)) && leaf.within(scope))
}
