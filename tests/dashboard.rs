//! The metrics page is OpenMetrics, and dashboard and alert rules ask for metrics that are on it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::readme::full_page;

const DASHBOARD: &str = include_str!("../dashboards/tollgate.json");
const ALERTS: &str = include_str!("../dashboards/alerts.yml");

/// What one family of the page says of itself.
#[derive(Debug, Default)]
struct Described {
    kind: String,
    has_help: bool,
}

/// Names that samples of a family may have, by its type.
fn sample_suffixes(kind: &str) -> &'static [&'static str] {
    match kind {
        "counter" => &["_total", "_created"],
        "histogram" => &["_bucket", "_sum", "_count", "_created"],
        "gauge" => &[""],
        other => panic!("type {other}"),
    }
}

/// Name, labels and value of a sample line.
fn sample(line: &str) -> Option<(&str, BTreeMap<String, String>, f64)> {
    let (head, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let (name, labels) = match head.split_once('{') {
        None => (head, ""),
        Some((name, rest)) => (name, rest.strip_suffix('}')?),
    };
    let mut parsed = BTreeMap::new();
    for pair in labels.split("\",").filter(|pair| !pair.is_empty()) {
        let (key, text) = pair.split_once("=\"")?;
        let before = parsed.insert(key.to_string(), text.trim_end_matches('"').to_string());
        assert!(before.is_none(), "label '{key}' twice: {line}");
    }
    let is_name = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    (is_name(name) && parsed.keys().all(|key| is_name(key))).then_some((name, parsed, value))
}

/// The rules of the text format that a scraper stumbles over.
fn check_openmetrics(page: &str) -> Result<BTreeMap<String, BTreeSet<String>>, String> {
    let mut families: BTreeMap<String, Described> = BTreeMap::new();
    let mut labels: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut current = String::new();
    let body = page.strip_suffix("# EOF\n").ok_or("does not end in # EOF")?;
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# ") {
            let mut words = rest.splitn(3, ' ');
            let (Some(what), Some(name), Some(text)) = (words.next(), words.next(), words.next()) else { return Err(line.to_string()) };
            if name != current && families.contains_key(name) {
                return Err(format!("'{name}' comes in two places"));
            }
            current = name.to_string();
            let family = families.entry(current.clone()).or_default();
            match what {
                "TYPE" => family.kind = text.to_string(),
                "HELP" => family.has_help = !text.trim().is_empty(),
                "UNIT" if name.ends_with(&format!("_{text}")) => {}
                _ => return Err(line.to_string()),
            }
            continue;
        }
        let (name, found, value) = sample(line).ok_or_else(|| format!("no sample: {line}"))?;
        let family = families.get(&current).ok_or_else(|| format!("undescribed: {line}"))?;
        if !sample_suffixes(&family.kind).iter().any(|suffix| name == format!("{current}{suffix}")) {
            return Err(format!("'{name}' is no sample of '{current}'"));
        }
        if !seen.insert((name.to_string(), format!("{found:?}"))) {
            return Err(format!("twice: {line}"));
        }
        if family.kind == "counter" && value < 0.0 {
            return Err(format!("a counter below zero: {line}"));
        }
        labels.entry(name.to_string()).or_default().extend(found.into_keys());
    }
    match families.iter().find(|(_, family)| !family.has_help || family.kind.is_empty()) {
        Some((name, _)) => Err(format!("'{name}' says nothing")),
        None => Ok(labels),
    }
}

#[test]
fn the_page_is_openmetrics() {
    let found = check_openmetrics(&full_page()).unwrap_or_else(|problem| panic!("{problem}\n{}", full_page()));
    assert!(found.len() >= 30, "{}", found.len());
    for broken in ["", "a 1\n# EOF\n", "# TYPE a counter\n# HELP a x.\na 1\n# EOF\n", "# TYPE a gauge\n# HELP a x.\na 1\na 1\n# EOF\n"] {
        assert!(check_openmetrics(broken).is_err(), "{broken:?}");
    }
}

/// Every text below a key of that name, however deep.
fn texts<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(entries) => {
            for (name, value) in entries {
                if let (true, Value::String(text)) = (name == key, value) {
                    found.push(text);
                }
                texts(value, key, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| texts(item, key, found)),
        _ => {}
    }
}

/// Words of a query that are metrics of ours.
fn metrics_of(query: &str) -> Vec<&str> {
    query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| word.starts_with("tollgate_")).collect()
}

/// The metrics of a query, histograms by their own name.
fn asks_for_what_is_there<'q>(query: &'q str, labels: &BTreeMap<String, BTreeSet<String>>) -> Vec<&'q str> {
    let names = metrics_of(query);
    for name in &names {
        let known = labels.get(*name).unwrap_or_else(|| panic!("'{name}' is not on the page: {query}"));
        // `sum by (role, phase) (...)` of labels that the metric has, or that Prometheus adds.
        let grouped = query.split("by (").skip(1).filter_map(|rest| rest.split(')').next()).flat_map(|list| list.split(", "));
        // `{outcome!="sent",what=~"a|b"}` behind its name.
        let opened = format!("{name}{{");
        let selectors = query.split(&opened).skip(1).filter_map(|rest| rest.split('}').next());
        let selected = selectors.flat_map(|list| list.split(',')).filter_map(|pair| pair.split(['=', '!']).next());
        for label in grouped.chain(selected) {
            assert!(known.contains(label) || ["instance", "job"].contains(&label), "'{name}' has no label '{label}': {query}");
        }
    }
    assert_eq!(query.matches('(').count(), query.matches(')').count(), "{query}");
    assert_eq!(query.matches('{').count(), query.matches('}').count(), "{query}");
    names.into_iter().map(|name| name.trim_end_matches("_bucket")).collect()
}

/// One rule of the file, its keys at whatever depth: none comes twice.
fn rules() -> Vec<BTreeMap<&'static str, &'static str>> {
    let lines = |rule: &'static str| {
        let mut keys = BTreeMap::new();
        for line in rule.lines().filter(|line| !line.trim().is_empty()) {
            let (key, value) = line.trim().split_once(':').unwrap_or_else(|| panic!("no key: {line}"));
            let value = value.trim();
            let plain = value.trim_matches('\'');
            assert!(value == plain || format!("'{plain}'") == value, "{line}");
            // What a plain text of YAML must not hold.
            let is_plain = !value.contains(": ") && !value.contains(" #") && !value.starts_with(['{', '"', '`', '&', '*', '%', '[', '@']);
            assert!(value != plain || is_plain, "wants quotes: {line}");
            assert!(keys.insert(key, plain).is_none(), "'{key}' twice: {rule}");
        }
        keys
    };
    let (head, rest) = ALERTS.split_once("    rules:\n").unwrap();
    assert!(head.ends_with("groups:\n  - name: tollgate\n"), "{head}");
    rest.split("      - alert").skip(1).map(|rule| lines(Box::leak(format!("alert{rule}").into_boxed_str()))).collect()
}

/// (`promtool check rules` takes the file, too; it is not there where the tests run.)
#[test]
fn alert_rules_ask_for_what_is_there() {
    let labels = check_openmetrics(&full_page()).unwrap();
    let (mut names, mut used) = (BTreeSet::new(), BTreeSet::new());
    for rule in rules() {
        let keys: Vec<&str> = rule.keys().copied().filter(|key| *key != "for").collect();
        assert_eq!(keys, ["alert", "annotations", "description", "expr", "labels", "severity", "summary"], "{rule:#?}");
        assert!(names.insert(rule["alert"].to_string()), "twice: {}", rule["alert"]);
        assert!(["critical", "warning", "info"].contains(&rule["severity"]), "{rule:#?}");
        let metrics = asks_for_what_is_there(rule["expr"], &labels);
        assert!(!metrics.is_empty(), "{rule:#?}");
        used.extend(metrics.into_iter().map(str::to_string));
        // What is said of a label, the expression has kept.
        for text in [rule["summary"], rule["description"]] {
            for label in text.split("$labels.").skip(1).filter_map(|rest| rest.split([' ', '}']).next()) {
                let kept = rule["expr"].split("by (").skip(1).filter_map(|rest| rest.split(')').next());
                assert!(kept.flat_map(|list| list.split(", ")).any(|kept| kept == label), "'{label}' is not kept: {rule:#?}");
            }
        }
    }
    for metric in ["consumergroup_lag_seconds", "watch_sources_set_aside", "mails_total", "producer_rebuilds_total", "watch_copies"] {
        assert!(used.contains(&format!("tollgate_{metric}")), "{metric}: {used:?}");
    }
}

#[test]
fn the_dashboard_asks_for_what_is_there() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let labels = check_openmetrics(&full_page()).unwrap();
    let (mut queries, mut used) = (Vec::new(), BTreeSet::new());
    for key in ["expr", "definition"] {
        texts(&dashboard, key, &mut queries);
    }
    queries.iter().for_each(|query| used.extend(asks_for_what_is_there(query, &labels)));
    // Nothing is left out: what is not shown is not missed when it breaks.
    let all: BTreeSet<&str> =
        labels.keys().map(|name| name.trim_end_matches("_bucket").trim_end_matches("_sum").trim_end_matches("_count")).collect();
    let hidden: Vec<&&str> = all.difference(&used).filter(|name| **name != "tollgate_build").collect();
    assert!(hidden.is_empty(), "not on the dashboard: {hidden:?}");
}

#[test]
fn the_dashboard_works_with_any_prometheus() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut uids = Vec::new();
    texts(&dashboard["panels"], "uid", &mut uids);
    assert!(uids.len() > 20 && uids.iter().all(|uid| *uid == "${datasource}"), "{uids:?}");
    let variables: Vec<&str> =
        dashboard["templating"]["list"].as_array().unwrap().iter().map(|variable| variable["name"].as_str().unwrap()).collect();
    assert!(variables.contains(&"datasource"));
    let rows: Vec<&str> = dashboard["panels"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|panel| panel["type"] == "row")
        .map(|row| row["title"].as_str().unwrap())
        .collect();
    assert_eq!(rows, ["Overview", "Flow", "Latency", "Lag", "Commits", "State", "Alerts", "Mail", "Bill", "Waste", "Policies"]);
    let ids: BTreeSet<i64> = dashboard["panels"].as_array().unwrap().iter().map(|panel| panel["id"].as_i64().unwrap()).collect();
    assert_eq!(ids.len(), dashboard["panels"].as_array().unwrap().len(), "ids are unique");
    assert!(dashboard["schemaVersion"].as_i64().unwrap() >= 41);
}
