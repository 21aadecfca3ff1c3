//! The loop of a WATCH thread: shard-log records in, alerts, roll-ups and changelog out, state restored when a shard is assigned.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::pace::Pace;
use super::{Setup, Stop, Unrecoverable, commit, encode};
use crate::clock;
use crate::health::RoleState;
use crate::kafka::consumer::{Consumer, Partition, Polled, Rebalance};
use crate::kafka::producer::{OutRecord, Producer};
use crate::kafka::read::Reader;
use crate::kafka::{BorrowedMessage, Message as _};
use crate::model::time::Timestamp;
use crate::model::wire::decode_shard_record;
use crate::watch::rules::WatchRules;
use crate::watch::{Restorer, Shard};

const ROLE: &str = "watch";
/// A transaction is committed once this many records wait for it, whatever the time.
const LARGEST_BATCH: usize = 20_000;

struct Worker<'a> {
    setup: &'a Setup,
    consumer: &'a Consumer,
    thread: usize,
    producer: Producer,
    shards: BTreeMap<i32, Shard>,
    rules: Arc<WatchRules>,
    staged: Staged,
    pace: Pace,
    transactions: u64,
}

#[derive(Default)]
struct Staged {
    records: Vec<OutRecord>,
    /// Partitions that records were read of since the last commit.
    touched: BTreeMap<i32, usize>,
    since: Option<clock::Stopwatch>,
}

/// Runs until asked to stop; every error leaves what is committed as it was, and the supervisor starts anew from there.
///
/// # Errors
/// What this thread cannot go on from: no broker, a state that contradicts the committed offsets, a failed transaction.
pub fn run(setup: &Setup, thread: usize, stop: &Stop) -> Result<()> {
    let topic = setup.topics.shard_log.as_str();
    let consumer = Consumer::subscribe(&setup.connection.consumer_config(ROLE), &[topic])?;
    let producer = super::supervise::start_producer(setup, ROLE, thread)?;
    let rules = setup.watch_rules.load_full();
    let mut worker = Worker {
        setup,
        consumer: &consumer,
        thread,
        producer,
        shards: BTreeMap::new(),
        rules,
        staged: Staged::default(),
        pace: Pace::new(),
        transactions: 0,
    };
    let found = consumer.partition_count(topic)?;
    if u32::try_from(found).ok() != Some(setup.shard_count) {
        bail!(
            "topic '{topic}' has {found} partitions, shards.count is {}: the number is fixed at creation, set it to {found}",
            setup.shard_count
        );
    }
    setup.health.report(ROLE, thread, RoleState::Restoring, clock::now());
    while !stop.asked() {
        worker.step()?;
        setup.health.beat(ROLE, thread, clock::now());
    }
    worker.commit()
}

impl Worker<'_> {
    fn step(&mut self) -> Result<()> {
        let wait = if self.staged.touched.is_empty() { Duration::from_millis(100) } else { Duration::from_millis(1) };
        let consumer = self.consumer;
        let drained = match consumer.poll(wait)? {
            Polled::Message(message) => {
                self.take(&message)?;
                false
            }
            Polled::Rebalance(event) => {
                self.rebalance(event)?;
                false
            }
            // The end of one partition says nothing about the others.
            Polled::EndOfPartition(_) => false,
            Polled::Nothing => true,
        };
        if let Some(since) = self.staged.since
            && (self.pace.is_due(drained, since.elapsed(), self.setup.commit_interval) || self.staged.records.len() >= LARGEST_BATCH)
        {
            self.commit()?;
        }
        Ok(())
    }

    fn take(&mut self, message: &BorrowedMessage<'_>) -> Result<()> {
        let (partition, offset) = (message.partition(), message.offset());
        let place = || format!("{}[{partition}] at offset {offset}", message.topic());
        let Some(shard) = self.shards.get_mut(&partition) else { return Ok(()) };
        let record = decode_shard_record(message.payload().unwrap_or_default()).with_context(place)?;
        let append_time = Timestamp(message.timestamp().to_millis().unwrap_or_default());
        let effects = shard.apply_whole(&record, offset, append_time, &self.rules);
        self.setup.metrics.shard_record(record.partials.len());
        for effect in effects {
            self.setup.metrics.effect(&effect, clock::now());
            self.staged.records.push(encode::effect(effect, &self.setup.topics, &self.setup.output)?);
        }
        *self.staged.touched.entry(partition).or_default() += 1;
        self.staged.since.get_or_insert_with(clock::Stopwatch::start);
        Ok(())
    }

    fn commit(&mut self) -> Result<()> {
        if self.staged.touched.is_empty() {
            self.reload();
            return Ok(());
        }
        let started = clock::Stopwatch::start();
        let mut staged = std::mem::take(&mut self.staged);
        let mut offsets = Vec::new();
        for partition in staged.touched.keys() {
            let place = self.partition(*partition);
            let Some(shard) = self.shards.get_mut(partition) else { continue };
            offsets.push((place, shard.header().position));
            // Nothing is replayed yet on restore: every open part is written.
            shard.save_all();
            for change in shard.take_changes() {
                staged.records.push(encode::change(change, &self.setup.topics.watch_changelog, *partition));
            }
        }
        self.transactions += 1;
        commit::commit(&self.producer, self.consumer, &staged.records, &offsets, self.transactions).context("watch: commit")?;
        self.pace.committed(started.elapsed());
        self.setup.metrics.committed(ROLE, started.elapsed());
        self.report();
        self.reload();
        Ok(())
    }

    /// Rules change between two transactions.
    fn reload(&mut self) {
        self.rules = self.setup.watch_rules.load_full();
    }

    fn report(&self) {
        let series = self.shards.values().map(Shard::series_count).sum();
        let open = self.shards.values().map(Shard::open_alerts).sum();
        let watermark = self.shards.values().filter_map(|shard| shard.header().watermarks.watermark()).min();
        self.setup.metrics.shards(series, open, watermark, clock::now());
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
                    // Somebody else may own them by now: what is staged must not be committed, so everything starts anew.
                    self.consumer.unassign(&partitions)?;
                    bail!("lost {} shards to another member of the group", partitions.len());
                }
                // Answered in any case: an unanswered revoke would keep the consumer from ever closing.
                let committed = self.commit();
                self.consumer.unassign(&partitions)?;
                for partition in &partitions {
                    self.shards.remove(&partition.partition);
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
        let started = clock::Stopwatch::start();
        let mut starts = Vec::new();
        let reader = Reader::new(&self.setup.connection)?;
        for (partition, committed) in self.consumer.committed(partitions)? {
            let shard = self.restore(&reader, &partition, committed)?;
            starts.push((partition.clone(), shard.header().position));
            self.shards.insert(partition.partition, shard);
        }
        self.setup.metrics.restored(ROLE, started.elapsed());
        tracing::info!(shards = starts.len(), seconds = started.elapsed().as_secs_f64(), "shards restored");
        self.consumer.assign(&starts)
    }

    fn restore(&self, reader: &Reader, partition: &Partition, committed: Option<i64>) -> Result<Shard> {
        let topic = &self.setup.topics.watch_changelog;
        let live = reader.read(topic, partition.partition)?;
        let changes: Vec<(Vec<u8>, Vec<u8>)> = live.into_iter().collect();
        let place = || format!("cannot restore shard {} from '{topic}'", partition.partition);
        let mut restorer = Restorer::new(self.setup.shard_count);
        for (key, value) in &changes {
            restorer.put(key, Some(value)).with_context(place)?;
        }
        let shard = match restorer.changelog_read(&self.rules).with_context(place)? {
            Some(_) => Some(restorer.finish().with_context(place)?),
            None => None,
        };
        match (shard, committed) {
            (Some(shard), Some(committed)) if shard.header().position == committed => Ok(shard),
            (Some(shard), committed) if self.setup.delivery == super::Delivery::ExactlyOnce => bail!(Unrecoverable(format!(
                "state and committed offset of shard {} disagree: the changelog was written at offset {}, the group '{}-{ROLE}' stands at {}. \
                 Somebody reset the one without the other; set the group's offset of {}[{}] to {} to go on",
                partition.partition,
                shard.header().position,
                self.setup.connection.application_id,
                committed.map_or("nothing".to_string(), |offset| offset.to_string()),
                partition.topic,
                partition.partition,
                shard.header().position,
            ))),
            (Some(shard), _) => Ok(shard),
            (None, Some(committed)) if committed > 0 => bail!(Unrecoverable(format!(
                "the group '{}-{ROLE}' stands at offset {committed} of {}[{}], but its changelog '{topic}' is empty: the state is gone. \
                 Restore that topic, or delete the group's offset to rebuild the state from what the log still holds",
                self.setup.connection.application_id, partition.topic, partition.partition,
            ))),
            (None, _) => {
                let number = u32::try_from(partition.partition)?;
                let (low, _) = self.consumer.bounds(partition)?;
                Ok(Shard::starting_at(number, self.setup.shard_count, low, &self.rules))
            }
        }
    }

    fn partition(&self, partition: i32) -> Partition {
        Partition { topic: self.setup.topics.shard_log.clone(), partition }
    }
}
