//! What alerts of waste, missing money and budgets say in figures: they have no normal that was left.

use crate::deliver::receipt::is_closed;
use crate::model::alert::{Alert, AlertKind};
use crate::model::money::Nanos;

use super::amount::{brief, difference, exact};
use super::clean::name;
use super::page::Fact;
use super::{subject, when};

/// What an hour costs is shown for a month of so many.
const HOURS_PER_MONTH: i128 = 730;
const LONGEST_NAME: usize = 48;

/// `forgotten, 25,579 USD a month, 1,051 USD so far`.
pub fn so_far(alert: &Alert) -> String {
    let size = brief(size(alert.excess), alert.currency);
    let span = when::span(alert.onset, subject::last_seen(alert));
    let waste = |kind: &str| format!("{kind}, {} a month, {size} so far", brief(monthly(alert), alert.currency));
    match alert.kind {
        AlertKind::IdleResource => waste("idle"),
        AlertKind::ForgottenResource => waste("forgotten"),
        AlertKind::OrphanedResource => waste("orphaned"),
        AlertKind::ProviderSilent => format!("silent for {span}, about {size} did not come"),
        AlertKind::BillMismatch => {
            let extra = difference(alert.excess, brief(alert.excess, alert.currency));
            format!("{extra} on the bill of a day, {} were estimated", brief(alert.expected, alert.currency))
        }
        AlertKind::UnseenSpend => format!("{size} billed, never seen as usage"),
        AlertKind::UntaggedSpend => format!("{size} a day without a team"),
        AlertKind::Budget => format!("{} used, {}", budget(alert), of_budget(alert, brief)),
        _ => format!("not counted, about {size} in {span}"),
    }
}

/// `budget 'search' 80 %`.
fn budget(alert: &Alert) -> String {
    let of = alert.dimensions.get("budget").map(|budget| format!(" '{}'", name(budget, LONGEST_NAME))).unwrap_or_default();
    let share = alert.actual.0.checked_mul(100).and_then(|share| share.checked_div(alert.expected.0)).unwrap_or_default();
    format!("budget{of} {share} %")
}

fn of_budget(alert: &Alert, text: fn(Nanos, crate::model::money::Currency) -> String) -> String {
    format!("{} of {}", text(alert.actual, alert.currency), text(alert.expected, alert.currency))
}

fn monthly(alert: &Alert) -> Nanos {
    alert.burn_rate_per_hour.checked_mul_div(HOURS_PER_MONTH, 1).unwrap_or_default()
}

fn size(amount: Nanos) -> Nanos {
    if amount < Nanos::ZERO { Nanos::ZERO.saturating_sub(amount) } else { amount }
}

/// The two or three figures that matter most.
pub fn figures(alert: &Alert) -> Vec<Fact> {
    let money = |label, amount| Fact { label, value: exact(amount, alert.currency) };
    let mut figures = match alert.kind {
        kind if kind.is_waste() => vec![money("Cost unused", alert.excess)],
        AlertKind::BillMismatch | AlertKind::UnseenSpend => {
            return vec![
                money("Billed", alert.actual),
                money("Estimated", alert.expected),
                Fact { label: "Difference", value: difference(alert.excess, exact(alert.excess, alert.currency)) },
            ];
        }
        AlertKind::Budget => {
            let left = alert.expected.saturating_sub(alert.actual);
            let label = if left < Nanos::ZERO { "Over it" } else { "Left" };
            return vec![money("Spent", alert.actual), money("Budget", alert.expected), money(label, size(left))];
        }
        AlertKind::UntaggedSpend => vec![money("Without a team, in a day", alert.excess)],
        _ => vec![money("Not counted, about", size(alert.excess))],
    };
    if is_closed(alert) {
        figures.push(Fact { label: "Lasted", value: when::span(alert.onset, subject::last_seen(alert)) });
    } else if alert.kind.is_waste() {
        figures.push(Fact { label: "A month", value: brief(monthly(alert), alert.currency) });
        figures.push(Fact { label: "By month end, in all", value: brief(alert.projected_month_end_excess, alert.currency) });
    } else {
        figures.push(Fact { label: "Per hour, now", value: brief(size(alert.burn_rate_per_hour), alert.currency) });
    }
    figures
}

/// What was spent, where the words of a deviation ("normally") would be wrong.
pub fn spent(alert: &Alert) -> Fact {
    let value = match alert.kind {
        AlertKind::Budget => of_budget(alert, exact),
        AlertKind::UntaggedSpend => exact(alert.actual, alert.currency),
        kind if kind.is_waste() => format!("{}, for nothing", exact(alert.actual, alert.currency)),
        _ => format!("{}, expected about {}", exact(alert.actual, alert.currency), exact(alert.expected, alert.currency)),
    };
    Fact { label: "Spent", value }
}

#[cfg(test)]
mod tests {
    use super::super::{sample, subject};
    use super::*;
    use crate::model::alert::{AlertState, Severity};

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
                alert(AlertKind::BillMismatch, &[("provider", "openai")], "403", "288"),
                "[warning] search: +115 USD on the bill of a day, 288 USD were estimated (openai)",
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
        ];
        for (mut alert, expected) in cases {
            alert.causes.clear();
            assert_eq!(subject::subject(&alert, None), expected);
        }
    }
}
