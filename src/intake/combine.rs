//! The sums of one transaction: one partial for each leaf and minute, and the count of what became of every record.

use std::collections::BTreeMap;

use super::decode::Scratch;
use super::judge::{Hits, Notes, Tags};
use super::memory::{Dimensions, Memory, User};
use super::order::Place;
use super::price::{Priced, Usage};
use super::rules::IntakeRules;
use super::slots::Slots;
use crate::model::Text;
use crate::model::ahead;
use crate::model::leaf::{Leaf, Measure};
use crate::model::money::{Currency, Nanos};
use crate::model::partial::{Failed, Partial, PolicyHit, USERS_PER_PARTIAL, UserCost};
use crate::model::record::RejectReason;
use crate::model::time::{Minute, Timestamp};
use crate::model::usage::Tokens;

/// What one transaction may hold at most: some tens of megabytes, here and as records.
const MOST_SUMS: usize = 50_000;
const MOST_USER_COSTS: usize = 200_000;
/// Sums that are asked for before they are written.
const LOOKED_AHEAD: usize = 4;
/// Twice what is kept from one transaction to the next, so that there is always room for one.
const MOST_BYTES: usize = 64 * 1024 * 1024;

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
    /// Among the combined: in a currency that there is no rate for.
    pub unconverted: u64,
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
    /// Outlives the transaction, and nothing depends on it.
    pub(super) memory: Memory,
    pub(super) scratch: Scratch,
    /// Empty; for its room.
    pub(super) tags: Tags<'static>,
    sums: Vec<Sum>,
    /// By leaf, currency and minute, the latest sum of each.
    places: Slots,
    users: Users,
    hits: Hits,
    /// What was converted, as it was before: by leaf, currency and minute.
    originals: BTreeMap<(usize, Currency, Minute), Original>,
    counts: Counts,
    /// Events in `sums`.
    summed: u64,
    /// Stands in for a sum that is not there, which nobody has seen.
    no_sum: Option<u32>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Original {
    cost: Nanos,
    last_event_time: Timestamp,
    last_ingest_time: Timestamp,
}

/// What identifies a sum; leaves are numbers of `Memory`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    leaf: usize,
    currency: Currency,
    minute: Minute,
}

#[derive(Debug)]
struct Sum {
    key: Key,
    events: u64,
    unpriced_events: u64,
    cost: Nanos,
    quantity: Nanos,
    has_negative: bool,
    requests: u64,
    tokens: Tokens,
    last_event_time: Timestamp,
    last_ingest_time: Timestamp,
    /// The latest of its users, in `Users`.
    users: Option<u32>,
    /// The latest of what policies said of it, in `Hits`.
    hits: Option<u32>,
    failed: Failed,
}

/// Where an event has been summed, and what it came to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Combined {
    pub leaf: usize,
    pub currency: Currency,
    cost: Nanos,
    place: u32,
}

/// What each user cost within each sum.
#[derive(Debug, Default)]
struct Users {
    costs: Vec<UserCostOf>,
    /// By sum and user.
    places: Slots,
}

#[derive(Debug)]
struct UserCostOf {
    cost: Nanos,
    sum: u32,
    user: u32,
    /// Another one of the same sum.
    next: Option<u32>,
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

    /// Whether it is time to commit: more sums, users or texts would take more memory than a transaction should. Whoever sends ever new
    /// names gets smaller transactions, and takes nothing from anybody.
    pub fn is_full(&self) -> bool {
        self.sums.len() >= MOST_SUMS || self.users.costs.len().max(self.hits.len()) >= MOST_USER_COSTS || self.memory.bytes() >= MOST_BYTES
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

    /// Asks for what `combine` will most likely add to.
    pub(super) fn approach(&self, known: usize, user: User) {
        let Some(place) = self.memory.approach(known) else { return };
        if let Some(sum) = self.sums.get(index(place)) {
            approach(sum);
        }
        if let Some(user) = user.number {
            self.users.places.approach(hash_of(place, number(user)));
        }
    }

    /// Behind `approach`: asks for what this user has cost so far.
    pub(super) fn approach_user(&self, known: usize, user: User) {
        let Some((place, user)) = self.memory.approach(known).zip(user.number) else { return };
        let cost = self.users.places.candidate(hash_of(place, number(user)));
        if let Some(cost) = cost.and_then(|cost| self.users.costs.get(index(cost))) {
            ahead::ask(cost);
        }
    }

    /// `known` and `user` are what `Memory` gave.
    pub(super) fn combine(
        &mut self,
        known: usize,
        user: User,
        usage: &Usage,
        event_time: Timestamp,
        ingest_time: Timestamp,
        rules: &IntakeRules,
    ) -> Option<Combined> {
        let priced = self.memory.price(known, usage, event_time, rules);
        assert!(priced.is_some(), "what was just found or remembered is there");
        let (leaf, priced, last) = priced?;
        self.counts.read += 1;
        self.counts.combined += 1;
        self.counts.unpriced += u64::from(priced.unpriced);
        self.counts.unconverted += u64::from(priced.unconverted);
        self.counts.inconsistent_tokens += u64::from(priced.inconsistent);
        self.summed += 1;
        let key = Key { leaf, currency: priced.currency, minute: event_time.minute() };
        let add = |sum: &mut Sum| sum.add(usage, &priced, event_time, ingest_time);
        let place = if self.sums.get_mut(index(last)).is_some_and(|sum| sum.key == key && add(sum)) {
            last
        } else {
            let place = self.find_and_add(key, add);
            self.memory.note_sum(known, place);
            place
        };
        if let Some((currency, cost)) = priced.original {
            let sum = self.originals.entry((leaf, currency, event_time.minute())).or_default();
            sum.cost = sum.cost.saturating_add(cost);
            sum.last_event_time = sum.last_event_time.max(event_time);
            sum.last_ingest_time = sum.last_ingest_time.max(ingest_time);
        }
        if let (Some(user), Some(sum)) = (user.number, self.sums.get_mut(index(place))) {
            sum.users = Some(self.users.add(place, number(user), priced.cost, sum.users));
        }
        Some(Combined { leaf, currency: priced.currency, cost: priced.cost, place })
    }

    /// What is known of texts, and where what policies say of the event is counted.
    pub(super) fn judging(&mut self, combined: &Combined) -> (&Memory, Notes<'_>) {
        let sum = self.sums.get_mut(index(combined.place));
        let latest = sum.map_or(&mut self.no_sum, |sum| &mut sum.hits);
        (&self.memory, Notes { hits: &mut self.hits, latest, cost: combined.cost })
    }

    /// Adds to the sum of a key; where that is.
    fn find_and_add(&mut self, key: Key, add: impl Fn(&mut Sum) -> bool) -> u32 {
        let hash = key.hash();
        let found = self.places.find(hash, |place| self.sums.get(index(place)).is_some_and(|sum| sum.key == key));
        if let Some(place) = found
            && self.sums.get_mut(index(place)).is_some_and(&add)
        {
            return place;
        }
        // New, or the sum is full: then a second one of the same leaf and minute goes on, and nothing is refused or lost.
        let mut sum = Sum::empty(key);
        let added = add(&mut sum);
        assert!(added, "one event fits into an empty sum");
        let new = number(self.sums.len());
        self.sums.push(sum);
        match found {
            Some(full) => self.places.replace(hash, full, new),
            None => self.places.insert(hash, new, |place| self.sums.get(index(place)).map(|sum| sum.key.hash())),
        }
        new
    }

    /// The sums by shard, sorted by minute and leaf: the same records give the same bytes.
    pub fn drain_into_shards(&mut self, shard_count: u32) -> BTreeMap<u32, Vec<Partial>> {
        let events: u64 = self.sums.iter().map(|sum| sum.events).sum();
        assert_eq!(events, self.summed, "every combined event is in exactly one partial");
        self.memory.order_leaves(shard_count);
        let place = |(at, sum): (usize, &Sum)| {
            let Place { rank, shard } = self.memory.place(sum.key.leaf);
            (sum.key.minute, rank, sum.key.currency, at, shard)
        };
        // Minute by minute, since that is how they are judged: what is cut into several records is cut between minutes. Sums that followed
        // a full one stay behind it.
        let mut order: Vec<_> = self.sums.iter().enumerate().map(place).collect();
        order.sort_unstable();
        let mut shards: BTreeMap<u32, Vec<Partial>> = BTreeMap::new();
        let mut by_shard: Vec<Vec<Partial>> = (0..shard_count.max(1)).map(|_| Vec::new()).collect();
        let mut by_cost = Vec::new();
        for (place, (.., at, shard)) in order.iter().enumerate() {
            if let Some(sum) = order.get(place + LOOKED_AHEAD).and_then(|(.., at, _)| self.sums.get(*at)) {
                approach(sum);
            }
            let Some(sum) = self.sums.get(*at) else { continue };
            let Some(dimensions) = self.memory.dimensions(sum.key.leaf) else { continue };
            let users = self.users.of(sum.users, &self.memory, &mut by_cost);
            let hits = self.memory.policies().map(|policies| self.hits.of(sum.hits, policies)).unwrap_or_default();
            if let Some(partials) = by_shard.get_mut(index(*shard)) {
                partials.push(sum.finish(dimensions, users, hits));
            }
        }
        shards.extend((0..).zip(by_shard).filter(|(_, partials)| !partials.is_empty()));
        self.drain_originals(&mut shards);
        let drained: u64 = shards.values().flatten().map(|partial| partial.events).sum();
        assert_eq!(drained, self.summed, "every sum has its partial");
        self.forget_sums();
        shards
    }

    /// What was converted, behind what it was converted into.
    fn drain_originals(&mut self, shards: &mut BTreeMap<u32, Vec<Partial>>) {
        if self.originals.is_empty() {
            return;
        }
        let mut order: Vec<_> = std::mem::take(&mut self.originals).into_iter().collect();
        order.sort_by_key(|((leaf, currency, minute), _)| (self.memory.place(*leaf).rank, *currency, *minute));
        for ((leaf, currency, minute), original) in order {
            let Some(dimensions) = self.memory.dimensions(leaf) else { continue };
            let shard = self.memory.place(leaf).shard;
            shards.entry(shard).or_default().push(original.finish(dimensions, currency, minute));
        }
    }

    /// Forgets every sum: the transaction was aborted.
    pub fn clear(&mut self) {
        self.forget_sums();
        self.counts = Counts::default();
    }

    fn forget_sums(&mut self) {
        self.sums.clear();
        self.places.clear();
        self.users.costs.clear();
        self.users.places.clear();
        self.hits.clear();
        self.originals.clear();
        self.summed = 0;
        self.memory.rest();
    }
}

/// Asks for all of a sum.
fn approach(sum: &Sum) {
    let begin = std::ptr::from_ref(sum).cast::<u8>();
    (0..size_of::<Sum>()).step_by(64).for_each(|at| ahead::at(begin.wrapping_add(at)));
}

impl Key {
    fn hash(&self) -> u64 {
        let [a, b, c] = *self.currency.code();
        let currency = u64::from_le_bytes([a, b, c, 0, 0, 0, 0, 0]);
        let leaf = (self.leaf as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (leaf ^ self.minute.0.cast_unsigned() ^ currency << 40).wrapping_mul(0xd6e8_feb8_6659_fd93)
    }
}

impl Sum {
    fn empty(key: Key) -> Sum {
        Sum {
            key,
            events: 0,
            unpriced_events: 0,
            cost: Nanos::ZERO,
            quantity: Nanos::ZERO,
            has_negative: false,
            requests: 0,
            tokens: Tokens::default(),
            last_event_time: Timestamp(i64::MIN),
            last_ingest_time: Timestamp(i64::MIN),
            users: None,
            hits: None,
            failed: Failed::default(),
        }
    }

    /// False, and nothing added, where a sum would leave its range.
    fn add(&mut self, usage: &Usage, priced: &Priced, event_time: Timestamp, ingest_time: Timestamp) -> bool {
        let (sums, more) = (self.tokens, priced.tokens);
        let quantity = usage.quantity.unwrap_or_default();
        let money = self.cost.checked_add(priced.cost).zip(self.quantity.checked_add(quantity));
        let counts = [
            (self.requests, priced.requests),
            (sums.input, more.input),
            (sums.output, more.output),
            (sums.cached_input, more.cached_input),
            (sums.cache_write, more.cache_write),
            (sums.reasoning, more.reasoning),
        ];
        // Long in Avro: the sums stay below 2^63.
        let fits = |(sum, more): (u64, u64)| sum.checked_add(more).is_some_and(|sum| i64::try_from(sum).is_ok());
        let (Some((cost, quantity)), true) = (money, counts.into_iter().all(fits)) else { return false };
        self.cost = cost;
        self.quantity = quantity;
        self.events += 1;
        self.unpriced_events += u64::from(priced.unpriced);
        self.has_negative |= priced.cost < Nanos::ZERO;
        self.requests += priced.requests;
        if usage.has_failed_free(priced.cost) {
            self.failed.events += 1;
            self.failed.unpriced_events += u64::from(priced.unpriced);
            self.failed.requests += priced.requests;
        }
        self.tokens = Tokens {
            input: sums.input + more.input,
            output: sums.output + more.output,
            cached_input: sums.cached_input + more.cached_input,
            cache_write: sums.cache_write + more.cache_write,
            reasoning: sums.reasoning + more.reasoning,
        };
        self.last_event_time = self.last_event_time.max(event_time);
        self.last_ingest_time = self.last_ingest_time.max(ingest_time);
        true
    }

    fn finish(&self, dimensions: &Dimensions, users: Vec<UserCost>, hits: Vec<PolicyHit>) -> Partial {
        let [team, project, model, provider, region, environment, meter] = dimensions.clone();
        Partial {
            leaf: Leaf {
                team,
                project,
                model,
                provider,
                region,
                environment,
                meter,
                currency: self.key.currency,
                measure: Measure::Estimated,
            },
            minute: self.key.minute,
            events: self.events,
            unpriced_events: self.unpriced_events,
            cost: self.cost,
            has_negative: self.has_negative,
            quantity: self.quantity,
            requests: self.requests,
            tokens_input: self.tokens.input,
            tokens_output: self.tokens.output,
            tokens_cached_input: self.tokens.cached_input,
            tokens_cache_write: self.tokens.cache_write,
            tokens_reasoning: self.tokens.reasoning,
            last_event_time: self.last_event_time,
            last_ingest_time: self.last_ingest_time,
            users,
            hits,
            failed: self.failed,
        }
    }
}

impl Original {
    /// Money alone: all else is counted where it was converted into.
    fn finish(self, dimensions: &Dimensions, currency: Currency, minute: Minute) -> Partial {
        let sum = Sum::empty(Key { leaf: 0, currency, minute });
        let mut partial = sum.finish(dimensions, Vec::new(), Vec::new());
        partial.leaf.measure = Measure::EstimatedOriginal;
        (partial.cost, partial.has_negative) = (self.cost, self.cost < Nanos::ZERO);
        (partial.last_event_time, partial.last_ingest_time) = (self.last_event_time, self.last_ingest_time);
        partial
    }
}

impl Users {
    /// Adds to what a user cost within a sum; answers the sum's latest user.
    fn add(&mut self, sum: u32, user: u32, cost: Nanos, latest: Option<u32>) -> u32 {
        let hash = hash_of(sum, user);
        let found =
            self.places.find(hash, |place| self.costs.get(index(place)).is_some_and(|known| known.sum == sum && known.user == user));
        if let Some(known) = found.and_then(|place| self.costs.get_mut(index(place))) {
            known.cost = known.cost.saturating_add(cost);
            return latest.or(found).unwrap_or_default();
        }
        let new = number(self.costs.len());
        self.costs.push(UserCostOf { cost, sum, user, next: latest });
        self.places.insert(hash, new, |place| self.costs.get(index(place)).map(|known| hash_of(known.sum, known.user)));
        new
    }

    /// Those of one sum, the largest first. Capped only here, when all of them are known: a user who comes late may be the largest.
    fn of<'m>(&self, latest: Option<u32>, memory: &'m Memory, by_cost: &mut Vec<(Nanos, &'m Text)>) -> Vec<UserCost> {
        by_cost.clear();
        let mut at = latest;
        while let Some(known) = at.and_then(|place| self.costs.get(index(place))) {
            by_cost.extend(memory.user_name(index(known.user)).map(|name| (known.cost, name)));
            at = known.next;
        }
        by_cost.sort_unstable_by(|(cost, user), (other_cost, other)| other_cost.cmp(cost).then_with(|| user.cmp(other)));
        by_cost.iter().take(USERS_PER_PARTIAL).map(|(cost, user)| UserCost { user: Text::clone(user), cost: *cost }).collect()
    }
}

fn hash_of(sum: u32, user: u32) -> u64 {
    (u64::from(sum) << 32 | u64::from(user)).wrapping_mul(0xd6e8_feb8_6659_fd93)
}

fn index(place: u32) -> usize {
    usize::try_from(place).unwrap_or(usize::MAX)
}

/// A transaction holds fewer of anything than there are records, and fewer of these than 2^32.
fn number(place: usize) -> u32 {
    let number = u32::try_from(place).unwrap_or(u32::MAX);
    assert!(number < u32::MAX, "a transaction is committed long before it holds four billion of anything");
    number
}
