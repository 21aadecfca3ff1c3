//! The same map of what runs: the graph as the changelog of LINEAGE has it, and where models answered by the roll-ups of the last days.

use std::sync::{Arc, Mutex, PoisonError, TryLockError};

use anyhow::{Context as _, Result};

use super::{Found, found, is_answer};
use crate::config::policies::PolicyFolder;
use crate::kafka::client::Connection;
use crate::kafka::link::Partition;
use crate::kafka::read::Reader;
use crate::kafka::scan::Scanner;
use crate::kafka::topics::{TopicNames, partition_counts, partitions_of};
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
    /// The graph alone, and with where models answered.
    graph: Cache,
    answers: Cache,
}

/// What was read last, and when.
#[derive(Default)]
struct Cache {
    last: Mutex<Option<(Timestamp, Arc<Lineage>)>>,
    /// Held by who reads.
    reading: Mutex<()>,
}

impl Live {
    /// `rules`: those that hold now, as a reload may change them.
    pub fn new(connection: Connection, names: TopicNames, rules: RulesNow) -> Live {
        Live { connection, names, rules, graph: Cache::default(), answers: Cache::default() }
    }

    /// # Errors
    /// No broker, no such topics, or a changelog of another version.
    pub fn map(&self, policies: Option<&PolicyFolder>, team: Option<&str>, now: Timestamp) -> Result<Found> {
        let graph = self.answers.get(now, || {
            let mut graph = self.read()?;
            take_answers(&mut graph, &self.connection, &self.names, now)?;
            Ok(graph)
        })?;
        Ok(found(&graph, policies, team, now))
    }

    /// # Errors
    /// As [`Live::map`].
    pub fn known(&self, model: &str, version: Option<&str>, now: Timestamp) -> Result<Option<ModelFacts>> {
        Ok(self.graph.get(now, || self.read())?.known(model, version))
    }

    fn read(&self) -> Result<Lineage> {
        let mut graph = Lineage::default();
        graph.follow(&(self.rules)());
        partitions_of(&self.connection, &self.names.lineage_changelog)?;
        let live = Reader::new(&self.connection)?.live_keys(&self.names.lineage_changelog, 0)?;
        graph.restore_all(live).with_context(|| format!("topic {}", self.names.lineage_changelog))?;
        graph.take_facts();
        Ok(graph)
    }
}

impl Cache {
    /// Who comes while somebody else reads is shown what was read before; where nothing was, they wait for it.
    fn get(&self, now: Timestamp, read: impl FnOnce() -> Result<Lineage>) -> Result<Arc<Lineage>> {
        let last = || self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let before = last();
        if let Some((_, graph)) = before.as_ref().filter(|(read_at, _)| now.0 - read_at.0 < FRESH_MS) {
            return Ok(graph.clone());
        }
        let _reading = match (self.reading.try_lock(), &before) {
            (Ok(guard), _) => guard,
            (Err(TryLockError::Poisoned(guard)), _) => guard.into_inner(),
            (Err(TryLockError::WouldBlock), Some((_, graph))) => return Ok(graph.clone()),
            (Err(TryLockError::WouldBlock), None) => {
                let guard = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some((_, graph)) = last() {
                    return Ok(graph);
                }
                guard
            }
        };
        let graph = Arc::new(read()?);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, graph.clone()));
        Ok(graph)
    }
}

/// Where models answered, by the roll-ups.
fn take_answers(graph: &mut Lineage, connection: &Connection, names: &TopicNames, now: Timestamp) -> Result<()> {
    let partitions = 0..partition_counts(connection)?.get(&names.spend_rollups).copied().unwrap_or_default();
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
                if is_answer(leaf) {
                    graph.take_answer(&leaf.model, &leaf.region, &leaf.provider, &leaf.team, rollup.period_end);
                }
            }
            Ok(true)
        })?;
    }
    Ok(())
}
