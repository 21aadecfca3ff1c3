//! Transactions of a command: records and a group's offsets become visible together, outside of any role.
//!
//! The group must have no members: offsets are committed as nobody in particular, which a coordinator does not fence. Two runs of the
//! same command are kept apart by the transactional id: whoever starts later fences the earlier one.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use super::client::{Connection, ErrorLog};
use super::groups;
use super::link::Partition;
use super::producer::is_drained;

const TIMEOUT: Duration = Duration::from_secs(30);

/// A record on its way, bytes as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parcel {
    pub topic: String,
    /// `None`: by key, as the Java client would.
    pub partition: Option<i32>,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// Where the group is to stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupOffset {
    pub partition: Partition,
    /// The next to read.
    pub offset: i64,
    pub metadata: String,
}

pub struct Transfer {
    producer: BaseProducer<Deliveries>,
    group: BaseConsumer,
}

/// First delivery error since it was last asked for.
#[derive(Default)]
struct Deliveries {
    failed: Mutex<Option<String>>,
    errors: ErrorLog,
}

impl ClientContext for Deliveries {
    fn error(&self, error: KafkaError, reason: &str) {
        self.errors.report("transfer", &error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, message)) = result {
            let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
            failed.get_or_insert_with(|| format!("{}[{}]: {error}", message.topic(), message.partition()));
        }
    }
}

impl Transfer {
    /// For the offsets of `role`'s group, under `<application>-<command>` as transactional id. Ends what an earlier run left open.
    ///
    /// # Errors
    /// A refused property, no coordinator, no authorisation.
    pub fn start(connection: &Connection, role: &str, command: &str) -> Result<Transfer> {
        let id = format!("{}-{command}", connection.application_id);
        let config = connection.producer_config(command, Some(&id));
        let producer: BaseProducer<Deliveries> =
            config.create_with_context(Deliveries::default()).context("cannot create a Kafka producer")?;
        producer.init_transactions(TIMEOUT).with_context(|| format!("cannot start transactions as '{id}'"))?;
        Ok(Transfer { producer, group: groups::outsider(connection, role)? })
    }

    /// All of it or nothing.
    ///
    /// # Errors
    /// Nothing became visible; or, where the broker does not answer to the commit, nobody knows: the offsets tell.
    pub fn commit(&self, parcels: &[Parcel], offsets: &[GroupOffset]) -> Result<()> {
        self.producer.begin_transaction().context("cannot begin a transaction")?;
        let committed = self
            .fill(parcels, offsets)
            .and_then(|()| self.producer.commit_transaction(rdkafka::util::Timeout::Never).context("cannot commit the transaction"));
        if committed.is_err()
            && let Err(error) = self.producer.abort_transaction(TIMEOUT)
        {
            tracing::debug!(%error, "abort after a failure");
        }
        committed
    }

    fn fill(&self, parcels: &[Parcel], offsets: &[GroupOffset]) -> Result<()> {
        for parcel in parcels {
            self.send(parcel)?;
        }
        if !is_drained(&self.producer, TIMEOUT) {
            bail!("records were not acknowledged within {TIMEOUT:?}");
        }
        if let Some(failed) = self.producer.context().failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
            bail!("a record was not taken: {failed}");
        }
        if offsets.is_empty() {
            return Ok(());
        }
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for offset in offsets {
            let mut element = list.add_partition(&offset.partition.topic, offset.partition.partition);
            element.set_metadata(offset.metadata.as_str());
            element.set_offset(Offset::Offset(offset.offset))?;
        }
        let group = self.group.group_metadata().context("the group has no metadata")?;
        self.producer.send_offsets_to_transaction(&list, &group, TIMEOUT).context("cannot commit the offsets")
    }

    fn send(&self, parcel: &Parcel) -> Result<()> {
        let headers = parcel.headers.iter().fold(OwnedHeaders::new_with_capacity(parcel.headers.len()), |headers, (key, value)| {
            headers.insert(Header { key, value: value.as_ref() })
        });
        let mut base: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&parcel.topic).headers(headers);
        base.partition = parcel.partition;
        base.key = parcel.key.as_deref();
        base.payload = parcel.value.as_deref();
        loop {
            base = match self.producer.send(base) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), unsent)) => {
                    self.producer.poll(Duration::from_millis(10));
                    unsent
                }
                Err((error, _)) => return Err(anyhow!("a record was not taken: {}: {error}", parcel.topic)),
            };
        }
    }
}
