//! A fleet of shards for tests of access. After each record every shard is restored from its changelog and has to be what was running.

use super::rules::AccessRules;
use crate::model::activity::ActivityEvent;
use crate::model::effect::{Effect, StateChange};
use crate::model::hash::shard_of;
use crate::model::leaf::Leaf;
use crate::model::partial::{Marker, Partial, ShardEvent, ShardRecord, Source};
use crate::model::time::{DAY_MS, MINUTE_MS, Minute, Timestamp};
use crate::model::violation::Violation;
use crate::model::wire::{decode_shard_record, encode_shard_record};
use crate::watch::matters::rules::MatterRules;
use crate::watch::rules::WatchRules;
use crate::watch::tests::{START, partial, rules};
use crate::watch::{Restorer, Shard};

pub(super) const SHARDS: u32 = 4;
pub(super) const HOUR: i64 = 60;
pub(super) const DAY: i64 = 24 * HOUR;

pub(super) struct Fleet {
    pub shards: Vec<Shard>,
    pub logs: Vec<Vec<ShardRecord>>,
    pub changelogs: Vec<Vec<StateChange>>,
    pub rules: WatchRules,
    pub restores: usize,
    /// Sent from one shard to another.
    pub passed_on: usize,
    pub events: usize,
}

pub(super) fn at(minute: i64) -> Timestamp {
    Minute(START.0 + minute).start()
}

pub(super) fn access() -> AccessRules {
    AccessRules {
        off: Vec::new(),
        governed: vec!["payroll*".into()],
        grace_ms: MINUTE_MS,
        unused_after_ms: 30 * DAY_MS,
        regions_per_key: 3,
        users_per_key: 4,
        user_tag: "user".into(),
        hands: 3,
        separate: vec![["approval".into(), "deployment".into()], ["auditor".into(), "admin".into()]],
    }
}

impl Fleet {
    pub fn new() -> Fleet {
        Fleet::with(access())
    }

    pub fn with(access: AccessRules) -> Fleet {
        let rules = WatchRules { matters: MatterRules { access: Some(access), ..MatterRules::default() }, ..rules() };
        Fleet {
            shards: (0..SHARDS).map(|shard| Shard::starting_at(shard, SHARDS, 0, &rules)).collect(),
            logs: vec![Vec::new(); SHARDS as usize],
            changelogs: vec![Vec::new(); SHARDS as usize],
            rules,
            restores: 0,
            passed_on: 0,
            events: 0,
        }
    }

    pub fn record(&mut self, shard: u32, minute: i64, partials: Vec<Partial>, events: Vec<ShardEvent>) -> Vec<Violation> {
        let source = Source { topic: "usage-events".into(), partition: 0 };
        let marker = Marker { source, watermark: Some(at(minute)), idle: false, partitions_of_topic: 1 };
        self.apply(shard, minute, ShardRecord { partials, markers: vec![marker], events })
    }

    pub fn apply(&mut self, shard: u32, minute: i64, record: ShardRecord) -> Vec<Violation> {
        let record = decode_shard_record(&encode_shard_record(&record).unwrap()).unwrap();
        let place = shard as usize;
        let offset = i64::try_from(self.logs[place].len()).unwrap();
        let effects = self.shards[place].apply_whole(&record, offset, at(minute).plus_ms(MINUTE_MS), &self.rules);
        self.logs[place].push(record);
        let changes = self.shards[place].take_changes();
        self.changelogs[place].extend(changes);
        self.restore(place);
        let mut told = Vec::new();
        for effect in effects {
            match effect {
                Effect::Violation(violation) => told.push(*violation),
                Effect::Shard { shard: other, record } => {
                    self.passed_on += 1;
                    assert_ne!(other, shard);
                    told.extend(self.apply(other, minute, record));
                }
                Effect::Rollup(_) | Effect::Alert(_) | Effect::RollupSupplement { .. } | Effect::DeadLetter(_) => {}
            }
        }
        told
    }

    pub fn restore(&mut self, place: usize) {
        let mut restorer = Restorer::new(SHARDS);
        for change in &self.changelogs[place] {
            restorer.put(&change.key, change.value.as_deref()).unwrap();
        }
        let replay = restorer.changelog_read(&self.rules).unwrap().unwrap();
        for (offset, record) in (0..).zip(&self.logs[place]).filter(|(offset, _)| (replay.from..replay.to).contains(offset)) {
            restorer.replay(record, offset);
        }
        let restored = restorer.finish().unwrap();
        assert!(restored == self.shards[place], "restored is not what was running");
        // What is restored goes on.
        self.shards[place] = restored;
        self.restores += 1;
    }

    /// An event as intake sends it on.
    pub fn event(&mut self, minute: i64, team: &str, action: &str, change: impl FnOnce(&mut ActivityEvent)) -> Vec<Violation> {
        self.events += 1;
        let mut event = ActivityEvent {
            event_id: format!("e{}", self.events).as_str().into(),
            event_time: at(minute),
            team: team.into(),
            action: Some(action.into()),
            model: Some("risk".into()),
            actor: Some("acme".into()),
            ..ActivityEvent::default()
        };
        change(&mut event);
        self.send(minute, event)
    }

    pub fn send(&mut self, minute: i64, event: ActivityEvent) -> Vec<Violation> {
        let home = shard_of(&event.team, SHARDS);
        let event = ShardEvent::Activity(Box::new(event));
        let mut told = Vec::new();
        for shard in 0..SHARDS {
            let own = Some(event.clone()).filter(|_| shard == home);
            let events: Vec<ShardEvent> = event.for_all().into_iter().chain(own).collect();
            if !events.is_empty() {
                told.extend(self.record(shard, minute, Vec::new(), events));
            }
        }
        told
    }

    pub fn usage(&mut self, minute: i64, team: &str, model: &str, user: &str) -> Vec<Violation> {
        let used = partial(Minute(START.0 + minute), team, "p", user, 0.01);
        let used = Partial { leaf: Leaf { model: model.into(), ..used.leaf.clone() }, ..used };
        self.record(shard_of(team, SHARDS), minute, vec![used], Vec::new())
    }

    pub fn access(&mut self, minute: i64, team: &str, who: &str) -> Vec<Violation> {
        self.event(minute, team, "access", |event| event.actor = Some(who.into()))
    }

    /// Nothing comes but time.
    pub fn pass(&mut self, minute: i64) -> Vec<Violation> {
        (0..SHARDS).flat_map(|shard| self.record(shard, minute, Vec::new(), Vec::new())).collect()
    }
}
