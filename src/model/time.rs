//! Event time as integers: milliseconds, minutes and hours since the Unix epoch, UTC.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Milliseconds since 1970-01-01T00:00:00Z.
///
/// Serialises as RFC 3339 text in JSON and as a number of milliseconds in binary forms (Avro `timestamp-millis`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

/// Minutes since the epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Minute(pub i64);

/// Hours since the epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hour(pub i64);

pub const SECOND_MS: i64 = 1_000;
pub const MINUTE_MS: i64 = 60 * SECOND_MS;
pub const HOUR_MS: i64 = 60 * MINUTE_MS;
pub const DAY_MS: i64 = 24 * HOUR_MS;

impl Timestamp {
    /// Parses RFC 3339 with an offset or `Z`; digits below the millisecond are dropped. What lies behind the calendar's last moment but
    /// still in the year 9999 ("never", in many systems) is that moment.
    pub fn parse(text: &str) -> Option<Timestamp> {
        match text.parse::<jiff::Timestamp>() {
            Ok(instant) => Some(Timestamp(instant.as_millisecond())),
            Err(_) => Timestamp::parse_last(text),
        }
    }

    fn parse_last(text: &str) -> Option<Timestamp> {
        let has_zone = text.get(19..).is_some_and(|rest| rest.contains(['Z', 'z', '+', '-']));
        let moment = super::focus::moment(text).filter(|_| has_zone)?;
        (moment.0 > jiff::Timestamp::MAX.as_millisecond()).then(|| moment.within_calendar())
    }

    /// The nearest moment that has a date in every zone: beyond it, no text that we write could be read again.
    pub fn within_calendar(self) -> Timestamp {
        let [first, last] = [jiff::Timestamp::MIN, jiff::Timestamp::MAX].map(jiff::Timestamp::as_second);
        Timestamp(self.0.clamp(first * SECOND_MS + DAY_MS, last * SECOND_MS - DAY_MS))
    }

    pub fn minute(self) -> Minute {
        Minute(self.0.div_euclid(MINUTE_MS))
    }

    pub fn hour(self) -> Hour {
        Hour(self.0.div_euclid(HOUR_MS))
    }

    pub fn plus_ms(self, milliseconds: i64) -> Timestamp {
        Timestamp(self.0.saturating_add(milliseconds))
    }

    pub fn minus_ms(self, milliseconds: i64) -> Timestamp {
        Timestamp(self.0.saturating_sub(milliseconds))
    }
}

impl Minute {
    pub fn start(self) -> Timestamp {
        Timestamp(self.0.saturating_mul(MINUTE_MS))
    }

    pub fn hour(self) -> Hour {
        Hour(self.0.div_euclid(60))
    }
}

impl Hour {
    pub fn start(self) -> Timestamp {
        Timestamp(self.0.saturating_mul(HOUR_MS))
    }

    /// The first instant after this hour.
    pub fn end(self) -> Timestamp {
        self.next().start()
    }

    pub fn next(self) -> Hour {
        Hour(self.0.saturating_add(1))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(instant) => write!(f, "{instant}"),
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { serializer.serialize_i64(self.0) }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            // What no calendar has is printed in milliseconds, and read again.
            let beyond = || text.strip_suffix("ms")?.parse().ok().map(Timestamp);
            Timestamp::parse(&text).or_else(beyond).ok_or_else(|| de::Error::custom(format!("'{text}' is not an RFC 3339 time")))
        } else {
            i64::deserialize(deserializer).map(Timestamp)
        }
    }
}

/// The time zone of an IANA name, by the tables that are compiled in: every process has the same, whatever the system knows. Under the
/// name as the tables write it.
#[allow(clippy::disallowed_methods, reason = "this is the place")]
pub fn zone(name: &str) -> Option<jiff::tz::TimeZone> {
    jiff::tz::TimeZoneDatabase::bundled().get(name).ok()
}

/// Of all zones that there are.
#[allow(clippy::disallowed_methods, reason = "this is the place")]
pub fn zone_names() -> Vec<String> {
    jiff::tz::TimeZoneDatabase::bundled().available().map(|name| name.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_and_minutes_round_down_before_the_epoch_too() {
        let cases = [(0, 0, 0), (-1, -1, -1), (3_599_999, 59, 0), (3_600_000, 60, 1), (-3_600_000, -60, -1)];
        for (ms, minute, hour) in cases {
            assert_eq!(Timestamp(ms).minute(), Minute(minute), "{ms}");
            assert_eq!(Timestamp(ms).hour(), Hour(hour), "{ms}");
            assert_eq!(Timestamp(ms).minute().hour(), Hour(hour), "{ms}");
        }
    }

    #[test]
    fn text_form_is_rfc_3339() {
        let at = Timestamp::parse("2026-03-01T11:00:00.250+01:00").unwrap();
        assert_eq!(at.to_string(), "2026-03-01T10:00:00.25Z");
        assert_eq!(Timestamp::parse("2026-03-01"), None);
        assert_eq!(serde_json::to_string(&at).unwrap(), "\"2026-03-01T10:00:00.25Z\"");
        for any in [at, Timestamp(i64::MAX), Timestamp(i64::MIN)] {
            assert_eq!(serde_json::from_str::<Timestamp>(&serde_json::to_string(&any).unwrap()).unwrap(), any, "what was written is read");
        }
        assert!(serde_json::from_str::<Timestamp>("\"12\"").is_err());
    }
}
