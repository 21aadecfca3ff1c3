//! What an event costs: what its source says, else usage times price book. Without a price it costs nothing and is counted as unpriced;
//! it is never refused, because prices change and what was refused once would have to be refused again.

use super::pattern::matches;
use super::rules::{IntakeRules, Price, PriceQuery, SourceRule, TokenKind};
use super::validate::{LLM_TOKENS, REQUEST};
use crate::model::money::{Currency, Nanos};
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
    /// A part is larger than the whole that should include it: the source's rule is probably wrong.
    pub inconsistent: bool,
}

pub fn price(event: &UsageEvent<'_>, rules: &IntakeRules) -> Priced {
    let (apart, inconsistent) = each_token_once(event, &rules.sources);
    let tokens = Tokens {
        input: apart.input.saturating_add(apart.cached_input).saturating_add(apart.cache_write),
        output: apart.output.saturating_add(apart.reasoning),
        ..apart
    };
    let own = event.cost.map(|cost| Amount { cost, currency: event.currency.unwrap_or(rules.reporting_currency) });
    let amount = own.or_else(|| match event.meter.as_ref() {
        LLM_TOKENS => price_of_tokens(event, &apart, rules),
        REQUEST => price_of_count(event, rules, i128::from(event.requests), 1),
        _ => price_of_count(event, rules, event.quantity?.0, NANOS_PER_UNIT),
    });
    match amount {
        Some(Amount { cost, currency }) => Priced { cost, currency, unpriced: false, tokens, inconsistent },
        None => {
            let currency = event.currency.unwrap_or(rules.reporting_currency);
            Priced { cost: Nanos::ZERO, currency, unpriced: true, tokens, inconsistent }
        }
    }
}

struct Amount {
    cost: Nanos,
    currency: Currency,
}

/// The counts with no token in two of them, and whether the source's counts allowed that.
fn each_token_once(event: &UsageEvent<'_>, sources: &[SourceRule]) -> (Tokens, bool) {
    let rule = sources.iter().find(|rule| matches(&rule.source, &event.source));
    let includes = |of: fn(&SourceRule) -> bool| rule.is_none_or(of);
    let stated = event.tokens;
    let cached = if includes(|rule| rule.input_includes_cached) { stated.cached_input } else { 0 };
    let written = if includes(|rule| rule.input_includes_cache_write) { stated.cache_write } else { 0 };
    let reasoned = if includes(|rule| rule.output_includes_reasoning) { stated.reasoning } else { 0 };
    let input = stated.input.checked_sub(cached).and_then(|rest| rest.checked_sub(written));
    let output = stated.output.checked_sub(reasoned);
    let inconsistent = input.is_none() || output.is_none();
    (Tokens { input: input.unwrap_or(0), output: output.unwrap_or(0), ..stated }, inconsistent)
}

/// A leaf has one currency, so that prices in two of them are as good as none: a sum would need a rate, and rates are not intake's.
fn price_of_tokens(event: &UsageEvent<'_>, apart: &Tokens, rules: &IntakeRules) -> Option<Amount> {
    let counts = [
        (TokenKind::Input, apart.input, None),
        (TokenKind::CachedInput, apart.cached_input, Some(TokenKind::Input)),
        (TokenKind::CacheWrite, apart.cache_write, Some(TokenKind::Input)),
        (TokenKind::Output, apart.output, None),
        (TokenKind::Reasoning, apart.reasoning, Some(TokenKind::Output)),
    ];
    let find = |kind| rules.prices.find(&query(event, Some(kind)));
    let mut sum: Option<Amount> = None;
    for (kind, count, instead) in counts.into_iter().filter(|(_, count, _)| *count > 0) {
        let price = find(kind).or_else(|| find(instead?))?;
        let part = times(price, i128::from(count), 1)?;
        sum = Some(match sum {
            None => Amount { cost: part, currency: price.currency },
            Some(sum) if sum.currency == price.currency => Amount { cost: sum.cost.checked_add(part)?, ..sum },
            Some(_) => return None,
        });
    }
    match sum {
        Some(sum) => Some(sum),
        // A quantity of tokens of no kind has a price, but nobody knows which.
        None if event.quantity.is_some_and(|quantity| quantity > Nanos::ZERO) => None,
        // A refused request: no tokens, no cost, in the currency that its neighbours have.
        None => {
            let currency = find(TokenKind::Input).or_else(|| find(TokenKind::Output)).map(|price| price.currency);
            Some(Amount { cost: Nanos::ZERO, currency: currency.or(event.currency).unwrap_or(rules.reporting_currency) })
        }
    }
}

fn price_of_count(event: &UsageEvent<'_>, rules: &IntakeRules, count: i128, per: i128) -> Option<Amount> {
    let price = rules.prices.find(&query(event, None))?;
    Some(Amount { cost: times(price, count, per)?, currency: price.currency })
}

/// `None` beyond 10^18 units: no such bill exists, the price is wrong.
fn times(price: &Price, count: i128, per: i128) -> Option<Nanos> {
    price.amount.checked_mul_div(count, i128::from(price.per.max(1)).checked_mul(per)?)
}

fn query<'q>(event: &'q UsageEvent<'_>, token_kind: Option<TokenKind>) -> PriceQuery<'q> {
    PriceQuery {
        provider: event.provider.as_deref().unwrap_or_default(),
        meter: &event.meter,
        model: event.model.as_deref().unwrap_or_default(),
        region: event.region.as_deref().unwrap_or_default(),
        token_kind,
        at: event.event_time,
    }
}
