//! Files through the engine: counters are exact, an incident is found and named, and the order of what is said is the order of events.

use std::io::Write as _;

use super::labels::Label;
use super::*;
use crate::config;
use crate::model::alert::AlertState;

/// 2026-03-02T00:00:00Z, a Monday.
const START: i64 = 1_772_409_600_000;
const HOUR: i64 = 3_600_000;

/// Events every ten minutes of two projects; `factor` by project and hour.
fn events(hours: i64, factor: impl Fn(&str, i64) -> f64) -> Vec<String> {
    let mut lines = Vec::new();
    for slot in 0..hours * 6 {
        for project in ["ranker", "crawler"] {
            let at = Timestamp(START + slot * HOUR / 6 + 1_000);
            let cost = 2.0 * factor(project, slot / 6) * (1.0 + 0.02 * ((slot * 7) % 5) as f64);
            let event = serde_json::json!({
                "event_id": format!("{project}-{slot}"), "source": "gateway", "event_time": at, "meter": "llm.tokens",
                "team": "search", "project": project, "model": "m", "provider": "p", "user": "u", "quantity": 1000,
                "input_tokens": 1000, "cost": format!("{cost:.6}"), "currency": "USD",
            });
            lines.push(serde_json::json!({ "topic": "usage-events", "value": event }).to_string());
        }
    }
    lines
}

fn backtest(lines: &[String]) -> Backtest {
    let loaded = config::load_text("test", "", std::path::Path::new(""), std::iter::empty()).unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(lines.join("\n").as_bytes()).unwrap();
    run(&[file.path().to_path_buf()], &loaded.intake, &loaded.watch, Timestamp(START + 90 * 24 * HOUR)).unwrap()
}

#[test]
fn every_line_is_counted_once() {
    let mut lines = events(3, |_, _| 1.0);
    let usage = lines.len() as u64;
    let resource = r#"{"topic":"resource-events","value":{"event_id":"r1","source":"s","event_time":"2026-03-02T00:00:00Z"}}"#;
    lines.extend([lines[5].clone(), resource.to_string(), resource.to_string()]);
    lines.push(r#"{"topic":"lineage-events","value":{"eventType":"COMPLETE"}}"#.to_string());
    let malformed = [
        "not json",
        "",
        r#"{"topic":"usage-events"}"#,
        r#"{"topic":"elsewhere","value":{}}"#,
        r#"{"topic":"usage-events","value":{"event_id":"m","source":"s","event_time":"yesterday"}}"#,
        r#"{"topic":"usage-events","value":{"event_id":"m","source":"s","event_time":"2191-01-01T00:00:00Z"}}"#,
        r#"{"topic":"billing-events","value":{"event_id":"m"}}"#,
    ];
    lines.extend(malformed.map(str::to_string));
    let result = backtest(&lines);
    assert_eq!(result.counts.read, usage + 4 + malformed.len() as u64);
    assert_eq!((result.counts.rejected, result.counts.duplicates, result.late), (malformed.len() as u64, 2, 0));
    assert_eq!(result.counts.ignored, BTreeMap::from([("lineage-events".to_string(), 1)]));
    assert_eq!(result.counts.reasons.values().sum::<u64>(), result.counts.rejected);
}

#[test]
fn an_event_for_a_closed_hour_is_late() {
    let mut lines = events(6, |_, _| 1.0);
    let first = lines.remove(0);
    lines.push(first);
    assert_eq!(backtest(&lines).late, 1);
}

#[test]
fn a_spike_is_found_named_and_scored() {
    let incident = 5 * 24 + 10;
    let lines = events(7 * 24, |project, hour| if project == "ranker" && (incident..incident + 6).contains(&hour) { 5.0 } else { 1.0 });
    let result = backtest(&lines);
    let [told] = &result.alerts[..] else { panic!("{:#?}", result.alerts) };
    assert_eq!(told.alert.dimensions.get("project").map(String::as_str), Some("ranker"));
    assert_eq!(told.life.first().map(|(state, _)| *state), Some(AlertState::Open));
    assert_eq!(told.life.last().map(|(state, _)| *state), Some(AlertState::Resolved));
    let start = Timestamp(START + incident * HOUR);
    let label = |team: &str, project: &str| Label {
        kind: "spend_spike".to_string(),
        team: team.to_string(),
        start,
        end: start.plus_ms(6 * HOUR),
        dimensions: BTreeMap::from([("project".to_string(), project.to_string())]),
    };
    let found = score::score(&result.alerts, &[label("search", "ranker"), label("ads", "ranker"), label("search", "crawler")]);
    let kind = &found.kinds["spend_spike"];
    assert_eq!((kind.incidents, kind.found, kind.attributed, found.unrelated), (3, 1, 1, 0));
    assert!(kind.delay(0.9).is_some_and(|delay| delay <= HOUR), "{:?}", kind.delays);
    assert!(kind.leaked > Nanos::ZERO);
    assert_eq!(score::score(&result.alerts, &[]).unrelated, 1);
    let report = json(&result, Some(&found));
    assert_eq!(report["alerts"][0]["state"], "resolved");
    assert_eq!(report["events"]["read"], lines.len());
    assert_eq!(report["score"]["kinds"]["spend_spike"]["found"], 1);
    assert!(text(&result, Some(&found)).contains("1 alerts"));
}
