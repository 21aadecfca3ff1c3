//! Events of the quieter topics, read by a table of their fields: the JSON twin of a schema, framed Avro by the writer's schema, or
//! CloudEvents around either. Usage has readers of its own, because there a nanosecond counts.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use apache_avro::Schema;
use apache_avro::schema::{ResolvedSchema, UuidSchema};
use serde::Deserialize;
use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::avro::{Bytes, invalid};
use super::json::{self, Text};
use super::plan::{Compiler, Shape, name_of};
use super::{Form, Stop, Value, cloudevents, form, short};
use crate::model::record::{InputRecord, Reject, RejectReason};
use crate::model::wire::confluent_unframe;

/// What a topic's events have, and how they are called in messages ("a billing event").
#[derive(Debug)]
pub struct Table {
    pub what: &'static str,
    pub fields: &'static [(&'static str, Kind)],
}

/// Which types a field may have on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    /// RFC 3339 in JSON, timestamp-millis in Avro.
    Time,
    Whole,
    Number,
    Flag,
    /// Of texts.
    Map,
}

impl Kind {
    fn words(self) -> &'static str {
        match self {
            Kind::Text => "a text",
            Kind::Time => "a time (RFC 3339 text in JSON, timestamp-millis in Avro)",
            Kind::Whole => "a whole number",
            Kind::Number => "a number",
            Kind::Flag => "a boolean",
            Kind::Map => "a map of texts",
        }
    }
}

/// Names and texts of a map, as written.
pub type Pairs<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// A value of a kind that its field may have.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Cell<'a> {
    /// Null or absent: the contract makes no difference.
    #[default]
    Null,
    Text(Cow<'a, str>),
    /// Of a time, milliseconds since the epoch.
    Whole(i64),
    Number(f64),
    Flag(bool),
    Map(Pairs<'a>),
}

/// A decoded event: types are right, values may still be nonsense.
#[derive(Debug)]
pub struct Cells<'a> {
    table: &'static Table,
    cells: Vec<Cell<'a>>,
}

impl<'a> Cells<'a> {
    fn new(table: &'static Table) -> Cells<'a> {
        Cells { table, cells: vec![Cell::Null; table.fields.len()] }
    }

    /// Takes a field out. A name that the table does not have is null.
    pub fn take(&mut self, name: &str) -> Cell<'a> {
        self.table.place(name).and_then(|place| self.cells.get_mut(place)).map(std::mem::take).unwrap_or_default()
    }

    fn set(&mut self, place: usize, found: Cell<'a>) -> Result<(), Reject> {
        let (Some((_, kind)), Some(cell)) = (self.table.fields.get(place), self.cells.get_mut(place)) else { return Ok(()) };
        *cell = match (kind, found) {
            (_, Cell::Null) => return Ok(()),
            (Kind::Number, Cell::Whole(whole)) => Cell::Number(whole as f64),
            (Kind::Text | Kind::Time, text @ Cell::Text(_)) => text,
            (Kind::Time | Kind::Whole, whole @ Cell::Whole(_)) => whole,
            (Kind::Number, number @ Cell::Number(_)) => number,
            (Kind::Flag, flag @ Cell::Flag(_)) => flag,
            (Kind::Map, map @ Cell::Map(_)) => map,
            (_, Cell::Text(_)) => return Err(self.table.wrong(place, "a text")),
            (_, Cell::Whole(_) | Cell::Number(_)) => return Err(self.table.wrong(place, "a number")),
            (_, Cell::Flag(_)) => return Err(self.table.wrong(place, "a boolean")),
            (_, Cell::Map(_)) => return Err(self.table.wrong(place, "a map")),
        };
        Ok(())
    }

    /// What CloudEvents say beside the event, where it says nothing itself.
    fn fill(&mut self, name: &str, text: Option<Cow<'a, str>>) {
        if let (Some(text), Some(cell)) = (text, self.table.place(name).and_then(|place| self.cells.get_mut(place)))
            && *cell == Cell::Null
        {
            *cell = Cell::Text(text);
        }
    }
}

impl Table {
    fn place(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|(known, _)| *known == name)
    }

    fn kind(&self, place: usize) -> Kind {
        self.fields.get(place).map_or(Kind::Text, |(_, kind)| *kind)
    }

    fn wrong(&self, place: usize, found: &str) -> Reject {
        let (name, kind) = self.fields.get(place).copied().unwrap_or(("", Kind::Text));
        Reject::new(RejectReason::WrongType, format!("'{name}' is {}, expected {}", short(found), kind.words()))
    }
}

/// Writer schemas of one topic by id: what the shell has looked up so far.
#[derive(Debug)]
pub struct WriterSchemas {
    table: &'static Table,
    ids: BTreeMap<u32, Result<Plan, String>>,
}

impl WriterSchemas {
    pub fn new(table: &'static Table) -> WriterSchemas {
        WriterSchemas { table, ids: BTreeMap::new() }
    }

    /// Takes the text of a writer schema as the registry has it.
    pub fn insert(&mut self, id: u32, text: &str) {
        let plan = compile(self.table, text).map_err(|why| format!("schema {id} is not that of {}: {}", self.table.what, short(&why)));
        self.ids.insert(id, plan);
    }

    pub fn insert_unknown(&mut self, id: u32) {
        self.ids.insert(id, Err(format!("nobody knows schema {id}")));
    }

    /// Has to be looked up anew.
    pub fn forget(&mut self, id: u32) {
        self.ids.remove(&id);
    }
}

/// Bytes to fields. CloudEvents may give id, source and time beside the event.
pub fn decode<'a>(record: &InputRecord<'a>, largest: usize, schemas: &'a WriterSchemas) -> Result<Cells<'a>, Stop> {
    let value = match record.value {
        None => return Err(Reject::new(RejectReason::NoValue, "a record without a value (tombstone)").into()),
        Some([]) => return Err(Reject::new(RejectReason::EmptyValue, "a value of zero bytes").into()),
        Some(value) => value,
    };
    if value.len() > largest {
        let message = format!("{} bytes, at most {largest} are taken", value.len());
        return Err(Reject::new(RejectReason::TooLarge, message).into());
    }
    cloudevents::check_version(cloudevents::header(record, cloudevents::VERSION)?)?;
    let mut cells = match form(cloudevents::header(record, "content-type")?, value)? {
        Form::Avro => decode_avro(value, schemas)?,
        Form::Json => decode_json(json::text(value)?, schemas.table)?,
        Form::StructuredCloudEvent => structured(json::text(value)?, schemas.table)?,
    };
    for (attribute, field) in [("ce_id", "event_id"), ("ce_source", "source"), ("ce_time", "event_time")] {
        cells.fill(field, cloudevents::header(record, attribute)?.map(Cow::Borrowed));
    }
    Ok(cells)
}

/// A structured CloudEvent whose data is the event's JSON.
fn structured<'a>(text: &'a str, table: &'static Table) -> Result<Cells<'a>, Reject> {
    #[derive(Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow)]
        specversion: Option<Cow<'a, str>>,
        #[serde(borrow)]
        id: Option<Cow<'a, str>>,
        #[serde(borrow)]
        source: Option<Cow<'a, str>>,
        #[serde(borrow)]
        time: Option<Cow<'a, str>>,
        #[serde(borrow)]
        data: Option<&'a RawValue>,
    }
    let invalid = |message: &str| Reject::new(RejectReason::InvalidCloudEvent, short(message));
    let envelope: Envelope<'a> = serde_json::from_str(text).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => invalid(&error.to_string()),
        _ => json::invalid(&error),
    })?;
    cloudevents::check_version(envelope.specversion.as_deref())?;
    let data = envelope.data.ok_or_else(|| invalid("no 'data'; 'data_base64' is not read on this topic"))?;
    if !data.get().starts_with('{') {
        return Err(invalid("'data' is no object"));
    }
    let mut cells = decode_json(data.get(), table)?;
    cells.fill("event_id", envelope.id);
    cells.fill("source", envelope.source);
    cells.fill("event_time", envelope.time);
    Ok(cells)
}

fn decode_json<'a>(text: &'a str, table: &'static Table) -> Result<Cells<'a>, Reject> {
    let mut read = ReadJson { cells: Cells::new(table), seen: 0, problem: None };
    let mut json = serde_json::Deserializer::from_str(text);
    json.deserialize_map(&mut read).and_then(|()| json.end()).map_err(|error| json::invalid(&error))?;
    read.problem.map_or(Ok(read.cells), Err)
}

struct ReadJson<'a> {
    cells: Cells<'a>,
    seen: u64,
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
            let Some(place) = self.cells.table.place(&name) else { continue };
            let bit = 1_u64 << place.min(63);
            let outcome = if self.seen & bit != 0 {
                Err(Reject::new(RejectReason::InvalidJson, format!("'{name}' comes twice")))
            } else {
                json_value(self.cells.table, place, raw).and_then(|found| self.cells.set(place, found))
            };
            self.seen |= bit;
            if let Err(reject) = outcome {
                self.problem.get_or_insert(reject);
            }
        }
        Ok(())
    }
}

fn json_value<'a>(table: &'static Table, place: usize, raw: &'a RawValue) -> Result<Cell<'a>, Reject> {
    let text = raw.get();
    let kind = table.kind(place);
    Ok(match text.as_bytes().first() {
        Some(b'{') if kind == Kind::Map => Cell::Map(json_map(table, place, text)?),
        Some(b't' | b'f') => Cell::Flag(text == "true"),
        Some(b'-' | b'0'..=b'9') if kind == Kind::Time => return Err(table.wrong(place, "a number")),
        Some(b'-' | b'0'..=b'9') => match (text.parse(), text.parse()) {
            (Ok(whole), _) => Cell::Whole(whole),
            (_, Ok(number)) if kind == Kind::Number => Cell::Number(number),
            _ => return Err(table.wrong(place, "a number with a fraction or of more than 64 bits")),
        },
        _ => match json_text(text)? {
            Value::Null => Cell::Null,
            Value::Text(text) => Cell::Text(text),
            Value::Other(found) => return Err(table.wrong(place, found)),
            _ => return Err(table.wrong(place, "something else")),
        },
    })
}

/// A text; a number by its own digits; or what stands in its place.
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

fn json_map<'a>(table: &'static Table, place: usize, text: &'a str) -> Result<Pairs<'a>, Reject> {
    struct Columns<'a>(Pairs<'a>, Option<Reject>, &'static str);
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
                        let message = format!("'{}.{}' is {found}, expected a text", self.2, short(&name));
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
    let name = table.fields.get(place).map_or("", |(name, _)| *name);
    let mut columns = Columns(Vec::new(), None, name);
    serde_json::Deserializer::from_str(text).deserialize_map(&mut columns).map_err(|error| json::invalid(&error))?;
    columns.1.map_or(Ok(columns.0), Err)
}

/// A writer schema compiled to what has to be done with each of its fields.
#[derive(Debug)]
struct Plan {
    steps: Vec<(Option<usize>, Read)>,
    shapes: Vec<Shape>,
}

#[derive(Debug)]
enum Read {
    Skip(usize),
    Null,
    Text,
    Symbols(Vec<Box<str>>),
    Long,
    /// A time as a long; this many of its units make a millisecond.
    Time(i64),
    Float,
    Double,
    Boolean,
    Map(Box<Read>),
    Union(Vec<Read>),
    Wrong(&'static str),
}

fn compile(table: &Table, text: &str) -> Result<Plan, String> {
    let schema = Schema::parse_str(text).map_err(|error| error.to_string())?;
    let names = ResolvedSchema::new(&schema).map_err(|error| error.to_string())?;
    let Schema::Record(record) = &schema else { return Err("not a record".to_owned()) };
    let mut compiler = Compiler::new(&names);
    let mut steps = Vec::new();
    for field in &record.fields {
        let wanted = table.place(&field.name);
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
        Schema::String | Schema::Bytes | Schema::Uuid(UuidSchema::String) => Read::Text,
        Schema::Enum(symbols) => Read::Symbols(symbols.symbols.iter().map(|symbol| symbol.as_str().into()).collect()),
        Schema::Int | Schema::Long => Read::Long,
        Schema::TimestampMillis => Read::Time(1),
        Schema::TimestampMicros => Read::Time(1_000),
        Schema::TimestampNanos => Read::Time(1_000_000),
        Schema::Float => Read::Float,
        Schema::Double => Read::Double,
        Schema::Boolean => Read::Boolean,
        Schema::Union(union) => Read::Union(union.variants().iter().map(|variant| read_of(compiler, variant, depth)).collect()),
        // A map of maps is none of ours, and it may refer to itself.
        Schema::Map(map) if depth == 0 => Read::Map(Box::new(read_of(compiler, &map.types, 1))),
        other => Read::Wrong(name_of(other)),
    }
}

fn decode_avro<'a>(value: &'a [u8], schemas: &'a WriterSchemas) -> Result<Cells<'a>, Stop> {
    let Some((id, datum)) = confluent_unframe(value) else {
        return Err(invalid("no Confluent frame: a zero byte and a schema id of four bytes").into());
    };
    let id = id.cast_unsigned();
    let plan = match schemas.ids.get(&id) {
        None => return Err(Stop::NeedsSchema(id)),
        Some(plan) => plan.as_ref().map_err(|why| Reject::new(RejectReason::UnknownSchema, why.clone()))?,
    };
    let mut bytes = Bytes::new(datum);
    let mut cells = Cells::new(schemas.table);
    for (place, read) in &plan.steps {
        match (place, read) {
            (None, Read::Skip(shape)) => bytes.skip(&plan.shapes, *shape, 0)?,
            (Some(place), read) => {
                let found = avro_value(&mut bytes, schemas.table, *place, read)?;
                cells.set(*place, found)?;
            }
            (None, _) => {}
        }
    }
    if bytes.rest.is_empty() { Ok(cells) } else { Err(invalid(&format!("{} bytes behind the record", bytes.rest.len())).into()) }
}

fn avro_value<'a>(bytes: &mut Bytes<'a>, table: &'static Table, place: usize, read: &'a Read) -> Result<Cell<'a>, Reject> {
    Ok(match read {
        Read::Null | Read::Skip(_) => Cell::Null,
        Read::Text => Cell::Text(Cow::Borrowed(avro_text(bytes, table, place)?)),
        Read::Symbols(symbols) => Cell::Text(Cow::Borrowed(bytes.variant(symbols)?)),
        Read::Long => Cell::Whole(bytes.long()?),
        Read::Time(units) => Cell::Whole(bytes.long()?.div_euclid(*units)),
        Read::Float => Cell::Number(f64::from(f32::from_le_bytes(bytes.array()?))),
        Read::Double => Cell::Number(f64::from_le_bytes(bytes.array()?)),
        Read::Boolean => Cell::Flag(bytes.take(1)? == [1]),
        Read::Union(variants) => {
            let variant = bytes.variant(variants)?;
            return avro_value(bytes, table, place, variant);
        }
        Read::Map(values) => Cell::Map(avro_map(bytes, table, place, values)?),
        Read::Wrong(found) => return Err(table.wrong(place, found)),
    })
}

fn avro_map<'a>(bytes: &mut Bytes<'a>, table: &'static Table, place: usize, values: &'a Read) -> Result<Pairs<'a>, Reject> {
    let mut pairs = Pairs::new();
    while let Some((items, _)) = bytes.block()? {
        for _ in 0..items {
            let name = avro_text(bytes, table, place)?;
            match avro_value(bytes, table, place, values)? {
                Cell::Text(text) => pairs.push((Cow::Borrowed(name), text)),
                Cell::Null => {}
                _ => return Err(table.wrong(place, "a map of something else")),
            }
        }
    }
    Ok(pairs)
}

fn avro_text<'a>(bytes: &mut Bytes<'a>, table: &Table, place: usize) -> Result<&'a str, Reject> {
    let name = table.fields.get(place).map_or("", |(name, _)| *name);
    let text = std::str::from_utf8(bytes.prefixed()?);
    text.map_err(|_| Reject::new(RejectReason::InvalidUtf8, format!("'{name}' is no UTF-8")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Timestamp;

    const TABLE: Table = Table {
        what: "a test",
        fields: &[("id", Kind::Text), ("kind", Kind::Text), ("state", Kind::Text), ("labels", Kind::Map), ("count", Kind::Whole)],
    };

    /// A uuid and symbols of an enum are texts, as they are on usage-events.
    #[test]
    fn texts_of_every_type() {
        let field = |name: &str, schema: &str| format!(r#"{{"name":"{name}","type":{schema}}}"#);
        let of_enum = |name: &str| format!(r#"{{"type":"enum","name":"{name}","symbols":["idle","busy"]}}"#);
        let fields = [
            field("id", r#"{"type":"string","logicalType":"uuid"}"#),
            field("kind", &of_enum("Kind")),
            field("state", &format!(r#"["null",{}]"#, of_enum("State"))),
            field("labels", r#"{"type":"map","values":"Kind"}"#),
        ];
        let uuid = "6f1c2d3e-0000-4000-8000-0123456789ab";
        let datum = [&[72][..], uuid.as_bytes(), &[2, 2, 0, 2, 2, b'a', 2, 0]].concat();
        let check = |fields: &[String], datum: &[u8]| {
            let mut schemas = WriterSchemas::new(&TABLE);
            schemas.insert(7, &format!(r#"{{"type":"record","name":"Test","fields":[{}]}}"#, fields.join(",")));
            let value = [&[0, 0, 0, 0, 7][..], datum].concat();
            let (topic, value) = ("t", Some(value.as_slice()));
            let record = InputRecord { topic, partition: 0, offset: 0, timestamp: Timestamp(0), key: None, value, headers: &[] };
            match decode(&record, 1_000, &schemas) {
                Ok(mut cells) => Ok(["id", "kind", "state", "labels"].map(|name| match cells.take(name) {
                    Cell::Text(text) => text.into_owned(),
                    other => format!("{other:?}"),
                })),
                Err(Stop::Reject(reject)) => Err((reject.reason, reject.message)),
                Err(Stop::NeedsSchema(id)) => panic!("schema {id}"),
            }
        };
        assert_eq!(check(&fields, &datum), Ok([uuid, "busy", "idle", r#"Map([("a", "busy")])"#].map(str::to_owned)));
        let beyond = [&datum[..37], &[4, 0, 0]].concat();
        assert!(matches!(check(&fields, &beyond), Err((RejectReason::InvalidAvro, _))));
        let wrong = check(&[field("count", &of_enum("Kind"))], &[2]);
        assert!(matches!(&wrong, Err((RejectReason::WrongType, message)) if message.contains("'count' is a text")), "{wrong:?}");
    }
}
