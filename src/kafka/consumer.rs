//! A group member on one thread: rebalances arrive as values between polls, not as callbacks in the middle of work.
#![expect(unsafe_code, reason = "rust-rdkafka has no name for the offsets that the last fetch told")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::CString;
use std::iter;
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rdkafka::bindings as sys;
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::metadata::MetadataTopic;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};

use super::access::{self, Operation, Resource, Right};
use super::batch::Batch;
use super::client::{ErrorLog, is_passing};
use super::fetch::{Bell, Queue};
use super::link::{Committed, Partition, Rebalance};
use super::topics::partition_count;
use super::within::within;
use crate::clock::Stopwatch;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// Asking for offsets holds up the other partitions of the thread, and is repeated.
const OFFSETS_TIMEOUT: Duration = Duration::from_secs(2);
/// Who has asked to be let in waits for so long before it goes again: a member without a name that goes earlier cannot say so, as it does not
/// know yet what the group calls it, and the group waits for it until its session is over.
pub(super) const GOODBYE: Duration = Duration::from_secs(5);
/// The client library waits without bound for its own thread to take in what we answer the group, and that thread has been seen not to, after
/// another process had taken the member's name. It takes microseconds otherwise.
const MOST_TO_ANSWER: Duration = Duration::from_secs(20);
/// Saying goodbye takes a request to the coordinator at most. Who cannot, is thrown out when its session is over.
const MOST_TO_CLOSE: Duration = Duration::from_secs(20);

pub struct Consumer {
    /// Before `inner`: queues go before their client does.
    queues: BTreeMap<Partition, Queue>,
    /// Where fetching began.
    starts: BTreeMap<Partition, i64>,
    group: Option<Queue>,
    /// Handed out by [`Consumer::event`], not answered by [`Consumer::assign`] or [`Consumer::unassign`] yet.
    unanswered: Option<Rebalance>,
    bell: Bell,
    /// A static member: it does not say goodbye, and whoever comes back under its name takes its place.
    has_name: bool,
    /// The topic that it reads, and the group that it is in.
    reads: [Right; 2],
    /// Shared with the threads of [`within`]; taken out and closed in `drop`.
    inner: ManuallyDrop<Arc<BaseConsumer<Events>>>,
}

#[derive(Default)]
pub struct Events {
    queue: Mutex<VecDeque<Rebalance>>,
    was_let_in: AtomicBool,
    /// Nobody polls any more: what the close takes away is given up at once, else it would wait for us for ever.
    closing: AtomicBool,
    errors: ErrorLog,
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.group = None;
        self.queues.clear();
        self.wait_to_be_let_in();
        self.inner.context().closing.store(true, Ordering::SeqCst);
        // What the group has decided and nobody has answered would keep the close waiting for ever.
        let unanswered: Vec<Rebalance> = iter::from_fn(|| self.inner.context().pop()).chain(self.unanswered.take()).collect();
        // SAFETY: taken once, and not used again: the other fields do not know it.
        let inner = unsafe { ManuallyDrop::take(&mut self.inner) };
        if Arc::strong_count(&inner) > 1 {
            tracing::warn!(
                "the Kafka client still has not answered, and is left behind without a goodbye: its place is free once its session is over"
            );
        }
        let closed = within("close consumer", MOST_TO_CLOSE, move || {
            for event in unanswered {
                answer(&inner, &event);
            }
            drop(inner);
        });
        if closed.is_none() {
            tracing::warn!("the Kafka client did not close within {} s, and is left behind", MOST_TO_CLOSE.as_secs());
        }
    }
}

/// Answers the group for one that is closing: what it takes away is given up, what it gives is taken, and given up with the rest.
fn answer(consumer: &BaseConsumer<Events>, event: &Rebalance) {
    let answered = match event {
        _ if is_fatal(consumer) => Ok(()),
        Rebalance::Assign(partitions) => consumer.incremental_assign(&list_of(partitions)),
        Rebalance::Revoke { partitions, .. } => consumer.incremental_unassign(&list_of(partitions)),
        Rebalance::Failed(_) => Ok(()),
    };
    if let Err(error) = answered {
        tracing::debug!(%error, "answering the group while closing");
    }
}

/// After a fatal error, that another process has taken its name say, the client has let go of everything by itself, and would never answer who
/// gives it up once more.
fn is_fatal(consumer: &BaseConsumer<Events>) -> bool {
    consumer.client().fatal_error().is_some()
}

impl Events {
    fn push(&self, event: Rebalance) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push_back(event);
    }

    fn is_empty(&self) -> bool {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn pop(&self) -> Option<Rebalance> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

impl ClientContext for Events {
    fn error(&self, error: KafkaError, reason: &str) {
        self.errors.report("consumer", &error, reason);
    }
}

impl ConsumerContext for Events {
    /// Only notes the event: restoring state takes time, and start offsets are ours to choose. The owner of the consumer answers.
    fn rebalance(&self, consumer: &BaseConsumer<Self>, code: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        if self.closing.load(Ordering::SeqCst) {
            return answer(consumer, &event_of(consumer, code, partitions));
        }
        if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.was_let_in.store(true, Ordering::SeqCst);
        }
        self.push(event_of(consumer, code, partitions));
    }
}

fn event_of(consumer: &BaseConsumer<Events>, code: RDKafkaRespErr, partitions: &TopicPartitionList) -> Rebalance {
    match code {
        RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Rebalance::Assign(names(partitions)),
        RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => {
            Rebalance::Revoke { partitions: names(partitions), lost: consumer.assignment_lost() }
        }
        other => Rebalance::Failed(RDKafkaErrorCode::from(other).to_string()),
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
        let bell = Bell::default();
        let group = Queue::of_group(inner.client().native_ptr(), &bell)?;
        let has_name = config.get("group.instance.id").is_some();
        let read = |resource| Right { operation: Operation::Read, resource };
        let reads =
            [read(Resource::Topic(topics.join(", "))), read(Resource::Group(config.get("group.id").unwrap_or_default().to_string()))];
        Ok(Consumer {
            queues: BTreeMap::new(),
            starts: BTreeMap::new(),
            group: Some(group),
            unanswered: None,
            bell,
            has_name,
            reads,
            inner: ManuallyDrop::new(Arc::new(inner)),
        })
    }

    fn wait_to_be_let_in(&self) {
        let since = Stopwatch::start();
        while !self.has_name && !self.inner.context().was_let_in.load(Ordering::SeqCst) && since.elapsed() < GOODBYE {
            let is_hopeless =
                |error: KafkaError| error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) || judge(&error).is_err();
            if self.inner.poll(Duration::from_millis(20)).is_some_and(|served| served.err().is_some_and(is_hopeless)) {
                return;
            }
        }
    }

    /// What the group has decided since the last call. Never waits.
    ///
    /// # Errors
    /// What the consumer cannot go on from: authorisation, a fatal client error.
    pub fn event(&mut self) -> Result<Option<Rebalance>> {
        loop {
            // What the group has decided of one that has lost its place need not be answered, and would not be heard.
            self.has_its_place()?;
            if let Some(event) = self.inner.context().pop() {
                self.unanswered = Some(event.clone());
                return Ok(Some(event));
            }
            match self.inner.poll(Duration::ZERO) {
                // A poll that has served something else, a log line say, looks like one that has found nothing.
                None if self.inner.context().is_empty() && self.group.as_ref().is_none_or(Queue::is_empty) => return Ok(None),
                None => {}
                // Every partition that is assigned has a queue of its own.
                Some(Ok(message)) => bail!("a record of {}[{}] came from the group's queue", message.topic(), message.partition()),
                Some(Err(error)) => self.judge(&error)?,
            }
        }
    }

    fn has_its_place(&self) -> Result<()> {
        match is_fatal(&self.inner) {
            true => self.judge(&KafkaError::MessageConsumptionFatal(RDKafkaErrorCode::Fatal)),
            false => Ok(()),
        }
    }

    fn judge(&self, error: &KafkaError) -> Result<()> {
        let fatal = self.inner.client().fatal_error().map(|(code, _)| code);
        if [fatal, error.rdkafka_error_code()].contains(&Some(RDKafkaErrorCode::FencedInstanceId)) {
            bail!(
                "another process runs under the same kafka.instance_id, and has taken the place of this one: give each its own (\"auto\" is the \
                 name of the host)"
            );
        }
        let [topic, group] = &self.reads;
        let of_group = error.rdkafka_error_code() == Some(RDKafkaErrorCode::GroupAuthorizationFailed);
        if let Some(refused) = access::refusal(error, || if of_group { group.clone() } else { topic.clone() }) {
            bail!("{refused}");
        }
        judge(error)
    }

    /// Returns when something has arrived since the last look, at the latest after `most`.
    pub fn wait(&self, most: Duration) {
        self.bell.wait(most);
    }

    /// What has arrived of an assigned partition, at most `most` records. Never waits.
    ///
    /// # Errors
    /// The partition's offset is gone, or what the consumer cannot go on from.
    pub fn fetch(&self, partition: &Partition, most: usize) -> Result<Batch> {
        let Some(queue) = self.queues.get(partition) else { return Ok(Batch::empty(partition.clone())) };
        let (mut batch, errors) = queue.batch(partition, most);
        let place = || format!("{}[{}]", partition.topic, partition.partition);
        if let Some(code) = errors.into_iter().next() {
            self.judge(&KafkaError::MessageConsumption(code)).with_context(place)?;
            // An error among records moves the client's position past a record (librdkafka #4844): only a new start is safe.
            bail!("{}: error among records: {code}", place());
        }
        batch.next = if batch.len() < most { self.at_end(partition) } else { None };
        batch.end = batch.next.is_some();
        Ok(batch)
    }

    /// The next offset, where everything that the last fetch told of has been handed out, markers of transactions included. The library's own
    /// word for it (`enable.partition.eof`) must not be used together with batches: it moves the position past the record that comes next, and
    /// after the next rebalance that record is skipped (librdkafka #4844).
    fn at_end(&self, partition: &Partition) -> Option<i64> {
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition(&partition.topic, partition.partition);
        // SAFETY: client and list are alive; the position is written into the list.
        let answer = unsafe { sys::rd_kafka_position(self.inner.client().native_ptr(), list.ptr()) };
        let position = match list.find_partition(&partition.topic, partition.partition).map(|element| element.offset()) {
            Some(Offset::Offset(position)) if answer == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Some(position),
            _ => None,
        };
        // Nothing was read yet: there may be nothing.
        let position = position.or_else(|| self.starts.get(partition).copied())?;
        (position >= self.end_seen(partition)?).then_some(position)
    }

    /// The end of an assigned partition as the last fetch told it, without asking anybody.
    pub fn end_seen(&self, partition: &Partition) -> Option<i64> {
        let topic = CString::new(partition.topic.as_str()).ok()?;
        let (mut low, mut high) = (0, 0);
        // SAFETY: the client is alive, the name is read during the call, both results are written before it returns.
        let answer = unsafe {
            let client = self.inner.client().native_ptr();
            sys::rd_kafka_get_watermark_offsets(client, topic.as_ptr(), partition.partition, &raw mut low, &raw mut high)
        };
        (answer == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some(high)
    }

    /// Partitions that are being fetched.
    pub fn assigned(&self) -> Vec<Partition> {
        self.queues.keys().cloned().collect()
    }

    /// Starts fetching the partitions at our own offsets, beside those already assigned.
    ///
    /// # Errors
    /// librdkafka refuses the list, or the group has moved on.
    pub fn assign(&mut self, starts: &[(Partition, i64)]) -> Result<()> {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in starts {
            let queue = Queue::of_partition(self.inner.client().native_ptr(), partition, &self.bell)?;
            self.queues.insert(partition.clone(), queue);
            self.starts.insert(partition.clone(), *offset);
            list.add_partition_offset(&partition.topic, partition.partition, Offset::Offset(*offset))?;
        }
        self.unanswered = None;
        self.change("take over assigned partitions", move |consumer| consumer.incremental_assign(&list))
    }

    /// # Errors
    /// librdkafka refuses the list.
    pub fn unassign(&mut self, partitions: &[Partition]) -> Result<()> {
        self.unanswered = None;
        // Who gives up what was never taken is refused, and the group would go on waiting.
        let held: Vec<Partition> = partitions.iter().filter(|partition| self.queues.contains_key(partition)).cloned().collect();
        let list = list_of(&held);
        let answered = match is_fatal(&self.inner) {
            true => Ok(()),
            false => self.change("give up revoked partitions", move |consumer| consumer.incremental_unassign(&list)),
        };
        self.queues.retain(|known, _| !partitions.contains(known));
        self.starts.retain(|known, _| !partitions.contains(known));
        answered
    }

    fn change(&self, what: &str, call: impl FnOnce(&BaseConsumer<Events>) -> KafkaResult<()> + Send + 'static) -> Result<()> {
        let inner = Arc::clone(&self.inner);
        match within("answer group", MOST_TO_ANSWER, move || call(&inner)) {
            Some(answered) => answered.with_context(|| format!("cannot {what}")),
            None => {
                // What the client has lost its place for says more than that it does not answer.
                self.has_its_place()?;
                bail!("cannot {what}: the Kafka client did not answer within {} s", MOST_TO_ANSWER.as_secs())
            }
        }
    }

    /// The group's offset of each partition, `None` inside where it has none; `None` outside where they cannot be had now.
    ///
    /// # Errors
    /// What waiting does not cure.
    pub fn committed(&self, partitions: &[Partition]) -> Result<Option<Vec<Option<Committed>>>> {
        if partitions.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let answer = match self.inner.committed_offsets(list_of(partitions), OFFSETS_TIMEOUT) {
            Ok(answer) => answer,
            Err(error) if is_passing(&error) => return Ok(None),
            Err(error) => {
                let refused = access::refusal(&error, || self.reads[1].clone());
                return Err(refused.map_or_else(|| error.into(), anyhow::Error::msg)).context("cannot read committed offsets");
            }
        };
        let mut offsets = Vec::new();
        for partition in partitions {
            let Some(element) = answer.find_partition(&partition.topic, partition.partition) else { return Ok(None) };
            match element.error() {
                Ok(()) => {}
                Err(error) if is_passing(&error) => return Ok(None),
                Err(error) => {
                    return Err(error).with_context(|| format!("committed offset of {}[{}]", partition.topic, partition.partition));
                }
            }
            offsets.push(match element.offset() {
                Offset::Offset(offset) => Some(Committed { offset, metadata: element.metadata().to_string() }),
                _ => None,
            });
        }
        Ok(Some(offsets))
    }

    /// First and next offset of each partition, asked from its leader; `None`: not to be had now. A leader that does not answer is asked once.
    ///
    /// # Errors
    /// What waiting does not cure.
    pub fn bounds(&self, partitions: &[Partition]) -> Result<Vec<Option<(i64, i64)>>> {
        let mut leaders: BTreeMap<&str, BTreeMap<i32, i32>> = BTreeMap::new();
        let mut silent = BTreeSet::new();
        let mut all = Vec::with_capacity(partitions.len());
        for Partition { topic, partition } in partitions {
            if !leaders.contains_key(topic.as_str()) {
                leaders.insert(topic, self.leaders(topic)?);
            }
            let leader = leaders[topic.as_str()].get(partition).filter(|leader| !silent.contains(*leader));
            let Some(leader) = leader.copied() else {
                all.push(None);
                continue;
            };
            all.push(match self.inner.fetch_watermarks(topic, *partition, OFFSETS_TIMEOUT) {
                Ok(bounds) => Some(bounds),
                Err(error) if is_passing(&error) => {
                    silent.insert(leader);
                    None
                }
                Err(error) => return Err(error).with_context(|| format!("cannot ask for the offsets of {topic}[{partition}]")),
            });
        }
        Ok(all)
    }

    /// Who leads each partition of a topic, of those that have a leader; none where nobody answers now. One request: who asks for the offsets of
    /// a partition without a leader waits to the end of its time.
    fn leaders(&self, topic: &str) -> Result<BTreeMap<i32, i32>> {
        let told = match self.inner.fetch_metadata(Some(topic), OFFSETS_TIMEOUT) {
            Ok(told) => told,
            Err(error) if is_passing(&error) => return Ok(BTreeMap::new()),
            Err(error) => return Err(error).with_context(|| format!("cannot ask who leads the partitions of {topic}")),
        };
        for error in told.topics().iter().filter_map(MetadataTopic::error) {
            let error = KafkaError::MetadataFetch(error.into());
            if !is_passing(&error) {
                return Err(error).with_context(|| format!("cannot ask who leads the partitions of {topic}"));
            }
        }
        let partitions = told.topics().iter().flat_map(MetadataTopic::partitions);
        Ok(partitions.map(|partition| (partition.id(), partition.leader())).filter(|(_, leader)| *leader >= 0).collect())
    }

    /// # Errors
    /// The cluster does not answer in time, or has no such topic.
    pub fn partition_count(&self, topic: &str) -> Result<i32> {
        partition_count(self.inner.client(), topic, REQUEST_TIMEOUT)
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
fn judge(error: &KafkaError) -> Result<()> {
    use RDKafkaErrorCode as Code;
    match error.rdkafka_error_code() {
        Some(Code::PartitionEOF) => Ok(()),
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
        ) => bail!("the Kafka consumer cannot go on: {error}"),
        _ => {
            tracing::warn!(%error, "kafka consumer");
            Ok(())
        }
    }
}
