//! A usage event: what one request, minute or hour of a metered service used, as its source told it.

use std::collections::BTreeMap;

use super::Text;
use super::money::{Currency, Nanos};
use super::time::Timestamp;

/// A decoded and validated event of the topic `usage-events`. Field names and meanings are those of `schemas/usage_event.avsc`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageEvent {
    pub event_id: Text,
    pub source: Text,
    pub event_time: Timestamp,
    /// `llm.tokens`, `gpu.seconds`, `compute.seconds`, `storage.gb_hours`, `network.gb`, `request` or another meter's name.
    pub meter: Text,
    pub team: Option<Text>,
    pub project: Option<Text>,
    pub model: Option<Text>,
    pub provider: Option<Text>,
    pub region: Option<Text>,
    pub environment: Option<Text>,
    pub user: Option<Text>,
    pub account: Option<Text>,
    pub resource_id: Option<Text>,
    /// In the meter's unit, in nanos; never negative.
    pub quantity: Option<Nanos>,
    pub tokens: Tokens,
    pub requests: u64,
    /// What the source says it cost. Negative amounts are refunds and corrections.
    pub cost: Option<Nanos>,
    pub currency: Option<Currency>,
    pub tags: BTreeMap<Text, Text>,
}

/// Token counts as the source states them: whether `input` includes `cached_input` and `cache_write` depends on the source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    pub input: u64,
    pub output: u64,
    pub cached_input: u64,
    pub cache_write: u64,
    pub reasoning: u64,
}
