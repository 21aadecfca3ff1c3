//! Confluent-framed Avro, read by the plan of its writer schema: wanted fields borrowed, others passed over.
//! The bytes may lie about every length and count: what they claim is never allocated and never looped over unchecked.

use std::borrow::Cow;

use super::field::wrong_type;
use super::plan::{Plan, Read, Shape, Step};
use super::{Field, RawEvent, SchemaTable, Stop, Value, status};
use crate::model::record::{Reject, RejectReason};
use crate::model::wire::confluent_unframe;

/// Nesting of skipped values; a recursive writer type could otherwise exhaust the stack.
const DEEPEST: u32 = 64;
/// Items that a record may claim beyond one for each of its bytes: an array of nulls takes no bytes at all.
pub(super) const SPARE_ITEMS: usize = 4_096;

/// `blank` is the event that is filled.
pub fn decode<'a>(value: &'a [u8], schemas: &'a SchemaTable, blank: RawEvent<'a>) -> Result<RawEvent<'a>, Stop> {
    let Some((id, datum)) = confluent_unframe(value) else {
        return Err(invalid("no Confluent frame: a zero byte and a schema id of four bytes").into());
    };
    let plan = schemas.plan(id.cast_unsigned())?;
    Ok(read_datum(datum, plan, blank)?)
}

pub(super) fn read_datum<'a>(datum: &'a [u8], plan: &'a Plan, blank: RawEvent<'a>) -> Result<RawEvent<'a>, Reject> {
    let mut bytes = Bytes::new(datum);
    let mut event = blank;
    for step in &plan.steps {
        match step {
            Step::Skip(shape) => bytes.skip(&plan.shapes, *shape, 0)?,
            Step::Status(read) => event.failed = bytes.is_failure(read)?,
            Step::Take(Field::Tags, read) => bytes.tags(read, &mut event)?,
            Step::Take(field, read) => {
                let value = bytes.value(*field, read)?;
                event.put(*field, value);
            }
        }
    }
    if bytes.rest.is_empty() { Ok(event) } else { Err(invalid(&format!("{} bytes behind the record", bytes.rest.len()))) }
}

pub(super) fn invalid(message: &str) -> Reject {
    Reject::new(RejectReason::InvalidAvro, message)
}

fn ends_early() -> Reject {
    invalid("ends early")
}

pub(super) struct Bytes<'a> {
    pub(super) rest: &'a [u8],
    pub(super) items_left: usize,
}

impl<'a> Bytes<'a> {
    pub(super) fn new(datum: &'a [u8]) -> Bytes<'a> {
        Bytes { rest: datum, items_left: datum.len().saturating_add(SPARE_ITEMS) }
    }

    #[inline]
    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], Reject> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or_else(ends_early)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Reject> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or_else(ends_early)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// A zigzag varint of at most 64 bits; most are lengths and take one byte.
    #[inline]
    pub(super) fn long(&mut self) -> Result<i64, Reject> {
        if let [byte @ 0..0x80, rest @ ..] = self.rest {
            self.rest = rest;
            return Ok(i64::from(byte >> 1) ^ -i64::from(byte & 1));
        }
        self.longer()
    }

    fn longer(&mut self) -> Result<i64, Reject> {
        let mut value: u64 = 0;
        let mut shift = 0_u32;
        loop {
            let (byte, rest) = self.rest.split_first().ok_or_else(ends_early)?;
            self.rest = rest;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(invalid("a number of more than 64 bits"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1).cast_signed() ^ -((value & 1).cast_signed()));
            }
            shift += 7;
            if shift > 63 {
                return Err(invalid("a number of more than 64 bits"));
            }
        }
    }

    #[inline]
    pub(super) fn prefixed(&mut self) -> Result<&'a [u8], Reject> {
        let length = self.long()?;
        self.take(usize::try_from(length).map_err(|_| invalid("a negative length"))?)
    }

    fn text(&mut self, field: Field) -> Result<&'a str, Reject> {
        let bytes = self.prefixed()?;
        std::str::from_utf8(bytes).map_err(|_| Reject::new(RejectReason::InvalidUtf8, format!("'{}' is no UTF-8", field.name())))
    }

    #[inline]
    pub(super) fn variant<'r, T>(&mut self, variants: &'r [T]) -> Result<&'r T, Reject> {
        let index = self.long()?;
        let variant = usize::try_from(index).ok().and_then(|index| variants.get(index));
        variant.ok_or_else(|| invalid("a union's variant or an enum's symbol that the schema does not have"))
    }

    fn value(&mut self, field: Field, read: &'a Read) -> Result<Value<'a>, Reject> {
        Ok(match read {
            Read::Null => Value::Null,
            Read::Text => Value::Text(Cow::Borrowed(self.text(field)?)),
            Read::Symbols(symbols) => Value::Text(Cow::Borrowed(self.variant(symbols)?)),
            Read::Long => Value::Int(self.long()?),
            Read::Time(units) => Value::Int(self.long()?.div_euclid(*units)),
            Read::Float => Value::Float(f64::from(f32::from_le_bytes(self.array()?))),
            Read::Double => Value::Float(f64::from_le_bytes(self.array()?)),
            Read::Decimal { scale, size } => {
                let digits = match size {
                    Some(size) => self.take(*size)?,
                    None => self.prefixed()?,
                };
                decimal(field, digits, *scale)?
            }
            Read::Union(variants) => {
                let variant = self.variant(variants)?;
                self.value(field, variant)?
            }
            Read::Map(_) => return Err(wrong_type(field, "a map")),
            Read::Wrong(found) => return Err(wrong_type(field, found)),
        })
    }

    /// Bytes that are no text are an error that nobody can read: that is no reason to refuse the event.
    fn is_failure(&mut self, read: &Read) -> Result<bool, Reject> {
        Ok(match read {
            Read::Text => status::is_failure(self.prefixed()?),
            Read::Symbols(symbols) => status::is_failure(self.variant(symbols)?.as_bytes()),
            Read::Union(variants) => {
                let variant = self.variant(variants)?;
                self.is_failure(variant)?
            }
            _ => false,
        })
    }

    fn tags(&mut self, read: &'a Read, event: &mut RawEvent<'a>) -> Result<(), Reject> {
        let values = match read {
            Read::Null => return Ok(()),
            Read::Map(values) => values,
            Read::Union(variants) => {
                let variant = self.variant(variants)?;
                return self.tags(variant, event);
            }
            Read::Wrong(found) => return Err(wrong_type(Field::Tags, found)),
            _ => return Err(wrong_type(Field::Tags, "no map")),
        };
        while let Some((items, _)) = self.block()? {
            for _ in 0..items {
                let name = self.text(Field::Tags)?;
                if let Value::Text(text) = self.value(Field::Tags, values)? {
                    event.add_tag(Cow::Borrowed(name), text);
                }
            }
        }
        Ok(())
    }

    /// Items of the next block of an array or map, and its size in bytes where it is stated; `None` at the end.
    #[inline]
    pub(super) fn block(&mut self) -> Result<Option<(usize, Option<usize>)>, Reject> {
        let count = self.long()?;
        if count == 0 {
            return Ok(None);
        }
        let size = if count < 0 {
            let size = usize::try_from(self.long()?).map_err(|_| invalid("a block of negative size"))?;
            Some(size)
        } else {
            None
        };
        let items = usize::try_from(count.unsigned_abs()).map_err(|_| invalid("more items than bytes"))?;
        self.items_left = self.items_left.checked_sub(items).ok_or_else(|| invalid("more items than bytes"))?;
        Ok(Some((items, size)))
    }

    pub(super) fn skip(&mut self, shapes: &[Shape], place: usize, depth: u32) -> Result<(), Reject> {
        if depth > DEEPEST {
            return Err(invalid("nested too deeply"));
        }
        match shapes.get(place) {
            Some(Shape::Fixed(size)) => self.take(*size).map(drop),
            Some(Shape::Varint) => self.long().map(drop),
            Some(Shape::Bytes) => self.prefixed().map(drop),
            Some(Shape::Array(item)) => self.skip_blocks(shapes, false, *item, depth),
            Some(Shape::Map(item)) => self.skip_blocks(shapes, true, *item, depth),
            Some(Shape::Union(variants)) => {
                let variant = *self.variant(variants)?;
                self.skip(shapes, variant, depth + 1)
            }
            Some(Shape::Record(fields)) => {
                self.items_left = self.items_left.checked_sub(1).ok_or_else(|| invalid("more items than bytes"))?;
                fields.iter().try_for_each(|field| self.skip(shapes, *field, depth + 1))
            }
            None => Err(invalid("a type that the schema does not have")),
        }
    }

    fn skip_blocks(&mut self, shapes: &[Shape], keyed: bool, item: usize, depth: u32) -> Result<(), Reject> {
        while let Some((items, size)) = self.block()? {
            if let Some(size) = size {
                self.take(size)?;
                continue;
            }
            for _ in 0..items {
                if keyed {
                    self.prefixed()?;
                }
                self.skip(shapes, item, depth + 1)?;
            }
        }
        Ok(())
    }
}

fn decimal(field: Field, digits: &[u8], scale: u32) -> Result<Value<'_>, Reject> {
    if digits.is_empty() || digits.len() > 16 {
        let message = format!("'{}' is a decimal of {} bytes, expected 1 to 16", field.name(), digits.len());
        return Err(Reject::new(RejectReason::OutOfRange, message));
    }
    Ok(Value::Decimal(digits, scale))
}
