//! Access on Kafka: a third party without a grant, a grant that nobody uses, somebody who has left and goes on; each is told once, across a
//! kill -9, and ends when it is mended. Who may, and does, is never told of.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::parts::{consume, produce, wait_for};
use super::path::{Deployment, now_ms, rfc3339, usage};

const LIMIT: Duration = Duration::from_secs(90);
const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;

fn event(id: &str, ago: i64, team: &str, action: &str, actor: &str) -> Value {
    json!({"event_id": id, "source": "iam", "event_time": rfc3339(now_ms() - ago), "team": team, "action": action, "actor": actor,
        "model": "risk-scorer"})
}

/// No order is kept among them: each has a key of its own.
fn send(deployment: &Deployment, events: &[Value]) {
    let topic = deployment.topic("activity-events");
    let line = |event: &Value| json!({"topic": topic, "key": event["event_id"], "value_json": event});
    produce(deployment.broker.bootstrap(), &events.iter().map(line).collect::<Vec<_>>());
}

/// State and count by policy, team and subject.
fn told(deployment: &Deployment) -> BTreeMap<String, Value> {
    let newest = deployment.newest("governance-violations").into_values();
    let name = |one: &Value| ["policy", "team", "subject"].map(|field| one[field].as_str().unwrap().to_owned()).join(" ");
    newest.map(|one| (name(&one), one)).collect()
}

const UNGRANTED: &str = "access.ungranted sales principal=acme;model=risk-scorer";
const UNUSED: &str = "access.unused-grant risk principal=idle-co;model=risk-scorer;role=reader";
const GONE: &str = "access.offboarded sales principal=carl";

#[test]
fn who_uses_what_without_a_grant_who_does_not_and_who_has_left_is_told_once() {
    let deployment = Deployment::without_mail("access", "[access]\ngrace = '10s'\nunused_after = '30d'\n");
    let mut idle = event("g-idle", 60 * DAY, "risk", "grant", "idle-co");
    (idle["role"], idle["principal_type"]) = (json!("reader"), json!("third_party"));
    let access = |id: &str, ago: i64, actor: &str| {
        let mut event = event(id, ago, "sales", "access", actor);
        event["principal_type"] = json!("third_party");
        event
    };
    let mut left = event("left", 2 * DAY, "hr", "offboarded", "carl");
    left["model"] = Value::Null;
    let first = [
        idle,
        // Used in another team's shard only.
        event("g-busy", 60 * DAY, "risk", "grant", "busy"),
        access("u-busy", 5 * MINUTE, "busy"),
        access("u-acme-1", 5 * MINUTE, "acme"),
        left.clone(),
    ];
    send(&deployment, &first);
    let mut process = deployment.start();
    let taken = || deployment.metric("tollgate_forwarded_records_total{role=\"activity\",outcome=\"accepted\"}");
    wait_for("the first events to be taken", LIMIT, || (taken() > 0).then_some(()));
    process.kill9();
    // Producers that got no answer send again; a grant comes after its use.
    send(&deployment, &first);
    send(
        &deployment,
        &[access("u-acme-2", 4 * MINUTE, "acme"), access("u-ann", 3 * MINUTE, "ann"), event("g-ann", DAY, "risk", "grant", "ann")],
    );
    let used = |id: &str, user: &str, model: &str| {
        let mut event = usage(id, now_ms() - 2 * MINUTE, "sales", user, "0.10");
        event["model"] = json!(model);
        event
    };
    deployment.produce_usage(&[used("t-carl", "carl", "gpt-4o"), used("t-dora", "dora", "gpt-4o"), used("t-ann", "ann", "risk-scorer")]);
    let _process = deployment.start();
    let found = wait_for("what is wrong", LIMIT, || {
        let told = told(&deployment);
        [UNGRANTED, UNUSED, GONE].iter().all(|name| told.contains_key(*name)).then_some(told)
    });
    assert_eq!(found.len(), 3, "ann and busy may, dora uses what nobody governs: {found:#?}");
    let acme = &found[UNGRANTED];
    assert_eq!(
        (&acme["severity"], &acme["evidence"]["granted_by"], &acme["action"]),
        (&json!("critical"), &json!("risk"), &json!("block"))
    );
    assert_eq!(acme["message"], "acme (third party) of sales uses model risk-scorer: nobody has granted it to them");
    assert!(found[GONE]["message"].as_str().unwrap().contains("is still active: usage of model gpt-4o in sales"), "{found:#?}");
    assert!(found[UNUSED]["message"].as_str().unwrap().contains("may use model risk-scorer and never has, in "), "{found:#?}");

    // It is mended: by a grant, by taking one back.
    let mut revoked = event("r-idle", 0, "risk", "revoke", "idle-co");
    revoked["role"] = json!("reader");
    send(&deployment, &[event("g-acme", 0, "risk", "grant", "acme"), revoked]);
    let ended = wait_for("what was mended to be over", LIMIT, || {
        let told = told(&deployment);
        [UNGRANTED, UNUSED].iter().all(|name| told[*name]["state"] == "resolved").then_some(told)
    });
    assert_eq!((&ended[UNGRANTED]["count"], &ended[GONE]["state"], ended.len()), (&json!(2), &json!("open"), 3), "{ended:#?}");
    who_may(&deployment);
    let mut lives: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for record in consume(deployment.broker.bootstrap(), &deployment.topic("governance-violations")) {
        lives.entry(record.key.clone().unwrap()).or_default().push(record.json()["revision"].as_u64().unwrap());
    }
    for (id, revisions) in &lives {
        assert_eq!(*revisions, (1..=revisions.len() as u64).collect::<Vec<_>>(), "{id}");
    }
}

/// Who may use it now, and who might once.
fn who_may(deployment: &Deployment) {
    let listed = |options: &[&str]| deployment.command(&[&["access", "--object", "risk-scorer"], options].concat());
    let held: Vec<Value> = serde_json::from_str(&listed(&["--all", "--format", "json"])).unwrap();
    let shown =
        |one: &Value| ["principal", "granted_by", "used_by", "status"].map(|field| one[field].as_str().unwrap_or("-").to_owned()).join(" ");
    let shown: Vec<String> = held.iter().map(shown).collect();
    assert_eq!(shown, ["acme risk - holds", "ann risk sales holds", "busy risk sales holds", "idle-co risk - revoked"], "{held:#?}");
    let text = listed(&[]);
    assert!(text.starts_with("what") && text.contains("busy") && text.contains(" by sales") && !text.contains("idle-co"), "{text}");
}

const SHARED: &str = "access.shared-key risk principal=key-1";
const HANDS: &str = "access.too-many-hands risk model=fraud";

/// Not by one use: a key that is everywhere, many hands on what nobody owns, one person in two duties. Each ends when it is mended.
#[test]
fn what_uses_add_up_to_is_told_and_ends() {
    let deployment = Deployment::without_mail("hands", "[access]\ngrace = '3s'\ngoverned = ['fraud']\nhands = 3\n");
    let did = |id: &str, ago: i64, action: &str, actor: &str| {
        let mut event = event(id, ago, "risk", action, actor);
        event["model"] = json!("fraud");
        event
    };
    let people = ["ann", "bob", "cleo", "key-1"];
    let mut events: Vec<Value> = people.map(|who| did(&format!("g-{who}"), DAY, "grant", who)).into();
    events.extend(people.map(|who| did(&format!("u-{who}"), 6 * MINUTE, "access", who)));
    events.extend(["eu-central-1", "us-east-1", "ap-southeast-1"].map(|region| {
        let mut event = did(&format!("k-{region}"), 5 * MINUTE, "access", "key-1");
        event["region"] = json!(region);
        event
    }));
    let of_version = |id: &str, action: &str, actor: &str| {
        let mut event = did(id, 4 * MINUTE, action, actor);
        (event["model_version"], event["region"]) = (json!("2"), json!("eu-central-1"));
        event
    };
    let mut approval = of_version("approved", "approval", "dora");
    approval["approval"] = json!("RV-1");
    events.extend([approval, of_version("deployed", "deployment", "dora")]);
    send(&deployment, &events);
    let _process = deployment.start();
    let taken = || deployment.metric("tollgate_forwarded_records_total{role=\"activity\",outcome=\"accepted\"}");
    wait_for("all events to be on their way", LIMIT, || (taken() == events.len() as u64).then_some(()));
    // Hands are counted once an hour, and when a new grant has waited for its uses.
    send(&deployment, &[did("g-emil", 0, "grant", "emil")]);
    let separate = |told: &BTreeMap<String, Value>| {
        told.iter().find(|(name, _)| name.starts_with("access.separation-of-duties risk principal=dora")).map(|(_, found)| found.clone())
    };
    let found = wait_for("what uses add up to", LIMIT, || {
        let told = told(&deployment);
        (told.contains_key(SHARED) && told.contains_key(HANDS) && separate(&told).is_some()).then_some(told)
    });
    assert!(found[SHARED]["message"].as_str().unwrap().contains("3 regions"), "{found:#?}");
    assert_eq!((&found[HANDS]["state"], &separate(&found).unwrap()["state"]), (&json!("open"), &json!("open")), "{found:#?}");

    let mut registered = did("owned", 0, "model_registered", "ann");
    registered["tags"] = json!({"owner": "ann"});
    let mut second = of_version("approved-2", "approval", "frank");
    second["approval"] = json!("RV-2");
    send(&deployment, &[registered, second]);
    wait_for("both to be on their way", LIMIT, || (taken() == events.len() as u64 + 3).then_some(()));
    send(&deployment, &[did("g-gina", 0, "grant", "gina")]);
    wait_for("what was mended to be over", LIMIT, || {
        let told = told(&deployment);
        (told[HANDS]["state"] == "resolved" && separate(&told)?["state"] == "resolved").then_some(())
    });
}
