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

/// # Errors
/// A value that its own schema refuses: a bug, not bad input.
pub fn effect(effect: Effect, topics: &TopicNames, output: &Output) -> Result<OutRecord> {
    match effect {
        Effect::Shard { shard, record } => Ok(OutRecord {
            topic: topics.shard_log.clone(),
            partition: Some(i32::try_from(shard)?),
            key: None,
            value: Some(wire::encode_shard_record(&record)?),
            headers: Vec::new(),
        }),
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
