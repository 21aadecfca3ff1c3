//! All that the simulation knows of how a shard works: the one file to follow when it changes.

use crate::model::effect::Effect;
use crate::model::partial::{Marker, ShardRecord, Source};
use crate::model::time::{HOUR_MS, Timestamp};
use crate::watch::rules::WatchRules;
use crate::watch::state::{self, StateKey};
use crate::watch::{Header, Shard};

pub fn fresh(number: i32, shard_count: u32, rules: &WatchRules) -> Shard {
    Shard::starting_at(u32::try_from(number).unwrap(), shard_count, 0, rules)
}

pub fn apply(shard: &mut Shard, record: &ShardRecord, offset: i64, append_time: i64, rules: &WatchRules) -> Vec<Effect> {
    shard.apply(record, offset, Timestamp(append_time), rules)
}

/// Of a record of the changelog that is the shard's header: the position that it was written at, and the revision of the rules.
pub fn header(key: &[u8], value: &[u8]) -> Option<(i64, u64)> {
    match state::decode::<StateKey>(key) {
        Ok(StateKey::Header) => state::decode::<Header>(value).ok().map(|header| (header.position, header.rules_revision)),
        _ => None,
    }
}

/// Where two shards differ in something that counts.
pub fn difference(one: &Shard, other: &Shard) -> Option<String> {
    let bare = |shard: &Shard| {
        let mut shard = shard.clone();
        shard.forget_caches();
        shard
    };
    let (one, other) = (bare(one), bare(other));
    if one == other {
        return None;
    }
    let (one, other) = (format!("{one:?}"), format!("{other:?}"));
    let same = one.chars().zip(other.chars()).take_while(|(one, other)| one == other).count();
    let around = |text: &str| text.chars().skip(same.saturating_sub(200)).take(300).collect::<String>();
    Some(format!("{} and {}", around(&one), around(&other)))
}

/// What a shard would say if time went on for some hours: whatever it remembers shows in it, however it is kept.
pub fn future(shard: &Shard, topic: &str, partitions: i32, now_ms: i64, rules: &WatchRules) -> Vec<Effect> {
    let mut shard = shard.clone();
    let mut effects = Vec::new();
    for step in 1..=6 {
        let at = now_ms + step * HOUR_MS;
        let marker = |partition| Marker {
            source: Source { topic: topic.into(), partition },
            watermark: Some(Timestamp(at)),
            idle: false,
            partitions_of_topic: partitions,
        };
        let record = ShardRecord { partials: Vec::new(), markers: (0..partitions).map(marker).collect() };
        let offset = shard.header().position;
        effects.extend(apply(&mut shard, &record, offset, at, rules));
    }
    effects
}
