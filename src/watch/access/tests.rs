//! Access as a fleet of shards lives through it: what is told of grants and uses, by whom, and what stays silent.

use super::fleet::{DAY, Fleet, HOUR, SHARDS, access, at};
use super::rules::{AccessRules, Kind};
use crate::model::activity::ActivityEvent;
use crate::model::alert::AlertState::{self, Open, Reopened, Resolved, Updated};
use crate::model::alert::Severity;
use crate::model::hash::shard_of;
use crate::model::violation::Violation;

fn said(told: &[Violation]) -> Vec<(&str, &str, &str, AlertState)> {
    told.iter().map(|one| (one.policy.as_str(), one.team.as_str(), one.subject.as_str(), one.state)).collect()
}

const UNGRANTED: &str = "access.ungranted";
const GONE: &str = "access.offboarded";
const UNUSED: &str = "access.unused-grant";
const ACME: &str = "principal=acme;model=risk";

/// Two teams in different shards: one has the model, the other uses it.
const OWNERS: &str = "risk";
const USERS: &str = "sales";

#[test]
fn teams_of_these_tests_live_in_different_shards() {
    assert_ne!(shard_of(OWNERS, SHARDS), shard_of(USERS, SHARDS));
}

#[test]
fn a_third_party_without_a_grant_is_told_and_one_with_a_grant_is_not() {
    let mut fleet = Fleet::new();
    assert_eq!(fleet.access(0, USERS, "acme"), [], "nothing is granted to anybody: nobody governs it");
    fleet.event(1, OWNERS, "grant", |event| event.actor = Some("ann".into()));
    assert_eq!(fleet.access(2, USERS, "ann"), []);
    let outside = |event: &mut ActivityEvent| event.principal_type = Some("third_party".into());
    assert_eq!(fleet.event(3, USERS, "access", outside), [], "its grant may be on the way");
    let told = fleet.pass(4);
    assert_eq!(said(&told), [(UNGRANTED, USERS, ACME, Open)]);
    assert_eq!((told[0].severity, told[0].count, told[0].action.as_deref()), (Severity::Critical, 1, Some("block")));
    assert_eq!(told[0].message, "acme (third party) of sales uses model risk: nobody has granted it to them");
    assert_eq!((told[0].evidence["granted_by"].as_str(), told[0].evidence["users"].as_str()), (OWNERS, "acme"));
    assert!(told[0].remedy.as_ref().unwrap().starts_with("Ask risk, which grants it,"), "{told:?}");
    // More of the same within the hour is counted; then somebody grants it.
    fleet.event(5, USERS, "access", outside);
    fleet.usage(6, USERS, "risk", "acme");
    assert_eq!(said(&fleet.pass(64)), []);
    fleet.event(65, USERS, "access", outside);
    let told = fleet.pass(66);
    assert_eq!((said(&told), told[0].count), (vec![(UNGRANTED, USERS, ACME, Updated)], 4));
    assert_eq!(said(&fleet.event(70, OWNERS, "grant", |_| {})), [(UNGRANTED, USERS, ACME, Resolved)]);
    fleet.event(71, USERS, "access", outside);
    fleet.usage(72, USERS, "risk", "acme");
    assert_eq!(fleet.pass(75), []);
}

#[test]
fn a_grant_of_a_version_covers_that_version_and_no_other() {
    let mut fleet = Fleet::new();
    let version = |version: &'static str| move |event: &mut ActivityEvent| event.model_version = Some(version.into());
    fleet.event(0, OWNERS, "grant", version("3"));
    // Models whose names begin alike, and that sort between the model and its versions.
    fleet.event(0, "others", "grant", |event| event.model = Some("risk-2".into()));
    assert_eq!(fleet.event(1, USERS, "access", version("3")), []);
    // Who does not say which version may have used the one that is granted.
    assert_eq!(fleet.access(2, USERS, "acme"), []);
    fleet.usage(3, USERS, "risk", "acme");
    assert_eq!(fleet.pass(6), []);
    fleet.event(7, USERS, "access", version("4"));
    let subject = "principal=acme;model=risk@4";
    let told = fleet.pass(9);
    assert_eq!(said(&told), [(UNGRANTED, USERS, subject, Open)]);
    assert_eq!(told[0].evidence["granted_by"], OWNERS, "who grants the other version: {told:?}");
    // Another version does not help, all versions do.
    assert_eq!(said(&fleet.event(10, OWNERS, "grant", version("5"))), []);
    assert_eq!(said(&fleet.event(11, OWNERS, "grant", |_| {})), [(UNGRANTED, USERS, subject, Resolved)]);
    fleet.event(12, USERS, "access", version("6"));
    assert_eq!(fleet.pass(15), []);
    // A version is taken back and the rest stands; then all of it is.
    fleet.event(20, OWNERS, "revoke", version("3"));
    fleet.event(21, USERS, "access", version("3"));
    assert_eq!(fleet.pass(23), [], "the grant of all versions stands");
    fleet.event(24, OWNERS, "revoke", |_| {});
    fleet.event(25, USERS, "access", version("5"));
    assert_eq!(said(&fleet.pass(27)), [(UNGRANTED, USERS, "principal=acme;model=risk@5", Open)]);
}

#[test]
fn a_grant_that_comes_late_through_another_partition_leaves_nothing_to_tell() {
    let mut fleet = Fleet::new();
    fleet.event(0, OWNERS, "grant", |event| event.actor = Some("ann".into()));
    assert_eq!(fleet.access(10, USERS, "acme"), []);
    // Given before the use, heard of after it.
    let late = ActivityEvent { event_id: "late".into(), event_time: at(9), team: OWNERS.into(), ..use_of_acme() };
    assert_eq!(fleet.send(10, ActivityEvent { action: Some("grant".into()), ..late }), []);
    assert_eq!(fleet.pass(12), []);
    // What was used long before is told, and settled by the grant.
    assert_eq!(fleet.access(14, USERS, "dora"), []);
    let told = fleet.event(14, OWNERS, "grant", |event| {
        (event.actor, event.event_time) = (Some("dora".into()), at(17));
    });
    let subject = "principal=dora;model=risk";
    assert_eq!(said(&told), [(UNGRANTED, USERS, subject, Open), (UNGRANTED, USERS, subject, Resolved)]);
    // Clocks differ by seconds: a use may be stamped before its grant.
    assert_eq!(fleet.access(20, USERS, "bob"), []);
    fleet.event(20, OWNERS, "grant", |event| {
        (event.actor, event.event_time) = (Some("bob".into()), at(20).plus_ms(30_000));
    });
    assert_eq!(fleet.pass(30), []);
}

#[test]
fn what_was_taken_back_stays_so_for_a_grant_that_is_heard_of_later() {
    let mut fleet = Fleet::new();
    let early = |version: Option<&'static str>, role: Option<&'static str>| {
        move |event: &mut ActivityEvent| {
            (event.event_time, event.model_version, event.role) = (at(5), version.map(Into::into), role.map(Into::into));
        }
    };
    fleet.event(10, OWNERS, "revoke", |_| {});
    fleet.event(11, OWNERS, "grant", early(Some("3"), None));
    fleet.event(11, OWNERS, "grant", early(None, Some("reader")));
    fleet.event(12, USERS, "access", |event| event.model_version = Some("3".into()));
    assert_eq!(said(&fleet.pass(15)), [(UNGRANTED, USERS, "principal=acme;model=risk@3", Open)]);
    let anew = fleet.event(20, OWNERS, "grant", |event| event.model_version = Some("3".into()));
    assert_eq!(said(&anew), [(UNGRANTED, USERS, "principal=acme;model=risk@3", Resolved)]);
}

#[test]
fn what_was_revoked_or_has_expired_is_told_as_that_and_a_renewal_is_not() {
    let mut fleet = Fleet::new();
    fleet.event(0, OWNERS, "grant", |event| {
        (event.principal_type, event.expires_at) = (Some("contractor".into()), Some(at(100)));
    });
    assert_eq!(fleet.access(99, USERS, "acme"), []);
    fleet.access(100, USERS, "acme");
    let told = fleet.pass(102);
    assert_eq!((said(&told), told[0].severity), (vec![(UNGRANTED, USERS, ACME, Open)], Severity::Critical));
    assert!(told[0].message.ends_with(&format!("their grant expired at {}", at(100))), "{told:?}");
    // Renewed: what was used in between is settled by it.
    assert_eq!(said(&fleet.event(105, OWNERS, "grant", |event| event.expires_at = Some(at(300)))), [(UNGRANTED, USERS, ACME, Resolved)]);
    // Renewed while it holds: a use of before that comes later is covered.
    fleet.event(200, OWNERS, "grant", |event| event.expires_at = Some(at(900)));
    assert_eq!(fleet.event(201, USERS, "access", |event| event.event_time = at(150)), []);
    assert_eq!(fleet.pass(205), []);
    fleet.event(210, OWNERS, "revoke", |_| {});
    assert_eq!(fleet.event(211, USERS, "access", |event| event.event_time = at(209)), [], "before it was revoked");
    fleet.access(212, USERS, "acme");
    let told = fleet.pass(214);
    assert_eq!(said(&told), [(UNGRANTED, USERS, ACME, Reopened)]);
    assert!(told[0].message.ends_with(&format!("their grant was revoked at {}", at(210))), "{told:?}");
}

#[test]
fn a_team_may_be_granted_something_and_config_may_govern_what_nobody_granted() {
    let mut fleet = Fleet::new();
    fleet.event(0, OWNERS, "grant", |event| {
        event.actor = Some("iam".into());
        event.tags.insert("principal".into(), "team:sales".into());
    });
    fleet.usage(1, USERS, "risk", "u-1");
    fleet.access(2, USERS, "u-2");
    assert_eq!(fleet.pass(5), []);
    fleet.usage(6, "hr", "risk", "u-3");
    assert_eq!(said(&fleet.pass(8)), [(UNGRANTED, "hr", "principal=u-3;model=risk", Open)]);
    fleet.event(9, "hr", "access", |event| (event.model, event.dataset) = (None, Some("payroll/2026".into())));
    let told = fleet.pass(11);
    assert_eq!(said(&told), [(UNGRANTED, "hr", "principal=acme;dataset=payroll/2026", Open)]);
    // Granted to the whole team: over for its members.
    let told = fleet.event(12, OWNERS, "grant", |event| event.actor = Some("team:hr".into()));
    assert_eq!(said(&told), [(UNGRANTED, "hr", "principal=u-3;model=risk", Resolved)]);
}

#[test]
fn an_event_that_comes_twice_counts_once() {
    let mut fleet = Fleet::new();
    fleet.event(0, OWNERS, "grant", |event| event.actor = Some("ann".into()));
    let used = ActivityEvent { event_id: "twice".into(), event_time: at(1), ..use_of_acme() };
    fleet.send(1, used.clone());
    fleet.send(1, used.clone());
    let told = fleet.pass(3);
    assert_eq!((said(&told), told[0].count), (vec![(UNGRANTED, USERS, ACME, Open)], 1));
    fleet.send(4, used);
    assert_eq!(fleet.send(70, ActivityEvent { event_id: "another".into(), event_time: at(70), ..use_of_acme() }), []);
    assert_eq!(fleet.pass(72)[0].count, 2);
}

fn use_of_acme() -> ActivityEvent {
    ActivityEvent {
        team: USERS.into(),
        action: Some("access".into()),
        model: Some("risk".into()),
        actor: Some("acme".into()),
        ..ActivityEvent::default()
    }
}

#[test]
fn who_has_left_and_goes_on_is_told_at_once_whatever_they_do() {
    let mut fleet = Fleet::new();
    fleet.event(0, OWNERS, "grant", |event| event.actor = Some("ann".into()));
    assert_eq!(fleet.access(5, USERS, "ann"), []);
    let told = fleet.event(10, "hr", "offboarded", |event| (event.actor, event.model) = (Some("ann".into()), None));
    assert_eq!(told, [], "what they did before was theirs to do");
    assert_eq!(fleet.event(11, USERS, "access", |event| (event.actor, event.event_time) = (Some("ann".into()), at(9))), []);
    assert_eq!(fleet.access(12, USERS, "bert"), [], "somebody else");
    let told = fleet.access(12, USERS, "ann");
    assert_eq!((said(&told), told[0].severity), (vec![(GONE, USERS, "principal=ann", Open)], Severity::Critical));
    assert_eq!(told[0].evidence["grants_that_stand"], "risk");
    assert!(told[0].message.starts_with("ann left at") && told[0].message.contains("access of model risk in sales"), "{told:?}");
    // In usage of what nobody governs, and in another team.
    let told = fleet.usage(13, "hr", "gpt-4o", "ann");
    assert_eq!(said(&told), [(GONE, "hr", "principal=ann", Open)]);
    let told = fleet.event(14, "ml", "approval", |event| event.actor = Some("ann".into()));
    assert_eq!(said(&told), [(GONE, "ml", "principal=ann", Open)], "not only uses");
    // Hired again.
    let told = fleet.event(20, OWNERS, "grant", |event| event.actor = Some("ann".into()));
    let mut ended: Vec<_> = said(&told).into_iter().filter(|(policy, ..)| *policy == GONE).collect();
    ended.sort_by_key(|(_, team, ..)| *team);
    assert_eq!(
        ended,
        [(GONE, "hr", "principal=ann", Resolved), (GONE, "ml", "principal=ann", Resolved), (GONE, USERS, "principal=ann", Resolved)]
    );
    assert_eq!(fleet.access(21, USERS, "ann"), []);
    // The word of the departure again, late: they are back since.
    fleet.event(22, "hr", "offboarded", |event| (event.actor, event.event_time) = (Some("ann".into()), at(10)));
    assert_eq!(fleet.access(23, USERS, "ann"), []);
}

/// Offices tell days later; what went on until then is found by what the grant remembers.
#[test]
fn a_departure_that_is_told_late_finds_what_was_used_since() {
    let mut fleet = Fleet::new();
    fleet.event(0, OWNERS, "grant", |_| {});
    fleet.access(3 * DAY, USERS, "acme");
    let left = |event: &mut ActivityEvent| event.event_time = at(DAY);
    let told = fleet.event(3 * DAY + 60, "hr", "offboarded", left);
    assert_eq!((said(&told), told[0].count), (vec![(GONE, USERS, "principal=acme", Open)], 1));
    assert_eq!(fleet.event(3 * DAY + 61, "hr", "offboarded", left), [], "told once");
    assert_eq!(said(&fleet.pass(5 * DAY)), [(GONE, USERS, "principal=acme", Resolved)], "a day without them");
}

#[test]
fn a_grant_that_nobody_uses_is_told_to_who_gave_it_until_it_is_used_or_revoked() {
    let mut fleet = Fleet::new();
    let role = |role: &'static str| move |event: &mut ActivityEvent| event.role = Some(role.into());
    fleet.event(0, OWNERS, "grant", role("reader"));
    fleet.event(0, OWNERS, "grant", |event| event.actor = Some("busy".into()));
    fleet.event(0, OWNERS, "grant", |event| (event.actor, event.role) = (Some("olga".into()), Some("owner".into())));
    fleet.event(0, OWNERS, "grant", |event| (event.actor, event.expires_at) = (Some("short".into()), Some(at(20 * DAY))));
    for day in 1..=30 {
        fleet.access(day * DAY - 10, USERS, "busy");
        assert_eq!(fleet.pass(day * DAY - 5), [], "day {day}");
    }
    assert_eq!(fleet.passed_on, 30, "the shard of who gave it is told once a day");
    let told = fleet.pass(30 * DAY);
    let subject = "principal=acme;model=risk;role=reader";
    assert_eq!(
        (said(&told), told[0].severity),
        (vec![(UNUSED, OWNERS, subject, Open)], Severity::Info),
        "one who uses it, one who owns it, and one that has ended"
    );
    assert_eq!(told[0].message, "acme may use model risk and never has, in 30 days");
    assert_eq!(fleet.pass(31 * DAY), [], "it lasts");
    // Used in the shard of another team.
    let told = fleet.access(31 * DAY + 5, USERS, "acme");
    assert_eq!(said(&told), [(UNUSED, OWNERS, subject, Resolved)]);
    let told = fleet.pass(62 * DAY);
    assert!(said(&told).contains(&(UNUSED, OWNERS, subject, Reopened)), "{told:?}");
    let told = fleet.event(62 * DAY + 9, OWNERS, "revoke", |_| {});
    assert_eq!(said(&told), [(UNUSED, OWNERS, subject, Resolved)]);
}

/// All of a topic is read from its beginning: the uses come a little later than the watermark.
#[test]
fn a_grant_that_is_read_long_after_it_was_given_waits_for_its_uses() {
    let mut fleet = Fleet::new();
    fleet.pass(100 * DAY);
    let granted =
        ActivityEvent { event_id: "g".into(), event_time: at(0), action: Some("grant".into()), team: OWNERS.into(), ..use_of_acme() };
    assert_eq!(fleet.send(100 * DAY, granted), []);
    let used = ActivityEvent { event_id: "u".into(), event_time: at(99 * DAY), ..use_of_acme() };
    assert_eq!(fleet.send(100 * DAY, used), []);
    let idle =
        ActivityEvent { event_id: "i".into(), event_time: at(0), action: Some("grant".into()), team: OWNERS.into(), ..use_of_acme() };
    let told = fleet.send(100 * DAY, ActivityEvent { actor: Some("idle".into()), ..idle });
    assert_eq!(told, [], "its uses may come");
    assert_eq!(said(&fleet.pass(100 * DAY + 2)), [(UNUSED, OWNERS, "principal=idle;model=risk", Open)], "not only in an hour");
    assert_eq!(fleet.pass(100 * DAY + 61), []);
}

#[test]
fn a_key_from_many_regions_or_for_many_users_looks_shared() {
    let mut fleet = Fleet::with(AccessRules { hands: 0, ..access() });
    for who in ["acme", "bot", "ann"] {
        fleet.event(0, OWNERS, "grant", |event| event.actor = Some(who.into()));
    }
    let mut from = |minute, who: &str, who_type: &str, region: &str, user: &str| {
        fleet.event(minute, USERS, "access", |event| {
            (event.actor, event.principal_type, event.region) = (Some(who.into()), Some(who_type.into()), Some(region.into()));
            event.tags.insert("user".into(), user.into());
        })
    };
    for (place, region) in ["a", "b", "c", "d", "e"].iter().enumerate() {
        let minute = 10 * i64::try_from(place).unwrap();
        assert_eq!(from(minute, "bot", "service", region, region), [], "a service runs everywhere");
        assert_eq!(from(minute * 5, "ann", "employee", region, "ann"), [], "who travels is not everywhere within an hour");
    }
    assert_eq!(from(300, "acme", "employee", "eu", "u"), []);
    assert_eq!(from(310, "acme", "employee", "us", "u"), []);
    let told = from(320, "acme", "employee", "ap", "u");
    assert_eq!(said(&told), [("access.shared-key", USERS, "principal=acme", Open)]);
    assert_eq!((told[0].evidence["regions"].as_str(), told[0].count), ("ap, eu, us", 1));
    for user in ["v", "w"] {
        assert_eq!(from(400, "acme", "employee", "eu", user), []);
    }
    assert_eq!(from(401, "acme", "employee", "eu", "x"), []);
    let told = from(402, "acme", "employee", "eu", "y");
    assert_eq!(
        (said(&told), told[0].evidence["key_users"].as_str()),
        (vec![("access.shared-key", USERS, "principal=acme", Updated)], "v, w, x, y")
    );
}

#[test]
fn what_many_use_has_to_have_an_owner() {
    let mut fleet = Fleet::new();
    for who in ["a", "b", "c"] {
        fleet.event(0, OWNERS, "grant", |event| event.actor = Some(who.into()));
    }
    fleet.access(10, USERS, "a");
    fleet.access(10, "hr", "b");
    assert_eq!(fleet.pass(HOUR), [], "two of three");
    fleet.usage(HOUR + 1, OWNERS, "risk", "c");
    let told = fleet.pass(2 * HOUR);
    assert_eq!(said(&told), [("access.too-many-hands", OWNERS, "model=risk", Open)]);
    assert_eq!(told[0].message, "3 principals used model risk within 30 days, and nobody owns it");
    let told = {
        fleet.event(2 * HOUR + 5, "ml", "model_registered", |event| event.actor = Some("olga".into()));
        fleet.pass(3 * HOUR)
    };
    assert_eq!(said(&told), [("access.too-many-hands", OWNERS, "model=risk", Resolved)]);
    fleet.event(3 * HOUR + 1, "hr", "offboarded", |event| (event.actor, event.model) = (Some("olga".into()), None));
    let told = fleet.pass(4 * HOUR);
    assert_eq!(said(&told), [("access.too-many-hands", OWNERS, "model=risk", Reopened)]);
    assert!(told[0].message.ends_with("and its owner olga has left"), "{told:?}");
    fleet.event(4 * HOUR + 1, OWNERS, "grant", |event| {
        (event.actor, event.role, event.model_version) = (Some("otto".into()), Some("owner".into()), Some("3".into()));
    });
    let told = fleet.pass(5 * HOUR);
    assert_eq!(said(&told), [("access.too-many-hands", OWNERS, "model=risk", Resolved)], "who owns a version speaks for the model");
}

#[test]
fn who_approves_is_not_who_deploys() {
    let mut fleet = Fleet::new();
    let kind = "access.separation-of-duties";
    fleet.event(0, OWNERS, "grant", |event| event.actor = Some("x".into()));
    let mut does = |minute, who: &str, action: &str, version: &str| {
        fleet.event(minute, OWNERS, action, |event| (event.actor, event.model_version) = (Some(who.into()), Some(version.into())))
    };
    assert_eq!(does(1, "ann", "approval", "1"), []);
    assert_eq!(does(2, "bob", "deployment", "1"), []);
    assert_eq!(does(3, "bob", "approval", "2"), [], "another version");
    let told = does(4, "bob", "deployment", "2");
    let subject = "principal=bob;model=risk 2;duties=approval and deployment";
    assert_eq!(said(&told), [(kind, OWNERS, subject, Open)]);
    assert_eq!(told[0].message, "bob did both for model risk 2: approval and deployment");
    assert_eq!(does(5, "carl", "deployment", "2"), [], "that is no approval");
    assert_eq!(said(&does(6, "ann", "approval", "2")), [(kind, OWNERS, subject, Resolved)]);
    assert_eq!(does(7, "bob", "deployment", "2"), []);
    // Two roles that one person is given.
    let mut gives = |minute, who: &str, role: &str| {
        fleet.event(minute, OWNERS, "grant", |event| (event.actor, event.role) = (Some(who.into()), Some(role.into())))
    };
    assert_eq!(gives(10, "dora", "admin"), []);
    let told = gives(11, "dora", "auditor");
    assert_eq!(said(&told), [(kind, OWNERS, "principal=dora;model=risk;duties=auditor and admin", Open)]);
    let mut quiet = Fleet::new();
    for action in ["approval", "deployment"] {
        assert_eq!(quiet.event(1, OWNERS, action, |_| {}), [], "nobody governs it");
    }
}

#[test]
fn two_duties_of_one_person_end_however_late_somebody_else_does_the_first() {
    let kind = "access.separation-of-duties";
    let subject = "principal=ann;model=risk 3;duties=approval and deployment";
    let does = |fleet: &mut Fleet, minute, who: &str, action: &str| {
        fleet.event(minute, OWNERS, action, |event| (event.actor, event.model_version) = (Some(who.into()), Some("3".into())))
    };
    let wrong = || {
        let mut fleet = Fleet::with(AccessRules { off: vec![Kind::UnusedGrant], ..access() });
        fleet.event(0, OWNERS, "grant", |event| event.actor = Some("x".into()));
        does(&mut fleet, 1, "ann", "approval");
        assert_eq!(said(&does(&mut fleet, 2, "ann", "deployment")), [(kind, OWNERS, subject, Open)]);
        fleet
    };
    let mut fleet = wrong();
    assert_eq!(fleet.pass(20 * DAY), []);
    assert_eq!(does(&mut fleet, 40 * DAY, "ann", "approval"), [], "again she herself");
    assert_eq!(said(&does(&mut fleet, 40 * DAY + 1, "bob", "approval")), [(kind, OWNERS, subject, Resolved)]);
    // Nobody wants to hear of it any more, or of these two.
    let off = AccessRules { off: vec![Kind::SeparationOfDuties], ..access() };
    let other = AccessRules { separate: vec![["auditor".into(), "admin".into()]], ..access() };
    let none = AccessRules { separate: Vec::new(), ..access() };
    for (access, what) in [(off, "off"), (other, "another pair"), (none, "no pair")] {
        let mut fleet = wrong();
        fleet.rules.matters.access = Some(access);
        assert_eq!(said(&fleet.pass(2 * HOUR)), [(kind, OWNERS, subject, Resolved)], "{what}");
    }
}

#[test]
fn what_is_switched_off_is_not_told_and_what_was_told_ends() {
    let mut fleet = Fleet::with(AccessRules { off: vec![Kind::UnusedGrant, Kind::Offboarded], ..access() });
    fleet.event(0, OWNERS, "grant", |_| {});
    assert_eq!(fleet.pass(40 * DAY), []);
    fleet.event(40 * DAY, OWNERS, "offboarded", |_| {});
    assert_eq!(fleet.access(40 * DAY + 1, USERS, "acme"), []);
    fleet.rules.matters.access = Some(access());
    let told = fleet.pass(41 * DAY);
    assert_eq!(said(&told), [(UNUSED, OWNERS, ACME, Open)]);
    fleet.rules.matters.access = None;
    assert_eq!(said(&fleet.pass(41 * DAY + 1)), [(UNUSED, OWNERS, ACME, Resolved)]);
    assert_eq!(fleet.access(41 * DAY + 2, USERS, "acme"), []);
    assert!(fleet.restores > 20);
}

/// An agent in a loop is never quiet for as long as a grant may be on its way.
#[test]
fn who_uses_it_all_the_time_without_a_grant_is_told() {
    let mut fleet = Fleet::new();
    fleet.event(0, OWNERS, "grant", |event| event.actor = Some("ben".into()));
    let told: Vec<Violation> = (10..15).flat_map(|minute| fleet.usage(minute, USERS, "risk", "acme")).collect();
    assert_eq!(said(&told), [(UNGRANTED, USERS, ACME, Open)]);
}

/// `revoke` takes back an approval, too, and then it is nobody's grant that ends.
#[test]
fn an_approval_that_is_taken_back_is_no_grant_that_is() {
    let mut fleet = Fleet::new();
    fleet.event(0, OWNERS, "revoke", |event| event.approval = Some("RV-1".into()));
    assert_eq!(fleet.access(1, USERS, "acme"), [], "nobody governs it");
    fleet.event(2, OWNERS, "grant", |_| {});
    fleet.event(3, OWNERS, "revoke", |event| (event.approval, event.model) = (Some("RV-1".into()), None));
    assert_eq!(fleet.access(10, USERS, "acme"), []);
    assert_eq!(fleet.pass(20), []);
}
