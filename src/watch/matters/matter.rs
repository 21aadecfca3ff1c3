//! A matter: something wrong that has one alert id from its first word to its last, and may come back under it. What is told of it goes by
//! what is the case and by what people have said of it (`answers`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::answers::Answers;
use crate::model::alert::{Alert, AlertKind, AlertState, Cause, HistoryPoint, Severity, Stage};
use crate::model::effect::Effect;
use crate::model::leaf::Measure;
use crate::model::money::{Currency, Nanos};
use crate::model::time::{HOUR_MS, Timestamp};
use crate::watch::{Moment, alert, judge};

/// Teams that use a provider less often are seen to be silent from an earlier or later hour on.
const INCIDENT_MS: i64 = 6 * HOUR_MS;

/// What is kept of a matter; all that it is about stands in its room.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Matter {
    pub id: String,
    pub kind: AlertKind,
    pub state: AlertState,
    pub severity: Severity,
    /// Of the last record; never used again.
    pub revision: u32,
    pub onset: Timestamp,
    pub detected_at: Timestamp,
    /// Event time of the last opening.
    pub opened_at: Timestamp,
    pub closed_at: Option<Timestamp>,
    /// Excess as last told.
    pub told_excess: Nanos,
    pub notify: bool,
    /// From here on nothing stands in what versions before answers wrote: see [`restored`](super::answers::restored).
    pub answers: Answers,
    /// What is the case, also while people are told otherwise; told again by whoever answers.
    pub story: Option<Box<Story>>,
}

/// What is to be told now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Story {
    pub kind: AlertKind,
    pub severity: Severity,
    pub onset: Timestamp,
    pub dimensions: BTreeMap<String, String>,
    pub measure: Measure,
    pub currency: Currency,
    pub event_time: Timestamp,
    pub ingest_time: Timestamp,
    pub actual: Nanos,
    pub expected: Nanos,
    /// Actual less expected; negative where money is missed.
    pub excess: Nanos,
    /// Excess per hour, now.
    pub burn_rate: Nanos,
    pub score: f64,
    pub stage: Stage,
    pub normal: String,
    pub summary: String,
    pub causes: Vec<Cause>,
    pub next_steps: Vec<String>,
    pub history: Vec<HistoryPoint>,
}

impl Matter {
    /// It is the case, whatever was said of it.
    pub fn is_open(&self) -> bool {
        self.closed_at.is_none()
    }

    /// ... and people think so.
    pub fn is_told(&self) -> bool {
        self.is_open() && !self.is_dismissed()
    }

    pub fn team(&self) -> &str {
        self.id.rsplit_once('/').map_or("", |(team, _)| team)
    }

    /// Somebody has said that it is none.
    pub fn is_dismissed(&self) -> bool {
        self.state == AlertState::Retracted
    }
}

/// Dimensions, and what else there is to say of a cause.
pub(super) fn with(dimensions: &BTreeMap<String, String>, more: &[(&str, String)]) -> BTreeMap<String, String> {
    let more = more.iter().map(|(name, value)| (name.to_string(), value.clone()));
    dimensions.clone().into_iter().chain(more).collect()
}

/// Tells a matter that is going on: opens it, or says what is new of it. Whether anything was told.
///
/// `id`: what it is about, within the team; hashed. `growth`: the excess has to grow by this factor to be told again.
pub(crate) fn tell(
    slot: &mut Option<Matter>,
    team: &str,
    id: &[&[u8]],
    story: Story,
    growth: f64,
    moment: Moment<'_>,
    effects: &mut Vec<Effect>,
) -> bool {
    let next = match slot {
        None => Some(AlertState::Open),
        Some(matter) if !matter.is_open() => Some(AlertState::Reopened),
        Some(matter) if is_worse(matter.kind, story.kind) || story.severity > matter.severity => Some(AlertState::Escalated),
        Some(matter) if matter.kind != story.kind => Some(AlertState::Updated),
        Some(matter) => matter.has_news(&story, growth, moment).then_some(AlertState::Updated),
    };
    write(slot, team, id, (next, false), story, moment, effects)
}

/// How bad one kind of waste is beside another; `None`: it is none.
fn waste_of(kind: AlertKind) -> Option<u8> {
    match kind {
        AlertKind::IdleResource => Some(0),
        AlertKind::ForgottenResource => Some(1),
        AlertKind::OrphanedResource => Some(2),
        _ => None,
    }
}

/// Whether a matter of one kind has become a worse one. An owner who is back, and what turns out to be used now and then, makes it better.
fn is_worse(before: AlertKind, now: AlertKind) -> bool {
    match (waste_of(before), waste_of(now)) {
        (Some(before), Some(now)) => now > before,
        _ => now != before,
    }
}

/// Tells what is news in any case: opens the matter, or escalates it.
pub(crate) fn advance(slot: &mut Option<Matter>, team: &str, id: &[&[u8]], story: Story, moment: Moment<'_>, effects: &mut Vec<Effect>) {
    let next = match slot {
        None => AlertState::Open,
        Some(matter) if !matter.is_open() => AlertState::Reopened,
        Some(_) => AlertState::Escalated,
    };
    write(slot, team, id, (Some(next), true), story, moment, effects);
}

/// `next`: what is to be told if nobody has said anything, and whether it is news in any case.
fn write(
    slot: &mut Option<Matter>,
    team: &str,
    id: &[&[u8]],
    next: (Option<AlertState>, bool),
    story: Story,
    moment: Moment<'_>,
    effects: &mut Vec<Effect>,
) -> bool {
    let (next, is_news) = next;
    let observed = moment.rules.team(team).is_some_and(|rule| rule.observe);
    let matter = slot.get_or_insert_with(|| Matter {
        id: alert::id(team, id),
        kind: story.kind,
        state: AlertState::Open,
        severity: story.severity,
        revision: 0,
        onset: story.onset,
        detected_at: moment.shard_time,
        opened_at: story.event_time,
        closed_at: None,
        told_excess: Nanos::ZERO,
        notify: !observed,
        answers: Answers::default(),
        story: None,
    });
    if next == Some(AlertState::Reopened) {
        (matter.onset, matter.opened_at) = (story.onset, story.event_time);
        (matter.severity, matter.notify) = (story.severity, !observed);
    }
    let was_open = matter.is_open();
    let is_better = matter.kind != story.kind && !is_worse(matter.kind, story.kind);
    matter.closed_at = None;
    matter.kind = story.kind;
    matter.severity = if is_better { story.severity } else { matter.severity.max(story.severity) };
    let told = matter.answered(next, was_open, is_news, &story, moment.shard_time);
    match told {
        Some(state) => emit(matter, team, state, story, moment, effects),
        None => matter.story = Some(Box::new(story)),
    }
    told.is_some()
}

/// Tells that an open matter is over. Whether it was open.
pub(crate) fn end(
    slot: &mut Option<Matter>,
    team: &str,
    state: AlertState,
    at: Timestamp,
    story: Story,
    moment: Moment<'_>,
    effects: &mut Vec<Effect>,
) -> bool {
    let Some(matter) = slot.as_mut().filter(|matter| matter.is_open()) else { return false };
    end_of(matter, team, state, at, story, moment, effects);
    true
}

/// The end of a matter that is open.
pub(super) fn end_of(
    matter: &mut Matter,
    team: &str,
    state: AlertState,
    at: Timestamp,
    story: Story,
    moment: Moment<'_>,
    effects: &mut Vec<Effect>,
) {
    matter.closed_at = Some(at.max(matter.onset));
    matter.answers.end();
    let story = Story { burn_rate: Nanos::ZERO, next_steps: Vec::new(), ..story };
    if matter.is_dismissed() {
        // It is over for people already.
        matter.story = Some(Box::new(story));
    } else {
        emit(matter, team, state, story, moment, effects);
    }
}

/// Tells that what was said of an open matter has changed. Whether it was open.
pub(crate) fn amend(slot: &mut Option<Matter>, team: &str, story: Story, moment: Moment<'_>, effects: &mut Vec<Effect>) -> bool {
    let Some(matter) = slot.as_mut().filter(|matter| matter.is_open()) else { return false };
    matter.severity = story.severity;
    match matter.answered(Some(AlertState::Amended), true, false, &story, moment.shard_time) {
        Some(state) => emit(matter, team, state, story, moment, effects),
        None => matter.story = Some(Box::new(story)),
    }
    true
}

/// Keeps what is the case of an open matter for whoever answers. Whether that has changed.
pub(crate) fn keep(slot: &mut Option<Matter>, story: Story) -> bool {
    let Some(matter) = slot.as_mut().filter(|matter| matter.is_open()) else { return false };
    let has_changed = matter.story.as_deref() != Some(&story);
    matter.story = Some(Box::new(story));
    has_changed
}

/// Silences of one provider that begin within hours of each other are one incident, whatever teams and shards they are seen in: a gateway
/// or a provider is down, not ten teams.
fn silence_of(provider: &str, onset: Timestamp) -> String {
    let window = onset.0.div_euclid(INCIDENT_MS);
    alert::id(provider, &[b"silence", &window.to_be_bytes()])
}

/// Writes the next revision.
pub(super) fn emit(matter: &mut Matter, team: &str, state: AlertState, story: Story, moment: Moment<'_>, effects: &mut Vec<Effect>) {
    let before = matter.state;
    matter.revision = matter.revision.saturating_add(1);
    matter.state = state;
    matter.told_excess = story.excess;
    matter.story = Some(Box::new(story.clone()));
    let zone = judge::zone_of(moment.rules, team);
    let left_ms = alert::month_end(story.event_time, &zone).map_or(0, |end| end.0.saturating_sub(story.event_time.0).max(0));
    let more = story.burn_rate.checked_mul_div(i128::from(left_ms), i128::from(HOUR_MS)).unwrap_or(Nanos::ZERO);
    let common = story.dimensions.get("provider").filter(|_| matter.kind == AlertKind::ProviderSilent);
    // Whoever was told nothing of its beginning need not hear of its end.
    let is_expected = state == AlertState::Expected || (before == AlertState::Expected && !matter.is_open());
    // Somebody says that it is none: from then on it is over.
    let dismissed_at = Some(moment.shard_time).filter(|_| matter.is_dismissed());
    effects.push(Effect::Alert(Box::new(Alert {
        id: matter.id.clone(),
        incident_id: common.map_or_else(|| matter.id.clone(), |provider| silence_of(provider, matter.onset)),
        revision: matter.revision,
        state,
        kind: matter.kind,
        severity: matter.severity,
        team: team.to_string(),
        dimensions: story.dimensions,
        measure: story.measure,
        currency: story.currency,
        onset: matter.onset,
        event_time: story.event_time,
        ingest_time: story.ingest_time,
        detected_at: matter.detected_at,
        decided_at: moment.shard_time,
        closed_at: matter.closed_at.or(dismissed_at),
        actual: story.actual,
        expected: story.expected,
        excess: story.excess,
        burn_rate_per_hour: story.burn_rate,
        projected_month_end_excess: story.excess.saturating_add(more),
        provisional: false,
        score: story.score,
        stage: story.stage,
        normal: story.normal,
        summary: story.summary,
        unexplained: if story.causes.is_empty() { 1.0 } else { 0.0 },
        causes: story.causes,
        split: None,
        next_steps: story.next_steps,
        history: story.history,
        notify: matter.notify && !is_expected,
        feedback: matter.answers.said.clone(),
        time_zone: moment.rules.time_zone(team).to_string(),
        rules_revision: moment.rules.revision,
    })));
}
