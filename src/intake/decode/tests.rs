//! The decode plan against apache-avro's writer: random schemas, random values, damaged bytes.

use std::borrow::Cow;

use apache_avro::types::Value as Avro;
use apache_avro::writer::datum::GenericDatumWriter;
use apache_avro::{Decimal, Schema};
use serde_json::{Value as Json, json};

use super::field::Kind;
use super::second::{self, Loose};
use super::{Field, RawEvent, Value, avro, plan, quick};
use crate::intake::tests::Dice;
use crate::model::record::RejectReason;

/// A field as some producer may write it: its type, a value, and what we have to read.
struct Written {
    name: String,
    kind: Json,
    value: Avro,
    read: Value<'static>,
    tags: Vec<(String, String)>,
}

fn word(dice: &mut Dice) -> String {
    (0..dice.roll(20)).map(|_| *dice.pick(&['a', 'Z', '0', ' ', 'é', '🦊', '\n'])).collect()
}

fn text(text: &str) -> Value<'static> {
    Value::Text(Cow::Owned(text.to_owned()))
}

fn long(dice: &mut Dice) -> i64 {
    let bits = u32::try_from(dice.roll(63)).unwrap();
    let value = (i64::try_from(dice.roll(1 << 31)).unwrap() << 31 | i64::try_from(dice.roll(1 << 31)).unwrap()) >> bits;
    if dice.once_in(3) { -value } else { value }
}

fn scalar(dice: &mut Dice, field: Field) -> (Json, Avro, Value<'static>) {
    let (number, some_word) = (long(dice), word(dice));
    let small = i32::try_from(number % 1_000_000).unwrap();
    let float = f64::from(small) / 8.0;
    match (field.kind(), dice.roll(4)) {
        (Kind::Text, 0) => {
            let (name, symbol) = (format!("E_{}", field.name()), ["x", "y", "z"][dice.roll(3)]);
            let index = u32::from(symbol.as_bytes()[0] - b'x');
            (json!({"type": "enum", "name": name, "symbols": ["x", "y", "z"]}), Avro::Enum(index, symbol.to_owned()), text(symbol))
        }
        (Kind::Text, 1) => (json!("bytes"), Avro::Bytes(some_word.clone().into_bytes()), text(&some_word)),
        (Kind::Text | Kind::Tags, _) | (Kind::Money, 0 | 1) => (json!("string"), Avro::String(some_word.clone()), text(&some_word)),
        (Kind::Time, 0) => (json!("long"), Avro::Long(number), Value::Int(number)),
        (Kind::Time, 1) => (
            json!({"type": "long", "logicalType": "timestamp-micros"}),
            Avro::TimestampMicros(number),
            Value::Int(number.div_euclid(1_000)),
        ),
        (Kind::Time, _) => (json!({"type": "long", "logicalType": "timestamp-millis"}), Avro::TimestampMillis(number), Value::Int(number)),
        (Kind::Money, 2) => {
            let digits = number.to_be_bytes();
            let kind = json!({"type": "bytes", "logicalType": "decimal", "precision": 30, "scale": 6});
            (kind, Avro::Decimal(Decimal::from(digits)), Value::Decimal(digits.to_vec().leak(), 6))
        }
        (_, 0) => (json!("int"), Avro::Int(small), Value::Int(small.into())),
        (_, 1) => (json!("long"), Avro::Long(number), Value::Int(number)),
        (_, 2) => (json!("float"), Avro::Float(small as f32 / 8.0), Value::Float(f64::from(small as f32 / 8.0))),
        (_, _) => (json!("double"), Avro::Double(float), Value::Float(float)),
    }
}

fn tags(dice: &mut Dice) -> Written {
    let tags: Vec<(String, String)> = (0..dice.roll(4)).map(|n| (format!("{n}{}", word(dice)), word(dice))).collect();
    let map = tags.iter().map(|(name, value)| (name.clone(), Avro::String(value.clone()))).collect();
    Written { name: "tags".to_owned(), kind: json!({"type": "map", "values": "string"}), value: Avro::Map(map), read: Value::Null, tags }
}

fn wanted(dice: &mut Dice, field: Field) -> Written {
    let mut written = match field {
        Field::Tags => tags(dice),
        field => {
            let (kind, value, read) = scalar(dice, field);
            Written { name: field.name().to_owned(), kind, value, read, tags: Vec::new() }
        }
    };
    let null_first = dice.once_in(2);
    if dice.once_in(2) {
        let null = dice.once_in(3);
        let (unit, whole) = if null_first { (0, 1) } else { (1, 0) };
        written.kind = if null_first { json!(["null", written.kind]) } else { json!([written.kind, "null"]) };
        written.value = Avro::Union(if null { unit } else { whole }, Box::new(if null { Avro::Null } else { written.value }));
        if null {
            written.read = Value::Null;
            written.tags.clear();
        }
    }
    written
}

/// A field that we know nothing of; each named type occurs once, and again by its name.
fn foreign(dice: &mut Dice, n: usize) -> Written {
    let node = |next: Avro, v: i64| Avro::Record(vec![("next".to_owned(), next), ("v".to_owned(), Avro::Long(v))]);
    let chain = |links: usize| {
        (0..links)
            .fold(Avro::Union(0, Box::new(Avro::Null)), |next, link| Avro::Union(1, Box::new(node(next, i64::try_from(link).unwrap()))))
    };
    let (kind, value) = match dice.roll(9) {
        0 => (json!("boolean"), Avro::Boolean(dice.once_in(2))),
        1 => (json!({"type": "fixed", "name": format!("F{n}"), "size": 3}), Avro::Fixed(3, vec![1, 2, 3])),
        2 => (json!({"type": "array", "items": "null"}), Avro::Array(vec![Avro::Null; dice.roll(40)])),
        3 => {
            let kind = json!({"type": "map", "values": {"type": "array", "items": ["long", "string"]}});
            let items = vec![Avro::Union(0, Box::new(Avro::Long(long(dice)))), Avro::Union(1, Box::new(Avro::String(word(dice))))];
            (kind, Avro::Map([(word(dice), Avro::Array(items)), ("other".to_owned(), Avro::Array(Vec::new()))].into()))
        }
        4 => {
            let name = format!("Node{n}");
            let kind = json!({"type": "record", "name": name, "fields": [{"name": "next", "type": ["null", name]}, {"name": "v", "type": "long"}]});
            (kind, node(chain(dice.roll(20)), 7))
        }
        5 => (json!({"type": "string", "logicalType": "uuid"}), Avro::Uuid(apache_avro::Uuid::nil())),
        6 => (json!("double"), Avro::Double(0.5)),
        7 => (json!({"type": "int", "logicalType": "date"}), Avro::Date(17)),
        _ => (json!("bytes"), Avro::Bytes(word(dice).into_bytes())),
    };
    Written { name: format!("foreign_{n}"), kind, value, read: Value::Null, tags: Vec::new() }
}

fn shuffled(dice: &mut Dice) -> Vec<Written> {
    let mut fields: Vec<Written> = Vec::new();
    for field in Field::ALL {
        if !dice.once_in(3) {
            fields.push(wanted(dice, field));
        }
    }
    for n in 0..dice.roll(5) {
        fields.push(foreign(dice, n));
    }
    for last in (1..fields.len()).rev() {
        fields.swap(last, dice.roll(last + 1));
    }
    fields
}

fn written(fields: &[Written]) -> (String, Vec<u8>) {
    let types: Vec<Json> = fields.iter().map(|field| json!({"name": field.name, "type": field.kind})).collect();
    let text = json!({"type": "record", "name": "Usage", "fields": types}).to_string();
    let schema = Schema::parse_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let record = Avro::Record(fields.iter().map(|field| (field.name.clone(), field.value.clone())).collect());
    let bytes = GenericDatumWriter::builder(&schema).build().unwrap().write_value_to_vec(record);
    (text.clone(), bytes.unwrap_or_else(|error| panic!("{text}: {error}")))
}

#[test]
fn reads_what_apache_avro_writes_whatever_the_writer_schema() {
    let mut quick = 0;
    for seed in 0..1_500 {
        let mut dice = Dice(seed);
        let fields = shuffled(&mut dice);
        let (text, bytes) = written(&fields);
        let plan = plan::compile(&text).unwrap();
        let mut event = avro::read_datum(&bytes, &plan, RawEvent::default()).unwrap_or_else(|reject| panic!("{seed}: {reject:?}\n{text}"));
        for field in Field::ALL {
            let expected = fields.iter().find(|written| written.name == field.name());
            assert_eq!(event.take(field), expected.map_or(Value::Null, |written| written.read.clone()), "{seed}: {}", field.name());
        }
        let mut found: Vec<_> = event.tags.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        found.sort();
        let expected = fields.iter().find(|written| written.name == "tags").map_or(Vec::new(), |written| written.tags.clone());
        assert_eq!(found, expected, "{seed}");
        quick += u32::from(quick_agrees(&bytes, &plan));
        damage(&mut dice, &bytes, &plan);
    }
    // Few have an id, a source, a time in a number, and no number that is negative or a float; `tests/memory.rs` has many.
    assert!(quick >= 5, "{quick}");
}

/// The same by an implementation that shares no code with apache-avro, and none with ours.
#[test]
fn reads_what_a_second_implementation_reads() {
    let mut compared = 0;
    for seed in 10_000..11_000 {
        let mut dice = Dice(seed);
        let fields = shuffled(&mut dice);
        let (text, bytes) = written(&fields);
        let plan = plan::compile(&text).unwrap();
        let mut event = avro::read_datum(&bytes, &plan, RawEvent::default()).unwrap_or_else(|reject| panic!("{seed}: {reject:?}\n{text}"));
        let theirs = second::read(&text, &bytes).unwrap_or_else(|error| panic!("{seed}: {error}\n{text}"));
        for field in fields.iter().filter_map(|written| Field::named(&written.name)).filter(|field| *field != Field::Tags) {
            let is_micros = fields.iter().any(|written| written.name == field.name() && written.kind.to_string().contains("micros"));
            let seen = (event.take(field), theirs[field.name()].clone());
            compared += 1;
            match &seen {
                (Value::Null, Loose::Null) => {}
                (Value::Text(ours), Loose::Bytes(theirs)) => assert_eq!(ours.as_bytes(), theirs, "{seed}: {}", field.name()),
                (Value::Int(ours), Loose::Int(theirs)) => {
                    let theirs = if is_micros { theirs.div_euclid(1_000) } else { *theirs };
                    assert_eq!(i128::from(*ours), theirs, "{seed}: {}", field.name());
                }
                (Value::Float(ours), Loose::Float(theirs)) => assert_eq!(ours, theirs, "{seed}: {}", field.name()),
                // It gives a decimal as its text, or rounds it to a float where nobody says what is wanted.
                (Value::Decimal(digits, scale), theirs) => {
                    let start: i128 = if digits[0] & 0x80 != 0 { -1 } else { 0 };
                    let unscaled = digits.iter().fold(start, |value, byte| value << 8 | i128::from(*byte));
                    let ours = unscaled as f64 / 10_f64.powi(i32::try_from(*scale).unwrap());
                    let theirs = match theirs {
                        Loose::Bytes(text) => std::str::from_utf8(text).unwrap().parse().unwrap(),
                        Loose::Float(value) => *value,
                        other => panic!("{seed}: {other:?} for a decimal"),
                    };
                    assert!((ours - theirs).abs() <= ours.abs() * 1e-12, "{seed}: {ours} {theirs}");
                }
                other => panic!("{seed}: {}: {other:?}", field.name()),
            }
        }
        let mut ours: Vec<_> = event.tags.iter().map(|(name, value)| (name.to_string(), Loose::Bytes(value.as_bytes().to_vec()))).collect();
        ours.sort_by(|a, b| a.0.cmp(&b.0));
        if let Some(Loose::Map(theirs)) = theirs.get("tags") {
            assert_eq!(ours, theirs.clone().into_iter().collect::<Vec<_>>(), "{seed}");
        }
    }
    assert!(compared > 10_000, "{compared}");
}

/// The quick reader reads the same, or leaves it to the thorough one; `true`: it has read.
fn quick_agrees(bytes: &[u8], plan: &plan::Plan) -> bool {
    let Some(quick) = quick::read(bytes, plan, &mut Vec::new()) else { return false };
    let mut event = avro::read_datum(bytes, plan, RawEvent::default()).unwrap();
    let texts = [
        (Field::EventId, quick.event_id),
        (Field::Source, quick.source),
        (Field::Team, quick.team),
        (Field::Meter, quick.meter),
        (Field::User, quick.user),
    ];
    for (field, text) in texts {
        let expected = if let Value::Text(text) = event.take(field) { text.into_owned() } else { String::new() };
        assert_eq!(text, expected.as_bytes(), "{}", field.name());
    }
    assert_eq!(event.take(Field::EventTime), Value::Int(quick.time_ms));
    let counts = [(Field::InputTokens, quick.usage.tokens.input), (Field::ReasoningTokens, quick.usage.tokens.reasoning)];
    for (field, count) in counts {
        let expected = if let Value::Int(count) = event.take(field) { count } else { 0 };
        assert_eq!(i128::from(count), i128::from(expected), "{}", field.name());
    }
    assert_eq!(Ok(quick.usage.cost), crate::intake::validate::cost(event.take(Field::Cost)));
    assert_eq!(Ok(quick.usage.quantity), crate::intake::validate::quantity(event.take(Field::Quantity)));
    for (name, value) in &event.tags {
        let last = event.tags.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_bytes());
        assert_eq!(quick.tag(name.as_bytes()), last, "{name}: {value}");
    }
    true
}

/// Every record that is cut short or prolonged is refused; a damaged one is refused or read as something else.
fn damage(dice: &mut Dice, bytes: &[u8], plan: &plan::Plan) {
    for length in 0..bytes.len() {
        let reason = avro::read_datum(&bytes[..length], plan, RawEvent::default()).unwrap_err().reason;
        assert!(matches!(reason, RejectReason::InvalidAvro | RejectReason::OutOfRange), "{length} of {} bytes: {reason}", bytes.len());
    }
    let longer = [bytes, b"\0"].concat();
    assert_eq!(avro::read_datum(&longer, plan, RawEvent::default()).unwrap_err().message, "1 bytes behind the record");
    for _ in 0..20 {
        let mut damaged = bytes.to_vec();
        if let Some(byte) = damaged.get_mut(dice.roll(bytes.len())) {
            *byte = u8::try_from(dice.roll(256)).unwrap();
        }
        let thorough = avro::read_datum(&damaged, plan, RawEvent::default());
        // What the quick reader takes, the thorough one takes; only it looks into every text.
        if quick::read(&damaged, plan, &mut Vec::new()).is_some() {
            let reason = thorough.err().map(|reject| reject.reason);
            assert!(matches!(reason, None | Some(RejectReason::InvalidUtf8)), "{reason:?}: {damaged:?}");
        }
    }
}

#[test]
fn claims_of_a_hostile_record_are_neither_believed_nor_counted_out() {
    let schema = r#"{"type":"record","name":"U","fields":[
        {"name":"nulls","type":{"type":"array","items":"null"}},
        {"name":"tree","type":{"type":"record","name":"T","fields":[{"name":"kids","type":{"type":"array","items":"T"}}]}},
        {"name":"event_id","type":"string"}]}"#;
    let plan = plan::compile(schema).unwrap();
    let huge = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    let endless = [0xff; 11];
    let deep = [&[0][..], &[2; 5_000]].concat();
    let cases: [(&[u8], &str); 6] = [
        (&huge, "more items than bytes"),
        (&endless, "a number of more than 64 bits"),
        (&deep, "nested too deeply"),
        (&[0, 0, 0xfe, 0xff, 0xff, 0xff, 0x0f], "ends early"),
        (&[0, 0, 1], "a negative length"),
        (&[1, 1, 0, 0, 0], "a block of negative size"),
    ];
    for (bytes, message) in cases {
        let reject = avro::read_datum(bytes, &plan, RawEvent::default()).unwrap_err();
        assert_eq!((reject.reason, reject.message.as_str()), (RejectReason::InvalidAvro, message), "{bytes:?}");
    }
    // Blocks that state their size are passed over in one step: two kids of 1 byte each.
    assert!(avro::read_datum(&[0, 3, 4, 0, 0, 0, 2, b'e'], &plan, RawEvent::default()).is_ok());
}

#[test]
fn a_type_that_a_field_cannot_have_is_refused_by_name_when_it_is_used() {
    let schema = r#"{"type":"record","name":"U","fields":[
        {"name":"team","type":["null","string","long"]},
        {"name":"tags","type":["null",{"type":"map","values":["null","string","int"]},"string"]}]}"#;
    let plan = plan::compile(schema).unwrap();
    assert!(avro::read_datum(&[2, 2, b'a', 0], &plan, RawEvent::default()).is_ok());
    let cases: [(&[u8], &str); 3] = [
        (&[4, 2, 0], "'team' is a number, expected a text"),
        (&[0, 4, 0], "'tags' is a text, expected a map of texts"),
        (&[0, 2, 2, 2, b'k', 4, 0, 0], "'tags' is a number, expected a map of texts"),
    ];
    for (bytes, message) in cases {
        let reject = avro::read_datum(bytes, &plan, RawEvent::default()).unwrap_err();
        assert_eq!((reject.reason, reject.message.as_str()), (RejectReason::WrongType, message), "{bytes:?}");
    }
    for (text, why) in [
        ("\"long\"", "not a record"),
        ("{", "parse"),
        (r#"{"type":"record","name":"U","fields":[{"name":"x","type":"Nowhere"}]}"#, "Nowhere"),
    ] {
        let error = plan::compile(text).unwrap_err();
        assert!(error.contains(why), "{text}: {error}");
    }
}
