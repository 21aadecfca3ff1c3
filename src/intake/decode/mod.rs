//! Bytes to fields: finds out which form a record has and hands it to that form's reader. Knows types, not meanings: `validate` does.
//! A reader never panics, whatever the bytes, and allocates no more than a small multiple of their length.

pub mod avro;
pub mod cloudevents;
mod field;
pub mod json;
mod plan;
mod schemas;
#[cfg(test)]
mod tests;

pub use field::{Field, MOST_TAGS, RawEvent, Value, wrong_type};
pub use schemas::SchemaTable;

use crate::model::record::{InputRecord, Reject, RejectReason};

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

/// `scratch` holds decoded base64 for as long as the event borrows from it.
pub fn decode<'a>(
    record: &InputRecord<'a>,
    largest: usize,
    schemas: &'a SchemaTable,
    scratch: &'a mut Vec<u8>,
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
    match form(content_type, value)? {
        Form::StructuredCloudEvent => cloudevents::structured(value, schemas, scratch),
        data => {
            let mut event = payload(data, value, schemas)?;
            cloudevents::fill_from_headers(&mut event, record)?;
            Ok(event)
        }
    }
}

fn payload<'a>(form: Form, value: &'a [u8], schemas: &'a SchemaTable) -> Result<RawEvent<'a>, Stop> {
    match form {
        Form::Avro => avro::decode(value, schemas),
        Form::Json => Ok(json::decode(value)?),
        Form::StructuredCloudEvent => Err(Reject::new(RejectReason::InvalidCloudEvent, "an event within an event is not supported").into()),
    }
}

/// The content type decides where it names a form that we know; a generic one (`application/octet-stream`) says nothing.
fn form(content_type: Option<&str>, value: &[u8]) -> Result<Form, Reject> {
    let media = content_type.unwrap_or_default();
    let media = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if media.starts_with("application/cloudevents") {
        return match media.as_str() {
            "application/cloudevents+json" | "application/cloudevents" => Ok(Form::StructuredCloudEvent),
            other => Err(Reject::new(RejectReason::InvalidCloudEvent, format!("'{}' is not supported", short(other)))),
        };
    }
    match media.as_str() {
        "application/json" | "text/json" => Ok(Form::Json),
        json if json.ends_with("+json") => Ok(Form::Json),
        "application/avro" | "avro/binary" | "application/vnd.apache.avro" | "application/vnd.apache.avro+binary" => Ok(Form::Avro),
        _ => sniff(value),
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
