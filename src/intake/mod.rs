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
mod order;
mod partition;
mod price;
mod quickly;
pub mod quote;
mod refused;
pub mod rules;
mod slots;
pub mod state;
mod tariffs;
#[cfg(test)]
mod tests;
mod validate;
pub mod whole;

pub use combine::{Batch, Counts};
pub use decode::SchemaTable;
pub use partition::PartitionState;
pub use price::{SERVICE_TIER, is_batch_tier};
pub use quickly::TOGETHER;
pub use validate::LONGEST_TEXT;

use decode::{Scratch, Stop};
use price::Usage;
use quickly::End;
use rules::IntakeRules;

use crate::model::record::{InputRecord, Reject, RejectReason};
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
    let duplicates = batch.counts().duplicates;
    match process_up_to::<1>(std::slice::from_ref(record), now, rules, schemas, partition, batch) {
        Progress { stopped: Some(outcome), .. } => outcome,
        Progress { stopped: None, .. } if batch.counts().duplicates > duplicates => Outcome::Duplicate,
        Progress { stopped: None, .. } => Outcome::Combined,
    }
}

/// How far several records have come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// So many from the first on are combined or duplicates.
    pub taken: usize,
    /// What became of the one behind them, if it ended in another way.
    pub stopped: Option<Outcome>,
}

/// Takes records of one partition through all stages, as [`process`] does one after the other, and faster: see `quickly`. Up to the first
/// that is rejected, or needs a schema.
pub fn process_all(
    records: &[InputRecord<'_>],
    now: Timestamp,
    rules: &IntakeRules,
    schemas: &SchemaTable,
    partition: &mut PartitionState,
    batch: &mut Batch,
) -> Progress {
    process_up_to::<TOGETHER>(records, now, rules, schemas, partition, batch)
}

fn process_up_to<const N: usize>(
    records: &[InputRecord<'_>],
    now: Timestamp,
    rules: &IntakeRules,
    schemas: &SchemaTable,
    partition: &mut PartitionState,
    batch: &mut Batch,
) -> Progress {
    batch.memory.follow(rules);
    let mut taken = 0;
    // Where the quick way does not lead on, what was read behind that is read once more: for a while no more is read than is needed.
    let mut one_by_one = 0_usize;
    while let Some(rest) = records.get(taken..).filter(|rest| !rest.is_empty()) {
        let quickly = match one_by_one {
            0 => quickly::take::<N>(rest, now, rules, schemas, partition, batch),
            _ => quickly::take::<1>(rest, now, rules, schemas, partition, batch),
        };
        one_by_one = if quickly.end == End::Done { one_by_one.saturating_sub(1) } else { N };
        taken += quickly.records;
        let missed = match quickly.end {
            End::Done => continue,
            End::Unknown => Some(quickly.records),
            End::NotPlain => None,
        };
        let Some(record) = records.get(taken) else { break };
        match thoroughly(record, now, rules, schemas, partition, batch, missed) {
            Outcome::Combined | Outcome::Duplicate => taken += 1,
            stopped => return Progress { taken, stopped: Some(stopped) },
        }
    }
    Progress { taken, stopped: None }
}

/// Any record, stage by stage. `missed`: its place among those of the quick way, which would have led on had it known what comes out here.
fn thoroughly(
    record: &InputRecord<'_>,
    now: Timestamp,
    rules: &IntakeRules,
    schemas: &SchemaTable,
    partition: &mut PartitionState,
    batch: &mut Batch,
    missed: Option<usize>,
) -> Outcome {
    let mut scratch = std::mem::take(&mut batch.scratch);
    let event = match accept(record, Some(now), rules, schemas, &mut scratch) {
        Ok(event) => event,
        Err(Stop::NeedsSchema(id)) => return Outcome::NeedsSchema(id),
        Err(Stop::Reject(reject)) => {
            if reject.reason == RejectReason::UnknownSchema
                && let Some(schema) = decode::schema_of(record)
            {
                partition.refuse(schema, record.offset);
            }
            partition.refuse_itself(reject.reason, record.offset);
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
        if let Some(place) = missed {
            batch.memory.remember_missed(place, known);
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
/// The clock of then is gone, so that an event is in the future by its record's own stamp here, or because it is known to have been.
pub fn warm_up(record: &InputRecord<'_>, rules: &IntakeRules, schemas: &SchemaTable, partition: &mut PartitionState) -> Outcome {
    // Nearly always nothing was.
    if partition.has_refused_any() && partition.has_refused(decode::schema_of(record), record.offset) {
        return Outcome::Rejected(Reject::new(RejectReason::UnknownSchema, "it was refused when it was read first"));
    }
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
