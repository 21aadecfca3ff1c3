//! One letter about many alerts: what they come to, then each of them by its name.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::deliver::answer::Link;
use crate::deliver::channels::Letter;
use crate::deliver::receipt::is_closed;
use crate::model::alert::{Alert, AlertKind, AlertState, Severity};
use crate::model::money::{Currency, Nanos};

use super::amount::{brief, difference};
use super::language::{self, Language, Words};
use super::page::{Fact, link, tone};
use super::{matter, subject, when, words};

/// Currencies that a subject has room for.
const MOST_CURRENCIES: usize = 2;
/// From so many alerts on those that matter most are named before them, and how many.
const MOVERS_FROM: usize = 4;
const MOST_MOVERS: usize = 3;
/// Alerts that are shown with all that belongs to them: Gmail cuts a mail off after 102 kB, and one of these takes three.
const MOST_ROWS: usize = 25;

#[derive(Clone, Debug, Serialize)]
pub struct DigestPage {
    /// Its code: `en`, `de`.
    pub language: &'static str,
    pub words: Words,
    pub subject: String,
    pub preheader: String,
    pub tone: &'static str,
    pub badge: String,
    pub title: String,
    pub lead: String,
    pub figures: Vec<Fact>,
    /// Where most of it comes from; empty where the alerts are few enough to see.
    pub movers: Vec<Mover>,
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

/// A team or a place, and what it took in all.
#[derive(Clone, Debug, Serialize)]
pub struct Mover {
    pub label: String,
    pub value: String,
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
pub fn page(letters: &[Letter<'_>], answers: &[Vec<Link>], base_url: Option<&str>, language: Language) -> DigestPage {
    let alerts: Vec<&Alert> = letters.iter().map(|letter| letter.alert).collect();
    let worst = alerts.iter().copied().filter(|alert| !is_closed(alert)).max_by_key(|alert| alert.severity);
    let over = language.pick("resolved", "erledigt");
    let badge = worst.map_or(over, |alert| subject::severity(alert.severity, language));
    let title = title(&alerts, language);
    let none = Vec::new();
    let (first, others) = letters.split_at(letters.len().min(MOST_ROWS));
    let rows: Vec<Row> =
        first.iter().enumerate().map(|(number, letter)| row(letter, answers.get(number).unwrap_or(&none), base_url, language)).collect();
    DigestPage {
        language: language.code(),
        words: language::words(language),
        subject: format!("[{badge}] {title}"),
        preheader: rows.first().map(|row| row.title.clone()).unwrap_or_default(),
        tone: worst.map_or("good", tone),
        badge: badge.to_string(),
        lead: lead(&alerts, language),
        figures: figures(&alerts, language),
        movers: movers(&alerts, language),
        title,
        rows,
        others: others.iter().map(|letter| line(letter, language)).collect(),
    }
}

/// `search: 12 alerts, +4,312 USD`, `12 alerts of 5 teams, +4,312 USD and more`.
pub fn title(alerts: &[&Alert], language: Language) -> String {
    let teams: BTreeSet<&str> = alerts.iter().map(|alert| alert.team.as_str()).collect();
    let count = format!("{} {}", alerts.len(), language.pick("alerts", "Meldungen"));
    let money = sums(&extra(alerts), |alert| alert.excess, language);
    let money = if money.is_empty() { String::new() } else { format!(", {money}") };
    match (teams.len(), alerts.first(), language) {
        (1, Some(alert), _) => format!("{}: {count}{money}", subject::team(alert)),
        (teams, _, Language::English) => format!("{count} of {teams} teams{money}"),
        (teams, _, Language::German) => format!("{count} von {teams} Teams{money}"),
    }
}

/// By currency, the largest first: amounts of different currencies are never added up.
fn sums(alerts: &[&Alert], of: impl Fn(&Alert) -> Nanos, language: Language) -> String {
    let mut sums: BTreeMap<Currency, Nanos> = BTreeMap::new();
    for alert in alerts {
        let sum = sums.entry(alert.currency).or_default();
        *sum = sum.saturating_add(of(alert));
    }
    let mut sums: Vec<(Currency, Nanos)> = sums.into_iter().filter(|(_, sum)| *sum != Nanos::ZERO).collect();
    sums.sort_by_key(|(_, sum)| std::cmp::Reverse(*sum));
    let shown = sums.iter().take(MOST_CURRENCIES).map(|(currency, sum)| difference(*sum, brief(*sum, *currency, language)));
    let shown = shown.collect::<Vec<_>>().join(language.pick(" and ", " und "));
    if sums.len() > MOST_CURRENCIES { format!("{shown} {}", language.pick("and more", "und weitere")) } else { shown }
}

fn lead(alerts: &[&Alert], language: Language) -> String {
    let open = |severity| alerts.iter().filter(|alert| !is_closed(alert) && alert.severity == severity).count();
    let over = alerts.iter().filter(|alert| is_closed(alert)).count();
    let (warnings, notes) = (open(Severity::Warning), open(Severity::Info));
    let counts = [
        (open(Severity::Critical), language.pick("critical", "kritisch")),
        (warnings, if warnings == 1 { language.pick("warning", "Warnung") } else { language.pick("warnings", "Warnungen") }),
        (notes, language.pick("for information", if notes == 1 { "Hinweis" } else { "Hinweise" })),
        (over, language.pick("over already", "schon erledigt")),
    ];
    let counts: Vec<String> = counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    let counts = counts.join(", ");
    match language {
        Language::English => {
            format!("These alerts come as one letter, the worst first: {counts}. What follows on one of them is told in this conversation.")
        }
        Language::German => format!(
            "Diese Meldungen kommen als eine E-Mail, die schlimmste zuerst: {counts}. Was auf eine von ihnen folgt, steht in dieser \
             Unterhaltung."
        ),
    }
}

fn figures(alerts: &[&Alert], language: Language) -> Vec<Fact> {
    let open: Vec<&Alert> = alerts.iter().copied().filter(|alert| !is_closed(alert)).collect();
    let savings = savings(&open);
    let mut hourly = extra(&open);
    hourly.retain(|alert| matter::has_rate(alert.kind));
    let figures = [
        (language.pick("Extra in all", "Mehrkosten insgesamt"), sums(&extra(alerts), |alert| alert.excess, language)),
        (language.pick("Could be saved a month", "Im Monat zu sparen"), sums(&savings, matter::monthly, language).replace('+', "")),
        (language.pick("Extra per hour, now", "Derzeit pro Stunde"), sums(&hourly, |alert| alert.burn_rate_per_hour, language)),
        (
            language.pick("By month end, at this rate", "So bis Monatsende"),
            sums(&extra(&open), |alert| alert.projected_month_end_excess, language),
        ),
    ];
    figures.into_iter().filter(|(_, value)| !value.is_empty()).map(|(label, value)| Fact { label, value }).collect()
}

/// Whose excess is money that is spent beyond, or missed: not what is left of a budget, not what could be had for less, and not what was
/// spent against a policy. What is open; if nothing is, what is over, unless it was nothing after all.
fn extra<'a>(alerts: &[&'a Alert]) -> Vec<&'a Alert> {
    let is_any_open = alerts.iter().any(|alert| !is_closed(alert));
    let was_nothing = |alert: &Alert| alert.state == AlertState::Retracted || words::no_anomaly(alert).is_some();
    let counts = |alert: &&Alert| if is_any_open { !is_closed(alert) } else { !was_nothing(alert) };
    let is_extra = |alert: &&Alert| !matches!(alert.kind, AlertKind::Budget | AlertKind::PolicyViolation) && !alert.kind.is_saving();
    alerts.iter().copied().filter(is_extra).filter(counts).collect()
}

/// What could be saved: of what is about the same usage or resource the largest, since one saving leaves less for the other.
fn savings<'a>(open: &[&'a Alert]) -> Vec<&'a Alert> {
    let mut largest: BTreeMap<(&str, Currency, Vec<Option<&String>>), &'a Alert> = BTreeMap::new();
    for alert in open.iter().copied().filter(|alert| alert.kind.is_waste() || alert.kind.is_saving()) {
        let about = ["resource_id", "project", "model", "provider", "environment"].map(|name| alert.dimensions.get(name)).to_vec();
        let known = largest.entry((&alert.team, alert.currency, about)).or_insert(alert);
        if matter::monthly(alert) > matter::monthly(known) {
            *known = alert;
        }
    }
    largest.into_values().collect()
}

/// The teams, or of a single team the places, with the largest extra or missing cost.
fn movers(alerts: &[&Alert], language: Language) -> Vec<Mover> {
    if alerts.len() < MOVERS_FROM {
        return Vec::new();
    }
    // Amounts of two currencies have no order.
    let mut by_currency: BTreeMap<Currency, Vec<&Alert>> = BTreeMap::new();
    for alert in extra(alerts) {
        by_currency.entry(alert.currency).or_default().push(alert);
    }
    let Some(alerts) = by_currency.into_values().max_by_key(Vec::len) else { return Vec::new() };
    let Some(Alert { team, currency, .. }) = alerts.first() else { return Vec::new() };
    let is_one_team = alerts.iter().all(|alert| alert.team == *team);
    let mut moved: BTreeMap<String, (Nanos, usize)> = BTreeMap::new();
    for alert in &alerts {
        let label = if is_one_team { words::place(&alert.dimensions, language) } else { subject::team(alert) };
        let (sum, count) = moved.entry(label).or_default();
        (*sum, *count) = (sum.saturating_add(alert.excess), *count + 1);
    }
    if moved.len() < 2 {
        return Vec::new();
    }
    let mut moved: Vec<_> = moved.into_iter().filter(|(_, (sum, _))| *sum != Nanos::ZERO).collect();
    moved.sort_by_key(|(_, (sum, _))| std::cmp::Reverse(matter::size(*sum)));
    let mover = |(label, (sum, count)): (String, (Nanos, usize))| {
        let alerts = match (count, language) {
            (1, Language::English) => "1 alert".to_string(),
            (1, Language::German) => "1 Meldung".to_string(),
            (count, _) => format!("{count} {}", language.pick("alerts", "Meldungen")),
        };
        Mover { label, value: format!("{} ({alerts})", difference(sum, brief(sum, *currency, language))) }
    };
    moved.into_iter().take(MOST_MOVERS).map(mover).collect()
}

fn line(letter: &Letter<'_>, language: Language) -> Line {
    let alert = letter.alert;
    let id = super::clean::clean(&alert.id, super::page::LONGEST_ID);
    Line { badge: subject::badge(alert, language), title: headline(letter, language), id }
}

fn headline(letter: &Letter<'_>, language: Language) -> String {
    format!("{}: {}", subject::team(letter.alert), subject::news(letter.alert, letter.earlier, language))
}

fn row(letter: &Letter<'_>, answers: &[Link], base_url: Option<&str>, language: Language) -> Row {
    let alert = letter.alert;
    let zone = when::zone(&alert.time_zone);
    let burn = difference(alert.burn_rate_per_hour, brief(alert.burn_rate_per_hour, alert.currency, language));
    let since = when::moment(alert.onset, &zone, language);
    let now = match language {
        Language::English => format!("{since}; now {burn} per hour"),
        Language::German => format!("{since}; derzeit {burn} pro Stunde"),
    };
    Row {
        tone: tone(alert),
        badge: subject::badge(alert, language),
        title: headline(letter, language),
        place: words::place(&alert.dimensions, language),
        since: if is_closed(alert) || !matter::has_rate(alert.kind) { since } else { now },
        id: super::clean::clean(&alert.id, super::page::LONGEST_ID),
        link: base_url.and_then(|base| link(base, &alert.id)),
        answers: super::page::answers(answers, language),
    }
}
