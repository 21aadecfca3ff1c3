//! Bills in other currencies: whatever the order and split of what comes, the same total is the same amount; budgets and reconciliation see
//! one currency; a missing rate is told, and what it holds up comes once there is one.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::matters::rules::{BudgetRule, MatterRules, MissingRules, Period};
use super::rules::WatchRules;
use super::tests::{START, partial, rules};
use super::{Restorer, Shard};
use crate::model::Text;
use crate::model::alert::{Alert, AlertKind, AlertState};
use crate::model::effect::Effect;
use crate::model::leaf::Measure;
use crate::model::money::{Currency, Nanos};
use crate::model::partial::{Marker, Partial, ShardRecord, Source};
use crate::model::rates::{DatedRate, Rates};
use crate::model::rollup::SpendRollup;
use crate::model::time::{DAY_MS, Hour, MINUTE_MS, Minute};

fn eur() -> Currency {
    Currency::parse("EUR").unwrap()
}

fn rates(from_day: i64, per_base: &[(&str, &str)]) -> Rates {
    rates_into(Currency::USD, from_day, per_base)
}

fn rates_into(target: Currency, from_day: i64, per_base: &[(&str, &str)]) -> Rates {
    let first = START.start().0.div_euclid(DAY_MS) + from_day;
    let dated = per_base.iter().flat_map(|(code, rate)| {
        let rate: Nanos = rate.parse().unwrap();
        // A thousandth more each day.
        (0..30).map(move |day| DatedRate {
            currency: Currency::parse(code).unwrap(),
            day: first + day,
            per_base: Nanos(rate.0 + rate.0 / 1000 * i128::from(day)),
        })
    });
    Rates::new(target, eur(), 7, dated)
}

fn with(rates: Rates) -> WatchRules {
    let missing = MissingRules {
        silent_after_ms: 30 * DAY_MS,
        first_tolerance: 0.2,
        untagged_per_day: Nanos::ZERO,
        metered: vec!["openai".into()],
        names: Vec::new(),
    };
    let budget = BudgetRule {
        name: "cash".into(),
        team: "search".into(),
        cost_center: None,
        project: None,
        model: None,
        measure: Measure::Billed,
        currency: Currency::USD,
        amount: Nanos::from_units(1_000),
        period: Period::Rolling(60),
        thresholds: vec![1.0],
        forecast: false,
        burn_rate: 0.0,
    };
    let matters = MatterRules { missing: Some(missing), budgets: vec![budget], ..MatterRules::default() };
    WatchRules { matters, rates, ..rules() }
}

struct Bench {
    shard: Shard,
    rules: WatchRules,
    offset: i64,
    alerts: Vec<Alert>,
    /// The latest of each key.
    rollups: BTreeMap<(Text, Measure, Currency, i64), SpendRollup>,
    changelog: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Bench {
    fn new(rules: WatchRules) -> Bench {
        let shard = Shard::new(0, 1, &rules);
        Bench { shard, rules, offset: 0, alerts: Vec::new(), rollups: BTreeMap::new(), changelog: BTreeMap::new() }
    }

    /// Minutes since the start.
    fn record(&mut self, at: i64, partials: Vec<Partial>) {
        let minute = Minute(START.0 + at);
        let source = Source { topic: "usage-events".into(), partition: 0 };
        let marker = Marker { source, watermark: Some(minute.start()), idle: false, partitions_of_topic: 1 };
        let record = ShardRecord { partials, markers: vec![marker], events: Vec::new() };
        for effect in self.shard.apply_whole(&record, self.offset, minute.start().plus_ms(MINUTE_MS), &self.rules) {
            match effect {
                Effect::Alert(alert) => self.alerts.push(*alert),
                Effect::Rollup(rollup) => {
                    let leaf = rollup.leaf.clone();
                    let key = (leaf.project, leaf.measure, leaf.currency, rollup.period_start.0);
                    let before = self.rollups.insert(key, *rollup.clone()).map_or(0, |before| before.revision);
                    assert_eq!(rollup.revision, before + 1);
                }
                other => panic!("{other:?}"),
            }
        }
        self.offset += 1;
        for change in self.shard.take_changes() {
            match change.value {
                Some(value) => drop(self.changelog.insert(change.key, value)),
                None => drop(self.changelog.remove(&change.key)),
            }
        }
    }

    fn restores(&self) {
        let mut restorer = Restorer::new(1);
        for (key, value) in &self.changelog {
            restorer.put(key, Some(value)).unwrap();
        }
        restorer.changelog_read(&self.rules).unwrap().unwrap();
        assert_eq!(restorer.finish().unwrap().matters, self.shard.matters);
    }

    fn sum(&self, measure: Measure, currency: Currency) -> i128 {
        self.rollups.iter().filter(|(key, _)| (key.1, key.2) == (measure, currency)).map(|(_, rollup)| rollup.cost.0).sum()
    }

    fn words(&self, kind: AlertKind) -> Vec<String> {
        let own = self.alerts.iter().filter(|alert| alert.kind == kind);
        own.map(|alert| format!("{} {}", alert.state.as_str(), alert.summary)).collect()
    }
}

/// A change of what is billed of an hour, counted from the start.
fn billed(hour: i64, currency: Currency, nanos: i128) -> Partial {
    let mut leaf = partial(START, "search", "ranker", "", 0.0).leaf;
    (leaf.measure, leaf.currency, leaf.meter) = (Measure::Billed, currency, "".into());
    Partial::of_hour(leaf, Hour(START.hour().0 + hour), Nanos(nanos), Nanos(nanos))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Amounts of any size and sign, in any currency, on any day, in any split and order, restated and taken back: what is counted in dollars
    /// is, to the nano, the total of each hour and currency converted once.
    #[test]
    fn what_is_counted_is_each_hours_total_converted_once(
        changes in proptest::collection::vec((0_i64..72, 0_usize..4, -10_i128.pow(15)..10_i128.pow(15), 1_usize..5), 1..40),
    ) {
        let codes = ["EUR", "GBP", "JPY", "USD"].map(|code| Currency::parse(code).unwrap());
        let rules = with(rates(0, &[("USD", "1.0823"), ("GBP", "0.85731"), ("JPY", "163.21")]));
        let mut bench = Bench::new(rules);
        let mut totals: BTreeMap<(i64, usize), i128> = BTreeMap::new();
        for (at, (hour, code, nanos, parts)) in changes.into_iter().enumerate() {
            *totals.entry((hour, code)).or_default() += nanos;
            let part = nanos / parts as i128;
            let split = (0..parts).map(|place| billed(hour, codes[code], if place == 0 { nanos - part * (parts as i128 - 1) } else { part }));
            // In one record, or in one each.
            if at % 2 == 0 {
                bench.record(at as i64, split.collect());
            } else {
                split.for_each(|one| bench.record(at as i64, vec![one]));
            }
        }
        bench.restores();
        let expected = |(hour, code): (i64, usize), nanos: i128| {
            bench.rules.rates.convert(Nanos(nanos), codes[code], Hour(START.hour().0 + hour).start()).unwrap().0
        };
        let all: i128 = totals.iter().map(|(name, nanos)| expected(*name, *nanos)).sum();
        prop_assert_eq!(bench.sum(Measure::Billed, Currency::USD), all);
        for (place, currency) in codes.into_iter().enumerate().filter(|(_, currency)| *currency != Currency::USD) {
            let own: i128 = totals.iter().filter(|((_, code), _)| *code == place).map(|(_, nanos)| nanos).sum();
            prop_assert_eq!(bench.sum(Measure::BilledOriginal, currency), own);
            prop_assert_eq!(bench.sum(Measure::Billed, currency), 0);
        }
        // The budget counts the same.
        let counted: i128 = bench.shard.matters.budgets.get("cash").map_or(0, |budget| budget.days.values().map(|day| day.0).sum());
        prop_assert_eq!(counted, all);
    }
}

/// 144 dollars a day are estimated; a bill in euros says so much a day, a day later.
fn with_bills(rates: Rates, euros: impl Fn(i64) -> f64) -> Bench {
    let mut bench = Bench::new(with(rates));
    for at in (0..20 * 144).map(|slot| slot * 10) {
        let mut all = vec![partial(Minute(START.0 + at), "search", "ranker", "ann", 1.0)];
        if at % 1440 == 60 && at > 1440 {
            let day = at / 1440 - 1;
            all.push(billed(day * 24, eur(), (euros(day) * 1e9) as i128));
        }
        bench.record(at, all);
    }
    bench
}

/// Like with like: 115.20 euros are 144 dollars at 1.25.
#[test]
fn a_bill_in_another_currency_is_held_against_the_estimate_in_its_own_money() {
    let steady = rates(-1, &[("USD", "1.25")]);
    let bench = with_bills(steady.clone(), |day| 115.2 / (1.0 + (day + 1) as f64 / 1000.0));
    assert_eq!((bench.words(AlertKind::BillMismatch), bench.words(AlertKind::UnseenSpend)), (Vec::new(), Vec::new()));
    // Nineteen days are 2736 dollars of a budget of 1000.
    assert!(bench.words(AlertKind::Budget)[0].contains("USD"), "{:?}", bench.words(AlertKind::Budget));
    bench.restores();
    // The twin: as many euros as there were dollars are a quarter too much, every day.
    let bench = with_bills(steady, |_| 144.0);
    let told = bench.words(AlertKind::BillMismatch);
    assert!(!told.is_empty() && told[0].contains(" USD for "), "{told:?}");
    // Without rates the currencies stay apart, as they were before: nobody can say whether the bill is right, but usage was seen.
    let bench = with_bills(Rates::default(), |_| 115.2);
    for kind in [AlertKind::Budget, AlertKind::BillMismatch, AlertKind::UnseenSpend] {
        assert_eq!(bench.words(kind), Vec::<String>::new(), "{kind:?}");
    }
    assert_eq!(bench.sum(Measure::Billed, eur()), 19 * 115_200_000_000);
}

/// Rates that come, go, and turn all into another currency, on a shard that has bills already: what is counted is what would have been
/// counted with these rules from the beginning.
#[test]
fn bills_follow_the_rules_into_another_currency_and_back() {
    let pounds = Currency::parse("GBP").unwrap();
    let table = [("USD", "1.25"), ("GBP", "0.8")];
    let into = |target| WatchRules { reporting_currency: target, ..with(rates_into(target, 0, &table)) };
    let off = || with(Rates::default());
    let changes =
        [billed(1, eur(), 80_000_000_000), billed(30, pounds, 50_000_000_001), billed(31, Currency::USD, 9), billed(1, eur(), -3)];
    let mut bench = Bench::new(off());
    let told = [off(), into(Currency::USD), into(eur()), into(Currency::USD), into(pounds), off(), into(eur())];
    for (revision, rules) in (1_u64..).zip(told) {
        bench.rules = WatchRules { revision, ..rules.clone() };
        bench.record(60 + revision as i64, changes.to_vec());
        let mut fresh = Bench::new(rules);
        (0..revision).for_each(|_| fresh.record(60, changes.to_vec()));
        for currency in [eur(), pounds, Currency::USD] {
            for measure in [Measure::Billed, Measure::BilledOriginal] {
                assert_eq!(bench.sum(measure, currency), fresh.sum(measure, currency), "{revision} {measure:?} {currency}");
            }
        }
        bench.restores();
    }
}

/// A team that is paid and pays in euros, without rates for a while and with them then: its bill agreed and agrees.
#[test]
fn days_that_agreed_agree_in_another_currency_too() {
    let mut bench = Bench::new(with(Rates::default()));
    bench.rules.matters.budgets.clear();
    for at in (0..24 * 144).map(|slot| slot * 10) {
        let is_converted = at >= 12 * 1440;
        if at == 12 * 1440 {
            let table = rates(-1, &[("USD", "1.25")]);
            bench.rules = WatchRules { revision: 9, matters: bench.rules.matters.clone(), ..with(table) };
        }
        let mut used = partial(Minute(START.0 + at), "search", "ranker", "ann", if is_converted { 1.25 } else { 1.0 });
        used.leaf.currency = if is_converted { Currency::USD } else { eur() };
        let mut all = vec![used];
        if at % 1440 == 60 && at > 1440 {
            all.push(billed((at / 1440 - 1) * 24, eur(), 144_000_000_000));
        }
        bench.record(at, all);
    }
    let told: Vec<String> = [AlertKind::BillMismatch, AlertKind::UnseenSpend, AlertKind::MissingMoney, AlertKind::ProviderSilent]
        .into_iter()
        .flat_map(|kind| bench.words(kind))
        .collect();
    assert_eq!(told, Vec::<String>::new());
    bench.restores();
}

/// Rates that begin after the bills do: what they cannot convert is told when they come.
#[test]
fn bills_from_before_the_first_rate_are_told_when_rates_come() {
    let mut bench = Bench::new(with(Rates::default()));
    bench.record(60, vec![billed(1, eur(), 8_000_000_000)]);
    bench.rules = WatchRules { revision: 9, ..with(rates(9, &[("USD", "1.25")])) };
    bench.record(61, Vec::new());
    let told = bench.words(AlertKind::MissingMoney);
    assert!(told.len() == 1 && told[0].contains("search is billed 8.00 EUR on"), "{told:?}");
    assert_eq!((bench.sum(Measure::Billed, eur()), bench.sum(Measure::BilledOriginal, eur())), (0, 8_000_000_000));
    // Other rules that change nothing about it tell nothing more.
    bench.rules.revision += 1;
    bench.record(62, Vec::new());
    assert_eq!(bench.words(AlertKind::MissingMoney), told);
    assert_eq!(bench.shard.matters.unconverted.values().map(|kept| kept.amount).collect::<Vec<_>>(), [Nanos::from_units(8)]);
    bench.restores();
}

/// A close meets the new rules before any record does.
#[test]
fn rates_that_come_during_a_close_are_followed() {
    let mut bench = Bench::new(with(rates(9, &[("USD", "1.25")])));
    // Nobody asks for what is missing, which would look again by itself.
    bench.rules.matters.missing = None;
    bench.record(60, vec![billed(1, eur(), 8_000_000_000), partial(Minute(START.0 + 60), "search", "ranker", "ann", 3.0)]);
    let source = Source { topic: "usage-events".into(), partition: 0 };
    let later = Minute(START.0 + 200);
    let marker = Marker { source, watermark: Some(later.start()), idle: false, partitions_of_topic: 1 };
    let record = ShardRecord { partials: Vec::new(), markers: vec![marker], events: Vec::new() };
    bench.shard.apply(&record, bench.offset, later.start().plus_ms(MINUTE_MS), &bench.rules);
    assert!(bench.shard.is_closing());
    bench.offset += 1;
    bench.rules.rates = rates(0, &[("USD", "1.25")]);
    bench.rules.revision += 1;
    let effects = bench.shard.close_slice(&bench.rules, usize::MAX);
    let counted =
        |effect: &Effect| matches!(effect, Effect::Rollup(row) if row.leaf.measure == Measure::Billed && row.cost == Nanos::from_units(10));
    assert!(effects.iter().any(counted), "{effects:#?}");
}

/// Never one to one, and never lost: told at once, and counted once there is a rate.
#[test]
fn money_without_a_rate_is_told_and_counted_once_there_is_one() {
    let mut bench = Bench::new(with(rates(9, &[("USD", "1.25")])));
    let mut pounds = partial(Minute(START.0 + 61), "search", "ranker", "ann", 3.0);
    pounds.leaf.currency = Currency::parse("GBP").unwrap();
    bench.record(60, vec![billed(1, eur(), 8_000_000_000), billed(2, eur(), 1)]);
    bench.record(61, vec![billed(1, eur(), 2_000_000_000), pounds]);
    let told = bench.words(AlertKind::MissingMoney);
    let date = START.start().to_string();
    let expected =
        format!("open search is billed 8.00 EUR on {}, for which there is no rate to USD: no budget in USD counts it", &date[..10]);
    assert!(told.contains(&expected), "{told:?}");
    assert!(told.iter().any(|word| word.contains("search spent 3.00 GBP on")), "{told:?}");
    assert_eq!((bench.sum(Measure::Billed, Currency::USD), bench.sum(Measure::Billed, eur())), (0, 0));
    assert_eq!(bench.sum(Measure::BilledOriginal, eur()), 10_000_000_001);
    bench.restores();
    let known = bench.shard.matters.open();

    bench.rules.rates = rates(0, &[("USD", "1.25")]);
    bench.rules.revision += 1;
    bench.record(150, Vec::new());
    assert_eq!(bench.sum(Measure::Billed, Currency::USD), 12_500_000_001);
    bench.record(300, Vec::new());
    let told = bench.words(AlertKind::MissingMoney);
    assert!(told.iter().any(|word| word.starts_with("resolved there is a rate of EUR")), "{told:?}");
    assert_eq!(bench.shard.matters.open(), known - 1, "of pounds there is none yet");
    // What it was mended by is not counted again.
    bench.rules.revision += 1;
    bench.record(310, Vec::new());
    assert_eq!(bench.sum(Measure::Billed, Currency::USD), 12_500_000_001);
    bench.restores();
    assert!(bench.alerts.iter().all(|alert| alert.kind != AlertKind::MissingMoney || alert.state != AlertState::Updated));
}

/// What usage cost before it was converted has a roll-up of its own when its hour closes, once, and again with what comes late.
#[test]
fn usage_keeps_the_currency_that_it_had_beside_what_it_was_converted_into() {
    let mut bench = Bench::new(with(rates(0, &[("USD", "1.25")])));
    let of = |at: i64, dollars: f64| {
        let counted = partial(Minute(START.0 + at), "search", "ranker", "ann", dollars);
        let mut original = partial(Minute(START.0 + at), "search", "ranker", "", dollars / 1.25);
        (original.leaf.measure, original.leaf.currency) = (Measure::EstimatedOriginal, eur());
        vec![counted, original]
    };
    (0..12).for_each(|slot| bench.record(slot * 10, of(slot * 10, 1.0)));
    bench.record(300, of(300, 1.0));
    let cost = |bench: &Bench| (bench.sum(Measure::Estimated, Currency::USD), bench.sum(Measure::EstimatedOriginal, eur()));
    assert_eq!(cost(&bench), (12_000_000_000, 9_600_000_000));
    bench.record(310, of(5, 1.0));
    assert_eq!(cost(&bench), (13_000_000_000, 10_400_000_000));
    bench.restores();
    let revisions: Vec<u32> =
        bench.rollups.values().filter(|row| row.leaf.measure == Measure::EstimatedOriginal).map(|row| row.revision).collect();
    assert_eq!(revisions, [2, 1]);
    // Nothing learns from it, and it is no series.
    assert!(bench.shard.accounts.iter().all(|(_, state)| state.account.currency == Currency::USD));
    (1..60).for_each(|day| bench.record(day * 1440, of(day * 1440, 1.0)));
    let kept = bench.shard.matters.billed.values().map(BTreeMap::len).sum::<usize>();
    assert!(kept <= 4, "{kept} hours are kept of 60 days");
    bench.restores();
}
