//! Events that travel on whole: each of them once in the shard of its team, and every one that cannot be read on dead-letter, across kills.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::BaseConsumer;
use rdkafka::message::Message as _;
use serde_json::{Value, json};
use tollgate::model::hash::shard_of;
use tollgate::model::partial::ShardEvent;
use tollgate::model::wire::decode_shard_record;

use super::chaos::observer::reader;
use super::inputs::schema_file;
use super::parts::{consume, produce, wait_for};
use super::path::{Deployment, now_ms, rfc3339};

const LIMIT: Duration = Duration::from_secs(60);
const SAMPLE_SCHEMA: u32 = 11;
/// Of each topic in each of two rounds.
const EVENTS: usize = 60;
/// As `Deployment` sets it.
const SHARDS: u32 = 4;

fn event(id: &str, more: Value) -> Value {
    let mut event = json!({"event_id": id, "source": "s", "event_time": rfc3339(now_ms() - 1_000)});
    event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    event
}

/// Sound events of all three topics, and one of each that is none.
fn lines(deployment: &Deployment, round: usize) -> Vec<Value> {
    let mut lines = Vec::new();
    for number in 0..EVENTS {
        let (id, team) = (format!("{round}-{number}"), format!("team-{}", number % 7));
        let sample =
            event(&id, json!({"team": team, "resource_id": "gpu/1", "hourly_cost": "32.77", "currency": "USD", "utilization": 0.25}));
        let mut line = json!({"topic": deployment.topic("resource-events"), "key": id, "value_json": sample});
        if number % 2 == 1 {
            line.as_object_mut().unwrap().remove("value_json");
            let mut twin = sample;
            twin["event_time"] = json!(now_ms() - 1_000);
            line["avro"] = twin;
            line["schema_id"] = json!(SAMPLE_SCHEMA);
            line["schema_file"] = json!(schema_file("resource_sample"));
        }
        lines.push(line);
        let activity = event(&id, json!({"team": team, "action": "egress", "destination": "api.openai.com", "value": 12.5}));
        lines.push(json!({"topic": deployment.topic("activity-events"), "key": id, "value_json": activity}));
        let feedback = event(&id, json!({"alert_id": format!("{team}/00ff"), "verdict": "ack", "actor": "mara"}));
        lines.push(json!({"topic": deployment.topic("feedback"), "key": id, "value_json": feedback}));
    }
    for topic in ["resource-events", "activity-events", "feedback"] {
        lines.push(json!({"topic": deployment.topic(topic), "key": "bad", "value": "{\"event_id\": 5}"}));
    }
    lines
}

/// How often each event stands in the shard log.
type Arrived = BTreeMap<(&'static str, String), usize>;

/// Reads on for a moment, as a read_committed consumer; each event has to be what was sent, in the shard of its team.
fn read_on(log: &BaseConsumer, arrived: &mut Arrived) {
    while let Some(message) = log.poll(Duration::from_millis(100)) {
        let message = message.unwrap();
        for event in decode_shard_record(message.payload().unwrap()).unwrap().events {
            assert_eq!(u32::try_from(message.partition()), Ok(shard_of(event.team().unwrap(), SHARDS)), "{event:?}");
            let kind = match &event {
                ShardEvent::Resource(sample) => {
                    assert_eq!((sample.hourly_cost.map(|cost| cost.to_string()), sample.utilization), (Some("32.77".into()), Some(0.25)));
                    "resource"
                }
                ShardEvent::Activity(activity) => {
                    assert_eq!(activity.value, Some(12.5));
                    "activity"
                }
                ShardEvent::Feedback(feedback) => {
                    assert_eq!(feedback.actor.as_deref(), Some("mara"));
                    "feedback"
                }
                ShardEvent::Facts(_) | ShardEvent::DatasetUse(_) => panic!("nobody told anything of lineage: {event:?}"),
                ShardEvent::Grant(_) | ShardEvent::GrantUsed(_) => panic!("nobody granted anything: {event:?}"),
                ShardEvent::Spent(_) => panic!("there is no budget: {event:?}"),
            };
            *arrived.entry((kind, event.event_id().unwrap().to_string())).or_default() += 1;
        }
    }
}

#[test]
fn each_event_is_once_in_the_shard_of_its_team() {
    let more = format!("[schemas.ids]\n{SAMPLE_SCHEMA} = 'resource_sample'\n[intake]\ndead_letter_ratio = 1.0");
    let deployment = Deployment::without_mail("whole", &more);
    let bootstrap = deployment.broker.bootstrap();
    let mut process = deployment.start();
    let accepted = |role: &str| deployment.metric(&format!("tollgate_forwarded_records_total{{role=\"{role}\",outcome=\"accepted\"}}"));
    let roles = ["resources", "activity", "feedback"];
    produce(bootstrap, &lines(&deployment, 0));
    wait_for("the first of each topic to be taken", LIMIT, || roles.iter().all(|role| accepted(role) > 0).then_some(()));
    process.kill9();
    produce(bootstrap, &lines(&deployment, 1));
    let _second = deployment.start();
    wait_for("all bad ones on dead-letter", LIMIT, || (consume(bootstrap, &deployment.topic("dead-letter")).len() >= 6).then_some(()));
    let wanted = 2 * EVENTS * 3;
    let log = reader(
        &mut deployment.broker.client(),
        &deployment.topic(&format!("{}app-shard-repartition", deployment.topic(""))),
        SHARDS as i32,
    );
    let mut found = Arrived::new();
    wait_for("all events in the shard log", LIMIT, || {
        read_on(&log, &mut found);
        (found.len() >= wanted).then_some(())
    });
    let twice: Vec<_> = found.iter().filter(|(_, count)| **count != 1).collect();
    assert!(twice.is_empty() && found.len() == wanted, "{} of {wanted}, more than once: {twice:?}\n{}", found.len(), deployment.log());
    let letters = consume(bootstrap, &deployment.topic("dead-letter"));
    let reasons: Vec<_> = letters.iter().map(|letter| letter.headers["tollgate.reason"].clone().unwrap_or_default()).collect();
    assert_eq!(reasons, vec!["wrong_type"; 6], "{}", deployment.log());
}
