//! The stages by themselves, on events in memory: no broker, one thread.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use super::events::{self, BEGINNING, Events, SCHEMA, SCHEMA_ID, SPAN_MS};
use super::measure::{Measured, Meter, Of};
use crate::intake::decode::{self, Scratch};
use crate::intake::rules::IntakeRules;
use crate::intake::{Batch, PartitionState, SchemaTable, process_all};
use crate::model::leaf::{Leaf, Measure};
use crate::model::money::{Currency, Nanos};
use crate::model::partial::{Marker, Partial, ShardRecord, Source};
use crate::model::record::InputRecord;
use crate::model::time::{Minute, Timestamp};
use crate::model::wire;
use crate::watch::Shard;
use crate::watch::rules::WatchRules;

const TOPIC: &str = "usage-events";
const PARTITIONS: u64 = 8;
/// Events that are made before the next ones are measured; as many come from a broker at once.
const AT_ONCE: u64 = 20_000;
/// Not measured: caches are filled, buckets are met for the first time.
const WARM_UP: u64 = 200_000;

/// Some events, one after the other, and where each ends.
#[derive(Default)]
struct Chunk {
    bytes: Vec<u8>,
    ends: Vec<(usize, i32)>,
}

impl Chunk {
    fn fill(&mut self, events: &Events, numbers: std::ops::Range<u64>) {
        self.bytes.clear();
        self.ends.clear();
        let mut value = Vec::new();
        for number in numbers {
            let partition = events.write(number, PARTITIONS, &mut value);
            self.bytes.extend_from_slice(&value);
            self.ends.push((self.bytes.len(), partition));
        }
    }

    fn each<'c>(&'c self, mut take: impl FnMut(&'c [u8], i32)) {
        let mut start = 0;
        for (end, partition) in &self.ends {
            take(self.bytes.get(start..*end).unwrap_or_default(), *partition);
            start = *end;
        }
    }
}

fn record(value: &[u8], partition: i32, offset: i64) -> InputRecord<'_> {
    let timestamp = BEGINNING.plus_ms(SPAN_MS);
    InputRecord { topic: TOPIC, partition, offset, timestamp, key: None, value: Some(value), headers: &[] }
}

fn schemas() -> SchemaTable {
    let mut schemas = SchemaTable::default();
    schemas.insert(SCHEMA_ID, SCHEMA);
    schemas
}

/// Runs over all events; only what comes after the warm-up counts.
fn over(events: &Events, count: u64, name: &'static str, mut work: impl FnMut(&Chunk)) -> Measured {
    let warm_up = WARM_UP.min(count / 4);
    let all = count + warm_up;
    let (mut chunk, mut meter, mut number) = (Chunk::default(), Meter::new(Of::Thread), 0);
    while number < all {
        let end = (number + AT_ONCE).min(if number < warm_up { warm_up } else { all });
        chunk.fill(events, number..end);
        if number < warm_up {
            work(&chunk);
        } else {
            meter.count(|| work(&chunk));
        }
        number = end;
    }
    meter.finish(name, count)
}

/// From bytes to fields: the thorough reader, and for Avro the quick one that takes nearly all of them.
pub fn decode(events: &Events, count: u64, largest: usize) -> Result<Vec<Measured>> {
    let (schemas, mut scratch) = (schemas(), Scratch::default());
    let (mut refused, mut slow, mut key) = (0_u64, 0_u64, Vec::new());
    let thorough = over(events, count, "decode", |chunk| {
        chunk.each(|value, partition| match decode::decode(&record(value, partition, 0), largest, &schemas, &mut scratch) {
            Ok(event) => {
                let tags = decode::emptied(event.tags);
                scratch.take_back(tags);
            }
            Err(_) => refused += 1,
        });
    });
    if refused > 0 {
        bail!("{refused} events of our own were refused");
    }
    let mut measured = vec![thorough];
    if events.form == events::Form::Avro {
        measured.push(over(events, count, "decode-quick", |chunk| {
            chunk.each(|value, partition| {
                slow += u64::from(decode::quick(&record(value, partition, 0), largest, &schemas, &mut key).is_none());
            });
        }));
    }
    if slow > 0 {
        bail!("{slow} events of our own are not plain");
    }
    Ok(measured)
}

/// From bytes to partials: every stage, the sums of each transaction and their records included.
pub fn intake(events: &Events, count: u64, rules: IntakeRules, batch_size: u64, shard_count: u32) -> Result<Vec<Measured>> {
    let (rules, schemas, mut batch) = (events::rules(rules), schemas(), Batch::default());
    let window = rules.dedupe_window;
    let state = |partition: i32| PartitionState::new(Source { topic: TOPIC.into(), partition }, window);
    let mut partitions: Vec<(PartitionState, i64)> = (0..i32::try_from(PARTITIONS)?).map(|partition| (state(partition), 0)).collect();
    let now = BEGINNING.plus_ms(SPAN_MS);
    let (mut other, mut partials, mut bytes) = (0_u64, 0_u64, 0_u64);
    let mut transactions = Meter::new(Of::Thread);
    let mut commits = 0_u64;
    let mut measured = over(events, count, "intake", |chunk| {
        // As a consumer hands them out: by partition.
        for ((state, next), number) in partitions.iter_mut().zip(0..) {
            let mut records = Vec::new();
            chunk.each(|value, partition| {
                if partition == number {
                    records.push(record(value, partition, *next));
                    *next += 1;
                }
            });
            let duplicates = batch.counts().duplicates;
            let taken = process_all(&records, now, &rules, &schemas, state, &mut batch).taken as u64;
            other += records.len() as u64 - taken + batch.counts().duplicates - duplicates;
        }
        if batch.counts().read >= batch_size || batch.is_full() {
            let (made, size) = transactions.count(|| drain(&mut batch, shard_count));
            commits += 1;
            partials += made;
            bytes += size;
        }
    });
    if other > 0 {
        bail!("{other} events of our own were not combined");
    }
    let drains = transactions.finish("drain", commits);
    let per_event = |number: u64| number as f64 / (count + WARM_UP.min(count / 4)) as f64;
    measured.more.push((
        "of it for partials and their records, CPU s per million",
        per_event(1) * drains.cpu.unwrap_or_default().as_secs_f64() * 1e6,
    ));
    measured.more.push(("events per partial", 1.0 / per_event(partials.max(1))));
    measured.more.push(("bytes of partials per event", per_event(bytes)));
    Ok(vec![measured])
}

/// One transaction's end; how many partials, and bytes of records, it has.
fn drain(batch: &mut Batch, shard_count: u32) -> (u64, u64) {
    batch.take_counts();
    let (mut made, mut size) = (0, 0);
    for partials in batch.drain_into_shards(shard_count).into_values() {
        made += partials.len() as u64;
        let record = ShardRecord { partials, ..ShardRecord::default() };
        size += wire::encode_shard_record(&record).map_or(0, |bytes| bytes.len()) as u64;
    }
    (made, size)
}

/// From shard-log records to alerts: partials of so many leaves, minute by minute, hours closing on the way.
pub fn watch(partials: u64, leaves: u64, rules: &WatchRules) -> Result<Vec<Measured>> {
    let mut shard = Shard::new(0, 1, rules);
    let mut meter = Meter::new(Of::Thread);
    let (mut done, mut round, mut effects) = (0_u64, 0_i64, BTreeMap::new());
    let warm_up = leaves.max(1);
    while done < partials + warm_up {
        let records = round_of(round, leaves);
        let mut work = || -> u64 {
            let mut emitted = 0;
            for (offset, record) in (0..).zip(&records) {
                let append_time = minute_of(round).start().plus_ms(60_000);
                emitted += shard.apply_whole(record, round * 100_000 + offset, append_time, rules).len() as u64;
            }
            emitted
        };
        let emitted = if round == 0 { work() } else { meter.count(work) };
        effects.insert(round, emitted);
        done += leaves.max(1);
        round += 1;
    }
    let mut measured = meter.finish("watch", done - warm_up);
    measured.more.push(("series", shard.series_count() as f64));
    measured.more.push(("effects", effects.values().sum::<u64>() as f64));
    Ok(vec![measured])
}

/// Ten minutes from one to the next, so that every sixth closes an hour.
fn minute_of(round: i64) -> Minute {
    Minute(BEGINNING.minute().0 + round * 10)
}

fn round_of(round: i64, leaves: u64) -> Vec<ShardRecord> {
    let minute = minute_of(round);
    let partials: Vec<Partial> = (0..leaves).map(|leaf| partial(leaf, minute)).collect();
    let source = Source { topic: TOPIC.into(), partition: 0 };
    let marker = Marker { source, watermark: Some(minute.start()), idle: false, partitions_of_topic: 1 };
    let mut records: Vec<ShardRecord> =
        partials.chunks(500).map(|partials| ShardRecord { partials: partials.to_vec(), ..ShardRecord::default() }).collect();
    if let Some(last) = records.last_mut() {
        last.markers.push(marker);
    }
    records
}

fn partial(leaf: u64, minute: Minute) -> Partial {
    let text = |name: &str, number: u64| format!("{name}-{number}").into();
    let cost = Nanos(i128::from(1_000_000 * (1 + leaf % 97)) + i128::from(minute.0 % 7) * 1_000);
    Partial {
        leaf: Leaf {
            team: text("team", leaf % 200),
            project: text("project", leaf % 1_000),
            model: text("model", leaf / 7 % 30),
            provider: text("provider", leaf / 7 % 4),
            region: text("region", leaf / 200 % 4),
            environment: text("environment", leaf / 1_000),
            meter: "llm.tokens".into(),
            currency: Currency::USD,
            measure: Measure::Estimated,
        },
        minute,
        events: 10,
        unpriced_events: 0,
        cost,
        has_negative: false,
        quantity: Nanos::ZERO,
        requests: 10,
        tokens_input: 1_000,
        tokens_output: 500,
        tokens_cached_input: 0,
        tokens_cache_write: 0,
        tokens_reasoning: 0,
        last_event_time: minute.start(),
        last_ingest_time: Timestamp(minute.start().0 + 1_000),
        users: Vec::new(),
        hits: Vec::new(),
        failed: Default::default(),
    }
}
