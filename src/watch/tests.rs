//! The whole room on records: quiet weeks, a spike caught in minutes, its end, and a state that restores to what was running.

use std::collections::BTreeMap;

use super::rules::{TeamRule, Thresholds, WatchRules};
use super::state::StateKey;
use super::stood_out::StoodOut;
use super::*;
use crate::model::alert::{Alert, AlertKind, AlertState};
use crate::model::effect::Effect;
use crate::model::leaf::{Leaf, Measure};
use crate::model::money::{Currency, Nanos};
use crate::model::partial::{Marker, Partial, ShardRecord, Source, UserCost};
use crate::model::time::{MINUTE_MS, Minute};

pub(crate) fn rules() -> WatchRules {
    WatchRules {
        revision: 1,
        lateness_ms: 5 * MINUTE_MS,
        reporting_currency: Currency::USD,
        rates: Default::default(),
        series_per_team: 20_000,
        teams_per_shard: 1_000_000,
        defaults: Thresholds {
            alerts_per_team_month: 2.0,
            least_ratio: 1.5,
            least_excess: Nanos::from_units(10),
            runaway_floor: Nanos::from_units(25),
            runaway_factor: 3.0,
            quiet_hours_to_close: 3,
            update_growth: 1.5,
            refractory_hours: 12,
            wait_below_team_hours: 0.0,
        },
        overrides: Vec::new(),
        teams: vec![TeamRule { team: "watched".into(), time_zone: "Europe/Berlin".into(), observe: true }],
        policies: std::sync::Arc::default(),
        data_origins: Vec::new(),
        lineage_grace_ms: 60 * MINUTE_MS,
        matters: Default::default(),
    }
}

/// A shard fed minute by minute, with one source.
pub(crate) struct Bench {
    pub shard: Shard,
    pub rules: WatchRules,
    offset: i64,
    pub alerts: Vec<Alert>,
    rollups: Vec<crate::model::rollup::SpendRollup>,
}

pub(crate) const START: Minute = Minute(29_000_000 - 29_000_000 % 1440);

impl Bench {
    pub fn new() -> Bench {
        let rules = rules();
        Bench { shard: Shard::new(0, 1, &rules), rules, offset: 0, alerts: Vec::new(), rollups: Vec::new() }
    }

    /// Money by (team, project, user) in one minute; the watermark follows.
    pub fn minute(&mut self, minute: i64, spends: &[(&str, &str, &str, f64)]) {
        let minute = Minute(START.0 + minute);
        let partials = spends.iter().map(|(team, project, user, money)| partial(minute, team, project, user, *money)).collect();
        self.record(minute, partials);
    }

    pub fn record(&mut self, minute: Minute, partials: Vec<Partial>) {
        let marker = Marker {
            source: Source { topic: "usage-events".into(), partition: 0 },
            watermark: Some(minute.start()),
            idle: false,
            partitions_of_topic: 1,
        };
        let record = ShardRecord { partials, markers: vec![marker], events: Vec::new() };
        let effects = self.shard.apply_whole(&record, self.offset, minute.start().plus_ms(MINUTE_MS), &self.rules);
        self.offset += 1;
        for effect in effects {
            match effect {
                Effect::Alert(alert) => self.alerts.push(*alert),
                Effect::Rollup(rollup) => self.rollups.push(*rollup),
                other => panic!("{other:?}"),
            }
        }
    }

    /// Ten days of 24 hours: 10 USD an hour by night, 30 by day, two projects, a little noise.
    pub fn quiet_days(&mut self, days: i64) {
        for minute in 0..days * 1440 {
            let hour = minute / 60 % 24;
            let level = if (8..18).contains(&hour) { 30.0 } else { 10.0 };
            let noise = 1.0 + f64::from(u32::try_from((minute / 60 * 7919) % 13).unwrap()) / 100.0;
            let money = level / 60.0 * noise;
            self.minute(minute, &[("search", "ranker", "ann", money * 0.7), ("search", "crawler", "bob", money * 0.3)]);
        }
    }
}

pub(crate) fn partial(minute: Minute, team: &str, project: &str, user: &str, money: f64) -> Partial {
    let cost = Nanos((money * 1e9) as i128);
    Partial {
        leaf: Leaf {
            team: team.into(),
            project: project.into(),
            model: "gpt-4o".into(),
            provider: "openai".into(),
            region: "eu".into(),
            environment: "prod".into(),
            meter: "llm.tokens".into(),
            currency: Currency::USD,
            measure: Measure::Estimated,
        },
        minute,
        events: 3,
        unpriced_events: 0,
        cost,
        has_negative: money < 0.0,
        quantity: Nanos::ZERO,
        requests: 3,
        tokens_input: 100,
        tokens_output: 10,
        tokens_cached_input: 0,
        tokens_cache_write: 0,
        tokens_reasoning: 0,
        last_event_time: minute.start().plus_ms(30_000),
        last_ingest_time: minute.start().plus_ms(31_000),
        users: vec![UserCost { user: user.into(), cost }],
        hits: Vec::new(),
        failed: Default::default(),
    }
}

#[test]
fn quiet_days_raise_nothing_and_every_hour_is_rolled_up_once() {
    let mut bench = Bench::new();
    bench.quiet_days(10);
    assert_eq!(bench.alerts, Vec::new());
    let mut revisions: BTreeMap<(String, i64), u32> = BTreeMap::new();
    for rollup in &bench.rollups {
        *revisions.entry((rollup.leaf.project.to_string(), rollup.period_start.0)).or_default() += 1;
    }
    assert!(revisions.values().all(|count| *count == 1));
    // The last hour is still open, the one before has closed.
    assert_eq!(revisions.len(), 2 * (10 * 24 - 1));
}

/// A spike in one project: alert within its first hour, at that project's node, with the user; grows, ends, one id all along.
#[test]
fn a_spike_is_one_alert_from_its_first_minutes_to_its_end() {
    let mut bench = Bench::new();
    bench.quiet_days(10);
    let day = 10 * 1440;
    for minute in day..day + 10 * 60 {
        let spike = if (day + 120..day + 300).contains(&minute) { 2.0 } else { 0.0 };
        let money = 10.0 / 60.0;
        let spends =
            [("search", "ranker", "ann", money * 0.7), ("search", "crawler", "bob", money * 0.3), ("search", "ranker", "eve", spike)];
        bench.minute(minute, if spike > 0.0 { &spends[..] } else { &spends[..2] });
    }
    let first = bench.alerts.first().expect("an alert");
    assert_eq!((first.state, first.revision), (AlertState::Open, 1));
    let delay = (first.event_time.0 - Minute(START.0 + day + 120).start().0) / MINUTE_MS;
    assert!(delay <= 20, "{delay} minutes after onset");
    assert_eq!(first.dimensions.get("project").map(String::as_str), Some("ranker"));
    assert_eq!(first.causes.first().and_then(|cause| cause.dimensions.get("user")).map(String::as_str), Some("eve"), "{:?}", first.causes);
    assert!(first.provisional && first.notify);
    let told: Vec<String> = bench
        .alerts
        .iter()
        .map(|alert| format!("{} {:?} {} {:?}", alert.event_time, alert.state, alert.summary, alert.dimensions))
        .collect();
    assert!(bench.alerts.iter().all(|alert| alert.id == first.id), "one episode, one id: {told:#?}");
    let revisions: Vec<u32> = bench.alerts.iter().map(|alert| alert.revision).collect();
    assert_eq!(revisions, (1..=u32::try_from(revisions.len()).unwrap()).collect::<Vec<_>>());
    let last = bench.alerts.last().unwrap();
    assert_eq!(last.state, AlertState::Resolved, "{:?}", bench.alerts.iter().map(|alert| alert.state).collect::<Vec<_>>());
    let excess = super::series::to_units(last.excess);
    assert!((300.0..380.0).contains(&excess), "180 minutes of 2 USD: {excess}");
    assert_eq!(bench.shard.open_alerts(), 0);
}

/// Somebody takes 180 USD an hour from the last ten minutes of an hour on: what the hour had before is no part of that.
#[test]
fn what_a_runaway_burns_is_measured_from_its_onset() {
    let mut bench = Bench::new();
    bench.quiet_days(6);
    let begin = 6 * 1440 + 12 * 60 + 50;
    for minute in 6 * 1440..begin + 8 {
        let money = if (8..18).contains(&(minute / 60 % 24)) { 0.35 } else { 0.35 / 3.0 };
        let at = Minute(START.0 + minute);
        let mut ranker = partial(at, "search", "ranker", "ann", money);
        if minute >= begin {
            let eve = UserCost { user: "eve".into(), cost: Nanos::from_units(3) };
            ranker.cost = ranker.cost.saturating_add(eve.cost);
            ranker.users.push(eve);
        }
        bench.record(at, vec![ranker, partial(at, "search", "crawler", "bob", 0.4 * money)]);
    }
    let first = bench.alerts.first().expect("an alert");
    let burn = super::series::to_units(first.burn_rate_per_hour);
    assert!(first.kind == AlertKind::Runaway && (60.0..220.0).contains(&burn), "{burn} {}", first.summary);
}

/// A straggler of the hour before comes with the burst: the burst is of its own hour.
#[test]
fn a_runaway_is_told_in_the_hour_of_its_minutes() {
    let mut bench = Bench::new();
    for minute in 0..59 {
        bench.minute(minute, &[("young", "agent", "loop", 0.2)]);
    }
    let burst = Minute(START.0 + 64);
    let straggler = partial(Minute(START.0 + 59), "young", "agent", "loop", 0.2);
    bench.record(burst, vec![straggler, partial(burst, "young", "agent", "loop", 40.0)]);
    let first = bench.alerts.first().expect("an alert");
    assert_eq!((bench.alerts.len(), first.kind, first.actual), (1, AlertKind::Runaway, Nanos::from_units(40)), "{}", first.summary);
}

/// Ids of the alerts, and that no id uses a revision twice.
fn ids(alerts: &[Alert]) -> Vec<String> {
    let mut last: BTreeMap<&str, u32> = BTreeMap::new();
    for alert in alerts {
        let before = last.insert(&alert.id, alert.revision).unwrap_or(0);
        assert_eq!(alert.revision, before + 1, "{} {:?}", alert.id, alert.state);
    }
    last.into_keys().map(str::to_string).collect()
}

/// What is new has no normal of its own: the sums above it say that something is wrong, hour after hour, and it is still one alert.
#[test]
fn a_new_project_is_one_alert_until_it_ends() {
    let mut bench = Bench::new();
    bench.quiet_days(10);
    let day = 10 * 1440;
    for minute in day..day + 18 * 60 {
        let money = if (480..1080).contains(&(minute - day)) { 0.5 } else { 10.0 / 60.0 };
        let spends =
            [("search", "ranker", "ann", money * 0.7), ("search", "crawler", "bob", money * 0.3), ("search", "sandbox", "eve", 1.5)];
        let is_on = (day + 120..day + 120 + 7 * 60).contains(&minute);
        bench.minute(minute, if is_on { &spends[..] } else { &spends[..2] });
    }
    let told: Vec<String> = bench.alerts.iter().map(|alert| format!("{:?} {}", alert.state, alert.summary)).collect();
    assert_eq!(ids(&bench.alerts).len(), 1, "{told:#?}");
    assert!(bench.alerts.iter().all(|alert| alert.state != AlertState::Retracted), "{told:#?}");
    for alert in &bench.alerts {
        assert_eq!(alert.dimensions.get("project").map(String::as_str), Some("sandbox"), "{told:#?}");
        let user = alert.causes.first().and_then(|cause| cause.dimensions.get("user"));
        assert_eq!(user.map(String::as_str), Some("eve"), "{} {:?}", alert.summary, alert.causes);
    }
    let last = bench.alerts.last().unwrap();
    let excess = super::series::to_units(last.excess);
    assert!(last.state == AlertState::Resolved && (600.0..=630.0).contains(&excess), "7 hours of 90 USD: {excess} {told:#?}");
}

/// Project and model are both above the leaves; money that an alert for the one tells of is not told again for the other.
#[test]
fn the_same_money_is_told_once() {
    let mut bench = Bench::new();
    let spends = |minute: i64, times: f64| -> Vec<Partial> {
        let hour = START.0 + minute;
        let noise = 1.0 + f64::from(u32::try_from((minute / 60 * 7919) % 13).unwrap()) / 100.0;
        let of = |project: &str, model: &str, money: f64| {
            let part = partial(Minute(hour), "search", project, "ann", money * noise);
            Partial { leaf: Leaf { model: model.into(), ..part.leaf.clone() }, ..part }
        };
        vec![of("ranker", "small", 0.2 * times), of("ranker", "large", 0.2 * times), of("crawler", "tiny", 0.1)]
    };
    let day = 10 * 1440;
    for minute in 0..day + 16 * 60 {
        let times = if (day + 90..day + 300).contains(&minute) { 6.0 } else { 1.0 };
        bench.record(Minute(START.0 + minute), spends(minute, times));
    }
    let told: Vec<String> =
        bench.alerts.iter().map(|alert| format!("{:?} {} {:?}", alert.state, alert.summary, alert.dimensions)).collect();
    assert_eq!(ids(&bench.alerts).len(), 1, "{told:#?}");
}

/// Of two projects on one model the second to be abnormal is told by itself, not as the model that has both.
#[test]
fn two_projects_that_leap_in_one_hour_are_two_alerts() {
    let mut bench = Bench::new();
    let day = 10 * 1440;
    for minute in 0..day + 16 * 60 {
        let noise = 1.0 + f64::from(u32::try_from((minute / 60 * 7919) % 13).unwrap()) / 100.0;
        let money =
            |usual: f64, from: i64, times: f64| if (from..from + 180).contains(&minute) { usual * times * noise } else { usual * noise };
        let (ranker, indexer) = (money(0.8, day + 90, 5.0), money(0.4, day + 94, 10.0));
        bench.minute(minute, &[("search", "ranker", "ann", ranker), ("search", "indexer", "bob", indexer)]);
    }
    let opened = bench.alerts.iter().filter(|alert| alert.state == AlertState::Open);
    let told: Vec<&str> = opened.map(|alert| alert.dimensions.get("project").map_or("", String::as_str)).collect();
    assert_eq!(told, ["indexer", "ranker"], "{:#?}", bench.alerts.iter().map(|alert| &alert.summary).collect::<Vec<_>>());
}

#[test]
fn a_runaway_needs_no_history_but_a_spike_does_and_observed_teams_are_not_mailed() {
    let mut bench = Bench::new();
    for minute in 0..90 {
        let money = if minute < 60 { 0.2 } else { 40.0 };
        bench.minute(minute, &[("young", "agent", "loop", money), ("watched", "agent", "loop", money)]);
    }
    let opened: Vec<&Alert> = bench.alerts.iter().filter(|alert| alert.state == AlertState::Open).collect();
    assert_eq!(opened.len(), 2);
    for alert in opened {
        assert_eq!(alert.kind, AlertKind::Runaway);
        assert_eq!(alert.notify, alert.team == "young");
        assert!(alert.event_time.minute().0 - START.0 - 60 <= 5, "within five minutes");
    }
}

pub(crate) fn restored(live: &[(Vec<u8>, Vec<u8>)], shard_count: u32, rules: &WatchRules) -> Result<Option<Shard>, state::StateError> {
    let mut restorer = Restorer::new(shard_count);
    for (key, value) in live {
        restorer.put(key, Some(value))?;
    }
    assert_eq!(restorer.minds_order(), live.iter().any(|(_, value)| value[1] == 1));
    if restorer.changelog_read(rules)?.is_none() { Ok(None) } else { restorer.finish().map(Some) }
}

/// What earlier versions wrote is read, its open alert goes on to its end under its id, and all is written as this version writes.
#[test]
fn a_state_of_earlier_versions_goes_on() {
    let earlier = [
        (1, &include_bytes!("testdata/shard_v1.bin")[..]),
        (2, &include_bytes!("testdata/shard_v2.bin")[..]),
        (3, &include_bytes!("testdata/shard_v3.bin")[..]),
        (4, &include_bytes!("testdata/shard_v4.bin")[..]),
    ];
    for (version, bytes) in earlier {
        let mut parts = Vec::new();
        let mut rest = bytes;
        while let Some((length, tail)) = rest.split_first_chunk::<4>() {
            let (part, tail) = tail.split_at(u32::from_le_bytes(*length) as usize);
            parts.push(part.to_vec());
            rest = tail;
        }
        let live: Vec<(Vec<u8>, Vec<u8>)> = parts.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
        assert!(live.iter().all(|(_, value)| value[1] == version));
        goes_on(version, live);
    }
}

fn goes_on(version: u8, live: Vec<(Vec<u8>, Vec<u8>)>) {
    let mut bench = Bench::new();
    bench.shard = restored(&live, 1, &bench.rules).unwrap().unwrap();
    bench.offset = bench.shard.header().position;
    assert_eq!((bench.shard.open_alerts(), bench.shard.replay_from()), (1, bench.offset));
    // Nobody is known to have been quiet until then.
    for (_, _, leaf) in bench.shard.accounts.iter().flat_map(|(_, state)| state.leaves()) {
        let closed = bench.shard.header().closed_through.unwrap();
        assert!(version > 3 || leaf.stood_out == StoodOut::unknown_before(closed), "{:?}", leaf.stood_out);
    }
    let mut changelog: BTreeMap<Vec<u8>, Vec<u8>> = live.into_iter().collect();
    let day = 5 * 1440;
    for minute in day + 200..day + 1440 {
        let noise = 1.0 + f64::from(u32::try_from((minute / 60 * 7919) % 13).unwrap()) / 100.0;
        let spike = if minute < day + 400 { 2.0 } else { 0.0 };
        let spends = [
            ("search", "ranker", "ann", 0.2 * noise),
            ("search", "crawler", "bob", 0.1 * noise),
            ("ads", "bidder", "cyd", 0.4 * noise + spike),
            ("watched", "agent", "loop", -0.01),
        ];
        bench.minute(minute, &spends);
        if minute % 97 == 0 {
            let late = Minute(START.0 + minute - 130);
            bench.record(Minute(START.0 + minute), vec![partial(late, "search", "ranker", "late", 0.05)]);
        }
    }
    let told: Vec<String> = bench.alerts.iter().map(|alert| format!("{:?} {} {}", alert.state, alert.revision, alert.summary)).collect();
    let first = bench.alerts.first().expect("the alert goes on");
    assert!(first.revision > 1 && bench.alerts.iter().all(|alert| alert.id == first.id && alert.team == "ads"), "{told:#?}");
    assert_eq!(bench.alerts.iter().filter(|alert| alert.state == AlertState::Resolved).count(), 1, "{told:#?}");
    bench.shard.save_all();
    for change in bench.shard.take_changes() {
        match change.value {
            Some(value) => changelog.insert(change.key, value),
            None => changelog.remove(&change.key),
        };
    }
    let is_series =
        |key: &[u8]| matches!(state::decode_key(key), Ok(StateKey::Node(..) | StateKey::LeafClosed(..) | StateKey::LeafOpen(..)));
    let series = changelog.iter().filter(|(key, _)| is_series(key));
    assert!(series.clone().count() > 8 && series.clone().all(|(_, value)| value[1] == state::STATE_VERSION), "series are written anew");
    let live: Vec<(Vec<u8>, Vec<u8>)> = changelog.into_iter().collect();
    assert_eq!(restored(&live, 1, &bench.rules).unwrap().as_ref(), Some(&bench.shard));
}

#[test]
fn a_state_of_another_version_shard_count_or_newer_rules_is_refused() {
    let mut bench = Bench::new();
    bench.minute(0, &[("search", "ranker", "ann", 1.0)]);
    let live: Vec<(Vec<u8>, Vec<u8>)> =
        bench.shard.take_changes().into_iter().filter_map(|change| Some((change.key, change.value?))).collect();
    assert_eq!(restored(&live, 2, &bench.rules), Err(state::StateError::OtherShardCount { found: 1, configured: 2 }));
    let older = WatchRules { revision: 0, ..bench.rules.clone() };
    assert_eq!(restored(&live, 1, &older), Err(state::StateError::OlderRules { found: 1, configured: 0 }));
    let mut newer_format = live.clone();
    newer_format[0].1[1] = state::STATE_VERSION + 1;
    assert_eq!(restored(&newer_format, 1, &bench.rules), Err(state::StateError::OtherVersion { found: state::STATE_VERSION + 1 }));
    let mut damaged = live;
    *damaged[0].1.last_mut().unwrap() ^= 1;
    assert_eq!(restored(&damaged, 1, &bench.rules), Err(state::StateError::Damaged("checksum")));
    assert_eq!(restored(&[], 1, &bench.rules), Ok(None));
}

/// Ids of requests where the team belongs: all money is counted, teams that are there or in the config keep their own, and once the names are
/// forgotten there is room again.
#[test]
fn so_many_teams_have_series_and_what_others_use_is_counted_together() {
    let mut bench = Bench::new();
    bench.rules.teams_per_shard = 3;
    for minute in 0..50 {
        bench.minute(minute, &[("search", "ranker", "ann", 1.0), (&format!("request-{minute}"), "p", "", 1.0)]);
    }
    bench.minute(50, &[("watched", "p", "", 1.0)]);
    let teams: Vec<String> = bench.shard.accounts.used().map(|state| state.account.team.to_string()).collect();
    assert_eq!(teams, ["(other 0)", "request-0", "request-1", "search", "watched"]);
    assert_eq!(bench.shard.capped_leaves(), 48);
    bench.minute(200, &[]);
    let of = |team: &str| {
        bench.rollups.iter().filter(|rollup| *rollup.leaf.team == *team).map(|rollup| rollup.cost.0 / 1_000_000_000).sum::<i128>()
    };
    assert_eq!((of("search"), of("(other 0)"), of("request-1")), (50, 48, 1));
    for day in 1..60 {
        bench.minute(day * 1440, &[("search", "ranker", "ann", 1.0)]);
    }
    bench.minute(60 * 1440, &[("new", "p", "", 1.0)]);
    assert!(bench.shard.accounts.used().any(|state| &*state.account.team == "new"));
}

/// Each count is one that intake takes; together they are more than a reader does.
#[test]
fn counts_beyond_any_reader_end_there_and_the_shard_goes_on() {
    let mut bench = Bench::new();
    let most = 1_000_000_000_000_000_000;
    for minute in 0..20 {
        let minute = Minute(START.0 + minute);
        let counted = Partial { tokens_input: most, requests: most, ..partial(minute, "search", "ranker", "ann", 1.0) };
        bench.record(minute, vec![counted]);
    }
    bench.minute(70, &[]);
    let late = Partial { tokens_input: most, ..partial(Minute(START.0 + 5), "search", "ranker", "ann", 1.0) };
    bench.record(Minute(START.0 + 71), vec![late]);
    let counted: Vec<(u64, u64, u64)> = bench.rollups.iter().map(|rollup| (rollup.events, rollup.requests, rollup.tokens_input)).collect();
    let end = i64::MAX.unsigned_abs();
    assert_eq!(counted, [(60, end, end), (63, end, end)]);
    for rollup in &bench.rollups {
        crate::model::wire::rollup_to_json(rollup).unwrap();
        crate::model::wire::rollup_to_avro(rollup).unwrap();
    }
}
