//! Readers and writers of different ages: an older schema lacks a field, a newer one has one more and knows more enum symbols.

use apache_avro::Schema;
use apache_avro::schema_compatibility::SchemaCompatibility;
use serde_json::{Value as Json, json};
use tollgate::model::alert::{AlertState, Severity};
use tollgate::model::wire::{self, NamedSchema, SchemaName};

use super::examples;
use super::twin::Twin;

const ADDED: &str = "added_later";
const SYMBOL: &str = "symbol_of_later";

/// The schema as it was before its last field with a default, and that field's name.
fn older(schema: &NamedSchema) -> (Schema, String) {
    let mut json: Json = serde_json::from_str(schema.text).unwrap();
    let fields = json["fields"].as_array_mut().unwrap();
    let last = fields.iter().rposition(|field| field.get("default").is_some()).expect("a field with a default");
    let name = fields.remove(last)["name"].as_str().unwrap().to_owned();
    (Schema::parse(&json).unwrap(), name)
}

/// The schema with one more nullable field, and one more symbol in each enum.
fn newer(schema: &NamedSchema) -> Schema {
    fn add_symbol(json: &mut Json) {
        if let Some(symbols) = json.get_mut("symbols") {
            symbols.as_array_mut().unwrap().push(json!(SYMBOL));
        }
        match json {
            Json::Object(entries) => entries.values_mut().for_each(add_symbol),
            Json::Array(items) => items.iter_mut().for_each(add_symbol),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
        }
    }
    let mut json: Json = serde_json::from_str(schema.text).unwrap();
    add_symbol(&mut json);
    json["fields"].as_array_mut().unwrap().push(json!({"name": ADDED, "type": ["null", "string"], "default": null}));
    Schema::parse(&json).unwrap()
}

/// Name and default symbol of each field whose type is an enum, anywhere in the schema.
fn enum_fields(json: &Json, found: &mut Vec<(String, String)>) {
    if let (Some(name), Some(kind)) = (json["name"].as_str(), json.get("type")) {
        let kind = if kind.is_array() { &kind[1] } else { kind };
        if kind["type"] == "enum" {
            let default = kind["default"].as_str().expect("an enum has a default symbol");
            found.push((name.to_owned(), default.to_owned()));
        }
    }
    match json {
        Json::Object(entries) => entries.values().for_each(|inner| enum_fields(inner, found)),
        Json::Array(items) => items.iter().for_each(|item| enum_fields(item, found)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

/// Gives each enum field in a twin another symbol.
fn set_enums(json: &mut Json, fields: &[(String, String)], symbol: impl Fn(&str) -> String + Copy) {
    match json {
        Json::Object(entries) => {
            for (key, inner) in entries {
                match fields.iter().find(|(name, _)| name == key) {
                    Some((_, default)) if inner.is_string() => *inner = json!(symbol(default)),
                    _ => set_enums(inner, fields, symbol),
                }
            }
        }
        Json::Array(items) => items.iter_mut().for_each(|item| set_enums(item, fields, symbol)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

fn without(json: &Json, field: &str) -> Json {
    let mut json = json.clone();
    json.as_object_mut().unwrap().remove(field);
    json
}

#[test]
fn old_and_new_read_each_other() {
    for schema in wire::schemas() {
        let (older, removed) = older(schema);
        let newer = newer(schema);
        for (reader, writer) in [(&older, &schema.avro), (&schema.avro, &older), (&schema.avro, &newer), (&newer, &schema.avro)] {
            SchemaCompatibility::can_read(writer, reader).unwrap_or_else(|error| panic!("{}: {error}", schema.name));
        }
        let mut enums = Vec::new();
        enum_fields(&serde_json::from_str(schema.text).unwrap(), &mut enums);
        for (name, json) in examples(schema, "valid") {
            let case = Case { name: &name, json: &json, current: Twin::new(&schema.avro), schema: &schema.avro };
            case.with_older(&older, &removed);
            case.with_newer(&newer, &enums);
        }
    }
}

struct Case<'a> {
    name: &'a str,
    json: &'a Json,
    current: Twin<'a>,
    schema: &'a Schema,
}

impl Case<'_> {
    fn with_older(&self, older: &Schema, removed: &str) {
        let twin = Twin::new(older);
        let bytes = self.current.encode(self.json).unwrap();
        let dropped = without(self.json, removed);
        assert_eq!(twin.decode(self.schema, &bytes).unwrap(), twin.canonical(&dropped), "{}: old reader", self.name);

        let bytes = twin.encode(&dropped).unwrap();
        assert_eq!(self.current.decode(older, &bytes).unwrap(), self.current.canonical(&dropped), "{}: old writer", self.name);
    }

    fn with_newer(&self, newer: &Schema, enums: &[(String, String)]) {
        let twin = Twin::new(newer);
        let bytes = self.current.encode(self.json).unwrap();
        assert_eq!(twin.decode(self.schema, &bytes).unwrap(), twin.canonical(self.json), "{}: new reader", self.name);

        let mut later = self.json.clone();
        set_enums(&mut later, enums, |_| SYMBOL.to_owned());
        later[ADDED] = json!("x");
        let bytes = twin.encode(&later).unwrap();
        let mut seen = self.json.clone();
        set_enums(&mut seen, enums, str::to_owned);
        assert_eq!(self.current.decode(newer, &bytes).unwrap(), self.current.canonical(&seen), "{}: new writer", self.name);
    }
}

/// The same through the program's own functions.
#[test]
fn the_program_reads_alerts_of_older_and_newer_programs() {
    let schema = wire::schema(SchemaName::Alert);
    let (older, removed) = older(schema);
    let newer = newer(schema);
    for (name, json) in examples(schema, "valid") {
        let alert = wire::alert_from_json(json.to_string().as_bytes()).unwrap();

        let bytes = Twin::new(&older).encode(&without(&json, &removed)).unwrap();
        let read = wire::alert_from_avro(&bytes, Some(&older)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(removed, "rules_revision");
        assert_eq!((&read.id, read.actual, read.rules_revision), (&alert.id, alert.actual, 0), "{name}");

        let mut later = json.clone();
        later["state"] = json!(SYMBOL);
        later["severity"] = json!(SYMBOL);
        later[ADDED] = json!("x");
        let bytes = Twin::new(&newer).encode(&later).unwrap();
        let read = wire::alert_from_avro(&bytes, Some(&newer)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((read.state, read.severity), (AlertState::Updated, Severity::Warning), "{name}");
        assert_eq!((read.causes, read.history), (alert.causes, alert.history), "{name}");

        // A measure or a kind of later is not taken for one of ours.
        for field in ["measure", "kind"] {
            let mut later = json.clone();
            later[field] = json!(SYMBOL);
            let bytes = Twin::new(&newer).encode(&later).unwrap();
            assert!(wire::alert_from_avro(&bytes, Some(&newer)).is_err(), "{name}: {field}");
        }
    }
}

#[test]
fn the_program_reads_rollups_of_older_programs() {
    let schema = wire::schema(SchemaName::SpendRollup);
    let (older, removed) = older(schema);
    for (name, json) in examples(schema, "valid") {
        let bytes = Twin::new(&older).encode(&without(&json, &removed)).unwrap();
        // What is left out, a unit cost, follows from the others.
        let expected = wire::rollup_from_json(json.to_string().as_bytes()).unwrap();
        assert_eq!(wire::rollup_from_avro(&bytes, Some(&older)), Ok(expected), "{name}");
    }
}
