//! A hundred thousand records of people who mean no good, among honest ones: nothing panics, nothing vanishes, and the sums are those of the
//! oracle.

use apache_avro::Schema;
use apache_avro::types::Value as Avro;
use apache_avro::writer::datum::GenericDatumWriter;
use serde_json::{Map, Value as Json, json};

use super::oracle::{Oracle, Sums, sums_of, twin};
use super::*;
use crate::intake::rules::{Price, TokenKind};
use crate::model::wire::{SchemaName, confluent_frame, schema};

const RECORDS: i64 = 100_000;
const SEED: u64 = 20_260_301;

/// Another producer's: fewer fields, other order, other types, some of its own.
const OTHER: &str = r#"{"type":"record","name":"Row","fields":[
    {"name":"input_tokens","type":"int"},{"name":"labels","type":{"type":"array","items":"bytes"}},{"name":"team","type":["string","null"]},
    {"name":"source","type":"string"},{"name":"cost","type":["null","string"]},{"name":"event_time","type":{"type":"long","logicalType":"timestamp-millis"}},
    {"name":"trace","type":{"type":"array","items":["null","double"]}},{"name":"event_id","type":"string"}]}"#;

struct Hostile {
    dice: Dice,
    ids: usize,
    schemas: [Schema; 2],
}

/// Value, headers, and whether it is as it should be.
struct Made {
    value: Option<Vec<u8>>,
    headers: Vec<(&'static str, Vec<u8>)>,
    honest: bool,
}

fn made(value: Vec<u8>) -> Made {
    Made { value: Some(value), headers: Vec::new(), honest: false }
}

impl Hostile {
    fn event(&mut self) -> Map<String, Json> {
        let dice = &mut self.dice;
        self.ids += 1;
        // Some ids come again.
        let id = if dice.once_in(10) { dice.roll(self.ids) } else { self.ids };
        let minute = dice.roll(5);
        let mut event = Map::new();
        event.insert("event_id".to_owned(), json!(format!("id-{id}")));
        event.insert("source".to_owned(), json!("gateway/1"));
        event.insert("event_time".to_owned(), json!(Timestamp(NOW.0 - 60_000 * i64::try_from(minute).unwrap()).to_string()));
        let texts: [(&str, &[&str]); 7] = [
            ("team", &["search", "ads", " ads\n", "Zoë 🦊", ""]),
            ("project", &["p1", "p2"]),
            ("model", &["gpt-4o", "gpt-5", "other"]),
            ("provider", &["openai", "openai", "aws"]),
            ("meter", &["llm.tokens", "gpu.seconds"]),
            ("user", &["u1", "u\u{202e}2", "u3"]),
            ("currency", &["EUR", "usd"]),
        ];
        for (field, values) in texts {
            if !dice.once_in(3) {
                event.insert(field.to_owned(), json!(dice.pick(values)));
            }
        }
        for field in ["input_tokens", "output_tokens", "cached_input_tokens", "cache_write_tokens", "reasoning_tokens", "requests"] {
            if dice.once_in(2) {
                event.insert(field.to_owned(), json!(dice.roll(5_000)));
            }
        }
        if dice.once_in(3) {
            event.insert("cost".to_owned(), json!(dice.pick(&["0.0123", "-4", "1e-6", "0", "12.5"])));
        }
        if dice.once_in(4) {
            event.insert("quantity".to_owned(), json!(f64::from(u32::try_from(dice.roll(100_000)).unwrap()) / 8.0));
        }
        if dice.once_in(4) {
            event.insert("tags".to_owned(), json!({"cost_center": "cc-12", "é": "ü"}));
        }
        event
    }

    fn avro(&mut self, event: &Map<String, Json>) -> Vec<u8> {
        let which = self.dice.roll(2);
        let schema = &self.schemas[which];
        let Schema::Record(record) = schema else { panic!("no record") };
        let fields = record.fields.iter().map(|field| (field.name.clone(), avro_value(&field.schema, event.get(&field.name))));
        let writer = GenericDatumWriter::builder(schema).build().unwrap();
        confluent_frame(i32::try_from(which).unwrap() + 1, &writer.write_value_to_vec(Avro::Record(fields.collect())).unwrap())
    }

    fn honest(&mut self) -> Made {
        let event = self.event();
        let text = serde_json::to_vec(&event).unwrap();
        let mut made = match self.dice.roll(4) {
            0 | 1 => made(self.avro(&event)),
            2 => made(text),
            _ => {
                let data = json!({"specversion": "1.0", "id": "x", "source": "y", "type": "usage", "data": event});
                let content_type = b"application/cloudevents+json".to_vec();
                Made { headers: vec![("content-type", content_type)], ..made(serde_json::to_vec(&data).unwrap()) }
            }
        };
        if self.dice.once_in(20) {
            made.headers.push((REDRIVE_HEADER, b"1".to_vec()));
        }
        Made { honest: true, ..made }
    }

    /// An honest record with some bytes changed, cut, doubled, or under a wrong header.
    fn damaged(&mut self) -> Made {
        let mut made = self.honest();
        let mut value = made.value.take().unwrap_or_default();
        let dice = &mut self.dice;
        for _ in 0..=dice.roll(3) {
            let at = dice.roll(value.len());
            match dice.roll(6) {
                0 => value.truncate(at),
                1 => value.insert(at, u8::try_from(dice.roll(256)).unwrap()),
                2 => value.extend_from_slice(&value.clone()[at..]),
                3 if !value.is_empty() => drop(value.remove(at)),
                _ => value.iter_mut().skip(at).take(1).for_each(|byte| *byte = u8::try_from(dice.roll(256)).unwrap()),
            }
        }
        if dice.once_in(5) {
            let types = ["application/json", "application/avro", "application/cloudevents+json", "x", "\u{0}"];
            made.headers = vec![("content-type", dice.pick(&types).as_bytes().to_vec())];
        }
        Made { value: Some(value), honest: false, ..made }
    }

    /// JSON with a field that says something else.
    fn twisted(&mut self) -> Made {
        let mut event = self.event();
        let keys: Vec<String> = event.keys().cloned().chain(["quantity", "cost", "tags"].map(str::to_owned)).collect();
        let strange = [
            json!(null),
            json!(true),
            json!(-1),
            json!(1.5),
            json!(1e300),
            json!(-1e-300),
            json!(u64::MAX),
            json!(""),
            json!("NaN"),
            json!([1, [2]]),
            json!({"a": {"b": 1}}),
            json!("x".repeat(2_000)),
            json!("1970-01-01T00:00:00Z"),
            json!("2100-01-01T00:00:00Z"),
            json!("99999-01-01"),
            json!("1e999999999999"),
            json!("\u{0}\u{202e}"),
            json!(i64::MIN),
        ];
        event.insert(self.dice.pick(&keys).clone(), self.dice.pick(&strange).clone());
        made(serde_json::to_vec(&event).unwrap())
    }

    fn random(&mut self) -> Made {
        let length = self.dice.roll(300);
        let mut bytes: Vec<u8> = (0..length).map(|_| u8::try_from(self.dice.roll(256)).unwrap()).collect();
        // Often with an honest beginning.
        let starts: [&[u8]; 7] = [b"", b"{", b"\0\0\0\0\x01", b"\0\0\0\0\x02", b"\0\0\0\x01\x02", b"{\"event_id\":\"", b"\0\0\0\0\x03"];
        let start = self.dice.pick(&starts);
        bytes.splice(..0, start.iter().copied());
        made(bytes)
    }

    fn huge(&mut self) -> Made {
        match self.dice.roll(4) {
            0 => made(vec![b'{'; 10_000_000]),
            1 => made(json(&format!(r#""x":{}"#, "[".repeat(900_000))).into_bytes()),
            2 => made(json(&format!(r#""team":"{}""#, "é".repeat(400_000))).into_bytes()),
            _ => made([&[0, 0, 0, 0, 2, 0][..], &[0xfe; 900_000]].concat()),
        }
    }

    fn next(&mut self) -> Made {
        match self.dice.roll(10_000) {
            0 => self.huge(),
            1..100 => Made { value: None, headers: Vec::new(), honest: false },
            100..200 => made(Vec::new()),
            200..3_000 => self.random(),
            3_000..4_500 => self.twisted(),
            4_500..7_500 => self.damaged(),
            _ => self.honest(),
        }
    }
}

fn avro_value(schema: &Schema, value: Option<&Json>) -> Avro {
    let value = value.unwrap_or(&Json::Null);
    match schema {
        Schema::Union(union) => {
            let index = union.variants().iter().position(|variant| matches!(variant, Schema::Null) == value.is_null()).unwrap();
            Avro::Union(u32::try_from(index).unwrap(), Box::new(avro_value(&union.variants()[index], Some(value))))
        }
        Schema::String => Avro::String(value.as_str().unwrap_or_default().to_owned()),
        Schema::Int => Avro::Int(value.as_i64().and_then(|value| value.try_into().ok()).unwrap_or_default()),
        Schema::Long => Avro::Long(value.as_i64().unwrap_or_default()),
        Schema::Double => Avro::Double(value.as_f64().unwrap_or_default()),
        Schema::TimestampMillis => Avro::TimestampMillis(Timestamp::parse(value.as_str().unwrap()).unwrap().0),
        Schema::Array(items) if matches!(*items.items, Schema::Bytes) => Avro::Array(vec![Avro::Bytes(vec![b'a', 0xff]); 3]),
        Schema::Array(_) => Avro::Array(vec![Avro::Union(1, Box::new(Avro::Double(0.5)))]),
        Schema::Map(_) => {
            let entries = value.as_object().into_iter().flatten();
            Avro::Map(entries.map(|(key, value)| (key.clone(), Avro::String(value.as_str().unwrap().to_owned()))).collect())
        }
        _ => Avro::Null,
    }
}

/// The event of a record that was accepted, read the slow way.
fn read_slowly(value: &[u8], schemas: &[Schema; 2]) -> Map<String, Json> {
    if value.first() == Some(&0) {
        let index = usize::from(value[4]) - 1;
        return twin(&schemas[index], &value[5..]);
    }
    let event: Json = serde_json::from_slice(value).unwrap();
    let Json::Object(mut event) = event else { panic!("{event} is no object") };
    if let Some(Json::Object(mut data)) = event.remove("data").filter(|_| !event.contains_key("event_id")) {
        for (attribute, field) in [("id", "event_id"), ("source", "source"), ("time", "event_time")] {
            if let (Some(value), None | Some(Json::Null)) = (event.get(attribute), data.get(field)) {
                data.insert(field.to_owned(), value.clone());
            }
        }
        return data;
    }
    event
}

fn price(kind: TokenKind, amount: &str) -> Price {
    Price {
        provider: "openai".into(),
        model: "gpt-*".into(),
        meter: "llm.tokens".into(),
        token_kind: Some(kind),
        region: None,
        amount: amount.parse().unwrap(),
        per: 1_000_000,
        currency: Currency::USD,
        effective_from: Timestamp(0),
        effective_to: None,
        batch: None,
        family: None,
        prompt_above: 0,
        agreement: None,
    }
}

#[test]
fn no_record_breaks_or_bends_the_sums() {
    let usage = schema(SchemaName::UsageEvent);
    let other = Schema::parse_str(OTHER).unwrap();
    // Texts that are passed over are not looked into: to the oracle they are bytes.
    let as_bytes = |line: &str| {
        if line.contains("\"status\"") || line.contains("\"finish_reason\"") {
            line.replace("\"string\"", "\"bytes\"")
        } else {
            line.to_owned()
        }
    };
    let lines: Vec<String> = usage.text.lines().map(as_bytes).collect();
    let slow = [Schema::parse_str(&lines.join("\n")).unwrap(), other.clone()];
    let mut hostile = Hostile { dice: Dice(SEED), ids: 0, schemas: [usage.avro.clone(), other] };
    let mut schemas = SchemaTable::default();
    schemas.insert(1, usage.text);
    schemas.insert(2, OTHER);
    let prices = [(TokenKind::Input, "2.5"), (TokenKind::CachedInput, "1.25"), (TokenKind::Output, "10")];
    let rules = IntakeRules { prices: PriceBook::new(prices.map(|(kind, amount)| price(kind, amount)).to_vec()), ..rules() };
    let (mut partition, mut batch, mut oracle) = (partition(), Batch::default(), Oracle::default());
    let (mut accepted, mut total, mut partials) = (0_u64, 0_u64, Vec::new());
    for offset in 0..RECORDS {
        let Made { value, headers, honest } = hostile.next();
        let borrowed: Vec<(&str, &[u8])> = headers.iter().map(|(name, value)| (*name, value.as_slice())).collect();
        let record = InputRecord { offset, headers: &borrowed, ..record(value.as_deref()) };
        let mut outcome = process(&record, NOW, &rules, &schemas, &mut partition, &mut batch);
        if let Outcome::NeedsSchema(id) = outcome {
            schemas.insert_unknown(id);
            outcome = process(&record, NOW, &rules, &schemas, &mut partition, &mut batch);
        }
        let seen = || format!("record {offset}: {:?}", value.as_deref().map(String::from_utf8_lossy));
        match outcome {
            Outcome::Combined | Outcome::Duplicate => {
                let attempt = headers.iter().find(|(name, _)| *name == REDRIVE_HEADER).map_or(&b"0"[..], |(_, attempt)| attempt);
                let event = read_slowly(value.as_deref().unwrap(), &slow);
                assert_eq!(oracle.take(&event, attempt), outcome == Outcome::Duplicate, "{}", seen());
                accepted += 1;
            }
            Outcome::Rejected(reject) => {
                assert!(!honest, "{}: {reject:?}", seen());
                assert!(reject.message.len() < 300, "{reject:?}");
            }
            Outcome::NeedsSchema(id) => panic!("schema {id} was just told"),
        }
        if offset % 7_001 == 0 || offset == RECORDS - 1 {
            let counts = batch.take_counts();
            total += counts.read;
            partials.extend(batch.drain_into_shards(8).into_values().flatten());
        }
    }
    assert_eq!(total, RECORDS.unsigned_abs());
    assert!(accepted > 30_000 && accepted < 60_000, "{accepted}");
    let (found, expected) = (sums_of(partials.iter()), oracle.sums);
    let differ = |one: &Sums, other: &Sums| -> Vec<String> {
        one.iter().filter(|(key, sums)| other.get(*key) != Some(sums)).map(|(key, sums)| format!("{key}: {sums:?}")).collect()
    };
    let (wrong, right) = (differ(&found, &expected), differ(&expected, &found));
    assert!(wrong.is_empty() && right.is_empty(), "found {wrong:#?}, expected {right:#?}");
}
