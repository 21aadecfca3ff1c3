//! What people have said about alerts and announced about spend: what of it holds, for which series, until when.
//!
//! `take` is what an event does; the rest of the room asks a [`Book`]. Everything in it ends by itself, in event time, so that a replay of
//! the same log forgets at the same hour.

pub(in crate::watch) mod early;
mod take;
#[cfg(test)]
mod tests;
mod unmatched;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub(crate) use self::take::{end_of_hour, take};
pub(in crate::watch) use self::unmatched::Waiting;
pub use self::unmatched::{Unmatched, Why};
use super::alert::episode::Episode;
use super::series::to_units;
use crate::model::Text;
use crate::model::alert::{AlertState, Said, Severity};
use crate::model::feedback::{LONGEST_MS, Verdict};
use crate::model::leaf::Scope;
use crate::model::time::{DAY_MS, HOUR_MS, Hour, Timestamp};
use crate::watch::state::{StateError, from_payload};

/// How long something holds of which nobody said how long, by verdict; an acknowledgement ends with its alert.
const EXPECTED_MS: i64 = 7 * DAY_MS;
const PLANNED_MS: i64 = DAY_MS;
const NOT_AN_ANOMALY_MS: i64 = 28 * DAY_MS;
/// What is no anomaly may come so much larger again.
const ROOM: f64 = 1.25;
/// ... and is at least this many times its normal.
const LEAST_LIMIT: f64 = 2.0;
/// Who looks after an alert hears of it again when it has come to more than so many times what it was.
const MOST_GROWTH: f64 = 2.0;
/// ... and not before it has gone on for so long at the pace that it had.
const PATIENCE_MS: i64 = 2 * HOUR_MS;
/// The limit of a fall: it may fall again, and not rise.
const OF_FALL: f64 = 0.0;
/// A team's standing words; of more, the one that ends first goes.
const MOST_STANDING: usize = 100;
/// Teams of which something may stand: names of teams come from outside.
const MOST_TEAMS: usize = 10_000;
/// Words about one alert, matter or violation that are kept with it, the latest ones.
pub(in crate::watch) const MOST_SAID: usize = 20;

/// Events of a team by which a second sending is known, the latest ones, and for how long at least while there are fewer.
const MOST_HEARD: usize = 64;
const HEARD_FOR_MS: i64 = 7 * DAY_MS;

/// Keeps a word beside those that were said before, oldest first.
pub(in crate::watch) fn note(said: &mut Vec<Said>, word: Said) {
    said.push(word);
    let beyond = said.len().saturating_sub(MOST_SAID);
    said.drain(..beyond);
}

/// By team.
pub(crate) type Books = BTreeMap<Text, Book>;

/// What the people of a team have said, as far as it still matters: one changelog key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Book {
    standing: Vec<Standing>,
    /// By alert, oldest first; kept as long as the alert is.
    said: BTreeMap<String, Vec<Said>>,
    /// Which events were heard, and when each was said.
    heard: Vec<(u128, Timestamp)>,
}

/// A verdict that holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Standing {
    verdict: Verdict,
    /// The alert that it was said about, if it was said about one.
    alert: Option<String>,
    /// Of the series that it is about; what is not named matches everything.
    dimensions: BTreeMap<String, String>,
    from: Timestamp,
    until: Timestamp,
    /// Of what is no anomaly: so many times its normal a series may take. Where nothing was normal no multiple says anything: below zero,
    /// so much money instead. Of a fall: [`OF_FALL`]. Of an acknowledgement: the most money, up or down, that somebody looks after by it.
    limit: f64,
    /// Of an acknowledgement: what was known when it was given.
    severity: Severity,
    said: Said,
}

impl Standing {
    fn holds(&self, hour: Hour) -> bool {
        self.from < hour.end() && hour.start() < self.until
    }

    fn is_about(&self, scope: &Scope) -> bool {
        let own = scope.dimensions();
        self.dimensions.iter().all(|(name, value)| own.get(name) == Some(value))
    }

    /// Of what is no anomaly; a word about a rise says nothing about a fall, nor the other way round.
    fn allows(&self, actual: f64, expected: f64, is_fall: bool) -> bool {
        match self.limit {
            OF_FALL => is_fall,
            limit if limit < 0.0 => !is_fall && actual <= -limit,
            limit => !is_fall && actual <= limit * expected,
        }
    }
}

impl Book {
    /// # Errors
    /// Bytes of no form that was ever written.
    pub fn restored(payload: &[u8]) -> Result<Book, StateError> {
        // Before it was known what was heard, it ended before that: nothing was.
        from_payload(payload).or_else(|_: StateError| from_payload(&[payload, &[0]].concat()))
    }

    /// As state of version 4 and before has it: acknowledgements had no limit.
    pub fn without_limits(mut self) -> Book {
        let acknowledged = self.standing.iter_mut().filter(|standing| standing.verdict == Verdict::Ack);
        acknowledged.for_each(|standing| standing.limit = f64::INFINITY);
        self
    }

    fn is_empty(&self) -> bool {
        self.standing.is_empty() && self.said.is_empty() && self.heard.is_empty()
    }

    fn has_heard(&self, identity: u128) -> bool {
        self.heard.iter().any(|(known, _)| *known == identity)
    }

    fn hear(&mut self, identity: u128, said_at: Timestamp) {
        self.heard.push((identity, said_at));
        let beyond = self.heard.len().saturating_sub(MOST_HEARD);
        self.heard.drain(..beyond);
    }

    fn holding(&self, hour: Hour) -> impl Iterator<Item = &Standing> {
        self.standing.iter().filter(move |standing| standing.holds(hour))
    }

    /// The word by which a series' excess is expected in an hour. What is announced from the moment at which it is said is about what goes on
    /// by then: an hour that is settled some minutes later does not undo it. `settling_ms`: for how long after its end an hour may be settled.
    fn expects(&self, scope: &Scope, hour: Hour, settling_ms: i64) -> Option<&Standing> {
        let is_said = |standing: &&Standing| matches!(standing.verdict, Verdict::Expected | Verdict::Planned) && standing.is_about(scope);
        let goes_on = |standing: &Standing| {
            let is_being_settled = standing.from.0 - hour.end().0 <= settling_ms;
            is_being_settled && standing.from <= standing.said.said_at && hour.start() < standing.until
        };
        self.standing.iter().filter(is_said).find(|standing| standing.holds(hour) || goes_on(standing))
    }

    /// The word by which somebody looks after an alert, unless it has become worse since.
    fn acknowledges(&self, episode: &Episode, hour: Hour) -> Option<&Standing> {
        let is_no_worse =
            |standing: &&Standing| episode.severity <= standing.severity && to_units(episode.excess()).abs() <= standing.limit;
        let mut acknowledged =
            self.holding(hour).filter(|standing| standing.verdict == Verdict::Ack && standing.alert.as_ref() == Some(&episode.id));
        acknowledged.find(is_no_worse)
    }

    /// Whether somebody has said that so much, or of a fall that so little, is normal for this series.
    pub fn allows(&self, scope: &Scope, hour: Hour, actual: f64, expected: f64, is_fall: bool) -> bool {
        let mut held = self.holding(hour).filter(|standing| standing.verdict == Verdict::NotAnAnomaly);
        held.any(|standing| standing.is_about(scope) && standing.allows(actual, expected, is_fall))
    }

    /// Whether a series, a part of it or what it is a part of is expected to stray in an hour: then nothing is to be learnt from it.
    pub fn sets_aside(&self, scope: &Scope, hour: Hour) -> bool {
        let mut held = self.holding(hour).filter(|standing| matches!(standing.verdict, Verdict::Expected | Verdict::Planned));
        held.any(|standing| standing.is_about(scope) || may_hold(scope, &standing.dimensions))
    }

    /// The state of an alert's next revision, in the light of what was said.
    pub fn state_of(&self, episode: &Episode, next: AlertState, hour: Hour, settling_ms: i64) -> AlertState {
        if matches!(next, AlertState::Resolved | AlertState::Retracted) || !episode.is_open() {
            next
        } else if self.expects(&episode.scope, hour, settling_ms).is_some() {
            AlertState::Expected
        } else if self.acknowledges(episode, hour).is_some() {
            AlertState::Acknowledged
        } else if next == AlertState::Updated && matches!(episode.state, AlertState::Expected | AlertState::Acknowledged) {
            // It goes on, and what was said about it no longer holds.
            AlertState::Reopened
        } else {
            next
        }
    }

    /// An alert that somebody looks after, or expects, is not sent again because it goes on.
    pub fn is_patient(&self, episode: &Episode, hour: Hour, settling_ms: i64) -> bool {
        self.expects(&episode.scope, hour, settling_ms).or_else(|| self.acknowledges(episode, hour)).is_some()
    }

    /// What was said about an alert, and what was announced that it falls under; oldest first.
    pub fn said_about(&self, episode: &Episode) -> Vec<Said> {
        let mut all = self.said.get(&episode.id).cloned().unwrap_or_default();
        let announced = self.standing.iter().filter(|standing| standing.alert.is_none() && standing.is_about(&episode.scope));
        for standing in announced.filter(|standing| episode.hours.keys().any(|hour| standing.holds(*hour))) {
            if !all.contains(&standing.said) {
                all.push(standing.said.clone());
            }
        }
        all.sort_by_key(|said| said.said_at);
        all
    }

    fn note(&mut self, alert: &str, word: Said) {
        note(self.said.entry(alert.to_string()).or_default(), word);
    }

    fn stand(&mut self, standing: Standing) {
        self.standing.push(standing);
        if self.standing.len() > MOST_STANDING
            && let Some(first) = (0..self.standing.len()).min_by_key(|at| self.standing[*at].until)
        {
            self.standing.remove(first);
        }
    }

    /// Takes back what was said about an alert, or about the same spend.
    fn withdraw(&mut self, alert: Option<&str>, dimensions: &BTreeMap<String, String>) -> bool {
        let before = self.standing.len();
        self.standing.retain(|standing| match alert {
            Some(id) => standing.alert.as_deref() != Some(id),
            None => standing.dimensions != *dimensions,
        });
        self.standing.len() < before
    }
}

/// Whether what dimensions name may be a part of a series: they contradict it in nothing.
fn may_hold(scope: &Scope, dimensions: &BTreeMap<String, String>) -> bool {
    scope.dimensions().iter().all(|(name, value)| dimensions.get(name).is_none_or(|named| named == value))
}

/// From when until when a verdict holds.
pub(super) fn span(verdict: Verdict, said_at: Timestamp, from: Option<Timestamp>, until: Option<Timestamp>) -> (Timestamp, Timestamp) {
    let from = from.unwrap_or(said_at);
    let usual = match verdict {
        Verdict::Ack | Verdict::Reopen => LONGEST_MS,
        Verdict::Expected => EXPECTED_MS,
        Verdict::Planned => PLANNED_MS,
        Verdict::NotAnAnomaly => NOT_AN_ANOMALY_MS,
    };
    let until = until.unwrap_or(from.plus_ms(usual));
    (from, until.min(from.max(said_at).plus_ms(LONGEST_MS)))
}
