//! An alert about waste ends with whatever it would not be told for: a price that is too little, a longer window, late use, an owner, and
//! samples that say nothing for a day.

use super::tests::{Bench, gpu, states};
use super::*;
use crate::model::alert::Alert;
use crate::watch::tests::START;

/// An alert of a cluster that is idle for 32 hours, with a grace of days to come.
fn idle_since_yesterday() -> Bench {
    let mut bench = Bench::new();
    bench.hours(0..48, |hour| gpu(hour, 0.6));
    bench.hours(48..80, |hour| gpu(hour, 0.01));
    assert_eq!(states(&bench), ["open"]);
    bench
}

#[test]
fn who_follows_the_advice_and_stops_it_hears_its_end() {
    let mut bench = idle_since_yesterday();
    let stopped = |hour| ResourceSample { state: Some("stopped".into()), hourly_cost: Some(Nanos(10_000_000)), ..gpu(hour, 0.0) };
    bench.hours(80..200, stopped);
    let last = bench.alerts.last().unwrap();
    assert_eq!((states(&bench), bench.shard.open_alerts()), (vec!["open", "resolved"], 0), "{:#?}", bench.told());
    assert_eq!((last.event_time, last.burn_rate_per_hour), (START.start().plus_ms(80 * HOUR_MS), Nanos::ZERO));
    assert!(last.summary.contains("gpu-1 (gpu_cluster) costs 7.30 USD a month since"), "{}", last.summary);
    bench.hours(200..201, |hour| gpu(hour, 0.0));
    assert_eq!(states(&bench)[2..], ["reopened"], "it is as dear again, and still idle");
}

#[test]
fn what_is_no_longer_unused_for_long_enough_is_over() {
    // A longer window, by the config.
    let mut bench = idle_since_yesterday();
    bench.rules.matters.waste.as_mut().unwrap().classes[0].window_ms = 6 * DAY_MS;
    bench.hours(80..150, |hour| gpu(hour, 0.01));
    assert_eq!(states(&bench), ["open", "resolved"], "{:#?}", bench.told());
    assert!(bench.alerts[1].summary.contains("[waste] wants a longer pause"), "{}", bench.alerts[1].summary);
    bench.hours(150..200, |hour| gpu(hour, 0.01));
    assert_eq!(states(&bench)[2], "reopened", "{:#?}", bench.told());
    // Use that is heard of late, and leaves enough of the pause, or too little.
    for (used_at, is_over) in [(50, false), (70, true)] {
        let mut bench = idle_since_yesterday();
        bench.sample(ResourceSample { event_time: START.start().plus_ms(used_at * HOUR_MS + 1), ..gpu(used_at, 0.9) });
        assert_eq!(bench.shard.open_alerts(), usize::from(!is_over), "{:#?}", bench.told());
        assert_eq!(bench.alerts.last().unwrap().summary.contains("as was heard of late"), is_over, "{:#?}", bench.told());
    }
    // Its owner is named again.
    let mut bench = Bench::new();
    let vm = |hour: i64, owner: Option<&str>| ResourceSample {
        owner: owner.map(Text::from),
        resource_type: Some("vm".into()),
        ..gpu(hour, if hour < 30 { 0.5 } else { 0.0 })
    };
    bench.hours(0..35, |hour| vm(hour, (hour < 30).then_some("ann")));
    bench.hours(35..60, |hour| vm(hour, Some("ann")));
    let last = bench.alerts.last().unwrap();
    assert_eq!((last.kind, last.state), (AlertKind::OrphanedResource, AlertState::Resolved), "{:#?}", bench.told());
    assert!(last.summary.contains("has an owner again"), "{}", last.summary);
}

#[test]
fn what_nobody_can_say_for_a_day_is_over_and_a_hole_is_not() {
    let blind = |hour: i64| ResourceSample { utilization: None, requests: None, ..gpu(hour, 0.0) };
    for (hours, is_over) in [(5, false), (40, true)] {
        let mut bench = idle_since_yesterday();
        bench.hours(80..80 + hours, blind);
        bench.hours(80 + hours..125, |hour| gpu(hour, 0.0));
        let ends: Vec<&Alert> = bench.alerts.iter().filter(|alert| alert.state == AlertState::Resolved).collect();
        assert_eq!(ends.len(), usize::from(is_over), "{:#?}", bench.told());
        for end in ends {
            let after = (end.event_time.0 - START.start().0) / HOUR_MS - 80;
            assert!((24..=28).contains(&after) && end.summary.contains("can no longer be judged"), "{after} {}", end.summary);
        }
    }
}
