//! Lineage on Kafka: what OpenLineage's own client wrote becomes facts in every shard, once, across kills, and new rules are told.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rdkafka::consumer::BaseConsumer;
use rdkafka::message::Message as _;
use serde_json::{Value, json};
use tollgate::model::partial::ShardEvent;
use tollgate::model::wire::decode_shard_record;

use super::chaos::observer::reader;
use super::parts::{Guarded, consume, produce, temp_folder, wait_for};
use super::path::{Deployment, now_ms, usage};

const LIMIT: Duration = Duration::from_secs(60);
const TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// As `Deployment` sets it.
const SHARDS: usize = 4;

fn lines(name: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/lineage").join(name);
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Facts by model, as each shard was told them one after the other.
type Told = BTreeMap<String, BTreeMap<i32, Vec<(Vec<String>, bool)>>>;

fn read_on(log: &BaseConsumer, told: &mut Told) {
    while let Some(message) = log.poll(Duration::from_millis(100)) {
        let message = message.unwrap();
        for event in decode_shard_record(message.payload().unwrap()).unwrap().events {
            if let ShardEvent::Facts(facts) = event {
                let known = (facts.origins.iter().map(ToString::to_string).collect(), facts.has_gap);
                told.entry(facts.model.to_string()).or_default().entry(message.partition()).or_default().push(known);
            }
        }
    }
}

/// Policies that a team violates, with the dimensions of the violation and whether it is open.
fn violated(deployment: &Deployment, team: &str) -> BTreeMap<String, Value> {
    let newest = deployment.newest("governance-violations").into_values();
    newest
        .filter(|violation| violation["team"] == team)
        .map(|violation| (violation["policy"].as_str().unwrap().to_string(), violation))
        .collect()
}

/// Which models of EU data answer from Asia, nobody has said: the pipelines have, and somebody deploys and uses them.
#[test]
fn a_model_of_eu_data_that_answers_from_asia_is_a_violation() {
    let policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/policies");
    let folder = temp_folder("data-flow-tokens");
    std::fs::write(folder.join("tokens"), format!("ci {TOKEN}\n")).unwrap();
    let config = format!(
        "tokens_file = '{}/tokens'\n[intake]\ndead_letter_ratio = 1.0\n[policies]\ndir = '{}'\n[lineage]\ngrace = '0s'\n[[lineage.origin]]\ndataset = 's3://health/*'\nregions = ['DE']\n",
        folder.display(),
        policies.display()
    );
    let deployment = Deployment::without_mail("data", &config);
    let bootstrap = deployment.broker.bootstrap();
    let (events, activity) = inputs(&deployment);
    let answer = |id: &str, model: &str, team: &str| {
        let mut event = usage(id, now_ms() - 1_000, team, "ann", "0.50");
        (event["model"], event["region"], event["provider"]) = (model.into(), "ap-southeast-1".into(), "aws".into());
        event["tags"] = json!({"cost_center": "cc-1", "owner": "ann"});
        event
    };
    let mut process = deployment.start();
    // Deployed before anything is known of its data.
    produce(bootstrap, &activity);
    produce(bootstrap, &events);
    wait_for("the deployment to be judged", LIMIT, || violated(&deployment, "risk").remove("eu-trained-model-in-asia"));
    process.kill9();
    let process = deployment.start();
    deployment.produce_usage(&[answer("a1", "risk-scorer", "search"), answer("a2", "fraud", "fraud")]);
    let answers =
        wait_for("the answers to be judged", LIMIT, || violated(&deployment, "search").remove("eu-trained-model-answers-from-asia"));
    assert_eq!((&answers["state"], &answers["count"]), (&json!("open"), &json!(1)), "{answers}");
    assert!(answers["message"].as_str().unwrap().contains("trained on data from"), "{answers}");
    let deployed = violated(&deployment, "risk").remove("eu-trained-model-in-asia").unwrap();
    assert_eq!((&deployed["dimensions"]["model"], &deployed["dimensions"]["region"]), (&json!("risk-scorer"), &json!("ap-southeast-1")));
    assert!(!violated(&deployment, "fraud").contains_key("eu-trained-model-answers-from-asia"), "nobody knows: no verdict");
    // What was used before the gap was known is not held against it.
    let mut round = 0;
    let gap = wait_for("the gap to be told", LIMIT, || {
        round += 1;
        deployment.produce_usage(&[answer(&format!("g{round}"), "fraud", "fraud")]);
        violated(&deployment, "fraud").remove("model-without-known-source-answers")
    });
    assert_eq!((&gap["dimensions"]["model"], &gap["state"], &gap["action"]), (&json!("fraud"), &json!("open"), &json!("review")), "{gap}");

    what_runs_is_shown_and_asked_for(&deployment);
    let _process = approvals_come_and_go(&deployment, process);
    // Its data does come from the EU, in another step of which nobody had told.
    let told = json!({"eventTime": "2026-03-03T10:00:00Z", "producer": "p", "dataset": {"namespace": "sftp://partner", "name": "payments.csv",
        "facets": {"tollgate_origin": {"regions": ["DE"]}}}});
    produce(bootstrap, &[json!({"topic": deployment.topic("lineage-events"), "key": "k", "value_json": told})]);
    let mut round = 0;
    wait_for("what answers already to be judged again", LIMIT, || {
        round += 1;
        deployment.produce_usage(&[answer(&format!("b{round}"), "fraud", "fraud")]);
        violated(&deployment, "fraud").remove("eu-trained-model-answers-from-asia")
    });
}

/// The map over HTTP and on the command line, and the answer to who asks before acting: by what lineage knows, told by nobody in the plan.
fn what_runs_is_shown_and_asked_for(deployment: &Deployment) {
    let ask = |line: &str, token: &str, body: &str| {
        let length = body.len();
        deployment.ask(&format!(
            "{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: \
             {length}\r\n\r\n{body}"
        ))
    };
    assert_eq!(ask("GET /v1/data-flow", "nobody's", "").0, 401);
    assert_eq!(ask("GET /v1/data-flow?tema=x", TOKEN, "").0, 400);
    let (status, body) = ask("GET /v1/data-flow?team=risk", TOKEN, "");
    let map: Value = serde_json::from_str(&body).unwrap();
    let name = |node: &Value| map["nodes"][usize::try_from(node.as_u64().unwrap()).unwrap()]["name"].as_str().unwrap().to_string();
    let breaks = map["edges"].as_array().unwrap().iter().filter(|edge| edge["state"] == "breaks");
    let breaks: Vec<(String, String)> = breaks.map(|edge| (name(&edge["from"]), name(&edge["to"]))).collect();
    assert_eq!((status, breaks), (200, vec![("risk-scorer 3".to_string(), "ap-southeast-1".to_string())]), "{map:#}");
    assert!(ask("GET /v1/data-flow?format=svg", TOKEN, "").1.contains("</svg>"));
    assert!(deployment.command(&["data-flow", "--team", "nobody"]).contains("0 datasets, 0 jobs, 0 models"));

    let check = |region: &str| {
        let plan = json!({"kind": "deployment", "team": "risk", "model": "risk-scorer", "model_version": "3", "provider": "aws", "region": region,
            "environment": "prod", "approval": null});
        let (status, body) = ask("POST /v1/compliance/check", TOKEN, &plan.to_string());
        assert_eq!(status, 200, "{body}");
        serde_json::from_str::<Value>(&body).unwrap()
    };
    let denied = check("ap-southeast-1");
    let says = |answer: &Value| -> Vec<String> {
        answer["reasons"].as_array().unwrap().iter().map(|reason| reason["policy"].as_str().unwrap().to_string()).collect()
    };
    assert!(denied["decision"] == "deny" && says(&denied).contains(&"eu-trained-model-in-asia".to_string()), "{denied:#}");
    let offered = denied["alternatives"].as_array().unwrap().iter().find(|alternative| alternative["field"] == "region").unwrap();
    let region = offered["values"][0].as_str().unwrap();
    let there = check(region);
    assert!(there["decision"] != "deny" && !says(&there).contains(&"eu-trained-model-in-asia".to_string()), "{there:#}");

    // In a pipeline, without the pages.
    let plan = temp_folder("plan").join("plan.json");
    std::fs::write(&plan, r#"{"kind":"deployment","team":"risk","model":"risk-scorer","model_version":"3","region":"ap-southeast-1"}"#)
        .unwrap();
    let asked = |options: &[&str]| deployment.attempt(&[&["ask", plan.to_str().unwrap(), "--format", "json"], options].concat());
    let (code, said) = asked(&["--lineage"]);
    assert!(code == Some(1) && said.contains("eu-trained-model-in-asia"), "{code:?} {said}");
    assert_ne!(asked(&[]), (code, said), "nobody was asked where its data comes from");
}

/// Sends what somebody did.
fn did(deployment: &Deployment, id: &str, action: &str, of: Value) {
    let mut event = of;
    (event["event_id"], event["source"], event["action"]) = (id.into(), "test".into(), action.into());
    event["event_time"] = super::path::rfc3339(now_ms() - 1_000).into();
    produce(deployment.broker.bootstrap(), &[json!({"topic": deployment.topic("activity-events"), "key": "k", "value_json": event})]);
}

/// Reviewed, across a kill; then the review is taken back. And data that may not leave its country, by the config, is read from outside.
fn approvals_come_and_go(deployment: &Deployment, mut process: Guarded) -> Guarded {
    let state = |team: &str, policy: &str, state: &str| violated(deployment, team).remove(policy).filter(|found| found["state"] == state);
    let review = json!({"team": "risk", "model": "risk-scorer", "region": "ap-southeast-1", "approval": "RV-7", "tags": {"basis": "scc"}});
    did(deployment, "rv-7", "approval", review);
    process.kill9();
    let process = deployment.start();
    for policy in ["eu-trained-model-in-asia", "gdpr-transfer"] {
        wait_for("the review to end it", LIMIT, || state("risk", policy, "resolved"));
    }
    did(deployment, "rv-7-back", "revoke", json!({"team": "risk", "approval": "RV-7"}));
    let again = wait_for("what is not reviewed any more", LIMIT, || state("risk", "eu-trained-model-in-asia", "reopened"));
    assert_eq!(again["revision"], 3, "{again}");

    let read = |id: &str, region: &str| {
        did(deployment, id, "access", json!({"team": "lab", "actor": "kim", "dataset": "s3://health/scans", "region": region}));
    };
    read("read-1", "eu-central-1");
    read("read-2", "us-east-1");
    let outside = wait_for("the access from outside", LIMIT, || violated(deployment, "lab").remove("data-read-from-outside"));
    assert_eq!((&outside["dimensions"]["region"], &outside["count"]), (&json!("us-east-1"), &json!(1)), "{outside}");
    process
}

/// Patients' data goes by a staging table that is renamed, and by a name of the catalogue besides its place, into a model that answers from
/// Asia. Where it comes from is learnt last of all, after a kill; a rename that failed has brought no Chinese data.
#[test]
fn renamed_data_and_data_of_two_names_keeps_its_origin() {
    let policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/policies");
    let deployment = Deployment::without_mail("names", &format!("[policies]\ndir = '{}'\n", policies.display()));
    let line = |event: &Value| json!({"topic": deployment.topic("lineage-events"), "key": "k", "value_json": event});
    let mut events: Vec<Value> = lines("names.jsonl").iter().map(line).collect();
    let late = events.pop().unwrap();
    let mut process = deployment.start();
    let deployed = json!({"team": "clinic", "model": "triage", "model_version": "1", "provider": "aws", "region": "ap-southeast-1"});
    did(&deployment, "d1", "deployment", deployed);
    // Read by its name of the catalogue, from outside, before anybody knows whose it is.
    did(
        &deployment,
        "r1",
        "access",
        json!({"team": "lab", "actor": "kim", "dataset": "hive://metastore:9083/clinic.patients", "region": "us-east-1"}),
    );
    produce(deployment.broker.bootstrap(), &events);
    let map = || -> Value { serde_json::from_str(&deployment.attempt(&["data-flow", "--team", "clinic", "--format", "json"]).1).unwrap() };
    let model = |map: &Value| map["nodes"].as_array().unwrap().iter().find(|node| node["name"] == "triage 1").cloned();
    let before = wait_for("all of it but its origin", LIMIT, || {
        let map = map();
        let relations = map["edges"].as_array().unwrap().iter().filter(|edge| edge["relation"].is_string()).count();
        model(&map).filter(|_| relations == 2)
    });
    assert_eq!((&before["origins"], &before["is_unknown"]), (&json!([]), &json!(true)), "{before}");
    process.kill9();
    let _process = deployment.start();
    produce(deployment.broker.bootstrap(), &[late]);
    let found =
        wait_for("what is deployed to be judged again", LIMIT, || violated(&deployment, "clinic").remove("eu-trained-model-in-asia"));
    assert_eq!((&found["dimensions"]["model"], &found["state"]), (&json!("triage"), &json!("open")), "{found}");
    let outside = wait_for("what was read to be judged again", LIMIT, || violated(&deployment, "lab").remove("data-read-from-outside"));
    assert_eq!((&outside["dimensions"]["region"], &outside["count"]), (&json!("us-east-1"), &json!(1)), "{outside}");
    let after = map();
    assert_eq!(model(&after).unwrap()["origins"], json!(["DE"]), "{after:#}");
    let broken = after["edges"].as_array().unwrap().iter().find(|edge| edge["state"] == "breaks").unwrap();
    let way = [
        "postgres://ward:5432/ward.public.patients",
        "airflow/clinic.load",
        "s3://clinic/patients_staging",
        "s3://clinic/patients",
        "hive://metastore:9083/clinic.patients",
        "airflow/triage.train",
        "s3://models/triage/1",
        "triage 1",
    ];
    assert_eq!(broken["way"], json!(way));
}

/// What every shard was told last of a model; `None` while they differ.
fn last(told: &Told, model: &str) -> Option<(Vec<String>, bool)> {
    let shards = told.get(model)?;
    let mut last = shards.values().filter_map(|facts| facts.last().cloned());
    let first = last.next()?;
    (shards.len() == SHARDS && last.all(|other| other == first)).then_some(first)
}

/// For the topics of lineage (the last one is none that can be read) and of activity.
fn inputs(deployment: &Deployment) -> (Vec<Value>, Vec<Value>) {
    let line = |topic: &str, event: &Value| json!({"topic": deployment.topic(topic), "key": "k", "value_json": event});
    let mut events: Vec<Value> = lines("events.jsonl").iter().map(|event| line("lineage-events", event)).collect();
    events.push(json!({"topic": deployment.topic("lineage-events"), "key": "k", "value": "{\"eventType\": \"DONE\"}"}));
    let activity = lines("activity.jsonl").into_iter().filter(|line| line["topic"] == "activity-events");
    (events, activity.map(|event| line("activity-events", &event["value"])).collect())
}

/// A run that names what it reads only at its end has been another flow until then.
fn a_run_is_told_late(deployment: &Deployment, log: &BaseConsumer, told: &mut Told) {
    for (state, inputs) in [
        ("RUNNING", json!([])),
        ("COMPLETE", json!([{"namespace": "s3://us", "name": "logs", "facets": {"tollgate_origin": {"regions": ["US"]}}}])),
    ] {
        let event = json!({"eventType": state, "eventTime": "2026-03-03T10:00:00Z", "producer": "p", "run": {"runId": "0190b4a2-0000-7000-8000-00000000aaaa"},
            "job": {"namespace": "airflow", "name": "late"}, "inputs": inputs, "outputs": [{"namespace": "s3://us", "name": "late",
            "facets": {"tollgate_model": {"model": "late", "version": "1"}}}]});
        produce(deployment.broker.bootstrap(), &[json!({"topic": deployment.topic("lineage-events"), "key": "k", "value_json": event})]);
        wait_for("the run", LIMIT, || {
            read_on(log, told);
            last(told, "late 1").filter(|(_, has_gap)| *has_gap == (state == "RUNNING"))
        });
    }
}

#[test]
fn origins_of_models_are_told_to_every_shard_once() {
    let deployment = Deployment::without_mail("lineage", "[intake]\ndead_letter_ratio = 1.0");
    let bootstrap = deployment.broker.bootstrap();
    let topic = deployment.topic("lineage-events");
    let (events, activity) = inputs(&deployment);
    let mut process = deployment.start();
    let log = reader(
        &mut deployment.broker.client(),
        &deployment.topic(&format!("{}app-shard-repartition", deployment.topic(""))),
        i32::try_from(SHARDS).unwrap(),
    );
    let mut told = Told::new();
    // Killed between the first half and the second, in the middle of what it does.
    let (first, second) = events.split_at(5);
    produce(bootstrap, first);
    wait_for("the first facts", LIMIT, || {
        read_on(&log, &mut told);
        last(&told, "risk-scorer 3")
    });
    produce(bootstrap, second);
    produce(bootstrap, &activity);
    a_run_is_told_late(&deployment, &log, &mut told);
    process.kill9();
    let mut process = deployment.start();
    let known = |origins: &[&str], has_gap: bool| Some((origins.iter().map(ToString::to_string).collect::<Vec<_>>(), has_gap));
    wait_for("all facts", LIMIT, || {
        read_on(&log, &mut told);
        let all = ["churn 1", "fraud 1", "helper 0.1", "risk-scorer 3"];
        all.iter().all(|model| last(&told, model).is_some()).then_some(())
    });
    read_on(&log, &mut told);
    let of_customers = ["FR", "US", "eu-central-1"];
    assert_eq!(last(&told, "risk-scorer 3"), known(&of_customers, false), "{told:?}");
    assert_eq!(last(&told, "fraud 1"), known(&[], true), "nobody says where the payments are from");
    assert_eq!(last(&told, "helper 0.1"), known(&[], true), "deployed, and nobody made it");
    assert_eq!(last(&told, "churn 1"), known(&["FR", "eu-central-1"], false));
    assert_eq!(last(&told, "late 1"), known(&["US"], false), "what its run was taken for at first did not come back: {told:?}");
    assert!(!told.contains_key("risk-scorer 4"), "its run failed");
    wait_for("the bad one on dead-letter", LIMIT, || (!consume(bootstrap, &deployment.topic("dead-letter")).is_empty()).then_some(()));
    for (model, shards) in &told {
        for (shard, facts) in shards {
            let repeated = facts.windows(2).any(|two| two[0] == two[1]);
            assert!(!repeated, "{model} in shard {shard} was told twice: {facts:?}");
        }
    }

    // A rule of the config says what no event does: told after a reload, and a restart tells nothing again.
    let config = std::fs::read_to_string(&deployment.config).unwrap();
    let rules =
        "[[lineage.origin]]\ndataset = \"sftp://partner/*\"\nregions = [\"BR\"]\n[[lineage.step]]\njob = \"airflow/fl.*\"\npasses = []\n";
    std::fs::write(&deployment.config, config + rules).unwrap();
    process.signal("HUP");
    wait_for("what the new rules say", LIMIT, || {
        read_on(&log, &mut told);
        (last(&told, "fraud 1") == known(&["BR"], false) && last(&told, "churn 1") == known(&[], false)).then_some(())
    });
    let before: usize = told.values().flat_map(BTreeMap::values).map(Vec::len).sum();
    process.kill9();
    let _process = deployment.start();
    let more = json!({"topic": topic, "key": "k", "value_json": {"eventTime": "2026-03-03T10:00:00Z", "producer": "p",
        "dataset": {"namespace": "s3://bureau", "name": "scores", "facets": {"tollgate_origin": {"regions": ["CA"]}}}}});
    produce(bootstrap, &[more]);
    wait_for("a late origin", LIMIT, || {
        read_on(&log, &mut told);
        (last(&told, "risk-scorer") == known(&["CA", "FR", "eu-central-1"], false)).then_some(())
    });
    let after: usize = told.values().flat_map(BTreeMap::values).map(Vec::len).sum();
    assert_eq!(after - before, 2 * SHARDS, "the version and its model, and nothing else: {told:?}");
}
