//! An activity event: something that somebody did and policies look at, a deployment, an approval, a grant, an access, an egress.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Text;
use super::time::Timestamp;

/// What somebody does, as far as anything here knows of it. What is new needs no new schema, and meets nothing until it is named here.
pub const ACTIONS: [&str; 11] = [
    "deployment",
    "undeployment",
    "model_registered",
    "approval",
    "grant",
    "revoke",
    "offboarded",
    "access",
    "transfer",
    "egress",
    "evaluation",
];

/// A validated event of the topic `activity-events`. Field names and meanings are those of `schemas/activity_event.avsc`; texts are
/// trimmed, an empty one is `None`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ActivityEvent {
    pub event_id: Text,
    pub source: Text,
    pub event_time: Timestamp,
    pub action: Option<Text>,
    pub actor: Option<Text>,
    /// Whose doing it is: as the source says, else by the attribution rules, else `unattributed`. Never empty.
    pub team: Text,
    pub model: Option<Text>,
    pub model_version: Option<Text>,
    pub dataset: Option<Text>,
    pub resource_id: Option<Text>,
    pub provider: Option<Text>,
    pub region: Option<Text>,
    pub origin_region: Option<Text>,
    pub environment: Option<Text>,
    pub principal_type: Option<Text>,
    pub role: Option<Text>,
    pub expires_at: Option<Timestamp>,
    pub destination: Option<Text>,
    pub metric: Option<Text>,
    /// In the metric's own unit. Finite.
    pub value: Option<f64>,
    pub samples: Option<u64>,
    pub approval: Option<Text>,
    pub tags: BTreeMap<Text, Text>,
}

impl ActivityEvent {
    /// The action that it states and nothing here knows: `granted`.
    pub fn unknown_action(&self) -> Option<&str> {
        self.action.as_deref().filter(|action| !ACTIONS.contains(action))
    }
}

impl Default for ActivityEvent {
    fn default() -> ActivityEvent {
        ActivityEvent {
            event_id: Text::from(""),
            source: Text::from(""),
            event_time: Timestamp::default(),
            action: None,
            actor: None,
            team: Text::from(super::leaf::UNATTRIBUTED),
            model: None,
            model_version: None,
            dataset: None,
            resource_id: None,
            provider: None,
            region: None,
            origin_region: None,
            environment: None,
            principal_type: None,
            role: None,
            expires_at: None,
            destination: None,
            metric: None,
            value: None,
            samples: None,
            approval: None,
            tags: BTreeMap::new(),
        }
    }
}
