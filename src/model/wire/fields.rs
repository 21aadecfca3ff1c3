//! Serde forms of single fields: Avro's serde bridge knows neither `u64` as a long nor an enum as a string.

/// A `u64` as Avro `long`; a number in JSON.
pub mod long {
    use serde::{Deserialize, Deserializer, Serializer, de, ser};

    pub fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        let value = i64::try_from(*value).map_err(|_| ser::Error::custom(format!("{value} is beyond 2^63 - 1")))?;
        serializer.serialize_i64(value)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let value = i64::deserialize(deserializer)?;
        u64::try_from(value).map_err(|_| de::Error::custom(format!("{value} is negative")))
    }
}

/// An alert's kind as text, so that a reader is never shown one kind as another.
pub mod kind {
    use serde::{Deserialize, Deserializer, Serializer, de};

    use crate::model::alert::AlertKind;

    pub fn serialize<S: Serializer>(kind: &AlertKind, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(kind.as_str())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<AlertKind, D::Error> {
        let text = String::deserialize(deserializer)?;
        AlertKind::parse(&text)
            .ok_or_else(|| de::Error::custom(format!("this program does not know the alert kind '{text}': upgrade tollgate")))
    }
}
