//! What is said of a day on a bill: of one that is wrong, and of one that is not any more.

use std::collections::BTreeMap;

use super::super::matter::Story;
use super::bill::{CRITICAL, Day, DayName, LEAST_DAYS, Tolerance, Verdict};
use super::many;
use crate::model::alert::{AlertKind, Cause, Severity, Stage};
use crate::model::leaf::Measure;
use crate::model::money::Nanos;
use crate::model::time::{DAY_MS, HOUR_MS, Timestamp};
use crate::watch::Moment;
use crate::watch::series::{from_units, to_units};

pub(super) fn start_of(name: &DayName) -> Timestamp {
    Timestamp(name.3.saturating_mul(DAY_MS))
}

pub(super) fn end_of(name: &DayName) -> Timestamp {
    start_of(name).plus_ms(DAY_MS)
}

pub(super) fn story(day: &Day, name: &DayName, verdict: Verdict, tolerance: Tolerance, moment: Moment<'_>) -> Story {
    let (team, currency, provider, _) = name;
    let expected = expected(day, tolerance);
    let excess = day.billed.saturating_sub(expected);
    let limits = moment.rules.thresholds(team, "", "");
    let is_much = to_units(excess).abs() >= CRITICAL * to_units(limits.least_excess);
    let dimensions: BTreeMap<String, String> = [("provider".to_string(), provider.to_string())].into();
    let allowed = tolerance.part * 100.0;
    let kind = if verdict == Verdict::Unseen { AlertKind::UnseenSpend } else { AlertKind::BillMismatch };
    Story {
        kind,
        severity: if is_much { Severity::Critical } else { Severity::Warning },
        onset: start_of(name),
        causes: vec![Cause { dimensions: dimensions.clone(), actual: day.billed, expected, share: 1.0 }],
        dimensions,
        measure: Measure::Billed,
        currency: *currency,
        event_time: end_of(name),
        ingest_time: day.billed_at,
        actual: day.billed,
        expected,
        excess,
        burn_rate: excess.checked_mul_div(i128::from(HOUR_MS), i128::from(DAY_MS)).unwrap_or_default(),
        score: 0.8,
        stage: if tolerance.days < LEAST_DAYS { Stage::FirstDay } else { Stage::FirstWeeks },
        normal: match tolerance.days {
            days if days < LEAST_DAYS => format!("{allowed:.0} % apart are allowed until {LEAST_DAYS} days are known"),
            days => format!("{days} days say that {:.2} times the estimate is billed, {allowed:.0} % more or less", tolerance.ratio),
        },
        summary: summary(day, name, verdict, tolerance),
        next_steps: next_steps(verdict, day.billed > expected, provider),
        history: Vec::new(),
    }
}

fn summary(day: &Day, name: &DayName, verdict: Verdict, tolerance: Tolerance) -> String {
    let (team, currency, provider, _) = name;
    let date = start_of(name).to_string();
    let date = date.get(..10).unwrap_or(&date);
    let (billed, estimated) = (day.billed.rounded(2), day.estimated.rounded(2));
    let (allowed, usually) = (tolerance.part * 100.0, usually(day, tolerance));
    match verdict {
        Verdict::Unseen => {
            format!(
                "{provider} bills {team} {billed} {currency} for {date}, of which no usage was ever seen: somebody goes past the gateway"
            )
        }
        Verdict::Uncounted => format!(
            "{provider} bills {team} {billed} {currency} for {date}; usage was seen that day{}, but it counts no money",
            how_much(day)
        ),
        Verdict::ToldAsGap => format!(
            "{provider} bills {team} {billed} {currency} for {date}; usage was seen that day{}, and an alert (missing_money) says that it counts \
             no money",
            how_much(day)
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
        Verdict::Agrees => {
            format!(
                "the bill of {provider} for {team} and {date} agrees with the estimate now: {billed} {currency}, estimated {estimated}{usually}"
            )
        }
    }
}

/// ` (usually 0.80 times that is billed: 96.00)`; nothing where the two are alike, or nothing is learnt yet.
fn usually(day: &Day, tolerance: Tolerance) -> String {
    if tolerance.days < LEAST_DAYS || (tolerance.ratio - 1.0).abs() < 0.005 {
        return String::new();
    }
    format!(" (usually {:.2} times that is billed: {})", tolerance.ratio, expected(day, tolerance).rounded(2))
}

fn expected(day: &Day, tolerance: Tolerance) -> Nanos {
    from_units(to_units(day.estimated) * tolerance.ratio)
}

/// ` (1.2 million tokens)`; nothing where the usage came in another currency than the bill, or has no tokens.
fn how_much(day: &Day) -> String {
    match day.tokens[0].saturating_add(day.tokens[1]) {
        0 => String::new(),
        tokens => format!(" ({} tokens)", many(tokens)),
    }
}

fn next_steps(verdict: Verdict, is_more: bool, provider: &str) -> Vec<String> {
    match verdict {
        Verdict::Agrees | Verdict::ToldAsGap | Verdict::BilledOtherwise => Vec::new(),
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
