//! How people are told of a violation: in the form of an alert, so that routes, receipts, retries and channels are those of alerts.

use crate::deliver::render::amount::brief;
use crate::deliver::render::clean::{clean, name};
use crate::deliver::render::language::Language;
use crate::model::alert::{Alert, AlertKind, AlertState, POLICY, Stage};
use crate::model::counted::counted;
use crate::model::feedback::Verdict;
use crate::model::leaf::Measure;
use crate::model::money::{Currency, Nanos};
use crate::model::violation::{ENDED, Violation};

const LONGEST_NAME: usize = 80;
const LONGEST_REASON: usize = 300;
/// In front of why it is over.
const OVER: &str = "It is over: ";

pub fn as_alert(violation: &Violation) -> Alert {
    let amount = violation.amount.unwrap_or_default();
    let mut dimensions = violation.dimensions.clone();
    dimensions.insert(POLICY.to_string(), violation.policy.clone());
    let seen = violation
        .evidence
        .iter()
        .filter(|(name, _)| *name != ENDED)
        .map(|(name, value)| format!("{name} {value}"))
        .collect::<Vec<_>>()
        .join(", ");
    let why = violation.evidence.get(ENDED).filter(|_| violation.closed_at.is_some());
    let at = violation.event_time.unwrap_or(violation.decided_at);
    let remedy = violation.remedy.iter().cloned();
    let ask = violation.action.iter().map(|action| match action.as_str() {
        "block" => format!("Stop it: the policy {} forbids this.", violation.policy),
        _ => format!("Have it reviewed: the policy {} asks for that.", violation.policy),
    });
    Alert {
        id: violation.id.clone(),
        incident_id: violation.incident_id.clone(),
        revision: u32::try_from(violation.revision).unwrap_or(u32::MAX),
        state: violation.state,
        kind: AlertKind::PolicyViolation,
        severity: violation.severity,
        team: violation.team.clone(),
        dimensions,
        measure: violation.measure.unwrap_or(Measure::Estimated),
        currency: violation.currency.unwrap_or(Currency::USD),
        onset: violation.detected_at,
        event_time: at,
        ingest_time: violation.ingest_time.unwrap_or(violation.decided_at),
        detected_at: violation.detected_at,
        decided_at: violation.decided_at,
        closed_at: violation.closed_at,
        actual: amount,
        expected: Nanos::ZERO,
        excess: amount,
        burn_rate_per_hour: Nanos::ZERO,
        projected_month_end_excess: Nanos::ZERO,
        provisional: false,
        score: 1.0,
        stage: Stage::Seasoned,
        normal: if seen.is_empty() { String::new() } else { format!("{seen}; {}", counted(violation.count, "event")) },
        summary: why.map_or_else(|| violation.message.clone(), |why| format!("{OVER}{why}")),
        causes: Vec::new(),
        unexplained: 0.0,
        split: None,
        next_steps: remedy.chain(ask).collect(),
        history: Vec::new(),
        feedback: violation.feedback.clone(),
        notify: violation.notify,
        time_zone: violation.time_zone.clone(),
        rules_revision: violation.rules_revision,
    }
}

/// `violates approved-provider, 312 USD so far`.
pub fn so_far(alert: &Alert, language: Language) -> String {
    let again = if alert.state == AlertState::Reopened { language.pick("again ", "erneut ") } else { "" };
    let money = money(alert, language.pick("so far", "bisher"), language);
    format!("{again}{} {}{money}", language.pick("violates", "Verstoß gegen"), policy(alert, language))
}

pub fn over(alert: &Alert, language: Language) -> String {
    let money = money(alert, language.pick("in all", "insgesamt"), language);
    format!("{} {}{money}", language.pick("no longer violates", "kein Verstoß mehr gegen"), policy(alert, language))
}

/// Why it is over, beside [`over`]; as policies and what ends them say it, in whatever language.
pub fn why_over(alert: &Alert, language: Language) -> String {
    let why = alert.summary.strip_prefix(OVER).map(|why| clean(why, LONGEST_REASON)).unwrap_or_default();
    match (why.is_empty(), language) {
        (true, Language::English) => "It is over; there is nothing to do.".to_string(),
        (true, Language::German) => "Es ist vorbei; es ist nichts zu tun.".to_string(),
        (false, Language::English) => sentence(OVER, &why),
        (false, Language::German) => sentence("Es ist vorbei: ", &why),
    }
}

/// Somebody has said that it is none.
pub fn taken_back(alert: &Alert, language: Language) -> String {
    let by = alert.feedback.iter().rev().find(|said| Verdict::named(&said.verdict) == Some(Verdict::NotAnAnomaly));
    let who = name(by.and_then(|said| said.actor.as_deref()).unwrap_or(language.pick("somebody", "jemand")), LONGEST_NAME);
    let policy = policy(alert, language);
    match language {
        Language::English => format!(
            "{who} says that this is no violation of {policy}. Please disregard the earlier mails of this conversation; there is nothing to do."
        ),
        Language::German => format!(
            "{who} sagt, dass das kein Verstoß gegen {policy} ist. Bitte vergessen Sie die früheren E-Mails dieser Unterhaltung; es ist nichts \
             zu tun."
        ),
    }
}

fn money(alert: &Alert, when: &str, language: Language) -> String {
    if alert.actual == Nanos::ZERO { String::new() } else { format!(", {} {when}", brief(alert.actual, alert.currency, language)) }
}

fn policy(alert: &Alert, language: Language) -> &str {
    alert.dimensions.get(POLICY).map_or(language.pick("a policy", "eine Richtlinie"), String::as_str)
}

fn sentence(begin: &str, rest: &str) -> String {
    format!("{begin}{rest}{}", if rest.ends_with(['.', '!', '?', '…']) { "" } else { "." })
}
