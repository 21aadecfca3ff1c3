//! From the story to records on the topic, with what real streams have too: repeated events, and records that nobody can read.

use anyhow::Result;

use super::usage::{Dice, Story};
use crate::model::time::Timestamp;

/// One record in this many is sent a second time.
const ONE_IN_REPEATED: u64 = 100;
/// A record that cannot be used comes every so many buckets.
const BUCKETS_PER_MALFORMED: usize = 150;

const MALFORMED: [&str; 6] = [
    r#"{"event_id":"cut-off","source":"gateway/eu1","event_time":"#,
    "GET /metrics HTTP/1.1",
    r#"{"source":"gateway/eu1","event_time":"2026-03-01T10:00:00Z","cost":"1.00"}"#,
    r#"{"event_id":"from-afar","source":"gateway/eu1","event_time":"2191-03-01T10:00:00Z","cost":"1.00","currency":"USD"}"#,
    r#"{"event_id":"less-than-none","source":"gateway/eu1","event_time":"2026-03-01T10:00:00Z","input_tokens":-5}"#,
    r#"{"event_id":"dear","source":"gateway/eu1","event_time":"2026-03-01T10:00:00Z","cost":"a lot","currency":"USD"}"#,
];

/// A record to be sent; the key decides the partition, so that a repeated event meets the first one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    pub key: String,
    pub value: Vec<u8>,
    /// When it is sent: a while after the event, never before it.
    pub at: Timestamp,
}

/// What was sent, for the summary to hold the counters against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Different, readable events.
    pub events: u64,
    pub repeated: u64,
    pub malformed: u64,
}

impl Sent {
    pub fn records(&self) -> u64 {
        self.events + self.repeated + self.malformed
    }
}

/// The records of one bucket, in the order in which they are sent.
///
/// # Errors
/// None that is known of.
pub fn parcels(story: &Story, bucket: usize, sent: &mut Sent) -> Result<Vec<Parcel>> {
    let mut dice = Dice::new(77, bucket as u64);
    let last = story.start_of(bucket + 1).minus_ms(1);
    let mut parcels = Vec::new();
    let mut repeated = Vec::new();
    for (index, usage) in story.bucket(bucket).iter().enumerate() {
        let key = format!("{bucket:04}-{index:03}");
        let parcel = Parcel { value: usage.json(&key)?, key, at: usage.at };
        if dice.below(ONE_IN_REPEATED) == 0 {
            repeated.push(Parcel { at: last, ..parcel.clone() });
        }
        parcels.push(parcel);
    }
    sent.events += parcels.len() as u64;
    sent.repeated += repeated.len() as u64;
    parcels.extend(repeated);
    if bucket % BUCKETS_PER_MALFORMED == BUCKETS_PER_MALFORMED / 2 {
        let text = MALFORMED[bucket / BUCKETS_PER_MALFORMED % MALFORMED.len()];
        parcels.push(Parcel { key: format!("{bucket:04}-x"), value: text.as_bytes().to_vec(), at: last });
        sent.malformed += 1;
    }
    Ok(parcels)
}
