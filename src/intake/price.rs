//! What an event costs: what its source says, else usage times price book. Without a price it costs nothing and is counted as unpriced;
//! it is never refused, because prices change and what was refused once would have to be refused again.

#[cfg(test)]
use super::rules::IntakeRules;
use super::rules::{PriceBook, PriceQuery, Rate, SourceRule, Tariff, TokenKind};
use super::validate::{LLM_TOKENS, REQUEST};
use crate::model::money::{Currency, Nanos};
use crate::model::pattern::matches;
use crate::model::rates::Rates;
use crate::model::time::Timestamp;
use crate::model::usage::{Tokens, UsageEvent};

const NANOS_PER_UNIT: i128 = 1_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priced {
    pub cost: Nanos,
    pub currency: Currency,
    /// Neither source nor price book knew a cost: `cost` is zero and means nothing.
    pub unpriced: bool,
    /// In one convention whatever the source's, OpenTelemetry's: `input` includes cached and cache-write tokens, `output` reasoning.
    pub tokens: Tokens,
    /// What a quantity of requests comes to included.
    pub requests: u64,
    /// A part is larger than the whole that should include it: the source's rule is probably wrong.
    pub inconsistent: bool,
    /// What was converted, in its own currency.
    pub original: Option<(Currency, Nanos)>,
    /// It should have been converted, and there is no rate: `cost` is in its own currency.
    pub unconverted: bool,
}

impl Priced {
    /// In the currency that all is counted in, by the rate of the day. What nobody knows the cost of is nothing in any currency.
    pub fn converted(self, at: Timestamp, rates: &Rates) -> Priced {
        let Some(target) = rates.target().filter(|target| *target != self.currency) else { return self };
        match rates.convert(self.cost, self.currency, at) {
            Some(cost) => {
                let original = Some((self.currency, self.cost)).filter(|_| self.cost != Nanos::ZERO);
                Priced { cost, currency: target, original, ..self }
            }
            None => Priced { unconverted: true, ..self },
        }
    }
}

/// What an event counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub tokens: Tokens,
    pub quantity: Option<Nanos>,
    pub requests: u64,
    /// What the source says it cost.
    pub cost: Option<Nanos>,
    pub currency: Option<Currency>,
    /// Its status is a kind of error.
    pub failed: bool,
}

impl Usage {
    pub fn of(event: &UsageEvent<'_>) -> Usage {
        let UsageEvent { tokens, quantity, requests, cost, currency, failed, .. } = *event;
        Usage { tokens, quantity, requests, cost, currency, failed }
    }

    /// Whether it came to nothing, so that nobody bills it. What has failed and has used something all the same is billed as all else, unless
    /// the source says that it cost nothing.
    pub fn has_failed_free(&self, cost: Nanos) -> bool {
        self.failed
            && cost == Nanos::ZERO
            && (self.cost.is_some() || (self.tokens, self.quantity.unwrap_or_default()) == Default::default())
    }
}

/// What a meter counts, as far as pricing is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    Tokens,
    Requests,
    Quantity,
}

impl Counted {
    pub fn by(meter: &str) -> Counted {
        match meter {
            LLM_TOKENS => Counted::Tokens,
            REQUEST => Counted::Requests,
            _ => Counted::Quantity,
        }
    }
}

/// What a source's token counts include.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Convention {
    input_includes_cached: bool,
    input_includes_cache_write: bool,
    output_includes_reasoning: bool,
}

impl Convention {
    pub fn of(source: &str, rules: &[SourceRule]) -> Convention {
        let rule = rules.iter().find(|rule| matches(&rule.source, source));
        let includes = |of: fn(&SourceRule) -> bool| rule.is_none_or(of);
        Convention {
            input_includes_cached: includes(|rule| rule.input_includes_cached),
            input_includes_cache_write: includes(|rule| rule.input_includes_cache_write),
            output_includes_reasoning: includes(|rule| rule.output_includes_reasoning),
        }
    }
}

/// Looks everything up anew; `Memory` has the answers of what came before and must give the same (tests/memory.rs).
#[cfg(test)]
pub fn price(event: &UsageEvent<'_>, rules: &IntakeRules) -> Priced {
    let convention = Convention::of(&event.source, &rules.sources);
    let terms = terms(event, &super::attribute::attribute(event, &rules.attribution), &rules.prices);
    let find = |token_kind| {
        let query = PriceQuery { token_kind, ..query(event, &terms, convention) };
        rules.prices.find(&query).map(|found| found.rate(query.is_batch))
    };
    let priced = price_by(&Usage::of(event), Counted::by(&event.meter), convention, rules.reporting_currency, None, find);
    priced.converted(event.event_time, &rules.rates)
}

/// Prices of a token that are whole numbers of nanos, as nearly all are: nothing is rounded where they are used, so that no division is
/// needed, and the sum is the same.
#[derive(Clone, Copy, Debug)]
pub struct PerToken {
    /// In nanos, in the order of `TokenKind::ALL`; `None` where there is no price.
    prices: [Option<u64>; TokenKind::ALL.len()],
    currency: Currency,
}

impl PerToken {
    /// `None` where a price is none of these, or where they have two currencies.
    pub fn of(tariff: &Tariff) -> Option<PerToken> {
        let rates = TokenKind::ALL.map(|kind| tariff.rate(Some(kind)).or_else(|| tariff.rate(Some(kind.instead()?))));
        let currency = rates.iter().flatten().next()?.currency;
        let mut prices = [None; TokenKind::ALL.len()];
        for (price, rate) in prices.iter_mut().zip(rates) {
            let Some(Rate { amount, per, currency: other }) = rate else { continue };
            let per = i128::from(per.max(1));
            *price = Some(u64::try_from(amount.0 / per).ok().filter(|_| amount.0 % per == 0 && other == currency)?);
        }
        Some(PerToken { prices, currency })
    }

    /// `None` where it is not that simple: without tokens or prices, or beyond 64 bits.
    #[inline]
    fn price(&self, apart: &Tokens) -> Option<Amount> {
        let Tokens { input, output, cached_input, cache_write, reasoning } = *apart;
        let counts = [input, output, cached_input, cache_write, reasoning];
        let mut cost = None;
        for (count, price) in counts.into_iter().zip(self.prices) {
            if count > 0 {
                cost = Some(price?.checked_mul(count)?.checked_add(cost.unwrap_or(0))?);
            }
        }
        Some(Amount { cost: Nanos(i128::from(cost?)), currency: self.currency })
    }
}

/// `find` is the price book, for this usage at this time; `per_token` what it comes to.
pub fn price_by(
    usage: &Usage,
    counted: Counted,
    convention: Convention,
    reporting_currency: Currency,
    per_token: Option<&PerToken>,
    find: impl Fn(Option<TokenKind>) -> Option<Rate>,
) -> Priced {
    let (apart, inconsistent) = each_token_once(&usage.tokens, convention);
    let tokens = Tokens {
        input: apart.input.saturating_add(apart.cached_input).saturating_add(apart.cache_write),
        output: apart.output.saturating_add(apart.reasoning),
        ..apart
    };
    // A meter of requests has its usage in the one field or in the other; one request is what an event counts that says nothing.
    let quantity = usage.quantity.filter(|quantity| counted == Counted::Requests && usage.requests == 1 && *quantity > Nanos::ZERO);
    let requests = quantity.map_or(usage.requests, |quantity| u64::try_from(quantity.0 / NANOS_PER_UNIT).unwrap_or(u64::MAX).max(1));
    let own = usage.cost.map(|cost| Amount { cost, currency: usage.currency.unwrap_or(reporting_currency) });
    let amount = own.or_else(|| match counted {
        Counted::Tokens => {
            per_token.and_then(|per_token| per_token.price(&apart)).or_else(|| price_of_tokens(usage, &apart, reporting_currency, find))
        }
        Counted::Requests => match quantity {
            Some(quantity) => price_of_count(find(None)?, quantity.0, NANOS_PER_UNIT),
            None => price_of_count(find(None)?, i128::from(usage.requests), 1),
        },
        Counted::Quantity => price_of_count(find(None)?, usage.quantity?.0, NANOS_PER_UNIT),
    });
    match amount {
        Some(Amount { cost, currency }) => {
            Priced { cost, currency, unpriced: false, tokens, requests, inconsistent, original: None, unconverted: false }
        }
        None => {
            let currency = usage.currency.unwrap_or(reporting_currency);
            Priced { cost: Nanos::ZERO, currency, unpriced: true, tokens, requests, inconsistent, original: None, unconverted: false }
        }
    }
}

struct Amount {
    cost: Nanos,
    currency: Currency,
}

/// The counts with no token in two of them, and whether the source's counts allowed that.
fn each_token_once(stated: &Tokens, convention: Convention) -> (Tokens, bool) {
    let cached = if convention.input_includes_cached { stated.cached_input } else { 0 };
    let written = if convention.input_includes_cache_write { stated.cache_write } else { 0 };
    let reasoned = if convention.output_includes_reasoning { stated.reasoning } else { 0 };
    let input = stated.input.checked_sub(cached).and_then(|rest| rest.checked_sub(written));
    let output = stated.output.checked_sub(reasoned);
    let inconsistent = input.is_none() || output.is_none();
    (Tokens { input: input.unwrap_or(0), output: output.unwrap_or(0), ..*stated }, inconsistent)
}

/// A leaf has one currency, so that prices in two of them are as good as none: what is converted is one amount, not a part of it.
fn price_of_tokens(
    usage: &Usage,
    apart: &Tokens,
    reporting_currency: Currency,
    find: impl Fn(Option<TokenKind>) -> Option<Rate>,
) -> Option<Amount> {
    let counts = [
        (TokenKind::Input, apart.input),
        (TokenKind::Output, apart.output),
        (TokenKind::CachedInput, apart.cached_input),
        (TokenKind::CacheWrite, apart.cache_write),
        (TokenKind::Reasoning, apart.reasoning),
    ];
    let find = |kind| find(Some(kind));
    let mut sum: Option<Amount> = None;
    for (kind, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
        let rate = find(kind).or_else(|| find(kind.instead()?))?;
        // An agreement that names some kinds of token in a currency of its own covers those that can stand in for others.
        let rate = match &sum {
            Some(sum) if sum.currency != rate.currency => find(kind.instead()?).filter(|rate| rate.currency == sum.currency)?,
            _ => rate,
        };
        let part = times(rate, i128::from(count), 1)?;
        sum = Some(match sum {
            None => Amount { cost: part, currency: rate.currency },
            Some(sum) => Amount { cost: sum.cost.checked_add(part)?, ..sum },
        });
    }
    match sum {
        Some(sum) => Some(sum),
        // A quantity of tokens of no kind has a price, but nobody knows which.
        None if usage.quantity.is_some_and(|quantity| quantity > Nanos::ZERO) => None,
        // A refused request: no tokens, no cost, in the currency that its neighbours have.
        None => {
            let currency = find(TokenKind::Input).or_else(|| find(TokenKind::Output)).map(|rate| rate.currency);
            Some(Amount { cost: Nanos::ZERO, currency: currency.or(usage.currency).unwrap_or(reporting_currency) })
        }
    }
}

fn price_of_count(rate: Rate, count: i128, per: i128) -> Option<Amount> {
    Some(Amount { cost: times(rate, count, per)?, currency: rate.currency })
}

/// `None` beyond 10^18 units: no such bill exists, the price is wrong.
pub fn times(rate: Rate, count: i128, per: i128) -> Option<Nanos> {
    rate.amount.checked_mul_div(count, i128::from(rate.per.max(1)).checked_mul(per)?)
}

/// The tag by which gateways and providers say how an answer was asked for, and what it says of one that may wait.
pub const SERVICE_TIER: &str = "service_tier";
const BATCH: &str = "batch";

pub fn is_batch(event: &UsageEvent<'_>) -> bool {
    is_batch_tier(event.tag(SERVICE_TIER))
}

/// Of what the tag says.
pub fn is_batch_tier(tier: Option<&str>) -> bool {
    tier == Some(BATCH)
}

/// What an account and the team that pays for it have negotiated.
pub fn terms(event: &UsageEvent<'_>, team: &str, prices: &PriceBook) -> Vec<u32> {
    prices.terms(event.account.as_deref().unwrap_or_default(), team)
}

/// Tokens of the prompt of a single request, all of them; of an event that sums several up those of the mean one.
pub fn prompt_tokens(usage: &Usage, convention: Convention) -> u64 {
    let (apart, _) = each_token_once(&usage.tokens, convention);
    let all = apart.input.saturating_add(apart.cached_input).saturating_add(apart.cache_write);
    all / usage.requests.max(1)
}

/// What the price book is asked for an event, whatever the kind of token.
pub fn query<'q>(event: &'q UsageEvent<'_>, terms: &'q [u32], convention: Convention) -> PriceQuery<'q> {
    PriceQuery {
        provider: event.provider.as_deref().unwrap_or_default(),
        meter: &event.meter,
        model: event.model.as_deref().unwrap_or_default(),
        region: event.region.as_deref().unwrap_or_default(),
        terms,
        token_kind: None,
        at: event.event_time,
        prompt_tokens: prompt_tokens(&Usage::of(event), convention),
        is_batch: is_batch(event),
    }
}
