//! How an episode begins: why, at which node, under which id, and whether people are told.

use std::collections::BTreeMap;

use super::super::Moment;
use super::super::account::AccountState;
use super::super::baseline::Channel;
use super::super::detect::runaway::Runaway;
use super::super::judge::{self, Judged};
use super::super::series::{from_units, to_units};
use super::episode::{Episode, HourExcess, emit};
use super::{drop, hold, ramp, record, select, words};
use crate::model::alert::{AlertKind, AlertState, Severity, Stage};
use crate::model::effect::Effect;
use crate::model::leaf::{Account, Scope};
use crate::model::money::Nanos;
use crate::model::time::{HOUR_MS, Hour, Timestamp};

/// Why an episode opens, at which node.
pub(crate) struct Trigger {
    pub judged: Judged,
    pub runaway: Option<Runaway>,
    /// Of the guard on the cost per token.
    pub ratio: Option<AlertKind>,
    /// Another node spends less by as much.
    pub moved: bool,
    /// The first abnormal hour, if it is not the one that is judged.
    pub since: Option<Hour>,
    /// Needs no second hour to be believed.
    pub at_once: bool,
}

impl Trigger {
    pub fn spike(judged: Judged) -> Trigger {
        Trigger { judged, runaway: None, ratio: None, moved: false, since: None, at_once: false }
    }

    pub fn runaway(judged: Judged, runaway: Runaway) -> Trigger {
        Trigger { runaway: Some(runaway), ..Trigger::spike(judged) }
    }

    pub fn ratio(judged: Judged, kind: AlertKind, since: Hour) -> Trigger {
        Trigger { ratio: Some(kind), since: Some(since), ..Trigger::spike(judged) }
    }

    fn kind(&self) -> AlertKind {
        match (self.ratio, &self.runaway, self.judged.verdict.channel) {
            (Some(kind), ..) => kind,
            _ if self.moved => AlertKind::SpendMoved,
            (None, Some(_), _) => AlertKind::Runaway,
            (None, None, Channel::Bucket) => AlertKind::SpendSpike,
            (None, None, Channel::Below) => AlertKind::SpendDrop,
            (None, None, Channel::Hours | Channel::Day) => AlertKind::Sustained,
            (None, None, Channel::Level) => AlertKind::LevelShift,
        }
    }

    fn onset(&self, hour: Hour) -> Timestamp {
        match &self.runaway {
            Some(runaway) => runaway.onset.start(),
            None => self.since.unwrap_or(hour).start(),
        }
    }
}

/// Opens an episode, or reopens the one that closed at this node within the refractory time. Returns the ids that have changed.
pub(crate) fn open(
    state: &mut AccountState,
    account: &Account,
    hour: Hour,
    trigger: Trigger,
    provisional: bool,
    moment: Moment<'_>,
    effects: &mut Vec<Effect>,
) -> Vec<String> {
    let scope = trigger.judged.scope.clone();
    let kind = trigger.kind();
    let mut episode = begun(state, account, hour, &trigger, moment);
    let expected_units = trigger.judged.expected();
    let is_guarded = provisional && trigger.runaway.is_some();
    let expected = from_units(if is_guarded { expected_units * record::elapsed(state, &scope, hour) } else { expected_units });
    let actual = state.cost_of(&scope, hour);
    episode.quiet_hours = hours_since(hour, moment);
    episode.hours.insert(hour, HourExcess { actual, expected, provisional });
    if episode.is_of_fall()
        && let Some(node) = state.get(&scope)
    {
        drop::add_earlier_hours(&mut episode, node, trigger.judged.actual, hour);
    }
    if episode.kind == AlertKind::LevelShift && trigger.since.is_some() {
        ramp::add_earlier_hours(&mut episode, state, trigger.judged.actual, expected_units, hour);
    }
    episode.guard_hour = trigger.runaway.as_ref().map(|_| hour).or(episode.guard_hour);
    episode.notify = told_to_people(state, account, hour, &trigger, moment);
    episode.score = trigger.judged.verdict.score;
    episode.stage = trigger.judged.expectation.stage;
    episode.normal = words::normal(&trigger.judged.expectation, account, hour, moment.rules);
    if is_allowed(state, account, hour, &trigger, (to_units(actual), expected_units), moment) {
        return Vec::new();
    }
    let id = episode.id.clone();
    // A fall says nothing about a rise that is held.
    let held = state.unfinished().filter(|held| held.is_held() && !episode.is_of_fall() && select::is_about(held, &scope));
    let held: Vec<&Episode> = held.collect();
    let is_part = held.iter().any(|held| scope.within(&held.scope));
    let held: Vec<String> = held.into_iter().map(|held| held.id.clone()).collect();
    if hold::waits(state, &episode, &trigger, judge::thresholds(moment.rules, account, &scope)) {
        if is_part {
            return Vec::new();
        }
        // A wider one takes the place of its parts.
        held.iter().for_each(|held| _ = state.episodes.remove(held));
        state.episodes.insert(id.clone(), Box::new(episode));
        return held.into_iter().chain([id]).collect();
    }
    // What was held is told by this one.
    held.iter().for_each(|held| _ = state.episodes.remove(held));
    let next_state = episode.state;
    if next_state == AlertState::Open && class(kind) == 0 {
        spend(state, account, &episode, hour, 1.0, moment);
    }
    state.episodes.insert(id.clone(), Box::new(episode));
    emit(state, account, &id, hour, next_state, true, moment, effects);
    held.into_iter().chain([id]).collect()
}

/// Whether somebody has said that so much is no anomaly. Words are about hours: a dear token in an hour that costs no more than that is
/// none, either.
fn is_allowed(
    state: &AccountState,
    account: &Account,
    hour: Hour,
    trigger: &Trigger,
    (actual, expected): (f64, f64),
    moment: Moment<'_>,
) -> bool {
    let Some(book) = moment.books.get(&account.team) else { return false };
    let scope = &trigger.judged.scope;
    let local = judge::local_hour_of(moment.rules, &account.team, hour);
    let of_hour = trigger.ratio.and_then(|_| judge::judge(state, account, scope, hour, local, moment.rules));
    let expected = of_hour.map_or(expected, |judged| judged.expected().max(expected));
    book.allows(scope, hour, actual, expected, trigger.kind() == AlertKind::SpendDrop)
}

/// Hours that have closed since one that late amounts have made abnormal; none in any other.
pub(super) fn hours_since(hour: Hour, moment: Moment<'_>) -> u32 {
    moment.closed_through.map_or(0, |closed| u32::try_from(closed.0.saturating_sub(hour.0)).unwrap_or(0))
}

/// A new episode, or the one that closed at this node within the refractory time.
fn begun(state: &AccountState, account: &Account, hour: Hour, trigger: &Trigger, moment: Moment<'_>) -> Episode {
    let scope = &trigger.judged.scope;
    let limits = judge::thresholds(moment.rules, account, scope);
    let refractory_ms = i64::from(limits.refractory_hours) * HOUR_MS;
    let kind = trigger.kind();
    let is_like = |episode: &&Episode| episode.scope == *scope && class(episode.kind) == class(kind);
    let recent =
        state.episodes.values().map(|episode| &**episode).filter(is_like).filter(|episode| !episode.is_open() && !episode.hours.is_empty());
    let again = recent
        // A late hour is of the time before it closed, and begins nothing anew.
        .filter(|episode| episode.closed_at.is_some_and(|closed| closed <= hour.end() && hour.start().0 - closed.0 < refractory_ms))
        .max_by_key(|episode| episode.onset)
        .map(|episode| episode.id.clone());
    let fresh = new_episode(account, hour, trigger, moment);
    // One that was taken back and would be opened again under the same id goes on with its revisions.
    let known = again.and_then(|id| state.episodes.get(&id)).or_else(|| state.episodes.get(&fresh.id));
    let known = known.filter(|known| !known.is_held()).map(|known| (**known).clone());
    match known {
        // The id is frozen, what happened is new.
        Some(known) => Episode {
            state: AlertState::Reopened,
            onset: trigger.onset(hour),
            detected_at: moment.shard_time,
            severity: first_severity(kind),
            closed_at: None,
            quiet_hours: 0,
            hours: BTreeMap::new(),
            told_excess: Nanos::ZERO,
            ..known
        },
        None => fresh,
    }
}

/// Takes an alert off the team's budget, or gives it back. What is certain, or expected, costs nothing.
pub(super) fn spend(state: &mut AccountState, account: &Account, episode: &Episode, hour: Hour, alerts: f64, moment: Moment<'_>) {
    let is_expected = moment.books.get(&account.team).is_some_and(|book| book.is_patient(episode, hour, moment.settling_ms()));
    let limits = judge::thresholds(moment.rules, account, &Scope::Team);
    if let Some(born) = state.born().filter(|_| !is_expected) {
        state.budget.spend(hour, limits.alerts_per_team_month, born, alerts);
    }
}

/// Kinds that go on as one another.
pub(super) fn class(kind: AlertKind) -> u8 {
    match kind {
        AlertKind::SpendSpike | AlertKind::Runaway | AlertKind::Sustained | AlertKind::LevelShift => 0,
        AlertKind::PriceChange | AlertKind::ModelSwitch => 1,
        AlertKind::SpendMoved => 2,
        AlertKind::SpendDrop => 3,
        // A matter is no episode.
        _ => 4,
    }
}

fn first_severity(kind: AlertKind) -> Severity {
    if matches!(kind, AlertKind::SpendMoved | AlertKind::SpendDrop) { Severity::Info } else { Severity::Warning }
}

fn new_episode(account: &Account, hour: Hour, trigger: &Trigger, moment: Moment<'_>) -> Episode {
    let onset = trigger.onset(hour);
    let scope = trigger.judged.scope.clone();
    let kind = trigger.kind();
    let scope_name = scope.to_string();
    let about: [&[u8]; 5] = [
        account.measure.as_str().as_bytes(),
        account.currency.as_str().as_bytes(),
        kind.as_str().as_bytes(),
        scope_name.as_bytes(),
        &onset.0.to_be_bytes(),
    ];
    Episode {
        id: super::id(&account.team, &about),
        scope,
        kind,
        state: AlertState::Open,
        severity: first_severity(kind),
        revision: 0,
        onset,
        detected_at: moment.shard_time,
        closed_at: None,
        hours: BTreeMap::new(),
        quiet_hours: 0,
        guard_hour: None,
        told_excess: Nanos::ZERO,
        score: 0.0,
        stage: Stage::New,
        normal: String::new(),
        causes: Vec::new(),
        unexplained: 1.0,
        notify: false,
    }
}

/// Quiet by default: a team's first 24 hours mail nothing but the guard; a team under observation mails nothing at all.
fn told_to_people(state: &AccountState, account: &Account, hour: Hour, trigger: &Trigger, moment: Moment<'_>) -> bool {
    let observed = moment.rules.team(&account.team).is_some_and(|rule| rule.observe);
    let known_for = state.born().map_or(0, |born| hour.0 - born.0);
    !observed && !trigger.moved && (trigger.runaway.is_some() || known_for >= 24)
}
