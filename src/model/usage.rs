//! A usage event: what one request, minute or hour of a metered service used, as its source told it.

use std::borrow::Cow;

use super::money::{Currency, Nanos};
use super::time::Timestamp;

/// A decoded and validated event of the topic `usage-events`. Field names and meanings are those of `schemas/usage_event.avsc`.
///
/// It borrows from the record: a million events a second become some thousand partials, and only those need texts of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageEvent<'a> {
    pub event_id: Cow<'a, str>,
    pub source: Cow<'a, str>,
    pub event_time: Timestamp,
    /// `llm.tokens`, `gpu.seconds`, `compute.seconds`, `storage.gb_hours`, `network.gb`, `request` or another meter's name.
    pub meter: Cow<'a, str>,
    pub team: Option<Cow<'a, str>>,
    pub project: Option<Cow<'a, str>>,
    pub model: Option<Cow<'a, str>>,
    pub provider: Option<Cow<'a, str>>,
    pub region: Option<Cow<'a, str>>,
    pub environment: Option<Cow<'a, str>>,
    pub user: Option<Cow<'a, str>>,
    pub account: Option<Cow<'a, str>>,
    pub resource_id: Option<Cow<'a, str>>,
    /// In the meter's unit, in nanos; never negative.
    pub quantity: Option<Nanos>,
    pub tokens: Tokens,
    pub requests: u64,
    /// What the source says it cost. Negative amounts are refunds and corrections.
    pub cost: Option<Nanos>,
    pub currency: Option<Currency>,
    /// Its status is a kind of error.
    pub failed: bool,
    /// As written; of a name that comes twice the last holds.
    pub tags: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl UsageEvent<'_> {
    pub fn tag(&self, name: &str) -> Option<&str> {
        self.tags.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_ref())
    }
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
