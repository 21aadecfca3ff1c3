//! Who gets which revision, and who does not.

use std::collections::BTreeSet;

use super::*;
use crate::deliver::calendar::Schedule;
use crate::deliver::render::sample;
use crate::deliver::rules::{Hours, Mute, Route, Routes, When};
use crate::model::alert::Severity;
use crate::model::time::Timestamp;

fn rules() -> DeliverRules {
    let route =
        Route { teams: vec!["search".into()], receivers: vec!["ada@x".into()], least_severity: Severity::Warning, ..Route::default() };
    let routes = Routes { routes: vec![route], ..Routes::default() };
    DeliverRules { routes, update_growth: 2.0, in_flight: 16, ..DeliverRules::default() }
}

fn ada() -> Receiver {
    Receiver::Mail("ada@x".into())
}

fn revision(revision: u32, state: AlertState, excess: i64) -> Alert {
    let closed_at = matches!(state, AlertState::Resolved | AlertState::Retracted).then_some(Timestamp(9));
    Alert { revision, state, closed_at, excess: Nanos::from_units(excess), severity: Severity::Warning, ..sample::spike() }
}

fn told_of(alert: &Alert) -> Receipt {
    let mut receipt = Receipt::new(&alert.id);
    receipt.record_sent(alert, &ada(), "<first@x>", Timestamp(1));
    receipt
}

fn verdict(alert: &Alert, receipt: Option<&Receipt>) -> Option<Skip> {
    match plan(&rules(), alert, receipt, &[], Timestamp(10)).remove(0).verdict {
        Verdict::Send { .. } => None,
        Verdict::Wait(..) => panic!("nothing waits by these rules"),
        Verdict::Skip(skip) => Some(skip),
    }
}

#[test]
fn what_one_who_knows_nothing_gets() {
    let cases = [
        (AlertState::Open, None),
        (AlertState::Updated, None),
        (AlertState::Reopened, None),
        (AlertState::Amended, None),
        (AlertState::Escalated, None),
        (AlertState::Acknowledged, Some(Skip::InHand)),
        (AlertState::Expected, Some(Skip::InHand)),
        (AlertState::Resolved, Some(Skip::NeverTold)),
        (AlertState::Retracted, Some(Skip::NeverTold)),
    ];
    for (state, expected) in cases {
        assert_eq!(verdict(&revision(3, state, 100), None), expected, "{state:?}");
        let quiet = Alert { notify: false, ..revision(3, state, 100) };
        assert_eq!(verdict(&quiet, None), Some(Skip::Quiet), "{state:?}");
    }
    let closed = Alert { closed_at: Some(Timestamp(9)), ..revision(3, AlertState::Amended, 100) };
    assert_eq!(verdict(&closed, None), Some(Skip::NeverTold));
}

#[test]
fn what_one_who_was_told_of_the_opening_gets() {
    let told = told_of(&revision(1, AlertState::Open, 100));
    let cases = [
        (AlertState::Updated, 199, Some(Skip::NothingNew)),
        (AlertState::Updated, 200, None),
        (AlertState::Reopened, 100, None),
        (AlertState::Escalated, 100, None),
        (AlertState::Amended, 109, Some(Skip::NothingNew)),
        (AlertState::Amended, 110, None),
        (AlertState::Amended, 90, None),
        (AlertState::Acknowledged, 500, Some(Skip::InHand)),
        (AlertState::Expected, 500, Some(Skip::InHand)),
        (AlertState::Resolved, 100, None),
        (AlertState::Retracted, 0, None),
    ];
    for (state, excess, expected) in cases {
        assert_eq!(verdict(&revision(2, state, excess), Some(&told)), expected, "{state:?} {excess}");
        assert_eq!(verdict(&revision(1, state, excess), Some(&told)), Some(Skip::AlreadySent), "{state:?}");
    }
    let severer = Alert { severity: Severity::Critical, ..revision(2, AlertState::Updated, 100) };
    assert_eq!(verdict(&severer, Some(&told)), None);
    // Money that is missing grows downwards.
    let silence = told_of(&revision(1, AlertState::Open, -36));
    for (excess, expected) in [(-18, Some(Skip::NothingNew)), (-71, Some(Skip::NothingNew)), (-72, None), (-108, None)] {
        assert_eq!(verdict(&revision(2, AlertState::Updated, excess), Some(&silence)), expected, "{excess}");
    }
}

#[test]
fn what_one_who_was_told_of_the_end_gets() {
    let told = told_of(&revision(5, AlertState::Resolved, 100));
    assert_eq!(verdict(&revision(6, AlertState::Resolved, 101), Some(&told)), Some(Skip::NothingNew));
    assert_eq!(verdict(&revision(6, AlertState::Retracted, 100), Some(&told)), None);
    let missed_the_reopening = revision(7, AlertState::Updated, 100);
    assert_eq!(verdict(&missed_the_reopening, Some(&told)), None);
    let missed_the_end = Alert { closed_at: Some(Timestamp(9)), ..revision(8, AlertState::Amended, 100) };
    assert_eq!(verdict(&missed_the_end, Some(&told_of(&revision(1, AlertState::Open, 100)))), None);
}

#[test]
fn what_people_need_not_hear_closes_incidents() {
    let hook = |name: &str| Receiver::Hook(name.into());
    let forms = [("chat", Form::Slack), ("events", Form::CloudEvents), ("manager", Form::Alertmanager), ("pager", Form::PagerDuty)];
    let mut rules = rules();
    rules.hooks = forms.map(|(name, form)| (name.to_string(), form)).into();
    rules.routes.routes[0].receivers.extend(forms.map(|(name, _)| format!("hook:{name}")));
    let mut receipt = told_of(&revision(1, AlertState::Open, 100));
    forms.iter().for_each(|(name, _)| receipt.record_sent(&revision(1, AlertState::Open, 100), &hook(name), "x", Timestamp(1)));
    let told = |alert: &Alert, receipt: &Receipt| {
        let planned = plan(&rules, alert, Some(receipt), &[], Timestamp(10)).into_iter();
        planned.filter(|planned| matches!(planned.verdict, Verdict::Send { .. })).map(|planned| planned.receiver).collect::<Vec<_>>()
    };
    let quiet = |number, state| Alert { notify: false, ..revision(number, state, 900) };
    let incidents = [hook("manager"), hook("pager")];
    assert_eq!(told(&revision(2, AlertState::Acknowledged, 900), &receipt), incidents);
    assert_eq!(told(&quiet(2, AlertState::Expected), &receipt), incidents);
    incidents.iter().for_each(|who| receipt.record_sent(&quiet(2, AlertState::Expected), who, "x", Timestamp(2)));
    assert_eq!(told(&quiet(3, AlertState::Expected), &receipt), [], "they know");
    assert_eq!(told(&quiet(3, AlertState::Updated), &receipt), [], "observed only");
    let end = quiet(4, AlertState::Resolved);
    assert_eq!(told(&end, &receipt), [hook("events"), hook("manager"), hook("pager")], "who expects it hears no end");
    receipt.record_sent(&end, &hook("pager"), "x", Timestamp(3));
    assert_eq!(told(&quiet(5, AlertState::Retracted), &receipt), [hook("events"), hook("manager")]);
    assert_eq!(told(&end, &Receipt::new(&end.id)), []);
}

#[test]
fn follow_ups_are_part_of_the_conversation_even_when_lighter() {
    let told = told_of(&revision(1, AlertState::Open, 100));
    let resolved = Alert { severity: Severity::Info, ..revision(2, AlertState::Resolved, 100) };
    let planned = plan(&rules(), &resolved, Some(&told), &[], Timestamp(10));
    let [Planned { receiver, verdict: Verdict::Send { earlier: Some(earlier) } }] = planned.as_slice() else { panic!("{planned:?}") };
    assert_eq!((receiver, earlier.first_message_id.as_str()), (&ada(), "<first@x>"));
    assert_eq!(plan(&rules(), &resolved, None, &[], Timestamp(10)), [], "too light for a first mail");
    let mut without_ada = rules();
    without_ada.routes.routes[0].receivers = vec![];
    assert_eq!(plan(&without_ada, &resolved, Some(&told), &[], Timestamp(10)), [], "she was taken off the routes");
}

#[test]
fn what_was_refused_for_good_is_not_tried_again() {
    let alert = revision(1, AlertState::Open, 100);
    let mut receipt = Receipt::new(&alert.id);
    receipt.record_failed(&alert, &ada(), "550", Timestamp(1), None);
    assert_eq!(verdict(&alert, Some(&receipt)), Some(Skip::GaveUp));
    assert_eq!(verdict(&revision(2, AlertState::Updated, 100), Some(&receipt)), None);
}

#[test]
fn what_is_muted_waits_and_its_end_does_not() {
    let mut rules = rules();
    let mute =
        Mute { teams: vec![], kinds: vec![], only: BTreeMap::new(), when: When::Between(Timestamp(5), Timestamp(50)), note: String::new() };
    rules.routes.mutes = vec![mute];
    let verdict = |alert: &Alert, receipt: Option<&Receipt>, at| plan(&rules, alert, receipt, &[], Timestamp(at)).remove(0).verdict;
    let open = revision(1, AlertState::Open, 100);
    assert_eq!(verdict(&open, None, 5), Verdict::Wait(Timestamp(50), Wait::Muted));
    assert!(matches!(verdict(&open, None, 50), Verdict::Send { .. }));
    let told = told_of(&open);
    assert!(matches!(verdict(&revision(2, AlertState::Resolved, 100), Some(&told), 5), Verdict::Send { .. }));
    assert_eq!(verdict(&open, Some(&told), 5), Verdict::Skip(Skip::AlreadySent));
}

#[test]
fn what_is_spoken_for_waits_until_its_parent_is_over() {
    let mut rules = rules();
    rules.parents_inhibit = true;
    let open = revision(1, AlertState::Open, 100);
    let parent = Alert { id: "search/parent".into(), dimensions: BTreeMap::new(), ..revision(1, AlertState::Open, 300) };
    let standing = [Standing::of(&told_of(&parent)).unwrap()];
    let verdict = |alert: &Alert, receipt: Option<&Receipt>, standing: &[Standing]| {
        plan(&rules, alert, receipt, standing, Timestamp(0)).remove(0).verdict
    };
    assert_eq!(verdict(&open, None, &standing), Verdict::Wait(Timestamp(SPOKEN_FOR_MS), Wait::Inhibited));
    assert!(matches!(verdict(&open, None, &[]), Verdict::Send { .. }));
    assert!(matches!(verdict(&revision(2, AlertState::Resolved, 100), Some(&told_of(&open)), &standing), Verdict::Send { .. }));
    let order = newest([open, parent]).into_iter().map(|alert| alert.id).collect::<Vec<_>>();
    assert_eq!(order[0], "search/parent");
}

/// By a route that tells in the hours of the workdays and waits for them.
fn office() -> DeliverRules {
    let days = (1..=5).map(|day| jiff::civil::Weekday::from_monday_one_offset(day).unwrap()).collect();
    let (from, until) = ("09:00".parse().unwrap(), "17:30".parse().unwrap());
    let schedule = Schedule { zone: jiff::tz::TimeZone::UTC, days, from, until, holidays: BTreeSet::new() };
    let mut rules = rules();
    rules.routes.routes[0].hours = Some(Hours { name: "office".into(), schedule, outside: false });
    rules.routes.routes[0].waits = true;
    rules
}

#[test]
fn whatever_is_told_after_hours_waits_for_them() {
    let mut rules = office();
    let at = |text: &str| Timestamp::parse(text).unwrap();
    let (friday, saturday, monday) = (at("2026-11-27T17:00:00Z"), at("2026-11-28T17:00:00Z"), at("2026-11-30T09:00:00Z"));
    let open = revision(1, AlertState::Open, 100);
    let held = |rules: &DeliverRules, alert: &Alert, who: &Receiver, now| held(rules, alert, who, None, &[], now);
    assert_eq!(held(&rules, &open, &ada(), friday), None);
    assert_eq!(held(&rules, &open, &ada(), saturday), Some((monday, Wait::Hours)));
    assert_eq!(held(&rules, &open, &ada(), monday), None);
    let state = |alert: &Alert, now| plan(&rules, alert, Some(&told_of(&open)), &[], now).remove(0).verdict;
    assert_eq!(state(&revision(2, AlertState::Escalated, 200), saturday), Verdict::Wait(monday, Wait::Hours));
    assert!(matches!(state(&revision(2, AlertState::Resolved, 100), saturday), Verdict::Send { .. }));
    // Whom an escalation is for is told now, although he is among those who wait.
    let lead = Receiver::Mail("lead@x".into());
    rules.routes.routes[0].receivers.push("lead@x".into());
    rules.routes.routes[0].escalate_to = vec!["lead@x".into()];
    let escalated = Alert { state: AlertState::Escalated, ..open.clone() };
    assert_eq!((held(&rules, &escalated, &lead, saturday), held(&rules, &open, &lead, saturday)), (None, Some((monday, Wait::Hours))));
    // A route that does not wait is enough.
    rules.routes.routes[0].go_on = true;
    rules.routes.routes.push(Route { receivers: vec!["ada@x".into()], ..Route::default() });
    assert_eq!(held(&rules, &open, &ada(), saturday), None);
}

#[test]
fn who_nobody_answers_is_escalated_once() {
    let mut rules = rules();
    rules.routes.routes[0].escalate_after_ms = 30;
    rules.routes.routes[0].escalate_to = vec!["lead@x".into()];
    let open = revision(1, AlertState::Open, 100);
    let mut receipt = told_of(&open);
    assert_eq!(escalations(&rules, soonest_escalation(&rules), &receipt, Timestamp(30)), []);
    let due = escalations(&rules, soonest_escalation(&rules), &receipt, Timestamp(31));
    let [(alert, lead)] = due.as_slice() else { panic!("{due:?}") };
    assert_eq!((alert.state, lead.to_string().as_str()), (AlertState::Escalated, "mail:lead@x"));
    for answered in [AlertState::Acknowledged, AlertState::Expected, AlertState::Resolved] {
        let mut receipt = receipt.clone();
        receipt.supersede(&revision(2, answered, 100), Timestamp(31));
        assert_eq!(escalations(&rules, soonest_escalation(&rules), &receipt, Timestamp(99)), [], "{answered:?}");
    }
    // A repetition is no new beginning; to be told is.
    receipt.record_sent(&open, &ada(), "<2@x>", Timestamp(25));
    assert_eq!(escalations(&rules, soonest_escalation(&rules), &receipt, Timestamp(31)).len(), 1);
    receipt.record_sent(alert, lead, "<3@x>", Timestamp(31));
    assert_eq!(escalations(&rules, soonest_escalation(&rules), &receipt, Timestamp(99)), []);
    let end = plan(&rules, &revision(2, AlertState::Resolved, 100), Some(&receipt), &[], Timestamp(99));
    assert_eq!(end.iter().filter(|planned| matches!(planned.verdict, Verdict::Send { .. })).count(), 2, "both hear of the end");
}

#[test]
fn an_escalation_counts_from_what_its_own_route_told_and_anew_after_an_answer() {
    let mut rules = rules();
    rules.routes.routes[0].escalate_after_ms = 30;
    rules.routes.routes[0].escalate_to = vec!["lead@x".into()];
    let due = |rules: &DeliverRules, receipt: &Receipt, at| escalations(rules, soonest_escalation(rules), receipt, Timestamp(at)).len();
    let mut receipt = told_of(&revision(1, AlertState::Open, 100));
    receipt.supersede(&revision(2, AlertState::Acknowledged, 100), Timestamp(10));
    let again = revision(3, AlertState::Reopened, 100);
    receipt.supersede(&again, Timestamp(1_000));
    assert_eq!((due(&rules, &receipt, 1_029), due(&rules, &receipt, 1_030)), (0, 1), "although she is told of it no more");
    let mut waits = receipt.clone();
    waits.postpone(&again, &ada(), Timestamp(1_090), "muted");
    assert_eq!(due(&rules, &waits, 1_089), 0, "she has not heard of it");
    receipt.record_sent(&again, &ada(), "<2@x>", Timestamp(1_090));
    receipt.record_sent(&again, &ada(), "<3@x>", Timestamp(1_100));
    let receipt = Receipt::decode(&receipt.encode().unwrap()).unwrap();
    assert_eq!((due(&rules, &receipt, 1_119), due(&rules, &receipt, 1_120)), (0, 1));

    // Others hear of lighter alerts, hours before.
    let finops = Route { receivers: vec!["finops@x".into()], ..Route::default() };
    let first = Route { least_severity: Severity::Critical, go_on: true, ..rules.routes.routes[0].clone() };
    rules.routes.routes = vec![first, finops];
    let (warning, critical) = (revision(1, AlertState::Open, 100), revision(2, AlertState::Updated, 300));
    let critical = Alert { severity: Severity::Critical, ..critical };
    let mut receipt = Receipt::new(&warning.id);
    receipt.supersede(&warning, Timestamp(1));
    receipt.record_sent(&warning, &Receiver::Mail("finops@x".into()), "<1@x>", Timestamp(1));
    receipt.supersede(&critical, Timestamp(4_000));
    assert_eq!(due(&rules, &receipt, 4_001), 0);
    let mut refused = receipt.clone();
    refused.record_failed(&critical, &ada(), "550", Timestamp(4_000), None);
    receipt.record_sent(&critical, &ada(), "<2@x>", Timestamp(4_000));
    for receipt in [&receipt, &refused] {
        assert_eq!((due(&rules, receipt, 4_029), due(&rules, receipt, 4_030)), (0, 1));
    }
}

/// The only one who is to be told cannot be: that is what an escalation is for.
#[test]
fn who_can_never_be_told_is_escalated() {
    let mut rules = rules();
    rules.routes.routes[0].escalate_after_ms = 30;
    rules.routes.routes[0].escalate_to = vec!["lead@x".into()];
    let due = |receipt: &Receipt, at| escalations(&rules, soonest_escalation(&rules), receipt, Timestamp(at));
    let (open, newer) = (revision(1, AlertState::Open, 100), revision(2, AlertState::Updated, 150));
    let mut receipt = Receipt::new(&open.id);
    receipt.record_failed(&open, &ada(), "550", Timestamp(10), None);
    // The next one is refused as well: that is no new beginning, and a restart knows as much.
    receipt.supersede(&newer, Timestamp(20));
    receipt.record_failed(&newer, &ada(), "550", Timestamp(25), None);
    let mut receipt = Receipt::decode(&receipt.encode().unwrap()).unwrap();
    assert_eq!(due(&receipt, 39), []);
    let [(alert, lead)] = due(&receipt, 40).try_into().unwrap();
    assert_eq!((alert.revision, alert.state, lead.to_string().as_str()), (2, AlertState::Escalated, "mail:lead@x"));
    let mut answered = receipt.clone();
    answered.supersede(&revision(3, AlertState::Acknowledged, 150), Timestamp(30));
    assert_eq!(due(&answered, 99), []);
    receipt.record_sent(&alert, &lead, "<1@x>", Timestamp(41));
    assert_eq!(due(&receipt, 999), []);
    let over = revision(3, AlertState::Resolved, 150);
    let told = plan(&rules, &over, Some(&receipt), &[], Timestamp(99)).into_iter();
    let told: Vec<Receiver> = told.filter(|planned| matches!(planned.verdict, Verdict::Send { .. })).map(|told| told.receiver).collect();
    assert_eq!(told, std::slice::from_ref(&lead), "she never knew");
    receipt.supersede(&over, Timestamp(99));
    receipt.record_sent(&over, &lead, "<2@x>", Timestamp(99));
    // It comes again out of hours: she is about to be asked.
    let again = revision(4, AlertState::Reopened, 150);
    receipt.supersede(&again, Timestamp(200));
    receipt.postpone(&again, &ada(), Timestamp(500), "out_of_hours");
    assert_eq!((receipt.open.as_deref(), receipt.unanswered().unwrap().1), (Some(&again), vec![]));
}

#[test]
fn an_escalation_that_made_way_for_a_newer_revision_comes_with_that() {
    let mut rules = rules();
    rules.routes.routes[0].escalate_after_ms = 30;
    rules.routes.routes[0].escalate_to = vec!["lead@x".into()];
    let mut receipt = told_of(&revision(1, AlertState::Open, 100));
    let due = |receipt: &Receipt| escalations(&rules, soonest_escalation(&rules), receipt, Timestamp(40));
    let (escalated, lead) = due(&receipt).remove(0);
    receipt.record_failed(&escalated, &lead, "451", Timestamp(31), Some(Timestamp(50)));
    assert_eq!(due(&receipt), [], "it is tried again");
    let newer = revision(2, AlertState::Updated, 110);
    receipt.supersede(&newer, Timestamp(31));
    assert_eq!(due(&receipt), [(Alert { state: AlertState::Escalated, ..newer.clone() }, lead.clone())]);
    receipt.record_failed(&newer, &lead, "550", Timestamp(41), None);
    assert_eq!(due(&receipt), [], "refused for good");
}

#[test]
fn what_came_again_or_grew_worse_is_told_with_the_revision_that_took_its_place() {
    for turn in [AlertState::Reopened, AlertState::Escalated] {
        let mut receipt = told_of(&revision(1, AlertState::Open, 100));
        let again = revision(4, turn, 100);
        receipt.note_turn(&again);
        receipt.supersede(&again, Timestamp(2));
        receipt.postpone(&again, &ada(), Timestamp(50), "muted");
        let newer = revision(5, AlertState::Updated, 101);
        receipt.note_turn(&newer);
        receipt.supersede(&newer, Timestamp(3));
        // From its own bytes: a restart knows as much.
        let receipt = Receipt::decode(&receipt.encode().unwrap()).unwrap();
        assert_eq!(verdict(&newer, Some(&receipt)), None, "{turn:?}");
        let mut told = receipt.clone();
        told.record_sent(&newer, &ada(), "<2@x>", Timestamp(4));
        assert_eq!(verdict(&revision(6, AlertState::Updated, 102), Some(&told)), Some(Skip::NothingNew), "{turn:?}: once");
        let mut refused = receipt.clone();
        refused.record_failed(&newer, &ada(), "550", Timestamp(4), None);
        assert_eq!(verdict(&revision(6, AlertState::Updated, 102), Some(&refused)), Some(Skip::NothingNew), "{turn:?}: refused");
        let mut taken = receipt.clone();
        taken.note_turn(&revision(6, AlertState::Acknowledged, 101));
        assert_eq!(verdict(&revision(7, AlertState::Updated, 102), Some(&taken)), Some(Skip::NothingNew), "{turn:?}: in hand since");
    }
}

#[test]
fn of_a_backlog_the_newest_revisions_are_left() {
    let other = Alert { id: "ads/1".into(), severity: Severity::Critical, ..revision(1, AlertState::Open, 5) };
    let batch = [revision(1, AlertState::Open, 100), revision(3, AlertState::Resolved, 200), other, revision(2, AlertState::Updated, 150)];
    let left: Vec<(String, u32)> = newest(batch).into_iter().map(|alert| (alert.team, alert.revision)).collect();
    assert_eq!(left, [("search".to_string(), 1), ("search".to_string(), 3)]);
}
