//! Reads single partitions outside of any group, to their end or between two offsets, committed records only: state, receipts, keys.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use super::batch::Batch;
use super::client::{Connection, ErrorLog};
use super::fetch::{Bell, Queue};
use super::link::{From, Partition, Read, Until};
use crate::clock::Stopwatch;

/// No progress for this long: the leader is away, or a transaction of another process is still open.
const STALLED: Duration = Duration::from_secs(90);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// Nothing has arrived: look again after this at the latest.
const PAUSE: Duration = Duration::from_millis(5);
/// Transactions that are not decided yet are asked for this often.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// Two clients that read one partition after the other: connecting costs more than most states are long.
pub struct Reader {
    /// Before the clients: a queue goes before its client.
    open: Option<Open>,
    bell: Bell,
    /// Sees the end with all that is not decided yet.
    asking: BaseConsumer<Quiet>,
    reading: BaseConsumer<Quiet>,
}

/// A partition that is being read.
struct Open {
    partition: Partition,
    /// Absent until everything below `until` is decided.
    queue: Option<Queue>,
    next: i64,
    until: i64,
    is_finished: bool,
    progressed: Stopwatch,
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
        // The last record is nearly always a transaction's marker, so that only the answer to an empty fetch says that the end was read;
        // it is asked for once a partition, and somebody waits.
        config.set("fetch.wait.max.ms", "1");
        let mut uncommitted = config.clone();
        uncommitted.set("isolation.level", "read_uncommitted");
        let context = "cannot create a Kafka reader";
        let asking = uncommitted.create_with_context(Quiet::default()).context(context)?;
        let reading = config.create_with_context(Quiet::default()).context(context)?;
        Ok(Reader { open: None, bell: Bell::default(), asking, reading })
    }

    /// Begins with a partition.
    ///
    /// # Errors
    /// Its leader does not answer, or what is to be read is not in the log any more.
    pub fn open(&mut self, partition: &Partition, from: From, until: Until) -> Result<()> {
        self.close()?;
        let place = || format!("cannot read {}[{}]", partition.topic, partition.partition);
        let bounds = self.asking.fetch_watermarks(&partition.topic, partition.partition, REQUEST_TIMEOUT);
        let (low, high) = bounds.with_context(place)?;
        let next = match from {
            From::Beginning => low,
            From::Offset(offset) => offset,
        };
        let until = match until {
            Until::End => high,
            Until::Offset(offset) => offset,
        };
        if next < low && next < until {
            bail!(
                "{}[{}] begins at offset {low}, but has to be read from {next} on: records that were still needed are gone",
                partition.topic,
                partition.partition
            );
        }
        let is_finished = next >= until || low == high;
        let progressed = Stopwatch::start();
        self.open = Some(Open { partition: partition.clone(), queue: None, next, until, is_finished, progressed });
        Ok(())
    }

    /// # Errors
    /// The partition cannot be read, or makes no progress for 90 seconds.
    pub fn read(&mut self, most: usize) -> Result<Read> {
        let Some(open) = &mut self.open else { bail!("nothing is open to be read") };
        if open.is_finished {
            let end = open.next;
            self.close()?;
            return Ok(Read::Finished { end });
        }
        let place = open.partition.clone();
        let context = || format!("cannot read {}[{}]", place.topic, place.partition);
        if open.progressed.elapsed() > STALLED {
            let until = open.until;
            return Err(anyhow::anyhow!(
                "no progress for {STALLED:?} before offset {until}: is the partition's leader up, is a transaction left open?"
            ))
            .with_context(context);
        }
        let Some(queue) = &open.queue else {
            return self.begin_when_decided().with_context(context);
        };
        self.reading.poll(Duration::ZERO);
        let (mut batch, errors) = queue.batch(&place, most);
        if let Some(code) = errors.into_iter().find(|code| !is_passing(*code)) {
            return Err(KafkaError::MessageConsumption(code)).with_context(context);
        }
        if let Some(last) = batch.last_offset() {
            open.progressed = Stopwatch::start();
            open.next = last.saturating_add(1);
            open.is_finished = open.next >= open.until;
            batch.cut_at(open.until);
        }
        if batch.end && !open.is_finished {
            // The records before `until` may be markers of transactions, which are never handed out.
            let stable = stable_end(&self.reading, &place).with_context(context)?;
            if stable >= open.until {
                open.next = open.next.max(open.until);
                open.is_finished = true;
            } else {
                // A new leader that has not caught up with what the old one said: from here on again.
                open.queue = None;
                self.reading.unassign().with_context(context)?;
            }
        }
        if batch.is_empty() && !open.is_finished {
            self.bell.wait(PAUSE);
        }
        Ok(Read::Records(batch))
    }

    /// The end was asked for as `read_uncommitted` and is read up to as `read_committed`: the last stable offset may lie before records
    /// that are committed while we ask (KAFKA-10167), and stopping there would lose them. So everything below the end has to be decided
    /// before the first record is fetched; from then on the end of the partition means that all of it was read.
    fn begin_when_decided(&mut self) -> Result<Read> {
        let Some(open) = &mut self.open else { bail!("nothing is open to be read") };
        let nothing = Read::Records(Batch::empty(open.partition.clone()));
        if stable_end(&self.reading, &open.partition)? < open.until {
            self.bell.wait(ASK_AGAIN);
            return Ok(nothing);
        }
        open.queue = Some(Queue::of_partition(self.reading.client().native_ptr(), &open.partition, &self.bell)?);
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&open.partition.topic, open.partition.partition, Offset::Offset(open.next))?;
        self.reading.assign(&list)?;
        Ok(nothing)
    }

    /// # Errors
    /// librdkafka refuses.
    pub fn close(&mut self) -> Result<()> {
        if let Some(open) = self.open.take()
            && open.queue.is_some()
        {
            self.reading.unassign().context("cannot stop reading")?;
        }
        Ok(())
    }

    /// The live keys of one partition, all transactions decided.
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub fn live_keys(&mut self, topic: &str, partition: i32) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        let mut live = BTreeMap::new();
        self.open(&Partition { topic: topic.to_string(), partition }, From::Beginning, Until::End)?;
        while let Read::Records(batch) = self.read(10_000)? {
            for record in batch.iter() {
                let key = record.key.unwrap_or_default().to_vec();
                match record.value {
                    Some(value) => live.insert(key, value.to_vec()),
                    None => live.remove(&key),
                };
            }
        }
        Ok(live)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.open = None;
    }
}

/// Everything below it is decided.
fn stable_end(reading: &BaseConsumer<Quiet>, partition: &Partition) -> Result<i64> {
    Ok(reading.fetch_watermarks(&partition.topic, partition.partition, REQUEST_TIMEOUT)?.1)
}

pub(super) fn is_passing(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::OperationTimedOut
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::RequestTimedOut
    )
}
