//! What comes after the end of the month that it is about.

use super::tests::{MARCH, rule};
use super::*;
use crate::model::alert::Alert;
use crate::model::partial::{Marker, ShardRecord, Source};
use crate::model::time::{HOUR_MS, MINUTE_MS};
use crate::watch::matters::answers::restored;
use crate::watch::matters::rules::MatterRules;
use crate::watch::tests::{partial, rules};

/// The first hour of April.
const APRIL: i64 = 31 * 24;

/// A shard, and what it has written.
struct Bench {
    shard: Shard,
    rules: WatchRules,
    offset: i64,
    changelog: BTreeMap<Vec<u8>, Vec<u8>>,
    alerts: Vec<Alert>,
}

impl Bench {
    fn new(budget: BudgetRule) -> Bench {
        let rules = WatchRules { matters: MatterRules { budgets: vec![budget], ..MatterRules::default() }, ..rules() };
        Bench { shard: Shard::new(0, 1, &rules), rules, offset: 0, changelog: BTreeMap::new(), alerts: Vec::new() }
    }

    /// In an hour since 1 March: money of that hour, and of others, that come late.
    fn hour(&mut self, hour: i64, money: f64, late: &[(i64, f64)]) {
        let at = |hour: i64| Minute(MARCH.0 + hour * 60);
        let source = Source { topic: "usage-events".into(), partition: 0 };
        let marker = Marker { source, watermark: Some(at(hour).start()), idle: false, partitions_of_topic: 1 };
        let of = |hour, money| partial(at(hour), "search", "ranker", "ann", money);
        let partials = std::iter::once(of(hour, money)).chain(late.iter().map(|(hour, money)| of(*hour, *money))).collect();
        let record = ShardRecord { partials, markers: vec![marker], events: Vec::new() };
        let effects = self.shard.apply_whole(&record, self.offset, at(hour).start().plus_ms(MINUTE_MS), &self.rules);
        self.offset += 1;
        self.alerts.extend(effects.into_iter().filter_map(|effect| if let Effect::Alert(alert) = effect { Some(*alert) } else { None }));
        self.alerts.retain(|alert| alert.kind == AlertKind::Budget);
    }

    fn restart(&mut self) {
        self.shard.save_all();
        for change in self.shard.take_changes() {
            match change.value {
                Some(value) => self.changelog.insert(change.key, value),
                None => self.changelog.remove(&change.key),
            };
        }
        let mut restorer = crate::watch::Restorer::new(1);
        self.changelog.iter().for_each(|(key, value)| restorer.put(key, Some(value)).unwrap());
        restorer.changelog_read(&self.rules).unwrap().unwrap();
        let restored = restorer.finish().unwrap();
        assert!(restored == self.shard);
        self.shard = restored;
    }

    /// 1.25 USD an hour are 930 in March; then April begins.
    fn march(budget: BudgetRule) -> Bench {
        let mut bench = Bench::new(budget);
        (0..APRIL + 3).for_each(|hour| bench.hour(hour, 1.25, &[]));
        bench
    }

    fn told(&self) -> Vec<(AlertState, &str)> {
        self.alerts.iter().map(|alert| (alert.state, &*alert.summary)).collect()
    }
}

#[test]
fn usage_of_a_month_that_is_over_is_told_as_that() {
    let mut bench = Bench::march(rule());
    let states: Vec<AlertState> = bench.told().iter().map(|told| told.0).collect();
    assert_eq!(states[3..], [AlertState::Resolved], "{:#?}", bench.told());
    bench.restart();
    bench.hour(APRIL + 4, 1.25, &[(APRIL - 2, 100.0)]);
    bench.restart();
    let [.., (state, words)] = bench.told()[..] else { panic!() };
    let expected = "budget 'all of search' has passed 100 % of 1000.00 USD for March 2026, which is over: with what came late 1030.00 USD \
                    are spent, 103 %";
    assert_eq!((state, words), (AlertState::Reopened, expected));
    let last = bench.alerts.last().unwrap();
    assert!(last.next_steps[0].contains("The month is over") && last.burn_rate_per_hour == Nanos::ZERO, "{:?}", last.next_steps);
    // It ends an hour later, and what comes after that passes nothing more.
    (APRIL + 5..APRIL + 9).for_each(|hour| bench.hour(hour, 1.25, &[(APRIL - 3, 10.0)]));
    bench.restart();
    let [.., (state, words)] = bench.told()[..] else { panic!() };
    assert_eq!((bench.alerts.len(), state), (6, AlertState::Resolved), "{:#?}", bench.told());
    assert!(words.contains("March 2026 is over: budget 'all of search' used 10") && bench.shard.open_alerts() == 0, "{words}");
    assert!(bench.alerts.iter().zip(1..).all(|(alert, revision)| alert.id == bench.alerts[0].id && alert.revision == revision));
    // April is told of as ever, in an alert of its own.
    (APRIL + 9..APRIL + 410).for_each(|hour| bench.hour(hour, 1.25, &[]));
    let last = bench.alerts.last().unwrap();
    assert!(last.summary.contains("has passed 50 % of 1000.00 USD for April 2026") && last.revision == 1, "{}", last.summary);
    assert!(last.id != bench.alerts[0].id);
}

#[test]
fn a_month_of_which_nothing_was_told_is_told_when_it_is_over() {
    let mut bench = Bench::march(BudgetRule { thresholds: vec![1.0], ..rule() });
    assert_eq!(bench.told(), []);
    // The minutes about midnight, a little late.
    bench.hour(APRIL + 4, 1.25, &[(APRIL - 1, 50.0), (APRIL - 1, 25.0)]);
    let states: Vec<(AlertState, u32)> = bench.alerts.iter().map(|alert| (alert.state, alert.revision)).collect();
    assert_eq!(states, [(AlertState::Open, 1)], "{:#?}", bench.told());
    assert!((bench.alerts[0].onset, bench.alerts[0].severity) == (MARCH.start(), Severity::Critical));
    // The twins: too little, and of the month before that.
    for late in [(APRIL - 1, 50.0), (-2, 2000.0)] {
        let mut bench = Bench::march(BudgetRule { thresholds: vec![1.0], ..rule() });
        bench.hour(APRIL + 4, 1.25, &[late]);
        assert_eq!(bench.told(), [], "{late:?}");
    }
}

#[test]
fn what_comes_late_for_a_month_that_is_over_is_no_pace_of_the_next() {
    let mut bench = Bench::march(BudgetRule { thresholds: vec![2.0], burn_rate: 6.0, ..rule() });
    bench.hour(APRIL + 3, 1.25, &[(APRIL - 1, 100.0)]);
    (APRIL + 5..APRIL + 9).for_each(|hour| bench.hour(hour, 1.25, &[]));
    assert_eq!(bench.told(), []);
    // The twin: of April itself.
    bench.hour(APRIL + 9, 100.0, &[]);
    (APRIL + 10..APRIL + 12).for_each(|hour| bench.hour(hour, 1.25, &[]));
    assert!(bench.told()[0].1.contains("times an even pace"), "{:#?}", bench.told());
}

/// A budget that is cut down by now was kept then.
#[test]
fn a_rule_that_changes_says_nothing_new_of_a_month_that_is_over() {
    let mut bench = Bench::march(BudgetRule { thresholds: vec![1.0], ..rule() });
    let cut = BudgetRule { thresholds: vec![0.5, 1.0], amount: Nanos::from_units(900), ..rule() };
    bench.rules.matters.budgets = vec![cut];
    bench.rules.revision += 1;
    (APRIL + 3..APRIL + 9).for_each(|hour| bench.hour(hour, 1.25, &[]));
    assert_eq!(bench.told(), []);
    bench.restart();
}

/// ... which knew of no month before and of no fees.
#[test]
fn what_an_earlier_version_wrote_is_read_and_tells_nothing_twice() {
    let mut bench = Bench::march(rule());
    let budget = bench.shard.matters.budgets.values_mut().next().unwrap();
    budget.past = None;
    let written = postcard::to_stdvec(budget).unwrap();
    assert_eq!(restored::<Budget>(&written[..written.len() - 2]).unwrap(), *budget);
    let before = bench.alerts.len();
    bench.hour(APRIL + 4, 1.25, &[(APRIL - 2, 100.0)]);
    assert_eq!(bench.alerts.len(), before, "{:#?}", bench.told());
    assert!(bench.alerts.iter().all(|alert| alert.decided_at.0 - MARCH.start().0 < (APRIL + 4) * HOUR_MS));
}
