//! WATCH on one thread: shard-log records in, alerts, roll-ups and changelog out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::commit::{Share, Staged};
use super::copy::Ahead;
use super::seldom::Seldom;
use super::worker::{Demand, Moment, Opening, Role, Source, Worker};
use super::{Delivery, Setup, Stop, Unrecoverable, encode};
use crate::kafka::link::{Batch, Committed, From, OutRecord, Partition, Record, Until};
use crate::kafka::session::Session;
use crate::metrics::{RestoredFrom, StateSize};
use crate::model::effect::Effect;
use crate::model::time::Timestamp;
use crate::model::wire::decode_shard_record;
use crate::watch::rules::WatchRules;
use crate::watch::{Restorer, Shard, Unmatched};

/// A transaction is committed once this many records wait for it, whatever the time.
const LARGEST_BATCH: usize = 20_000;
/// Metrics of the state are told this often.
const REPORT: Duration = Duration::from_secs(1);
/// Series that are closed within one transaction, of all shards of a thread together: some tens of milliseconds. Few in tests, whose
/// shards are small: a close is to be cut in the middle there too.
const CLOSED_AT_ONCE: usize = if cfg!(test) { 12 } else { 5_000 };

/// What all shards of a thread share.
pub struct Watch<'a> {
    setup: &'a Setup,
    thread: usize,
    rules: Arc<WatchRules>,
    /// When the oldest record that is not staged was taken.
    since: Option<Duration>,
    /// Somebody waits for an alert that is not committed.
    is_urgent: bool,
    /// When metrics were last told.
    reported: Duration,
    /// Records that wait to be staged.
    waiting: usize,
    /// Shards that close hours, slice by slice.
    closing: BTreeSet<i32>,
    /// Words of people that nothing was found for.
    unmatched: Seldom,
}

/// A shard and what its records have led to since the last transaction.
pub struct Watched {
    pub shard: Shard,
    effects: Vec<OutRecord>,
    is_touched: bool,
}

/// A shard that is being put together: its changelog (the local copy of its beginning first, where there is one), then what the shard
/// log has that the changelog lacks.
pub struct Loading {
    opening: Opening,
    restorer: Restorer,
    stage: Stage,
    copy: Option<Ahead>,
    /// The copy led to nothing.
    is_copy_bad: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Begun,
    Changelog,
    /// The changelog was empty, or the log was read: there is nothing more.
    Read {
        is_empty: bool,
    },
    Log,
}

/// Runs until asked to stop; every error leaves what is committed as it was, and the supervisor starts anew from there.
///
/// # Errors
/// What this thread cannot go on from: no broker, a state that contradicts the committed offsets, transactions that do not go through.
pub fn run(setup: &Setup, thread: usize, stop: &Stop) -> Result<()> {
    let topic = &setup.topics.shard_log;
    let link = Session::join(&setup.connection, Watch::NAME, thread, topic, setup.is_exactly_once())?;
    setup.check_shard_count(&link)?;
    Worker::new(link, Watch::new(setup, thread), setup, thread, setup.incarnation(Watch::NAME, thread)).run(stop)
}

impl<'a> Watch<'a> {
    pub fn new(setup: &'a Setup, thread: usize) -> Watch<'a> {
        Watch {
            setup,
            thread,
            rules: setup.watch_rules.load_full(),
            since: None,
            is_urgent: false,
            reported: Duration::ZERO,
            waiting: 0,
            closing: BTreeSet::new(),
            unmatched: Seldom::default(),
        }
    }

    fn take_record(&mut self, watched: &mut Watched, record: &Record<'_>, moment: Moment) -> Result<()> {
        if record.offset < watched.shard.header().position {
            return Ok(());
        }
        let place = || format!("{}[{}] at offset {}", record.topic, record.partition, record.offset);
        let decoded = decode_shard_record(record.value.unwrap_or_default()).with_context(place)?;
        let append_time = Timestamp(record.timestamp.0.max(0));
        let capped = [Shard::capped_leaves, Shard::capped_resources, Shard::capped_governance].map(|count| count(&watched.shard));
        let effects = watched.shard.apply(&decoded, record.offset, append_time, &self.rules);
        let [leaves, resources, governance] = capped;
        self.setup.metrics.capped(watched.shard.capped_leaves() - leaves);
        self.setup.metrics.capped_resources(watched.shard.capped_resources() - resources);
        self.setup.metrics.capped_governance(watched.shard.capped_governance() - governance);
        self.setup.metrics.shard_record(decoded.partials.len());
        for ((policy, said), events) in watched.shard.take_verdicts() {
            self.setup.metrics.verdict(&policy, said.as_str(), events);
        }
        self.name_unmatched(&watched.shard.take_unmatched_feedback(), record, moment);
        self.keep(watched, effects, moment)?;
        watched.is_touched = true;
        self.since.get_or_insert(moment.uptime);
        if watched.shard.is_closing() {
            self.closing.insert(record.partition);
        }
        Ok(())
    }

    /// Whoever said it believes that it holds.
    fn name_unmatched(&mut self, found: &[Unmatched], record: &Record<'_>, moment: Moment) {
        let Some(first) = found.first() else { return };
        let Some(words) = self.unmatched.say(found.len(), moment.uptime) else { return };
        let (said, partition, offset) = (&first.feedback, record.partition, record.offset);
        tracing::warn!(
            partition,
            offset,
            words,
            team = &*said.team,
            alert_id = said.alert_id.as_deref(),
            verdict = said.verdict.name(),
            source = &*said.source,
            event_id = &*said.event_id,
            why = first.message(),
            "there is nothing that feedback is about; one of the words"
        );
    }

    /// The next slice of a close that was begun in an earlier transaction.
    fn close(&mut self, shards: &mut BTreeMap<i32, Watched>, moment: Moment) -> Result<()> {
        let each = (CLOSED_AT_ONCE / self.closing.len().max(1)).max(1);
        for number in std::mem::take(&mut self.closing) {
            let Some(watched) = shards.get_mut(&number) else { continue };
            // What led to the close goes first, in a transaction of its own.
            if watched.shard.is_closing() && !watched.is_touched {
                let effects = watched.shard.close_slice(&self.rules, each);
                self.keep(watched, effects, moment)?;
                watched.is_touched = true;
            }
            if watched.shard.is_closing() {
                self.closing.insert(number);
            }
        }
        Ok(())
    }

    fn keep(&mut self, watched: &mut Watched, effects: Vec<Effect>, moment: Moment) -> Result<()> {
        self.waiting += effects.len();
        for effect in effects {
            self.setup.metrics.effect(&effect, moment.now);
            self.is_urgent |= matches!(effect, Effect::Alert(_) | Effect::Violation(_));
            watched.effects.push(encode::effect(effect, &self.setup.topics, &self.setup.output)?);
        }
        Ok(())
    }

    /// State and offsets are written in one transaction: where they disagree somebody reset one of them.
    fn agree(&self, shard: Option<Shard>, opening: &Opening) -> Result<Shard> {
        let group = format!("{}-{}", self.setup.connection.application_id, Watch::NAME);
        let (topic, number) = (&self.setup.topics.shard_log, opening.partition);
        let changelog = &self.setup.topics.watch_changelog;
        let committed = opening.committed.as_ref().map(|committed| committed.offset);
        match (shard, committed) {
            (Some(shard), Some(committed)) if shard.header().position == committed => Ok(shard),
            (Some(shard), committed) if self.setup.delivery == Delivery::ExactlyOnce => bail!(Unrecoverable(format!(
                "state and committed offset of shard {number} disagree: the changelog was written at offset {position}, the group '{group}' \
                 stands at {} of {topic}[{number}]. Somebody reset the one without the other; `tollgate reset --repair` sets the group's \
                 offset to {position}",
                committed.map_or("nothing".to_string(), |offset| offset.to_string()),
                position = shard.header().position,
            ))),
            (Some(shard), _) => Ok(shard),
            (None, Some(committed)) if committed > opening.low => bail!(Unrecoverable(format!(
                "the group '{group}' stands at offset {committed} of {topic}[{number}], but its changelog '{changelog}' is empty: the state \
                 is gone. Restore that topic, or `tollgate reset --only watch --to-earliest` rebuilds the state from what the log still holds, or \
                 `tollgate reset --to-earliest` computes all anew from the input",
            ))),
            (None, _) => Ok(Shard::starting_at(u32::try_from(number)?, self.setup.shard_count, opening.low, &self.rules)),
        }
    }

    /// Begins again with the changelog alone.
    fn without_copy(&self, loading: &mut Loading, error: &anyhow::Error) {
        let partition = loading.opening.partition;
        tracing::warn!(partition, error = format!("{error:#}"), "local copy not used, the changelog is read");
        loading.restorer = Restorer::new(self.setup.shard_count);
        loading.stage = Stage::Begun;
        loading.copy = None;
        loading.is_copy_bad = true;
    }

    /// What metrics say of the shards of this thread, once a second.
    fn report(&mut self, shards: &BTreeMap<i32, Watched>, moment: Moment) {
        if moment.uptime.saturating_sub(self.reported) < REPORT {
            return;
        }
        self.reported = moment.uptime;
        let metrics = &self.setup.metrics;
        let of = |count: fn(&Shard) -> usize| shards.values().map(|watched| count(&watched.shard)).sum();
        let resources = || shards.values().map(|watched| watched.shard.resources(&self.rules));
        let (known, undetermined) = resources().fold((0, 0), |sum, one| (sum.0 + one.known, sum.1 + one.undetermined));
        let size = StateSize {
            series: of(Shard::series_count),
            open_alerts: of(Shard::open_alerts),
            open_violations: of(Shard::open_violations),
            resources: known,
            undetermined,
            set_aside: shards.values().map(|watched| watched.shard.sources_set_aside()).max().unwrap_or(0),
        };
        metrics.state(self.thread, &size);
        let watermarks = || shards.iter().map(|(number, watched)| (*number, watched.shard.header().watermarks.watermark()));
        metrics.slowest_watermark(watermarks().filter_map(|(_, watermark)| watermark).min(), moment.now);
        for (number, watermark) in watermarks() {
            metrics.watermark(Watch::NAME, &self.setup.topics.shard_log, number, watermark, moment.now);
        }
    }
}

impl Role for Watch<'_> {
    type Part = Watched;
    type Loading = Loading;

    const NAME: &'static str = "watch";

    fn topic(&self) -> &str {
        &self.setup.topics.shard_log
    }

    fn start(&self, committed: Option<&Committed>, low: i64, _high: i64) -> i64 {
        committed.map_or(low, |committed| committed.offset)
    }

    fn begin_loading(&mut self, opening: Opening) -> Result<Loading> {
        let copy = self.setup.copies.as_ref().and_then(|copies| copies.open(opening.partition));
        Ok(Loading { opening, restorer: Restorer::new(self.setup.shard_count), stage: Stage::Begun, copy, is_copy_bad: false })
    }

    fn load_own(&mut self, loading: &mut Loading) -> Result<bool> {
        let (Stage::Begun, Some(copy)) = (loading.stage, &mut loading.copy) else { return Ok(false) };
        let restorer = &mut loading.restorer;
        match copy.read(|key, value| Ok(restorer.put(key, Some(value))?)) {
            // A copy is read from its end.
            Ok(_) if restorer.minds_order() => {
                self.without_copy(loading, &anyhow::anyhow!("it holds values of an earlier version"));
                Ok(false)
            }
            Ok(more) => Ok(more),
            Err(error) => {
                self.without_copy(loading, &error);
                Ok(false)
            }
        }
    }

    fn next_source(&mut self, loading: &mut Loading) -> Result<Option<Source>> {
        let partition = loading.opening.partition;
        match loading.stage {
            Stage::Begun => {
                loading.stage = Stage::Changelog;
                let partition = Partition { topic: self.setup.topics.watch_changelog.clone(), partition };
                let from = loading.copy.as_ref().map_or(From::Beginning, |copy| From::Offset(copy.reached().next));
                Ok(Some(Source { partition, from, until: Until::End }))
            }
            Stage::Changelog => {
                let replay = match loading.restorer.changelog_read(&self.rules) {
                    // Whatever is wrong, the changelog itself decides.
                    Err(error) if loading.copy.is_some() => {
                        self.without_copy(loading, &error.into());
                        return self.next_source(loading);
                    }
                    read => read?,
                };
                let Some(replay) = replay else {
                    loading.stage = Stage::Read { is_empty: true };
                    return Ok(None);
                };
                loading.stage = Stage::Log;
                let partition = Partition { topic: self.setup.topics.shard_log.clone(), partition };
                Ok(Some(Source { partition, from: From::Offset(replay.from), until: Until::Offset(replay.to) }))
            }
            Stage::Log | Stage::Read { .. } => {
                loading.stage = Stage::Read { is_empty: loading.stage == Stage::Read { is_empty: true } };
                Ok(None)
            }
        }
    }

    fn load(&mut self, loading: &mut Loading, record: &Record<'_>) -> Result<()> {
        let place = || format!("{}[{}] at offset {}", record.topic, record.partition, record.offset);
        if loading.stage == Stage::Log {
            let decoded = decode_shard_record(record.value.unwrap_or_default()).with_context(place)?;
            loading.restorer.replay(&decoded, record.offset);
            return Ok(());
        }
        loading.restorer.put(record.key.unwrap_or_default(), record.value).with_context(place)
    }

    fn finish_loading(&mut self, loading: Loading) -> Result<Watched> {
        let shard = match loading.stage {
            Stage::Read { is_empty: true } => None,
            _ => Some(loading.restorer.finish()?),
        };
        let shard = self.agree(shard, &loading.opening)?;
        let partition = loading.opening.partition;
        if shard.is_closing() {
            self.closing.insert(partition);
        }
        self.setup.metrics.restored_from(if loading.copy.is_some() { RestoredFrom::Copy } else { RestoredFrom::Changelog });
        if let Some(copies) = &self.setup.copies {
            copies.keep(partition, loading.is_copy_bad);
        }
        Ok(Watched { shard, effects: Vec::new(), is_touched: false })
    }

    fn take(&mut self, watched: &mut Watched, batch: &Batch, from: usize, moment: Moment) -> Result<usize> {
        for index in from..batch.len() {
            if self.waiting >= LARGEST_BATCH || watched.shard.is_closing() {
                return Ok(index);
            }
            let Some(record) = batch.get(index) else { break };
            self.take_record(watched, &record, moment)?;
        }
        Ok(batch.len())
    }

    fn demand(&self, _moment: Moment) -> Demand {
        match self.since {
            _ if self.waiting >= LARGEST_BATCH => Demand::Now,
            Some(since) if self.is_urgent => Demand::Urgent(since),
            // Its records wait until the close is done; those of other shards have their turn between two slices.
            _ if !self.closing.is_empty() => Demand::Urgent(Duration::ZERO),
            Some(since) => Demand::Since(since),
            None => Demand::Nothing,
        }
    }

    fn stage(&mut self, shards: &mut BTreeMap<i32, Watched>, moment: Moment) -> Result<Staged> {
        self.close(shards, moment)?;
        let mut staged = Staged::default();
        for (number, watched) in shards.iter_mut().filter(|(_, watched)| watched.is_touched) {
            let mut records = std::mem::take(&mut watched.effects);
            for change in watched.shard.take_changes() {
                records.push(encode::change(change, &self.setup.topics.watch_changelog, *number));
            }
            staged.shares.insert(*number, Share { position: watched.shard.header().position, records });
            watched.is_touched = false;
        }
        self.since = None;
        self.is_urgent = false;
        self.waiting = 0;
        self.report(shards, moment);
        // Rules change between two transactions.
        self.rules = self.setup.watch_rules.load_full();
        Ok(staged)
    }

    fn committed(&mut self, shards: &mut BTreeMap<i32, Watched>, _took: Duration) {
        for (number, watched) in shards {
            self.setup.care.needs(*number, watched.shard.header().replay_from);
        }
    }

    /// A shard takes its share along; nothing of it is anywhere else.
    fn dropped(&mut self, partitions: &[i32], _shards: &BTreeMap<i32, Watched>) -> Result<()> {
        self.closing.retain(|number| !partitions.contains(number));
        for partition in partitions {
            self.setup.care.forget(*partition);
            if let Some(copies) = &self.setup.copies {
                copies.leave(*partition);
            }
        }
        Ok(())
    }
}
