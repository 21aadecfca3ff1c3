//! A decoded event becomes a usage event, or is refused with a reason. The verdict depends on bytes, schema and stamps alone: rules change,
//! and an id that is in the dedupe window today must be in it tomorrow.

use std::borrow::Cow;

use super::decode::{Field, RawEvent, Tag, Value, short};
use crate::model::money::{AmountError, Currency, Nanos};
use crate::model::record::{Reject, RejectReason};
use crate::model::time::Timestamp;
use crate::model::usage::{Tokens, UsageEvent};

/// Of any text, in bytes.
pub const LONGEST_TEXT: usize = 1_024;
pub use super::decode::MOST_TAGS;

/// 2015-01-01T00:00:00Z.
pub const EARLIEST: Timestamp = Timestamp(1_420_070_400_000);
/// Of a count, and in units of a quantity or an amount.
pub const LARGEST: u64 = 1_000_000_000_000_000_000;
const NANOS_PER_UNIT: f64 = 1e9;
const NANO_DIGITS: u32 = 9;

/// `latest` is the last event time that is not in the future.
pub fn validate<'a>(mut raw: RawEvent<'a>, latest: Timestamp) -> Result<UsageEvent<'a>, Reject> {
    let event_id = required(&mut raw, Field::EventId)?;
    let source = required(&mut raw, Field::Source)?;
    let event_time = event_time(raw.take(Field::EventTime), latest)?;
    let quantity = quantity(raw.take(Field::Quantity))?;
    let counts = Field::count_fields().map(|field| (field, raw.take(field)));
    let mut stated = [None; 6];
    for (slot, (field, value)) in stated.iter_mut().zip(counts) {
        *slot = count(field, value)?;
    }
    let [input, output, cached_input, cache_write, reasoning, requests] = stated;
    let has_tokens = [input, output, cached_input, cache_write, reasoning].iter().any(Option::is_some);
    let [input, output, cached_input, cache_write, reasoning] =
        [input, output, cached_input, cache_write, reasoning].map(Option::unwrap_or_default);
    let meter = match dimension(&mut raw, Field::Meter)? {
        Some(meter) => meter,
        None => Cow::Borrowed(default_meter(has_tokens, quantity.is_some())),
    };
    Ok(UsageEvent {
        event_id,
        source,
        event_time,
        meter,
        team: dimension(&mut raw, Field::Team)?,
        project: dimension(&mut raw, Field::Project)?,
        model: dimension(&mut raw, Field::Model)?,
        provider: dimension(&mut raw, Field::Provider)?,
        region: dimension(&mut raw, Field::Region)?,
        environment: dimension(&mut raw, Field::Environment)?,
        user: dimension(&mut raw, Field::User)?,
        account: dimension(&mut raw, Field::Account)?,
        resource_id: dimension(&mut raw, Field::ResourceId)?,
        quantity,
        tokens: Tokens { input, output, cached_input, cache_write, reasoning },
        requests: requests.unwrap_or(1),
        cost: cost(raw.take(Field::Cost))?,
        currency: currency(raw.take(Field::Currency))?,
        failed: raw.failed,
        tags: tags(raw.tags)?,
    })
}

/// The meter of an event that names none. A quantity of nobody knows what stays without a name: it cannot be priced, and that is to be seen.
pub fn default_meter(has_tokens: bool, has_quantity: bool) -> &'static str {
    match (has_tokens, has_quantity) {
        (true, _) => LLM_TOKENS,
        (false, true) => "",
        (false, false) => REQUEST,
    }
}

pub const LLM_TOKENS: &str = "llm.tokens";
pub const REQUEST: &str = "request";

impl Field {
    fn count_fields() -> [Field; 6] {
        [
            Field::InputTokens,
            Field::OutputTokens,
            Field::CachedInputTokens,
            Field::CacheWriteTokens,
            Field::ReasoningTokens,
            Field::Requests,
        ]
    }
}

fn text<'a>(raw: &mut RawEvent<'a>, field: Field) -> Result<Option<Cow<'a, str>>, Reject> {
    let Value::Text(text) = raw.take(field) else { return Ok(None) };
    check_length(field.name(), &text)?;
    Ok(Some(text).filter(|text| !text.is_empty()))
}

fn check_length(name: &str, text: &str) -> Result<(), Reject> {
    if text.len() <= LONGEST_TEXT {
        return Ok(());
    }
    let message = format!("'{}' has {} bytes, at most {LONGEST_TEXT} are taken", short(name), text.len());
    Err(Reject::new(RejectReason::FieldTooLong, message))
}

/// Ids stay as they are, byte for byte: they only have to be equal or not.
fn required<'a>(raw: &mut RawEvent<'a>, field: Field) -> Result<Cow<'a, str>, Reject> {
    text(raw, field)?.ok_or_else(|| Reject::new(RejectReason::MissingField, format!("'{}' is absent or empty", field.name())))
}

fn dimension<'a>(raw: &mut RawEvent<'a>, field: Field) -> Result<Option<Cow<'a, str>>, Reject> {
    Ok(text(raw, field)?.map(clean).filter(|text| !text.is_empty()))
}

/// A name as it may stand in a mail's subject, a header and an alert's id: control and direction characters are spaces, none at the ends.
/// Not refused, because the money of an event must not get lost over the line break of a shell script.
pub fn clean(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) || !text.contains(is_unfit) {
        return match text {
            Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
            Cow::Owned(text) if text.trim().len() == text.len() => Cow::Owned(text),
            Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
        };
    }
    Cow::Owned(text.replace(is_unfit, " ").trim().to_owned())
}

/// Control characters, line and paragraph separators, and those that turn the direction of what follows.
fn is_unfit(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn event_time(value: Value<'_>, latest: Timestamp) -> Result<Timestamp, Reject> {
    let time = match value {
        Value::Int(milliseconds) => Timestamp(milliseconds),
        Value::Text(text) if !text.is_empty() => {
            let parsed = if text.len() <= LONGEST_TEXT { Timestamp::parse(&text) } else { None };
            parsed.ok_or_else(|| {
                Reject::new(RejectReason::InvalidEventTime, format!("'event_time' is '{}', expected RFC 3339 with a zone", short(&text)))
            })?
        }
        _ => return Err(Reject::new(RejectReason::MissingField, "'event_time' is absent or empty")),
    };
    if time < EARLIEST {
        return Err(Reject::new(RejectReason::EventTimeTooOld, format!("'event_time' is {time}, before {EARLIEST}")));
    }
    if time > latest {
        let message = format!("'event_time' is {time}, later than {latest} (the record's time or the clock, plus the allowed skew)");
        return Err(Reject::new(RejectReason::EventTimeInFuture, message));
    }
    Ok(time)
}

fn out_of_range(field: Field) -> Reject {
    Reject::new(RejectReason::OutOfRange, format!("'{}' is beyond 10^18", field.name()))
}

fn negative(field: Field) -> Reject {
    Reject::new(RejectReason::NegativeQuantity, format!("'{}' is negative", field.name()))
}

fn not_whole(field: Field) -> Reject {
    super::decode::wrong_type(field, "a number with a fraction")
}

fn count(field: Field, value: Value<'_>) -> Result<Option<u64>, Reject> {
    let count = match value {
        Value::Int(count) => u64::try_from(count).map_err(|_| negative(field))?,
        Value::Float(count) => whole(field, count)?,
        Value::Literal(literal) => match literal.parse::<u64>() {
            Ok(count) => count,
            // `-1`, `1.0`, `1e3` and what is beyond 64 bits; none of them is exact enough to need more than a float.
            Err(_) => whole(field, json_float(field, literal)?)?,
        },
        Value::Null | Value::Text(_) | Value::Decimal(..) | Value::Other(_) => return Ok(None),
    };
    if count > LARGEST { Err(out_of_range(field)) } else { Ok(Some(count)) }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and in range, as checked before")]
fn whole(field: Field, count: f64) -> Result<u64, Reject> {
    check_finite(field, count)?;
    if count < 0.0 {
        return Err(negative(field));
    }
    if count.fract() != 0.0 {
        return Err(not_whole(field));
    }
    if count > 1e18 { Err(out_of_range(field)) } else { Ok(count as u64) }
}

fn check_finite(field: Field, value: f64) -> Result<(), Reject> {
    if value.is_finite() { Ok(()) } else { Err(Reject::new(RejectReason::NotANumber, format!("'{}' is {value}", field.name()))) }
}

/// JSON knows no infinity: what parses to one was written out of range.
fn json_float(field: Field, literal: &str) -> Result<f64, Reject> {
    let value: f64 = literal.parse().map_err(|_| Reject::new(RejectReason::InvalidJson, format!("'{}' is no number", field.name())))?;
    if value.is_finite() { Ok(value) } else { Err(out_of_range(field)) }
}

/// The schema says double, so that both forms go through one: the same number comes out of JSON and Avro.
pub fn quantity(value: Value<'_>) -> Result<Option<Nanos>, Reject> {
    let field = Field::Quantity;
    let quantity = match value {
        // Exact, where a float would not be.
        Value::Int(quantity) if quantity < 0 => return Err(negative(field)),
        Value::Int(quantity) if quantity.unsigned_abs() > LARGEST => return Err(out_of_range(field)),
        Value::Int(quantity) => return Ok(Some(Nanos::from_units(quantity))),
        Value::Float(quantity) => quantity,
        Value::Literal(literal) => json_float(field, literal)?,
        Value::Null | Value::Text(_) | Value::Decimal(..) | Value::Other(_) => return Ok(None),
    };
    check_finite(field, quantity)?;
    if quantity < 0.0 {
        return Err(negative(field));
    }
    nanos(quantity).map(Some).ok_or_else(|| out_of_range(field))
}

/// The nearest nano to what the float is written as.
#[allow(clippy::cast_possible_truncation, reason = "a whole number below 2^50, as checked before")]
fn nanos(value: f64) -> Option<Nanos> {
    let scaled = value * NANOS_PER_UNIT;
    if scaled.abs() < 1_125_899_906_842_624.0 {
        // Below 2^50 the product is off by less than half a nano.
        return Some(Nanos(scaled.round() as i128));
    }
    if value.abs() > 1e18 { None } else { value.to_string().parse().ok() }
}

pub fn cost(value: Value<'_>) -> Result<Option<Nanos>, Reject> {
    let field = Field::Cost;
    let amount = match &value {
        Value::Null | Value::Other(_) => return Ok(None),
        Value::Text(text) if text.is_empty() => return Ok(None),
        Value::Text(text) => {
            check_length(field.name(), text)?;
            text.parse()
        }
        Value::Literal(literal) => literal.parse(),
        Value::Decimal(digits, scale) => decimal(digits, *scale),
        Value::Int(units) => Ok(Nanos::from_units(*units)),
        Value::Float(units) => {
            check_finite(field, *units)?;
            nanos(*units).ok_or(AmountError::OutOfRange)
        }
    };
    match amount {
        Ok(amount) if amount.0.unsigned_abs() <= u128::from(LARGEST) * 1_000_000_000 => Ok(Some(amount)),
        Ok(_) | Err(AmountError::OutOfRange) => Err(out_of_range(field)),
        Err(AmountError::NotANumber) => {
            let shown = if let Value::Text(text) = &value { short(text) } else { String::new() };
            Err(Reject::new(RejectReason::InvalidAmount, format!("'cost' is '{shown}', expected a decimal number like 12.5")))
        }
    }
}

/// Rounded half to even, as the parser of texts does; nothing is lost where the schema says nine digits or fewer.
fn decimal(digits: &[u8], scale: u32) -> Result<Nanos, AmountError> {
    let start: i128 = if digits.first().is_some_and(|byte| byte & 0x80 != 0) { -1 } else { 0 };
    let unscaled = digits.iter().fold(start, |value, byte| value << 8 | i128::from(*byte));
    if scale <= NANO_DIGITS {
        let more = 10_i128.pow(NANO_DIGITS - scale);
        return unscaled.checked_mul(more).map(Nanos).ok_or(AmountError::OutOfRange);
    }
    // From 10^39 on every number of 16 bytes is less than half a nano.
    let Some(less) = 10_i128.checked_pow(scale - NANO_DIGITS) else { return Ok(Nanos::ZERO) };
    let magnitude = unscaled.unsigned_abs();
    let (quotient, remainder) = (magnitude / less.unsigned_abs(), magnitude % less.unsigned_abs());
    let rest = less.unsigned_abs() - remainder;
    let up = remainder > rest || (remainder == rest && quotient % 2 != 0);
    let rounded = i128::try_from(quotient + u128::from(up)).map_err(|_| AmountError::OutOfRange)?;
    Ok(Nanos(if unscaled < 0 { -rounded } else { rounded }))
}

fn currency(value: Value<'_>) -> Result<Option<Currency>, Reject> {
    let Value::Text(text) = value else { return Ok(None) };
    if text.is_empty() {
        return Ok(None);
    }
    let unknown = || Reject::new(RejectReason::UnknownCurrency, format!("'currency' is '{}', no active ISO 4217 code", short(&text)));
    Currency::parse(&text).map(Some).ok_or_else(unknown)
}

fn tags(tags: Vec<Tag<'_>>) -> Result<Vec<Tag<'_>>, Reject> {
    if tags.len() > MOST_TAGS {
        return Err(Reject::new(RejectReason::FieldTooLong, format!("'tags' has more than {MOST_TAGS} entries")));
    }
    for (name, value) in &tags {
        check_length("tags", name)?;
        if value.len() > LONGEST_TEXT {
            check_length(&format!("tags.{name}"), value)?;
        }
    }
    Ok(tags)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::tests::Dice;

    /// The text that says the same is the measure: it has one way into nanos, and that one is tested in `money`.
    #[test]
    fn a_decimal_is_the_amount_that_its_text_is() {
        let mut dice = Dice(11);
        for _ in 0..20_000 {
            let length = 1 + dice.roll(16);
            let digits: Vec<u8> = (0..length).map(|_| u8::try_from(*dice.pick(&[0, 1, 5, 50, 127, 128, 250, 255])).unwrap()).collect();
            let scale = u32::try_from(*dice.pick(&[0, 1, 2, 6, 9, 10, 11, 12, 18, 38, 46, 47, 48, 49, 1_000])).unwrap();
            let start: i128 = if digits[0] & 0x80 != 0 { -1 } else { 0 };
            let unscaled = digits.iter().fold(start, |value, byte| value << 8 | i128::from(*byte));
            let as_text = cost(Value::Text(Cow::Owned(format!("{unscaled}e-{scale}"))));
            assert_eq!(cost(Value::Decimal(&digits, scale)), as_text, "{unscaled}e-{scale}");
        }
    }
}
