//! Where a bill begins and where it ends: spend that has teams again.

use super::tests::{Bench, billed, usage, with_bills};
use super::*;
use crate::model::alert::{AlertKind, AlertState};
use crate::model::leaf::UNATTRIBUTED;

fn of_team(team: &str, mut line: Partial) -> Partial {
    line.leaf.team = team.into();
    line
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

    let mut unwanted = untagged(|_| true, |_| false);
    unwanted.rules.matters.missing.as_mut().unwrap().untagged_per_day = Nanos::ZERO;
    (20 * 24..22 * 24).for_each(|hour| unwanted.record(hour * 60, vec![usage(hour * 60, "ranker", 6.0, 6_000_000)]));
    assert_eq!(of_untagged(&unwanted), [AlertState::Open, AlertState::Resolved], "{:#?}", unwanted.words());
    let last = *unwanted.told().last().unwrap();
    assert!(last.summary.contains("missing_money.untagged_per_day is off in the config"), "{}", last.summary);
}
