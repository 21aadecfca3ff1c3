//! Billing events as they stand on the wire: the JSON twin of `schemas/billing_row.avsc`, or framed Avro by the writer's schema.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use apache_avro::Schema;
use apache_avro::schema::ResolvedSchema;
use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::avro::{Bytes, invalid};
use super::json::{self, Text};
use super::plan::{Compiler, Shape, name_of};
use super::{Form, Stop, Value, cloudevents, form, short};
use crate::model::record::{InputRecord, Reject, RejectReason};
use crate::model::wire::confluent_unframe;

/// Name and text of each FOCUS column that has one.
pub type Row<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// Types are right, values may still be nonsense.
#[derive(Debug, Default, PartialEq)]
pub struct RawBilling<'a> {
    pub event_id: Option<Cow<'a, str>>,
    pub source: Option<Cow<'a, str>>,
    /// `Int` is milliseconds since the epoch.
    pub event_time: Value<'a>,
    pub delivery: Option<Cow<'a, str>>,
    pub period: Option<Cow<'a, str>>,
    pub line_id: Option<Cow<'a, str>>,
    pub revision: Option<i64>,
    pub row: Option<Row<'a>>,
    pub complete: bool,
    pub lines: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    EventId,
    Source,
    EventTime,
    Delivery,
    Period,
    LineId,
    Revision,
    Row,
    Complete,
    Lines,
}

const FIELDS: [(&str, Field); 10] = [
    ("event_id", Field::EventId),
    ("source", Field::Source),
    ("event_time", Field::EventTime),
    ("delivery", Field::Delivery),
    ("period", Field::Period),
    ("line_id", Field::LineId),
    ("revision", Field::Revision),
    ("row", Field::Row),
    ("complete", Field::Complete),
    ("lines", Field::Lines),
];

impl Field {
    fn named(name: &str) -> Option<Field> {
        FIELDS.iter().find(|(known, _)| *known == name).map(|(_, field)| *field)
    }

    fn name(self) -> &'static str {
        FIELDS.iter().find(|(_, field)| *field == self).map_or("", |(name, _)| name)
    }
}

/// A scalar or the row, as either form has it.
enum Found<'a> {
    Scalar(Value<'a>),
    Flag(bool),
    Row(Row<'a>),
}

fn wrong(field: Field, found: &str) -> Reject {
    let expected = match field {
        Field::EventTime => "a time (RFC 3339 text in JSON, timestamp-millis in Avro)",
        Field::Revision | Field::Lines => "a whole number",
        Field::Row => "a map of texts",
        Field::Complete => "a boolean",
        _ => "a text",
    };
    Reject::new(RejectReason::WrongType, format!("'{}' is {}, expected {expected}", field.name(), short(found)))
}

impl<'a> RawBilling<'a> {
    fn set(&mut self, field: Field, found: Found<'a>) -> Result<(), Reject> {
        match (field, found) {
            (_, Found::Scalar(Value::Null)) => {}
            (Field::EventId, Found::Scalar(Value::Text(text))) => self.event_id = Some(text),
            (Field::Source, Found::Scalar(Value::Text(text))) => self.source = Some(text),
            (Field::Delivery, Found::Scalar(Value::Text(text))) => self.delivery = Some(text),
            (Field::Period, Found::Scalar(Value::Text(text))) => self.period = Some(text),
            (Field::LineId, Found::Scalar(Value::Text(text))) => self.line_id = Some(text),
            (Field::EventTime, Found::Scalar(time @ (Value::Text(_) | Value::Int(_)))) => self.event_time = time,
            (Field::Revision, Found::Scalar(Value::Int(count))) => self.revision = Some(count),
            (Field::Lines, Found::Scalar(Value::Int(count))) => self.lines = Some(count),
            (Field::Complete, Found::Flag(flag)) => self.complete = flag,
            (Field::Row, Found::Row(row)) => self.row = Some(row),
            (field, Found::Scalar(Value::Text(_))) => return Err(wrong(field, "a text")),
            (field, Found::Scalar(Value::Other(found))) => return Err(wrong(field, found)),
            (field, Found::Scalar(_)) => return Err(wrong(field, "a number")),
            (field, Found::Flag(_)) => return Err(wrong(field, "a boolean")),
            (field, Found::Row(_)) => return Err(wrong(field, "a map")),
        }
        Ok(())
    }
}

/// Writer schemas of billing events by id: what the shell has looked up so far.
#[derive(Debug, Default)]
pub struct BillingSchemas {
    ids: BTreeMap<u32, Result<Plan, String>>,
}

impl BillingSchemas {
    /// Takes the text of a writer schema as the registry has it.
    pub fn insert(&mut self, id: u32, text: &str) {
        let plan = compile(text).map_err(|why| format!("schema {id} is no billing event's: {}", short(&why)));
        self.ids.insert(id, plan);
    }

    pub fn insert_unknown(&mut self, id: u32) {
        self.ids.insert(id, Err(format!("nobody knows schema {id}")));
    }
}

/// Bytes to fields. CloudEvents in binary mode may give id, source and time in headers; structured ones are refused.
pub fn decode<'a>(record: &InputRecord<'a>, largest: usize, schemas: &'a BillingSchemas) -> Result<RawBilling<'a>, Stop> {
    let value = match record.value {
        None => return Err(Reject::new(RejectReason::NoValue, "a record without a value (tombstone)").into()),
        Some([]) => return Err(Reject::new(RejectReason::EmptyValue, "a value of zero bytes").into()),
        Some(value) => value,
    };
    if value.len() > largest {
        let message = format!("{} bytes, at most {largest} are taken", value.len());
        return Err(Reject::new(RejectReason::TooLarge, message).into());
    }
    let mut event = match form(cloudevents::header(record, "content-type")?, value)? {
        Form::Avro => decode_avro(value, schemas)?,
        Form::Json => decode_json(json::text(value)?)?,
        Form::StructuredCloudEvent => {
            let message = "structured CloudEvents are not read on this topic: use binary mode, or the plain form";
            return Err(Reject::new(RejectReason::InvalidCloudEvent, message).into());
        }
    };
    let text = |name: &str| -> Result<Option<Cow<'a, str>>, Reject> { Ok(cloudevents::header(record, name)?.map(Cow::Borrowed)) };
    event.event_id = event.event_id.or(text("ce_id")?);
    event.source = event.source.or(text("ce_source")?);
    if event.event_time == Value::Null {
        event.event_time = text("ce_time")?.map_or(Value::Null, Value::Text);
    }
    Ok(event)
}

fn decode_json(text: &str) -> Result<RawBilling<'_>, Reject> {
    let mut read = ReadJson { event: RawBilling::default(), seen: 0, problem: None };
    let mut json = serde_json::Deserializer::from_str(text);
    json.deserialize_map(&mut read).and_then(|()| json.end()).map_err(|error| json::invalid(&error))?;
    read.problem.map_or(Ok(read.event), Err)
}

struct ReadJson<'a> {
    event: RawBilling<'a>,
    seen: u32,
    /// Told only once all of it has proved to be JSON: broken JSON is the graver finding.
    problem: Option<Reject>,
}

impl<'a> Visitor<'a> for &mut ReadJson<'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key_seed(Text)? {
            let raw: &'a RawValue = map.next_value()?;
            let Value::Text(name) = key else { continue };
            let Some(field) = Field::named(&name) else { continue };
            let bit = 1_u32 << (field as u32);
            let outcome = if self.seen & bit != 0 {
                Err(Reject::new(RejectReason::InvalidJson, format!("'{name}' comes twice")))
            } else {
                json_value(field, raw).and_then(|found| self.event.set(field, found))
            };
            self.seen |= bit;
            if let Err(reject) = outcome {
                self.problem.get_or_insert(reject);
            }
        }
        Ok(())
    }
}

fn json_value<'a>(field: Field, raw: &'a RawValue) -> Result<Found<'a>, Reject> {
    let text = raw.get();
    Ok(match text.as_bytes().first() {
        Some(b'{') if field == Field::Row => Found::Row(json_row(text)?),
        Some(b't' | b'f') => Found::Flag(text == "true"),
        Some(b'-' | b'0'..=b'9') => match text.parse() {
            Ok(whole) => Found::Scalar(Value::Int(whole)),
            Err(_) => return Err(wrong(field, "a number with a fraction or of more than 64 bits")),
        },
        _ => Found::Scalar(json_text(text)?),
    })
}

/// A text; a number by its own digits, as intake takes money everywhere; or what stands in its place.
fn json_text(text: &str) -> Result<Value<'_>, Reject> {
    Ok(match text.as_bytes().first() {
        Some(b'n') => Value::Null,
        Some(b'-' | b'0'..=b'9') => Value::Text(Cow::Borrowed(text)),
        Some(b'"') if !text.contains('\\') => Value::Text(Cow::Borrowed(text.get(1..text.len() - 1).unwrap_or_default())),
        Some(b'"') => Value::Text(Cow::Owned(serde_json::from_str(text).map_err(|error| json::invalid(&error))?)),
        Some(b't' | b'f') => Value::Other("a boolean"),
        Some(b'[') => Value::Other("an array"),
        _ => Value::Other("an object"),
    })
}

fn json_row(text: &str) -> Result<Row<'_>, Reject> {
    struct Columns<'a>(Row<'a>, Option<Reject>);
    impl<'a> Visitor<'a> for &mut Columns<'a> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
            while let Some(key) = map.next_key_seed(Text)? {
                let raw: &'a RawValue = map.next_value()?;
                let Value::Text(name) = key else { continue };
                match json_text(raw.get()) {
                    Ok(Value::Text(value)) => self.0.push((name, value)),
                    Ok(Value::Other(found)) => {
                        let message = format!("'row.{}' is {found}, expected a text", short(&name));
                        self.1.get_or_insert(Reject::new(RejectReason::WrongType, message));
                    }
                    Ok(_) => {}
                    Err(reject) => {
                        self.1.get_or_insert(reject);
                    }
                }
            }
            Ok(())
        }
    }
    let mut columns = Columns(Vec::new(), None);
    serde_json::Deserializer::from_str(text).deserialize_map(&mut columns).map_err(|error| json::invalid(&error))?;
    columns.1.map_or(Ok(columns.0), Err)
}

/// A writer schema compiled to what has to be done with each of its fields.
#[derive(Debug)]
struct Plan {
    steps: Vec<(Option<Field>, Read)>,
    shapes: Vec<Shape>,
}

#[derive(Debug)]
enum Read {
    Skip(usize),
    Null,
    Text,
    Long,
    /// A time as a long; this many of its units make a millisecond.
    Time(i64),
    Boolean,
    Map(Box<Read>),
    Union(Vec<Read>),
    Wrong(&'static str),
}

fn compile(text: &str) -> Result<Plan, String> {
    let schema = Schema::parse_str(text).map_err(|error| error.to_string())?;
    let names = ResolvedSchema::new(&schema).map_err(|error| error.to_string())?;
    let Schema::Record(record) = &schema else { return Err("not a record".to_owned()) };
    let mut compiler = Compiler::new(&names);
    let mut steps = Vec::new();
    for field in &record.fields {
        let wanted = Field::named(&field.name);
        let read = match wanted {
            Some(_) => read_of(&compiler, &field.schema, 0),
            None => Read::Skip(compiler.shape(&field.schema)),
        };
        steps.push((wanted, read));
    }
    Ok(Plan { steps, shapes: compiler.into_shapes() })
}

fn read_of<'s>(compiler: &Compiler<'s>, schema: &'s Schema, depth: u32) -> Read {
    match compiler.resolve(schema) {
        Schema::Null => Read::Null,
        Schema::String | Schema::Bytes => Read::Text,
        Schema::Int | Schema::Long => Read::Long,
        Schema::TimestampMillis => Read::Time(1),
        Schema::TimestampMicros => Read::Time(1_000),
        Schema::TimestampNanos => Read::Time(1_000_000),
        Schema::Boolean => Read::Boolean,
        Schema::Union(union) => Read::Union(union.variants().iter().map(|variant| read_of(compiler, variant, depth)).collect()),
        // A map of maps is none of ours, and it may refer to itself.
        Schema::Map(map) if depth == 0 => Read::Map(Box::new(read_of(compiler, &map.types, 1))),
        other => Read::Wrong(name_of(other)),
    }
}

fn decode_avro<'a>(value: &'a [u8], schemas: &'a BillingSchemas) -> Result<RawBilling<'a>, Stop> {
    let Some((id, datum)) = confluent_unframe(value) else {
        return Err(invalid("no Confluent frame: a zero byte and a schema id of four bytes").into());
    };
    let id = id.cast_unsigned();
    let plan = match schemas.ids.get(&id) {
        None => return Err(Stop::NeedsSchema(id)),
        Some(plan) => plan.as_ref().map_err(|why| Reject::new(RejectReason::UnknownSchema, why.clone()))?,
    };
    let mut bytes = Bytes::new(datum);
    let mut event = RawBilling::default();
    for (field, read) in &plan.steps {
        match (field, read) {
            (None, Read::Skip(shape)) => bytes.skip(&plan.shapes, *shape, 0)?,
            (Some(field), read) => {
                let found = avro_value(&mut bytes, *field, read)?;
                event.set(*field, found)?;
            }
            (None, _) => {}
        }
    }
    if bytes.rest.is_empty() { Ok(event) } else { Err(invalid(&format!("{} bytes behind the record", bytes.rest.len())).into()) }
}

fn avro_value<'a>(bytes: &mut Bytes<'a>, field: Field, read: &'a Read) -> Result<Found<'a>, Reject> {
    Ok(Found::Scalar(match read {
        Read::Null | Read::Skip(_) => Value::Null,
        Read::Text => Value::Text(Cow::Borrowed(avro_text(bytes, field)?)),
        Read::Long => Value::Int(bytes.long()?),
        Read::Time(units) => Value::Int(bytes.long()?.div_euclid(*units)),
        Read::Boolean => return Ok(Found::Flag(bytes.take(1)? == [1])),
        Read::Union(variants) => {
            let variant = bytes.variant(variants)?;
            return avro_value(bytes, field, variant);
        }
        Read::Map(values) => return Ok(Found::Row(avro_row(bytes, field, values)?)),
        Read::Wrong(found) => return Err(wrong(field, found)),
    }))
}

fn avro_row<'a>(bytes: &mut Bytes<'a>, field: Field, values: &'a Read) -> Result<Row<'a>, Reject> {
    let mut row = Row::new();
    while let Some((items, _)) = bytes.block()? {
        for _ in 0..items {
            let name = avro_text(bytes, field)?;
            match avro_value(bytes, field, values)? {
                Found::Scalar(Value::Text(text)) => row.push((Cow::Borrowed(name), text)),
                Found::Scalar(Value::Null) => {}
                _ => return Err(wrong(field, "a map of something else")),
            }
        }
    }
    Ok(row)
}

fn avro_text<'a>(bytes: &mut Bytes<'a>, field: Field) -> Result<&'a str, Reject> {
    let text = std::str::from_utf8(bytes.prefixed()?);
    text.map_err(|_| Reject::new(RejectReason::InvalidUtf8, format!("'{}' is no UTF-8", field.name())))
}
