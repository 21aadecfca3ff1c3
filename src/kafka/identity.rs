//! Which topic a name stands for now, and how far its log reaches: what tells whether a copy of it is still one.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;

use super::access::{self, Operation, Right};
use super::client::Connection;
use super::describe::{self, Told};
use super::link::Partition;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

pub struct Inspector {
    admin: AdminClient<DefaultClientContext>,
}

impl Inspector {
    /// # Errors
    /// A property that librdkafka refuses.
    pub fn new(connection: &Connection) -> Result<Inspector> {
        Ok(Inspector { admin: connection.admin_config().create().context("cannot create a Kafka admin client")? })
    }

    /// The id that the cluster gave the topic when it was made.
    ///
    /// # Errors
    /// The cluster does not answer, has no such topic, or is too old to have ids (before Kafka 2.8).
    pub fn topic_id(&self, topic: &str) -> Result<String> {
        let context = || format!("cannot ask for the id of topic '{topic}'");
        let told = describe::topics(self.admin.inner().native_ptr(), &[topic], REQUEST_TIMEOUT).with_context(context)?;
        match told.into_iter().next() {
            Some(Told::There(found)) => found.id.context("the cluster gives topics no ids").with_context(context),
            Some(Told::Hidden) => bail!("{}", access::not_authorised(&[Right::on_topic(Operation::Describe, topic)], None)),
            Some(Told::Missing) | None => bail!("topic '{topic}' does not exist; `tollgate topics create` creates all topics"),
        }
    }

    /// First offset of a partition, and the one behind the last record that is decided.
    ///
    /// # Errors
    /// Its leader does not answer.
    pub fn bounds(&self, partition: &Partition) -> Result<(i64, i64)> {
        let place = || format!("cannot ask for the offsets of {}[{}]", partition.topic, partition.partition);
        self.admin.inner().fetch_watermarks(&partition.topic, partition.partition, REQUEST_TIMEOUT).with_context(place)
    }

    /// One setting of a topic, as the broker applies it.
    ///
    /// # Errors
    /// The cluster does not answer or does not let us look.
    pub fn setting(&self, topic: &str, name: &str) -> Result<Option<String>> {
        let resource = ResourceSpecifier::Topic(topic);
        let options = AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT));
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let answer = runtime.block_on(self.admin.describe_configs([&resource], &options)).context("cannot read topic settings")?;
        let Some(described) = answer.into_iter().next() else { return Ok(None) };
        let described = described.map_err(|code| anyhow::anyhow!("cannot read the settings of '{topic}': {code}"))?;
        Ok(described.get(name).and_then(|entry| entry.value.clone()))
    }
}
