//! Reads a compacted partition to its end: state, receipts, intake's keys.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};

use super::client::Connection;
use crate::clock::Stopwatch;

/// No progress for this long: the leader is away, or a transaction of another process is still open.
const STALLED: Duration = Duration::from_secs(90);

/// The live keys of one partition, all transactions decided.
///
/// The end is asked for as `read_uncommitted` and read up to as `read_committed`: the last stable offset may lie before records that
/// were committed while we ask (KAFKA-10167), and stopping there would lose them.
///
/// # Errors
/// The partition cannot be read, or makes no progress for 90 seconds.
pub fn read_compacted(connection: &Connection, topic: &str, partition: i32) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let place = || format!("cannot read {topic}[{partition}]");
    let mut config = connection.reader_config("state");
    let end = {
        let mut uncommitted = config.clone();
        uncommitted.set("isolation.level", "read_uncommitted");
        let asking: BaseConsumer = uncommitted.create().with_context(place)?;
        let (low, high) = asking.fetch_watermarks(topic, partition, Duration::from_secs(20)).with_context(place)?;
        if low == high {
            return Ok(BTreeMap::new());
        }
        high
    };
    config.set("enable.partition.eof", "true");
    let reader: BaseConsumer = config.create().with_context(place)?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Beginning)?;
    reader.assign(&list).with_context(place)?;
    read_until(&reader, topic, partition, end).with_context(place)
}

fn read_until(reader: &BaseConsumer, topic: &str, partition: i32, end: i64) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut live = BTreeMap::new();
    let mut progressed = Stopwatch::start();
    loop {
        match reader.poll(Duration::from_millis(50)) {
            Some(Ok(message)) => {
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
            Some(Err(KafkaError::PartitionEOF(_))) if stable_end(reader, topic, partition)? >= end => return Ok(live),
            Some(Err(KafkaError::PartitionEOF(_))) | None => {}
            Some(Err(error)) => return Err(error.into()),
        }
        if progressed.elapsed() > STALLED {
            bail!("no progress for {STALLED:?} before offset {end}: is the partition's leader up, is a transaction left open?");
        }
    }
}

/// Everything below it is decided; a read_committed consumer at the end of the partition has seen all of that.
fn stable_end(reader: &BaseConsumer, topic: &str, partition: i32) -> Result<i64> {
    Ok(reader.fetch_watermarks(topic, partition, Duration::from_secs(20))?.1)
}
