//! What a backtest prints: the contract's JSON, or lines for people.

use serde_json::{Value, json};

use super::score::Score;
use super::{Backtest, Told};
use crate::model::alert::Cause;

pub fn json(backtest: &Backtest, score: Option<&Score>) -> Value {
    let mut report = json!({
        "alerts": backtest.alerts.iter().map(alert).collect::<Vec<Value>>(),
        "violations": [],
        "events": {
            "read": backtest.counts.read,
            "rejected": backtest.counts.rejected,
            "duplicates": backtest.counts.duplicates,
            "late": backtest.late,
        },
    });
    if let Some(score) = score {
        report["score"] = score.json();
    }
    report
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
    let mut text =
        format!("{} lines read: {} rejected, {} duplicates, {} late\n", counts.read, counts.rejected, counts.duplicates, backtest.late);
    if let Some((first, last)) = backtest.span {
        text.push_str(&format!("events from {first} to {last}\n"));
    }
    for (reason, number) in &counts.reasons {
        text.push_str(&format!("rejected: {number} {reason}\n"));
    }
    for (topic, number) in &counts.ignored {
        text.push_str(&format!("ignored: {number} of {topic}, which this version counts and does not judge\n"));
    }
    text.push_str(&format!("\n{} alerts\n", backtest.alerts.len()));
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
    if let Some(score) = score {
        text.push_str(&score.text());
    }
    text
}
