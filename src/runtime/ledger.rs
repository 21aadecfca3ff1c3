//! LEDGER on one thread: billing lines in, signed deltas into the shard log and the changelog out.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::commit::{Share, Staged};
use super::intake::fitting;
use super::seldom::Seldom;
use super::worker::{Demand, Moment, Opening, Role, Source, Worker};
use super::{Delivery, Setup, Stop, Unrecoverable, encode};
use crate::kafka::link::{Batch, Committed, From, OutRecord, Partition, Record, Until};
use crate::kafka::session::Session;
use crate::ledger::{self, Ledger, Overfull};
use crate::model::billing::BilledDelta;
use crate::model::effect::Effect;
use crate::model::hash::shard_of;
use crate::model::partial::{Partial, ShardRecord};
use crate::model::wire::decode_ledger_record;

/// A transaction is committed once this many lines wait for it, whatever the time.
const LARGEST_BATCH: usize = 20_000;
/// Metrics of the state are told this often.
const REPORT: Duration = Duration::from_secs(1);

/// What all partitions of a thread share.
pub struct Bookkeeper<'a> {
    setup: &'a Setup,
    thread: usize,
    since: Option<Duration>,
    waiting: usize,
    reported: Duration,
    overfull: Seldom,
}

/// A partition of the ledger log.
pub struct Kept {
    ledger: Ledger,
    is_touched: bool,
}

/// A partition whose changelog is being read.
pub struct Loading {
    opening: Opening,
    ledger: Ledger,
    is_read: bool,
    has_position: bool,
}

/// Runs until asked to stop; every error leaves what is committed as it was, and the supervisor starts anew from there.
///
/// # Errors
/// What this thread cannot go on from: no broker, a state that contradicts the committed offsets, transactions that do not go through.
pub fn run(setup: &Setup, thread: usize, stop: &Stop) -> Result<()> {
    let topics = &setup.topics;
    let link = Session::join(&setup.connection, Bookkeeper::NAME, thread, &topics.ledger_log, setup.is_exactly_once())?;
    setup.check_shard_count(&link)?;
    let (log, changelog) = (link.partition_count(&topics.ledger_log)?, link.partition_count(&topics.ledger_changelog)?);
    if log != changelog {
        bail!(
            "topic '{}' has {log} partitions, '{}' has {changelog}: one belongs to the other",
            topics.ledger_log,
            topics.ledger_changelog
        );
    }
    Worker::new(link, Bookkeeper::new(setup, thread), setup, thread, setup.incarnation(Bookkeeper::NAME, thread)).run(stop)
}

/// The amortised cost of each delta, for the shard of its team.
pub fn shard_records(deltas: Vec<BilledDelta>, shard_count: u32) -> Vec<(u32, ShardRecord)> {
    let mut shards = BTreeMap::<u32, Vec<Partial>>::new();
    for delta in deltas {
        shards.entry(shard_of(&delta.leaf.team, shard_count)).or_default().push(ledger::partial(delta));
    }
    let mut records = Vec::new();
    for (shard, mut partials) in shards {
        while !partials.is_empty() {
            let rest = partials.split_off(fitting(&partials));
            records.push((shard, ShardRecord { partials, ..ShardRecord::default() }));
            partials = rest;
        }
    }
    records
}

impl<'a> Bookkeeper<'a> {
    pub fn new(setup: &'a Setup, thread: usize) -> Bookkeeper<'a> {
        Bookkeeper { setup, thread, since: None, waiting: 0, reported: Duration::ZERO, overfull: Seldom::default() }
    }

    fn shard_records(&self, deltas: Vec<BilledDelta>) -> Result<Vec<OutRecord>> {
        let records = shard_records(deltas, self.setup.shard_count).into_iter();
        records.map(|(shard, record)| encode::effect(Effect::Shard { shard, record }, &self.setup.topics, &self.setup.output)).collect()
    }

    /// State and offsets are written in one transaction: where they disagree somebody reset one of them.
    fn agree(&self, loading: Loading) -> Result<Ledger> {
        let Loading { opening, ledger, has_position, .. } = loading;
        let group = format!("{}-{}", self.setup.connection.application_id, Self::NAME);
        let (topic, number) = (&self.setup.topics.ledger_log, opening.partition);
        let committed = opening.committed.as_ref().map(|committed| committed.offset);
        match (has_position, committed) {
            (true, Some(committed)) if committed != ledger.position() && self.setup.delivery == Delivery::ExactlyOnce => {
                bail!(Unrecoverable(format!(
                    "the ledger's changelog was written at offset {} of {topic}[{number}], the group '{group}' stands at {committed}: \
                     somebody reset the one without the other. Set the group's offset to {}",
                    ledger.position(),
                    ledger.position(),
                )))
            }
            (true, _) if ledger.position() < opening.low => bail!(Unrecoverable(format!(
                "{topic}[{number}] begins at {}, but {} is the next to read: retention has removed lines that were never counted",
                opening.low,
                ledger.position(),
            ))),
            (true, _) => Ok(ledger),
            (false, Some(committed)) if committed > opening.low => bail!(Unrecoverable(format!(
                "the group '{group}' stands at offset {committed} of {topic}[{number}], but '{}' is empty: the ledger's state is gone",
                self.setup.topics.ledger_changelog
            ))),
            (false, _) => Ok(Ledger::starting_at(opening.low)),
        }
    }

    fn report(&mut self, parts: &BTreeMap<i32, Kept>, moment: Moment) {
        if moment.uptime.saturating_sub(self.reported) >= REPORT {
            self.reported = moment.uptime;
            self.setup.metrics.ledger_lines(self.thread, parts.values().map(|kept| kept.ledger.lines()).sum());
        }
    }
}

impl Role for Bookkeeper<'_> {
    type Part = Kept;
    type Loading = Loading;

    const NAME: &'static str = "ledger";

    fn topic(&self) -> &str {
        &self.setup.topics.ledger_log
    }

    fn start(&self, committed: Option<&Committed>, low: i64, _high: i64) -> i64 {
        committed.map_or(low, |committed| committed.offset)
    }

    fn begin_loading(&mut self, opening: Opening) -> Result<Loading> {
        Ok(Loading { opening, ledger: Ledger::default(), is_read: false, has_position: false })
    }

    fn next_source(&mut self, loading: &mut Loading) -> Result<Option<Source>> {
        if std::mem::replace(&mut loading.is_read, true) {
            return Ok(None);
        }
        let partition = Partition { topic: self.setup.topics.ledger_changelog.clone(), partition: loading.opening.partition };
        Ok(Some(Source { partition, from: From::Beginning, until: Until::End }))
    }

    fn load(&mut self, loading: &mut Loading, record: &Record<'_>) -> Result<()> {
        let place = || format!("{}[{}] at offset {}", record.topic, record.partition, record.offset);
        loading.has_position |= loading.ledger.restore(record.key.unwrap_or_default(), record.value).with_context(place)?;
        Ok(())
    }

    fn finish_loading(&mut self, loading: Loading) -> Result<Kept> {
        Ok(Kept { ledger: self.agree(loading)?, is_touched: false })
    }

    fn take(&mut self, kept: &mut Kept, batch: &Batch, from: usize, moment: Moment) -> Result<usize> {
        for index in from..batch.len() {
            if self.waiting >= LARGEST_BATCH {
                return Ok(index);
            }
            let Some(record) = batch.get(index) else { break };
            if record.offset < kept.ledger.position() {
                continue;
            }
            let place = || format!("{}[{}] at offset {}", record.topic, record.partition, record.offset);
            let decoded = decode_ledger_record(record.value.unwrap_or_default()).with_context(place)?;
            self.waiting += decoded.items.len();
            kept.ledger.apply(&decoded, record.offset);
            kept.is_touched = true;
            self.since.get_or_insert(moment.uptime);
        }
        Ok(batch.len())
    }

    fn stand_at(&mut self, kept: &mut Kept, next: i64) -> bool {
        kept.is_touched |= kept.ledger.stand_at(next);
        true
    }

    fn demand(&self, _moment: Moment) -> Demand {
        if self.waiting >= LARGEST_BATCH {
            return Demand::Now;
        }
        self.since.map_or(Demand::Nothing, Demand::Since)
    }

    fn stage(&mut self, parts: &mut BTreeMap<i32, Kept>, moment: Moment) -> Result<Staged> {
        let mut staged = Staged::default();
        for (number, kept) in parts.iter_mut().filter(|(_, kept)| kept.is_touched) {
            let mut records = self.shard_records(kept.ledger.take_deltas())?;
            for Overfull { source, period } in kept.ledger.take_overfull() {
                let Some(months) = self.overfull.say(1, moment.uptime) else { continue };
                tracing::error!(
                    %source, %period, months,
                    "the bill of this month, or of others too, has come in more deliveries than are remembered: what the latest ones left out is not taken back. \
                     Give deliveries that belong together one id, or have the month delivered under another source"
                );
            }
            for change in kept.ledger.take_changes()? {
                records.push(encode::change(change, &self.setup.topics.ledger_changelog, *number));
            }
            staged.shares.insert(*number, Share { position: kept.ledger.position(), records });
            kept.is_touched = false;
        }
        (self.since, self.waiting) = (None, 0);
        self.report(parts, moment);
        Ok(staged)
    }

    fn committed(&mut self, _parts: &mut BTreeMap<i32, Kept>, _took: Duration) {}

    /// A partition takes its share along; nothing of it is anywhere else.
    fn dropped(&mut self, _partitions: &[i32], _parts: &BTreeMap<i32, Kept>) -> Result<()> {
        Ok(())
    }
}
