//! Times and amounts as the screen shows them.

use crate::model::counted::noun;
use crate::model::money::Nanos;
use crate::model::time::{HOUR_MS, MINUTE_MS, Timestamp};

/// `Wed 10:19`, UTC.
pub fn clock(at: Timestamp) -> String {
    format(at, "%a %H:%M")
}

/// `18 Nov`.
pub fn day(at: Timestamp) -> String {
    format(at, "%d %b")
}

fn format(at: Timestamp, form: &str) -> String {
    jiff::Timestamp::from_millisecond(at.0).map_or_else(|_| at.to_string(), |instant| instant.strftime(form).to_string())
}

/// `19 min`, `1 h 05 min`.
pub fn span(ms: i64) -> String {
    let (hours, minutes) = (ms / HOUR_MS, ms % HOUR_MS / MINUTE_MS);
    if hours == 0 { format!("{minutes} min") } else { format!("{hours} h {minutes:02} min") }
}

/// `1,337.16 USD`.
pub fn dollars(amount: Nanos) -> String {
    format!("{} USD", figure(amount))
}

/// `1,337.16`, `-1,337.16`.
pub fn figure(amount: Nanos) -> String {
    let text = amount.rounded(2);
    let (sign, digits) = text.strip_prefix('-').map_or(("", text.as_str()), |digits| ("-", digits));
    let (whole, cents) = digits.split_once('.').unwrap_or((digits, "00"));
    match whole.parse::<u64>() {
        Ok(whole) => format!("{sign}{}.{cents}", grouped(whole)),
        Err(_) => text,
    }
}

/// `1 duplicate`, `4,032 duplicates`.
pub fn many(number: u64, word: &str) -> String {
    format!("{} {}", grouped(number), noun(number, word))
}

/// `211,581`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_people_write_them() {
        assert_eq!([0, 999, 1_000, 211_581, 1_234_567].map(grouped), ["0", "999", "1,000", "211,581", "1,234,567"]);
        assert_eq!(dollars(Nanos(1_337_156_000_000)), "1,337.16 USD");
        assert_eq!(dollars(Nanos(-5_000_000_000)), "-5.00 USD");
        assert_eq!([-1_337_156_000_000, 66_610_000_000, -1_000].map(|nanos| figure(Nanos(nanos))), ["-1,337.16", "66.61", "0.00"]);
        assert_eq!([0, 1, 4_032].map(|number| many(number, "roll-up")), ["0 roll-ups", "1 roll-up", "4,032 roll-ups"]);
        assert_eq!([19 * MINUTE_MS, HOUR_MS + 5 * MINUTE_MS].map(span), ["19 min", "1 h 05 min"]);
        assert_eq!(clock(Timestamp(0)), "Thu 00:00");
    }
}
