//! A first look at a cluster: does it answer, does it let us in, which topics are there, what may we do. Says why where it does not.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::{Metadata, MetadataTopic};
use rdkafka::producer::{BaseProducer, DeliveryResult, Producer as _, ProducerContext};

use super::access::{self, AuthenticationRefused, Operation, Resource, Right};
use super::client::{Connection, Heard};
use super::describe::{self, Told};
use super::groups;
use crate::clock::Stopwatch;

/// In all; who does not answer by then is not there.
const PATIENCE: Duration = Duration::from_secs(30);
/// What the library is told of its connections is heard between two tries only: short ones first, so that a wrong password is told at once.
const FIRST_TRY: Duration = Duration::from_millis(500);
const HEAR: Duration = Duration::from_millis(10);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// For finding a coordinator, which a fresh cluster does not have yet.
const COORDINATOR_TIMEOUT: Duration = Duration::from_secs(10);
/// The first try; each lasts twice as long as the one before, as an answer that comes later than its try is lost.
const COORDINATOR_TRY: Duration = Duration::from_millis(20);
const LONGEST_TRY: Duration = Duration::from_secs(2);

/// A client that is let in.
pub struct Probe {
    client: BaseProducer<Listening>,
    pub(super) connection: Connection,
    /// Partition counts of all topics that we may know of.
    counts: BTreeMap<String, i32>,
}

/// Keeps what the library says of its connections.
#[derive(Default)]
pub(super) struct Listening(Heard);

impl ClientContext for Listening {
    fn error(&self, error: KafkaError, reason: &str) {
        self.0.hear(&error, reason);
    }

    /// What stands in the log comes as an error, too.
    fn log(&self, _: rdkafka::config::RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "kafka client");
    }
}

impl ConsumerContext for Listening {}

impl ProducerContext for Listening {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

impl Probe {
    /// # Errors
    /// [`AuthenticationRefused`], or no broker answers within half a minute.
    pub fn connect(connection: &Connection) -> Result<Probe> {
        let context = "cannot create a Kafka client";
        let client = connection.admin_config().create_with_context(Listening::default()).context(context)?;
        let metadata = reach(&client, connection)?;
        let count = |topic: &MetadataTopic| i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX);
        let counts = metadata.topics().iter().map(|topic| (topic.name().to_string(), count(topic))).collect();
        Ok(Probe { client, connection: connection.clone(), counts })
    }

    pub fn counts(self) -> BTreeMap<String, i32> {
        self.counts
    }

    /// What the cluster says of these topics, by name.
    ///
    /// # Errors
    /// It does not answer in time.
    pub fn topics<'n>(&self, names: &[&'n str]) -> Result<BTreeMap<&'n str, Told>> {
        let told = describe::topics(self.client.client().native_ptr(), names, REQUEST_TIMEOUT).context("cannot ask for topics")?;
        Ok(names.iter().copied().zip(told).collect())
    }

    /// Groups of roles, with a topic that each reads, that we may not take part in, as far as it can be told from outside: whether we may ask
    /// for their offsets. (`rd_kafka_ListConsumerGroupOffsets` would ask for all with one client, and in 2.12.1 ends the process where a
    /// coordinator has just moved.)
    ///
    /// # Errors
    /// A property that librdkafka refuses.
    pub fn refused_groups(&self, roles: &[(&str, &str)]) -> Result<Vec<Right>> {
        let mut asked = Vec::new();
        for (role, topic) in roles {
            let config = self.connection.consumer_config(role);
            let consumer: BaseConsumer<Listening> =
                config.create_with_context(Listening::default()).context("cannot create a Kafka consumer")?;
            asked.push((groups::name(&self.connection, role), *topic, consumer));
        }
        let (mut refused, started, mut most) = (Vec::new(), Stopwatch::start(), COORDINATOR_TRY);
        // Who does not answer refuses nothing; the roles will say more.
        while !asked.is_empty() && started.elapsed() < COORDINATOR_TIMEOUT {
            asked.retain(|(group, topic, consumer)| {
                let answer = may_ask_for_offsets(consumer, topic, most);
                if answer == Some(false) {
                    refused.push(Right { operation: Operation::Read, resource: Resource::Group(group.clone()) });
                }
                answer.is_none()
            });
            most = (most * 2).min(LONGEST_TRY);
        }
        Ok(refused)
    }

    /// Whether transactions may be written: tried under an id that no role has, `<application>-check`.
    ///
    /// # Errors
    /// A property that librdkafka refuses.
    pub fn refused_transactions(&self) -> Result<Option<Right>> {
        let id = format!("{}-check", self.connection.application_id);
        let config = self.connection.producer_config("check", Some(&id));
        let producer: BaseProducer<Listening> =
            config.create_with_context(Listening::default()).context("cannot create a Kafka producer")?;
        let code = match producer.init_transactions(COORDINATOR_TIMEOUT) {
            Err(KafkaError::Transaction(error)) => error.code(),
            _ => return Ok(None),
        };
        let right = Right { operation: Operation::Write, resource: Resource::TransactionalId(id) };
        Ok((code == RDKafkaErrorCode::TransactionalIdAuthorizationFailed).then_some(right))
    }

    /// Whom the brokers take us for, as far as we can tell.
    pub fn principal(&self) -> Option<String> {
        access::principal(&self.connection)
    }
}

/// `None`: there is no answer yet.
fn may_ask_for_offsets(consumer: &BaseConsumer<Listening>, topic: &str, most: Duration) -> Option<bool> {
    let refused = Some(RDKafkaErrorCode::GroupAuthorizationFailed);
    if consumer.poll(HEAR).is_some_and(|told| told.err().is_some_and(|error| error.rdkafka_error_code() == refused)) {
        return Some(false);
    }
    let mut list = TopicPartitionList::new();
    list.add_partition(topic, 0);
    match consumer.committed_offsets(list, most).map(drop) {
        Err(error) if error.rdkafka_error_code() == refused => Some(false),
        Err(error) if error.rdkafka_error_code().is_some_and(is_waiting) => None,
        _ => Some(true),
    }
}

fn is_waiting(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(code, Code::OperationTimedOut | Code::WaitingForCoordinator | Code::NotCoordinator | Code::CoordinatorNotAvailable)
        || matches!(code, Code::CoordinatorLoadInProgress | Code::BrokerTransportFailure | Code::RequestTimedOut)
}

fn reach(client: &BaseProducer<Listening>, connection: &Connection) -> Result<Metadata> {
    let (started, mut next) = (Stopwatch::start(), FIRST_TRY);
    loop {
        let asked = client.client().fetch_metadata(None, next);
        let error = match asked {
            Ok(metadata) => return Ok(metadata),
            Err(error) => error,
        };
        client.poll(HEAR);
        let heard = &client.context().0;
        if let Some(reason) = heard.refused() {
            return Err(AuthenticationRefused::of(connection, &reason).into());
        }
        let left = PATIENCE.saturating_sub(started.elapsed());
        if left.is_zero() {
            let why = heard.last().unwrap_or_else(|| error.to_string());
            return Err(anyhow!("no Kafka broker answers at '{}': {why}", connection.bootstrap_servers));
        }
        next = (next * 2).min(left).max(FIRST_TRY);
    }
}
