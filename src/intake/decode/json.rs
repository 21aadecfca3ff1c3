//! The JSON twin of `schemas/usage_event.avsc`, read in one pass. Unknown fields are skipped without recursion; a known field that comes
//! twice is refused, because readers differ on which of the two holds.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::field::{Kind, wrong_type};
use super::{Field, RawEvent, Value, short, status};
use crate::model::record::{Reject, RejectReason};

/// Whatever it holds, the event is taken, and where it comes twice the last one holds: it is no money.
pub(super) const STATUS: &str = "status";

pub fn text(bytes: &[u8]) -> Result<&str, Reject> {
    std::str::from_utf8(bytes)
        .map_err(|error| Reject::new(RejectReason::InvalidUtf8, format!("no UTF-8 from byte {} on", error.valid_up_to())))
}

/// `blank` is the event that is filled.
pub fn decode_text<'a>(text: &'a str, blank: RawEvent<'a>) -> Result<RawEvent<'a>, Reject> {
    let mut read = ReadEvent { event: blank, seen: 0, problem: None };
    let mut json = serde_json::Deserializer::from_str(text);
    json.deserialize_map(&mut read).and_then(|()| json.end()).map_err(|error| invalid(&error))?;
    match read.problem {
        // Told only once all of it has proved to be JSON: broken JSON is the graver finding.
        Some(problem) => Err(problem),
        None => Ok(read.event),
    }
}

pub fn invalid(error: &serde_json::Error) -> Reject {
    Reject::new(RejectReason::InvalidJson, short(&error.to_string()))
}

struct ReadEvent<'a> {
    event: RawEvent<'a>,
    seen: u32,
    problem: Option<Reject>,
}

impl<'a> ReadEvent<'a> {
    fn note(&mut self, outcome: Result<(), Reject>) {
        if let Err(reject) = outcome {
            self.problem.get_or_insert(reject);
        }
    }

    fn first_time(&mut self, field: Field) -> Result<(), Reject> {
        let bit = 1_u32 << (field as u32);
        if self.seen & bit != 0 {
            return Err(Reject::new(RejectReason::InvalidJson, format!("'{}' comes twice", field.name())));
        }
        self.seen |= bit;
        Ok(())
    }
}

impl<'a> Visitor<'a> for &mut ReadEvent<'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key_seed(Text)? {
            let field = match &key {
                Value::Text(name) => Field::named(name),
                _ => None,
            };
            let Some(field) = field else {
                if matches!(&key, Value::Text(name) if name == STATUS) {
                    self.event.failed = status::is_failure_in_json(map.next_value::<&RawValue>()?.get());
                } else {
                    map.next_value::<IgnoredAny>()?;
                }
                continue;
            };
            let outcome = self.first_time(field);
            self.note(outcome);
            let value = match field.kind() {
                Kind::Text | Kind::Time => map.next_value_seed(Text)?,
                Kind::Count | Kind::Quantity | Kind::Money => number(map.next_value()?)?,
                Kind::Tags => {
                    map.next_value_seed(Tags(&mut *self))?;
                    continue;
                }
            };
            let outcome = self.event.set(field, value);
            self.note(outcome);
        }
        Ok(())
    }
}

/// The number's own characters; its value is nobody's business here.
fn number<'a, E: Error>(raw: &'a RawValue) -> Result<Value<'a>, E> {
    let text = raw.get();
    Ok(match text.as_bytes().first() {
        Some(b'n') => Value::Null,
        Some(b'-' | b'0'..=b'9') => Value::Literal(text),
        Some(b'"') => Text.deserialize(&mut serde_json::Deserializer::from_str(text)).map_err(E::custom)?,
        Some(b't' | b'f') => Value::Other("a boolean"),
        Some(b'[') => Value::Other("an array"),
        _ => Value::Other("an object"),
    })
}

/// A text, or what stands in its place.
pub struct Text;

impl<'a> DeserializeSeed<'a> for Text {
    type Value = Value<'a>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Value<'a>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Text {
    type Value = Value<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'a str) -> Result<Value<'a>, E> {
        Ok(Value::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value<'a>, E> {
        Ok(Value::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_unit<E: Error>(self) -> Result<Value<'a>, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Value<'a>, E> {
        Ok(Value::Other("a boolean"))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Value<'a>, E> {
        Ok(Value::Other("a number"))
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Value<'a>, E> {
        Ok(Value::Other("a number"))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Value<'a>, E> {
        Ok(Value::Other("a number"))
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut items: A) -> Result<Value<'a>, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Other("an array"))
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Value<'a>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Other("an object"))
    }
}

struct Tags<'r, 'a>(&'r mut ReadEvent<'a>);

impl<'a> DeserializeSeed<'a> for Tags<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a> Tags<'_, 'a> {
    fn refuse<E: Error>(self, found: &str) -> Result<(), E> {
        self.0.note(Err(wrong_type(Field::Tags, found)));
        Ok(())
    }
}

impl<'a> Visitor<'a> for Tags<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of texts")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        self.refuse("a text")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.refuse("a boolean")
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.refuse("a number")
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.refuse("a number")
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.refuse("a number")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        self.refuse("an array")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key_seed(Text)? {
            let value = map.next_value_seed(Text)?;
            match (name, value) {
                (Value::Text(name), Value::Text(value)) => self.0.event.add_tag(name, value),
                (Value::Text(_), Value::Null) => {}
                (name, Value::Other(found)) => {
                    let name = if let Value::Text(name) = &name { short(name) } else { String::new() };
                    let message = format!("'tags.{name}' is {found}, expected a text");
                    self.0.note(Err(Reject::new(RejectReason::WrongType, message)));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
