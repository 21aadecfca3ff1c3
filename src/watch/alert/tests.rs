//! What changed is named: prices, models, moves within a team, single users, and what happens every day.

use crate::model::alert::{Alert, AlertKind, AlertState, Severity};
use crate::model::effect::Effect;
use crate::model::money::Nanos;
use crate::model::partial::{Marker, Partial, ShardRecord, Source, UserCost};
use crate::model::time::{MINUTE_MS, Minute};
use crate::watch::Shard;
use crate::watch::series::to_units;
use crate::watch::tests::{START, partial, rules};

/// Project, model, user, money and tokens of one minute.
pub(super) type Use = (&'static str, &'static str, &'static str, f64, u64);

/// A shard that gets a record every ten minutes, for so many hours.
pub(super) fn alerts(hours: i64, uses: impl Fn(i64) -> Vec<Use>) -> Vec<Alert> {
    alerts_of_patient(0.0, hours, uses)
}

/// Of a team that waits with what costs less than so many of its usual hours.
fn alerts_of_patient(wait_below_team_hours: f64, hours: i64, uses: impl Fn(i64) -> Vec<Use>) -> Vec<Alert> {
    alerts_of(wait_below_team_hours, hours, |at, noise| {
        let mut partials: Vec<Partial> = Vec::new();
        for (project, model, user, money, tokens) in uses(at) {
            let own = partials.iter_mut().find(|known| *known.leaf.project == *project && *known.leaf.model == *model);
            let mut more = partial(Minute(START.0 + at), "search", project, user, money * noise);
            more.leaf.model = model.into();
            (more.tokens_input, more.tokens_output) = ((tokens as f64 * noise) as u64, 0);
            match own {
                Some(own) => {
                    own.cost = own.cost.saturating_add(more.cost);
                    own.tokens_input += more.tokens_input;
                    own.users.push(UserCost { user: user.into(), cost: more.cost });
                }
                None => partials.push(more),
            }
        }
        partials
    })
}

pub(super) fn alerts_of(wait_below_team_hours: f64, hours: i64, partials: impl Fn(i64, f64) -> Vec<Partial>) -> Vec<Alert> {
    let mut rules = rules();
    rules.defaults.wait_below_team_hours = wait_below_team_hours;
    let mut shard = Shard::new(0, 1, &rules);
    let mut alerts = Vec::new();
    for (offset, at) in (0..hours * 6).map(|slot| slot * 10).enumerate() {
        let minute = Minute(START.0 + at);
        // A little noise, the same for all.
        let noise = 1.0 + f64::from(u32::try_from((at / 60 * 7919) % 13).unwrap()) / 100.0;
        let partials = partials(at, noise);
        let source = Source { topic: "usage-events".into(), partition: 0 };
        let marker = Marker { source, watermark: Some(minute.start()), idle: false, partitions_of_topic: 1 };
        let record = ShardRecord { partials, markers: vec![marker], events: Vec::new() };
        let effects = shard.apply_whole(&record, i64::try_from(offset).unwrap(), minute.start().plus_ms(MINUTE_MS), &rules);
        alerts.extend(effects.into_iter().filter_map(|effect| if let Effect::Alert(alert) = effect { Some(*alert) } else { None }));
    }
    alerts
}

pub(super) fn opened(alerts: &[Alert]) -> Vec<&Alert> {
    alerts.iter().filter(|alert| matches!(alert.state, AlertState::Open | AlertState::Reopened)).collect()
}

pub(super) const DAY: i64 = 1440;

#[test]
fn a_dearer_price_is_named_and_the_split_adds_up() {
    // 1.4 times the price: no spike, since an hour has to be 1.5 times the usual.
    let all = alerts(6 * 24, |at| vec![("ranker", "gpt-4o", "ann", if at < 5 * DAY { 4.0 } else { 5.6 }, 1_000_000)]);
    let opened = opened(&all);
    let [alert] = opened[..] else { panic!("{:#?}", opened.iter().map(|alert| &alert.summary).collect::<Vec<_>>()) };
    assert_eq!(alert.kind, AlertKind::PriceChange);
    assert_eq!(alert.dimensions.get("model").map(String::as_str), Some("gpt-4o"));
    assert!(alert.summary.contains("the price of gpt-4o per token is 1.4 times what it was"), "{}", alert.summary);
    assert!((alert.onset.0 - Minute(START.0 + 5 * DAY).start().0).abs() <= 60 * MINUTE_MS);
    for alert in &all {
        let split = alert.split.unwrap();
        assert_eq!(split.price.0 + split.volume.0 + split.mix.0, alert.excess.0, "{}", alert.summary);
    }
    let split = alert.split.unwrap();
    assert!(split.price.0 * 10 >= alert.excess.0 * 9 && split.mix == Nanos::ZERO, "{split:?}");
    assert!(all.last().is_some_and(|last| last.id == alert.id));
}

/// After two days the new price is the normal one, and nobody is told that it went back.
#[test]
fn a_dearer_price_that_stays_is_said_to_be_usual_by_now() {
    let all = alerts(9 * 24, |at| vec![("ranker", "gpt-4o", "ann", if at < 5 * DAY { 4.0 } else { 5.6 }, 1_000_000)]);
    let last = all.last().unwrap();
    assert_eq!((last.kind, last.state), (AlertKind::PriceChange, AlertState::Resolved), "{}", last.summary);
    assert!(!last.summary.contains("back to normal") && last.summary.contains("usual by now"), "{}", last.summary);
}

/// What is normal of a dearer price is the old price of the tokens of now, not the money of other days.
#[test]
fn a_price_that_doubles_while_traffic_halves_is_told_with_its_excess() {
    let price = |at: i64| if at < 5 * DAY { 1_000_000 } else { 500_000 };
    // A model beside, with a part of the project's money that is too small to hide the dearer one.
    let all = alerts(6 * 24, |at| vec![("ranker", "gpt-4o", "ann", 4.0, price(at)), ("ranker", "mini", "ann", 0.2, 100_000)]);
    let opened = opened(&all);
    let [alert] = opened[..] else { panic!("{:#?}", opened.iter().map(|alert| &alert.summary).collect::<Vec<_>>()) };
    assert_eq!((alert.kind, alert.dimensions.get("model").map(String::as_str)), (AlertKind::PriceChange, Some("gpt-4o")));
    for alert in &all {
        assert!(alert.summary.contains("2.0 times the usual") && alert.excess > Nanos::ZERO, "{}", alert.summary);
    }
}

#[test]
fn more_tokens_at_the_old_price_are_no_change_of_price() {
    let all = alerts(6 * 24, |at| {
        let times = if at < 5 * DAY { 1 } else { 3 };
        vec![("ranker", "gpt-4o", "ann", 4.0 * times as f64, 1_000_000 * times)]
    });
    let opened = opened(&all);
    assert_eq!(opened.iter().map(|alert| alert.kind).collect::<Vec<_>>(), [AlertKind::SpendSpike]);
    let split = opened[0].split.unwrap();
    assert!(split.volume.0 * 10 >= opened[0].excess.0 * 9, "{split:?}");
    assert!(!opened[0].summary.contains("price"), "{}", opened[0].summary);
}

#[test]
fn a_token_from_the_cache_is_one_token() {
    // 40 million input tokens an hour, of which fewer come from the cache at half the price: 1.2 times the money a token, or 1.5 times.
    let kinds = |before: f64, after: f64| -> Vec<AlertKind> {
        let all = alerts_of(0.0, 6 * 24, |at, noise| {
            let (tokens, share) = (40e6 / 6.0 * noise, if at < 5 * DAY { before } else { after });
            let cost = tokens * (2.50 * (1.0 - share) + 1.25 * share) / 1e6;
            let used = partial(Minute(START.0 + at), "search", "ranker", "ann", cost);
            vec![Partial { tokens_input: tokens as u64, tokens_cached_input: (tokens * share) as u64, tokens_output: 0, ..used }]
        });
        opened(&all).iter().map(|alert| alert.kind).collect()
    };
    assert_eq!(kinds(0.5, 0.2), []);
    assert_eq!(kinds(0.9, 0.35), [AlertKind::PriceChange]);
}

#[test]
fn traffic_that_moves_to_a_dearer_model_is_named() {
    let all = alerts(6 * 24, |at| {
        if at < 5 * DAY { vec![("ranker", "mini", "ann", 4.0, 1_000_000)] } else { vec![("ranker", "large", "ann", 5.9, 1_000_000)] }
    });
    let opened = opened(&all);
    let [alert] = opened[..] else { panic!("{:#?}", opened.iter().map(|alert| &alert.summary).collect::<Vec<_>>()) };
    assert_eq!(alert.kind, AlertKind::ModelSwitch);
    assert_eq!(alert.dimensions.get("model").map(String::as_str), Some("large"));
    assert!(alert.summary.ends_with("traffic moved from mini to large"), "{}", alert.summary);
}

#[test]
fn a_move_within_the_team_is_told_but_mailed_to_nobody() {
    let all = alerts(9 * 24, |at| {
        let (one, other) = if at < 8 * DAY { (4.0, 4.0) } else { (0.4, 7.6) };
        vec![("old", "m", "ann", one, 0), ("new", "m", "bob", other, 0)]
    });
    let opened = opened(&all);
    let first = opened[0];
    assert_eq!((first.kind, first.severity, first.notify), (AlertKind::SpendMoved, Severity::Info, false));
    assert!(first.summary.contains("in all it is as usual"), "{}", first.summary);
    // The same rise without the fall beside it is a spike.
    let all = alerts(9 * 24, |at| vec![("old", "m", "ann", 4.0, 0), ("new", "m", "bob", if at < 8 * DAY { 4.0 } else { 7.6 }, 0)]);
    assert!(all.iter().any(|alert| alert.kind == AlertKind::SpendSpike && alert.notify));
}

#[test]
fn one_user_beside_the_others_is_seen_within_minutes() {
    let story = |leak: &'static str, factor: f64| {
        move |at: i64| {
            let mut uses = vec![("ranker", "m", if at % 60 < 30 { "ann" } else { "bob" }, 4.0, 0)];
            if (5 * DAY + 600..5 * DAY + 780).contains(&at) {
                uses.push(("ranker", "m", leak, 4.0 * factor, 0));
            }
            uses
        }
    };
    let all = alerts(6 * 24, story("eve", 3.5));
    let first = opened(&all)[0];
    assert_eq!((first.kind, first.causes[0].dimensions.get("user").map(String::as_str)), (AlertKind::Runaway, Some("eve")));
    let begin = Minute(START.0 + 5 * DAY + 600).start();
    assert!(first.detected_at.0 - begin.0 <= 15 * MINUTE_MS, "{}", first.detected_at);
    // Minutes are held against minutes.
    let times = to_units(first.actual) / to_units(first.expected);
    assert!(first.excess > Nanos::ZERO && times > 2.0, "{}", first.summary);
    let of_guard = all.iter().filter(|alert| alert.id == first.id && alert.provisional);
    assert!(of_guard.clone().all(|alert| alert.excess > Nanos::ZERO), "{:#?}", of_guard.map(|alert| &alert.summary).collect::<Vec<_>>());
    // As much as the others is nobody's doing.
    let all = alerts(6 * 24, story("eve", 0.4));
    assert!(opened(&all).is_empty());
}

/// Where a team wants to wait: what is over within the hour and cost less than a quarter of its day is nobody's news; what goes on is,
/// and what is dear at once. Other teams hear of all of it within the hour.
#[test]
fn weak_evidence_waits_for_the_next_hour_where_a_team_wants_that() {
    let told_of = |patience: f64, times: f64, minutes: i64| {
        let begin = 8 * DAY + 600;
        let money = move |at: i64| 4.0 * if (begin..begin + minutes).contains(&at) { times } else { 1.0 };
        let all = alerts_of_patient(patience, 9 * 24, |at| vec![("ranker", "m", "ann", money(at), 0), ("crawler", "m", "bob", 1.0, 0)]);
        (opened(&all).into_iter().cloned().collect::<Vec<_>>(), Minute(START.0 + begin).start())
    };
    let burst = |times: f64, minutes: i64| told_of(6.0, times, minutes);
    let (told, begin) = told_of(0.0, 5.0, 60);
    assert!(told.len() == 1 && told[0].detected_at.0 - begin.0 < 60 * MINUTE_MS, "nobody waits by default");
    let (told, _) = burst(5.0, 60);
    assert!(told.is_empty(), "{}", told[0].summary);
    let (told, begin) = burst(5.0, 180);
    assert_eq!((told.len(), told[0].revision, told[0].onset), (1, 1, begin));
    let waited = (told[0].detected_at.0 - begin.0) / MINUTE_MS;
    assert!((60..=120).contains(&waited), "told after {waited} minutes");
    assert!(to_units(told[0].excess) > 96.0 && told[0].summary.contains("2 abnormal hours"), "both hours: {}", told[0].summary);
    let (told, begin) = burst(12.0, 60);
    assert!(told.len() == 1 && told[0].detected_at.0 - begin.0 < 60 * MINUTE_MS, "what is dear is told at once");
}

/// The id is the old one, what happened and when it was noticed is new.
#[test]
fn a_second_spike_within_half_a_day_reopens_the_alert_and_says_when_it_was_noticed() {
    let (first, second) = (8 * DAY + 180, 8 * DAY + 960);
    let is_on = |at: i64| [first, second].into_iter().any(|begin| (begin..begin + 120).contains(&at));
    let all = alerts(9 * 24, |at| vec![("ranker", "m", "ann", if is_on(at) { 40.0 } else { 4.0 }, 0), ("crawler", "m", "bob", 1.0, 0)]);
    let opened = opened(&all);
    assert_eq!(opened.iter().map(|alert| alert.state).collect::<Vec<_>>(), [AlertState::Open, AlertState::Reopened]);
    for (alert, begin) in opened.iter().zip([first, second]) {
        let waited = (alert.detected_at.0 - Minute(START.0 + begin).start().0) / MINUTE_MS;
        assert!((0..60).contains(&waited) && alert.detected_at == alert.decided_at, "{waited} {}", alert.summary);
    }
    assert!(all.last().is_some_and(|last| last.id == opened[0].id && last.detected_at == opened[1].detected_at));
}

/// A jump that is told as a new level is not told again as the leap that it began with, however its hour goes on.
#[test]
fn a_jump_is_one_matter_whatever_it_is_first_seen_as() {
    for times in [3.0, 4.0, 6.0, 9.0] {
        for begin in [9 * DAY + 600, 9 * DAY + 640] {
            let all = alerts(10 * 24 + 6, |at| {
                let money = 4.0 * if at >= begin { 1.4 } else { 1.0 } * if at >= begin + 300 { times / 1.4 } else { 1.0 };
                vec![("ranker", "m", "ann", money, 0), ("crawler", "m", "bob", 4.0, 0)]
            });
            let opened: Vec<&str> = opened(&all).iter().map(|alert| &*alert.summary).collect();
            assert_eq!(opened.len(), 1, "{times} {begin} {opened:#?}");
        }
    }
}

/// Growth that is told of hides no leap.
#[test]
fn a_leap_of_what_has_grown_for_days_is_told_beside() {
    let begin = 9 * DAY;
    let all = alerts(15 * 24, |at| {
        let grown = 4.0 * (1.0 + 2.0 * (at - begin).max(0) as f64 / (6 * DAY) as f64);
        let leap = if (begin + 5 * DAY + 600..begin + 5 * DAY + 840).contains(&at) { 6.0 } else { 1.0 };
        vec![("ranker", "m", "ann", grown * leap, 0), ("crawler", "m", "bob", 4.0, 0)]
    });
    let kinds: Vec<AlertKind> = opened(&all).iter().map(|alert| alert.kind).collect();
    assert_eq!(kinds, [AlertKind::LevelShift, AlertKind::SpendSpike]);
}

#[test]
fn what_comes_every_day_is_told_once() {
    let all = alerts(9 * 24, |at| {
        let is_nightly = at >= 5 * DAY && at % DAY / 60 == 3;
        vec![("ranker", "m", "ann", if is_nightly { 40.0 } else { 4.0 }, 0)]
    });
    assert_eq!(opened(&all).len(), 1, "{:#?}", opened(&all).iter().map(|alert| &alert.summary).collect::<Vec<_>>());
}

#[test]
fn what_falls_silent_is_told_as_info_once_and_ends_when_it_comes_back_or_stays_away() {
    let silent = 9 * DAY + 600;
    for (hours, ends_after) in [(10, 16), (200, 30)] {
        let all = alerts(12 * 24, |at| {
            let is_silent = (silent..silent + hours * 60).contains(&at);
            vec![("ranker", "m", "ann", 4.0, 0), ("crawler", "m", "bob", if is_silent { 0.0 } else { 3.0 }, 0)]
        });
        let first = opened(&all)[0].clone();
        assert_eq!((first.kind, first.severity, first.dimensions["project"].as_str()), (AlertKind::SpendDrop, Severity::Info, "crawler"));
        assert!(first.summary.contains("has gone silent: nothing spent in 4 hours"), "{}", first.summary);
        assert_eq!(first.onset, Minute(START.0 + silent).start());
        assert!(all.iter().all(|alert| alert.id == first.id), "{:#?}", all.iter().map(|alert| &alert.summary).collect::<Vec<_>>());
        let last = all.last().unwrap();
        let lasted = (last.closed_at.expect("it is over").0 - first.onset.0) / (60 * MINUTE_MS);
        assert_eq!((last.state, lasted <= ends_after), (AlertState::Resolved, true), "{hours} hours: over after {lasted}");
    }
}

#[test]
fn nights_weekends_moves_and_the_ends_of_spikes_are_no_drops() {
    let nightly = alerts(12 * 24, |at| vec![("ranker", "m", "ann", if at % DAY / 60 < 7 { 0.2 } else { 4.0 }, 0)]);
    assert!(opened(&nightly).is_empty());
    let weekend = alerts(20 * 24, |at| vec![("ranker", "m", "ann", if at / DAY % 7 < 2 { 0.2 } else { 4.0 }, 0)]);
    assert!(weekend.iter().all(|alert| alert.kind != AlertKind::SpendDrop));
    let spiking = alerts(12 * 24, |at| vec![("ranker", "m", "ann", if (9 * DAY..10 * DAY).contains(&at) { 40.0 } else { 4.0 }, 0)]);
    assert!(!spiking.is_empty() && spiking.iter().all(|alert| alert.kind != AlertKind::SpendDrop));
    let switched = alerts(12 * 24, |at| vec![("ranker", if at < 9 * DAY { "small" } else { "large" }, "ann", 4.0, 0)]);
    assert!(switched.iter().all(|alert| alert.kind != AlertKind::SpendDrop));
}

#[test]
fn slow_growth_of_a_project_is_told_within_three_days_and_a_weekly_rhythm_is_none() {
    // Threefold over six days, by some per mille an hour; nights are quiet.
    let begin = 9 * DAY;
    let night = |at: i64| if at % DAY / 60 < 6 { 0.4 } else { 1.0 };
    let grown = |at: i64| 1.0 + 2.0 * (at - begin).max(0) as f64 / (6 * DAY) as f64;
    let story = |factor: fn(f64) -> f64| {
        alerts(14 * 24, |at| {
            let usual = 4.0 * night(at);
            vec![("ranker", "m", "ann", usual * factor(grown(at)), 0), ("crawler", "m", "bob", usual, 0)]
        })
    };
    let growing = story(|grown| grown);
    let first = opened(&growing)[0];
    assert_eq!((first.kind, first.dimensions["project"].as_str()), (AlertKind::LevelShift, "ranker"), "{}", first.summary);
    let days = (first.detected_at.0 - Minute(START.0 + begin).start().0) as f64 / (DAY * MINUTE_MS) as f64;
    assert!(days <= 3.0, "after {days} days");
    assert!((1.2..2.5).contains(&(to_units(first.actual) / to_units(first.expected))), "{}", first.summary);
    assert!(opened(&story(|_| 1.0)).is_empty());
    let weekly = alerts(21 * 24, |at| vec![("ranker", "m", "ann", if at / DAY % 7 < 5 { 4.0 } else { 2.5 }, 0)]);
    assert!(
        weekly.iter().all(|alert| alert.kind != AlertKind::LevelShift),
        "{:?}",
        opened(&weekly).iter().map(|alert| &alert.summary).collect::<Vec<_>>()
    );
}
