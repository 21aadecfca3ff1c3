//! A day on a bill: what is said of it is what is known of it.

use super::bill::Day;
use super::tests::{Bench, billed, usage, with_bills, with_bills_of};
use super::*;
use crate::model::alert::{Alert, AlertKind, AlertState};
use crate::model::leaf::UNATTRIBUTED;
use crate::watch::matters::answers::Answers;
use crate::watch::matters::matter::Matter;
use crate::watch::matters::{MatterKey, Matters};
use crate::watch::tests::START;

fn day_of(partial: &Partial) -> i64 {
    (partial.minute.0 - START.0).div_euclid(1440)
}

fn of_bill(bench: &Bench) -> Vec<&Alert> {
    bench.told().into_iter().filter(|alert| [AlertKind::BillMismatch, AlertKind::UnseenSpend].contains(&alert.kind)).collect()
}

#[test]
fn usage_that_was_seen_and_counts_no_money_is_not_called_unseen() {
    let free = |used: Partial| Partial { cost: Nanos::ZERO, unpriced_events: used.events, ..used };
    let without_tokens = |used: Partial| Partial { tokens_input: 0, tokens_output: 0, ..free(used) };
    for (bench, words) in [
        (
            with_bills_of(free, |day| vec![billed(day, "OpenAI", 144.0)]),
            "usage was seen that day (158.4 million tokens), but it counts no money",
        ),
        (with_bills_of(without_tokens, |day| vec![billed(day, "OpenAI", 144.0)]), "usage was seen that day, but it counts no money"),
    ] {
        let told = of_bill(&bench);
        assert!(told.len() > 3 && told.iter().all(|alert| alert.kind == AlertKind::BillMismatch), "{:#?}", bench.words());
        assert!(told[0].summary.contains(words) && told[0].next_steps[0].contains("[prices] files"), "{:#?}", bench.words());
    }
    // A bill in another currency than usage without a price has: seen all the same.
    let eur = |day: i64| {
        let mut line = billed(day, "OpenAI", 130.0);
        line.leaf.currency = crate::model::money::Currency::parse("EUR").unwrap();
        vec![line]
    };
    let bench = with_bills_of(free, eur);
    assert!(
        !of_bill(&bench).is_empty() && of_bill(&bench).iter().all(|alert| alert.kind == AlertKind::BillMismatch),
        "{:#?}",
        bench.words()
    );
}

#[test]
fn what_an_alert_on_missing_money_says_already_is_not_said_of_the_bill_again() {
    let from = |first: i64, used: Partial| match day_of(&used) {
        day if day < first => used,
        _ => Partial { cost: Nanos::ZERO, unpriced_events: used.events, ..used },
    };
    let bench = with_bills_of(|used| from(10, used), |day| vec![billed(day, "OpenAI", 144.0)]);
    let kinds: std::collections::BTreeSet<&str> = bench.told().iter().map(|alert| alert.kind.as_str()).collect();
    assert_eq!(kinds, ["missing_money"].into(), "{:#?}", bench.words());
    // The twin: what is billed is far more than that alert is about.
    let bench = with_bills_of(|used| from(10, used), |day| vec![billed(day, "OpenAI", if day == 12 { 40_000.0 } else { 144.0 })]);
    let told = of_bill(&bench);
    assert!(told.len() == 2 && told[0].summary.contains("counts no money"), "{:#?}", bench.words());
    let over = (told[1].state, told[1].summary.contains("an alert (missing_money) says that it counts no money; 40000.00 USD of"));
    assert_eq!(over, (AlertState::Resolved, true), "{}", told[1].summary);
}

#[test]
fn what_is_expected_of_a_bill_is_named_once_it_is_learnt() {
    // 80 % of the estimate of 144 USD is billed.
    let with_day_12 = |money: Option<f64>| {
        with_bills(0, move |day| match day {
            12 => money.map(|money| billed(day, "OpenAI", money)).into_iter().collect(),
            _ => vec![billed(day, "OpenAI", 115.2)],
        })
    };
    let bench = with_day_12(Some(144.0));
    let [alert, _] = of_bill(&bench)[..] else { panic!("{:#?}", bench.words()) };
    let words = "estimated were 144.00 (usually 0.80 times that is billed: 115.20): more than the usual 5 % apart";
    assert!(alert.summary.contains(words), "{}", alert.summary);
    assert!(alert.next_steps[0].contains("does not go through the gateway"), "{:?}", alert.next_steps);
    let bench = with_day_12(None);
    let [alert] = of_bill(&bench)[..] else { panic!("{:#?}", bench.words()) };
    assert!(alert.summary.contains("estimated were 144.00 USD (usually 0.80 times that is billed: 115.20)"), "{}", alert.summary);
    // Where bill and estimate are usually alike there is nothing to add.
    let bench = with_bills(0, |day| vec![billed(day, "OpenAI", if day == 12 { 259.2 } else { 144.0 })]);
    assert!(of_bill(&bench)[0].summary.ends_with("estimated were 144.00: more than the usual 5 % apart"), "{:#?}", bench.words());
}

/// Usage that costs as prices say: cached input and output in multiples of input, which is 1 USD for all that is priced rightly. From
/// `twice` on cached tokens are counted as input a second time.
fn priced(prices: (f64, f64), tokens: [u64; 3], twice: i64, used: Partial) -> Partial {
    let ([input, cached, output], (weight, out)) = (tokens, prices);
    let cost = |input: u64| (input - cached) as f64 + weight * cached as f64 + out * output as f64;
    let stated = if day_of(&used) >= twice { input + cached } else { input };
    let money = Nanos((cost(stated) / cost(input) * 1e9) as i128);
    Partial { cost: money, tokens_input: stated, tokens_cached_input: cached, tokens_output: output, ..used }
}

#[test]
fn cached_tokens_counted_twice_are_recognised_after_weeks_and_an_ordinary_mismatch_is_not() {
    let (prices, tokens) = ((0.5, 4.0), [2_000_000, 1_000_000, 50_000]);
    let bench = with_bills_of(|used| priced(prices, tokens, 12, used), |day| vec![billed(day, "OpenAI", 144.0)]);
    let told = of_bill(&bench);
    assert!(!told.is_empty() && told[0].summary.contains("cached tokens were counted twice"), "{:#?}", bench.words());
    // As many are cached as always, and a third of the bill is missing.
    let bill = |day: i64| vec![billed(day, "OpenAI", if day == 12 { 96.0 } else { 144.0 })];
    let bench = with_bills_of(|used| priced((0.25, 4.0), [2_000_000, 600_000, 50_000], 99, used), bill);
    let told = of_bill(&bench);
    assert!(told.len() == 2 && !told[0].summary.contains("cached tokens"), "{:#?}", bench.words());
}

#[test]
fn a_day_that_an_earlier_version_wrote_is_read() {
    let mut bench = with_bills(0, |day| vec![billed(day, "OpenAI", if day == 12 { 300.0 } else { 144.0 })]);
    let told = bench.shard.matters.apart.pop_first().and_then(|(_, apart)| apart.matter);
    let (name, day) = bench.shard.matters.days.iter_mut().find(|(name, _)| name.3 == (START.0 / 1440) + 12).unwrap();
    day.events = 0;
    // As before there were answers.
    day.matter = told.map(|matter| Matter { answers: Answers::default(), story: None, ..matter });
    let (name, day, new) = (name.clone(), day.clone(), postcard::to_stdvec(day).unwrap());
    for written in [0, 1, 2, 5].map(|later| &new[..new.len() - later]) {
        let mut matters = Matters::default();
        matters.put(MatterKey::Day(name.clone()), written).unwrap();
        assert_eq!(matters.days.get(&name), Some(&day));
    }
    let plain = postcard::to_stdvec(&Day::default()).unwrap();
    let mut matters = Matters::default();
    matters.put(MatterKey::Day(name.clone()), &plain[..plain.len() - 2]).unwrap();
    assert_eq!(matters.days.get(&name), Some(&Day::default()));
}

/// A line of a bill for more than a day, which stands where that begins.
fn long(day: i64, provider: &str, money: f64) -> Partial {
    let mut line = billed(day, provider, money);
    line.leaf.meter = "charge.long_period".into();
    line
}

#[test]
fn lines_for_more_than_a_day_are_held_against_no_day() {
    // A week at a time, after days; a monthly fee beside days; and a bill that has had days and is restated by weeks.
    let weekly = with_bills(0, |day| match day {
        0..4 => vec![billed(day, "OpenAI", 144.0)],
        4..11 if day % 7 == 4 => vec![long(day, "OpenAI", 1008.0)],
        4..11 => Vec::new(),
        _ => vec![billed(day, "OpenAI", 144.0)],
    });
    let fee = with_bills(0, |day| [billed(day, "OpenAI", 144.0)].into_iter().chain((day == 0).then(|| long(0, "OpenAI", 300.0))).collect());
    let unseen = with_bills(0, |day| if day == 0 { vec![long(0, "OpenAI", 4464.0)] } else { Vec::new() });
    let restated = with_bills(0, |day| match day {
        10 => (4..10).map(|known| billed(known, "OpenAI", -144.0)).chain([billed(10, "OpenAI", 144.0), long(4, "OpenAI", 864.0)]).collect(),
        _ => vec![billed(day, "OpenAI", 144.0)],
    });
    for (name, bench) in [("weekly", weekly), ("fee", fee), ("unseen", unseen), ("restated", restated)] {
        assert_eq!(bench.words(), Vec::<String>::new(), "{name}");
    }
    // The twin: a day that is missing beside a monthly fee.
    let bench = with_bills(0, |day| match day {
        0 => vec![billed(day, "OpenAI", 144.0), long(0, "OpenAI", 300.0)],
        12 => Vec::new(),
        _ => vec![billed(day, "OpenAI", 144.0)],
    });
    assert!(of_bill(&bench).len() == 1 && bench.words()[0].contains("nothing for"), "{:#?}", bench.words());
}

#[test]
fn lines_for_more_than_a_day_without_a_team_are_told() {
    let bench = with_bills(0, |day| {
        let mut line = long(0, "Elsewhere", 600.0);
        line.leaf.team = UNATTRIBUTED.into();
        [billed(day, "OpenAI", 144.0)].into_iter().chain((day == 2).then_some(line)).collect()
    });
    let [alert] = bench.told()[..] else { panic!("{:#?}", bench.words()) };
    assert!(alert.kind == AlertKind::UntaggedSpend && alert.summary.contains("600.00 USD at elsewhere"), "{}", alert.summary);
}

/// A bill of one line without a team, for the first day, that comes a month later; so many days, and the lines of a team since.
fn monthly(days: i64, of_team: impl Fn(i64) -> bool) -> Bench {
    let mut bench = Bench::new();
    for hour in 0..days * 24 {
        let mut all = vec![usage(hour * 60, "ranker", 6.0, 6_000_000)];
        if hour == 32 * 24 {
            let mut line = long(0, "Elsewhere", 600.0);
            line.leaf.team = UNATTRIBUTED.into();
            all.push(line);
        }
        if hour % 24 == 1 && of_team(hour / 24) {
            all.push(long(hour / 24 - 31, "Elsewhere", 600.0));
        }
        bench.record(hour * 60, all);
    }
    bench
}

#[test]
fn a_bill_without_a_team_is_not_solved_by_its_age() {
    let states = |bench: &Bench| bench.told().iter().map(|alert| alert.state).collect::<Vec<_>>();
    // The next bill would come 31 days after this one.
    let bench = monthly(60, |_| false);
    assert_eq!(states(&bench), [AlertState::Open], "{:#?}", bench.words());
    let bench = monthly(70, |_| false);
    assert_eq!(states(&bench), [AlertState::Open, AlertState::Resolved], "{:#?}", bench.words());
    let last = *bench.told().last().unwrap();
    let words = "nothing of elsewhere is billed any more after 2025-02-19, for 35 days now, so that this alert ends; whose that was is still open. \
                 When last known: 600.00 USD at elsewhere";
    assert!(last.summary.starts_with(words), "{}", last.summary);
    assert_eq!(last.excess, Nanos::from_units(600));
    // The next month's line has a team: that is another end.
    let bench = monthly(70, |day| day == 62);
    let last = *bench.told().last().unwrap();
    assert!(last.state == AlertState::Resolved && last.summary.contains("has teams again"), "{:#?}", bench.words());
}
