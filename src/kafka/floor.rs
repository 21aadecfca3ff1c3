//! What `tollgate bench` needs of a broker: a topic full of events, and the floor, the least that reading it can cost: librdkafka's own
//! batches, every record touched once, nothing done with it.
#![expect(unsafe_code, reason = "librdkafka's batch calls have no safe form in the client library")]

use std::collections::BTreeMap;
use std::ffi::CString;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::bindings as sys;
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};

use super::client::Connection;
use crate::clock::Stopwatch;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// Records of one call, as many as intake takes.
const BATCH: usize = 1_000;
/// Nothing came for so long: the broker is gone.
const PATIENCE: Duration = Duration::from_secs(30);

/// First and next offset of each partition of a topic.
///
/// # Errors
/// No broker answers, or it does not have the topic.
pub fn bounds(connection: &Connection, topic: &str) -> Result<BTreeMap<i32, (i64, i64)>> {
    let client = client(connection, "bench-bounds")?;
    let metadata = client.fetch_metadata(Some(topic), REQUEST_TIMEOUT).context("cannot read topic metadata")?;
    let mut bounds = BTreeMap::new();
    for partition in metadata.topics().iter().filter(|found| found.name() == topic).flat_map(|found| found.partitions()) {
        bounds.insert(partition.id(), bounds_of(&client, topic, partition.id())?);
    }
    ensure!(!bounds.is_empty(), "topic '{topic}' does not exist");
    Ok(bounds)
}

/// A new partition has no leader yet, and is asked again.
fn bounds_of(client: &BaseConsumer, topic: &str, partition: i32) -> Result<(i64, i64)> {
    let started = Stopwatch::start();
    loop {
        match client.fetch_watermarks(topic, partition, REQUEST_TIMEOUT) {
            Ok(bounds) => return Ok(bounds),
            Err(error) if started.elapsed() < REQUEST_TIMEOUT => {
                tracing::debug!(%error, topic, partition, "asking again");
                std::thread::sleep(Duration::from_millis(100));
            }
            Err(error) => return Err(error).with_context(|| format!("cannot ask for the offsets of {topic}[{partition}]")),
        }
    }
}

fn client(connection: &Connection, role: &str) -> Result<BaseConsumer> {
    connection.consumer_config(role).create().context("cannot create a Kafka consumer")
}

/// Offsets that a group has committed; partitions without one are left out.
///
/// # Errors
/// The coordinator does not answer in time.
pub fn committed(connection: &Connection, role: &str, topic: &str, partitions: &[i32]) -> Result<BTreeMap<i32, i64>> {
    let client = client(connection, role)?;
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition(topic, *partition);
    }
    let answer = client.committed_offsets(list, REQUEST_TIMEOUT).context("cannot read committed offsets")?;
    let offset = |offset| if let Offset::Offset(offset) = offset { Some(offset) } else { None };
    let offsets = answer.elements().iter().filter_map(|element| Some((element.partition(), offset(element.offset())?))).collect();
    // librdkafka does not let a client go while lists that it gave out are alive.
    drop(answer);
    Ok(offsets)
}

/// Writes so many records; `write` fills in the value of each and names its partition.
///
/// # Errors
/// A record that could not be delivered.
pub fn fill(connection: &Connection, topic: &str, count: u64, mut write: impl FnMut(u64, &mut Vec<u8>) -> i32) -> Result<()> {
    let mut config = connection.producer_config("bench-fill", None);
    config.set("linger.ms", "50").set("compression.type", "lz4").set("batch.num.messages", "10000");
    let producer: BaseProducer = config.create().context("cannot create a Kafka producer")?;
    let mut value = Vec::new();
    for number in 0..count {
        let partition = write(number, &mut value);
        let key = number.to_be_bytes();
        let mut record = BaseRecord::to(topic).partition(partition).key(&key[..]).payload(&value);
        while let Err((error, unsent)) = producer.send(record) {
            let KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) = error else { bail!("cannot write to '{topic}': {error}") };
            producer.poll(Duration::from_millis(5));
            record = unsent;
        }
        if number % 4_096 == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    let started = Stopwatch::start();
    while producer.in_flight_count() > 0 {
        producer.poll(Duration::from_millis(10));
        ensure!(started.elapsed() < PATIENCE, "the broker does not take what is written to '{topic}'");
    }
    Ok(())
}

/// # Errors
/// No broker answers, or it refuses.
pub async fn delete(connection: &Connection, topics: &[&str]) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> = connection.admin_config().create().context("cannot create a Kafka admin client")?;
    let options = AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT)).operation_timeout(Some(REQUEST_TIMEOUT));
    for result in admin.delete_topics(topics, &options).await.context("cannot delete topics")? {
        if let Err((topic, code)) = result {
            bail!("the broker refuses to delete topic '{topic}': {code}");
        }
    }
    Ok(())
}

/// What was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Read {
    pub records: u64,
    pub bytes: u64,
}

/// Reads every record below the ends that the partitions have now, and does nothing with it.
///
/// # Errors
/// The broker stops answering, or an offset is out of range.
pub fn read_all(connection: &Connection, topic: &str, bounds: &BTreeMap<i32, (i64, i64)>) -> Result<Read> {
    let consumer = client(connection, "bench-floor")?;
    let mut list = TopicPartitionList::new();
    for (partition, (low, _)) in bounds {
        list.add_partition_offset(topic, *partition, Offset::Offset(*low))?;
    }
    consumer.assign(&list).context("cannot take over the partitions")?;
    drop(list);
    let mut left: BTreeMap<i32, i64> =
        bounds.iter().filter(|(_, (low, high))| low < high).map(|(partition, (_, high))| (*partition, *high)).collect();
    let queue = Queue::of_partitions(&consumer, topic, bounds.keys().copied())?;
    let (mut read, mut quiet) = (Read::default(), Stopwatch::start());
    while !left.is_empty() {
        if queue.batch(&mut read, &mut left)? > 0 {
            quiet = Stopwatch::start();
        }
        // Serves the client's own events; records come through our queue only.
        if let Some(Err(error)) = consumer.poll(Duration::ZERO) {
            tracing::debug!(%error, "floor");
        }
        ensure!(quiet.elapsed() < PATIENCE, "nothing has come from '{topic}' for {PATIENCE:?}");
    }
    Ok(read)
}

/// A queue of our own that the queues of all partitions lead to.
struct Queue {
    queue: *mut sys::rd_kafka_queue_t,
    partitions: Vec<*mut sys::rd_kafka_queue_t>,
}

impl Queue {
    fn of_partitions(consumer: &BaseConsumer, topic: &str, partitions: impl Iterator<Item = i32>) -> Result<Queue> {
        let (client, topic) = (consumer.client().native_ptr(), CString::new(topic)?);
        // SAFETY: the client is alive; the queue is ours until `drop`.
        let mut own = Queue { queue: unsafe { sys::rd_kafka_queue_new(client) }, partitions: Vec::new() };
        for partition in partitions {
            // SAFETY: the client is alive and the name ends with a zero; the reference is ours until `drop`.
            let queue = unsafe { sys::rd_kafka_queue_get_partition(client, topic.as_ptr(), partition) };
            ensure!(!queue.is_null(), "partition {partition} has no queue");
            // SAFETY: both queues are alive.
            unsafe { sys::rd_kafka_queue_forward(queue, own.queue) };
            own.partitions.push(queue);
        }
        Ok(own)
    }

    /// One call's records; takes partitions that are read to their end out of `left`.
    fn batch(&self, read: &mut Read, left: &mut BTreeMap<i32, i64>) -> Result<usize> {
        let mut messages = [std::ptr::null_mut::<sys::rd_kafka_message_t>(); BATCH];
        // SAFETY: the queue is alive, and there is room for as many pointers as we say.
        let count = unsafe { sys::rd_kafka_consume_batch_queue(self.queue, 100, messages.as_mut_ptr(), BATCH) };
        let count = usize::try_from(count).context("cannot read a batch")?;
        let mut failed = None;
        for message in messages.iter().take(count) {
            // SAFETY: librdkafka has filled in so many pointers, each to a message that is ours until it is destroyed.
            let (error, partition, offset, length) =
                unsafe { ((**message).err, (**message).partition, (**message).offset, (**message).len) };
            // SAFETY: destroyed once, and not looked at again.
            unsafe { sys::rd_kafka_message_destroy(*message) };
            let code = RDKafkaErrorCode::from(error);
            match code {
                RDKafkaErrorCode::NoError => {
                    read.records += 1;
                    read.bytes += length as u64;
                    if left.get(&partition).is_some_and(|end| offset + 1 >= *end) {
                        left.remove(&partition);
                    }
                }
                // Where markers of transactions lie behind the last record, only this tells.
                RDKafkaErrorCode::PartitionEOF => drop(left.remove(&partition)),
                code => failed = Some(code),
            }
        }
        match failed {
            Some(code @ (RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange)) => bail!("cannot read on: {code}"),
            _ => Ok(count),
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        for queue in self.partitions.drain(..).chain([self.queue]) {
            // SAFETY: each reference is ours and given back once; the client outlives us.
            unsafe { sys::rd_kafka_queue_destroy(queue) };
        }
    }
}
