//! `tollgate tune` and `backtest` as their user runs them: look at the settings, paste one, get what was promised; say what is no anomaly.

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

/// Ten days of two teams; `search` has a small spike and a large one.
fn events() -> String {
    usage(10, |hour| match hour {
        182..=184 => 2.6,
        210..=213 => 7.0,
        _ => 1.0,
    })
}

/// Days of two teams, an event every twenty minutes; `search` takes so many times its usual in an hour.
fn usage(days: i64, times: impl Fn(i64) -> f64) -> String {
    let mut lines = String::new();
    for slot in 0..days * 72 {
        let times = times(slot / 3);
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

/// The present setting is all of the config, another one is the pasted line; neither is about other teams or about waste.
#[test]
fn tune_says_what_backtest_says_where_overrides_hold_and_resources_idle() {
    let folder = temp_folder("tune-overrides");
    let (config, events_file) = (folder.join("tollgate.toml"), folder.join("march.jsonl"));
    let mut lines = events();
    for (team, hour) in ["ads", "search"].into_iter().flat_map(|team| (0..200).map(move |hour| (team, hour))) {
        let at = jiff::Timestamp::from_second(1_772_409_600 + hour * 3_600).unwrap();
        let value = json!({
            "event_id": format!("{team}-gpu-{hour}"), "source": "inventory", "event_time": at.to_string(), "team": team,
            "resource_id": format!("{team}-gpu"), "resource_type": "gpu_cluster", "state": "running", "hourly_cost": "30.00",
            "currency": "USD", "utilization": 0.0,
        });
        let line = json!({ "topic": "resource-events", "value": value });
        writeln!(lines, "{line}").unwrap();
    }
    // In the order of time.
    let time_of = |line: &str| serde_json::from_str::<Value>(line).unwrap()["value"]["event_time"].as_str().unwrap().to_string();
    let mut in_order: Vec<&str> = lines.lines().collect();
    in_order.sort_by_cached_key(|line| time_of(line));
    std::fs::write(&events_file, in_order.join("\n")).unwrap();
    let told = |config: &Path| {
        let backtest = report(&tollgate(&["backtest", "--format", "json"], config, &events_file));
        let alerts = backtest["alerts"].as_array().unwrap();
        let is_waste = |alert: &Value| alert["kind"].as_str().unwrap().ends_with("_resource");
        assert!(alerts.iter().filter(|alert| is_waste(alert)).count() >= 2, "{backtest:#}");
        alerts.iter().filter(|alert| alert["team"] == "search" && !is_waste(alert)).count() as u64
    };
    let of_team = r#"{ least_excess = "5000.00", least_ratio = 4.0, quiet_to_close = "5h", runaway_floor = "9000.00" }"#;
    let of_project = r#"{ least_excess = "20.00" }"#;
    let overrides = format!(
        "[[override]]\nteam = \"search\"\nthresholds = {of_team}\n\n[[override]]\nproject = \"ranker\"\nthresholds = {of_project}\n"
    );
    std::fs::write(&config, format!("{CONFIG}\n{overrides}")).unwrap();
    let tuned = report(&tollgate(&["tune", "--team", "search", "--format", "json"], &config, &events_file));
    let trials = tuned["trials"].as_array().unwrap();
    let current = trials.iter().find(|trial| trial["current"] == true).unwrap();
    assert!(told(&config) >= 1 && current["alerts"] == told(&config), "{tuned:#}");
    let other = trials.iter().find(|trial| trial["current"] == false).unwrap();
    let line = other["config"].as_str().unwrap();
    for named in ["least_ratio = 4.0", "quiet_to_close = \"5h\"", "runaway_floor = \"9000"] {
        assert!(line.contains(named), "{line}");
    }
    std::fs::write(&config, format!("{CONFIG}\n{overrides}\n{line}\n")).unwrap();
    assert_eq!(other["alerts"], told(&config), "{tuned:#}");
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

/// A team whose spend jumps every second day would be told each time; what it has set as its budget decides how often it is.
#[test]
fn tune_shows_that_a_budget_of_alerts_is_kept() {
    let folder = temp_folder("tune-budget");
    let (config, events_file) = (folder.join("tollgate.toml"), folder.join("march.jsonl"));
    std::fs::write(&config, CONFIG).unwrap();
    // Twelve to twenty hours apart from the same time of a day, so that none is a habit; no two of the same size.
    let jumps = |hour: i64| hour > 8 * 24 && hour % 41 < 2;
    std::fs::write(&events_file, usage(28, |hour| if jumps(hour) { 2.5 + 0.25 * (hour / 41 % 5) as f64 } else { 1.0 })).unwrap();
    let tuned = report(&tollgate(&["tune", "--team", "search", "--format", "json"], &config, &events_file));
    let trials = tuned["trials"].as_array().unwrap();
    let told = |setting: f64| {
        let of_setting = trials.iter().filter(|trial| trial["alerts_per_team_month"] == setting);
        of_setting.map(|trial| trial["alerts"].as_u64().unwrap()).max().unwrap()
    };
    let by_setting = [0.5, 1.0, 2.0, 4.0, 8.0].map(|setting| (setting, told(setting)));
    assert!(by_setting.is_sorted_by_key(|(_, told)| *told), "{by_setting:?}");
    let ((_, fewest), (_, most)) = (by_setting[0], by_setting[4]);
    assert!(most >= 2 * fewest.max(1), "{by_setting:?}");
    for (setting, told) in by_setting {
        // A budget is kept over months; three more in the first one are what it takes to learn how loud the team is.
        assert!(told as f64 <= 2.0 * setting + 3.0, "{by_setting:?}");
    }
}

/// What was said about the first jump holds for the next one, and only where it was said.
#[test]
fn what_was_said_about_one_alert_changes_what_is_told_next() {
    let folder = temp_folder("said");
    let (config, events_file) = (folder.join("tollgate.toml"), folder.join("march.jsonl"));
    std::fs::write(&config, CONFIG).unwrap();
    // Thirty hours later, so that it is no habit.
    let lines = usage(12, |hour| if (210..213).contains(&hour) || (240..243).contains(&hour) { 7.0 } else { 1.0 });
    let second = jiff::Timestamp::from_second(1_772_409_600 + 239 * 3_600).unwrap().to_string();
    let said = json!({ "topic": "feedback", "value": {
        "event_id": "f-1", "source": "chat", "event_time": jiff::Timestamp::from_second(1_772_409_600 + 212 * 3_600).unwrap().to_string(),
        "actor": "ann@example.com", "team": "search", "verdict": "not_an_anomaly", "note": "the weekly batch",
    }});
    for is_said in [false, true] {
        let mut stream: Vec<&str> = lines.lines().collect();
        let said = said.to_string();
        if is_said {
            stream.insert(2 * 3 * 212, &said);
        }
        std::fs::write(&events_file, stream.join("\n")).unwrap();
        let backtest = report(&tollgate(&["backtest", "--format", "json"], &config, &events_file));
        let of_search: Vec<&Value> = backtest["alerts"].as_array().unwrap().iter().filter(|alert| alert["team"] == "search").collect();
        let later = of_search.iter().filter(|alert| alert["onset"].as_str().unwrap() > second.as_str()).count();
        assert_eq!(later == 0, is_said, "{backtest:#}");
        assert!(of_search.len() > later, "the first one is told in any case: {backtest:#}");
        assert_eq!(backtest["events"]["rejected"], 0);
    }
}

/// What comes through a pipe is read as the file that holds it, and messages call it stdin.
#[test]
fn stdin_is_a_file_as_others_are() {
    let folder = temp_folder("stdin");
    let usage = r#"{"topic":"usage-events","value":{"event_id":"1","source":"gateway","meter":"llm.tokens","event_time":"2026-03-05T10:00:00Z","team":"risk","model":"scorer","region":"eu-west-1","quantity":1}}"#;
    let files = [
        ("events.jsonl", events()),
        ("flow.jsonl", format!("{usage}\n")),
        ("sums.csv", "project,expected,actual\nranker,100,480\nsearch,88,90\n".to_owned()),
        ("series.csv", "timestamp,value\n2026-03-05T10:00:00Z,1\n2026-03-05T11:00:00Z,2\n2026-03-05T12:00:00Z,3\n".to_owned()),
    ];
    let commands: [(&[&str], usize); 5] = [
        (&["backtest", "--format", "json", "--events"], 0),
        (&["tune", "--team", "search", "--format", "json", "--events"], 0),
        (&["data-flow"], 1),
        (&["explain"], 2),
        (&["score"], 3),
    ];
    let tollgate = |arguments: &[&str], input: &str, stdin: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        run(command.args(arguments).arg(input), stdin, Duration::from_secs(120))
    };
    for (arguments, file) in commands {
        let (name, content) = &files[file];
        let path = folder.join(name);
        std::fs::write(&path, content).unwrap();
        let (of_file, of_stdin) = (tollgate(arguments, path.to_str().unwrap(), ""), tollgate(arguments, "-", content));
        assert!(of_file.code == Some(0) && !of_file.stdout.is_empty(), "{arguments:?}: {:?} {}", of_file.code, of_file.stderr);
        assert_eq!((of_stdin.code, &of_stdin.stdout), (of_file.code, &of_file.stdout), "{arguments:?}: {}", of_stdin.stderr);
        let damaged = tollgate(arguments, "-", "no,such\n");
        assert!(damaged.code != Some(0) && [damaged.stderr, damaged.stdout].concat().contains("stdin"), "{arguments:?}");
    }
}
