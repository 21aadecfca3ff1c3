//! Reading ranges of a topic once, outside of any group: what commands look at, and where offsets lie.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{Offset, TopicPartitionList};

use super::client::{Connection, ErrorLog};
use super::consumer::Partition;
use crate::clock::Stopwatch;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// No record for this long: the partition cannot be read. Longer than a transaction may stay open before the broker aborts it.
const STALLED: Duration = Duration::from_secs(90);

/// Reads committed records, and asks for offsets both ways.
pub struct Scanner {
    asking: BaseConsumer<Quiet>,
    reading: BaseConsumer<Quiet>,
}

/// Offsets of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The first that is still in the log.
    pub low: i64,
    /// Behind the last one whose transaction is decided: what a read_committed reader can reach.
    pub stable: i64,
    /// Behind the last one.
    pub high: i64,
}

/// The end of a partition is reported as an error; it is what we wait for.
#[derive(Default)]
struct Quiet(ErrorLog);

impl ClientContext for Quiet {
    fn error(&self, error: KafkaError, reason: &str) {
        if !matches!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::PartitionEOF)) {
            self.0.report("scanner", &error, reason);
        }
    }
}

impl ConsumerContext for Quiet {}

impl Scanner {
    /// # Errors
    /// A property that librdkafka refuses.
    pub fn new(connection: &Connection) -> Result<Scanner> {
        let mut config = connection.reader_config("scan");
        config.remove("group.instance.id");
        config.set("enable.partition.eof", "true");
        let mut uncommitted = config.clone();
        uncommitted.set("isolation.level", "read_uncommitted");
        let context = "cannot create a Kafka reader";
        let asking = uncommitted.create_with_context(Quiet::default()).context(context)?;
        Ok(Scanner { asking, reading: config.create_with_context(Quiet::default()).context(context)? })
    }

    /// # Errors
    /// The partition's leader does not answer in time.
    pub fn bounds(&self, partition: &Partition) -> Result<Bounds> {
        let place = || format!("cannot ask for the offsets of {}[{}]", partition.topic, partition.partition);
        let ask = |consumer: &BaseConsumer<Quiet>| consumer.fetch_watermarks(&partition.topic, partition.partition, REQUEST_TIMEOUT);
        let (low, high) = ask(&self.asking).with_context(place)?;
        let (_, stable) = ask(&self.reading).with_context(place)?;
        Ok(Bounds { low, stable, high: high.max(stable) })
    }

    /// The first offset whose record is stamped at `time_ms` or later; `None`: there is none yet.
    ///
    /// # Errors
    /// A leader does not answer in time.
    pub fn offsets_at(&self, partitions: &[Partition], time_ms: i64) -> Result<Vec<Option<i64>>> {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            list.add_partition_offset(&partition.topic, partition.partition, Offset::Offset(time_ms))?;
        }
        let answer = self.asking.offsets_for_times(list, REQUEST_TIMEOUT).context("cannot ask for offsets by time")?;
        let mut offsets = Vec::new();
        for partition in partitions {
            let element = answer.find_partition(&partition.topic, partition.partition).context("an offset was not answered")?;
            element.error().with_context(|| format!("offset by time of {}[{}]", partition.topic, partition.partition))?;
            offsets.push(match element.offset() {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            });
        }
        Ok(offsets)
    }

    /// Hands over every committed record of one partition from `from` on, up to `end` (a `high` that was asked for before), in order;
    /// until the caller has enough and answers false.
    ///
    /// # Errors
    /// The partition cannot be read, makes no progress for 90 seconds, or the caller fails.
    pub fn scan(
        &self,
        partition: &Partition,
        from: i64,
        end: i64,
        mut each: impl FnMut(&BorrowedMessage<'_>) -> Result<bool>,
    ) -> Result<()> {
        if from >= end {
            return Ok(());
        }
        let place = || format!("cannot read {}[{}]", partition.topic, partition.partition);
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&partition.topic, partition.partition, Offset::Offset(from))?;
        self.reading.assign(&list).with_context(place)?;
        let read = self.read_until(partition, end, &mut each);
        self.reading.unassign().with_context(place)?;
        read.with_context(place)
    }

    fn read_until(&self, partition: &Partition, end: i64, each: &mut impl FnMut(&BorrowedMessage<'_>) -> Result<bool>) -> Result<()> {
        let mut progressed = Stopwatch::start();
        loop {
            match self.reading.poll(Duration::from_millis(50)) {
                Some(Ok(message)) if message.partition() == partition.partition && message.topic() == partition.topic => {
                    progressed = Stopwatch::start();
                    let next = message.offset() + 1;
                    if next > end || !each(&message)? || next >= end {
                        return Ok(());
                    }
                }
                // The end itself may be a transaction marker, which is never delivered.
                Some(Err(KafkaError::PartitionEOF(at))) if at == partition.partition && self.bounds(partition)?.stable >= end => {
                    return Ok(());
                }
                Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) | None => {}
                Some(Err(error)) => return Err(error.into()),
            }
            if progressed.elapsed() > STALLED {
                bail!("no progress for {STALLED:?} before offset {end}: is the partition's leader up, is a transaction left open?");
            }
        }
    }
}
