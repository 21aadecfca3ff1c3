//! Resource samples, activity and feedback: the contract's examples in both forms, one record for each reason, and who pays.

use apache_avro::Schema;
use apache_avro::types::Value as Avro;
use apache_avro::writer::datum::GenericDatumWriter;
use serde_json::{Value as Json, json};

use super::super::decode::table::WriterSchemas;
use super::super::rules::{AttributedTeam, AttributionRule};
use super::super::whole::{Topic, WholeOutcome, process};
use super::*;
use crate::model::feedback::Verdict;
use crate::model::money::Nanos;
use crate::model::partial::ShardEvent;
use crate::model::record::RejectReason as Reason;
use crate::model::wire::{SchemaName, confluent_frame, schema};

/// 2026-12-31T00:00:00Z: after all examples.
const LATER: Timestamp = Timestamp(1_798_675_200_000);
const ALL: [(Topic, &str, SchemaName); 3] = [
    (Topic::Resources, "resource_sample", SchemaName::ResourceSample),
    (Topic::Activity, "activity_event", SchemaName::ActivityEvent),
    (Topic::Feedback, "feedback", SchemaName::Feedback),
];

fn outcome(topic: Topic, value: &[u8], headers: &[(&str, &[u8])], rules: &IntakeRules) -> WholeOutcome {
    let mut schemas = WriterSchemas::new(topic.table());
    let (_, _, name) = ALL.iter().find(|(known, _, _)| *known == topic).unwrap();
    schemas.insert(7, schema(*name).text);
    let record = InputRecord { headers, timestamp: LATER, ..record(Some(value)) };
    process(topic, &record, LATER, rules, &schemas)
}

fn accepted(topic: Topic, value: &Json) -> ShardEvent {
    match outcome(topic, value.to_string().as_bytes(), &[], &rules()) {
        WholeOutcome::Accepted(event) => event,
        other => panic!("{value}: {other:?}"),
    }
}

fn refused(topic: Topic, value: &Json) -> Reject {
    match outcome(topic, value.to_string().as_bytes(), &[], &rules()) {
        WholeOutcome::Rejected(reject) => reject,
        other => panic!("{value}: {other:?}"),
    }
}

fn examples(schema: &str, kind: &str) -> Vec<(String, Json)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/examples").join(schema).join(kind);
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: std::path::PathBuf| serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    paths.map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), read(path))).collect()
}

/// A twin as the general library writes it, by the field's own schema.
fn avro(name: SchemaName, event: &Json) -> Vec<u8> {
    let parsed = Schema::parse_str(schema(name).text).unwrap();
    let Schema::Record(record) = &parsed else { panic!("no record") };
    let fields = record.fields.iter().map(|field| (field.name.clone(), avro_value(&field.schema, &event[field.name.as_str()])));
    let datum = GenericDatumWriter::builder(&parsed).build().unwrap().write_value_to_vec(Avro::Record(fields.collect())).unwrap();
    confluent_frame(7, &datum)
}

fn avro_value(schema: &Schema, value: &Json) -> Avro {
    match schema {
        Schema::Union(_) if value.is_null() => Avro::Union(0, Box::new(Avro::Null)),
        Schema::Union(union) => Avro::Union(1, Box::new(avro_value(&union.variants()[1], value))),
        Schema::String => Avro::String(value.as_str().unwrap().to_owned()),
        Schema::Long => Avro::Long(value.as_i64().unwrap()),
        Schema::Double => Avro::Double(value.as_f64().unwrap()),
        Schema::TimestampMillis => Avro::TimestampMillis(Timestamp::parse(value.as_str().unwrap()).unwrap().0),
        Schema::Map(map) => {
            Avro::Map(value.as_object().unwrap().iter().map(|(name, value)| (name.clone(), avro_value(&map.types, value))).collect())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_contracts_examples_say_the_same_in_json_avro_and_cloud_events() {
    for (topic, folder, name) in ALL {
        let valid = examples(folder, "valid");
        assert!(!valid.is_empty(), "{folder}");
        for (example, event) in valid {
            if topic == Topic::Feedback && event["verdict"].is_null() {
                assert_eq!(refused(topic, &event).reason, Reason::MissingField, "{folder}/{example}: legal, and says nothing");
                continue;
            }
            let by_json = outcome(topic, event.to_string().as_bytes(), &[], &rules());
            assert!(matches!(by_json, WholeOutcome::Accepted(_)), "{folder}/{example}: {by_json:?}");
            assert_eq!(outcome(topic, &avro(name, &event), &[], &rules()), by_json, "{folder}/{example} in Avro");
            let mut bare = event.clone();
            let id = bare.as_object_mut().unwrap().remove("event_id").unwrap();
            let wrapped = json!({"specversion": "1.0", "type": "t", "id": id, "source": "other", "data": bare}).to_string();
            let structured: [(&str, &[u8]); 1] = [("content-type", b"application/cloudevents+json; charset=utf-8")];
            assert_eq!(outcome(topic, wrapped.as_bytes(), &structured, &rules()), by_json, "{folder}/{example} in an envelope");
            let binary: [(&str, &[u8]); 2] = [("ce_id", id.as_str().unwrap().as_bytes()), ("ce_source", b"other")];
            assert_eq!(outcome(topic, bare.to_string().as_bytes(), &binary, &rules()), by_json, "{folder}/{example} beside headers");
            let older = [
                outcome(topic, wrapped.replace("1.0", "0.3").as_bytes(), &structured, &rules()),
                outcome(topic, event.to_string().as_bytes(), &[("ce_specversion", b"0.3")], &rules()),
            ];
            for refused in older {
                let is_named = |reject: &Reject| reject.message.starts_with("specversion '0.3'");
                assert!(matches!(&refused, WholeOutcome::Rejected(reject) if is_named(reject)), "{folder}/{example}: {refused:?}");
            }
        }
        for (example, event) in examples(folder, "invalid") {
            let outcome = outcome(topic, event.to_string().as_bytes(), &[], &rules());
            assert!(matches!(outcome, WholeOutcome::Rejected(_)), "{folder}/{example}: {outcome:?}");
        }
    }
}

fn with(fields: Json) -> Json {
    let mut event = json!({"event_id": "e", "source": "s", "event_time": "2026-03-02T04:00:00Z"});
    event.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    event
}

#[test]
fn each_wrong_value_has_its_reason_and_names_its_field() {
    let long = "x".repeat(1_025);
    let cases = [
        (Topic::Resources, json!({"event_id": ""}), Reason::MissingField, "event_id"),
        (Topic::Resources, json!({"event_time": "yesterday"}), Reason::InvalidEventTime, "event_time"),
        (Topic::Resources, json!({"event_time": "2027-03-02T04:00:00Z"}), Reason::EventTimeInFuture, "event_time"),
        (Topic::Resources, json!({"event_time": "2014-03-02T04:00:00Z"}), Reason::EventTimeTooOld, "event_time"),
        (Topic::Resources, json!({"hourly_cost": "much"}), Reason::InvalidAmount, "hourly_cost"),
        (Topic::Resources, json!({"hourly_cost": "1e40"}), Reason::OutOfRange, "hourly_cost"),
        (Topic::Resources, json!({"currency": "XYZ"}), Reason::UnknownCurrency, "currency"),
        (Topic::Resources, json!({"utilization": -0.5}), Reason::NegativeQuantity, "utilization"),
        (Topic::Resources, json!({"utilization": 3.0}), Reason::OutOfRange, "utilization"),
        (Topic::Resources, json!({"utilization": 2.01}), Reason::OutOfRange, "utilization"),
        (Topic::Resources, json!({"utilization": "0.5"}), Reason::WrongType, "utilization"),
        (Topic::Resources, json!({"requests": -1}), Reason::NegativeQuantity, "requests"),
        (Topic::Resources, json!({"requests": 1.5}), Reason::WrongType, "requests"),
        (Topic::Resources, json!({"owner": long}), Reason::FieldTooLong, "owner"),
        (Topic::Resources, json!({"tags": ["a"]}), Reason::WrongType, "tags"),
        (Topic::Activity, json!({"actor": 5}), Reason::WrongType, "actor"),
        (Topic::Activity, json!({"expires_at": "soon"}), Reason::InvalidEventTime, "expires_at"),
        (Topic::Feedback, json!({"verdict": "ack"}), Reason::MissingField, "alert_id"),
        (Topic::Feedback, json!({"team": "search"}), Reason::MissingField, "verdict"),
        (Topic::Feedback, json!({"team": "search", "verdict": "maybe"}), Reason::WrongType, "verdict"),
        (
            Topic::Feedback,
            json!({"team": "search", "verdict": "planned", "from": "2026-03-05T00:00:00Z", "until": "2026-03-04T00:00:00Z"}),
            Reason::InvalidPeriod,
            "until",
        ),
    ];
    for (topic, fields, reason, field) in cases {
        let reject = refused(topic, &with(fields.clone()));
        assert!(reject.reason == reason && reject.message.contains(field), "{fields}: {reject:?}");
    }
    let nan = [b"\x02e\x02s\x00".as_slice(), &[0; 40]].concat();
    assert!(matches!(outcome(Topic::Resources, &confluent_frame(7, &nan), &[], &rules()), WholeOutcome::Rejected(_)));
    assert_eq!(outcome(Topic::Feedback, &confluent_frame(8, b"x"), &[], &rules()), WholeOutcome::NeedsSchema(8));
}

#[test]
fn actions_are_known_in_whatever_letters_and_others_are_told_apart() {
    let of = |action: &str| match accepted(Topic::Activity, &with(json!({"action": action}))) {
        ShardEvent::Activity(activity) => (activity.action.as_deref().unwrap().to_owned(), activity.unknown_action().is_some()),
        other => panic!("{other:?}"),
    };
    assert_eq!((of("Grant"), of(" grant ")), (("grant".to_owned(), false), ("grant".to_owned(), false)));
    assert_eq!(of("granted"), ("granted".to_owned(), true), "what is new travels on");
}

#[test]
fn whose_it_is_is_stated_or_found_by_the_rules_of_attribution() {
    let of = |topic, fields| accepted(topic, &with(fields)).team().unwrap().to_string();
    assert_eq!(of(Topic::Resources, json!({"team": " search "})), "search");
    assert_eq!(of(Topic::Activity, json!({})), "unattributed");
    let tagged = AttributionRule { team: AttributedTeam::FromTag("owner".into()), ..AttributionRule::default() };
    let rules = IntakeRules { attribution: vec![tagged], ..rules() };
    let sample = with(json!({"tags": {"owner": "ads"}, "hourly_cost": "32.77"}));
    let WholeOutcome::Accepted(ShardEvent::Resource(sample)) = outcome(Topic::Resources, sample.to_string().as_bytes(), &[], &rules) else {
        panic!("not accepted")
    };
    assert_eq!((sample.team.as_ref(), sample.hourly_cost), ("ads", Some(Nanos(32_770_000_000))));
    // Exporters that fill every column have empty texts for what they do not know.
    let ShardEvent::Resource(sample) = accepted(Topic::Resources, &with(json!({"hourly_cost": "", "currency": ""}))) else {
        panic!("no sample")
    };
    assert_eq!((sample.hourly_cost, sample.currency), (None, None));
    // The alert's id tells whose it is, whatever else is said.
    let said = with(json!({"alert_id": "a/b/00ff", "team": "other", "verdict": "Not_An_Anomaly"}));
    let ShardEvent::Feedback(said) = accepted(Topic::Feedback, &said) else { panic!("no feedback") };
    assert_eq!((said.team.as_ref(), said.verdict), ("a/b", Verdict::NotAnAnomaly));
    // A team may have the longest name that there can be: what is said of its alerts is heard.
    let team = "t".repeat(LONGEST_TEXT);
    let of = |team: &str| with(json!({"alert_id": format!("{team}/{:032x}", 1), "verdict": "ack"}));
    let ShardEvent::Feedback(said) = accepted(Topic::Feedback, &of(&team)) else { panic!("no feedback") };
    assert_eq!(said.team.as_ref(), team);
    let longer = refused(Topic::Feedback, &of(&format!("{team}t")));
    assert_eq!(longer.message, "'alert_id' has 1058 bytes, at most 1057 are taken");
    let no_id = refused(Topic::Feedback, &with(json!({"alert_id": format!("{team}t/1"), "verdict": "ack"})));
    assert_eq!(no_id.reason, Reason::FieldTooLong);
}
