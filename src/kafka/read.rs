//! Reads a compacted partition to its end: state, receipts, intake's keys.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};

use super::client::{Connection, ErrorLog};
use crate::clock::Stopwatch;

/// No progress for this long: the leader is away, or a transaction of another process is still open.
const STALLED: Duration = Duration::from_secs(90);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// Two clients that read one partition after the other: connecting costs more than most states are long.
pub struct Reader {
    asking: BaseConsumer<Quiet>,
    reading: BaseConsumer<Quiet>,
}

/// The end of a partition is reported as an error; it is what we wait for.
#[derive(Default)]
struct Quiet(ErrorLog);

impl ClientContext for Quiet {
    fn error(&self, error: KafkaError, reason: &str) {
        if !matches!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::PartitionEOF)) {
            self.0.report("reader", &error, reason);
        }
    }
}

impl ConsumerContext for Quiet {}

impl Reader {
    /// # Errors
    /// A property that librdkafka refuses.
    pub fn new(connection: &Connection) -> Result<Reader> {
        let mut config = connection.reader_config("state");
        config.set("enable.partition.eof", "true");
        let mut uncommitted = config.clone();
        uncommitted.set("isolation.level", "read_uncommitted");
        let context = "cannot create a Kafka reader";
        let asking = uncommitted.create_with_context(Quiet::default()).context(context)?;
        Ok(Reader { asking, reading: config.create_with_context(Quiet::default()).context(context)? })
    }

    /// The live keys of one partition, all transactions decided.
    ///
    /// The end is asked for as `read_uncommitted` and read up to as `read_committed`: the last stable offset may lie before records
    /// that were committed while we ask (KAFKA-10167), and stopping there would lose them.
    ///
    /// # Errors
    /// The partition cannot be read, or makes no progress for 90 seconds.
    pub fn read(&self, topic: &str, partition: i32) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        let place = || format!("cannot read {topic}[{partition}]");
        let (low, high) = self.asking.fetch_watermarks(topic, partition, REQUEST_TIMEOUT).with_context(place)?;
        if low == high {
            return Ok(BTreeMap::new());
        }
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Beginning)?;
        self.reading.assign(&list).with_context(place)?;
        let live = self.read_until(topic, partition, high).with_context(place);
        self.reading.unassign().with_context(place)?;
        live
    }

    fn read_until(&self, topic: &str, partition: i32, end: i64) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        let mut live = BTreeMap::new();
        let mut progressed = Stopwatch::start();
        loop {
            match self.reading.poll(Duration::from_millis(50)) {
                Some(Ok(message)) if message.partition() == partition && message.topic() == topic => {
                    progressed = Stopwatch::start();
                    let key = message.key().unwrap_or_default().to_vec();
                    match message.payload() {
                        Some(value) => live.insert(key, value.to_vec()),
                        None => live.remove(&key),
                    };
                    if message.offset() + 1 >= end {
                        return Ok(live);
                    }
                }
                // The end itself may be a transaction marker, which is never delivered.
                Some(Err(KafkaError::PartitionEOF(at))) if at == partition && self.stable_end(topic, partition)? >= end => return Ok(live),
                Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) | None => {}
                Some(Err(error)) => return Err(error.into()),
            }
            if progressed.elapsed() > STALLED {
                bail!("no progress for {STALLED:?} before offset {end}: is the partition's leader up, is a transaction left open?");
            }
        }
    }

    /// Everything below it is decided; a read_committed consumer at the end of the partition has seen all of that.
    fn stable_end(&self, topic: &str, partition: i32) -> Result<i64> {
        Ok(self.reading.fetch_watermarks(topic, partition, REQUEST_TIMEOUT)?.1)
    }
}
