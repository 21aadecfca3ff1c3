//! What a mail says, as plain data for the templates; HTML and text show the same.

use serde::Serialize;

use crate::deliver::answer::Link;
use crate::deliver::receipt::is_closed;
use crate::model::alert::{Alert, AlertKind, AlertState, Cause, Severity};
use crate::model::leaf::Measure;

use super::amount::{brief, difference, exact, times};
use super::clean::clean;
use super::{Context, matter, subject, when, words};

const MOST_CAUSES: usize = 5;
const MOST_STEPS: usize = 6;
pub const LONGEST_ID: usize = 300;

#[derive(Clone, Debug, Serialize)]
pub struct Page {
    pub subject: String,
    pub preheader: String,
    /// Chooses the colour: `critical`, `warning`, `info`, `good`, `calm`.
    pub tone: &'static str,
    pub badge: String,
    pub title: String,
    pub lead: String,
    /// The two or three figures that matter most.
    pub figures: Vec<Fact>,
    pub chart: Option<ChartLink>,
    pub facts: Vec<Fact>,
    pub causes: Vec<CauseRow>,
    pub unexplained: Option<String>,
    pub steps: Vec<String>,
    pub ids: Vec<Fact>,
    /// To the alert's page.
    pub link: Option<String>,
    pub answers: Vec<Link>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Fact {
    pub label: &'static str,
    pub value: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct CauseRow {
    pub what: String,
    pub actual: String,
    pub expected: String,
    /// Whole percent of the excess.
    pub share: u32,
}

#[derive(Clone, Debug, Serialize)]
pub struct ChartLink {
    pub content_id: String,
    pub alt: String,
}

pub fn page(alert: &Alert, context: &Context, chart: Option<ChartLink>) -> Page {
    let zone = when::zone(&alert.time_zone);
    Page {
        subject: subject::subject(alert, context.earlier),
        preheader: words::preheader(alert, &zone),
        tone: tone(alert),
        badge: badge(alert),
        title: format!("{}: {}", subject::team(alert), subject::news(alert, context.earlier)),
        lead: words::lead(alert, context.earlier, &zone),
        figures: figures(alert),
        chart,
        facts: facts(alert, &zone),
        causes: causes(alert),
        unexplained: unexplained(alert),
        steps: steps(alert),
        ids: ids(alert, context.topic),
        link: context.base_url.and_then(|base| link(base, &alert.id)),
        answers: context.answers.to_vec(),
    }
}

pub fn tone(alert: &Alert) -> &'static str {
    match (alert.state, alert.severity) {
        (AlertState::Resolved, _) => "good",
        (AlertState::Retracted, _) => "calm",
        (_, Severity::Critical) => "critical",
        (_, Severity::Warning) => "warning",
        (_, Severity::Info) => "info",
    }
}

fn badge(alert: &Alert) -> String {
    let badge = subject::badge(alert);
    let kind = subject::kind(alert);
    format!("{badge} {kind}")
}

fn figures(alert: &Alert) -> Vec<Fact> {
    if alert.kind == AlertKind::PolicyViolation {
        return vec![Fact { label: "Spent so far", value: exact(alert.actual, alert.currency) }];
    }
    let money = |amount| exact(amount, alert.currency);
    let extra = |label, amount| Fact { label, value: difference(amount, money(amount)) };
    match alert.state {
        AlertState::Retracted => Vec::new(),
        _ if alert.kind.is_matter() => matter::figures(alert),
        _ if is_closed(alert) => vec![
            extra("Extra in all", alert.excess),
            Fact { label: "Spent in all", value: money(alert.actual) },
            Fact { label: "Lasted", value: when::span(alert.onset, subject::last_seen(alert)) },
        ],
        _ => vec![
            extra("Extra so far", alert.excess),
            Fact {
                label: "Extra per hour, now",
                value: difference(alert.burn_rate_per_hour, brief(alert.burn_rate_per_hour, alert.currency)),
            },
            Fact {
                label: "By month end, at this rate",
                value: difference(alert.projected_month_end_excess, brief(alert.projected_month_end_excess, alert.currency)),
            },
        ],
    }
}

fn facts(alert: &Alert, zone: &jiff::tz::TimeZone) -> Vec<Fact> {
    if alert.kind == AlertKind::PolicyViolation {
        return of_violation(alert, zone);
    }
    let money = |amount| exact(amount, alert.currency);
    let multiple = times(alert.actual, alert.expected).map(|times| format!(" ({times}x)")).unwrap_or_default();
    let since = when::moment(alert.onset, zone);
    let noticed =
        format!("{} after it began ({})", when::span(alert.onset, alert.detected_at), when::day_and_clock(alert.detected_at, zone));
    // A retracted alert did not end, it never was.
    let closed = alert.closed_at.filter(|_| alert.state != AlertState::Retracted);
    let closed = closed.map(|closed| Fact { label: "Until", value: when::moment(closed, zone) });
    let measure = match alert.measure {
        Measure::Estimated => "Estimated from usage and prices",
        Measure::Billed => "As billed by the provider",
    };
    let deviation = || Fact { label: "Spent", value: format!("{}, normally {}{multiple}", money(alert.actual), money(alert.expected)) };
    let spent = if alert.kind.is_matter() { matter::spent(alert) } else { deviation() };
    let mut facts = vec![Fact { label: "Where", value: words::place(&alert.dimensions) }, Fact { label: "Since", value: since }];
    facts.extend(closed);
    facts.extend([
        spent,
        Fact { label: "Normal", value: capitalised(&words::sentence(&alert.normal)) },
        Fact { label: "Noticed", value: noticed },
        Fact { label: "Confidence", value: words::confidence(alert).to_string() },
        Fact { label: "Status", value: words::finality(alert).to_string() },
        Fact { label: "Money", value: measure.to_string() },
    ]);
    facts.extend(alert.feedback.last().map(|said| Fact { label: "Answered", value: words::answered(said, zone) }));
    facts.retain(|fact| !fact.value.is_empty());
    facts
}

fn of_violation(alert: &Alert, zone: &jiff::tz::TimeZone) -> Vec<Fact> {
    let until = alert.closed_at.map(|closed| Fact { label: "Until", value: when::moment(closed, zone) });
    let mut facts = vec![
        Fact { label: "Where", value: words::place(&alert.dimensions) },
        Fact { label: "Since", value: when::moment(alert.onset, zone) },
        Fact { label: "Seen", value: capitalised(&words::sentence(&alert.normal)) },
    ];
    facts.extend(until);
    facts.retain(|fact| !fact.value.is_empty());
    facts
}

fn causes(alert: &Alert) -> Vec<CauseRow> {
    let money = |amount| exact(amount, alert.currency);
    let row = |cause: &Cause| CauseRow {
        what: words::place(&cause.dimensions),
        actual: money(cause.actual),
        expected: money(cause.expected),
        share: words::percent(cause.share),
    };
    alert.causes.iter().take(MOST_CAUSES).map(row).collect()
}

fn unexplained(alert: &Alert) -> Option<String> {
    let percent = words::percent(alert.unexplained);
    (percent > 0 && !alert.causes.is_empty()).then(|| format!("{percent} % of the extra is spread over others."))
}

fn steps(alert: &Alert) -> Vec<String> {
    if matches!(alert.state, AlertState::Retracted | AlertState::Resolved) {
        return Vec::new();
    }
    alert.next_steps.iter().take(MOST_STEPS).map(|step| words::sentence(step)).filter(|step| !step.is_empty()).collect()
}

fn ids(alert: &Alert, topic: &str) -> Vec<Fact> {
    let id = clean(&alert.id, LONGEST_ID);
    let mut ids = vec![
        Fact { label: if alert.kind == AlertKind::PolicyViolation { "Violation" } else { "Alert" }, value: id.clone() },
        Fact { label: "Revision", value: format!("{} ({})", alert.revision, alert.state.as_str()) },
    ];
    if alert.incident_id != alert.id {
        ids.push(Fact { label: "Incident", value: clean(&alert.incident_id, LONGEST_ID) });
    }
    ids.push(Fact {
        label: "On Kafka",
        value: format!(
            "topic {}, key = the {}'s id",
            clean(topic, 249),
            if alert.kind == AlertKind::PolicyViolation { "violation" } else { "alert" }
        ),
    });
    ids.push(Fact { label: "Rules", value: format!("revision {}", alert.rules_revision) });
    ids
}

/// `<base>/alerts/<id>`, with everything but the slash of the id percent-encoded.
pub fn link(base: &str, id: &str) -> Option<String> {
    let base = base.trim().trim_end_matches('/');
    if !(base.starts_with("https://") || base.starts_with("http://")) {
        return None;
    }
    let mut link = format!("{base}/alerts/");
    for byte in id.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => link.push(char::from(byte)),
            _ => link.push_str(&format!("%{byte:02X}")),
        }
    }
    Some(link)
}

fn capitalised(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map(|first| first.to_uppercase().chain(rest).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_safe() {
        assert_eq!(link("https://t.example/", "se arch/\"><ab").as_deref(), Some("https://t.example/alerts/se%20arch/%22%3E%3Cab"));
        assert_eq!(link("javascript:alert(1)", "a/b"), None);
    }
}
