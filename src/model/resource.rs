//! A resource sample: how a running (or stopped) resource stands at one moment, what it costs an hour and how much it is used.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Text;
use super::money::{Currency, Nanos, optional_decimal};
use super::time::Timestamp;

/// A validated event of the topic `resource-events`. Field names and meanings are those of `schemas/resource_sample.avsc`; texts are
/// trimmed, an empty one is `None`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResourceSample {
    pub event_id: Text,
    pub source: Text,
    pub event_time: Timestamp,
    pub resource_id: Option<Text>,
    pub resource_type: Option<Text>,
    /// `running`, `stopped`, `deleted` or what else the source says.
    pub state: Option<Text>,
    /// Who pays: as the source says, else by the attribution rules, else `unattributed`. Never empty.
    pub team: Text,
    pub project: Option<Text>,
    pub provider: Option<Text>,
    pub region: Option<Text>,
    pub environment: Option<Text>,
    /// Of one hour in this state.
    #[serde(with = "optional_decimal")]
    pub hourly_cost: Option<Nanos>,
    pub currency: Option<Currency>,
    /// In the type's own unit: GPUs, vCPUs, GB. Finite and not negative.
    pub capacity: Option<f64>,
    /// Used part of the capacity since the last sample, 0..1. Finite and not negative.
    pub utilization: Option<f64>,
    /// Served since the last sample.
    pub requests: Option<u64>,
    pub owner: Option<Text>,
    pub tags: BTreeMap<Text, Text>,
}

impl Default for ResourceSample {
    fn default() -> ResourceSample {
        ResourceSample {
            event_id: Text::from(""),
            source: Text::from(""),
            event_time: Timestamp::default(),
            resource_id: None,
            resource_type: None,
            state: None,
            team: Text::from(super::leaf::UNATTRIBUTED),
            project: None,
            provider: None,
            region: None,
            environment: None,
            hourly_cost: None,
            currency: None,
            capacity: None,
            utilization: None,
            requests: None,
            owner: None,
            tags: BTreeMap::new(),
        }
    }
}
