//! One alert for one reason: it grows by days, gives back what is corrected, and is over with the first day that is right.

use super::bill::Day;
use super::tests::{Bench, billed, usage, with_bills};
use super::*;
use crate::model::alert::{Alert, AlertKind, AlertState};
use crate::model::feedback::{Feedback, Verdict};
use crate::model::time::Minute;
use crate::watch::matters::{MatterKey, Matters};
use crate::watch::tests::START;

fn of_team(team: &str, mut line: Partial) -> Partial {
    line.leaf.team = team.into();
    line
}

/// State and what is told as excess, in whole units.
fn told(bench: &Bench, is_meant: impl Fn(&Alert) -> bool) -> Vec<(AlertState, i64, &str)> {
    let meant = bench.told().into_iter().filter(|alert| is_meant(alert));
    meant.map(|alert| (alert.state, crate::watch::series::to_units(alert.excess) as i64, &*alert.summary)).collect()
}

fn ids(bench: &Bench) -> std::collections::BTreeSet<&str> {
    bench.told().iter().map(|alert| &*alert.id).collect()
}

#[test]
fn a_provider_that_goes_on_billing_unseen_is_one_alert_that_grows() {
    let bench = with_bills(0, |day| {
        let of = |team: &str, money: f64| of_team(team, billed(day, "OpenAI", money));
        vec![billed(day, "OpenAI", 144.0), of("ads", 80.0), of("maps", 60.0)]
    });
    // Two teams are two.
    assert_eq!((ids(&bench).len(), bench.shard.matters.open()), (2, 2), "{:#?}", bench.words());
    let ads = told(&bench, |alert| alert.team == "ads");
    let money: Vec<(AlertState, i64)> = ads.iter().map(|told| (told.0, told.1)).collect();
    let expected = [(AlertState::Open, 80), (AlertState::Escalated, 160), (AlertState::Updated, 240), (AlertState::Updated, 400)];
    assert_eq!(money[..4], expected, "{:#?}", bench.words());
    assert!(money.len() < 9, "by how much it has grown, not by the day: {money:?}");
    let words = "bills ads 240.00 USD for 3 days from 2025-02-19 to 2025-02-21, of which no usage was ever seen";
    assert!(ads[2].2.contains(words), "{}", ads[2].2);
}

#[test]
fn unseen_spend_is_over_when_usage_is_seen_and_again_when_it_is_not() {
    let mut bench = Bench::new();
    for day in 0..24 {
        bench.hours(day * 24..(day + 1) * 24, |at| {
            let mut all = vec![usage(at, "ranker", 1.0, 1_000_000)];
            if (6..12).contains(&day) {
                all.push(of_team("ads", usage(at, "bidder", 1.0, 1_000_000)));
            }
            if at % 1440 == 60 && day > 1 {
                all.extend([billed(day - 1, "OpenAI", 144.0), of_team("ads", billed(day - 1, "OpenAI", 144.0))]);
            }
            all
        });
    }
    let told = told(&bench, |_| true);
    let ends: Vec<(AlertState, i64, &str)> = told.into_iter().filter(|told| told.0 != AlertState::Updated).collect();
    let states: Vec<(AlertState, i64)> = ends.iter().map(|told| (told.0, told.1)).collect();
    let (open, resolved, reopened) = (AlertState::Open, AlertState::Resolved, AlertState::Reopened);
    // Of the last days before its own usage is watched nothing is known.
    assert_eq!(states[..2], [(open, 144), (resolved, 3 * 144)], "{:#?}", bench.words());
    // What was told before and is over does not count again.
    assert_eq!(states[2], (reopened, 144), "{:#?}", bench.words());
    let words =
        "agrees with the estimate now: 144.00 USD, estimated 144.00; 432.00 USD of 3 days from 2025-02-20 to 2025-02-22 stay unexplained";
    assert!(ends[1].2.ends_with(words), "{}", ends[1].2);
    assert_eq!(ids(&bench).len(), 1);
}

#[test]
fn a_bill_that_is_too_high_for_days_is_one_alert_until_a_day_is_right() {
    let bench = with_bills(0, |day| vec![billed(day, "OpenAI", if (12..15).contains(&day) { 300.0 } else { 144.0 })]);
    let all = told(&bench, |_| true);
    let states: Vec<(AlertState, i64)> = all.iter().map(|told| (told.0, told.1)).collect();
    let (open, updated, resolved) = (AlertState::Open, AlertState::Updated, AlertState::Resolved);
    assert_eq!(states, [(open, 156), (updated, 312), (updated, 468), (resolved, 468)], "{:#?}", bench.words());
    assert!(all[2].2.contains("bills search 900.00 USD for 3 days from 2025-03-03 to 2025-03-05, estimated were 432.00"), "{}", all[2].2);
    assert!(all[3].2.contains("search and 2025-03-06 agrees with the estimate now"), "{}", all[3].2);
    assert_eq!((ids(&bench).len(), bench.shard.matters.open()), (1, 0));
    // Too high and too low are two reasons, of which each has its alert.
    let bench = with_bills(0, |day| vec![billed(day, "OpenAI", [144.0, 300.0, 50.0][if day < 12 { 0 } else { (day % 2 + 1) as usize }])]);
    assert_eq!(ids(&bench).len(), 2, "{:#?}", bench.words());
}

#[test]
fn a_day_that_is_corrected_takes_its_part_back_and_the_last_one_ends_it() {
    // A bill that leaves days out, and brings the one of them, then the other.
    let bench = with_bills(0, |day| match day {
        9 | 10 => Vec::new(),
        15 => vec![billed(15, "OpenAI", 144.0), billed(9, "OpenAI", 144.0)],
        17 => vec![billed(17, "OpenAI", 144.0), billed(10, "OpenAI", 144.0)],
        day => vec![billed(day, "OpenAI", 144.0)],
    });
    let all = told(&bench, |_| true);
    let states: Vec<(AlertState, i64)> = all.iter().map(|told| (told.0, told.1)).collect();
    let expected = [(AlertState::Open, -288), (AlertState::Amended, -144), (AlertState::Resolved, 0)];
    assert_eq!(states, expected, "{:#?}", bench.words());
    assert!(all[0].2.contains("nothing for 2 days from 2025-02-28 to 2025-03-01, estimated were 288.00 USD"), "{}", all[0].2);
    assert!(all[1].2.contains("nothing for 2025-03-01, estimated were 144.00 USD"), "{}", all[1].2);
    assert!(all[2].2.contains("2025-03-01 agrees with the estimate now: 144.00 USD"), "{}", all[2].2);
    // Amended amounts of a day that stays wrong, of a team whose usage is never seen.
    let bench = with_bills(0, |day| {
        let of = |day: i64, money: f64| of_team("ads", billed(day, "OpenAI", money));
        let own = billed(day, "OpenAI", 144.0);
        match day {
            5 => vec![own, of(5, 400.0)],
            8 => vec![own, of(5, -100.0)],
            _ => vec![own],
        }
    });
    let states: Vec<(AlertState, i64)> = told(&bench, |_| true).iter().map(|told| (told.0, told.1)).collect();
    assert_eq!(states, [(AlertState::Open, 400), (AlertState::Amended, 300)], "{:#?}", bench.words());
}

/// The next bill would have it after 31 days.
#[test]
fn unseen_spend_that_is_not_billed_any_more_ends_after_weeks() {
    let mut bench = with_bills(0, |day| {
        let ads = (day < 6).then(|| of_team("ads", billed(day, "OpenAI", 80.0)));
        [billed(day, "OpenAI", 144.0)].into_iter().chain(ads).collect()
    });
    let until = |bench: &mut Bench, days: std::ops::Range<i64>| {
        (days.start * 24..days.end * 24).for_each(|hour| bench.record(hour * 60, vec![usage(hour * 60, "ranker", 6.0, 6_000_000)]));
    };
    until(&mut bench, 20..38);
    assert_eq!(bench.shard.matters.open(), 1, "{:#?}", bench.words());
    until(&mut bench, 38..46);
    let last = *bench.told().last().unwrap();
    assert_eq!((last.state, last.kind, bench.shard.matters.open()), (AlertState::Resolved, AlertKind::UnseenSpend, 0));
    let words = "nothing worth a word is billed to ads by openai after 2025-02-24, for 35 days now, so that this alert ends. When last known: openai \
                 bills ads";
    assert!(last.summary.starts_with(words), "{}", last.summary);
    // And nothing is kept of it for ever.
    until(&mut bench, 46..112);
    assert!(bench.shard.matters.apart.is_empty(), "{:#?}", bench.shard.matters.apart);
}

#[test]
fn what_somebody_says_of_it_holds_for_the_days_that_come() {
    let unseen = |day: i64| vec![billed(day, "OpenAI", 144.0), of_team("ads", billed(day, "OpenAI", 80.0))];
    let mut bench = with_bills(0, unseen);
    let id = bench.told()[0].id.clone();
    let event_time = Minute(START.0 + 20 * 1440).start();
    bench.hear(Feedback {
        alert_id: Some(id.as_str().into()),
        team: "ads".into(),
        verdict: Verdict::Ack,
        event_time,
        ..Feedback::default()
    });
    for day in 20..60 {
        bench.hours(day * 24..(day + 1) * 24, |at| {
            let bill = if at % 1440 == 60 { unseen(day - 1) } else { Vec::new() };
            std::iter::once(usage(at, "ranker", 1.0, 1_000_000)).chain(bill).collect()
        });
    }
    let states: Vec<AlertState> =
        bench.told().iter().skip_while(|alert| alert.state != AlertState::Acknowledged).map(|a| a.state).collect();
    assert!(states.len() >= 2 && states.iter().all(|state| *state == AlertState::Acknowledged), "{:#?}", bench.words());
    assert!(bench.told().iter().all(|alert| alert.id == id));
}

/// Each day had an alert of its own.
#[test]
fn days_that_an_earlier_version_told_of_one_by_one_go_on_in_one_alert() {
    let mut bench = with_bills(0, |day| vec![billed(day, "OpenAI", if day > 16 { 300.0 } else { 144.0 })]);
    let mut apart = std::mem::take(&mut bench.shard.matters.apart);
    let (name, mut apart) = apart.pop_first().unwrap();
    let known = apart.matter.take().unwrap();
    for number in apart.days.keys() {
        let day: &mut Day = bench.shard.matters.days.get_mut(&(name.0.clone(), name.1, name.2.clone(), *number)).unwrap();
        day.matter = Some(crate::watch::matters::matter::Matter { id: format!("search/{number}"), ..known.clone() });
    }
    let (before, own) = (bench.told().len(), apart.days.len());
    for day in 20..23 {
        bench.hours(day * 24..(day + 1) * 24, |at| {
            let bill = (at % 1440 == 60).then(|| billed(day - 1, "OpenAI", 300.0));
            std::iter::once(usage(at, "ranker", 1.0, 1_000_000)).chain(bill).collect()
        });
    }
    let after = &bench.told()[before..];
    let states: Vec<AlertState> = after.iter().map(|alert| alert.state).collect();
    assert!(own > 0 && states[..=own] == [vec![AlertState::Resolved; own], vec![AlertState::Open]].concat(), "{:#?}", bench.words());
    assert!(after[0].summary.contains("it goes on in one alert for all such days"), "{}", after[0].summary);
    assert!(after[own].summary.contains(&format!("for {} days from", own + 1)), "{}", after[own].summary);
    assert_eq!(bench.shard.matters.open(), 1);
}

#[test]
fn what_is_kept_of_it_is_read_again() {
    let bench = with_bills(0, |day| vec![billed(day, "OpenAI", 144.0), of_team("ads", billed(day, "OpenAI", 80.0))]);
    let mut matters = Matters::default();
    for (name, apart) in &bench.shard.matters.apart {
        matters.put(MatterKey::Apart(name.clone()), &postcard::to_stdvec(apart).unwrap()).unwrap();
    }
    assert!(!matters.apart.is_empty() && matters.apart == bench.shard.matters.apart);
}
