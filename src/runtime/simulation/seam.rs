//! All that the simulation knows of how a shard works: the one file to follow when it changes.

use std::collections::BTreeMap;

use crate::model::effect::Effect;
use crate::model::partial::{Marker, ShardRecord, Source};
use crate::model::time::{HOUR_MS, Timestamp};
use crate::watch::rules::WatchRules;
use crate::watch::state::{self, StateKey};
use crate::watch::{Closing, Header, Shard};

/// By revision.
pub type Rules = BTreeMap<u64, WatchRules>;

pub fn fresh(number: i32, shard_count: u32, rules: &WatchRules) -> Shard {
    Shard::starting_at(u32::try_from(number).unwrap(), shard_count, 0, rules)
}

/// The shard's header as the changelog has it, one for each transaction.
pub struct Head {
    /// Records before it are applied.
    pub position: i64,
    /// Of the rules that they were applied under.
    pub revision: u64,
    /// How far a close has come.
    closing: Option<Closing>,
}

/// Of a record of the changelog, if it is a header.
pub fn head(key: &[u8], value: &[u8]) -> Option<Head> {
    let Ok(StateKey::Header) = state::decode_key(key) else { return None };
    let header: Header = postcard::from_bytes(state::unseal(value).unwrap().1).unwrap();
    Some(Head { position: header.position, revision: header.rules_revision, closing: header.closing })
}

/// One record, and the close that it leads to, whose slices were made under the rules of their own transactions. `heads` in order.
pub fn apply(shard: &mut Shard, record: &ShardRecord, offset: i64, append_time: i64, heads: &[Head], rules: &Rules) -> Vec<Effect> {
    let last = rules.values().next_back().unwrap();
    let under = |head: &Head| rules.get(&head.revision).unwrap();
    let mut after = heads.iter().skip_while(|head| head.position <= offset).peekable();
    let mut effects = shard.apply(record, offset, Timestamp(append_time), after.peek().map_or(last, |head| under(head)));
    for head in after.skip(1).take_while(|head| head.position == offset + 1) {
        // Any number of slices gives the same.
        while shard.is_closing() && shard.header().closing != head.closing {
            effects.extend(shard.close_slice(under(head), 1));
        }
    }
    while shard.is_closing() {
        effects.extend(shard.close_slice(last, 1));
    }
    effects
}

/// Where two shards differ in something that counts.
pub fn difference(one: &Shard, other: &Shard) -> Option<String> {
    if one == other {
        return None;
    }
    let (one, other) = (without_caches(one), without_caches(other));
    let same = one.chars().zip(other.chars()).take_while(|(one, other)| one == other).count();
    // From the name of the field on: what differs may stand deep in a list of bytes.
    let field = one[..one.char_indices().nth(same).map_or(one.len(), |(at, _)| at)].rfind(": [").map_or(0, |at| at.saturating_sub(60));
    let around = |text: &str| {
        let start = text.get(field..).map_or(String::new(), |text| text.chars().take(100).collect());
        start + " ... " + &text.chars().skip(same.saturating_sub(20)).take(200).collect::<String>()
    };
    Some(format!("{} and {}", around(&one), around(&other)))
}

fn without_caches(shard: &Shard) -> String {
    let text = format!("{shard:?}");
    let mut parts = text.split("CachedBound {");
    let first = parts.next().unwrap_or_default().to_string();
    parts.fold(first, |all, part| all + part.split_once('}').map_or(part, |(_, rest)| rest))
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
        let record = ShardRecord { partials: Vec::new(), markers: (0..partitions).map(marker).collect(), events: Vec::new() };
        let offset = shard.header().position;
        effects.extend(shard.apply_whole(&record, offset, Timestamp(at), rules));
    }
    effects
}
