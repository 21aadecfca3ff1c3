//! Reads single partitions outside of any group, to their end or between two offsets, committed records only: state, receipts, keys.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use super::batch::Batch;
use super::client::{Connection, Quiet};
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
    from: From,
    to: Until,
    /// Next offset and end, once the leader has said what there is.
    range: Option<(i64, i64)>,
    /// Absent until everything below the end is decided.
    queue: Option<Queue>,
    is_finished: bool,
    progressed: Stopwatch,
}

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
        let asking = uncommitted.create_with_context(Quiet::named("reader")).context(context)?;
        let reading = config.create_with_context(Quiet::named("reader")).context(context)?;
        Ok(Reader { open: None, bell: Bell::default(), asking, reading })
    }

    /// Begins with a partition.
    ///
    /// # Errors
    /// librdkafka refuses to leave the one before.
    pub fn open(&mut self, partition: &Partition, from: From, until: Until) -> Result<()> {
        self.close()?;
        let partition = partition.clone();
        self.open = Some(Open { partition, from, to: until, range: None, queue: None, is_finished: false, progressed: Stopwatch::start() });
        Ok(())
    }

    /// # Errors
    /// The partition cannot be read, makes no progress for 90 seconds, or lacks what is to be read.
    pub fn read(&mut self, most: usize) -> Result<Read> {
        let Some(open) = &self.open else { bail!("nothing is open to be read") };
        if open.is_finished {
            let end = open.range.map_or(0, |(next, _)| next);
            self.close()?;
            return Ok(Read::Finished { end });
        }
        let place = open.partition.clone();
        let step = match (open.range, open.queue.is_some()) {
            _ if open.progressed.elapsed() > STALLED => {
                Err(anyhow::anyhow!("no progress for {STALLED:?}: is the partition's leader up, is a transaction left open?"))
            }
            (None, _) => self.find_range(),
            (Some(_), false) => self.begin_when_decided(),
            (Some((next, until)), true) => self.fetch(most, next, until),
        };
        match step {
            // A leader that is away or has just moved: asked again.
            Err(error) if error.downcast_ref::<KafkaError>().and_then(KafkaError::rdkafka_error_code).is_some_and(is_passing) => {
                self.bell.wait(ASK_AGAIN);
                Ok(Read::Records(Batch::empty(place)))
            }
            step => step.with_context(|| format!("cannot read {}[{}]", place.topic, place.partition)),
        }
    }

    /// Next offset and end of what is being read, once they are known.
    pub fn range(&self) -> Option<(i64, i64)> {
        self.open.as_ref()?.range
    }

    fn find_range(&mut self) -> Result<Read> {
        let Some(open) = &mut self.open else { bail!("nothing is open to be read") };
        let (low, high) = self.asking.fetch_watermarks(&open.partition.topic, open.partition.partition, REQUEST_TIMEOUT)?;
        let next = match open.from {
            From::Beginning => low,
            From::Offset(offset) => offset,
        };
        let until = match open.to {
            Until::End => high,
            Until::Offset(offset) => offset,
        };
        if next < low && next < until {
            bail!("it begins at offset {low}, but has to be read from {next} on: records that were still needed are gone");
        }
        open.range = Some((next, until));
        open.is_finished = next >= until || low == high;
        Ok(Read::Records(Batch::empty(open.partition.clone())))
    }

    /// The end was asked for as `read_uncommitted` and is read up to as `read_committed`: the last stable offset may lie before records
    /// that are committed while we ask (KAFKA-10167), and stopping there would lose them. So everything below the end has to be decided
    /// before the first record is fetched; from then on the end of the partition means that all of it was read.
    fn begin_when_decided(&mut self) -> Result<Read> {
        let Some(open) = &mut self.open else { bail!("nothing is open to be read") };
        let Some((next, until)) = open.range else { bail!("nothing is known of what there is to read") };
        let nothing = Read::Records(Batch::empty(open.partition.clone()));
        if stable_end(&self.reading, &open.partition)? < until {
            self.bell.wait(ASK_AGAIN);
            return Ok(nothing);
        }
        open.queue = Some(Queue::of_partition(self.reading.client().native_ptr(), &open.partition, &self.bell)?);
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&open.partition.topic, open.partition.partition, Offset::Offset(next))?;
        self.reading.assign(&list)?;
        Ok(nothing)
    }

    fn fetch(&mut self, most: usize, next: i64, until: i64) -> Result<Read> {
        self.reading.poll(Duration::ZERO);
        let Some(open) = &mut self.open else { bail!("nothing is open to be read") };
        let Some(queue) = &open.queue else { bail!("nothing is fetched") };
        let (mut batch, errors) = queue.batch(&open.partition, most);
        if let Some(code) = errors.into_iter().find(|code| !is_passing(*code)) {
            return Err(KafkaError::MessageConsumption(code).into());
        }
        let next = batch.last_offset().map_or(next, |last| last.saturating_add(1));
        open.range = Some((next, until));
        open.is_finished = next >= until;
        if !batch.is_empty() {
            open.progressed = Stopwatch::start();
            batch.cut_at(until);
        }
        // The end is told once, also behind the last records of a batch.
        if batch.end && !open.is_finished {
            // The records before `until` may be markers of transactions, which are never handed out.
            if stable_end(&self.reading, &open.partition).is_ok_and(|stable| stable >= until) {
                open.range = Some((until, until));
                open.is_finished = true;
            } else {
                // A new leader that has not caught up with what the old one said: from here on again.
                open.queue = None;
                self.reading.unassign()?;
            }
        }
        if batch.is_empty() && !open.is_finished {
            self.bell.wait(PAUSE);
        }
        Ok(Read::Records(batch))
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
            | Code::TimedOutQueue
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::RequestTimedOut
    )
}
