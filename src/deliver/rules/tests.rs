//! Who is told of what, when, and who is not.

use super::*;
use crate::deliver::calendar::Swap;
use crate::deliver::render::sample;
use crate::model::time::{HOUR_MS, MINUTE_MS};

/// A Tuesday.
const NOON: Timestamp = Timestamp(1_795_521_600_000);

fn office(outside: bool) -> Hours {
    let schedule = Schedule {
        zone: jiff::tz::TimeZone::UTC,
        days: vec![jiff::civil::Weekday::Tuesday, jiff::civil::Weekday::Wednesday],
        from: "09:00".parse().unwrap(),
        until: "17:00".parse().unwrap(),
        holidays: std::collections::BTreeSet::new(),
    };
    Hours { name: "office".into(), schedule, outside }
}

#[test]
fn routes_are_asked_in_their_hours() {
    let route = |hours, waits, receiver: &str| Route { hours: Some(hours), waits, ..to(&[], &[receiver], Severity::Info, false) };
    let routes = Routes {
        routes: vec![route(office(false), false, "team@x"), route(office(true), false, "night@x")],
        fallback: vec![],
        ..Routes::default()
    };
    let told = |routes: &Routes, at| {
        let named = super::route(routes, &sample::spike(), at);
        named.iter().map(|named| (named.receiver.address().to_string(), named.waits_until)).collect::<Vec<_>>()
    };
    let night = NOON.plus_ms(8 * HOUR_MS);
    assert_eq!(told(&routes, NOON), [("team@x".to_string(), None)]);
    assert_eq!(told(&routes, night), [("night@x".to_string(), None)]);
    assert_eq!(explain(&routes, &sample::spike(), night).0[0], Step::Other("it is asked during office only".into()));
    let waiting = Routes { routes: vec![route(office(false), true, "team@x")], ..Routes::default() };
    let morning = NOON.plus_ms(21 * HOUR_MS);
    assert_eq!(told(&waiting, night), [("team@x".to_string(), Some(morning))]);
    assert_eq!(told(&waiting, morning), [("team@x".to_string(), None)]);
    // One that does not wait tells him at once.
    let both = Routes {
        routes: vec![Route { go_on: true, ..waiting.routes[0].clone() }, to(&[], &["team@x"], Severity::Info, false)],
        ..Routes::default()
    };
    assert_eq!(told(&both, night), [("team@x".to_string(), None)]);
}

#[test]
fn a_weekend_is_one_span_of_hours() {
    use jiff::civil::Weekday::{Friday, Monday, Saturday, Sunday, Thursday, Tuesday, Wednesday};
    let outside = |days: &[jiff::civil::Weekday]| {
        let (from, until) = ("00:00".parse().unwrap(), "00:00".parse().unwrap());
        let schedule = Schedule { days: days.into(), from, until, ..office(true).schedule };
        Hours { name: "off".into(), schedule, outside: true }
    };
    let waiting = |hours| Routes {
        routes: vec![Route { hours: Some(hours), waits: true, ..to(&[], &["team@x"], Severity::Info, false) }],
        ..Routes::default()
    };
    let until = |routes: &Routes, at| super::route(routes, &sample::spike(), at)[0].waits_until;
    let (saturday, monday) = (NOON.plus_ms(4 * DAY_MS), NOON.plus_ms(6 * DAY_MS - 12 * HOUR_MS));
    let weekend = waiting(outside(&[Saturday, Sunday]));
    assert_eq!(until(&weekend, saturday), Some(monday));
    assert_eq!(until(&weekend, monday), None);
    let always = [Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday];
    assert_eq!(until(&waiting(outside(&always)), saturday), None, "hours that never come");
    let mute = Mute {
        teams: vec![],
        kinds: vec![],
        only: BTreeMap::new(),
        when: When::Hours(Hours { outside: false, ..outside(&always) }),
        note: String::new(),
    };
    let routes = Routes { mutes: vec![mute], ..Routes::default() };
    assert!(muted(&routes, &sample::spike(), saturday).is_some(), "and a mute that never ends");
}

#[test]
fn whoever_is_on_call_is_told_and_all_of_them_may_hear_more() {
    let rotation = Rotation {
        zone: jiff::tz::TimeZone::UTC,
        people: vec!["ada@x".into(), "hook:bob".into()],
        starts: "2026-11-24T00:00".parse().unwrap(),
        turn_days: 1,
        swaps: vec![Swap { from: NOON.plus_ms(48 * HOUR_MS), until: NOON.plus_ms(49 * HOUR_MS), who: "eve@x".into() }],
    };
    let routes = Routes {
        routes: vec![to(&[], &["oncall:search"], Severity::Info, false)],
        rotations: BTreeMap::from([("search".to_string(), rotation)]),
        ..Routes::default()
    };
    for (hours, who) in [(0, "mail:ada@x"), (24, "hook:bob"), (48, "mail:eve@x"), (49, "mail:ada@x")] {
        let named = super::route(&routes, &sample::spike(), NOON.plus_ms(hours * HOUR_MS));
        assert_eq!(named.iter().map(|named| named.receiver.to_string()).collect::<Vec<_>>(), [who]);
        assert!(may_hear(&routes, "search", &Receiver::parse(who).unwrap()));
    }
    assert!(!may_hear(&routes, "search", &receiver("fay@x")));
    let nobody = Routes { rotations: BTreeMap::new(), ..routes };
    assert_eq!(super::route(&nobody, &sample::spike(), NOON), []);
}

#[test]
fn what_waits_is_for_whoever_is_on_call_then() {
    let morning = NOON.plus_ms(21 * HOUR_MS);
    let rotation = Rotation {
        zone: jiff::tz::TimeZone::UTC,
        people: vec!["ada@x".into(), "bob@x".into()],
        starts: "2026-11-24T09:00".parse().unwrap(),
        turn_days: 1,
        swaps: vec![],
    };
    let on_call = || to(&[], &["oncall:search"], Severity::Info, true);
    let routes = Routes {
        routes: vec![Route { hours: Some(office(false)), waits: true, group_wait_ms: MINUTE_MS, ..on_call() }],
        rotations: BTreeMap::from([("search".to_string(), rotation)]),
        ..Routes::default()
    };
    let told = |routes: &Routes, at| {
        let named = super::route(routes, &sample::spike(), at);
        named.iter().map(|named| (named.receiver.address().to_string(), named.waits_until)).collect::<Vec<_>>()
    };
    let night = NOON.plus_ms(8 * HOUR_MS);
    assert_eq!(told(&routes, NOON), [("ada@x".to_string(), None)]);
    assert_eq!(told(&routes, night), [("bob@x".to_string(), Some(morning))]);
    assert_eq!(told(&routes, morning), [("bob@x".to_string(), None)]);
    let spike = sample::spike();
    assert!(group(&routes, &spike, &receiver("bob@x"), night).is_some());
    assert_eq!(group(&routes, &spike, &receiver("ada@x"), night), None);
    // More of what Ada was told at noon waits for the hours too.
    assert_eq!(waits(&routes, &spike, &receiver("ada@x"), night), Some(morning));
    let both = Routes { routes: vec![routes.routes[0].clone(), on_call()], ..routes };
    assert_eq!(told(&both, night), [("bob@x".to_string(), Some(morning)), ("ada@x".to_string(), None)], "she is told of it now");
    assert_eq!(waits(&both, &spike, &receiver("ada@x"), night), None);
}

#[test]
fn mutes_hold_for_their_alerts_in_their_time() {
    let mute = |teams: &[&str], when| Mute {
        teams: teams.iter().map(ToString::to_string).collect(),
        kinds: vec![],
        only: BTreeMap::new(),
        when,
        note: "load test".into(),
    };
    let hour = |from: i64, until: i64| When::Between(NOON.plus_ms(from * HOUR_MS), NOON.plus_ms(until * HOUR_MS));
    let routes = Routes {
        mutes: vec![mute(&["ads"], hour(-9, 9)), mute(&["sea*"], hour(-1, 1)), mute(&[], hour(0, 2)), mute(&[], When::Hours(office(true)))],
        ..Routes::default()
    };
    let until =
        |minutes: i64| muted(&routes, &sample::spike(), NOON.plus_ms(minutes * MINUTE_MS)).map(|(until, _)| (until.0 - NOON.0) / MINUTE_MS);
    assert_eq!((until(-61), until(-60), until(-1)), (None, Some(60), Some(60)));
    assert_eq!((until(0), until(119), until(120)), (Some(120), Some(120), None), "the last to end");
    assert_eq!((until(299), until(300)), (None, Some(21 * 60)), "outside of office hours until the next morning");
}

#[test]
fn escalation_goes_by_the_routes_that_told() {
    let route =
        Route { escalate_after_ms: 30 * MINUTE_MS, escalate_to: vec!["lead@x".into()], ..to(&["search"], &["a@x"], Severity::Info, false) };
    let routes = Routes { routes: vec![route], ..Routes::default() };
    let after = |minutes: i64, alert: &Alert| escalation(&routes, alert, &[(receiver("a@x"), NOON)], NOON.plus_ms(minutes * MINUTE_MS));
    assert_eq!(after(29, &sample::spike()), []);
    assert_eq!(after(30, &sample::spike()), [receiver("lead@x")]);
    assert_eq!(after(99, &Alert { team: "ads".into(), ..sample::spike() }), []);
    assert!(may_hear(&routes, "search", &receiver("lead@x")), "and of its end");
}

fn to(teams: &[&str], receivers: &[&str], least_severity: Severity, go_on: bool) -> Route {
    let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
    Route { teams: owned(teams), receivers: owned(receivers), least_severity, go_on, ..Route::default() }
}

fn told(routes: &Routes, team: &str, severity: Severity) -> Vec<String> {
    let alert = Alert { team: team.into(), severity, ..sample::spike() };
    route(routes, &alert, NOON).iter().map(|named| named.receiver.address().to_string()).collect()
}

#[test]
fn the_first_route_that_fits_tells_its_receivers() {
    let routes = Routes {
        routes: vec![
            to(&["search", "ads-*"], &["pager@x"], Severity::Critical, true),
            to(&["search"], &["search@x", "pager@x"], Severity::Warning, false),
            to(&["search"], &["never@x"], Severity::Info, false),
        ],
        fallback: vec!["finops@x".into()],
        ..Routes::default()
    };
    assert_eq!(told(&routes, "search", Severity::Critical), ["pager@x", "search@x"]);
    assert_eq!(told(&routes, "search", Severity::Warning), ["search@x", "pager@x"]);
    assert_eq!(told(&routes, "search", Severity::Info), ["never@x"]);
    assert_eq!(told(&routes, "ads-eu", Severity::Critical), ["pager@x"]);
    assert_eq!(told(&routes, "ads-eu", Severity::Warning), [""; 0], "too light for its team is for nobody");
    assert_eq!(told(&routes, "billing", Severity::Warning), ["finops@x"]);
    assert_eq!(told(&routes, "billing", Severity::Info), [""; 0], "only a route that says so is told of what is for information");
}

#[test]
fn routes_ask_for_kind_dimensions_and_money_too() {
    let only = |dimension: &str, pattern: &str| BTreeMap::from([(dimension.to_owned(), pattern.to_owned())]);
    let base = || to(&[], &["x@x"], Severity::Info, false);
    let of = |route: Route| {
        let routes = Routes { routes: vec![route], fallback: vec!["f@x".into()], ..Routes::default() };
        let (steps, _) = explain(&routes, &sample::spike(), NOON);
        let named = super::route(&routes, &sample::spike(), NOON);
        let told: Vec<String> = named.iter().map(|named| named.receiver.address().to_owned()).collect();
        (format!("{:?}", steps[0]), told)
    };
    for (route, step, told) in [
        (base(), "Tells", "x@x"),
        (Route { only: only("environment", "prod"), ..base() }, "Tells", "x@x"),
        (Route { only: only("model", "gpt-*"), kinds: vec!["spend_spike".into()], ..base() }, "Tells", "x@x"),
        (Route { only: only("environment", "dev"), ..base() }, "Other(\"environment prod is not dev\")", "f@x"),
        (Route { only: only("region", "*"), ..base() }, "Other(\"the alert names no region\")", "f@x"),
        (Route { kinds: vec!["runaway".into()], ..base() }, "Other(\"kind spend_spike is none of runaway\")", "f@x"),
        (Route { least_excess: Nanos::from_units(312), ..base() }, "Tells", "x@x"),
        (Route { least_excess: Nanos::from_units(313), ..base() }, "TooLight(\"312.2 extra are less than 313\")", ""),
    ] {
        let (shown, receivers) = of(route);
        assert!(shown.starts_with(step) && receivers.join(",") == told, "{step}: {shown} {receivers:?}");
    }
}

#[test]
fn what_is_missing_or_left_of_a_budget_is_not_light() {
    let of = |alert: &Alert, least_excess: i64| {
        let route = Route { least_excess: Nanos::from_units(least_excess), ..to(&[], &["x@x"], Severity::Info, false) };
        let routes = Routes { routes: vec![route], ..Routes::default() };
        format!("{:?}", explain(&routes, alert, NOON).0[0])
    };
    let silence = Alert { kind: AlertKind::ProviderSilent, excess: Nanos::from_units(-36), ..sample::spike() };
    assert!(of(&silence, 0).starts_with("Tells") && of(&silence, 36).starts_with("Tells"));
    assert_eq!(of(&silence, 100), "TooLight(\"36 missing are less than 100\")");
    let (actual, expected, excess) = (Nanos::from_units(4_000), Nanos::from_units(5_000), Nanos::from_units(-1_000));
    let budget = Alert { kind: AlertKind::Budget, actual, expected, excess, ..sample::spike() };
    assert!([0, 4_000].into_iter().all(|least| of(&budget, least).starts_with("Tells")));
    assert_eq!(of(&budget, 4_001), "TooLight(\"4000 spent are less than 4001\")");
}

#[test]
fn an_address_is_one_receiver_however_it_is_written() {
    let written = ["dup@x.org", "Dup, the team <dup@X.org>", " dup@x.ORG "];
    let routes = Routes { routes: vec![to(&[], &written, Severity::Info, false)], ..Routes::default() };
    assert_eq!(told(&routes, "search", Severity::Warning), ["dup@x.org"]);
    assert!(written.iter().all(|written| may_hear(&routes, "search", &receiver(written))));
    let mut receipt = crate::deliver::receipt::Receipt::new("search/1");
    receipt.record_sent(&sample::spike(), &Receiver::Mail("Dup <dup@X.org>".into()), "<1@x>", Timestamp(1));
    let of_before = crate::deliver::receipt::Receipt::decode(&receipt.encode().unwrap()).unwrap();
    assert!(of_before.told(&receiver("dup@x.org")).is_some(), "who was told before the upgrade");
}

#[test]
fn those_off_the_routes_hear_no_more() {
    let routes = Routes { routes: vec![to(&[], &["a@x"], Severity::Critical, false)], fallback: vec!["f@x".into()], ..Routes::default() };
    assert!(may_hear(&routes, "search", &receiver("a@x")));
    assert!(!may_hear(&routes, "search", &receiver("f@x")));
}

#[test]
fn stars_stand_for_any_run() {
    let yes = [("*", ""), ("*", "a"), ("a*", "a"), ("*b", "ab"), ("a*c", "abc"), ("a*b*c", "a-b-b-c"), ("**", "x"), ("é*", "éa")];
    let no = [("", "a"), ("a", "A"), ("a*c", "ab"), ("a*a", "a"), ("*b*", "acd"), ("a*b*c", "acb")];
    assert!(yes.iter().all(|(pattern, text)| matches(pattern, text)));
    assert!(!no.iter().any(|(pattern, text)| matches(pattern, text)));
}
