//! Bytes -> [`RawUsage`]: which form a record has, and one file per form. Knows shapes and types, not yet what makes sense.

pub mod avro;
mod cloudevents;
mod json;

use std::borrow::Cow;
use std::collections::BTreeMap;

use self::avro::SchemaTable;
use crate::model::record::{InputRecord, Reject, RejectReason};
use crate::model::time::Timestamp;

/// A usage event as its source wrote it; nothing is checked but types.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RawUsage {
    pub texts: [Option<String>; TEXT_FIELDS],
    pub counts: [Option<i64>; COUNT_FIELDS],
    pub event_time: Option<RawTime>,
    pub quantity: Option<RawNumber>,
    pub cost: Option<String>,
    pub tags: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum RawTime {
    Text(String),
    At(Timestamp),
}

/// Digits as written where the form has digits, else a float: money and quantities are not rounded on the way in.
#[derive(Clone, Debug, PartialEq)]
pub enum RawNumber {
    Digits(String),
    Float(f64),
}

/// A value of any form, as far as a usage event can hold it.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar<'a> {
    Null,
    Int(i64),
    Float(f64),
    /// A number's digits, as written.
    Number(&'a str),
    Text(Cow<'a, str>),
    Map(Vec<(String, Option<String>)>),
    /// A value of a type that no field has.
    Other(&'static str),
}

/// Fields of `usage_event.avsc` that are read, by kind and place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    Text(usize),
    Count(usize),
    EventTime,
    Quantity,
    Cost,
    Tags,
}

pub const TEXT_NAMES: [&str; TEXT_FIELDS] = [
    "event_id",
    "source",
    "meter",
    "team",
    "project",
    "model",
    "provider",
    "region",
    "environment",
    "user",
    "account",
    "resource_id",
    "currency",
];
pub const COUNT_NAMES: [&str; COUNT_FIELDS] =
    ["input_tokens", "output_tokens", "cached_input_tokens", "cache_write_tokens", "reasoning_tokens", "requests"];
pub const TEXT_FIELDS: usize = 13;
pub const COUNT_FIELDS: usize = 6;

pub fn field(name: &str) -> Option<Field> {
    if let Some(at) = TEXT_NAMES.iter().position(|known| *known == name) {
        return Some(Field::Text(at));
    }
    if let Some(at) = COUNT_NAMES.iter().position(|known| *known == name) {
        return Some(Field::Count(at));
    }
    match name {
        "event_time" => Some(Field::EventTime),
        "quantity" => Some(Field::Quantity),
        "cost" => Some(Field::Cost),
        "tags" => Some(Field::Tags),
        _ => None,
    }
}

/// What decoding led to.
pub enum Decoded {
    Usage(Box<RawUsage>),
    /// The schema with this id has to be fetched first.
    NeedsSchema(u32),
}

/// Decides the form: CloudEvents by header, Confluent Avro by its zero byte, JSON by its brace.
///
/// # Errors
/// What is wrong with the bytes.
pub fn decode(record: &InputRecord<'_>, largest: usize, schemas: &SchemaTable) -> Result<Decoded, Reject> {
    let Some(value) = record.value else { return Err(Reject::new(RejectReason::NoValue, "a tombstone: the record has no value")) };
    if value.is_empty() {
        return Err(Reject::new(RejectReason::EmptyValue, "the value has no bytes"));
    }
    if value.len() > largest {
        let message = format!("the value has {} bytes, intake.largest_record allows {largest}", value.len());
        return Err(Reject::new(RejectReason::TooLarge, message));
    }
    let content_type = cloudevents::header(record, "content-type").unwrap_or_default().to_ascii_lowercase();
    if content_type.starts_with("application/cloudevents") {
        return cloudevents::structured(value, schemas);
    }
    let decoded = payload(value, schemas)?;
    Ok(match decoded {
        Decoded::Usage(raw) => Decoded::Usage(Box::new(cloudevents::complete(*raw, record))),
        needs => needs,
    })
}

fn payload(value: &[u8], schemas: &SchemaTable) -> Result<Decoded, Reject> {
    match value {
        [0, rest @ ..] => avro::decode(rest, schemas),
        _ if value.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{') => {
            json::decode(value).map(|raw| Decoded::Usage(Box::new(raw)))
        }
        _ => {
            let message = format!("the value starts with byte 0x{:02x}: neither Confluent Avro (0x00) nor JSON ('{{')", value[0]);
            Err(Reject::new(RejectReason::UnknownFormat, message))
        }
    }
}

/// Puts a value where it belongs.
pub(super) fn set(raw: &mut RawUsage, field: Field, value: Scalar<'_>) -> Result<(), Reject> {
    match (field, value) {
        (_, Scalar::Null) => {}
        (Field::Text(at), Scalar::Text(text)) => raw.texts[at] = Some(text.into_owned()),
        (Field::Count(at), Scalar::Int(count)) => raw.counts[at] = Some(count),
        (Field::Count(at), Scalar::Number(digits)) => raw.counts[at] = Some(whole(digits, COUNT_NAMES[at])?),
        (Field::EventTime, Scalar::Text(text)) => raw.event_time = Some(RawTime::Text(text.into_owned())),
        (Field::EventTime, Scalar::Int(ms)) => raw.event_time = Some(RawTime::At(Timestamp(ms))),
        (Field::Quantity, Scalar::Int(count)) => raw.quantity = Some(RawNumber::Digits(count.to_string())),
        (Field::Quantity, Scalar::Float(value)) => raw.quantity = Some(RawNumber::Float(value)),
        (Field::Quantity, Scalar::Number(digits)) => raw.quantity = Some(RawNumber::Digits(digits.to_string())),
        (Field::Cost, Scalar::Text(text)) => raw.cost = Some(text.into_owned()),
        (Field::Cost, Scalar::Number(digits)) => raw.cost = Some(digits.to_string()),
        (Field::Cost, Scalar::Int(units)) => raw.cost = Some(units.to_string()),
        (Field::Cost, Scalar::Float(units)) => raw.cost = Some(units.to_string()),
        (Field::Tags, Scalar::Map(tags)) => raw.tags = tags.into_iter().filter_map(|(key, value)| Some((key, value?))).collect(),
        (field, value) => return Err(wrong_type(field, &value)),
    }
    Ok(())
}

/// `12`, and `12.0` as some writers of JSON have it.
fn whole(digits: &str, name: &str) -> Result<i64, Reject> {
    let (number, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if fraction.bytes().any(|digit| digit != b'0') {
        return Err(Reject::new(RejectReason::WrongType, format!("field '{name}' is {digits}, not a whole number")));
    }
    number.parse().map_err(|_| Reject::new(RejectReason::OutOfRange, format!("field '{name}' is {digits}, not a count")))
}

fn wrong_type(field: Field, value: &Scalar<'_>) -> Reject {
    let (name, wanted) = match field {
        Field::Text(at) => (TEXT_NAMES[at], "text"),
        Field::Count(at) => (COUNT_NAMES[at], "a whole number"),
        Field::EventTime => ("event_time", "a time"),
        Field::Quantity => ("quantity", "a number"),
        Field::Cost => ("cost", "a decimal string"),
        Field::Tags => ("tags", "a map of texts"),
    };
    let found = match value {
        Scalar::Null => "null",
        Scalar::Int(_) | Scalar::Number(_) => "a number",
        Scalar::Float(_) => "a float",
        Scalar::Text(_) => "text",
        Scalar::Map(_) => "a map",
        Scalar::Other(kind) => kind,
    };
    Reject::new(RejectReason::WrongType, format!("field '{name}' is {found}, wanted {wanted}"))
}
