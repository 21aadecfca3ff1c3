//! The loop of an INTAKE thread: usage events in, partials, markers and dead letters out, one transaction per short interval.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::flood::Guard;
use super::pace::Pace;
use super::schemas::{Client, Lookup};
use super::{Setup, Stop, Unrecoverable, commit, encode};
use crate::clock;
use crate::health::RoleState;
use crate::intake::rules::IntakeRules;
use crate::intake::{self, Batch, Outcome, PartitionState, SchemaTable};
use crate::kafka::consumer::{Consumer, Partition, Polled, Rebalance};
use crate::kafka::producer::{OutRecord, Producer};
use crate::kafka::read::Reader;
use crate::kafka::{BorrowedMessage, Headers as _, Message as _};
use crate::model::effect::{Effect, StateChange};
use crate::model::partial::{Marker, Partial, ShardRecord, Source};
use crate::model::record::{DeadLetter, InputRecord, Reject};
use crate::model::time::Timestamp;

const ROLE: &str = "intake";
/// Markers go to every shard this often even where there is nothing to say: ticks are records.
const TICK: Duration = Duration::from_secs(1);
/// Caught up and empty for this long: the partition is idle and does not hold the watermark.
const IDLE_AFTER: Duration = Duration::from_secs(10);
/// Records of one transaction, whatever the time.
const LARGEST_BATCH: usize = 50_000;
/// Partials packed into one shard-log record: some 100 KB.
const PARTIALS_PER_RECORD: usize = 500;
/// ... and never more than this, long names and many users included.
const BYTES_PER_RECORD: usize = 512 * 1024;
/// A record whose schema cannot be had now is tried again after this.
const SCHEMA_RETRY: Duration = Duration::from_secs(2);

struct Worker<'a> {
    setup: &'a Setup,
    consumer: &'a Consumer,
    thread: usize,
    producer: Producer,
    registry: Client,
    schemas: SchemaTable,
    rules: Arc<IntakeRules>,
    partitions: BTreeMap<i32, Assigned>,
    partitions_of_topic: i32,
    batch: Batch,
    dead: Vec<DeadLetter>,
    guard: Guard,
    since: Option<clock::Stopwatch>,
    last_tick: clock::Stopwatch,
    pace: Pace,
    transactions: u64,
}

/// One input partition that is ours.
struct Assigned {
    state: PartitionState,
    /// Records below it were committed before: they only fill the dedupe window.
    committed: i64,
    next: i64,
    caught_up: bool,
    quiet_since: clock::Stopwatch,
    /// Waits for a schema; read again from `next` after this.
    held_since: Option<clock::Stopwatch>,
    topic_id: String,
}

/// Runs until asked to stop; every error leaves what is committed as it was, and the supervisor starts anew from there.
///
/// # Errors
/// What this thread cannot go on from: no broker, a state that contradicts the committed offsets, a failed transaction.
pub fn run(setup: &Setup, thread: usize, stop: &Stop) -> Result<()> {
    let topic = setup.topics.usage_events.as_str();
    let consumer = Consumer::subscribe(&setup.connection.consumer_config(ROLE), &[topic])?;
    let partitions_of_topic = consumer.partition_count(topic)?;
    let mut worker = Worker {
        setup,
        consumer: &consumer,
        thread,
        producer: super::supervise::start_producer(setup, ROLE, thread)?,
        registry: Client::new(&setup.schemas)?,
        schemas: SchemaTable::default(),
        rules: setup.intake_rules.load_full(),
        partitions: BTreeMap::new(),
        partitions_of_topic,
        batch: Batch::default(),
        dead: Vec::new(),
        guard: Guard::new(setup.dead_letter_ratio, setup.dead_letter_sample),
        since: None,
        last_tick: clock::Stopwatch::start(),
        pace: Pace::new(),
        transactions: 0,
    };
    setup.health.report(ROLE, thread, RoleState::Restoring, clock::now());
    while !stop.asked() {
        worker.step()?;
        setup.health.beat(ROLE, thread, clock::now());
    }
    worker.commit(false)
}

impl Worker<'_> {
    fn step(&mut self) -> Result<()> {
        let wait = if self.since.is_some() { Duration::from_millis(1) } else { Duration::from_millis(20) };
        let consumer = self.consumer;
        let mut drained = false;
        match consumer.poll(wait)? {
            Polled::Message(message) => {
                self.take(&message)?;
            }
            Polled::Rebalance(event) => self.rebalance(event)?,
            Polled::EndOfPartition(partition) => self.reached_end(partition),
            Polled::Nothing => drained = true,
        }
        self.release_held()?;
        let tick = self.last_tick.elapsed() >= TICK && !self.partitions.is_empty();
        let due = self.since.is_some_and(|since| self.pace.is_due(drained, since.elapsed(), self.setup.commit_interval));
        let full = self.batch.counts().read as usize >= LARGEST_BATCH;
        if tick || due || full {
            self.commit(tick)?;
        }
        Ok(())
    }

    fn take(&mut self, message: &BorrowedMessage<'_>) -> Result<()> {
        let Some(assigned) = self.partitions.get_mut(&message.partition()) else { return Ok(()) };
        let headers: Vec<(&str, &[u8])> = message
            .headers()
            .map(|headers| headers.iter().map(|header| (header.key, header.value.unwrap_or_default())).collect())
            .unwrap_or_default();
        let record = InputRecord {
            topic: message.topic(),
            partition: message.partition(),
            offset: message.offset(),
            timestamp: Timestamp(message.timestamp().to_millis().unwrap_or_default()),
            key: message.key(),
            value: message.payload(),
            headers: &headers,
        };
        assigned.quiet_since = clock::Stopwatch::start();
        assigned.caught_up = false;
        if assigned.held_since.is_some() {
            return Ok(());
        }
        let is_rejected = loop {
            let outcome = if record.offset < assigned.committed {
                intake::warm_up(&record, &self.rules, &self.schemas, &mut assigned.state)
            } else {
                intake::process(&record, clock::now(), &self.rules, &self.schemas, &mut assigned.state, &mut self.batch)
            };
            match outcome {
                Outcome::NeedsSchema(id) => match self.registry.look_up(id) {
                    Lookup::Schema(text) => self.schemas.insert(id, &text),
                    Lookup::Unknown => self.schemas.insert_unknown(id),
                    Lookup::Unavailable(reason) => {
                        tracing::warn!(
                            schema = id,
                            reason,
                            partition = record.partition,
                            offset = record.offset,
                            "schema not available, the partition waits"
                        );
                        assigned.held_since = Some(clock::Stopwatch::start());
                        let partition = Partition { topic: record.topic.to_string(), partition: record.partition };
                        return self.consumer.hold_at(&partition, record.offset);
                    }
                },
                Outcome::Rejected(reject) if record.offset >= assigned.committed => {
                    self.dead.push(dead_letter(&record, reject));
                    break true;
                }
                Outcome::Combined | Outcome::Duplicate | Outcome::Rejected(_) => break false,
            }
        };
        assigned.next = record.offset + 1;
        if record.offset >= assigned.committed {
            self.since.get_or_insert_with(clock::Stopwatch::start);
            if let Some(flooded) = self.guard.observe(is_rejected) {
                bail!(Unrecoverable(flooded));
            }
        }
        Ok(())
    }

    fn reached_end(&mut self, partition: i32) {
        if let Some(assigned) = self.partitions.get_mut(&partition) {
            assigned.caught_up = true;
        }
    }

    /// A partition that waited for a schema is read again.
    fn release_held(&mut self) -> Result<()> {
        for (number, assigned) in &mut self.partitions {
            if assigned.held_since.is_some_and(|since| since.elapsed() >= SCHEMA_RETRY) {
                assigned.held_since = None;
                self.consumer.resume(&Partition { topic: self.setup.topics.usage_events.clone(), partition: *number })?;
            }
        }
        Ok(())
    }

    /// One transaction: partials and markers, dead letters, each partition's key, offsets.
    fn commit(&mut self, tick: bool) -> Result<()> {
        if self.partitions.is_empty() || (self.since.is_none() && !tick) {
            self.reload();
            return Ok(());
        }
        let started = clock::Stopwatch::start();
        let counts = self.batch.take_counts();
        assert!(counts.balance(), "records in = combined + duplicates + rejected: {counts:?}");
        assert!(counts.rejected == self.dead.len() as u64, "every rejected record has its dead letter");
        let shards = self.batch.drain_into_shards(self.setup.shard_count);
        let mut records = self.shard_records(shards, tick)?;
        for dead in std::mem::take(&mut self.dead) {
            records.push(encode::effect(Effect::DeadLetter(Box::new(dead)), &self.setup.topics, &self.setup.output)?);
        }
        let mut offsets = Vec::new();
        for (number, assigned) in &self.partitions {
            offsets.push((self.partition(*number), assigned.next.max(assigned.committed)));
            let key = intake::state::key(&self.setup.topics.usage_events, *number);
            let value = intake::state::encode(&assigned.topic_id, assigned.next.max(assigned.committed), assigned.state.watermark());
            records.push(encode::change(StateChange { key, value: Some(value) }, &self.setup.topics.intake_changelog, 0));
        }
        self.transactions += 1;
        commit::commit(&self.producer, self.consumer, &records, &offsets, self.transactions).context("intake: commit")?;
        for assigned in self.partitions.values_mut() {
            assigned.committed = assigned.committed.max(assigned.next);
        }
        self.pace.committed(started.elapsed());
        self.setup.metrics.committed(ROLE, started.elapsed());
        let waiting = self.partitions.values().filter(|assigned| assigned.held_since.is_some()).count();
        self.setup.metrics.partitions_waiting(self.thread, waiting);
        self.setup.metrics.intake(counts.read, counts.combined, counts.duplicates, counts.unpriced);
        for (reason, count) in &counts.rejected_by {
            self.setup.metrics.rejected(*reason, *count);
        }
        self.since = None;
        if tick {
            self.last_tick = clock::Stopwatch::start();
        }
        self.reload();
        Ok(())
    }

    /// Rules change between two transactions.
    fn reload(&mut self) {
        self.rules = self.setup.intake_rules.load_full();
    }

    /// Markers ride behind the last partials of a shard; on a tick every shard gets them.
    fn shard_records(&self, mut shards: BTreeMap<u32, Vec<Partial>>, tick: bool) -> Result<Vec<OutRecord>> {
        let markers: Vec<Marker> = self.partitions.iter().map(|(number, assigned)| self.marker(*number, assigned)).collect();
        if tick {
            for shard in 0..self.setup.shard_count {
                shards.entry(shard).or_default();
            }
        }
        let mut records = Vec::new();
        for (shard, mut partials) in shards {
            loop {
                let rest = partials.split_off(fitting(&partials));
                let last = rest.is_empty();
                let record = ShardRecord { partials, markers: if last { markers.clone() } else { Vec::new() } };
                records.push(encode::effect(Effect::Shard { shard, record }, &self.setup.topics, &self.setup.output)?);
                if last {
                    break;
                }
                partials = rest;
            }
        }
        Ok(records)
    }

    fn marker(&self, number: i32, assigned: &Assigned) -> Marker {
        Marker {
            source: Source { topic: self.setup.topics.usage_events.as_str().into(), partition: number },
            watermark: assigned.state.watermark(),
            idle: assigned.caught_up && assigned.held_since.is_none() && assigned.quiet_since.elapsed() >= IDLE_AFTER,
            partitions_of_topic: self.partitions_of_topic,
        }
    }

    fn rebalance(&mut self, event: Rebalance) -> Result<()> {
        match event {
            Rebalance::Assign(partitions) => {
                self.assign(&partitions)?;
                self.setup.health.report(ROLE, self.thread, RoleState::Running, clock::now());
                Ok(())
            }
            Rebalance::Revoke { partitions, lost } => {
                if lost {
                    self.consumer.unassign(&partitions)?;
                    bail!("lost {} partitions to another member of the group", partitions.len());
                }
                // Answered in any case: an unanswered revoke would keep the consumer from ever closing.
                let committed = self.commit(false);
                self.consumer.unassign(&partitions)?;
                for partition in &partitions {
                    self.partitions.remove(&partition.partition);
                }
                committed
            }
            Rebalance::Failed(reason) => bail!("the group's rebalance failed: {reason}"),
        }
    }

    fn assign(&mut self, partitions: &[Partition]) -> Result<()> {
        if partitions.is_empty() {
            return self.consumer.assign(&[]);
        }
        let keys = Reader::new(&self.setup.connection)?.read(&self.setup.topics.intake_changelog, 0)?;
        let mut starts = Vec::new();
        for (partition, committed) in self.consumer.committed(partitions)? {
            let stored = match keys.get(&intake::state::key(&partition.topic, partition.partition)) {
                Some(value) => Some(intake::state::decode(value).with_context(|| format!("intake's key of {}", partition.partition))?),
                None => None,
            };
            let (low, high) = self.consumer.bounds(&partition)?;
            let next = self.next_offset(&partition, committed, stored.as_ref().map(|stored| stored.next), low)?;
            if next < low {
                bail!(Unrecoverable(format!(
                    "{}[{}] begins at {low}, but {next} is the next to read: retention has removed {} records that were never counted. \
                     Set the group's offset and intake's key to go on from where you decide; it is not skipped silently",
                    partition.topic,
                    partition.partition,
                    low - next,
                )));
            }
            if next > high {
                bail!(
                    "{}[{}] ends at {high}, but {next} is committed: the topic was recreated or truncated",
                    partition.topic,
                    partition.partition
                );
            }
            let window = i64::try_from(self.rules.dedupe_window).unwrap_or(i64::MAX);
            let start = next.saturating_sub(window).max(low);
            let source = Source { topic: partition.topic.as_str().into(), partition: partition.partition };
            let watermark = stored.as_ref().and_then(|stored| stored.watermark);
            let assigned = Assigned {
                state: PartitionState::restored(source, self.rules.dedupe_window, watermark),
                committed: next,
                next: start,
                caught_up: start == high,
                quiet_since: clock::Stopwatch::start(),
                held_since: None,
                topic_id: String::new(),
            };
            starts.push((partition.clone(), start));
            self.partitions.insert(partition.partition, assigned);
        }
        self.consumer.assign(&starts)
    }

    /// Offset and key are written in one transaction: where they disagree somebody reset one of them, and guessing would lose or repeat.
    fn next_offset(&self, partition: &Partition, committed: Option<i64>, stored: Option<i64>, low: i64) -> Result<i64> {
        let group = format!("{}-{ROLE}", self.setup.connection.application_id);
        match (committed, stored) {
            (None, None) => Ok(low),
            (Some(committed), Some(stored)) if committed == stored => Ok(committed),
            (committed, Some(stored)) if self.setup.delivery == super::Delivery::ExactlyOnce => bail!(Unrecoverable(format!(
                "the group '{group}' stands at {} of {}[{}], but intake's own key says {stored}: set the group's offset to {stored} to go on",
                committed.map_or("nothing".to_string(), |offset| offset.to_string()),
                partition.topic,
                partition.partition,
            ))),
            (Some(committed), None) if self.setup.delivery == super::Delivery::ExactlyOnce => bail!(Unrecoverable(format!(
                "the group '{group}' stands at {committed} of {}[{}], but intake has no key for it in '{}': delete the group's offset to start at the beginning",
                partition.topic, partition.partition, self.setup.topics.intake_changelog,
            ))),
            (committed, stored) => Ok(committed.or(stored).unwrap_or(low)),
        }
    }

    fn partition(&self, number: i32) -> Partition {
        Partition { topic: self.setup.topics.usage_events.clone(), partition: number }
    }
}

/// How many of the partials go into one record: by number, and by what their texts take.
fn fitting(partials: &[Partial]) -> usize {
    let mut bytes = 0;
    for (count, partial) in partials.iter().enumerate().take(PARTIALS_PER_RECORD) {
        let leaf = &partial.leaf;
        let dimensions: usize = leaf.dimensions().named().iter().map(|(_, text)| text.len()).sum();
        let users: usize = partial.users.iter().map(|user| user.user.len() + 24).sum();
        bytes += 200 + leaf.team.len() + dimensions + users;
        if bytes > BYTES_PER_RECORD {
            return count.max(1);
        }
    }
    partials.len().min(PARTIALS_PER_RECORD)
}

fn dead_letter(record: &InputRecord<'_>, reject: Reject) -> DeadLetter {
    DeadLetter {
        topic: record.topic.into(),
        partition: record.partition,
        offset: record.offset,
        timestamp: record.timestamp,
        key: record.key.map(<[u8]>::to_vec),
        value: record.value.map(<[u8]>::to_vec),
        headers: record.headers.iter().map(|(name, value)| ((*name).to_string(), value.to_vec())).collect(),
        reject,
    }
}
