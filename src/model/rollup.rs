//! Spend roll-up: what a leaf spent in one hour, for downstream consumers of `spend-rollups`.

use serde::{Deserialize, Serialize};

use super::leaf::Leaf;
use super::money::{Nanos, decimal};
use super::time::{Hour, Timestamp};

/// Totals of one leaf and hour. A later revision replaces an earlier one; revision 1 is written when the hour closes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpendRollup {
    #[serde(flatten)]
    pub leaf: Leaf,
    /// Inclusive start and exclusive end (FOCUS ChargePeriodStart, ChargePeriodEnd).
    pub period_start: Timestamp,
    pub period_end: Timestamp,
    pub revision: u32,
    #[serde(with = "decimal")]
    pub cost: Nanos,
    #[serde(with = "decimal")]
    pub quantity: Nanos,
    pub events: u64,
    pub unpriced_events: u64,
    pub requests: u64,
    pub tokens_input: u64,
    pub tokens_output: u64,
    pub tokens_cached_input: u64,
    pub tokens_cache_write: u64,
    pub tokens_reasoning: u64,
}

impl SpendRollup {
    pub fn hour(&self) -> Hour {
        self.period_start.hour()
    }
}
