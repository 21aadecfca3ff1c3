//! Missing money: usage that counts nothing although it cost something (`gap`), usage that has stopped coming (`silence`), and what the
//! bill says against what was estimated (`bill`). The first is seen with the usage itself, the second when an hour closes, the third once
//! a day of the bill has settled.

pub mod apart;
#[cfg(test)]
mod apart_tests;
pub mod bill;
#[cfg(test)]
mod bill_tests;
mod bill_words;
mod cached;
#[cfg(test)]
mod day_tests;
pub mod gap;
pub mod rate;
pub mod silence;
#[cfg(test)]
mod tests;
pub mod unpriced;
pub mod untagged;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::Text;
use crate::model::effect::Effect;
use crate::model::leaf::{Account, Leaf, LeafDimensions, Measure};
use crate::model::money::Nanos;
use crate::model::partial::Partial;
use crate::model::time::{Hour, Timestamp};
use crate::watch::account::AccountState;
use crate::watch::judge::Judged;
use crate::watch::rules::WatchRules;
use crate::watch::series::HourTotals;
use crate::watch::shard::Shard;

/// An output token costs about so many input tokens on every price list.
const OUTPUT_WEIGHT: u64 = 4;

/// Tokens as they cost; input has cached ones and cache writes in it, output reasoning.
pub(crate) fn weighted(tokens: &[u64; 5]) -> u64 {
    let [input, output, ..] = *tokens;
    input.saturating_add(output.saturating_mul(OUTPUT_WEIGHT))
}

/// What came in one record, after it was added to its series.
pub(crate) fn take_partials(shard: &mut Shard, partials: &[Partial], rules: &WatchRules, effects: &mut Vec<Effect>) {
    if rules.matters.missing.is_none() {
        return;
    }
    for partial in partials.iter().filter(|partial| partial.leaf.measure == Measure::Estimated) {
        // What was written before there were rates, or by an intake that has not heard of them yet, lacks none.
        if rules.rates.concern(partial.leaf.currency) && !rules.rates.is_converted(partial.leaf.currency, partial.minute.start()) {
            rate::take(shard, partial, rules, effects);
        }
        if gap::is_suspect(partial) || !shard.matters.gaps.is_empty() {
            gap::take(shard, partial, rules, effects);
        }
    }
}

/// What one provider's usage came to in an hour.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProviderHour {
    pub cost: Nanos,
    pub events: u64,
    pub tokens: [u64; 5],
    pub expected: f64,
    /// It has none here, but has some in another currency.
    pub is_used_elsewhere: bool,
}

/// An account's hour is complete; before it is learnt.
pub(crate) fn close_account_hour(
    shard: &mut Shard,
    number: u32,
    hour: Hour,
    judged: &[Judged],
    rules: &WatchRules,
    effects: &mut Vec<Effect>,
) {
    let Some(missing) = &rules.matters.missing else { return };
    let books = Arc::clone(&shard.books);
    let moment = shard.moment(rules, &books);
    let Some(state) = shard.accounts.get(number) else { return };
    let account = state.account.clone();
    if account.measure != Measure::Estimated {
        return;
    }
    let providers: BTreeMap<Text, ProviderHour> = by_provider(state, hour, judged)
        .into_iter()
        .map(|(provider, sums)| {
            let is_used_elsewhere = sums.events == 0 && is_used_elsewhere(shard, &account, &provider, hour);
            (provider, ProviderHour { is_used_elsewhere, ..sums })
        })
        .collect();
    let matters = &mut shard.matters;
    if untagged::is_nobodys(&account) {
        untagged::close_hour(matters, state, hour, missing, moment, effects);
    }
    for (provider, sums) in &providers {
        silence::close_hour(matters, &account, provider, hour, sums, missing, moment, effects);
        bill::add_estimated(matters, &account, provider, hour, sums, missing);
    }
    gap::close_hour(matters, state, hour, moment, effects);
    unpriced::close_hour(matters, state, hour, moment, effects);
}

fn by_provider(state: &AccountState, hour: Hour, judged: &[Judged]) -> BTreeMap<Text, ProviderHour> {
    let mut providers: BTreeMap<Text, ProviderHour> = BTreeMap::new();
    let expected: BTreeMap<&crate::model::leaf::Scope, f64> =
        judged.iter().map(|judged| (&judged.scope, judged.expectation.expected.max(judged.expectation.calendar))).collect();
    for (dimensions, node, leaf) in state.leaves().filter(|(dimensions, ..)| !dimensions.provider.is_empty()) {
        let sums = providers.entry(dimensions.provider.clone()).or_default();
        sums.expected += expected.get(&node.scope).copied().unwrap_or_default();
        if let Some(totals) = leaf.hours.get(hour) {
            sums.add(totals);
        }
    }
    providers
}

fn is_used_elsewhere(shard: &Shard, account: &Account, provider: &Text, hour: Hour) -> bool {
    let others = shard.accounts.of_team(&account.team);
    let others = others.filter(|(_, state)| state.account.measure == account.measure && state.account != *account);
    let mut leaves = others.flat_map(|(_, state)| state.leaves());
    leaves.any(|(dimensions, _, leaf)| dimensions.provider == *provider && leaf.totals(hour).is_some_and(|totals| totals.events > 0))
}

impl ProviderHour {
    fn add(&mut self, totals: &HourTotals) {
        self.cost = self.cost.saturating_add(totals.cost);
        self.events = self.events.saturating_add(totals.events);
        for (sum, more) in self.tokens.iter_mut().zip(totals.tokens) {
            *sum = sum.saturating_add(more);
        }
    }
}

/// `search (ranker / gpt-4o)`.
pub(crate) fn place(account: &Account, dimensions: &LeafDimensions) -> String {
    let named: Vec<&str> =
        [&dimensions.project, &dimensions.model].into_iter().filter(|name| !name.is_empty()).map(|name| &**name).collect();
    if named.is_empty() { account.team.to_string() } else { format!("{} ({})", account.team, named.join(" / ")) }
}

pub(crate) fn named(leaf: &Leaf) -> BTreeMap<String, String> {
    crate::model::leaf::Scope::Leaf(leaf.dimensions()).dimensions()
}

pub(crate) fn clock(at: Timestamp, zone: &jiff::tz::TimeZone) -> String {
    match jiff::Timestamp::from_millisecond(at.0) {
        Ok(instant) => instant.to_zoned_datetime(zone.clone()).strftime("%a %-d %b %H:%M %Z").to_string(),
        Err(_) => at.to_string(),
    }
}

/// `1.2 million`, `34,000`.
pub(crate) fn many(count: u64) -> String {
    match count {
        0..10_000 => count.to_string(),
        10_000..1_000_000 => format!("{},000", count / 1000),
        _ => format!("{:.1} million", count as f64 / 1e6),
    }
}
