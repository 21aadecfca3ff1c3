//! The quick reader of Avro: numbers as they are summed, texts as bytes that nobody has looked into. It knows no reasons: where an event is
//! anything but plain it gives up, and the thorough reader finds out what it is.

use std::borrow::Cow;

use super::avro::{Bytes as Thorough, SPARE_ITEMS};
use super::plan::{Plan, Read, Shape, Step};
use super::{Field, MOST_TAGS, Value};
use crate::intake::price::Usage;
use crate::intake::validate::{self, LARGEST, LONGEST_TEXT};

/// A decoded event. Id, resource and tags are UTF-8 and of legal length, numbers are legal; the other texts are still to be judged. Null,
/// absent and empty are one to the contract.
#[derive(Debug, Default)]
pub struct QuickEvent<'a> {
    pub event_id: &'a [u8],
    pub source: &'a [u8],
    pub team: &'a [u8],
    pub meter: &'a [u8],
    pub user: &'a [u8],
    pub time_ms: i64,
    pub usage: Usage,
    pub has_tokens: bool,
    tags: Pairs<'a>,
}

impl<'a> QuickEvent<'a> {
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

/// Bytes without reasons: what is wrong with them is told by the thorough reader, and returning no text for it makes this one quick.
struct Bytes<'a> {
    rest: &'a [u8],
    /// As the thorough reader counts them, so that both take the same records.
    items_left: usize,
}

impl<'a> Bytes<'a> {
    fn new(datum: &'a [u8]) -> Bytes<'a> {
        Bytes { rest: datum, items_left: datum.len().saturating_add(SPARE_ITEMS) }
    }

    #[inline(always)]
    fn long(&mut self) -> Option<i64> {
        if let [byte @ 0..0x80, rest @ ..] = self.rest {
            self.rest = rest;
            return Some(i64::from(byte >> 1) ^ -i64::from(byte & 1));
        }
        self.longer()
    }

    /// A number of 64 bits or more is left to the thorough reader.
    fn longer(&mut self) -> Option<i64> {
        let (mut value, mut shift) = (0_u64, 0_u32);
        loop {
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some((value >> 1).cast_signed() ^ -((value & 1).cast_signed()));
            }
            shift += 7;
            if shift >= 63 {
                return None;
            }
        }
    }

    #[inline]
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    #[inline]
    fn prefixed(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.long()?).ok()?;
        self.take(length)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*taken)
    }

    fn variant<'r, T>(&mut self, variants: &'r [T]) -> Option<&'r T> {
        variants.get(usize::try_from(self.long()?).ok()?)
    }

    /// Items of the next block; 0 at the end. A block that states its size is left to the thorough reader.
    fn block(&mut self) -> Option<usize> {
        let items = usize::try_from(self.long()?).ok()?;
        self.items_left = self.items_left.checked_sub(items)?;
        Some(items)
    }

    fn skip(&mut self, plan: &Plan, place: usize) -> Option<()> {
        match plan.shapes.get(place)? {
            Shape::Fixed(size) => self.take(*size).map(drop),
            Shape::Varint => self.long().map(drop),
            Shape::Bytes => self.prefixed().map(drop),
            // A union holds no union, so that this ends.
            Shape::Union(variants) => {
                let variant = *self.variant(variants)?;
                self.skip(plan, variant)
            }
            // Here claims may lie in ways that the thorough reader knows of.
            Shape::Array(_) | Shape::Map(_) | Shape::Record(_) => {
                let mut bytes = Thorough { rest: self.rest, items_left: self.items_left };
                bytes.skip(&plan.shapes, place, 0).ok()?;
                (self.rest, self.items_left) = (bytes.rest, bytes.items_left);
                Some(())
            }
        }
    }
}

/// `None`: nothing is known, not even that it is wrong.
///
/// All texts that may decide who pays and what it costs, but for user and tags, are appended to `key` as they stand in the datum: equal
/// bytes of one schema are equal texts.
pub fn read<'a>(datum: &'a [u8], plan: &'a Plan, key: &mut Vec<u8>) -> Option<QuickEvent<'a>> {
    let mut bytes = Bytes::new(datum);
    let mut event = QuickEvent { usage: Usage { requests: 1, ..Usage::default() }, ..QuickEvent::default() };
    let (mut has_time, mut resource) = (false, &[][..]);
    // Fields of the key that follow on each other are copied at once.
    let mut run: Option<&[u8]> = None;
    for step in &plan.steps {
        let Step::Take(field, read) = step else {
            let Step::Skip(shape) = step else { return None };
            end_run(&mut run, bytes.rest, key)?;
            bytes.skip(plan, *shape)?;
            continue;
        };
        if is_in_key(*field) {
            run.get_or_insert(bytes.rest);
        } else {
            end_run(&mut run, bytes.rest, key)?;
        }
        let Some(read) = chosen(&mut bytes, read)? else { continue };
        match field {
            Field::EventTime => {
                let Read::Time(units) = read else { return None };
                event.time_ms = bytes.long()?.div_euclid(*units);
                has_time = true;
            }
            Field::EventId => event.event_id = text(&mut bytes, read)?,
            Field::Source => event.source = text(&mut bytes, read)?,
            Field::Team => event.team = text(&mut bytes, read)?,
            Field::Meter => event.meter = text(&mut bytes, read)?,
            Field::User => event.user = text(&mut bytes, read)?,
            Field::ResourceId => resource = text(&mut bytes, read)?,
            Field::Tags => event.tags = tags(&mut bytes, read)?,
            Field::Quantity => event.usage.quantity = validate::quantity(number(&mut bytes, read)?).ok()?,
            Field::Cost => event.usage.cost = validate::cost(money(&mut bytes, read)?).ok()?,
            field => match count_of(&mut event, *field) {
                Some(count) => *count = self::count(&mut bytes, read)?,
                None => drop(text(&mut bytes, read)?),
            },
        }
    }
    end_run(&mut run, bytes.rest, key)?;
    let whole = bytes.rest.is_empty() && has_time && !event.event_id.is_empty() && !event.source.is_empty();
    (whole && is_text(event.event_id) && is_text(resource)).then_some(event)
}

fn is_in_key(field: Field) -> bool {
    match field {
        Field::Source
        | Field::Meter
        | Field::Team
        | Field::Project
        | Field::Model
        | Field::Provider
        | Field::Region
        | Field::Environment
        | Field::Account
        | Field::Currency => true,
        Field::EventId | Field::EventTime | Field::User | Field::ResourceId | Field::Quantity | Field::Cost | Field::Tags => false,
        Field::InputTokens | Field::OutputTokens | Field::CachedInputTokens | Field::CacheWriteTokens | Field::ReasoningTokens => false,
        Field::Requests => false,
    }
}

fn end_run(run: &mut Option<&[u8]>, rest: &[u8], key: &mut Vec<u8>) -> Option<()> {
    if let Some(start) = run.take() {
        key.extend_from_slice(start.get(..start.len() - rest.len())?);
    }
    Some(())
}

fn is_text(bytes: &[u8]) -> bool {
    bytes.len() <= LONGEST_TEXT && std::str::from_utf8(bytes).is_ok()
}

/// The variant of a union; inside, `None` for null.
fn chosen<'p>(bytes: &mut Bytes<'_>, read: &'p Read) -> Option<Option<&'p Read>> {
    let read = match read {
        Read::Union(variants) => bytes.variant(variants)?,
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
    u64::try_from(bytes.long()?).ok().filter(|count| *count <= LARGEST)
}

fn text<'a>(bytes: &mut Bytes<'a>, read: &'a Read) -> Option<&'a [u8]> {
    match read {
        Read::Text => bytes.prefixed(),
        Read::Symbols(symbols) => Some(bytes.variant(symbols)?.as_bytes()),
        _ => None,
    }
}

fn number(bytes: &mut Bytes<'_>, read: &Read) -> Option<Value<'static>> {
    Some(match read {
        Read::Long => Value::Int(bytes.long()?),
        Read::Float => Value::Float(f64::from(f32::from_le_bytes(bytes.array()?))),
        Read::Double => Value::Float(f64::from_le_bytes(bytes.array()?)),
        _ => return None,
    })
}

fn money<'a>(bytes: &mut Bytes<'a>, read: &Read) -> Option<Value<'a>> {
    match read {
        Read::Text => Some(Value::Text(Cow::Borrowed(std::str::from_utf8(bytes.prefixed()?).ok()?))),
        Read::Decimal { scale, size } => {
            let digits = match size {
                Some(size) => bytes.take(*size)?,
                None => bytes.prefixed()?,
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
            self.left_in_block = bytes.block()?;
            if self.left_in_block == 0 {
                return None;
            }
        }
        self.left_in_block -= 1;
        let pair = (bytes.prefixed()?, bytes.prefixed()?);
        self.rest = bytes.rest;
        Some(pair)
    }
}

fn tags<'a>(bytes: &mut Bytes<'a>, read: &Read) -> Option<Pairs<'a>> {
    let Read::Map(values) = read else { return None };
    let Read::Text = **values else { return None };
    let (start, mut count) = (bytes.rest, 0_usize);
    loop {
        let items = bytes.block()?;
        if items == 0 {
            break;
        }
        count = count.checked_add(items).filter(|count| *count <= MOST_TAGS)?;
        for _ in 0..items {
            if !is_text(bytes.prefixed()?) || !is_text(bytes.prefixed()?) {
                return None;
            }
        }
    }
    Some(Pairs { rest: start.get(..start.len() - bytes.rest.len())?, left_in_block: 0 })
}
