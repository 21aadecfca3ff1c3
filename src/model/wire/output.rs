//! Output records as Avro payload or JSON twin. A payload is read by the schema that wrote it, which need not be ours: old programs read
//! new records and new programs old ones, as Avro's resolution rules say.

use std::sync::LazyLock;

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::writer::datum::GenericDatumWriter;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::WireError;
use super::confluent::confluent_unframe;
use super::schema::{NamedSchema, SchemaName, schema, schemas};
use crate::model::alert::Alert;
use crate::model::rollup::SpendRollup;
use crate::model::violation::Violation;

/// Writer and reader of one of our own schemas; building them resolves names, so it is done once.
struct Codec {
    writer: GenericDatumWriter<'static>,
    reader: GenericDatumReader<'static>,
}

static CODECS: LazyLock<Vec<Result<Codec, WireError>>> = LazyLock::new(|| schemas().iter().map(Codec::new).collect());

impl Codec {
    fn new(known: &'static NamedSchema) -> Result<Codec, WireError> {
        let failed = |error| avro_error(known.name, &error);
        let writer = GenericDatumWriter::builder(&known.avro).human_readable(false).build().map_err(failed)?;
        let reader = GenericDatumReader::builder(&known.avro).human_readable(false).build().map_err(failed)?;
        Ok(Codec { writer, reader })
    }

    fn of(which: SchemaName) -> Result<&'static Codec, WireError> {
        CODECS[which as usize].as_ref().map_err(WireError::clone)
    }
}

/// Avro payload, without a frame. The value's struct has the record's name and fields.
pub fn to_avro<T: Serialize>(which: SchemaName, value: &T) -> Result<Vec<u8>, WireError> {
    Codec::of(which)?.writer.write_ser_to_vec(value).map_err(|error| avro_error(schema(which).name, &error))
}

/// Reads a payload. `writer` is the schema that the payload was written with; `None` = this program's own.
pub fn from_avro<T: DeserializeOwned>(which: SchemaName, payload: &[u8], writer: Option<&Schema>) -> Result<T, WireError> {
    let NamedSchema { name, avro, .. } = schema(which);
    match writer.filter(|writer| *writer != avro) {
        None => read_own(which, payload),
        Some(writer) => {
            let failed = |error| avro_error(name, &error);
            let mut rest = payload;
            let reader = GenericDatumReader::builder(writer).reader_schema(avro).build().map_err(failed)?;
            let value = reader.read_value(&mut rest).map_err(failed)?;
            all_read(name, rest)?;
            // Once more through bytes: reading a resolved value by serde would hang on a process-wide setting of the library.
            read_own(which, &Codec::of(which)?.writer.write_value_to_vec(value).map_err(failed)?)
        }
    }
}

fn read_own<T: DeserializeOwned>(which: SchemaName, payload: &[u8]) -> Result<T, WireError> {
    let name = schema(which).name;
    let mut rest = payload;
    let value = Codec::of(which)?.reader.read_deser(&mut rest).map_err(|error| avro_error(name, &error))?;
    all_read(name, rest)?;
    Ok(value)
}

fn all_read(schema: &'static str, rest: &[u8]) -> Result<(), WireError> {
    if rest.is_empty() { Ok(()) } else { Err(WireError::Avro { schema, detail: format!("{} bytes behind the record", rest.len()) }) }
}

fn avro_error(schema: &'static str, error: &apache_avro::Error) -> WireError {
    WireError::Avro { schema, detail: error.to_string() }
}

/// The JSON twin.
pub fn to_json<T: Serialize>(which: SchemaName, value: &T) -> Result<Vec<u8>, WireError> {
    serde_json::to_vec(value).map_err(|error| json_error(which, &error))
}

/// Reads a JSON twin; fields that this program does not know are passed over.
pub fn from_json<T: DeserializeOwned>(which: SchemaName, text: &[u8]) -> Result<T, WireError> {
    serde_json::from_slice(text).map_err(|error| json_error(which, &error))
}

/// By the header `content-type` JSON as it is, or Avro behind the five bytes of Confluent's framing.
fn of_record<T: DeserializeOwned>(which: SchemaName, content_type: Option<&[u8]>, value: &[u8]) -> Result<T, WireError> {
    if content_type.is_some_and(|form| form == b"application/json") {
        return from_json(which, value);
    }
    let framing = || WireError::Avro { schema: schema(which).name, detail: "neither JSON nor Avro in Confluent framing".to_owned() };
    let (_, payload) = confluent_unframe(value).ok_or_else(framing)?;
    from_avro(which, payload, None)
}

fn json_error(which: SchemaName, error: &serde_json::Error) -> WireError {
    WireError::Json { schema: schema(which).name, detail: error.to_string() }
}

pub fn alert_to_avro(alert: &Alert) -> Result<Vec<u8>, WireError> {
    to_avro(SchemaName::Alert, alert)
}

/// `writer`: see [`from_avro`].
pub fn alert_from_avro(payload: &[u8], writer: Option<&Schema>) -> Result<Alert, WireError> {
    from_avro(SchemaName::Alert, payload, writer)
}

pub fn alert_to_json(alert: &Alert) -> Result<Vec<u8>, WireError> {
    to_json(SchemaName::Alert, alert)
}

pub fn alert_from_json(text: &[u8]) -> Result<Alert, WireError> {
    from_json(SchemaName::Alert, text)
}

/// A roll-up as it stands on its topic: as [`alert_of_record`].
///
/// # Errors
/// Neither of both, or of a later version.
pub fn rollup_of_record(content_type: Option<&[u8]>, value: &[u8]) -> Result<SpendRollup, WireError> {
    of_record(SchemaName::SpendRollup, content_type, value)
}

/// An alert as it stands on its topic: by the header `content-type` JSON as it is, or Avro behind the five bytes of Confluent's framing.
///
/// # Errors
/// Neither of both, or of a later version.
pub fn alert_of_record(content_type: Option<&[u8]>, value: &[u8]) -> Result<Alert, WireError> {
    of_record(SchemaName::Alert, content_type, value)
}

pub fn violation_to_avro(violation: &Violation) -> Result<Vec<u8>, WireError> {
    to_avro(SchemaName::Violation, violation)
}

/// `writer`: see [`from_avro`].
pub fn violation_from_avro(payload: &[u8], writer: Option<&Schema>) -> Result<Violation, WireError> {
    from_avro(SchemaName::Violation, payload, writer)
}

pub fn violation_to_json(violation: &Violation) -> Result<Vec<u8>, WireError> {
    to_json(SchemaName::Violation, violation)
}

pub fn violation_from_json(text: &[u8]) -> Result<Violation, WireError> {
    from_json(SchemaName::Violation, text)
}

/// As [`alert_of_record`].
///
/// # Errors
/// Neither JSON nor Avro, or of a later version.
pub fn violation_of_record(content_type: Option<&[u8]>, value: &[u8]) -> Result<Violation, WireError> {
    of_record(SchemaName::Violation, content_type, value)
}

pub fn rollup_to_avro(rollup: &SpendRollup) -> Result<Vec<u8>, WireError> {
    to_avro(SchemaName::SpendRollup, rollup)
}

/// `writer`: see [`from_avro`].
pub fn rollup_from_avro(payload: &[u8], writer: Option<&Schema>) -> Result<SpendRollup, WireError> {
    from_avro(SchemaName::SpendRollup, payload, writer)
}

pub fn rollup_to_json(rollup: &SpendRollup) -> Result<Vec<u8>, WireError> {
    to_json(SchemaName::SpendRollup, rollup)
}

pub fn rollup_from_json(text: &[u8]) -> Result<SpendRollup, WireError> {
    from_json(SchemaName::SpendRollup, text)
}
