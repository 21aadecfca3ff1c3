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
use super::parts::{consume, produce, wait_for};
use super::path::Deployment;

const LIMIT: Duration = Duration::from_secs(60);
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
    process.kill9();
    let mut process = deployment.start();
    let known = |origins: &[&str], has_gap: bool| Some((origins.iter().map(ToString::to_string).collect::<Vec<_>>(), has_gap));
    wait_for("all facts", LIMIT, || {
        read_on(&log, &mut told);
        let all = ["churn 1", "fraud 1", "helper 0.1", "risk-scorer 3"];
        all.iter().all(|model| last(&told, model).is_some()).then_some(())
    });
    let of_customers = ["FR", "US", "eu-central-1"];
    assert_eq!(last(&told, "risk-scorer 3"), known(&of_customers, false), "{told:?}");
    assert_eq!(last(&told, "fraud 1"), known(&[], true), "nobody says where the payments are from");
    assert_eq!(last(&told, "helper 0.1"), known(&[], true), "deployed, and nobody made it");
    assert_eq!(last(&told, "churn 1"), known(&["FR", "eu-central-1"], false));
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
