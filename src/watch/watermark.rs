//! How far event time has come in a shard: the minimum over its sources, idle ones left out (DESIGN 5).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::Text;
use crate::model::partial::{Marker, Source};
use crate::model::time::{HOUR_MS, SECOND_MS, Timestamp};

/// A source that alone holds everybody back for this long is set aside until it moves, or says that it is idle: six hours of a team's
/// spend unjudged are worse than hours closed without it, which its late data will amend.
const SET_ASIDE_AFTER_MS: i64 = 6 * HOUR_MS;
/// A step of shard time counts for at most this much as waiting: an outage of ours is not an outage of theirs.
const LONGEST_STEP_MS: i64 = 10 * SECOND_MS;

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
    /// For how long it has held the watermark where it is, in steps of shard time.
    held_ms: i64,
    /// Set aside: does not count until its watermark moves.
    is_aside: bool,
}

/// As format version 1 wrote it.
#[derive(Deserialize)]
pub struct Watermarks1 {
    sources: BTreeMap<Source, (Option<Timestamp>, Option<Timestamp>)>,
    topics: BTreeMap<Text, i32>,
    shard_time: Timestamp,
    watermark: Option<Timestamp>,
}

impl From<Watermarks1> for Watermarks {
    fn from(old: Watermarks1) -> Watermarks {
        let progress = |(watermark, idle_until)| SourceProgress { watermark, idle_until, ..SourceProgress::default() };
        let sources = old.sources.into_iter().map(|(source, known)| (source, progress(known))).collect();
        Watermarks { sources, topics: old.topics, shard_time: old.shard_time, watermark: old.watermark }
    }
}

impl Watermarks {
    pub fn shard_time(&self) -> Timestamp {
        self.shard_time
    }

    /// `None` until every source has reported.
    pub fn watermark(&self) -> Option<Timestamp> {
        self.watermark
    }

    /// Whether any source has had an event yet.
    pub fn have_seen_events(&self) -> bool {
        self.sources.values().any(|progress| progress.watermark.is_some())
    }

    /// Sources that have held everybody for so long that the watermark goes on without them.
    pub fn sources_set_aside(&self) -> usize {
        self.sources.values().filter(|progress| progress.is_aside).count()
    }

    /// Moves shard time; append times of one partition may step back when a broker's clock does, shard time does not.
    pub fn pass_time(&mut self, append_time: Timestamp) {
        let step = append_time.0.saturating_sub(self.shard_time.0).clamp(0, LONGEST_STEP_MS);
        self.shard_time = self.shard_time.max(append_time);
        if step > 0 && self.all_reported() {
            self.wait(step);
        }
    }

    /// Those that hold the watermark where it is have held it for a step more. Whoever is last without lagging is not waited for.
    fn wait(&mut self, step: i64) {
        let lowest = self.minimum_of_active();
        let shard_time = self.shard_time;
        for progress in self.sources.values_mut() {
            let holds = !progress.is_idle(shard_time) && !progress.is_aside && progress.watermark == lowest;
            let lags = progress.watermark.is_none_or(|watermark| shard_time.0 - watermark.0 > SET_ASIDE_AFTER_MS);
            progress.held_ms = if holds { progress.held_ms.saturating_add(step) } else { 0 };
            progress.is_aside |= progress.held_ms >= SET_ASIDE_AFTER_MS && lags;
        }
    }

    pub fn mark(&mut self, marker: &Marker) {
        let partitions = self.topics.entry(marker.source.topic.clone()).or_default();
        *partitions = (*partitions).max(marker.partitions_of_topic);
        let progress = self.sources.entry(marker.source.clone()).or_default();
        if marker.watermark > progress.watermark {
            progress.watermark = marker.watermark;
            (progress.held_ms, progress.is_aside) = (0, false);
        }
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

    /// All idle: shard time. A source that has reported but seen no event yet holds everyone, unless it is idle. One that is set aside
    /// counts as little as an idle one; but if nobody else is left, there is nothing to go by and the watermark stays.
    fn minimum_of_active(&self) -> Option<Timestamp> {
        let mut awake = self.sources.values().filter(|progress| !progress.is_idle(self.shard_time)).peekable();
        if awake.peek().is_none() {
            return Some(self.shard_time);
        }
        awake.filter(|progress| !progress.is_aside).map(|progress| progress.watermark).min().flatten()
    }
}

impl SourceProgress {
    fn is_idle(&self, shard_time: Timestamp) -> bool {
        self.idle_until.is_some_and(|until| until > shard_time)
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

    /// Partition 1 stops; six hours of steps later the others go on without it, and with it again once it moves.
    #[test]
    fn a_source_that_holds_everybody_is_set_aside() {
        let mut watermarks = Watermarks::default();
        let mut mark = |at: i64, partition: i32, watermark: i64| {
            watermarks.pass_time(Timestamp(at));
            let source = Source { topic: "usage-events".into(), partition };
            watermarks.mark(&Marker { source, watermark: Some(Timestamp(watermark)), idle: false, partitions_of_topic: 2 });
            (watermarks.advance(), watermarks.sources_set_aside())
        };
        mark(0, 1, 0);
        mark(1, 0, 1);
        // An outage of a day is one step.
        let outage = 24 * HOUR_MS;
        assert_eq!(mark(outage, 0, outage), (Some(Timestamp(0)), 0));
        let step = 5 * SECOND_MS;
        let steps = (SET_ASIDE_AFTER_MS - LONGEST_STEP_MS) / step;
        for number in 1..steps {
            assert_eq!(mark(outage + number * step, 0, outage + number * step), (Some(Timestamp(0)), 0), "step {number}");
        }
        let later = outage + (steps + 1) * step;
        assert_eq!(mark(later, 0, later).1, 1);
        assert_eq!(mark(later + step, 0, later), (Some(Timestamp(later)), 1), "on without it");
        assert_eq!(mark(later + step, 1, 7), (Some(Timestamp(later)), 0), "back, and the watermark never steps back");
        assert_eq!(mark(later + 2 * step, 0, later + step), (Some(Timestamp(later)), 0), "it counts again");
        assert_eq!(mark(later + 3 * step, 1, later + step), (Some(Timestamp(later + step)), 0));
    }

    /// With everybody stuck nobody is ahead: the watermark stays.
    #[test]
    fn a_lonely_source_is_waited_for() {
        let mut watermarks = Watermarks::default();
        let source = Source { topic: "usage-events".into(), partition: 0 };
        for step in 0..10_000 {
            watermarks.pass_time(Timestamp(step * LONGEST_STEP_MS));
            watermarks.mark(&Marker { source: source.clone(), watermark: Some(Timestamp(5)), idle: false, partitions_of_topic: 1 });
            assert_eq!(watermarks.advance(), Some(Timestamp(if step == 0 { 0 } else { 5 })));
        }
        assert_eq!(watermarks.sources_set_aside(), 1, "but it is said");
    }
}
