//! The sums of one transaction: one partial for each leaf and minute, and the count of what became of every record.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::price::Priced;
use super::slots::Slots;
use crate::model::Text;
use crate::model::hash::{hash128, shard_of};
use crate::model::leaf::{Leaf, Measure};
use crate::model::money::Nanos;
use crate::model::partial::{Partial, USERS_PER_PARTIAL, UserCost};
use crate::model::record::RejectReason;
use crate::model::time::{Minute, Timestamp};
use crate::model::usage::UsageEvent;

/// What became of the records since the last commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub read: u64,
    pub combined: u64,
    pub duplicates: u64,
    pub rejected: u64,
    pub rejected_by: BTreeMap<RejectReason, u64>,
    /// Among the combined: without a price.
    pub unpriced: u64,
    /// Among the combined: more cached (or reasoning) tokens than tokens.
    pub inconsistent_tokens: u64,
}

impl Counts {
    /// No record vanishes without an outcome.
    pub fn balance(&self) -> bool {
        self.read == self.combined + self.duplicates + self.rejected && self.rejected == self.rejected_by.values().sum::<u64>()
    }
}

#[derive(Debug, Default)]
pub struct Batch {
    sums: Vec<Sum>,
    /// By leaf and minute, the latest sum of each.
    places: Slots,
    counts: Counts,
    /// Events in `sums`.
    summed: u64,
}

#[derive(Debug)]
struct Sum {
    hash: u64,
    partial: Partial,
    users: BTreeMap<Text, Nanos>,
}

/// A leaf that is still borrowed.
struct Key<'k> {
    dimensions: [&'k str; 7],
    priced: &'k Priced,
    minute: Minute,
}

impl Batch {
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The counts so far, and zero from here on.
    pub fn take_counts(&mut self) -> Counts {
        let counts = std::mem::take(&mut self.counts);
        assert!(counts.balance(), "records in = combined + duplicates + rejected: {counts:?}");
        counts
    }

    pub(super) fn reject(&mut self, reason: RejectReason) {
        self.counts.read += 1;
        self.counts.rejected += 1;
        *self.counts.rejected_by.entry(reason).or_default() += 1;
    }

    pub(super) fn duplicate(&mut self) {
        self.counts.read += 1;
        self.counts.duplicates += 1;
    }

    pub(super) fn combine(&mut self, event: &UsageEvent<'_>, team: &str, priced: &Priced, ingest_time: Timestamp) {
        self.counts.read += 1;
        self.counts.combined += 1;
        self.counts.unpriced += u64::from(priced.unpriced);
        self.counts.inconsistent_tokens += u64::from(priced.inconsistent);
        self.summed += 1;
        let key = Key::new(event, team, priced);
        let hash = key.hash();
        let place = self.places.find(hash, |place| self.at(place).is_some_and(|sum| key.is_of(&sum.partial)));
        let known = place.and_then(|place| usize::try_from(place).ok()).and_then(|place| self.sums.get_mut(place));
        if known.is_some_and(|sum| sum.add(event, priced, ingest_time)) {
            return;
        }
        // New, or the sum is full: then a second one of the same leaf and minute goes on, and nothing is refused or lost.
        let mut sum = Sum { hash, partial: key.empty(), users: BTreeMap::new() };
        let added = sum.add(event, priced, ingest_time);
        assert!(added, "one event fits into an empty sum");
        let new = u32::try_from(self.sums.len()).unwrap_or(u32::MAX);
        assert!(new < u32::MAX, "a transaction holds fewer sums than records");
        self.sums.push(sum);
        match place {
            Some(full) => self.places.replace(hash, full, new),
            None => {
                let sums = &self.sums;
                self.places.insert(hash, new, |place| hash_at(sums, place));
            }
        }
    }

    fn at(&self, place: u32) -> Option<&Sum> {
        self.sums.get(usize::try_from(place).ok()?)
    }

    /// The sums by shard, sorted by leaf and minute: the same records give the same bytes.
    pub fn drain_into_shards(&mut self, shard_count: u32) -> BTreeMap<u32, Vec<Partial>> {
        self.places.clear();
        let mut partials: Vec<Partial> = self.sums.drain(..).map(Sum::finish).collect();
        let events: u64 = partials.iter().map(|partial| partial.events).sum();
        assert_eq!(events, self.summed, "every combined event is in exactly one partial");
        self.summed = 0;
        // Stable: sums that followed a full one stay behind it.
        partials.sort_by(|a, b| (&a.leaf, a.minute).cmp(&(&b.leaf, b.minute)));
        let mut shards: BTreeMap<u32, Vec<Partial>> = BTreeMap::new();
        for partial in partials {
            shards.entry(shard_of(&partial.leaf.team, shard_count)).or_default().push(partial);
        }
        shards
    }

    /// Forgets everything: the transaction was aborted.
    pub fn clear(&mut self) {
        *self = Batch::default();
    }
}

fn hash_at(sums: &[Sum], place: u32) -> u64 {
    usize::try_from(place).ok().and_then(|place| sums.get(place)).map_or(0, |sum| sum.hash)
}

impl<'k> Key<'k> {
    fn new(event: &'k UsageEvent<'_>, team: &'k str, priced: &'k Priced) -> Key<'k> {
        let stated = |dimension: &'k Option<Cow<'_, str>>| dimension.as_deref().unwrap_or_default();
        let UsageEvent { project, model, provider, region, environment, meter, .. } = event;
        let dimensions = [team, stated(project), stated(model), stated(provider), stated(region), stated(environment), meter];
        Key { dimensions, priced, minute: event.event_time.minute() }
    }

    #[allow(clippy::cast_possible_truncation, reason = "64 of the 128 bits are enough, what is found is compared")]
    fn hash(&self) -> u64 {
        let [team, project, model, provider, region, environment, meter] = self.dimensions.map(str::as_bytes);
        let (currency, minute) = (self.priced.currency, self.minute.0.to_le_bytes());
        hash128(&[team, project, model, provider, region, environment, meter, currency.as_str().as_bytes(), &minute]) as u64
    }

    fn is_of(&self, partial: &Partial) -> bool {
        let Leaf { team, project, model, provider, region, environment, meter, currency, measure: _ } = &partial.leaf;
        let theirs = [team, project, model, provider, region, environment, meter];
        partial.minute == self.minute
            && *currency == self.priced.currency
            && theirs.iter().zip(self.dimensions).all(|(theirs, ours)| theirs.as_ref() == ours)
    }

    fn empty(&self) -> Partial {
        let [team, project, model, provider, region, environment, meter] = self.dimensions.map(Text::from);
        let currency = self.priced.currency;
        Partial {
            leaf: Leaf { team, project, model, provider, region, environment, meter, currency, measure: Measure::Estimated },
            minute: self.minute,
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
            last_event_time: Timestamp(i64::MIN),
            last_ingest_time: Timestamp(i64::MIN),
            users: Vec::new(),
        }
    }
}

impl Sum {
    /// False, and nothing added, where a sum would leave its range.
    fn add(&mut self, event: &UsageEvent<'_>, priced: &Priced, ingest_time: Timestamp) -> bool {
        let partial = &mut self.partial;
        let tokens = &priced.tokens;
        let quantity = event.quantity.unwrap_or_default();
        let sums = partial.cost.checked_add(priced.cost).zip(partial.quantity.checked_add(quantity));
        let counts = [
            (partial.requests, event.requests),
            (partial.tokens_input, tokens.input),
            (partial.tokens_output, tokens.output),
            (partial.tokens_cached_input, tokens.cached_input),
            (partial.tokens_cache_write, tokens.cache_write),
            (partial.tokens_reasoning, tokens.reasoning),
        ];
        // Long in Avro: the sums stay below 2^63.
        let fits = |(sum, more): (u64, u64)| sum.checked_add(more).is_some_and(|sum| i64::try_from(sum).is_ok());
        let (Some((cost, quantity)), true) = (sums, counts.into_iter().all(fits)) else { return false };
        partial.cost = cost;
        partial.quantity = quantity;
        partial.events += 1;
        partial.unpriced_events += u64::from(priced.unpriced);
        partial.has_negative |= priced.cost < Nanos::ZERO;
        partial.requests += event.requests;
        partial.tokens_input += tokens.input;
        partial.tokens_output += tokens.output;
        partial.tokens_cached_input += tokens.cached_input;
        partial.tokens_cache_write += tokens.cache_write;
        partial.tokens_reasoning += tokens.reasoning;
        partial.last_event_time = partial.last_event_time.max(event.event_time);
        partial.last_ingest_time = partial.last_ingest_time.max(ingest_time);
        if let Some(user) = event.user.as_deref() {
            self.add_user(user, priced.cost);
        }
        true
    }

    fn add_user(&mut self, user: &str, cost: Nanos) {
        match self.users.get_mut(user) {
            Some(sum) => *sum = sum.saturating_add(cost),
            None => {
                self.users.insert(user.into(), cost);
            }
        }
    }

    /// Users are capped only here, when all of them are known: a user who comes late may be the largest.
    fn finish(self) -> Partial {
        let mut users: Vec<UserCost> = self.users.into_iter().map(|(user, cost)| UserCost { user, cost }).collect();
        users.sort_by(|a, b| b.cost.cmp(&a.cost).then_with(|| a.user.cmp(&b.user)));
        users.truncate(USERS_PER_PARTIAL);
        Partial { users, ..self.partial }
    }
}
