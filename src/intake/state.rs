//! Intake's durable key, one for each input partition, written in every transaction.

use serde::Deserialize;

use super::refused::Stretch;
use crate::model::time::Timestamp;

const VERSION: u8 = 1;

/// How far a partition was read; the dedupe window is read again from the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// A recreated topic has another one: its offsets mean other records.
    pub topic_id: String,
    /// The first offset that is not committed.
    pub next: i64,
    pub watermark: Option<Timestamp>,
    /// Records of unknown schemas among those that are read again. States of older programs have none.
    pub refused: Vec<Stretch>,
}

impl Stored {
    /// Whether it was written about another topic of the same name. Not known where one of them has no id: older states, older brokers.
    pub fn is_of_another(&self, topic_id: &str) -> bool {
        !self.topic_id.is_empty() && !topic_id.is_empty() && self.topic_id != topic_id
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    #[error("intake state of version {0}; this program reads version {VERSION}: upgrade tollgate")]
    OtherVersion(u8),
    #[error("not a state of intake: {0}")]
    Malformed(String),
}

/// Topic names hold no '/', so that keys are unambiguous.
pub fn key(topic: &str, partition: i32) -> Vec<u8> {
    format!("partition/{topic}/{partition}").into_bytes()
}

/// The partition of intake's changelog that holds an input partition's key: a start reads few of others'.
pub fn changelog_partition(input: i32, partitions: i32) -> i32 {
    input % partitions.max(1)
}

pub fn encode(stored: &Stored) -> Vec<u8> {
    let Stored { topic_id, next, watermark, refused } = stored;
    // Text: an operator who has to repair an offset can read it.
    let stored = serde_json::json!({ "topic_id": topic_id, "next": next, "watermark_ms": watermark.map(|watermark| watermark.0), "refused": refused });
    let mut bytes = vec![VERSION];
    bytes.extend(stored.to_string().into_bytes());
    bytes
}

/// # Errors
/// Another version, or bytes that intake did not write.
pub fn decode(bytes: &[u8]) -> Result<Stored, StateError> {
    #[derive(Deserialize)]
    struct Form {
        topic_id: String,
        next: i64,
        watermark_ms: Option<i64>,
        #[serde(default)]
        refused: Vec<Stretch>,
    }
    let (version, body) = bytes.split_first().ok_or_else(|| StateError::Malformed("empty".to_owned()))?;
    if *version != VERSION {
        return Err(StateError::OtherVersion(*version));
    }
    let form: Form = serde_json::from_slice(body).map_err(|error| StateError::Malformed(error.to_string()))?;
    Ok(Stored { topic_id: form.topic_id, next: form.next, watermark: form.watermark_ms.map(Timestamp), refused: form.refused })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        for watermark in [None, Some(Timestamp(-5)), Some(Timestamp(i64::MAX))] {
            let stored = Stored { topic_id: "a\"b".to_owned(), next: 42, watermark, refused: vec![(7, 1, 5), (u32::MAX, 6, i64::MAX)] };
            assert_eq!(decode(&encode(&stored)), Ok(stored));
        }
        // As it was before it said what was refused.
        let before = b"\x01{\"next\":42,\"topic_id\":\"a\",\"watermark_ms\":5}";
        let stored = Stored { topic_id: "a".to_owned(), next: 42, watermark: Some(Timestamp(5)), refused: Vec::new() };
        assert_eq!(decode(before), Ok(stored));
        assert_eq!(decode(&[9, 1]), Err(StateError::OtherVersion(9)));
        assert!(matches!(decode(&[1, b'{']), Err(StateError::Malformed(_))));
        assert!(matches!(decode(&[]), Err(StateError::Malformed(_))));
        assert_ne!(key("a", 11), key("a1", 1));
    }
}
