//! Reading ranges of a topic once, outside of any group: what commands look at, and where offsets lie.

use std::cell::RefCell;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};

use super::client::{Connection, Quiet};
use super::link::{From, Partition, Read, Record, Until};
use super::read::Reader;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const BATCH: usize = 1_000;

/// Reads committed records, and asks for offsets both ways.
pub struct Scanner {
    asking: BaseConsumer<Quiet>,
    reading: BaseConsumer<Quiet>,
    reader: RefCell<Reader>,
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

impl Scanner {
    /// # Errors
    /// A property that librdkafka refuses.
    pub fn new(connection: &Connection) -> Result<Scanner> {
        let config = connection.reader_config("scan");
        let mut uncommitted = config.clone();
        uncommitted.set("isolation.level", "read_uncommitted");
        let context = "cannot create a Kafka reader";
        let asking = uncommitted.create_with_context(Quiet::named("scanner")).context(context)?;
        let reading = config.create_with_context(Quiet::named("scanner")).context(context)?;
        Ok(Scanner { asking, reading, reader: RefCell::new(Reader::new(connection)?) })
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
    pub fn scan(&self, partition: &Partition, from: i64, end: i64, mut each: impl FnMut(&Record<'_>) -> Result<bool>) -> Result<()> {
        let mut reader = self.reader.borrow_mut();
        reader.open(partition, From::Offset(from), Until::Offset(end))?;
        while let Read::Records(batch) = reader.read(BATCH)? {
            for record in batch.iter() {
                if !each(&record)? {
                    return reader.close();
                }
            }
        }
        Ok(())
    }
}
