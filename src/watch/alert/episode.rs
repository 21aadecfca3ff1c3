//! An episode: one stretch of abnormal spend at one node = one alert id. Opens, grows, closes, is amended or taken back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::Moment;
use super::super::account::{AccountState, NodeId};
use super::super::baseline::{Channel, LocalHour};
use super::super::detect::verdict;
use super::super::judge::{self, Judged};
use super::super::series::{from_units, to_units};
pub(crate) use super::open::{Trigger, open};
use super::open::{class, hours_since, spend};
use super::{drop, hold, moved, ramp, ratio, record, select};
use crate::model::alert::{AlertKind, AlertState, Cause, Severity, Stage};
use crate::model::effect::Effect;
use crate::model::leaf::{Account, Scope};
use crate::model::money::Nanos;
use crate::model::partial::Partial;
use crate::model::time::{HOUR_MS, Hour, Timestamp};

/// A closed episode is kept while late data may still amend it, and so long that its revisions are not used again.
const KEEP_CLOSED_MS: i64 = 72 * HOUR_MS;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Episode {
    pub id: String,
    pub scope: Scope,
    pub kind: AlertKind,
    pub state: AlertState,
    pub severity: Severity,
    pub revision: u32,
    pub onset: Timestamp,
    pub detected_at: Timestamp,
    pub closed_at: Option<Timestamp>,
    /// The abnormal hours and what each cost against what was expected.
    pub hours: BTreeMap<Hour, HourExcess>,
    pub quiet_hours: u32,
    /// The latest hour in which the guard on minutes fired.
    pub guard_hour: Option<Hour>,
    /// Excess as last told to people.
    pub told_excess: Nanos,
    pub score: f64,
    pub stage: Stage,
    pub normal: String,
    pub causes: Vec<Cause>,
    pub unexplained: f64,
    pub notify: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct HourExcess {
    pub actual: Nanos,
    pub expected: Nanos,
    /// The hour was still open when this was taken.
    pub provisional: bool,
}

impl HourExcess {
    pub fn excess_units(&self) -> f64 {
        to_units(self.actual.saturating_sub(self.expected))
    }
}

impl Episode {
    pub fn is_open(&self) -> bool {
        self.closed_at.is_none()
    }

    pub fn actual(&self) -> Nanos {
        self.hours.values().fold(Nanos::ZERO, |sum, part| sum.saturating_add(part.actual))
    }

    pub fn expected(&self) -> Nanos {
        self.hours.values().fold(Nanos::ZERO, |sum, part| sum.saturating_add(part.expected))
    }

    pub fn excess(&self) -> Nanos {
        self.actual().saturating_sub(self.expected())
    }

    /// What a node's hour would have cost; what was new when the episode opened has no normal while it lasts.
    pub(crate) fn normal_of(&self, judged: &Judged) -> f64 {
        if self.stage == Stage::New { 0.0 } else { judged.expected_on(channel_of(self.kind)) }
    }

    /// Whether it holds an hour of a node.
    pub(crate) fn is_of(&self, scope: &Scope, hour: Hour) -> bool {
        self.scope == *scope && self.hours.contains_key(&hour)
    }

    pub fn provisional(&self) -> bool {
        self.hours.values().any(|part| part.provisional)
    }
}

/// The channel that an episode is measured on.
pub(crate) fn channel_of(kind: AlertKind) -> Channel {
    match kind {
        AlertKind::SpendDrop => Channel::Below,
        AlertKind::Sustained => Channel::Hours,
        AlertKind::LevelShift => Channel::Level,
        _ => Channel::Bucket,
    }
}

/// Adds what has arrived in an open hour to the episodes it belongs to. Returns the ids that have changed.
pub(crate) fn grow(
    state: &mut AccountState,
    account: &Account,
    hour: Hour,
    touched: &[NodeId],
    spikes: &[Judged],
    moment: Moment<'_>,
    effects: &mut Vec<Effect>,
) -> Vec<String> {
    let local = judge::local_hour_of(moment.rules, &account.team, hour);
    let is_spiking = |episode: &Episode| {
        spikes.iter().any(|spike| spike.scope == episode.scope)
            || (episode.is_held() && state.get(&episode.scope).is_some_and(|node| hold::persists(episode, node, hour, local)))
            || (!spikes.is_empty()
                && judge::judge(state, account, &episode.scope, hour, local, moment.rules)
                    .is_some_and(|own| select::carries(episode, &own, spikes.iter())))
    };
    let open: Vec<(String, Scope, bool)> = state
        .unfinished()
        // What a token costs is told when the hour is complete.
        .filter(|episode| {
            !episode.is_of_fall()
                && !episode.is_of_ratio()
                && state.id_of(&episode.scope).is_some_and(|id| touched.binary_search(&id).is_ok())
        })
        .filter(|episode| episode.hours.contains_key(&hour) || is_spiking(episode))
        .map(|episode| (episode.id.clone(), episode.scope.clone(), episode.hours.contains_key(&hour)))
        .collect();
    let mut changed = Vec::new();
    for (id, scope, known_hour) in open {
        let Some(judged) = judge::judge(state, account, &scope, hour, local, moment.rules) else { continue };
        let actual = state.get(&scope).map_or(Nanos::ZERO, |node| node.hour(hour).cost);
        let held = state.episodes.get(&id).filter(|episode| episode.is_held()).zip(state.get(&scope));
        let held_normal = held.map(|(episode, node)| hold::normal_of(episode, node, local));
        // Only what the guard has seen asks how far the hour is, which takes a look at every leaf.
        let is_guarded =
            |episode: &Episode| episode.guard_hour == Some(hour) && episode.hours.get(&hour).is_some_and(|part| part.provisional);
        let elapsed = state.episodes.get(&id).is_some_and(|episode| is_guarded(episode)).then(|| record::elapsed(state, &scope, hour));
        let Some(episode) = state.episodes.get_mut(&id) else { continue };
        let expected = match episode.hours.get(&hour) {
            Some(_) if let Some(elapsed) = elapsed => from_units(episode.normal_of(&judged) * elapsed),
            Some(part) if known_hour => part.expected,
            _ if held_normal.is_some() => from_units(held_normal.unwrap_or(0.0)),
            _ => from_units(episode.normal_of(&judged)),
        };
        episode.hours.insert(hour, HourExcess { actual, expected, provisional: true });
        episode.quiet_hours = 0;
        changed.push(id.clone());
        let episode = episode.clone();
        if episode.is_held() {
            if hold::is_ripe(state, &episode, judge::thresholds(moment.rules, account, &episode.scope)) {
                hold::tell(state, account, &id, hour, moment, effects);
            }
        } else if worth_telling(state, account, &id, moment) {
            emit(state, account, &id, hour, AlertState::Updated, true, moment, effects);
        }
    }
    changed
}

/// Grown by the configured factor since people were last told, or more severe.
fn worth_telling(state: &AccountState, account: &Account, id: &str, moment: Moment<'_>) -> bool {
    let Some(episode) = state.episodes.get(id) else { return false };
    let limits = judge::thresholds(moment.rules, account, &episode.scope);
    let hour = episode.hours.last_key_value().map_or(episode.onset.hour(), |(hour, _)| *hour);
    let is_patient = moment.books.get(&account.team).is_some_and(|book| book.is_patient(episode, hour, moment.settling_ms()));
    let was_patient = matches!(episode.state, AlertState::Acknowledged | AlertState::Expected);
    let growth = if is_patient { limits.update_growth * limits.update_growth } else { limits.update_growth };
    let grown = to_units(episode.excess()).abs() >= growth * to_units(episode.told_excess).abs();
    grown || (was_patient && !is_patient) || record::severity(episode, limits) > episode.severity
}

/// Final word on an hour: confirms, extends, ends or takes back open episodes, then opens new ones. Returns the ids that have changed.
/// `still_used`: what `drop::still_used` says.
#[expect(clippy::too_many_arguments, reason = "all that is known of an hour")]
pub(crate) fn close_hour(
    state: &mut AccountState,
    account: &Account,
    hour: Hour,
    local: LocalHour,
    judged: &[Judged],
    still_used: &[Scope],
    moment: Moment<'_>,
    effects: &mut Vec<Effect>,
) -> Vec<String> {
    let mut changed = Vec::new();
    let going_on: Vec<String> = state.unfinished().map(|episode| episode.id.clone()).collect();
    for id in going_on {
        settle_hour(state, account, &id, hour, local, judged, moment, effects);
        changed.push(id);
    }
    for trigger in ratio::triggers(state, account, hour, judged, moment) {
        changed.extend(open(state, account, hour, trigger, false, moment, effects));
    }
    let firing: Vec<Judged> = judged.iter().filter(|judged| judged.verdict.fires).cloned().collect();
    for chosen in select::lowest(state, account, hour, local, &firing, moment) {
        let moved = moved::is_move(state, account, &chosen, hour, local, 1.0, moment);
        let trigger = Trigger { moved, ..Trigger::spike(chosen) };
        changed.extend(open(state, account, hour, trigger, false, moment, effects));
    }
    for trigger in ramp::triggers(state, account, hour, local, judged, moment) {
        changed.extend(open(state, account, hour, trigger, false, moment, effects));
    }
    for trigger in drop::triggers(state, account, hour, judged, still_used, moment) {
        changed.extend(open(state, account, hour, trigger, false, moment, effects));
    }
    changed.extend(forget_old(state, hour));
    changed
}

/// Whether an hour belongs to an episode: then, what it would have cost.
#[expect(clippy::too_many_arguments, reason = "all that is known of an hour")]
fn abnormal(
    state: &AccountState,
    account: &Account,
    episode: &Episode,
    judged: &Judged,
    hour: Hour,
    local: LocalHour,
    all: &[Judged],
    moment: Moment<'_>,
) -> Option<f64> {
    if episode.is_of_ratio() {
        return ratio::goes_on(state, episode, hour);
    }
    if episode.is_of_fall() {
        return drop::goes_on(episode, judged);
    }
    if let Some(usual) = ramp::goes_on(state, episode, judged, hour) {
        return Some(usual);
    }
    if episode.is_held()
        && let Some(node) = state.get(&episode.scope).filter(|node| hold::persists(episode, node, hour, local))
    {
        return Some(hold::normal_of(episode, node, local));
    }
    // A move that has become more spend is another matter, and told as one.
    if episode.kind == AlertKind::SpendMoved && !moved::is_move(state, account, judged, hour, local, 1.0, moment) {
        return None;
    }
    // A new level is seen from less far than a spike goes on.
    let is_beyond =
        |judged: &Judged| judged.verdict.channel != Channel::Level || judged.actual >= verdict::LASTS * judged.expectation.calendar;
    let counts = |judged: &Judged| is_abnormal(judged, account, moment) && (episode.kind == AlertKind::LevelShift || is_beyond(judged));
    let mut abnormal = all.iter().filter(|judged| counts(judged));
    let goes_on = counts(judged)
        || select::carries(episode, judged, &mut abnormal)
        || (episode.guard_hour == Some(hour) && is_dear(state, episode, judged, hour));
    goes_on.then(|| episode.normal_of(judged))
}

#[expect(clippy::too_many_arguments, reason = "all that is known of an hour")]
fn settle_hour(
    state: &mut AccountState,
    account: &Account,
    id: &str,
    hour: Hour,
    local: LocalHour,
    all: &[Judged],
    moment: Moment<'_>,
    effects: &mut Vec<Effect>,
) {
    let Some(scope) = state.episodes.get(id).map(|episode| episode.scope.clone()) else { return };
    let Some(judged) = all.iter().find(|judged| judged.scope == scope) else { return };
    let limits = judge::thresholds(moment.rules, account, &scope);
    let actual = state.get(&scope).map_or(Nanos::ZERO, |node| node.hour(hour).cost);
    let normal_of_abnormal = state.episodes.get(id).and_then(|episode| abnormal(state, account, episode, judged, hour, local, all, moment));
    let Some(episode) = state.episodes.get_mut(id) else { return };
    if hour.end() <= episode.onset {
        return;
    }
    if let Some(expected) = normal_of_abnormal {
        let was_provisional = episode.provisional();
        let expected = from_units(expected);
        episode.hours.insert(hour, HourExcess { actual, expected, provisional: false });
        episode.quiet_hours = 0;
        let episode = episode.clone();
        if episode.is_held() {
            if hold::is_ripe(state, &episode, judge::thresholds(moment.rules, account, &episode.scope)) {
                hold::tell(state, account, id, hour, moment, effects);
            }
            return;
        }
        let tell = worth_telling(state, account, id, moment);
        if tell || was_provisional {
            emit(state, account, id, hour, AlertState::Updated, tell, moment, effects);
        }
        return;
    }
    if episode.is_held() {
        // The guard's window may begin in the hour before its first one.
        if episode.hours.first_key_value().is_none_or(|(first, _)| *first <= hour) {
            state.episodes.remove(id);
        }
        return;
    }
    let taken_back = episode.hours.remove(&hour).is_some();
    episode.quiet_hours = episode.quiet_hours.saturating_add(1);
    if episode.hours.is_empty() {
        episode.closed_at = Some(hour.end());
        take_back(state, account, id, hour, moment, effects);
    } else if episode.quiet_hours >= limits.quiet_hours_to_close || episode.kind == AlertKind::SpendMoved {
        episode.closed_at = Some(hour.end());
        emit(state, account, id, hour, AlertState::Resolved, true, moment, effects);
    } else if taken_back {
        emit(state, account, id, hour, AlertState::Amended, false, moment, effects);
    }
}

/// It was none, and costs the team's budget nothing.
fn take_back(state: &mut AccountState, account: &Account, id: &str, hour: Hour, moment: Moment<'_>, effects: &mut Vec<Effect>) {
    let Some(taken_back) = state.episodes.get(id).cloned() else { return };
    if class(taken_back.kind) == 0 && taken_back.state != AlertState::Reopened {
        spend(state, account, &taken_back, hour, -1.0, moment);
    }
    emit(state, account, id, hour, AlertState::Retracted, true, moment, effects);
}

/// What the guard has seen stands if the hour has cost more than usual, with the one before it where the window began.
fn is_dear(state: &AccountState, episode: &Episode, judged: &Judged, hour: Hour) -> bool {
    let history = state.get(&episode.scope).map(|node| &node.closed.history);
    let before = history.filter(|_| episode.onset.hour() < hour).and_then(|history| history.at(Hour(hour.0 - 1)));
    let before = before.and_then(|point| Some(f64::from(point.actual - point.band?.0)));
    judged.actual - episode.normal_of(judged) + before.unwrap_or(0.0).max(0.0) > 0.0
}

/// Fires, or has not come back into its band.
fn is_abnormal(judged: &Judged, account: &Account, moment: Moment<'_>) -> bool {
    let limits = judge::thresholds(moment.rules, account, &judged.scope);
    verdict::is_abnormal(&judged.verdict, &judged.expectation, judged.actual, limits)
}

/// A late amount changes what an episode's hour cost. Returns the ids that have changed.
pub(crate) fn amend(
    state: &mut AccountState,
    account: &Account,
    leaf: &Scope,
    hour: Hour,
    partial: &Partial,
    moment: Moment<'_>,
    effects: &mut Vec<Effect>,
) -> Vec<String> {
    let concerned = |episode: &&Episode| leaf.within(&episode.scope) && episode.hours.contains_key(&hour);
    let ids: Vec<String> = state.episodes.values().map(|episode| &**episode).filter(concerned).map(|episode| episode.id.clone()).collect();
    for id in &ids {
        let Some(episode) = state.episodes.get_mut(id) else { continue };
        let least = judge::thresholds(moment.rules, account, &episode.scope).least_excess;
        let was_worth_telling = episode.excess() >= least;
        if let Some(part) = episode.hours.get_mut(&hour) {
            part.actual = part.actual.saturating_add(partial.cost);
        }
        let is_refunded = partial.cost < Nanos::ZERO && class(episode.kind) == 0 && was_worth_telling && episode.excess() < least;
        if is_refunded && !episode.is_held() && !episode.provisional() && episode.state != AlertState::Retracted {
            // So little would not have been told.
            episode.hours.clear();
            episode.closed_at = episode.closed_at.or(Some(hour.end()));
            take_back(state, account, id, hour, moment, effects);
        } else {
            tell_amended(state, account, id, hour, moment, effects);
        }
    }
    ids
}

/// Late amounts have made an hour abnormal that no episode holds: it belongs to those that go on about the same. Returns the ids that have
/// changed.
pub(crate) fn add_closed_hour(
    state: &mut AccountState,
    account: &Account,
    hour: Hour,
    local: LocalHour,
    firing: &[Judged],
    moment: Moment<'_>,
    effects: &mut Vec<Effect>,
) -> Vec<String> {
    let own = |episode: &Episode| {
        let own = judge::judge(state, account, &episode.scope, hour, local, moment.rules)?;
        let is_about = firing.iter().any(|judged| judged.scope.within(&episode.scope)) || select::carries(episode, &own, firing.iter());
        is_about.then(|| (episode.id.clone(), episode.scope.clone(), episode.normal_of(&own)))
    };
    let goes_on = |episode: &&Episode| !episode.is_of_fall() && !episode.is_of_ratio() && episode.kind != AlertKind::SpendMoved;
    let concerned = state.unfinished().filter(goes_on).filter(|episode| !select::is_slow(episode, hour));
    let concerned: Vec<(String, Scope, f64)> = concerned.filter_map(own).collect();
    for (id, scope, expected) in &concerned {
        let part = HourExcess { actual: state.cost_of(scope, hour), expected: from_units(*expected), provisional: false };
        let Some(episode) = state.episodes.get_mut(id) else { continue };
        episode.hours.insert(hour, part);
        episode.onset = episode.onset.min(hour.start());
        episode.quiet_hours = episode.quiet_hours.min(hours_since(hour, moment));
        tell_amended(state, account, id, hour, moment, effects);
    }
    concerned.into_iter().map(|(id, ..)| id).collect()
}

/// Late amounts are told where they bring news, and where they make what was held worth telling.
fn tell_amended(state: &mut AccountState, account: &Account, id: &str, hour: Hour, moment: Moment<'_>, effects: &mut Vec<Effect>) {
    let Some(episode) = state.episodes.get(id).cloned() else { return };
    if !episode.is_held() {
        let tell = episode.is_open() && worth_telling(state, account, id, moment);
        let next = if tell { AlertState::Updated } else { AlertState::Amended };
        emit(state, account, id, hour, next, tell, moment, effects);
    } else if hold::is_ripe(state, &episode, judge::thresholds(moment.rules, account, &episode.scope)) {
        hold::tell(state, account, id, hour, moment, effects);
    }
}

/// Drops what closed so long ago that nothing can amend it any more.
fn forget_old(state: &mut AccountState, hour: Hour) -> Vec<String> {
    let old = |episode: &Episode| episode.closed_at.is_some_and(|closed| hour.start().0 - closed.0 > KEEP_CLOSED_MS);
    let ids: Vec<String> = state.episodes.values().filter(|episode| old(episode)).map(|episode| episode.id.clone()).collect();
    for id in &ids {
        state.episodes.remove(id);
    }
    ids
}

/// Writes the next revision of an alert. `tell`: it brings news, growth is measured from here.
#[expect(clippy::too_many_arguments, reason = "the one place where a revision is made")]
pub(super) fn emit(
    state: &mut AccountState,
    account: &Account,
    id: &str,
    hour: Hour,
    next: AlertState,
    tell: bool,
    moment: Moment<'_>,
    effects: &mut Vec<Effect>,
) {
    // Of an hour that does not belong to it, also its last words, the causes say nothing.
    if state.episodes.get(id).is_some_and(|episode| episode.hours.contains_key(&hour)) {
        record::explain(state, account, id, hour, moment);
    }
    restate(state, account, id, hour, next, tell, moment, effects);
}

/// The next revision, with the causes as they are.
#[expect(clippy::too_many_arguments, reason = "the one place where a revision is made")]
pub(crate) fn restate(
    state: &mut AccountState,
    account: &Account,
    id: &str,
    hour: Hour,
    next: AlertState,
    tell: bool,
    moment: Moment<'_>,
    effects: &mut Vec<Effect>,
) {
    let Some(episode) = state.episodes.get_mut(id) else { return };
    let limits = judge::thresholds(moment.rules, account, &episode.scope);
    episode.revision = episode.revision.saturating_add(1);
    episode.severity = episode.severity.max(record::severity(episode, limits));
    let before = episode.state;
    episode.state = moment.books.get(&account.team).map_or(next, |book| book.state_of(episode, next, hour, moment.settling_ms()));
    if tell {
        episode.told_excess = episode.excess();
    }
    let mut episode = episode.clone();
    // Whoever was told nothing of its beginning need not hear of its end.
    let is_expected = |state: AlertState| state == AlertState::Expected;
    episode.notify &= !is_expected(episode.state) && (!is_expected(before) || episode.is_open());
    if let Some(alert) = record::alert(state, account, &episode, hour, moment) {
        effects.push(Effect::Alert(Box::new(alert)));
    }
}
