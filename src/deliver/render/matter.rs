//! What alerts of waste, missing money and budgets say in figures: they have no normal that was left.

use crate::deliver::receipt::is_closed;
use crate::model::alert::{Alert, AlertKind};
use crate::model::feedback::Verdict;
use crate::model::money::{Currency, Nanos};

use super::amount::{brief, difference, exact};
use super::clean::name;
use super::language::Language;
use super::page::Fact;
use super::{subject, when};

/// What an hour costs is shown for a month of so many.
const HOURS_PER_MONTH: i128 = 730;
const LONGEST_NAME: usize = 48;

/// `forgotten, 25,579 USD a month, 1,051 USD so far`.
pub fn so_far(alert: &Alert, language: Language) -> String {
    let money = |amount| brief(amount, alert.currency, language);
    let amount = money(size(alert.excess));
    let within = when::within(alert.onset, subject::last_seen(alert), language);
    let waste = |english: &str, german: &str| {
        let month = money(monthly(alert));
        match language {
            Language::English => format!("{english}, {month} a month, {amount} so far"),
            Language::German => format!("{german}, {month} im Monat, bisher {amount}"),
        }
    };
    let saving = |english: &str, german: &str| {
        let month = money(monthly(alert));
        match language {
            Language::English => format!("{english}, could save {month} a month"),
            Language::German => format!("{german}, {month} im Monat zu sparen"),
        }
    };
    let extra = || difference(alert.excess, money(alert.excess));
    match (alert.kind, language) {
        (AlertKind::IdleResource, _) => waste("idle", "ungenutzt"),
        (AlertKind::ForgottenResource, _) => waste("forgotten", "vergessen"),
        (AlertKind::OrphanedResource, _) => waste("orphaned", "verwaist"),
        (AlertKind::UnusedCommitment, _) => waste("commitment not used", "Zusage ungenutzt"),
        (AlertKind::NoPromptCaching, _) => saving("no prompt caching", "Prompts ohne Cache"),
        (AlertKind::NoBatch, _) => saving("not sent in batches", "nicht in Batches"),
        (AlertKind::DearModel, _) => saving("dear model for small questions", "teures Modell für kleine Fragen"),
        (AlertKind::OversizedResource, _) => saving("oversized", "zu groß"),
        (AlertKind::ProviderSilent, Language::English) => {
            format!("silent for {}, about {amount} did not come", when::span(alert.onset, subject::last_seen(alert), language))
        }
        (AlertKind::ProviderSilent, Language::German) => format!("seit {within} still, etwa {amount} fehlen"),
        (AlertKind::BillMismatch, Language::English) => {
            format!("{} on the bill, {} were estimated", extra(), money(alert.expected))
        }
        (AlertKind::BillMismatch, Language::German) => {
            format!("{} auf der Rechnung, geschätzt waren {}", extra(), money(alert.expected))
        }
        (AlertKind::UnseenSpend, Language::English) => format!("{amount} billed, never seen as usage"),
        (AlertKind::UnseenSpend, Language::German) => format!("{amount} berechnet, nie als Nutzung gesehen"),
        (AlertKind::UntaggedSpend, Language::English) => format!("{amount} a day without a team"),
        (AlertKind::UntaggedSpend, Language::German) => format!("{amount} am Tag ohne Team"),
        (AlertKind::Budget, Language::English) => format!("{} used, {}", budget(alert, language), of_budget(alert, brief, language)),
        (AlertKind::Budget, Language::German) => format!("{} verbraucht, {}", budget(alert, language), of_budget(alert, brief, language)),
        (_, Language::English) if alert.excess == Nanos::ZERO => "used without a price".to_string(),
        (_, Language::German) if alert.excess == Nanos::ZERO => "Nutzung ohne Preis".to_string(),
        (_, Language::English) => format!("not counted, about {amount} in {within}"),
        (_, Language::German) => format!("nicht erfasst, etwa {amount} in {within}"),
    }
}

/// Somebody has said that it is no problem.
pub fn taken_back(alert: &Alert, language: Language) -> String {
    let by = alert.feedback.iter().rev().find(|said| Verdict::named(&said.verdict) == Some(Verdict::NotAnAnomaly));
    let who = name(by.and_then(|said| said.actor.as_deref()).unwrap_or(language.pick("somebody", "jemand")), LONGEST_NAME);
    match language {
        Language::English => format!(
            "{who} says that this is not a problem. It stays closed until it is over and begins anew, or costs a quarter more an hour; there \
             is nothing to do."
        ),
        Language::German => format!(
            "{who} sagt, dass das kein Problem ist. Die Meldung bleibt geschlossen, bis es endet und neu beginnt oder in der Stunde ein \
             Viertel mehr kostet; es ist nichts zu tun."
        ),
    }
}

/// `budget 'search' 80 %`.
fn budget(alert: &Alert, language: Language) -> String {
    let of = alert.dimensions.get("budget").map(|budget| name(budget, LONGEST_NAME));
    let share = alert.actual.0.checked_mul(100).and_then(|share| share.checked_div(alert.expected.0)).unwrap_or_default();
    match language {
        Language::English => format!("budget{} {share} %", of.map(|of| format!(" '{of}'")).unwrap_or_default()),
        Language::German => format!("Budget{} zu {share} %", of.map(|of| format!(" „{of}“")).unwrap_or_default()),
    }
}

fn of_budget(alert: &Alert, text: fn(Nanos, Currency, Language) -> String, language: Language) -> String {
    let money = |amount| text(amount, alert.currency, language);
    format!("{} {} {}", money(alert.actual), language.pick("of", "von"), money(alert.expected))
}

/// Whether its rate is what it costs more each hour: a budget's is all that is spent, a silence's what would have been usual, a bill's is of
/// days, and what could be saved is spent anyway.
pub fn has_rate(kind: AlertKind) -> bool {
    use AlertKind::*;
    !kind.is_saving() && !matches!(kind, PolicyViolation | Budget | ProviderSilent | BillMismatch | UnseenSpend)
}

/// What it costs in a month as it costs now.
pub fn monthly(alert: &Alert) -> Nanos {
    alert.burn_rate_per_hour.checked_mul_div(HOURS_PER_MONTH, 1).unwrap_or_default()
}

pub fn size(amount: Nanos) -> Nanos {
    if amount < Nanos::ZERO { Nanos::ZERO.saturating_sub(amount) } else { amount }
}

/// The two or three figures that matter most.
pub fn figures(alert: &Alert, language: Language) -> Vec<Fact> {
    let exact = |amount| exact(amount, alert.currency, language);
    let brief = |amount| brief(amount, alert.currency, language);
    let fact = |english, german, value| Fact { label: language.pick(english, german), value };
    let mut figures = match alert.kind {
        kind if kind.is_waste() => vec![fact("Cost unused", "Ungenutzt gekostet", exact(alert.excess))],
        AlertKind::BillMismatch | AlertKind::UnseenSpend => {
            return vec![
                fact("Billed", "Berechnet", exact(alert.actual)),
                fact("Estimated", "Geschätzt", exact(alert.expected)),
                fact("Difference", "Unterschied", difference(alert.excess, exact(alert.excess))),
            ];
        }
        AlertKind::Budget => {
            let left = alert.expected.saturating_sub(alert.actual);
            let (english, german) = if left < Nanos::ZERO { ("Over it", "Darüber") } else { ("Left", "Übrig") };
            return vec![
                fact("Spent", "Ausgegeben", exact(alert.actual)),
                fact("Budget", "Budget", exact(alert.expected)),
                fact(english, german, exact(size(left))),
            ];
        }
        kind if kind.is_saving() => vec![fact("Could be saved so far", "Bisher zu sparen", exact(alert.excess))],
        AlertKind::UntaggedSpend => vec![fact("Without a team, in a day", "Ohne Team, am Tag", exact(alert.excess))],
        // What has no price has no figure.
        _ if alert.excess == Nanos::ZERO => return Vec::new(),
        _ => vec![fact("Not counted, about", "Nicht erfasst, etwa", exact(size(alert.excess)))],
    };
    if is_closed(alert) {
        figures.push(fact("Lasted", "Dauer", when::span(alert.onset, subject::last_seen(alert), language)));
    } else if alert.kind.is_waste() {
        figures.push(fact("A month", "Im Monat", brief(monthly(alert))));
        figures.push(fact("By month end, in all", "Bis Monatsende insgesamt", brief(alert.projected_month_end_excess)));
    } else if alert.kind.is_saving() {
        figures.push(fact("A month", "Im Monat", brief(monthly(alert))));
    } else if has_rate(alert.kind) {
        figures.push(fact("Per hour, now", "Derzeit pro Stunde", brief(size(alert.burn_rate_per_hour))));
    }
    figures
}

/// What was spent, where the words of a deviation ("normally") would be wrong.
pub fn spent(alert: &Alert, language: Language) -> Fact {
    let money = |amount| exact(amount, alert.currency, language);
    let value = match alert.kind {
        AlertKind::Budget => of_budget(alert, exact, language),
        AlertKind::UntaggedSpend => money(alert.actual),
        kind if kind.is_waste() => format!("{}, {}", money(alert.actual), language.pick("for nothing", "für nichts")),
        kind if kind.is_saving() => {
            format!("{}, {} {}", money(alert.actual), language.pick("could be", "möglich wären"), money(alert.expected))
        }
        _ => format!("{}, {} {}", money(alert.actual), language.pick("expected about", "erwartet etwa"), money(alert.expected)),
    };
    Fact { label: language.pick("Spent", "Ausgegeben"), value }
}

#[cfg(test)]
mod tests {
    use super::super::{sample, subject, words};
    use super::*;
    use crate::model::alert::{AlertState, CAPACITY, INSTEAD, NOT_CONFIGURED, Said, Severity, moved_to};

    fn alert(kind: AlertKind, dimensions: &[(&str, &str)], actual: &str, expected: &str) -> Alert {
        let (actual, expected): (Nanos, Nanos) = (actual.parse().unwrap(), expected.parse().unwrap());
        let dimensions = dimensions.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let excess = actual.saturating_sub(expected);
        Alert {
            kind,
            dimensions,
            actual,
            expected,
            excess,
            severity: Severity::Warning,
            burn_rate_per_hour: "30".parse().unwrap(),
            ..sample::spike()
        }
    }

    #[test]
    fn subjects_say_what_it_costs_and_of_what() {
        let cluster = [("resource_id", "gpu-07"), ("resource_type", "gpu_cluster"), ("project", "ranker")];
        let budget = [("budget", "all of search")];
        let cases = [
            (
                alert(AlertKind::ForgottenResource, &cluster, "900", "0"),
                "[warning] search: forgotten, 21,900 USD a month, 900 USD so far (gpu-07 / ranker)",
            ),
            (
                alert(AlertKind::Budget, &budget, "4012.34", "5000"),
                "[warning] search: budget 'all of search' 80 % used, 4,012 USD of 5,000 USD",
            ),
            (
                Alert { state: AlertState::Escalated, severity: Severity::Critical, ..alert(AlertKind::Budget, &budget, "5000", "5000") },
                "[critical] search: budget 'all of search' 100 % used, 5,000 USD of 5,000 USD",
            ),
            (
                Alert { state: AlertState::Retracted, ..alert(AlertKind::IdleResource, &cluster, "900", "0") },
                "[retracted] search: settled by an answer, idle, 21,900 USD a month, 900 USD so far (gpu-07 / ranker)",
            ),
            (
                alert(AlertKind::BillMismatch, &[("provider", "openai")], "403", "288"),
                "[warning] search: +115 USD on the bill, 288 USD were estimated (openai)",
            ),
            (
                alert(AlertKind::UnseenSpend, &[("provider", "openai")], "90", "0"),
                "[warning] search: 90.00 USD billed, never seen as usage (openai)",
            ),
            (
                alert(AlertKind::ProviderSilent, &[("provider", "openai")], "0", "36"),
                "[warning] search: silent for 14 min, about 36.00 USD did not come (openai)",
            ),
            (
                alert(AlertKind::MissingMoney, &[("model", "gpt-4o")], "36", "0"),
                "[warning] search: not counted, about 36.00 USD in 14 min (gpt-4o)",
            ),
            (alert(AlertKind::MissingMoney, &[("model", "gpt-9")], "0", "0"), "[warning] search: used without a price (gpt-9)"),
        ];
        for (mut alert, expected) in cases {
            alert.causes.clear();
            assert_eq!(subject::subject(&alert, None, Language::English), expected);
        }
    }

    /// What the English letter says in a sentence of watch, the German one says from figures and names.
    #[test]
    fn german_letters_say_what_would_do_what_it_saves_and_why_it_is_over() {
        let lead = |alert: &Alert| words::lead(alert, None, &when::zone("UTC"), Language::German);
        let steps = |alert: &Alert| words::steps(alert, Language::German).join(" ");
        let caused = |kind, dimensions: &[(&str, &str)]| {
            let mut alert = alert(kind, &[("project", "ranker")], "900", "200");
            alert.causes.truncate(1);
            alert.causes[0].dimensions = dimensions.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
            alert
        };
        let dear = caused(AlertKind::DearModel, &[("model", "gpt-4o"), (INSTEAD, "gpt-4o-mini")]);
        assert_eq!(
            lead(&dear).split_once(": ").map_or(lead(&dear), |(_, rest)| rest.to_string()).split(". ").last().unwrap(),
            "Mit gpt-4o-mini wären es im Monat etwa 21.900 USD weniger; von bisher 900,00 USD wären 700,00 USD zu sparen gewesen."
        );
        assert!(steps(&dear).contains("ob gpt-4o-mini genügt"), "{}", steps(&dear));
        let large = caused(AlertKind::OversizedResource, &[("resource_id", "vm-7"), (INSTEAD, "8"), (CAPACITY, "16")]);
        assert!(lead(&large).contains("Mit Größe 8 statt 16 wären es im Monat etwa 21.900 USD weniger"), "{}", lead(&large));
        assert!(steps(&large).contains("mit Größe 8"), "{}", steps(&large));
        for kind in [AlertKind::NoPromptCaching, AlertKind::NoBatch] {
            assert!(lead(&caused(kind, &[])).contains("wären es im Monat etwa 21.900 USD weniger"), "{}", lead(&caused(kind, &[])));
        }
        let over = |kind, normal: &str| Alert {
            state: AlertState::Resolved,
            closed_at: Some(sample::spike().event_time),
            normal: normal.to_string(),
            ..alert(kind, &[("budget", "b")], "900", "1000")
        };
        for kind in [AlertKind::Budget, AlertKind::IdleResource] {
            assert!(lead(&over(kind, NOT_CONFIGURED)).ends_with("Das steht nicht mehr in der Konfiguration, deshalb endet die Meldung."));
        }
        let moved = lead(&over(AlertKind::Budget, &moved_to("ads")));
        assert!(moved.ends_with("Das Budget gehört jetzt zum Team ads, deshalb endet die Meldung."), "{moved}");
        assert!(lead(&over(AlertKind::Budget, "")).ends_with("Das ist vorbei."));
        let said = Said {
            verdict: "not_an_anomaly".to_string(),
            actor: Some("mara@example.com".to_string()),
            source: "page".to_string(),
            said_at: sample::spike().event_time,
            from: None,
            until: None,
            note: None,
        };
        let closed = Alert { state: AlertState::Retracted, feedback: vec![said], ..dear };
        assert!(lead(&closed).starts_with("mara@example.com sagt, dass das kein Problem ist."), "{}", lead(&closed));
    }
}
