//! The quick reader of Avro: texts as bytes that nobody has looked into, numbers as they are summed. It knows no reasons: where an event is
//! anything but plain it gives up, and the thorough reader finds out what it is.

use std::borrow::Cow;

use super::avro::Bytes;
use super::plan::{Plan, Read, Step};
use super::{Field, MOST_TAGS, Value};
use crate::intake::price::Usage;
use crate::intake::validate::{self, LARGEST, LONGEST_TEXT};

/// A decoded event. Ids, the resource and all tags are UTF-8 and of legal length, numbers are legal; the other texts are still to be judged.
#[derive(Debug)]
pub struct QuickEvent<'a> {
    /// By field. Null, absent and empty are one to the contract.
    texts: [&'a [u8]; Field::COUNT],
    pub time_ms: i64,
    pub usage: Usage,
    pub has_tokens: bool,
    tags: Pairs<'a>,
}

impl<'a> QuickEvent<'a> {
    pub fn text(&self, field: Field) -> &'a [u8] {
        self.texts[field as usize]
    }

    /// Of a name that comes twice the last holds.
    pub fn tag(&self, name: &[u8]) -> Option<&'a [u8]> {
        let mut found = None;
        let mut pairs = Pairs { ..self.tags };
        while let Some((known, value)) = pairs.next() {
            if known == name {
                found = Some(value);
            }
        }
        found
    }
}

/// `None`: nothing is known, not even that it is wrong.
pub fn read<'a>(datum: &'a [u8], plan: &'a Plan) -> Option<QuickEvent<'a>> {
    let mut bytes = Bytes::new(datum);
    let usage = Usage { requests: 1, ..Usage::default() };
    let mut event = QuickEvent { texts: [&[]; Field::COUNT], time_ms: 0, usage, has_tokens: false, tags: Pairs::default() };
    let mut has_time = false;
    for step in &plan.steps {
        match step {
            Step::Skip(shape) => bytes.skip(&plan.shapes, *shape, 0).ok()?,
            Step::Take(field, read) => {
                let Some(read) = chosen(&mut bytes, read)? else { continue };
                match field {
                    Field::EventTime => {
                        let Read::Time(units) = read else { return None };
                        event.time_ms = bytes.long().ok()?.div_euclid(*units);
                        has_time = true;
                    }
                    Field::Tags => event.tags = tags(&mut bytes, read)?,
                    Field::Quantity => event.usage.quantity = validate::quantity(number(&mut bytes, read)?).ok()?,
                    Field::Cost => event.usage.cost = validate::cost(money(&mut bytes, read)?).ok()?,
                    field => match count_of(&mut event, *field) {
                        Some(count) => *count = self::count(&mut bytes, read)?,
                        None => event.texts[*field as usize] = text(&mut bytes, read)?,
                    },
                }
            }
        }
    }
    let id_and_source = !event.text(Field::EventId).is_empty() && !event.text(Field::Source).is_empty();
    let legal = [Field::EventId, Field::ResourceId].map(|field| is_text(event.text(field)));
    (bytes.rest.is_empty() && has_time && id_and_source && legal == [true; 2]).then_some(event)
}

fn is_text(bytes: &[u8]) -> bool {
    bytes.len() <= LONGEST_TEXT && std::str::from_utf8(bytes).is_ok()
}

/// The variant of a union; inside, `None` for null.
fn chosen<'p>(bytes: &mut Bytes<'_>, read: &'p Read) -> Option<Option<&'p Read>> {
    let read = match read {
        Read::Union(variants) => bytes.variant(variants).ok()?,
        read => read,
    };
    Some(if matches!(read, Read::Null) { None } else { Some(read) })
}

fn count_of<'e>(event: &'e mut QuickEvent<'_>, field: Field) -> Option<&'e mut u64> {
    let tokens = &mut event.usage.tokens;
    let count = match field {
        Field::Requests => return Some(&mut event.usage.requests),
        Field::InputTokens => &mut tokens.input,
        Field::OutputTokens => &mut tokens.output,
        Field::CachedInputTokens => &mut tokens.cached_input,
        Field::CacheWriteTokens => &mut tokens.cache_write,
        Field::ReasoningTokens => &mut tokens.reasoning,
        _ => return None,
    };
    event.has_tokens = true;
    Some(count)
}

fn count(bytes: &mut Bytes<'_>, read: &Read) -> Option<u64> {
    let Read::Long = read else { return None };
    u64::try_from(bytes.long().ok()?).ok().filter(|count| *count <= LARGEST)
}

fn text<'a>(bytes: &mut Bytes<'a>, read: &'a Read) -> Option<&'a [u8]> {
    match read {
        Read::Text => bytes.prefixed().ok(),
        Read::Symbols(symbols) => Some(bytes.variant(symbols).ok()?.as_bytes()),
        _ => None,
    }
}

fn number(bytes: &mut Bytes<'_>, read: &Read) -> Option<Value<'static>> {
    Some(match read {
        Read::Long => Value::Int(bytes.long().ok()?),
        Read::Float => Value::Float(f64::from(f32::from_le_bytes(bytes.array().ok()?))),
        Read::Double => Value::Float(f64::from_le_bytes(bytes.array().ok()?)),
        _ => return None,
    })
}

fn money<'a>(bytes: &mut Bytes<'a>, read: &Read) -> Option<Value<'a>> {
    match read {
        Read::Text => Some(Value::Text(Cow::Borrowed(std::str::from_utf8(bytes.prefixed().ok()?).ok()?))),
        Read::Decimal { scale, size } => {
            let digits = match size {
                Some(size) => bytes.take(*size).ok()?,
                None => bytes.prefixed().ok()?,
            };
            (1..=16).contains(&digits.len()).then_some(Value::Decimal(digits, *scale))
        }
        read => number(bytes, read),
    }
}

/// Names and values of a map, in their order; known to be whole.
#[derive(Debug, Default)]
struct Pairs<'a> {
    rest: &'a [u8],
    left_in_block: usize,
}

impl<'a> Pairs<'a> {
    fn next(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        let mut bytes = Bytes::new(self.rest);
        if self.left_in_block == 0 {
            if self.rest.is_empty() {
                return None;
            }
            (self.left_in_block, _) = bytes.block().ok()??;
        }
        self.left_in_block -= 1;
        let pair = (bytes.prefixed().ok()?, bytes.prefixed().ok()?);
        self.rest = bytes.rest;
        Some(pair)
    }
}

fn tags<'a>(bytes: &mut Bytes<'a>, read: &Read) -> Option<Pairs<'a>> {
    let Read::Map(values) = read else { return None };
    let Read::Text = **values else { return None };
    let (start, mut count) = (bytes.rest, 0_usize);
    while let Some((items, _)) = bytes.block().ok()? {
        count = count.checked_add(items).filter(|count| *count <= MOST_TAGS)?;
        for _ in 0..items {
            if !is_text(bytes.prefixed().ok()?) || !is_text(bytes.prefixed().ok()?) {
                return None;
            }
        }
    }
    Some(Pairs { rest: start.get(..start.len() - bytes.rest.len())?, left_in_block: 0 })
}
