//! Bad input ends on dead-letter, whole and with its reason, and everything goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use tollgate::model::record::RejectReason;

use super::inputs::schema_file;
use super::parts::{Consumed, consume, produce, run_tool, wait_for};
use super::path::{Deployment, now_ms, rfc3339, usage};

const LIMIT: Duration = Duration::from_secs(60);
const USAGE_SCHEMA: u32 = 7;
const TEN_MEGABYTES: usize = 10 << 20;

/// Key, what Produce.java is told to send, and the reason that must stand on dead-letter.
type Case = (&'static str, Value, RejectReason);

/// A sound event but for one field.
fn with(field: &str, value: impl Into<Value>) -> Value {
    let mut event = usage("bad", now_ms(), "search", "ann", "1");
    event[field] = value.into();
    json!({"value_json": event})
}

fn without(field: &str) -> Value {
    let mut event = usage("bad", now_ms(), "search", "ann", "1");
    event.as_object_mut().unwrap().remove(field);
    json!({"value_json": event})
}

fn avro(more: Value) -> Value {
    let mut event = json!({"event_id": "bad", "source": "gateway/eu1", "event_time": now_ms(), "team": "search"});
    event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"avro": event, "schema_id": USAGE_SCHEMA, "schema_file": schema_file("usage_event")})
}

/// What cannot be read at all.
fn unreadable() -> Vec<Case> {
    use RejectReason as R;
    let ce = |version: &str| json!({"specversion": version, "id": "1", "source": "s", "type": "t", "data": [1]});
    vec![
        ("tombstone", json!({}), R::NoValue),
        ("empty", json!({"value": ""}), R::EmptyValue),
        ("huge", json!({"value": format!("{{\"event_id\":\"{}\"}}", "x".repeat(TEN_MEGABYTES))}), R::TooLarge),
        ("random bytes", json!({"value_base64": "nJg2Ff8AEjRWeJq83v4="}), R::UnknownFormat),
        ("random bytes after a zero byte", json!({"value_base64": "AAAAAAeXmDYV/wASNFZ4"}), R::InvalidAvro),
        ("ends within the schema id", json!({"value_base64": "AAAA"}), R::InvalidAvro),
        // "abc" of a text of 8 bytes.
        ("truncated", json!({"value_base64": "AAAAAAcQYWJj"}), R::InvalidAvro),
        ("unknown schema", json!({"value_base64": "AAAAMDkCYQ=="}), R::UnknownSchema),
        ("broken json", json!({"value": "{\"event_id\": \"a\","}), R::InvalidJson),
        ("NaN in json", json!({"value": "{\"event_id\": \"a\", \"quantity\": NaN}"}), R::InvalidJson),
        // {"event_id":"\xff"}
        ("invalid UTF-8", json!({"value_base64": "eyJldmVudF9pZCI6Iv8ifQ=="}), R::InvalidUtf8),
        (
            "cloud event without an object",
            json!({"value_json": ce("1.0"), "headers": {"content-type": "application/cloudevents+json"}}),
            R::InvalidCloudEvent,
        ),
    ]
}

/// What can be read and makes no sense.
fn senseless() -> Vec<Case> {
    use RejectReason as R;
    vec![
        ("missing field", without("source"), R::MissingField),
        ("wrong type", with("input_tokens", "many"), R::WrongType),
        ("wrong type of an id", with("event_id", 17), R::WrongType),
        ("long text", with("model", "m".repeat(2_000)), R::FieldTooLong),
        ("NaN in avro", avro(json!({"quantity": "NaN"})), R::NotANumber),
        ("beyond all numbers in avro", avro(json!({"quantity": serde_json::Number::from_f64(1e300).unwrap()})), R::OutOfRange),
        ("negative quantity", with("quantity", -0.5), R::NegativeQuantity),
        ("negative tokens in avro", avro(json!({"input_tokens": -1})), R::NegativeQuantity),
        ("far too much", with("cost", "10000000000000000000"), R::OutOfRange),
        ("no time", with("event_time", "yesterday"), R::InvalidEventTime),
        ("1970", with("event_time", "1970-01-01T00:00:00Z"), R::EventTimeTooOld),
        ("1970 in avro", avro(json!({"event_time": 0})), R::EventTimeTooOld),
        ("2100", with("event_time", "2100-01-01T00:00:00Z"), R::EventTimeInFuture),
        ("an hour ahead", with("event_time", rfc3339(now_ms() + 3_600_000)), R::EventTimeInFuture),
        ("decimal comma", with("cost", "1,5"), R::InvalidAmount),
        ("unknown currency", with("currency", "XXQ"), R::UnknownCurrency),
    ]
}

fn lines(cases: &[Case], topic: &str) -> Vec<Value> {
    let line = |(at, (key, value, _)): (usize, &Case)| {
        let mut line = value.clone();
        line["topic"] = json!(topic);
        line["partition"] = json!(at % 2);
        line["key"] = json!(key);
        line["timestamp"] = json!(now_ms());
        if line.get("headers").is_none() {
            line["headers"] = json!({"trace": format!("of {key}")});
        }
        line
    };
    cases.iter().enumerate().map(line).collect()
}

#[test]
fn bad_input_is_kept_with_its_reason_and_everything_goes_on() {
    let more = format!("[schemas.ids]\n{USAGE_SCHEMA} = 'usage_event'\n[intake]\ndead_letter_ratio = 1.0");
    let deployment = Deployment::without_mail("rejects", &more);
    let (bootstrap, topic) = (deployment.broker.bootstrap(), deployment.topic("usage-events"));
    // Whoever owns the topic lets in more than we take.
    let alter = ["--bootstrap-server", bootstrap, "--alter", "--entity-type", "topics", "--entity-name", &topic];
    let larger = [&alter[..], &["--add-config", "max.message.bytes=20000000"]].concat();
    run_tool("kafka.admin.ConfigCommand", &larger, "").expect_success();
    let _process = deployment.start();

    let cases = [unreadable(), senseless()].concat();
    let named: BTreeSet<RejectReason> = cases.iter().map(|case| case.2).collect();
    // Bills have one of their own (src/intake/tests/billing.rs).
    let of_usage = RejectReason::ALL.into_iter().filter(|reason| *reason != RejectReason::InvalidPeriod).collect();
    assert_eq!(named, of_usage, "a case for each reason");
    produce(bootstrap, &lines(&cases, &topic));
    // A key that is no text, too.
    produce(bootstrap, &[json!({"topic": topic, "partition": 0, "key_base64": "/wD+", "value": "?"})]);

    // Good ones behind the bad ones: two, a duplicate, and one that nobody knows the price of.
    let good = ["good-0", "good-1", "good-0"].map(|id| usage(id, now_ms() - 1_000, "search", "ann", "0.5"));
    let mut unpriced = usage("unpriced", now_ms() - 1_000, "search", "ann", "");
    unpriced["model"] = json!("nobody-knows-1");
    unpriced.as_object_mut().unwrap().remove("cost");
    deployment.produce_usage(&[&good[..], &[unpriced]].concat());

    let bad = cases.len() as u64 + 1;
    let metric = |name: &str| deployment.metric(&format!("tollgate_intake_{name}_total"));
    wait_for("all records to be decided", LIMIT, || (metric("records_read") >= bad + 4).then_some(()));
    let found = ["records_read", "records_combined", "records_duplicate", "records_rejected", "events_unpriced"].map(metric);
    assert_eq!(found, [bad + 4, 3, 1, bad, 1], "read = combined + duplicates + rejected\n{}", deployment.log());
    assert_eq!(deployment.metric("tollgate_role_failures_total"), 0, "nothing failed:\n{}", deployment.log());
    let page = deployment.get("/metrics").1;
    let ratio = page.lines().find_map(|line| line.strip_prefix("tollgate_intake_dead_letter_ratio{")?.rsplit(' ').next());
    assert!(ratio.is_some_and(|ratio| ratio.parse::<f64>().unwrap() > 0.0), "{page}");

    let letters = consume(bootstrap, &deployment.topic("dead-letter"));
    assert_eq!(letters.len() as u64, bad);
    let sent: BTreeMap<_, _> = consume(bootstrap, &topic).into_iter().map(|record| (record.key.clone(), record)).collect();
    for (key, _, reason) in &cases {
        let letter = letters.iter().find(|letter| letter.key.as_deref() == Some(key)).unwrap_or_else(|| panic!("no letter of '{key}'"));
        check_letter(letter, &sent[&Some((*key).to_owned())], *reason);
    }
    let binary_key = letters.iter().find(|letter| letter.key_base64.is_some()).expect("the letter with a binary key");
    assert_eq!((binary_key.key_base64.as_deref(), binary_key.value.as_deref()), (Some("/wD+"), Some("?")));
}

/// Original value and headers; reason and place in both families of headers.
fn check_letter(letter: &Consumed, sent: &Consumed, reason: RejectReason) {
    let key = sent.key.as_deref().unwrap();
    let header =
        |name: &str| letter.headers.get(name).unwrap_or_else(|| panic!("'{key}' has no header {name}: {:?}", letter.headers)).clone();
    assert_eq!(header("tollgate.reason").as_deref(), Some(reason.as_str()), "'{key}': {:?}", header("tollgate.message"));
    for (name, value) in [("topic", sent.topic.clone()), ("partition", sent.partition.to_string()), ("offset", sent.offset.to_string())] {
        for family in ["__connect.errors.", "__streams.errors."] {
            assert_eq!(header(&format!("{family}{name}")), Some(value.clone()), "'{key}': {family}{name}");
        }
    }
    assert_eq!(header("__connect.errors.exception.message"), header("__streams.errors.message"));
    for (name, value) in &sent.headers {
        assert_eq!(header(name), *value, "'{key}': original header {name}");
    }
    if reason == RejectReason::TooLarge {
        let original = sent.value.as_deref().unwrap();
        let kept = letter.value.as_deref().unwrap();
        assert!(kept.len() > 1_000_000 && kept.len() < 1 << 20 && original.starts_with(kept), "{} bytes are kept", kept.len());
        assert_eq!(header("tollgate.original.size"), Some(original.len().to_string()));
        let hash = format!("{:032x}", xxhash_rust::xxh3::xxh3_128(original.as_bytes()));
        assert_eq!(header("tollgate.original.hash"), Some(hash));
    } else {
        assert_eq!((&letter.value, &letter.value_base64), (&sent.value, &sent.value_base64), "'{key}'");
        assert!(!letter.headers.contains_key("tollgate.original.size"), "'{key}' is whole");
    }
}
