//! Follows partitions outside of any group, committed records only, without hurry: for the local copy of the changelog.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

use super::batch::Batch;
use super::client::{Connection, Quiet};
use super::fetch::{Bell, Queue};
use super::link::Partition;

pub struct Tail {
    /// Before the client: a queue goes before it.
    queues: BTreeMap<Partition, Queue>,
    bell: Bell,
    consumer: BaseConsumer<Quiet>,
}

impl Tail {
    /// # Errors
    /// A property that librdkafka refuses.
    pub fn new(connection: &Connection) -> Result<Tail> {
        let mut config = connection.reader_config("copy");
        // Nobody waits for it: little memory, few requests, and no guess where to go on.
        config.set("auto.offset.reset", "error");
        config.set("enable.partition.eof", "true");
        config.set("fetch.wait.max.ms", "500");
        config.set("fetch.min.bytes", "65536");
        config.set("fetch.message.max.bytes", "1048576");
        config.set("queued.max.messages.kbytes", "1024");
        let consumer = config.create_with_context(Quiet::named("tail")).context("cannot create a Kafka reader")?;
        Ok(Tail { queues: BTreeMap::new(), bell: Bell::default(), consumer })
    }

    /// # Errors
    /// librdkafka refuses.
    pub fn follow(&mut self, partition: &Partition, from: i64) -> Result<()> {
        self.leave(partition)?;
        let queue = Queue::of_partition(self.consumer.client().native_ptr(), partition, &self.bell)?;
        self.queues.insert(partition.clone(), queue);
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&partition.topic, partition.partition, Offset::Offset(from))?;
        self.consumer.incremental_assign(&list).context("cannot follow a partition")
    }

    /// Without effect on a partition that is not followed.
    ///
    /// # Errors
    /// librdkafka refuses.
    pub fn leave(&mut self, partition: &Partition) -> Result<()> {
        if self.queues.remove(partition).is_none() {
            return Ok(());
        }
        let mut list = TopicPartitionList::new();
        list.add_partition(&partition.topic, partition.partition);
        self.consumer.incremental_unassign(&list).context("cannot stop following a partition")
    }

    /// Returns when something has arrived since the last call, at the latest after `most`.
    pub fn wait(&self, most: Duration) {
        self.bell.wait(most);
    }

    /// What has arrived. Never waits.
    ///
    /// # Errors
    /// The offset is not in the log any more, or the partition cannot be read.
    pub fn fetch(&self, partition: &Partition, most: usize) -> Result<Batch> {
        self.consumer.poll(Duration::ZERO);
        let Some(queue) = self.queues.get(partition) else { return Ok(Batch::empty(partition.clone())) };
        let (batch, errors) = queue.batch(partition, most);
        match errors.into_iter().find(|code| !super::read::is_passing(*code)) {
            Some(code) => Err(KafkaError::MessageConsumption(code)).context("cannot follow a partition"),
            None => Ok(batch),
        }
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.queues.clear();
    }
}
