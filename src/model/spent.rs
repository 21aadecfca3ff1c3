//! Money that a shard has seen, for a budget that another one keeps.

use serde::{Deserialize, Serialize};

use super::Text;
use super::leaf::Measure;
use super::money::{Currency, Nanos, decimal};
use super::time::{Minute, Timestamp};

/// What teams of one cost centre have spent, for the shard of the team that its budget is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// The budget's name, and whose it is.
    pub budget: Text,
    pub team: Text,
    /// As the sender knows the budget: one that has changed meanwhile does not count it.
    pub cost_center: Text,
    pub measure: Measure,
    pub currency: Currency,
    /// Ascending.
    pub minutes: Vec<SpentMinute>,
    /// Of these, what was not spent at its hour: a tax, a fee for a month, what is paid in advance. Earlier versions neither write nor read it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without_pace: Vec<SpentMinute>,
    pub last_event_time: Timestamp,
    pub last_ingest_time: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpentMinute {
    pub minute: Minute,
    #[serde(with = "decimal")]
    pub cost: Nanos,
}
