//! The fields of a usage event that are read, and a decoded event whose values nobody has judged yet.

use std::borrow::Cow;

use super::short;
use crate::model::record::{Reject, RejectReason};

/// A field of `schemas/usage_event.avsc` that intake uses; others are skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    EventId,
    Source,
    EventTime,
    Meter,
    Team,
    Project,
    Model,
    Provider,
    Region,
    Environment,
    User,
    Account,
    ResourceId,
    Quantity,
    InputTokens,
    OutputTokens,
    CachedInputTokens,
    CacheWriteTokens,
    ReasoningTokens,
    Requests,
    Cost,
    Currency,
    Tags,
}

/// Which types a field may have on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Time,
    /// A whole number.
    Count,
    Quantity,
    Money,
    Tags,
}

impl Field {
    pub const COUNT: usize = 23;

    pub const ALL: [Field; Field::COUNT] = [
        Field::EventId,
        Field::Source,
        Field::EventTime,
        Field::Meter,
        Field::Team,
        Field::Project,
        Field::Model,
        Field::Provider,
        Field::Region,
        Field::Environment,
        Field::User,
        Field::Account,
        Field::ResourceId,
        Field::Quantity,
        Field::InputTokens,
        Field::OutputTokens,
        Field::CachedInputTokens,
        Field::CacheWriteTokens,
        Field::ReasoningTokens,
        Field::Requests,
        Field::Cost,
        Field::Currency,
        Field::Tags,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Field::EventId => "event_id",
            Field::Source => "source",
            Field::EventTime => "event_time",
            Field::Meter => "meter",
            Field::Team => "team",
            Field::Project => "project",
            Field::Model => "model",
            Field::Provider => "provider",
            Field::Region => "region",
            Field::Environment => "environment",
            Field::User => "user",
            Field::Account => "account",
            Field::ResourceId => "resource_id",
            Field::Quantity => "quantity",
            Field::InputTokens => "input_tokens",
            Field::OutputTokens => "output_tokens",
            Field::CachedInputTokens => "cached_input_tokens",
            Field::CacheWriteTokens => "cache_write_tokens",
            Field::ReasoningTokens => "reasoning_tokens",
            Field::Requests => "requests",
            Field::Cost => "cost",
            Field::Currency => "currency",
            Field::Tags => "tags",
        }
    }

    pub fn named(name: &str) -> Option<Field> {
        Some(match name {
            "event_id" => Field::EventId,
            "source" => Field::Source,
            "event_time" => Field::EventTime,
            "meter" => Field::Meter,
            "team" => Field::Team,
            "project" => Field::Project,
            "model" => Field::Model,
            "provider" => Field::Provider,
            "region" => Field::Region,
            "environment" => Field::Environment,
            "user" => Field::User,
            "account" => Field::Account,
            "resource_id" => Field::ResourceId,
            "quantity" => Field::Quantity,
            "input_tokens" => Field::InputTokens,
            "output_tokens" => Field::OutputTokens,
            "cached_input_tokens" => Field::CachedInputTokens,
            "cache_write_tokens" => Field::CacheWriteTokens,
            "reasoning_tokens" => Field::ReasoningTokens,
            "requests" => Field::Requests,
            "cost" => Field::Cost,
            "currency" => Field::Currency,
            "tags" => Field::Tags,
            _ => return None,
        })
    }

    pub fn kind(self) -> Kind {
        match self {
            Field::EventId
            | Field::Source
            | Field::Meter
            | Field::Team
            | Field::Project
            | Field::Model
            | Field::Provider
            | Field::Region
            | Field::Environment
            | Field::User
            | Field::Account
            | Field::ResourceId
            | Field::Currency => Kind::Text,
            Field::EventTime => Kind::Time,
            Field::InputTokens
            | Field::OutputTokens
            | Field::CachedInputTokens
            | Field::CacheWriteTokens
            | Field::ReasoningTokens
            | Field::Requests => Kind::Count,
            Field::Quantity => Kind::Quantity,
            Field::Cost => Kind::Money,
            Field::Tags => Kind::Tags,
        }
    }
}

/// One value as it stood on the wire.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value<'a> {
    /// Null or absent: the contract makes no difference.
    #[default]
    Null,
    Text(Cow<'a, str>),
    /// An Avro number; of a time, milliseconds since the epoch.
    Int(i64),
    Float(f64),
    /// A JSON number as written: money must not go through a float.
    Literal(&'a str),
    /// Avro's decimal: a big-endian two's complement of 1 to 16 bytes, and how many digits stand behind the point.
    Decimal(&'a [u8], u32),
    /// Something that this field cannot be, in words.
    Other(&'static str),
}

/// Name and value.
pub type Tag<'a> = (Cow<'a, str>, Cow<'a, str>);

/// A decoded event: types are right, values may still be nonsense.
#[derive(Debug, Default)]
pub struct RawEvent<'a> {
    values: [Value<'a>; Field::COUNT],
    pub tags: Vec<Tag<'a>>,
    /// Its status is a kind of error.
    pub failed: bool,
}

/// What one event after the other may use, so that it need not be allocated for each.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Decoded base64, for as long as an event borrows from it.
    pub base64: Vec<u8>,
    /// Empty; for its room.
    tags: Vec<Tag<'static>>,
}

impl Scratch {
    pub(super) fn split(&mut self) -> (RawEvent<'_>, &mut Vec<u8>) {
        let blank = RawEvent { tags: emptied(std::mem::take(&mut self.tags)), ..RawEvent::default() };
        (blank, &mut self.base64)
    }

    pub fn take_back(&mut self, tags: Vec<Tag<'static>>) {
        self.tags = tags;
    }
}

/// The same room for texts of another life: the standard library collects in place, which the test of allocations holds it to.
pub fn emptied<'b>(mut tags: Vec<Tag<'_>>) -> Vec<Tag<'b>> {
    tags.clear();
    tags.into_iter().map(|_| (Cow::Borrowed(""), Cow::Borrowed(""))).collect()
}

/// Tags of which more are not even collected; `validate` refuses the event.
pub const MOST_TAGS: usize = 64;

impl<'a> RawEvent<'a> {
    pub fn take(&mut self, field: Field) -> Value<'a> {
        std::mem::take(&mut self.values[field as usize])
    }

    pub fn set(&mut self, field: Field, value: Value<'a>) -> Result<(), Reject> {
        let fits = match (field.kind(), &value) {
            (_, Value::Null) => true,
            (Kind::Text, Value::Text(_)) => true,
            (Kind::Time, Value::Text(_) | Value::Int(_)) => true,
            (Kind::Count | Kind::Quantity, Value::Int(_) | Value::Float(_) | Value::Literal(_)) => true,
            (Kind::Money, Value::Text(_) | Value::Int(_) | Value::Float(_) | Value::Literal(_) | Value::Decimal(..)) => true,
            (Kind::Text | Kind::Time | Kind::Count | Kind::Quantity | Kind::Money | Kind::Tags, _) => false,
        };
        if !fits {
            return Err(wrong_type(field, describe(&value)));
        }
        self.put(field, value);
        Ok(())
    }

    /// For a reader that has compared the types before: an Avro plan does so once for each schema.
    pub(super) fn put(&mut self, field: Field, value: Value<'a>) {
        self.values[field as usize] = value;
    }

    pub fn set_if_absent(&mut self, field: Field, text: Cow<'a, str>) {
        if let Some(value @ Value::Null) = self.values.get_mut(field as usize) {
            *value = Value::Text(text);
        }
    }

    pub fn add_tag(&mut self, name: Cow<'a, str>, value: Cow<'a, str>) {
        // One more than allowed is enough to see that there are too many.
        if self.tags.len() <= MOST_TAGS {
            self.tags.push((name, value));
        }
    }
}

fn describe(value: &Value<'_>) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Text(_) => "a text",
        Value::Int(_) | Value::Float(_) | Value::Literal(_) | Value::Decimal(..) => "a number",
        Value::Other(what) => what,
    }
}

pub fn wrong_type(field: Field, found: &str) -> Reject {
    let expected = match field.kind() {
        Kind::Text => "a text",
        Kind::Time => "a time (RFC 3339 text in JSON, timestamp-millis in Avro)",
        Kind::Count => "a whole number",
        Kind::Quantity => "a number",
        Kind::Money => "a decimal text",
        Kind::Tags => "a map of texts",
    };
    Reject::new(RejectReason::WrongType, format!("'{}' is {}, expected {expected}", field.name(), short(found)))
}
