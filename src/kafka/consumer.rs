//! A group member on one thread: rebalances arrive as values between polls, not as callbacks in the middle of work.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};

use super::client::ErrorLog;

/// Calls that ask the group coordinator or a leader wait this long.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Partition {
    pub topic: String,
    pub partition: i32,
}

/// What the group has decided. librdkafka waits for [`Consumer::assign`] or [`Consumer::unassign`] before it goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rebalance {
    Assign(Vec<Partition>),
    /// `lost`: another member may own them already; nothing may be committed for them.
    Revoke {
        partitions: Vec<Partition>,
        lost: bool,
    },
    Failed(String),
}

pub enum Polled<'a> {
    Message(BorrowedMessage<'a>),
    /// The partition has been read to its end; offset of the next record unknown (transaction markers may lie behind the last one).
    EndOfPartition(i32),
    Rebalance(Rebalance),
    Nothing,
}

pub struct Consumer {
    inner: BaseConsumer<Events>,
}

#[derive(Default)]
pub struct Events {
    queue: Mutex<VecDeque<Rebalance>>,
    /// Nobody polls any more: what the close takes away is given up at once, else it would wait for us for ever.
    closing: AtomicBool,
    errors: ErrorLog,
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.inner.context().closing.store(true, Ordering::SeqCst);
    }
}

impl Events {
    fn push(&self, event: Rebalance) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push_back(event);
    }

    fn pop(&self) -> Option<Rebalance> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

impl ClientContext for Events {
    fn error(&self, error: KafkaError, reason: &str) {
        // The end of a partition is news for the poll loop, not an error; it is reported here too.
        if matches!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::PartitionEOF)) {
            return;
        }
        self.errors.report("consumer", &error, reason);
    }
}

impl ConsumerContext for Events {
    /// Only notes the event: restoring state takes time, and start offsets are ours to choose. The owner of the consumer answers.
    fn rebalance(&self, consumer: &BaseConsumer<Self>, code: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        if self.closing.load(Ordering::SeqCst) {
            if let Err(error) = consumer.incremental_unassign(partitions) {
                tracing::debug!(%error, "giving up partitions while closing");
            }
            return;
        }
        self.push(match code {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Rebalance::Assign(names(partitions)),
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => {
                Rebalance::Revoke { partitions: names(partitions), lost: consumer.assignment_lost() }
            }
            other => Rebalance::Failed(RDKafkaErrorCode::from(other).to_string()),
        });
    }
}

fn names(list: &TopicPartitionList) -> Vec<Partition> {
    list.elements().iter().map(|element| Partition { topic: element.topic().to_string(), partition: element.partition() }).collect()
}

impl Consumer {
    /// # Errors
    /// A property that librdkafka refuses.
    pub fn subscribe(config: &ClientConfig, topics: &[&str]) -> Result<Consumer> {
        let inner: BaseConsumer<Events> = config.create_with_context(Events::default()).context("cannot create a Kafka consumer")?;
        inner.subscribe(topics).with_context(|| format!("cannot subscribe to {topics:?}"))?;
        Ok(Consumer { inner })
    }

    /// The next thing that happened, within `timeout`.
    ///
    /// # Errors
    /// What the consumer cannot go on from: a missing offset, authorisation, a fatal client error.
    pub fn poll(&self, timeout: Duration) -> Result<Polled<'_>> {
        if let Some(event) = self.inner.context().pop() {
            return Ok(Polled::Rebalance(event));
        }
        let polled = self.inner.poll(timeout);
        if let Some(event) = self.inner.context().pop() {
            // A message and a rebalance do not come out of the same poll: the callback runs instead of a message.
            return Ok(Polled::Rebalance(event));
        }
        match polled {
            None => Ok(Polled::Nothing),
            Some(Ok(message)) => Ok(Polled::Message(message)),
            Some(Err(KafkaError::PartitionEOF(partition))) => Ok(Polled::EndOfPartition(partition)),
            Some(Err(error)) => classify(error),
        }
    }

    /// Starts fetching the partitions at our own offsets, beside those already assigned.
    ///
    /// # Errors
    /// librdkafka refuses the list, or the group has moved on.
    pub fn assign(&self, starts: &[(Partition, i64)]) -> Result<()> {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in starts {
            list.add_partition_offset(&partition.topic, partition.partition, Offset::Offset(*offset))?;
        }
        self.inner.incremental_assign(&list).context("cannot take over assigned partitions")
    }

    /// # Errors
    /// librdkafka refuses the list.
    pub fn unassign(&self, partitions: &[Partition]) -> Result<()> {
        self.inner.incremental_unassign(&list_of(partitions)).context("cannot give up revoked partitions")
    }

    /// Committed offset of each partition; `None` where the group has none.
    ///
    /// # Errors
    /// The coordinator does not answer in time.
    pub fn committed(&self, partitions: &[Partition]) -> Result<Vec<(Partition, Option<i64>)>> {
        let answer = self.inner.committed_offsets(list_of(partitions), REQUEST_TIMEOUT).context("cannot read committed offsets")?;
        let mut offsets = Vec::new();
        for element in answer.elements() {
            element.error().with_context(|| format!("committed offset of {}[{}]", element.topic(), element.partition()))?;
            let offset = match element.offset() {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            };
            offsets.push((Partition { topic: element.topic().to_string(), partition: element.partition() }, offset));
        }
        Ok(offsets)
    }

    /// First and next offset of a partition, asked from its leader.
    ///
    /// # Errors
    /// The leader does not answer in time.
    pub fn bounds(&self, partition: &Partition) -> Result<(i64, i64)> {
        let context = || format!("cannot ask for the offsets of {}[{}]", partition.topic, partition.partition);
        self.inner.fetch_watermarks(&partition.topic, partition.partition, REQUEST_TIMEOUT).with_context(context)
    }

    /// # Errors
    /// The cluster does not answer in time, or has no such topic.
    pub fn partition_count(&self, topic: &str) -> Result<i32> {
        let metadata = self.inner.fetch_metadata(Some(topic), REQUEST_TIMEOUT).context("cannot read topic metadata")?;
        let count = metadata.topics().iter().find(|found| found.name() == topic).map_or(0, |found| found.partitions().len());
        if count == 0 {
            bail!("topic '{topic}' does not exist; `tollgate topics create` creates all topics");
        }
        Ok(i32::try_from(count)?)
    }

    /// Stops delivery of one partition and goes back to `offset`, so that the record there is read again after [`Consumer::resume`].
    ///
    /// # Errors
    /// The partition is not assigned any more.
    pub fn hold_at(&self, partition: &Partition, offset: i64) -> Result<()> {
        self.inner.pause(&list_of(std::slice::from_ref(partition)))?;
        self.inner.seek(&partition.topic, partition.partition, Offset::Offset(offset), REQUEST_TIMEOUT)?;
        Ok(())
    }

    /// # Errors
    /// The partition is not assigned any more.
    pub fn resume(&self, partition: &Partition) -> Result<()> {
        Ok(self.inner.resume(&list_of(std::slice::from_ref(partition)))?)
    }

    /// At-least-once only: commits offsets on their own.
    ///
    /// # Errors
    /// The coordinator refuses or does not answer.
    pub fn commit_offsets(&self, offsets: &[(Partition, i64)]) -> Result<()> {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in offsets {
            list.add_partition_offset(&partition.topic, partition.partition, Offset::Offset(*offset))?;
        }
        self.inner.commit(&list, rdkafka::consumer::CommitMode::Sync).context("cannot commit offsets")
    }

    pub(super) fn native(&self) -> *mut rdkafka::bindings::rd_kafka_t {
        self.inner.client().native_ptr()
    }
}

fn list_of(partitions: &[Partition]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        list.add_partition(&partition.topic, partition.partition);
    }
    list
}

/// Most consumer errors are transport noise that librdkafka retries by itself; these it does not.
fn classify<'a>(error: KafkaError) -> Result<Polled<'a>> {
    use RDKafkaErrorCode as Code;
    match error.rdkafka_error_code() {
        Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => bail!(
            "{error}: an offset that we were at is no longer in the log. Retention has removed records that were not read yet; \
             decide from where to go on, it is not skipped silently"
        ),
        Some(
            Code::Fatal
            | Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::UnknownTopicOrPartition
            | Code::UnknownTopic
            | Code::FencedInstanceId
            | Code::PollExceeded,
        ) => Err(anyhow::Error::new(error).context("the Kafka consumer cannot go on")),
        _ => {
            tracing::warn!(%error, "kafka consumer");
            Ok(Polled::Nothing)
        }
    }
}
