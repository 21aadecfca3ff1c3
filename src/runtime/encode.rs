//! From an effect to a record: topic, key, headers, bytes.

use anyhow::Result;

use crate::kafka::link::OutRecord;
use crate::kafka::topics::TopicNames;
use crate::model::alert::Alert;
use crate::model::effect::{Effect, StateChange};
use crate::model::record::DeadLetter;
use crate::model::rollup::SpendRollup;
use crate::model::violation::Violation;
use crate::model::wire::{self, Envelope, OutputForm};

/// How outputs are written.
#[derive(Clone, Debug)]
pub struct Output {
    pub form: OutputForm,
    /// CloudEvents source of this deployment, a URI reference.
    pub source: String,
    /// Ids under which the schemas are registered (or listed in config); used with Avro only.
    pub alert_schema: i32,
    pub rollup_schema: i32,
    pub violation_schema: i32,
    /// Largest record of the output topics, in bytes: dead letters are cut to it.
    pub largest_record: usize,
}

/// Bytes of a record of a log of ours, where it can be had smaller: far below what a broker takes.
const LOG_RECORD: usize = 512 * 1024;

fn log_record(topic: &str, partition: i32, value: Vec<u8>) -> OutRecord {
    OutRecord { topic: topic.to_string(), partition: Some(partition), value: Some(value), ..OutRecord::default() }
}

/// Items of a log of ours in as many records as they need: at most `most` in each, and half as many where they would take too many bytes.
/// `encode` gives the items back.
///
/// # Errors
/// As `encode`.
pub fn packed<T>(
    mut items: Vec<T>,
    most: usize,
    (topic, partition): (&str, i32),
    encode: &impl Fn(Vec<T>) -> Result<(Vec<u8>, Vec<T>)>,
) -> Result<Vec<OutRecord>> {
    let mut records = Vec::new();
    while !items.is_empty() {
        let rest = items.split_off(items.len().min(most));
        let (value, packed) = encode(items)?;
        if value.len() <= LOG_RECORD || packed.len() == 1 {
            records.push(log_record(topic, partition, value));
        } else {
            let half = packed.len().div_ceil(2);
            records.extend(self::packed(packed, half, (topic, partition), encode)?);
        }
        items = rest;
    }
    Ok(records)
}

/// # Errors
/// A value that its own schema refuses: a bug, not bad input.
pub fn effect(effect: Effect, topics: &TopicNames, output: &Output) -> Result<OutRecord> {
    match effect {
        Effect::Shard { shard, record } => Ok(log_record(&topics.shard_log, i32::try_from(shard)?, wire::encode_shard_record(&record)?)),
        Effect::DeadLetter(dead) => Ok(dead_letter(*dead, topics, output)),
        Effect::Alert(alert) => self::alert(&alert, topics, output),
        Effect::Violation(violation) => self::violation(&violation, topics, output),
        Effect::Rollup(rollup) => {
            let key = wire::rollup_id(&rollup);
            self::rollup(&rollup, format!("{key}#{}", rollup.revision), key, topics, output)
        }
        Effect::RollupSupplement { shard, number, rollup } => {
            let key = format!("{}/late/{shard}-{number}", wire::rollup_id(&rollup));
            self::rollup(&rollup, key.clone(), key, topics, output)
        }
    }
}

pub fn change(change: StateChange, topic: &str, partition: i32) -> OutRecord {
    OutRecord { topic: topic.to_string(), partition: Some(partition), key: Some(change.key), value: change.value, headers: Vec::new() }
}

fn alert(alert: &Alert, topics: &TopicNames, output: &Output) -> Result<OutRecord> {
    let value = match output.form {
        OutputForm::Json => wire::alert_to_json(alert)?,
        OutputForm::Avro => wire::confluent_frame(output.alert_schema, &wire::alert_to_avro(alert)?),
    };
    let headers = wire::cloud_event_headers_alert(alert, &output.envelope());
    Ok(OutRecord {
        topic: topics.alerts.clone(),
        partition: None,
        key: Some(alert.id.clone().into_bytes()),
        value: Some(value),
        headers: as_bytes(headers),
    })
}

fn violation(violation: &Violation, topics: &TopicNames, output: &Output) -> Result<OutRecord> {
    let value = match output.form {
        OutputForm::Json => wire::violation_to_json(violation)?,
        OutputForm::Avro => wire::confluent_frame(output.violation_schema, &wire::violation_to_avro(violation)?),
    };
    let headers = wire::cloud_event_headers_violation(violation, &output.envelope());
    Ok(OutRecord {
        topic: topics.governance_violations.clone(),
        partition: None,
        key: Some(violation.id.clone().into_bytes()),
        value: Some(value),
        headers: as_bytes(headers),
    })
}

fn rollup(rollup: &SpendRollup, event_id: String, key: String, topics: &TopicNames, output: &Output) -> Result<OutRecord> {
    let value = match output.form {
        OutputForm::Json => wire::rollup_to_json(rollup)?,
        OutputForm::Avro => wire::confluent_frame(output.rollup_schema, &wire::rollup_to_avro(rollup)?),
    };
    let mut headers = wire::cloud_event_headers_rollup(rollup, &output.envelope());
    // Supplements of one hour share revision 0 and are still different events.
    if let Some(id) = headers.iter_mut().find(|(name, _)| name == "ce_id") {
        id.1 = event_id;
    }
    Ok(OutRecord {
        topic: topics.spend_rollups.clone(),
        partition: None,
        key: Some(key.into_bytes()),
        value: Some(value),
        headers: as_bytes(headers),
    })
}

/// The original key keeps a source's bad records together; what would not fit is cut, and its headers say so.
fn dead_letter(dead: DeadLetter, topics: &TopicNames, output: &Output) -> OutRecord {
    let dead = wire::cut_dead_letter(dead, output.largest_record);
    let headers = wire::dead_letter_headers(&dead);
    OutRecord { topic: topics.dead_letter.clone(), partition: None, key: dead.key, value: dead.value, headers }
}

fn as_bytes(headers: Vec<(String, String)>) -> Vec<(String, Vec<u8>)> {
    headers.into_iter().map(|(name, value)| (name, value.into_bytes())).collect()
}

impl Output {
    fn envelope(&self) -> Envelope<'_> {
        Envelope { source: &self.source, form: self.form, dataschema: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_hold_no_more_items_and_no_more_bytes_than_they_may() {
        let encode = |items: Vec<usize>| Ok((vec![0; items.iter().sum()], items));
        let lengths = |items: &[usize], most: usize| -> Vec<usize> {
            let records = packed(items.to_vec(), most, ("log", 3), &encode).unwrap();
            records.into_iter().map(|record| record.value.unwrap().len()).collect()
        };
        assert_eq!(lengths(&[1, 2, 3, 4, 5], 2), [3, 7, 5]);
        let large = LOG_RECORD / 2;
        assert_eq!(lengths(&[large, large, large, 1], 9), [2 * large, large + 1], "in order");
        assert_eq!(lengths(&[3 * large, 1, 1], 9), [3 * large, 1, 1], "what is too large alone goes alone");
        assert_eq!(lengths(&[], 9), [0; 0]);
    }
}
