//! [`Link`] on real brokers: a group member, its producer and a reader of state, for one worker thread.

use std::time::Duration;

use anyhow::Result;
use rdkafka::config::ClientConfig;

use super::batch::Batch;
use super::client::Connection;
use super::consumer::Consumer;
use super::link::{Committed, From, Link, OutRecord, Partition, ProduceError, Read, Rebalance, Until};
use super::producer::{GroupMetadata, Producer};
use super::read::Reader;
use crate::clock::{self, Stopwatch};
use crate::model::time::Timestamp;

/// For fencing what stood open under our transactional id; the broker's transaction timeout bounds it.
const INIT_TIMEOUT: Duration = Duration::from_secs(30);

pub struct Session {
    reader: Option<Reader>,
    /// `None` only while it is being replaced: two under one transactional id would fence each other.
    producer: Option<Producer>,
    consumer: Consumer,
    connection: Connection,
    producing: ClientConfig,
    started: Stopwatch,
}

impl Session {
    /// Joins the group `<application id>-<role>`, which reads `topic`. Without a transactional id: the demo's at-least-once.
    ///
    /// # Errors
    /// No broker, no such topic, a refused property, no authorisation.
    pub fn join(connection: &Connection, role: &str, thread: usize, topic: &str, transactional: bool) -> Result<Session> {
        let id = transactional.then(|| connection.transactional_id(role, thread));
        let producing = connection.producer_config(role, id.as_deref());
        let producer = Some(Producer::start(&producing, INIT_TIMEOUT)?);
        let consumer = Consumer::subscribe(&connection.member_config(role, thread), &[topic])?;
        Ok(Session { reader: None, producer, consumer, connection: connection.clone(), producing, started: Stopwatch::start() })
    }

    /// # Errors
    /// The cluster does not answer in time, or has no such topic.
    pub fn partition_count(&self, topic: &str) -> Result<i32> {
        self.consumer.partition_count(topic)
    }

    fn producer(&self) -> Result<&Producer, ProduceError> {
        let gone =
            || ProduceError::Rebuild { step: "use producer", reason: "there is none, the last one could not be replaced".to_string() };
        self.producer.as_ref().ok_or_else(gone)
    }
}

impl Link for Session {
    fn now(&self) -> Timestamp {
        clock::now()
    }

    fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    fn event(&mut self) -> Result<Option<Rebalance>> {
        self.producer.iter().for_each(Producer::hear);
        self.consumer.event()
    }

    fn wait(&mut self, most: Duration) {
        self.consumer.wait(most);
    }

    fn fetch(&mut self, partition: &Partition, most: usize) -> Result<Batch> {
        self.consumer.fetch(partition, most)
    }

    fn end_seen(&self, partition: &Partition) -> Option<i64> {
        self.consumer.end_seen(partition)
    }

    fn assign(&mut self, starts: &[(Partition, i64)]) -> Result<()> {
        self.consumer.assign(starts)
    }

    fn unassign(&mut self, partitions: &[Partition]) -> Result<()> {
        self.consumer.unassign(partitions)
    }

    fn committed(&mut self, partitions: &[Partition]) -> Result<Option<Vec<Option<Committed>>>> {
        self.consumer.committed(partitions)
    }

    fn bounds(&mut self, partitions: &[Partition]) -> Result<Vec<Option<(i64, i64)>>> {
        self.consumer.bounds(partitions)
    }

    fn open(&mut self, partition: &Partition, from: From, until: Until) -> Result<()> {
        let reader = match self.reader.take() {
            Some(reader) => reader,
            None => Reader::new(&self.connection)?,
        };
        self.reader.insert(reader).open(partition, from, until)
    }

    fn read(&mut self, most: usize) -> Result<Read> {
        match &mut self.reader {
            Some(reader) => reader.read(most),
            None => anyhow::bail!("nothing is open to be read"),
        }
    }

    fn reading(&self) -> Option<(i64, i64)> {
        self.reader.as_ref()?.range()
    }

    fn close(&mut self) -> Result<()> {
        self.reader.as_mut().map_or(Ok(()), Reader::close)
    }

    fn is_transactional(&self) -> bool {
        self.producer.as_ref().is_none_or(Producer::is_transactional)
    }

    fn begin(&mut self) -> Result<(), ProduceError> {
        self.producer()?.begin()
    }

    fn send(&mut self, record: &OutRecord) -> Result<(), ProduceError> {
        self.producer()?.send(record)
    }

    fn drain(&mut self) -> Result<(), ProduceError> {
        self.producer()?.drain()
    }

    fn send_offsets(&mut self, offsets: &[(Partition, i64)], metadata: &str) -> Result<(), ProduceError> {
        let group = GroupMetadata::of(&self.consumer);
        if !group.is_live_member() {
            let reason = "this consumer is no longer a member of its group; committing would not be fenced".to_string();
            return Err(ProduceError::Abort { step: "check membership", reason });
        }
        self.producer()?.send_offsets(offsets, metadata, group)
    }

    fn commit(&mut self) -> Result<(), ProduceError> {
        self.producer()?.commit()
    }

    fn abort(&mut self) -> Result<(), ProduceError> {
        self.producer()?.abort()
    }

    fn commit_offsets(&mut self, offsets: &[(Partition, i64)]) -> Result<(), ProduceError> {
        let rebuild = |error: anyhow::Error| ProduceError::Rebuild { step: "commit offsets", reason: format!("{error:#}") };
        self.consumer.commit_offsets(offsets).map_err(rebuild)
    }

    fn is_tainted(&self) -> bool {
        self.producer.as_ref().is_none_or(Producer::is_tainted)
    }

    fn rebuild(&mut self) -> Result<(), ProduceError> {
        self.producer = None;
        self.producer = Some(Producer::start(&self.producing, INIT_TIMEOUT)?);
        Ok(())
    }
}
