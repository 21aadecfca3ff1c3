//! From an episode to the record on the topic `alerts`: causes, severity, burn rate, projection.

use std::collections::BTreeMap;

use super::super::Moment;
use super::super::account::AccountState;
use super::super::baseline::NEW_HOURS;
use super::super::detect::ring::MinuteRing;
use super::super::detect::verdict::LASTS;
use super::super::explain::{self, LeafDeviation, UserDeviation};
use super::super::judge;
use super::super::recent::USUAL_HOURS;
use super::super::rules::Thresholds;
use super::super::series::{HourTotals, LeafState, Node, from_units, to_units};
use super::episode::{Episode, channel_of};
use super::{ratio, words};
use crate::model::Text;
use crate::model::alert::{Alert, AlertKind, HistoryPoint, Severity};
use crate::model::leaf::{Account, Scope};
use crate::model::money::Nanos;
use crate::model::time::{HOUR_MS, Hour, MINUTE_MS, Timestamp};

/// Excess in multiples of the money gate (the guard's floor for a runaway) from which an alert is critical.
const CRITICAL_SPIKE: f64 = 10.0;
const CRITICAL_RUNAWAY: f64 = 4.0;
/// So many hours at its end say whether a rise has come back.
const STAYS_HOURS: i64 = 3;

pub(crate) fn severity(episode: &Episode, limits: &Thresholds) -> Severity {
    let (gate, factor) = match episode.kind {
        AlertKind::SpendMoved | AlertKind::SpendDrop => return Severity::Info,
        AlertKind::Runaway => (limits.runaway_floor, CRITICAL_RUNAWAY),
        _ => (limits.least_excess, CRITICAL_SPIKE),
    };
    if to_units(episode.excess()) >= factor * to_units(gate) { Severity::Critical } else { Severity::Warning }
}

/// Recomputes an episode's causes from the leaves' deviations in one hour.
pub(crate) fn explain(state: &mut AccountState, account: &Account, id: &str, hour: Hour, moment: Moment<'_>) {
    let Some(episode) = state.episodes.get(id) else { return };
    let (scope, onset, channel) = (episode.scope.clone(), episode.onset.hour(), channel_of(episode.kind));
    let local = judge::local_hour_of(moment.rules, &account.team, hour);
    let mut leaves = Vec::new();
    let mut users = Users::default();
    for (dimensions, node, leaf) in state.leaves() {
        if !node.scope.within(&scope) {
            continue;
        }
        let totals = leaf.totals(hour);
        // What was new when it began has learnt nothing but the episode.
        let known = Some(node).filter(|node| onset.0 - node.closed.born.0 >= i64::from(NEW_HOURS));
        let actual = totals.as_ref().map_or(0.0, |totals| to_units(totals.cost));
        let expected = known.map_or(0.0, |node| judge::normal(node, hour, local, actual, channel));
        leaves.push(LeafDeviation { dimensions: dimensions.clone(), expected, actual });
        users.add(&dimensions.project, leaf, totals.as_ref(), onset.min(hour));
    }
    if state.episodes.get(id).is_some_and(|episode| episode.guard_hour == Some(hour) && episode.provisional()) {
        let elapsed = elapsed(state, &scope, hour);
        leaves.iter_mut().for_each(|leaf| leaf.expected *= elapsed);
    }
    let explanation = explain::causes(&leaves, &users.deviations());
    if let Some(episode) = state.episodes.get_mut(id) {
        episode.causes = explanation.causes;
        episode.unexplained = explanation.unexplained;
    }
}

/// The part of an open hour that has passed, by the node's latest usage. A guard speaks long before the hour's sum leaves its normal, so it
/// holds the hour's money against what would have been normal by now.
pub(super) fn elapsed(state: &AccountState, scope: &Scope, hour: Hour) -> f64 {
    let newest = state.get(scope).and_then(|node| node.minutes.as_ref()).map(MinuteRing::newest);
    let passed = newest.map_or(HOUR_MS, |newest| newest.start().plus_ms(MINUTE_MS).0 - hour.start().0);
    passed.clamp(MINUTE_MS, HOUR_MS) as f64 / HOUR_MS as f64
}

/// What users (by project) take now and usually took.
#[derive(Default)]
struct Users {
    now: BTreeMap<(Text, Text), f64>,
    past: BTreeMap<(Text, Text), f64>,
    past_hours: usize,
}

impl Users {
    /// What users took before `onset` is usual.
    fn add(&mut self, project: &Text, leaf: &LeafState, totals: Option<&HourTotals>, onset: Hour) {
        for user in totals.into_iter().flat_map(|totals| &totals.users) {
            *self.now.entry((user.user.clone(), project.clone())).or_default() += to_units(user.cost);
        }
        let mut hours = 0;
        for (_, totals) in leaf.recent.hours().iter().rev().filter(|(hour, _)| *hour < onset).take(USUAL_HOURS) {
            hours += 1;
            for user in &totals.users {
                *self.past.entry((user.user.clone(), project.clone())).or_default() += to_units(user.cost);
            }
        }
        self.past_hours = self.past_hours.max(hours);
    }

    /// Nothing is usual while there is no past at all.
    fn deviations(&self) -> Vec<UserDeviation> {
        let usual = |key: &(Text, Text)| match self.past_hours {
            0 => None,
            hours => Some(self.past.get(key).copied().unwrap_or(0.0) / hours as f64),
        };
        let deviation = |(key, actual): (&(Text, Text), &f64)| UserDeviation {
            user: key.0.clone(),
            project: key.1.clone(),
            actual: *actual,
            expected: usual(key),
        };
        self.now.iter().map(deviation).collect()
    }
}

pub(crate) fn alert(state: &AccountState, account: &Account, episode: &Episode, hour: Hour, moment: Moment<'_>) -> Option<Alert> {
    let node = state.get(&episode.scope)?;
    let seen = latest_totals(state, episode, hour);
    let burn_rate_per_hour = burn_rate(episode, seen.0);
    let zone = judge::zone_of(moment.rules, &account.team);
    let (split, changed) = ratio::of_episode(state, episode).map_or((None, None), |(split, changed)| (Some(split), changed));
    Some(Alert {
        id: episode.id.clone(),
        incident_id: episode.id.clone(),
        revision: episode.revision,
        state: episode.state,
        kind: episode.kind,
        severity: episode.severity,
        team: account.team.to_string(),
        dimensions: episode.scope.dimensions(),
        measure: account.measure,
        currency: account.currency,
        onset: episode.onset,
        event_time: seen.0,
        ingest_time: seen.1,
        detected_at: episode.detected_at,
        decided_at: moment.shard_time,
        closed_at: ended_at(episode),
        actual: episode.actual(),
        expected: episode.expected(),
        excess: episode.excess(),
        burn_rate_per_hour,
        projected_month_end_excess: project(episode, burn_rate_per_hour, seen.0, &zone),
        provisional: episode.provisional(),
        score: episode.score,
        stage: episode.stage,
        normal: episode.normal.clone(),
        summary: words::summary(account, episode, changed.as_deref(), stays(node, episode, account, moment), seen.0, &zone),
        causes: episode.causes.clone(),
        unexplained: episode.unexplained,
        split,
        next_steps: words::next_steps(account, episode),
        history: with_expectations(node.history(hour), episode),
        feedback: moment.books.get(&account.team).map_or_else(Vec::new, |book| book.said_about(episode)),
        notify: episode.notify,
        time_zone: moment.rules.time_zone(&account.team).to_string(),
        rules_revision: moment.rules.revision,
    })
}

/// The end of its last abnormal hour, of an episode that is over: that it was over was known some quiet hours later.
fn ended_at(episode: &Episode) -> Option<Timestamp> {
    let last = episode.hours.last_key_value().map(|(hour, _)| hour.end());
    episode.closed_at.map(|closed| last.map_or(closed, |last| last.min(closed)))
}

/// What an hour takes at the end of a rise, and what it took before, where that is clearly less: it has not come back, it has been learnt.
fn stays(node: &Node, episode: &Episode, account: &Account, moment: Moment<'_>) -> Option<(Nanos, Nanos)> {
    if episode.is_of_fall() || episode.is_of_ratio() || episode.kind == AlertKind::SpendMoved {
        return None;
    }
    // Of its own last hour, also when somebody answers later.
    let hour = Hour(episode.closed_at?.hour().0 - 1);
    let baseline = node.closed.baseline.wake();
    // The same hours of the day, before it began or while it did; a Monday is held against Mondays, too.
    let before = |hour: Hour| {
        let of_week = baseline.of_week(judge::local_hour_of(moment.rules, &account.team, hour))?;
        let days_back = [1, 2].map(|days| Hour(hour.0 - 24 * days));
        let of_day = days_back.into_iter().find_map(|back| match episode.hours.get(&back) {
            Some(part) => Some(to_units(part.expected)),
            None if back < episode.onset.hour() => node.closed.history.at(back).map(|point| f64::from(point.actual)),
            None => None,
        });
        Some(from_units(of_day?.max(of_week)))
    };
    // The last ones alone: what an hour was like before it came back says nothing.
    let quiet = (0..i64::from(episode.quiet_hours).min(STAYS_HOURS)).map(|back| Hour(hour.0 - back));
    let pairs: Vec<(Nanos, Nanos)> = quiet.filter_map(|hour| Some((node.hour(hour).cost, before(hour)?))).collect();
    let mean = |side: fn(&(Nanos, Nanos)) -> Nanos| pairs.iter().map(|pair| to_units(side(pair))).sum::<f64>() / pairs.len().max(1) as f64;
    let (now, usual) = (mean(|pair| pair.0), mean(|pair| pair.1));
    let is_high = |(now, before): &(Nanos, Nanos)| to_units(*now) >= LASTS * to_units(*before);
    (usual > 0.0 && now >= LASTS * usual && pairs.first().is_some_and(is_high)).then(|| (from_units(now), from_units(usual)))
}

/// Event and ingest time of the latest event that the node had in this hour, else the hour's end.
fn latest_totals(state: &AccountState, episode: &Episode, hour: Hour) -> (Timestamp, Timestamp) {
    let leaves = state.leaves().filter(|(_, node, _)| node.scope.within(&episode.scope));
    // Of an hour that had closed before an alert was about it no times are kept.
    let totals = leaves.filter_map(|(_, _, leaf)| leaf.totals(hour)).filter(HourTotals::has_times);
    totals
        .map(|totals| (totals.last_event_time, totals.last_ingest_time))
        .reduce(|a, b| (a.0.max(b.0), a.1.max(b.1)))
        .unwrap_or((hour.end(), hour.end()))
}

/// Excess per hour of the latest abnormal hour, nothing where quiet ones have followed; of an hour still running, extrapolated from at least
/// 5 minutes of it.
fn burn_rate(episode: &Episode, event_time: Timestamp) -> Nanos {
    let Some((hour, part)) = episode.hours.last_key_value() else { return Nanos::ZERO };
    if episode.closed_at.is_some() || episode.quiet_hours > 0 {
        return Nanos::ZERO;
    }
    if !part.provisional {
        return part.actual.saturating_sub(part.expected);
    }
    let started = hour.start().max(episode.onset);
    let elapsed_ms = (event_time.0 - started.0).clamp(5 * MINUTE_MS, HOUR_MS);
    let per_hour = |money: Nanos| money.checked_mul_div(i128::from(HOUR_MS), i128::from(elapsed_ms)).unwrap_or(money);
    // The guard's hour holds what was normal before the onset, too: only what is beyond that has come since.
    let pace = if episode.guard_hour == Some(*hour) {
        per_hour(part.actual.saturating_sub(part.expected))
    } else {
        per_hour(part.actual).saturating_sub(part.expected)
    };
    pace.max(Nanos::ZERO)
}

/// Excess so far plus the burn rate until the month ends in the team's time zone.
fn project(episode: &Episode, burn_rate: Nanos, from: Timestamp, zone: &jiff::tz::TimeZone) -> Nanos {
    let left_ms = month_end(from, zone).map_or(0, |end| end.0.saturating_sub(from.0).max(0));
    let more = burn_rate.checked_mul_div(i128::from(left_ms), i128::from(HOUR_MS)).unwrap_or(Nanos::ZERO);
    episode.excess().saturating_add(more)
}

pub(crate) fn month_end(at: Timestamp, zone: &jiff::tz::TimeZone) -> Option<Timestamp> {
    let local = jiff::Timestamp::from_millisecond(at.0).ok()?.to_zoned_datetime(zone.clone());
    let next = local.date().last_of_month().tomorrow().ok()?.to_zoned_datetime(zone.clone()).ok()?;
    Some(Timestamp(next.timestamp().as_millisecond()))
}

/// The episode knows what was expected of its hours even while they are open.
fn with_expectations(mut history: Vec<HistoryPoint>, episode: &Episode) -> Vec<HistoryPoint> {
    for point in history.iter_mut().filter(|point| point.expected.is_none()) {
        point.expected = episode.hours.get(&point.time.hour()).map(|part| to_units(part.expected));
    }
    history
}
