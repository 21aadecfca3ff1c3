//! One letter about many alerts: what they come to, then each of them by its name.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::deliver::answer::Link;
use crate::deliver::channels::Letter;
use crate::deliver::receipt::is_closed;
use crate::model::alert::{Alert, Severity};
use crate::model::money::{Currency, Nanos};

use super::amount::{brief, difference};
use super::page::{Fact, link, tone};
use super::{subject, when, words};

/// Currencies that a subject has room for.
const MOST_CURRENCIES: usize = 2;
/// Alerts that are shown with all that belongs to them: Gmail cuts a mail off after 102 kB, and one of these takes three.
const MOST_ROWS: usize = 25;

#[derive(Clone, Debug, Serialize)]
pub struct DigestPage {
    pub subject: String,
    pub preheader: String,
    pub tone: &'static str,
    pub badge: String,
    pub title: String,
    pub lead: String,
    pub figures: Vec<Fact>,
    pub rows: Vec<Row>,
    /// Those that there is no more room for, in a line each.
    pub others: Vec<Line>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Line {
    pub badge: &'static str,
    pub title: String,
    pub id: String,
}

/// One alert.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub tone: &'static str,
    pub badge: &'static str,
    /// `search: +312 USD in 14 min, 9x normal`.
    pub title: String,
    pub place: String,
    pub since: String,
    pub id: String,
    pub link: Option<String>,
    pub answers: Vec<Link>,
}

/// `answers`: of each letter, in their order.
pub fn page(letters: &[Letter<'_>], answers: &[Vec<Link>], base_url: Option<&str>) -> DigestPage {
    let alerts: Vec<&Alert> = letters.iter().map(|letter| letter.alert).collect();
    let worst = alerts.iter().copied().filter(|alert| !is_closed(alert)).max_by_key(|alert| alert.severity);
    let badge = worst.map_or("resolved", |alert| alert.severity.as_str());
    let title = title(&alerts);
    let none = Vec::new();
    let (first, others) = letters.split_at(letters.len().min(MOST_ROWS));
    let rows: Vec<Row> =
        first.iter().enumerate().map(|(number, letter)| row(letter, answers.get(number).unwrap_or(&none), base_url)).collect();
    DigestPage {
        subject: format!("[{badge}] {title}"),
        preheader: rows.first().map(|row| row.title.clone()).unwrap_or_default(),
        tone: worst.map_or("good", tone),
        badge: badge.to_string(),
        lead: lead(&alerts),
        figures: figures(&alerts),
        title,
        rows,
        others: others.iter().map(line).collect(),
    }
}

/// `search: 12 alerts, +4,312 USD`, `12 alerts of 5 teams, +4,312 USD and more`.
pub fn title(alerts: &[&Alert]) -> String {
    let teams: BTreeSet<&str> = alerts.iter().map(|alert| alert.team.as_str()).collect();
    let count = alerts.len();
    let money = sums(alerts, |alert| alert.excess);
    let money = if money.is_empty() { String::new() } else { format!(", {money}") };
    match (teams.len(), alerts.first()) {
        (1, Some(alert)) => format!("{}: {count} alerts{money}", subject::team(alert)),
        (teams, _) => format!("{count} alerts of {teams} teams{money}"),
    }
}

/// By currency, the largest first: amounts of different currencies are never added up.
fn sums(alerts: &[&Alert], of: impl Fn(&Alert) -> Nanos) -> String {
    let mut sums: BTreeMap<Currency, Nanos> = BTreeMap::new();
    for alert in alerts {
        let sum = sums.entry(alert.currency).or_default();
        *sum = sum.saturating_add(of(alert));
    }
    let mut sums: Vec<(Currency, Nanos)> = sums.into_iter().filter(|(_, sum)| *sum != Nanos::ZERO).collect();
    sums.sort_by_key(|(_, sum)| std::cmp::Reverse(*sum));
    let shown = sums.iter().take(MOST_CURRENCIES).map(|(currency, sum)| difference(*sum, brief(*sum, *currency)));
    let shown = shown.collect::<Vec<_>>().join(" and ");
    if sums.len() > MOST_CURRENCIES { format!("{shown} and more") } else { shown }
}

fn lead(alerts: &[&Alert]) -> String {
    let open = |severity| alerts.iter().filter(|alert| !is_closed(alert) && alert.severity == severity).count();
    let over = alerts.iter().filter(|alert| is_closed(alert)).count();
    let warnings = open(Severity::Warning);
    let counts = [
        (open(Severity::Critical), "critical"),
        (warnings, if warnings == 1 { "warning" } else { "warnings" }),
        (open(Severity::Info), "for information"),
        (over, "over already"),
    ];
    let counts: Vec<String> = counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    format!(
        "These alerts come as one letter, the worst first: {}. What follows on one of them is told in this conversation.",
        counts.join(", ")
    )
}

fn figures(alerts: &[&Alert]) -> Vec<Fact> {
    let open: Vec<&Alert> = alerts.iter().copied().filter(|alert| !is_closed(alert)).collect();
    let figures = [
        ("Extra in all", sums(alerts, |alert| alert.excess)),
        ("Extra per hour, now", sums(&open, |alert| alert.burn_rate_per_hour)),
        ("By month end, at this rate", sums(&open, |alert| alert.projected_month_end_excess)),
    ];
    figures.into_iter().filter(|(_, value)| !value.is_empty()).map(|(label, value)| Fact { label, value }).collect()
}

fn line(letter: &Letter<'_>) -> Line {
    let alert = letter.alert;
    Line { badge: subject::badge(alert), title: headline(letter), id: super::clean::clean(&alert.id, super::page::LONGEST_ID) }
}

fn headline(letter: &Letter<'_>) -> String {
    format!("{}: {}", subject::team(letter.alert), subject::news(letter.alert, letter.earlier))
}

fn row(letter: &Letter<'_>, answers: &[Link], base_url: Option<&str>) -> Row {
    let alert = letter.alert;
    let zone = when::zone(&alert.time_zone);
    let burn = difference(alert.burn_rate_per_hour, brief(alert.burn_rate_per_hour, alert.currency));
    let since = when::moment(alert.onset, &zone);
    Row {
        tone: tone(alert),
        badge: subject::badge(alert),
        title: headline(letter),
        place: words::place(&alert.dimensions),
        since: if is_closed(alert) { since } else { format!("{since}; now {burn} per hour") },
        id: super::clean::clean(&alert.id, super::page::LONGEST_ID),
        link: base_url.and_then(|base| link(base, &alert.id)),
        answers: answers.to_vec(),
    }
}
