//! What a backtest prints: the contract's JSON, or lines for people.

use serde_json::{Value, json};

use super::score::Score;
use super::{Backtest, Broken, Told};
use crate::config::problem::Place;
use crate::lab::read::Rejected;
use crate::model::alert::{AlertState, Cause};
use crate::model::counted::counted;
use crate::model::partial::Said;
use crate::watch::Unmatched;

pub fn json(backtest: &Backtest, score: Option<&Score>) -> Value {
    let mut report = json!({
        "alerts": backtest.alerts.iter().map(alert).collect::<Vec<Value>>(),
        "violations": backtest.violations.iter().map(violation).collect::<Vec<Value>>(),
        "events": {
            "read": backtest.counts.read,
            "rejected": backtest.counts.rejected,
            "duplicates": backtest.counts.duplicates,
            "late": backtest.late,
        },
    });
    if let Some(first) = &backtest.counts.first_rejected {
        report["events"]["first_rejected"] = first.json();
        report["events"]["first_of_each_reason"] = backtest.counts.examples.values().map(Rejected::json).collect();
    }
    if !backtest.unmatched.is_empty() {
        report["unmatched_feedback"] = backtest.unmatched.iter().map(|unmatched| word(backtest, unmatched)).collect();
    }
    if let Some(score) = score {
        report["score"] = score.json();
    }
    report
}

fn word(backtest: &Backtest, unmatched: &Unmatched) -> Value {
    let (said, place) = (&unmatched.feedback, place(backtest, unmatched));
    json!({
        "file": place.map(|place| &*place.file),
        "line": place.map(|place| place.line),
        "event_id": said.event_id,
        "verdict": said.verdict.name(),
        "team": said.team,
        "message": unmatched.message(),
    })
}

fn place<'a>(backtest: &'a Backtest, unmatched: &Unmatched) -> Option<&'a Place> {
    let said = &unmatched.feedback;
    backtest.counts.words.get(&(said.source.clone(), said.event_id.clone()))
}

fn violation(broken: &Broken) -> Value {
    let violation = &broken.violation;
    json!({
        "id": violation.id,
        "incident_id": violation.incident_id,
        "state": violation.state.as_str(),
        "policy": violation.policy,
        "severity": violation.severity.as_str(),
        "team": violation.team,
        "subject": violation.subject,
        "detected_at": violation.detected_at,
        "closed_at": violation.closed_at,
        "evidence": violation.evidence,
        "message": violation.message,
        "count": violation.count,
        "amount": violation.amount.map(|amount| amount.to_string()),
        "currency": violation.currency.map(|currency| currency.as_str().to_string()),
        "revisions": broken.life.len(),
    })
}

fn alert(told: &Told) -> Value {
    let alert = &told.alert;
    let cause = |cause: &Cause| json!({ "dimensions": cause.dimensions, "share": cause.share });
    json!({
        "id": alert.id,
        "incident_id": alert.incident_id,
        "state": alert.state.as_str(),
        "kind": alert.kind.as_str(),
        "severity": alert.severity.as_str(),
        "team": alert.team,
        "dimensions": alert.dimensions,
        "measure": alert.measure.as_str(),
        "onset": alert.onset,
        "detected_at": alert.detected_at,
        "closed_at": alert.closed_at,
        "actual": alert.actual.to_string(),
        "expected": alert.expected.to_string(),
        "excess": alert.excess.to_string(),
        "currency": alert.currency.as_str(),
        "causes": alert.causes.iter().map(cause).collect::<Vec<Value>>(),
        "summary": alert.summary,
        "notify": alert.notify,
        "revisions": told.life.len(),
    })
}

pub fn text(backtest: &Backtest, score: Option<&Score>) -> String {
    let counts = &backtest.counts;
    let mut text = format!(
        "{} read: {} rejected, {}, {} late\n",
        counted(counts.read, "line"),
        counts.rejected,
        counted(counts.duplicates, "duplicate"),
        backtest.late
    );
    if let Some((first, last)) = backtest.span {
        text.push_str(&format!("events from {first} to {last}\n"));
    }
    for (reason, number) in &counts.reasons {
        text.push_str(&format!("rejected: {number} {reason}\n"));
    }
    let mut examples: Vec<_> = counts.examples.values().collect();
    examples.sort_by_key(|first| Some(*first) != counts.first_rejected.as_ref());
    for first in examples {
        text.push_str(&format!("the first: {first}\n"));
    }
    text.push_str(&format!("\n{}\n", counted(backtest.alerts.len(), "alert")));
    for told in &backtest.alerts {
        let alert = &told.alert;
        text.push_str(&format!(
            "\n{} {} {}: {}\n  {}\n",
            alert.detected_at,
            alert.severity.as_str(),
            alert.kind.as_str(),
            alert.summary,
            alert.id
        ));
        for cause in &alert.causes {
            let named: Vec<String> = cause.dimensions.iter().map(|(name, value)| format!("{name}={value}")).collect();
            text.push_str(&format!("  {:.0} % {}\n", 100.0 * cause.share, named.join(", ")));
        }
        let life: Vec<String> = told.life.iter().map(|(state, time)| format!("{} {time}", state.as_str())).collect();
        text.push_str(&format!("  {}\n", life.join(" > ")));
    }
    violations_text(backtest, &mut text);
    unmatched_text(backtest, &mut text);
    if let Some(score) = score {
        text.push_str(&score.text());
    }
    text
}

/// Nothing where no policies are set up.
fn violations_text(backtest: &Backtest, text: &mut String) {
    if backtest.violations.is_empty() && backtest.verdicts.is_empty() {
        return;
    }
    text.push_str(&format!("\n{}\n", counted(backtest.violations.len(), "violation")));
    for Broken { violation, life } in &backtest.violations {
        let money = match (violation.amount, violation.currency) {
            (Some(amount), Some(currency)) => format!(", {amount} {}", currency.as_str()),
            _ => String::new(),
        };
        text.push_str(&format!(
            "\n{} {} {}: {}\n  {}, {}{money}\n  {}\n",
            violation.detected_at,
            violation.severity.as_str(),
            violation.policy,
            violation.message,
            violation.subject,
            counted(violation.count, "event"),
            violation.id
        ));
        // Updates are one an hour; how many there were is enough.
        let news = life.iter().filter(|(state, _)| *state != AlertState::Updated);
        let life_text: Vec<String> = news.map(|(state, time)| format!("{} {time}", state.as_str())).collect();
        text.push_str(&format!("  {} ({})\n", life_text.join(" > "), counted(life.len(), "revision")));
    }
    let others = backtest.verdicts.iter().filter(|((_, said), _)| *said != Said::Violates);
    for ((policy, said), events) in others {
        text.push_str(&format!("{policy}: {} for {}\n", said.as_str(), counted(*events, "event")));
    }
}

fn unmatched_text(backtest: &Backtest, text: &mut String) {
    if backtest.unmatched.is_empty() {
        return;
    }
    text.push_str(&format!("\n{} of feedback for which there is nothing\n", counted(backtest.unmatched.len(), "word")));
    for unmatched in &backtest.unmatched {
        let place = place(backtest, unmatched).map_or_else(|| unmatched.feedback.event_id.to_string(), ToString::to_string);
        text.push_str(&format!("{place}: '{}': {}\n", unmatched.feedback.verdict.name(), unmatched.message()));
    }
}
