//! An input record as the core sees it, and what becomes of one that cannot be used.

use std::fmt;

use super::Text;
use super::time::Timestamp;

/// A borrowed Kafka record of an input topic.
#[derive(Clone, Copy, Debug)]
pub struct InputRecord<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub offset: i64,
    /// The record's Kafka timestamp (append time, or the producer's clock, as the topic is set up).
    pub timestamp: Timestamp,
    pub key: Option<&'a [u8]>,
    /// `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    pub headers: &'a [(&'a str, &'a [u8])],
}

/// Why a record went to `dead-letter`. The name is the header, the metric's label and the row in the docs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RejectReason {
    /// Tombstone: no value at all.
    NoValue,
    /// A value of zero bytes.
    EmptyValue,
    /// Larger than `intake.largest_record`.
    TooLarge,
    /// Neither Avro framing, CloudEvents nor JSON.
    UnknownFormat,
    /// The registry (or `schemas.ids`) does not know the schema id.
    UnknownSchema,
    /// The bytes do not follow their schema, or end early.
    InvalidAvro,
    InvalidJson,
    InvalidUtf8,
    InvalidCloudEvent,
    /// A required field is absent or empty.
    MissingField,
    /// A field has another type than the schema says.
    WrongType,
    /// A text field longer than 1,024 bytes, or too many tags.
    FieldTooLong,
    /// NaN or infinite.
    NotANumber,
    NegativeQuantity,
    /// A quantity or an amount beyond 10^18, an amount of the bill beyond 10^12.
    OutOfRange,
    InvalidEventTime,
    /// Later than the record's timestamp (or now) plus the allowed skew.
    EventTimeInFuture,
    /// Before 2015-01-01.
    EventTimeTooOld,
    InvalidAmount,
    /// Not an active ISO 4217 code.
    UnknownCurrency,
    /// A billing period that is no month, or a charge whose period begins nowhere.
    InvalidPeriod,
}

impl RejectReason {
    pub const ALL: [RejectReason; 21] = [
        RejectReason::NoValue,
        RejectReason::EmptyValue,
        RejectReason::TooLarge,
        RejectReason::UnknownFormat,
        RejectReason::UnknownSchema,
        RejectReason::InvalidAvro,
        RejectReason::InvalidJson,
        RejectReason::InvalidUtf8,
        RejectReason::InvalidCloudEvent,
        RejectReason::MissingField,
        RejectReason::WrongType,
        RejectReason::FieldTooLong,
        RejectReason::NotANumber,
        RejectReason::NegativeQuantity,
        RejectReason::OutOfRange,
        RejectReason::InvalidEventTime,
        RejectReason::EventTimeInFuture,
        RejectReason::EventTimeTooOld,
        RejectReason::InvalidAmount,
        RejectReason::UnknownCurrency,
        RejectReason::InvalidPeriod,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            RejectReason::NoValue => "no_value",
            RejectReason::EmptyValue => "empty_value",
            RejectReason::TooLarge => "too_large",
            RejectReason::UnknownFormat => "unknown_format",
            RejectReason::UnknownSchema => "unknown_schema",
            RejectReason::InvalidAvro => "invalid_avro",
            RejectReason::InvalidJson => "invalid_json",
            RejectReason::InvalidUtf8 => "invalid_utf8",
            RejectReason::InvalidCloudEvent => "invalid_cloud_event",
            RejectReason::MissingField => "missing_field",
            RejectReason::WrongType => "wrong_type",
            RejectReason::FieldTooLong => "field_too_long",
            RejectReason::NotANumber => "not_a_number",
            RejectReason::NegativeQuantity => "negative_quantity",
            RejectReason::OutOfRange => "out_of_range",
            RejectReason::InvalidEventTime => "invalid_event_time",
            RejectReason::EventTimeInFuture => "event_time_in_future",
            RejectReason::EventTimeTooOld => "event_time_too_old",
            RejectReason::InvalidAmount => "invalid_amount",
            RejectReason::UnknownCurrency => "unknown_currency",
            RejectReason::InvalidPeriod => "invalid_period",
        }
    }
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A reason and what exactly was wrong, for the person who reads the dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    pub reason: RejectReason,
    /// Lower case, names the field and the offending value (cut to a sensible length).
    pub message: String,
}

impl Reject {
    pub fn new(reason: RejectReason, message: impl Into<String>) -> Reject {
        Reject { reason, message: message.into() }
    }
}

/// A record on its way to `dead-letter`: original key, value and headers, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    pub topic: Text,
    pub partition: i32,
    pub offset: i64,
    pub timestamp: Timestamp,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Vec<u8>)>,
    pub reject: Reject,
}

impl DeadLetter {
    pub fn of(record: &InputRecord<'_>, reject: Reject) -> DeadLetter {
        DeadLetter {
            topic: record.topic.into(),
            partition: record.partition,
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record.headers.iter().map(|(name, value)| ((*name).to_string(), value.to_vec())).collect(),
            reject,
        }
    }
}
