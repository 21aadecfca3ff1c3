//! However intake's commits cut the stream into records: who is told of what is the same.

use super::tests::{START, partial, rules};
use super::{Restorer, Shard};
use crate::model::alert::{Alert, AlertKind, AlertState};
use crate::model::effect::Effect;
use crate::model::money::Nanos;
use crate::model::partial::{Marker, Partial, ShardRecord, Source, UserCost};
use crate::model::time::{MINUTE_MS, Minute};

const DAY: i64 = 1440;

/// Minute, user, money.
type Event = (i64, &'static str, f64);
/// What happens in a minute.
type Usual<'a> = &'a dyn Fn(i64) -> Event;

/// How a stream of events is cut.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cut {
    /// A record for each event, as when little comes.
    Event,
    Minute,
    /// As when intake catches up.
    Minutes(i64),
}

/// Those of one leaf, minute and record are one partial.
fn opened(cut: Cut, events: &[Event]) -> Vec<Alert> {
    let rules = rules();
    let mut shard = Shard::new(0, 1, &rules);
    let mut alerts = Vec::new();
    let together = |a: &(i64, &str, f64), b: &(i64, &str, f64)| match cut {
        Cut::Event => false,
        Cut::Minute => a.0 == b.0,
        Cut::Minutes(minutes) => a.0 / minutes == b.0 / minutes,
    };
    for (offset, record) in (0..).zip(events.chunk_by(together)) {
        let minute_of = |minute: &[(i64, &str, f64)]| -> Partial {
            let mut sum = partial(Minute(START.0 + minute[0].0), "search", "ranker", "", 0.0);
            (sum.tokens_input, sum.tokens_output) = (0, 0);
            sum.users =
                minute.iter().map(|(_, user, money)| UserCost { user: (*user).into(), cost: Nanos((money * 1e9) as i128) }).collect();
            sum.cost = sum.users.iter().fold(Nanos::ZERO, |sum, user| sum.saturating_add(user.cost));
            sum
        };
        let partials: Vec<Partial> = record.chunk_by(|a, b| a.0 == b.0).map(minute_of).collect();
        let newest = Minute(START.0 + record.last().map_or(0, |event| event.0)).start();
        let source = Source { topic: "usage-events".into(), partition: 0 };
        let marker = Marker { source, watermark: Some(newest), idle: false, partitions_of_topic: 1 };
        let record = ShardRecord { partials, markers: vec![marker], events: Vec::new() };
        let effects = shard.apply_whole(&record, offset, newest.plus_ms(MINUTE_MS), &rules);
        alerts.extend(effects.into_iter().filter_map(|effect| if let Effect::Alert(alert) = effect { Some(*alert) } else { None }));
    }
    alerts.retain(|alert| alert.state == AlertState::Open);
    alerts
}

const CUTS: [Cut; 4] = [Cut::Event, Cut::Minute, Cut::Minutes(7), Cut::Minutes(60)];

/// Ann and bob take turns, and at 10:00 of the sixth day somebody begins to run away.
fn story(who: &'static str, runaway: impl Fn(i64) -> f64) -> Vec<Event> {
    story_from(5 * DAY + 600, who, runaway)
}

fn story_from(begin: i64, who: &'static str, runaway: impl Fn(i64) -> f64) -> Vec<Event> {
    let mut events = Vec::new();
    for at in (0..begin + 180).step_by(2) {
        events.push((at, if at % 60 < 30 { "ann" } else { "bob" }, 0.8));
        if at >= begin && runaway(at - begin) > 0.0 {
            events.push((at, who, runaway(at - begin)));
        }
    }
    events
}

#[test]
fn a_user_who_stands_out_does_so_in_whichever_records_the_others_come() {
    let events = story("eve", |_| 2.8);
    for cut in CUTS {
        let opened = opened(cut, &events);
        let first = opened.first().unwrap_or_else(|| panic!("{cut:?}: nothing"));
        assert_eq!((first.kind, first.causes[0].dimensions.get("user").map(String::as_str)), (AlertKind::Runaway, Some("eve")), "{cut:?}");
        // 2.8 every other minute: with the fourth 0.4 of the 24 an hour are there, and a minute waits for five later ones at most.
        let minutes = first.onset.minute().0 - START.0 - 5 * DAY - 600;
        assert!((0..=8).contains(&minutes), "{cut:?}: from minute {minutes} on");
    }
}

#[test]
fn nobody_stands_out_by_being_alone_in_a_record() {
    let events = story("eve", |_| 0.35);
    for cut in CUTS {
        assert_eq!(opened(cut, &events).first().map(|alert| &alert.summary), None, "{cut:?}");
    }
}

/// Carol takes half an hour a day instead of bob, so it takes long to see that she takes more than ever. That she stands out beside him, which
/// nobody has done for a week, is seen sooner; where somebody did three days ago it is not.
#[test]
fn where_nobody_stood_out_for_a_week_it_is_news_that_somebody_does() {
    let began = 10 * DAY + 630;
    let turns = |at: i64| match at % 60 {
        ..30 => (at, "ann", 0.8),
        _ if at % DAY < 60 => (at, "carol", 0.8),
        _ => (at, "bob", 0.8),
    };
    for (carl_at, is_news) in [(None, true), (Some(began - 3 * DAY), false), (Some(began - 9 * DAY), true)] {
        let mut events: Vec<_> = (0..began + 60).step_by(2).map(turns).collect();
        events.extend(carl_at.map(|at| (at, "carl", 3.2)));
        events.extend((began..began + 30).step_by(2).map(|at| (at, "carol", 3.4)));
        events.sort_by_key(|event| event.0);
        for cut in [Cut::Event, Cut::Minute] {
            let told = opened(cut, &events);
            let first = told.first().unwrap_or_else(|| panic!("{cut:?}: nothing"));
            let seen = first.detected_at.minute().0 - START.0 - began;
            let user = first.causes[0].dimensions.get("user").map(String::as_str);
            let is_soon = first.kind == AlertKind::Runaway && user == Some("carol") && (4..=10).contains(&seen);
            assert_eq!(is_soon, is_news, "{cut:?}, {carl_at:?}: {} at minute {seen}", first.summary);
            assert!(seen >= 4, "{cut:?}, {carl_at:?}: at minute {seen}");
        }
    }
}

/// Whoever has the leaf to himself stands out as soon as somebody else makes one call: he takes what he always takes.
#[test]
fn nobody_runs_away_by_his_ordinary_turn() {
    let (days, call) = (10 * DAY, |at: i64| (at, "dev", 0.25));
    let alone = |at: i64| (at, "svc", 0.8);
    let turns = |at: i64| (at, if at % 60 < 30 { "ann" } else { "bob" }, 0.8);
    let blocks = |at: i64| (at, ["ann", "bob", "carol", "dave"][(at % DAY / 360) as usize], if at % 60 == 0 { 24.0 } else { 0.0 });
    // A busy hour, in which everybody takes a quarter more.
    let busy = |at: i64| if at >= days + 600 { 1.25 } else { 1.0 };
    let shares = |at: i64| if at % 4 == 0 { (at, "ann", 0.8 * busy(at)) } else { (at, "bob", busy(at)) };
    let stories: [(&str, Usual<'_>, i64); 5] = [
        ("one of two who meet in no minute, in a busy hour", &shares, 648),
        ("a service, late in the hour", &alone, 644),
        ("a service, early in the hour", &alone, 602),
        ("a turn that ends", &turns, 628),
        ("a batch at the beginning of the hour", &blocks, 600),
    ];
    for (what, usual, at) in stories {
        let mut events: Vec<_> = (0..days + 780).step_by(2).map(usual).filter(|event| event.2 > 0.0).collect();
        events.push(call(days + at));
        events.sort_by_key(|event| event.0);
        for cut in [Cut::Event, Cut::Minute] {
            assert_eq!(opened(cut, &events).first().map(|alert| &alert.summary), None, "{what}, {cut:?}");
        }
    }
}

/// Six minutes of ann's own turn that cost more than hours did, and then it is over: an hour that comes in one record tells the same of it.
#[test]
fn a_short_runaway_is_told_however_much_comes_with_it() {
    let events = story("ann", |minute| if minute < 6 { 11.0 } else { 0.0 });
    for cut in CUTS {
        let opened = opened(cut, &events);
        let told: Vec<_> = opened.iter().map(|alert| (alert.kind, alert.onset.minute().0 - START.0 - 5 * DAY - 600)).collect();
        assert_eq!(told, [(AlertKind::Runaway, 0)], "{cut:?}");
    }
}

/// What comes behind the leaf's latest minute is looked at where it lies: the short window is full there, and nowhere else.
#[test]
fn a_short_runaway_is_told_when_it_comes_second() {
    let (began, mut events) = (5 * DAY + 600, story("ann", |_| 0.0));
    let at = events.partition_point(|event| event.0 < began + 30);
    events.splice(at..at, (0..6).step_by(2).map(|minute| (began + minute, "ann", 11.0)));
    let opened = opened(Cut::Event, &events);
    let told: Vec<_> = opened.iter().map(|alert| (alert.kind, alert.onset.minute().0 - START.0 - began)).collect();
    assert_eq!(told, [(AlertKind::Runaway, 0)]);
}

/// A crash between a minute and its judging tells nobody twice, and nobody less.
#[test]
fn users_who_wait_outlive_the_process() {
    let (rules, began) = (rules(), 10 * DAY + 600);
    let events = story_from(began, "eve", |_| 2.8);
    let record = |event: &(i64, &str, f64)| {
        let minute = Minute(START.0 + event.0);
        let mut sum = partial(minute, "search", "ranker", event.1, event.2);
        (sum.tokens_input, sum.tokens_output) = (0, 0);
        let source = Source { topic: "usage-events".into(), partition: 0 };
        let markers = vec![Marker { source, watermark: Some(minute.start()), idle: false, partitions_of_topic: 1 }];
        (ShardRecord { partials: vec![sum], markers, events: Vec::new() }, minute.start().plus_ms(MINUTE_MS))
    };
    let [mut running, mut crashing] = [(); 2].map(|()| Shard::new(0, 1, &rules));
    let (mut changelog, mut told) = (Vec::new(), 0);
    for (offset, event) in (0..).zip(&events) {
        let (record_now, now) = record(event);
        let [expected, effects] = [&mut running, &mut crashing].map(|shard| shard.apply_whole(&record_now, offset, now, &rules));
        assert!(expected == effects, "at minute {}", event.0);
        told += effects.iter().filter(|effect| matches!(effect, Effect::Alert(_))).count();
        if event.0 >= began - 10 {
            changelog.extend(crashing.take_changes());
            let mut restorer = Restorer::new(1);
            changelog.iter().for_each(|change| restorer.put(&change.key, change.value.as_deref()).unwrap());
            let replay = restorer.changelog_read(&rules).unwrap().unwrap();
            for again in replay.from..replay.to {
                restorer.replay(&record(&events[usize::try_from(again).unwrap()]).0, again);
            }
            let restored = restorer.finish().unwrap();
            assert!(restored == crashing, "at minute {}", event.0);
            crashing = restored;
        }
    }
    assert!(told > 0);
}
