//! Sums the events of one transaction into partials per (leaf, minute).

use std::collections::BTreeMap;

use super::price::Cost;
use crate::model::Text;
use crate::model::hash::shard_of;
use crate::model::leaf::{Leaf, Measure};
use crate::model::money::Nanos;
use crate::model::partial::{Partial, USERS_PER_PARTIAL, UserCost};
use crate::model::record::RejectReason;
use crate::model::time::{Minute, Timestamp};
use crate::model::usage::UsageEvent;

/// The sums of one transaction, and what became of each record of it.
#[derive(Debug, Default)]
pub struct Batch {
    partials: BTreeMap<(Leaf, Minute), Partial>,
    pub(super) counts: Counts,
}

/// Every record is in exactly one of the three.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub read: u64,
    pub combined: u64,
    pub duplicates: u64,
    pub rejected: u64,
    pub by_reason: BTreeMap<RejectReason, u64>,
    /// Of the combined: without a price.
    pub unpriced: u64,
}

impl Counts {
    pub fn balance(&self) -> bool {
        self.read == self.combined + self.duplicates + self.rejected
    }
}

impl Batch {
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// Partials by shard, in the order of their leaves.
    pub fn drain_into_shards(&mut self, shard_count: u32) -> BTreeMap<u32, Vec<Partial>> {
        let mut shards: BTreeMap<u32, Vec<Partial>> = BTreeMap::new();
        for (_, mut partial) in std::mem::take(&mut self.partials) {
            keep_largest_users(&mut partial.users);
            shards.entry(shard_of(&partial.leaf.team, shard_count)).or_default().push(partial);
        }
        shards
    }

    pub(super) fn add(&mut self, event: &UsageEvent, team: Text, cost: Cost, ingest_time: Timestamp) {
        let text = |value: &Option<Text>| value.clone().unwrap_or_else(|| "".into());
        let leaf = Leaf {
            team,
            project: text(&event.project),
            model: text(&event.model),
            provider: text(&event.provider),
            region: text(&event.region),
            environment: text(&event.environment),
            meter: event.meter.clone(),
            currency: cost.currency,
            measure: Measure::Estimated,
        };
        let minute = event.event_time.minute();
        let partial = self.partials.entry((leaf.clone(), minute)).or_insert_with(|| empty(leaf, minute));
        partial.events += 1;
        partial.unpriced_events += u64::from(!cost.priced);
        partial.cost = partial.cost.saturating_add(cost.amount);
        partial.has_negative |= cost.amount < Nanos::ZERO;
        partial.quantity = partial.quantity.saturating_add(event.quantity.unwrap_or(Nanos::ZERO));
        partial.requests = partial.requests.saturating_add(event.requests);
        partial.tokens_input = partial.tokens_input.saturating_add(event.tokens.input);
        partial.tokens_output = partial.tokens_output.saturating_add(event.tokens.output);
        partial.tokens_cached_input = partial.tokens_cached_input.saturating_add(event.tokens.cached_input);
        partial.tokens_cache_write = partial.tokens_cache_write.saturating_add(event.tokens.cache_write);
        partial.tokens_reasoning = partial.tokens_reasoning.saturating_add(event.tokens.reasoning);
        partial.last_event_time = partial.last_event_time.max(event.event_time);
        partial.last_ingest_time = partial.last_ingest_time.max(ingest_time);
        if let Some(user) = &event.user {
            match partial.users.iter_mut().find(|known| known.user == *user) {
                Some(known) => known.cost = known.cost.saturating_add(cost.amount),
                None => partial.users.push(UserCost { user: user.clone(), cost: cost.amount }),
            }
        }
    }
}

fn empty(leaf: Leaf, minute: Minute) -> Partial {
    Partial {
        leaf,
        minute,
        events: 0,
        unpriced_events: 0,
        cost: Nanos::ZERO,
        has_negative: false,
        quantity: Nanos::ZERO,
        requests: 0,
        tokens_input: 0,
        tokens_output: 0,
        tokens_cached_input: 0,
        tokens_cache_write: 0,
        tokens_reasoning: 0,
        last_event_time: Timestamp(0),
        last_ingest_time: Timestamp(0),
        users: Vec::new(),
    }
}

fn keep_largest_users(users: &mut Vec<UserCost>) {
    users.sort_by(|a, b| b.cost.cmp(&a.cost).then_with(|| a.user.cmp(&b.user)));
    users.truncate(USERS_PER_PARTIAL);
}
