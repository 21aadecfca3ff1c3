//! The broker under our tests is a real one: records, both ways, and transactions that count.

use std::time::Duration;

use apache_avro::reader::datum::GenericDatumReader;
use rdkafka::Message;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, Headers, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::json;

use super::parts::{self, Kafka, kafka, unique, wait_for};

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn java_writes_and_we_read() {
    let kafka = kafka();
    let topic = unique("java-to-rust");
    kafka.create_topic(&topic, 2, &[]);
    parts::produce(
        kafka.bootstrap(),
        &[
            json!({"topic": topic, "partition": 1, "timestamp": 1_700_000_000_123_i64, "key": "k", "value": "zwölf",
                   "headers": {"ce_type": "usage"}}),
            json!({"topic": topic, "partition": 1, "key": "k", "value": null}),
        ],
    );

    let consumer = reader(kafka, &topic, 1);
    let first = consumer.poll(LIMIT).expect("a record").expect("no error");
    assert_eq!(first.key(), Some("k".as_bytes()));
    assert_eq!(first.payload(), Some("zwölf".as_bytes()));
    assert_eq!(first.timestamp().to_millis(), Some(1_700_000_000_123));
    let header = first.headers().expect("headers").get(0);
    assert_eq!((header.key, header.value), ("ce_type", Some("usage".as_bytes())));
    let second = consumer.poll(LIMIT).expect("a record").expect("no error");
    assert_eq!((second.offset(), second.payload()), (1, None));
}

#[test]
fn java_writes_avro_in_the_confluent_framing() {
    let kafka = kafka();
    let topic = unique("avro");
    kafka.create_topic(&topic, 1, &[]);
    let schema = json!({"type": "record", "name": "Usage", "fields": [
        {"name": "id", "type": "string"},
        {"name": "team", "type": ["null", "string"], "default": null},
        {"name": "tokens", "type": "long", "default": 7},
    ]});
    let file = parts::temp_folder("schema").join("usage.avsc");
    std::fs::write(&file, schema.to_string()).unwrap();
    let line = |form: &str, value: serde_json::Value| json!({"topic": topic, "schema_file": file.to_str(), "schema_id": 258, form: value});
    parts::produce(
        kafka.bootstrap(),
        &[
            line("avro", json!({"id": "e1", "team": "search"})),
            line("avro_json", json!({"id": "e1", "team": {"string": "search"}, "tokens": 7})),
        ],
    );

    let consumer = reader(kafka, &topic, 0);
    let parsed = apache_avro::Schema::parse(&schema).unwrap();
    let reader = GenericDatumReader::builder(&parsed).build().unwrap();
    for _ in 0..2 {
        let record = consumer.poll(LIMIT).expect("a record").expect("no error").detach();
        let (frame, mut body) = record.payload().unwrap().split_at(5);
        assert_eq!(frame, [0, 0, 0, 1, 2]);
        let value = reader.read_value(&mut body).unwrap();
        let read: serde_json::Value = apache_avro::from_value(&value).unwrap();
        assert_eq!(read, json!({"id": "e1", "team": "search", "tokens": 7}));
    }
}

#[test]
fn we_write_and_java_reads() {
    let kafka = kafka();
    let topic = unique("rust-to-java");
    kafka.create_topic(&topic, 3, &[]);
    let producer: BaseProducer = kafka.client().set("acks", "all").create().unwrap();
    let headers = OwnedHeaders::new().insert(Header { key: "reason", value: Some("none") });
    let record = BaseRecord::to(&topic).partition(2).key("k1").payload("text").timestamp(42).headers(headers);
    producer.send(record).map_err(|(error, _)| error).unwrap();
    let bytes = [0xff_u8, 0x00];
    producer.send(BaseRecord::<[u8], [u8]>::to(&topic).partition(0).payload(&bytes)).map_err(|(e, _)| e).unwrap();
    producer.flush(LIMIT).unwrap();

    let mut read = parts::consume(kafka.bootstrap(), &topic);
    read.sort_by_key(|record| record.partition);
    assert_eq!(read.len(), 2, "{read:?}");
    assert_eq!((read[0].partition, read[0].key.as_deref(), read[0].value.as_deref()), (0, None, None));
    assert_eq!(read[0].value_base64.as_deref(), Some("/wA="));
    assert_eq!((read[1].partition, read[1].offset, read[1].timestamp), (2, 0, 42));
    assert_eq!((read[1].key.as_deref(), read[1].value.as_deref()), (Some("k1"), Some("text")));
    assert_eq!(read[1].headers["reason"].as_deref(), Some("none"));
}

#[test]
fn what_was_aborted_nobody_reads() {
    let kafka = kafka();
    let topic = unique("aborted");
    kafka.create_topic(&topic, 1, &[]);
    let producer: BaseProducer = kafka.client().set("transactional.id", unique("tx")).create().unwrap();
    producer.init_transactions(LIMIT).unwrap();
    for (text, keep) in [("first", true), ("taken back", false), ("last", true)] {
        producer.begin_transaction().unwrap();
        producer.send(BaseRecord::<(), str>::to(&topic).payload(text)).map_err(|(error, _)| error).unwrap();
        producer.flush(LIMIT).unwrap();
        if keep { producer.commit_transaction(LIMIT) } else { producer.abort_transaction(LIMIT) }.unwrap();
    }

    assert_eq!(parts::consume_text(kafka.bootstrap(), &topic), ["first", "last"]);
    // It did reach the log: whoever does not ask for committed records sees it.
    let uncommitted = ["--isolation", "read_uncommitted", "--to-end"];
    let all = parts::consume_with(kafka.bootstrap(), &topic, &uncommitted);
    let texts: Vec<_> = all.iter().filter_map(|record| record.value.as_deref()).collect();
    assert_eq!(texts, ["first", "taken back", "last"]);
}

#[test]
fn a_killed_broker_keeps_what_it_acknowledged() {
    let kafka = Kafka::start_own();
    let topic = unique("bounced");
    kafka.create_topic(&topic, 1, &[]);
    parts::produce(kafka.bootstrap(), &[json!({"topic": topic, "value": "before"})]);
    kafka.kill9();
    kafka.start();
    parts::produce(kafka.bootstrap(), &[json!({"topic": topic, "value": "between"})]);
    kafka.stop();
    kafka.start();
    assert_eq!(parts::consume_text(kafka.bootstrap(), &topic), ["before", "between"]);
}

#[test]
fn compaction_happens_within_a_test() {
    let kafka = kafka();
    let topic = unique("compacted");
    kafka.create_topic(&topic, 1, &[("cleanup.policy", "compact"), ("segment.ms", "200"), ("min.cleanable.dirty.ratio", "0.01")]);
    // Java fills in the counter; a segment is rolled every 200 ms, and the last one is never cleaned.
    let options = ["--rate", "20", "--for-seconds", "2"];
    let counts = parts::produce_with(kafka.bootstrap(), &[json!({"topic": topic, "key": "k", "value": "${n}"})], &options);
    let sent = counts["acked"].as_u64().unwrap();
    assert!((2..=41).contains(&sent), "{counts}");
    parts::produce(kafka.bootstrap(), &[json!({"topic": topic, "key": "other", "value": "x"})]);

    let left = wait_for("old values to go", LIMIT, || {
        let left = parts::consume(kafka.bootstrap(), &topic);
        (left.len() < 6).then_some(left)
    });
    let last_of_k = left.iter().rfind(|record| record.key.as_deref() == Some("k")).expect("the last value stays");
    assert_eq!(last_of_k.value, Some((sent - 1).to_string()));
}

#[test]
fn an_open_transaction_is_found_by_kafkas_own_tool() {
    let kafka = kafka();
    let topic = unique("open");
    kafka.create_topic(&topic, 1, &[]);
    let id = unique("tx");
    let producer: BaseProducer = kafka.client().set("transactional.id", &id).create().unwrap();
    producer.init_transactions(LIMIT).unwrap();
    producer.begin_transaction().unwrap();
    producer.send(BaseRecord::<(), str>::to(&topic).payload("x")).map_err(|(error, _)| error).unwrap();
    producer.flush(LIMIT).unwrap();
    assert_eq!(kafka.transaction_state(&id), "Ongoing");
    producer.abort_transaction(LIMIT).unwrap();
    wait_for("the abort", LIMIT, || (kafka.transaction_state(&id) == "CompleteAbort").then_some(()));
}

fn reader(kafka: &Kafka, topic: &str, partition: i32) -> BaseConsumer {
    let consumer: BaseConsumer = kafka.client().set("group.id", "unused").create().unwrap();
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(topic, partition, rdkafka::Offset::Beginning).unwrap();
    consumer.assign(&assignment).unwrap();
    consumer
}
