//! Intake's key per input partition: where it stands and how far event time has come. Written in every transaction.

use serde::{Deserialize, Serialize};

use crate::model::time::Timestamp;

const MAGIC: u8 = b'I';
const VERSION: u8 = 1;

/// Value of the compacted key of one input partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Kafka's id of the topic, empty where it cannot be asked for.
    pub topic_id: String,
    pub next: i64,
    pub watermark: Option<Timestamp>,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoredError {
    #[error("intake state of format version {0}; this program reads version {VERSION}: run the version that wrote it")]
    OtherVersion(u8),
    #[error("damaged intake state")]
    Damaged,
}

pub fn key(topic: &str, partition: i32) -> Vec<u8> {
    format!("{topic}/{partition}").into_bytes()
}

pub fn encode(topic_id: &str, next: i64, watermark: Option<Timestamp>) -> Vec<u8> {
    let stored = Stored { topic_id: topic_id.to_string(), next, watermark };
    let mut bytes = vec![MAGIC, VERSION];
    bytes.extend(postcard::to_stdvec(&stored).unwrap_or_default());
    bytes
}

/// # Errors
/// Another version, or bytes that are no such value.
pub fn decode(bytes: &[u8]) -> Result<Stored, StoredError> {
    match bytes {
        [MAGIC, VERSION, payload @ ..] => postcard::from_bytes(payload).map_err(|_| StoredError::Damaged),
        [MAGIC, version, ..] => Err(StoredError::OtherVersion(*version)),
        _ => Err(StoredError::Damaged),
    }
}
