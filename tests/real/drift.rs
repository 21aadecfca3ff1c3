//! A model that changes silently: evaluations and an acceptance by Java, a kill in the middle, one violation with its evidence on the topic and
//! in the inbox, and its end by a new accepted version.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::parts::{Smtp, SmtpOptions, consume, produce, wait_for};
use super::path::{Deployment, now_ms, rfc3339};

const LIMIT: Duration = Duration::from_secs(60);
const MINUTE: i64 = 60_000;

fn event(id: &str, minutes_ago: i64, model: &str, action: &str, change: Value) -> Value {
    let at = rfc3339(now_ms() - minutes_ago * MINUTE);
    let mut event = json!({"event_id": id, "source": "evals", "event_time": at, "team": "search", "model": model, "action": action});
    event.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    event
}

fn evaluation(number: i64, model: &str, version: Option<&str>, rate: f64) -> Value {
    let change = json!({"model_version": version, "metric": "refusal_rate", "value": rate, "samples": 400});
    event(&format!("{model}-{number}"), 300 - number, model, "evaluation", change)
}

fn accepted(number: i64, model: &str, version: &str, approval: &str) -> Value {
    let change = json!({"model_version": version, "actor": "mara", "approval": approval});
    event(&format!("{model}-{number}"), 300 - number, model, "approval", change)
}

fn send(deployment: &Deployment, events: &[Value]) {
    let topic = deployment.topic("activity-events");
    // One key for a model: what is told of it stays in order.
    let line = |event: &Value| json!({"topic": topic, "key": event["model"], "value_json": event});
    produce(deployment.broker.bootstrap(), &events.iter().map(line).collect::<Vec<_>>());
}

/// By subject, each with all of its revisions, in order.
fn lives(deployment: &Deployment) -> BTreeMap<String, Vec<Value>> {
    let mut lives: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for record in consume(deployment.broker.bootstrap(), &deployment.topic("governance-violations")) {
        let violation = record.json();
        assert_eq!(violation["policy"], "model-drift", "{violation}");
        lives.entry(violation["subject"].as_str().unwrap().to_owned()).or_default().push(violation);
    }
    for (subject, revisions) in &lives {
        let numbers: Vec<u64> = revisions.iter().map(|violation| violation["revision"].as_u64().unwrap()).collect();
        assert_eq!(numbers, (1..=revisions.len() as u64).collect::<Vec<_>>(), "{subject}: nothing is lost, nothing comes twice");
    }
    lives
}

fn wait_until(deployment: &Deployment, subject: &str, state: &str) -> Value {
    let is_there = || lives(deployment).remove(subject)?.pop().filter(|violation| violation["state"] == state);
    wait_for(&format!("{subject} to be {state}"), LIMIT, is_there)
}

#[test]
fn drift_after_a_silent_model_change_and_its_reset_by_a_new_accepted_version() {
    let smtp = Smtp::start(&SmtpOptions::default());
    let deployment = Deployment::new("drift", &smtp, "[drift]\nowner = 'model-risk'\n");
    let subject = "model=gpt-4o;model_version=2024-08";
    let of = |number, rate| evaluation(number, "gpt-4o", Some("2024-08"), rate);
    let deployed = json!({"model_version": "2024-08", "resource_id": "ep-7", "region": "eu-central-1", "environment": "prod"});
    let mut events = vec![of(0, 0.02), of(1, 0.02), accepted(2, "gpt-4o", "2024-08", "RV-12")];
    events.push(event("deployed", 297, "gpt-4o", "deployment", deployed));
    events.extend((4..8).map(|number| of(number, 0.02)));
    // Twins: one bad evaluation; few samples; another version that was always like this.
    events.push(accepted(0, "one-bad", "1", "RV-14"));
    events.extend((1..12).map(|number| evaluation(number, "one-bad", Some("1"), if number == 8 { 0.5 } else { 0.02 })));
    events.push(accepted(3, "few", "1", "RV-13"));
    events.extend((0..6).map(|number| {
        let mut few = evaluation(number + 10, "few", Some("1"), if number < 3 { 0.0 } else { 0.1 });
        few["samples"] = json!(if number < 3 { 400 } else { 30 });
        few
    }));
    events.extend((10..18).map(|number| evaluation(number, "gpt-4o", Some("2024-11"), 0.09)));
    // Behind the same name and version something else answers now.
    events.extend([of(20, 0.09), of(21, 0.085)]);
    send(&deployment, &events);
    let mut process = deployment.start();
    let taken = || deployment.metric("tollgate_forwarded_records_total{role=\"activity\",outcome=\"accepted\"}");
    wait_for("the first evaluations to be taken", LIMIT, || (taken() > 0).then_some(()));
    process.kill9();
    // What was sent comes again, and one look more.
    send(&deployment, &events);
    send(&deployment, &[of(22, 0.095)]);
    let mut process = deployment.start();
    let told = wait_until(&deployment, subject, "open");
    assert_eq!(
        told["message"],
        "gpt-4o 2024-08 of search no longer behaves as accepted: refusal rate 9 % over 1,200 samples, 2 % when it was accepted \
         (ep-7 in eu-central-1, prod)"
    );
    assert_eq!((&told["team"], &told["severity"], &told["action"]), (&json!("search"), &json!("warning"), &json!("review")));
    assert_eq!((&told["dimensions"]["resource_id"], &told["dimensions"]["region"]), (&json!("ep-7"), &json!("eu-central-1")));
    assert_eq!((&told["evidence"]["owner"], &told["count"]), (&json!("model-risk"), &json!(3)));
    let reference = told["evidence"]["reference"].as_str().unwrap();
    assert!(reference.starts_with("accepted ") && reference.ends_with(" by mara, approval RV-12"), "{told}");
    assert!(told["evidence"]["refusal_rate"].as_str().unwrap().contains("reference 2 % over 800 samples"), "{told}");
    let mail = &smtp.wait_for_mails(1, LIMIT)[0];
    let text = String::from_utf8_lossy(&mail.raw);
    assert!(text.contains("refusal rate 9") && text.contains("model-drift"), "{text}");

    send(&deployment, &[accepted(30, "gpt-4o", "2024-11", "RV-20")]);
    let ended = wait_until(&deployment, subject, "resolved");
    assert_eq!((&ended["id"], &ended["revision"]), (&told["id"], &json!(2)));
    assert!(ended["message"].as_str().unwrap().contains("version 2024-11 was accepted in its place"), "{ended}");

    let before = taken();
    // The new version is held against itself: 9 % is how it was accepted, 30 % is not. A kill between two looks forgets neither.
    let new = |number, rate| evaluation(number, "gpt-4o", None, rate);
    send(&deployment, &[new(40, 0.09), new(41, 0.09), new(42, 0.09), new(43, 0.3), new(44, 0.3)]);
    wait_for("two looks to be taken", LIMIT, || (taken() >= before + 5).then_some(()));
    process.kill9();
    send(&deployment, &[new(45, 0.3)]);
    let _process = deployment.start();
    let told = wait_until(&deployment, "model=gpt-4o;model_version=2024-11", "open");
    assert!(told["message"].as_str().unwrap().contains("refusal rate 30 % over 1,200 samples, 9 % when it was accepted"), "{told}");
    let lives = lives(&deployment);
    assert_eq!(lives.len(), 2, "and nothing else: {lives:#?}");
}
