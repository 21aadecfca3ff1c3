//! LINEAGE on one thread: lineage events and what activity says of models in, facts to every shard and the changelog out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::commit::{Share, Staged};
use super::worker::{Demand, Moment, Opening, Role, Source, Worker};
use super::{Delivery, Setup, Stop, Unrecoverable, encode};
use crate::kafka::link::{Batch, Committed, From, OutRecord, Partition, Record, Until};
use crate::kafka::session::Session;
use crate::lineage::Lineage;
use crate::lineage::rules::LineageRules;
use crate::model::effect::Effect;
use crate::model::hash::{hash128, shard_of};
use crate::model::lineage::{DatasetUse, ModelFacts};
use crate::model::partial::{ShardEvent, ShardRecord};
use crate::model::wire::decode_lineage_record;

/// A transaction is committed once this many events wait for it, whatever the time.
const LARGEST_BATCH: usize = 20_000;
/// Facts packed into one record of the shard log.
const FACTS_PER_RECORD: usize = 500;
/// Uses: with all tags that an event may have, fifty are below the largest record.
const USES_PER_RECORD: usize = 50;
/// New rules are looked for this often where nothing else happens.
const LOOK: Duration = Duration::from_secs(1);

pub struct Genealogist<'a> {
    setup: &'a Setup,
    rules: Arc<LineageRules>,
    since: Option<Duration>,
    waiting: usize,
    looked: Duration,
}

/// The one partition of the lineage log.
pub struct Kept {
    lineage: Lineage,
    position: i64,
    is_touched: bool,
}

/// The changelog is read twice, so that its values never stand in memory beside the graph that is made of them: first which record of each
/// key is the last one, then these.
pub struct Loading {
    opening: Opening,
    lineage: Lineage,
    /// By hash of the key, the offset of its newest record. A key that was deleted must not have been there at all.
    newest: BTreeMap<u128, i64>,
    reading: Reading,
    /// Of the lineage log, as the changelog has it.
    position: Option<i64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    Nothing,
    Keys,
    Values,
}

/// Runs until asked to stop; every error leaves what is committed as it was, and the supervisor starts anew from there.
///
/// # Errors
/// What this thread cannot go on from: no broker, a state that contradicts the committed offsets, transactions that do not go through.
pub fn run(setup: &Setup, thread: usize, stop: &Stop) -> Result<()> {
    let topics = &setup.topics;
    let link = Session::join(&setup.connection, Genealogist::NAME, thread, &topics.lineage_log, setup.is_exactly_once())?;
    setup.check_shard_count(&link)?;
    let found = (link.partition_count(&topics.lineage_log)?, link.partition_count(&topics.lineage_changelog)?);
    if found != (1, 1) {
        bail!(
            "topics '{}' and '{}' have {} and {} partitions; a graph must be whole: both need exactly one",
            topics.lineage_log,
            topics.lineage_changelog,
            found.0,
            found.1
        );
    }
    Worker::new(link, Genealogist::new(setup), setup, thread, setup.incarnation(Genealogist::NAME, thread)).run(stop)
}

impl<'a> Genealogist<'a> {
    pub fn new(setup: &'a Setup) -> Genealogist<'a> {
        Genealogist { setup, rules: setup.lineage_rules.load_full(), since: None, waiting: 0, looked: Duration::ZERO }
    }

    /// Facts go to every shard: any team may use a model.
    fn shard_records(&self, facts: Vec<ModelFacts>) -> Result<Vec<OutRecord>> {
        let mut records = Vec::new();
        let events: Vec<ShardEvent> = facts.into_iter().map(|fact| ShardEvent::Facts(Box::new(fact))).collect();
        for shard in 0..self.setup.shard_count {
            for events in events.chunks(FACTS_PER_RECORD) {
                let record = ShardRecord { events: events.to_vec(), ..ShardRecord::default() };
                records.push(encode::effect(Effect::Shard { shard, record }, &self.setup.topics, &self.setup.output)?);
            }
        }
        Ok(records)
    }

    /// Uses go to the shard of their team.
    fn use_records(&self, uses: Vec<DatasetUse>) -> Result<Vec<OutRecord>> {
        let mut by_shard: BTreeMap<u32, Vec<ShardEvent>> = BTreeMap::new();
        for used in uses {
            let shard = shard_of(&used.activity.team, self.setup.shard_count);
            by_shard.entry(shard).or_default().push(ShardEvent::DatasetUse(Box::new(used)));
        }
        let mut records = Vec::new();
        for (shard, events) in by_shard {
            for events in events.chunks(USES_PER_RECORD) {
                let record = ShardRecord { events: events.to_vec(), ..ShardRecord::default() };
                records.push(encode::effect(Effect::Shard { shard, record }, &self.setup.topics, &self.setup.output)?);
            }
        }
        Ok(records)
    }

    /// State and offsets are written in one transaction: where they disagree somebody reset one of them.
    fn agree(&self, opening: &Opening, position: Option<i64>) -> Result<i64> {
        let group = format!("{}-{}", self.setup.connection.application_id, Self::NAME);
        let topics = &self.setup.topics;
        match (position, opening.committed.as_ref().map(|committed| committed.offset)) {
            (Some(position), Some(committed)) if committed != position && self.setup.delivery == Delivery::ExactlyOnce => {
                bail!(Unrecoverable(format!(
                    "the lineage changelog was written at offset {position} of {}, the group '{group}' stands at {committed}: somebody reset \
                     the one without the other. Set the group's offset to {position}",
                    topics.lineage_log
                )))
            }
            (Some(position), _) if position < opening.low => bail!(Unrecoverable(format!(
                "{} begins at {}, but {position} is the next to read: retention has removed events that were never taken in",
                topics.lineage_log, opening.low
            ))),
            (Some(position), _) => Ok(position),
            (None, Some(committed)) if committed > opening.low => bail!(Unrecoverable(format!(
                "the group '{group}' stands at offset {committed} of {}, but '{}' is empty: the graph is gone. Delete the group \
                 (kafka-consumer-groups --delete) to build it anew from what the log still holds",
                topics.lineage_log, topics.lineage_changelog
            ))),
            (None, _) => Ok(opening.low),
        }
    }
}

impl Role for Genealogist<'_> {
    type Part = Kept;
    type Loading = Loading;

    const NAME: &'static str = "lineage";

    fn topic(&self) -> &str {
        &self.setup.topics.lineage_log
    }

    fn start(&self, committed: Option<&Committed>, low: i64, _high: i64) -> i64 {
        committed.map_or(low, |committed| committed.offset)
    }

    fn begin_loading(&mut self, opening: Opening) -> Result<Loading> {
        let mut lineage = Lineage::default();
        lineage.follow(&self.rules);
        Ok(Loading { opening, lineage, newest: BTreeMap::new(), reading: Reading::Nothing, position: None })
    }

    fn next_source(&mut self, loading: &mut Loading) -> Result<Option<Source>> {
        loading.reading = match loading.reading {
            Reading::Nothing => Reading::Keys,
            Reading::Keys => Reading::Values,
            Reading::Values => return Ok(None),
        };
        let partition = Partition { topic: self.setup.topics.lineage_changelog.clone(), partition: loading.opening.partition };
        Ok(Some(Source { partition, from: From::Beginning, until: Until::End }))
    }

    fn load(&mut self, loading: &mut Loading, record: &Record<'_>) -> Result<()> {
        let key = record.key.unwrap_or_default();
        let hash = hash128(&[key]);
        match (loading.reading, record.value) {
            (Reading::Values, Some(value)) if loading.newest.get(&hash) == Some(&record.offset) => {
                let position = loading
                    .lineage
                    .restore(key, value)
                    .with_context(|| format!("{}[{}] at offset {}", record.topic, record.partition, record.offset))?;
                loading.position = position.or(loading.position);
            }
            (Reading::Values, _) => {}
            (_, Some(_)) => drop(loading.newest.insert(hash, record.offset)),
            (_, None) => drop(loading.newest.remove(&hash)),
        }
        Ok(())
    }

    fn finish_loading(&mut self, loading: Loading) -> Result<Kept> {
        let position = self.agree(&loading.opening, loading.position)?;
        // Rules may have changed since: what follows from the graph is worked out, and told where it is news.
        self.since = Some(Duration::ZERO);
        Ok(Kept { lineage: loading.lineage, position, is_touched: true })
    }

    fn take(&mut self, kept: &mut Kept, batch: &Batch, from: usize, moment: Moment) -> Result<usize> {
        for index in from..batch.len() {
            if self.waiting >= LARGEST_BATCH {
                return Ok(index);
            }
            let Some(record) = batch.get(index) else { break };
            if record.offset < kept.position {
                continue;
            }
            let place = || format!("{}[{}] at offset {}", record.topic, record.partition, record.offset);
            let decoded = decode_lineage_record(record.value.unwrap_or_default()).with_context(place)?;
            self.waiting += decoded.items.len();
            kept.lineage.take(&decoded);
            kept.position = record.offset + 1;
            kept.is_touched = true;
            self.since.get_or_insert(moment.uptime);
        }
        Ok(batch.len())
    }

    fn stand_at(&mut self, kept: &mut Kept, next: i64) -> bool {
        kept.is_touched |= next > kept.position;
        kept.position = kept.position.max(next);
        true
    }

    fn demand(&self, moment: Moment) -> Demand {
        let has_new_rules = || !Arc::ptr_eq(&self.rules, &self.setup.lineage_rules.load());
        if self.waiting >= LARGEST_BATCH || (moment.uptime.saturating_sub(self.looked) >= LOOK && has_new_rules()) {
            return Demand::Now;
        }
        self.since.map_or(Demand::Nothing, Demand::Since)
    }

    fn stage(&mut self, parts: &mut BTreeMap<i32, Kept>, moment: Moment) -> Result<Staged> {
        self.looked = moment.uptime;
        let rules = self.setup.lineage_rules.load_full();
        let has_new_rules = !Arc::ptr_eq(&self.rules, &rules);
        self.rules = rules;
        let mut staged = Staged::default();
        for (number, kept) in parts.iter_mut().filter(|(_, kept)| kept.is_touched || has_new_rules) {
            kept.lineage.follow(&self.rules);
            let mut records = self.shard_records(kept.lineage.take_facts())?;
            records.extend(self.use_records(kept.lineage.take_uses())?);
            for change in kept.lineage.take_changes(kept.position)? {
                records.push(encode::change(change, &self.setup.topics.lineage_changelog, *number));
            }
            staged.shares.insert(*number, Share { position: kept.position, records });
            kept.is_touched = false;
            self.setup.metrics.lineage_nodes(kept.lineage.nodes());
        }
        (self.since, self.waiting) = (None, 0);
        Ok(staged)
    }

    fn committed(&mut self, _parts: &mut BTreeMap<i32, Kept>, _took: Duration) {}

    /// The graph takes its share along; nothing of it is anywhere else.
    fn dropped(&mut self, _partitions: &[i32], _parts: &BTreeMap<i32, Kept>) -> Result<()> {
        Ok(())
    }
}
