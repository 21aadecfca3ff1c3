//! FOCUS: what its columns are called and how their texts are read. Versions 1.0 to 1.4 of the FinOps Open Cost and Usage Specification.

use super::time::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, Timestamp};

/// Reads a time: `2026-03-01T10:00:00Z` as the specification has it, and what exporters write instead: a blank for the `T`, no zone (then
/// UTC), an offset, a fraction of a second (digits below the millisecond are dropped), a date alone. `None` is no time.
pub fn moment(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let number = |from: usize, length: usize| digits(bytes.get(from..from + length)?);
    let is = |at: usize, wanted: &[u8]| bytes.get(at).is_some_and(|byte| wanted.contains(byte));
    let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
    if !is(4, b"-") || !is(7, b"-") || !(1..=12).contains(&month) || day < 1 || day > days_in(year, month) {
        return None;
    }
    let date = days_since_epoch(year, month, day) * DAY_MS;
    if bytes.len() == 10 {
        return Some(Timestamp(date));
    }
    let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
    if !is(10, b"T t") || !is(13, b":") || !is(16, b":") || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut rest = bytes.get(19..)?;
    let mut milliseconds = 0;
    if let Some(fraction) = rest.strip_prefix(b".") {
        let length = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if length == 0 || length > 9 {
            return None;
        }
        for place in 0..3 {
            milliseconds = milliseconds * 10 + fraction.get(place).filter(|_| place < length).map_or(0, |byte| i64::from(byte - b'0'));
        }
        rest = fraction.get(length..)?;
    }
    let offset = match rest {
        b"" | b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), hours @ .., b':', m, n] if hours.len() == 2 => {
            let (hours, minutes) = (digits(hours)?, digits(&[*m, *n])?);
            let offset = hours * HOUR_MS + minutes * MINUTE_MS;
            if *sign == b'-' { -offset } else { offset }
        }
        _ => return None,
    };
    Some(Timestamp(date + hour * HOUR_MS + minute * MINUTE_MS + second * SECOND_MS + milliseconds - offset))
}

/// Exactly as the specification has it: `2026-03-01T10:00:00Z`.
pub fn is_plain_moment(text: &str) -> bool {
    text.len() == 20 && text.as_bytes().get(10) == Some(&b'T') && text.ends_with('Z') && moment(text).is_some()
}

/// `YYYY-MM`.
pub fn is_month(text: &str) -> bool {
    let bytes = text.as_bytes();
    let month = bytes.get(5..7).and_then(digits);
    bytes.len() == 7
        && bytes.get(..4).and_then(digits).is_some()
        && bytes.get(4) == Some(&b'-')
        && month.is_some_and(|month| (1..=12).contains(&month))
}

/// The month of a time, UTC, as `YYYY-MM`; `None` beyond the years 0 to 9999.
pub fn month_of(time: Timestamp) -> Option<String> {
    let (year, month) = civil(time.0.div_euclid(DAY_MS));
    (0..=9999).contains(&year).then(|| format!("{year:04}-{month:02}"))
}

fn digits(bytes: &[u8]) -> Option<i64> {
    bytes.iter().try_fold(0, |value, byte| byte.is_ascii_digit().then(|| value * 10 + i64::from(byte - b'0')))
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar: years begin in March, so that a leap day is the last of its year, and 400
/// years are 146,097 days.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year and month of a day since 1970-01-01: the inverse of `days_since_epoch`.
fn civil(days: i64) -> (i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = ((5 * of_year + 2) / 153 + 2) % 12 + 1;
    (era * 400 + year + i64::from(month <= 2), month)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_what_another_reader_says() {
        for days in (-25_000..60_000).step_by(7) {
            let time = Timestamp(days * DAY_MS + 37_230_000);
            let text = time.to_string();
            assert_eq!(moment(&text), Some(time), "{text}");
            assert_eq!(month_of(time).as_deref(), text.get(..7));
        }
        let at = Timestamp::parse("2024-02-29T23:05:09Z");
        for text in ["2024-02-29 23:05:09", "2024-02-29T23:05:09", "2024-02-29T23:05:09+00:00", "2024-03-01T01:05:09+02:00"] {
            assert_eq!(moment(text), at, "{text}");
        }
        assert_eq!(moment("2024-02-29T23:05:09.123456Z"), Timestamp::parse("2024-02-29T23:05:09.123Z"));
        assert_eq!(moment("2024-02-29T23:05:09.5-01:30"), Timestamp::parse("2024-02-29T23:05:09.5-01:30"));
        assert_eq!(moment("2024-02-29"), Timestamp::parse("2024-02-29T00:00:00Z"));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        let table = [
            "",
            "NULL",
            "2024",
            "2024-13-01",
            "2023-02-29",
            "2024-00-10",
            "2024-01-01T24:00:00Z",
            "2024-01-01T10:00Z",
            "01/02/2024",
            "2024-01-01T10:00:00.Z",
            "2024-01-01T10:00:00 UTC",
            "2024-01-01T10:00:00+02",
            "2024-01-ü1",
            "2024-01-01X10:00:00Z",
        ];
        for text in table {
            assert_eq!(moment(text), None, "{text}");
        }
        assert!(is_plain_moment("2024-09-01T00:00:00Z") && !is_plain_moment("2024-09-01 00:00:00"));
        assert!(is_month("2024-09") && !["2024-13", "2024-00", "2024-9", "2024-09-01", "202x-01"].iter().any(|text| is_month(text)));
    }
}
