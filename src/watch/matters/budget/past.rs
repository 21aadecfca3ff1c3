//! The month before the one that is looked at: what came late may carry it over thresholds that were not told of it. Its alert is opened
//! again, and ends an hour later.

use serde::{Deserialize, Serialize};

use super::super::matter::{self, Matter, Story};
use super::super::rules::{BudgetRule, Period};
use super::span::{Span, month_of};
use super::words::{self, Reason};
use super::{Budget, per_mille};
use crate::model::alert::AlertState;
use crate::model::effect::Effect;
use crate::model::money::Nanos;
use crate::model::time::{HOUR_MS, Timestamp};
use crate::watch::Moment;
use crate::watch::series::to_units;

/// What is kept of a month that is over.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Past {
    /// Its first day.
    pub period: i64,
    /// As of the month that is looked at.
    pub told: Vec<u32>,
    /// Shard time of the last word since it is over.
    pub told_at: Timestamp,
    /// What was spent when the next month began: what is passed by that was passed then, whatever the rule says by now.
    pub spent: Nanos,
    pub matter: Option<Matter>,
}

impl Budget {
    /// The month that was looked at until now is over, and this one begins.
    pub(super) fn leave(&mut self, span: Span) -> Past {
        let month = month_of(span.first - 1);
        let (before, spent) = (month.first, self.spent(month));
        let (told, matter) = (std::mem::take(&mut self.told), self.matter.take());
        // Of a month without any money nothing was told.
        if self.period == before {
            Past { period: before, told, told_at: Timestamp::default(), spent, matter }
        } else {
            Past { period: before, spent, ..Past::default() }
        }
    }

    /// Tells of thresholds of the month before that are passed by now.
    pub(super) fn look_back(&mut self, rule: &BudgetRule, zone: &jiff::tz::TimeZone, moment: Moment<'_>, effects: &mut Vec<Effect>) {
        // What an earlier version has told of it is not known.
        let Some(past) = self.past.as_ref().filter(|_| rule.period == Period::Month) else { return };
        let span = month_of(past.period);
        let spent = to_units(self.spent(span));
        let comes_late = |part: &f64| to_units(past.spent) < part * to_units(rule.amount) && spent >= part * to_units(rule.amount);
        let passed = rule.thresholds.iter().copied().filter(comes_late);
        let fresh: Vec<f64> = passed.filter(|part| !past.told.contains(&per_mille(*part))).collect();
        let Some(highest) = fresh.iter().copied().reduce(f64::max) else { return };
        let story = self.story_of_past(rule, span, Some(Reason::Late(highest)), zone);
        let Some(past) = &mut self.past else { return };
        let about: [&[u8]; 3] = [b"budget", rule.name.as_bytes(), &span.first.to_be_bytes()];
        matter::advance(&mut past.matter, &rule.team, &about, story, moment, effects);
        past.told.extend(fresh.iter().map(|part| per_mille(*part)));
        past.told.sort_unstable();
        past.told_at = moment.shard_time;
    }

    /// Whoever hears of a month and of its end at once hears of neither.
    pub(super) fn has_heard_of_past(&self, now: Timestamp) -> bool {
        self.past.as_ref().is_some_and(|past| now.0 - past.told_at.0 >= HOUR_MS)
    }

    /// There is nothing to wait for.
    pub(super) fn end_past(&mut self, rule: &BudgetRule, zone: &jiff::tz::TimeZone, moment: Moment<'_>, effects: &mut Vec<Effect>) {
        let Some(past) = self.past.as_ref().filter(|past| past.matter.as_ref().is_some_and(Matter::is_open)) else { return };
        let span = month_of(past.period);
        let summary = words::over(rule, self.spent(span), span);
        let story = Story { summary, ..self.story_of_past(rule, span, None, zone) };
        let at = self.last_event_time;
        if let Some(past) = &mut self.past {
            matter::end(&mut past.matter, &rule.team, AlertState::Resolved, at, story, moment, effects);
        }
    }

    fn story_of_past(&self, rule: &BudgetRule, span: Span, reason: Option<Reason>, zone: &jiff::tz::TimeZone) -> Story {
        let story = self.story(rule, span, reason, None, zone);
        Story { burn_rate: Nanos::ZERO, next_steps: words::next_steps_of_past(rule), ..story }
    }
}
