//! Who owns the partitions of a group as its coordinator has it, and having the group form anew where nobody owns some of them.
//!
//! A static member that is killed after it gave partitions up, and before it joined again so that others get them, leaves a group that takes
//! itself for complete: its successor gets back what is recorded, without a rebalance (KIP-345), and has nothing to give up that would lead to
//! one. librdkafka cannot ask for a rebalance; a member that comes and goes has the same effect.
#![expect(unsafe_code, reason = "rust-rdkafka does not tell the assignment of a group")]

use std::collections::BTreeSet;
use std::ffi::CString;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rdkafka::admin::AdminClient;
use rdkafka::bindings as sys;
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::asked::{Asked, check, text};
use super::client::{Connection, Quiet};
use super::groups;
use super::link::Partition;
use crate::clock::Stopwatch;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The group waits for a member that was killed as long as its session lasts, and for one that hangs even longer.
const PASSING_BY: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);

/// A group that is not being formed.
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

    /// How many partitions a topic has.
    ///
    /// # Errors
    /// The cluster does not answer, or has no such topic.
    pub fn partition_count(&self, topic: &str) -> Result<i32> {
        let context = || format!("cannot ask for the partitions of '{topic}'");
        let metadata = self.admin.inner().fetch_metadata(Some(topic), REQUEST_TIMEOUT).with_context(context)?;
        let count = metadata.topics().iter().find(|found| found.name() == topic).map_or(0, |found| found.partitions().len());
        ensure!(count > 0, "topic '{topic}' does not exist");
        Ok(i32::try_from(count)?)
    }

    /// What a role's group has settled on; `None` while it is being formed, or nobody is in.
    ///
    /// # Errors
    /// Its coordinator does not answer, or does not let us look.
    pub fn ownership(&self, role: &str) -> Result<Option<Ownership>> {
        let group = groups::name(&self.connection, role);
        self.described(&group).with_context(|| format!("cannot ask who owns the partitions of group '{group}'"))
    }

    fn described(&self, group: &str) -> Result<Option<Ownership>> {
        let client = self.admin.inner().native_ptr();
        let name = CString::new(group).context("a group's name")?;
        let mut names = [name.as_ptr()];
        // SAFETY: the client outlives this call; names are copied by the request; the answer is alive as long as `asked`, and so is what it
        // points to; texts are copied, lists only read.
        unsafe {
            let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS;
            let asked = Asked::of(client, operation, REQUEST_TIMEOUT, |options, queue| {
                sys::rd_kafka_DescribeConsumerGroups(client, names.as_mut_ptr(), names.len(), options, queue);
            })?;
            let result = sys::rd_kafka_event_DescribeConsumerGroups_result(asked.event);
            ensure!(!result.is_null(), "another answer than was asked for");
            let mut count = 0;
            let groups = sys::rd_kafka_DescribeConsumerGroups_result_groups(result, &raw mut count);
            ensure!(count == 1 && !groups.is_null(), "{count} groups were described");
            check(sys::rd_kafka_ConsumerGroupDescription_error(*groups))?;
            let state = sys::rd_kafka_ConsumerGroupDescription_state(*groups);
            let is_stable = state == sys::rd_kafka_consumer_group_state_t::RD_KAFKA_CONSUMER_GROUP_STATE_STABLE;
            Ok(is_stable.then(|| ownership(*groups)))
        }
    }

    /// Has the group of `role` form anew: joins it, as one who wants nothing of what it shares, and leaves again. `beside` is a topic that
    /// exists and that nobody else in the group reads: librdkafka joins for none less. Its members go on working meanwhile.
    ///
    /// # Errors
    /// The group is not formed in time, or does not let us in.
    pub fn pass_by(&self, role: &str, beside: &str) -> Result<()> {
        let mut config = self.connection.consumer_config(role);
        // By no name: it is not to come back.
        config.remove("group.instance.id");
        let consumer: BaseConsumer<Quiet> =
            config.create_with_context(Quiet::named("passing by")).context("cannot create a Kafka consumer")?;
        consumer.subscribe(&[beside]).with_context(|| format!("cannot subscribe to '{beside}'"))?;
        let since = Stopwatch::start();
        while consumer.assignment()?.count() == 0 {
            ensure!(since.elapsed() < PASSING_BY, "group '{}' was not formed in time", groups::name(&self.connection, role));
            // Records, and that the group has no offsets of this topic, are of no concern.
            if let Some(Err(error)) = consumer.poll(POLL) {
                tracing::debug!(%error, "passing by");
            }
        }
        Ok(())
    }
}

/// # Safety
/// A group's description that lives during this call.
unsafe fn ownership(group: *const sys::rd_kafka_ConsumerGroupDescription_t) -> Ownership {
    let mut found = Ownership::default();
    // SAFETY: by the contract of this function; `count` says how many members there are, `cnt` how many partitions.
    unsafe {
        for place in 0..sys::rd_kafka_ConsumerGroupDescription_member_count(group) {
            let member = sys::rd_kafka_ConsumerGroupDescription_member(group, place);
            found.members.insert(text(sys::rd_kafka_MemberDescription_client_id(member)));
            let assignment = sys::rd_kafka_MemberDescription_assignment(member);
            let list = if assignment.is_null() { std::ptr::null() } else { sys::rd_kafka_MemberAssignment_partitions(assignment) };
            let Some(list) = list.as_ref().filter(|list| list.cnt > 0) else { continue };
            let elements = std::slice::from_raw_parts(list.elems, usize::try_from(list.cnt).unwrap_or_default());
            found.owned.extend(elements.iter().map(|element| Partition { topic: text(element.topic), partition: element.partition }));
        }
    }
    found
}
