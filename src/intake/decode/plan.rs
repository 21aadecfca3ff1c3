//! A writer schema compiled to what has to be done with each of its fields: take it as a field of ours, or skip it.

use std::collections::BTreeMap;

use apache_avro::Schema;
use apache_avro::schema::{InnerDecimalSchema, RecordField, ResolvedSchema, UuidSchema};

use super::field::Kind;
use super::json::STATUS;
use super::program::{self, Act};
use super::{Field, status};

/// Fields of one writer schema, in its order.
#[derive(Debug)]
pub struct Plan {
    pub steps: Vec<Step>,
    /// The same for the quick reader.
    pub acts: Vec<Act>,
    /// Shapes that are skipped; they refer to each other by place, so that recursive types stay finite.
    pub shapes: Vec<Shape>,
}

#[derive(Debug)]
pub enum Step {
    Take(Field, Read),
    /// Whether it has failed.
    Status(Read),
    Skip(usize),
}

/// How a field that we want is written.
#[derive(Debug)]
pub enum Read {
    Null,
    /// `string`, or `bytes` that hold UTF-8.
    Text,
    Symbols(Vec<Box<str>>),
    Long,
    /// A time as a long; this many of its units make a millisecond.
    Time(i64),
    Float,
    Double,
    /// Digits as a big-endian two's complement, this many behind the point; of fixed size or with a length before it.
    Decimal {
        scale: u32,
        size: Option<usize>,
    },
    Map(Box<Read>),
    Union(Vec<Read>),
    /// A type that this field cannot have; told when a record uses it, since a union may have it and no record may.
    Wrong(&'static str),
}

/// How many bytes to pass over.
#[derive(Debug)]
pub enum Shape {
    Fixed(usize),
    Varint,
    /// A length, then as many bytes.
    Bytes,
    Array(usize),
    Map(usize),
    Union(Vec<usize>),
    Record(Vec<usize>),
}

pub fn compile(text: &str) -> Result<Plan, String> {
    let schema = Schema::parse_str(text).map_err(|error| error.to_string())?;
    let names = ResolvedSchema::new(&schema).map_err(|error| error.to_string())?;
    let Schema::Record(record) = &schema else { return Err("not a record".to_owned()) };
    let mut compiler = Compiler::new(&names);
    let steps: Vec<Step> = record.fields.iter().map(|field| compiler.step(field)).collect();
    let acts = program::straighten(&steps, &compiler.shapes);
    Ok(Plan { steps, acts, shapes: compiler.shapes })
}

pub(super) struct Compiler<'s> {
    names: &'s ResolvedSchema<'s>,
    shapes: Vec<Shape>,
    /// Places of named types that have been met.
    known: BTreeMap<String, usize>,
}

impl<'s> Compiler<'s> {
    pub(super) fn new(names: &'s ResolvedSchema<'s>) -> Compiler<'s> {
        Compiler { names, shapes: Vec::new(), known: BTreeMap::new() }
    }

    pub(super) fn into_shapes(self) -> Vec<Shape> {
        self.shapes
    }

    fn step(&mut self, field: &'s RecordField) -> Step {
        match Field::named(&field.name) {
            Some(wanted) => Step::Take(wanted, self.read(wanted.kind(), &field.schema)),
            None if field.name == STATUS => {
                let read = self.read(Kind::Text, &field.schema);
                if status::is_read(&read) { Step::Status(read) } else { Step::Skip(self.shape(&field.schema)) }
            }
            None => Step::Skip(self.shape(&field.schema)),
        }
    }

    pub(super) fn resolve(&self, schema: &'s Schema) -> &'s Schema {
        match schema {
            Schema::Ref { name } => self.names.get_names().get(name).copied().unwrap_or(schema),
            other => other,
        }
    }

    fn read(&self, kind: Kind, schema: &'s Schema) -> Read {
        let schema = self.resolve(schema);
        match schema {
            Schema::Null => return Read::Null,
            // A union holds no union, so that this ends.
            Schema::Union(union) => return Read::Union(union.variants().iter().map(|variant| self.read(kind, variant)).collect()),
            _ => {}
        }
        match kind {
            Kind::Text => read_text(schema),
            Kind::Time => read_time(schema),
            Kind::Count | Kind::Quantity => read_number(schema),
            Kind::Money => read_money(schema),
            Kind::Tags => match schema {
                Schema::Map(map) => Read::Map(Box::new(self.read(Kind::Text, &map.types))),
                other => Read::Wrong(name_of(other)),
            },
        }
    }

    pub(super) fn shape(&mut self, schema: &'s Schema) -> usize {
        let schema = self.resolve(schema);
        let name = schema.name().map(ToString::to_string);
        if let Some(place) = name.as_ref().and_then(|name| self.known.get(name)) {
            return *place;
        }
        let place = self.shapes.len();
        self.shapes.push(Shape::Fixed(0));
        self.known.extend(name.map(|name| (name, place)));
        let shape = match schema {
            Schema::Null => Shape::Fixed(0),
            Schema::Boolean => Shape::Fixed(1),
            Schema::Float => Shape::Fixed(4),
            Schema::Double => Shape::Fixed(8),
            Schema::Int | Schema::Long | Schema::Enum(_) => Shape::Varint,
            Schema::Date | Schema::TimeMillis | Schema::TimeMicros => Shape::Varint,
            Schema::TimestampMillis | Schema::TimestampMicros | Schema::TimestampNanos => Shape::Varint,
            Schema::LocalTimestampMillis | Schema::LocalTimestampMicros | Schema::LocalTimestampNanos => Shape::Varint,
            Schema::Bytes | Schema::String | Schema::BigDecimal => Shape::Bytes,
            Schema::Uuid(UuidSchema::Bytes | UuidSchema::String) => Shape::Bytes,
            Schema::Fixed(fixed) | Schema::Duration(fixed) | Schema::Uuid(UuidSchema::Fixed(fixed)) => Shape::Fixed(fixed.size),
            Schema::Decimal(decimal) => match &decimal.inner {
                InnerDecimalSchema::Bytes => Shape::Bytes,
                InnerDecimalSchema::Fixed(fixed) => Shape::Fixed(fixed.size),
            },
            Schema::Array(array) => Shape::Array(self.shape(&array.items)),
            Schema::Map(map) => Shape::Map(self.shape(&map.types)),
            Schema::Union(union) => Shape::Union(union.variants().iter().map(|variant| self.shape(variant)).collect()),
            Schema::Record(record) => Shape::Record(record.fields.iter().map(|field| self.shape(&field.schema)).collect()),
            // `resolve` has found every name, else `ResolvedSchema` had refused the schema.
            Schema::Ref { .. } => Shape::Union(Vec::new()),
        };
        if let Some(reserved) = self.shapes.get_mut(place) {
            *reserved = shape;
        }
        place
    }
}

fn read_text(schema: &Schema) -> Read {
    match schema {
        Schema::String | Schema::Bytes | Schema::Uuid(UuidSchema::String) => Read::Text,
        Schema::Enum(symbols) => Read::Symbols(symbols.symbols.iter().map(|symbol| symbol.as_str().into()).collect()),
        other => Read::Wrong(name_of(other)),
    }
}

/// A local timestamp lacks the zone, and a guess would move spend between hours.
fn read_time(schema: &Schema) -> Read {
    match schema {
        Schema::Long | Schema::TimestampMillis => Read::Time(1),
        Schema::TimestampMicros => Read::Time(1_000),
        Schema::TimestampNanos => Read::Time(1_000_000),
        Schema::String => Read::Text,
        other => Read::Wrong(name_of(other)),
    }
}

fn read_number(schema: &Schema) -> Read {
    match schema {
        Schema::Int | Schema::Long => Read::Long,
        Schema::Float => Read::Float,
        Schema::Double => Read::Double,
        other => Read::Wrong(name_of(other)),
    }
}

fn read_money(schema: &Schema) -> Read {
    match schema {
        Schema::String | Schema::Bytes => Read::Text,
        Schema::Decimal(decimal) => {
            let size = match &decimal.inner {
                InnerDecimalSchema::Bytes => None,
                InnerDecimalSchema::Fixed(fixed) => Some(fixed.size),
            };
            // So many digits that nothing is left of any number.
            Read::Decimal { scale: u32::try_from(decimal.scale).unwrap_or(u32::MAX), size }
        }
        other => read_number(other),
    }
}

pub(super) fn name_of(schema: &Schema) -> &'static str {
    match schema {
        Schema::Null => "null",
        Schema::Boolean => "a boolean",
        Schema::Int | Schema::Long | Schema::Float | Schema::Double => "a number",
        Schema::String | Schema::Uuid(_) => "a text",
        Schema::Enum(_) => "an enum",
        Schema::Bytes | Schema::Fixed(_) => "bytes",
        Schema::Decimal(_) | Schema::BigDecimal => "a decimal",
        Schema::Array(_) => "an array",
        Schema::Map(_) => "a map",
        Schema::Record(_) => "a record",
        Schema::Union(_) => "a union",
        Schema::Date | Schema::TimeMillis | Schema::TimeMicros | Schema::Duration(_) => "a date, a time of day or a duration",
        Schema::TimestampMillis | Schema::TimestampMicros | Schema::TimestampNanos => "a time",
        Schema::LocalTimestampMillis | Schema::LocalTimestampMicros | Schema::LocalTimestampNanos => "a time without a zone",
        Schema::Ref { .. } => "a name",
    }
}
