//! Days and months in a team's time zone.

use crate::model::time::{DAY_MS, HOUR_MS, Hour, Timestamp};

/// First day of a period and the one behind its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub first: i64,
    pub end: i64,
}

pub(super) fn day_of(at: Timestamp, zone: &jiff::tz::TimeZone) -> i64 {
    let offset = jiff::Timestamp::from_millisecond(at.0).map_or(0, |instant| zone.to_offset(instant).seconds());
    (at.0 + i64::from(offset) * 1000).div_euclid(DAY_MS)
}

/// As a date of the calendar.
pub(super) fn date(day: i64) -> jiff::civil::Date {
    let midnight = jiff::Timestamp::from_second(day.saturating_mul(DAY_MS / 1000)).unwrap_or_default();
    midnight.to_zoned_datetime(jiff::tz::TimeZone::UTC).date()
}

pub(super) fn month_of(day: i64) -> Span {
    let date = date(day);
    let first = day - i64::from(date.day()) + 1;
    Span { first, end: first + i64::from(date.days_in_month()) }
}

/// Midnight of a day in a zone.
pub(super) fn start_of(day: i64, zone: &jiff::tz::TimeZone) -> Timestamp {
    let midnight = date(day).to_zoned_datetime(zone.clone());
    midnight.map_or(Timestamp(day.saturating_mul(DAY_MS)), |at| Timestamp(at.timestamp().as_millisecond()))
}

/// Part of a day that has passed when an hour is over.
pub(super) fn part_of_day(hour: Hour, zone: &jiff::tz::TimeZone, day: i64) -> f64 {
    let passed = hour.end().0 - start_of(day, zone).0;
    (passed as f64 / (24 * HOUR_MS) as f64).clamp(0.0, 1.0)
}
