//! A schema registry that is away delays the records that need it, and nothing else.

use std::time::Duration;

use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::{Value, json};
use tollgate::runtime::schemas::{Client, Lookup, Registry, Source};

use super::inputs::schema_file;
use super::parts::{Door, consume, produce, registry, wait_for};
use super::path::{Deployment, now_ms, usage};

const LIMIT: Duration = Duration::from_secs(60);
const WAITS: &str = "schema not available, the partition waits";

#[test]
fn a_registry_that_is_away_delays_its_partition_and_drops_nothing() {
    let registry = registry();
    let door = Door::to(registry.port());
    let deployment = Deployment::without_mail("outage", &format!("[schemas]\nregistry_url = '{}'", registry.url_at(door.port)));
    let (bootstrap, topic) = (deployment.broker.bootstrap(), deployment.topic("usage-events"));
    let id = registry.register(&format!("{topic}-value"), &std::fs::read_to_string(schema_file("usage_event")).unwrap());
    let _process = deployment.start();
    let combined = || deployment.metric("tollgate_intake_records_combined_total");
    let waiting = || deployment.metric("tollgate_intake_partitions_waiting");
    let settled = |count: u64| wait_for(&format!("{count} events"), LIMIT, || (combined() == count).then_some(()));

    // Nobody listens. In partition 0 JSON stands before and behind the Avro events; partition 1 has JSON only.
    let at = now_ms() - 1_000;
    let as_json =
        |partition: i32, id: &str| json!({"topic": topic, "partition": partition, "value_json": usage(id, at, "search", "ann", "0.5")});
    let as_avro = |event_id: &str| {
        let event = json!({"event_id": event_id, "source": "gateway/eu1", "event_time": at, "team": "search", "cost": "0.5"});
        json!({"topic": topic, "partition": 0, "avro": event, "schema_id": id, "schema_file": schema_file("usage_event")})
    };
    let first: Vec<Value> = ["a", "b", "c"].map(|name| as_json(0, name)).to_vec();
    let avro: Vec<Value> = ["d", "e"].map(&as_avro).to_vec();
    let behind: Vec<Value> = ["f", "a"].map(|name| as_json(0, name)).to_vec();
    let other: Vec<Value> = ["1", "2", "3", "4"].map(|name| as_json(1, name)).to_vec();
    produce(bootstrap, &[first, avro, behind, other].concat());
    settled(3 + 4);
    wait_for("the partition to wait", LIMIT, || (waiting() == 1).then_some(()));
    wait_for("a second attempt", LIMIT, || (deployment.log().matches(WAITS).count() >= 2).then_some(()));
    assert_eq!(combined(), 7, "nothing passes the events that wait");

    // Somebody listens and does not answer: while a question is open, the other partition goes on.
    door.mute();
    wait_for("a question", LIMIT, || (door.guests() > 0).then_some(()));
    let producer: BaseProducer = deployment.broker.client().create().unwrap();
    let event = usage("5", at, "search", "ann", "0.5").to_string();
    producer.send(BaseRecord::<(), _>::to(&topic).partition(1).payload(&event)).map_err(|(error, _)| error).unwrap();
    producer.flush(LIMIT).unwrap();
    wait_for("the event of the other partition", Duration::from_secs(3), || (combined() == 8).then_some(()));

    // It is back, and so is everything.
    door.open();
    settled(8 + 2 + 1);
    wait_for("nobody to wait", LIMIT, || (waiting() == 0).then_some(()));
    assert_eq!(deployment.metric("tollgate_intake_records_duplicate_total"), 1, "the second 'a'");
    assert_eq!(deployment.metric("tollgate_intake_records_read_total"), 12);
    assert_eq!(deployment.metric("tollgate_role_failures_total"), 0, "{}", deployment.log());
    assert_eq!(consume(bootstrap, &deployment.topic("dead-letter")), vec![]);

    // What the registry itself does not know goes to dead-letter.
    produce(bootstrap, &[json!({"topic": topic, "partition": 0, "key": "nobody's", "value_base64": "AAAAMDkCYQ=="})]);
    wait_for("the dead letter", LIMIT, || (deployment.metric("tollgate_intake_records_rejected_total") == 1).then_some(()));
    let letters = consume(bootstrap, &deployment.topic("dead-letter"));
    assert_eq!(letters[0].headers["tollgate.reason"].as_deref(), Some("unknown_schema"));
    assert_eq!(letters[0].key.as_deref(), Some("nobody's"));
}

#[test]
fn not_found_at_a_wrong_address_is_no_answer() {
    let ours = std::fs::read_to_string(schema_file("usage_event")).unwrap();
    let id = registry().register("addresses-value", &ours);
    let look_up = |url: String, id: u32| {
        let registry = Some(Registry { url, username: None, password: None });
        let mut client = Client::new(&Source { registry, ..Source::default() }).unwrap();
        wait_for("an answer", LIMIT, || match client.look_up(id) {
            Lookup::Unavailable(reason) if reason.contains("so far") => None,
            answer => Some(answer),
        })
    };
    let right = registry().url();
    let wrong = right.replace("/apis/ccompat/v7", "/schema-registry");
    assert!(matches!(look_up(right.clone(), id), Lookup::Schema(text) if text.contains("UsageEvent")));
    assert_eq!(look_up(right, 54_321), Lookup::Unknown);
    let answer = look_up(wrong, id);
    assert!(matches!(&answer, Lookup::Unavailable(reason) if reason.contains("schemas.registry_url")), "{answer:?}");
}
