//! From usage to advice: what is bought too dear is noted, told after the grace, and taken back; its innocent twins are never told.

use std::collections::BTreeMap;

use super::*;
use crate::model::alert::Alert;
use crate::model::money::Currency;
use crate::model::partial::{Marker, Partial, ShardRecord, Source};
use crate::model::price::{Price, PriceBook, TokenKind};
use crate::model::time::{DAY_MS, MINUTE_MS, Minute};
use crate::watch::Restorer;
use crate::watch::matters::rules::{BatchRules, CachingRules, CheaperModelRules, MatterRules};
use crate::watch::tests::{START, partial, rules};

/// US dollars per million tokens.
fn prices() -> PriceBook {
    let price = |model: &str, family: &str, kind, amount: &str, has_batch: bool| {
        let amount: Nanos = amount.parse().unwrap();
        Price {
            provider: "openai".into(),
            model: model.into(),
            meter: LLM_TOKENS.into(),
            token_kind: Some(kind),
            region: None,
            amount,
            per: 1_000_000,
            currency: Currency::USD,
            effective_from: Timestamp(0),
            effective_to: None,
            batch: has_batch.then_some(Nanos(amount.0 / 2)),
            family: Some(family.into()),
            prompt_above: 0,
            agreement: None,
        }
    };
    PriceBook::new(vec![
        price("big", "f", TokenKind::Input, "2.50", true),
        price("big", "f", TokenKind::CachedInput, "1.25", true),
        price("big", "f", TokenKind::Output, "10", true),
        price("small", "f", TokenKind::Input, "0.15", true),
        price("small", "f", TokenKind::Output, "0.60", true),
        price("middle", "f", TokenKind::Input, "1.00", true),
        price("middle", "f", TokenKind::Output, "4.00", true),
        // Nearly as dear, and of another kind.
        price("sibling", "f", TokenKind::Input, "2.00", false),
        price("sibling", "f", TokenKind::Output, "9", false),
        price("alone", "g", TokenKind::Input, "2.50", false),
        price("alone", "g", TokenKind::Output, "10", false),
    ])
}

fn watch_rules() -> WatchRules {
    let advice = AdviceRules {
        rates: crate::model::rates::Rates::default(),
        prices: prices(),
        least_per_month: Nanos::from_units(100),
        least_requests_per_day: 500,
        least_days: 3,
        grace_ms: 2 * DAY_MS,
        caching: CachingRules { least_input_per_request: 4096, repeated_per_mille: 500 },
        batch: BatchRules { names: vec!["nightly".into()], day_from: 6, day_to: 20, off_hours_per_mille: 900 },
        model: CheaperModelRules { most_input_per_request: 1000, most_output_per_request: 100, least_saving_per_mille: 500 },
    };
    WatchRules { matters: MatterRules { advice: Some(advice), ..MatterRules::default() }, ..rules() }
}

/// An hour's usage of one leaf, at its list price.
#[derive(Clone, Copy)]
struct Use {
    project: &'static str,
    model: &'static str,
    requests: u64,
    input: u64,
    output: u64,
    cached: u64,
    /// Of the list price, in parts of a hundred.
    paid: i128,
}

/// 24 hours of 1,000 requests, 5,000 tokens in and 1,000 out: 22.50 USD an hour.
const LONG: Use = Use { project: "long", model: "big", requests: 1000, input: 5000, output: 1000, cached: 0, paid: 100 };
/// 500 in, 50 out: 1.75 USD an hour, 0.70 with the middle one.
const SHORT: Use = Use { project: "short", model: "big", requests: 1000, input: 500, output: 50, cached: 0, paid: 100 };
/// 2,000 in, 1,000 out, two hours at night: 150 USD a night.
const NIGHT: Use = Use { project: "reports", model: "big", requests: 5000, input: 2000, output: 1000, cached: 0, paid: 100 };

impl Use {
    fn partial(&self, minute: Minute) -> Partial {
        let Use { requests, input, output, cached, .. } = *self;
        let base = partial(minute, "search", self.project, "ann", 0.0);
        let find = |kind| {
            let query = crate::model::price::PriceQuery {
                provider: "openai",
                meter: LLM_TOKENS,
                model: self.model,
                region: "",
                token_kind: Some(kind),
                at: minute.start(),
                ..Default::default()
            };
            prices().find(&query).map_or(0, |found| found.price.amount.0 / 1_000_000)
        };
        let list = i128::from(requests)
            * (i128::from(input - cached) * find(TokenKind::Input)
                + i128::from(cached) * find(TokenKind::CachedInput)
                + i128::from(output) * find(TokenKind::Output));
        Partial {
            leaf: crate::model::leaf::Leaf { model: self.model.into(), provider: "openai".into(), meter: LLM_TOKENS.into(), ..base.leaf },
            cost: Nanos(list * self.paid / 100),
            requests,
            events: requests,
            tokens_input: requests * input,
            tokens_output: requests * output,
            tokens_cached_input: requests * cached,
            users: Vec::new(),
            ..base
        }
    }
}

struct Bench {
    shard: Shard,
    rules: WatchRules,
    offset: i64,
    alerts: Vec<Alert>,
    /// Whether somebody of the team reads from a cache, once.
    reports_caching: bool,
}

/// Too little to be told of.
const CACHING: Use = Use { project: "other", model: "big", requests: 1, input: 5000, output: 10, cached: 1, paid: 100 };

impl Bench {
    fn new() -> Bench {
        let rules = watch_rules();
        Bench { shard: Shard::new(0, 1, &rules), rules, offset: 0, alerts: Vec::new(), reports_caching: true }
    }

    /// One record an hour; an hour closes with the next but one.
    fn hours(&mut self, hours: std::ops::Range<i64>, uses: impl Fn(i64) -> Vec<Use>) {
        for hour in hours {
            let minute = Minute(START.0 + hour * 60);
            let source = Source { topic: "usage-events".into(), partition: 0 };
            let marker = Marker { source, watermark: Some(minute.start()), idle: false, partitions_of_topic: 1 };
            let once = (self.reports_caching && hour == 0).then_some(CACHING);
            let partials = once.iter().chain(&uses(hour)).map(|used| used.partial(minute)).collect();
            let record = ShardRecord { partials, markers: vec![marker], events: Vec::new() };
            let effects = self.shard.apply_whole(&record, self.offset, minute.start().plus_ms(MINUTE_MS), &self.rules);
            self.offset += 1;
            self.alerts
                .extend(effects.into_iter().filter_map(|effect| if let Effect::Alert(alert) = effect { Some(*alert) } else { None }));
        }
    }

    fn told(&self) -> Vec<&Alert> {
        self.alerts.iter().filter(|alert| alert.kind.is_saving()).collect()
    }

    fn words(&self) -> Vec<String> {
        let project = |alert: &Alert| alert.dimensions.get("project").cloned().unwrap_or_default();
        self.told().iter().map(|alert| format!("{} {} {}", alert.state.as_str(), alert.kind.as_str(), project(alert))).collect()
    }
}

/// Of days: which hours of a day, and what in each.
fn daily(hour: i64, of: std::ops::Range<i64>, used: Use) -> Vec<Use> {
    if of.contains(&(hour % 24)) { vec![used] } else { Vec::new() }
}

#[test]
fn what_is_sent_without_a_cache_is_noted_told_and_taken_back_under_one_id() {
    let mut bench = Bench::new();
    bench.hours(0..24 * 8 + 3, |_| vec![LONG]);
    let told = bench.told();
    let first = told[0];
    assert_eq!((first.state, first.kind, first.severity), (AlertState::Open, AlertKind::NoPromptCaching, Severity::Info));
    assert_eq!(first.event_time.0 - START.start().0, 3 * DAY_MS, "after three days");
    // 5 million tokens an hour, half of them for 1.25 instead of 2.50 USD a million: 3.125 USD an hour, 2281.25 a month of 730 hours.
    assert_eq!(first.burn_rate_per_hour, "3.125".parse().unwrap());
    assert_eq!((first.actual, first.excess), ("1620".parse().unwrap(), "225".parse().unwrap()));
    assert_eq!(first.expected, first.actual.saturating_sub(first.excess));
    for part in [
        "search (long / big) caches no prompts",
        "5000 input tokens each, none of them reported as read from the cache",
        "if 50 % of the input repeats",
        "2281 USD a month",
        "low confidence: one sign",
    ] {
        assert!(first.summary.contains(part), "{part}: {}", first.summary);
    }
    let escalated = told.iter().find(|alert| alert.state == AlertState::Escalated).unwrap();
    assert_eq!((escalated.severity, escalated.event_time.0 - first.event_time.0), (Severity::Warning, 2 * DAY_MS));
    assert_eq!(bench.shard.open_alerts(), 1);
    // It caches now, and no longer.
    bench.hours(24 * 8 + 3..24 * 12, |_| vec![Use { cached: 4000, ..LONG }]);
    let last = bench.told().last().map(|alert| (*alert).clone()).unwrap();
    assert_eq!((last.state, last.burn_rate_per_hour), (AlertState::Resolved, Nanos::ZERO), "{:?}", bench.words());
    assert!(last.summary.contains("reads prompts from the cache by now"), "{}", last.summary);
    assert_eq!(bench.shard.open_alerts(), 0);
    bench.hours(24 * 12..24 * 17, |_| vec![LONG]);
    assert!(bench.told().iter().any(|alert| alert.state == AlertState::Reopened), "{:?}", bench.words());
    assert!(bench.told().iter().zip(1..).all(|(alert, revision)| alert.revision == revision && alert.id == last.id));
}

#[test]
fn a_dear_model_is_held_against_the_nearest_cheaper_one_of_its_family() {
    let mut bench = Bench::new();
    bench.hours(0..24 * 4 + 2, |_| vec![SHORT]);
    let alert = bench.told()[0].clone();
    assert_eq!((alert.kind, alert.severity, bench.told().len()), (AlertKind::DearModel, Severity::Info, 1), "{:?}", bench.words());
    // The middle one costs 0.70 of 1.75 USD an hour; the small one would save more, and is farther away.
    assert_eq!(alert.burn_rate_per_hour, "1.05".parse().unwrap());
    assert!(alert.summary.contains("the same with middle costs about 767 USD a month less"), "{}", alert.summary);
    assert!(alert.next_steps[0].contains("Try middle on a sample"), "{:?}", alert.next_steps);
}

#[test]
fn work_of_the_night_is_told_by_its_hours_or_its_name() {
    let mut bench = Bench::new();
    bench.hours(0..24 * 5, |hour| daily(hour, 1..3, NIGHT));
    let alert = bench.told()[0].clone();
    assert_eq!((alert.kind, alert.severity), (AlertKind::NoBatch, Severity::Info), "{:?}", bench.words());
    // 75 USD an hour, two hours a day, half of it to be saved: 75 a day, 2281.25 a month.
    assert!(alert.summary.contains("90 % or more of them at night; as batches they cost about 2281 USD a month less"), "{}", alert.summary);
    // By its name too: two signs.
    let mut bench = Bench::new();
    bench.hours(0..24 * 5, |hour| daily(hour, 1..3, Use { project: "nightly-reports", ..NIGHT }));
    let alert = bench.told()[0].clone();
    assert_eq!((alert.kind, alert.severity), (AlertKind::NoBatch, Severity::Warning), "{:?}", bench.words());
    assert!(alert.summary.contains("named 'nightly-reports', 90 % or more of them at night"), "{}", alert.summary);
}

#[test]
fn what_is_bought_well_or_cannot_be_judged_is_never_told() {
    let mut bench = Bench::new();
    let twins = |hour: i64| {
        let mut uses = vec![
            // Reads some of it from the cache; prompts too short to be worth it; a model without such a price.
            Use { project: "cached", cached: 10, ..LONG },
            Use { project: "medium", input: 2000, ..LONG },
            Use { project: "no-such-price", model: "alone", ..LONG },
            // Long answers; a model with nothing cheaper beside it; the cheap one itself; next to nothing to save.
            Use { project: "answers", output: 400, ..SHORT },
            Use { project: "lonely", model: "alone", ..SHORT },
            Use { project: "frugal", model: "small", ..SHORT },
            Use { project: "tiny", requests: 40, ..SHORT },
            // No price at all.
            Use { project: "unknown", model: "nobody", ..LONG },
        ];
        uses.extend(daily(hour, 9..17, Use { project: "office", ..NIGHT }));
        uses.extend(daily(hour, 0..24, Use { project: "around-the-clock", requests: 500, ..NIGHT }));
        // In batches already, by what it costs.
        uses.extend(daily(hour, 1..3, Use { project: "nightly-cheap", paid: 50, ..NIGHT }));
        uses
    };
    bench.hours(0..24 * 7, twins);
    // Two days of something are no habit.
    bench.hours(24 * 7..24 * 14, |hour| if hour < 24 * 9 { vec![Use { project: "trial", ..LONG }] } else { twins(hour) });
    assert_eq!(bench.words(), Vec::<String>::new());
}

#[test]
fn who_has_a_discount_saves_less_and_weekends_off_say_nothing() {
    let mut bench = Bench::new();
    // Days 3 and 4 are off.
    bench.hours(0..24 * 7, |hour| if (3..5).contains(&(hour / 24)) { Vec::new() } else { vec![Use { paid: 80, ..LONG }] });
    assert_eq!(bench.words(), ["open no_prompt_caching long", "escalated no_prompt_caching long"]);
    assert_eq!(bench.told()[0].burn_rate_per_hour, "2.5".parse().unwrap());
    // Not used any more: after a week it is over.
    bench.hours(24 * 7..24 * 16, |_| Vec::new());
    let last = bench.told().last().map(|alert| (*alert).clone()).unwrap();
    assert!(last.state == AlertState::Resolved && last.summary.contains("hardly used any more"), "{:?}", bench.words());
}

/// Five days a week it asks without a cache, on the other two with one.
#[test]
fn two_other_days_a_week_end_nothing_and_three_do() {
    let mut bench = Bench::new();
    let is_weekend = |hour: i64| (hour / 24) % 7 >= 5;
    bench.hours(0..24 * 21, |hour| vec![if is_weekend(hour) { Use { cached: 4000, ..LONG } } else { LONG }]);
    let caching = |bench: &Bench| -> Vec<AlertState> {
        bench.told().iter().filter(|alert| alert.kind == AlertKind::NoPromptCaching).map(|alert| alert.state).collect()
    };
    // Open after three days, told to people after the grace; nothing is taken back at a weekend.
    let states = caching(&bench);
    assert_eq!(states[..2], [AlertState::Open, AlertState::Escalated], "{:?}", bench.words());
    assert!(!states.contains(&AlertState::Resolved) && !states.contains(&AlertState::Reopened), "{:?}", bench.words());
    // Days with the sign count in full, the others not at all: 3.125 USD an hour.
    let last = bench.told().last().map(|alert| alert.excess).unwrap();
    assert_eq!(last.0 % "75".parse::<Nanos>().unwrap().0, 0, "whole days of 75 USD");
    // The last two days were other ones already; a third one makes it over.
    bench.hours(24 * 21..24 * 22 + 2, |_| vec![Use { cached: 4000, ..LONG }]);
    assert_eq!(caching(&bench).last(), Some(&AlertState::Resolved), "{:?}", bench.words());
    // What is not marked yet needs no other day but one: two and two days of it are no three.
    let mut bench = Bench::new();
    bench.hours(0..24 * 9, |hour| vec![if hour / 24 % 3 == 2 { Use { cached: 4000, ..LONG } } else { LONG }]);
    assert_eq!(caching(&bench), []);
}

/// A gateway that leaves the numbers of the cache out looks like one that never caches.
#[test]
fn what_nobody_reports_is_not_taken_for_none() {
    let mut bench = Bench { reports_caching: false, ..Bench::new() };
    bench.hours(0..24 * 6, |_| vec![LONG]);
    assert_eq!(bench.words(), Vec::<String>::new());
    // Another one of the same provider reports them from now on.
    bench.hours(24 * 6..24 * 10, |_| vec![LONG, CACHING]);
    assert_eq!(bench.words()[0], "open no_prompt_caching long");
}

#[test]
fn advice_that_nobody_wants_or_whose_leaf_has_gone_ends() {
    let mut bench = Bench::new();
    bench.hours(0..24 * 4, |_| vec![LONG]);
    assert_eq!(bench.shard.open_alerts(), 1);
    bench.rules.matters.advice = None;
    bench.hours(24 * 4..24 * 4 + 3, |_| vec![LONG]);
    let last = bench.told().last().map(|alert| (*alert).clone()).unwrap();
    assert_eq!((last.state, bench.shard.open_alerts()), (AlertState::Resolved, 0), "{:?}", bench.words());
    assert!(last.summary.contains("is not looked at any more: [advice] is off"), "{}", last.summary);
    // It is wanted again: under the same id.
    bench.rules.matters.advice = watch_rules().matters.advice;
    bench.hours(24 * 4 + 3..24 * 9, |_| vec![LONG]);
    assert!(bench.told().iter().zip(1..).all(|(alert, revision)| alert.revision == revision && alert.id == last.id));
    assert!(bench.words().contains(&"reopened no_prompt_caching long".to_string()), "{:?}", bench.words());

    let account = bench.told()[0].clone();
    let (hour, name) = (Hour(START.hour().0 + 24 * 50), bench.shard.matters.advice.keys().next().unwrap().clone());
    let (books, mut effects) = (Arc::clone(&bench.shard.books), Vec::new());
    let rules = bench.rules.clone();
    let mut matters = bench.shard.matters.clone();
    forget(&mut matters, &name.0, &name.1, hour, bench.shard.moment(&rules, &books), &mut effects);
    let [Effect::Alert(alert)] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!((alert.state, &alert.id, matters.open()), (AlertState::Resolved, &account.id, 0));
    assert!(alert.summary.contains("is not used any more") && matters.advice.is_empty(), "{}", alert.summary);
    // It comes back, and is advised anew: under another id, since revisions never go back.
    bench.shard.matters = matters;
    let known = bench.told().len();
    bench.hours(24 * 9..24 * 14, |_| vec![LONG]);
    let [first, ..] = &bench.told()[known..] else { panic!("{:?}", bench.words()) };
    assert_eq!((first.state, first.revision), (AlertState::Open, 1));
    assert!(bench.told()[..known].iter().all(|alert| alert.id != first.id));
}

/// Amounts of two currencies are never held against each other.
#[test]
fn prices_in_another_currency_are_as_good_as_none() {
    let rules = watch_rules().matters.advice.unwrap();
    let in_euro = |model: &'static str, kind: Option<TokenKind>| {
        let mut book = Vec::new();
        for query_model in ["big", "small", "middle"] {
            for token_kind in TokenKind::ALL {
                let query = crate::model::price::PriceQuery {
                    provider: "openai",
                    meter: LLM_TOKENS,
                    model: query_model,
                    region: "",
                    token_kind: Some(token_kind),
                    at: START.start(),
                    ..Default::default()
                };
                let Some(price) = prices().find(&query).map(|found| found.price.clone()) else { continue };
                let is_other = query_model == model && kind.is_none_or(|kind| kind == token_kind);
                book.push(Price { currency: if is_other { Currency::parse("EUR").unwrap() } else { Currency::USD }, ..price });
            }
        }
        AdviceRules { prices: PriceBook::new(book), ..rules.clone() }
    };
    let hour = START.hour();
    let sign = |advised, used: Use, rules: &AdviceRules| {
        let partial = used.partial(START);
        let day = Day {
            requests: partial.requests,
            tokens: [partial.tokens_input, partial.tokens_output, partial.tokens_cached_input, 0, 0],
            cost: partial.cost,
            off_hours: partial.requests,
            reports_caching: true,
        };
        signs::sign(advised, &partial.leaf, &day, hour, rules)
    };
    let instead = |sign: &Sign| if let Sign::Seen(saving) = sign { saving.instead.clone() } else { None };
    let dollars = in_euro("", None);
    assert_eq!(instead(&sign(Advised::CheaperModel, SHORT, &dollars)).as_deref(), Some("middle"));
    // The nearest one in euro does not count; of the model itself one price in euro spoils them all.
    assert_eq!(instead(&sign(Advised::CheaperModel, SHORT, &in_euro("middle", None))).as_deref(), Some("small"));
    let output = in_euro("big", Some(TokenKind::Output));
    for (advised, used) in [(Advised::CheaperModel, SHORT), (Advised::Caching, LONG), (Advised::Batch, NIGHT)] {
        assert!(matches!(sign(advised, used, &dollars), Sign::Seen(_)), "{advised:?}");
        assert_eq!(sign(advised, used, &output), Sign::Unknown, "{advised:?}");
    }
    // Only the price of what is not bought yet.
    assert_eq!(sign(Advised::Caching, LONG, &in_euro("big", Some(TokenKind::CachedInput))), Sign::Unknown);
}

/// Whatever is known in the middle of it: what is restored goes on as what was running.
#[test]
fn advice_is_restored_as_it_was() {
    let mut bench = Bench::new();
    let mut changelog = BTreeMap::new();
    for day in 0..10 {
        bench.hours(24 * day..24 * (day + 1), |_| vec![if day < 6 { LONG } else { Use { cached: 4000, ..LONG } }, SHORT]);
        bench.shard.save_all();
        for change in bench.shard.take_changes() {
            match change.value {
                Some(value) => changelog.insert(change.key, value),
                None => changelog.remove(&change.key),
            };
        }
        let mut restorer = Restorer::new(1);
        for (key, value) in &changelog {
            restorer.put(key, Some(value)).unwrap();
        }
        restorer.changelog_read(&bench.rules).unwrap().unwrap();
        let restored = restorer.finish().unwrap();
        assert_eq!(restored, bench.shard, "day {day}");
        bench.shard = restored;
    }
    let resolved = bench.told().iter().filter(|alert| alert.state == AlertState::Resolved).count();
    assert!(resolved == 1 && bench.told().len() > 3, "{:?}", bench.words());
}
