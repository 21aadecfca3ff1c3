//! A point in time on the command line: RFC 3339, or how long ago.

use crate::config;
use crate::model::time::Timestamp;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    At(Timestamp),
    /// In ms.
    Ago(i64),
}

impl Moment {
    pub fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Moment::At(time) => time,
            Moment::Ago(ms) => now.minus_ms(ms),
        }
    }
}

/// # Errors
/// Neither the one nor the other, with what to write.
pub fn parse(text: &str) -> Result<Moment, String> {
    if let Some(time) = Timestamp::parse(text) {
        return Ok(Moment::At(time));
    }
    duration(text).map(Moment::Ago).map_err(|_| "write a time with its zone, 2026-03-01T10:00:00Z, or how long ago, 2h30m".to_string())
}

/// `2h30m` as in the config, or `PT2H30M` and `P1DT12H` as Kafka's own tool wants it; in ms.
///
/// # Errors
/// Neither, with what to write.
pub fn duration(text: &str) -> Result<i64, String> {
    let plain = match text.strip_prefix('P') {
        Some(iso) => iso.replace('T', "").to_ascii_lowercase(),
        None => text.to_string(),
    };
    config::duration_ms(&plain).map_err(|_| "write a duration: 90s, 2h30m, 7d, or PT2H30M".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_how_long_ago() {
        let now = Timestamp(10_000_000);
        for (text, at) in [("1970-01-01T00:00:01Z", 1_000), ("1h", 6_400_000), ("PT1H", 6_400_000), ("0s", 10_000_000)] {
            assert_eq!(parse(text).unwrap().at(now).0, at, "{text}");
        }
        assert_eq!(duration("P1DT12H30M"), Ok(131_400_000));
        for text in ["", "yesterday", "2026-03-01", "P", "-1h"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
