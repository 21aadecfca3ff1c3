//! INTAKE: decode, validate, dedupe, attribute, price, combine. Stateless but for the dedupe window; the only room that sees outside bytes.
//! The shell hands in one record after the other and the time; every record ends as combined, duplicate or rejected.

mod attribute;
mod combine;
pub mod decode;
mod dedupe;
mod partition;
mod pattern;
mod price;
pub mod rules;
mod slots;
pub mod state;
#[cfg(test)]
mod tests;
mod validate;

pub use combine::{Batch, Counts};
pub use decode::SchemaTable;
pub use partition::PartitionState;

use decode::Stop;
use rules::IntakeRules;

use crate::model::record::{InputRecord, Reject};
use crate::model::time::Timestamp;
use crate::model::usage::UsageEvent;

/// How often a record came back from dead-letter; each attempt is an event of its own.
const REDRIVE_HEADER: &str = "tollgate.redrive.attempt";

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// In the batch's sums.
    Combined,
    Duplicate,
    /// To dead-letter.
    Rejected(Reject),
    /// Nothing has happened: look up this writer schema, then hand in the record again.
    NeedsSchema(u32),
}

/// Takes one record of a usage topic through all stages. Offsets of a partition only grow.
pub fn process(
    record: &InputRecord<'_>,
    now: Timestamp,
    rules: &IntakeRules,
    schemas: &SchemaTable,
    partition: &mut PartitionState,
    batch: &mut Batch,
) -> Outcome {
    let mut scratch = Vec::new();
    let event = match accept(record, Some(now), rules, schemas, &mut scratch) {
        Ok(event) => event,
        Err(Stop::NeedsSchema(id)) => return Outcome::NeedsSchema(id),
        Err(Stop::Reject(reject)) => {
            batch.reject(reject.reason);
            return Outcome::Rejected(reject);
        }
    };
    if partition.enter(identity(record, &event), record.offset) {
        batch.duplicate();
        return Outcome::Duplicate;
    }
    let team = attribute::attribute(&event, &rules.attribution);
    let priced = price::price(&event, rules);
    batch.combine(&event, &team, &priced, stamp(record).unwrap_or(now));
    partition.advance(event.event_time, rules.out_of_orderness_ms);
    Outcome::Combined
}

/// A record that was committed before: its id enters the dedupe window, and nothing else happens.
///
/// The clock of then is gone, so that an event is in the future only by its record's own stamp here.
pub fn warm_up(record: &InputRecord<'_>, rules: &IntakeRules, schemas: &SchemaTable, partition: &mut PartitionState) -> Outcome {
    let mut scratch = Vec::new();
    match accept(record, None, rules, schemas, &mut scratch) {
        Ok(event) if partition.enter(identity(record, &event), record.offset) => Outcome::Duplicate,
        Ok(_) => Outcome::Combined,
        Err(Stop::NeedsSchema(id)) => Outcome::NeedsSchema(id),
        Err(Stop::Reject(reject)) => Outcome::Rejected(reject),
    }
}

/// Decode and validate: what decides whether an id enters the window.
fn accept<'a>(
    record: &InputRecord<'a>,
    now: Option<Timestamp>,
    rules: &IntakeRules,
    schemas: &'a SchemaTable,
    scratch: &'a mut Vec<u8>,
) -> Result<UsageEvent<'a>, Stop> {
    let raw = decode::decode(record, rules.largest_record, schemas, scratch)?;
    let latest = match (stamp(record), now) {
        (Some(stamp), Some(now)) => stamp.min(now),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => Timestamp(i64::MAX),
    };
    Ok(validate::validate(raw, latest.plus_ms(rules.allowed_skew_ms))?)
}

/// Records of old producers have no timestamp: it reads as 0 or -1.
fn stamp(record: &InputRecord<'_>) -> Option<Timestamp> {
    Some(record.timestamp).filter(|timestamp| timestamp.0 > 0)
}

fn identity(record: &InputRecord<'_>, event: &UsageEvent<'_>) -> u128 {
    let attempt = record.headers.iter().find(|(name, _)| *name == REDRIVE_HEADER).map_or(&b"0"[..], |(_, attempt)| attempt);
    dedupe::identity(&event.source, &event.event_id, attempt)
}
