//! What keeps the shard log in bounds: how far its readers are behind, and deleting what they no longer need.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{Offset, TopicPartitionList};

use super::client::Connection;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Clients of one housekeeping thread. They are no members of any group.
pub struct Housekeeper {
    admin: AdminClient<DefaultClientContext>,
    /// Speaks of the offsets of `group`, without being in it.
    asking: BaseConsumer,
    runtime: tokio::runtime::Runtime,
}

impl Housekeeper {
    /// # Errors
    /// A property that librdkafka refuses.
    pub fn new(connection: &Connection, group: &str) -> Result<Housekeeper> {
        let mut config = connection.consumer_config("housekeeping");
        config.set("group.id", group);
        Ok(Housekeeper {
            admin: connection.admin_config().create().context("cannot create a Kafka admin client")?,
            asking: config.create().context("cannot create a Kafka consumer")?,
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start a runtime")?,
        })
    }

    /// Offset behind the last committed record, by partition.
    ///
    /// # Errors
    /// A leader does not answer in time.
    pub fn ends(&self, topic: &str, partitions: i32) -> Result<BTreeMap<i32, i64>> {
        Ok(known(&self.offsets(topic, 0..partitions, Offset::End)?))
    }

    /// Offset of the first record that is stamped at `time_ms` or later, by partition; `None` where no record is that young. A partition
    /// whose leader gave no answer is left out: nothing is known of it.
    ///
    /// # Errors
    /// No leader answers in time.
    pub fn offsets_at(&self, topic: &str, partitions: impl IntoIterator<Item = i32>, time_ms: i64) -> Result<BTreeMap<i32, Option<i64>>> {
        let answer = self.offsets(topic, partitions, Offset::Offset(time_ms))?;
        let found = answer.elements().iter().filter_map(|element| Some((element.partition(), first_at(element, time_ms)?))).collect();
        Ok(found)
    }

    fn offsets(&self, topic: &str, partitions: impl IntoIterator<Item = i32>, at: Offset) -> Result<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition_offset(topic, partition, at)?;
        }
        self.asking.offsets_for_times(list, REQUEST_TIMEOUT).with_context(|| format!("cannot ask for offsets of '{topic}'"))
    }

    /// What the group has committed, by partition; those without an offset are left out.
    ///
    /// # Errors
    /// The coordinator does not answer in time.
    pub fn committed(&self, topic: &str, partitions: i32) -> Result<BTreeMap<i32, i64>> {
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions {
            list.add_partition(topic, partition);
        }
        let answer = self
            .asking
            .committed_offsets(list, REQUEST_TIMEOUT)
            .with_context(|| format!("cannot ask for the group's offsets of '{topic}'"))?;
        Ok(known(&answer))
    }

    /// Deletes the records before these offsets. Answers how far each partition's log begins now.
    ///
    /// # Errors
    /// The broker refuses, or does not answer in time.
    pub fn delete_before(&self, topic: &str, offsets: &BTreeMap<i32, i64>) -> Result<BTreeMap<i32, i64>> {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in offsets {
            list.add_partition_offset(topic, *partition, Offset::Offset(*offset))?;
        }
        let options = AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT)).operation_timeout(Some(REQUEST_TIMEOUT));
        let answer = self.runtime.block_on(self.admin.delete_records(&list, &options)).with_context(|| format!("cannot trim '{topic}'"))?;
        Ok(known(&answer))
    }
}

/// What a partition's leader answered when it was asked for a time; `None` if it did not. One that was never asked still holds the time.
fn first_at(element: &TopicPartitionListElem<'_>, time_ms: i64) -> Option<Option<i64>> {
    match (element.error(), element.offset()) {
        (Ok(()), Offset::Offset(offset)) if offset != time_ms => Some(Some(offset)),
        (Ok(()), Offset::End) => Some(None),
        _ => None,
    }
}

/// Copied out at once: librdkafka does not let a client go while a list that it gave out lives.
fn known(list: &TopicPartitionList) -> BTreeMap<i32, i64> {
    let elements = list.elements();
    let offset = |element: &TopicPartitionListElem<'_>| match (element.error(), element.offset()) {
        (Ok(()), Offset::Offset(offset)) => Some((element.partition(), offset)),
        _ => None,
    };
    elements.iter().filter_map(offset).collect()
}
