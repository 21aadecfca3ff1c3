//! CloudEvents 1.0 headers of output records, binary mode of the Kafka binding: attributes in `ce_` headers, the data alone in the value.

use crate::model::alert::{Alert, AlertState};
use crate::model::hash::hash128;
use crate::model::rollup::SpendRollup;
use crate::model::time::Timestamp;
use crate::model::violation::Violation;

/// How the value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputForm {
    Avro,
    Json,
}

impl OutputForm {
    pub fn content_type(self) -> &'static str {
        match self {
            OutputForm::Avro => "application/avro",
            OutputForm::Json => "application/json",
        }
    }
}

/// What is the same for all records of a deployment (or of one of its topics).
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    /// URI reference of this deployment, as configured.
    pub source: &'a str,
    pub form: OutputForm,
    /// URI of the value's schema, if there is a registry to point to.
    pub dataschema: Option<&'a str>,
}

/// What differs from record to record.
#[derive(Clone, Debug)]
pub struct CloudEvent<'a> {
    /// Unique within the source.
    pub id: String,
    pub kind: String,
    pub time: Timestamp,
    pub subject: &'a str,
}

pub fn cloud_event_headers(event: CloudEvent<'_>, envelope: &Envelope<'_>) -> Vec<(String, String)> {
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut headers = vec![
        header("ce_specversion", "1.0"),
        ("ce_id".to_owned(), event.id),
        ("ce_type".to_owned(), event.kind),
        header("ce_source", envelope.source),
        header("ce_time", &event.time.to_string()),
        header("ce_subject", event.subject),
        header("content-type", envelope.form.content_type()),
    ];
    headers.extend(envelope.dataschema.map(|uri| header("ce_dataschema", uri)));
    headers
}

pub fn cloud_event_headers_alert(alert: &Alert, envelope: &Envelope<'_>) -> Vec<(String, String)> {
    let event = CloudEvent {
        id: format!("{}#{}", alert.id, alert.revision),
        kind: alert_ce_type(alert.state),
        time: alert.decided_at,
        subject: &alert.team,
    };
    cloud_event_headers(event, envelope)
}

pub fn alert_ce_type(state: AlertState) -> String {
    format!("io.tollgate.alert.{}.v1", state.as_str())
}

pub fn cloud_event_headers_violation(violation: &Violation, envelope: &Envelope<'_>) -> Vec<(String, String)> {
    let event = CloudEvent {
        id: format!("{}#{}", violation.id, violation.revision),
        kind: format!("io.tollgate.violation.{}.v1", violation.state.as_str()),
        time: violation.decided_at,
        subject: &violation.team,
    };
    cloud_event_headers(event, envelope)
}

pub fn cloud_event_headers_rollup(rollup: &SpendRollup, envelope: &Envelope<'_>) -> Vec<(String, String)> {
    let event = CloudEvent {
        id: format!("{}#{}", rollup_id(rollup), rollup.revision),
        kind: "io.tollgate.spend_rollup.v1".to_owned(),
        time: rollup.period_end,
        subject: &rollup.leaf.team,
    };
    cloud_event_headers(event, envelope)
}

/// `<team>/<32 hex digits>`, the same for all revisions of one leaf and hour; serves as the record's key.
pub fn rollup_id(rollup: &SpendRollup) -> String {
    let leaf = &rollup.leaf;
    let mut parts: Vec<&[u8]> = vec![leaf.team.as_bytes(), leaf.measure.as_str().as_bytes(), leaf.currency.as_str().as_bytes()];
    let start = rollup.period_start.0.to_be_bytes();
    let dimensions = leaf.dimensions();
    parts.extend(dimensions.named().map(|(_, value)| value.as_bytes()));
    parts.push(&start);
    format!("{}/{:032x}", leaf.team, hash128(&parts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::wire::{alert_from_json, rollup_from_json};

    const ALERT: &[u8] = include_bytes!("../../../schemas/examples/alert/valid/spend_spike_updated.json");
    const ROLLUP: &[u8] = include_bytes!("../../../schemas/examples/spend_rollup/valid/full.json");

    fn pairs(headers: &[(String, String)]) -> Vec<(&str, &str)> {
        headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    #[test]
    fn headers_of_an_alert() {
        let mut alert = alert_from_json(ALERT).unwrap();
        alert.id = "search/5f".to_owned();
        let envelope = Envelope { source: "/tollgate/eu", form: OutputForm::Avro, dataschema: Some("http://registry/schemas/ids/7") };
        let expected = [
            ("ce_specversion", "1.0"),
            ("ce_id", "search/5f#2"),
            ("ce_type", "io.tollgate.alert.updated.v1"),
            ("ce_source", "/tollgate/eu"),
            ("ce_time", "2026-03-03T15:07:13.2Z"),
            ("ce_subject", "search"),
            ("content-type", "application/avro"),
            ("ce_dataschema", "http://registry/schemas/ids/7"),
        ];
        assert_eq!(pairs(&cloud_event_headers_alert(&alert, &envelope)), expected);
    }

    #[test]
    fn headers_of_a_rollup() {
        let rollup = rollup_from_json(ROLLUP).unwrap();
        let envelope = Envelope { source: "/tollgate/eu", form: OutputForm::Json, dataschema: None };
        let id = format!("{}#1", rollup_id(&rollup));
        let expected = [
            ("ce_specversion", "1.0"),
            ("ce_id", id.as_str()),
            ("ce_type", "io.tollgate.spend_rollup.v1"),
            ("ce_source", "/tollgate/eu"),
            ("ce_time", "2026-03-01T11:00:00Z"),
            ("ce_subject", "search"),
            ("content-type", "application/json"),
        ];
        assert_eq!(pairs(&cloud_event_headers_rollup(&rollup, &envelope)), expected);
    }

    #[test]
    fn a_rollups_id_depends_on_leaf_and_hour_alone() {
        let rollup = rollup_from_json(ROLLUP).unwrap();
        let id = rollup_id(&rollup);
        assert_eq!(id.len(), "search/".len() + 32);
        let corrected = SpendRollup { revision: 2, cost: crate::model::money::Nanos::ZERO, ..rollup.clone() };
        assert_eq!(rollup_id(&corrected), id);
        let next = SpendRollup { period_start: rollup.period_end, ..rollup.clone() };
        let mut other = rollup.clone();
        other.leaf.meter = "request".into();
        for differs in [next, other] {
            assert_ne!(rollup_id(&differs), id);
        }
    }
}
