//! What a mail says, as plain data for the templates; HTML and text show the same.

use jiff::tz::TimeZone;
use serde::Serialize;

use crate::deliver::answer::Link;
use crate::deliver::receipt::is_closed;
use crate::model::alert::{Alert, AlertKind, AlertState, Cause, Severity};
use crate::model::leaf::Measure;
use crate::model::money::Nanos;

use super::amount::{brief, difference, exact, times};
use super::clean::clean;
use super::language::{self, Language, Words};
use super::{Context, matter, subject, when, words};

const MOST_CAUSES: usize = 5;
const MOST_STEPS: usize = 6;
/// An hour with at least this part of an episode's excess is taken for all of it.
const MOST_OF_ALL: f64 = 0.9;
pub const LONGEST_ID: usize = 300;

#[derive(Clone, Debug, Serialize)]
pub struct Page {
    /// Its code: `en`, `de`.
    pub language: &'static str,
    pub words: Words,
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
    /// What stands above the causes.
    pub where_from: String,
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
    let language = context.language;
    Page {
        language: language.code(),
        words: language::words(language),
        subject: subject::subject(alert, context.earlier, language),
        preheader: words::preheader(alert, &zone, language),
        tone: tone(alert),
        badge: format!("{} {}", subject::badge(alert, language), subject::kind(alert, language)),
        title: format!("{}: {}", subject::team(alert), subject::news(alert, context.earlier, language)),
        lead: words::lead(alert, context.earlier, &zone, language),
        figures: figures(alert, language),
        chart,
        facts: facts(alert, &zone, language),
        where_from: where_from(alert, language),
        causes: causes(alert, language),
        unexplained: unexplained(alert, language),
        steps: steps(alert, language),
        ids: ids(alert, context.topic, language),
        link: context.base_url.and_then(|base| link(base, &alert.id)),
        answers: answers(context.answers, language),
    }
}

/// Links with what they are called in this language.
pub fn answers(answers: &[Link], language: Language) -> Vec<Link> {
    // Violations and matters are answered in other words.
    let german = |link: &Link| match (link.name, link.label) {
        ("ack", _) => "Ich kümmere mich",
        ("expected", "Accepted until…") => "Akzeptiert bis …",
        ("expected", _) => "Erwartet bis …",
        ("not_an_anomaly", "Not a violation") => "Kein Verstoß",
        ("not_an_anomaly", "Not a problem") => "Kein Problem",
        ("not_an_anomaly", _) => "Keine Anomalie",
        _ => link.label,
    };
    answers.iter().map(|link| Link { label: language.pick(link.label, german(link)), ..link.clone() }).collect()
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

pub fn figures(alert: &Alert, language: Language) -> Vec<Fact> {
    let money = |amount| exact(amount, alert.currency, language);
    let brief = |amount| brief(amount, alert.currency, language);
    let fact = |english, german, value| Fact { label: language.pick(english, german), value };
    if alert.kind == AlertKind::PolicyViolation {
        // Of deployments, grants and the like nothing is said of money.
        let spent = Some(alert.actual).filter(|amount| *amount != Nanos::ZERO);
        return spent.map(|amount| fact("Spent so far", "Bisher ausgegeben", money(amount))).into_iter().collect();
    }
    match alert.state {
        AlertState::Retracted => Vec::new(),
        _ if alert.kind.is_matter() => matter::figures(alert, language),
        _ if is_closed(alert) => {
            // What is normal is no extra.
            let extra = words::no_anomaly(alert).is_none().then(|| difference(alert.excess, money(alert.excess)));
            let extra = extra.map(|extra| fact("Extra in all", "Mehrkosten insgesamt", extra)).into_iter();
            let rest = [
                fact("Spent in all", "Ausgegeben insgesamt", money(alert.actual)),
                fact("Lasted", "Dauer", when::span(alert.onset, subject::last_seen(alert), language)),
            ];
            extra.chain(rest).collect()
        }
        _ => {
            let (burn, month) = (alert.burn_rate_per_hour, alert.projected_month_end_excess);
            vec![
                fact("Extra so far", "Mehrkosten bisher", difference(alert.excess, money(alert.excess))),
                fact("Extra per hour, now", "Derzeit pro Stunde", difference(burn, brief(burn))),
                fact("By month end, at this rate", "So bis Monatsende", difference(month, brief(month))),
            ]
        }
    }
}

fn facts(alert: &Alert, zone: &TimeZone, language: Language) -> Vec<Fact> {
    if alert.kind == AlertKind::PolicyViolation {
        return of_violation(alert, zone, language);
    }
    let fact = |english, german, value| Fact { label: language.pick(english, german), value };
    let since = when::moment(alert.onset, zone, language);
    let after = when::span(alert.onset, alert.detected_at, language);
    let at = when::day_and_clock_seen(alert.detected_at, alert.decided_at, zone, language);
    // A retracted alert did not end, it never was.
    let closed = alert.closed_at.filter(|_| alert.state != AlertState::Retracted);
    let measure = match alert.measure {
        Measure::Estimated | Measure::EstimatedOriginal => {
            language.pick("Estimated from usage and prices", "Geschätzt aus Nutzung und Preisen")
        }
        Measure::Billed | Measure::BilledOriginal => language.pick("As billed by the provider", "Wie vom Anbieter berechnet"),
    };
    let mut facts = vec![fact("Where", "Wo", words::place(&alert.dimensions, language)), fact("Since", "Seit", since)];
    facts.extend(closed.map(|closed| fact("Until", "Bis", when::moment(closed, zone, language))));
    facts.extend([
        if alert.kind.is_matter() { matter::spent(alert, language) } else { deviation(alert, language) },
        // A sentence of watch, in English; in German the line above has to do.
        fact("Normal", "Üblich", language.pick(capitalised(&words::sentence(&alert.normal)), String::new())),
        fact("Noticed", "Bemerkt", format!("{after} {} ({at})", language.pick("after it began", "nach Beginn"))),
        fact("Confidence", "Gewissheit", words::confidence(alert, language).to_string()),
        fact("Status", "Stand", words::finality(alert, language).to_string()),
        fact("Money", "Geld", measure.to_string()),
    ]);
    facts.extend(
        alert.feedback.last().map(|said| fact("Answered", "Antwort", words::answered(said, alert.kind, alert.decided_at, zone, language))),
    );
    facts.retain(|fact| !fact.value.is_empty());
    facts
}

fn deviation(alert: &Alert, language: Language) -> Fact {
    let money = |amount| exact(amount, alert.currency, language);
    let multiple = times(alert.actual, alert.expected, language).map(|times| match language {
        Language::English => format!(" ({times}x)"),
        Language::German => format!(" (das {times}-Fache)"),
    });
    let normally = language.pick("normally", "üblich");
    let value = format!("{}, {normally} {}{}", money(alert.actual), money(alert.expected), multiple.unwrap_or_default());
    Fact { label: language.pick("Spent", "Kosten"), value }
}

fn of_violation(alert: &Alert, zone: &TimeZone, language: Language) -> Vec<Fact> {
    let fact = |english, german, value| Fact { label: language.pick(english, german), value };
    let mut facts = vec![
        fact("Where", "Wo", words::place(&alert.dimensions, language)),
        fact("Since", "Seit", when::moment(alert.onset, zone, language)),
        fact("Seen", "Gesehen", capitalised(&words::sentence(&alert.normal))),
    ];
    facts.extend(alert.closed_at.map(|closed| fact("Until", "Bis", when::moment(closed, zone, language))));
    facts.extend(alert.feedback.last().map(|said| {
        let is_over = said.until.is_some_and(|until| until <= alert.decided_at);
        let over = if is_over { language.pick("; that time is over", "; diese Zeit ist um") } else { "" };
        fact("Answered", "Antwort", words::answered(said, alert.kind, alert.decided_at, zone, language) + over)
    }));
    facts.retain(|fact| !fact.value.is_empty());
    facts
}

/// Causes are those of the latest abnormal hour, and shares of its excess: beside the excess of several hours that has to be said.
fn where_from(alert: &Alert, language: Language) -> String {
    let explained: i128 = alert.causes.iter().map(|cause| cause.actual.saturating_sub(cause.expected).0).sum();
    let of_hour = explained as f64 / alert.causes.iter().map(|cause| cause.share).sum::<f64>().max(f64::MIN_POSITIVE);
    let is_episode = !alert.kind.is_matter() && alert.kind != AlertKind::PolicyViolation && !alert.causes.is_empty();
    let is_part = is_episode && of_hour < MOST_OF_ALL * alert.excess.0 as f64;
    let of_hour = if is_part { language.pick(", in the latest abnormal hour", ", in der letzten ungewöhnlichen Stunde") } else { "" };
    format!("{}{of_hour}", language::words(language).where_from)
}

fn causes(alert: &Alert, language: Language) -> Vec<CauseRow> {
    let money = |amount| exact(amount, alert.currency, language);
    let row = |cause: &Cause| CauseRow {
        what: words::place(&cause.dimensions, language),
        actual: money(cause.actual),
        expected: money(cause.expected),
        share: words::percent(cause.share),
    };
    alert.causes.iter().take(MOST_CAUSES).map(row).collect()
}

fn unexplained(alert: &Alert, language: Language) -> Option<String> {
    let percent = words::percent(alert.unexplained);
    let said = language.pick("of the extra is spread over others.", "der Mehrkosten verteilen sich auf andere.");
    (percent > 0 && !alert.causes.is_empty()).then(|| format!("{percent} % {said}"))
}

fn steps(alert: &Alert, language: Language) -> Vec<String> {
    words::steps(alert, language).into_iter().take(MOST_STEPS).filter(|step| !step.is_empty()).collect()
}

fn ids(alert: &Alert, topic: &str, language: Language) -> Vec<Fact> {
    let fact = |english, german, value| Fact { label: language.pick(english, german), value };
    let id = clean(&alert.id, LONGEST_ID);
    let is_violation = alert.kind == AlertKind::PolicyViolation;
    let topic = clean(topic, 249);
    let mut ids = vec![
        if is_violation { fact("Violation", "Verstoß", id) } else { fact("Alert", "Meldung", id) },
        fact("Revision", "Revision", format!("{} ({})", alert.revision, state(alert.state, language))),
    ];
    if alert.incident_id != alert.id {
        ids.push(fact("Incident", "Vorfall", clean(&alert.incident_id, LONGEST_ID)));
    }
    let what = if is_violation { language.pick("violation's", "des Verstoßes") } else { language.pick("alert's", "der Meldung") };
    let on_kafka = match language {
        Language::English => format!("topic {topic}, key = the {what} id"),
        Language::German => format!("Topic {topic}, Schlüssel = id {what}"),
    };
    ids.push(fact("On Kafka", "In Kafka", on_kafka));
    ids.push(fact("Rules", "Regeln", format!("{} {}", language.pick("revision", "Revision"), alert.rules_revision)));
    ids
}

fn state(state: AlertState, language: Language) -> &'static str {
    let german = match state {
        AlertState::Open => "offen",
        AlertState::Updated => "fortgeschrieben",
        AlertState::Acknowledged => "übernommen",
        AlertState::Expected => "erwartet",
        AlertState::Resolved => "erledigt",
        AlertState::Reopened => "wieder geöffnet",
        AlertState::Amended => "berichtigt",
        AlertState::Retracted => "zurückgenommen",
        AlertState::Escalated => "eskaliert",
    };
    language.pick(state.as_str(), german)
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
