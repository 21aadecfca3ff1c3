//! What must hold at the end of a run, whatever has happened: read as anybody reads, committed records only.

use std::collections::BTreeMap;

use super::broker::Broker;
use super::input::{Cell, Expected, Sums};
use super::seam::{self, Head, Rules};
use super::world::SHARDS;
use crate::kafka::link::{OwnedRecord, Partition};
use crate::kafka::topics::TopicNames;
use crate::model::effect::Effect;
use crate::model::rollup::SpendRollup;
use crate::model::wire::{alert_from_json, decode_shard_record, rollup_from_json};
use crate::runtime::encode::{self, Output};

/// Key and value of what was written, in order, by key.
type Written = BTreeMap<Vec<u8>, Vec<Vec<u8>>>;

pub struct Oracle<'a> {
    pub broker: &'a Broker,
    pub topics: &'a TopicNames,
    pub output: &'a Output,
    /// By revision.
    pub rules: &'a Rules,
}

impl Oracle<'_> {
    /// Everything that is wrong, in words.
    pub fn complaints(&self, expected: &Expected) -> Vec<String> {
        let mut all = self.broker.undecided();
        for group in self.broker.groups.values() {
            all.extend(group.went_back.iter().map(|text| format!("an offset went back: {text}")));
        }
        self.dead_letters(expected, &mut all);
        self.conserved("shard log", expected, &self.shard_log_sums(), &mut all);
        let rollups = self.rollup_sums(&mut all);
        self.conserved("roll-ups", expected, &rollups, &mut all);
        self.alert_revisions(&mut all);
        self.replayed(&mut all);
        all
    }

    pub fn count(&self, topic: &str) -> u64 {
        self.records(topic).len() as u64
    }

    fn records(&self, topic: &str) -> Vec<OwnedRecord> {
        self.broker.partitions(topic).iter().flat_map(|partition| self.broker.log(partition).committed()).collect()
    }

    fn written(&self, topic: &str) -> Written {
        let mut written = Written::new();
        for record in self.records(topic) {
            written.entry(record.key.unwrap_or_default()).or_default().push(record.value.unwrap_or_default());
        }
        written
    }

    fn dead_letters(&self, expected: &Expected, all: &mut Vec<String>) {
        let mut found: BTreeMap<(i32, i64), usize> = BTreeMap::new();
        for record in self.records(&self.topics.dead_letter) {
            let number = |name: &str| {
                let header = record.headers.iter().find(|(known, _)| known == name);
                header.and_then(|(_, value)| String::from_utf8_lossy(value).parse::<i64>().ok()).unwrap_or(-1)
            };
            let place = (i32::try_from(number("__connect.errors.partition")).unwrap(), number("__connect.errors.offset"));
            *found.entry(place).or_default() += 1;
        }
        let missing: Vec<_> = expected.broken.iter().filter(|place| !found.contains_key(place)).collect();
        let wrong: Vec<_> = found.iter().filter(|(place, count)| **count != 1 || !expected.broken.contains(place)).collect();
        if !missing.is_empty() || !wrong.is_empty() {
            all.push(format!("dead letters: missing {missing:?}, twice or unfounded {wrong:?}"));
        }
    }

    fn conserved(&self, name: &str, expected: &Expected, found: &BTreeMap<Cell, Sums>, all: &mut Vec<String>) {
        for (cell, sums) in &expected.cells {
            let other = found.get(cell).copied().unwrap_or_default();
            if other != *sums {
                all.push(format!("{name}: {cell:?} has {other:?}, the input comes to {sums:?}"));
            }
        }
        for (cell, sums) in found.iter().filter(|(cell, _)| !expected.cells.contains_key(cell)) {
            all.push(format!("{name}: {cell:?} has {sums:?}, the input nothing"));
        }
    }

    fn shard_log_sums(&self) -> BTreeMap<Cell, Sums> {
        let mut cells: BTreeMap<Cell, Sums> = BTreeMap::new();
        for record in self.records(&self.topics.shard_log) {
            for partial in decode_shard_record(&record.value.unwrap_or_default()).unwrap().partials {
                let leaf = &partial.leaf;
                let cell = (leaf.team.to_string(), leaf.project.to_string(), leaf.model.to_string(), partial.minute.hour().0);
                let sums = Sums { cost: partial.cost.0, events: partial.events, requests: partial.requests, tokens: partial.tokens_input };
                cells.entry(cell).or_default().add(sums);
            }
        }
        cells
    }

    /// The newest revision of each hour, and every supplement.
    fn rollup_sums(&self, all: &mut Vec<String>) -> BTreeMap<Cell, Sums> {
        let mut cells: BTreeMap<Cell, Sums> = BTreeMap::new();
        for (key, values) in self.written(&self.topics.spend_rollups) {
            let rollups: Vec<SpendRollup> = values.iter().map(|value| rollup_from_json(value).unwrap()).collect();
            let revisions: Vec<u32> = rollups.iter().map(|rollup| rollup.revision).collect();
            let is_in_order = revisions == [0] || revisions.iter().copied().eq(1..=u32::try_from(revisions.len()).unwrap());
            if !is_in_order {
                all.push(format!("roll-up {} has revisions {revisions:?}", String::from_utf8_lossy(&key)));
            }
            let Some(last) = rollups.last() else { continue };
            let leaf = &last.leaf;
            let cell = (leaf.team.to_string(), leaf.project.to_string(), leaf.model.to_string(), last.hour().0);
            let sums = Sums { cost: last.cost.0, events: last.events, requests: last.requests, tokens: last.tokens_input };
            cells.entry(cell).or_default().add(sums);
        }
        cells
    }

    fn alert_revisions(&self, all: &mut Vec<String>) {
        for (key, values) in self.written(&self.topics.alerts) {
            let revisions: Vec<u32> = values.iter().map(|value| alert_from_json(value).unwrap().revision).collect();
            if !revisions.iter().copied().eq(1..=u32::try_from(revisions.len()).unwrap()) {
                all.push(format!("alert {} has revisions {revisions:?}", String::from_utf8_lossy(&key)));
            }
        }
    }

    /// The shard log, one record after the other through a shard that knows nothing, under the rules that each record met.
    fn replayed(&self, all: &mut Vec<String>) {
        let (mut alerts, mut rollups) = (Written::new(), Written::new());
        for partition in self.broker.partitions(&self.topics.shard_log) {
            self.replay(&partition, &mut alerts, &mut rollups);
        }
        for (name, topic, again) in [("alerts", &self.topics.alerts, alerts), ("roll-ups", &self.topics.spend_rollups, rollups)] {
            let found = self.written(topic);
            let keys = found.keys().chain(again.keys()).collect::<std::collections::BTreeSet<_>>();
            for key in keys.into_iter().filter(|key| found.get(*key) != again.get(*key)) {
                let texts = |written: &Written| -> Vec<String> {
                    written.get(key).into_iter().flatten().map(|value| String::from_utf8_lossy(value).into_owned()).collect()
                };
                let (found, again) = (texts(&found), texts(&again));
                let same = found.iter().zip(&again).take_while(|(found, again)| found == again).count();
                let (one, other) = (found.get(same), again.get(same));
                all.push(format!(
                    "{name}: {} was written {} times, the shard log gives {}; they part at {same}:\n  {one:?}\n  {other:?}",
                    String::from_utf8_lossy(key),
                    found.len(),
                    again.len()
                ));
            }
        }
    }

    fn replay(&self, partition: &Partition, alerts: &mut Written, rollups: &mut Written) {
        let heads = self.heads(partition.partition);
        let first = heads.first().and_then(|head| self.rules.get(&head.revision));
        let mut shard = seam::fresh(partition.partition, SHARDS, first.or(self.rules.values().next()).unwrap());
        for record in self.broker.log(partition).committed() {
            let decoded = decode_shard_record(&record.value.unwrap_or_default()).unwrap();
            for effect in seam::apply(&mut shard, &decoded, record.offset, record.timestamp, &heads, self.rules) {
                let into = if matches!(effect, Effect::Alert(_)) { &mut *alerts } else { &mut *rollups };
                let record = encode::effect(effect, self.topics, self.output).unwrap();
                into.entry(record.key.unwrap_or_default()).or_default().push(record.value.unwrap_or_default());
            }
        }
    }

    /// What each transaction of a shard wrote as its header.
    fn heads(&self, shard: i32) -> Vec<Head> {
        let changelog = Partition { topic: self.topics.watch_changelog.clone(), partition: shard };
        let records = self.broker.log(&changelog).history();
        records.iter().filter_map(|record| seam::head(record.key.as_deref()?, record.value.as_deref()?)).collect()
    }
}
