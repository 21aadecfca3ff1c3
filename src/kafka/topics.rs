//! The topics: which there are, how each is set up and why, creating the missing ones, saying what is wrong with those that exist.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::{Client, ClientContext, DefaultClientContext};
use rdkafka::types::RDKafkaErrorCode;

use super::access::{self, Operation, Right};
use super::client::{Connection, INTERNAL_RECORD};
use super::describe::{Described, Told};
use super::probe::Probe;
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
    /// What others write to.
    pub fn inputs(&self) -> [&String; 6] {
        [&self.usage_events, &self.resource_events, &self.activity_events, &self.lineage_events, &self.billing_events, &self.feedback]
    }

    /// What others read.
    pub fn outputs(&self) -> [&String; 4] {
        [&self.dead_letter, &self.alerts, &self.governance_violations, &self.spend_rollups]
    }

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
    let mut plans: Vec<TopicPlan> =
        names.inputs().map(|name| make(name, sizes.input_partitions, false, kept(sizes.input_retention_ms), &[][..])).to_vec();
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
    /// Not looked at: this may not be done with it.
    Forbidden(Operation),
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

/// Partition counts of all topics of the cluster that we may know of.
///
/// # Errors
/// As [`Probe::connect`].
pub fn partition_counts(connection: &Connection) -> Result<BTreeMap<String, i32>> {
    Ok(Probe::connect(connection)?.counts())
}

/// Of one topic that is to be read.
///
/// # Errors
/// As [`Probe::connect`]; there is no such topic, or we may not read it.
pub fn partitions_of(connection: &Connection, topic: &str) -> Result<i32> {
    let probe = Probe::connect(connection)?;
    match probe.topics(&[topic])?.remove(topic) {
        Some(Told::There(found)) if found.allows(Operation::Read) => Ok(found.partitions),
        Some(Told::There(_) | Told::Hidden) => {
            bail!("{}", access::not_authorised(&[Right::on_topic(Operation::Read, topic)], probe.principal().as_deref()))
        }
        Some(Told::Missing) | None => bail!("topic '{topic}' does not exist; `tollgate topics create` creates all topics"),
    }
}

/// What the cluster says of all planned topics.
fn told<'p>(probe: &Probe, plans: &'p [TopicPlan]) -> Result<BTreeMap<&'p str, Told>> {
    probe.topics(&plans.iter().map(|plan| plan.name.as_str()).collect::<Vec<_>>())
}

/// Creates what is missing; never changes a topic that exists.
///
/// # Errors
/// No broker answers, or it refuses to create.
pub async fn create(connection: &Connection, plans: &[TopicPlan], replication_factor: i32) -> Result<Vec<(String, TopicState)>> {
    let admin: AdminClient<DefaultClientContext> = connection.admin_config().create().context("cannot create a Kafka admin client")?;
    let probe = Probe::connect(connection)?;
    let found = told(&probe, plans)?;
    let mut states = Vec::new();
    for plan in plans {
        if let Some(Told::There(found)) = found.get(plan.name.as_str()) {
            states.push((plan.name.clone(), compare(&admin, plan, found).await?));
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
                // It was hidden.
                Err((name, RDKafkaErrorCode::TopicAlreadyExists)) => states.push((name, TopicState::Forbidden(Operation::Describe))),
                Err((name, RDKafkaErrorCode::TopicAuthorizationFailed)) => {
                    bail!("{}", access::not_authorised(&[Right::on_topic(Operation::Create, &name)], probe.principal().as_deref()))
                }
                Err((name, code)) => bail!("the broker refuses to create topic '{name}': {code}"),
            }
        }
    }
    wait_until_known(&probe, plans)?;
    Ok(states)
}

/// The controller has made them; brokers learn of it a moment later. Until then whoever asks next is told that they are missing.
fn wait_until_known(probe: &Probe, plans: &[TopicPlan]) -> Result<()> {
    let started = Stopwatch::start();
    while started.elapsed() < REQUEST_TIMEOUT {
        if told(probe, plans)?.values().all(|told| *told != Told::Missing) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    bail!("topics were created, but the broker does not show them after {REQUEST_TIMEOUT:?}")
}

/// # Errors
/// No broker answers.
pub async fn check(probe: &Probe, plans: &[TopicPlan]) -> Result<Vec<(String, TopicState)>> {
    let admin = probe.connection.admin_config().create().context("cannot create a Kafka admin client")?;
    let found = told(probe, plans)?;
    let mut states = Vec::new();
    for plan in plans {
        let state = match found.get(plan.name.as_str()) {
            Some(Told::There(found)) => compare(&admin, plan, found).await?,
            Some(Told::Hidden) => TopicState::Forbidden(Operation::Describe),
            Some(Told::Missing) | None => TopicState::Missing,
        };
        states.push((plan.name.clone(), state));
    }
    Ok(states)
}

async fn compare(admin: &AdminClient<DefaultClientContext>, plan: &TopicPlan, found: &Described) -> Result<TopicState> {
    let mut wrong = Vec::new();
    let mut differs = Vec::new();
    if found.partitions != plan.partitions {
        let found = format!("{} partitions instead of {}", found.partitions, plan.partitions);
        if plan.exact_partitions { wrong.push(found) } else { differs.push(found) }
    }
    let resource = ResourceSpecifier::Topic(&plan.name);
    let options = AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT));
    let described = admin.describe_configs([&resource], &options).await.context("cannot read topic settings")?;
    for result in described {
        let settings = match result {
            Ok(settings) if !settings.entries.is_empty() => settings,
            // A refusal comes as a topic without any settings (rust-rdkafka 0.39). What is known to be wrong counts more than what is not
            // known.
            Ok(_) | Err(RDKafkaErrorCode::TopicAuthorizationFailed) if wrong.is_empty() => {
                return Ok(TopicState::Forbidden(Operation::DescribeConfigs));
            }
            Ok(_) | Err(RDKafkaErrorCode::TopicAuthorizationFailed) => continue,
            Err(code) => bail!("cannot read the settings of '{}': {code}", plan.name),
        };
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
