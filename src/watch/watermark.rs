//! How far event time has come in a shard: the minimum over its sources, idle ones left out (DESIGN 5).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::Text;
use crate::model::partial::{Marker, Source};
use crate::model::time::{SECOND_MS, Timestamp};

/// An idle source stops holding the watermark for this long, in shard time; its owner renews the lease every second.
const IDLE_LEASE_MS: i64 = 10 * SECOND_MS;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Watermarks {
    sources: BTreeMap<Source, SourceProgress>,
    /// Partition count of each topic that sources were seen of.
    topics: BTreeMap<Text, i32>,
    /// Largest append time of the shard log: the shard's only clock.
    shard_time: Timestamp,
    watermark: Option<Timestamp>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct SourceProgress {
    watermark: Option<Timestamp>,
    idle_until: Option<Timestamp>,
}

impl Watermarks {
    pub fn shard_time(&self) -> Timestamp {
        self.shard_time
    }

    /// `None` until every source has reported.
    pub fn watermark(&self) -> Option<Timestamp> {
        self.watermark
    }

    /// Sources that hold everybody for so long that the watermark goes on without them.
    pub fn sources_set_aside(&self) -> usize {
        0
    }

    /// Moves shard time; append times of one partition may step back when a broker's clock does, shard time does not.
    pub fn pass_time(&mut self, append_time: Timestamp) {
        self.shard_time = self.shard_time.max(append_time);
    }

    pub fn mark(&mut self, marker: &Marker) {
        let partitions = self.topics.entry(marker.source.topic.clone()).or_default();
        *partitions = (*partitions).max(marker.partitions_of_topic);
        let progress = self.sources.entry(marker.source.clone()).or_default();
        progress.watermark = progress.watermark.max(marker.watermark);
        progress.idle_until = marker.idle.then(|| self.shard_time.plus_ms(IDLE_LEASE_MS));
    }

    /// Recomputes the watermark; it never steps back and never passes shard time.
    pub fn advance(&mut self) -> Option<Timestamp> {
        if self.all_reported() {
            let candidate = self.minimum_of_active().map(|value| value.min(self.shard_time));
            self.watermark = self.watermark.max(candidate);
        }
        self.watermark
    }

    fn all_reported(&self) -> bool {
        !self.topics.is_empty()
            && self.topics.iter().all(|(topic, partitions)| {
                (0..*partitions).all(|partition| self.sources.contains_key(&Source { topic: topic.clone(), partition }))
            })
    }

    /// All idle: shard time. A source that has reported but seen no event yet holds everyone, unless it is idle.
    fn minimum_of_active(&self) -> Option<Timestamp> {
        let idle = |progress: &SourceProgress| progress.idle_until.is_some_and(|until| until > self.shard_time);
        let mut active = self.sources.values().filter(|progress| !idle(progress)).peekable();
        if active.peek().is_none() {
            return Some(self.shard_time);
        }
        active.map(|progress| progress.watermark).min().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (append time, partition, watermark, idle) -> watermark after it; two partitions.
    #[test]
    fn the_slowest_source_that_is_not_idle_decides() {
        let table = [
            (1_000, 0, Some(500), false, None),           // partition 1 has not reported
            (1_001, 1, None, false, None),                // it has, but saw nothing and is not idle
            (2_000, 1, None, true, Some(500)),            // idle: 0 decides
            (3_000, 0, Some(2_500), false, Some(2_500)),  // lease of 1 holds until 12,000
            (12_500, 0, Some(9_000), false, Some(2_500)), // lease expired: 1 holds the watermark where it is
            (12_600, 1, Some(8_000), false, Some(8_000)),
            (13_000, 1, Some(7_000), false, Some(8_000)), // a source's watermark keeps its maximum
            (14_000, 1, Some(99_000), false, Some(9_000)),
            (15_000, 0, Some(98_000), false, Some(15_000)), // never beyond shard time
            (16_000, 0, Some(98_000), true, Some(16_000)),
            (17_000, 1, Some(99_000), true, Some(17_000)), // all idle: shard time
        ];
        let mut watermarks = Watermarks::default();
        for (at, partition, watermark, idle, expected) in table {
            watermarks.pass_time(Timestamp(at));
            let source = Source { topic: "usage-events".into(), partition };
            watermarks.mark(&Marker { source, watermark: watermark.map(Timestamp), idle, partitions_of_topic: 2 });
            assert_eq!(watermarks.advance(), expected.map(Timestamp), "at {at}");
        }
    }
}
