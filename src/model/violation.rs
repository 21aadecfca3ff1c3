//! A violation as it stands on the topic `governance-violations`: which policy, by whom and what, on what evidence, and what to do.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::alert::{AlertState, Said, Severity};
use super::leaf::Measure;
use super::money::{Currency, Nanos, optional_decimal};
use super::time::Timestamp;

/// In the evidence of a violation that is over: why, as far as that is known.
pub const ENDED: &str = "ended";

/// One revision of one violation; the key on the topic is `id`. Field names and meanings are those of `schemas/violation.avsc`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Violation {
    /// `<team>/<32 hex digits>`; frozen at opening.
    pub id: String,
    /// The alert's that it explains, where there is one; else its own id.
    pub incident_id: String,
    /// 1 at opening, plus one with each record; never reused.
    #[serde(with = "super::wire::fields::long")]
    pub revision: u64,
    pub policy: String,
    pub policy_version: Option<String>,
    /// Of the policy as it was judged, 32 hex digits.
    pub policy_hash: Option<String>,
    pub pack: Option<String>,
    pub severity: Severity,
    pub state: AlertState,
    pub team: String,
    /// What violates: `provider=deepseek`, `project=ranker;environment=prod`.
    pub subject: String,
    #[serde(default)]
    pub dimensions: BTreeMap<String, String>,
    /// Latest event time that the revision rests on.
    pub event_time: Option<Timestamp>,
    /// Kafka timestamp of the latest input record that the revision rests on.
    pub ingest_time: Option<Timestamp>,
    /// When the first revision was decided, in shard time.
    pub detected_at: Timestamp,
    /// When this revision was decided, in shard time.
    pub decided_at: Timestamp,
    pub closed_at: Option<Timestamp>,
    /// The values that the policy saw, by field.
    #[serde(default)]
    pub evidence: BTreeMap<String, String>,
    pub message: String,
    pub remedy: Option<String>,
    /// What the policy asks for: `block` or `review`.
    pub action: Option<String>,
    /// Events that hit the policy so far.
    #[serde(with = "super::wire::fields::long", default)]
    pub count: u64,
    /// What they cost.
    #[serde(with = "optional_decimal", default)]
    pub amount: Option<Nanos>,
    pub currency: Option<Currency>,
    pub measure: Option<Measure>,
    /// What people have said about it, oldest first.
    #[serde(default)]
    pub feedback: Vec<Said>,
    /// Whether people are to be told.
    pub notify: bool,
    /// IANA name of the team's time zone, for what people read.
    pub time_zone: String,
    /// Revision of the rules that decided.
    #[serde(with = "super::wire::fields::long", default)]
    pub rules_revision: u64,
}
