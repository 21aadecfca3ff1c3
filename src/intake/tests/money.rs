//! Prices and sums, by tables.

use super::*;
use crate::intake::price::{Priced, price};
use crate::intake::rules::{Price, SourceRule, TokenKind};
use crate::model::hash::shard_of;
use crate::model::money::Nanos;
use crate::model::partial::{Partial, USERS_PER_PARTIAL};
use crate::model::usage::Tokens;

fn amount(text: &str) -> Nanos {
    text.parse().unwrap()
}

/// USD per million tokens of openai.
fn tokens(model: &str, kind: TokenKind, text: &str) -> Price {
    Price {
        provider: "openai".into(),
        model: model.into(),
        meter: "llm.tokens".into(),
        token_kind: Some(kind),
        region: None,
        amount: amount(text),
        per: 1_000_000,
        currency: Currency::USD,
        effective_from: Timestamp(0),
        effective_to: None,
        batch: None,
        family: None,
        prompt_above: 0,
        agreement: None,
    }
}

fn meter(meter: &str, model: &str, text: &str) -> Price {
    Price { provider: "aws".into(), meter: meter.into(), token_kind: None, per: 1, ..tokens(model, TokenKind::Input, text) }
}

fn priced(fields: &str, rules: &IntakeRules, check: impl Fn(Priced)) {
    event(fields, |event| check(price(event, rules)));
}

fn with(prices: Vec<Price>) -> IntakeRules {
    IntakeRules { prices: PriceBook::new(prices), ..rules() }
}

#[test]
fn the_most_specific_price_that_is_in_force_holds() {
    use TokenKind::Input;
    let at = |text: &str| Timestamp::parse(text).unwrap();
    let eur = Currency::parse("EUR").unwrap();
    let mut prices = vec![
        tokens("", Input, "1"),
        tokens("*", Input, "2"),
        tokens("gpt-*", Input, "3"),
        tokens("gpt-4*", Input, "4"),
        tokens("gpt-4o", Input, "5"),
        Price { region: Some("eu".into()), ..tokens("gpt-4o", Input, "6") },
        Price { region: Some("eu".into()), ..tokens("gpt-4*", Input, "7") },
        Price { effective_from: at("2026-02-01T00:00:00Z"), ..tokens("gpt-4o", Input, "8") },
        Price { effective_from: at("2026-03-01T10:00:00.001Z"), ..tokens("gpt-4o", Input, "9") },
        Price {
            effective_from: at("2026-02-02T00:00:00Z"),
            effective_to: Some(at("2026-03-01T10:00:00Z")),
            ..tokens("gpt-4o", Input, "10")
        },
        Price { provider: "azure".into(), currency: eur, ..tokens("gpt-4o", Input, "11") },
    ];
    let cases = [
        (r#""model":"gpt-4o""#, "8"),
        (r#""model":"gpt-4o","region":"eu""#, "6"),
        (r#""model":"gpt-4o","region":"us""#, "8"),
        (r#""model":"gpt-4.1","region":"eu""#, "7"),
        (r#""model":"gpt-4.1""#, "4"),
        (r#""model":"gpt-5""#, "3"),
        (r#""model":"o3""#, "2"),
        (r#""project":"no-model""#, "2"),
    ];
    for turn in 0..prices.len() {
        prices.rotate_left(turn);
        let rules = with(prices.clone());
        for (fields, expected) in cases {
            let fields = format!(r#""provider":"openai","input_tokens":1000000,{fields}"#);
            priced(&fields, &rules, |priced| assert_eq!((priced.cost, priced.unpriced), (amount(expected), false), "{fields}"));
        }
        let azure = r#""provider":"azure","model":"gpt-4o","input_tokens":1"#;
        priced(azure, &rules, |priced| assert_eq!((priced.cost, priced.currency), (Nanos(11_000), eur)));
        priced(r#""model":"gpt-4o","input_tokens":1"#, &rules, |priced| assert!(priced.unpriced));
    }
}

#[test]
fn an_answer_that_may_wait_costs_what_a_batch_costs() {
    let half = |kind, amount: &str, batch: &str| Price { batch: Some(batch.parse().unwrap()), ..tokens("m", kind, amount) };
    let rules = with(vec![half(TokenKind::Input, "10", "5"), tokens("m", TokenKind::Output, "100")]);
    let usage = r#""provider":"openai","model":"m","input_tokens":1000,"output_tokens":10"#;
    for (tags, micros) in [
        ("", 1_000 * 10 + 10 * 100),
        (r#","tags":{"service_tier":"default"}"#, 1_000 * 10 + 10 * 100),
        // Output has no price of its own there.
        (r#","tags":{"service_tier":"batch"}"#, 1_000 * 5 + 10 * 100),
        // What the source says is what it costs.
        (r#","tags":{"service_tier":"batch"},"cost":"7""#, 7_000_000),
    ] {
        priced(&format!("{usage}{tags}"), &rules, |priced| assert_eq!(priced.cost, Nanos(micros * 1_000), "{tags}"));
    }
}

#[test]
fn each_token_is_paid_once() {
    use TokenKind::{CacheWrite, CachedInput, Input, Output, Reasoning};
    let base = vec![tokens("m", Input, "10"), tokens("m", Output, "100")];
    let all = [base.clone(), vec![tokens("m", CachedInput, "1"), tokens("m", CacheWrite, "20"), tokens("m", Reasoning, "200")]].concat();
    let apart = SourceRule {
        source: "gateway/*".into(),
        input_includes_cached: false,
        input_includes_cache_write: false,
        output_includes_reasoning: false,
    };
    let elsewhere = SourceRule { source: "other".into(), ..apart.clone() };
    let included = Tokens { input: 1_000, output: 500, cached_input: 400, cache_write: 100, reasoning: 200 };
    // (prices, source rules, cost in micros, tokens of the partial)
    let cases = [
        (&all, vec![], 500 * 10 + 400 + 100 * 20 + 300 * 100 + 200 * 200, included),
        (&all, vec![elsewhere], 500 * 10 + 400 + 100 * 20 + 300 * 100 + 200 * 200, included),
        (&base, vec![], 1_000 * 10 + 500 * 100, included),
        (&all, vec![apart.clone()], 1_000 * 10 + 400 + 100 * 20 + 500 * 100 + 200 * 200, Tokens { input: 1_500, output: 700, ..included }),
        (&base, vec![apart], 1_500 * 10 + 700 * 100, Tokens { input: 1_500, output: 700, ..included }),
    ];
    let usage = r#""provider":"openai","model":"m","input_tokens":1000,"output_tokens":500,"cached_input_tokens":400,"cache_write_tokens":100,"reasoning_tokens":200"#;
    for (prices, sources, micros, tokens) in cases {
        let rules = IntakeRules { sources, ..with(prices.clone()) };
        priced(usage, &rules, |priced| {
            assert_eq!(
                priced,
                Priced {
                    cost: Nanos(micros * 1_000),
                    currency: Currency::USD,
                    unpriced: false,
                    tokens,
                    requests: 1,
                    inconsistent: false,
                    original: None,
                    unconverted: false
                }
            );
        });
    }
    let rules = with(all);
    let broken = r#""provider":"openai","model":"m","input_tokens":10,"cached_input_tokens":400"#;
    priced(broken, &rules, |priced| assert_eq!((priced.cost, priced.inconsistent, priced.unpriced), (Nanos(400_000), true, false)));
}

#[test]
fn what_nobody_can_price_costs_nothing_and_is_counted() {
    use TokenKind::{Input, Output};
    let eur = Currency::parse("EUR").unwrap();
    let rules = with(vec![
        tokens("m", Input, "1"),
        tokens("mixed", Input, "1"),
        Price { currency: eur, ..tokens("mixed", Output, "1") },
        Price { currency: eur, ..tokens("euro", Input, "1") },
        Price { per: 1, ..tokens("dear", Input, "1e18") },
        meter("gpu.seconds", "h100", "0.001"),
        meter("request", "", "0.5"),
    ]);
    // (fields, cost, currency, unpriced)
    let usd = Currency::USD;
    let cases = [
        (r#""provider":"openai","model":"m","input_tokens":1,"output_tokens":1"#, "0", usd, true),
        (r#""provider":"openai","model":"m","input_tokens":3"#, "0.000003", usd, false),
        (r#""provider":"openai","model":"mixed","input_tokens":1,"output_tokens":1"#, "0", usd, true),
        (r#""provider":"openai","model":"mixed","output_tokens":1"#, "0.000001", eur, false),
        (r#""provider":"openai","model":"dear","input_tokens":2"#, "0", usd, true),
        (r#""provider":"openai","model":"euro","input_tokens":0"#, "0", eur, false),
        (r#""provider":"openai","model":"m","meter":"llm.tokens","quantity":7"#, "0", usd, true),
        (r#""provider":"openai","model":"m","input_tokens":5,"cost":"0.2","currency":"EUR""#, "0.2", eur, false),
        (r#""model":"nobody","cost":"-3""#, "-3", usd, false),
        (r#""model":"nobody","cost":"0""#, "0", usd, false),
        (r#""provider":"aws","meter":"gpu.seconds","model":"h100","quantity":28800.5"#, "28.8005", usd, false),
        (r#""provider":"aws","meter":"gpu.seconds","model":"h100""#, "0", usd, true),
        (r#""provider":"aws","meter":"gpu.seconds","model":"a100","quantity":1,"currency":"EUR""#, "0", eur, true),
        (r#""provider":"aws","meter":"request","requests":3"#, "1.5", usd, false),
        (r#""provider":"aws","meter":"request","quantity":5000"#, "2500", usd, false),
        (r#""provider":"aws","meter":"request","quantity":2.5"#, "1.25", usd, false),
        (r#""provider":"aws","meter":"request","quantity":0"#, "0.5", usd, false),
        (r#""provider":"aws","meter":"request","quantity":5000,"requests":3"#, "1.5", usd, false),
        (r#""provider":"aws","quantity":3"#, "0", usd, true),
    ];
    for (fields, cost, currency, unpriced) in cases {
        let expected = (amount(cost), currency, unpriced);
        priced(fields, &rules, |priced| assert_eq!((priced.cost, priced.currency, priced.unpriced), expected, "{fields}"));
    }
}

/// Requests as a quantity, as a count, or one that says nothing: also the second of a kind, which is read quickly.
#[test]
fn a_quantity_of_requests_is_that_many() {
    let each = [r#","quantity":5000"#, r#","quantity":5000"#, r#","requests":3"#, r#","quantity":0.5"#, ""];
    let partials = combined(&each.map(|fields| format!(r#""meter":"request"{fields}"#)));
    let sums: Vec<(u64, Nanos)> = partials.iter().map(|partial| (partial.requests, partial.quantity)).collect();
    assert_eq!(sums, [(10_005, amount("10000.5"))]);
    // Requests of another meter are beside what it counts.
    let seconds = combined(&[r#""meter":"gpu.seconds","quantity":5000"#.to_owned()]);
    assert_eq!((seconds[0].requests, seconds[0].quantity), (1, amount("5000")));
}

/// Of what is counted, so much has failed: what used or cost nothing. The second of a kind is read quickly.
#[test]
fn what_has_failed_is_counted_apart_too() {
    let failed = |fields: &str| {
        let partials = combined(&[fields.to_owned(), fields.to_owned()]);
        let [partial] = partials.as_slice() else { panic!("{fields}: {partials:?}") };
        assert_eq!(partial.events, 2, "{fields}");
        (partial.failed.events, partial.failed.requests, partial.failed.unpriced_events)
    };
    let tokens = r#""meter":"llm.tokens","requests":200"#;
    assert_eq!(failed(&format!(r#"{tokens},"status":"rate_limit_exceeded""#)), (2, 400, 0));
    assert_eq!(failed(&format!(r#"{tokens},"status":429,"input_tokens":0"#)), (2, 400, 0));
    assert_eq!(failed(r#""meter":"request","status":"timeout""#), (2, 2, 2));
    // The source says that it cost nothing.
    assert_eq!(failed(&format!(r#"{tokens},"status":"error","input_tokens":7,"cost":"0""#)), (2, 400, 0));
    for fields in [
        r#""status":"error","input_tokens":7"#,
        r#""status":"error","cost":"0.1""#,
        r#""status":"ok""#,
        r#""status":null"#,
        r#""status":["error"]"#,
        r#""requests":200"#,
    ] {
        assert_eq!(failed(&format!(r#""meter":"llm.tokens",{fields}"#)), (0, 0, 0), "{fields}");
    }
    assert_eq!(failed(r#""meter":"gpu.seconds","quantity":5,"status":"error""#), (0, 0, 0));
}

fn combined(events: &[String]) -> Vec<Partial> {
    let (rules, schemas, mut partition, mut batch) = (rules(), SchemaTable::default(), partition(), Batch::default());
    for (offset, fields) in (0..).zip(events) {
        let text = json(fields).replacen("\"e\"", &format!("\"{offset}\""), 1);
        let record = InputRecord { offset, timestamp: NOW.minus_ms(offset), ..record(Some(text.as_bytes())) };
        assert_eq!(process(&record, NOW, &rules, &schemas, &mut partition, &mut batch), Outcome::Combined, "{text}");
    }
    let shards = batch.drain_into_shards(3);
    for (shard, partials) in &shards {
        assert!(partials.iter().all(|partial| shard_of(&partial.leaf.team, 3) == *shard));
        assert!(partials.is_sorted_by_key(|partial| (partial.minute, partial.leaf.clone())));
    }
    assert!(batch.drain_into_shards(3).is_empty());
    shards.into_values().flatten().collect()
}

#[test]
fn a_partial_keeps_the_users_who_cost_most() {
    let mut events: Vec<String> = (0..200).map(|n| format!(r#""team":"t","user":"u{n:03}","cost":"{}""#, n % 100)).collect();
    events.push(r#""team":"t","user":"late","cost":"1000""#.to_owned());
    events.push(r#""team":"t","user":"refund","cost":"-5""#.to_owned());
    events.push(r#""team":"t","cost":"1""#.to_owned());
    let partials = combined(&events);
    assert_eq!(partials.len(), 1);
    let partial = &partials[0];
    assert_eq!((partial.events, partial.has_negative, partial.cost), (203, true, amount("10896")));
    assert_eq!((partial.last_event_time, partial.last_ingest_time), (Timestamp(NOW.0 - 300_000), NOW));
    assert_eq!(partial.users.len(), USERS_PER_PARTIAL);
    let first: Vec<(&str, Nanos)> = partial.users.iter().take(4).map(|user| (user.user.as_ref(), user.cost)).collect();
    assert_eq!(first, [("late", amount("1000")), ("u099", amount("99")), ("u199", amount("99")), ("u098", amount("98"))]);
    events.reverse();
    assert_eq!(combined(&events)[0].users, partial.users);
}

#[test]
fn a_sum_that_is_full_goes_on_in_a_second_one() {
    let events: Vec<String> = (0..30).map(|_| r#""team":"t","input_tokens":1000000000000000000"#.to_owned()).collect();
    let partials = combined(&events);
    assert_eq!(partials.iter().map(|partial| partial.events).collect::<Vec<_>>(), [9, 9, 9, 3]);
    let total: u128 = partials.iter().map(|partial| u128::from(partial.tokens_input)).sum();
    assert_eq!(total, 30_000_000_000_000_000_000);
    let refunds = ["1e18", "1e18", "-1e18", "5"].map(|cost| format!(r#""team":"t","cost":"{cost}""#));
    let costs: Vec<String> = combined(&refunds).iter().map(|partial| partial.cost.to_string()).collect();
    assert_eq!(costs, ["1000000000000000000", "5"]);
}

#[test]
fn a_leaf_is_all_of_its_dimensions_and_a_minute() {
    let events = [
        r#""team":"a""#,
        r#""team":"b""#,
        r#""team":"a","project":"x""#,
        r#""team":"a","model":"x""#,
        r#""team":"a","provider":"x""#,
        r#""team":"a","region":"x""#,
        r#""team":"a","environment":"x""#,
        r#""team":"a","meter":"x""#,
        r#""team":"a","currency":"EUR""#,
        r#""team":"a","user":"x""#,
    ];
    assert_eq!(combined(&events.map(str::to_owned)).len(), 9);
}
