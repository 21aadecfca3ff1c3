//! OpenLineage: what its own client writes, and one record for each way to be refused.

use serde_json::{Value as Json, json};

use super::super::lineage::read;
use super::*;
use crate::model::lineage::{Lifecycle, LineageEvent, RunState, Told};
use crate::model::record::RejectReason as Reason;

/// 2026-12-31T00:00:00Z: after all of them.
const LATER: Timestamp = Timestamp(1_798_675_200_000);

fn outcome(value: &[u8], headers: &[(&str, &[u8])]) -> Result<LineageEvent, Reject> {
    read(&InputRecord { headers, timestamp: LATER, ..record(Some(value)) }, LATER, &rules())
}

fn lines(name: &str) -> Vec<LineageEvent> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/lineage").join(name);
    std::fs::read_to_string(path).unwrap().lines().map(|line| outcome(line.as_bytes(), &[]).unwrap()).collect()
}

#[test]
fn what_the_client_writes_is_read() {
    let events = lines("events.jsonl");
    assert_eq!(events.len(), 12);
    let Told::Dataset(dataset) = &events[0].told else { panic!("{:?}", events[0]) };
    assert_eq!((&*dataset.name, dataset.origins.as_ref().map(Vec::len)), ("crm.public.customers", Some(2)));
    let Told::Run { state: RunState::Complete, job, outputs, .. } = &events[4].told else { panic!("{:?}", events[4]) };
    assert_eq!((&*job.namespace, &*job.name, job.owner.as_deref()), ("airflow", "risk.train", Some("risk")));
    assert_eq!(outputs[0].model.as_ref().unwrap().to_string(), "risk-scorer 3");
    let Told::Job { inputs, .. } = &events[11].told else { panic!("{:?}", events[11]) };
    assert_eq!(inputs.len(), 1);
    // Facets that mean nothing here are skipped; each event has an id of its own, the same one again the same.
    let facets = lines("facets.jsonl");
    let states: Vec<RunState> = facets
        .iter()
        .map(|event| match event.told {
            Told::Run { state, .. } => state,
            _ => panic!("{event:?}"),
        })
        .collect();
    assert_eq!(states, [RunState::Start, RunState::Running, RunState::Complete, RunState::Fail]);
    let ids: std::collections::BTreeSet<_> = events.iter().chain(&facets).map(|event| event.event_id.clone()).collect();
    assert_eq!(ids.len(), 16);
    assert_eq!(lines("events.jsonl"), events);
}

#[test]
fn renames_and_symlinks_are_read_as_the_client_writes_them() {
    let events = lines("names.jsonl");
    let Told::Run { state: RunState::Complete, inputs, outputs, .. } = &events[3].told else { panic!("{:?}", events[3]) };
    let Some(Lifecycle::Rename(Some(previous))) = &outputs[0].lifecycle else { panic!("{outputs:?}") };
    assert_eq!((inputs.len(), &*outputs[0].name, previous.to_string()), (0, "patients", "s3://clinic/patients_staging".to_string()));
    assert_eq!(outputs[1].lifecycle, Some(Lifecycle::Drop));
    let Told::Dataset(dataset) = &events[6].told else { panic!("{:?}", events[6]) };
    assert_eq!(dataset.same_as[0].to_string(), "hive://metastore:9083/clinic.patients");
    // What a facet leaves out, takes back, or says in words of its own says nothing.
    for facets in [
        json!({"lifecycleStateChange": {"lifecycleStateChange": "MOVE"}, "symlinks": {"identifiers": null}}),
        json!({"lifecycleStateChange": {"_deleted": true}, "symlinks": {"_deleted": true}}),
        json!({"lifecycleStateChange": null, "symlinks": {"identifiers": []}}),
    ] {
        let event =
            json!({"eventTime": "2026-03-01T10:00:00Z", "producer": "p", "dataset": {"namespace": "n", "name": "a", "facets": facets}});
        let Told::Dataset(dataset) = outcome(event.to_string().as_bytes(), &[]).unwrap().told else { panic!("{event}") };
        assert!(dataset.lifecycle.is_none() && dataset.same_as.is_empty(), "{event}");
    }
}

#[test]
fn what_is_no_lineage_event_is_refused_with_a_reason() {
    let good = json!({"eventType": "COMPLETE", "eventTime": "2026-03-01T10:00:00Z", "producer": "p", "run": {"runId": "r"},
        "job": {"namespace": "n", "name": "j"}, "inputs": [{"namespace": "n", "name": "a"}], "outputs": null});
    assert!(outcome(good.to_string().as_bytes(), &[]).is_ok());
    let with = |path: &str, value: Json| {
        let mut event = good.clone();
        *event.pointer_mut(path).unwrap() = value;
        event.to_string()
    };
    let facet = |facet: Json| with("/inputs", json!([{"namespace": "n", "name": "a", "facets": facet}]));
    let renamed = |previous: Json| json!({"lifecycleStateChange": {"lifecycleStateChange": "RENAME", "previousIdentifier": previous}});
    let many = |count: usize| -> Vec<Json> { (0..count).map(|n| json!({"namespace": "n", "name": format!("{n}")})).collect() };
    let long = |count: usize| -> Vec<Json> { (0..count).map(|n| json!({"namespace": "n", "name": format!("{n:0900}")})).collect() };
    assert!(outcome(with("/inputs", json!(long(70))).as_bytes(), &[]).is_ok());
    assert!(outcome(facet(json!({"symlinks": {"identifiers": many(100)}})).as_bytes(), &[]).is_ok());
    let cases = [
        (String::new(), Reason::EmptyValue, "zero bytes"),
        ("[1]".to_string(), Reason::UnknownFormat, "JSON object"),
        ("{\"a\":".to_string(), Reason::InvalidJson, "EOF"),
        (with("/eventTime", json!("yesterday")), Reason::InvalidEventTime, "'eventTime'"),
        (with("/eventTime", json!(null)), Reason::MissingField, "'eventTime'"),
        (with("/eventTime", json!("2031-01-01T00:00:00Z")), Reason::EventTimeInFuture, "'eventTime'"),
        (with("/eventType", json!("DONE")), Reason::WrongType, "'DONE'"),
        (with("/producer", json!("")), Reason::MissingField, "'producer'"),
        (with("/run/runId", json!(null)), Reason::MissingField, "'run.runId'"),
        (with("/job", json!(null)), Reason::MissingField, "'job'"),
        (with("/job/name", json!(3)), Reason::WrongType, "invalid type"),
        (with("/inputs", json!([{"namespace": "n"}])), Reason::MissingField, "'inputs[].name'"),
        (facet(json!({"tollgate_origin": {"regions": "eu"}})), Reason::WrongType, "tollgate_origin"),
        (facet(json!({"tollgate_model": {"version": "3"}})), Reason::WrongType, "tollgate_model"),
        (facet(json!({"tollgate_origin": {"regions": ["x".repeat(2_000)]}})), Reason::FieldTooLong, "regions"),
        (facet(json!({"lifecycleStateChange": "RENAME"})), Reason::WrongType, "lifecycleStateChange"),
        (facet(renamed(json!({"name": "b"}))), Reason::WrongType, "previousIdentifier"),
        (facet(renamed(json!({"namespace": "n", "name": ""}))), Reason::MissingField, "previousIdentifier.name"),
        (facet(json!({"symlinks": {"identifiers": ["hive/a"]}})), Reason::WrongType, "symlinks"),
        (
            facet(json!({"symlinks": {"identifiers": [{"namespace": "", "name": "b"}]}})),
            Reason::MissingField,
            "symlinks.identifiers[].namespace",
        ),
        (facet(json!({"symlinks": {"identifiers": many(10_000)}})), Reason::FieldTooLong, "10000 identifiers, at most 100"),
        (with("/inputs", json!(long(80))), Reason::FieldTooLong, "the names of 'inputs' have 72080 bytes together"),
        (json!({"eventTime": "2026-03-01T10:00:00Z", "producer": "p"}).to_string(), Reason::MissingField, "neither"),
    ];
    for (value, reason, words) in cases {
        let reject = outcome(value.as_bytes(), &[]).unwrap_err();
        assert_eq!(reject.reason, reason, "{value}: {reject:?}");
        assert!(reject.message.contains(words), "{value}: {reject:?}");
    }
}

#[test]
fn an_envelope_of_cloudevents_is_taken_off() {
    let event = json!({"eventTime": "2026-03-01T10:00:00Z", "producer": "p", "dataset": {"namespace": "n", "name": "a"}});
    let plain = outcome(event.to_string().as_bytes(), &[]).unwrap();
    let wrapped = json!({"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data": event});
    let structured: &[u8] = b"application/cloudevents+json";
    assert_eq!(outcome(wrapped.to_string().as_bytes(), &[("content-type", structured)]).unwrap(), plain);
    let older = wrapped.to_string().replace("1.0", "0.3");
    let older = [outcome(older.as_bytes(), &[]), outcome(event.to_string().as_bytes(), &[("ce_specversion", b"0.3")])];
    assert_eq!(older.map(|outcome| outcome.unwrap_err().reason), [Reason::InvalidCloudEvent; 2]);
}

proptest::proptest! {
    #[test]
    fn foreign_bytes_never_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200), text in ".{0,200}") {
        let _ = outcome(&bytes, &[]);
        let _ = outcome(format!("{{\"run\":{text}}}").as_bytes(), &[]);
    }
}
