//! The JSON twin. Each field is looked at as it was written, so that 0.1 stays 0.1 and a wrong type is named.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{Field, RawUsage, Scalar, field, set};
use crate::model::record::{Reject, RejectReason};

/// # Errors
/// Not UTF-8, not JSON, or a field of the wrong type.
pub fn decode(value: &[u8]) -> Result<RawUsage, Reject> {
    let text = std::str::from_utf8(value)
        .map_err(|error| Reject::new(RejectReason::InvalidUtf8, format!("not UTF-8 from byte {} on", error.valid_up_to())))?;
    let object: Object<'_> = serde_json::from_str(text).map_err(|error| invalid(&error))?;
    let mut raw = RawUsage::default();
    for (place, value) in object.0 {
        set(&mut raw, place, scalar(value.get(), place)?)?;
    }
    Ok(raw)
}

pub fn invalid(error: &serde_json::Error) -> Reject {
    Reject::new(RejectReason::InvalidJson, error.to_string())
}

/// The known fields of an object, in order; others are checked for syntax and skipped. A repeated field is refused: which one holds?
struct Object<'a>(Vec<(Field, &'a RawValue)>);

impl<'de> serde::Deserialize<'de> for Object<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields: Vec<(Field, &RawValue)> = Vec::new();
                while let Some(name) = map.next_key::<Cow<'de, str>>()? {
                    match field(&name) {
                        Some(place) if fields.iter().any(|(known, _)| *known == place) => {
                            return Err(serde::de::Error::custom(format!("field '{name}' appears twice")));
                        }
                        Some(place) => fields.push((place, map.next_value()?)),
                        None => {
                            map.next_value::<serde::de::IgnoredAny>()?;
                        }
                    }
                }
                Ok(Object(fields))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

fn scalar(text: &str, place: Field) -> Result<Scalar<'_>, Reject> {
    Ok(match text.as_bytes().first() {
        Some(b'"') => Scalar::Text(match text.get(1..text.len().saturating_sub(1)) {
            Some(plain) if !plain.contains('\\') => Cow::Borrowed(plain),
            _ => Cow::Owned(serde_json::from_str(text).map_err(|error| invalid(&error))?),
        }),
        Some(b'n') => Scalar::Null,
        Some(b't' | b'f') => Scalar::Other("a boolean"),
        Some(b'[') => Scalar::Other("an array"),
        Some(b'{') if place == Field::Tags => Scalar::Map(tags(text)?),
        Some(b'{') => Scalar::Other("an object"),
        _ => Scalar::Number(text),
    })
}

/// Tag values that are numbers or booleans are taken as text: FOCUS and cloud exports write them so. Null is no tag.
fn tags(text: &str) -> Result<Vec<(String, Option<String>)>, Reject> {
    let map: std::collections::BTreeMap<String, serde_json::Value> = serde_json::from_str(text).map_err(|error| invalid(&error))?;
    let mut tags = Vec::with_capacity(map.len());
    for (key, value) in map {
        let value = match value {
            serde_json::Value::Null => None,
            serde_json::Value::String(text) => Some(text),
            serde_json::Value::Bool(_) | serde_json::Value::Number(_) => Some(value.to_string()),
            serde_json::Value::Array(_) | serde_json::Value::Object(_) => {
                return Err(Reject::new(RejectReason::WrongType, "field 'tags' holds an array or an object, wanted a map of texts"));
            }
        };
        tags.push((key, value));
    }
    Ok(tags)
}
