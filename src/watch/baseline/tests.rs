//! Stages, experts, size, and that a restored baseline goes on like the running one.

use proptest::prelude::*;

use super::*;

/// Feeds `value(hours since birth)`; local time is UTC. Hour 96 after the epoch is a Monday's first.
fn fed(hours: i64, value: impl Fn(i64) -> f64) -> Baseline {
    let mut baseline = Baseline::new(Hour(96));
    for at in 0..hours {
        let hour = Hour(96 + at);
        baseline.observe(hour, LocalHour::at(hour, 0), value(at), Learn::Normal);
    }
    baseline
}

fn next(baseline: &Baseline) -> Expectation {
    baseline.expect(baseline.next_hour(), LocalHour::at(baseline.next_hour(), 0))
}

#[test]
fn local_hours_follow_the_offset() {
    let cases = [
        (0, 0, 0, 3),         // 1970-01-01T00Z, a Thursday
        (96, 0, 0, 0),        // Monday
        (95, 3_600, 0, 0),    // already Monday in Berlin
        (96, -18_000, 19, 6), // still Sunday in New York
        (0, 19_800, 5, 3),    // 05:30 in India
        (-1, 0, 23, 2),
    ];
    for (hour, offset, hour_of_day, day_of_week) in cases {
        assert_eq!(LocalHour::at(Hour(hour), offset), LocalHour { hour_of_day, day_of_week }, "{hour} {offset}");
    }
}

#[test]
fn stages_follow_the_age() {
    let cases = [
        (0, Stage::New),
        (2, Stage::New),
        (3, Stage::FirstDay),
        (23, Stage::FirstDay),
        (24, Stage::FirstWeeks),
        (335, Stage::FirstWeeks),
        (336, Stage::Seasoned),
    ];
    for (hours, stage) in cases {
        let baseline = fed(hours, |_| 1.0);
        assert_eq!(baseline.stage(baseline.next_hour()), stage, "{hours}");
    }
}

#[test]
fn the_best_expert_is_believed() {
    let by_day = |at: i64| if at % 24 < 12 { 10.0 } else { 100.0 };
    let by_week = |at: i64| if at % 168 < 120 { by_day(at) } else { 1.0 };
    let drifting = |at: i64| 1.1_f64.powi((at / 24) as i32) * 10.0;
    type Case<'a> = (&'a str, i64, &'a dyn Fn(i64) -> f64, Expert, f64);
    let cases: [Case<'_>; 6] = [
        ("two hours", 2, &by_day, Expert::None, 0.0),
        ("first day", 20, &by_day, Expert::RecentMedian, 100.0),
        ("a week, daily season", 168, &by_day, Expert::HourOfDay, 10.0),
        ("no season, growth", 240, &drifting, Expert::RecentMedian, drifting(239)),
        ("four weeks, weekly season", 672, &by_week, Expert::HourOfWeek, 10.0),
        ("four weeks, daily season only", 672, &by_day, Expert::HourOfDay, 10.0),
    ];
    for (name, hours, value, expert, expected) in cases {
        let expectation = next(&fed(hours, value));
        assert_eq!(expectation.expert, expert, "{name}");
        assert!((expectation.expected - expected).abs() <= 0.1 * expected, "{name}: {}", expectation.expected);
        assert!(expectation.lower <= expectation.expected && expectation.expected <= expectation.ceiling, "{name}");
        assert!(expectation.ceiling < expectation.upper, "{name}");
    }
}

#[test]
fn alarmed_hours_hardly_move_it() {
    let mut alarmed = fed(400, |at| 10.0 + (at % 3) as f64);
    let before = next(&alarmed);
    for _ in 0..6 {
        let hour = alarmed.next_hour();
        alarmed.observe(hour, LocalHour::at(hour, 0), 1_000.0, Learn::Alarmed);
    }
    let after = next(&alarmed);
    assert!(after.expected < before.expected + 4.0 * before.scale, "{before:?} {after:?}");
    assert!(after.upper < 3.0 * before.upper, "{before:?} {after:?}");
    assert!((990.0..=1_000.0).contains(&alarmed.usual_worst_hour()), "as much again is no runaway");
}

#[test]
fn earlier_hours_and_broken_numbers_are_ignored() {
    let mut baseline = fed(50, |_| 1.0);
    let same = baseline.clone();
    baseline.observe(Hour(100), LocalHour::at(Hour(100), 0), 5.0, Learn::Normal);
    baseline.observe(baseline.next_hour(), LocalHour::at(baseline.next_hour(), 0), f64::NAN, Learn::Normal);
    assert_eq!(baseline, same);
}

#[test]
fn it_is_small() {
    let bytes = |hours: i64| postcard::to_stdvec(&rest::Resting::new(&fed(hours, |at| (at % 17) as f64))).unwrap().len();
    assert!(bytes(20) <= 600, "{}", bytes(20));
    assert!(bytes(2_000) <= 1_100, "{}", bytes(2_000));
}

proptest! {
    #[test]
    fn restored_goes_on_like_running(values in prop::collection::vec((0.0_f64..1e6, any::<bool>()), 1..500), cut in 0_usize..500) {
        let mut running = Baseline::new(Hour(0));
        let mut restored = running.clone();
        for (at, (value, alarmed)) in values.iter().enumerate() {
            if at == cut {
                restored = rest::Resting::new(&running).wake();
            }
            let (hour, learn) = (Hour(at as i64), if *alarmed { Learn::Alarmed } else { Learn::Normal });
            for baseline in [&mut running, &mut restored] {
                baseline.observe(hour, LocalHour::at(hour, 7_200), *value, learn);
                // As between any two hours.
                *baseline = rest::Resting::new(baseline).wake();
            }
            let expectation = next(&running);
            prop_assert!(expectation.expected.is_finite() && expectation.upper.is_finite() && expectation.scale > 0.0);
        }
        prop_assert_eq!(running, restored);
    }
}
