//! What a day of a model's usage says of how it is bought: the signs, and what another way of buying the same would have cost.
//!
//! Nobody sees the prompts. What is seen is how many tokens a request has, when requests come, and what each way costs by the price book;
//! so that each of these is one sign, and a hint rather than a proof.

use crate::model::leaf::Leaf;
use crate::model::money::{Currency, Nanos};
use crate::model::price::{PriceBook, PriceQuery, Rate, Tariff, TokenKind};
use crate::model::rates::Rates;
use crate::model::time::{Hour, Timestamp};
use crate::watch::matters::rules::AdviceRules;
use crate::watch::series::HourTotals;

use super::Advised;

/// Parts of a thousand: exact where a share of money is meant.
const WHOLE: i128 = 1000;
/// What costs this part of its list price, or less, of the way between that and the batch price, is bought in batches already.
const HALF_WAY: i128 = 2;

/// A day of one leaf.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Day {
    pub requests: u64,
    /// In the order of [`TokenKind::ALL`]; input includes cached and cache-write tokens, output reasoning.
    pub tokens: [u64; 5],
    pub cost: Nanos,
    /// Requests outside of the hours in which people work.
    pub off_hours: u64,
    /// Somebody of the account reports tokens of this provider's cache, so that none of them means none.
    pub reports_caching: bool,
}

/// What a day says of one kind of advice.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Sign {
    /// The other way would have saved so much.
    Seen(Saving),
    /// It is bought well, as far as anybody can tell.
    Absent,
    /// Too little usage, or no price, to say anything.
    Unknown,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Saving {
    pub saved: Nanos,
    /// The model to use instead, where that is the advice.
    pub instead: Option<crate::model::Text>,
    /// Things that say so.
    pub signs: u32,
}

impl Day {
    pub fn add(&mut self, totals: &HourTotals, is_off: bool) {
        self.requests = self.requests.saturating_add(totals.requests);
        for (sum, more) in self.tokens.iter_mut().zip(totals.tokens) {
            *sum = sum.saturating_add(more);
        }
        self.cost = self.cost.saturating_add(totals.cost);
        if is_off {
            self.off_hours = self.off_hours.saturating_add(totals.requests);
        }
    }

    /// Whether tokens of a prompt cache are among those reported.
    pub fn has_cached(&self) -> bool {
        let [_, _, read, written, _] = self.tokens;
        read > 0 || written > 0
    }

    pub fn input_per_request(&self) -> u64 {
        self.tokens[0].checked_div(self.requests).unwrap_or(0)
    }

    pub fn output_per_request(&self) -> u64 {
        self.tokens[1].checked_div(self.requests).unwrap_or(0)
    }

    /// Each token in one kind only, in the order of [`TokenKind::ALL`].
    fn apart(&self) -> [u64; 5] {
        let [input, output, cached, written, reasoned] = self.tokens;
        [input.saturating_sub(cached).saturating_sub(written), output.saturating_sub(reasoned), cached, written, reasoned]
    }

    /// What these tokens cost by a list. `None` where one of its prices is missing, or in another currency: as good as missing.
    fn at(&self, rates: &Tariff, money: Money<'_>) -> Option<Nanos> {
        let mut sum = Nanos::ZERO;
        for (kind, count) in TokenKind::ALL.into_iter().zip(self.apart()).filter(|(_, count)| *count > 0) {
            let rate = rates.rate(Some(kind)).or_else(|| rates.rate(Some(kind.instead()?)));
            sum = sum.checked_add(times(money.rate(rate?)?, count)?)?;
        }
        Some(sum)
    }

    /// A saving on list prices, as it comes out of what is really paid: whoever has a discount saves less.
    fn really(&self, saved: Nanos, list: Nanos) -> Nanos {
        if self.cost >= list { saved } else { saved.checked_mul_div(self.cost.0, list.0.max(1)).unwrap_or_default() }
    }
}

/// What a leaf is counted in, and how prices in another currency come to that.
#[derive(Clone, Copy)]
struct Money<'r> {
    currency: Currency,
    rates: &'r Rates,
    at: Timestamp,
}

impl Money<'_> {
    fn rate(&self, rate: Rate) -> Option<Rate> {
        if rate.currency == self.currency {
            return Some(rate);
        }
        let amount = self.rates.convert(rate.amount, rate.currency, self.at).filter(|_| self.rates.target() == Some(self.currency))?;
        Some(Rate { amount, currency: self.currency, ..rate })
    }
}

fn times(rate: Rate, count: u64) -> Option<Nanos> {
    rate.amount.checked_mul_div(i128::from(count), i128::from(rate.per.max(1)))
}

/// A leaf has prompts of many sizes, and accounts that nobody knows here: the price of the short ones, as its team has negotiated it.
fn query<'q>(leaf: &'q Leaf, terms: &'q [u32], at: Timestamp) -> PriceQuery<'q> {
    let Leaf { provider, meter, model, region, .. } = leaf;
    PriceQuery { provider, meter, model, region, terms, at, ..PriceQuery::default() }
}

/// What a day of a leaf says, by the prices of its last hour.
pub(crate) fn sign(advised: Advised, leaf: &Leaf, day: &Day, hour: Hour, rules: &AdviceRules) -> Sign {
    if day.requests < rules.least_requests_per_day || day.cost <= Nanos::ZERO {
        return Sign::Unknown;
    }
    let terms = rules.prices.terms("", &leaf.team);
    let query = query(leaf, &terms, hour.start());
    let rates = rules.prices.tariff(&query);
    let money = Money { currency: leaf.currency, rates: &rules.rates, at: hour.start() };
    let Some(list) = day.at(&rates, money).filter(|list| *list > Nanos::ZERO) else { return Sign::Unknown };
    match advised {
        Advised::Caching => caching(day, &rates, list, money, rules),
        Advised::Batch => batch(leaf, day, &query, list, money, rules),
        Advised::CheaperModel => cheaper(day, &query, list, money, rules),
    }
}

/// Long prompts, of which nothing is ever read from the cache, at a model that has a price for that. Where nobody reports what is read from
/// it, nothing can be said: a source that leaves the numbers out is not one that caches nothing.
fn caching(day: &Day, rates: &Tariff, list: Nanos, money: Money<'_>, rules: &AdviceRules) -> Sign {
    let own = |kind| rates.rate(Some(kind)).and_then(|rate| money.rate(rate));
    let (Some(input), Some(cached)) = (own(TokenKind::Input), own(TokenKind::CachedInput)) else { return Sign::Unknown };
    if day.input_per_request() < rules.caching.least_input_per_request || day.has_cached() {
        return Sign::Absent;
    }
    if !day.reports_caching {
        return Sign::Unknown;
    }
    let repeated = u128::from(day.tokens[0]).saturating_mul(u128::from(rules.caching.repeated_per_mille)) / WHOLE.unsigned_abs();
    let repeated = u64::try_from(repeated).unwrap_or(u64::MAX);
    let saved = times(input, repeated).zip(times(cached, repeated)).map(|(now, then)| now.saturating_sub(then));
    saved.map_or(Sign::Unknown, |saved| Sign::Seen(Saving { saved: day.really(saved, list), instead: None, signs: 1 }))
}

/// Work that waits for the night, or is called offline, at a model whose batches cost less, at a price that is not a batch's.
fn batch(leaf: &Leaf, day: &Day, query: &PriceQuery<'_>, list: Nanos, money: Money<'_>, rules: &AdviceRules) -> Sign {
    let in_batches = |kind: TokenKind, count: u64| {
        let find = |kind| rules.prices.find(&PriceQuery { token_kind: Some(kind), ..*query });
        let found = find(kind).or_else(|| find(kind.instead()?)).filter(|found| found.price.batch.is_some())?;
        times(money.rate(found.rate(true))?, count)
    };
    let parts = TokenKind::ALL.into_iter().zip(day.apart()).filter(|(_, count)| *count > 0);
    let sum = parts.map(|(kind, count)| in_batches(kind, count)).try_fold(Nanos::ZERO, |sum, part| sum.checked_add(part?));
    let Some(batch) = sum.filter(|batch| *batch < list) else { return Sign::Unknown };
    let is_named = [&leaf.project, &leaf.environment].into_iter().any(|name| rules.batch.names(name));
    let off = i128::from(day.off_hours).saturating_mul(WHOLE);
    let is_shaped = off >= i128::from(day.requests).saturating_mul(i128::from(rules.batch.off_hours_per_mille));
    let half_way = list.0.saturating_add(batch.0) / HALF_WAY;
    if day.cost.0 <= half_way || !(is_named || is_shaped) {
        return Sign::Absent;
    }
    let saved = day.really(list.saturating_sub(batch), list);
    Sign::Seen(Saving { saved, instead: None, signs: u32::from(is_named) + u32::from(is_shaped) })
}

/// Small questions with short answers and no reasoning, at a model that has a much cheaper one beside it.
fn cheaper(day: &Day, query: &PriceQuery<'_>, list: Nanos, money: Money<'_>, rules: &AdviceRules) -> Sign {
    let limits = &rules.model;
    let is_small = day.input_per_request() <= limits.most_input_per_request && day.output_per_request() <= limits.most_output_per_request;
    if !is_small || day.tokens[4] > 0 || day.tokens[1] == 0 {
        return Sign::Absent;
    }
    match cheaper_of_family(&rules.prices, day, query, list, money, limits.least_saving_per_mille) {
        Some((model, cost)) => Sign::Seen(Saving { saved: day.really(list.saturating_sub(cost), list), instead: Some(model), signs: 1 }),
        None => Sign::Absent,
    }
}

/// Of those that save enough the one that is nearest: the dearest, and of several the latest.
fn cheaper_of_family(
    prices: &PriceBook,
    day: &Day,
    query: &PriceQuery<'_>,
    list: Nanos,
    money: Money<'_>,
    least_saving: u32,
) -> Option<(crate::model::Text, Nanos)> {
    let most = list.checked_mul_div(WHOLE - i128::from(least_saving), WHOLE)?;
    let candidates = prices.family(query).filter(|price| !price.model.starts_with('*'));
    let priced = candidates.filter_map(|price| {
        let cost = day.at(&prices.tariff(&PriceQuery { model: &price.model, ..*query }), money)?;
        let is_name = !price.model.contains('*');
        (cost <= most).then(|| ((cost, price.effective_from, is_name), price.model.clone()))
    });
    priced.max_by(|a, b| a.0.cmp(&b.0).then_with(|| b.1.cmp(&a.1))).map(|((cost, ..), model)| (model, cost))
}
