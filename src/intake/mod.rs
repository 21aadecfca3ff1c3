//! INTAKE: decode, validate, dedupe, attribute, price, judge, combine. Stateless but for the dedupe window; the only room that sees outside bytes.
//! The shell hands in one record after the other and the time; every record ends as combined, duplicate or rejected.

mod attribute;
pub mod billing;
mod cells;
mod combine;
pub mod decode;
mod dedupe;
pub mod focus;
mod interner;
mod judge;
pub mod lineage;
mod memory;
mod partition;
mod price;
pub mod quote;
pub mod rules;
mod slots;
pub mod state;
#[cfg(test)]
mod tests;
mod validate;
pub mod whole;

pub use combine::{Batch, Counts};
pub use decode::SchemaTable;
pub use partition::PartitionState;

use decode::{Scratch, Stop};
use judge::Asked;
use price::Usage;
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
    batch.memory.follow(rules);
    match quickly(record, now, rules, schemas, partition, batch) {
        Attempt::Done(outcome) => outcome,
        Attempt::Unknown => thoroughly(record, now, rules, schemas, partition, batch, true),
        Attempt::NotPlain => thoroughly(record, now, rules, schemas, partition, batch, false),
    }
}

/// How far the quick way has led.
enum Attempt {
    Done(Outcome),
    /// Plain, but texts like these are new.
    Unknown,
    NotPlain,
}

/// Nearly all events of a busy topic: framed Avro, legal, and like others that were here before. Nothing has happened where it does not end.
fn quickly(
    record: &InputRecord<'_>,
    now: Timestamp,
    rules: &IntakeRules,
    schemas: &SchemaTable,
    partition: &mut PartitionState,
    batch: &mut Batch,
) -> Attempt {
    let Some(event) = decode::quick(record, rules.largest_record, schemas, batch.memory.quick_key()) else { return Attempt::NotPlain };
    let time = Timestamp(event.time_ms);
    if time < validate::EARLIEST || time > latest(record, Some(now), rules) || memory::is_doubtful(&event) {
        return Attempt::NotPlain;
    }
    let identity = dedupe::identity(event.source, event.event_id, attempt(record));
    partition.approach(identity);
    let Ok(user) = batch.memory.user(event.user) else { return Attempt::NotPlain };
    let Some(known) = batch.memory.find_quick(&event, user) else { return Attempt::Unknown };
    if batch.memory.asked(known).is_some_and(Asked::needs_all) {
        return Attempt::NotPlain;
    }
    if partition.enter(identity, record.offset) {
        batch.duplicate();
        return Attempt::Done(Outcome::Duplicate);
    }
    let combined = batch.combine(known, user, &event.usage, time, stamp(record).unwrap_or(now), rules);
    if let Some(combined) = combined {
        judge::quick(batch, known, &combined, user, &event, time, rules);
    }
    partition.advance(time, rules.out_of_orderness_ms);
    Attempt::Done(Outcome::Combined)
}

/// Any record, stage by stage. `was_missed`: the quick way would have led on if it had known what comes out here.
fn thoroughly(
    record: &InputRecord<'_>,
    now: Timestamp,
    rules: &IntakeRules,
    schemas: &SchemaTable,
    partition: &mut PartitionState,
    batch: &mut Batch,
    was_missed: bool,
) -> Outcome {
    let mut scratch = std::mem::take(&mut batch.scratch);
    let event = match accept(record, Some(now), rules, schemas, &mut scratch) {
        Ok(event) => event,
        Err(Stop::NeedsSchema(id)) => return Outcome::NeedsSchema(id),
        Err(Stop::Reject(reject)) => {
            batch.reject(reject.reason);
            return Outcome::Rejected(reject);
        }
    };
    let is_duplicate = partition.enter(identity(record, &event), record.offset);
    if is_duplicate {
        batch.duplicate();
    } else {
        let user = batch.memory.user(event.user.as_deref().unwrap_or_default().as_bytes()).unwrap_or_default();
        let known = batch.memory.of(&event, user, rules);
        if was_missed {
            batch.memory.remember_missed(known);
        }
        let combined = batch.combine(known, user, &Usage::of(&event), event.event_time, stamp(record).unwrap_or(now), rules);
        if let Some(combined) = combined {
            judge::thorough(batch, known, &combined, user, &event, rules);
        }
        partition.advance(event.event_time, rules.out_of_orderness_ms);
    }
    let tags = decode::emptied(event.tags);
    scratch.take_back(tags);
    batch.scratch = scratch;
    if is_duplicate { Outcome::Duplicate } else { Outcome::Combined }
}

/// A record that was committed before: its id enters the dedupe window, and nothing else happens.
///
/// The clock of then is gone, so that an event is in the future only by its record's own stamp here.
pub fn warm_up(record: &InputRecord<'_>, rules: &IntakeRules, schemas: &SchemaTable, partition: &mut PartitionState) -> Outcome {
    let mut scratch = Scratch::default();
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
    scratch: &'a mut Scratch,
) -> Result<UsageEvent<'a>, Stop> {
    let raw = decode::decode(record, rules.largest_record, schemas, scratch)?;
    Ok(validate::validate(raw, latest(record, now, rules))?)
}

/// The last event time that is not in the future.
fn latest(record: &InputRecord<'_>, now: Option<Timestamp>, rules: &IntakeRules) -> Timestamp {
    let latest = match (stamp(record), now) {
        (Some(stamp), Some(now)) => stamp.min(now),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => Timestamp(i64::MAX),
    };
    latest.plus_ms(rules.allowed_skew_ms)
}

/// Records of old producers have no timestamp: it reads as 0 or -1.
fn stamp(record: &InputRecord<'_>) -> Option<Timestamp> {
    Some(record.timestamp).filter(|timestamp| timestamp.0 > 0)
}

fn identity(record: &InputRecord<'_>, event: &UsageEvent<'_>) -> u128 {
    dedupe::identity(event.source.as_bytes(), event.event_id.as_bytes(), attempt(record))
}

fn attempt<'a>(record: &InputRecord<'a>) -> &'a [u8] {
    record.headers.iter().find(|(name, _)| *name == REDRIVE_HEADER).map_or(&b"0"[..], |(_, attempt)| attempt)
}
