//! Whose a resource is: who has left owns nothing any more, whenever that is heard, until they are back.

use super::tests::{Bench, gpu, watch_rules};
use super::*;
use crate::model::partial::ShardEvent;
use crate::watch::access::rules::AccessRules;
use crate::watch::tests::START;

fn vm(hour: i64, owner: Option<&str>) -> ResourceSample {
    ResourceSample { owner: owner.map(Text::from), resource_type: Some("vm".into()), ..gpu(hour, if hour < 20 { 0.5 } else { 0.0 }) }
}

/// As the IAM writes it.
fn say(bench: &mut Bench, hour: i64, action: &str, who: &str) {
    let at = START.start().plus_ms(hour * HOUR_MS);
    let activity = ActivityEvent {
        action: Some(action.into()),
        actor: Some("bob".into()),
        team: "it".into(),
        event_time: at,
        role: Some("reader".into()),
        dataset: Some("clicks".into()),
        tags: [("principal".into(), who.into())].into(),
        ..ActivityEvent::default()
    };
    let activity = ShardEvent::Activity(Box::new(activity));
    let to_all = activity.for_all().unwrap();
    bench.take(activity, at);
    bench.take(to_all, at);
}

fn kinds(bench: &Bench) -> Vec<AlertKind> {
    bench.alerts.iter().map(|alert| alert.kind).filter(|kind| kind.is_waste()).collect()
}

#[test]
fn who_leaves_while_a_sample_names_nobody_leaves_an_orphan() {
    let mut bench = Bench::new();
    bench.hours(0..29, |hour| vm(hour, Some("ann")));
    bench.hours(29..31, |hour| vm(hour, None));
    say(&mut bench, 30, "offboarded", "ann");
    // The inventory still names who has left.
    bench.hours(31..34, |hour| vm(hour, Some("ann")));
    assert_eq!(kinds(&bench), [AlertKind::OrphanedResource], "{:#?}", bench.told());
    // The twin: nobody has left.
    let mut bench = Bench::new();
    bench.hours(0..29, |hour| vm(hour, Some("ann")));
    bench.hours(29..31, |hour| vm(hour, None));
    bench.hours(31..34, |hour| vm(hour, Some("ann")));
    assert_eq!(bench.told(), Vec::<String>::new());
}

#[test]
fn who_is_first_named_after_having_left_owns_nothing() {
    for has_left in [true, false] {
        let mut rules = watch_rules();
        rules.matters.access = Some(AccessRules::default());
        let mut bench = Bench::with(rules);
        bench.hours(0..29, |hour| vm(hour, None));
        say(&mut bench, 29, "offboarded", if has_left { "ann" } else { "bob" });
        bench.hours(30..34, |hour| vm(hour, Some("ann")));
        let expected = if has_left { vec![AlertKind::OrphanedResource] } else { Vec::new() };
        assert_eq!(kinds(&bench), expected, "{:#?}", bench.told());
    }
}

#[test]
fn who_is_back_has_what_they_left() {
    let mut bench = Bench::new();
    bench.hours(0..30, |hour| vm(hour, Some("ann")));
    say(&mut bench, 30, "offboarded", "ann");
    bench.hours(31..35, |hour| vm(hour, Some("ann")));
    assert_eq!(bench.shard.open_alerts(), 1, "{:#?}", bench.told());
    // Somebody else's grant, and one of before.
    say(&mut bench, 35, "grant", "bob");
    say(&mut bench, 29, "grant", "ann");
    bench.hours(35..36, |hour| vm(hour, Some("ann")));
    assert_eq!(bench.shard.open_alerts(), 1, "{:#?}", bench.told());
    say(&mut bench, 36, "grant", "ann");
    bench.hours(37..39, |hour| vm(hour, Some("ann")));
    let last = bench.alerts.last().unwrap();
    assert_eq!((last.kind, last.state), (AlertKind::OrphanedResource, AlertState::Resolved), "{:#?}", bench.told());
    assert_eq!(bench.shard.open_alerts(), 0);
}
