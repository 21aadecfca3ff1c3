//! From samples to alerts: what is wasted is told once, by name and with its money; what is used little, at night not, or unknown, never.

use super::*;
use crate::model::alert::Alert;
use crate::model::feedback::{Feedback, Verdict};
use crate::model::partial::{Marker, ShardEvent, ShardRecord, Source};
use crate::model::time::{MINUTE_MS, Timestamp};
use crate::watch::Restorer;
use crate::watch::matters::rules::{MatterRules, Sign, WasteClass};
use crate::watch::tests::{START, partial, rules};

/// The numbers of the default file.
pub(super) fn waste() -> WasteRules {
    let class = |types: &[&str], sign, days: i64, least_utilization| WasteClass {
        types: types.iter().map(|name| Text::from(*name)).collect(),
        sign,
        window_ms: days * DAY_MS,
        least_utilization,
    };
    WasteRules {
        resources_per_team: 5,
        least_per_month: Nanos::from_units(10),
        critical_per_month: Nanos::from_units(1000),
        grace_ms: 2 * DAY_MS,
        forgotten_after_ms: 7 * DAY_MS,
        orphaned_after_ms: 2 * HOUR_MS,
        silent_after_ms: DAY_MS,
        most_unknown: 0.1,
        classes: vec![
            class(&["gpu_cluster"], Sign::Utilization, 1, 0.05),
            class(&["endpoint"], Sign::Requests, 7, 0.05),
            class(&["disk"], Sign::Attachment, 7, 0.0),
            class(&[], Sign::Any, 14, 0.05),
        ],
        oversized: None,
        commitment: None,
    }
}

pub(crate) fn watch_rules() -> WatchRules {
    WatchRules { matters: MatterRules { waste: Some(waste()), ..MatterRules::default() }, ..rules() }
}

pub(super) fn sample(hour: i64, id: &str, kind: &str) -> ResourceSample {
    ResourceSample {
        event_id: format!("{id}-{hour}").as_str().into(),
        source: "inventory".into(),
        event_time: START.start().plus_ms(hour * HOUR_MS),
        resource_id: Some(id.into()),
        resource_type: Some(kind.into()),
        state: Some("running".into()),
        team: "search".into(),
        hourly_cost: Some(Nanos::from_units(30)),
        currency: Some(crate::model::money::Currency::USD),
        owner: Some("ann".into()),
        ..ResourceSample::default()
    }
}

pub(super) struct Bench {
    pub shard: Shard,
    pub rules: WatchRules,
    offset: i64,
    pub alerts: Vec<Alert>,
}

impl Bench {
    pub fn new() -> Bench {
        Bench::with(watch_rules())
    }

    pub fn with(rules: WatchRules) -> Bench {
        Bench { shard: Shard::new(0, 1, &rules), rules, offset: 0, alerts: Vec::new() }
    }

    pub fn take(&mut self, event: ShardEvent, at: Timestamp) {
        let record = ShardRecord { events: vec![event], ..ShardRecord::default() };
        self.record(&record, at);
    }

    fn record(&mut self, record: &ShardRecord, at: Timestamp) {
        let effects = self.shard.apply_whole(record, self.offset, at, &self.rules);
        self.offset += 1;
        self.alerts.extend(effects.into_iter().filter_map(|effect| if let Effect::Alert(alert) = effect { Some(*alert) } else { None }));
    }

    pub fn sample(&mut self, sample: ResourceSample) {
        let at = sample.event_time.plus_ms(MINUTE_MS);
        self.take(ShardEvent::Resource(Box::new(sample)), at);
    }

    /// One sample an hour.
    pub fn hours(&mut self, hours: std::ops::Range<i64>, each: impl Fn(i64) -> ResourceSample) {
        hours.for_each(|hour| self.sample(each(hour)));
    }

    /// Usage of some hours from one on: the first of them closes.
    pub fn close(&mut self, first: i64) {
        for hour in first..first + 4 {
            let minute = crate::model::time::Minute(START.0 + hour * 60);
            let source = Source { topic: "usage-events".into(), partition: 0 };
            let marker = Marker { source, watermark: Some(minute.start()), idle: false, partitions_of_topic: 1 };
            let partials = vec![partial(minute, "search", "ranker", "ann", 0.1)];
            self.record(&ShardRecord { partials, markers: vec![marker], events: Vec::new() }, minute.start().plus_ms(MINUTE_MS));
        }
    }

    pub fn told(&self) -> Vec<String> {
        self.alerts.iter().map(|alert| format!("{} {} {}", alert.state.as_str(), alert.kind.as_str(), alert.summary)).collect()
    }
}

pub(super) fn gpu(hour: i64, utilization: f64) -> ResourceSample {
    let requests = Some(if utilization > 0.02 { (utilization * 5000.0) as u64 } else { 0 });
    ResourceSample { utilization: Some(utilization), requests, capacity: Some(8.0), ..sample(hour, "gpu-1", "gpu_cluster") }
}

#[test]
fn an_idle_cluster_is_marked_escalated_and_unmarked_under_one_id() {
    let mut bench = Bench::new();
    bench.hours(0..48, |hour| gpu(hour, 0.6));
    bench.hours(48..120, |hour| gpu(hour, 0.01));
    bench.hours(120..130, |hour| gpu(hour, 0.5));
    let first = &bench.alerts[0];
    assert_eq!((first.state, first.kind, first.severity), (AlertState::Open, AlertKind::IdleResource, Severity::Warning));
    assert_eq!(first.dimensions.get("resource_id").map(String::as_str), Some("gpu-1"));
    assert_eq!(first.onset, START.start().plus_ms(47 * HOUR_MS));
    assert_eq!((first.event_time.0 - first.onset.0) / HOUR_MS, 24);
    // 24 hours at 30 USD, and what a month would be.
    assert_eq!((first.excess, first.burn_rate_per_hour), (Nanos::from_units(720), Nanos::from_units(30)));
    assert!(first.summary.contains("21900 USD a month") && first.summary.contains("at most 1.0 % of its capacity"), "{}", first.summary);
    assert!(first.normal.contains("used up to 60 %") && first.notify, "{}", first.normal);
    let states: Vec<AlertState> = bench.alerts.iter().map(|alert| alert.state).collect();
    let escalated = bench.alerts.iter().find(|alert| alert.state == AlertState::Escalated).unwrap();
    assert_eq!((escalated.severity, escalated.event_time.0 - first.event_time.0), (Severity::Critical, 2 * DAY_MS));
    let last = bench.alerts.last().unwrap();
    assert_eq!(
        (last.state, last.burn_rate_per_hour, last.excess),
        (AlertState::Resolved, Nanos::ZERO, Nanos::from_units(72 * 30)),
        "{states:?}"
    );
    assert!(bench.alerts.iter().all(|alert| alert.id == first.id));
    assert!(bench.alerts.iter().zip(1..).all(|(alert, revision)| alert.revision == revision));
    assert_eq!(bench.shard.open_alerts(), 0);
    // A second time it is the same alert, opened again.
    bench.hours(130..260, |hour| gpu(hour, 0.0));
    assert!(bench.alerts.iter().any(|alert| alert.state == AlertState::Reopened && alert.id == first_id(&bench)));
}

fn first_id(bench: &Bench) -> String {
    bench.alerts[0].id.clone()
}

#[test]
fn what_is_used_a_little_every_night_not_or_is_stopped_is_not_told() {
    let mut bench = Bench::new();
    // Little, but real: under the bound for hours, and above it now and then; or requests that are no load.
    bench.hours(0..400, |hour| gpu(hour, if hour % 9 == 0 { 0.06 } else { 0.01 }));
    bench.hours(0..400, |hour| ResourceSample { requests: Some(3), resource_id: Some("gpu-2".into()), ..gpu(hour, 0.01) });
    bench.hours(0..400, |hour| ResourceSample { resource_id: Some("gpu-3".into()), ..gpu(hour, if hour % 24 < 14 { 0.0 } else { 0.7 }) });
    // Stopped and free.
    let stopped = |hour: i64| ResourceSample {
        resource_id: Some("gpu-4".into()),
        state: Some(if hour < 50 { "running" } else { "stopped" }.into()),
        hourly_cost: Some(Nanos::from_units(if hour < 50 { 30 } else { 0 })),
        ..gpu(hour, if hour < 50 { 0.4 } else { 0.0 })
    };
    bench.hours(0..400, stopped);
    // Idle, and too cheap to be worth a word.
    bench.hours(0..400, |hour| ResourceSample {
        resource_id: Some("gpu-5".into()),
        hourly_cost: Some(Nanos(10_000_000)),
        ..gpu(hour, 0.0)
    });
    assert_eq!(bench.told(), Vec::<String>::new());
}

#[test]
fn every_weekend_idle_is_told_once_at_most() {
    let mut bench = Bench::new();
    bench.hours(0..8 * 7 * 24, |hour| gpu(hour, if hour / 24 % 7 < 5 { 0.5 } else { 0.0 }));
    let opened = bench.alerts.iter().filter(|alert| matches!(alert.state, AlertState::Open | AlertState::Reopened)).count();
    assert_eq!(opened, 1, "{:#?}", bench.told());
}

#[test]
fn a_missing_metric_is_undetermined_and_never_told() {
    let mut bench = Bench::new();
    bench.hours(0..400, |hour| ResourceSample { utilization: None, requests: None, ..gpu(hour, 0.0) });
    // Idle by the samples that know, but too many do not.
    bench.hours(0..400, |hour| {
        let utilization = (hour % 4 != 0).then_some(0.0);
        ResourceSample { utilization, requests: None, resource_id: Some("gpu-2".into()), ..gpu(hour, 0.0) }
    });
    // Nobody knows what it costs.
    bench.hours(0..400, |hour| ResourceSample { hourly_cost: None, resource_id: Some("gpu-3".into()), ..gpu(hour, 0.0) });
    assert_eq!(bench.told(), Vec::<String>::new());
    assert_eq!(bench.shard.resources(&bench.rules), ResourceCount { known: 3, undetermined: 3 });
    // A few holes do not matter.
    bench.hours(0..40, |hour| {
        let utilization = (hour % 20 != 1).then_some(0.0);
        ResourceSample { utilization, requests: None, resource_id: Some("gpu-4".into()), ..gpu(hour, 0.0) }
    });
    assert_eq!(bench.alerts.len(), 1 + usize::from(bench.alerts.len() > 1), "{:#?}", bench.told());
    assert_eq!(bench.alerts[0].kind, AlertKind::ForgottenResource);
}

#[test]
fn what_was_never_used_is_forgotten_and_what_lost_its_owner_is_orphaned() {
    let mut bench = Bench::new();
    bench.hours(0..26, |hour| gpu(hour, 0.01));
    assert_eq!(bench.alerts[0].kind, AlertKind::ForgottenResource);
    assert!(bench.alerts[0].summary.contains("was never used since it was first seen"), "{}", bench.alerts[0].summary);
    let vm = |hour: i64, owner: Option<&str>, utilization: f64| ResourceSample {
        owner: owner.map(Text::from),
        resource_type: Some("vm".into()),
        resource_id: Some("vm-1".into()),
        ..gpu(hour, utilization)
    };
    let mut bench = Bench::new();
    bench.hours(0..30, |hour| vm(hour, Some("ann"), 0.5));
    bench.hours(30..40, |hour| vm(hour, None, 0.0));
    let alert = &bench.alerts[0];
    assert!(bench.alerts[1..].iter().all(|later| later.state == AlertState::Updated), "{:#?}", bench.told());
    assert_eq!((alert.kind, alert.event_time), (AlertKind::OrphanedResource, START.start().plus_ms(32 * HOUR_MS)));
    assert!(alert.summary.contains("has lost its owner ann"), "{}", alert.summary);
    // The twin: nobody is named any more, but it works; and one that never had an owner.
    let mut bench = Bench::new();
    bench.hours(0..30, |hour| vm(hour, Some("ann"), 0.5));
    bench.hours(30..90, |hour| vm(hour, None, 0.4));
    bench.hours(0..90, |hour| ResourceSample { resource_id: Some("vm-2".into()), ..vm(hour, None, 0.0) });
    assert_eq!(bench.told(), Vec::<String>::new());
}

#[test]
fn who_is_offboarded_leaves_orphans() {
    let mut bench = Bench::new();
    let vm = |hour: i64, utilization: f64| ResourceSample { resource_type: Some("vm".into()), ..gpu(hour, utilization) };
    bench.hours(0..30, |hour| vm(hour, if hour < 20 { 0.5 } else { 0.0 }));
    assert_eq!(bench.told(), Vec::<String>::new());
    // As the IAM writes it: who did it, in whose team, and in the tag who it is.
    let left = |who: Option<&str>, actor: &str| ActivityEvent {
        action: Some("offboarded".into()),
        actor: Some(actor.into()),
        team: "it".into(),
        event_time: START.start().plus_ms(30 * HOUR_MS),
        tags: who.into_iter().map(|who| (Text::from("principal"), Text::from(who))).collect(),
        ..ActivityEvent::default()
    };
    let at = START.start().plus_ms(30 * HOUR_MS);
    let say = |bench: &mut Bench, activity: ActivityEvent| {
        let activity = ShardEvent::Activity(Box::new(activity));
        let to_all = activity.for_all().unwrap();
        bench.take(activity, at);
        bench.take(to_all, at);
    };
    say(&mut bench, left(None, "bob"));
    say(&mut bench, left(Some("bob"), "ann"));
    bench.hours(30..34, |hour| vm(hour, 0.0));
    assert_eq!(bench.told(), Vec::<String>::new(), "bob owned nothing, and ann has not left");
    say(&mut bench, left(Some("ann"), "bob"));
    bench.hours(34..36, |hour| vm(hour, 0.0));
    assert_eq!(bench.alerts.iter().map(|alert| alert.kind).collect::<Vec<_>>(), [AlertKind::OrphanedResource], "{:#?}", bench.told());
}

#[test]
fn endpoints_without_requests_and_disks_without_a_machine() {
    let mut bench = Bench::new();
    let endpoint = |hour: i64, requests: Option<u64>| ResourceSample { requests, ..sample(hour, "e-1", "endpoint") };
    bench.hours(0..10, |hour| endpoint(hour, Some(5)));
    bench.hours(10..200, |hour| endpoint(hour, Some(0)));
    let disk = |hour: i64, state: &str| ResourceSample { state: Some(state.into()), utilization: Some(0.8), ..sample(hour, "d-1", "Disk") };
    bench.hours(0..10, |hour| disk(hour, "attached"));
    bench.hours(10..200, |hour| disk(hour, "unattached"));
    // Twins: one request a day, a disk that is read, and metrics that are not there.
    bench.hours(0..200, |hour| ResourceSample { resource_id: Some("e-2".into()), ..endpoint(hour, Some(u64::from(hour % 24 == 0))) });
    bench.hours(0..200, |hour| ResourceSample { resource_id: Some("e-3".into()), ..endpoint(hour, None) });
    bench.hours(0..200, |hour| ResourceSample { resource_id: Some("d-2".into()), requests: Some(9), ..disk(hour, "running") });
    let opened: Vec<(&str, i64)> = bench
        .alerts
        .iter()
        .filter(|alert| alert.state == AlertState::Open)
        .map(|alert| (alert.dimensions["resource_id"].as_str(), (alert.event_time.0 - alert.onset.0) / HOUR_MS))
        .collect();
    assert_eq!(opened, [("e-1", 168), ("d-1", 168)], "{:#?}", bench.told());
    // A disk of which only one thing is known is not sure.
    let disk = bench.alerts.iter().rfind(|alert| alert.dimensions["resource_id"] == "d-1").unwrap();
    assert!(disk.summary.contains("attached to nothing"), "{}", disk.summary);
}

#[test]
fn late_use_takes_a_pause_back_and_late_idleness_does_not_make_one() {
    let mut bench = Bench::new();
    bench.hours(0..30, |hour| gpu(hour, 0.5));
    bench.hours(30..50, |hour| gpu(hour, 0.0));
    bench.sample(gpu(45, 0.9));
    assert_eq!(bench.alerts.len(), 0, "a second sample of an hour that is known");
    bench.sample(ResourceSample { event_time: START.start().plus_ms(45 * HOUR_MS + 1), ..gpu(45, 0.9) });
    bench.hours(50..60, |hour| gpu(hour, 0.0));
    assert_eq!(bench.told(), Vec::<String>::new());
    bench.hours(60..75, |hour| gpu(hour, 0.0));
    assert_eq!(bench.alerts[0].onset.0, START.start().0 + 45 * HOUR_MS + 1);
}

#[test]
fn a_resource_that_falls_silent_ends_its_alert_and_a_team_with_too_many_is_counted() {
    let mut bench = Bench::new();
    bench.hours(0..30, |hour| gpu(hour, 0.0));
    assert_eq!(bench.shard.open_alerts(), 1);
    for hour in 0..60 {
        let minute = crate::model::time::Minute(START.0 + hour * 60);
        let source = Source { topic: "usage-events".into(), partition: 0 };
        let marker = Marker { source, watermark: Some(minute.start()), idle: false, partitions_of_topic: 1 };
        let record =
            ShardRecord { partials: vec![partial(minute, "search", "ranker", "ann", 0.1)], markers: vec![marker], events: Vec::new() };
        bench.record(&record, minute.start().plus_ms(30 * HOUR_MS));
    }
    let last = bench.alerts.last().unwrap();
    assert!(last.state == AlertState::Resolved && last.summary.contains("was not heard of since"), "{:#?}", bench.told());
    for number in 0..8 {
        bench.sample(ResourceSample { resource_id: Some(format!("new-{number}").as_str().into()), ..gpu(100, 0.0) });
    }
    assert_eq!((bench.shard.resources(&bench.rules).known, bench.shard.capped_resources()), (5, 4));
}

#[test]
fn a_resource_that_falls_silent_ends_also_where_nobody_has_usage() {
    let mut bench = Bench::new();
    bench.hours(0..30, |hour| gpu(hour, 0.0));
    assert_eq!(bench.shard.matters.open(), 1, "{:#?}", bench.told());
    let mut tick = |hour: i64| {
        let source = Source { topic: "usage-events".into(), partition: 0 };
        let marker = Marker { source, watermark: None, idle: true, partitions_of_topic: 1 };
        let record = ShardRecord { markers: vec![marker], ..ShardRecord::default() };
        bench.record(&record, START.start().plus_ms(hour * HOUR_MS));
        (bench.shard.matters.open(), bench.shard.matters.resources.len())
    };
    assert_eq!(tick(30 + 2), (1, 1));
    assert_eq!(tick(30 + 26), (0, 1));
    assert_eq!(tick(30 + 36 * 24), (0, 0));
    assert_eq!(bench.alerts.last().unwrap().state, AlertState::Resolved, "{:#?}", bench.told());
}

/// Whatever samples come in whatever order: what is restored goes on as what was running.
#[test]
fn resources_are_restored_as_they_were() {
    let mut bench = Bench::new();
    let mut changelog = std::collections::BTreeMap::new();
    let mut scrambled = 7_u64;
    for hour in 0..120 {
        scrambled = scrambled.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let id = format!("gpu-{}", scrambled >> 62);
        let is_idle = hour > 40;
        bench.sample(ResourceSample {
            resource_id: Some(id.as_str().into()),
            utilization: (scrambled >> 40 & 31 != 0).then_some(if is_idle { 0.0 } else { 0.5 }),
            owner: (scrambled >> 50 & 3 != 0).then(|| "ann".into()),
            ..gpu(hour - i64::from(scrambled >> 30 & 15 == 0), 0.0)
        });
        for change in bench.shard.take_changes() {
            match change.value {
                Some(value) => changelog.insert(change.key, value),
                None => changelog.remove(&change.key),
            };
        }
        let mut restorer = Restorer::new(1);
        for (key, value) in &changelog {
            restorer.put(key, Some(value)).unwrap();
        }
        restorer.changelog_read(&bench.rules).unwrap().unwrap();
        assert_eq!(restorer.finish().unwrap(), bench.shard, "hour {hour}");
    }
    assert!(!bench.alerts.is_empty());
}

#[test]
fn what_nobody_wants_to_know_of_any_more_ends() {
    let mut bench = Bench::new();
    bench.hours(0..48, |hour| gpu(hour, 0.6));
    bench.hours(48..80, |hour| gpu(hour, 0.01));
    bench.hours(0..80, |hour| ResourceSample { resource_id: Some("gpu-2".into()), ..gpu(hour, 0.6) });
    assert_eq!((states(&bench), bench.shard.open_alerts()), (vec!["open"], 1));
    bench.rules.matters.waste = None;
    bench.hours(80..82, |hour| gpu(hour, 0.01));
    bench.close(82);
    let last = bench.alerts.last().unwrap();
    assert_eq!((states(&bench), last.revision, bench.shard.open_alerts()), (vec!["open", "resolved"], 2, 0), "{:#?}", bench.told());
    assert!(
        last.summary.contains("[waste] is off in the config") && last.summary.contains("gpu-1 (gpu_cluster) is unused"),
        "{}",
        last.summary
    );
    assert_eq!(last.dimensions["resource_id"], "gpu-1");
    // It is wanted again, and still unused: under the same id.
    bench.rules = watch_rules();
    bench.hours(86..120, |hour| gpu(hour, 0.01));
    assert_eq!((states(&bench)[2], bench.alerts[2].revision, &bench.alerts[2].id), ("reopened", 3, &bench.alerts[0].id));
}

/// A word of somebody about the last alert, ten minutes past an hour.
fn word(bench: &Bench, hour: i64, verdict: Verdict, until: Option<i64>) -> Feedback {
    let at = |hour: i64| START.start().plus_ms(hour * HOUR_MS + 10 * MINUTE_MS);
    Feedback {
        event_id: format!("{hour}").as_str().into(),
        event_time: at(hour),
        actor: Some("mara@example.com".into()),
        alert_id: Some(bench.alerts.last().unwrap().id.as_str().into()),
        team: "search".into(),
        verdict,
        until: until.map(at),
        ..Feedback::default()
    }
}

/// The state goes through the changelog, and is the same behind it.
fn restart(bench: &mut Bench, changelog: &mut std::collections::BTreeMap<Vec<u8>, Vec<u8>>) {
    for change in bench.shard.take_changes() {
        match change.value {
            Some(value) => changelog.insert(change.key, value),
            None => changelog.remove(&change.key),
        };
    }
    let mut restorer = Restorer::new(1);
    changelog.iter().for_each(|(key, value)| restorer.put(key, Some(value)).unwrap());
    restorer.changelog_read(&bench.rules).unwrap();
    let restored = restorer.finish().unwrap();
    assert_eq!(restored, bench.shard);
    bench.shard = restored;
}

#[test]
fn whoever_answers_is_heard_and_the_answer_outlives_the_process() {
    let (mut bench, mut changelog) = (Bench::new(), std::collections::BTreeMap::new());
    bench.hours(0..48, |hour| gpu(hour, 0.6));
    bench.hours(48..80, |hour| gpu(hour, 0.01));
    assert_eq!(states(&bench), ["open"]);
    restart(&mut bench, &mut changelog);
    let say = |bench: &mut Bench, hour: i64, verdict: Verdict, until: Option<i64>| {
        let word = word(bench, hour, verdict, until);
        let at = word.event_time;
        bench.take(ShardEvent::Feedback(Box::new(word)), at);
    };
    say(&mut bench, 80, Verdict::Ack, None);
    let (told, taken) = (&bench.alerts[0], &bench.alerts[1]);
    assert_eq!((taken.state, taken.revision, taken.feedback.len()), (AlertState::Acknowledged, 2, 1));
    assert_eq!((&taken.dimensions, taken.feedback[0].actor.as_deref()), (&told.dimensions, Some("mara@example.com")));
    assert!(taken.excess > told.excess && taken.summary.contains("32 hours"), "as it is when somebody answers: {}", taken.summary);
    restart(&mut bench, &mut changelog);
    // Past the grace it is worse by severity alone: who looks after it is not told again, and the topic knows.
    bench.hours(81..130, |hour| gpu(hour, 0.01));
    assert!(states(&bench)[2..].iter().all(|state| *state == "acknowledged"), "{:?}", states(&bench));
    assert_eq!(bench.alerts.last().unwrap().severity, Severity::Critical);
    // Expected for ten hours; then it is told again as it is then, with the first thing that the shard hears.
    say(&mut bench, 130, Verdict::Expected, Some(140));
    restart(&mut bench, &mut changelog);
    let quiet = bench.alerts.len();
    bench.hours(131..141, |hour| gpu(hour, 0.01));
    assert_eq!((states(&bench).len(), states(&bench)[quiet - 1]), (quiet, "expected"), "{:?}", states(&bench));
    restart(&mut bench, &mut changelog);
    bench.hours(141..142, |hour| gpu(hour, 0.01));
    let back = bench.alerts.last().unwrap().clone();
    assert_eq!((back.state, back.notify, back.id == bench.alerts[0].id), (AlertState::Reopened, true, true));
    assert!(back.excess > bench.alerts[quiet - 1].excess, "what it has cost meanwhile counts");
    // No waste: silent as long as things stay as they are, also past a week; not once its owner has gone.
    say(&mut bench, 142, Verdict::NotAnAnomaly, None);
    assert_eq!(bench.shard.open_alerts(), 0);
    restart(&mut bench, &mut changelog);
    let quiet = bench.alerts.len();
    bench.hours(143..260, |hour| gpu(hour, 0.01));
    assert_eq!((bench.alerts.len(), states(&bench)[quiet - 1]), (quiet, "retracted"), "{:?}", states(&bench));
    bench.hours(260..262, |hour| ResourceSample { hourly_cost: Some(Nanos::from_units(40)), ..gpu(hour, 0.01) });
    assert_eq!(states(&bench)[quiet..], ["reopened"], "a third dearer an hour");
    restart(&mut bench, &mut changelog);
    bench.hours(262..264, |hour| gpu(hour, 0.6));
    assert_eq!(states(&bench)[quiet..], ["reopened", "resolved"]);
}

pub(super) fn states(bench: &Bench) -> Vec<&'static str> {
    bench.alerts.iter().map(|alert| alert.state.as_str()).collect()
}
