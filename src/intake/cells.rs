//! Judges single values of decoded events of the quieter topics: texts that are too long, times that cannot be, amounts that are none.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::decode::table::{Cell, Cells};
use super::decode::{MOST_TAGS, short};
use super::validate::{EARLIEST, LARGEST, LONGEST_TEXT, clean};
use crate::model::Text;
use crate::model::money::{AmountError, Currency, Nanos};
use crate::model::record::{Reject, RejectReason};
use crate::model::time::Timestamp;

const NANOS_PER_UNIT: i128 = 1_000_000_000;
/// The id of an alert is its team, whatever its length, a slash and 32 digits.
const LONGEST_ID: usize = LONGEST_TEXT + 33;

/// A text that is not too long; empty is absent.
pub fn text<'t>(name: &str, text: Option<&'t str>) -> Result<Option<&'t str>, Reject> {
    within(name, text, LONGEST_TEXT)
}

fn within<'t>(name: &str, text: Option<&'t str>, longest: usize) -> Result<Option<&'t str>, Reject> {
    match text {
        Some(text) if text.len() > longest => {
            let message = format!("'{}' has {} bytes, at most {longest} are taken", short(name), text.len());
            Err(Reject::new(RejectReason::FieldTooLong, message))
        }
        text => Ok(text.filter(|text| !text.is_empty())),
    }
}

pub fn required<'t>(name: &str, value: Option<&'t str>) -> Result<&'t str, Reject> {
    text(name, value)?.ok_or_else(|| Reject::new(RejectReason::MissingField, format!("'{name}' is absent or empty")))
}

/// `latest` is the last event time that is not in the future.
pub fn event_time(value: &Cell<'_>, latest: Timestamp) -> Result<Timestamp, Reject> {
    let time = moment("event_time", value)?.ok_or_else(|| Reject::new(RejectReason::MissingField, "'event_time' is absent or empty"))?;
    if time < EARLIEST {
        return Err(Reject::new(RejectReason::EventTimeTooOld, format!("'event_time' is {time}, before {EARLIEST}")));
    }
    if time > latest {
        let message = format!("'event_time' is {time}, later than {latest} (the record's time or the clock, plus the allowed skew)");
        return Err(Reject::new(RejectReason::EventTimeInFuture, message));
    }
    Ok(time)
}

/// Any moment, also one to come; what lies beyond any calendar (the largest number there is, for "never") counts as its last moment.
pub fn moment(name: &str, value: &Cell<'_>) -> Result<Option<Timestamp>, Reject> {
    Ok(match value {
        Cell::Whole(milliseconds) => Some(Timestamp(*milliseconds).within_calendar()),
        Cell::Text(text) if !text.is_empty() => Some(Timestamp::parse(short(text).as_str()).ok_or_else(|| {
            Reject::new(RejectReason::InvalidEventTime, format!("'{name}' is '{}', expected RFC 3339 with a zone", short(text)))
        })?),
        _ => None,
    })
}

/// A name: trimmed, without control characters; empty is absent.
pub fn name<'a>(cells: &mut Cells<'a>, name: &str) -> Result<Option<Cow<'a, str>>, Reject> {
    let Cell::Text(value) = cells.take(name) else { return Ok(None) };
    text(name, Some(&value))?;
    Ok(Some(clean(value)).filter(|text| !text.is_empty()))
}

pub fn shared(cells: &mut Cells<'_>, field: &str) -> Result<Option<Text>, Reject> {
    Ok(name(cells, field)?.map(|text| text.as_ref().into()))
}

/// Of an alert or a violation.
pub fn alert_id(cells: &mut Cells<'_>) -> Result<Option<Text>, Reject> {
    let Cell::Text(value) = cells.take("alert_id") else { return Ok(None) };
    within("alert_id", Some(&value), LONGEST_ID)?;
    Ok(Some(Text::from(clean(value).as_ref())).filter(|id| !id.is_empty()))
}

/// Finite and, where `signed` is not, not negative.
pub fn number(cells: &mut Cells<'_>, name: &str, signed: bool) -> Result<Option<f64>, Reject> {
    let Cell::Number(number) = cells.take(name) else { return Ok(None) };
    if !number.is_finite() {
        return Err(Reject::new(RejectReason::NotANumber, format!("'{name}' is {number}")));
    }
    if number < 0.0 && !signed {
        return Err(Reject::new(RejectReason::NegativeQuantity, format!("'{name}' is {number}")));
    }
    Ok(Some(number))
}

pub fn count(cells: &mut Cells<'_>, name: &str) -> Result<Option<u64>, Reject> {
    let Cell::Whole(count) = cells.take(name) else { return Ok(None) };
    let count = u64::try_from(count).map_err(|_| Reject::new(RejectReason::NegativeQuantity, format!("'{name}' is {count}")))?;
    if count > LARGEST {
        return Err(Reject::new(RejectReason::OutOfRange, format!("'{name}' is {count}, beyond 10^18")));
    }
    Ok(Some(count))
}

/// Empty is absent, as of all texts.
pub fn amount(cells: &mut Cells<'_>, name: &str) -> Result<Option<Nanos>, Reject> {
    let Cell::Text(value) = cells.take(name) else { return Ok(None) };
    if value.is_empty() {
        return Ok(None);
    }
    let beyond = || Reject::new(RejectReason::OutOfRange, format!("'{name}' is beyond 10^18"));
    match value.parse::<Nanos>() {
        Ok(amount) if amount.0.abs() <= i128::from(LARGEST) * NANOS_PER_UNIT => Ok(Some(amount)),
        Ok(_) | Err(AmountError::OutOfRange) => Err(beyond()),
        Err(AmountError::NotANumber) => {
            let message = format!("'{name}' is '{}', expected a decimal number like 12.5", short(&value));
            Err(Reject::new(RejectReason::InvalidAmount, message))
        }
    }
}

pub fn currency(cells: &mut Cells<'_>, name: &str) -> Result<Option<Currency>, Reject> {
    let Cell::Text(code) = cells.take(name) else { return Ok(None) };
    if code.is_empty() {
        return Ok(None);
    }
    let unknown = || Reject::new(RejectReason::UnknownCurrency, format!("'{name}' is '{}', no active ISO 4217 code", short(&code)));
    Currency::parse(&code).map(Some).ok_or_else(unknown)
}

/// Names and texts, cleaned; of a name that comes twice the last holds.
pub fn map(cells: &mut Cells<'_>, name: &str) -> Result<BTreeMap<Text, Text>, Reject> {
    let Cell::Map(pairs) = cells.take(name) else { return Ok(BTreeMap::new()) };
    if pairs.len() > MOST_TAGS {
        let message = format!("'{name}' has {} entries, at most {MOST_TAGS} are taken", pairs.len());
        return Err(Reject::new(RejectReason::FieldTooLong, message));
    }
    let mut map = BTreeMap::new();
    for (key, value) in pairs {
        text(&format!("{name}.{key}"), Some(&key))?;
        text(&format!("{name}.{key}"), Some(&value))?;
        map.insert(clean(key).as_ref().into(), clean(value).as_ref().into());
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Events travel as JSON: a moment that could not be read again would stop every shard that it reaches.
    #[test]
    fn a_moment_beyond_any_calendar_is_the_last_one_that_can_be_written() {
        for far in [i64::MAX, i64::MIN, 253_402_300_799_000, -400_000_000_000_000] {
            let moment = moment("until", &Cell::Whole(far)).unwrap().unwrap();
            assert_eq!(Timestamp::parse(&moment.to_string()), Some(moment), "{far}");
            assert_eq!(moment.0.signum(), far.signum());
        }
        let last = moment("until", &Cell::Whole(i64::MAX)).unwrap();
        for never in ["9999-12-31T23:59:59Z", "9999-12-31t23:59:59.999999z", "9999-12-31T23:59:59+00:00", "9999-12-31T20:59:59-03:00"] {
            assert_eq!(moment("until", &Cell::Text(never.into())), Ok(last), "{never}");
        }
        for none in ["9999-12-31T23:59:59", "9999-12-31", "9999-12-32T23:59:59Z", "99999-12-31T23:59:59Z"] {
            assert!(moment("until", &Cell::Text(none.into())).is_err(), "{none}");
        }
        assert_eq!(moment("until", &Cell::Whole(1_700_000_000_000)).unwrap(), Some(Timestamp(1_700_000_000_000)));
    }
}
