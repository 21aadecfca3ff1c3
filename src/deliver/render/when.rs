//! Times as people read them: in the team's time zone, with UTC beside it.

use jiff::ZonedDateTime;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;

use crate::model::time::{DAY_MS, HOUR_MS, MINUTE_MS, Timestamp};

/// The zone of that IANA name; UTC if there is none.
pub fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap_or(TimeZone::UTC)
}

/// `Tue 24 Nov 2026, 14:02 CET (13:02 UTC)`.
pub fn moment(time: Timestamp, zone: &TimeZone) -> String {
    let (local, utc) = (zoned(time, zone), zoned(time, &TimeZone::UTC));
    let beside = match (local.offset() == utc.offset(), local.date() == utc.date()) {
        (true, _) => return formatted(&utc, "%a %-d %b %Y, %H:%M UTC"),
        (false, true) => formatted(&utc, "%H:%M UTC"),
        (false, false) => formatted(&utc, "%a %-d %b, %H:%M UTC"),
    };
    format!("{} ({beside})", formatted(&local, "%a %-d %b %Y, %H:%M %Z"))
}

/// `14:02`.
pub fn clock(time: Timestamp, zone: &TimeZone) -> String {
    formatted(&zoned(time, zone), "%H:%M")
}

/// `Tue 14:02`.
pub fn day_and_clock(time: Timestamp, zone: &TimeZone) -> String {
    formatted(&zoned(time, zone), "%a %H:%M")
}

/// `Tue 24`.
pub fn day(time: Timestamp, zone: &TimeZone) -> String {
    formatted(&zoned(time, zone), "%a %-d")
}

/// Hour and minute of the day.
pub fn hour_and_minute(time: Timestamp, zone: &TimeZone) -> (i8, i8) {
    let local = zoned(time, zone);
    (local.hour(), local.minute())
}

/// `14 min`, `3 h 20 min`, `2 days 4 h`: the two largest units, rounded down, at least a minute.
pub fn span(from: Timestamp, to: Timestamp) -> String {
    let length = to.0.saturating_sub(from.0).max(MINUTE_MS);
    let (days, hours, minutes) = (length / DAY_MS, length % DAY_MS / HOUR_MS, length % HOUR_MS / MINUTE_MS);
    let days_text = if days == 1 { "1 day".to_string() } else { format!("{days} days") };
    match (days, hours, minutes) {
        (0, 0, _) => format!("{minutes} min"),
        (0, _, 0) => format!("{hours} h"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        (_, 0, _) => days_text,
        (_, _, _) => format!("{days_text} {hours} h"),
    }
}

/// RFC 5322 (and 9110): `Tue, 24 Nov 2026 13:14:06 GMT`.
pub fn http_date(time: Timestamp) -> String {
    formatted(&zoned(time, &TimeZone::UTC), "%a, %d %b %Y %H:%M:%S GMT")
}

/// `20261124T131406Z`, for names of files.
pub fn compact(time: Timestamp) -> String {
    formatted(&zoned(time, &TimeZone::UTC), "%Y%m%dT%H%M%SZ")
}

fn zoned(time: Timestamp, zone: &TimeZone) -> ZonedDateTime {
    jiff::Timestamp::from_millisecond(time.0).unwrap_or_default().to_zoned_datetime(zone.clone())
}

fn formatted(time: &ZonedDateTime, format: &str) -> String {
    strtime::format(format, time).unwrap_or_else(|_| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_show_both_clocks() {
        let at = |text: &str, name: &str| moment(Timestamp::parse(text).unwrap(), &zone(name));
        assert_eq!(at("2026-11-24T13:02:59Z", "Europe/Berlin"), "Tue 24 Nov 2026, 14:02 CET (13:02 UTC)");
        assert_eq!(at("2026-07-04T02:02:00Z", "America/Los_Angeles"), "Fri 3 Jul 2026, 19:02 PDT (Sat 4 Jul, 02:02 UTC)");
        assert_eq!(at("2026-11-24T13:02:00Z", "UTC"), "Tue 24 Nov 2026, 13:02 UTC");
        assert_eq!(at("2026-11-24T13:02:00Z", "Nowhere/Land"), "Tue 24 Nov 2026, 13:02 UTC");
        assert_eq!(http_date(Timestamp(0)), "Thu, 01 Jan 1970 00:00:00 GMT");
    }

    #[test]
    fn spans_have_two_units() {
        let span = |minutes: i64| span(Timestamp(0), Timestamp(minutes * MINUTE_MS));
        let cases = [(-5, "1 min"), (0, "1 min"), (14, "14 min"), (60, "1 h"), (200, "3 h 20 min"), (1440, "1 day"), (3130, "2 days 4 h")];
        for (minutes, expected) in cases {
            assert_eq!(span(minutes), expected);
        }
    }
}
