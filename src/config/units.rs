//! Texts with units: durations, sizes, money. Each says what to write instead when it is not one.

use crate::model::money::{Currency, Nanos};

/// What is wrong with a value, and what to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// Follows the name of the option: "is ...", "has ...".
    pub what: String,
    pub hint: Option<String>,
}

impl Complaint {
    pub fn new(what: impl Into<String>, hint: impl Into<String>) -> Complaint {
        Complaint { what: what.into(), hint: Some(hint.into()) }
    }
}

const DURATIONS: [(&str, i64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const SIZES: [(&str, u64); 4] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// `250ms`, `30s`, `5m`, `48h`, `7d`, `1h30m`: milliseconds.
pub fn duration_ms(text: &str) -> Result<i64, Complaint> {
    let hint = "write a number and a unit: \"250ms\", \"30s\", \"5m\", \"48h\" or \"7d\"";
    let bad = || Complaint::new(format!("is '{text}', which is no duration"), hint);
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let what = format!("is '{text}', a duration without a unit");
        return Err(Complaint::new(
            what,
            format!("write \"{text}s\" for seconds, \"{text}m\" for minutes or \"{text}ms\" for milliseconds"),
        ));
    }
    let mut rest = text.trim();
    let mut total: i64 = 0;
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: i64 = rest[..digits].parse().map_err(|_| bad())?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = DURATIONS.iter().find(|(name, _)| *name == &rest[..letters]).ok_or_else(bad)?;
        total = number.checked_mul(unit.1).and_then(|ms| total.checked_add(ms)).ok_or_else(bad)?;
        rest = rest[letters..].trim_start();
    }
    Ok(total)
}

/// A duration as it would be written in a file.
pub fn duration_text(ms: i64) -> String {
    let unit = DURATIONS.iter().rev().find(|(_, length)| ms % length == 0 && ms != 0);
    unit.map_or_else(|| format!("{ms}ms"), |(name, length)| format!("{}{name}", ms / length))
}

/// `512B`, `512KiB`, `10MiB`, `2GiB`: bytes.
pub fn size(text: &str) -> Result<u64, Complaint> {
    let bad = || Complaint::new(format!("is '{text}', which is no size"), "write a number and a unit: \"512KiB\", \"10MiB\" or \"2GiB\"");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().map_err(|_| bad())?;
    let unit = text[digits..].trim();
    let Some((_, length)) = SIZES.iter().find(|(name, _)| *name == unit) else {
        let decimal = ["KB", "kB", "MB", "GB"].contains(&unit);
        let hint = format!("sizes count in 1024s here: \"{number}{}iB\"", unit.chars().next().unwrap_or('M').to_ascii_uppercase());
        return Err(if decimal { Complaint::new(format!("is '{text}', which is no size"), hint) } else { bad() });
    };
    number.checked_mul(*length).ok_or_else(bad)
}

/// A decimal text; negative amounts are refused.
pub fn money(text: &str) -> Result<Nanos, Complaint> {
    let amount: Result<Nanos, _> = text.parse();
    match amount {
        Ok(amount) if amount < Nanos::ZERO => {
            Err(Complaint::new(format!("is '{text}', which is negative"), "write an amount of 0 or more"))
        }
        Ok(amount) => Ok(amount),
        Err(_) if text.split_whitespace().any(|word| Currency::parse(word).is_some()) => {
            let what = format!("is '{text}'; the amount is in whatever currency the series has");
            Err(Complaint::new(what, "write the number alone: \"25.00\""))
        }
        Err(error) => Err(Complaint::new(format!("is '{text}', which is {error}"), "write a decimal number with a point: \"25.00\"")),
    }
}

pub fn currency(text: &str) -> Result<Currency, Complaint> {
    Currency::parse(text).ok_or_else(|| {
        let what = format!("is '{text}', which is no active ISO 4217 currency code");
        Complaint::new(what, "write three letters: \"USD\", \"EUR\", \"INR\", ...")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let good = [
            ("250ms", 250),
            ("30s", 30_000),
            ("5m", 300_000),
            ("48h", 172_800_000),
            ("7d", 604_800_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("0s", 0),
        ];
        for (text, ms) in good {
            assert_eq!(duration_ms(text), Ok(ms), "{text}");
        }
        for text in ["", "s", "-5s", "5 parsecs", "1.5h", "5M", "99999999999999999d", "5m30", "é"] {
            assert!(duration_ms(text).is_err(), "{text:?}");
        }
        assert!(duration_ms("5").unwrap_err().hint.unwrap().contains("\"5m\""));
        for text in ["250ms", "30s", "5m", "48h", "8d", "90m"] {
            assert_eq!(duration_ms(&duration_text(duration_ms(text).unwrap())), duration_ms(text));
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("0B", 0), ("512KiB", 524_288), ("10MiB", 10_485_760), ("2 GiB", 2_147_483_648)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "10", "MiB", "-1B", "1.5MiB", "99999999999999GiB", "10 é"] {
            assert!(size(text).is_err(), "{text:?}");
        }
        assert!(size("10MB").unwrap_err().hint.unwrap().contains("10MiB"));
    }

    #[test]
    fn amounts() {
        assert_eq!(money("25.00"), Ok(Nanos::from_units(25)));
        for text in ["-1", "1,5", "$5", "25 USD", ""] {
            assert!(money(text).is_err(), "{text:?}");
        }
        assert!(money("25 USD").unwrap_err().what.contains("whatever currency"));
    }
}
