//! `tollgate tune` as its user runs it: look at the settings, paste one, and get what was promised.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::real::parts::{Ended, run, temp_folder};

const CONFIG: &str = "version = 1\nrules_revision = 1\n\n[watch.thresholds]\nleast_excess = \"20.00\"\n";

fn tollgate(arguments: &[&str], config: &Path, events: &Path) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.args(arguments).arg("--config").arg(config).arg("--events").arg(events);
    run(&mut command, "", Duration::from_secs(120))
}

fn report(ended: &Ended) -> Value {
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    serde_json::from_str(&ended.stdout).unwrap()
}

/// Ten days of two teams, an event every twenty minutes; `search` has a small spike and a large one.
fn events() -> String {
    let mut lines = String::new();
    for slot in 0..10 * 72_i64 {
        let times = match slot / 3 {
            150..=152 => 2.6,
            200..=203 => 7.0,
            _ => 1.0,
        };
        let noise = 1.0 + 0.05 * ((slot * 7_919 % 13) as f64 / 13.0 - 0.5);
        for (team, money) in [("search", 4.0 * times * noise), ("ads", 3.0 * noise)] {
            let at = jiff::Timestamp::from_second(1_772_409_600 + slot * 1_200).unwrap();
            let value = json!({
                "event_id": format!("{team}-{slot}"), "source": "gateway", "event_time": at.to_string(), "meter": "llm.tokens", "team": team,
                "project": "ranker", "model": "m", "provider": "p", "quantity": 1000, "cost": format!("{money:.6}"), "currency": "USD",
            });
            writeln!(lines, "{}", json!({ "topic": "usage-events", "value": value })).unwrap();
        }
    }
    lines
}

#[test]
fn a_pasted_line_of_tune_does_what_tune_has_said() {
    let folder = temp_folder("tune");
    let (config, events_file) = (folder.join("tollgate.toml"), folder.join("march.jsonl"));
    std::fs::write(&config, CONFIG).unwrap();
    std::fs::write(&events_file, events()).unwrap();
    let tune = |format: &str| tollgate(&["tune", "--team", "search", "--format", format], &config, &events_file);

    let tuned = report(&tune("json"));
    let trials = tuned["trials"].as_array().unwrap().clone();
    let alerts = |trial: &Value| trial["alerts"].as_u64().unwrap();
    let current: Vec<&Value> = trials.iter().filter(|trial| trial["current"] == true).collect();
    let [current] = current[..] else { panic!("one setting is the present one: {tuned:#}") };
    assert!(alerts(current) >= 1, "{tuned:#}");
    // Whoever is told of less misses more, and pays for longer.
    let fewest = trials.iter().min_by_key(|trial| alerts(trial)).unwrap();
    let most = trials.iter().max_by_key(|trial| alerts(trial)).unwrap();
    assert!(alerts(fewest) < alerts(most), "{tuned:#}");
    let missed = |trial: &Value| trial["missed"].as_u64().unwrap();
    let waiting = |trial: &Value| trial["spent_while_waiting"].as_str().unwrap().parse::<f64>().unwrap();
    assert!(missed(fewest) > missed(most) && waiting(fewest) > waiting(most), "{tuned:#}");

    let screen = tune("text").stdout;
    assert!(screen.contains("alerts_per_team_month") && screen.matches("<- now").count() == 1, "{screen}");
    assert!(screen.contains("paste one of these") && screen.contains("search (ranker"), "{screen}");

    // The line does what was promised: the backtest says so, and tune calls it the present setting.
    let chosen = if alerts(fewest) == alerts(current) { most } else { fewest };
    let pasted = format!("{}\n{}\n", CONFIG.replace("rules_revision = 1", "rules_revision = 2"), chosen["config"].as_str().unwrap());
    std::fs::write(&config, &pasted).unwrap();
    let backtest = report(&tollgate(&["backtest", "--format", "json"], &config, &events_file));
    let told = backtest["alerts"].as_array().unwrap().iter().filter(|alert| alert["team"] == "search").count();
    assert_eq!(told as u64, alerts(chosen), "{pasted}\n{backtest:#}");
    let again = report(&tune("json"));
    let now = again["trials"].as_array().unwrap().iter().find(|trial| trial["current"] == true).unwrap();
    assert_eq!((&now["alerts_per_team_month"], &now["least_excess"]), (&chosen["alerts_per_team_month"], &chosen["least_excess"]));
}

#[test]
fn a_team_without_usage_is_said_and_what_there_is() {
    let folder = temp_folder("tune-unknown");
    let (config, events_file) = (folder.join("tollgate.toml"), folder.join("march.jsonl"));
    std::fs::write(&config, CONFIG).unwrap();
    std::fs::write(&events_file, events()).unwrap();
    let ended = tollgate(&["tune", "--team", "serach"], &config, &events_file);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""));
    assert!(ended.stderr.contains("'serach' has no usage") && ended.stderr.contains("ads, search"), "{}", ended.stderr);
}
