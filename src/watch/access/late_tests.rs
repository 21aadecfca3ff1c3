//! What comes late, is switched off for a while, or comes in great numbers: it is told once, and ends as if it had come in time.

use super::book::{Access, MOST_GRANTS, MOST_WITH_OVER};
use super::fleet::{DAY, Fleet, HOUR, SHARDS, access, at};
use super::rules::AccessRules;
use crate::model::access::{GrantName, Object};
use crate::model::activity::ActivityEvent;
use crate::model::alert::AlertState::{self, Open, Resolved};
use crate::model::hash::shard_of;
use crate::model::partial::ShardEvent;
use crate::model::violation::Violation;

const UNGRANTED: &str = "access.ungranted";
const UNUSED: &str = "access.unused-grant";
const OWNERS: &str = "risk";
const USERS: &str = "sales";

fn said(told: &[Violation]) -> Vec<(&str, AlertState)> {
    told.iter().map(|one| (one.policy.as_str(), one.state)).collect()
}

fn open(fleet: &Fleet) -> usize {
    fleet.shards.iter().map(|shard| shard.open_violations()).sum()
}

#[test]
fn a_use_of_before_a_grant_is_settled_by_it_however_late_it_is_told() {
    let mut fleet = Fleet::new();
    fleet.event(0, OWNERS, "grant", |event| event.actor = Some("ann".into()));
    assert_eq!(fleet.access(10, USERS, "acme"), []);
    assert_eq!(said(&fleet.pass(12)), [(UNGRANTED, Open)]);
    assert_eq!(said(&fleet.event(20, OWNERS, "grant", |_| {})), [(UNGRANTED, Resolved)]);
    assert_eq!(fleet.event(25, USERS, "access", |event| event.event_time = at(15)), []);
    assert_eq!(fleet.pass(30), [], "it has been told and settled");
    // Nothing was known of them before.
    fleet.event(40, OWNERS, "grant", |event| event.actor = Some("bob".into()));
    assert_eq!(fleet.event(45, USERS, "access", |event| (event.actor, event.event_time) = (Some("bob".into()), at(35))), []);
    let told = fleet.pass(50);
    assert_eq!((said(&told), told[1].closed_at), (vec![(UNGRANTED, Open), (UNGRANTED, Resolved)], Some(at(40))));
    assert_eq!(open(&fleet), 0);
    // A later use without a grant goes on, whatever comes of before.
    fleet.event(60, OWNERS, "revoke", |_| {});
    fleet.access(65, USERS, "acme");
    assert_eq!(fleet.pass(67).len(), 1);
    fleet.event(70, USERS, "access", |event| event.event_time = at(16));
    assert_eq!((fleet.pass(75), open(&fleet)), (vec![], 1));
}

#[test]
fn what_is_granted_and_taken_back_while_nobody_looks_is_known_when_somebody_does() {
    let mut fleet = Fleet::with(AccessRules { hands: 0, ..access() });
    for who in ["acme", "busy"] {
        fleet.event(0, OWNERS, "grant", |event| event.actor = Some(who.into()));
    }
    let rules = fleet.rules.matters.access.take();
    fleet.event(10, OWNERS, "revoke", |_| {});
    fleet.event(11, OWNERS, "grant", |event| event.actor = Some("bob".into()));
    fleet.event(12, "hr", "offboarded", |event| (event.actor, event.model) = (Some("dora".into()), None));
    assert_eq!(fleet.access(13, USERS, "acme"), []);
    assert_eq!(fleet.access(13, USERS, "dora"), []);
    assert_eq!(fleet.access(20 * DAY, USERS, "busy"), []);
    fleet.access(20 * DAY, USERS, "bob");
    assert_eq!(fleet.pass(40 * DAY), []);
    fleet.rules.matters.access = rules;
    assert_eq!(fleet.pass(40 * DAY + 1), [], "both grants are used, the third was taken back");
    assert_eq!(said(&fleet.access(40 * DAY + 3, USERS, "dora")), [("access.offboarded", Open)]);
    fleet.access(40 * DAY + 5, USERS, "acme");
    fleet.access(40 * DAY + 5, USERS, "bob");
    let told = fleet.pass(40 * DAY + 8);
    assert_eq!(said(&told), [(UNGRANTED, Open)]);
    assert!(told[0].message.contains("their grant was revoked"), "{told:?}");
}

/// Producers send again, and what they send again was over since.
#[test]
fn a_grant_that_is_told_again_does_not_begin_before_it_was_taken_back() {
    let mut fleet = Fleet::new();
    fleet.event(0, OWNERS, "grant", |event| event.actor = Some("ann".into()));
    let given = |fleet: &mut Fleet, minute, of| fleet.event(minute, OWNERS, "grant", |event| event.event_time = at(of));
    let used = |fleet: &mut Fleet, minute, of| {
        let mut told = fleet.event(minute, USERS, "access", |event| event.event_time = at(of));
        told.extend(fleet.pass(minute + 2));
        told.iter().map(|one| (one.policy.clone(), one.state)).collect::<Vec<_>>()
    };
    given(&mut fleet, 10, 10);
    fleet.event(100, OWNERS, "revoke", |_| {});
    given(&mut fleet, 200, 200);
    given(&mut fleet, 210, 10);
    assert_eq!(
        used(&mut fleet, 220, 150),
        [Open, Resolved].map(|state| (UNGRANTED.to_string(), state)),
        "nobody had granted it at that time"
    );
    let begin = |fleet: &Fleet| fleet.shards[0].matters.access.grants.values().filter_map(|grant| grant.from).max();
    assert_eq!(begin(&fleet), Some(at(200)));
    // What was given since it was taken back, and is heard of late, is a part of it.
    given(&mut fleet, 230, 190);
    assert_eq!((used(&mut fleet, 240, 195), begin(&fleet)), (vec![], Some(at(190))));
}

/// More than are told one by one.
#[test]
fn grants_that_are_told_together_are_told_once() {
    let mut fleet = Fleet::new();
    let given = |number: usize| ActivityEvent {
        event_id: format!("g{number}").as_str().into(),
        event_time: at(0),
        team: OWNERS.into(),
        action: Some("grant".into()),
        model: Some("risk".into()),
        actor: Some(format!("u{number}").as_str().into()),
        ..ActivityEvent::default()
    };
    let all = (0..600).map(|number| ShardEvent::Grant(Box::new(given(number)))).collect();
    let home = shard_of(OWNERS, SHARDS);
    assert_eq!(fleet.record(home, 0, Vec::new(), all), []);
    let mut told = fleet.pass(31 * DAY);
    told.extend((1..4).flat_map(|hour| fleet.pass(31 * DAY + hour * HOUR)));
    let together: Vec<&Violation> = told.iter().filter(|one| one.subject == "(other)").collect();
    assert_eq!((told.len(), together.len()), (501, 1), "{together:?}");
    // Taken back, all of them.
    let back = |number: usize| ActivityEvent { event_time: at(32 * DAY), action: Some("revoke".into()), ..given(number) };
    let all = (0..600).map(|number| ShardEvent::Grant(Box::new(back(number)))).collect();
    fleet.record(home, 32 * DAY, Vec::new(), all);
    fleet.pass(32 * DAY + HOUR);
    assert_eq!(open(&fleet), 0);
}

#[test]
fn duties_that_are_told_together_end_with_the_last_of_them() {
    let mut fleet = Fleet::new();
    fleet.event(0, OWNERS, "grant", |event| event.actor = Some("x".into()));
    let mut all_do = |minute: i64, who: &str, action: &str, versions: std::ops::Range<usize>| {
        let act = |version: usize| ActivityEvent {
            event_id: format!("{who}-{action}-{version}").as_str().into(),
            event_time: at(minute),
            team: OWNERS.into(),
            action: Some(action.into()),
            model: Some("risk".into()),
            model_version: Some(version.to_string().as_str().into()),
            actor: Some(who.into()),
            ..ActivityEvent::default()
        };
        let all = versions.map(|version| ShardEvent::Activity(Box::new(act(version)))).collect();
        let told = fleet.record(shard_of(OWNERS, SHARDS), minute, Vec::new(), all);
        let together: Vec<AlertState> = told.iter().filter(|one| one.subject == "(other)").map(|one| one.state).collect();
        (told.len(), together)
    };
    assert_eq!(all_do(1, "bob", "approval", 0..510), (0, vec![]));
    assert_eq!(all_do(2, "bob", "deployment", 0..510), (501, vec![Open]));
    assert_eq!(all_do(HOUR, "bob", "deployment", 0..0), (0, vec![]));
    assert_eq!(all_do(HOUR + 1, "ann", "approval", 0..505), (500, vec![]));
    assert_eq!(all_do(2 * HOUR, "ann", "approval", 0..0), (0, vec![]), "five are left");
    assert_eq!(all_do(2 * HOUR + 1, "ann", "approval", 505..510), (0, vec![]));
    assert_eq!(all_do(3 * HOUR, "ann", "approval", 0..0), (1, vec![Resolved]));
    assert_eq!(open(&fleet), 0);
}

#[test]
fn a_grant_that_expires_unused_is_no_trouble_any_more() {
    let mut fleet = Fleet::new();
    fleet.event(0, OWNERS, "grant", |event| event.expires_at = Some(at(40 * DAY)));
    assert_eq!(said(&fleet.pass(31 * DAY)), [(UNUSED, Open)]);
    assert_eq!(said(&fleet.pass(40 * DAY)), [(UNUSED, Resolved)]);
}

#[test]
fn what_is_over_takes_no_room_from_what_holds() {
    let mut book = Access::default();
    let name =
        |number: usize| GrantName { object: Object::Model("risk".into()), principal: number.to_string().as_str().into(), role: None };
    for number in 0..MOST_GRANTS {
        book.change_grant(&name(number), |grant| {
            grant.give(at(0), None);
            if number % 2 == 0 {
                grant.revoke(at(1 + i64::try_from(number).unwrap()));
            }
        });
    }
    book.forget(at(DAY * 400), 0);
    assert_eq!((book.grants.len(), book.grants.contains_key(&name(1))), (MOST_WITH_OVER, true));
    let left = [0, 2 * (MOST_GRANTS - MOST_WITH_OVER)].map(|number| book.grants.contains_key(&name(number)));
    assert_eq!(left, [false, true], "those that have been over for longest have gone");
    book.change_grant(&name(MOST_GRANTS), |grant| grant.give(at(DAY * 400), None));
    assert!(book.grants.contains_key(&name(MOST_GRANTS)) && !book.is_full);
}
