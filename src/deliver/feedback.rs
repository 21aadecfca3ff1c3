//! What people say about an alert, as events of the topic `feedback`. Who reads them is not known here.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::kafka::client::Connection;
use crate::kafka::link::OutRecord;
use crate::kafka::producer::Producer;
use crate::model::alert::AlertKind;
use crate::model::feedback::Verdict;
use crate::model::time::Timestamp;
use crate::model::wire::{self, CloudEvent, Envelope, OutputForm, SchemaName, cloud_event_headers, confluent_frame};
use crate::runtime::schemas;

const CONNECT: Duration = Duration::from_secs(8);

/// What a letter can be answered with.
pub const ANSWERS: [Verdict; 3] = [Verdict::Ack, Verdict::Expected, Verdict::NotAnAnomaly];

/// What an answer is about. Their order is that of links in letters: new ones at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum About {
    #[default]
    Spend,
    /// Of a policy.
    Violation,
    /// Waste, missing money, budgets, advice.
    Matter,
}

impl About {
    pub fn of(kind: AlertKind) -> About {
        match kind {
            AlertKind::PolicyViolation => About::Violation,
            kind if kind.is_matter() => About::Matter,
            _ => About::Spend,
        }
    }
}

/// On a link or a button: a violation of a policy is accepted, an alert expected.
pub fn label(verdict: Verdict, about: About) -> &'static str {
    match (verdict, about) {
        (Verdict::Ack, _) => "Acknowledge",
        (Verdict::Expected, About::Violation) => "Accepted until…",
        (Verdict::Expected, _) => "Expected until…",
        (Verdict::NotAnAnomaly, About::Violation) => "Not a violation",
        (Verdict::NotAnAnomaly, About::Matter) => "Not a problem",
        (Verdict::NotAnAnomaly, About::Spend) => "Not an anomaly",
        (Verdict::Planned, _) => "A planned change",
        (Verdict::Reopen, _) => "Reopen",
    }
}

/// schemas/feedback.avsc as it is written; what is read of it is `model::feedback`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FeedbackEvent {
    /// The same for an answer that is sent twice.
    pub event_id: String,
    /// Where it was said: `page`, `cli`.
    pub source: String,
    pub event_time: Timestamp,
    pub actor: Option<String>,
    pub alert_id: Option<String>,
    pub team: Option<String>,
    pub dimensions: Option<std::collections::BTreeMap<String, String>>,
    pub verdict: Option<String>,
    pub from: Option<Timestamp>,
    pub until: Option<Timestamp>,
    pub note: Option<String>,
}

impl FeedbackEvent {
    pub fn about_alert(event_id: String, source: &str, at: Timestamp, alert_id: &str, verdict: Verdict) -> FeedbackEvent {
        FeedbackEvent {
            event_id,
            source: source.to_string(),
            event_time: at,
            actor: None,
            alert_id: Some(alert_id.to_string()),
            team: None,
            dimensions: None,
            verdict: Some(verdict.name().to_string()),
            from: None,
            until: None,
            note: None,
        }
    }
}

/// Where feedback is written, and how.
#[derive(Clone, Debug)]
pub struct FeedbackTopic {
    pub connection: Connection,
    pub topic: String,
    pub form: OutputForm,
    pub schemas: schemas::Source,
    /// Id of the schema, where the config names one.
    pub schema_id: Option<i32>,
}

/// Writes feedback; connects with the first event.
pub struct Writer {
    target: FeedbackTopic,
    open: Mutex<Option<Open>>,
}

struct Open {
    producer: Producer,
    /// Behind which the Avro form stands; `None` = JSON.
    schema_id: Option<i32>,
}

impl Writer {
    pub fn new(target: FeedbackTopic) -> Writer {
        Writer { target, open: Mutex::new(None) }
    }

    /// Returns once every broker that has to has it.
    ///
    /// # Errors
    /// No broker or no schema registry; nothing was written, or nobody knows: the same event may be written again.
    pub fn write(&self, feedback: &FeedbackEvent) -> Result<()> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let ready = match open.take() {
            Some(ready) => ready,
            None => self.open()?,
        };
        let record = self.record(feedback, ready.schema_id)?;
        ready.producer.send(&record)?;
        ready.producer.drain()?;
        // Only after success: a producer that failed is not used again.
        *open = Some(ready);
        Ok(())
    }

    fn open(&self) -> Result<Open> {
        let FeedbackTopic { connection, form, schema_id, schemas, topic } = &self.target;
        let schema_id = match (form, schema_id) {
            (OutputForm::Json, _) => None,
            (OutputForm::Avro, Some(id)) => Some(*id),
            (OutputForm::Avro, None) => {
                let schema = wire::schema(SchemaName::Feedback);
                let id = schemas::Client::new(schemas)?.register(&format!("{topic}-value"), schema.name, schema.text)?;
                // Without a registry the JSON twin is as good: readers of the topic take both.
                id.map(i32::try_from).transpose()?
            }
        };
        let producer = Producer::start(&connection.producer_config("feedback", None), CONNECT).context("cannot connect to Kafka")?;
        Ok(Open { producer, schema_id })
    }

    fn record(&self, feedback: &FeedbackEvent, schema_id: Option<i32>) -> Result<OutRecord> {
        let (form, value) = match schema_id {
            Some(id) => (OutputForm::Avro, confluent_frame(id, &wire::to_avro(SchemaName::Feedback, feedback)?)),
            None => (OutputForm::Json, wire::to_json(SchemaName::Feedback, feedback)?),
        };
        let event = CloudEvent {
            id: feedback.event_id.clone(),
            kind: "io.tollgate.feedback.v1".to_string(),
            time: feedback.event_time,
            subject: feedback.alert_id.as_deref().or(feedback.team.as_deref()).unwrap_or_default(),
        };
        let headers = cloud_event_headers(event, &Envelope { source: &feedback.source, form, dataschema: None });
        Ok(OutRecord {
            topic: self.target.topic.clone(),
            partition: None,
            // Answers about one alert stay in their order.
            key: feedback.alert_id.clone().or_else(|| feedback.team.clone()).map(String::into_bytes),
            value: Some(value),
            headers: headers.into_iter().map(|(name, value)| (name, value.into_bytes())).collect(),
        })
    }
}
