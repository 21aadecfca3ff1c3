//! The subject: who, how much, how fast, where, in a line that fits a lock screen.

use std::collections::BTreeMap;

use crate::deliver::receipt::{Told, is_closed, repeat_number};
use crate::deliver::violation;
use crate::model::alert::{Alert, AlertKind, AlertState};
use crate::model::leaf::Measure;
use crate::model::money::Nanos;

use super::amount::{brief, difference, times};
use super::clean::name;
use super::{matter, when};

const LONGEST_TEAM: usize = 48;
const LONGEST_VALUE: usize = 40;
/// A cause with at least this share of the excess may stand for the whole.
const MOST: f64 = 0.6;

/// `[critical] search: +312 USD in 14 min, 9x normal (ranker / gpt-4o)`.
pub fn subject(alert: &Alert, earlier: Option<&Told>) -> String {
    format!("[{}] {}: {}{}", badge(alert), team(alert), news(alert, earlier), place(alert))
}

/// The word in brackets: how bad it is, or that it is over.
pub fn badge(alert: &Alert) -> &'static str {
    match alert.state {
        AlertState::Resolved | AlertState::Retracted | AlertState::Amended => alert.state.as_str(),
        AlertState::Open
        | AlertState::Updated
        | AlertState::Acknowledged
        | AlertState::Expected
        | AlertState::Reopened
        | AlertState::Escalated => alert.severity.as_str(),
    }
}

pub fn team(alert: &Alert) -> String {
    name(&alert.team, LONGEST_TEAM)
}

/// What happened, in as few words as will do.
pub fn news(alert: &Alert, earlier: Option<&Told>) -> String {
    let extra = |amount: Nanos| difference(amount, brief(amount, alert.currency));
    let so_far = so_far(alert);
    if !is_closed(alert) && repeat_number(earlier, alert) > 0 {
        return format!("still open, {so_far}");
    }
    match (alert.state, earlier) {
        (AlertState::Open | AlertState::Acknowledged | AlertState::Expected, _) => so_far,
        (AlertState::Updated, Some(told)) if told.excess < alert.excess => format!("still going, {so_far}"),
        (AlertState::Updated, _) => so_far,
        (AlertState::Escalated, Some(told)) if told.severity < alert.severity => format!("now {}, {so_far}", alert.severity.as_str()),
        // A matter escalates by what it is, not by who looks at it.
        (AlertState::Escalated, _) if alert.kind.is_matter() => so_far,
        (AlertState::Escalated, _) => format!("nobody has taken it up, {so_far}"),
        (AlertState::Reopened, _) => format!("back again, {so_far}"),
        (AlertState::Resolved, _) if alert.kind == AlertKind::PolicyViolation => violation::over(alert),
        (AlertState::Resolved, _) if alert.kind.is_matter() => format!("over, {}", brief(alert.excess, alert.currency)),
        (AlertState::Resolved, _) => format!("back to normal, cost {} extra", brief(alert.excess, alert.currency)),
        (AlertState::Retracted, _) => format!("false alarm, no {} after all", kind(alert)),
        (AlertState::Amended, Some(told)) if told.excess != alert.excess => {
            format!("{}, not {}", extra(alert.excess), extra(told.excess))
        }
        (AlertState::Amended, _) => format!("figures corrected, {so_far}"),
    }
}

/// `+312 USD in 14 min, 9x normal`.
fn so_far(alert: &Alert) -> String {
    if alert.kind == AlertKind::PolicyViolation {
        return violation::so_far(alert);
    }
    if alert.kind.is_matter() {
        return matter::so_far(alert);
    }
    let extra = difference(alert.excess, brief(alert.excess, alert.currency));
    let kind = match alert.kind {
        AlertKind::Runaway => "runaway, ",
        AlertKind::PriceChange => "dearer tokens, ",
        AlertKind::ModelSwitch => "dearer model, ",
        AlertKind::SpendMoved => "moved, ",
        AlertKind::Sustained => "for hours, ",
        AlertKind::LevelShift => "new level, ",
        AlertKind::SpendDrop => "gone quiet, ",
        _ => "",
    };
    let billed = match alert.measure {
        Measure::Billed => " billed",
        Measure::Estimated => "",
    };
    let normal = times(alert.actual, alert.expected).map_or_else(|| "normally nothing".to_string(), |times| format!("{times}x normal"));
    format!("{kind}{extra}{billed} in {}, {normal}", when::span(alert.onset, last_seen(alert)))
}

pub fn kind(alert: &Alert) -> &'static str {
    match alert.kind {
        AlertKind::SpendSpike => "spend spike",
        AlertKind::Runaway => "runaway spend",
        AlertKind::Sustained => "sustained overspend",
        AlertKind::LevelShift => "level shift",
        AlertKind::PriceChange => "price change",
        AlertKind::ModelSwitch => "change of models",
        AlertKind::SpendMoved => "move",
        AlertKind::SpendDrop => "drop in spend",
        AlertKind::PolicyViolation => "policy violation",
        AlertKind::IdleResource => "idle resource",
        AlertKind::ForgottenResource => "forgotten resource",
        AlertKind::OrphanedResource => "orphaned resource",
        AlertKind::MissingMoney => "missing money",
        AlertKind::ProviderSilent => "silence of a provider",
        AlertKind::BillMismatch => "difference to the bill",
        AlertKind::UnseenSpend => "spend without usage",
        AlertKind::UntaggedSpend => "spend without a team",
        AlertKind::Budget => "budget",
    }
}

/// The end of what the revision speaks of.
pub fn last_seen(alert: &Alert) -> crate::model::time::Timestamp {
    alert.closed_at.unwrap_or(alert.event_time)
}

/// ` (ranker / gpt-4o)`: the node that fired, or, for a whole team, the cause that makes up most of it.
fn place(alert: &Alert) -> String {
    let own = values(&alert.dimensions);
    if !own.is_empty() {
        return format!(" ({own})");
    }
    let main = alert.causes.first().filter(|cause| cause.share >= MOST).map(|cause| values(&cause.dimensions)).unwrap_or_default();
    if main.is_empty() { String::new() } else { format!(" (mostly {main})") }
}

/// The two dimensions that people know their work by.
fn values(dimensions: &BTreeMap<String, String>) -> String {
    let known = ["resource_id", "project", "model", "provider", "region", "environment", "user", "meter"];
    let values = known.iter().filter_map(|key| dimensions.get(*key)).map(|value| name(value, LONGEST_VALUE));
    let values: Vec<String> = values.filter(|value| !value.is_empty()).take(2).collect();
    values.join(" / ")
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;
    use crate::deliver::receipt::Receipt;
    use crate::deliver::rules::Receiver;
    use crate::model::alert::Severity;
    use crate::model::time::Timestamp;

    fn told_of(alert: &Alert) -> Told {
        let (mut receipt, ada) = (Receipt::new(&alert.id), Receiver::Mail("ada@x".into()));
        receipt.record_sent(alert, &ada, "<1@x>", Timestamp(1));
        receipt.told(&ada).unwrap().clone()
    }

    #[test]
    fn subjects_say_what_to_act_on() {
        let told = told_of(&sample::spike());
        let lighter = Told { severity: Severity::Warning, ..told.clone() };
        let spike = |state| Alert { state, ..sample::spike() };
        let billed = Alert { measure: Measure::Billed, expected: Nanos::ZERO, ..sample::spike() };
        let cases = [
            (sample::spike(), None, "[critical] search: +312 USD in 14 min, 9x normal (ranker / gpt-4o)"),
            (billed, None, "[critical] search: +312 USD billed in 14 min, normally nothing (ranker / gpt-4o)"),
            (
                sample::runaway(),
                None,
                "[critical] ads-bidding: runaway, +1,204 USD in 6 min, over 1,000x normal (mostly bid-writer / gpt-4.1)",
            ),
            (sample::resolved(), Some(&told), "[resolved] search: back to normal, cost 812 USD extra (ranker / gpt-4o)"),
            (sample::retracted(), Some(&told), "[retracted] search: false alarm, no spend spike after all (ranker / gpt-4o)"),
            (sample::amended(), Some(&told), "[amended] search: +263 USD, not +312 USD (ranker / gpt-4o)"),
            (sample::amended(), None, "[amended] search: figures corrected, +263 USD in 1 h 20 min, 7.7x normal (ranker / gpt-4o)"),
            (
                Alert { revision: 2, ..spike(AlertState::Reopened) },
                Some(&told),
                "[critical] search: back again, +312 USD in 14 min, 9x normal (ranker / gpt-4o)",
            ),
            (sample::spike(), Some(&told), "[critical] search: still open, +312 USD in 14 min, 9x normal (ranker / gpt-4o)"),
            (
                Alert { revision: 2, ..spike(AlertState::Escalated) },
                Some(&lighter),
                "[critical] search: now critical, +312 USD in 14 min, 9x normal (ranker / gpt-4o)",
            ),
        ];
        for (alert, earlier, expected) in cases {
            assert_eq!(subject(&alert, earlier), expected);
        }
    }
}
