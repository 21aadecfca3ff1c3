//! CloudEvents around either form: binary (headers) and structured (one JSON object). Kafka protocol binding 1.0.2.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::avro::SchemaTable;
use super::{Decoded, Field, RawTime, RawUsage, json, payload};
use crate::model::record::{InputRecord, Reject, RejectReason};

/// The attributes that a usage event can take over.
#[derive(Deserialize)]
struct Structured<'a> {
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
    #[serde(borrow)]
    data_base64: Option<Cow<'a, str>>,
}

pub fn header<'a>(record: &InputRecord<'a>, name: &str) -> Option<Cow<'a, str>> {
    let found = record.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
    found.map(|(_, value)| String::from_utf8_lossy(value))
}

/// Binary mode: what the event itself does not say is taken from `ce_` headers.
pub fn complete(raw: RawUsage, record: &InputRecord<'_>) -> RawUsage {
    if record.headers.is_empty() {
        return raw;
    }
    let owned = |name| header(record, name).map(Cow::into_owned);
    with_defaults(raw, owned("ce_id"), owned("ce_source"), owned("ce_time"))
}

fn with_defaults(mut raw: RawUsage, id: Option<String>, source: Option<String>, time: Option<String>) -> RawUsage {
    for (name, value) in [("event_id", id), ("source", source)] {
        if let Some(Field::Text(at)) = super::field(name)
            && raw.texts[at].is_none()
        {
            raw.texts[at] = value;
        }
    }
    if raw.event_time.is_none() {
        raw.event_time = time.map(RawTime::Text);
    }
    raw
}

/// # Errors
/// Not a CloudEvent of version 1, without data, or with data that is no usage event.
pub fn structured(value: &[u8], schemas: &SchemaTable) -> Result<Decoded, Reject> {
    let invalid = |message: String| Reject::new(RejectReason::InvalidCloudEvent, message);
    let text = std::str::from_utf8(value)
        .map_err(|error| Reject::new(RejectReason::InvalidUtf8, format!("not UTF-8 from byte {} on", error.valid_up_to())))?;
    let event: Structured<'_> = serde_json::from_str(text).map_err(|error| invalid(error.to_string()))?;
    match event.specversion.as_deref() {
        Some(version) if version.starts_with("1.") => {}
        Some(version) => return Err(invalid(format!("CloudEvents version '{version}', wanted 1.0"))),
        None => return Err(invalid("attribute 'specversion' is missing".into())),
    }
    let decoded = match (event.data, event.data_base64) {
        (Some(data), None) => Decoded::Usage(Box::new(json::decode(data.get().as_bytes())?)),
        (None, Some(text)) => {
            let bytes = base64(&text).ok_or_else(|| invalid("attribute 'data_base64' is not base64".into()))?;
            if bytes.is_empty() {
                return Err(invalid("attribute 'data_base64' is empty".into()));
            }
            payload(&bytes, schemas)?
        }
        (Some(_), Some(_)) => return Err(invalid("both 'data' and 'data_base64'".into())),
        (None, None) => return Err(invalid("no data".into())),
    };
    let owned = |text: Option<Cow<'_, str>>| text.map(Cow::into_owned);
    Ok(match decoded {
        Decoded::Usage(raw) => Decoded::Usage(Box::new(with_defaults(*raw, owned(event.id), owned(event.source), owned(event.time)))),
        needs => needs,
    })
}

/// RFC 4648 with padding.
fn base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 3);
    for chunk in digits.chunks(4) {
        let mut word: u32 = 0;
        for digit in chunk {
            word = word << 6 | u32::from(base64_digit(*digit)?);
        }
        let filled = word << (6 * (4 - chunk.len()));
        let [_, a, b, c] = filled.to_be_bytes();
        bytes.extend(&[a, b, c][..chunk.len().checked_sub(1).filter(|count| *count > 0)?]);
    }
    Some(bytes)
}

fn base64_digit(digit: u8) -> Option<u8> {
    Some(match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}
