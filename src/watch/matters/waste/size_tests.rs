//! From samples to advice on sizes: what never needs its size is told with the one that would do; its innocent twins are not.

use super::tests::{Bench, sample, watch_rules};
use super::*;
use crate::model::time::MINUTE_MS;
use crate::watch::Restorer;
use crate::watch::matters::rules::{MatterRules, OversizedRules};
use crate::watch::tests::START;

fn bench() -> Bench {
    let mut rules = watch_rules();
    if let Some(waste) = &mut rules.matters.waste {
        waste.oversized = Some(OversizedRules { window_days: 14, most_peak: 0.5, most_mean: 0.4, target: 0.8 });
    }
    Bench::with(rules)
}

/// 16 of something at 4 USD an hour, 20 % used, 31 % now and then.
fn vm(hour: i64, id: &str) -> ResourceSample {
    let utilization = if hour % 24 == 9 { 0.31 } else { 0.2 };
    ResourceSample {
        utilization: Some(utilization),
        capacity: Some(16.0),
        hourly_cost: Some(Nanos::from_units(4)),
        ..sample(hour, id, "vm")
    }
}

#[test]
fn what_never_needs_its_size_is_told_with_the_one_that_would_do() {
    let mut bench = bench();
    bench.hours(0..24 * 18, |hour| vm(hour, "vm-1"));
    let first = bench.alerts[0].clone();
    assert_eq!(
        (first.state, first.kind, first.severity),
        (AlertState::Open, AlertKind::OversizedResource, Severity::Info),
        "{:#?}",
        bench.told()
    );
    assert_eq!((first.event_time.0 - first.onset.0) / DAY_MS, 14, "after fourteen days, not before");
    // 31 % of 16 are 5, with a fifth to spare 6.2: 8 would do, for half of 4 USD an hour.
    assert_eq!((first.burn_rate_per_hour, first.excess), (Nanos::from_units(2), Nanos::from_units(14 * 24 * 2)));
    assert!(
        first.summary.contains("at most 31 %, on average 20 % of its 16 were used in 14 days; 8 would do, and save 1460 USD a month (low"),
        "{}",
        first.summary
    );
    let escalated = bench.alerts.iter().find(|alert| alert.state == AlertState::Escalated).unwrap();
    assert_eq!((escalated.severity, escalated.event_time.0 - first.event_time.0), (Severity::Warning, 2 * DAY_MS));
    // One sample says that it is needed.
    bench.sample(ResourceSample { utilization: Some(0.9), ..vm(24 * 18, "vm-1") });
    let last = bench.alerts.last().unwrap();
    assert!(last.state == AlertState::Resolved && last.id == first.id && last.summary.contains("needs its size again"), "{}", last.summary);
    assert_eq!(bench.shard.open_alerts(), 0);
    // And for as long as that sample is in the window nothing is said.
    let told = bench.alerts.len();
    bench.hours(24 * 18 + 1..24 * 32, |hour| vm(hour, "vm-1"));
    assert_eq!(bench.alerts.len(), told);
    bench.hours(24 * 32..24 * 34, |hour| vm(hour, "vm-1"));
    assert_eq!(bench.alerts[told].state, AlertState::Reopened);
    // Somebody has made it smaller.
    bench.sample(ResourceSample { capacity: Some(8.0), utilization: Some(0.4), ..vm(24 * 34, "vm-1") });
    let last = bench.alerts.last().unwrap();
    assert!(last.state == AlertState::Resolved && last.summary.contains("has another size by now, 8"), "{}", last.summary);
}

/// Its last words may lack a price and a capacity.
#[test]
fn what_is_deleted_is_no_longer_too_large() {
    let mut bench = bench();
    bench.hours(0..24 * 16, |hour| vm(hour, "vm-1"));
    assert_eq!(bench.shard.open_alerts(), 1, "{:#?}", bench.told());
    let deleted = |hour: i64| ResourceSample { state: Some("deleted".into()), hourly_cost: None, capacity: None, ..vm(hour, "vm-1") };
    bench.sample(deleted(24 * 16));
    let last = bench.alerts.last().unwrap();
    assert_eq!((last.state, last.decided_at.0 - last.event_time.0), (AlertState::Resolved, MINUTE_MS), "{:#?}", bench.told());
    let told = bench.alerts.len();
    bench.hours(24 * 16 + 1..24 * 34, deleted);
    assert_eq!(bench.alerts.len(), told, "{:#?}", bench.told());
}

#[test]
fn what_needs_its_size_or_cannot_be_judged_is_never_told() {
    let mut bench = bench();
    let twins = |hour: i64| {
        vec![
            // Once a week it needs more than half; on average it does; next to nothing to save; already the smallest.
            ResourceSample { utilization: Some(if hour % 168 == 9 { 0.6 } else { 0.1 }), capacity: Some(20.0), ..vm(hour, "weekly") },
            ResourceSample { utilization: Some(0.45), ..vm(hour, "mean") },
            ResourceSample { hourly_cost: Some(Nanos(10_000_000)), ..vm(hour, "cheap") },
            ResourceSample { capacity: Some(1.0), ..vm(hour, "one") },
            // Nobody knows its size, or how much of it is used.
            if hour % 2 == 0 {
                vm(hour, "often-unknown")
            } else {
                ResourceSample { utilization: None, requests: Some(5), ..vm(hour, "often-unknown") }
            },
        ]
    };
    for hour in 0..24 * 20 {
        twins(hour).into_iter().for_each(|sample| bench.sample(sample));
    }
    assert_eq!(bench.told(), Vec::<String>::new());
    // Nobody knows its size; and days are missing.
    let mut bench = self::bench();
    bench.hours(0..24 * 20, |hour| ResourceSample { capacity: None, ..vm(hour, "unknown") });
    bench.hours(0..24 * 6, |hour| vm(hour, "holes"));
    bench.hours(24 * 8..24 * 18, |hour| vm(hour, "holes"));
    assert_eq!(bench.told(), Vec::<String>::new());
}

/// 80 % used for forty days, 20 % since: only the days of the window count, and again when it comes back.
#[test]
fn time_in_which_a_size_was_needed_is_no_saving() {
    let mut bench = bench();
    bench.hours(0..24 * 40, |hour| ResourceSample { utilization: Some(0.8), ..vm(hour, "vm-1") });
    bench.hours(24 * 40..24 * 56, |hour| vm(hour, "vm-1"));
    let first = bench.alerts[0].clone();
    assert_eq!(first.onset, START.start().plus_ms(40 * DAY_MS), "{:#?}", bench.told());
    assert_eq!((first.state, first.excess), (AlertState::Open, Nanos::from_units(14 * 24 * 2)));
    // Needed for an hour, and then not for two weeks.
    bench.sample(ResourceSample { utilization: Some(0.9), ..vm(24 * 56, "vm-1") });
    bench.hours(24 * 56 + 1..24 * 73, |hour| vm(hour, "vm-1"));
    let again = bench.alerts.iter().find(|alert| alert.state == AlertState::Reopened).cloned().unwrap();
    assert_eq!((again.onset, again.excess), (START.start().plus_ms(57 * DAY_MS), Nanos::from_units(14 * 24 * 2)));
    // While it is open, what was told goes on from there.
    bench.hours(24 * 73..24 * 77, |hour| vm(hour, "vm-1"));
    let last = bench.alerts.last().unwrap();
    assert_eq!((last.state, last.onset), (AlertState::Escalated, again.onset));
    assert_eq!(last.excess, Nanos::from_units((last.event_time.0 - last.onset.0) / HOUR_MS * 2));
}

#[test]
fn what_nobody_can_say_any_more_ends_after_a_day() {
    type Change = fn(ResourceSample) -> ResourceSample;
    let odd: [(&str, Change, std::ops::RangeInclusive<i64>); 4] = [
        ("can no longer be judged", |sample| ResourceSample { utilization: None, requests: Some(5), ..sample }, 1..=3),
        ("would save too little", |sample| ResourceSample { hourly_cost: Some(Nanos(10_000_000)), ..sample }, 1..=1),
        // The mean of the window has to rise first.
        ("needs its size again", |sample| ResourceSample { utilization: Some(0.39), ..sample }, 9..=14),
        ("is not used any more, or costs nothing", |sample| ResourceSample { utilization: Some(0.01), ..sample }, 1..=16),
    ];
    for (why, change, days) in odd {
        let mut bench = bench();
        if let Some(rules) = bench.rules.matters.waste.as_mut().and_then(|waste| waste.oversized.as_mut()) {
            rules.most_mean = 0.35;
        }
        bench.hours(0..24 * 15, |hour| vm(hour, "vm-1"));
        assert_eq!(bench.shard.open_alerts(), 1);
        bench.hours(24 * 15..24 * 33, |hour| change(vm(hour, "vm-1")));
        let of_size = |alert: &&crate::model::alert::Alert| alert.kind == AlertKind::OversizedResource;
        let last = bench.alerts.iter().rfind(of_size).unwrap();
        assert!(last.state == AlertState::Resolved && last.summary.contains(why), "{why}: {:#?}", bench.told());
        let day = (last.event_time.0 - START.start().0) / DAY_MS - 14;
        assert!(days.contains(&day), "{why}: day {day}");
    }
    // A longer window, of which not all is known.
    let mut bench = bench();
    bench.hours(0..24 * 15, |hour| vm(hour, "vm-1"));
    if let Some(rules) = bench.rules.matters.waste.as_mut().and_then(|waste| waste.oversized.as_mut()) {
        rules.window_days = 30;
    }
    bench.hours(24 * 15..24 * 17, |hour| vm(hour, "vm-1"));
    let last = bench.alerts.last().unwrap();
    assert!(last.state == AlertState::Resolved && last.summary.contains("can no longer be judged"), "{:#?}", bench.told());
    // The twin: some samples without use within a day are no reason.
    let mut bench = self::bench();
    bench.hours(0..24 * 15, |hour| vm(hour, "vm-1"));
    bench.hours(24 * 15..24 * 18, |hour| {
        if hour % 24 < 3 { ResourceSample { utilization: None, requests: Some(5), ..vm(hour, "vm-1") } } else { vm(hour, "vm-1") }
    });
    assert!(bench.alerts.iter().all(|alert| alert.state != AlertState::Resolved), "{:#?}", bench.told());
}

#[test]
fn sizes_that_nobody_wants_to_know_of_end() {
    let off: [fn(&mut MatterRules); 2] =
        [|matters| matters.waste.iter_mut().for_each(|waste| waste.oversized = None), |matters| matters.waste = None];
    for off in off {
        let mut bench = bench();
        bench.hours(0..24 * 15, |hour| vm(hour, "vm-1"));
        assert_eq!(bench.shard.open_alerts(), 1);
        off(&mut bench.rules.matters);
        bench.close(24 * 15);
        let last = bench.alerts.last().unwrap();
        assert_eq!((last.state, last.kind, last.revision), (AlertState::Resolved, AlertKind::OversizedResource, 2), "{:#?}", bench.told());
        assert!(last.summary.contains("[waste.oversized] is off"), "{}", last.summary);
        assert_eq!(bench.shard.open_alerts(), 0);
    }
}

#[test]
fn sizes_are_restored_as_they_were() {
    let mut bench = bench();
    let mut changelog = BTreeMap::new();
    for day in 0..17 {
        bench.hours(24 * day..24 * (day + 1), |hour| vm(hour, "vm-1"));
        for change in bench.shard.take_changes() {
            match change.value {
                Some(value) => changelog.insert(change.key, value),
                None => changelog.remove(&change.key),
            };
        }
        let mut restorer = Restorer::new(1);
        changelog.iter().for_each(|(key, value)| restorer.put(key, Some(value)).unwrap());
        restorer.changelog_read(&bench.rules).unwrap().unwrap();
        let restored = restorer.finish().unwrap();
        assert_eq!(restored, bench.shard, "day {day}");
        bench.shard = restored;
    }
    assert_eq!(bench.alerts.len(), 2, "{:#?}", bench.told());
    assert_eq!(bench.alerts[0].decided_at.0 - bench.alerts[0].event_time.0, MINUTE_MS);
}
