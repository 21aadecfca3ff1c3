//! A shard of teams without usage: what bills lead to is judged, ends and is forgotten all the same.

use std::collections::BTreeMap;

use super::matters::rules::{BudgetRule, MatterRules, MissingRules, Period};
use super::rules::WatchRules;
use super::tests::{START, partial, rules};
use super::{Restorer, Shard};
use crate::model::alert::{Alert, AlertKind, AlertState};
use crate::model::effect::Effect;
use crate::model::leaf::Measure;
use crate::model::money::{Currency, Nanos};
use crate::model::partial::{Marker, Partial, ShardRecord, Source};
use crate::model::rollup::SpendRollup;
use crate::model::time::{HOUR_MS, Hour, Minute, Timestamp};

fn watch_rules() -> WatchRules {
    let missing = MissingRules {
        silent_after_ms: 3 * HOUR_MS,
        first_tolerance: 0.2,
        untagged_per_day: Nanos::from_units(25),
        metered: vec!["openai".into()],
        names: Vec::new(),
    };
    let budget = BudgetRule {
        name: "bills".into(),
        team: "search".into(),
        cost_center: None,
        project: None,
        model: None,
        measure: Measure::Billed,
        currency: Currency::USD,
        amount: Nanos::from_units(100),
        period: Period::Month,
        thresholds: vec![1.0],
        forecast: false,
        burn_rate: 0.0,
    };
    WatchRules { matters: MatterRules { missing: Some(missing), budgets: vec![budget], ..MatterRules::default() }, ..rules() }
}

struct Bench {
    shard: Shard,
    rules: WatchRules,
    /// What the usage topic has come to; all of it is other shards'.
    usage: Option<Timestamp>,
    offset: i64,
    alerts: Vec<Alert>,
    rollups: Vec<SpendRollup>,
    changelog: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Bench {
    fn new(usage: Option<Timestamp>) -> Bench {
        let rules = watch_rules();
        let (shard, changelog) = (Shard::new(0, 1, &rules), BTreeMap::new());
        Bench { shard, rules, usage, offset: 0, alerts: Vec::new(), rollups: Vec::new(), changelog }
    }

    /// A tick at an hour, with what came.
    fn hour(&mut self, hour: i64, partials: Vec<Partial>) {
        let at = Hour(START.hour().0 + hour).start();
        let source = Source { topic: "usage-events".into(), partition: 0 };
        let marker = Marker { source, watermark: self.usage, idle: true, partitions_of_topic: 1 };
        let record = ShardRecord { partials, markers: vec![marker], events: Vec::new() };
        for effect in self.shard.apply_whole(&record, self.offset, at.plus_ms(10 * 60_000), &self.rules) {
            match effect {
                Effect::Alert(alert) => self.alerts.push(*alert),
                Effect::Rollup(rollup) => self.rollups.push(*rollup),
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

    fn assert_restores(&self) {
        let mut restorer = Restorer::new(1);
        self.changelog.iter().for_each(|(key, value)| restorer.put(key, Some(value)).unwrap());
        restorer.changelog_read(&self.rules).unwrap().unwrap();
        assert_eq!(restorer.finish().unwrap(), self.shard);
    }

    fn told(&self, kind: AlertKind) -> Vec<(AlertState, i64)> {
        let own = self.alerts.iter().filter(|alert| alert.kind == kind);
        own.map(|alert| (alert.state, (alert.onset.0 - START.start().0).div_euclid(24 * HOUR_MS))).collect()
    }
}

/// What a day's bill says.
fn billed(day: i64) -> Partial {
    let mut line = partial(Minute(START.0 + day * 1440), "search", "ranker", "ann", 50.0);
    (line.leaf.measure, line.leaf.meter) = (Measure::Billed, "".into());
    line
}

#[test]
fn bills_without_usage_are_judged_end_and_are_forgotten() {
    let mut bench = Bench::new(Some(START.start()));
    for hour in 0..110 * 24 {
        // Nine days are on the bill at first, then one comes each day for three days.
        let days = match hour {
            36 => -8..1,
            60 | 84 | 108 => hour / 24 - 1..hour / 24,
            _ => 0..0,
        };
        bench.hour(hour, days.map(billed).collect());
        if hour % 97 == 0 {
            bench.assert_restores();
        }
        if hour == 10 * 24 {
            // The days from the import on; of those before nobody knows whether their usage was seen.
            let unseen = bench.told(AlertKind::UnseenSpend);
            // One alert, by its first day, of both.
            let onsets: Vec<i64> = unseen.iter().map(|told| told.1).collect();
            assert_eq!((unseen[0].0, &onsets[..]), (AlertState::Open, &[2, 2][..]), "{:#?}", bench.alerts);
            assert_eq!(bench.shard.header().first_hour, Some(Hour(START.hour().0 + 35)));
        }
    }
    let budget = bench.told(AlertKind::Budget).into_iter().map(|(state, _)| state).collect::<Vec<_>>();
    assert_eq!(budget, [AlertState::Open, AlertState::Resolved], "nothing but time ends a month: {:#?}", bench.alerts);
    let matters = &bench.shard.matters;
    assert!(matters.billed.is_empty() && matters.days.is_empty(), "{} {}", matters.billed.len(), matters.days.len());
    bench.assert_restores();

    // Usage that comes after all that is rolled up as anybody's.
    let first = 110 * 24;
    for hour in first..first + 5 {
        bench.hour(hour, vec![partial(Hour(START.hour().0 + hour).start().minute(), "search", "ranker", "ann", 1.0)]);
    }
    let used: Vec<u32> =
        bench.rollups.iter().filter(|rollup| rollup.leaf.measure == Measure::Estimated).map(|rollup| rollup.revision).collect();
    assert_eq!(used, [1, 1, 1, 1]);
}

#[test]
fn where_no_usage_comes_at_all_none_is_missed() {
    let mut bench = Bench::new(None);
    for hour in 0..20 * 24 {
        bench.hour(hour, if hour % 24 == 12 { vec![billed(hour / 24 - 1)] } else { Vec::new() });
    }
    assert!(bench.shard.header().closed_through.is_some());
    assert_eq!(bench.told(AlertKind::UnseenSpend), []);
}

#[test]
fn a_shard_that_keeps_nothing_closes_nothing() {
    let mut bench = Bench::new(Some(START.start()));
    (0..48).for_each(|hour| bench.hour(hour, Vec::new()));
    let header = bench.shard.header();
    assert_eq!((header.closed_through, header.first_hour, bench.changelog.len()), (None, None, 1));
}
