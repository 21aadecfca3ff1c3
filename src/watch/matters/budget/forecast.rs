//! What a period will have cost at its end: what it has cost so far, and for each day that is left what the same weekday cost lately. A fee
//! for a month, a tax, what is paid in advance was spent, and is not to be expected of any day.

use std::collections::BTreeMap;

use super::Budget;
use super::span::{Span, date, part_of_day};
use crate::model::money::Nanos;
use crate::model::time::Hour;
use crate::watch::matters::rules::BudgetRule;
use crate::watch::series::to_units;

/// Whole days that have to be known, and weeks that are looked at.
const LEAST_DAYS: usize = 7;
const WEEKS: i64 = 4;
/// The band holds four of five: standard deviations to each side.
const BAND: f64 = 1.2816;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Forecast {
    pub expected: f64,
    pub low: f64,
    pub high: f64,
    /// The day on which the amount is used up, if that is within the period.
    pub exhausted: Option<i64>,
}

/// `None` while too few whole days are known. `hour`: the last one that is complete.
pub(crate) fn forecast(
    budget: &Budget,
    rule: &BudgetRule,
    today: i64,
    hour: Hour,
    span: Span,
    zone: &jiff::tz::TimeZone,
) -> Option<Forecast> {
    let first = *budget.days.first_key_value()?.0;
    // The first day may be half a day, and today is.
    let from = (first + 1).max(today - WEEKS * 7);
    let of = |days: &BTreeMap<i64, Nanos>, day: i64| days.get(&day).map_or(0.0, |cost| to_units(*cost));
    let days: Vec<(i64, f64)> = (from..today).map(|day| (day, of(&budget.days, day) - of(&budget.fees, day))).collect();
    if days.len() < LEAST_DAYS {
        return None;
    }
    let mean = days.iter().map(|(_, cost)| cost).sum::<f64>() / days.len() as f64;
    let usual = |day: i64| {
        let same: Vec<f64> = days.iter().filter(|(known, _)| (day - known) % 7 == 0).map(|(_, cost)| *cost).collect();
        // One other week says little; the mean of all days counts as one more.
        (same.iter().sum::<f64>() + mean) / (same.len() + 1) as f64
    };
    let squares = days.iter().map(|(day, cost)| (cost - usual(*day)) * (cost - usual(*day))).sum::<f64>();
    let deviation = libm::sqrt(squares / (days.len() - 1) as f64);
    let spent = to_units(budget.spent(span));
    let amount = to_units(rule.amount);
    let mut expected = spent;
    let mut exhausted = (spent >= amount).then_some(today);
    let mut left = 0.0;
    for day in today..span.end {
        let part = if day == today { 1.0 - part_of_day(hour, zone, day) } else { 1.0 };
        expected += part * usual(day);
        left += part;
        if expected >= amount && exhausted.is_none() {
            exhausted = Some(day);
        }
    }
    let band = BAND * deviation * libm::sqrt(left);
    Some(Forecast { expected, low: (expected - band).max(spent), high: expected + band, exhausted })
}

/// `Tue 24 Mar`.
pub(crate) fn day_text(day: i64) -> String {
    date(day).strftime("%a %-d %b").to_string()
}
