//! Where a version runs, and that what has drifted of it is over with the last place.

use super::tests::{Bench, at, states};
use crate::model::activity::ActivityEvent;
use crate::model::alert::AlertState::{Open, Resolved};
use crate::model::partial::ShardEvent;

#[test]
fn what_no_longer_runs_anywhere_is_over() {
    let place = |region: &'static str| {
        move |activity: &mut ActivityEvent| {
            (activity.model_version, activity.region) = (Some("2024-08".into()), Some(region.into()));
        }
    };
    let mut bench = Bench::accepted();
    bench.activity(4, "deployment", place("us-east-1"));
    let told: Vec<_> = (10..13).flat_map(|hour| bench.evaluation(hour, "refusal_rate", 0.09, Some(400))).collect();
    assert_eq!(states(&told), [(Open, 1)]);
    assert_eq!(bench.activity(13, "undeployment", place("us-east-1")), [], "it runs in another region still");
    assert_eq!(bench.activity(14, "undeployment", |activity| activity.model_version = Some("2024-05".into())), [], "of another version");
    // Deployed elsewhere and undeployed here, told together: it goes on.
    let told = |action: &str, region: &'static str| {
        let mut activity = ActivityEvent {
            event_id: format!("{action}-{region}").as_str().into(),
            event_time: at(14),
            team: "search".into(),
            action: Some(action.into()),
            model: Some("gpt-4o".into()),
            ..ActivityEvent::default()
        };
        place(region)(&mut activity);
        ShardEvent::Activity(Box::new(activity))
    };
    assert_eq!(bench.record(at(14), Vec::new(), vec![told("deployment", "eu-west-1"), told("undeployment", "eu-central-1")]), []);
    let over = bench.activity(15, "undeployment", place("eu-west-1"));
    assert_eq!(states(&over), [(Resolved, 2)]);
    assert!(over[0].message.contains("it no longer runs anywhere"), "{}", over[0].message);
    bench.restart();
    assert_eq!(bench.activity(16, "undeployment", place("eu-west-1")), [], "told twice");
}
