//! Billing events: the contract's examples in both forms, one record for each reason, who pays, and bytes that lie.

use apache_avro::Schema;
use apache_avro::types::Value as Avro;
use apache_avro::writer::datum::GenericDatumWriter;
use serde_json::{Value as Json, json};

use super::super::billing::{Accepted, BillingOutcome, process};
use super::super::decode::billing::BILLING;
use super::super::decode::table::WriterSchemas;
use super::super::rules::{AttributedTeam, AttributionRule};
use super::*;
use crate::model::Text;
use crate::model::billing::{BillingLine, LedgerItem};
use crate::model::leaf::Measure;
use crate::model::record::RejectReason as Reason;
use crate::model::wire::{SchemaName, confluent_frame, schema};

/// 2026-03-02T06:00:00Z: after the exports of the examples.
const LATER: Timestamp = Timestamp(1_772_431_200_000);

fn outcome(value: &[u8], headers: &[(&str, &[u8])], rules: &IntakeRules) -> BillingOutcome {
    let mut schemas = WriterSchemas::new(&BILLING);
    schemas.insert(7, schema(SchemaName::BillingRow).text);
    let record = InputRecord { headers, timestamp: LATER, ..record(Some(value)) };
    process(&record, LATER, rules, &schemas)
}

fn accepted(value: &[u8]) -> (Text, Text, LedgerItem) {
    match outcome(value, &[], &rules()) {
        BillingOutcome::Accepted(accepted) => {
            let Accepted { source, period, item } = *accepted;
            (source, period, item)
        }
        other => panic!("{}: {other:?}", String::from_utf8_lossy(value)),
    }
}

fn line(value: &Json, rules: &IntakeRules) -> BillingLine {
    match outcome(value.to_string().as_bytes(), &[], rules) {
        BillingOutcome::Accepted(accepted) => match accepted.item {
            LedgerItem::Line(line) => line,
            other => panic!("{value}: {other:?}"),
        },
        other => panic!("{value}: {other:?}"),
    }
}

fn refused(value: &[u8]) -> Reject {
    match outcome(value, &[], &rules()) {
        BillingOutcome::Rejected(reject) => reject,
        other => panic!("{}: {other:?}", String::from_utf8_lossy(value)),
    }
}

fn examples(kind: &str) -> Vec<(String, Vec<u8>)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/examples/billing_row").join(kind);
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap())).collect()
}

/// An event with this row and these other fields.
fn event(row: Json, fields: Json) -> Json {
    let mut event = json!({"event_id": "e", "source": "focus/aws", "event_time": "2026-03-02T04:00:00Z", "row": {
        "BilledCost": "1.5", "BillingCurrency": "USD", "ChargePeriodStart": "2026-03-01T10:00:00Z"}});
    event["row"].as_object_mut().unwrap().extend(row.as_object().unwrap().clone());
    event.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    event
}

fn avro(event: &Json) -> Vec<u8> {
    let optional = |value: Avro, null: bool| Avro::Union(u32::from(!null), Box::new(if null { Avro::Null } else { value }));
    let text = |name: &str| optional(Avro::String(event[name].as_str().unwrap_or_default().to_owned()), event[name].is_null());
    let long = |name: &str| optional(Avro::Long(event[name].as_i64().unwrap_or_default()), event[name].is_null());
    let cell = |value: &Json| optional(Avro::String(value.as_str().unwrap_or_default().to_owned()), value.is_null());
    let row = event["row"].as_object().map(|row| row.iter().map(|(name, value)| (name.clone(), cell(value))).collect());
    let fields = vec![
        ("event_id".to_owned(), Avro::String(event["event_id"].as_str().unwrap().to_owned())),
        ("source".to_owned(), Avro::String(event["source"].as_str().unwrap().to_owned())),
        ("event_time".to_owned(), Avro::TimestampMillis(Timestamp::parse(event["event_time"].as_str().unwrap()).unwrap().0)),
        ("delivery".to_owned(), text("delivery")),
        ("period".to_owned(), text("period")),
        ("line_id".to_owned(), text("line_id")),
        ("revision".to_owned(), long("revision")),
        ("row".to_owned(), optional(Avro::Map(row.clone().unwrap_or_default()), row.is_none())),
        ("complete".to_owned(), optional(Avro::Boolean(event["complete"] == true), event["complete"].is_null())),
        ("lines".to_owned(), long("lines")),
    ];
    let parsed = Schema::parse_str(schema(SchemaName::BillingRow).text).unwrap();
    let writer = GenericDatumWriter::builder(&parsed).build().unwrap();
    confluent_frame(7, &writer.write_value_to_vec(Avro::Record(fields)).unwrap())
}

#[test]
fn the_contracts_examples_are_taken_in_both_forms_and_refused() {
    for (name, bytes) in examples("valid") {
        let event: Json = serde_json::from_slice(&bytes).unwrap();
        if name == "minimal" {
            // Nothing that a schema could see: a line without money.
            assert_eq!((refused(&bytes).reason, refused(&avro(&event)).reason), (Reason::MissingField, Reason::MissingField));
            continue;
        }
        assert_eq!(accepted(&bytes), accepted(&avro(&event)), "{name}");
    }
    for (name, bytes) in examples("invalid") {
        let reject = refused(&bytes);
        let field = reject.message.split('\'').nth(1).unwrap_or_default();
        assert!(name.starts_with(field.split(['_', '.']).next().unwrap()), "{name}: {reject:?}");
    }
}

#[test]
fn a_row_becomes_a_line_of_its_leaf() {
    let (_, bytes) = examples("valid").into_iter().find(|(name, _)| name == "focus_1_3_line").unwrap();
    let (source, period, item) = accepted(&bytes);
    let LedgerItem::Line(line) = item else { panic!("{item:?}") };
    assert_eq!((&*source, &*period, line.revision, line.delivery.as_deref()), ("focus/aws", "2026-03", 1, Some("d-17")));
    let leaf = &line.charge.leaf;
    let texts = [&leaf.team, &leaf.project, &leaf.model, &leaf.provider, &leaf.region, &leaf.environment, &leaf.meter].map(|text| &**text);
    assert_eq!(texts, ["unattributed", "43883916739", "Elastic Load Balancing", "AWS", "us-west-2", "dev", "LCU-Hours"]);
    assert_eq!((leaf.currency, leaf.measure), (Currency::USD, Measure::Billed));
    // Eleven digits behind the point: rounded to the nano, half to even.
    assert_eq!((line.charge.amounts.effective.0, line.charge.amounts.billed.0, line.charge.amounts.quantity.0), (0, 16_060, 2_007_490));
    assert_eq!(line.charge.hour.start(), Timestamp::parse("2026-03-01T10:00:00Z").unwrap());
}

#[test]
fn the_same_rules_decide_who_pays() {
    let by = |team: &str| AttributedTeam::Named(team.into());
    let attribution = vec![
        AttributionRule { tags: vec![("team".into(), "*".into())], team: AttributedTeam::FromTag("team".into()), ..Default::default() },
        AttributionRule { account: Some("77*".into()), team: by("by-account"), ..Default::default() },
        AttributionRule { project: Some("ranker".into()), team: by("by-project"), ..Default::default() },
        AttributionRule { source: Some("focus/*".into()), team: by("by-source"), ..Default::default() },
    ];
    let rules = IntakeRules { attribution, ..rules() };
    let cases = [
        (json!({"Tags": r#"{"team": " search ", "project": "x"}"#, "SubAccountId": "771"}), "search"),
        (json!({"Tags": r#"{"team": ""}"#, "SubAccountId": "771"}), "by-account"),
        (json!({"BillingAccountId": "772"}), "by-account"),
        (json!({"Tags": r#"{"project": "ranker"}"#, "SubAccountId": "1"}), "by-project"),
        (json!({"Tags": "team=search"}), "by-source"),
        (json!({"Tags": r#"{"team": true}"#}), "true"),
    ];
    for (row, team) in cases {
        assert_eq!(&*line(&event(row.clone(), json!({})), &rules).charge.leaf.team, team, "{row}");
    }
}

#[test]
fn what_is_no_usage_has_a_meter_of_its_own() {
    let cases = [("Usage", "GB"), ("usage", "GB"), ("Tax", "charge.tax"), ("Credit", "charge.credit"), ("Purchase", "charge.purchase")];
    let more = [("Adjustment", "charge.adjustment"), ("Surprise", "charge.adjustment"), ("", "GB")];
    for (category, meter) in cases.into_iter().chain(more) {
        let row = json!({"ChargeCategory": category, "ConsumedUnit": "GB"});
        assert_eq!(&*line(&event(row, json!({})), &rules()).charge.leaf.meter, meter, "{category}");
    }
    for (status, meter) in [("Used", "GB"), ("Unused", "charge.unused_commitment"), ("unused", "charge.unused_commitment")] {
        let row = json!({"ChargeCategory": "Usage", "CommitmentDiscountStatus": status, "ConsumedUnit": "GB"});
        assert_eq!(&*line(&event(row, json!({})), &rules()).charge.leaf.meter, meter, "{status}");
    }
}

#[test]
fn usage_for_more_than_a_day_has_a_meter_of_its_own() {
    let cases = [
        ("2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z", "GB"),
        // The day on which clocks are put back has 25 hours.
        ("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z", "GB"),
        ("2026-03-01T00:00:00Z", "2026-03-02T02:00:00Z", "charge.long_period"),
        ("2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z", "charge.long_period"),
        ("2026-03-01 00:00:00", "2026-03-08 00:00:00", "charge.long_period"),
        // What says no end, or none that can be, is of its start.
        ("2026-03-01T00:00:00Z", "", "GB"),
        ("2026-03-01T00:00:00Z", "2026-02-01T00:00:00Z", "GB"),
        ("2026-03-01T00:00:00Z", "soon", "GB"),
    ];
    for (start, end, meter) in cases {
        let row = json!({"ConsumedUnit": "GB", "ChargePeriodStart": start, "ChargePeriodEnd": end});
        assert_eq!(&*line(&event(row, json!({})), &rules()).charge.leaf.meter, meter, "{start} to {end}");
    }
    // What is no usage says more by its own meter.
    for (category, meter) in [("Tax", "charge.tax"), ("Purchase", "charge.purchase")] {
        let row =
            json!({"ChargeCategory": category, "ChargePeriodStart": "2026-03-01T00:00:00Z", "ChargePeriodEnd": "2026-04-01T00:00:00Z"});
        assert_eq!(&*line(&event(row, json!({})), &rules()).charge.leaf.meter, meter, "{category}");
    }
}

#[test]
fn what_is_not_said_is_found_elsewhere() {
    let plain = line(&event(json!({}), json!({})), &rules());
    assert_eq!((plain.revision, plain.delivery.clone()), (plain.exported.0, None));
    assert_eq!(plain.charge.amounts.effective, plain.charge.amounts.billed);
    let row = json!({"BilledCost": null, "EffectiveCost": 0.25, "ChargePeriodStart": "2026-03-01 10:00:00"});
    let one = line(&event(row, json!({"line_id": "l"})), &rules());
    assert_eq!(one.charge.amounts.billed.to_string(), "0.25");
    assert_ne!(one.line, plain.line);
    let month = |row: Json, fields: Json| accepted(event(row, fields).to_string().as_bytes()).1;
    assert_eq!(&*month(json!({}), json!({})), "2026-03");
    assert_eq!(&*month(json!({"BillingPeriodStart": "2026-02-01T00:00:00Z"}), json!({})), "2026-02");
    assert_eq!(&*month(json!({}), json!({"period": "2026-01"})), "2026-01");
    // Binary CloudEvents say the rest in headers.
    let mut bare = event(json!({}), json!({}));
    bare.as_object_mut().unwrap().retain(|name, _| name == "row");
    let headers: [(&str, &[u8]); 3] = [("ce_id", b"e"), ("ce_source", b"focus/aws"), ("ce_time", b"2026-03-02T04:00:00Z")];
    assert!(matches!(outcome(bare.to_string().as_bytes(), &headers, &rules()), BillingOutcome::Accepted(_)));
}

#[test]
fn each_reason_has_its_records() {
    let long = "x".repeat(1_025);
    let cases = [
        (event(json!({"BilledCost": "1,5"}), json!({})), Reason::InvalidAmount, "BilledCost"),
        (event(json!({"EffectiveCost": "1e13"}), json!({})), Reason::OutOfRange, "EffectiveCost"),
        (event(json!({"BilledCost": null}), json!({})), Reason::MissingField, "neither BilledCost"),
        (event(json!({"BilledCost": true}), json!({})), Reason::WrongType, "row.BilledCost"),
        (event(json!({"BillingCurrency": "EURO"}), json!({})), Reason::UnknownCurrency, "EURO"),
        (event(json!({"BillingCurrency": null}), json!({})), Reason::UnknownCurrency, "''"),
        (event(json!({"ChargePeriodStart": "yesterday"}), json!({})), Reason::InvalidPeriod, "yesterday"),
        (event(json!({"ServiceName": long}), json!({})), Reason::FieldTooLong, "row.ServiceName"),
        (event(json!({}), json!({"period": "2026-3"})), Reason::InvalidPeriod, "2026-3"),
        (event(json!({}), json!({"source": ""})), Reason::MissingField, "source"),
        (event(json!({}), json!({"event_time": "2100-01-01T00:00:00Z"})), Reason::EventTimeInFuture, "2100"),
        (event(json!({}), json!({"event_time": "1999-01-01T00:00:00Z"})), Reason::EventTimeTooOld, "1999"),
        (event(json!({}), json!({"event_time": "soon"})), Reason::InvalidEventTime, "soon"),
        (event(json!({}), json!({"revision": -1})), Reason::NegativeQuantity, "revision"),
        (event(json!({}), json!({"revision": 1.5})), Reason::WrongType, "revision"),
        (event(json!({}), json!({"complete": true, "delivery": "d", "period": "2026-03"})), Reason::MissingField, "lines"),
        (event(json!({}), json!({"complete": true, "lines": 1, "period": "2026-03"})), Reason::MissingField, "delivery"),
        (event(json!({}), json!({"complete": true, "lines": 1, "delivery": "d"})), Reason::MissingField, "period"),
    ];
    for (value, reason, words) in cases {
        let reject = refused(value.to_string().as_bytes());
        assert_eq!(reject.reason, reason, "{value}: {reject:?}");
        assert!(reject.message.contains(words), "{value}: {reject:?}");
    }
    let texts: [(&[u8], Reason); 6] = [
        (br#"{"event_id":"a","event_id":"b"}"#, Reason::InvalidJson),
        (br#"{"row":{"a":"b"#, Reason::InvalidJson),
        (b"row", Reason::UnknownFormat),
        (b"\x00\x00\x00\x00\x09\x02", Reason::UnknownSchema),
        (b"\x00\x00\x00\x00\x07\x02", Reason::InvalidAvro),
        (b"", Reason::EmptyValue),
    ];
    let mut schemas = WriterSchemas::new(&BILLING);
    schemas.insert(7, schema(SchemaName::BillingRow).text);
    schemas.insert_unknown(9);
    for (bytes, reason) in texts {
        let record = InputRecord { timestamp: LATER, ..record(Some(bytes)) };
        let outcome = process(&record, LATER, &rules(), &schemas);
        assert!(matches!(&outcome, BillingOutcome::Rejected(reject) if reject.reason == reason), "{bytes:?}: {outcome:?}");
    }
    let structured: [(&str, &[u8]); 1] = [("content-type", b"application/cloudevents+json")];
    assert!(
        matches!(outcome(b"{}", &structured, &rules()), BillingOutcome::Rejected(reject) if reject.reason == Reason::InvalidCloudEvent)
    );
    let (_, bytes) = examples("valid").into_iter().find(|(name, _)| name == "focus_1_3_line").unwrap();
    let mut event: Json = serde_json::from_slice(&bytes).unwrap();
    let id = event.as_object_mut().unwrap().remove("event_id").unwrap();
    let wrapped = json!({"specversion": "1.0", "type": "t", "id": id, "source": "other", "data": event}).to_string();
    assert!(outcome(wrapped.as_bytes(), &structured, &rules()) == outcome(&bytes, &[], &rules()), "an envelope changes nothing");
    let unknown = InputRecord { timestamp: LATER, ..record(Some(b"\x00\x00\x00\x00\x08\x02")) };
    assert_eq!(process(&unknown, LATER, &rules(), &schemas), BillingOutcome::NeedsSchema(8));
    schemas.insert_unknown(8);
    schemas.forget(8);
    assert_eq!(process(&unknown, LATER, &rules(), &schemas), BillingOutcome::NeedsSchema(8));
}

#[test]
fn bytes_that_lie_are_refused() {
    let (_, bytes) = examples("valid").into_iter().find(|(name, _)| name == "focus_1_3_line").unwrap();
    let framed = avro(&serde_json::from_slice(&bytes).unwrap());
    let mut dice = Dice(5);
    for form in [bytes, framed] {
        for end in 0..form.len() {
            let _ = outcome(&form[..end], &[], &rules());
        }
        for _ in 0..3_000 {
            let mut broken = form.clone();
            for _ in 0..1 + dice.roll(4) {
                let at = dice.roll(broken.len());
                broken[at] = u8::try_from(dice.roll(256)).unwrap();
            }
            let _ = outcome(&broken, &[], &rules());
        }
    }
}
