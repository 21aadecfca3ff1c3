//! What a usage would cost, part by part, with the prices that say so: for people; `price` says the same to the stream.

use std::collections::BTreeMap;

use super::price::{Counted, times};
use super::rules::{Price, PriceBook, PriceQuery, TokenKind};
use crate::model::money::{Currency, Nanos};
use crate::model::time::Timestamp;
use crate::model::usage::Tokens;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub provider: &'a str,
    pub meter: &'a str,
    pub model: &'a str,
    pub region: &'a str,
    pub at: Timestamp,
    pub is_batch: bool,
    /// No token in two of the counts.
    pub tokens: Tokens,
    pub quantity: Nanos,
}

/// One price and what it comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Part<'b> {
    /// Kind of token, else the meter.
    pub what: String,
    pub count: Nanos,
    pub price: &'b Price,
    pub cost: Nanos,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Quote<'b> {
    pub parts: Vec<Part<'b>>,
    /// Kinds of token, or the meter, without a price.
    pub missing: Vec<String>,
    pub totals: BTreeMap<Currency, Nanos>,
}

pub fn quote<'b>(book: &'b PriceBook, asked: &Asked<'_>) -> Quote<'b> {
    let Asked { provider, meter, model, region, at, is_batch, tokens, quantity } = *asked;
    let find = |token_kind| book.find(&PriceQuery { provider, meter, model, region, token_kind, at, is_batch });
    let mut quote = Quote::default();
    let mut add = |what: &str, count: Nanos, price: Option<&'b Price>| {
        let cost = price.and_then(|price| times(price.rate(is_batch), count.0, 1_000_000_000));
        let Some((price, cost)) = price.zip(cost) else { return quote.missing.push(what.to_owned()) };
        let total = quote.totals.entry(price.currency).or_default();
        *total = total.saturating_add(cost);
        quote.parts.push(Part { what: what.to_owned(), count, price, cost });
    };
    if Counted::by(meter) != Counted::Tokens {
        if quantity > Nanos::ZERO {
            add(meter, quantity, find(None));
        }
        return quote;
    }
    let Tokens { input, output, cached_input, cache_write, reasoning } = tokens;
    for (kind, count) in TokenKind::ALL.into_iter().zip([input, output, cached_input, cache_write, reasoning]) {
        if count > 0 {
            let price = find(Some(kind)).or_else(|| find(Some(kind.instead()?)));
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            add(kind.as_str(), Nanos::from_units(count), price);
        }
    }
    quote
}

#[cfg(test)]
mod tests {
    use super::super::price::price;
    use super::super::rules::IntakeRules;
    use super::super::tests::{NOW, event, rules};
    use super::*;

    fn listed(kind: Option<TokenKind>, meter: &str, amount: i128, from: i64) -> Price {
        Price {
            provider: "p".into(),
            model: "m*".into(),
            meter: meter.into(),
            token_kind: kind,
            region: None,
            amount: Nanos(amount),
            per: 1_000,
            currency: Currency::USD,
            effective_from: Timestamp(from),
            effective_to: None,
            batch: None,
            family: None,
        }
    }

    fn asked(tokens: Tokens, quantity: Nanos, meter: &str) -> Asked<'_> {
        let at = Timestamp::parse("2026-03-01T10:00:00Z").unwrap();
        Asked { provider: "p", meter, model: "m1", region: "", at, is_batch: false, tokens, quantity }
    }

    /// The stream's price of the same usage is the measure.
    #[test]
    fn a_quote_is_what_intake_would_count() {
        let prices = vec![
            listed(Some(TokenKind::Input), "llm.tokens", 2_500_000, 0),
            listed(Some(TokenKind::Input), "llm.tokens", 9_999_999, NOW.0 + 1),
            listed(Some(TokenKind::Output), "llm.tokens", 10_000_001, 0),
            listed(Some(TokenKind::CachedInput), "llm.tokens", 333_333, 0),
            listed(None, "gpu.seconds", 27_300_000, 0),
        ];
        let rules = IntakeRules { prices: PriceBook::new(prices), ..rules() };
        let tokens = Tokens { input: 70, output: 19, cached_input: 30, cache_write: 7, reasoning: 4 };
        let told = quote(&rules.prices, &asked(tokens, Nanos::ZERO, "llm.tokens"));
        let fields = r#""provider":"p","model":"m1","input_tokens":107,"cached_input_tokens":30,"cache_write_tokens":7,"output_tokens":23,"reasoning_tokens":4"#;
        event(fields, |event| assert_eq!(told.totals, [(Currency::USD, price(event, &rules).cost)].into()));
        assert_eq!((told.parts.len(), told.missing.len()), (5, 0));
        let seconds = quote(&rules.prices, &asked(Tokens::default(), Nanos(3_600_500_000_000), "gpu.seconds"));
        event(r#""provider":"p","model":"m1","meter":"gpu.seconds","quantity":3600.5"#, |event| {
            assert_eq!(seconds.totals, [(Currency::USD, price(event, &rules).cost)].into());
        });
    }

    #[test]
    fn what_has_no_price_is_named() {
        let book = PriceBook::new(vec![listed(Some(TokenKind::Input), "llm.tokens", 2_500_000, 0)]);
        let told = quote(&book, &asked(Tokens { input: 1_000, output: 1, ..Tokens::default() }, Nanos::ZERO, "llm.tokens"));
        assert_eq!((told.missing, told.totals[&Currency::USD]), (vec!["output".to_owned()], Nanos(2_500_000)));
        assert_eq!(quote(&book, &asked(Tokens::default(), Nanos(1), "gpu.seconds")).missing, ["gpu.seconds"]);
    }
}
