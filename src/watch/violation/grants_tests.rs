//! Grants that a policy forbids: what ends their violation, and what does not.

use super::life::Tracked;
use super::tests::{Bench, states};
use crate::model::activity::ActivityEvent;
use crate::model::alert::AlertState::{Open, Reopened, Resolved};
use crate::model::partial::ShardEvent;
use crate::model::time::Minute;
use crate::model::violation::Violation;
use crate::policy::Policy;
use crate::policy::fields::Subject;
use crate::policy::stream::tests::policy_over;
use crate::watch::access::rules::{AccessRules, Kind};
use crate::watch::state::encode;
use crate::watch::tests::START;

fn outsiders(per: &[&str]) -> Bench {
    let policy = policy_over(Subject::Activity, "outsiders", "action == 'grant' && principal_type == 'third_party'", None);
    Bench::new(vec![Policy { per: per.iter().map(|name| Subject::Activity.field(name).unwrap()).collect(), ..policy }])
}

/// As intake sends it on: to every shard if it is about grants, and to the one of its team. The first is what other shards hear.
fn told(bench: &mut Bench, minute: i64, action: &str, who: &str, change: impl FnOnce(&mut ActivityEvent)) -> Vec<Violation> {
    let mut activity = ActivityEvent {
        event_id: format!("{minute}-{action}").as_str().into(),
        event_time: Minute(START.0 + minute).start(),
        team: "search".into(),
        action: Some(action.into()),
        actor: Some(who.into()),
        model: Some("risk-scorer".into()),
        ..ActivityEvent::default()
    };
    change(&mut activity);
    let own = &*activity.team == "search";
    let event = ShardEvent::Activity(Box::new(activity));
    let events = event.for_all().into_iter().chain(Some(event).filter(|_| own)).collect();
    bench.record(minute, Vec::new(), events)
}

/// Grants are known, and nothing else is said of them.
fn watched() -> Bench {
    let mut bench = outsiders(&["model"]);
    let off = Kind::ALL.iter().map(|(_, kind)| *kind).collect();
    bench.rules.matters.access = Some(AccessRules { off, ..AccessRules::default() });
    bench
}

fn outside(activity: &mut ActivityEvent) {
    activity.principal_type = Some("third_party".into());
}

#[test]
fn a_grant_violates_until_it_is_revoked_itself() {
    for per in [&["model"][..], &["model", "actor"], &[]] {
        let mut bench = outsiders(per);
        assert_eq!(states(&told(&mut bench, 0, "grant", "acme", outside)), [(Open, 1)], "{per:?}");
        assert_eq!(told(&mut bench, 1, "revoke", "ann", |_| {}), [], "somebody else's, {per:?}");
        assert_eq!(told(&mut bench, 2, "undeployment", "ann", |_| {}), [], "it runs no more, and may be used as before");
        assert_eq!(told(&mut bench, 3, "revoke", "acme", |activity| activity.approval = Some("RV-1".into())), [], "an approval");
        assert_eq!(told(&mut bench, 4, "revoke", "acme", |activity| activity.model = Some("other".into())), []);
        assert_eq!(told(&mut bench, 5, "revoke", "acme", |activity| activity.role = Some("admin".into())), [], "not what it has");
        assert_eq!(bench.minute(3 * 24 * 60, vec![]), [], "however quiet it is");
        assert_eq!(states(&told(&mut bench, 5_000, "revoke", "acme", |_| {})), [(Resolved, 2)], "{per:?}");
        assert_eq!(states(&told(&mut bench, 5_001, "grant", "acme", outside)), [(Reopened, 3)]);
        assert_eq!(
            states(&told(&mut bench, 5_002, "approval", "ann", |activity| activity.approval = Some("RV-2".into()))),
            [(Resolved, 4)]
        );
    }
}

#[test]
fn a_grant_violates_until_all_is_taken_back_or_its_receiver_has_left() {
    let everything = |activity: &mut ActivityEvent| activity.model = None;
    let of_office = |activity: &mut ActivityEvent| (activity.model, activity.team) = (None, "hr".into());
    for (action, change) in
        [("revoke", &everything as &dyn Fn(&mut ActivityEvent)), ("offboarded", &everything), ("offboarded", &of_office)]
    {
        let mut bench = outsiders(&["model"]);
        assert_eq!(states(&told(&mut bench, 0, "grant", "acme", outside)), [(Open, 1)]);
        assert_eq!(told(&mut bench, 1, action, "ann", change), [], "{action} of somebody else");
        assert_eq!(states(&told(&mut bench, 2, action, "acme", change)), [(Resolved, 2)], "{action}");
    }
}

#[test]
fn a_violation_of_several_grants_ends_with_the_last() {
    let mut bench = outsiders(&["model"]);
    let as_reader = |activity: &mut ActivityEvent| (outside(activity), activity.role = Some("reader".into())).1;
    assert_eq!(states(&told(&mut bench, 0, "grant", "acme", outside)), [(Open, 1)]);
    told(&mut bench, 1, "grant", "acme", as_reader);
    // Written by who gave it.
    let by_iam = |activity: &mut ActivityEvent| {
        outside(activity);
        activity.tags.insert("principal".into(), "globex".into());
    };
    told(&mut bench, 2, "grant", "iam", by_iam);
    let kept = bench.shard.violations.known.values().next().unwrap();
    let sealed = encode(kept);
    assert_eq!(Tracked::restored(&sealed[6..]).as_ref(), Ok(kept));
    assert_eq!(told(&mut bench, 3, "revoke", "globex", |_| {}), [], "acme has it");
    assert_eq!(told(&mut bench, 4, "revoke", "acme", |activity| activity.role = Some("reader".into())), [], "and one without a role");
    let late = |activity: &mut ActivityEvent| activity.event_time = Minute(START.0 - 1).start();
    assert_eq!(told(&mut bench, 5, "revoke", "acme", late), [], "of before it was given");
    assert_eq!(states(&told(&mut bench, 6, "revoke", "acme", |_| {})), [(Resolved, 2)]);
}

#[test]
fn a_revoked_grant_does_not_end_what_a_deployment_violates_as_well() {
    let condition = "action in ['deployment', 'grant'] && principal_type == 'third_party'";
    let policy = policy_over(Subject::Activity, "outsiders", condition, None);
    let mut bench = Bench::new(vec![Policy { per: vec![Subject::Activity.field("model").unwrap()], ..policy }]);
    let endpoint = |activity: &mut ActivityEvent| {
        outside(activity);
        activity.resource_id = Some("ep-1".into());
    };
    assert_eq!(states(&told(&mut bench, 0, "deployment", "acme", endpoint)), [(Open, 1)]);
    told(&mut bench, 1, "grant", "acme", outside);
    assert_eq!(told(&mut bench, 2, "revoke", "acme", |_| {}), [], "it still runs");
    let ended = told(&mut bench, 3, "undeployment", "acme", endpoint);
    assert_eq!(ended.iter().map(|violation| violation.state).collect::<Vec<_>>(), [Resolved]);
}

/// Topics keep no order among partitions: nothing would end what begins with it.
#[test]
fn a_grant_that_is_heard_of_after_its_end_opens_nothing() {
    let early = |minute: i64, role: Option<&'static str>| {
        move |activity: &mut ActivityEvent| {
            outside(activity);
            (activity.event_time, activity.role) = (Minute(START.0 + minute).start(), role.map(Into::into));
        }
    };
    let everywhere = |activity: &mut ActivityEvent| activity.model = None;
    for (action, role) in [("revoke", None), ("revoke", Some("reader")), ("offboarded", None)] {
        let mut bench = watched();
        told(&mut bench, 10, action, "acme", |_| {});
        assert_eq!(told(&mut bench, 11, "grant", "acme", early(5, role)), [], "{action} {role:?}");
        assert_eq!(told(&mut bench, 12, "grant", "globex", early(5, role)).len(), 1, "somebody else");
        // Of an open one it is no part either: that ends without it.
        told(&mut bench, 13, "grant", "acme", early(4, role));
        assert_eq!(states(&told(&mut bench, 14, "revoke", "globex", everywhere)), [(Resolved, 2)], "{action} {role:?}");
        assert_eq!(states(&told(&mut bench, 15, "grant", "acme", early(15, role))), [(Reopened, 3)], "given since");
    }
    // Both in one record.
    let mut bench = watched();
    let event = |minute: i64, action: &str, model: &str| {
        let activity = ActivityEvent {
            event_id: format!("{minute}-{action}").as_str().into(),
            event_time: Minute(START.0 + minute).start(),
            team: "search".into(),
            action: Some(action.into()),
            actor: Some("acme".into()),
            model: Some(model.into()),
            principal_type: Some("third_party".into()),
            ..ActivityEvent::default()
        };
        let event = ShardEvent::Activity(Box::new(activity));
        event.for_all().into_iter().chain([event]).collect::<Vec<_>>()
    };
    let both = [event(9, "revoke", "risk-scorer"), event(5, "grant", "risk-scorer")].concat();
    assert_eq!(bench.record(20, Vec::new(), both), []);
    let other = [event(9, "revoke", "other"), event(5, "grant", "risk-scorer")].concat();
    assert_eq!(bench.record(21, Vec::new(), other), [], "as it is known by now");
    let other = [event(9, "revoke", "risk-scorer"), event(5, "grant", "other-2")].concat();
    assert_eq!(states(&bench.record(22, Vec::new(), other)), [(Open, 1)]);
}

#[test]
fn a_grant_that_expires_violates_no_more() {
    let until = |minute: i64| {
        move |activity: &mut ActivityEvent| {
            outside(activity);
            activity.expires_at = Some(Minute(START.0 + minute).start());
        }
    };
    let mut bench = watched();
    assert_eq!(states(&told(&mut bench, 0, "grant", "acme", until(90))), [(Open, 1)]);
    told(&mut bench, 1, "grant", "globex", until(200));
    assert_eq!(bench.minute(125, vec![]), [], "another one holds");
    told(&mut bench, 190, "grant", "globex", until(300));
    assert_eq!(bench.minute(245, vec![]), [], "given for longer");
    let ended = bench.minute(305, vec![]);
    assert_eq!((states(&ended), ended[0].closed_at), (vec![(Resolved, 3)], Some(Minute(START.0 + 300).start())));
    assert_eq!(states(&told(&mut bench, 310, "grant", "acme", outside)), [(Reopened, 4)]);
    assert_eq!(bench.minute(3 * 24 * 60, vec![]), [], "without an end it stays");
}
