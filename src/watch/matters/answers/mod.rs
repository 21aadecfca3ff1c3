//! What people say of a matter: somebody looks after it, it is expected until a time, or there is nothing to mend.
//!
//! A word changes what is told, never what is the case: that goes on being known beneath it, so that a matter is open again when the word
//! ends and it still holds. An expectation ends at its time. An acknowledgement ends with the matter, or once it costs twice as much an
//! hour. What somebody says is no problem stays closed for as long as things stay as they are: until it is over and begins anew, or costs
//! a quarter more an hour. Another kind of matter (an idle resource has lost its owner) and what is news in any case (the next threshold
//! of a budget) are never covered by a word that was said before, but by an expectation.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::matter::{Matter, Story, emit};
use super::unwanted::unknown;
use super::{MatterKey, Matters};
use crate::model::alert::{AlertKind, AlertState, Said};
use crate::model::effect::Effect;
use crate::model::feedback::{Feedback, Verdict};
use crate::model::money::Nanos;
use crate::model::time::Timestamp;
use crate::watch::Moment;
use crate::watch::feedback::{note, span};
use crate::watch::rules::WatchRules;
use crate::watch::series::to_units;
use crate::watch::shard::Shard;
use crate::watch::state::{StateError, from_payload};

/// So many times the cost of an hour at which something was said: an acknowledgement is of less than that, as is a dismissal.
const WORSE: f64 = 2.0;
const ROOM: f64 = 1.25;

/// What was said of one matter, as far as it still matters.
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
    /// In shard time.
    until: Timestamp,
    /// What was known when it was said; excess per hour.
    kind: AlertKind,
    rate: Nanos,
}

impl Standing {
    /// Whether it was said of something else, or of less.
    fn is_outgrown(&self, story: &Story, is_news: bool) -> bool {
        let room = match self.verdict {
            Verdict::Ack => WORSE,
            Verdict::NotAnAnomaly => ROOM,
            Verdict::Expected | Verdict::Planned | Verdict::Reopen => return false,
        };
        let has_rate = match story.kind {
            // Told by what is spent of it, and by what would have been usual: neither has a rate that says how bad it is.
            AlertKind::Budget | AlertKind::ProviderSilent => false,
            _ => self.rate != Nanos::ZERO,
        };
        // Forgotten is idle for longer, and what was orphaned and is so no more is less of the same.
        let is_waste = |kind| matches!(kind, AlertKind::IdleResource | AlertKind::ForgottenResource | AlertKind::OrphanedResource);
        let is_less = is_waste(self.kind) && is_waste(story.kind) && story.kind != AlertKind::OrphanedResource;
        let is_other = self.kind != story.kind && !is_less;
        is_news || is_other || (has_rate && to_units(story.burn_rate).abs() > room * to_units(self.rate).abs())
    }
}

impl Answers {
    fn holding(&self, at: Timestamp) -> Option<Verdict> {
        self.standing.as_ref().filter(|standing| standing.from <= at && at < standing.until).map(|standing| standing.verdict)
    }

    /// When the word that was said last begins to hold, and when it ends by itself.
    fn span(&self) -> Option<(Timestamp, Timestamp)> {
        self.standing.as_ref().map(|standing| (standing.from, standing.until))
    }

    /// The matter is over: only what is expected may come again.
    pub(super) fn end(&mut self) {
        self.standing.take_if(|standing| !matches!(standing.verdict, Verdict::Expected | Verdict::Planned));
    }
}

impl Matter {
    /// Whether there is more to tell than was told. Of what somebody looks after only if there is much more.
    pub(super) fn has_news(&self, story: &Story, growth: f64, moment: Moment<'_>) -> bool {
        let is_patient = matches!(self.answers.holding(moment.shard_time), Some(Verdict::Ack | Verdict::Expected | Verdict::Planned));
        let growth = if is_patient { growth * growth } else { growth };
        let (now, told) = (to_units(story.excess).abs(), to_units(self.told_excess).abs());
        // Said of what an earlier version told: the revision that says so had to leave out what it is about.
        let is_owed = self.story.is_none() && !self.answers.said.is_empty();
        is_owed || (now > told && now >= growth * told)
    }

    /// The state of the next revision in the light of what was said. `None`: there is none.
    ///
    /// `next`: what it would be if nobody had said anything.
    pub(super) fn answered(
        &mut self,
        next: Option<AlertState>,
        was_open: bool,
        is_news: bool,
        story: &Story,
        now: Timestamp,
    ) -> Option<AlertState> {
        self.answers.standing.take_if(|standing| standing.until <= now || (standing.from <= now && standing.is_outgrown(story, is_news)));
        match self.answers.holding(now) {
            Some(Verdict::NotAnAnomaly) => None,
            Some(Verdict::Ack) => next.map(|_| AlertState::Acknowledged),
            Some(Verdict::Expected | Verdict::Planned) => next.map(|_| AlertState::Expected),
            // Somebody looks after it, and it has become worse.
            Some(Verdict::Reopen) | None if was_open && next == Some(AlertState::Escalated) && !self.is_dismissed() => next,
            Some(Verdict::Reopen) | None if was_open && self.is_answered() => Some(AlertState::Reopened),
            Some(Verdict::Reopen) | None => next,
        }
    }

    /// It is over, and nothing that was said of it holds any more.
    pub(super) fn is_done_with(&self, now: Timestamp) -> bool {
        !self.is_open() && self.answers.span().is_none_or(|(_, until)| until <= now)
    }

    /// The last revision says what somebody has answered.
    fn is_answered(&self) -> bool {
        matches!(self.state, AlertState::Acknowledged | AlertState::Expected | AlertState::Retracted)
    }

    fn hear(&mut self, feedback: &Feedback, said: Said, now: Timestamp) -> AlertState {
        let Feedback { verdict, event_time: at, from, until, .. } = *feedback;
        let was_answered = self.is_answered();
        let ends = match verdict {
            // As long as things stay as they are.
            Verdict::NotAnAnomaly if until.is_none() => Timestamp(i64::MAX),
            _ => span(verdict, at, from, until).1,
        };
        let has_end = matches!(verdict, Verdict::Expected | Verdict::Planned);
        note(&mut self.answers.said, Said { until: Some(ends).filter(|_| has_end).or(until), ..said });
        match verdict {
            Verdict::Reopen => self.answers.standing = None,
            // Nobody looks after what is over, and what was it once may be again.
            Verdict::Ack | Verdict::NotAnAnomaly if !self.is_open() => {}
            Verdict::Ack | Verdict::Expected | Verdict::Planned | Verdict::NotAnAnomaly => {
                let rate = self.story.as_ref().map_or(Nanos::ZERO, |story| story.burn_rate);
                // What is said about a matter holds from its beginning.
                let from = from.unwrap_or(Timestamp(i64::MIN));
                self.answers.standing = Some(Standing { verdict, from, until: ends, kind: self.kind, rate });
            }
        }
        match (self.is_open(), self.answers.holding(now)) {
            // What is over, a word does not begin again.
            (false, _) => self.state,
            (true, Some(Verdict::NotAnAnomaly)) => AlertState::Retracted,
            (true, Some(Verdict::Ack)) => AlertState::Acknowledged,
            (true, Some(Verdict::Expected | Verdict::Planned)) => AlertState::Expected,
            (true, _) if was_answered || verdict == Verdict::Reopen => AlertState::Reopened,
            (true, _) => AlertState::Updated,
        }
    }

    /// What was announced for later has begun, and no revision says so yet.
    fn is_expected_now(&self, now: Timestamp) -> bool {
        let holds = matches!(self.answers.holding(now), Some(Verdict::Expected | Verdict::Planned));
        holds && self.is_open() && self.state != AlertState::Expected
    }

    /// What time alone changes: whether something has, and when to look again.
    fn wake(&mut self, moment: Moment<'_>, effects: &mut Vec<Effect>) -> (bool, Option<Timestamp>) {
        let now = moment.shard_time;
        let Some((from, until)) = self.answers.span() else { return (false, None) };
        if now >= until {
            if self.lapse() {
                self.restate(AlertState::Reopened, moment, effects);
            }
            return (true, None);
        }
        let begins = self.is_expected_now(now);
        if begins {
            self.restate(AlertState::Expected, moment, effects);
        }
        (begins, Some(if now < from { from } else { until }))
    }

    /// Lets go of a word that has ended. Whether people have to be told that it is still the case.
    fn lapse(&mut self) -> bool {
        self.answers.standing = None;
        self.is_open() && self.is_answered()
    }

    /// The next revision, of what is the case as last known. Of what an earlier version told little is known: the next time it is looked at,
    /// it is told whole.
    fn restate(&mut self, state: AlertState, moment: Moment<'_>, effects: &mut Vec<Effect>) {
        let known = self.story.as_deref().cloned();
        let is_unknown = known.is_none();
        let team = self.team().to_string();
        emit(self, &team, state, known.unwrap_or_else(|| unknown(self, moment)), moment, effects);
        if is_unknown {
            self.story = None;
        }
    }
}

/// Takes a person's word on a matter. False: it is about none that is known.
pub(in crate::watch) fn answer(shard: &mut Shard, feedback: &Feedback, said: &Said, rules: &WatchRules, effects: &mut Vec<Effect>) -> bool {
    let Some(id) = feedback.alert_id.as_deref() else { return false };
    let books = Arc::clone(&shard.books);
    let moment = shard.moment(rules, &books);
    let mut is_known = false;
    shard.matters.each(|matter| {
        if matter.id != id {
            return false;
        }
        is_known = true;
        let state = matter.hear(feedback, said.clone(), moment.shard_time);
        matter.restate(state, moment, effects);
        true
    });
    if is_known {
        shard.matters.next_lapse = None;
    }
    is_known
}

/// What was answered until now and is still the case is open again; what was announced for now is expected.
pub(in crate::watch) fn look(shard: &mut Shard, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let now = shard.header.watermarks.shard_time();
    if shard.matters.next_lapse.is_some_and(|next| now < next) {
        return;
    }
    let books = Arc::clone(&shard.books);
    let moment = shard.moment(rules, &books);
    let mut next = Timestamp(i64::MAX);
    shard.matters.each(|matter| {
        let (has_changed, again) = matter.wake(moment, effects);
        next = again.map_or(next, |again| next.min(again));
        has_changed
    });
    shard.matters.next_lapse = Some(next);
}

impl Matters {
    /// Has all matters looked at, in order; those of which it says so are written anew.
    pub(super) fn each(&mut self, mut act: impl FnMut(&mut Matter) -> bool) {
        let mut changed = Vec::new();
        let mut of = |slot: &mut Option<Matter>, key: &dyn Fn() -> MatterKey| {
            if slot.as_mut().is_some_and(&mut act) {
                changed.push(key());
            }
        };
        self.resources.iter_mut().for_each(|(name, it)| of(&mut it.matter, &|| MatterKey::Resource(name.0.clone(), name.1.clone())));
        self.sizes.iter_mut().for_each(|(name, it)| of(&mut it.matter, &|| MatterKey::Size(name.0.clone(), name.1.clone())));
        self.gaps.iter_mut().for_each(|(name, it)| of(&mut it.matter, &|| MatterKey::Gap(name.0.clone(), name.1.clone())));
        self.silences.iter_mut().for_each(|(name, it)| of(&mut it.matter, &|| MatterKey::Silence(name.0.clone(), name.1.clone())));
        self.days.iter_mut().for_each(|(name, it)| of(&mut it.matter, &|| MatterKey::Day(name.clone())));
        self.apart.iter_mut().for_each(|(name, it)| of(&mut it.matter, &|| MatterKey::Apart(name.clone())));
        self.budgets.iter_mut().for_each(|(name, it)| {
            of(&mut it.matter, &|| MatterKey::Budget(name.clone()));
            it.past.iter_mut().for_each(|past| of(&mut past.matter, &|| MatterKey::Budget(name.clone())));
        });
        let former = self.former_budgets.iter_mut();
        former.for_each(|(name, it)| of(&mut it.matter, &|| MatterKey::FormerBudget(name.0.clone(), name.1.clone())));
        self.unconverted.iter_mut().for_each(|(name, it)| of(&mut it.matter, &|| MatterKey::Unconverted(name.clone())));
        self.commitments.iter_mut().for_each(|(name, it)| {
            of(&mut it.matter, &|| MatterKey::Commitment(name.0.clone(), name.1.clone(), name.2.clone()));
        });
        self.unpriced.iter_mut().for_each(|(name, it)| {
            of(&mut it.matter, &|| MatterKey::Unpriced(name.0.clone(), name.1.clone(), name.2.clone()));
        });
        self.untagged.iter_mut().for_each(|(name, it)| of(&mut it.matter, &|| MatterKey::Untagged(name.0.clone(), name.1.clone())));
        let advice = self.advice.iter_mut();
        advice.for_each(|(name, it)| of(&mut it.matter, &|| MatterKey::Advice(name.0.clone(), name.1.clone(), name.2)));
        self.changed.extend(changed);
    }
}

/// What is kept of something that may have a matter.
///
/// # Errors
/// Bytes of no form that was ever written.
pub(super) fn restored<T: DeserializeOwned>(payload: &[u8]) -> Result<T, StateError> {
    // A matter stands last. Before there were answers it ended where they stand now: no words, none that holds, no story. What a budget is
    // about ended where its cost centre stands now, a day of a bill where the events of its usage do, or what is billed for more than it, a
    // budget where its fees and the month before do.
    from_payload(payload).or_else(|_: StateError| from_payload(&[payload, &[0; 5]].concat()))
}
