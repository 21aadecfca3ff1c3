//! The same map of what runs: the graph as the changelog of LINEAGE has it, and where models answered by the roll-ups of the last days.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result, bail};

use super::{Found, found};
use crate::config::policies::PolicyFolder;
use crate::kafka::client::Connection;
use crate::kafka::link::Partition;
use crate::kafka::read::Reader;
use crate::kafka::scan::Scanner;
use crate::kafka::topics::{TopicNames, partition_counts};
use crate::lineage::Lineage;
use crate::lineage::rules::LineageRules;
use crate::model::lineage::ModelFacts;
use crate::model::time::{DAY_MS, SECOND_MS, Timestamp};
use crate::model::wire::rollup_of_record;

/// How far back a model that answered is shown.
const ANSWERED_WITHIN_MS: i64 = 2 * DAY_MS;
/// What was read is shown again for so long.
const FRESH_MS: i64 = 10 * SECOND_MS;

pub type RulesNow = Box<dyn Fn() -> Arc<LineageRules> + Send + Sync>;

/// Reads what LINEAGE knows, without being LINEAGE: any process can answer.
pub struct Live {
    connection: Connection,
    names: TopicNames,
    rules: RulesNow,
    /// With the time at which it was read.
    last: Mutex<Option<(Timestamp, Arc<Lineage>)>>,
    is_reading: AtomicBool,
}

impl Live {
    /// `rules`: those that hold now, as a reload may change them.
    pub fn new(connection: Connection, names: TopicNames, rules: RulesNow) -> Live {
        Live { connection, names, rules, last: Mutex::default(), is_reading: AtomicBool::new(false) }
    }

    /// # Errors
    /// No broker, no such topics, or a changelog of another version.
    pub fn map(&self, policies: Option<&PolicyFolder>, team: Option<&str>, now: Timestamp) -> Result<Found> {
        Ok(found(&*self.graph(now)?, policies, team, now))
    }

    /// # Errors
    /// As [`Live::map`].
    pub fn known(&self, model: &str, version: Option<&str>, now: Timestamp) -> Result<Option<ModelFacts>> {
        Ok(self.graph(now)?.known(model, version))
    }

    /// Who comes while somebody else reads is shown what was read before.
    fn graph(&self, now: Timestamp) -> Result<Arc<Lineage>> {
        let last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        if let Some((read_at, graph)) = &last
            && (now.0 - read_at.0 < FRESH_MS || self.is_reading.swap(true, Ordering::AcqRel))
        {
            return Ok(graph.clone());
        }
        let read = read(&self.connection, &self.names, &(self.rules)(), now).map(Arc::new);
        self.is_reading.store(false, Ordering::Release);
        let graph = read?;
        *self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some((now, graph.clone()));
        Ok(graph)
    }
}

/// The graph as it is, and where models answered.
///
/// # Errors
/// As [`Live::map`].
pub fn read(connection: &Connection, names: &TopicNames, rules: &LineageRules, now: Timestamp) -> Result<Lineage> {
    let mut graph = Lineage::default();
    graph.follow(rules);
    let counts = partition_counts(connection)?;
    if !counts.contains_key(&names.lineage_changelog) {
        bail!("topic '{}' does not exist; `tollgate topics create` creates all topics", names.lineage_changelog);
    }
    let live = Reader::new(connection)?.live_keys(&names.lineage_changelog, 0)?;
    graph.restore_all(live).with_context(|| format!("topic {}", names.lineage_changelog))?;
    graph.take_facts();
    let partitions = 0..counts.get(&names.spend_rollups).copied().unwrap_or_default();
    let partitions: Vec<Partition> = partitions.map(|partition| Partition { topic: names.spend_rollups.clone(), partition }).collect();
    let scanner = Scanner::new(connection)?;
    let starts = scanner.offsets_at(&partitions, now.0.saturating_sub(ANSWERED_WITHIN_MS))?;
    for (partition, start) in partitions.iter().zip(starts) {
        let Some(start) = start else { continue };
        let end = scanner.bounds(partition)?.high;
        scanner.scan(partition, start, end, |record| {
            // One that cannot be read is the business of whoever wrote it.
            if let Some(Ok(rollup)) = record.value.map(|value| rollup_of_record(record.header("content-type"), value)) {
                let leaf = &rollup.leaf;
                graph.take_answer(&leaf.model, &leaf.region, &leaf.provider, &leaf.team, rollup.period_end);
            }
            Ok(true)
        })?;
    }
    Ok(graph)
}
