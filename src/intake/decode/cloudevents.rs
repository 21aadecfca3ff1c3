//! CloudEvents 1.0 around a usage event: attributes in `ce_` headers (binary), or event and data in one JSON object (structured).
//! Attributes fill in what the data leaves out; where both say something, the data holds.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::json::{self, Text};
use super::{Field, Form, RawEvent, SchemaTable, Stop, Value, form, payload, short};
use crate::model::record::{InputRecord, Reject, RejectReason};

/// Attribute, and the field that it stands for.
const DEFAULTS: [(&str, Field); 3] = [("ce_id", Field::EventId), ("ce_source", Field::Source), ("ce_time", Field::EventTime)];

/// By which a record says that it is an event, and of which version.
pub const VERSION: &str = "ce_specversion";

/// A header's text; producers differ in how they capitalise its name.
pub fn header<'a>(record: &InputRecord<'a>, name: &str) -> Result<Option<&'a str>, Reject> {
    let Some((_, bytes)) = record.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) else { return Ok(None) };
    let text = std::str::from_utf8(bytes).map_err(|_| Reject::new(RejectReason::InvalidUtf8, format!("header '{name}' is no UTF-8")))?;
    Ok(Some(text))
}

/// 1.x is read as 1.0 says, and so is what names no version: headers that somebody wrote by hand. In 0.x attributes had other names and
/// meanings, and of 2.0 nobody knows.
pub fn check_version(specversion: Option<&str>) -> Result<(), Reject> {
    let is_known = |version: &str| version.split('.').next() == Some("1");
    match specversion.map(str::trim) {
        Some(version) if !is_known(version) => {
            let message = format!("specversion '{}' is not supported: write CloudEvents 1.0", short(version));
            Err(Reject::new(RejectReason::InvalidCloudEvent, message))
        }
        _ => Ok(()),
    }
}

pub fn fill_from_headers<'a>(event: &mut RawEvent<'a>, record: &InputRecord<'a>) -> Result<(), Reject> {
    check_version(header(record, VERSION)?)?;
    for (name, field) in DEFAULTS {
        if let Some(text) = header(record, name)? {
            event.set_if_absent(field, Cow::Borrowed(text));
        }
    }
    Ok(())
}

pub fn structured<'a>(
    value: &'a [u8],
    schemas: &'a SchemaTable,
    blank: RawEvent<'a>,
    scratch: &'a mut Vec<u8>,
) -> Result<RawEvent<'a>, Stop> {
    let mut envelope = Envelope::default();
    let mut reader = serde_json::Deserializer::from_str(json::text(value)?);
    reader.deserialize_map(&mut envelope).and_then(|()| reader.end()).map_err(|error| json::invalid(&error))?;
    let Envelope { specversion, id, source, time, content_type, data, data_base64 } = envelope;
    match specversion {
        Value::Null => {}
        Value::Text(version) => check_version(Some(&version))?,
        _ => return Err(invalid("'specversion' is no text")),
    }
    let mut event = match (data.filter(|data| data.get() != "null"), data_base64) {
        (Some(data), Value::Null) if data.get().starts_with('{') => json::decode_text(data.get(), blank)?,
        (Some(_), Value::Null) => return Err(invalid("'data' is no object")),
        (None, Value::Text(text)) => {
            *scratch = base64(&text).ok_or_else(|| invalid("'data_base64' is no base64"))?;
            let bytes: &'a [u8] = scratch;
            let content_type = if let Value::Text(text) = &content_type { Some(text.as_ref()) } else { None };
            if bytes.is_empty() {
                return Err(invalid("'data_base64' is empty"));
            }
            match form(content_type, bytes)? {
                Form::StructuredCloudEvent => return Err(invalid("an event within an event is not supported")),
                data => payload(data, bytes, schemas, blank)?,
            }
        }
        (Some(_), _) => return Err(invalid("'data' and 'data_base64' exclude each other")),
        (None, Value::Null) => return Err(invalid("no 'data'")),
        (None, _) => return Err(invalid("'data_base64' is no text")),
    };
    for (name, field, attribute) in [("id", Field::EventId, id), ("source", Field::Source, source), ("time", Field::EventTime, time)] {
        match attribute {
            Value::Null => {}
            Value::Text(text) => event.set_if_absent(field, text),
            _ => return Err(invalid(&format!("'{name}' is no text"))),
        }
    }
    Ok(event)
}

fn invalid(message: &str) -> Stop {
    Reject::new(RejectReason::InvalidCloudEvent, short(message)).into()
}

#[derive(Default)]
struct Envelope<'a> {
    specversion: Value<'a>,
    id: Value<'a>,
    source: Value<'a>,
    time: Value<'a>,
    content_type: Value<'a>,
    data: Option<&'a RawValue>,
    data_base64: Value<'a>,
}

impl<'a> Visitor<'a> for &mut Envelope<'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key_seed(Text)? {
            let Value::Text(name) = key else { continue };
            match name.as_ref() {
                "specversion" => self.specversion = map.next_value_seed(Text)?,
                "id" => self.id = map.next_value_seed(Text)?,
                "source" => self.source = map.next_value_seed(Text)?,
                "time" => self.time = map.next_value_seed(Text)?,
                "datacontenttype" => self.content_type = map.next_value_seed(Text)?,
                "data" => self.data = Some(map.next_value()?),
                "data_base64" => self.data_base64 = map.next_value_seed(Text)?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// RFC 4648 standard alphabet, with or without padding.
fn base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=').as_bytes();
    if text.len() - digits.len() > 2 || digits.len() % 4 == 1 {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for group in digits.chunks(4) {
        let mut word: u32 = 0;
        for digit in group {
            word = word << 6 | sextet(*digit)?;
        }
        word <<= 6 * (4 - group.len());
        let [_, decoded @ ..] = word.to_be_bytes();
        bytes.extend(decoded.iter().take(group.len() - 1));
    }
    Some(bytes)
}

fn sextet(digit: u8) -> Option<u32> {
    let value = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        let cases = [("", ""), ("Zg==", "f"), ("Zg", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYmFy", "foobar")];
        for (text, bytes) in cases {
            assert_eq!(base64(text).as_deref(), Some(bytes.as_bytes()), "{text}");
        }
        assert_eq!(base64("AAH/Ymlu"), Some(vec![0, 1, 255, b'b', b'i', b'n']));
        for text in ["Z", "Zg===", "Z g=", "Zm9vY", "ü"] {
            assert_eq!(base64(text), None, "{text}");
        }
    }
}
