//! The invariant: restored state == the state that was running, at every commit of any shard log, and both go on alike.

use std::collections::BTreeMap;

use super::*;
use crate::model::activity::ActivityEvent;
use crate::model::effect::{Effect, StateChange};
use crate::model::leaf::Leaf;
use crate::model::money::{Currency, Nanos};
use crate::model::partial::{Marker, Partial, ShardEvent, Source, UserCost};
use crate::model::resource::ResourceSample;
use crate::model::time::{DAY_MS, HOUR_MS, MINUTE_MS, Minute, Timestamp};
use crate::policy::fields::Subject;
use crate::policy::stream::tests::{policy, policy_over, stream};
use crate::policy::{Exemption, Policy};
use crate::watch::state::{encode, encode_key};
use crate::watch::tests::{START, partial, rules};

const RECORDS: u64 = 200;

/// Seeded: the same seed plays the same log.
pub(crate) struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub fn of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len() as u64) as usize]
    }
}

struct Logged {
    offset: i64,
    append_time: Timestamp,
    record: ShardRecord,
}

/// Several teams, late data, negative amounts, many users, bombs of names, gaps in time, idle sources, transaction markers.
fn log(seed: u64) -> Vec<Logged> {
    let mut dice = Dice(seed);
    let mut now = START.start();
    let mut offset = dice.below(100) as i64;
    let (mut newest, mut spiking) = (None, 0_u64);
    let mut log = Vec::new();
    for number in 0..RECORDS {
        let hurried = dice.one_in(3);
        let steps: &[i64] = if hurried { &[3_000, 11_000, 29_000] } else { &[61_000, 5 * MINUTE_MS, 17 * MINUTE_MS, 50 * MINUTE_MS] };
        now = now.plus_ms(*dice.of(steps));
        if dice.one_in(100) {
            now = now.plus_ms(*dice.of(&[7, 50]) * 60 * MINUTE_MS);
        }
        // So long that series are forgotten; it costs 900 closes, so once is enough.
        if seed == 0 && number == RECORDS / 2 {
            now = now.plus_ms(37 * DAY_MS);
        }
        offset += 1 + i64::from(dice.one_in(5));
        if dice.one_in(25) {
            spiking = dice.below(12);
        }
        spiking = spiking.saturating_sub(1);
        let partials: Vec<Partial> = (0..dice.below(7)).map(|_| amount(&mut dice, now.minute(), spiking > 0)).collect();
        newest = newest.max(partials.iter().map(|partial| partial.minute.start()).max());
        let idle = dice.one_in(6);
        let source = Source { topic: "usage-events".into(), partition: dice.below(2) as i32 };
        let marker = Marker { source, watermark: newest, idle, partitions_of_topic: 2 };
        let markers = if dice.one_in(4) { Vec::new() } else { vec![marker] };
        let events = (0..dice.below(3)).map(|_| happened(&mut dice, now)).collect();
        log.push(Logged { offset, append_time: now, record: ShardRecord { partials, markers, events } });
    }
    log
}

/// A machine with an owner or without, a model that is registered, deployed, approved and undeployed in any order; some of it twice.
fn happened(dice: &mut Dice, now: Timestamp) -> ShardEvent {
    let event_time = now.plus_ms(-(dice.below(180) as i64) * MINUTE_MS);
    let (event_id, team) = (format!("e-{}", dice.below(200)).as_str().into(), (*dice.of(&["ads", "search"])).into());
    let region = Some((*dice.of(&["eu-central-1", "ap-northeast-1", "global"])).into());
    if dice.one_in(2) {
        let owner = dice.one_in(2).then(|| "ann".into());
        let (hourly_cost, currency) = (Some(Nanos::from_units(3)), Some(Currency::USD));
        let resource_id = Some(format!("gpu-{}", dice.below(3)).as_str().into());
        let sample =
            ResourceSample { event_id, event_time, team, region, owner, hourly_cost, currency, resource_id, ..ResourceSample::default() };
        return ShardEvent::Resource(Box::new(sample));
    }
    let action = *dice.of(&["deployment", "deployment", "undeployment", "model_registered", "approval", "revoke", "egress"]);
    let origin_region = (action == "model_registered").then(|| (*dice.of(&["eu-west-1", "us-east-1"])).into());
    let approval = matches!(action, "approval" | "revoke").then(|| "RV-1".into());
    let expires_at = dice.one_in(2).then(|| now.plus_ms(200 * MINUTE_MS));
    let (action, model) = (Some(action.into()), Some((*dice.of(&["small", "large"])).into()));
    let activity = ActivityEvent {
        event_id,
        event_time,
        team,
        region,
        action,
        model,
        origin_region,
        approval,
        expires_at,
        ..ActivityEvent::default()
    };
    ShardEvent::Activity(Box::new(activity))
}

fn amount(dice: &mut Dice, now: Minute, spiking: bool) -> Partial {
    let back = match dice.below(10) {
        0 => dice.below(50 * 60) as i64,
        1 | 2 => dice.below(90) as i64,
        _ => 0,
    };
    let team = *dice.of(&["ads", "search", "watched"]);
    let money = *dice.of(&[0.1, 0.2, 0.3, 0.0, -0.2]) + if spiking && team == "ads" { 40.0 } else { 0.0 };
    let bomb = format!("job-{}", dice.below(40));
    let project = if dice.one_in(6) { bomb.as_str() } else { *dice.of(&["ranker", "crawler"]) };
    let part = partial(Minute(now.0 - back), team, project, "ann", money);
    let users =
        (0..dice.below(40)).map(|user| UserCost { user: format!("user-{}", user * 7 % 45).as_str().into(), cost: part.cost }).collect();
    let leaf = Leaf { model: (*dice.of(&["small", "large"])).into(), ..part.leaf };
    Partial { leaf, users, ..part }
}

/// The changelog as the broker keeps it: every record, or some of those that a later one replaces gone.
#[derive(Default)]
struct Changelog(Vec<StateChange>);

impl Changelog {
    fn compact(&mut self) {
        let mut last = BTreeMap::new();
        for (at, change) in self.0.iter().enumerate() {
            last.insert(change.key.clone(), at);
        }
        let mut at = 0..;
        self.0.retain(|change| last.get(&change.key) == at.next().as_ref());
    }

    fn restore(&self, log: &[Logged], rules: &WatchRules) -> Shard {
        let mut restorer = Restorer::new(1);
        for change in &self.0 {
            restorer.put(&change.key, change.value.as_deref()).unwrap();
        }
        let replay = restorer.changelog_read(rules).unwrap().expect("a header");
        for logged in log.iter().filter(|logged| (replay.from..replay.to).contains(&logged.offset)) {
            restorer.replay(&logged.record, logged.offset);
        }
        restorer.finish().unwrap()
    }
}

fn rules_of(seed: u64) -> WatchRules {
    // Forbids what half of all usage is, some of it for a time only, so that violations come and go.
    let until = Some(START.start().plus_ms(5 * 60 * MINUTE_MS));
    let all = vec![
        policy("large", "model == 'large'"),
        Policy { until, ..policy("crawling", "project == 'crawler'") },
        policy_over(Subject::Usage, "trained", "'EEA' in origin_blocs", Some("has(usage.approval)")),
        policy_over(Subject::Resource, "owner", "!has(resource.owner)", None),
        policy_over(
            Subject::Activity,
            "asia",
            "action == 'deployment' && 'EEA' in origin_blocs && 'ASIA' in blocs",
            Some("has(activity.approval)"),
        ),
    ];
    let exemption = Exemption {
        policy: "asia".into(),
        only: Vec::new(),
        reason: String::new(),
        approved_by: "legal".into(),
        until: START.start().plus_ms(9 * 60 * MINUTE_MS),
    };
    let series_per_team = if seed.is_multiple_of(2) { 14 } else { 1_000 };
    let teams_per_shard = if seed.is_multiple_of(3) { 1 } else { 1_000_000 };
    WatchRules { series_per_team, teams_per_shard, policies: stream(all, vec![exemption]), ..rules() }
}

/// Without commits, crashes or slices.
fn plain(log: &[Logged], rules: &WatchRules) -> (Vec<Effect>, Shard) {
    let mut shard = Shard::starting_at(0, 1, 0, rules);
    let effects = log.iter().flat_map(|logged| shard.apply_whole(&logged.record, logged.offset, logged.append_time, rules)).collect();
    (effects, shard)
}

#[derive(Default)]
struct Seen {
    commits: usize,
    within_close: usize,
    with_replay: usize,
    alerts: usize,
    late: u64,
    capped: u64,
    tombstones: usize,
}

/// One shard with random commits and slices; at each commit it is restored, compared, and at some it goes on as what was restored.
fn play(seed: u64, seen: &mut Seen) {
    let (log, rules, mut dice) = (log(seed), rules_of(seed), Dice(seed ^ 0xabcd));
    let (expected, _) = plain(&log, &rules);
    let mut shard = Shard::starting_at(0, 1, 0, &rules);
    let mut changelog = Changelog::default();
    let mut effects = Vec::new();
    let batch = 2 + dice.below(20);
    for logged in &log {
        effects.extend(shard.apply(&logged.record, logged.offset, logged.append_time, &rules));
        loop {
            let closing = shard.is_closing();
            // Weeks of hours at once are closed in few slices, else nearly all commits would be within them.
            let many = shard.header().closing.as_ref().is_some_and(|closing| closing.last.0 - closing.hour.0 > 8);
            if if many { dice.one_in(60) } else { dice.one_in(if closing { 4 } else { batch }) } {
                seen.within_close += usize::from(closing);
                commit(seed, &mut shard, &mut changelog, &log, &rules, &mut dice, seen);
            }
            if !shard.is_closing() {
                break;
            }
            effects.extend(shard.close_slice(&rules, if many { 400 } else { 1 + dice.below(25) as usize }));
        }
    }
    seen.late += shard.header().late_partials;
    seen.capped += shard.capped_leaves();
    seen.alerts += expected.iter().filter(|effect| matches!(effect, Effect::Alert(_))).count();
    assert!(effects == expected, "seed {seed}: what came out depends on commits and crashes");
}

fn commit(seed: u64, shard: &mut Shard, changelog: &mut Changelog, log: &[Logged], rules: &WatchRules, dice: &mut Dice, seen: &mut Seen) {
    let changes = shard.take_changes();
    seen.tombstones += changes.iter().filter(|change| change.value.is_none()).count();
    changelog.0.extend(changes);
    if dice.one_in(4) {
        changelog.compact();
    }
    let restored = changelog.restore(log, rules);
    seen.commits += 1;
    seen.with_replay += usize::from(shard.replay_from() < shard.header().position);
    assert_eq!(shard.header().replay_from, shard.replay_from());
    assert_eq!(restored.header(), shard.header(), "seed {seed}");
    let nodes =
        |shard: &Shard| -> Vec<Node> { shard.accounts.iter().flat_map(|(_, state)| state.nodes().cloned().collect::<Vec<_>>()).collect() };
    for (restored, running) in nodes(&restored).iter().zip(&nodes(shard)) {
        assert!(restored == running, "seed {seed} at {}: restored {restored:#?} running {running:#?}", shard.header().position);
    }
    assert!(restored == *shard, "seed {seed} at {}: restored is not what was running", shard.header().position);
    if dice.one_in(4) {
        *shard = restored;
    }
}

#[test]
fn a_restored_shard_is_the_one_that_was_running_and_goes_on_alike() {
    let mut seen = Seen::default();
    for seed in 0..5 {
        play(seed, &mut seen);
    }
    assert!(
        seen.commits > 200 && seen.within_close > 100 && seen.with_replay > 50,
        "{} {} {}",
        seen.commits,
        seen.within_close,
        seen.with_replay
    );
    assert!(seen.alerts > 10 && seen.late > 100 && seen.capped > 100, "{} {} {}", seen.alerts, seen.late, seen.capped);
    assert!(seen.tombstones > 20, "{} series and episodes were forgotten", seen.tombstones);
}

/// Additions wait for the sweep, but not for long: what has to be read again stays within two minutes of shard time.
#[test]
fn additions_are_saved_within_two_minutes() {
    let (rules, mut dice) = (rules(), Dice(5));
    let mut shard = Shard::starting_at(0, 1, 0, &rules);
    let mut written_at = BTreeMap::new();
    let mut most = 0;
    for second in 0..3_000_i64 {
        let now = START.start().plus_ms(second * 1_000);
        written_at.insert(second, now);
        let partials = vec![partial(now.minute(), "search", &format!("p{}", dice.below(300)), "ann", 0.001)];
        shard.apply_whole(&ShardRecord { partials, ..ShardRecord::default() }, second, now, &rules);
        let open = shard.take_changes().len();
        let oldest = written_at.get(&shard.replay_from()).map_or(0, |at| now.0 - at.0);
        assert!(oldest <= 120_000, "{oldest} ms at second {second}");
        most = most.max(if second > 600 { open } else { 0 });
    }
    assert!(most <= 30, "{most} keys in one second: the sweep comes in bursts");
}

/// Before it was kept who stood out, a closed part ended before it: that nobody did is not known of then.
#[test]
fn a_leaf_of_before_is_not_known_to_have_been_quiet() {
    let mut shard = Shard::starting_at(0, 1, 0, &rules());
    let mut changelog = BTreeMap::new();
    for hour in 0..4_i64 {
        let now = START.start().plus_ms(hour * HOUR_MS);
        let source = Source { topic: "usage-events".into(), partition: 0 };
        let markers = vec![Marker { source, watermark: Some(now), idle: false, partitions_of_topic: 1 }];
        let record = ShardRecord { partials: vec![partial(now.minute(), "search", "ranker", "ann", 1.0)], markers, events: Vec::new() };
        shard.apply_whole(&record, hour, now, &rules());
        shard.take_changes().into_iter().for_each(|change| _ = changelog.insert(change.key, change.value));
    }
    let leaf = partial(START, "search", "ranker", "ann", 1.0).leaf;
    let place = shard.find(&leaf).unwrap();
    let node = shard.accounts.get(place.account).and_then(|state| state.node(place.node)).unwrap();
    let (key, value, last) = (StateKey::Node(leaf.account(), node.scope.clone()), node.closed_value(), node.closed.history.last());
    assert!(last > Some(node.closed.born));
    changelog.insert(encode_key(&key), Some(encode(&(value.closed, &value.leaf))));
    let mut restorer = Restorer::new(1);
    changelog.iter().for_each(|(key, value)| restorer.put(key, value.as_deref()).unwrap());
    restorer.changelog_read(&rules()).unwrap();
    let restored = restorer.shard.find(&leaf).and_then(|place| restorer.leaf(place)).unwrap();
    assert_eq!(Some(restored.stood_out), last.map(StoodOut::unknown_before));
}

/// Before minutes of users waited, an open part ended before them.
#[test]
fn an_open_part_without_minutes_of_users_is_read() {
    let hours: HourList<HourTotals> = [(START.hour(), HourTotals { events: 3, ..HourTotals::default() })].into_iter().collect();
    let minutes = Some(MinuteRing::new(START));
    let before = postcard::to_stdvec(&(7_i64, &hours, &minutes)).unwrap();
    let read = ReadOpen::of(&before).unwrap();
    assert_eq!((read.as_of, &read.hours, &read.minutes), (7, &hours, &minutes));
    assert_eq!(read.user_minutes, UserMinutes::default());
    assert!(ReadOpen::of(&before[..before.len() - 1]).is_err(), "what is cut off is not whole");
}
