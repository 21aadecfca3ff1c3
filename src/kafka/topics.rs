//! The topics: which there are, how each is set up and why, creating the missing ones, saying what is wrong with those that exist.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::{Client, ClientContext, DefaultClientContext};
use rdkafka::types::RDKafkaErrorCode;

use super::client::{Connection, INTERNAL_RECORD};
use crate::clock::Stopwatch;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Names of all topics, with prefix and application id applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicNames {
    pub usage_events: String,
    pub resource_events: String,
    pub activity_events: String,
    pub lineage_events: String,
    pub billing_events: String,
    pub feedback: String,
    pub dead_letter: String,
    pub alerts: String,
    pub governance_violations: String,
    pub spend_rollups: String,
    pub shard_log: String,
    pub intake_changelog: String,
    pub watch_changelog: String,
    pub ledger_log: String,
    pub ledger_changelog: String,
    pub lineage_log: String,
    pub lineage_changelog: String,
    pub receipts: String,
    pub violation_receipts: String,
}

impl TopicNames {
    pub fn new(prefix: &str, application_id: &str) -> TopicNames {
        let outside = |name: &str| format!("{prefix}{name}");
        let inside = |name: &str| format!("{prefix}{application_id}-{name}");
        TopicNames {
            usage_events: outside("usage-events"),
            resource_events: outside("resource-events"),
            activity_events: outside("activity-events"),
            lineage_events: outside("lineage-events"),
            billing_events: outside("billing-events"),
            feedback: outside("feedback"),
            dead_letter: outside("dead-letter"),
            alerts: outside("alerts"),
            governance_violations: outside("governance-violations"),
            spend_rollups: outside("spend-rollups"),
            shard_log: inside("shard-repartition"),
            intake_changelog: inside("intake-changelog"),
            watch_changelog: inside("watch-changelog"),
            ledger_log: inside("ledger-repartition"),
            ledger_changelog: inside("ledger-changelog"),
            lineage_log: inside("lineage-repartition"),
            lineage_changelog: inside("lineage-changelog"),
            receipts: inside("receipts-changelog"),
            violation_receipts: inside("violation-receipts-changelog"),
        }
    }
}

/// How one topic has to be set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPlan {
    pub name: String,
    pub partitions: i32,
    /// The number is part of the state's layout: another one is an error, not a matter of taste.
    pub exact_partitions: bool,
    pub config: Vec<(&'static str, String)>,
    /// Settings that must hold for correctness, out of `config`.
    pub required: &'static [&'static str],
}

/// Sizes that a deployment chooses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSizes {
    pub input_partitions: i32,
    pub shard_count: i32,
    pub output_partitions: i32,
    /// -1: the broker's default.
    pub replication_factor: i32,
    pub input_retention_ms: i64,
    pub output_retention_ms: i64,
    pub largest_record: usize,
}

pub fn plan(names: &TopicNames, sizes: &TopicSizes) -> Vec<TopicPlan> {
    let largest = sizes.largest_record.to_string();
    let make = |name: &String, partitions, exact_partitions, mut config: Vec<(&'static str, String)>, required| {
        // Alerts and internal records are ours: their size does not follow that of the input.
        let ours = exact_partitions || *name == names.alerts || *name == names.governance_violations;
        let limit = if ours { INTERNAL_RECORD.max(sizes.largest_record).to_string() } else { largest.clone() };
        config.push(("max.message.bytes", limit));
        TopicPlan { name: name.clone(), partitions, exact_partitions, config, required }
    };
    let kept = |ms: i64| vec![("cleanup.policy", "delete".to_string()), ("retention.ms", ms.to_string())];
    // Tombstones stay for a day so that a slow reader still learns of deletions; small segments, so that compaction keeps restarts short.
    let compacted = || {
        vec![
            ("cleanup.policy", "compact".to_string()),
            ("delete.retention.ms", "86400000".to_string()),
            ("segment.bytes", "67108864".to_string()),
            ("min.cleanable.dirty.ratio", "0.2".to_string()),
        ]
    };
    let inputs = [
        &names.usage_events,
        &names.resource_events,
        &names.activity_events,
        &names.lineage_events,
        &names.billing_events,
        &names.feedback,
    ];
    let mut plans: Vec<TopicPlan> =
        inputs.map(|name| make(name, sizes.input_partitions, false, kept(sizes.input_retention_ms), &[][..])).to_vec();
    let outputs = sizes.output_partitions;
    plans.push(make(&names.dead_letter, outputs, false, kept(sizes.output_retention_ms), &[]));
    plans.push(make(&names.alerts, outputs, false, compacted(), &["cleanup.policy"]));
    plans.push(make(&names.governance_violations, outputs, false, compacted(), &["cleanup.policy"]));
    plans.push(make(&names.spend_rollups, outputs, false, kept(sizes.output_retention_ms), &[]));
    // No time retention: its reader deletes what it no longer needs. LogAppendTime is the shard's clock.
    let shard_log = vec![
        ("cleanup.policy", "delete".to_string()),
        ("retention.ms", "-1".to_string()),
        ("retention.bytes", "-1".to_string()),
        ("message.timestamp.type", "LogAppendTime".to_string()),
    ];
    let shard_required = &["cleanup.policy", "retention.ms", "message.timestamp.type"];
    plans.push(make(&names.shard_log, sizes.shard_count, true, shard_log, shard_required));
    plans.push(make(&names.watch_changelog, sizes.shard_count, true, compacted(), &["cleanup.policy"]));
    // The ledger's state is in its changelog, so that its log is kept no longer than what it was made of.
    plans.push(make(&names.ledger_log, outputs, true, kept(sizes.input_retention_ms), &[]));
    plans.push(make(&names.ledger_changelog, outputs, true, compacted(), &["cleanup.policy"]));
    // A graph must be whole: one partition. Its state is in its changelog, as the ledger's.
    plans.push(make(&names.lineage_log, 1, true, kept(sizes.input_retention_ms), &[]));
    plans.push(make(&names.lineage_changelog, 1, true, compacted(), &["cleanup.policy"]));
    // One key for each input partition; the more partitions, the less of others' keys is read at a start.
    plans.push(make(&names.intake_changelog, sizes.input_partitions, false, compacted(), &["cleanup.policy"]));
    plans.push(make(&names.receipts, outputs, true, compacted(), &["cleanup.policy"]));
    plans.push(make(&names.violation_receipts, outputs, true, compacted(), &["cleanup.policy"]));
    plans
}

/// What `topics create` or `topics check` found for one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicState {
    Created,
    Present,
    Missing,
    /// Works, but is not what the plan says.
    Differs(Vec<String>),
    /// Must not be used like this.
    Wrong(Vec<String>),
}

/// How many partitions a topic has, as some client is told.
///
/// # Errors
/// The cluster does not answer in time, or has no such topic.
pub(super) fn partition_count<C: ClientContext>(client: &Client<C>, topic: &str, timeout: Duration) -> Result<i32> {
    let metadata = client.fetch_metadata(Some(topic), timeout).with_context(|| format!("cannot read metadata of topic '{topic}'"))?;
    let count = metadata.topics().iter().find(|found| found.name() == topic).map_or(0, |found| found.partitions().len());
    ensure!(count > 0, "topic '{topic}' does not exist; `tollgate topics create` creates all topics");
    Ok(i32::try_from(count)?)
}

/// Partition counts of all topics of the cluster.
///
/// # Errors
/// No broker answers in time.
pub fn partition_counts(connection: &Connection) -> Result<std::collections::BTreeMap<String, i32>> {
    let admin: AdminClient<DefaultClientContext> = connection.admin_config().create().context("cannot create a Kafka admin client")?;
    let context = || format!("no Kafka broker answers at '{}'", connection.bootstrap_servers);
    let metadata = admin.inner().fetch_metadata(None, REQUEST_TIMEOUT).with_context(context)?;
    let count = |topic: &rdkafka::metadata::MetadataTopic| i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX);
    Ok(metadata.topics().iter().map(|topic| (topic.name().to_string(), count(topic))).collect())
}

/// Of one topic that is needed.
///
/// # Errors
/// No broker answers in time, or there is no such topic.
pub fn partitions_of(connection: &Connection, topic: &str) -> Result<i32> {
    let count = partition_counts(connection)?.get(topic).copied();
    count.with_context(|| format!("topic '{topic}' does not exist; `tollgate topics create` creates all topics"))
}

/// Creates what is missing; never changes a topic that exists.
///
/// # Errors
/// No broker answers, or it refuses to create.
pub async fn create(connection: &Connection, plans: &[TopicPlan], replication_factor: i32) -> Result<Vec<(String, TopicState)>> {
    let admin: AdminClient<DefaultClientContext> = connection.admin_config().create().context("cannot create a Kafka admin client")?;
    let existing = partition_counts(connection)?;
    let mut states = Vec::new();
    for plan in plans {
        if existing.contains_key(&plan.name) {
            states.push((plan.name.clone(), compare(&admin, plan, &existing).await?));
            continue;
        }
        let config = plan.config.iter();
        let topic = config
            .fold(NewTopic::new(&plan.name, plan.partitions, TopicReplication::Fixed(replication_factor)), |topic, (key, value)| {
                topic.set(key, value)
            });
        let options = AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT)).operation_timeout(Some(REQUEST_TIMEOUT));
        let results = admin.create_topics([&topic], &options).await.with_context(|| format!("cannot create topic '{}'", plan.name))?;
        for result in results {
            match result {
                Ok(name) => states.push((name, TopicState::Created)),
                Err((name, RDKafkaErrorCode::TopicAlreadyExists)) => states.push((name, TopicState::Present)),
                Err((name, code)) => anyhow::bail!("the broker refuses to create topic '{name}': {code}"),
            }
        }
    }
    wait_until_known(connection, plans)?;
    Ok(states)
}

/// The controller has made them; brokers learn of it a moment later. Until then whoever asks next is told that they are missing.
fn wait_until_known(connection: &Connection, plans: &[TopicPlan]) -> Result<()> {
    let started = Stopwatch::start();
    while started.elapsed() < REQUEST_TIMEOUT {
        let known = partition_counts(connection)?;
        if plans.iter().all(|plan| known.contains_key(&plan.name)) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    anyhow::bail!("topics were created, but the broker does not show them after {REQUEST_TIMEOUT:?}")
}

/// # Errors
/// No broker answers, or it does not let us read topic settings.
pub async fn check(connection: &Connection, plans: &[TopicPlan]) -> Result<Vec<(String, TopicState)>> {
    let admin: AdminClient<DefaultClientContext> = connection.admin_config().create().context("cannot create a Kafka admin client")?;
    let existing = partition_counts(connection)?;
    let mut states = Vec::new();
    for plan in plans {
        let state = if existing.contains_key(&plan.name) { compare(&admin, plan, &existing).await? } else { TopicState::Missing };
        states.push((plan.name.clone(), state));
    }
    Ok(states)
}

async fn compare(
    admin: &AdminClient<DefaultClientContext>,
    plan: &TopicPlan,
    existing: &std::collections::BTreeMap<String, i32>,
) -> Result<TopicState> {
    let mut wrong = Vec::new();
    let mut differs = Vec::new();
    let partitions = existing.get(&plan.name).copied().unwrap_or_default();
    if partitions != plan.partitions {
        let found = format!("{partitions} partitions instead of {}", plan.partitions);
        if plan.exact_partitions { wrong.push(found) } else { differs.push(found) }
    }
    let resource = ResourceSpecifier::Topic(&plan.name);
    let options = AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT));
    let described = admin.describe_configs([&resource], &options).await.context("cannot read topic settings")?;
    for result in described {
        let settings = result.map_err(|code| anyhow::anyhow!("cannot read the settings of '{}': {code}", plan.name))?;
        for (key, wanted) in &plan.config {
            let found = settings.get(key).and_then(|entry| entry.value.clone()).unwrap_or_default();
            if found != *wanted {
                let text = format!("{key} = {found} instead of {wanted}");
                if plan.required.contains(key) { wrong.push(text) } else { differs.push(text) }
            }
        }
    }
    Ok(match (wrong.is_empty(), differs.is_empty()) {
        (true, true) => TopicState::Present,
        (true, false) => TopicState::Differs(differs),
        (false, _) => TopicState::Wrong(wrong.into_iter().chain(differs).collect()),
    })
}
