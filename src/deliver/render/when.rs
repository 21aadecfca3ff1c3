//! Times as people read them: in the team's time zone, with UTC beside it.

use jiff::ZonedDateTime;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;

use super::language::Language;
use crate::model::time::{self, DAY_MS, HOUR_MS, MINUTE_MS, Timestamp};

/// Farther away a weekday does not say which day it is.
const SAME_WEEK_MS: u64 = 6 * DAY_MS.unsigned_abs();

/// The zone of that IANA name; UTC if there is none.
pub fn zone(name: &str) -> TimeZone {
    time::zone(name).unwrap_or(TimeZone::UTC)
}

/// `Tue 24 Nov 2026, 14:02 CET (13:02 UTC)`, `Di 24. Nov. 2026, 14:02 MEZ (13:02 UTC)`.
pub fn moment(time: Timestamp, zone: &TimeZone, language: Language) -> String {
    let (local, utc) = (zoned(time, zone), zoned(time, &TimeZone::UTC));
    let beside = match (local.offset() == utc.offset(), local.date() == utc.date()) {
        (true, _) => return format!("{} {}", date(&utc, true, language), formatted(&utc, "%H:%M UTC")),
        (false, true) => formatted(&utc, "%H:%M UTC"),
        (false, false) => format!("{} {}", date(&utc, false, language), formatted(&utc, "%H:%M UTC")),
    };
    let zone = formatted(&local, "%Z");
    let zone = language.pick(zone.as_str(), german_zone(&zone));
    format!("{} {} {zone} ({beside})", date(&local, true, language), formatted(&local, "%H:%M"))
}

/// `Tue 24 Nov 2026,`, `Di 24. Nov. 2026,`.
fn date(time: &ZonedDateTime, with_year: bool, language: Language) -> String {
    let year = if with_year { formatted(time, " %Y") } else { String::new() };
    match language {
        Language::English => format!("{}{year},", formatted(time, "%a %-d %b")),
        Language::German => format!("{} {}. {}{year},", weekday(time, language), time.day(), german_month(time.month())),
    }
}

fn weekday(time: &ZonedDateTime, language: Language) -> String {
    const GERMAN: [&str; 7] = ["Mo", "Di", "Mi", "Do", "Fr", "Sa", "So"];
    match language {
        Language::English => formatted(time, "%a"),
        Language::German => {
            let day = usize::try_from(time.weekday().to_monday_zero_offset()).unwrap_or_default();
            GERMAN.get(day).copied().unwrap_or_default().to_string()
        }
    }
}

/// As Duden shortens them.
fn german_month(month: i8) -> &'static str {
    const MONTHS: [&str; 12] = ["Jan.", "Feb.", "März", "Apr.", "Mai", "Juni", "Juli", "Aug.", "Sept.", "Okt.", "Nov.", "Dez."];
    usize::try_from(month - 1).ok().and_then(|month| MONTHS.get(month)).copied().unwrap_or_default()
}

fn german_zone(zone: &str) -> &str {
    match zone {
        "CET" => "MEZ",
        "CEST" => "MESZ",
        other => other,
    }
}

/// `14:02`.
pub fn clock(time: Timestamp, zone: &TimeZone) -> String {
    formatted(&zoned(time, zone), "%H:%M")
}

/// `Tue 14:02`, `Di 14:02`.
pub fn day_and_clock(time: Timestamp, zone: &TimeZone, language: Language) -> String {
    let local = zoned(time, zone);
    format!("{} {}", weekday(&local, language), formatted(&local, "%H:%M"))
}

/// The same with the date where the weekday could be another week's: `Tue 24 Nov, 14:02`, in another year `Tue 24 Nov 2026, 14:02`.
pub fn day_and_clock_seen(time: Timestamp, now: Timestamp, zone: &TimeZone, language: Language) -> String {
    if time.0.abs_diff(now.0) <= SAME_WEEK_MS {
        return day_and_clock(time, zone, language);
    }
    let (local, today) = (zoned(time, zone), zoned(now, zone));
    format!("{} {}", date(&local, local.year() != today.year(), language), formatted(&local, "%H:%M"))
}

/// `Tue 24`, `Di 24.`.
pub fn day(time: Timestamp, zone: &TimeZone, language: Language) -> String {
    let local = zoned(time, zone);
    format!("{} {}{}", weekday(&local, language), local.day(), language.pick("", "."))
}

/// Hour and minute of the day.
pub fn hour_and_minute(time: Timestamp, zone: &TimeZone) -> (i8, i8) {
    let local = zoned(time, zone);
    (local.hour(), local.minute())
}

/// `14 min`, `3 h 20 min`, `2 days 4 h`: the two largest units, rounded down, at least a minute.
pub fn span(from: Timestamp, to: Timestamp, language: Language) -> String {
    let length = to.0.saturating_sub(from.0).max(MINUTE_MS);
    let (days, hours, minutes) = (length / DAY_MS, length % DAY_MS / HOUR_MS, length % HOUR_MS / MINUTE_MS);
    let (h, min) = language.pick(("h", "min"), ("Std.", "Min."));
    let days_text =
        if days == 1 { language.pick("1 day", "1 Tag").to_string() } else { format!("{days} {}", language.pick("days", "Tage")) };
    match (days, hours, minutes) {
        (0, 0, _) => format!("{minutes} {min}"),
        (0, _, 0) => format!("{hours} {h}"),
        (0, _, _) => format!("{hours} {h} {minutes} {min}"),
        (_, 0, _) => days_text,
        (_, _, _) => format!("{days_text} {hours} {h}"),
    }
}

/// [`span`] behind "in", where German has another case: `in 2 Tagen 4 Std.`.
pub fn within(from: Timestamp, to: Timestamp, language: Language) -> String {
    let span = span(from, to, language);
    language.pick(span.clone(), span.replace("Tage", "Tagen"))
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
        let at = |text: &str, name: &str| moment(Timestamp::parse(text).unwrap(), &zone(name), Language::English);
        assert_eq!(at("2026-11-24T13:02:59Z", "Europe/Berlin"), "Tue 24 Nov 2026, 14:02 CET (13:02 UTC)");
        assert_eq!(at("2026-07-04T02:02:00Z", "America/Los_Angeles"), "Fri 3 Jul 2026, 19:02 PDT (Sat 4 Jul, 02:02 UTC)");
        assert_eq!(at("2026-11-24T13:02:00Z", "UTC"), "Tue 24 Nov 2026, 13:02 UTC");
        assert_eq!(at("2026-11-24T13:02:00Z", "Nowhere/Land"), "Tue 24 Nov 2026, 13:02 UTC");
        let german = |text: &str, name: &str| moment(Timestamp::parse(text).unwrap(), &zone(name), Language::German);
        assert_eq!(german("2026-11-24T13:02:59Z", "Europe/Berlin"), "Di 24. Nov. 2026, 14:02 MEZ (13:02 UTC)");
        assert_eq!(german("2026-03-29T23:30:00Z", "Europe/Vienna"), "Mo 30. März 2026, 01:30 MESZ (So 29. März, 23:30 UTC)");
        assert_eq!(german("2026-05-03T13:02:00Z", "UTC"), "So 3. Mai 2026, 13:02 UTC");
        assert_eq!(http_date(Timestamp(0)), "Thu, 01 Jan 1970 00:00:00 GMT");
    }

    #[test]
    fn spans_have_two_units() {
        let of = |minutes: i64, language| super::span(Timestamp(0), Timestamp(minutes * MINUTE_MS), language);
        let span = |minutes: i64| of(minutes, Language::English);
        let cases = [(-5, "1 min"), (0, "1 min"), (14, "14 min"), (60, "1 h"), (200, "3 h 20 min"), (1440, "1 day"), (3130, "2 days 4 h")];
        for (minutes, expected) in cases {
            assert_eq!(span(minutes), expected);
        }
        let german: Vec<String> = [14, 200, 1440, 3130].map(|minutes| of(minutes, Language::German)).to_vec();
        assert_eq!(german, ["14 Min.", "3 Std. 20 Min.", "1 Tag", "2 Tage 4 Std."]);
        assert_eq!(within(Timestamp(0), Timestamp(3130 * MINUTE_MS), Language::German), "2 Tagen 4 Std.");
    }
}
