//! Restored state against replayed state: the shard log, read once more from its beginning by the library, must give exactly the alerts
//! and roll-ups that stand on the topics, and the state that stands in the changelog.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use tollgate::model::effect::Effect;
use tollgate::model::partial::{Marker, ShardRecord, Source};
use tollgate::model::time::Timestamp;
use tollgate::model::wire;
use tollgate::watch::rules::WatchRules;
use tollgate::watch::{Restorer, Shard};

use super::fleet::{Fleet, INPUT_PARTITIONS, SHARDS};
use super::observer::Ends;
use super::oracle::Seen;
use crate::real::parts::{Cluster, Consumed};

/// Reading one partition.
const LIMIT: Duration = Duration::from_secs(300);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    pub shards: usize,
    pub records: usize,
    pub outputs: usize,
    pub keys: usize,
}

struct Record {
    offset: i64,
    append_time: i64,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
}

pub fn check(cluster: &Cluster, fleet: &Fleet, seen: &Seen) -> (Replayed, Vec<String>) {
    let rules = tollgate::config::load(Some(fleet.config()), std::iter::empty()).expect("the fleet's config").watch;
    let (mut counts, mut complaints) = (Replayed::default(), Vec::new());
    let (mut outputs, mut written) = (BTreeMap::new(), on_topics(seen));
    for shard in 0..SHARDS {
        let owed = replay(cluster, fleet, shard, &rules, &mut counts, &mut outputs, &mut complaints);
        for (place, text) in owed {
            if written.insert(place.clone(), text).is_some() {
                complaints.push(format!("{place:?} would be written once more by who goes on with shard {shard}"));
            }
        }
    }
    counts.outputs = outputs.len();
    complaints.extend(differences(&outputs, &written));
    (counts, complaints)
}

/// Id (of an alert or a roll-up) and revision -> JSON text.
type Outputs = BTreeMap<(String, u64), String>;

/// What the next owner would still write: workers may end in the middle of a close.
fn replay(
    cluster: &Cluster,
    fleet: &Fleet,
    shard: u32,
    rules: &WatchRules,
    counts: &mut Replayed,
    outputs: &mut Outputs,
    complaints: &mut Vec<String>,
) -> Outputs {
    let partition = i32::try_from(shard).unwrap();
    let changelog = read(cluster, &fleet.internal("watch-changelog"), partition);
    let log = read(cluster, &fleet.internal("shard-repartition"), partition);
    let (restored, owed) = match restore(&changelog, &log, rules) {
        Ok(restored) => restored,
        Err(why) => {
            complaints.push(format!("shard {shard} cannot be restored: {why}"));
            return Outputs::new();
        }
    };
    let position = restored.header().position;
    let begin = Ends::of(cluster).begin(&fleet.internal("shard-repartition"), partition);
    if begin > 0 {
        // What was lived and what is replayed cannot be compared then, and nobody may delete what is younger than a day.
        complaints.push(format!("shard {shard}: its log begins at {begin}, though all of it is younger than a day"));
        return owed;
    }
    let start = log.first().map_or(0, |record| record.offset);
    let mut replayed = Shard::starting_at(shard, SHARDS, start, rules);
    for record in log.iter().filter(|record| record.offset < position) {
        for effect in replayed.apply_whole(&record.decoded(), record.offset, Timestamp(record.append_time), rules) {
            put(effect, outputs);
        }
        counts.records += 1;
    }
    counts.shards += 1;
    counts.keys += changelog.iter().map(|change| &change.key).collect::<std::collections::BTreeSet<_>>().len();
    let facts = |shard: &Shard| {
        let header = shard.header();
        let progress = (header.position, header.closed_through, header.late_partials, shard.capped_leaves());
        (progress, header.watermarks.clone(), shard.series_count(), shard.open_alerts())
    };
    if facts(&restored) != facts(&replayed) {
        complaints.push(format!("shard {shard}: {:?} restored and {:?} replayed", facts(&restored), facts(&replayed)));
        return owed;
    }
    // Whatever a shard remembers shows in what it says as time goes on: of the hours that are open, of alerts, of what is normal.
    let (one, other) = (future(restored, fleet, rules), future(replayed, fleet, rules));
    if one != other {
        complaints.push(format!("shard {shard}: restored and replayed state go on differently: {} and {} outputs", one.len(), other.len()));
    }
    owed
}

impl Record {
    fn decoded(&self) -> ShardRecord {
        wire::decode_shard_record(self.value.as_deref().unwrap_or_default()).expect("a shard record")
    }
}

/// As a new owner does it: the changelog, then what the log has that it lacks, then the rest of a close.
fn restore(changelog: &[Record], log: &[Record], rules: &WatchRules) -> Result<(Shard, Outputs), String> {
    let mut restorer = Restorer::new(SHARDS);
    for change in changelog {
        restorer.put(&change.key, change.value.as_deref()).map_err(|error| error.to_string())?;
    }
    let replay = restorer.changelog_read(rules).map_err(|error| error.to_string())?.ok_or("its changelog is empty")?;
    for record in log.iter().filter(|record| (replay.from..replay.to).contains(&record.offset)) {
        restorer.replay(&record.decoded(), record.offset);
    }
    let mut shard = restorer.finish().map_err(|error| error.to_string())?;
    let mut owed = Outputs::new();
    while shard.is_closing() {
        shard.close_slice(rules, usize::MAX).into_iter().for_each(|effect| put(effect, &mut owed));
    }
    Ok((shard, owed))
}

/// What the shard says while three days pass without usage.
fn future(mut shard: Shard, fleet: &Fleet, rules: &WatchRules) -> Vec<Effect> {
    let begin = shard.header().watermarks.shard_time().0;
    let mut effects = Vec::new();
    for hour in 1..=72 {
        let at = Timestamp(begin + hour * 3_600_000);
        let marker = |partition| Marker {
            source: Source { topic: fleet.topic("usage-events").as_str().into(), partition },
            watermark: Some(at),
            idle: false,
            partitions_of_topic: INPUT_PARTITIONS,
        };
        let record = ShardRecord { partials: Vec::new(), markers: (0..INPUT_PARTITIONS).map(marker).collect(), events: Vec::new() };
        let offset = shard.header().position;
        effects.extend(shard.apply_whole(&record, offset, at, rules));
    }
    effects
}

fn put(effect: Effect, outputs: &mut Outputs) {
    let (place, json) = match effect {
        Effect::Alert(alert) => ((alert.id.clone(), u64::from(alert.revision)), wire::alert_to_json(&alert)),
        Effect::Violation(violation) => ((violation.id.clone(), violation.revision), wire::violation_to_json(&violation)),
        Effect::Rollup(rollup) => ((wire::rollup_id(&rollup), u64::from(rollup.revision)), wire::rollup_to_json(&rollup)),
        Effect::RollupSupplement { shard, number, rollup } => {
            ((format!("{}/late/{shard}-{number}", wire::rollup_id(&rollup)), 0), wire::rollup_to_json(&rollup))
        }
        other => panic!("watch does not write {other:?}"),
    };
    let twice = outputs.insert(place, String::from_utf8(json.expect("JSON")).expect("text"));
    assert!(twice.is_none(), "the replay wrote the same revision twice");
}

fn on_topics(seen: &Seen) -> Outputs {
    let place = |record: &Consumed| {
        let revision = record.json()["revision"].as_u64().unwrap_or(u64::MAX);
        ((record.key.clone().unwrap_or_default(), revision), record.value.clone().unwrap_or_default())
    };
    seen.alerts.iter().chain(&seen.rollups).map(place).collect()
}

fn differences(replayed: &Outputs, topics: &Outputs) -> Vec<String> {
    let mut complaints = Vec::new();
    for (place, text) in replayed {
        match topics.get(place) {
            None => complaints.push(format!("{place:?} is replayed, but not on its topic")),
            Some(found) if found != text => complaints.push(format!("{place:?} differs.\n  replayed {text}\n  on topic {found}")),
            Some(_) => {}
        }
    }
    complaints.extend(topics.keys().filter(|place| !replayed.contains_key(place)).map(|place| format!("{place:?} was never replayed")));
    complaints
}

/// All committed records of a partition that nobody writes to any more.
fn read(cluster: &Cluster, topic: &str, partition: i32) -> Vec<Record> {
    let start = Instant::now();
    let (stable, end) = Ends::of(cluster).ask(topic, partition).unwrap();
    assert_eq!(stable, end, "{topic}[{partition}]: everything is decided");
    let mut config = cluster.client();
    config.set("group.id", "chaos-replay").set("enable.auto.commit", "false").set("isolation.level", "read_committed");
    config.set("auto.offset.reset", "error").set("fetch.wait.max.ms", "20").set("enable.partition.eof", "true");
    let client: BaseConsumer = config.create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    client.assign(&list).unwrap();
    let mut records = Vec::new();
    loop {
        match client.poll(Duration::from_millis(50)) {
            Some(Ok(message)) => records.push(Record {
                offset: message.offset(),
                append_time: message.timestamp().to_millis().unwrap_or_default(),
                key: message.key().unwrap_or_default().to_vec(),
                value: message.payload().map(<[u8]>::to_vec),
            }),
            Some(Err(KafkaError::PartitionEOF(_))) => return records,
            Some(Err(error)) => panic!("{topic}[{partition}]: {error}"),
            None => assert!(start.elapsed() < LIMIT, "{topic}[{partition}] cannot be read to {end} within {LIMIT:?}"),
        }
    }
}
