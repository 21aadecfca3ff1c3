//! Sentences about an alert, the same in HTML and plain text.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;

use crate::deliver::receipt::{Told, is_closed};
use crate::deliver::violation;
use crate::model::alert::{Alert, AlertKind, AlertState, Said, Stage};
use crate::model::feedback::Verdict;
use crate::model::time::Timestamp;

use super::amount::{brief, difference, exact};
use super::clean::{clean, name};
use super::language::Language;
use super::subject::{kind, last_seen, team};
use super::{TEST_TEAM, german, matter, when};

const LONGEST_SENTENCE: usize = 400;
const LONGEST_VALUE: usize = 80;

/// What happened, in one sentence or two.
pub fn lead(alert: &Alert, earlier: Option<&Told>, zone: &TimeZone, language: Language) -> String {
    // A matter says itself how it ended.
    if alert.kind.is_matter() && alert.state == AlertState::Retracted {
        return matter::taken_back(alert, language);
    }
    if alert.kind.is_matter() && !alert.summary.is_empty() {
        return said(alert, zone, language);
    }
    match alert.state {
        AlertState::Resolved if alert.kind == AlertKind::PolicyViolation => violation::why_over(alert, language),
        AlertState::Resolved => match no_anomaly(alert) {
            Some(said) => dismissed(said, alert, zone, language),
            None => resolved(alert, zone, language),
        },
        AlertState::Retracted if alert.kind == AlertKind::PolicyViolation => violation::taken_back(alert, language),
        AlertState::Retracted => retracted(alert, language),
        AlertState::Amended => amended(alert, earlier, zone, language),
        AlertState::Open
        | AlertState::Updated
        | AlertState::Acknowledged
        | AlertState::Expected
        | AlertState::Reopened
        | AlertState::Escalated => said(alert, zone, language),
    }
}

/// What the alert says itself, or, where it says nothing in this language, its numbers.
fn said(alert: &Alert, zone: &TimeZone, language: Language) -> String {
    match language {
        Language::German if alert.team == TEST_TEAM => format!("Das ist ein Test, es ist nichts passiert. {}", german::lead(alert, zone)),
        Language::German => german::lead(alert, zone),
        Language::English if clean(&alert.summary, LONGEST_SENTENCE).is_empty() => format!(
            "{} has spent {} in {}, where {} would be normal.",
            team(alert),
            exact(alert.actual, alert.currency, language),
            when::span(alert.onset, last_seen(alert), language),
            exact(alert.expected, alert.currency, language)
        ),
        Language::English => clean(&alert.summary, LONGEST_SENTENCE),
    }
}

fn resolved(alert: &Alert, zone: &TimeZone, language: Language) -> String {
    let (end, span) = (when::moment(last_seen(alert), zone, language), when::span(alert.onset, last_seen(alert), language));
    let (actual, expected) = (exact(alert.actual, alert.currency, language), exact(alert.expected, alert.currency, language));
    let over = match (alert.kind.may_become_usual(), language) {
        (true, Language::English) => format!("Since {end} this is over, or counts as usual by now."),
        (true, Language::German) => format!("Seit {end} ist das vorbei oder gilt inzwischen als üblich."),
        (false, Language::English) => format!("Spend is back to normal since {end}."),
        (false, Language::German) => format!("Die Kosten sind seit {end} wieder im üblichen Rahmen."),
    };
    match language {
        Language::English => {
            format!("{over} From start to end, {span}, the episode cost {actual}, where {expected} would have been normal.")
        }
        Language::German => format!("{over} Von Anfang bis Ende, {span}, waren es {actual}; üblich gewesen wären {expected}."),
    }
}

/// The word that it is no anomaly, where that is the last one on an alert that is over.
pub fn no_anomaly(alert: &Alert) -> Option<&Said> {
    let is_over = is_closed(alert) && !alert.kind.is_matter() && alert.kind != AlertKind::PolicyViolation;
    alert.feedback.last().filter(|said| is_over && Verdict::named(&said.verdict) == Some(Verdict::NotAnAnomaly))
}

/// Who has said something.
pub fn who(said: &Said, language: Language) -> String {
    name(said.actor.as_deref().unwrap_or(language.pick("somebody", "jemand")), LONGEST_VALUE)
}

fn dismissed(said: &Said, alert: &Alert, zone: &TimeZone, language: Language) -> String {
    let (who, kind) = (who(said, language), kind(alert, language));
    let until = said.until.map(|until| when::day_and_clock_seen(until, alert.decided_at, zone, language));
    match language {
        Language::English => format!(
            "{who} says that this is no anomaly but normal, so the alert ({kind}) is over. As much is not told again{}; there is nothing to do.",
            until.map(|until| format!(" until {until}")).unwrap_or_default()
        ),
        Language::German => format!(
            "{who} sagt, dass das keine Anomalie ist, sondern üblich; die Meldung ({kind}) ist damit erledigt. So viel wird{} nicht noch einmal \
             gemeldet; es ist nichts zu tun.",
            until.map(|until| format!(" bis {until}")).unwrap_or_default()
        ),
    }
}

/// An hour that was taken back has no figures any more.
fn retracted(alert: &Alert, language: Language) -> String {
    let kind = kind(alert, language);
    match language {
        Language::English => format!(
            "This was no {kind} after all: with the whole hour, or corrected data, it is within what is normal. Please disregard the \
             earlier mails of this conversation; there is nothing to do."
        ),
        Language::German => format!(
            "Das war ein Fehlalarm ({kind}): Mit der ganzen Stunde oder berichtigten Daten liegt es im üblichen Rahmen. Bitte vergessen \
             Sie die früheren E-Mails dieser Unterhaltung; es ist nichts zu tun."
        ),
    }
}

fn amended(alert: &Alert, earlier: Option<&Told>, zone: &TimeZone, language: Language) -> String {
    let extra = exact(alert.excess, alert.currency, language);
    let before = earlier.filter(|told| told.excess != alert.excess);
    let before = before.map(|told| (exact(told.excess, alert.currency, language), when::clock(told.at, zone)));
    let figure = match (before, language) {
        (Some((was, at)), Language::English) => {
            format!("Corrected or late data changed the figure: {extra} above normal, not {was} as we said at {at}.")
        }
        (Some((was, at)), Language::German) => {
            format!(
                "Berichtigte oder verspätete Daten haben die Zahl geändert: {extra} über dem Üblichen, nicht {was}, wie um {at} gemeldet."
            )
        }
        (None, Language::English) => format!("Corrected or late data changed the figures: {extra} above normal."),
        (None, Language::German) => format!("Berichtigte oder verspätete Daten haben die Zahlen geändert: {extra} über dem Üblichen."),
    };
    let state = match is_closed(alert) {
        true => language.pick("The matter stays closed.", "Die Sache bleibt erledigt."),
        false => language.pick("The alert stays open.", "Die Meldung bleibt offen."),
    };
    format!("{figure} {state}")
}

/// How far what is normal can be trusted.
pub fn confidence(alert: &Alert, language: Language) -> &'static str {
    let (english, german) = match alert.stage {
        _ if alert.kind.is_matter() && alert.score >= 0.9 => {
            ("High: several independent signs agree.", "Hoch: mehrere unabhängige Anzeichen stimmen überein.")
        }
        _ if alert.kind.is_saving() && alert.score < 0.7 => {
            ("Low: one sign says so, look before you act.", "Gering: ein Anzeichen spricht dafür, sehen Sie erst nach.")
        }
        _ if alert.kind.is_saving() => ("Medium: two signs agree.", "Mittel: zwei Anzeichen stimmen überein."),
        _ if alert.kind.is_matter() => ("Medium: one sign says so.", "Mittel: ein Anzeichen spricht dafür."),
        Stage::New => (
            "Low: under 3 hours of history, so what is normal is not known yet.",
            "Gering: weniger als 3 Stunden Vorgeschichte, was üblich ist, ist noch nicht bekannt.",
        ),
        Stage::FirstDay => (
            "Early: under a day of history; compared with the median of recent hours.",
            "Früh: weniger als ein Tag Vorgeschichte; verglichen mit dem Median der letzten Stunden.",
        ),
        Stage::FirstWeeks => (
            "Fair: under two weeks of history; compared with the same hour of other days.",
            "Mäßig: weniger als zwei Wochen Vorgeschichte; verglichen mit derselben Stunde anderer Tage.",
        ),
        Stage::Seasoned => (
            "High: two weeks of history or more; compared with the same hour of the week.",
            "Hoch: zwei Wochen Vorgeschichte oder mehr; verglichen mit derselben Stunde der Woche.",
        ),
    };
    language.pick(english, german)
}

/// Whether the figure can still change by itself.
pub fn finality(alert: &Alert, language: Language) -> &'static str {
    if alert.kind.is_matter() {
        language.pick(
            "Kept up to date in this conversation, which also says when it is over.",
            "Wird in dieser Unterhaltung fortgeschrieben, bis es vorbei ist.",
        )
    } else if no_anomaly(alert).is_some() {
        language.pick("Settled by an answer.", "Durch eine Antwort erledigt.")
    } else if alert.provisional && !is_closed(alert) {
        language.pick(
            "Provisional: the hour is still running. Its close confirms or corrects this, in this conversation.",
            "Vorläufig: die Stunde läuft noch. Ihr Ende bestätigt oder berichtigt dies, in dieser Unterhaltung.",
        )
    } else {
        language.pick(
            "Final: the hours it rests on are closed. Late data can still correct it, in this conversation.",
            "Endgültig: die Stunden, auf denen es beruht, sind abgeschlossen. Verspätete Daten können es noch berichtigen.",
        )
    }
}

/// `project ranker, model gpt-4o`, or that it is the whole team.
pub fn place(dimensions: &BTreeMap<String, String>, language: Language) -> String {
    let known = ["resource_id", "project", "model", "provider", "region", "environment", "user", "meter"];
    let rest = dimensions.keys().map(String::as_str).filter(|key| !known.contains(key));
    let present = known.into_iter().chain(rest).filter_map(|key| dimensions.get(key).map(|value| (key, value)));
    let part = |(key, value): (&str, &String)| format!("{} {}", dimension(key, language), name(value, LONGEST_VALUE));
    let parts: Vec<String> = present.map(part).take(8).collect();
    if parts.is_empty() { language.pick("the whole team", "das ganze Team").to_string() } else { parts.join(", ") }
}

fn dimension(key: &str, language: Language) -> String {
    let german = match key {
        "resource_id" => "Ressource",
        "resource_type" => "Art",
        "project" => "Projekt",
        "model" => "Modell",
        "provider" => "Anbieter",
        "region" => "Region",
        "environment" => "Umgebung",
        "user" => "Nutzer",
        "meter" => "Messgröße",
        "budget" => "Budget",
        "instead" => "stattdessen",
        "capacity" => "Größe",
        "policy" => "Richtlinie",
        _ => return clean(key, 24),
    };
    match language {
        Language::English => clean(key, 24),
        Language::German => german.to_string(),
    }
}

/// The line that mail clients show beside the subject: what the subject has no room for.
pub fn preheader(alert: &Alert, zone: &TimeZone, language: Language) -> String {
    let since = format!("{} {}", language.pick("Since", "Seit"), when::day_and_clock_seen(alert.onset, alert.decided_at, zone, language));
    if is_closed(alert) {
        return format!("{since}. {}", language.pick("Nothing to do.", "Nichts zu tun."));
    }
    if alert.kind == AlertKind::PolicyViolation {
        return format!("{since}.");
    }
    let first_step = steps(alert, language).first().map(|step| format!(" {}", clean(step, 120))).unwrap_or_default();
    if !matter::has_rate(alert.kind) {
        return format!("{since}.{first_step}");
    }
    let burn = difference(alert.burn_rate_per_hour, brief(alert.burn_rate_per_hour, alert.currency, language));
    match language {
        Language::English => format!("{since}, now {burn} per hour.{first_step}"),
        Language::German => format!("{since}, derzeit {burn} pro Stunde.{first_step}"),
    }
}

/// What to do next; nothing once it is over.
pub fn steps(alert: &Alert, language: Language) -> Vec<String> {
    if matches!(alert.state, AlertState::Retracted | AlertState::Resolved) {
        return Vec::new();
    }
    match language {
        Language::English => alert.next_steps.iter().map(|step| sentence(step)).collect(),
        Language::German if alert.team == TEST_TEAM => {
            vec!["Nichts zu tun: Das hat jemand mit `tollgate mail test` gesendet.".to_string()]
        }
        Language::German => german::steps(alert),
    }
}

/// `ada@example.com takes care of it, as of Tue 14:20 (looking into it)`. `now`: as of when it is read.
pub fn answered(said: &Said, kind: AlertKind, now: Timestamp, zone: &TimeZone, language: Language) -> String {
    let of_violation = kind == AlertKind::PolicyViolation;
    let of_matter = kind.is_matter();
    let (english, german) = match Verdict::named(&said.verdict) {
        Some(Verdict::Expected) if of_violation => ("accepts it", "nimmt es hin"),
        Some(Verdict::NotAnAnomaly) if of_violation => ("says that it is no violation", "sagt, dass es kein Verstoß ist"),
        Some(Verdict::NotAnAnomaly) if of_matter => ("says that it is no problem", "sagt, dass es kein Problem ist"),
        Some(Verdict::Ack) => ("takes care of it", "kümmert sich darum"),
        Some(Verdict::Expected | Verdict::Planned) => ("expects it", "erwartet es so"),
        Some(Verdict::NotAnAnomaly) => ("says that it is no anomaly", "sagt, dass es keine Anomalie ist"),
        Some(Verdict::Reopen) => ("has reopened it", "hat es wieder geöffnet"),
        None => ("has answered", "hat geantwortet"),
    };
    let who = who(said, language);
    let moment = |at| when::day_and_clock_seen(at, now, zone, language);
    let from = said.from.map(|from| format!(", {} {}", language.pick("from", "von"), moment(from))).unwrap_or_default();
    let comma = if from.is_empty() { "," } else { "" };
    let until = said.until.map(|until| format!("{comma} {} {}", language.pick("until", "bis"), moment(until))).unwrap_or_default();
    let note = said.note.as_deref().map(|note| format!(" ({})", name(note, 200))).unwrap_or_default();
    format!("{who} {}{from}{until}, {} {}{note}", language.pick(english, german), language.pick("as of", "Stand"), moment(said.said_at))
}

pub fn sentence(text: &str) -> String {
    clean(text, LONGEST_SENTENCE)
}

/// `92 %`, never outside 0..100.
pub fn percent(share: f64) -> u32 {
    // A saturating cast: NaN becomes 0.
    (share * 100.0).round().clamp(0.0, 100.0) as u32
}
