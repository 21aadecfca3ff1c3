//! Consumer groups as an operator sees them: who is in, where they stand, taking one away.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaResult;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use super::client::Connection;
use super::link::Partition;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Ten seconds in all.
const COORDINATOR_ATTEMPTS: usize = 40;
const COORDINATOR_PAUSE: Duration = Duration::from_millis(250);

/// One who takes part in a group, as the coordinator knows him.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub client_id: String,
    pub host: String,
}

/// Where a group stands in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The next to read.
    pub offset: i64,
    /// What the one who committed left beside it.
    pub metadata: String,
}

/// Name of a role's group.
pub fn name(connection: &Connection, role: &str) -> String {
    format!("{}-{role}", connection.application_id)
}

/// Empty where the group does not exist or nobody is in.
///
/// # Errors
/// No broker answers in time.
pub fn members(connection: &Connection, role: &str) -> Result<Vec<Member>> {
    let group = name(connection, role);
    let admin: AdminClient<DefaultClientContext> = connection.admin_config().create().context("cannot create a Kafka admin client")?;
    let context = || format!("cannot ask for the members of group '{group}'");
    let listed = admin.inner().fetch_group_list(Some(&group), REQUEST_TIMEOUT).with_context(context)?;
    let members = listed.groups().iter().filter(|found| found.name() == group).flat_map(|found| found.members());
    Ok(members.map(|member| Member { client_id: member.client_id().to_string(), host: member.client_host().to_string() }).collect())
}

/// In the order of the partitions; waits for transactions that are about to commit offsets.
///
/// # Errors
/// The coordinator does not answer in time.
pub fn committed(connection: &Connection, role: &str, partitions: &[Partition]) -> Result<Vec<Option<Committed>>> {
    let consumer = outsider(connection, role)?;
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        list.add_partition(&partition.topic, partition.partition);
    }
    let group = name(connection, role);
    let answer = once_coordinated(|| consumer.committed_offsets(list.clone(), REQUEST_TIMEOUT)).with_context(|| {
        format!(
            "cannot read the offsets of group '{group}'; a process that was killed in a transaction may hold them: try again in a minute"
        )
    })?;
    let mut found = Vec::new();
    for partition in partitions {
        let element = answer.find_partition(&partition.topic, partition.partition).context("an offset was not answered")?;
        element.error().with_context(|| format!("committed offset of {}[{}]", partition.topic, partition.partition))?;
        found.push(match element.offset() {
            Offset::Offset(offset) => Some(Committed { offset, metadata: element.metadata().to_string() }),
            _ => None,
        });
    }
    // Before the consumer: librdkafka waits for the list otherwise (KAFKA.md 1.9).
    drop(answer);
    Ok(found)
}

/// A group that nobody has asked for before gets its coordinator while we ask: the first answers may be that there is none yet.
fn once_coordinated<T>(ask: impl Fn() -> KafkaResult<T>) -> KafkaResult<T> {
    for _ in 0..COORDINATOR_ATTEMPTS {
        match ask() {
            Err(error) if error.rdkafka_error_code().is_some_and(is_without_coordinator) => std::thread::sleep(COORDINATOR_PAUSE),
            answered => return answered,
        }
    }
    ask()
}

fn is_without_coordinator(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::{CoordinatorLoadInProgress, CoordinatorNotAvailable, NotCoordinator};
    matches!(code, CoordinatorLoadInProgress | CoordinatorNotAvailable | NotCoordinator)
}

/// Forgets the group and all its offsets. One that does not exist is fine.
///
/// # Errors
/// Members are in it, or no broker answers.
pub async fn delete(connection: &Connection, role: &str) -> Result<()> {
    let group = name(connection, role);
    let admin: AdminClient<DefaultClientContext> = connection.admin_config().create().context("cannot create a Kafka admin client")?;
    let options = AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT));
    let results = admin.delete_groups(&[&group], &options).await.with_context(|| format!("cannot delete group '{group}'"))?;
    for result in results {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::GroupIdNotFound)) => {}
            Err((_, code)) => return Err(anyhow!("the broker refuses to delete group '{group}': {code}")),
        }
    }
    Ok(())
}

/// A client under the group's name that never joins it.
pub(super) fn outsider(connection: &Connection, role: &str) -> Result<BaseConsumer> {
    connection.consumer_config(role).create().context("cannot create a Kafka consumer")
}
