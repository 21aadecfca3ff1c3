//! What comes for hours that are closed: alerts that late amounts open, make grow, or leave alone.

use super::series::to_units;
use super::tests::{Bench, START, partial};
use crate::model::alert::{Alert, AlertKind, AlertState};
use crate::model::money::Nanos;
use crate::model::partial::Partial;
use crate::model::time::{HOUR_MS, Minute};

const DAY: i64 = 10 * 1440;

/// Ten quiet days, and so many quiet hours of the eleventh.
fn quiet(hours: i64) -> Bench {
    let mut bench = Bench::new();
    bench.quiet_days(10);
    go_on(&mut bench, 0, hours, |_| 0.0);
    assert_eq!(bench.alerts, Vec::new());
    bench
}

/// Hours of the eleventh day, with what eve takes besides in each minute.
fn go_on(bench: &mut Bench, from: i64, to: i64, eve: impl Fn(i64) -> f64) {
    for minute in DAY + from * 60..DAY + to * 60 {
        let (money, spike) = (10.0 / 60.0, eve((minute - DAY) / 60));
        let spends =
            [("search", "ranker", "ann", money * 0.7), ("search", "crawler", "bob", money * 0.3), ("search", "ranker", "eve", spike)];
        bench.minute(minute, if spike > 0.0 { &spends[..] } else { &spends[..2] });
    }
}

/// What eve took in each minute of an hour of the eleventh day.
fn of_hour(hour: i64, project: &str, money: f64) -> Vec<Partial> {
    (0..60).map(|minute| partial(Minute(START.0 + DAY + hour * 60 + minute), "search", project, "eve", money)).collect()
}

fn arrive(bench: &mut Bench, at_hour: i64, partials: Vec<Partial>) {
    bench.record(Minute(START.0 + DAY + at_hour * 60), partials);
}

fn said(bench: &Bench) -> Vec<String> {
    bench.alerts.iter().map(|alert| format!("{:?} {} {} {:?}", alert.state, alert.revision, alert.summary, alert.dimensions)).collect()
}

#[test]
fn a_spike_that_comes_when_its_hour_is_closed_is_told_and_is_over() {
    let mut bench = quiet(6);
    arrive(&mut bench, 6, of_hour(2, "ranker", 2.0));
    let [alert] = &bench.alerts[..] else { panic!("{:#?}", said(&bench)) };
    let onset = Minute(START.0 + DAY + 120).start();
    assert_eq!((alert.state, alert.kind, alert.onset), (AlertState::Open, AlertKind::SpendSpike, onset));
    assert!(alert.notify && !alert.provisional);
    assert_eq!(alert.dimensions.get("project").map(String::as_str), Some("ranker"));
    assert_eq!(alert.causes.first().and_then(|cause| cause.dimensions.get("user")).map(String::as_str), Some("eve"), "{:?}", alert.causes);
    let (actual, excess) = (to_units(alert.actual), to_units(alert.excess));
    assert!((126.9..127.1).contains(&actual) && (118.0..122.0).contains(&excess), "{actual} {excess}");
    assert_eq!((alert.burn_rate_per_hour, alert.projected_month_end_excess), (Nanos::ZERO, alert.excess));
    assert!(alert.summary.contains("in the hour from Sat 02:00 UTC"), "{}", alert.summary);
    let drawn = alert.history.iter().find(|point| point.time == onset).unwrap();
    assert!((drawn.actual - actual).abs() < 0.2, "{drawn:?}");

    go_on(&mut bench, 6, 9, |_| 0.0);
    let [_, resolved] = &bench.alerts[..] else { panic!("{:#?}", said(&bench)) };
    assert_eq!((resolved.state, &resolved.id, resolved.excess), (AlertState::Resolved, &bench.alerts[0].id, bench.alerts[0].excess));
}

#[test]
fn pieces_of_a_late_hour_make_one_alert_of_the_whole_and_its_growth_is_told() {
    let mut bench = quiet(6);
    for piece in of_hour(2, "ranker", 2.0) {
        arrive(&mut bench, 6, vec![piece]);
    }
    let last = bench.alerts.last().expect("an alert");
    assert!(bench.alerts.iter().all(|alert| alert.id == last.id), "{:#?}", said(&bench));
    assert!((126.9..127.1).contains(&to_units(last.actual)), "{:#?}", said(&bench));
    let states: Vec<AlertState> = bench.alerts.iter().map(|alert| alert.state).collect();
    assert!(states[0] == AlertState::Open && states.contains(&AlertState::Updated) && states.contains(&AlertState::Amended), "{states:?}");
    bench.shard.save_all();
    // Written with its history, so that a restart knows as much.
    let changes = bench.shard.take_changes();
    let live: Vec<(Vec<u8>, Vec<u8>)> = changes.into_iter().filter_map(|change| Some((change.key, change.value?))).collect();
    assert_eq!(super::tests::restored(&live, 1, &bench.rules).unwrap().as_ref(), Some(&bench.shard));
}

#[test]
fn ordinary_late_amounts_open_nothing() {
    let mut bench = quiet(6);
    // Much for the project, and less than what is worth an alert; a little each hour, and a new project as large as that.
    arrive(&mut bench, 6, of_hour(2, "ranker", 8.0 / 60.0));
    for hour in 0..6 {
        arrive(&mut bench, 6, of_hour(hour, "crawler", 0.5 / 60.0));
        arrive(&mut bench, 6, of_hour(hour, "sandbox", 0.5 / 60.0));
    }
    assert_eq!(said(&bench), Vec::<String>::new());
}

#[test]
fn a_new_project_that_comes_late_is_told_by_its_team() {
    let mut bench = quiet(6);
    arrive(&mut bench, 6, of_hour(3, "sandbox", 2.0));
    let [alert] = &bench.alerts[..] else { panic!("{:#?}", said(&bench)) };
    assert_eq!(alert.dimensions.get("project").map(String::as_str), Some("sandbox"));
    assert!((119.9..120.1).contains(&to_units(alert.actual)) && alert.actual == alert.excess, "{:#?}", said(&bench));
}

#[test]
fn an_hour_that_was_told_stays_one_alert_whatever_comes_late() {
    let mut bench = quiet(2);
    go_on(&mut bench, 2, 8, |hour| if hour == 2 { 2.0 } else { 0.0 });
    let id = bench.alerts.first().expect("an alert").id.clone();
    assert_eq!(bench.alerts.last().map(|alert| alert.state), Some(AlertState::Resolved), "{:#?}", said(&bench));
    arrive(&mut bench, 8, of_hour(2, "ranker", 0.5));
    arrive(&mut bench, 8, of_hour(2, "crawler", 0.01));
    assert!(bench.alerts.iter().all(|alert| alert.id == id), "{:#?}", said(&bench));
    let last = bench.alerts.last().unwrap();
    assert!(last.state == AlertState::Amended && (156.0..158.0).contains(&to_units(last.actual)), "{:#?}", said(&bench));
}

#[test]
fn what_is_told_of_an_hour_hides_nothing_that_comes_later() {
    let mut bench = quiet(2);
    go_on(&mut bench, 2, 8, |hour| if hour == 2 { 2.0 } else { 0.0 });
    let before = bench.alerts.len();
    let told = bench.alerts[0].clone();
    for piece in of_hour(2, "sandbox", 0.5) {
        arrive(&mut bench, 8, vec![piece.clone()]);
    }
    assert_eq!(bench.alerts[before..].iter().filter(|alert| alert.state == AlertState::Open).count(), 1, "{:#?}", said(&bench));
    let last = bench.alerts.last().unwrap();
    assert_eq!(last.dimensions.get("project").map(String::as_str), Some("sandbox"), "{:#?}", said(&bench));
    assert!((29.9..30.1).contains(&to_units(last.actual)), "{:#?}", said(&bench));
    assert!(bench.alerts[before..].iter().all(|alert| alert.id != told.id), "that one is over: {:#?}", said(&bench));
}

#[test]
fn many_small_amounts_of_what_is_new_add_up() {
    let mut bench = quiet(6);
    for piece in of_hour(2, "sandbox", 0.005).into_iter().cycle().take(4_000) {
        arrive(&mut bench, 6, vec![piece]);
    }
    let last = bench.alerts.last().expect("an alert");
    assert!(last.dimensions.get("project").is_some_and(|project| project == "sandbox"), "{:#?}", said(&bench));
    assert!((19.9..20.1).contains(&to_units(last.actual)), "{:#?}", said(&bench));
}

#[test]
fn an_hour_before_an_alert_that_is_over_is_another_one_and_names_its_user() {
    let mut bench = quiet(6);
    go_on(&mut bench, 6, 40, |hour| if hour == 35 { 2.0 } else { 0.0 });
    let over = bench.alerts.last().expect("an alert").clone();
    assert_eq!(over.state, AlertState::Resolved);
    arrive(&mut bench, 40, of_hour(3, "ranker", 2.0));
    let last = bench.alerts.last().unwrap();
    assert!(last.state == AlertState::Open && last.id != over.id, "{:#?}", said(&bench));
    assert_eq!(last.causes.first().and_then(|cause| cause.dimensions.get("user")).map(String::as_str), Some("eve"), "{:?}", last.causes);
    assert!(last.ingest_time < last.onset.plus_ms(HOUR_MS) && last.ingest_time > last.onset, "as its records say");
}

#[test]
fn what_comes_late_before_an_open_alert_belongs_to_it() {
    let mut bench = quiet(4);
    go_on(&mut bench, 4, 7, |_| 2.0);
    let before = bench.alerts.last().expect("an alert").clone();
    assert_ne!(before.state, AlertState::Resolved);
    arrive(&mut bench, 7, of_hour(3, "ranker", 2.0));
    let after: &Alert = bench.alerts.last().unwrap();
    assert_eq!(after.id, before.id, "{:#?}", said(&bench));
    assert_eq!(after.onset, before.onset.min(Minute(START.0 + DAY + 180).start()));
    assert!((507.9..508.1).contains(&to_units(after.actual)), "four hours of 127 USD: {:#?}", said(&bench));
    go_on(&mut bench, 7, 12, |_| 0.0);
    let last = bench.alerts.last().unwrap();
    assert!(last.id == before.id && last.state == AlertState::Resolved && last.onset.0 % HOUR_MS == 0, "{:#?}", said(&bench));
}

#[test]
fn a_correction_that_moves_money_is_a_move() {
    let mut bench = Bench::new();
    bench.quiet_days(10);
    go_on(&mut bench, 0, 6, |_| 0.0);
    let day_hour = 9 - 24;
    let moved = of_hour(day_hour, "crawler", 0.3).into_iter().chain(of_hour(day_hour, "ranker", -0.3)).collect();
    arrive(&mut bench, 6, moved);
    let [alert] = &bench.alerts[..] else { panic!("{:#?}", said(&bench)) };
    assert_eq!((alert.kind, alert.notify), (AlertKind::SpendMoved, false), "{:#?}", said(&bench));
}
