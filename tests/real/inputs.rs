//! Every form of input ends in the same sums: written by Java and its Avro, with and without a schema registry, read back by Java.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tollgate::model::money::Nanos;

use super::parts::{Consumed, consume, consume_with, produce, registry, root, temp_folder, wait_for};
use super::path::{Deployment, now_ms, rfc3339};

const HOUR_MS: i64 = 3_600_000;
const LIMIT: Duration = Duration::from_secs(60);
const EVENTS_PER_FORM: i64 = 9;
const TEAM: &str = "search";

/// The forms, each under a project of its own name.
const FORMS: [&str; 7] = ["json", "avro", "older", "newer", "binary", "binary-avro", "structured"];

/// Ids of the writer schemas.
pub struct WriterIds {
    pub current: u32,
    pub older: u32,
    pub newer: u32,
}

pub fn schema_file(name: &str) -> PathBuf {
    let folder = if ["usage_event", "resource_sample"].contains(&name) { "schemas" } else { "tests/data/writers" };
    root().join(folder).join(format!("{name}.avsc"))
}

/// What one event says in every form; of the numbers each is told from the others in a sum.
struct Usage {
    id: String,
    at: i64,
    project: &'static str,
    input: i64,
    output: i64,
    cost: String,
}

/// Events of three hours some hours ago.
fn events(project: &'static str) -> Vec<Usage> {
    let start = now_ms() / HOUR_MS * HOUR_MS - 6 * HOUR_MS;
    let form = i64::try_from(FORMS.iter().position(|form| *form == project).unwrap()).unwrap();
    let event = |n: i64| Usage {
        id: format!("{project}-{n}"),
        at: start + n * HOUR_MS / 3 + 1_234,
        project,
        input: 1_000 + 7 * n + form,
        // The older writer cannot say it.
        output: if project == "older" { 0 } else { 10 + n },
        cost: format!("0.{:09}", 123_456_789 + 1_000_003 * n + form),
    };
    (0..EVENTS_PER_FORM).map(event).collect()
}

impl Usage {
    /// The fields beside id, source and time, which CloudEvents may say elsewhere.
    fn data(&self) -> Value {
        json!({"team": TEAM, "project": self.project, "input_tokens": self.input, "output_tokens": self.output, "cost": self.cost})
    }

    fn whole(&self, time: Value) -> Value {
        let mut event = self.data();
        event["event_id"] = json!(self.id);
        event["source"] = json!("gateway/eu1");
        event["event_time"] = time;
        event
    }

    /// The line for Produce.java.
    fn line(&self, topic: &str, ids: &WriterIds) -> Value {
        let avro = |id: u32, file: &str, event: Value| json!({"topic": topic, "key": self.id, "schema_id": id, "schema_file": schema_file(file), "avro": event});
        match self.project {
            "json" => json!({"topic": topic, "key": self.id, "value_json": self.whole(json!(rfc3339(self.at)))}),
            "avro" => avro(ids.current, "usage_event", self.whole(json!(self.at))),
            "older" => {
                let mut event = self.whole(json!(self.at));
                event.as_object_mut().unwrap().remove("output_tokens");
                avro(ids.older, "usage_event_older", event)
            }
            "newer" => {
                let mut event = self.whole(json!(self.at * 1_000 + 999));
                event["trace"] = json!({"id": "\u{0}abc", "parent": {"id": "wxyz", "spans": []}, "spans": [1, -2, 300_000]});
                event["tier"] = json!("standard");
                event["limits"] = json!({"day": 1.5, "month": 40.0});
                event["streamed"] = json!(true);
                event["raw"] = json!("\u{0}\u{ff}");
                event["temperature"] = json!(0.7);
                avro(ids.newer, "usage_event_newer", event)
            }
            "binary" => json!({"topic": topic, "key": self.id, "value_json": self.data(), "headers": self.cloud_event("application/json")}),
            "binary-avro" => {
                let mut line = avro(ids.current, "usage_event", self.whole(json!(self.at)));
                line["headers"] = self.cloud_event("application/avro");
                line
            }
            "structured" => {
                let event = json!({"specversion": "1.0", "type": "usage", "id": self.id, "source": "gateway/eu1",
                    "time": rfc3339(self.at), "datacontenttype": "application/json", "data": self.data()});
                let headers = json!({"content-type": "application/cloudevents+json; charset=UTF-8"});
                json!({"topic": topic, "key": self.id, "value_json": event, "headers": headers})
            }
            other => panic!("no such form: {other}"),
        }
    }

    fn cloud_event(&self, content_type: &str) -> Value {
        json!({"ce_specversion": "1.0", "ce_type": "usage", "ce_id": self.id, "ce_source": "gateway/eu1",
            "ce_time": rfc3339(self.at), "content-type": content_type})
    }
}

/// What must come out, by project and hour: cost in nanos, events, requests, tokens in, tokens out.
type Sums = BTreeMap<(String, String), (i128, i64, i64, i64, i64)>;

fn produced(events: &[Usage]) -> Sums {
    let mut sums = Sums::new();
    for event in events {
        let hour = rfc3339(event.at / HOUR_MS * HOUR_MS);
        let sum = sums.entry((event.project.to_owned(), hour)).or_default();
        let cost = event.cost.parse::<Nanos>().unwrap().0;
        *sum = (sum.0 + cost, sum.1 + 1, sum.2 + 1, sum.3 + event.input, sum.4 + event.output);
    }
    sums
}

/// Roll-ups in JSON; those that come out of Avro have their times in milliseconds.
fn rolled_up(records: &[Consumed]) -> Sums {
    let mut newest = BTreeMap::new();
    for record in records {
        newest.insert(record.key.clone(), record.json());
    }
    let mut sums = Sums::new();
    for rollup in newest.values() {
        let text = |name: &str| rollup[name].as_str().unwrap_or_else(|| panic!("{name} in {rollup}")).to_owned();
        let number = |name: &str| rollup[name].as_i64().unwrap_or_else(|| panic!("{name} in {rollup}"));
        let hour = rollup["period_start"].as_i64().map_or_else(|| text("period_start"), rfc3339);
        assert_eq!((text("team"), text("currency")), (TEAM.to_owned(), "USD".to_owned()));
        let cost = text("cost").parse::<Nanos>().unwrap().0;
        let sum = (cost, number("events"), number("requests"), number("tokens_input"), number("tokens_output"));
        assert!(sums.insert((text("project"), hour), sum).is_none(), "two roll-ups of one hour: {rollup}");
    }
    sums
}

/// Produces all forms and waits until the hours are closed: then the roll-ups that `read` finds must say what was produced.
fn all_forms(deployment: &Deployment, ids: &WriterIds, read: impl Fn() -> Vec<Consumed>) {
    let mut events: Vec<Usage> = FORMS.into_iter().flat_map(events).collect();
    events.sort_by_key(|event| event.at);
    let topic = deployment.topic("usage-events");
    let lines: Vec<Value> = events.iter().map(|event| event.line(&topic, ids)).collect();
    produce(deployment.broker.bootstrap(), &lines);
    wait_for("all events to be read", LIMIT, || {
        (deployment.metric("tollgate_intake_records_read_total") >= events.len() as u64).then_some(())
    });
    let rejected = deployment.metric("tollgate_intake_records_rejected_total");
    assert_eq!(rejected, 0, "{:#?}", consume(deployment.broker.bootstrap(), &deployment.topic("dead-letter")));
    let sums = produced(&events);
    wait_for("all hours to close", LIMIT, || (deployment.metric("tollgate_rollups_written_total") >= sums.len() as u64).then_some(()));
    // Where an hour was amended, the count of roll-ups runs ahead of the hours.
    let rollups = wait_for("all events to be rolled up", LIMIT, || {
        let found = rolled_up(&read());
        let counted: i64 = found.values().map(|sum| sum.1).sum();
        (counted >= i64::try_from(events.len()).unwrap()).then_some(found)
    });
    assert_eq!(rollups, sums);
}

#[test]
fn every_form_ends_in_the_same_sums_with_ids_from_the_config() {
    let ids = WriterIds { current: 7, older: 70_000, newer: 8 };
    let more = format!(
        "[schemas]\ndir = '{}'\n[schemas.ids]\n{} = 'usage_event'\n{} = 'usage_event_older'\n{} = 'usage_event_newer'",
        root().join("tests/data/writers").display(),
        ids.current,
        ids.older,
        ids.newer
    );
    let deployment = Deployment::without_mail("forms", &more);
    let _process = deployment.start();
    all_forms(&deployment, &ids, || consume(deployment.broker.bootstrap(), &deployment.topic("spend-rollups")));
}

#[test]
fn every_form_ends_in_the_same_sums_with_a_schema_registry_and_outputs_are_avro() {
    let registry = registry();
    let more = format!("[schemas]\nregistry_url = '{}'\n[alerts]\nformat = 'avro'", registry.url());
    let deployment = Deployment::without_mail("registry", &more);
    let subject = format!("{}-value", deployment.topic("usage-events"));
    let register = |name: &str| registry.register(&subject, &std::fs::read_to_string(schema_file(name)).unwrap());
    let ids = WriterIds { current: register("usage_event"), older: register("usage_event_older"), newer: register("usage_event_newer") };
    let _process = deployment.start();
    all_forms(&deployment, &ids, || decoded(&deployment, "spend-rollups"));

    // A project of a team runs wild.
    let start = now_ms() - 120_000;
    let wild = |n: i64| {
        json!({"event_id": format!("wild-{n}"), "source": "gateway/eu1", "event_time": rfc3339(start + n * 1_000), "team": TEAM,
            "project": "wild", "input_tokens": 10, "cost": "5"})
    };
    deployment.produce_usage(&(0..100).map(wild).collect::<Vec<_>>());
    wait_for("an alert", LIMIT, || (deployment.metric("tollgate_alerts_written_total") > 0).then_some(()));
    let alerts = decoded(&deployment, "alerts");
    let alert = alerts[0].json();
    assert_eq!((&alert["team"], &alert["state"], &alert["dimensions"]["project"]), (&json!(TEAM), &json!("open"), &json!("wild")));
    assert_eq!(alerts[0].key.as_deref(), alert["id"].as_str());
    assert_eq!(alerts[0].headers["content-type"].as_deref(), Some("application/avro"));
    assert!(alert["excess"].as_str().unwrap().parse::<Nanos>().unwrap() > Nanos::ZERO, "{alert}");
}

/// Records of an Avro topic of ours, decoded by Java with the schema that stands under the topic's subject in the registry.
fn decoded(deployment: &Deployment, topic: &str) -> Vec<Consumed> {
    let topic = deployment.topic(topic);
    let subject = format!("{topic}-value");
    let (id, text) = registry().latest(&subject).unwrap_or_else(|| panic!("no subject {subject}"));
    let file = temp_folder("schema").join("registered.avsc");
    std::fs::write(&file, text).unwrap();
    let schema = format!("{id}={}", file.display());
    let records = consume_with(deployment.broker.bootstrap(), &topic, &["--to-end", "--schema", &schema]);
    assert!(!records.is_empty(), "nothing on {topic}");
    assert!(records.iter().all(|record| record.value.as_ref().is_some_and(|value| value.starts_with('{'))), "{records:#?}");
    records
}
