//! The quick reader of Avro: numbers as they are summed, texts as bytes that nobody has looked into. It knows no reasons: where an event is
//! anything but plain it gives up, and the thorough reader finds out what it is.

use std::borrow::Cow;

use super::avro::{Bytes as Thorough, SPARE_ITEMS};
use super::plan::{Plan, Read, Shape, Step};
use super::program::{Act, Counted, Kept};
use super::{Field, MOST_TAGS, Value, status};
use crate::intake::price::Usage;
use crate::intake::validate::{self, LARGEST, LONGEST_TEXT};
use crate::model::money::Nanos;
use crate::model::usage::Tokens;

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
    /// Blocks of names and values, as they stand in the datum; known to be whole.
    tags: &'a [u8],
}

impl<'a> QuickEvent<'a> {
    /// Name and value, as they come.
    #[inline]
    pub fn each_tag(&self, take: impl FnMut(&'a [u8], &'a [u8])) {
        each_pair(self.tags, take);
    }

    /// As [`QuickEvent::each_tag`], as texts.
    #[inline]
    pub fn each_tag_text(&self, mut take: impl FnMut(&'a str, &'a str)) {
        // Lengths below 128 are UTF-8 as well: then one look at all of it is enough, instead of one at each text.
        let Ok(pairs) = std::str::from_utf8(self.tags) else {
            let text = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
            return each_pair(self.tags, |name, value| take(text(name), text(value)));
        };
        let mut bytes = Bytes::new(self.tags);
        let next = |bytes: &mut Bytes<'a>| {
            let length = bytes.prefixed()?.len();
            let end = pairs.len() - bytes.rest.len();
            pairs.get(end - length..end)
        };
        while let Some(items @ 1..) = bytes.block() {
            for _ in 0..items {
                let (Some(name), Some(value)) = (next(&mut bytes), next(&mut bytes)) else { return };
                take(name, value);
            }
        }
    }
}

/// Bytes without reasons: what is wrong with them is told by the thorough reader, and returning no text for it makes this one quick.
///
/// What is not inlined takes and gives it by value, so that it can stay in registers.
#[derive(Clone, Copy)]
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
        let value;
        (value, self.rest) = longer(self.rest)?;
        Some(value)
    }

    #[inline(always)]
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    #[inline(always)]
    fn prefixed(&mut self) -> Option<&'a [u8]> {
        if let [byte @ 0..0x80, rest @ ..] = self.rest
            && byte & 1 == 0
        {
            self.rest = rest;
            return self.take(usize::from(byte >> 1));
        }
        let text;
        (text, self.rest) = prefixed_by_more(self.rest)?;
        Some(text)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*taken)
    }

    #[inline(always)]
    fn variant<'r, T>(&mut self, variants: &'r [T]) -> Option<&'r T> {
        variants.get(usize::try_from(self.long()?).ok()?)
    }

    /// Items of the next block; 0 at the end. A block that states its size is left to the thorough reader.
    #[inline(always)]
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

/// A number of up to eight bytes at once: every byte's lowest seven bits are moved together, first in pairs, then these in pairs, then these.
#[inline(always)]
fn longer(rest: &[u8]) -> Option<(i64, &[u8])> {
    let Some(next) = rest.first_chunk() else { return longest(rest) };
    let word = u64::from_le_bytes(*next);
    let ends = !word & 0x8080_8080_8080_8080;
    if ends == 0 {
        return longest(rest);
    }
    let bits = ends.trailing_zeros() + 1;
    let bytes = word & (u64::MAX >> (64 - bits));
    let sevens = (bytes & 0x007f_007f_007f_007f) | (bytes & 0x7f00_7f00_7f00_7f00) >> 1;
    let fourteens = (sevens & 0x0000_3fff_0000_3fff) | (sevens & 0x3fff_0000_3fff_0000) >> 2;
    let value = (fourteens & 0x0fff_ffff) | (fourteens & 0x0fff_ffff_0000_0000) >> 4;
    let rest = rest.get(usize::try_from(bits / 8).ok()?..)?;
    Some(((value >> 1).cast_signed() ^ -((value & 1).cast_signed()), rest))
}

fn prefixed_by_more(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = longer(rest)?;
    rest.split_at_checked(usize::try_from(length).ok()?)
}

/// A number of 64 bits or more is left to the thorough reader.
#[cold]
fn longest(mut rest: &[u8]) -> Option<(i64, &[u8])> {
    let (mut value, mut shift) = (0_u64, 0_u32);
    loop {
        let (byte, behind) = rest.split_first()?;
        rest = behind;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(((value >> 1).cast_signed() ^ -((value & 1).cast_signed()), rest));
        }
        shift += 7;
        if shift >= 63 {
            return None;
        }
    }
}

/// What has been read of an event.
#[derive(Default)]
struct Reading<'a> {
    kept: [&'a [u8]; 7],
    counts: [u64; 6],
    has_tokens: bool,
    time_ms: Option<i64>,
    quantity: Option<Nanos>,
    cost: Option<Nanos>,
    tags: &'a [u8],
}

/// `None`: nothing is known, not even that it is wrong.
///
/// All texts that may decide who pays and what it costs, but for user and tags, are appended to `key` as they stand in the datum: equal
/// bytes of one schema are equal texts.
#[inline]
pub fn read<'a>(datum: &'a [u8], plan: &'a Plan, key: &mut Vec<u8>) -> Option<QuickEvent<'a>> {
    let mut bytes = Bytes::new(datum);
    let mut reading = Reading { counts: [0, 0, 0, 0, 0, 1], ..Reading::default() };
    let (mut run, mut acts) = (datum, plan.acts.iter());
    while let Some(act) = acts.next() {
        match *act {
            Act::KeyBegins => run = bytes.rest,
            // Fields of the key that follow on each other are copied at once.
            Act::KeyEnds => key.extend_from_slice(run.get(..run.len() - bytes.rest.len())?),
            Act::Optional { null, value } => {
                let (variant, rest) = bytes.rest.split_first()?;
                bytes.rest = rest;
                if *variant == null {
                    acts.next();
                } else if *variant != value {
                    return None;
                }
            }
            Act::Keep(kept) => reading.kept[kept as usize] = bytes.prefixed()?,
            Act::Pass(times) => {
                for _ in 0..times {
                    bytes.prefixed()?;
                }
            }
            Act::PassLong => drop(bytes.long()?),
            Act::PassFixed(size) => drop(bytes.take(size)?),
            Act::Millis => reading.time_ms = Some(bytes.long()?),
            Act::Micros => reading.time_ms = Some(bytes.long()?.div_euclid(1_000)),
            Act::Count(counted) => reading.count(counted, &mut bytes)?,
            Act::Tags => reading.tags = tags(&mut bytes)?,
            Act::Step(place) => bytes = reading.step(bytes, plan, place)?,
        }
    }
    if bytes.rest.is_empty() { reading.finish() } else { None }
}

impl<'a> Reading<'a> {
    #[inline(always)]
    fn count(&mut self, counted: Counted, bytes: &mut Bytes<'a>) -> Option<()> {
        // What is negative is larger than the largest.
        let count = bytes.long()?.cast_unsigned();
        self.counts[counted as usize] = Some(count).filter(|count| *count <= LARGEST)?;
        self.has_tokens |= counted != Counted::Requests;
        Some(())
    }

    #[cold]
    fn step(&mut self, mut bytes: Bytes<'a>, plan: &'a Plan, place: usize) -> Option<Bytes<'a>> {
        let (field, read) = match plan.steps.get(place)? {
            Step::Take(field, read) => (*field, read),
            Step::Status(read) => {
                if let Some(read) = chosen(&mut bytes, read)? {
                    self.kept[Kept::Status as usize] = text(&mut bytes, read)?;
                }
                return Some(bytes);
            }
            Step::Skip(shape) => {
                bytes.skip(plan, *shape)?;
                return Some(bytes);
            }
        };
        let Some(read) = chosen(&mut bytes, read)? else { return Some(bytes) };
        match field {
            Field::EventTime => {
                let Read::Time(units) = read else { return None };
                self.time_ms = Some(bytes.long()?.div_euclid(*units));
            }
            Field::Tags => {
                let Read::Map(values) = read else { return None };
                let Read::Text = **values else { return None };
                self.tags = tags(&mut bytes)?;
            }
            Field::Quantity => self.quantity = validate::quantity(number(&mut bytes, read)?).ok()?,
            Field::Cost => self.cost = validate::cost(money(&mut bytes, read)?).ok()?,
            field => match (Kept::of(field), Counted::of(field)) {
                (Some(kept), _) => self.kept[kept as usize] = text(&mut bytes, read)?,
                (None, Some(counted)) => {
                    let Read::Long = read else { return None };
                    self.count(counted, &mut bytes)?;
                }
                (None, None) => drop(text(&mut bytes, read)?),
            },
        }
        Some(bytes)
    }

    #[inline(always)]
    fn finish(self) -> Option<QuickEvent<'a>> {
        let [event_id, source, team, meter, user, resource, status] = self.kept;
        let [input, output, cached_input, cache_write, reasoning, requests] = self.counts;
        let tokens = Tokens { input, output, cached_input, cache_write, reasoning };
        let is_whole = !event_id.is_empty() && !source.is_empty() && is_text(event_id) && is_text(resource);
        let failed = status::is_failure(status);
        let usage = Usage { tokens, quantity: self.quantity, requests, cost: self.cost, currency: None, failed };
        let (time_ms, has_tokens, tags) = (self.time_ms?, self.has_tokens, self.tags);
        is_whole.then_some(QuickEvent { event_id, source, team, meter, user, time_ms, usage, has_tokens, tags })
    }
}

fn is_text(bytes: &[u8]) -> bool {
    bytes.len() <= LONGEST_TEXT && (bytes.is_ascii() || std::str::from_utf8(bytes).is_ok())
}

/// The variant of a union; inside, `None` for null.
fn chosen<'p>(bytes: &mut Bytes<'_>, read: &'p Read) -> Option<Option<&'p Read>> {
    let read = match read {
        Read::Union(variants) => bytes.variant(variants)?,
        read => read,
    };
    Some(if matches!(read, Read::Null) { None } else { Some(read) })
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

#[inline(always)]
fn tags<'a>(bytes: &mut Bytes<'a>) -> Option<&'a [u8]> {
    let (start, mut count) = (bytes.rest, 0_usize);
    loop {
        let items = bytes.block()?;
        if items == 0 {
            break;
        }
        count = count.checked_add(items).filter(|count| *count <= MOST_TAGS)?;
        for _ in 0..items {
            if bytes.prefixed()?.len() > LONGEST_TEXT || bytes.prefixed()?.len() > LONGEST_TEXT {
                return None;
            }
        }
    }
    let pairs = start.get(..start.len() - bytes.rest.len())?;
    // One look at all of it, lengths included, instead of one at each text.
    (pairs.is_ascii() || are_texts(pairs)).then_some(pairs)
}

#[inline(always)]
fn each_pair<'a>(pairs: &'a [u8], mut take: impl FnMut(&'a [u8], &'a [u8])) {
    let mut bytes = Bytes::new(pairs);
    while let Some(items @ 1..) = bytes.block() {
        for _ in 0..items {
            let (Some(name), Some(value)) = (bytes.prefixed(), bytes.prefixed()) else { return };
            take(name, value);
        }
    }
}

#[cold]
fn are_texts(pairs: &[u8]) -> bool {
    let mut are = true;
    each_pair(pairs, |name, value| are &= std::str::from_utf8(name).is_ok() && std::str::from_utf8(value).is_ok());
    are
}
