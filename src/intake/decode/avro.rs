//! Avro in Confluent framing: a decode plan per writer schema, compiled once; fields that usage does not need are skipped unread.

use std::borrow::Cow;
use std::collections::BTreeMap;

use apache_avro::Schema;

use super::{Decoded, Field, RawUsage, Scalar, field, set};
use crate::model::record::{Reject, RejectReason};

/// Deeper nesting than any usage event has; also stops recursive schemas.
const DEEPEST: usize = 64;
/// Array and map items of types that take no bytes would make a short record run for ever.
const MOST_ITEMS: i64 = 1_000_000;

/// Writer schemas by id.
#[derive(Default)]
pub struct SchemaTable {
    plans: BTreeMap<u32, Known>,
}

enum Known {
    Plan(Plan),
    /// The registry has no such id, or what it has cannot be a usage event.
    Unusable(Reject),
}

struct Plan {
    root: Node,
    named: BTreeMap<String, Node>,
}

/// How to read or skip one value.
#[derive(Clone, Debug)]
enum Node {
    Null,
    Boolean,
    /// `int` and `long` are written alike.
    Whole,
    Float,
    Double,
    Bytes,
    Text,
    Fixed(usize),
    Enum(Vec<String>),
    Array(Box<Node>),
    Map(Box<Node>),
    Union(Vec<Node>),
    Record(Vec<(Option<Field>, Node)>),
    Named(String),
    /// Timestamps of microseconds become milliseconds.
    Micros,
}

impl SchemaTable {
    pub fn insert(&mut self, id: u32, text: &str) {
        let known = match compile(text) {
            Ok(plan) => Known::Plan(plan),
            Err(message) => Known::Unusable(Reject::new(RejectReason::UnknownSchema, format!("schema {id}: {message}"))),
        };
        self.plans.insert(id, known);
    }

    pub fn insert_unknown(&mut self, id: u32) {
        let message = format!("schema id {id} is in neither the registry nor schemas.ids");
        self.plans.insert(id, Known::Unusable(Reject::new(RejectReason::UnknownSchema, message)));
    }
}

/// `framed`: what follows the zero byte.
///
/// # Errors
/// An unusable schema, or bytes that do not follow it.
pub fn decode(framed: &[u8], schemas: &SchemaTable) -> Result<Decoded, Reject> {
    let Some((id, mut body)) = framed.split_first_chunk::<4>() else {
        return Err(invalid("the value ends within the schema id"));
    };
    let id = u32::from_be_bytes(*id);
    let plan = match schemas.plans.get(&id) {
        None => return Ok(Decoded::NeedsSchema(id)),
        Some(Known::Unusable(reject)) => return Err(reject.clone()),
        Some(Known::Plan(plan)) => plan,
    };
    let Node::Record(fields) = &plan.root else { return Err(invalid("the schema is no record")) };
    let mut raw = RawUsage::default();
    for (place, node) in fields {
        match place {
            Some(place) => set(&mut raw, *place, read(plan, node, &mut body, 0)?)?,
            None => skip(plan, node, &mut body, 0)?,
        }
    }
    if !body.is_empty() {
        return Err(invalid(&format!("{} bytes follow the record", body.len())));
    }
    Ok(Decoded::Usage(Box::new(raw)))
}

fn invalid(message: &str) -> Reject {
    Reject::new(RejectReason::InvalidAvro, message)
}

fn compile(text: &str) -> Result<Plan, String> {
    let schema = Schema::parse_str(text).map_err(|error| format!("not an Avro schema: {error}"))?;
    let mut named = BTreeMap::new();
    let root = node(&schema, &mut named, true)?;
    match &root {
        Node::Record(_) => Ok(Plan { root, named }),
        _ => Err("not a record".into()),
    }
}

fn node(schema: &Schema, named: &mut BTreeMap<String, Node>, is_root: bool) -> Result<Node, String> {
    Ok(match schema {
        Schema::Null => Node::Null,
        Schema::Boolean => Node::Boolean,
        Schema::Int | Schema::Long | Schema::Date | Schema::TimeMillis | Schema::TimeMicros => Node::Whole,
        Schema::TimestampMillis | Schema::LocalTimestampMillis => Node::Whole,
        Schema::TimestampMicros | Schema::LocalTimestampMicros => Node::Micros,
        Schema::TimestampNanos | Schema::LocalTimestampNanos => return Err("timestamps in nanoseconds are not supported".into()),
        Schema::Float => Node::Float,
        Schema::Double => Node::Double,
        Schema::Bytes | Schema::BigDecimal => Node::Bytes,
        Schema::String | Schema::Uuid(_) => Node::Text,
        Schema::Fixed(fixed) => remember(named, fixed.name.to_string(), Node::Fixed(fixed.size)),
        Schema::Duration(_) => Node::Fixed(12),
        Schema::Decimal(decimal) => match &decimal.inner {
            apache_avro::schema::InnerDecimalSchema::Fixed(fixed) => Node::Fixed(fixed.size),
            apache_avro::schema::InnerDecimalSchema::Bytes => Node::Bytes,
        },
        Schema::Enum(symbols) => remember(named, symbols.name.to_string(), Node::Enum(symbols.symbols.clone())),
        Schema::Array(array) => Node::Array(Box::new(node(&array.items, named, false)?)),
        Schema::Map(map) => Node::Map(Box::new(node(&map.types, named, false)?)),
        Schema::Union(union) => Node::Union(union.variants().iter().map(|variant| node(variant, named, false)).collect::<Result<_, _>>()?),
        Schema::Record(record) => {
            let mut fields = Vec::new();
            for member in &record.fields {
                let place = if is_root { field(&member.name) } else { None };
                fields.push((place, node(&member.schema, named, false)?));
            }
            remember(named, record.name.to_string(), Node::Record(fields))
        }
        Schema::Ref { name } => Node::Named(name.to_string()),
    })
}

fn remember(named: &mut BTreeMap<String, Node>, name: String, node: Node) -> Node {
    named.insert(name, node.clone());
    node
}

fn read<'a>(plan: &Plan, node: &Node, bytes: &mut &'a [u8], depth: usize) -> Result<Scalar<'a>, Reject> {
    Ok(match node {
        Node::Null => Scalar::Null,
        Node::Whole => Scalar::Int(long(bytes)?),
        Node::Micros => Scalar::Int(long(bytes)?.div_euclid(1000)),
        Node::Float => Scalar::Float(f64::from(f32::from_le_bytes(chunk(bytes)?))),
        Node::Double => Scalar::Float(f64::from_le_bytes(chunk(bytes)?)),
        Node::Text => Scalar::Text(Cow::Borrowed(text(bytes)?)),
        Node::Enum(symbols) => {
            let index = usize::try_from(long(bytes)?).ok();
            let symbol = index.and_then(|index| symbols.get(index)).ok_or_else(|| invalid("an enum symbol that its schema has not"))?;
            Scalar::Text(Cow::Owned(symbol.clone()))
        }
        Node::Union(variants) if depth < DEEPEST => {
            let index = usize::try_from(long(bytes)?).ok();
            let variant = index.and_then(|index| variants.get(index)).ok_or_else(|| invalid("a union branch that its schema has not"))?;
            read(plan, variant, bytes, depth + 1)?
        }
        Node::Map(value) if depth < DEEPEST => Scalar::Map(map(plan, value, bytes, depth)?),
        other => {
            skip(plan, other, bytes, depth)?;
            Scalar::Other("of a type that no field has")
        }
    })
}

fn map(plan: &Plan, value: &Node, bytes: &mut &[u8], depth: usize) -> Result<Vec<(String, Option<String>)>, Reject> {
    let mut entries = Vec::new();
    while let Some(count) = block(bytes)? {
        for _ in 0..count {
            let key = text(bytes)?.to_string();
            match read(plan, value, bytes, depth + 1)? {
                Scalar::Text(value) => entries.push((key, Some(value.into_owned()))),
                Scalar::Null => entries.push((key, None)),
                _ => return Err(Reject::new(RejectReason::WrongType, format!("map entry '{key}' is no text"))),
            }
        }
    }
    Ok(entries)
}

/// Count of the next block; `None` at the end.
fn block(bytes: &mut &[u8]) -> Result<Option<i64>, Reject> {
    let count = long(bytes)?;
    let count = if count < 0 {
        long(bytes)?;
        count.checked_neg().ok_or_else(|| invalid("a block of impossible length"))?
    } else {
        count
    };
    if count > MOST_ITEMS { Err(invalid("a block of more than a million items")) } else { Ok((count > 0).then_some(count)) }
}

fn skip(plan: &Plan, node: &Node, bytes: &mut &[u8], depth: usize) -> Result<(), Reject> {
    if depth >= DEEPEST {
        return Err(invalid("nested too deeply"));
    }
    match node {
        Node::Null => {}
        Node::Boolean => {
            take(bytes, 1)?;
        }
        Node::Whole | Node::Micros | Node::Enum(_) => {
            long(bytes)?;
        }
        Node::Float => {
            take(bytes, 4)?;
        }
        Node::Double => {
            take(bytes, 8)?;
        }
        Node::Bytes | Node::Text => {
            let length = long(bytes)?;
            take(bytes, usize::try_from(length).map_err(|_| invalid("a negative length"))?)?;
        }
        Node::Fixed(size) => {
            take(bytes, *size)?;
        }
        Node::Array(item) => {
            while let Some(count) = block(bytes)? {
                for _ in 0..count {
                    skip(plan, item, bytes, depth + 1)?;
                }
            }
        }
        Node::Map(value) => {
            while let Some(count) = block(bytes)? {
                for _ in 0..count {
                    text(bytes)?;
                    skip(plan, value, bytes, depth + 1)?;
                }
            }
        }
        Node::Union(variants) => {
            let index = usize::try_from(long(bytes)?).ok();
            let variant = index.and_then(|index| variants.get(index)).ok_or_else(|| invalid("a union branch that its schema has not"))?;
            skip(plan, variant, bytes, depth + 1)?;
        }
        Node::Record(fields) => {
            for (_, node) in fields {
                skip(plan, node, bytes, depth + 1)?;
            }
        }
        Node::Named(name) => match plan.named.get(name) {
            Some(node) => skip(plan, node, bytes, depth + 1)?,
            None => return Err(invalid("the schema names a type that it does not define")),
        },
    }
    Ok(())
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8], Reject> {
    let (head, rest) = bytes.split_at_checked(length).ok_or_else(|| invalid("the value ends early"))?;
    *bytes = rest;
    Ok(head)
}

fn chunk<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], Reject> {
    let (head, rest) = bytes.split_first_chunk::<N>().ok_or_else(|| invalid("the value ends early"))?;
    *bytes = rest;
    Ok(*head)
}

fn text<'a>(bytes: &mut &'a [u8]) -> Result<&'a str, Reject> {
    let length = usize::try_from(long(bytes)?).map_err(|_| invalid("a negative length"))?;
    std::str::from_utf8(take(bytes, length)?).map_err(|_| Reject::new(RejectReason::InvalidUtf8, "a text that is not UTF-8"))
}

/// Zig-zag variable-length number, at most ten bytes.
fn long(bytes: &mut &[u8]) -> Result<i64, Reject> {
    let mut value: u64 = 0;
    for shift in (0..70).step_by(7) {
        let [byte] = chunk::<1>(bytes)?;
        if shift == 63 && byte > 1 {
            break;
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok((value >> 1).cast_signed() ^ -((value & 1).cast_signed()));
        }
    }
    Err(invalid("a number of more than 64 bits"))
}
