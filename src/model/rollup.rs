//! Spend roll-up: what a leaf spent in one hour, for downstream consumers of `spend-rollups`.

use serde::{Deserialize, Serialize};

use super::Text;
use super::leaf::{Leaf, Measure};
use super::money::{Currency, Nanos, decimal, optional_decimal};
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

/// Nano-units of a quantity in its unit, times the seconds of an hour.
const HOUR_OF_SECONDS: i128 = 3600 * 1_000_000_000;

impl SpendRollup {
    /// Each token once: input includes those of the cache, output those of reasoning.
    pub fn cost_per_1k_tokens(&self) -> Option<Nanos> {
        self.unit_cost(1000, i128::from(self.tokens_input) + i128::from(self.tokens_output))
    }

    pub fn cost_per_request(&self) -> Option<Nanos> {
        self.unit_cost(1, i128::from(self.requests))
    }

    /// Of meters that count seconds: of GPUs, of machines.
    pub fn cost_per_hour(&self) -> Option<Nanos> {
        if self.leaf.meter.ends_with(".seconds") { self.unit_cost(HOUR_OF_SECONDS, self.quantity.0) } else { None }
    }

    fn unit_cost(&self, units: i128, count: i128) -> Option<Nanos> {
        if count > 0 { self.cost.checked_mul_div(units, count) } else { None }
    }

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
    /// Unit costs follow from the others; nobody reads them back.
    #[serde(with = "optional_decimal", default)]
    cost_per_1k_tokens: Option<Nanos>,
    #[serde(with = "optional_decimal", default)]
    cost_per_request: Option<Nanos>,
    #[serde(with = "optional_decimal", default)]
    cost_per_hour: Option<Nanos>,
}

impl From<SpendRollup> for Row {
    fn from(rollup: SpendRollup) -> Row {
        let (cost_per_1k_tokens, cost_per_request) = (rollup.cost_per_1k_tokens(), rollup.cost_per_request());
        let cost_per_hour = rollup.cost_per_hour();
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
            cost_per_1k_tokens,
            cost_per_request,
            cost_per_hour,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_costs_follow_from_cost_and_counts() {
        let leaf = |meter: &str| Leaf {
            team: "search".into(),
            project: "ranker".into(),
            model: "gpt-4o".into(),
            provider: "openai".into(),
            region: "eu".into(),
            environment: "prod".into(),
            meter: meter.into(),
            currency: Currency::USD,
            measure: Measure::Estimated,
        };
        let rollup = |meter: &str, cost: &str, quantity: &str| SpendRollup {
            leaf: leaf(meter),
            period_start: Timestamp(0),
            period_end: Timestamp(3_600_000),
            revision: 1,
            cost: cost.parse().unwrap(),
            quantity: quantity.parse().unwrap(),
            events: 1,
            unpriced_events: 0,
            requests: 40,
            tokens_input: 30_000,
            tokens_output: 10_000,
            // Among the input, and among the output.
            tokens_cached_input: 5_000,
            tokens_cache_write: 3_000,
            tokens_reasoning: 2_000,
        };
        let units = |rollup: SpendRollup| {
            [rollup.cost_per_1k_tokens(), rollup.cost_per_request(), rollup.cost_per_hour()].map(|cost| cost.map(|cost| cost.to_string()))
        };
        let some = |text: &str| Some(text.to_string());
        assert_eq!(units(rollup("llm.tokens", "2", "0")), [some("0.05"), some("0.05"), None]);
        // Two and a half GPU hours at 32.77 USD.
        assert_eq!(units(rollup("gpu.seconds", "81.925", "9000"))[2], some("32.77"));
        assert_eq!(units(SpendRollup { requests: 0, ..rollup("gpu.seconds", "1", "0") })[1..], [None, None]);
        let text = serde_json::to_string(&rollup("llm.tokens", "2", "0")).unwrap();
        assert!(text.contains("\"cost_per_1k_tokens\":\"0.05\"") && text.contains("\"cost_per_hour\":null"), "{text}");
    }

    /// The examples that consumers build upon say what is published.
    #[test]
    fn examples_have_the_unit_costs_that_are_published() {
        for text in [
            include_str!("../../schemas/examples/spend_rollup/valid/full.json"),
            include_str!("../../schemas/examples/spend_rollup/valid/correction_of_billed.json"),
        ] {
            let example: serde_json::Value = serde_json::from_str(text).unwrap();
            let rollup: SpendRollup = serde_json::from_str(text).unwrap();
            let published = serde_json::to_value(rollup).unwrap();
            for name in ["cost_per_1k_tokens", "cost_per_request", "cost_per_hour"] {
                assert_eq!(example.get(name).unwrap_or(&serde_json::Value::Null), &published[name], "{name} of {text}");
            }
        }
    }
}
