//! The sentences of an alert about a budget.

use super::forecast::{Forecast, day_text};
use super::span::{Span, date};
use crate::model::counted::counted;
use crate::model::money::Nanos;
use crate::watch::matters::rules::{BudgetRule, Period};
use crate::watch::series::{from_units, to_units};

/// Why a budget is told of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Reason {
    /// This part of the amount is spent.
    Threshold(f64),
    Forecast,
    /// Times an even spend.
    Pace(f64),
    /// The amount is larger than it was: not all that was told holds any more.
    Raised,
    /// Less is spent than was told: a refund, a bill that was corrected.
    Fallen,
    /// This part of the amount of a month that is over, with what came late.
    Late(f64),
}

/// `budget "search" has used 80 % of 20000.00 USD for March: 16012.34 USD by ...`.
pub fn summary(rule: &BudgetRule, span: Span, spent: Nanos, reason: Option<Reason>, forecast: Option<&Forecast>) -> String {
    let (name, currency) = (&rule.name, rule.currency);
    let of = format!("{} {currency} {}", rule.amount.rounded(2), when(rule, span));
    let share = share(rule, spent);
    let spent = format!("{} {currency} are spent, {share:.0} %", spent.rounded(2));
    let ahead = forecast.map(|forecast| ahead(rule, span, forecast)).unwrap_or_default();
    match reason {
        Some(Reason::Threshold(part)) => format!("budget '{name}' has passed {:.0} % of {of}: {spent}{ahead}", part * 100.0),
        Some(Reason::Forecast) => format!("budget '{name}' of {of} will not last: {spent}{ahead}"),
        Some(Reason::Pace(pace)) => {
            format!("budget '{name}' of {of} is spent at {pace:.0} times an even pace in the last six hours: {spent}{ahead}")
        }
        Some(Reason::Raised) => format!("budget '{name}' was raised to {of}: {spent}"),
        Some(Reason::Fallen) => {
            format!("less is spent of budget '{name}' of {of} than was told, money came back or was corrected: {spent}")
        }
        Some(Reason::Late(part)) => {
            format!("budget '{name}' has passed {:.0} % of {of}, which is over: with what came late {spent}", part * 100.0)
        }
        None => format!("budget '{name}' of {of}: {spent}"),
    }
}

fn ahead(rule: &BudgetRule, span: Span, forecast: &Forecast) -> String {
    if let Period::Rolling(_) = rule.period {
        return String::new();
    }
    let money = |units: f64| from_units(units).rounded(0);
    let used_up = match forecast.exhausted {
        Some(day) if forecast.expected >= to_units(rule.amount) => format!(", used up about {}", day_text(day)),
        _ => String::new(),
    };
    format!(
        "; forecast by {}: {} {} ({} to {}){used_up}",
        day_text(span.end - 1),
        money(forecast.expected),
        rule.currency,
        money(forecast.low),
        money(forecast.high)
    )
}

fn when(rule: &BudgetRule, span: Span) -> String {
    match rule.period {
        Period::Month => format!("for {}", date(span.first).strftime("%B %Y")),
        Period::Rolling(days) => format!("for {}", counted(days, "day")),
    }
}

pub fn plan(rule: &BudgetRule, span: Span) -> String {
    let days = (span.end - span.first).max(1);
    let even = from_units(to_units(rule.amount) / days as f64);
    format!("{} {} {}, evenly {} a day", rule.amount.rounded(2), rule.currency, when(rule, span), even.rounded(2))
}

/// A month that has ended.
pub fn over(rule: &BudgetRule, spent: Nanos, span: Span) -> String {
    let month = date(span.first).strftime("%B %Y");
    let (name, amount, currency, share) = (&rule.name, rule.amount.rounded(2), rule.currency, share(rule, spent));
    format!("{month} is over: budget '{name}' used {} of {amount} {currency}, {share:.0} %", spent.rounded(2))
}

/// So many days, which are not looked at any more.
pub fn by_month(rule: &BudgetRule) -> String {
    format!("budget '{}' is counted by month from now on, so that its alert over the days before ends", rule.name)
}

/// Nothing that was told holds any more.
pub fn below(rule: &BudgetRule, spent: Nanos, span: Span) -> String {
    let (name, spent, currency, share) = (&rule.name, spent.rounded(2), rule.currency, share(rule, spent));
    let spent = match rule.period {
        Period::Month => format!("{spent} of {} {currency} {}", rule.amount.rounded(2), when(rule, span)),
        Period::Rolling(days) => format!("{spent} {currency} in {}", counted(days, "day")),
    };
    format!("budget '{name}' is below its thresholds again: {spent}, {share:.0} %")
}

fn share(rule: &BudgetRule, spent: Nanos) -> f64 {
    100.0 * to_units(spent) / to_units(rule.amount)
}

pub fn next_steps(rule: &BudgetRule, is_over: bool) -> Vec<String> {
    let first = if is_over {
        "Decide: raise the budget, or stop what can wait. Tollgate only detects; a gateway can cap it."
    } else {
        "See whether the spend so far is what was planned for it, while there is time."
    };
    vec![first.to_string(), format!("Its numbers stand in [[budget]] '{}' of the config.", rule.name)]
}

/// Nothing of it can be stopped any more.
pub fn next_steps_of_past(rule: &BudgetRule) -> Vec<String> {
    vec![
        "The month is over: book what came late with it, and see why it came late (a gateway that was offline, a bill that was restated)."
            .to_string(),
        format!("Its numbers stand in [[budget]] '{}' of the config.", rule.name),
    ]
}
