//! Emptying a topic for good: deleted and created anew, as its plan says.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::types::RDKafkaErrorCode;

use super::client::Connection;
use super::topics::{self, TopicPlan};
use crate::clock::Stopwatch;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Topics that are missing are only created. Interrupted, it leaves topics missing, which every role refuses to start with.
///
/// # Errors
/// The broker refuses, or a topic is still there after half a minute.
pub async fn recreate(connection: &Connection, plans: &[TopicPlan], replication_factor: i32) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> = connection.admin_config().create().context("cannot create a Kafka admin client")?;
    let existing = topics::partition_counts(connection)?;
    let names: Vec<&str> = plans.iter().map(|plan| plan.name.as_str()).filter(|name| existing.contains_key(*name)).collect();
    if !names.is_empty() {
        let options = AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT)).operation_timeout(Some(REQUEST_TIMEOUT));
        for result in admin.delete_topics(&names, &options).await.context("cannot delete topics")? {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition)) => {}
                Err((name, code)) => return Err(anyhow!("the broker refuses to delete topic '{name}': {code}")),
            }
        }
        wait_until_gone(connection, &names)?;
    }
    topics::create(connection, plans, replication_factor).await?;
    Ok(())
}

/// Deletion is done by the brokers in their own time; a topic of the same name cannot be created before.
fn wait_until_gone(connection: &Connection, names: &[&str]) -> Result<()> {
    let started = Stopwatch::start();
    while started.elapsed() < REQUEST_TIMEOUT {
        let known = topics::partition_counts(connection)?;
        if names.iter().all(|name| !known.contains_key(*name)) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    bail!("topics were deleted, but the broker still shows them after {REQUEST_TIMEOUT:?}: is delete.topic.enable false?")
}
