//! Budgets: what somebody may spend within a month, or within the last so many days. Each threshold is told once per period, seconds
//! after it is passed; the forecast, with its band, and the pace are looked at when an hour closes.
//!
//! A month is in the team's time zone. Late usage counts in the day it belongs to; a bill's corrections do so too. A bill is judged by the
//! last day that it is about, and a month of it until the next one has something to tell, or the bill has had time to settle.

#[cfg(test)]
mod bill_tests;
mod billed;
mod corrected;
pub(in crate::watch) mod cost_center;
#[cfg(test)]
mod cost_center_tests;
mod forecast;
mod past;
#[cfg(test)]
mod past_tests;
mod removed;
mod span;
#[cfg(test)]
mod tests;
mod words;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::forecast::Forecast;
pub use self::past::Past;
pub use self::removed::Subject;
pub(crate) use self::removed::end_removed;
use self::span::{Span, day_of, month_of, start_of};
use self::words::Reason;
use super::matter::{self, Matter, Story};
use super::rules::{BudgetRule, Period};
use super::{MatterKey, Matters};
use crate::model::Text;
use crate::model::alert::{AlertKind, AlertState, Cause, Severity, Stage};
use crate::model::billing::is_charge_meter;
use crate::model::effect::Effect;
use crate::model::leaf::{Leaf, Measure};
use crate::model::money::Nanos;
use crate::model::partial::Partial;
use crate::model::time::{Hour, Minute, Timestamp};
use crate::watch::rules::WatchRules;
use crate::watch::series::to_units;
use crate::watch::shard::Shard;
use crate::watch::{Moment, judge};

/// Days that are kept: two months, and the weeks that a forecast looks back.
const KEPT_DAYS: i64 = 100;
/// The pace is that of so many hours, and nothing below this part of the amount.
const PACE_HOURS: i64 = 6;
const LEAST_OF_PACE: f64 = 0.01;
/// A threshold does not hold any more, and can be told again, once the spend has fallen to this part of it: as days roll on, or as a month is
/// corrected. So of the forecast.
const FALLEN: f64 = 0.9;
/// ... and its pace once that has fallen to this part of `burn_rate`.
const CALM: f64 = 0.5;
/// The last of a month's bills come within so many days of its end.
const BILL_SETTLES_DAYS: i64 = 7;

/// What is kept of a budget.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// By days since 1970 in the team's time zone.
    pub days: BTreeMap<i64, Nanos>,
    /// The last hours.
    pub hours: BTreeMap<Hour, Nanos>,
    /// First day of the period that was last looked at; of a rolling one always 0.
    pub period: i64,
    /// Thresholds that are told of this period, in parts of a thousand.
    pub told: Vec<u32>,
    pub told_forecast: bool,
    pub told_pace: bool,
    pub last_event_time: Timestamp,
    pub last_ingest_time: Timestamp,
    pub matter: Option<Matter>,
    /// Of `days`: what was not spent at its hour. Earlier versions wrote neither this nor what follows.
    pub fees: BTreeMap<i64, Nanos>,
    /// `None`: nothing is known of the month before.
    pub past: Option<Past>,
}

/// What came in one record.
pub(crate) fn take_partials(shard: &mut Shard, partials: &[Partial], rules: &WatchRules, effects: &mut Vec<Effect>) {
    let books = Arc::clone(&shard.books);
    let moment = shard.moment(rules, &books);
    // Asked once for all budgets.
    let has_cost_centers = rules.matters.budgets.iter().any(|rule| rule.cost_center.is_some());
    let asked = if has_cost_centers { partials } else { &[] };
    let booked: Vec<(&Partial, Option<&Text>)> = asked.iter().map(|partial| (partial, rules.matters.cost_center(&partial.leaf))).collect();
    for rule in &rules.matters.budgets {
        if let Some(cost_center) = &rule.cost_center {
            cost_center::take_partials(shard, rule, cost_center, &booked, rules, effects);
            continue;
        }
        let own = partials.iter().filter(|partial| rule.counts(&partial.leaf));
        take_seen(&mut shard.matters, rule, own.map(Seen::of), moment, effects);
    }
}

/// An amount that a budget counts.
struct Seen {
    minute: Minute,
    cost: Nanos,
    last_event_time: Timestamp,
    last_ingest_time: Timestamp,
    /// It was spent at its hour: not a tax, a fee for a month or what is paid in advance.
    has_pace: bool,
}

impl Seen {
    fn of(partial: &Partial) -> Seen {
        let Partial { minute, cost, last_event_time, last_ingest_time, .. } = *partial;
        Seen { minute, cost, last_event_time, last_ingest_time, has_pace: has_pace(&partial.leaf) }
    }
}

fn has_pace(leaf: &Leaf) -> bool {
    !is_charge_meter(&leaf.meter)
}

fn take_seen(matters: &mut Matters, rule: &BudgetRule, seen: impl Iterator<Item = Seen>, moment: Moment<'_>, effects: &mut Vec<Effect>) {
    let mut seen = seen.peekable();
    if seen.peek().is_none() {
        return;
    }
    let zone = judge::zone_of(moment.rules, &rule.team);
    removed::hand_over(matters, rule, true, moment, effects);
    let is_raised = removed::is_raised(matters, rule);
    // What is seen is among what is billed by now.
    let has_begun = billed::begin(matters, rule, &zone, moment.shard_time);
    let budget = matters.budgets.entry(rule.name.clone()).or_default();
    for seen in seen.filter(|_| !has_begun) {
        let day = day_of(seen.minute.start(), &zone);
        budget.add(&seen, day, moment.shard_time);
    }
    let newest = budget.newest(rule, None, &zone, moment);
    if is_raised {
        budget.raise(rule, newest, &zone, moment, effects);
    }
    budget.look(rule, newest, &zone, moment, effects);
    removed::remember(matters, rule);
    matters.changed.insert(MatterKey::Budget(rule.name.clone()));
}

/// All teams are done with an hour: a period may be over, and what is to be expected of it is seen better.
pub(crate) fn close_hour(shard: &mut Shard, hour: Hour, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let books = Arc::clone(&shard.books);
    end_removed(shard, rules, effects);
    let moment = shard.moment(rules, &books);
    for rule in &rules.matters.budgets {
        let is_raised = removed::is_raised(&shard.matters, rule);
        let zone = judge::zone_of(rules, &rule.team);
        billed::begin(&mut shard.matters, rule, &zone, moment.shard_time);
        // Of a team whose money this shard does not see there is none.
        let Some(budget) = shard.matters.budgets.get_mut(&rule.name) else { continue };
        let today = day_of(hour.start(), &zone);
        let before = budget.clone();
        if budget.has_heard_of_past(moment.shard_time) {
            budget.end_past(rule, &zone, moment, effects);
        }
        let newest = budget.newest(rule, Some(today), &zone, moment);
        if is_raised {
            budget.raise(rule, newest, &zone, moment, effects);
        }
        budget.look(rule, newest, &zone, moment, effects);
        budget.hours.retain(|known, _| known.0 > hour.0 - 2 * PACE_HOURS);
        budget.days.retain(|day, _| *day > today - KEPT_DAYS);
        budget.fees.retain(|day, _| *day > today - KEPT_DAYS);
        let today = if rule.is_of_bill() { newest } else { today };
        budget.check_forecast(rule, today, hour, &zone, moment, effects);
        budget.check_pace(rule, today, hour, &zone, moment, effects);
        budget.end_if_below(rule, newest, &zone, moment, effects);
        budget.keep(rule, newest, &zone);
        if before != *budget {
            shard.matters.changed.insert(MatterKey::Budget(rule.name.clone()));
        }
        removed::remember(&mut shard.matters, rule);
    }
    removed::forget(shard, hour, rules);
}

impl BudgetRule {
    fn counts(&self, leaf: &Leaf) -> bool {
        let is = |wanted: &Option<crate::model::Text>, own: &crate::model::Text| wanted.as_ref().is_none_or(|wanted| wanted == own);
        leaf.team == self.team && self.counts_kind_of(leaf) && is(&self.project, &leaf.project)
    }

    /// Whoever spent it.
    fn counts_kind_of(&self, leaf: &Leaf) -> bool {
        leaf.measure == self.measure && leaf.currency == self.currency && self.model.as_ref().is_none_or(|wanted| *wanted == leaf.model)
    }

    fn is_of_bill(&self) -> bool {
        matches!(self.measure, Measure::Billed | Measure::BilledOriginal)
    }

    /// The period that a day lies in.
    pub(crate) fn span(&self, day: i64) -> Span {
        match self.period {
            Period::Rolling(days) => Span { first: day - days + 1, end: day + 1 },
            Period::Month => month_of(day),
        }
    }

    /// What an even spend is in an hour.
    fn even_hour(&self, span: Span) -> f64 {
        to_units(self.amount) / ((span.end - span.first).max(1) * 24) as f64
    }
}

impl Budget {
    fn add(&mut self, seen: &Seen, day: i64, now: Timestamp) {
        let sum = self.days.entry(day).or_default();
        *sum = sum.saturating_add(seen.cost);
        if seen.has_pace {
            let sum = self.hours.entry(seen.minute.hour()).or_default();
            *sum = sum.saturating_add(seen.cost);
        } else {
            let sum = self.fees.entry(day).or_default();
            *sum = sum.saturating_add(seen.cost);
        }
        // What is billed in advance has not happened yet.
        self.last_event_time = self.last_event_time.max(seen.last_event_time).min(now);
        self.last_ingest_time = self.last_ingest_time.max(seen.last_ingest_time).min(now);
    }

    /// The day that is judged by. `closed`: that of the hour that closes.
    ///
    /// Of a bill it is the last day, up to today, that it is about: what passes after that is not billed yet.
    fn newest(&self, rule: &BudgetRule, closed: Option<i64>, zone: &jiff::tz::TimeZone, moment: Moment<'_>) -> i64 {
        if rule.is_of_bill() {
            let today = day_of(moment.shard_time, zone);
            return self.days.range(..=today).next_back().map_or(today, |(day, _)| *day);
        }
        let seen = day_of(self.last_event_time, zone);
        // An hour closes later than newer usage comes: what was told of today is not to be judged again as of yesterday.
        closed.map_or(seen, |closed| closed.max(seen))
    }

    pub(crate) fn spent(&self, span: Span) -> Nanos {
        self.days.range(span.first..span.end).fold(Nanos::ZERO, |sum, (_, day)| sum.saturating_add(*day))
    }

    /// The period that was last looked at; of a rolling one that of today.
    fn judged(&self, rule: &BudgetRule, today: i64) -> Span {
        match rule.period {
            Period::Month if self.period > 0 => month_of(self.period),
            Period::Month | Period::Rolling(_) => rule.span(today),
        }
    }

    /// Tells what is passed, of a bill also in the months up to this one.
    fn look(&mut self, rule: &BudgetRule, today: i64, zone: &jiff::tz::TimeZone, moment: Moment<'_>, effects: &mut Vec<Effect>) {
        let (mut month, span) = (self.judged(rule, today), rule.span(today));
        while rule.is_of_bill() && month.first < span.first {
            if self.check_thresholds(rule, month, zone, moment, effects) {
                // The rest waits for the hour: whoever hears of a month and of its end at once hears of neither.
                return;
            }
            month = month_of(month.end);
        }
        self.turn(rule, today, zone, moment, effects);
        self.take_back(rule, today, zone, moment, effects);
        self.check_thresholds(rule, span, zone, moment, effects);
        self.look_back(rule, zone, moment, effects);
    }

    /// Lets the next period begin if it is time.
    fn turn(&mut self, rule: &BudgetRule, today: i64, zone: &jiff::tz::TimeZone, moment: Moment<'_>, effects: &mut Vec<Effect>) {
        if let Period::Rolling(_) = rule.period {
            return;
        }
        let span = rule.span(today);
        let now = day_of(moment.shard_time, zone);
        let is_awaited = rule.is_of_bill() && now < month_of(self.period).end + BILL_SETTLES_DAYS;
        // Earlier versions let a month begin that was billed years in advance.
        let is_far = self.period > month_of(now).end;
        // Late usage does not bring a month back.
        if !is_far && (span.first <= self.period || is_awaited) {
            return;
        }
        self.begin(rule, span, zone, moment, effects);
        if is_far {
            // What they have told of this one before is not known: the next one is told of.
            self.told = rule.thresholds.iter().map(|part| per_mille(*part)).collect();
            (self.told_forecast, self.told_pace, self.past) = (true, true, None);
        }
    }

    /// A new period begins with nothing told; the old one's alert is over, also one over so many days.
    fn begin(&mut self, rule: &BudgetRule, span: Span, zone: &jiff::tz::TimeZone, moment: Moment<'_>, effects: &mut Vec<Effect>) {
        let old = if self.period > 0 { month_of(self.period) } else { span };
        let over = if self.period > 0 { words::over(rule, self.spent(old), old) } else { words::by_month(rule) };
        self.end(rule, old, over, zone, moment, effects);
        self.end_past(rule, zone, moment, effects);
        self.past = (self.period > 0 && rule.period == Period::Month).then(|| self.leave(span));
        self.period = span.first;
        self.matter = None;
        self.told.clear();
        (self.told_forecast, self.told_pace) = (false, false);
    }

    fn end(
        &mut self,
        rule: &BudgetRule,
        span: Span,
        summary: String,
        zone: &jiff::tz::TimeZone,
        moment: Moment<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let story = Story { summary, ..self.story(rule, span, None, None, zone) };
        let at = self.last_event_time;
        matter::end(&mut self.matter, &rule.team, AlertState::Resolved, at, story, moment, effects);
    }

    /// What is spent of it by now, for whoever answers.
    fn keep(&mut self, rule: &BudgetRule, today: i64, zone: &jiff::tz::TimeZone) {
        if self.matter.as_ref().is_some_and(Matter::is_open) {
            let story = self.story(rule, self.judged(rule, today), None, None, zone);
            matter::keep(&mut self.matter, story);
        }
    }

    /// Whether one was passed.
    fn check_thresholds(
        &mut self,
        rule: &BudgetRule,
        span: Span,
        zone: &jiff::tz::TimeZone,
        moment: Moment<'_>,
        effects: &mut Vec<Effect>,
    ) -> bool {
        if self.is_past(rule, span) {
            return false;
        }
        let is_ahead = self.is_ahead(rule, span);
        let spent = to_units(self.spent(span));
        let passed = rule.thresholds.iter().copied().filter(|part| spent >= part * to_units(rule.amount));
        let fresh: Vec<f64> = passed.filter(|part| is_ahead || !self.told.contains(&per_mille(*part))).collect();
        // Of several at once the highest is the news.
        let Some(highest) = fresh.iter().copied().reduce(f64::max) else { return false };
        self.tell(rule, span, Reason::Threshold(highest), None, zone, moment, effects);
        self.told.extend(fresh.iter().map(|part| per_mille(*part)));
        self.told.sort_unstable();
        true
    }

    /// A month before the one that is looked at.
    fn is_past(&self, rule: &BudgetRule, span: Span) -> bool {
        rule.period == Period::Month && span.first < self.period
    }

    /// A month after the one that is looked at: nothing is told of it yet, and what is lets it begin.
    fn is_ahead(&self, rule: &BudgetRule, span: Span) -> bool {
        rule.period == Period::Month && span.first > self.period
    }

    fn check_forecast(
        &mut self,
        rule: &BudgetRule,
        today: i64,
        hour: Hour,
        zone: &jiff::tz::TimeZone,
        moment: Moment<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let span = rule.span(today);
        let is_other = rule.period != Period::Month || span.first != self.period;
        if !rule.forecast || is_other || self.spent(span) >= rule.amount {
            return;
        }
        let Some(forecast) = forecast::forecast(self, rule, today, hour, span, zone) else { return };
        if self.told_forecast {
            self.told_forecast = forecast.expected >= FALLEN * to_units(rule.amount);
        } else if forecast.low > to_units(rule.amount) {
            self.told_forecast = true;
            self.tell(rule, span, Reason::Forecast, Some(&forecast), zone, moment, effects);
        }
    }

    fn check_pace(
        &mut self,
        rule: &BudgetRule,
        today: i64,
        hour: Hour,
        zone: &jiff::tz::TimeZone,
        moment: Moment<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let span = rule.span(today);
        // The hours of a month that is over close when the next one has begun.
        if self.is_past(rule, span) {
            return;
        }
        // What came late for the month before is no pace of this one.
        let is_of_span = |hour: &Hour| rule.period != Period::Month || hour.start() >= start_of(span.first, zone);
        let recent = self.hours.range(Hour(hour.0 - PACE_HOURS + 1)..=hour).filter(|(hour, _)| is_of_span(hour));
        let recent = recent.fold(Nanos::ZERO, |sum, (_, cost)| sum.saturating_add(*cost));
        let even = rule.even_hour(span) * PACE_HOURS as f64;
        let pace = to_units(recent) / even;
        // Of what is used up the pace is no news.
        let is_left = self.spent(span) < rule.amount;
        let counts = is_left && rule.burn_rate > 0.0 && pace >= rule.burn_rate && to_units(recent) >= LEAST_OF_PACE * to_units(rule.amount);
        // In a month it is told once.
        let is_calm = rule.burn_rate <= 0.0 || pace <= CALM * rule.burn_rate;
        if is_calm && rule.period != Period::Month {
            self.told_pace = false;
        }
        if counts && (!self.told_pace || self.is_ahead(rule, span)) {
            self.tell(rule, span, Reason::Pace(pace), None, zone, moment, effects);
            self.told_pace = true;
        }
    }

    #[expect(clippy::too_many_arguments, reason = "all that is known of a budget")]
    fn tell(
        &mut self,
        rule: &BudgetRule,
        span: Span,
        reason: Reason,
        forecast: Option<&Forecast>,
        zone: &jiff::tz::TimeZone,
        moment: Moment<'_>,
        effects: &mut Vec<Effect>,
    ) {
        if self.is_ahead(rule, span) {
            self.begin(rule, span, zone, moment, effects);
        }
        let hour = self.last_event_time.hour();
        let today = day_of(self.last_event_time, zone);
        let is_over = day_of(moment.shard_time, zone) >= span.end;
        let made = if forecast.is_none() && !is_over { forecast::forecast(self, rule, today, hour, span, zone) } else { None };
        let story = self.story(rule, span, Some(reason), forecast.or(made.as_ref()), zone);
        // So many days may be told of again after they were a month: not under the id that they had.
        let first = if rule.period == Period::Month { span.first } else { moment.shard_time.0 };
        let about: [&[u8]; 3] = [b"budget", rule.name.as_bytes(), &first.to_be_bytes()];
        matter::advance(&mut self.matter, &rule.team, &about, story, moment, effects);
    }

    fn story(
        &self,
        rule: &BudgetRule,
        span: Span,
        reason: Option<Reason>,
        forecast: Option<&Forecast>,
        zone: &jiff::tz::TimeZone,
    ) -> Story {
        let spent = self.spent(span);
        let is_over = spent >= rule.amount;
        let named = [("cost_center", &rule.cost_center), ("project", &rule.project), ("model", &rule.model)];
        let mut dimensions: BTreeMap<String, String> =
            named.into_iter().filter_map(|(name, value)| Some((name.to_string(), value.as_ref()?.to_string()))).collect();
        dimensions.insert("budget".to_string(), rule.name.to_string());
        let day_ago = self.last_event_time.hour().0 - PACE_HOURS;
        let recent = self.hours.range(Hour(day_ago + 1)..).fold(Nanos::ZERO, |sum, (_, cost)| sum.saturating_add(*cost));
        Story {
            kind: AlertKind::Budget,
            severity: if is_over { Severity::Critical } else { Severity::Warning },
            onset: start_of(span.first, zone),
            causes: vec![Cause { dimensions: dimensions.clone(), actual: spent, expected: rule.amount, share: 1.0 }],
            dimensions,
            measure: rule.measure,
            currency: rule.currency,
            event_time: self.last_event_time,
            ingest_time: self.last_ingest_time,
            actual: spent,
            expected: rule.amount,
            excess: spent.saturating_sub(rule.amount),
            burn_rate: recent.checked_mul_div(1, i128::from(PACE_HOURS)).unwrap_or_default(),
            score: (to_units(spent) / to_units(rule.amount)).clamp(0.0, 1.0),
            stage: Stage::FirstWeeks,
            normal: words::plan(rule, span),
            summary: words::summary(rule, span, spent, reason, forecast),
            next_steps: words::next_steps(rule, is_over),
            history: Vec::new(),
        }
    }
}

fn per_mille(part: f64) -> u32 {
    (part * 1000.0 + 0.5) as u32
}

/// What has to be spent for a threshold, in units.
fn amount_at(rule: &BudgetRule, per_mille: u32) -> f64 {
    f64::from(per_mille) / 1000.0 * to_units(rule.amount)
}
