//! What people say of a violation: somebody looks after it, it is accepted until a time, or it is none.
//!
//! A word changes what is told, never what is the case: whether something still violates goes on being known beneath it, so that a violation
//! is open again when the word ends and it still holds. One that lasts (a deployment, a grant) is told at that time; of all others the next
//! event shows that they go on.

use serde::{Deserialize, Serialize};

use super::life::Tracked;
use super::{Key, Violations};
use crate::model::Text;
use crate::model::alert::{AlertState, Said, Severity};
use crate::model::effect::Effect;
use crate::model::feedback::{Feedback, Verdict};
use crate::model::time::Timestamp;
use crate::watch::feedback::{note, span};
use crate::watch::rules::WatchRules;
use crate::watch::shard::Shard;
use crate::watch::state::{StateError, from_payload};

/// What was said of one violation, as far as it still matters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Answers {
    /// Oldest first.
    pub said: Vec<Said>,
    standing: Option<Standing>,
}

/// The word that holds; a later one takes its place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Standing {
    verdict: Verdict,
    from: Timestamp,
    until: Timestamp,
    /// When it was taken, in shard time.
    since: Timestamp,
    /// What was known when it was said.
    severity: Severity,
}

impl Answers {
    /// Until when a word holds.
    pub fn until(&self) -> Option<Timestamp> {
        self.standing.as_ref().map(|standing| standing.until)
    }

    /// When somebody said that it is no violation.
    pub fn dismissed_at(&self) -> Option<Timestamp> {
        self.standing.as_ref().filter(|standing| standing.verdict == Verdict::NotAnAnomaly).map(|standing| standing.since)
    }

    fn holding(&self, at: Timestamp) -> Option<Verdict> {
        self.standing.as_ref().filter(|standing| standing.from <= at && at < standing.until).map(|standing| standing.verdict)
    }
}

/// Takes a person's word on a violation. False: it is about none that is known.
pub(in crate::watch) fn answer(shard: &mut Shard, feedback: &Feedback, said: Said, rules: &WatchRules, effects: &mut Vec<Effect>) -> bool {
    let id = feedback.alert_id.as_deref();
    let Some((key, mut tracked)) = id.and_then(|id| shard.violations.of_id(&feedback.team, id)) else { return false };
    let now = shard.header.watermarks.shard_time();
    tracked.hear(feedback, said, now);
    effects.push(tracked.revise(&key, rules, now));
    shard.violations.keep(key, tracked);
    true
}

/// What was accepted until now and goes on by itself is open again.
pub(super) fn look(shard: &mut Shard, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let now = shard.header.watermarks.shard_time();
    if shard.violations.next_lapse.is_some_and(|next| now < next) {
        return;
    }
    let lasting = |tracked: &Tracked| tracked.answers.until().filter(|_| tracked.lasts && tracked.is_open());
    let due = shard.violations.known.iter().filter(|(_, tracked)| lasting(tracked).is_some_and(|until| until <= now));
    let due: Vec<(Key, Tracked)> = due.map(|(key, tracked)| (key.clone(), tracked.clone())).collect();
    for (key, mut tracked) in due {
        if tracked.lapse(now) {
            effects.extend(tracked.next(AlertState::Reopened, &key, rules, now));
        }
        shard.violations.keep(key, tracked);
    }
    let next = shard.violations.known.values().filter_map(lasting).min();
    shard.violations.next_lapse = Some(next.unwrap_or(Timestamp(i64::MAX)));
}

impl Violations {
    fn of_id(&self, team: &Text, id: &str) -> Option<(Key, Tracked)> {
        let first = Key { team: team.clone(), policy: "".into(), subject: String::new(), currency: None };
        let mut own = self.known.range(first..).take_while(|(known, _)| known.team == *team);
        own.find(|(_, tracked)| tracked.id == id).map(|(key, tracked)| (key.clone(), tracked.clone()))
    }
}

impl Tracked {
    /// # Errors
    /// Bytes of no form that was ever written.
    pub fn restored(payload: &[u8]) -> Result<Tracked, StateError> {
        // Before grants were remembered it ended before them: there are none. Before there were answers, before these: no words, none that
        // holds.
        let ended_with = |missing: &[u8]| from_payload(&[payload, missing].concat());
        from_payload(payload).or_else(|_: StateError| ended_with(&[0])).or_else(|_: StateError| ended_with(&[0, 0, 0]))
    }

    /// The time that a word has to hold at: of what lasts now, else that of the last event.
    pub(super) fn at(&self, now: Timestamp) -> Timestamp {
        if self.lasts { now.max(self.last_seen) } else { self.last_seen }
    }

    fn hear(&mut self, feedback: &Feedback, said: Said, now: Timestamp) {
        let Feedback { verdict, event_time: at, from, until, .. } = *feedback;
        let is_first = self.answers.standing.is_none();
        let (_, ends) = span(verdict, at, from, until);
        note(
            &mut self.answers.said,
            Said { until: Some(ends).filter(|_| !matches!(verdict, Verdict::Ack | Verdict::Reopen)).or(until), ..said },
        );
        match verdict {
            Verdict::Reopen => self.answers.standing = None,
            // Nobody looks after what is over.
            Verdict::Ack if !self.is_open() => {}
            Verdict::Ack | Verdict::Expected | Verdict::Planned | Verdict::NotAnAnomaly => {
                // What is said about a violation holds from its beginning.
                let from = from.unwrap_or(Timestamp(i64::MIN));
                self.answers.standing = Some(Standing { verdict, from, until: ends, since: now, severity: self.severity });
            }
        }
        self.state = match (self.is_open(), self.answers.holding(at)) {
            (_, Some(Verdict::NotAnAnomaly)) => AlertState::Retracted,
            // What is over, a word does not begin again.
            (false, _) => AlertState::Resolved,
            (true, Some(Verdict::Ack)) => AlertState::Acknowledged,
            (true, Some(Verdict::Expected | Verdict::Planned)) => AlertState::Expected,
            (true, _) if verdict == Verdict::Reopen || !is_first => AlertState::Reopened,
            (true, _) => AlertState::Updated,
        };
    }

    /// Lets go of a word that has ended, or that was said of something less bad. Whether that changes how it stands.
    pub(super) fn lapse(&mut self, at: Timestamp) -> bool {
        let Some(standing) = &self.answers.standing else { return false };
        let is_worse = standing.verdict == Verdict::Ack && self.severity > standing.severity;
        if standing.until > at && !is_worse {
            return false;
        }
        self.answers.standing = None;
        self.is_open() && matches!(self.state, AlertState::Acknowledged | AlertState::Expected | AlertState::Retracted)
    }

    /// How it stands when this happens, in the light of what was said. `None`: nobody is told.
    pub(super) fn answered(&mut self, next: AlertState, at: Timestamp) -> Option<AlertState> {
        if next == AlertState::Resolved {
            // An acknowledgement is of this time only; what is accepted may come again.
            self.answers.standing.take_if(|standing| standing.verdict == Verdict::Ack);
            return Some(next).filter(|_| self.state != AlertState::Retracted);
        }
        match self.answers.holding(at) {
            Some(Verdict::Ack) => Some(AlertState::Acknowledged),
            Some(Verdict::Expected | Verdict::Planned) => Some(AlertState::Expected),
            Some(Verdict::NotAnAnomaly) => {
                self.state = AlertState::Retracted;
                None
            }
            Some(Verdict::Reopen) | None => Some(next),
        }
    }
}
