//! The subject: who, how much, how fast, where, in a line that fits a lock screen.

use std::collections::BTreeMap;

use crate::deliver::receipt::{Told, is_closed, repeat_number};
use crate::deliver::violation;
use crate::model::alert::{Alert, AlertKind, AlertState, Severity};
use crate::model::leaf::Measure;
use crate::model::money::Nanos;

use super::amount::{brief, difference, times};
use super::clean::name;
use super::language::Language;
use super::{matter, when, words};

const LONGEST_TEAM: usize = 48;
const LONGEST_VALUE: usize = 40;
/// A cause with at least this share of the excess may stand for the whole.
const MOST: f64 = 0.6;

/// `[critical] search: +312 USD in 14 min, 9x normal (ranker / gpt-4o)`.
pub fn subject(alert: &Alert, earlier: Option<&Told>, language: Language) -> String {
    format!("[{}] {}: {}{}", badge(alert, language), team(alert), news(alert, earlier, language), place(alert, language))
}

/// The word in brackets: how bad it is, or that it is over.
pub fn badge(alert: &Alert, language: Language) -> &'static str {
    match alert.state {
        AlertState::Resolved => language.pick(alert.state.as_str(), "erledigt"),
        AlertState::Retracted => language.pick(alert.state.as_str(), "zurückgenommen"),
        AlertState::Amended => language.pick(alert.state.as_str(), "berichtigt"),
        AlertState::Open
        | AlertState::Updated
        | AlertState::Acknowledged
        | AlertState::Expected
        | AlertState::Reopened
        | AlertState::Escalated => severity(alert.severity, language),
    }
}

pub fn severity(severity: Severity, language: Language) -> &'static str {
    let german = match severity {
        Severity::Info => "Hinweis",
        Severity::Warning => "Warnung",
        Severity::Critical => "kritisch",
    };
    language.pick(severity.as_str(), german)
}

pub fn team(alert: &Alert) -> String {
    name(&alert.team, LONGEST_TEAM)
}

/// What happened, in as few words as will do.
pub fn news(alert: &Alert, earlier: Option<&Told>, language: Language) -> String {
    if let Some(said) = words::no_anomaly(alert).filter(|_| alert.state == AlertState::Resolved) {
        return format!("{} {}", language.pick("no anomaly, says", "keine Anomalie, sagt"), words::who(said, language));
    }
    let money = |amount: Nanos| brief(amount, alert.currency, language);
    let extra = |amount: Nanos| difference(amount, money(amount));
    let so_far = so_far(alert, language);
    let with = |english: &str, german: &str| format!("{}, {so_far}", language.pick(english, german));
    if !is_closed(alert) && repeat_number(earlier, alert) > 0 {
        return with("still open", "weiterhin offen");
    }
    match (alert.state, earlier) {
        (AlertState::Open | AlertState::Acknowledged | AlertState::Expected, _) => so_far,
        (AlertState::Updated, Some(told)) if told.excess < alert.excess => with("still going", "geht weiter"),
        (AlertState::Updated, _) => so_far,
        (AlertState::Escalated, Some(told)) if told.severity < alert.severity => {
            format!("{} {}, {so_far}", language.pick("now", "jetzt"), severity(alert.severity, language))
        }
        // A matter escalates by what it is, not by who looks at it.
        (AlertState::Escalated, _) if alert.kind.is_matter() => so_far,
        (AlertState::Escalated, _) => with("nobody has taken it up", "niemand kümmert sich darum"),
        // Nobody was told that it is over: it has outgrown what was said of it.
        (AlertState::Reopened, Some(told)) if !told.closed && !alert.kind.is_matter() && alert.kind != AlertKind::PolicyViolation => {
            with("still going", "geht weiter")
        }
        (AlertState::Reopened, _) => with("back again", "wieder da"),
        (AlertState::Resolved, _) if alert.kind == AlertKind::PolicyViolation => violation::over(alert, language),
        (AlertState::Resolved, _) if alert.kind.is_matter() => format!("{}, {}", language.pick("over", "vorbei"), money(alert.excess)),
        (AlertState::Resolved, _) if alert.kind.may_become_usual() => match language {
            Language::English => format!("over or usual by now, cost {} extra", money(alert.excess)),
            Language::German => format!("vorbei oder inzwischen üblich, Mehrkosten {}", money(alert.excess)),
        },
        (AlertState::Resolved, _) => match language {
            Language::English => format!("back to normal, cost {} extra", money(alert.excess)),
            Language::German => format!("wieder im üblichen Rahmen, Mehrkosten {}", money(alert.excess)),
        },
        (AlertState::Retracted, _) if alert.kind.is_matter() => with("settled by an answer", "durch eine Antwort erledigt"),
        (AlertState::Retracted, _) => match language {
            Language::English => format!("false alarm, no {} after all", kind(alert, language)),
            Language::German => format!("Fehlalarm, doch nicht: {}", kind(alert, language)),
        },
        (AlertState::Amended, Some(told)) if told.excess != alert.excess => {
            format!("{}, {} {}", extra(alert.excess), language.pick("not", "nicht"), extra(told.excess))
        }
        (AlertState::Amended, _) => with("figures corrected", "Zahlen berichtigt"),
    }
}

/// `+312 USD in 14 min, 9x normal`.
fn so_far(alert: &Alert, language: Language) -> String {
    if alert.kind == AlertKind::PolicyViolation {
        return violation::so_far(alert, language);
    }
    if alert.kind.is_matter() {
        return matter::so_far(alert, language);
    }
    let extra = difference(alert.excess, brief(alert.excess, alert.currency, language));
    let kind = match alert.kind {
        AlertKind::Runaway => language.pick("runaway, ", "außer Kontrolle, "),
        AlertKind::PriceChange => language.pick("dearer tokens, ", "teurere Token, "),
        AlertKind::ModelSwitch => language.pick("dearer model, ", "teureres Modell, "),
        AlertKind::SpendMoved => language.pick("moved, ", "verlagert, "),
        AlertKind::Sustained => language.pick("for hours, ", "seit Stunden, "),
        AlertKind::LevelShift => language.pick("new level, ", "neues Niveau, "),
        AlertKind::SpendDrop => language.pick("gone quiet, ", "verstummt, "),
        _ => "",
    };
    let billed = match alert.measure {
        Measure::Billed | Measure::BilledOriginal => language.pick(" billed", " berechnet"),
        Measure::Estimated | Measure::EstimatedOriginal => "",
    };
    format!("{kind}{extra}{billed} in {}, {}", when::within(alert.onset, last_seen(alert), language), multiple(alert, language))
}

/// `9x normal`.
fn multiple(alert: &Alert, language: Language) -> String {
    match (times(alert.actual, alert.expected, language), language) {
        (Some(times), Language::English) => format!("{times}x normal"),
        (Some(times), Language::German) => format!("das {times}-Fache des Üblichen"),
        (None, Language::English) => "normally nothing".to_string(),
        (None, Language::German) => "üblich ist nichts".to_string(),
    }
}

pub fn kind(alert: &Alert, language: Language) -> &'static str {
    let (english, german) = match alert.kind {
        AlertKind::SpendSpike => ("spend spike", "Kostensprung"),
        AlertKind::Runaway => ("runaway spend", "Kosten außer Kontrolle"),
        AlertKind::Sustained => ("sustained overspend", "anhaltende Mehrkosten"),
        AlertKind::LevelShift => ("level shift", "neues Kostenniveau"),
        AlertKind::PriceChange => ("price change", "Preisänderung"),
        AlertKind::ModelSwitch => ("change of models", "Modellwechsel"),
        AlertKind::SpendMoved => ("move", "Verlagerung"),
        AlertKind::SpendDrop => ("drop in spend", "Kostenrückgang"),
        AlertKind::PolicyViolation => ("policy violation", "Richtlinienverstoß"),
        AlertKind::IdleResource => ("idle resource", "ungenutzte Ressource"),
        AlertKind::ForgottenResource => ("forgotten resource", "vergessene Ressource"),
        AlertKind::OrphanedResource => ("orphaned resource", "verwaiste Ressource"),
        AlertKind::UnusedCommitment => ("unused commitment", "ungenutzte Zusage"),
        AlertKind::MissingMoney => ("missing money", "fehlende Kosten"),
        AlertKind::ProviderSilent => ("silence of a provider", "Anbieter verstummt"),
        AlertKind::BillMismatch => ("difference to the bill", "Abweichung von der Rechnung"),
        AlertKind::UnseenSpend => ("spend without usage", "Kosten ohne Nutzung"),
        AlertKind::UntaggedSpend => ("spend without a team", "Kosten ohne Team"),
        AlertKind::Budget => ("budget", "Budget"),
        AlertKind::NoPromptCaching => ("prompts without a cache", "Prompts ohne Cache"),
        AlertKind::NoBatch => ("work that could be sent in batches", "Arbeit, die in Batches ginge"),
        AlertKind::DearModel => ("dear model for small questions", "teures Modell für kleine Fragen"),
        AlertKind::OversizedResource => ("oversized resource", "zu große Ressource"),
    };
    language.pick(english, german)
}

/// The end of what the revision speaks of.
pub fn last_seen(alert: &Alert) -> crate::model::time::Timestamp {
    alert.closed_at.unwrap_or(alert.event_time)
}

/// ` (ranker / gpt-4o)`: the node that fired, or, for a whole team, the cause that makes up most of it.
fn place(alert: &Alert, language: Language) -> String {
    let own = values(&alert.dimensions);
    if !own.is_empty() {
        return format!(" ({own})");
    }
    let main = alert.causes.first().filter(|cause| cause.share >= MOST).map(|cause| values(&cause.dimensions)).unwrap_or_default();
    if main.is_empty() { String::new() } else { format!(" ({} {main})", language.pick("mostly", "vor allem")) }
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
        let over = Told { closed: true, ..told.clone() };
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
            (
                Alert { kind: AlertKind::PriceChange, ..sample::resolved() },
                Some(&told),
                "[resolved] search: over or usual by now, cost 812 USD extra (ranker / gpt-4o)",
            ),
            (sample::retracted(), Some(&told), "[retracted] search: false alarm, no spend spike after all (ranker / gpt-4o)"),
            (sample::amended(), Some(&told), "[amended] search: +263 USD, not +312 USD (ranker / gpt-4o)"),
            (sample::amended(), None, "[amended] search: figures corrected, +263 USD in 1 h 20 min, 7.7x normal (ranker / gpt-4o)"),
            (
                Alert { revision: 2, ..spike(AlertState::Reopened) },
                Some(&told),
                "[critical] search: still going, +312 USD in 14 min, 9x normal (ranker / gpt-4o)",
            ),
            (
                Alert { revision: 2, ..spike(AlertState::Reopened) },
                Some(&over),
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
            assert_eq!(subject(&alert, earlier, Language::English), expected);
        }
    }
}
