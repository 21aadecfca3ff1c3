//! Files through the engine: counters are exact, an incident is found and named, and the order of what is said is the order of events.

use std::io::Write as _;

use super::labels::Label;
use super::*;
use crate::config;
use crate::model::alert::AlertState;

/// 2026-03-02T00:00:00Z, a Monday.
pub(super) const START: i64 = 1_772_409_600_000;
pub(super) const HOUR: i64 = 3_600_000;

/// Events every ten minutes of two projects; `factor` by project and hour.
pub(super) fn events(hours: i64, factor: impl Fn(&str, i64) -> f64) -> Vec<String> {
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
    backtest_with("", lines)
}

fn backtest_with(settings: &str, lines: &[String]) -> Backtest {
    let loaded = config::load_text("test", settings, std::path::Path::new(""), std::iter::empty()).unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(lines.join("\n").as_bytes()).unwrap();
    run(&[file.path().to_path_buf()], &loaded.intake, &loaded.lineage, &loaded.watch, Timestamp(START + 90 * 24 * HOUR)).unwrap()
}

#[test]
fn every_line_is_counted_once() {
    let mut lines = events(3, |_, _| 1.0);
    let usage = lines.len() as u64;
    let resource = r#"{"topic":"resource-events","value":{"event_id":"r1","source":"s","event_time":"2026-03-02T00:00:00Z"}}"#;
    lines.extend([lines[5].clone(), resource.to_string(), resource.to_string()]);
    let malformed = [
        "not json",
        r#"{"topic":"usage-events"}"#,
        r#"{"topic":"elsewhere","value":{}}"#,
        r#"{"topic":"usage-events","value":{"event_id":"m","source":"s","event_time":"yesterday"}}"#,
        r#"{"topic":"usage-events","value":{"event_id":"m","source":"s","event_time":"2191-01-01T00:00:00Z"}}"#,
        r#"{"topic":"billing-events","value":{"event_id":"m"}}"#,
        r#"{"topic":"lineage-events","value":{"eventType":"COMPLETE"}}"#,
    ];
    lines.extend(malformed.map(str::to_string));
    // An empty line is none.
    lines.push(" \n".to_string());
    let result = backtest(&lines);
    assert_eq!(result.counts.read, usage + 3 + malformed.len() as u64);
    assert_eq!((result.counts.rejected, result.counts.duplicates, result.late), (malformed.len() as u64, 2, 0));
    assert_eq!(result.counts.reasons.values().sum::<u64>(), result.counts.rejected);
    let first = result.counts.first_rejected.clone().unwrap();
    assert_eq!((u64::from(first.place.line), first.reason.as_str()), (usage + 4, "invalid_json"));
    assert!(!result.counts.is_unusable());
}

#[test]
fn where_no_line_can_be_used_the_first_is_shown_with_what_is_expected() {
    let bare = r#"{"event_id":"1","source":"s","event_time":"2026-03-02T00:00:00Z","team":"search"}"#;
    let cases = [
        (bare, r#"no_event_line: a line is {"topic": "usage-events", "value": {...}}"#),
        (r#"{"topic":"usage-event","value":{}}"#, "unknown_topic: 'usage-event' is no topic; did you mean 'usage-events'?"),
        (r#"{"topic":"spend","value":{}}"#, "unknown_topic: 'spend' is no topic; topics are resource-events, "),
        (r#"{"topic":"usage-events","value":{"source":"s"}}"#, "missing_field: "),
        (r#"{"topic":"billing-events","value":{"source":"s"}}"#, "missing_field: "),
        (r#"{"topic":"billing-events","value":{"source":"s","event_id":1}}"#, "wrong_type: "),
    ];
    for (line, said) in cases {
        let result = backtest(&[line.to_string(), "and more".to_string()]);
        assert!(result.counts.is_unusable(), "{line}");
        let report = text(&result, None);
        let first = report.lines().find(|line| line.starts_with("the first: ")).unwrap();
        assert!(first.contains(&format!(":1: {said}")), "{first}");
        let first = &json(&result, None)["events"]["first_rejected"];
        assert!(first["line"] == 1 && said.starts_with(first["reason"].as_str().unwrap()), "{first}");
    }
    for nothing in [&[][..], &[String::new(), " ".to_string()]] {
        let counts = backtest(nothing).counts;
        assert!((counts.read, counts.first_rejected.is_none(), counts.is_unusable()) == (0, true, false), "there was nothing");
    }
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
    assert!(text(&result, Some(&found)).contains("\n1 alert\n"));
}

/// Both have one id; each incident is found, and at its own time.
#[test]
fn an_alert_that_is_opened_again_is_scored_for_both_incidents() {
    let spikes = [5 * 24 + 3, 5 * 24 + 16];
    let is_on = |hour: i64| spikes.iter().any(|start| (*start..start + 2).contains(&hour));
    let lines = events(7 * 24, |project, hour| if project == "ranker" && is_on(hour) { 8.0 } else { 1.0 });
    let result = backtest(&lines);
    assert_eq!((result.alerts.len(), result.alerts[0].openings.len()), (1, 2), "{:#?}", result.alerts);
    let label = |start: i64| Label {
        kind: "spend_spike".to_string(),
        team: "search".to_string(),
        start: Timestamp(START + start * HOUR),
        end: Timestamp(START + (start + 2) * HOUR),
        dimensions: BTreeMap::new(),
    };
    let found = score::score(&result.alerts, &spikes.map(label));
    let kind = &found.kinds["spend_spike"];
    assert_eq!((kind.incidents, kind.found), (2, 2));
    assert!(kind.delays.iter().all(|delay| *delay <= HOUR), "{:?}", kind.delays);
}

/// Nothing comes for a day, of nobody: the hours of that day close one by one all the same.
#[test]
fn a_team_that_falls_silent_alone_is_told_within_hours() {
    let silent = 8 * 24 + 10;
    let mut lines = events(10 * 24, |_, _| 1.0);
    let since = Timestamp(START + silent * HOUR);
    lines.drain(usize::try_from(silent * 12).unwrap()..usize::try_from((silent + 24) * 12).unwrap());
    let result = backtest(&lines);
    let told = result.alerts.iter().find(|told| told.alert.kind == crate::model::alert::AlertKind::SpendDrop).expect("a drop");
    assert_eq!((told.alert.onset, told.alert.dimensions.len()), (since, 0), "{:#?}", told.alert);
    assert!(told.life[0].1.0 - since.0 <= 5 * HOUR, "{}", told.life[0].1);
    assert_eq!((result.late, result.counts.rejected), (0, 0), "what came around the pause is in its hours");
}

/// The policies as they are shipped, over usage, resources and activity.
#[test]
fn violations_stand_in_the_report_with_their_lives() {
    let line = |topic: &str, id: &str, hour: i64, change: serde_json::Value| {
        let at = Timestamp(START + hour * HOUR + 1_000);
        let mut event = serde_json::json!({"event_id": id, "source": "s", "event_time": at, "team": "search"});
        event.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        serde_json::json!({ "topic": topic, "value": event }).to_string()
    };
    let usage = |id: &str, hour, provider: &str| {
        let change = serde_json::json!({
            "meter": "llm.tokens", "provider": provider, "model": "m", "environment": "dev", "quantity": 1, "cost": "1.5", "currency": "USD",
        });
        line("usage-events", id, hour, change)
    };
    let lines = [
        usage("u-1", 0, "deepseek"),
        line("resource-events", "r-1", 0, serde_json::json!({"resource_id": "gpu-1", "state": "running"})),
        line("resource-events", "r-2", 0, serde_json::json!({"resource_id": "gpu-2", "state": "running", "owner": "ann"})),
        line("activity-events", "a-1", 1, serde_json::json!({"action": "egress", "destination": "api.deepseek.com", "actor": "ann"})),
        line("activity-events", "a-2", 1, serde_json::json!({"action": "deployment", "model": "m-7", "region": "ap-northeast-1"})),
        line("activity-events", "a-3", 2, serde_json::json!({"action": "model_registered", "model": "m-7", "origin_region": "eu-west-1"})),
        usage("u-2", 3, "deepseek"),
        usage("u-3", 4, "openai"),
        usage("u-4", 30, "openai"),
    ];
    let settings = concat!("version = 1\n[policies]\ndir = '", env!("CARGO_MANIFEST_DIR"), "/config/policies'\n");
    let result = backtest_with(settings, &lines);
    let report = json(&result, None);
    let of = |violation: &serde_json::Value| ["policy", "subject", "state"].map(|field| violation[field].as_str().unwrap().to_string());
    let told: Vec<[String; 3]> = report["violations"].as_array().unwrap().iter().map(of).collect();
    let expected = [
        ["approved-provider", "provider=deepseek", "resolved"],
        ["owner-tag", "resource_id=gpu-1", "resolved"],
        ["shadow-ai-egress", "provider=deepseek", "resolved"],
        ["eu-trained-model-in-asia", "model=m-7;region=ap-northeast-1", "open"],
    ];
    assert_eq!(told, expected);
    let first = &report["violations"][0];
    assert_eq!((&first["amount"], &first["count"], &first["revisions"]), (&"3".into(), &2.into(), &3.into()), "{first}");
    let shown = text(&result, None);
    assert!(shown.contains("4 violations") && shown.contains("search uses deepseek, which is not an approved provider"), "{shown}");
    assert!(shown.contains("eu-trained-model-in-asia: indeterminate for 1 event\n"), "{shown}");
}

/// Usage every ten minutes; `make` says what else the event has.
fn usage(hours: std::ops::Range<i64>, project: &str, make: impl Fn(i64) -> serde_json::Value) -> Vec<(i64, String)> {
    let event = |slot: i64| {
        let at = START + slot * HOUR / 6 + 1_000;
        let mut event = serde_json::json!({
            "event_id": format!("{project}-{slot}"), "source": "gateway", "event_time": Timestamp(at), "meter": "llm.tokens", "team": "search",
            "project": project, "model": "m", "provider": "openai", "requests": 100, "input_tokens": 100_000, "output_tokens": 10_000,
            "cost": "2.00", "currency": "USD",
        });
        let more = make(slot / 6);
        for (name, value) in more.as_object().unwrap() {
            event[name] = value.clone();
        }
        (at, serde_json::json!({ "topic": "usage-events", "value": event }).to_string())
    };
    (hours.start * 6..hours.end * 6).map(event).collect()
}

/// Hourly samples of a cluster.
fn samples(hours: i64, id: &str, make: impl Fn(i64) -> serde_json::Value) -> Vec<(i64, String)> {
    let event = |hour: i64| {
        let at = START + hour * HOUR + 2_000;
        let mut event = serde_json::json!({
            "event_id": format!("{id}-{hour}"), "source": "inventory", "event_time": Timestamp(at), "resource_id": id,
            "resource_type": "gpu_cluster", "state": "running", "team": "search", "hourly_cost": "30.00", "currency": "USD", "owner": "ann",
        });
        let more = make(hour);
        for (name, value) in more.as_object().unwrap() {
            event[name] = value.clone();
        }
        (at, serde_json::json!({ "topic": "resource-events", "value": event }).to_string())
    };
    (0..hours).map(event).collect()
}

/// A day's bill, the morning after.
fn bill(day: i64, team: &str, provider: &str, cost: &str) -> (i64, String) {
    let at = START + (day * 24 + 30) * HOUR;
    let start = START + day * 24 * HOUR;
    let row = serde_json::json!({
        "BilledCost": cost, "EffectiveCost": cost, "BillingCurrency": "USD", "ChargeCategory": "Usage", "ServiceName": "API",
        "ServiceProviderName": provider, "ChargePeriodStart": Timestamp(start), "ChargePeriodEnd": Timestamp(start + 24 * HOUR),
        "BillingPeriodStart": "2026-03-01T00:00:00Z", "Tags": format!("{{\"team\":\"{team}\"}}"),
    });
    let event = serde_json::json!({
        "event_id": format!("{team}-{provider}-{day}"), "source": "focus", "event_time": Timestamp(at), "line_id": format!("{team}-{provider}-{day}"),
        "row": row,
    });
    (at, serde_json::json!({ "topic": "billing-events", "value": event }).to_string())
}

/// Kinds and resources or projects of the matters that were told of.
fn matters(config: &str, mut events: Vec<(i64, String)>) -> Vec<String> {
    events.sort();
    let config = format!("version = 1\n[[attribution]]\ntags = {{ team = \"*\" }}\nteam_from_tag = \"team\"\n{config}");
    let loaded = config::load_text("test", &config, std::path::Path::new(""), std::iter::empty()).unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(events.into_iter().map(|(_, line)| line).collect::<Vec<_>>().join("\n").as_bytes()).unwrap();
    let result =
        run(&[file.path().to_path_buf()], &loaded.intake, &loaded.lineage, &loaded.watch, Timestamp(START + 90 * 24 * HOUR)).unwrap();
    assert_eq!(result.counts.rejected, 0, "{:?}", result.counts);
    let told = result.alerts.iter().filter(|told| told.alert.kind.is_matter());
    let named =
        |told: &Told| ["resource_id", "project", "budget", "provider"].iter().find_map(|name| told.alert.dimensions.get(*name)).cloned();
    told.map(|told| format!("{} {}", told.alert.kind.as_str(), named(told).unwrap_or_default())).collect()
}

/// From events to alerts: each kind of waste and of missing money, and beside each the twin that must stay silent.
#[test]
fn what_is_wasted_or_missing_is_told_and_its_twin_is_not() {
    let json = |value: serde_json::Value| value;
    let waste = [
        samples(60, "idle", |hour| serde_json::json!({ "utilization": if hour < 20 { 0.6 } else { 0.01 }, "requests": 0 })),
        samples(60, "forgotten", |_| serde_json::json!({ "utilization": 0.0 })),
        samples(
            60,
            "orphan",
            |hour| serde_json::json!({ "utilization": if hour < 50 { 0.5 } else { 0.0 }, "owner": (hour < 50).then_some("ann") }),
        ),
        samples(200, "endpoint", |_| serde_json::json!({ "resource_type": "endpoint", "requests": 0 })),
        samples(200, "disk", |_| serde_json::json!({ "resource_type": "disk", "state": "unattached" })),
        // Twins: low but real, idle at night, stopped and free, owner gone but busy, nobody knows, one request a day, attached.
        samples(200, "low", |hour| serde_json::json!({ "utilization": 0.02, "requests": hour % 5 })),
        samples(200, "night", |hour| serde_json::json!({ "utilization": if hour % 24 < 12 { 0.0 } else { 0.6 } })),
        samples(200, "stopped", |_| serde_json::json!({ "utilization": 0.0, "state": "stopped", "hourly_cost": "0.00" })),
        samples(200, "unowned", |hour| serde_json::json!({ "utilization": 0.5, "owner": (hour < 50).then_some("ann") })),
        samples(200, "unknown", |_| serde_json::json!({})),
        samples(200, "daily", |hour| serde_json::json!({ "resource_type": "endpoint", "requests": i64::from(hour % 24 == 0) })),
        samples(200, "attached", |_| serde_json::json!({ "resource_type": "disk", "state": "attached" })),
    ];
    let mut told = matters("", waste.concat());
    told.sort();
    let expected = [
        "forgotten_resource disk",
        "forgotten_resource endpoint",
        "forgotten_resource forgotten",
        "idle_resource idle",
        "orphaned_resource orphan",
    ];
    assert_eq!(told, expected);

    let zero = usage(0..40, "zero", |hour| json(if hour < 30 { serde_json::json!({}) } else { serde_json::json!({ "cost": "0" }) }));
    let house = usage(0..40, "house", |_| serde_json::json!({ "cost": "0", "model": "house" }));
    let silent = usage(0..40, "streams", |hour| {
        json(if hour < 30 { serde_json::json!({}) } else { serde_json::json!({ "cost": "0", "input_tokens": 0, "output_tokens": 0 }) })
    });
    let unpriced = usage(30..40, "unpriced", |_| serde_json::json!({ "cost": null, "model": "brand-new", "provider": "nobody" }));
    let mut told = matters("", [zero, house, silent, unpriced].concat());
    told.sort();
    assert_eq!(told, ["missing_money streams", "missing_money unpriced", "missing_money zero"]);

    let steady = |to| usage(0..to, "steady", |_| serde_json::json!({}));
    let clock = usage(0..200, "clock", |_| serde_json::json!({ "provider": "mistral", "team": "ads" }));
    assert_eq!(matters("", [steady(180), clock.clone()].concat()), ["provider_silent openai"]);
    assert_eq!(matters("", [steady(200), clock].concat()), [""; 0]);
}

#[test]
fn bills_are_held_against_the_estimate_and_budgets_against_both() {
    // 288 USD a day.
    let steady = || usage(0..16 * 24, "steady", |_| serde_json::json!({}));
    let bills = |odd: &str| -> Vec<(i64, String)> {
        (0..12).map(|day| bill(day, "search", "OpenAI", if day == 9 { odd } else { "259.20" })).collect()
    };
    assert_eq!(matters("", [steady(), bills("600.00")].concat()), ["bill_mismatch openai"]);
    assert_eq!(matters("", [steady(), bills("259.20")].concat()), [""; 0], "a tenth less every day");
    assert_eq!(
        matters("", [steady(), vec![bill(3, "ads", "OpenAI", "90.00"), bill(3, "ads", "Amazon Web Services", "900.00")]].concat()),
        ["unseen_spend openai"]
    );
    let budget = |amount: &str| format!("[[budget]]\nname = \"all\"\nteam = \"search\"\namount = \"{amount}\"\n");
    assert_eq!(matters(&budget("5000.00"), steady()), ["budget all"]);
    assert_eq!(matters(&budget("50000.00"), steady()), [""; 0]);
}

/// A day that the bill leaves out, a source that counts cached tokens twice, spend that is nobody's; beside each its twin.
#[test]
fn what_bills_and_tags_leave_out_is_told_and_its_twin_is_not() {
    let steady = || usage(0..16 * 24, "steady", |_| serde_json::json!({}));
    let bills = |days: &[i64]| -> Vec<(i64, String)> { days.iter().map(|day| bill(*day, "search", "OpenAI", "288.00")).collect() };
    assert_eq!(matters("", [steady(), bills(&[0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11])].concat()), ["bill_mismatch openai"]);
    assert_eq!(matters("", [steady(), bills(&[0, 1, 2, 3, 4, 5, 6])].concat()), [""; 0], "a bill that is behind");

    // Nine tenths of the input are read from the cache, at a tenth of the price: 103.68 USD a day, not 492.48.
    let cached = || {
        let claude = serde_json::json!({
            "provider": "anthropic", "model": "claude-sonnet-4-5", "cost": null, "input_tokens": 1_000_000, "cached_input_tokens": 900_000,
        });
        let bills = (0..12).map(|day| bill(day, "search", "Anthropic", "103.68")).collect();
        [usage(0..16 * 24, "cached", |_| claude.clone()), bills].concat()
    };
    let told = matters("[[sources]]\nsource = 'gateway'\ninput_includes_cached = false\n", cached());
    assert!(!told.is_empty() && told.iter().all(|told| told == "bill_mismatch anthropic"), "{told:?}");
    assert_eq!(matters("", cached()), [""; 0]);

    let nobodys = |cost: &str| usage(0..20, "", |_| serde_json::json!({ "team": null, "project": null, "cost": cost }));
    let others = || usage(0..60, "steady", |_| serde_json::json!({}));
    assert_eq!(matters("", [others(), nobodys("1.00")].concat()), ["untagged_spend openai"]);
    assert_eq!(matters("", [others(), nobodys("0.10")].concat()), [""; 0]);
}

/// A bill in euros is held against an estimate in dollars by the rate of the day; without a rate that is told, and without any rates it is
/// never taken one to one, nor for spend of which no usage was seen.
#[test]
fn other_currencies_count_in_one_and_commitments_that_nobody_uses_are_told() {
    let steady = || usage(0..16 * 24, "steady", |_| serde_json::json!({}));
    let with = |events: Vec<(i64, String)>, from: &str, to: &str| -> Vec<(i64, String)> {
        events.into_iter().map(|(at, line)| (at, line.replace(from, to))).collect()
    };
    let bills = |cost: &str, odd: &str| -> Vec<(i64, String)> {
        (0..12).map(|day| bill(day, "search", "OpenAI", if day == 9 { odd } else { cost })).collect()
    };
    let in_currency = |bills, code: &str| with(bills, r#""BillingCurrency":"USD""#, &format!(r#""BillingCurrency":"{code}""#));
    let mut file = tempfile::NamedTempFile::new().unwrap();
    write!(file, "date,currency,rate\n{},USD,1.25\n", Timestamp(START - 24 * HOUR).to_string().get(..10).unwrap()).unwrap();
    let rates = format!("[currency]\nrates = ['{}']\nmost_age = '60d'\n", file.path().display());
    // 288 dollars a day are estimated; 207.36 euros are 259.20 dollars, a tenth less.
    let euros = |odd: &str| in_currency(bills("207.36", odd), "EUR");
    assert_eq!(matters(&rates, [steady(), euros("207.36")].concat()), [""; 0]);
    assert_eq!(matters(&rates, [steady(), euros("480.00")].concat()), ["bill_mismatch openai"]);
    let budget = |amount: &str| format!("{rates}[[budget]]\nname = 'cash'\nteam = 'search'\nmeasure = 'billed'\namount = '{amount}'\n");
    // Twelve days are 3110.40 dollars, and 2488.32 euros.
    assert_eq!(matters(&budget("3000.00"), [steady(), euros("207.36")].concat()), ["budget cash"]);
    let pounds = matters(&rates, [steady(), in_currency(bills("207.36", "207.36"), "GBP")].concat());
    assert_eq!(pounds, ["missing_money "]);
    assert_eq!(matters("", [steady(), euros("207.36")].concat()), [""; 0]);
    // Usage that says what it cost in euros counts like that in dollars.
    let mixed = usage(0..40, "zero", |hour| {
        let cost = if hour < 20 { "2.00" } else { "1.60" };
        serde_json::json!({ "cost": cost, "currency": if hour < 20 { "USD" } else { "EUR" } })
    });
    assert_eq!(matters(&rates, mixed), [""; 0]);

    let committed = |days: &[i64], status: &str| {
        let bills = days.iter().map(|day| bill(*day, "search", "Amazon Web Services", "12.00")).collect();
        let status = format!(r#""ChargeCategory":"Usage","CommitmentDiscountStatus":"{status}""#);
        [steady(), with(bills, r#""ChargeCategory":"Usage""#, &status)].concat()
    };
    let week = [2, 3, 4, 5, 6, 7, 8];
    assert_eq!(matters("", committed(&week, "Unused")), ["unused_commitment Amazon Web Services"]);
    assert_eq!(matters("", committed(&week, "Used")), [""; 0]);
    assert_eq!(matters("", committed(&[2, 3, 9, 10], "Unused")), [""; 0], "weekends");
    assert_eq!(matters("[waste.commitment]\nenabled = false\n", committed(&week, "Unused")), [""; 0]);
}

/// From usage events to advice, with the prices that are built in; beside each kind the twin that must stay silent.
#[test]
fn usage_that_is_bought_too_dear_is_told_and_its_twin_is_not() {
    let json = |value: serde_json::Value| value;
    // 600 requests an hour; no cost of its own, so that the price book says what it is.
    let of = |hours, project: &str, model: &str, input: i64, output: i64, more: serde_json::Value| {
        usage(hours, project, |_| {
            let mut event = serde_json::json!({ "model": model, "input_tokens": input * 100, "output_tokens": output * 100, "cost": null });
            more.as_object().unwrap().iter().for_each(|(name, value)| event[name] = value.clone());
            event
        })
    };
    let none = || serde_json::json!({});
    let by_night = |mut events: Vec<(i64, String)>, from: i64, to: i64| {
        events.retain(|(at, _)| (from..to).contains(&((at - START).div_euclid(HOUR) % 24)));
        events
    };
    assert_eq!(START % (24 * HOUR), 0, "hours are those of the day");
    let told = [
        of(0..80, "assistant", "gpt-4o", 8000, 500, none()),
        by_night(of(0..80, "summaries", "gpt-4o", 3000, 1000, none()), 1, 4),
        of(0..80, "router", "gpt-4o", 800, 20, none()),
        // One that reads from the cache: so the team's gateway reports it.
        of(0..1, "chat", "gpt-4o", 8000, 500, serde_json::json!({ "cached_input_tokens": 300_000 })),
    ];
    let twins = [
        of(0..80, "caching", "gpt-4o", 8000, 500, serde_json::json!({ "cached_input_tokens": 300_000 })),
        of(0..80, "short", "gpt-4o", 1500, 500, none()),
        by_night(of(0..80, "office", "gpt-4o", 3000, 1000, none()), 9, 12),
        // The source says what it paid: half.
        by_night(of(0..80, "batched", "gpt-4o", 3000, 1000, serde_json::json!({ "cost": "0.875" })), 1, 4),
        of(0..80, "mini", "gpt-4o-mini", 800, 20, none()),
        of(0..80, "thinking", "o3", 800, 80, serde_json::json!({ "reasoning_tokens": 4000 })),
    ];
    let mut found = matters("", told.concat());
    found.sort();
    assert_eq!(found, ["dear_model router", "no_batch summaries", "no_prompt_caching assistant"]);
    assert_eq!(matters("", twins.concat()), [""; 0]);
    // Two days are no habit; and it can be switched off.
    let [.., chat] = &told;
    let assistant = |hours| [of(hours, "assistant", "gpt-4o", 8000, 500, json(none())), chat.clone()].concat();
    assert_eq!(matters("", assistant(0..50)), [""; 0]);
    assert_eq!(matters("[advice]\nenabled = false\n", assistant(0..80)), [""; 0]);
}

/// As live: the graph tells the shard where a model's data comes from, and the policies judge where it answers.
#[test]
fn a_model_of_european_data_that_answers_from_asia_is_found_by_its_lineage() {
    let run = |origin: &str| {
        let origins = serde_json::json!({ "tollgate_origin": { "regions": [origin] } });
        serde_json::json!({ "topic": "lineage-events", "value": {
            "eventType": "COMPLETE", "eventTime": "2026-03-02T00:00:00Z", "producer": "p", "run": { "runId": "r" },
            "job": { "namespace": "n", "name": "train" }, "inputs": [{ "namespace": "s", "name": "customers", "facets": origins }],
            "outputs": [{ "namespace": "s", "name": "weights", "facets": { "tollgate_model": { "model": "m" } } }],
        }})
    };
    let deployment = serde_json::json!({ "topic": "activity-events", "value": {
        "event_id": "d", "source": "s", "event_time": "2026-03-02T00:01:00Z", "actor": "ann", "team": "search", "action": "deployment",
        "model": "m", "region": "ap-southeast-1", "environment": "prod",
    }});
    let policies = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config/policies");
    let settings = format!("[policies]\ndir = {:?}", policies.display().to_string());
    let of = |origin: &str| -> Vec<String> {
        let mut lines = vec![run(origin).to_string(), deployment.to_string()];
        lines.extend(events(3, |_, _| 1.0));
        let found = backtest_with(&settings, &lines);
        assert_eq!(found.counts.rejected, 0, "{:?}", found.counts);
        found.violations.iter().map(|broken| broken.violation.policy.to_string()).collect()
    };
    let is_about_asia = |policy: &String| policy.contains("eu-trained-model-in-asia");
    assert!(of("eu-central-1").iter().any(is_about_asia), "{:?}", of("eu-central-1"));
    assert!(!of("ap-southeast-1").iter().any(is_about_asia), "{:?}", of("ap-southeast-1"));
}
