//! What is wrong without a spike: a forgotten cluster, usage that nobody has a price for, a budget. From events to alerts and a mail, across a
//! kill -9.

use std::time::Duration;

use serde_json::{Value, json};

use super::answers::{BASE, links, post};
use super::parts::{Smtp, SmtpOptions, produce, wait_for};
use super::path::{Deployment, history, now_ms, rfc3339};

const HOUR_MS: i64 = 3_600_000;
const LIMIT: Duration = Duration::from_secs(60);

/// A sample of a cluster of 8 GPUs, an hour each, the last one an hour ago.
fn sample(id: &str, hour: i64, hours: i64, utilization: f64, owner: &str) -> Value {
    let at = now_ms() / HOUR_MS * HOUR_MS - (hours - hour) * HOUR_MS;
    json!({"event_id": format!("{id}-{hour}"), "source": "inventory", "event_time": rfc3339(at), "resource_id": id,
        "resource_type": "gpu_cluster", "state": "running", "team": "search", "project": "ranker", "hourly_cost": "32.77",
        "currency": "USD", "capacity": 8, "utilization": utilization, "requests": 0, "owner": owner})
}

fn send(deployment: &Deployment, topic: &str, events: &[Value]) {
    let topic = deployment.topic(topic);
    // One key: samples of a resource come in order.
    let line = |event: &Value| json!({"topic": topic, "key": event["resource_id"], "value_json": event});
    produce(deployment.broker.bootstrap(), &events.iter().map(line).collect::<Vec<_>>());
}

fn alerts(deployment: &Deployment, kind: &str) -> Vec<Value> {
    deployment.newest("alerts").into_values().filter(|alert| alert["kind"] == kind).collect()
}

#[test]
fn a_forgotten_cluster_leads_to_an_alert_with_its_owner_its_money_and_what_to_do() {
    let smtp = Smtp::start(&SmtpOptions::default());
    let deployment = Deployment::new("waste", &smtp, "");
    let hours = 30;
    let of_hours = |hours: std::ops::Range<i64>| -> Vec<Value> {
        let both = |hour| [sample("gpu-07", hour, 30, 0.0, "mara"), sample("gpu-08", hour, 30, 0.4, "ben")];
        hours.flat_map(both).collect()
    };
    send(&deployment, "resource-events", &of_hours(0..hours / 2));
    let mut process = deployment.start();
    let taken = || deployment.metric("tollgate_forwarded_records_total{role=\"resources\",outcome=\"accepted\"}");
    wait_for("the first samples to be taken", LIMIT, || (taken() > 0).then_some(()));
    process.kill9();
    send(&deployment, "resource-events", &of_hours(hours / 2..hours));
    let _process = deployment.start();

    let alert = wait_for("the alert", LIMIT, || alerts(&deployment, "forgotten_resource").into_iter().next());
    assert_eq!((&alert["team"], &alert["dimensions"]["resource_id"]), (&json!("search"), &json!("gpu-07")), "{alert}");
    assert_eq!(alert["dimensions"]["owner"], "mara");
    assert_eq!(alert["burn_rate_per_hour"], "32.77");
    let summary = alert["summary"].as_str().unwrap();
    // 730 hours at 32.77 USD.
    assert!(summary.contains("was never used") && summary.contains("23922 USD a month"), "{summary}");
    assert!(alert["next_steps"][0].as_str().unwrap().contains("Ask mara"), "{alert}");
    let mail = &smtp.wait_for_mails(1, LIMIT)[0];
    let parsed = mailparse::parse_mail(&mail.raw).unwrap();
    let subject = parsed.headers.iter().find(|header| header.get_key() == "Subject").unwrap().get_value();
    assert!(subject.contains("forgotten, 23,922 USD a month") && subject.contains("gpu-07"), "{subject}");

    // Its owner leaves: nobody is left to ask.
    let left = json!({"event_id": "left", "source": "hr", "event_time": rfc3339(now_ms() - HOUR_MS), "action": "offboarded",
        "team": "search", "actor": "mara"});
    send(&deployment, "activity-events", &[left]);
    let heard = || deployment.metric("tollgate_forwarded_records_total{role=\"activity\",outcome=\"accepted\"}");
    wait_for("the departure to be taken", LIMIT, || (heard() > 0).then_some(()));
    let later = |minutes: i64, utilization: f64| {
        let mut sample = sample("gpu-07", 30, 30, utilization, "mara");
        sample["event_id"] = json!(format!("later-{minutes}"));
        sample["event_time"] = json!(rfc3339(now_ms() + minutes * 60_000 - 5 * 60_000));
        sample
    };
    // Used again: over, under the same id.
    send(&deployment, "resource-events", &[later(4, 0.7)]);
    let over = wait_for("the end", LIMIT, || {
        deployment.newest("alerts").into_values().find(|newest| newest["id"] == alert["id"] && newest["state"] == "resolved")
    });
    assert!(over["summary"].as_str().unwrap().contains("is used again"), "{over}");
    assert_eq!(deployment.newest("alerts").len(), 1, "gpu-08 was in use");
}

#[test]
fn an_unused_cluster_is_answered_by_the_link_in_its_mail_and_on_the_command_line() {
    let smtp = Smtp::start(&SmtpOptions::default());
    let deployment = Deployment::new("waste-answers", &smtp, &format!("[answers]\nkey_file = 'answers.key'\nbase_url = '{BASE}'\n"));
    send(&deployment, "resource-events", &(0..30).map(|hour| sample("gpu-07", hour, 30, 0.0, "mara")).collect::<Vec<_>>());
    let mut process = deployment.start();
    let mail = smtp.wait_for_mails(1, LIMIT).remove(0);
    let mail = mailparse::parse_mail(&mail.raw).unwrap();
    let links = links(&mail.subparts[0].get_body().unwrap());
    assert_eq!(links.len(), 3, "{links:?}");
    let (status, page) = deployment.get(&links[2]);
    assert!(status == 200 && page.contains("forgotten, 23,922 USD a month") && page.contains("It is not a problem"), "{page}");
    let newest = |state: &str| {
        let is = |alert: &Value| alert["kind"] == "forgotten_resource" && alert["state"] == state;
        wait_for(state, LIMIT, || deployment.newest("alerts").into_values().find(is))
    };
    assert_eq!(post(&deployment, &links[0], "verdict=ack&note=ours&once=1").0, 200);
    let taken = newest("acknowledged");
    assert_eq!((&taken["revision"], &taken["feedback"][0]["note"]), (&json!(2), &json!("ours")), "{taken}");
    let id = taken["id"].as_str().unwrap().to_string();
    assert!(taken["feedback"][0]["actor"].as_str().unwrap().contains('@'), "{taken}");

    process.kill9();
    let _process = deployment.start();
    let say = |words: &[&str]| deployment.command(&[&["alerts"], words, &["--by", "ben", "--log-level", "error"]].concat());
    assert!(say(&["expect", &id, "--until", "12s"]).contains(" expected until "));
    assert_eq!(newest("expected")["notify"], false);
    // Nothing comes but time.
    let back = newest("reopened");
    assert_eq!((&back["revision"], &back["notify"], back["feedback"].as_array().unwrap().len()), (&json!(4), &json!(true), 2), "{back}");
    let again = smtp.wait_for_mails(2, LIMIT).remove(1);
    let again = mailparse::parse_mail(&again.raw).unwrap();
    let subject = again.headers.iter().find(|header| header.get_key() == "Subject").unwrap().get_value();
    assert!(subject.contains("back again, forgotten"), "{subject}");
    say(&["ack", &id]);
    newest("acknowledged");
    assert!(deployment.command(&["alerts", "show", &id, "--log-level", "error"]).contains("ben takes care of it"));

    let mut used = sample("gpu-07", 30, 30, 0.7, "mara");
    used["event_time"] = json!(rfc3339(now_ms() - 60_000));
    send(&deployment, "resource-events", &[used]);
    let over = newest("resolved");
    assert_eq!((&over["id"], &over["revision"]), (&taken["id"], &json!(6)), "{over}");
}

#[test]
fn a_budget_and_tokens_at_cost_zero_lead_to_alerts() {
    // 72 hours of about 3 USD an hour: 216 USD in three days.
    let budget = "[[budget]]\nname = 'search, three days'\nteam = 'search'\namount = '250.00'\nperiod = '90d'\nthresholds = [0.5, 0.8, 1.0]\nburn_rate = 0\n";
    let deployment = Deployment::without_mail("budget", budget);
    let _process = deployment.start();
    let events = history(&["search", "ads"], 72, now_ms() - HOUR_MS);
    let (first, rest) = events.split_at(events.len() * 2 / 3);
    deployment.produce_usage(first);
    let newest = |kind: &str, is: fn(&Value) -> bool| wait_for(kind, LIMIT, || alerts(&deployment, kind).into_iter().find(is));
    let half = newest("budget", |alert| alert["summary"].as_str().unwrap().contains("has passed 50 %"));
    assert_eq!(half["revision"], 1, "{half}");
    deployment.produce_usage(rest);
    let alert = newest("budget", |alert| alert["summary"].as_str().unwrap().contains("has passed 80 %"));
    assert_eq!((&alert["team"], &alert["dimensions"]["budget"]), (&json!("search"), &json!("search, three days")), "{alert}");
    assert_eq!((&alert["id"], &alert["revision"]), (&half["id"], &json!(2)), "each threshold once: {alert}");
    assert_eq!(alert["expected"], "250");
    assert_eq!(alerts(&deployment, "missing_money").len(), 0);

    // What always cost something counts nothing. In an hour that is open, whatever time it is: a slow machine lets the input fall idle.
    let free = |n: i64| {
        let mut event = super::path::usage(&format!("free-{n}"), now_ms() - 120_000 + n * 1000, "search", "ann", "0");
        (event["input_tokens"], event["requests"]) = (json!(2_000_000), json!(100));
        event
    };
    deployment.produce_usage(&(0..60).map(free).collect::<Vec<_>>());
    let alert = newest("missing_money", |_| true);
    assert_eq!((&alert["team"], &alert["dimensions"]["project"]), (&json!("search"), &json!("ranker")), "{alert}");
    assert!(alert["summary"].as_str().unwrap().contains("at cost zero"), "{alert}");
}

#[test]
fn prompts_without_a_cache_lead_to_advice_and_shared_cost_is_split_to_the_nano() {
    let showback = "[[showback]]\nname = 'gateway'\nteam = 'platform'\nsplit = 'proportional'\n";
    let deployment = Deployment::without_mail("advice", showback);
    // Four whole days and the hours since, up to two hours ago.
    let end = now_ms() / HOUR_MS * HOUR_MS - 2 * HOUR_MS;
    let start = end.div_euclid(24 * HOUR_MS) * 24 * HOUR_MS - 4 * 24 * HOUR_MS;
    let hours = (end - start) / HOUR_MS;
    let event = |team: &str, hour: i64, more: Value| {
        let mut event = super::path::usage(&format!("{team}-{hour}"), start + hour * HOUR_MS + 1000, team, "ann", "3.00");
        more.as_object().unwrap().iter().for_each(|(name, value)| event[name] = value.clone());
        event
    };
    // 600 requests an hour of 8,000 tokens; the price book says 12.60 USD an hour, and 9.60 for who reads half of it from the cache.
    let long = json!({"cost": null, "requests": 600, "input_tokens": 4_800_000, "output_tokens": 60_000});
    let mut cached = long.clone();
    cached["cached_input_tokens"] = json!(2_400_000);
    // Another project of search reads from the cache: so its gateway reports it, and the first one does not do it.
    let mut events =
        vec![event("search", 1, json!({"event_id": "reads", "project": "chat", "input_tokens": 9000, "cached_input_tokens": 10}))];
    events
        .extend((0..hours).flat_map(|hour| {
            [event("search", hour, long.clone()), event("ads", hour, cached.clone()), event("platform", hour, json!({}))]
        }));
    let (first, rest) = events.split_at(events.len() / 2);
    deployment.produce_usage(first);
    let mut process = deployment.start();
    wait_for("the first roll-ups", LIMIT, || (!deployment.newest("spend-rollups").is_empty()).then_some(()));
    process.kill9();
    deployment.produce_usage(rest);
    let _process = deployment.start();

    let alert = wait_for("the advice", LIMIT, || alerts(&deployment, "no_prompt_caching").into_iter().next());
    assert_eq!((&alert["team"], &alert["dimensions"]["model"], &alert["severity"]), (&json!("search"), &json!("gpt-4o"), &json!("info")));
    // Half of the input at 1.25 instead of 2.50 USD a million, 730 hours.
    assert_eq!((&alert["burn_rate_per_hour"], &alert["excess"]), (&json!("3"), &json!("216")), "{alert}");
    let summary = alert["summary"].as_str().unwrap();
    assert!(summary.contains("if 50 % of the input repeats, caching saves about 2190 USD a month"), "{summary}");

    // Every hour closes once nothing more comes; then the months add up, and what is shared is split.
    let month = |at: i64| rfc3339(at)[..7].to_string();
    let months: std::collections::BTreeSet<String> = [month(start), month(end - 1)].into();
    let shown = |month: &String| -> Value {
        let out = deployment.command(&["showback", "--month", month, "--format", "json", "--log-level", "error"]);
        serde_json::from_str(&out).unwrap()
    };
    let totals =
        |shown: &[Value]| super::path::sum(shown.iter().map(|shown| shown["showback"][0]["total"].as_str().unwrap_or("0").to_string()));
    // Of every hour, and 3 USD of the one that reads.
    let whole = i128::from(hours) * 25_200_000_000 + 3_000_000_000;
    let shown = wait_for("all hours to be rolled up", LIMIT, || {
        Some(months.iter().map(shown).collect::<Vec<_>>()).filter(|shown| totals(shown) == whole)
    });
    for shown in shown.iter().map(|shown| &shown["showback"][0]) {
        let text = |value: &Value| value.as_str().unwrap().to_string();
        let teams: Vec<&str> = shown["teams"].as_array().unwrap().iter().map(|team| team["team"].as_str().unwrap()).collect();
        assert_eq!(teams, ["ads", "search"], "what the platform spends is all shared: {shown}");
        let shares = shown["teams"].as_array().unwrap().iter().map(|team| text(&team["shared"][0]["cost"]));
        assert_eq!(super::path::sum(shares), super::path::sum([text(&shown["shared"][0]["cost"])].into_iter()), "{shown}");
        assert_eq!(shown["shared"][0]["split"], "proportional");
    }
    assert_eq!(alerts(&deployment, "no_prompt_caching").len(), 1, "ads reads from the cache");
}
