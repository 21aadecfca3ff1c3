//! The record forms as promised: every example, both ways, and readers and writers of different ages.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use tollgate::intake::{self, Batch, Outcome, PartitionState, SchemaTable};
use tollgate::model::partial::Source;
use tollgate::model::record::InputRecord;
use tollgate::model::time::Timestamp;
use tollgate::model::wire::{self, NamedSchema, SchemaName};

mod evolution;
mod outputs;
mod shard;
mod twin;

use twin::Twin;

/// Examples of one schema, `valid` or `invalid`, with their file names.
fn examples(schema: &NamedSchema, folder: &str) -> Vec<(String, Json)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/examples").join(schema.name).join(folder);
    let mut paths: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let name = format!("{}/{}", schema.name, path.file_name().unwrap().to_str().unwrap());
        let json = serde_json::from_slice(&fs::read(&path).unwrap());
        (name.clone(), json.unwrap_or_else(|error| panic!("{name}: {error}")))
    };
    paths.into_iter().map(read).collect()
}

#[test]
fn valid_examples_go_to_avro_and_back() {
    for schema in wire::schemas() {
        let twin = Twin::new(&schema.avro);
        let valid = examples(schema, "valid");
        assert!(valid.len() >= 3, "{} valid examples of {}", valid.len(), schema.name);
        for (name, json) in valid {
            let bytes = twin.encode(&json).unwrap_or_else(|error| panic!("{name}{error}"));
            let back = twin.decode(&schema.avro, &bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(back, twin.canonical(&json), "{name}");
        }
    }
}

/// `<what is wrong>.json`; the field is named in the file's name, and the refusal names it too.
#[test]
fn invalid_examples_are_refused() {
    for schema in wire::schemas() {
        let twin = Twin::new(&schema.avro);
        let invalid = examples(schema, "invalid");
        assert!(invalid.len() >= 3, "{} invalid examples of {}", invalid.len(), schema.name);
        for (name, json) in invalid {
            let refusal = twin.encode(&json).expect_err(&name);
            let field = refusal.split(':').next().unwrap().rsplit(['.', ']']).next().unwrap();
            assert!(name.contains(field), "{name} is refused for another reason: {refusal}");
        }
    }
}

/// No valid twin, and yet taken: the cost is a JSON number, of which every digit counts.
#[test]
fn tolerated_examples_are_taken_to_the_last_digit() {
    let schema = wire::schema(SchemaName::UsageEvent);
    let twin = Twin::new(&schema.avro);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/examples/usage_event/tolerated");
    let paths: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(paths.len() >= 3);
    let rules = tollgate::config::load(None, std::iter::empty()).unwrap().intake;
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        assert!(twin.encode(&serde_json::from_str(&text).unwrap()).unwrap_err().contains("cost"), "{path:?}");
        let digits = text.split("\"cost\": ").nth(1).unwrap().split(',').next().unwrap();
        let now = Timestamp(1_790_000_000_000);
        let record = InputRecord {
            topic: "usage-events",
            partition: 0,
            offset: 0,
            timestamp: now,
            key: None,
            value: Some(text.as_bytes()),
            headers: &[],
        };
        let mut partition = PartitionState::new(Source { topic: "usage-events".into(), partition: 0 }, 10);
        let mut batch = Batch::default();
        let outcome = intake::process(&record, now, &rules, &SchemaTable::default(), &mut partition, &mut batch);
        assert_eq!(outcome, Outcome::Combined, "{path:?}");
        let partials: Vec<_> = batch.drain_into_shards(1).into_values().flatten().collect();
        assert_eq!(partials[0].cost, digits.parse().unwrap(), "{path:?}");
    }
}

/// What downstream readers of other languages see is what the program reads and writes itself.
#[test]
fn the_program_reads_and_writes_alerts_as_the_schema_says() {
    let schema = wire::schema(SchemaName::Alert);
    let twin = Twin::new(&schema.avro);
    for (name, json) in examples(schema, "valid") {
        let alert = wire::alert_from_json(json.to_string().as_bytes()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let bytes = wire::alert_to_avro(&alert).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(twin.decode(&schema.avro, &bytes).unwrap(), twin.canonical(&json), "{name}");
        assert_eq!(wire::alert_from_avro(&bytes, None).as_ref(), Ok(&alert), "{name}");
        assert_eq!(wire::alert_from_json(&wire::alert_to_json(&alert).unwrap()).as_ref(), Ok(&alert), "{name}");
    }
    for (name, json) in examples(schema, "invalid").iter().filter(|(name, _)| !name.contains("empty") && !name.contains("negative")) {
        assert!(wire::alert_from_json(json.to_string().as_bytes()).is_err(), "{name}");
    }
}

#[test]
fn the_program_reads_and_writes_rollups_as_the_schema_says() {
    let schema = wire::schema(SchemaName::SpendRollup);
    let twin = Twin::new(&schema.avro);
    for (name, json) in examples(schema, "valid") {
        let rollup = wire::rollup_from_json(json.to_string().as_bytes()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let bytes = wire::rollup_to_avro(&rollup).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(twin.decode(&schema.avro, &bytes).unwrap(), twin.canonical(&json), "{name}");
        assert_eq!(wire::rollup_from_avro(&bytes, None).as_ref(), Ok(&rollup), "{name}");
        assert_eq!(wire::rollup_from_json(&wire::rollup_to_json(&rollup).unwrap()).as_ref(), Ok(&rollup), "{name}");
    }
}

#[test]
fn the_program_reads_and_writes_violations_as_the_schema_says() {
    let schema = wire::schema(SchemaName::Violation);
    let twin = Twin::new(&schema.avro);
    for (name, json) in examples(schema, "valid") {
        let json = twin.decode(&schema.avro, &twin.encode(&json).unwrap()).unwrap();
        let violation = wire::violation_from_json(json.to_string().as_bytes()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let bytes = wire::violation_to_avro(&violation).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(twin.decode(&schema.avro, &bytes).unwrap(), twin.canonical(&json), "{name}");
        assert_eq!(wire::violation_from_avro(&bytes, None).as_ref(), Ok(&violation), "{name}");
        assert_eq!(wire::violation_from_json(&wire::violation_to_json(&violation).unwrap()).as_ref(), Ok(&violation), "{name}");
    }
}

#[test]
fn damaged_outputs_are_refused_in_words() {
    let bytes = twin_bytes(SchemaName::Alert);
    let cut = wire::alert_from_avro(&bytes[..bytes.len() - 1], None).unwrap_err();
    assert!(cut.to_string().starts_with("alert: "), "{cut}");
    let longer = [&bytes[..], b"x"].concat();
    assert_eq!(wire::alert_from_avro(&longer, None).unwrap_err().to_string(), "alert: 1 bytes behind the record");
}

fn twin_bytes(which: SchemaName) -> Vec<u8> {
    let schema = wire::schema(which);
    let (_, json) = examples(schema, "valid").swap_remove(0);
    Twin::new(&schema.avro).encode(&json).unwrap()
}

#[test]
fn every_record_and_field_is_documented() {
    fn check(schema: &str, json: &Json) {
        match json {
            Json::Object(entries) => {
                let needs_doc = entries.contains_key("name") && !entries.get("type").is_some_and(|kind| kind == "fixed");
                assert!(!needs_doc || entries.contains_key("doc"), "{schema}: {} has no doc", entries["name"]);
                entries.iter().filter(|(key, _)| *key != "default").for_each(|(_, inner)| check(schema, inner));
            }
            Json::Array(items) => items.iter().for_each(|item| check(schema, item)),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
        }
    }
    for schema in wire::schemas() {
        check(schema.name, &serde_json::from_str(schema.text).unwrap());
    }
}

/// A registry that keeps named types apart from subjects would refuse two types of one name.
#[test]
fn a_type_that_two_schemas_share_is_one_type() {
    fn named_types(json: &Json, found: &mut Vec<(String, Json)>) {
        match json {
            Json::Object(entries) => {
                if entries.get("type").is_some_and(|kind| kind == "enum" || kind == "record") {
                    found.push((entries["name"].as_str().unwrap().to_owned(), json.clone()));
                }
                entries.values().for_each(|inner| named_types(inner, found));
            }
            Json::Array(items) => items.iter().for_each(|item| named_types(item, found)),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
        }
    }
    let mut found: Vec<(String, Json)> = Vec::new();
    for schema in wire::schemas() {
        let mut here = Vec::new();
        named_types(&serde_json::from_str(schema.text).unwrap(), &mut here);
        for (name, json) in here {
            assert!(found.iter().all(|(known, other)| *known != name || *other == json), "two different types {name}");
            found.push((name, json));
        }
    }
}
