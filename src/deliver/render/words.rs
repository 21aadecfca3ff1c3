//! Sentences about an alert, the same in HTML and plain text.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;

use crate::deliver::receipt::{Told, is_closed};
use crate::deliver::violation;
use crate::model::alert::{Alert, AlertKind, AlertState, Said, Stage};
use crate::model::feedback::Verdict;

use super::amount::{brief, difference, exact};
use super::clean::{clean, name};
use super::subject::{kind, last_seen, team};
use super::when;

const LONGEST_SENTENCE: usize = 400;
const LONGEST_VALUE: usize = 80;

/// What happened, in one sentence or two.
pub fn lead(alert: &Alert, earlier: Option<&Told>, zone: &TimeZone) -> String {
    // A matter says itself how it ended.
    if alert.kind.is_matter() && !alert.summary.is_empty() {
        return clean(&alert.summary, LONGEST_SENTENCE);
    }
    match alert.state {
        AlertState::Resolved if alert.kind == AlertKind::PolicyViolation => violation::over(alert),
        AlertState::Resolved => resolved(alert, zone),
        AlertState::Retracted => retracted(alert),
        AlertState::Amended => amended(alert, earlier, zone),
        AlertState::Open
        | AlertState::Updated
        | AlertState::Acknowledged
        | AlertState::Expected
        | AlertState::Reopened
        | AlertState::Escalated => {
            let summary = clean(&alert.summary, LONGEST_SENTENCE);
            if summary.is_empty() { spent(alert) } else { summary }
        }
    }
}

/// In numbers only, for alerts that bring no sentence of their own.
fn spent(alert: &Alert) -> String {
    format!(
        "{} has spent {} in {}, where {} would be normal.",
        team(alert),
        exact(alert.actual, alert.currency),
        when::span(alert.onset, last_seen(alert)),
        exact(alert.expected, alert.currency)
    )
}

fn resolved(alert: &Alert, zone: &TimeZone) -> String {
    format!(
        "Spend is back to normal since {}. From start to end, {}, the episode cost {}, where {} would have been normal.",
        when::moment(last_seen(alert), zone),
        when::span(alert.onset, last_seen(alert)),
        exact(alert.actual, alert.currency),
        exact(alert.expected, alert.currency)
    )
}

fn retracted(alert: &Alert) -> String {
    format!(
        "This was no {} after all: with corrected or late data {} was spent, where {} is normal. Please disregard the earlier mails of \
         this conversation; there is nothing to do.",
        kind(alert),
        exact(alert.actual, alert.currency),
        exact(alert.expected, alert.currency)
    )
}

fn amended(alert: &Alert, earlier: Option<&Told>, zone: &TimeZone) -> String {
    let extra = exact(alert.excess, alert.currency);
    let figure = match earlier {
        Some(told) if told.excess != alert.excess => {
            let was = exact(told.excess, alert.currency);
            format!(
                "Corrected or late data changed the figure: {extra} above normal, not {was} as we said at {}.",
                when::clock(told.at, zone)
            )
        }
        _ => format!("Corrected or late data changed the figures: {extra} above normal."),
    };
    let state = if is_closed(alert) { "The matter stays closed." } else { "The alert stays open." };
    format!("{figure} {state}")
}

/// How far what is normal can be trusted.
pub fn confidence(alert: &Alert) -> &'static str {
    match alert.stage {
        _ if alert.kind.is_matter() && alert.score >= 0.9 => "High: several independent signs agree.",
        _ if alert.kind.is_matter() => "Medium: one sign says so.",
        Stage::New => "Low: under 3 hours of history, so what is normal is not known yet.",
        Stage::FirstDay => "Early: under a day of history; compared with the median of recent hours.",
        Stage::FirstWeeks => "Fair: under two weeks of history; compared with the same hour of other days.",
        Stage::Seasoned => "High: two weeks of history or more; compared with the same hour of the week.",
    }
}

/// Whether the figure can still change by itself.
pub fn finality(alert: &Alert) -> &'static str {
    if alert.kind.is_matter() {
        "Kept up to date in this conversation, which also says when it is over."
    } else if alert.provisional {
        "Provisional: the hour is still running. Its close confirms or corrects this, in this conversation."
    } else {
        "Final: the hours it rests on are closed. Late data can still correct it, in this conversation."
    }
}

/// `project ranker, model gpt-4o`, or that it is the whole team.
pub fn place(dimensions: &BTreeMap<String, String>) -> String {
    let known = ["resource_id", "project", "model", "provider", "region", "environment", "user", "meter"];
    let rest = dimensions.keys().map(String::as_str).filter(|key| !known.contains(key));
    let present = known.into_iter().chain(rest).filter_map(|key| dimensions.get(key).map(|value| (key, value)));
    let parts: Vec<String> = present.map(|(key, value)| format!("{} {}", clean(key, 24), name(value, LONGEST_VALUE))).take(8).collect();
    if parts.is_empty() { "the whole team".to_string() } else { parts.join(", ") }
}

/// The line that mail clients show beside the subject: what the subject has no room for.
pub fn preheader(alert: &Alert, zone: &TimeZone) -> String {
    let since = format!("Since {}", when::day_and_clock(alert.onset, zone));
    if is_closed(alert) {
        return format!("{since}. Nothing to do.");
    }
    if alert.kind == AlertKind::PolicyViolation {
        return format!("{since}.");
    }
    let burn = brief(alert.burn_rate_per_hour, alert.currency);
    let first_step = alert.next_steps.first().map(|step| format!(" {}", clean(step, 120))).unwrap_or_default();
    format!("{since}, now {} per hour.{first_step}", difference(alert.burn_rate_per_hour, burn))
}

/// `ada@example.com takes care of it, as of Tue 14:20 (looking into it)`.
pub fn answered(said: &Said, zone: &TimeZone) -> String {
    let what = match Verdict::named(&said.verdict) {
        Some(Verdict::Ack) => "takes care of it",
        Some(Verdict::Expected | Verdict::Planned) => "expects it",
        Some(Verdict::NotAnAnomaly) => "says that it is no anomaly",
        Some(Verdict::Reopen) => "has reopened it",
        None => "has answered",
    };
    let who = name(said.actor.as_deref().unwrap_or("somebody"), LONGEST_VALUE);
    let until = said.until.map(|until| format!(", until {}", when::day_and_clock(until, zone))).unwrap_or_default();
    let note = said.note.as_deref().map(|note| format!(" ({})", name(note, 200))).unwrap_or_default();
    format!("{who} {what}{until}, as of {}{note}", when::day_and_clock(said.said_at, zone))
}

pub fn sentence(text: &str) -> String {
    clean(text, LONGEST_SENTENCE)
}

/// `92 %`, never outside 0..100.
pub fn percent(share: f64) -> u32 {
    // A saturating cast: NaN becomes 0.
    (share * 100.0).round().clamp(0.0, 100.0) as u32
}
