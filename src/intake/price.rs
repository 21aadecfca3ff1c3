//! What usage costs: what its source says, else the price book. Each token is counted once, whichever way its source counts.

use super::attribute::glob;
use super::rules::{IntakeRules, Price, PriceBook, SourceRule, TokenKind};
use crate::model::money::{Currency, Nanos};
use crate::model::record::{Reject, RejectReason};
use crate::model::usage::UsageEvent;

/// What one event costs. `priced` is false where nobody knows; such usage counts zero money and is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    pub amount: Nanos,
    pub currency: Currency,
    pub priced: bool,
}

/// # Errors
/// Quantity times price beyond 10^18.
pub fn cost(event: &UsageEvent, rules: &IntakeRules) -> Result<Cost, Reject> {
    let currency = event.currency.unwrap_or(rules.reporting_currency);
    if let Some(amount) = event.cost {
        return Ok(Cost { amount, currency, priced: true });
    }
    let priced = if event.meter.as_ref() == "llm.tokens" { tokens(event, rules)? } else { quantity(event, &rules.prices)? };
    Ok(match priced {
        Some((amount, currency)) => Cost { amount, currency, priced: true },
        None => Cost { amount: Nanos::ZERO, currency, priced: false },
    })
}

/// Counts by kind, none of them contained in another.
fn disjoint(event: &UsageEvent, sources: &[SourceRule]) -> [(TokenKind, u64); 5] {
    let tokens = event.tokens;
    let rule = sources.iter().find(|rule| glob(&rule.source, &event.source));
    let includes = |of: fn(&SourceRule) -> bool| rule.is_none_or(of);
    let mut input = tokens.input;
    if includes(|rule| rule.input_includes_cached) {
        input = input.saturating_sub(tokens.cached_input);
    }
    if includes(|rule| rule.input_includes_cache_write) {
        input = input.saturating_sub(tokens.cache_write);
    }
    let output =
        if includes(|rule| rule.output_includes_reasoning) { tokens.output.saturating_sub(tokens.reasoning) } else { tokens.output };
    [
        (TokenKind::Input, input),
        (TokenKind::Output, output),
        (TokenKind::CachedInput, tokens.cached_input),
        (TokenKind::CacheWrite, tokens.cache_write),
        (TokenKind::Reasoning, tokens.reasoning),
    ]
}

fn tokens(event: &UsageEvent, rules: &IntakeRules) -> Result<Option<(Nanos, Currency)>, Reject> {
    let mut sum: Option<(Nanos, Currency)> = None;
    for (kind, count) in disjoint(event, &rules.sources) {
        if count == 0 {
            continue;
        }
        // A kind without a price of its own costs what the kind costs that it is a part of.
        let whole = match kind {
            TokenKind::Input | TokenKind::CachedInput | TokenKind::CacheWrite => TokenKind::Input,
            TokenKind::Output | TokenKind::Reasoning => TokenKind::Output,
        };
        let price = find(event, &rules.prices, Some(kind)).or_else(|| find(event, &rules.prices, Some(whole)));
        let Some(price) = price else { return Ok(None) };
        let part = price.amount.checked_mul_div(i128::from(count), i128::from(price.per)).ok_or_else(too_much)?;
        sum = match sum {
            None => Some((part, price.currency)),
            Some((so_far, currency)) if currency == price.currency => Some((so_far.checked_add(part).ok_or_else(too_much)?, currency)),
            // Two currencies within one event: no sum is right.
            Some(_) => return Ok(None),
        };
    }
    Ok(sum)
}

fn quantity(event: &UsageEvent, book: &PriceBook) -> Result<Option<(Nanos, Currency)>, Reject> {
    let Some(price) = find(event, book, None) else { return Ok(None) };
    let per = i128::from(price.per);
    let amount = match event.quantity {
        Some(quantity) => price.amount.checked_mul_div(quantity.0, per.saturating_mul(1_000_000_000)),
        None if event.requests > 0 => price.amount.checked_mul_div(i128::from(event.requests), per),
        None => return Ok(None),
    };
    Ok(Some((amount.ok_or_else(too_much)?, price.currency)))
}

fn too_much() -> Reject {
    Reject::new(RejectReason::OutOfRange, "quantity times price is beyond 10^18")
}

/// The most specific price that holds at the event's time: exact model before pattern, longer pattern before shorter, own region
/// before any, then the one that took effect last.
fn find<'a>(event: &UsageEvent, book: &'a PriceBook, kind: Option<TokenKind>) -> Option<&'a Price> {
    let model = event.model.as_deref().unwrap_or("");
    let holds = |price: &&Price| {
        price.token_kind == kind
            && *price.meter == *event.meter
            && event.provider.as_ref().is_none_or(|provider| *price.provider == **provider)
            && (price.model.is_empty() || glob(&price.model, model))
            && price.region.as_ref().is_none_or(|region| event.region.as_ref() == Some(region))
            && price.effective_from <= event.event_time
            && price.effective_to.is_none_or(|to| event.event_time < to)
    };
    book.prices.iter().filter(holds).max_by_key(|price| {
        (!price.model.contains('*') && !price.model.is_empty(), price.model.len(), price.region.is_some(), price.effective_from)
    })
}
