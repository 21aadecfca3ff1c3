//! Spend roll-up: what a leaf spent in one hour, for downstream consumers of `spend-rollups`.

use serde::{Deserialize, Serialize};

use super::Text;
use super::leaf::{Leaf, Measure};
use super::money::{Currency, Nanos, decimal};
use super::time::{Hour, Timestamp};
use super::wire::fields::long;

/// Totals of one leaf and hour. A later revision replaces an earlier one; revision 1 is written
/// when the hour closes. Revision 0, under a key of its own, is a supplement: an amount of more than 48 hours ago, to be added.
///
/// Serialises with the leaf's fields beside the others, as `schemas/spend_rollup.avsc` has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Row", from = "Row")]
pub struct SpendRollup {
    pub leaf: Leaf,
    /// Inclusive start and exclusive end (FOCUS ChargePeriodStart, ChargePeriodEnd).
    pub period_start: Timestamp,
    pub period_end: Timestamp,
    pub revision: u32,
    pub cost: Nanos,
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

/// The outside form; `#[serde(flatten)]` does not get through Avro's serde bridge.
#[derive(Serialize, Deserialize)]
#[serde(rename = "SpendRollup")]
struct Row {
    team: Text,
    #[serde(default)]
    project: Text,
    #[serde(default)]
    model: Text,
    #[serde(default)]
    provider: Text,
    #[serde(default)]
    region: Text,
    #[serde(default)]
    environment: Text,
    #[serde(default)]
    meter: Text,
    currency: Currency,
    measure: Measure,
    period_start: Timestamp,
    period_end: Timestamp,
    revision: u32,
    #[serde(with = "decimal")]
    cost: Nanos,
    #[serde(with = "decimal", default)]
    quantity: Nanos,
    #[serde(with = "long", default)]
    events: u64,
    #[serde(with = "long", default)]
    unpriced_events: u64,
    #[serde(with = "long", default)]
    requests: u64,
    #[serde(with = "long", default)]
    tokens_input: u64,
    #[serde(with = "long", default)]
    tokens_output: u64,
    #[serde(with = "long", default)]
    tokens_cached_input: u64,
    #[serde(with = "long", default)]
    tokens_cache_write: u64,
    #[serde(with = "long", default)]
    tokens_reasoning: u64,
}

impl From<SpendRollup> for Row {
    fn from(rollup: SpendRollup) -> Row {
        let Leaf { team, project, model, provider, region, environment, meter, currency, measure } = rollup.leaf;
        Row {
            team,
            project,
            model,
            provider,
            region,
            environment,
            meter,
            currency,
            measure,
            period_start: rollup.period_start,
            period_end: rollup.period_end,
            revision: rollup.revision,
            cost: rollup.cost,
            quantity: rollup.quantity,
            events: rollup.events,
            unpriced_events: rollup.unpriced_events,
            requests: rollup.requests,
            tokens_input: rollup.tokens_input,
            tokens_output: rollup.tokens_output,
            tokens_cached_input: rollup.tokens_cached_input,
            tokens_cache_write: rollup.tokens_cache_write,
            tokens_reasoning: rollup.tokens_reasoning,
        }
    }
}

impl From<Row> for SpendRollup {
    fn from(row: Row) -> SpendRollup {
        let Row { team, project, model, provider, region, environment, meter, currency, measure, .. } = row;
        SpendRollup {
            leaf: Leaf { team, project, model, provider, region, environment, meter, currency, measure },
            period_start: row.period_start,
            period_end: row.period_end,
            revision: row.revision,
            cost: row.cost,
            quantity: row.quantity,
            events: row.events,
            unpriced_events: row.unpriced_events,
            requests: row.requests,
            tokens_input: row.tokens_input,
            tokens_output: row.tokens_output,
            tokens_cached_input: row.tokens_cached_input,
            tokens_cache_write: row.tokens_cache_write,
            tokens_reasoning: row.tokens_reasoning,
        }
    }
}
