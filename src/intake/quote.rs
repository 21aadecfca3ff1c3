//! What a usage would cost, part by part, with the prices that say so: for people; `price` says the same to the stream.

use std::collections::BTreeMap;

use super::price::{Counted, times};
use super::rules::{PriceBook, PriceQuery, TokenKind};
use crate::model::money::{Currency, Nanos};
use crate::model::price::Found;
use crate::model::time::Timestamp;
use crate::model::usage::Tokens;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub provider: &'a str,
    pub meter: &'a str,
    pub model: &'a str,
    pub region: &'a str,
    pub account: &'a str,
    pub team: &'a str,
    pub at: Timestamp,
    pub is_batch: bool,
    /// No token in two of the counts.
    pub tokens: Tokens,
    /// That the tokens are spread over evenly; at least 1.
    pub requests: u64,
    pub quantity: Nanos,
}

impl Asked<'_> {
    /// Of one request.
    pub fn prompt_tokens(&self) -> u64 {
        let Tokens { input, cached_input, cache_write, .. } = self.tokens;
        input.saturating_add(cached_input).saturating_add(cache_write) / self.requests.max(1)
    }
}

/// One price and what it comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Part<'b> {
    /// Kind of token, else the meter.
    pub what: String,
    pub count: Nanos,
    pub found: Found<'b>,
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
    let Asked { provider, meter, model, region, at, is_batch, tokens, quantity, .. } = *asked;
    let (terms, prompt_tokens) = (book.terms(asked.account, asked.team), asked.prompt_tokens());
    let find =
        |token_kind| book.find(&PriceQuery { provider, meter, model, region, terms: &terms, token_kind, at, prompt_tokens, is_batch });
    let mut quote = Quote::default();
    let mut add = |what: &str, count: Nanos, found: Option<Found<'b>>| {
        let cost = found.and_then(|found| times(found.rate(is_batch), count.0, 1_000_000_000));
        let Some((found, cost)) = found.zip(cost) else { return quote.missing.push(what.to_owned()) };
        let total = quote.totals.entry(found.price.currency).or_default();
        *total = total.saturating_add(cost);
        quote.parts.push(Part { what: what.to_owned(), count, found, cost });
    };
    if Counted::by(meter) != Counted::Tokens {
        if quantity > Nanos::ZERO {
            add(meter, quantity, find(None));
        }
        return quote;
    }
    // As `price_of_tokens`: one event has one currency, and what has another one counts as what it can stand in for.
    let mut currency = None;
    let Tokens { input, output, cached_input, cache_write, reasoning } = tokens;
    for (kind, count) in TokenKind::ALL.into_iter().zip([input, output, cached_input, cache_write, reasoning]) {
        if count > 0 {
            let found = find(Some(kind)).or_else(|| find(Some(kind.instead()?)));
            let is_other = |found: &Found<'_>| currency.is_some_and(|known| known != found.price.currency);
            let found = if found.as_ref().is_some_and(is_other) {
                kind.instead().and_then(|kind| find(Some(kind))).filter(|found| !is_other(found))
            } else {
                found
            };
            currency = currency.or(found.as_ref().map(|found| found.price.currency));
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            add(kind.as_str(), Nanos::from_units(count), found);
        }
    }
    quote
}

#[cfg(test)]
mod tests {
    use super::super::price::price;
    use super::super::rules::{Agreement, Discount, IntakeRules, Price};
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
            prompt_above: 0,
            agreement: None,
        }
    }

    fn asked(tokens: Tokens, quantity: Nanos, meter: &str) -> Asked<'_> {
        let at = Timestamp::parse("2026-03-01T10:00:00Z").unwrap();
        Asked { provider: "p", meter, model: "m1", region: "", account: "a", team: "t", at, is_batch: false, tokens, requests: 1, quantity }
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
            listed(None, "request", 27_300_000, 0),
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
        let requests = quote(&rules.prices, &asked(Tokens::default(), Nanos::from_units(5_000), "request"));
        assert_eq!(requests.totals, [(Currency::USD, Nanos(136_500_000))].into());
        event(r#""provider":"p","model":"m1","meter":"request","quantity":5000"#, |event| {
            assert_eq!(requests.totals, [(Currency::USD, price(event, &rules).cost)].into());
        });
    }

    /// Steps by the size of a prompt, a rate of an account's own, a discount, a batch: whatever is asked for, the stream counts the same.
    #[test]
    fn a_quote_by_steps_and_agreements_is_what_intake_would_count() {
        let step = |amount, prompt_above| Price { prompt_above, ..listed(Some(TokenKind::Input), "llm.tokens", amount, 0) };
        let own = Price { agreement: Some(1), ..listed(Some(TokenKind::Output), "llm.tokens", 7_000_000, 0) };
        let mut prices = vec![step(2_500_000, 0), step(5_000_001, 1_000), step(8_000_000, 9_000), own];
        prices.push(Price { batch: Some(Nanos(5_000_000)), ..listed(Some(TokenKind::Output), "llm.tokens", 10_000_001, 0) });
        let agreement = |accounts: &[&str], teams: &[&str]| Agreement {
            name: "x".into(),
            accounts: accounts.iter().map(|name| (*name).into()).collect(),
            teams: teams.iter().map(|name| (*name).into()).collect(),
        };
        let discount = |agreement, part| Discount {
            agreement,
            provider: "p".into(),
            model: "m*".into(),
            meter: None,
            region: None,
            part: Nanos(part),
            effective_from: Timestamp(0),
            effective_to: None,
        };
        let agreements = vec![agreement(&["acme-*"], &[]), agreement(&["acme-1"], &["search"])];
        let discounts = vec![discount(1, 120_000_000), discount(0, 333_333_333)];
        let book = PriceBook::with_agreements(prices, agreements, discounts);
        let rules = IntakeRules { prices: book, ..rules() };
        let costs = |account: &str, team: &str, input: u64, requests: u64, is_batch: bool| {
            let tokens = Tokens { input, output: 1_000, ..Tokens::default() };
            let told = quote(&rules.prices, &Asked { account, team, requests, is_batch, ..asked(tokens, Nanos::ZERO, "llm.tokens") });
            let tier = if is_batch { r#""tags":{"service_tier":"batch"},"# } else { "" };
            let fields = format!(
                r#"{tier}"provider":"p","model":"m1","account":"{account}","team":"{team}","input_tokens":{input},"output_tokens":1000,"requests":{requests}"#
            );
            event(&fields, |event| assert_eq!(told.totals, [(Currency::USD, price(event, &rules).cost)].into(), "{fields}"));
            told.parts.iter().map(|part| part.cost.0).collect::<Vec<_>>()
        };
        assert_eq!(costs("", "", 1_000, 1, false), [2_500_000, 10_000_001]);
        assert_eq!(costs("", "", 1_001, 1, false), [5_005_001, 10_000_001]);
        assert_eq!(costs("", "", 9_001, 1, false), [72_008_000, 10_000_001]);
        assert_eq!(costs("", "", 9_001, 10, false), [22_502_500, 10_000_001], "ten short ones");
        // A third off, and of the longer prompts' price, too; the first agreement goes before the second.
        assert_eq!(costs("acme-1", "", 1_000, 1, false), [1_666_667, 6_666_667]);
        assert_eq!(costs("acme-1", "search", 2_000, 1, false), [6_666_668, 6_666_667]);
        assert_eq!(costs("acme-1", "search", 1_000, 1, true), [1_666_667, 3_333_333]);
        // Nobody's agreement.
        assert_eq!(costs("other", "search", 1_000, 1, false), [2_500_000, 10_000_001]);
    }

    /// An agreement in a currency of its own that names two kinds of token: the cached ones count as input there, and a kind that nothing
    /// stands in for has no price, in the quote as in the stream.
    #[test]
    fn an_event_is_never_priced_in_two_currencies() {
        let euros = |kind, amount| {
            let eur = Currency::parse("EUR").unwrap();
            Price { agreement: Some(0), currency: eur, ..listed(Some(kind), "llm.tokens", amount, 0) }
        };
        let list = [TokenKind::Input, TokenKind::Output, TokenKind::CachedInput].map(|kind| listed(Some(kind), "llm.tokens", 1_000, 0));
        let anyone = Agreement { name: "x".into(), accounts: Vec::new(), teams: Vec::new() };
        for (own, tokens, is_priced) in [
            (vec![euros(TokenKind::Input, 9_000), euros(TokenKind::Output, 7_000)], [10, 20, 30], true),
            (vec![euros(TokenKind::Input, 9_000)], [10, 20, 30], false),
        ] {
            let prices = list.iter().cloned().chain(own).collect();
            let rules = IntakeRules { prices: PriceBook::with_agreements(prices, vec![anyone.clone()], Vec::new()), ..rules() };
            let [input, cached_input, output] = tokens;
            let told = quote(&rules.prices, &asked(Tokens { input, cached_input, output, ..Tokens::default() }, Nanos::ZERO, "llm.tokens"));
            let fields = format!(
                r#""provider":"p","model":"m1","account":"a","team":"t","input_tokens":{},"cached_input_tokens":{cached_input},"output_tokens":{output}"#,
                input + cached_input
            );
            event(&fields, |event| {
                let counted = price(event, &rules);
                assert_eq!((counted.unpriced, told.missing.is_empty(), told.totals.len()), (!is_priced, is_priced, 1));
                assert!(!is_priced || told.totals.get(&counted.currency) == Some(&counted.cost), "{:?} {:?}", told.totals, counted.cost);
            });
        }
    }

    /// A later price without steps ends the steps of the earlier one; a discount of a region goes before one of all.
    #[test]
    fn the_latest_price_and_the_nearest_discount_hold() {
        let step = Price { prompt_above: 1_000, ..listed(Some(TokenKind::Input), "llm.tokens", 8_000_000, 0) };
        let prices = vec![
            listed(Some(TokenKind::Input), "llm.tokens", 2_000_000, 0),
            step,
            listed(Some(TokenKind::Input), "llm.tokens", 3_000_000, NOW.0 - 1),
        ];
        let discount = |region: Option<&str>, part| Discount {
            agreement: 0,
            provider: "p".into(),
            model: "".into(),
            meter: None,
            region: region.map(Into::into),
            part: Nanos(part),
            effective_from: Timestamp(0),
            effective_to: None,
        };
        let anyone = Agreement { name: "x".into(), accounts: Vec::new(), teams: Vec::new() };
        let book = PriceBook::with_agreements(prices, vec![anyone], vec![discount(None, 100_000_000), discount(Some("eu"), 200_000_000)]);
        let cost = |at, region| {
            let tokens = Tokens { input: 2_000, ..Tokens::default() };
            quote(&book, &Asked { at, region, ..asked(tokens, Nanos::ZERO, "llm.tokens") }).totals[&Currency::USD].0
        };
        assert_eq!((cost(Timestamp(NOW.0 - 2), ""), cost(NOW, ""), cost(NOW, "eu")), (14_400_000, 5_400_000, 4_800_000));
    }

    #[test]
    fn what_has_no_price_is_named() {
        let book = PriceBook::new(vec![listed(Some(TokenKind::Input), "llm.tokens", 2_500_000, 0)]);
        let told = quote(&book, &asked(Tokens { input: 1_000, output: 1, ..Tokens::default() }, Nanos::ZERO, "llm.tokens"));
        assert_eq!((told.missing, told.totals[&Currency::USD]), (vec!["output".to_owned()], Nanos(2_500_000)));
        assert_eq!(quote(&book, &asked(Tokens::default(), Nanos(1), "gpu.seconds")).missing, ["gpu.seconds"]);
    }
}
