//! Where a bill begins and where it ends: days before anybody watched usage, days that are forgotten, and spend that has teams again.

use super::tests::{Bench, billed, usage, with_bills};
use super::*;
use crate::model::alert::{Alert, AlertKind, AlertState};
use crate::model::leaf::UNATTRIBUTED;
use crate::model::money::Currency;
use crate::watch::tests::START;

fn of_team(team: &str, mut line: Partial) -> Partial {
    line.leaf.team = team.into();
    line
}

/// States, by days since the start.
fn states(told: &[&Alert]) -> Vec<(AlertState, i64)> {
    told.iter().map(|alert| (alert.state, (alert.onset.0 - START.start().0).div_euclid(86_400_000))).collect()
}

#[test]
fn a_first_bill_says_nothing_of_days_before_usage_was_watched() {
    let mut bench = Bench::new();
    for day in 0..8 {
        // From ten in the morning of the first day on.
        bench.hours((day * 24).max(10)..(day + 1) * 24, |at| {
            let mut all = vec![usage(at, "ranker", 1.0, 1_000_000)];
            if at % 1440 == 720 && day > 0 {
                // The first bill has three months.
                let first = if day == 1 { -89 } else { day - 1 };
                for day in first..day {
                    all.extend([billed(day, "OpenAI", 144.0), of_team("ads", billed(day, "OpenAI", 50.0))]);
                }
            }
            all
        });
    }
    // Who never had usage is seen as soon as others' is watched.
    let told = bench.told();
    assert!(told.iter().all(|alert| (alert.kind, &*alert.team) == (AlertKind::UnseenSpend, "ads")), "{:#?}", bench.words());
    let opened: Vec<(AlertState, i64)> = states(&told).into_iter().filter(|(state, _)| *state == AlertState::Open).collect();
    assert_eq!(opened, [(AlertState::Open, 1)], "{:#?}", bench.words());
}

#[test]
fn a_bill_in_another_currency_than_the_usage_is_no_unseen_spend() {
    let eur = |mut line: Partial| {
        line.leaf.currency = Currency::parse("EUR").unwrap();
        line
    };
    let bench = with_bills(0, |day| vec![eur(billed(day, "OpenAI", 130.0))]);
    assert_eq!(bench.words(), Vec::<String>::new());
    // Another team's, of which no usage was seen in any currency; and who uses another provider than bills it.
    let bench = with_bills(0, |day| vec![eur(of_team("ads", billed(day, "OpenAI", 130.0))), eur(billed(day, "Elsewhere", 130.0))]);
    assert!(!bench.told().is_empty());
    assert!(bench.told().iter().all(|alert| (alert.kind, &*alert.team) == (AlertKind::UnseenSpend, "ads")), "{:#?}", bench.words());
}

#[test]
fn what_was_told_of_a_day_ends_when_the_day_is_forgotten() {
    let mut bench = with_bills(0, |day| if day == 12 { Vec::new() } else { vec![billed(day, "OpenAI", 144.0)] });
    let known = bench.told().last().map(|alert| (*alert).clone()).unwrap();
    let hourly = |hour: i64| vec![usage(hour * 60, "ranker", 6.0, 6_000_000)];
    (20 * 24..112 * 24).for_each(|hour| bench.record(hour * 60, hourly(hour)));
    assert_eq!((bench.told().len(), bench.shard.matters.open()), (1, 1), "{:#?}", bench.words());
    (112 * 24..115 * 24).for_each(|hour| bench.record(hour * 60, hourly(hour)));
    let last = bench.told().last().map(|alert| (*alert).clone()).unwrap();
    let is_next = last.id == known.id && last.revision == known.revision + 1;
    assert_eq!((last.state, is_next, bench.shard.matters.open()), (AlertState::Resolved, true, 0), "{:#?}", bench.words());
    assert!(
        last.summary.contains("no bill changes after 100 days, so that the alert of 2025-03-03 ends")
            && last.summary.contains("144.00 USD"),
        "{}",
        last.summary
    );
    // A line for it that comes after all begins nothing anew.
    (115 * 24..118 * 24).for_each(|hour| {
        let late = (hour == 115 * 24).then(|| billed(12, "OpenAI", 80.0));
        bench.record(hour * 60, hourly(hour).into_iter().chain(late).collect());
    });
    assert_eq!(bench.told().len(), 2, "{:#?}", bench.words());
    // Usage for it that comes after all neither.
    let days = bench.shard.matters.days.len();
    bench.record(118 * 1440, vec![usage(12 * 1440, "ranker", 6.0, 6_000_000)]);
    assert_eq!(bench.shard.matters.days.len(), days);
}

/// Twenty days of bills, of which some have 40 USD without a team, and the same provider's with one.
fn untagged(is_nobodys: impl Fn(i64) -> bool, has_team: impl Fn(i64) -> bool) -> Bench {
    with_bills(0, |day| {
        let nobodys = is_nobodys(day).then(|| of_team(UNATTRIBUTED, billed(day, "Elsewhere", 40.0)));
        let own = has_team(day).then(|| billed(day, "Elsewhere", 40.0));
        [billed(day, "OpenAI", 144.0)].into_iter().chain(nobodys).chain(own).collect()
    })
}

fn of_untagged(bench: &Bench) -> Vec<AlertState> {
    bench.told().iter().filter(|alert| alert.kind == AlertKind::UntaggedSpend).map(|alert| alert.state).collect()
}

#[test]
fn billed_spend_that_has_a_team_from_some_day_on_is_told_as_that() {
    let bench = untagged(|day| day < 8, |day| day >= 8);
    assert_eq!(of_untagged(&bench), [AlertState::Open, AlertState::Resolved], "{:#?}", bench.words());
    let last = *bench.told().last().unwrap();
    assert!(last.summary.contains("spend at elsewhere has teams again: 0.00 USD without one on"), "{}", last.summary);
    assert_eq!(bench.shard.matters.open(), 0);
    // The twins: it goes on beside what has one, and a bill that is late says nothing.
    for bench in [untagged(|_| true, |day| day >= 8), untagged(|day| day < 8, |day| day < 8)] {
        assert_eq!(of_untagged(&bench), [AlertState::Open], "{:#?}", bench.words());
    }
}

#[test]
fn billed_spend_without_a_team_ends_when_nobody_is_billed_or_asks_any_more() {
    let mut late = untagged(|day| day < 8, |_| false);
    assert_eq!(of_untagged(&late), [AlertState::Open], "{:#?}", late.words());
    (20 * 24..46 * 24).for_each(|hour| late.record(hour * 60, vec![usage(hour * 60, "ranker", 6.0, 6_000_000)]));
    assert_eq!(of_untagged(&late), [AlertState::Open, AlertState::Resolved], "{:#?}", late.words());
    let last = *late.told().last().unwrap();
    assert!(
        last.summary.starts_with("nothing of elsewhere is billed any more after 2025-02-26, for 35 days now, so that this alert ends"),
        "{}",
        last.summary
    );

    let mut unwanted = untagged(|_| true, |_| false);
    unwanted.rules.matters.missing.as_mut().unwrap().untagged_per_day = Nanos::ZERO;
    (20 * 24..22 * 24).for_each(|hour| unwanted.record(hour * 60, vec![usage(hour * 60, "ranker", 6.0, 6_000_000)]));
    assert_eq!(of_untagged(&unwanted), [AlertState::Open, AlertState::Resolved], "{:#?}", unwanted.words());
    let last = *unwanted.told().last().unwrap();
    assert!(last.summary.contains("missing_money.untagged_per_day is off in the config"), "{}", last.summary);
}

#[test]
fn a_restated_bill_takes_its_alert_back() {
    let bench = with_bills(0, |day| match day {
        12 => vec![billed(12, "OpenAI", 300.0)],
        // No later day comes before it is corrected, and none after.
        14 => vec![billed(12, "OpenAI", -156.0)],
        13.. => Vec::new(),
        day => vec![billed(day, "OpenAI", 144.0)],
    });
    let states: Vec<AlertState> = bench.told().iter().map(|alert| alert.state).collect();
    assert_eq!(states, [AlertState::Open, AlertState::Resolved], "{:#?}", bench.words());
    assert!(bench.words()[1].contains("agrees with the estimate now"));
}
