//! Bytes to fields: finds out which form a record has and hands it to that form's reader. Knows types, not meanings: `validate` does.
//! A reader never panics, whatever the bytes, and allocates no more than a small multiple of their length.

pub mod avro;
pub mod billing;
pub mod cloudevents;
mod field;
pub mod json;
mod plan;
mod program;
pub mod quick;
mod schemas;
#[cfg(test)]
mod second;
mod status;
pub mod table;
#[cfg(test)]
mod tests;

pub use field::{Field, MOST_TAGS, RawEvent, Scratch, Tag, Value, emptied, wrong_type};
pub use schemas::SchemaTable;

use crate::model::record::{InputRecord, Reject, RejectReason};
use crate::model::wire::confluent_unframe;

/// Why there is no event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    Reject(Reject),
    /// The shell has to look up this writer schema first, then hand in the record again.
    NeedsSchema(u32),
}

impl From<Reject> for Stop {
    fn from(reject: Reject) -> Stop {
        Stop::Reject(reject)
    }
}

/// What a value is, as far as header and first bytes tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Avro,
    Json,
    StructuredCloudEvent,
}

pub fn decode<'a>(
    record: &InputRecord<'a>,
    largest: usize,
    schemas: &'a SchemaTable,
    scratch: &'a mut Scratch,
) -> Result<RawEvent<'a>, Stop> {
    let value = match record.value {
        None => return Err(Reject::new(RejectReason::NoValue, "a record without a value (tombstone)").into()),
        Some([]) => return Err(Reject::new(RejectReason::EmptyValue, "a value of zero bytes").into()),
        Some(value) => value,
    };
    if value.len() > largest {
        let message = format!("{} bytes, at most {largest} are taken", value.len());
        return Err(Reject::new(RejectReason::TooLarge, message).into());
    }
    let content_type = cloudevents::header(record, "content-type")?;
    let (blank, base64) = scratch.split();
    match form(content_type, value)? {
        Form::StructuredCloudEvent => cloudevents::structured(value, schemas, blank, base64),
        data => {
            let mut event = payload(data, value, schemas, blank)?;
            cloudevents::fill_from_headers(&mut event, record)?;
            Ok(event)
        }
    }
}

/// Whose schema decides whether it can be read: framed Avro's. Of Avro within a structured CloudEvent nobody asks.
pub fn schema_of(record: &InputRecord<'_>) -> Option<u32> {
    let value = record.value?;
    let form = form(cloudevents::header(record, "content-type").ok()?, value).ok()?;
    let (id, _) = confluent_unframe(value).filter(|_| form == Form::Avro)?;
    Some(id.cast_unsigned())
}

/// The quick way for a plain record: framed Avro of a known schema. `None`: take the other one. `key` becomes a zero, the schema's id
/// and the texts that `quick::read` appends.
pub fn quick<'a>(record: &InputRecord<'a>, largest: usize, schemas: &'a SchemaTable, key: &mut Vec<u8>) -> Option<quick::QuickEvent<'a>> {
    let value = record.value.filter(|value| value.len() <= largest)?;
    // A content type or an attribute of CloudEvents may say otherwise.
    let speaks =
        |name: &str| name.eq_ignore_ascii_case("content-type") || name.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("ce_"));
    if record.headers.iter().any(|(name, _)| speaks(name)) {
        return None;
    }
    let (id, datum) = confluent_unframe(value)?;
    key.clear();
    key.push(0);
    key.extend_from_slice(&id.to_le_bytes());
    quick::read(datum, schemas.known(id.cast_unsigned())?, key)
}

fn payload<'a>(form: Form, value: &'a [u8], schemas: &'a SchemaTable, blank: RawEvent<'a>) -> Result<RawEvent<'a>, Stop> {
    match form {
        Form::Avro => avro::decode(value, schemas, blank),
        Form::Json => Ok(json::decode_text(json::text(value)?, blank)?),
        Form::StructuredCloudEvent => Err(Reject::new(RejectReason::InvalidCloudEvent, "an event within an event is not supported").into()),
    }
}

/// The content type decides where it names a form that we know; a generic one (`application/octet-stream`) says nothing.
fn form(content_type: Option<&str>, value: &[u8]) -> Result<Form, Reject> {
    let media = content_type.unwrap_or_default();
    let media = media.split(';').next().unwrap_or_default().trim();
    let is = |names: &[&str]| names.iter().any(|name| media.eq_ignore_ascii_case(name));
    let begins = |with: &str| media.as_bytes().get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with.as_bytes()));
    let ends = |with: &str| {
        let start = media.len().checked_sub(with.len());
        start.and_then(|start| media.as_bytes().get(start..)).is_some_and(|end| end.eq_ignore_ascii_case(with.as_bytes()))
    };
    if begins("application/cloudevents") {
        if is(&["application/cloudevents+json", "application/cloudevents"]) {
            return Ok(Form::StructuredCloudEvent);
        }
        let message = format!("'{}' is not supported", short(&media.to_ascii_lowercase()));
        return Err(Reject::new(RejectReason::InvalidCloudEvent, message));
    }
    if is(&["application/json", "text/json"]) || ends("+json") {
        Ok(Form::Json)
    } else if is(&["application/avro", "avro/binary", "application/vnd.apache.avro", "application/vnd.apache.avro+binary"]) {
        Ok(Form::Avro)
    } else {
        sniff(value)
    }
}

fn sniff(value: &[u8]) -> Result<Form, Reject> {
    if value.first() == Some(&0) {
        return Ok(Form::Avro);
    }
    match value.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => Ok(Form::Json),
        _ => Err(Reject::new(RejectReason::UnknownFormat, "neither Confluent Avro (first byte 0) nor a JSON object")),
    }
}

/// Foreign text for a message: at most 80 bytes, without control characters.
pub fn short(text: &str) -> String {
    let mut cut: String = text.chars().take(80).map(|c| if c.is_control() { ' ' } else { c }).collect();
    while cut.len() > 80 {
        cut.pop();
    }
    if cut.len() < text.len() {
        cut.push_str("...");
    }
    cut
}
