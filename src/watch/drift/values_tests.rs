//! Values that say little, fall to nothing or come while nobody looks, and what they lead to.

use super::tests::{Bench, drift_rules, states};
use crate::model::Text;
use crate::model::activity::ActivityEvent;
use crate::model::alert::AlertState::Open;
use crate::model::time::Minute;
use crate::model::violation::Violation;
use crate::watch::tests::{START, partial};

fn evaluations(bench: &mut Bench, hours: std::ops::Range<i64>, metric: &str, value: f64, samples: Option<u64>) -> Vec<Violation> {
    hours.flat_map(|hour| bench.evaluation(hour, metric, value, samples)).collect()
}

#[test]
fn an_evaluation_of_nothing_is_no_look() {
    let mut bench = Bench::accepted();
    assert_eq!(evaluations(&mut bench, 10..16, "refusal_rate", 0.0, Some(0)), []);
    assert_eq!(evaluations(&mut bench, 16..22, "refusal_rate", 5.0, Some(0)), []);
    let mut mixed = |hour: i64, refunds: &str, orders: &str| {
        bench.activity(hour, "evaluation", |activity: &mut ActivityEvent| {
            (activity.model_version, activity.metric) = (Some("2024-08".into()), Some("input_topics".into()));
            activity.tags = [("refunds", refunds), ("orders", orders)].map(|(name, count)| (Text::from(name), Text::from(count))).into();
        })
    };
    assert_eq!((22..26).flat_map(|hour| mixed(hour, "80", "320")).collect::<Vec<_>>(), []);
    // Between looks at another mix nothing is not a look at the old one.
    let told: Vec<_> = [(30, "240", "160"), (31, "0", "0"), (32, "240", "160"), (33, "0", "0"), (34, "240", "160")]
        .into_iter()
        .flat_map(|(hour, refunds, orders)| mixed(hour, refunds, orders))
        .collect();
    assert_eq!(states(&told), [(Open, 1)]);
    bench.restart();
}

#[test]
fn values_that_no_longer_say_of_how_many_are_looked_at_all_the_same() {
    let mut bench = Bench::accepted();
    assert_eq!(evaluations(&mut bench, 10..11, "refusal_rate", 0.02, Some(30)), [], "not enough for a look");
    assert_eq!(states(&evaluations(&mut bench, 11..20, "refusal_rate", 0.5, None)), [(Open, 1)]);
    bench.restart();
}

#[test]
fn a_cache_that_is_used_no_more_is_told_and_one_that_never_was_is_not() {
    let mut bench = Bench::new();
    bench.own().usage_days = 5;
    let mut day = |day: i64, cached: u64| {
        let monday = 4 - START.0.div_euclid(1440).rem_euclid(7);
        let minute = Minute(START.0 + (monday + 7 + day) * 1440);
        let of = |project: &str, cached: u64| {
            let mut partial = partial(minute, "search", project, "ann", 1.0);
            (partial.requests, partial.events, partial.tokens_output, partial.tokens_input) = (300, 300, 3_000, 100_000);
            partial.tokens_cached_input = cached;
            partial
        };
        bench.record(minute.start(), vec![of("ranker", cached), of("writer", 0)], Vec::new())
    };
    let told: Vec<_> = (0..12).flat_map(|number| day(number, 50_000 + 100 * u64::try_from(number % 3).unwrap())).collect();
    assert_eq!(told, []);
    let told: Vec<_> = (14..19).flat_map(|number| day(number, 0)).collect();
    assert_eq!(states(&told)[..1], [(Open, 1)]);
    assert!(told[0].message.contains("part of input from the cache (ranker, working days) 0"), "{}", told[0].message);
    bench.restart();
}

#[test]
fn what_is_accepted_and_deployed_while_nobody_looks_is_known_when_somebody_does() {
    let mut bench = Bench::accepted();
    bench.rules.matters.drift = None;
    assert_eq!(bench.accept(10, "2024-11"), []);
    bench.activity(11, "deployment", |activity| {
        (activity.model_version, activity.resource_id) = (Some("2024-11".into()), Some("ep-8".into()));
    });
    assert_eq!(bench.evaluation(12, "refusal_rate", 0.09, Some(400)), []);
    bench.restart();
    bench.rules.matters.drift = Some(drift_rules());
    assert_eq!(evaluations(&mut bench, 13..18, "refusal_rate", 0.09, Some(400)), [], "of a version that another one has replaced");
    let current = |bench: &mut Bench, hour: i64, value: f64| {
        bench.activity(hour, "evaluation", |activity| {
            (activity.metric, activity.value, activity.samples) = (Some("refusal_rate".into()), Some(value), Some(400));
        })
    };
    assert_eq!((20..22).flat_map(|hour| current(&mut bench, hour, 0.02)).collect::<Vec<_>>(), []);
    let told: Vec<_> = (22..25).flat_map(|hour| current(&mut bench, hour, 0.09)).collect();
    assert_eq!((states(&told), told[0].dimensions["resource_id"].as_str()), (vec![(Open, 1)], "ep-8"));
}
