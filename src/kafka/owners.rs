//! Who owns the partitions of a group as its coordinator has it, and having the group form anew where nobody owns some of them.
//!
//! A static member that is killed after it gave partitions up, and before it joined again so that others get them, leaves a group that takes
//! itself for complete: its successor gets back what is recorded, without a rebalance (KIP-345), and has nothing to give up that would lead to
//! one. librdkafka cannot ask for a rebalance; a member that comes and goes has the same effect.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rdkafka::TopicPartitionList;
use rdkafka::admin::AdminClient;
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;

use super::client::{Connection, ErrorLog};
use super::consumer::GOODBYE;
use super::link::Partition;
use super::{groups, topics};
use crate::clock::Stopwatch;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Beyond what a group may wait for its members.
const SPARE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);

/// What a coordinator says of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nobody is in.
    Empty,
    /// It is being formed.
    Forming,
    Formed(Ownership),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ownership {
    /// Client ids of its members.
    pub members: BTreeSet<String>,
    pub owned: BTreeSet<Partition>,
}

pub struct Watcher {
    admin: AdminClient<DefaultClientContext>,
    connection: Connection,
}

impl Watcher {
    /// # Errors
    /// A property that librdkafka refuses.
    pub fn new(connection: &Connection) -> Result<Watcher> {
        let admin = connection.admin_config().create().context("cannot create a Kafka admin client")?;
        Ok(Watcher { admin, connection: connection.clone() })
    }

    /// # Errors
    /// The cluster does not answer in time, or has no such topic.
    pub fn partition_count(&self, topic: &str) -> Result<i32> {
        topics::partition_count(self.admin.inner(), topic, REQUEST_TIMEOUT)
    }

    /// What a role's group has settled on. Asked by the older of the two ways that librdkafka has: under the newer one
    /// (`rd_kafka_DescribeConsumerGroups`, 2.12.1) an assertion ends the process when brokers fail.
    ///
    /// # Errors
    /// A broker does not answer, or does not let us look.
    pub fn ownership(&self, role: &str) -> Result<Found> {
        let group = groups::name(&self.connection, role);
        let context = || format!("cannot ask who owns the partitions of group '{group}'");
        let listed = self.admin.inner().fetch_group_list(Some(&group), REQUEST_TIMEOUT).with_context(context)?;
        let Some(found) = listed.groups().iter().find(|found| found.name() == group) else { return Ok(Found::Empty) };
        match found.state() {
            "Stable" => {}
            "Empty" | "Dead" => return Ok(Found::Empty),
            _ => return Ok(Found::Forming),
        }
        let mut ownership = Ownership::default();
        for member in found.members() {
            ownership.members.insert(member.client_id().to_string());
            let assigned = assigned(member.assignment().unwrap_or_default());
            ownership.owned.extend(assigned.with_context(|| format!("group '{group}': an assignment that cannot be read"))?);
        }
        Ok(Found::Formed(ownership))
    }

    /// Has the group of `role` form anew: joins it, as one who wants nothing of what it shares, and leaves again. `beside` is a topic that
    /// exists and that nobody else in the group reads: librdkafka joins for none less. Its members go on working meanwhile. Ends soon, and
    /// without an error, once `goes_on` says no.
    ///
    /// # Errors
    /// The group is not formed in time, or does not let us in.
    pub fn pass_by(&self, role: &str, beside: &str, goes_on: impl Fn() -> bool) -> Result<()> {
        // Without a name of its own: it is not to come back.
        let config = self.connection.consumer_config(role);
        let consumer: BaseConsumer<PasserBy> = config.create_with_context(PasserBy::default()).context("cannot create a Kafka consumer")?;
        consumer.subscribe(&[beside]).with_context(|| format!("cannot subscribe to '{beside}'"))?;
        let (since, patience) = (Stopwatch::start(), self.connection.longest_rebalance() + SPARE);
        let group = || groups::name(&self.connection, role);
        let (mut last, mut ending) = (None, None);
        while !consumer.context().was_let_in.load(Ordering::SeqCst) {
            if !goes_on() && ending.get_or_insert_with(Stopwatch::start).elapsed() >= GOODBYE {
                return Ok(());
            }
            if let Some(Err(error)) = consumer.poll(POLL) {
                ensure!(!is_refusal(&error), "group '{}' does not let us in: {error}", group());
                last = Some(error.to_string());
            }
            let why = || last.clone().unwrap_or_default();
            ensure!(since.elapsed() < patience, "group '{}' was not formed within {patience:?} {}", group(), why());
        }
        Ok(())
    }
}

fn is_refusal(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    let refusals = [Code::GroupAuthorizationFailed, Code::TopicAuthorizationFailed, Code::UnknownTopicOrPartition, Code::Fatal];
    error.rdkafka_error_code().is_some_and(|code| refusals.contains(&code))
}

/// Takes what it is given, to be counted as a member, and reads nothing of it.
#[derive(Default)]
struct PasserBy {
    was_let_in: AtomicBool,
    errors: ErrorLog,
}

impl ClientContext for PasserBy {
    fn error(&self, error: KafkaError, reason: &str) {
        self.errors.report("passing by", &error, reason);
    }
}

impl ConsumerContext for PasserBy {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, code: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let answered = match code {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                self.was_let_in.store(true, Ordering::SeqCst);
                consumer.incremental_assign(partitions)
            }
            _ => consumer.incremental_unassign(partitions),
        };
        if let Err(error) = answered {
            tracing::debug!(%error, "answering the group while passing by");
        }
    }
}

/// Partitions of a member, in the form that clients of a classic group agree on (ConsumerProtocolAssignment of Kafka): version, topics with
/// their partitions, data of the assignor. Without a byte: it has none.
fn assigned(bytes: &[u8]) -> Option<Vec<Partition>> {
    let mut partitions = Vec::new();
    if bytes.is_empty() {
        return Some(partitions);
    }
    let (_version, mut rest) = bytes.split_first_chunk::<2>()?;
    for _ in 0..number(&mut rest)? {
        let (length, after) = rest.split_first_chunk::<2>()?;
        let (topic, after) = after.split_at_checked(usize::try_from(i16::from_be_bytes(*length)).ok()?)?;
        let topic = std::str::from_utf8(topic).ok()?;
        rest = after;
        for _ in 0..number(&mut rest)? {
            partitions.push(Partition { topic: topic.to_string(), partition: number(&mut rest)? });
        }
    }
    Some(partitions)
}

fn number(rest: &mut &[u8]) -> Option<i32> {
    let (number, after) = rest.split_first_chunk::<4>()?;
    *rest = after;
    Some(i32::from_be_bytes(*number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_is_read_and_half_of_one_is_not() {
        let bytes = b"\0\x01\0\0\0\x02\0\x01a\0\0\0\x02\0\0\0\0\0\0\0\x07\0\x02bc\0\0\0\0\xff\xff\xff\xff";
        let of_a = [0, 7].map(|partition| Partition { topic: "a".to_string(), partition });
        assert_eq!(assigned(bytes), Some(of_a.to_vec()));
        assert_eq!(assigned(b""), Some(Vec::new()));
        for length in 1..bytes.len() - 4 {
            assert_eq!(assigned(&bytes[..length]), None, "{length}");
        }
    }
}
