//! Records with names: the contract's examples, one record for each reason, CloudEvents as a client library writes them.

use serde_json::Value as Json;

use super::*;
use crate::model::money::Nanos;
use crate::model::record::RejectReason as Reason;

fn accepted(value: &[u8], headers: &[(&str, &[u8])], check: impl Fn(&UsageEvent<'_>)) {
    let schemas = SchemaTable::default();
    let (record, mut scratch) = (InputRecord { headers, ..record(Some(value)) }, Scratch::default());
    match accept(&record, Some(NOW), &rules(), &schemas, &mut scratch) {
        Ok(event) => check(&event),
        Err(stop) => panic!("{}: {stop:?}", String::from_utf8_lossy(value)),
    }
}

/// The program agrees with its published examples, but for one: an exact number is as good as a text.
#[test]
fn the_contracts_examples_are_taken_and_refused() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/examples/usage_event");
    let read = |folder: &std::path::Path| -> Vec<(String, Vec<u8>)> {
        let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        paths.map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap())).collect()
    };
    let (valid, invalid) = (read(&folder.join("valid")), read(&folder.join("invalid")));
    assert!(valid.len() >= 3 && invalid.len() >= 3);
    for (name, bytes) in valid {
        accepted(&bytes, &[], |event| assert!(!event.event_id.is_empty(), "{name}"));
    }
    for (name, bytes) in invalid {
        if name == "cost_as_number" {
            accepted(&bytes, &[], |event| assert_eq!(event.cost, "0.0123".parse().ok()));
        } else {
            let reject = refused(&bytes, &[]);
            let field = reject.message.split('\'').nth(1).unwrap_or_default().replace('.', "_");
            assert!(name.starts_with(field.split('_').next().unwrap()), "{name}: {reject:?}");
        }
    }
}

#[test]
fn each_reason_has_its_records() {
    let long = "x".repeat(1_025);
    let too_many: Vec<String> = (0..65).map(|n| format!(r#""{n}":"v""#)).collect();
    let cases = [
        (json(r#""event_id":"f""#), Reason::InvalidJson, "'event_id' comes twice"),
        (json(r#""cost":"#), Reason::InvalidJson, "expected value"),
        (json("") + "x", Reason::InvalidJson, "trailing characters"),
        ("[]".to_owned(), Reason::UnknownFormat, ""),
        (" \n".to_owned(), Reason::UnknownFormat, ""),
        ("{}".to_owned(), Reason::MissingField, "'event_id'"),
        (r#"{"event_id":"a","source":"b"}"#.to_owned(), Reason::MissingField, "'event_time'"),
        (r#"{"event_id":"a","source":"b","event_time":"2026-03-01 10:00"}"#.to_owned(), Reason::InvalidEventTime, "'2026-03-01 10:00'"),
        (r#"{"event_id":"a","source":"b","event_time":"1970-01-01T00:00:00Z"}"#.to_owned(), Reason::EventTimeTooOld, "1970"),
        (r#"{"event_id":"a","source":"b","event_time":"2100-01-01T00:00:00Z"}"#.to_owned(), Reason::EventTimeInFuture, "2100"),
        (json(&format!(r#""team":"{long}""#)), Reason::FieldTooLong, "'team' has 1025 bytes"),
        (json(&format!(r#""tags":{{"a":"{long}"}}"#)), Reason::FieldTooLong, "'tags.a'"),
        (json(&format!(r#""tags":{{{}}}"#, too_many.join(","))), Reason::FieldTooLong, "more than 64"),
        (json(r#""team":17"#), Reason::WrongType, "'team' is a number, expected a text"),
        (json(r#""team":{"a":[{}]}"#), Reason::WrongType, "'team' is an object"),
        (json(r#""tags":"a=b""#), Reason::WrongType, "'tags' is a text"),
        (json(r#""quantity":"1""#), Reason::WrongType, "'quantity' is a text"),
        (json(r#""cost":true"#), Reason::WrongType, "'cost' is a boolean"),
        (json(r#""input_tokens":1.5"#), Reason::WrongType, "'input_tokens' is a number with a fraction"),
        (json(r#""input_tokens":-1"#), Reason::NegativeQuantity, "'input_tokens'"),
        (json(r#""quantity":-1e-300"#), Reason::NegativeQuantity, "'quantity'"),
        (json(r#""quantity":1e400"#), Reason::OutOfRange, "'quantity'"),
        (json(r#""quantity":1.1e18"#), Reason::OutOfRange, "'quantity'"),
        (json(r#""input_tokens":1000000000000000001"#), Reason::OutOfRange, "'input_tokens'"),
        (json(r#""input_tokens":1e30"#), Reason::OutOfRange, "'input_tokens'"),
        (json(r#""cost":"1e30""#), Reason::OutOfRange, "'cost'"),
        (json(r#""cost":"NaN""#), Reason::InvalidAmount, "'NaN'"),
        (json(r#""cost":"1,5""#), Reason::InvalidAmount, "'1,5'"),
        (json(r#""currency":"EURO""#), Reason::UnknownCurrency, "'EURO'"),
    ];
    for (text, reason, words) in cases {
        let reject = refused(text.as_bytes(), &[]);
        assert_eq!(reject.reason, reason, "{text}: {reject:?}");
        assert!(reject.message.contains(words), "{text}: {reject:?}");
    }
    assert_eq!(refused(b"{\"event_id\":\"\xff\"}", &[]).reason, Reason::InvalidUtf8);
    assert_eq!(refused(b"", &[]).reason, Reason::EmptyValue);
    assert_eq!(refused(&vec![b'{'; 1_000_001], &[]).reason, Reason::TooLarge);
    assert_eq!(refused(b"\0\0\0", &[]).reason, Reason::InvalidAvro);
}

#[test]
fn foreign_nesting_and_unknown_fields_are_passed_over() {
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    let text = json(&format!(r#""later":{deep},"team":"\u0073earch","lat":1e999,"status":5"#));
    // A number that no float can hold is still JSON where nobody reads it.
    accepted(text.as_bytes(), &[], |event| assert_eq!(event.team.as_deref(), Some("search")));
    let reject = refused(json(&format!(r#""team":{}"#, "[".repeat(300_000))).as_bytes(), &[]);
    assert_eq!(reject.reason, Reason::InvalidJson);
}

#[test]
fn numbers_and_names_mean_what_they_say() {
    let fields =
        r#""cost":0.1,"quantity":0.1,"input_tokens":9007199254740993,"output_tokens":1e3,"user":" a\u0000b\u202e\n","currency":"eur""#;
    event(fields, |event| {
        assert_eq!(event.cost, Some(Nanos(100_000_000)));
        assert_eq!(event.quantity, Some(Nanos(100_000_000)));
        assert_eq!((event.tokens.input, event.tokens.output, event.requests), (9_007_199_254_740_993, 1_000, 1));
        assert_eq!(event.user.as_deref(), Some("a b"));
        assert_eq!(event.meter, "llm.tokens");
        assert_eq!(event.currency, Currency::parse("EUR"));
    });
    event(r#""cost":0.123456789012345678,"quantity":123456789.123,"currency":"","team":"""#, |event| {
        assert_eq!(event.cost, Some(Nanos(123_456_789)));
        assert_eq!(event.quantity, Some(Nanos(123_456_789_123_000_000)));
        assert_eq!((event.meter.as_ref(), event.currency, event.team.as_ref()), ("", None, None));
    });
    event(r#""requests":0"#, |event| assert_eq!((event.requests, event.meter.as_ref()), (0, "request")));
    event(r#""tags":{"a":"1","b":null,"a":"2"}"#, |event| assert_eq!((event.tag("a"), event.tag("b")), (Some("2"), None)));
}

#[test]
fn cloud_events_of_a_client_library_are_read() {
    let samples: Vec<Json> = serde_json::from_str(include_str!("../../../tests/data/cloudevents.json")).unwrap();
    let mut taken = 0;
    for sample in samples.iter().filter(|sample| sample["name"].as_str().is_some_and(|name| name.starts_with("kafka"))) {
        let headers: Vec<(&str, &[u8])> = sample["headers"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str().unwrap().as_bytes()))
            .collect();
        let value = sample["value_utf8"].as_str().unwrap();
        let now = Timestamp::parse("2026-11-23T21:30:00Z").unwrap();
        let (schemas, mut scratch) = (SchemaTable::default(), Scratch::default());
        let record = InputRecord { headers: &headers, timestamp: now, ..record(Some(value.as_bytes())) };
        let outcome = accept(&record, Some(now), &rules(), &schemas, &mut scratch);
        if sample["name"].as_str().unwrap().ends_with("bytes") {
            assert_eq!(
                outcome.err(),
                Some(Stop::NeedsSchema(0x01ff_6269)).filter(|_| value.starts_with("{")).or(Some(Stop::NeedsSchema(0x015c_7866)))
            );
            continue;
        }
        let event = outcome.unwrap_or_else(|stop| panic!("{sample}: {stop:?}"));
        assert_eq!((event.event_id.as_ref(), event.source.as_ref()), ("A234-1", "//gateway/llm"));
        assert_eq!(Some(event.event_time), Timestamp::parse("2026-11-23T21:00:00Z"));
        assert_eq!((event.tokens.input, event.tokens.output), (21, 7));
        taken += 1;
    }
    assert_eq!(taken, 2);
}

#[test]
fn cloud_events_of_another_version_are_refused() {
    let event = br#"{"event_id":"e","source":"s","event_time":"2026-03-01T09:00:00Z"}"#;
    let said = |version: &str| format!("specversion '{version}' is not supported: write CloudEvents 1.0");
    for version in ["0.3", "0.2", "2.0", "10.0", "", "one"] {
        let reject = refused(event, &[("ce_id", b"h"), ("CE_SpecVersion", version.as_bytes())]);
        assert_eq!((reject.reason, reject.message), (Reason::InvalidCloudEvent, said(version)));
        let wrapped = format!(r#"{{"specversion":"{version}","id":"a","source":"b","time":"2026-03-01T09:00:00Z","data":{{}}}}"#);
        let reject = refused(wrapped.as_bytes(), &[("content-type", b"application/cloudevents+json")]);
        assert_eq!((reject.reason, reject.message), (Reason::InvalidCloudEvent, said(version)));
    }
    // Who names none means the one that there is.
    for headers in [[("ce_id", b"h".as_slice()), ("ce_specversion", b"1.0")], [("ce_id", b"h"), ("ce_specversion", b"1")]] {
        accepted(event, &headers, |event| assert_eq!(event.event_id.as_ref(), "e"));
    }
    accepted(event, &[("ce_id", b"h")], |event| assert_eq!(event.event_id.as_ref(), "e"));
    let wrapped = br#"{"id":"a","source":"b","time":"2026-03-01T09:00:00Z","data":{}}"#;
    accepted(wrapped, &[("content-type", b"application/cloudevents+json")], |event| assert_eq!(event.event_id.as_ref(), "a"));
}

#[test]
fn cloud_event_attributes_stand_in_for_what_the_data_leaves_out() {
    let headers: [(&str, &[u8]); 4] =
        [("ce_id", b"h"), ("ce_source", b"hs"), ("ce_time", b"2026-03-01T09:00:00Z"), ("Content-Type", b"application/json; charset=utf-8")];
    accepted(br#"{"event_id":"own"}"#, &headers, |event| assert_eq!((event.event_id.as_ref(), event.source.as_ref()), ("own", "hs")));
    let structured: [(&str, &[u8]); 1] = [("content-type", b"Application/CloudEvents+json; charset=UTF-8")];
    let envelope = |data: &str| format!(r#"{{"id":"a","source":"b","time":"2026-03-01T09:00:00Z","specversion":"1.0",{data}}}"#);
    accepted(envelope(r#""data":{"team":"t","source":"own"}"#).as_bytes(), &structured, |event| {
        assert_eq!((event.event_id.as_ref(), event.source.as_ref(), event.team.as_deref()), ("a", "own", Some("t")));
    });
    // {"team":"t"}
    let base64 = envelope(r#""datacontenttype":"application/json","data_base64":"eyJ0ZWFtIjoidCJ9""#);
    accepted(base64.as_bytes(), &structured, |event| assert_eq!(event.team.as_deref(), Some("t")));
    let bad = [
        (r#""data":"text""#, "'data' is no object"),
        (r#""type":"x""#, "no 'data'"),
        (r#""data":null"#, "no 'data'"),
        (r#""data":{},"data_base64":"""#, "exclude"),
        (r#""data_base64":"?""#, "no base64"),
        (r#""data_base64":"""#, "empty"),
        (r#""data_base64":{}"#, "no text"),
        (r#""data":{},"id":5"#, "'id' is no text"),
        (r#""data":{},"specversion":1.0"#, "'specversion' is no text"),
    ];
    for (data, words) in bad {
        let reject = refused(envelope(data).as_bytes(), &structured);
        assert_eq!(reject.reason, Reason::InvalidCloudEvent, "{data}: {reject:?}");
        assert!(reject.message.contains(words), "{data}: {reject:?}");
    }
    assert_eq!(refused(b"{}", &[("content-type", b"application/cloudevents-batch+json")]).reason, Reason::InvalidCloudEvent);
    assert_eq!(refused(b"\0\0\0\0\x01", &[("content-type", b"application/json")]).reason, Reason::InvalidJson);
    assert_eq!(refused(b"{}", &[("content-type", b"application/avro")]).reason, Reason::InvalidAvro);
    assert_eq!(refused(b"{}", &[("ce_id", b"\xff")]).reason, Reason::InvalidUtf8);
}

#[test]
fn the_future_begins_after_the_earlier_of_both_clocks_and_the_skew() {
    let schemas = SchemaTable::default();
    let at = |time: &str| format!(r#"{{"event_id":"e","source":"s","event_time":"{time}"}}"#);
    let cases = [
        ("2026-03-01T10:10:00Z", NOW, Some(NOW), true),
        ("2026-03-01T10:10:00.001Z", NOW, Some(NOW), false),
        ("2026-03-01T10:10:00.001Z", NOW.plus_ms(60_000), Some(NOW), false),
        ("2026-03-01T10:10:00.001Z", NOW, Some(NOW.plus_ms(60_000)), false),
        ("2026-03-01T10:10:00Z", Timestamp(0), Some(NOW), true),
        ("2026-03-01T10:10:00Z", Timestamp(-1), Some(NOW), true),
        ("2026-03-01T10:10:00.001Z", Timestamp(-1), Some(NOW), false),
        ("2026-03-01T10:10:00.001Z", NOW, None, false),
        ("2026-03-01T10:10:00Z", NOW, None, true),
    ];
    for (time, timestamp, now, fine) in cases {
        let text = at(time);
        let record = InputRecord { timestamp, ..record(Some(text.as_bytes())) };
        assert_eq!(accept(&record, now, &rules(), &schemas, &mut Scratch::default()).is_ok(), fine, "{time} {timestamp} {now:?}");
    }
}
