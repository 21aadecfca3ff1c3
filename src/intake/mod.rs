//! INTAKE: decode, validate, dedupe, attribute, price, combine. Stateless but for the dedupe window; the only room that sees outside bytes.

pub mod attribute;
pub mod combine;
pub mod decode;
pub mod dedupe;
pub mod price;
pub mod rules;
pub mod state;
pub mod validate;

pub use self::combine::{Batch, Counts};
pub use self::decode::avro::SchemaTable;

use self::decode::Decoded;
use self::rules::IntakeRules;
use crate::model::partial::Source;
use crate::model::record::{InputRecord, Reject};
use crate::model::time::Timestamp;
use crate::model::usage::UsageEvent;

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Combined,
    Duplicate,
    Rejected(Reject),
    /// Not decided: the schema with this id has to be fetched, then the same record handed in again.
    NeedsSchema(u32),
}

/// What intake keeps of one input partition.
#[derive(Debug)]
pub struct PartitionState {
    source: Source,
    window: dedupe::Window,
    watermark: Option<Timestamp>,
}

impl PartitionState {
    /// `watermark` as it was committed; the window is refilled by [`warm_up`].
    pub fn restored(source: Source, dedupe_window: u64, watermark: Option<Timestamp>) -> PartitionState {
        PartitionState { source, window: dedupe::Window::new(dedupe_window), watermark }
    }

    pub fn source(&self) -> &Source {
        &self.source
    }

    pub fn watermark(&self) -> Option<Timestamp> {
        self.watermark
    }
}

/// One record's way: every record ends in exactly one of combined, duplicate, rejected.
pub fn process(
    record: &InputRecord<'_>,
    now: Timestamp,
    rules: &IntakeRules,
    schemas: &SchemaTable,
    partition: &mut PartitionState,
    batch: &mut Batch,
) -> Outcome {
    let outcome = match read(record, Some(now), rules, schemas) {
        Ok(Read::Usage(event)) => take_in(record, &event, rules, partition, batch),
        Ok(Read::NeedsSchema(id)) => return Outcome::NeedsSchema(id),
        Err(reject) => Outcome::Rejected(reject),
    };
    batch.counts.read += 1;
    match &outcome {
        Outcome::Combined => batch.counts.combined += 1,
        Outcome::Duplicate => batch.counts.duplicates += 1,
        Outcome::Rejected(reject) => {
            batch.counts.rejected += 1;
            *batch.counts.by_reason.entry(reject.reason).or_default() += 1;
        }
        Outcome::NeedsSchema(_) => {}
    }
    outcome
}

/// A record that was committed before: only its id enters the window.
pub fn warm_up(record: &InputRecord<'_>, rules: &IntakeRules, schemas: &SchemaTable, partition: &mut PartitionState) -> Outcome {
    match read(record, None, rules, schemas) {
        Ok(Read::Usage(event)) => {
            partition.window.insert(record.offset, identity(record, &event));
            Outcome::Combined
        }
        Ok(Read::NeedsSchema(id)) => Outcome::NeedsSchema(id),
        Err(reject) => Outcome::Rejected(reject),
    }
}

enum Read {
    Usage(Box<UsageEvent>),
    NeedsSchema(u32),
}

fn read(record: &InputRecord<'_>, now: Option<Timestamp>, rules: &IntakeRules, schemas: &SchemaTable) -> Result<Read, Reject> {
    let raw = match decode::decode(record, rules.largest_record, schemas)? {
        Decoded::Usage(raw) => raw,
        Decoded::NeedsSchema(id) => return Ok(Read::NeedsSchema(id)),
    };
    let stamped = now.map_or(record.timestamp, |now| now.min(record.timestamp));
    validate::validate(*raw, stamped.plus_ms(rules.allowed_skew_ms)).map(|event| Read::Usage(Box::new(event)))
}

fn take_in(
    record: &InputRecord<'_>,
    event: &UsageEvent,
    rules: &IntakeRules,
    partition: &mut PartitionState,
    batch: &mut Batch,
) -> Outcome {
    // Priced before its id is remembered: a rejected id does not enter the window.
    let cost = match price::cost(event, rules) {
        Ok(cost) => cost,
        Err(reject) => return Outcome::Rejected(reject),
    };
    if !partition.window.insert(record.offset, identity(record, event)) {
        return Outcome::Duplicate;
    }
    batch.add(event, attribute::team(event, &rules.attribution), cost, record.timestamp);
    batch.counts.unpriced += u64::from(!cost.priced);
    partition.watermark = partition.watermark.max(Some(event.event_time.minus_ms(rules.out_of_orderness_ms)));
    Outcome::Combined
}

fn identity(record: &InputRecord<'_>, event: &UsageEvent) -> u128 {
    let attempt = record.headers.iter().find(|(name, _)| *name == "tollgate.redrive.attempt").map_or(&b"0"[..], |(_, value)| value);
    dedupe::identity(&event.source, &event.event_id, attempt)
}
