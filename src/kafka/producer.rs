//! The producer of one worker thread, and the steps of a transaction. `runtime/commit.rs` puts them in order.
#![expect(unsafe_code, reason = "rust-rdkafka hides the group metadata's member id and drains in 100 ms steps (KAFKA.md 1.2, 1.7)")]

use std::ffi::CStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use super::access::{self, Operation, Resource, Right};
use super::client::ErrorLog;
use super::consumer::Consumer;
use super::link::Partition;
use super::within::within;
use crate::clock::Stopwatch;

/// A record on its way out, encoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutRecord {
    pub topic: String,
    /// `None`: by key, as the Java client would.
    pub partition: Option<i32>,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Vec<u8>)>,
}

/// What the caller has to do about a failed step (DESIGN 8).
#[derive(Debug, thiserror::Error)]
pub enum ProduceError {
    /// The transaction can be aborted and done again.
    #[error("{step}: {reason}")]
    Abort { step: &'static str, reason: String },
    /// Fenced, or nobody knows whether it went through: this producer is done for.
    #[error("{step}: {reason} (the producer has to be rebuilt)")]
    Rebuild { step: &'static str, reason: String },
}

/// For what the library has already said of its connections.
const HEAR: Duration = Duration::from_millis(10);

/// A call of the client library gets this long: longer than any healthy broker needs, shorter than the shortest transaction timeout that
/// config allows. Waiting longer would gain nothing: whoever replaces this producer finds out what became of its transaction.
const MOST: Duration = Duration::from_secs(8);

pub struct Producer {
    /// Shared with a call that does not return, for as long as it does not.
    inner: Arc<BaseProducer<Deliveries>>,
    transactional: bool,
}

/// First delivery error since it was last asked for, and whether a connection broke.
#[derive(Default)]
pub struct Deliveries {
    failed: Mutex<Option<String>>,
    tainted: AtomicBool,
    errors: ErrorLog,
}

impl ClientContext for Deliveries {
    fn error(&self, error: KafkaError, reason: &str) {
        if is_broken_connection(&error, reason) {
            self.tainted.store(true, Ordering::SeqCst);
        }
        self.errors.report("producer", &error, reason);
    }
}

/// A connection that had carried requests. One that never came about (a broker that is down) leaves nothing under way; the library says in
/// which state a connection was, and what it does not say counts as broken.
fn is_broken_connection(error: &KafkaError, reason: &str) -> bool {
    use RDKafkaErrorCode as Code;
    let is_transport = matches!(error.rdkafka_error_code(), Some(Code::BrokerTransportFailure | Code::OperationTimedOut | Code::Resolve));
    let was_in = |state: &str| [")", ","].iter().any(|end| reason.contains(&format!("in state {state}{end}")));
    is_transport && !["INIT", "DOWN", "TRY_CONNECT", "CONNECT"].into_iter().any(was_in)
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, message)) = result {
            let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
            let refused = access::refusal(error, || Right::on_topic(Operation::Write, message.topic()));
            failed.get_or_insert_with(|| refused.unwrap_or_else(|| format!("{}[{}]: {error}", message.topic(), message.partition())));
        }
    }
}

impl Producer {
    /// With a `transactional.id` this also fences whoever used it before and ends what they left open.
    ///
    /// # Errors
    /// A refused property, no coordinator, no authorisation.
    pub fn start(config: &ClientConfig, timeout: Duration) -> Result<Producer, ProduceError> {
        let rebuild = |step| move |error: KafkaError| ProduceError::Rebuild { step, reason: error.to_string() };
        let inner: BaseProducer<Deliveries> = config.create_with_context(Deliveries::default()).map_err(rebuild("create producer"))?;
        let transactional = config.get("transactional.id");
        if let Some(id) = transactional {
            inner.init_transactions(timeout).map_err(|error| not_begun(&inner, id, &error))?;
        }
        let transactional = transactional.is_some();
        // Requests before the first transaction leave nothing behind that could hit it.
        inner.poll(Duration::ZERO);
        inner.context().tainted.store(false, Ordering::SeqCst);
        Ok(Producer { inner: Arc::new(inner), transactional })
    }

    /// Hears what the library says of its connections. Unheard it would be said with the next transaction, which may be minutes later.
    pub fn hear(&self) {
        self.inner.poll(Duration::ZERO);
    }

    /// Whether a connection broke since the start: a request of an ended transaction may then still be under way.
    pub fn is_tainted(&self) -> bool {
        self.hear();
        self.transactional && self.inner.context().tainted.load(Ordering::SeqCst)
    }

    pub fn is_transactional(&self) -> bool {
        self.transactional
    }

    /// # Errors
    /// The producer's state does not allow it.
    pub fn begin(&self) -> Result<(), ProduceError> {
        self.inner.begin_transaction().map_err(|error| classify("begin transaction", &error))
    }

    /// Queues a record; a full queue is waited out.
    ///
    /// # Errors
    /// Too large, unknown partition, or a client that is done for.
    pub fn send(&self, record: &OutRecord) -> Result<(), ProduceError> {
        let headers = record.headers.iter().fold(OwnedHeaders::new_with_capacity(record.headers.len()), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(value) })
        });
        let mut base: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&record.topic).headers(headers);
        base.partition = record.partition;
        base.key = record.key.as_deref();
        base.payload = record.value.as_deref();
        loop {
            base = match self.inner.send(base) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), unsent)) => {
                    self.inner.poll(Duration::from_millis(1));
                    unsent
                }
                Err((error, _)) => {
                    let bytes = record.key.as_ref().map_or(0, Vec::len) + record.value.as_ref().map_or(0, Vec::len);
                    let place = record.partition.map_or_else(|| record.topic.clone(), |partition| format!("{}[{partition}]", record.topic));
                    return Err(ProduceError::Abort { step: "produce", reason: format!("{place}: a record of {bytes} bytes: {error}") });
                }
            };
        }
    }

    /// Waits until every queued record is acknowledged.
    ///
    /// # Errors
    /// A record that could not be delivered, or that is not acknowledged after 8 seconds.
    pub fn drain(&self) -> Result<(), ProduceError> {
        if !is_drained(&self.inner, MOST) {
            return Err(ProduceError::Rebuild { step: "drain", reason: format!("records not acknowledged within {MOST:?}") });
        }
        match self.inner.context().failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
            None => Ok(()),
            Some(reason) => Err(ProduceError::Abort { step: "deliver", reason }),
        }
    }

    /// # Errors
    /// As librdkafka classifies them; a time-out means that nobody knows.
    pub fn send_offsets(&self, offsets: &[(Partition, i64)], metadata: &str, group: GroupMetadata) -> Result<(), ProduceError> {
        let step = "send offsets";
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for (partition, offset) in offsets {
            let mut element = list.add_partition(&partition.topic, partition.partition);
            element.set_metadata(metadata);
            element.set_offset(Offset::Offset(*offset)).map_err(|error| ProduceError::Abort { step, reason: error.to_string() })?;
        }
        // The library minds no timeout here, and where the group's coordinator goes away it may wait for ever (librdkafka #5456, #5511): so it
        // gets a thread of its own. A call that is given up keeps its client until it returns; the next producer has fenced that by then.
        let inner = Arc::clone(&self.inner);
        let unanswered = || ProduceError::Rebuild { step, reason: format!("no answer within {MOST:?}") };
        within(step, MOST, move || send_offsets_of(&inner, &list, &group)).ok_or_else(unanswered)?
    }

    /// # Errors
    /// As librdkafka classifies them.
    pub fn commit(&self) -> Result<(), ProduceError> {
        self.inner.commit_transaction(MOST).map_err(|error| classify("commit transaction", &error))
    }

    /// # Errors
    /// As librdkafka classifies them.
    pub fn abort(&self) -> Result<(), ProduceError> {
        let result = self.inner.abort_transaction(MOST).map_err(|error| classify("abort transaction", &error));
        self.inner.poll(Duration::ZERO);
        self.inner.context().failed.lock().unwrap_or_else(PoisonError::into_inner).take();
        result
    }
}

/// Why there are no transactions under this id. Who is not let in only waits in vain, and the library says why beside it.
fn not_begun(producer: &BaseProducer<Deliveries>, id: &str, error: &KafkaError) -> ProduceError {
    let right = || Right { operation: Operation::Write, resource: Resource::TransactionalId(id.to_string()) };
    producer.poll(HEAR);
    let reason = access::refusal(error, right).or_else(|| producer.context().errors.refused()).unwrap_or_else(|| error.to_string());
    ProduceError::Rebuild { step: "init transactions", reason }
}

/// Waits until every queued record is acknowledged or has failed, for so long at most. `rd_kafka_flush` with a millisecond keeps the flushing flag up, so
/// linger does not count; the wrapper's own flush polls in steps of 100 ms. A record counts as in flight until its delivery
/// report is taken, and these come one to each partition: all that have come are taken before the next wait, else each would cost the whole
/// millisecond.
pub(super) fn is_drained<C: ProducerContext>(producer: &BaseProducer<C>, most: Duration) -> bool {
    let started = Stopwatch::start();
    let reports = DeliveryReports::of(producer.client().native_ptr());
    loop {
        while reports.any() {
            producer.poll(Duration::ZERO);
        }
        if producer.in_flight_count() == 0 {
            return true;
        }
        if started.elapsed() > most {
            return false;
        }
        // SAFETY: the pointer is the live producer's own.
        unsafe { sys::rd_kafka_flush(producer.client().native_ptr(), 1) };
    }
}

/// The queue that a producer's delivery reports come from, to be looked at only: the wrapper does not tell whether a poll has found anything.
struct DeliveryReports(*mut sys::rd_kafka_queue_t);

impl DeliveryReports {
    /// Must be dropped before its client.
    fn of(client: *mut sys::rd_kafka_t) -> DeliveryReports {
        // SAFETY: the client is alive; the reference is given back on drop.
        DeliveryReports(unsafe { sys::rd_kafka_queue_get_main(client) })
    }

    fn any(&self) -> bool {
        // SAFETY: the queue is alive until drop.
        unsafe { sys::rd_kafka_queue_length(self.0) > 0 }
    }
}

impl Drop for DeliveryReports {
    fn drop(&mut self) {
        // SAFETY: owned, given back once.
        unsafe { sys::rd_kafka_queue_destroy(self.0) };
    }
}

fn send_offsets_of(producer: &BaseProducer<Deliveries>, list: &TopicPartitionList, group: &GroupMetadata) -> Result<(), ProduceError> {
    let step = "send offsets";
    // SAFETY: all three live beyond the call, which copies what it keeps; the error is destroyed below.
    let error = unsafe { sys::rd_kafka_send_offsets_to_transaction(producer.client().native_ptr(), list.ptr(), group.pointer, -1) };
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: `error` is a valid, owned error object until it is destroyed.
    let (reason, abort) = unsafe {
        let reason = CStr::from_ptr(sys::rd_kafka_error_string(error)).to_string_lossy().into_owned();
        let abort = sys::rd_kafka_error_txn_requires_abort(error) != 0 || sys::rd_kafka_error_is_retriable(error) != 0;
        sys::rd_kafka_error_destroy(error);
        (reason, abort)
    };
    Err(if abort { ProduceError::Abort { step, reason } } else { ProduceError::Rebuild { step, reason } })
}

fn classify(step: &'static str, error: &KafkaError) -> ProduceError {
    let reason = error.to_string();
    match error {
        KafkaError::Transaction(inner) if inner.txn_requires_abort() => ProduceError::Abort { step, reason },
        _ => ProduceError::Rebuild { step, reason },
    }
}

/// The group membership under which offsets are committed, taken once and sent as it was checked.
pub struct GroupMetadata {
    pointer: *mut sys::rd_kafka_consumer_group_metadata_t,
}

// SAFETY: an object of its own on the heap, bound to no thread and changed by nobody.
unsafe impl Send for GroupMetadata {}

impl GroupMetadata {
    pub fn of(consumer: &Consumer) -> GroupMetadata {
        // SAFETY: the consumer is alive; the result is owned by us and destroyed on drop.
        GroupMetadata { pointer: unsafe { sys::rd_kafka_consumer_group_metadata(consumer.native()) } }
    }

    /// A classic group's coordinator takes transactional offsets from nobody in particular (empty member, generation -1) without
    /// fencing; librdkafka sends just that after it has lost its membership.
    pub fn is_live_member(&self) -> bool {
        if self.pointer.is_null() {
            return false;
        }
        // SAFETY: the pointer is valid until drop; the member id is a NUL-terminated string inside it.
        unsafe {
            let member = sys::rd_kafka_consumer_group_metadata_member_id(self.pointer);
            !member.is_null()
                && !CStr::from_ptr(member).is_empty()
                && sys::rd_kafka_consumer_group_metadata_generation_id(self.pointer) >= 0
        }
    }
}

impl Drop for GroupMetadata {
    fn drop(&mut self) {
        if !self.pointer.is_null() {
            // SAFETY: owned, destroyed once.
            unsafe { sys::rd_kafka_consumer_group_metadata_destroy(self.pointer) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_that_is_down_taints_nothing_a_connection_that_breaks_does() {
        let transport = KafkaError::Global(RDKafkaErrorCode::BrokerTransportFailure);
        let table = [
            ("127.0.0.1:9/1: Disconnected: connection closed by peer (after 270ms in state UP)", true),
            ("127.0.0.1:9/1: 2 request(s) timed out: disconnect (after 61ms in state UP, 1 identical error(s) suppressed)", true),
            ("127.0.0.1:9/1: Disconnected (after 0ms in state APIVERSION_QUERY)", true),
            ("127.0.0.1:9/1: Connect to ipv4#127.0.0.1:9 failed: Connection refused (after 0ms in state CONNECT)", false),
            ("127.0.0.1:9/1: Connect failed (after 0ms in state CONNECT, 3 identical error(s) suppressed)", false),
            ("something new", true),
        ];
        for (reason, expected) in table {
            assert_eq!(is_broken_connection(&transport, reason), expected, "{reason}");
        }
        assert!(!is_broken_connection(&KafkaError::Global(RDKafkaErrorCode::AllBrokersDown), "3/3 brokers are down"));
    }
}
