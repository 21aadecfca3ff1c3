//! What is said of a day on a bill: of one that is wrong, and of one that is not any more.

use std::collections::BTreeMap;

use super::super::matter::Story;
use super::apart::{ApartName, Sum};
use super::bill::{CRITICAL, Day, LEAST_DAYS, Tolerance, Verdict};
use super::many;
use crate::model::alert::{AlertKind, Cause, Severity, Stage};
use crate::model::leaf::Measure;
use crate::model::money::Nanos;
use crate::model::time::{DAY_MS, HOUR_MS, Timestamp};
use crate::watch::Moment;
use crate::watch::series::{from_units, to_units};

pub(super) fn start_of(day: i64) -> Timestamp {
    Timestamp(day.saturating_mul(DAY_MS))
}

pub(super) fn end_of(day: i64) -> Timestamp {
    start_of(day).plus_ms(DAY_MS)
}

/// `2026-03-12`.
pub(super) fn date(day: i64) -> String {
    let date = start_of(day).to_string();
    date.get(..10).unwrap_or(&date).to_string()
}

/// `2026-03-12`, `3 days from 2026-03-12 to 2026-03-16`.
pub(super) fn when(sum: &Sum) -> String {
    if sum.days <= 1 { date(sum.last) } else { format!("{} days from {} to {}", sum.days, date(sum.first), date(sum.last)) }
}

pub(super) fn story(sum: &Sum, name: &ApartName, verdict: Verdict, tolerance: Tolerance, moment: Moment<'_>) -> Story {
    let (team, currency, provider, _) = name;
    let excess = sum.excess();
    let limits = moment.rules.thresholds(team, "", "");
    let is_much = to_units(excess).abs() >= CRITICAL * to_units(limits.least_excess);
    let dimensions: BTreeMap<String, String> = [("provider".to_string(), provider.to_string())].into();
    let allowed = tolerance.part * 100.0;
    let kind = if verdict == Verdict::Unseen { AlertKind::UnseenSpend } else { AlertKind::BillMismatch };
    Story {
        kind,
        severity: if is_much { Severity::Critical } else { Severity::Warning },
        onset: start_of(sum.first),
        causes: vec![Cause { dimensions: dimensions.clone(), actual: sum.billed, expected: sum.expected, share: 1.0 }],
        dimensions,
        measure: Measure::Billed,
        currency: *currency,
        event_time: end_of(sum.last),
        ingest_time: sum.billed_at,
        actual: sum.billed,
        expected: sum.expected,
        excess,
        burn_rate: excess.checked_mul_div(i128::from(HOUR_MS), i128::from(DAY_MS.saturating_mul(sum.days.max(1)))).unwrap_or_default(),
        score: 0.8,
        stage: if tolerance.days < LEAST_DAYS { Stage::FirstDay } else { Stage::FirstWeeks },
        normal: match tolerance.days {
            days if days < LEAST_DAYS => format!("{allowed:.0} % apart are allowed until {LEAST_DAYS} days are known"),
            days => format!("{days} days say that {:.2} times the estimate is billed, {allowed:.0} % more or less", tolerance.ratio),
        },
        summary: summary(sum, name, verdict, tolerance),
        next_steps: next_steps(verdict, sum.billed > sum.expected, provider),
        history: Vec::new(),
    }
}

fn summary(sum: &Sum, name: &ApartName, verdict: Verdict, tolerance: Tolerance) -> String {
    let (team, currency, provider, _) = name;
    let date = when(sum);
    let (billed, estimated) = (sum.billed.rounded(2), sum.estimated.rounded(2));
    let (allowed, usually) = (tolerance.part * 100.0, usually(sum, tolerance));
    let seen = if sum.days > 1 { "usage was seen on all of them" } else { "usage was seen that day" };
    match verdict {
        Verdict::Unseen => {
            format!(
                "{provider} bills {team} {billed} {currency} for {date}, of which no usage was ever seen: somebody goes past the gateway"
            )
        }
        Verdict::Uncounted => {
            format!("{provider} bills {team} {billed} {currency} for {date}; {seen}{}, but it counts no money", how_much(sum))
        }
        Verdict::ToldAsGap => format!(
            "{provider} bills {team} {billed} {currency} for {date}; {seen}{}, and an alert (missing_money) says that it counts no money",
            how_much(sum)
        ),
        Verdict::BilledOtherwise => {
            format!("{provider} bills {team} nothing for {date} alone, but by lines for more than a day, which are held against no day")
        }
        Verdict::Unbilled => {
            format!(
                "{provider} bills {team} nothing for {date}, estimated were {estimated} {currency}{usually}: later days are on the bill already"
            )
        }
        Verdict::Far { cached_twice: true } => format!(
            "{provider} bills {team} {billed} {currency} for {date}, estimated were {estimated}{usually}: it looks as if cached tokens were \
             counted twice"
        ),
        Verdict::Far { cached_twice: false } => format!(
            "{provider} bills {team} {billed} {currency} for {date}, estimated were {estimated}{usually}: more than the usual {allowed:.0} % apart"
        ),
        Verdict::Agrees | Verdict::Little => {
            format!(
                "the bill of {provider} for {team} and {date} agrees with the estimate now: {billed} {currency}, estimated {estimated}{usually}"
            )
        }
    }
}

/// A later day is not wrong any more, or not for this reason.
pub(super) fn over(sum: &Sum, name: &ApartName, later: &Sum, verdict: Verdict, tolerance: Tolerance) -> String {
    let (team, currency, provider, _) = name;
    let apart = sum.excess();
    let apart = if apart < Nanos::ZERO { Nanos::ZERO.saturating_sub(apart) } else { apart };
    let now = if verdict.is_over() {
        summary(later, name, verdict, tolerance)
    } else {
        format!("what {provider} bills {team} is wrong in another way from {} on, of which another alert tells", date(later.last))
    };
    format!("{now}; {} {currency} of {} stay unexplained", apart.rounded(2), when(sum))
}

/// ` (usually 0.80 times that is billed: 96.00)`; nothing where the two are alike, or nothing is learnt yet.
fn usually(sum: &Sum, tolerance: Tolerance) -> String {
    if tolerance.days < LEAST_DAYS || (tolerance.ratio - 1.0).abs() < 0.005 {
        return String::new();
    }
    format!(" (usually {:.2} times that is billed: {})", tolerance.ratio, sum.expected.rounded(2))
}

pub(super) fn expected(day: &Day, tolerance: Tolerance) -> Nanos {
    from_units(to_units(day.estimated) * tolerance.ratio)
}

/// ` (1.2 million tokens)`; nothing where the usage came in another currency than the bill, or has no tokens.
fn how_much(sum: &Sum) -> String {
    if sum.tokens == 0 { String::new() } else { format!(" ({} tokens)", many(sum.tokens)) }
}

fn next_steps(verdict: Verdict, is_more: bool, provider: &str) -> Vec<String> {
    match verdict {
        Verdict::Agrees | Verdict::Little | Verdict::ToldAsGap | Verdict::BilledOtherwise => Vec::new(),
        Verdict::Uncounted => vec![
            format!(
                "Look at what the gateway sends of {provider}: models without a price (add them to a file of [prices] files), events that state \
                 a cost of 0, requests that report no tokens."
            ),
            "Until then budgets and alerts of this usage are too low.".to_string(),
        ],
        Verdict::Unseen => vec![
            format!("List the keys and accounts of {provider} that this team's bill names, and find those that the gateway does not have."),
            "Until then this spend has no alerts, budgets or policies.".to_string(),
        ],
        Verdict::Unbilled => vec![
            "See whether the day's rows went to another team or account, or are missing in the export: deliver it again.".to_string(),
            "If it stays so, the estimate counts usage that nobody pays for: look at what is priced.".to_string(),
        ],
        Verdict::Far { cached_twice: true } => {
            vec!["Look at [[sources]]: this source's input tokens probably include cached ones (input_includes_cached = true).".to_string()]
        }
        Verdict::Far { .. } if is_more => {
            vec![
                "Look for usage that does not go through the gateway, for calls that are counted at zero, and for a dearer contract price."
                    .to_string(),
            ]
        }
        Verdict::Far { .. } => {
            vec![
                "Look for a discount that the price files lack, for tokens that are counted twice, and for rows that the bill still lacks."
                    .to_string(),
            ]
        }
    }
}
