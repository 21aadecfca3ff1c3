//! Budgets of what is billed: a bill comes days after what it is about, in parts, and some of it in advance.

use super::tests::{MARCH, rule};
use super::*;
use crate::model::alert::Alert;
use crate::model::leaf::Leaf;
use crate::model::partial::{Marker, ShardRecord, Source};
use crate::model::time::{HOUR_MS, MINUTE_MS};
use crate::watch::matters::rules::MatterRules;
use crate::watch::tests::{partial, rules};

/// Days since 1 March.
const APRIL: i64 = 31;
const MAY: i64 = 61;

fn billed() -> BudgetRule {
    BudgetRule { measure: Measure::Billed, thresholds: vec![0.5, 0.8, 1.0], ..rule() }
}

/// What is told while hours pass. `bill`: what comes at an hour since 1 March, as days and money.
fn play(budget: BudgetRule, known: Budget, days: i64, bill: impl Fn(i64) -> Vec<(i64, f64)>) -> Vec<Alert> {
    play_with(|_| "", budget, known, days, bill)
}

/// ... of lines with the meter of their hour.
fn play_with(
    meter: impl Fn(i64) -> &'static str,
    budget: BudgetRule,
    known: Budget,
    days: i64,
    bill: impl Fn(i64) -> Vec<(i64, f64)>,
) -> Vec<Alert> {
    let name = budget.name.clone();
    let rules = WatchRules { matters: MatterRules { budgets: vec![budget], ..MatterRules::default() }, ..rules() };
    let (mut shard, mut alerts) = (Shard::new(0, 1, &rules), Vec::new());
    shard.matters.budgets.insert(name, known);
    let mut take = |offset: i64, partials: Vec<Partial>, markers: Vec<Marker>, at: Timestamp| {
        let effects = shard.apply_whole(&ShardRecord { partials, markers, events: Vec::new() }, offset, at, &rules);
        alerts.extend(effects.into_iter().filter_map(|effect| if let Effect::Alert(alert) = effect { Some(*alert) } else { None }));
    };
    for hour in 0..days * 24 {
        let minute = Minute(MARCH.0 + hour * 60);
        let usage = partial(minute, "search", "ranker", "ann", 1.0);
        let leaf = Leaf { measure: Measure::Billed, meter: meter(hour).into(), ..usage.leaf.clone() };
        let line =
            |(day, money)| Partial::of_hour(leaf.clone(), Hour(MARCH.hour().0 + day * 24), Nanos((money * 1e9) as i128), Nanos::ZERO);
        let source = Source { topic: "usage-events".into(), partition: 0 };
        let marker = Marker { source, watermark: Some(minute.start()), idle: false, partitions_of_topic: 1 };
        take(2 * hour, vec![usage], vec![marker], minute.start().plus_ms(MINUTE_MS));
        // The bill comes by another way than usage, and closes no hours.
        take(2 * hour + 1, bill(hour).into_iter().map(line).collect(), Vec::new(), minute.start().plus_ms(2 * MINUTE_MS));
    }
    alerts.retain(|alert| alert.kind == AlertKind::Budget);
    alerts
}

/// State, days since 1 March, and whether it is of that month.
fn told(alerts: &[Alert], month: &str) -> Vec<(AlertState, i64, bool)> {
    let day = |alert: &Alert| (alert.decided_at.0 - MARCH.start().0) / (24 * HOUR_MS);
    alerts.iter().map(|alert| (alert.state, day(alert), alert.summary.contains(month))).collect()
}

#[test]
fn a_months_bill_that_comes_at_once_is_told() {
    // A bill of 34 USD a day on the third day of the next month, and that of May's first day a week later.
    let alerts = play(billed(), Budget::default(), 75, |hour| match (hour / 24 - MAY, hour % 24) {
        (2, 0) => (APRIL..MAY).map(|day| (day, 34.0)).collect(),
        (9, 0) => vec![(MAY, 34.0)],
        _ => Vec::new(),
    });
    let expected = [(AlertState::Open, MAY + 2, true), (AlertState::Resolved, MAY + 9, true)];
    assert_eq!(told(&alerts, "April 2026"), expected, "{alerts:#?}");
    let (first, over) = (&alerts[0].summary, &alerts[1].summary);
    assert!(first.ends_with("has passed 100 % of 1000.00 USD for April 2026: 1020.00 USD are spent, 102 %"), "{first}");
    assert!(over.contains("April 2026 is over"), "{over}");
}

/// April's bill and the first of May's on 10 May.
#[test]
fn a_months_bill_that_comes_with_the_next_ones_first_days_is_told() {
    let bill = |hour: i64| if hour == (MAY + 9) * 24 { (APRIL..MAY + 8).map(|day| (day, 34.0)).collect() } else { Vec::new() };
    // The one before was March's.
    let march = day_of(MARCH.start(), &jiff::tz::TimeZone::UTC);
    let known = Budget { days: [(march + 30, Nanos::from_units(9))].into(), period: march, ..Budget::default() };
    let alerts = play(billed(), known, 75, bill);
    let expected = [(AlertState::Open, MAY + 9, true), (AlertState::Resolved, MAY + 9, true)];
    assert_eq!(told(&alerts, "April 2026"), expected, "{alerts:#?}");
    assert!(alerts[1].decided_at > alerts[0].decided_at, "not in one breath");
}

#[test]
fn the_last_days_of_a_months_bill_are_told_although_the_next_month_is_billed_already() {
    // Two providers: the one bills a day after it, the other two days.
    let bill = |hour: i64| match (hour / 24, hour % 24) {
        (day, 10) if day > APRIL => vec![(day - 1, 10.0)],
        (day, 11) if day > APRIL + 1 => vec![(day - 2, 23.5)],
        _ => Vec::new(),
    };
    let alerts = play(billed(), Budget::default(), 75, bill);
    let [.., (full, full_on, true), (over, over_on, true)] = told(&alerts, "April 2026")[..] else { panic!("{alerts:#?}") };
    assert_eq!((full, full_on), (AlertState::Escalated, MAY + 1), "{alerts:#?}");
    assert_eq!((over, over_on), (AlertState::Resolved, MAY + BILL_SETTLES_DAYS), "{alerts:#?}");
    assert!(alerts[2].summary.contains("has passed 100 %") && alerts[2].actual == Nanos::from_units(1005), "{}", alerts[2].summary);
    assert!(alerts.iter().zip(1..).all(|(alert, revision)| alert.revision == revision && alert.id == alerts[0].id));
    // What May has to tell does not wait.
    let alerts = play(billed(), Budget::default(), 75, |hour| if hour == (MAY + 3) * 24 { vec![(MAY + 1, 600.0)] } else { bill(hour) });
    let of_may: Vec<(AlertState, i64)> = told(&alerts, "May 2026").iter().filter(|told| told.2).map(|told| (told.0, told.1)).collect();
    assert_eq!(of_may[0], (AlertState::Open, MAY + 3), "{alerts:#?}");
    assert!(alerts.iter().any(|alert| alert.state == AlertState::Resolved && alert.id == alerts[0].id));
}

#[test]
fn what_is_billed_in_advance_waits_for_its_month() {
    // 40 USD a day in March; on the sixth a line of a century ahead, on the tenth April's fee.
    let bill = |hour: i64| match (hour / 24, hour % 24) {
        (5, 1) => vec![(36_500, 5000.0)],
        (10, 1) => vec![(APRIL, 600.0)],
        (day @ 0..APRIL, 10) => vec![(day - 1, 40.0)],
        _ => Vec::new(),
    };
    let alerts = play(billed(), Budget::default(), 45, bill);
    let march: Vec<AlertState> = told(&alerts, "March 2026").iter().filter(|told| told.2).map(|told| told.0).collect();
    assert_eq!(march, [AlertState::Open, AlertState::Escalated, AlertState::Escalated, AlertState::Resolved], "{alerts:#?}");
    let april: Vec<(AlertState, i64)> = told(&alerts, "April 2026").iter().filter(|told| told.2).map(|told| (told.0, told.1)).collect();
    assert_eq!(april, [(AlertState::Open, APRIL)], "{alerts:#?}");
    let latest = MARCH.start().plus_ms(45 * 24 * HOUR_MS);
    assert!(alerts.iter().all(|alert| alert.event_time <= latest && alert.ingest_time <= latest));
}

/// As versions before left it: a line of a century ahead had let its month begin.
#[test]
fn a_month_that_is_far_ahead_is_left_again_and_no_revision_is_used_twice() {
    let ahead = Budget { period: month_of(40_000).first, ..Budget::default() };
    let alerts = play(billed(), ahead, 60, |hour| if hour % 24 == 10 { vec![(hour / 24 - 1, 40.0)] } else { Vec::new() });
    assert!(!alerts.is_empty() && alerts.iter().all(|alert| alert.summary.contains("April 2026")), "{alerts:#?}");
}

/// The last week of the bill is the same on every day on which it does not go on.
#[test]
fn the_last_days_of_a_bill_do_not_end_because_it_is_late() {
    let rolling = BudgetRule { period: Period::Rolling(7), thresholds: vec![1.0], ..billed() };
    let alerts = play(rolling, Budget::default(), 30, |hour| if hour % 24 == 10 { vec![(hour / 24 - 2, 145.0)] } else { Vec::new() });
    assert_eq!(told(&alerts, "for 7 days").iter().map(|told| told.0).collect::<Vec<_>>(), [AlertState::Open], "{alerts:#?}");
}

/// The bill goes on being restated: what it had before the budget was written is in it, and is not taken back from nothing.
#[test]
fn a_budget_begins_with_what_is_billed_by_then() {
    let without = rules();
    let with = WatchRules { matters: MatterRules { budgets: vec![billed()], ..MatterRules::default() }, ..rules() };
    let at = |hours: i64| Minute(MARCH.0 + hours * 60).start();
    let line = |day: i64, money: i64| {
        let leaf = Leaf { measure: Measure::Billed, ..partial(MARCH, "search", "ranker", "ann", 1.0).leaf };
        Partial::of_hour(leaf, Hour(MARCH.hour().0 + day * 24), Nanos::from_units(money), Nanos::ZERO)
    };
    let other = Partial { leaf: Leaf { team: "ads".into(), ..line(1, 9).leaf }, ..line(1, 9_000) };
    let mut shard = Shard::new(0, 1, &without);
    let take = |shard: &mut Shard, rules: &WatchRules, hours: i64, partials: Vec<Partial>| -> Vec<Alert> {
        let source = Source { topic: "usage-events".into(), partition: 0 };
        let marker = Marker { source, watermark: Some(at(hours)), idle: false, partitions_of_topic: 1 };
        let record = ShardRecord { partials, markers: vec![marker], events: Vec::new() };
        let effects = shard.apply_whole(&record, hours, at(hours).plus_ms(MINUTE_MS), rules);
        effects.into_iter().filter_map(|effect| if let Effect::Alert(alert) = effect { Some(*alert) } else { None }).collect()
    };
    let bill: Vec<Partial> = (0..5).map(|day| line(day, 100)).chain([other]).collect();
    assert_eq!(take(&mut shard, &without, 130, bill), []);
    let spent = |shard: &Shard| shard.matters.budgets[&billed().name].days.values().fold(Nanos::ZERO, |sum, day| sum.saturating_add(*day));
    // With the next line of the bill, which takes something back ...
    let mut restated = shard.clone();
    take(&mut restated, &with, 131, vec![line(2, -40)]);
    assert_eq!(spent(&restated), Nanos::from_units(460));
    take(&mut restated, &with, 132, vec![line(2, -10), line(4, 60)]);
    assert_eq!(spent(&restated), Nanos::from_units(510), "each once");
    // ... or with the next hour, if there is none.
    let told: Vec<Alert> = (131..136).flat_map(|hours| take(&mut shard, &with, hours, Vec::new())).collect();
    assert_eq!((told.len(), told[0].state, told[0].actual), (1, AlertState::Open, Nanos::from_units(500)), "{told:#?}");
}

/// A month's fee stands in the hour in which the month begins: spent, and no pace.
#[test]
fn a_line_for_more_than_a_day_has_no_pace() {
    let with_meter = |meter: &'static str| {
        let rule = BudgetRule { burn_rate: 6.0, thresholds: vec![0.2], ..billed() };
        let alerts = play_with(|_| meter, rule, Budget::default(), 3, |hour| if hour == 0 { vec![(0, 300.0)] } else { Vec::new() });
        alerts.iter().map(|alert| alert.summary.contains("an even pace")).collect::<Vec<_>>()
    };
    assert_eq!(with_meter("charge.long_period"), [false]);
    assert_eq!(with_meter("charge.purchase"), [false]);
    assert!(with_meter("").contains(&true));
}

#[test]
fn a_fee_is_spent_and_not_expected_of_the_days_that_come() {
    let with = |fee: &'static str| {
        let rule = BudgetRule { amount: Nanos::from_units(1200), forecast: true, thresholds: vec![1.0], ..billed() };
        // 30 USD a day, and 200 on the seventh.
        let bill = |hour: i64| match (hour / 24, hour % 24) {
            (8, 1) => vec![(6, 200.0)],
            (day @ 1.., 10) => vec![(day - 1, 30.0)],
            _ => Vec::new(),
        };
        play_with(|hour| if hour % 24 == 1 { fee } else { "" }, rule, Budget::default(), 31, bill)
    };
    assert_eq!(with("charge.purchase"), []);
    // The twin: usage that may come again.
    assert!(with("")[0].summary.contains("will not last"));
}
