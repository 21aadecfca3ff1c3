//! How an alert goes on and ends, in teams that somebody would know: what a spike leaves behind, moves, steps, growth, weeks with weekends.

use super::tests::{DAY, Use, alerts, alerts_of, opened};
use crate::model::alert::{Alert, AlertKind, AlertState};
use crate::model::time::{HOUR_MS, Minute};
use crate::watch::baseline::LocalHour;
use crate::watch::series::to_units;
use crate::watch::tests::{START, partial, rules};

const HOUR: i64 = 60;

fn local(at: i64) -> LocalHour {
    LocalHour::at(Minute(START.0 + at).hour(), 0)
}

/// Works on weekdays from 8 to 18, and else a little.
fn office(at: i64, money: f64) -> f64 {
    let LocalHour { hour_of_day, day_of_week } = local(at);
    if day_of_week < 5 && (8..18).contains(&hour_of_day) { money } else { 0.15 * money }
}

/// The first minute of a day of the week, so many weeks after the first such day.
fn begin_of(day_of_week: u8, weeks: i64) -> i64 {
    let first = (0..7).find(|day| local(day * DAY).day_of_week == day_of_week).unwrap();
    (first + 7 * weeks) * DAY - (START.0.rem_euclid(DAY))
}

/// At the same price per token.
fn uses<const N: usize>(all: [(&'static str, &'static str, f64); N]) -> Vec<Use> {
    all.map(|(project, user, money)| (project, "gpt-4o", user, money, (money * 500_000.0) as u64)).to_vec()
}

fn one(money: f64) -> Vec<Use> {
    uses([("ranker", "ann", money)])
}

fn told(alerts: &[Alert]) -> Vec<String> {
    opened(alerts).iter().map(|alert| format!("{} {} {}", alert.kind.as_str(), alert.onset, alert.summary)).collect()
}

#[test]
fn a_rise_ends_with_its_last_hour_and_keeps_its_causes() {
    let (begin, end) = (17 * DAY + 12 * HOUR, 17 * DAY + 17 * HOUR);
    let all = alerts(19 * 24, |at| {
        let times = if (begin..end).contains(&at) { 10.0 } else { 1.0 };
        // Some hours are a quarter above or below.
        let times = times * [0.9, 1.1, 0.8, 1.2, 1.0, 1.25, 0.75][(at / HOUR % 7) as usize];
        uses([("ranker", "ann", 2.0 * times), ("search", "bob", 2.0)])
    });
    assert_eq!(opened(&all).len(), 1, "{:?}", told(&all));
    let last = all.last().unwrap();
    assert_eq!(last.state, AlertState::Resolved);
    // Windows of six hours and of a day hold the spike for longer.
    let quiet = i64::from(rules().defaults.quiet_hours_to_close);
    let end = Minute(START.0 + end).start();
    assert_eq!(last.closed_at, Some(end), "{}", last.summary);
    assert!((last.decided_at.0 - end.0 - quiet * HOUR_MS).abs() <= HOUR_MS / 2, "{}", last.decided_at);
    assert!((450.0..720.0).contains(&to_units(last.actual)), "five hours of 120: {}", last.summary);
    assert!(last.summary.contains("is back to normal"), "{}", last.summary);
    assert_eq!(last.causes[0].dimensions.get("project").map(String::as_str), Some("ranker"), "{:?}", last.causes);
}

#[test]
fn a_move_between_projects_is_no_news_however_long_it_lasts() {
    for begin in [5 * DAY, 5 * DAY + 10 * HOUR] {
        let all = alerts(8 * 24, |at| {
            let (a, b) = if at < begin { (2.0, 0.2) } else { (0.2, 2.0) };
            uses([("a", "ann", a), ("b", "bob", b)])
        });
        assert!(!all.is_empty() && all.iter().all(|alert| alert.kind == AlertKind::SpendMoved && !alert.notify), "{:?}", told(&all));
    }
}

#[test]
fn a_move_that_becomes_more_spend_is_told() {
    let all = alerts(8 * 24, |at| {
        let (a, b) = if at < 5 * DAY { (2.0, 0.2) } else { (0.2, if at < 5 * DAY + 12 * HOUR { 2.0 } else { 12.0 }) };
        uses([("a", "ann", a), ("b", "bob", b)])
    });
    let news: Vec<&Alert> = opened(&all).into_iter().filter(|alert| alert.notify).collect();
    assert!(news.first().is_some_and(|alert| alert.onset >= Minute(START.0 + 5 * DAY + 11 * HOUR).start()), "{:?}", told(&all));
}

/// Little has moved in a team that is large enough not to feel what comes after it.
#[test]
fn a_move_hides_no_leap_of_who_has_won() {
    let begin = 15 * DAY;
    let all = alerts(18 * 24, |at| {
        let (a, b) = if at < begin { (3.0, 0.3) } else { (0.3, 3.0) };
        let b = if (begin + DAY..begin + DAY + 3 * HOUR).contains(&at) { 12.0 } else { b };
        uses([("a", "ann", a), ("b", "bob", b), ("large", "eve", 60.0)])
    });
    let is_about_b = |alert: &&Alert| alert.dimensions.get("project").map(String::as_str) == Some("b");
    let of_b: Vec<&Alert> = opened(&all).into_iter().filter(is_about_b).collect();
    assert!(of_b.first().is_some_and(|first| first.kind == AlertKind::SpendMoved && !first.notify), "{:?}", told(&all));
    assert!(of_b.iter().any(|alert| alert.notify && alert.onset >= Minute(START.0 + begin + DAY - HOUR).start()), "{:?}", told(&all));
}

#[test]
fn a_step_that_stays_is_said_to_go_on() {
    let all = alerts(26 * 24, |at| one(if at < 15 * DAY + 11 * HOUR { 2.0 } else { 4.0 }));
    assert_eq!(opened(&all).len(), 1, "{:?}", told(&all));
    let last = all.last().unwrap();
    assert_eq!(last.state, AlertState::Resolved, "{}", last.summary);
    assert!(!last.summary.contains("back to normal") && last.summary.contains("counts as usual from now on"), "{}", last.summary);
}

#[test]
fn growth_of_a_few_percent_a_day_is_told_where_weekends_differ_and_where_they_do_not() {
    let growth = |at: i64, a_day: f64| libm::pow(1.0 + a_day, ((at - 15 * DAY).max(0) / DAY) as f64);
    let is_told = |all: &[Alert]| opened(all).iter().any(|alert| alert.kind == AlertKind::LevelShift);
    let flat = alerts(30 * 24, |at| one(2.0 * growth(at, 0.05)));
    assert!(is_told(&flat), "{:?}", told(&flat));
    let of_office = alerts(30 * 24, |at| one(office(at, 4.0 * growth(at, 0.08))));
    assert!(is_told(&of_office), "{:?}", told(&of_office));
    // Who takes nothing at all at night and on weekends.
    for (a_day, wanted) in [(0.0, false), (0.06, true), (0.08, true)] {
        let asleep = alerts(36 * 24, |at| if office(at, 1.0) > 0.5 { one(4.0 * growth(at, a_day)) } else { Vec::new() });
        assert_eq!(is_told(&asleep), wanted, "{a_day}: {:?}", told(&asleep));
    }
}

#[test]
fn weeks_with_weekends_a_holiday_and_whoever_works_most_are_no_news() {
    let holiday = begin_of(0, 4)..begin_of(1, 4);
    let all = alerts(35 * 24, |at| {
        let money = if holiday.contains(&at) { 0.15 * 4.0 } else { office(at, 4.0) };
        // On weekends only a machine is at work; ann does two thirds of what there is to do, but never on Sundays.
        if money < 1.0 {
            uses([("ranker", "nightly", money)])
        } else {
            uses([("ranker", "ann", 0.8 * money), ("ranker", "bob", 0.2 * money)])
        }
    });
    let later: Vec<String> =
        opened(&all).iter().filter(|alert| alert.onset >= Minute(START.0 + 15 * DAY).start()).map(|alert| alert.summary.clone()).collect();
    assert_eq!(later, [] as [String; 0]);
}

/// Its own leaf learns it; the sums above, which do not learn from hours that were told, have no say in it.
#[test]
fn what_runs_every_sunday_becomes_usual() {
    let all = alerts(8 * 7 * 24, |at| {
        let is_sunday_night = local(at) == LocalHour { hour_of_day: 3, day_of_week: 6 };
        let usual = ("ranker", "ann", office(at, 1.0));
        if is_sunday_night { uses([usual, ("weekly", "svc", 20.0)]) } else { uses([usual]) }
    });
    let later: Vec<String> =
        opened(&all).iter().filter(|alert| alert.onset >= Minute(START.0 + 29 * DAY).start()).map(|alert| alert.summary.clone()).collect();
    assert_eq!(later, [] as [String; 0], "{:?}", told(&all));
    assert!(!opened(&all).is_empty(), "the first time");
}

#[test]
fn a_rise_that_is_refunded_is_taken_back() {
    let begin = 5 * DAY + 12 * HOUR;
    let of = |refunded: f64| {
        alerts_of(0.0, 6 * 24, |at, noise| {
            let money = if (begin..begin + HOUR).contains(&at) { 20.0 } else { 2.0 };
            let mut partials = vec![partial(Minute(START.0 + at), "search", "ranker", "ann", money * noise)];
            if at == begin + 3 * HOUR {
                partials.push(partial(Minute(START.0 + begin + 10), "search", "ranker", "", -refunded));
            }
            partials
        })
    };
    let states = |all: &[Alert]| all.iter().map(|alert| alert.state).collect::<Vec<_>>();
    let refunded = of(108.0);
    assert_eq!(states(&refunded).first(), Some(&AlertState::Open));
    assert_eq!(states(&refunded).last(), Some(&AlertState::Retracted), "{:?}", refunded.last().map(|alert| &alert.summary));
    let in_part = of(40.0);
    assert_eq!(states(&in_part).last(), Some(&AlertState::Resolved));
    assert!((70.0..90.0).contains(&to_units(in_part.last().unwrap().actual)), "{:?}", in_part.last().map(|alert| &alert.summary));
}
