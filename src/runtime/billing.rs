//! BILLING, the part of intake that reads `billing-events`: lines go on to the ledger log, what cannot be read to dead-letter. Nothing is
//! remembered: the ledger knows which statement of a line counts, so that an event that comes twice does no harm.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};

use super::commit::{Share, Staged};
use super::flood::Guard;
use super::schemas::{Client, Lookup, RETRY, Unknown};
use super::worker::{Demand, Moment, Opening, Role, Source, Worker};
use super::{Setup, Stop, Unrecoverable, encode, go_on_behind, removed_unread};
use crate::intake::billing::{self, Accepted, BillingOutcome};
use crate::intake::decode::billing::BILLING;
use crate::intake::decode::table::WriterSchemas;
use crate::intake::rules::IntakeRules;
use crate::kafka::link::{Batch, Committed, OutRecord, Record};
use crate::kafka::session::Session;
use crate::ledger;
use crate::model::Text;
use crate::model::billing::{LedgerItem, LedgerRecord};
use crate::model::effect::Effect;
use crate::model::record::{DeadLetter, InputRecord, RejectReason};
use crate::model::wire::encode_ledger_record;

/// Rows of one transaction, whatever the time.
const LARGEST_BATCH: usize = 20_000;
/// Lines packed into one record of the ledger log: some 100 KB.
const LINES_PER_RECORD: usize = 500;
/// ... and never more than this, long names included.
const BYTES_PER_RECORD: usize = 512 * 1024;

/// What all partitions of a thread share.
pub struct Billing<'a> {
    setup: &'a Setup,
    registry: Client,
    schemas: WriterSchemas,
    unknown: Unknown,
    rules: Arc<IntakeRules>,
    guard: Guard,
    ledger_partitions: u32,
    since: Option<Duration>,
    waiting: usize,
    /// Counts of what is staged, told to the metrics once it is committed.
    staged: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    read: u64,
    rejected: BTreeMap<RejectReason, u64>,
}

/// One input partition, and what its records have led to since the last transaction.
#[derive(Default)]
pub struct Input {
    next: i64,
    /// What `next` was when it was last staged.
    staged: i64,
    lines: BTreeMap<(Text, Text), Vec<LedgerItem>>,
    dead: Vec<OutRecord>,
    counts: Counts,
    held_since: Option<Duration>,
}

/// Runs until asked to stop; every error leaves what is committed as it was, and the supervisor starts anew from there.
///
/// # Errors
/// What this thread cannot go on from: no broker, transactions that do not go through.
pub fn run(setup: &Setup, thread: usize, stop: &Stop) -> Result<()> {
    let link = Session::join(&setup.connection, Billing::NAME, thread, &setup.topics.billing_events, setup.is_exactly_once())?;
    let ledger_partitions = u32::try_from(link.partition_count(&setup.topics.ledger_log)?)?;
    let role = Billing::new(setup, ledger_partitions)?;
    Worker::new(link, role, setup, thread, setup.incarnation(Billing::NAME, thread)).run(stop)
}

impl<'a> Billing<'a> {
    /// # Errors
    /// A registry client that cannot be made.
    pub fn new(setup: &'a Setup, ledger_partitions: u32) -> Result<Billing<'a>> {
        Ok(Billing {
            setup,
            registry: Client::new(&setup.schemas)?,
            schemas: WriterSchemas::new(&BILLING),
            unknown: Unknown::default(),
            rules: setup.intake_rules.load_full(),
            guard: Guard::new(setup.dead_letter_ratio, setup.dead_letter_sample),
            ledger_partitions,
            since: None,
            waiting: 0,
            staged: Counts::default(),
        })
    }

    /// False: its schema cannot be had now.
    fn take_record(&mut self, input: &mut Input, record: &InputRecord<'_>, moment: Moment) -> Result<bool> {
        let reject = loop {
            match billing::process(record, moment.now, &self.rules, &self.schemas) {
                BillingOutcome::NeedsSchema(id) => match self.registry.look_up(id) {
                    Lookup::Schema(text) => self.schemas.insert(id, &text),
                    Lookup::Unknown => {
                        self.unknown.note(id, moment.uptime);
                        self.schemas.insert_unknown(id);
                    }
                    Lookup::Unavailable(reason) => {
                        let InputRecord { partition, offset, .. } = record;
                        tracing::warn!(schema = id, reason, partition, offset, "schema not available, the partition waits");
                        return Ok(false);
                    }
                },
                BillingOutcome::Accepted(accepted) => {
                    let Accepted { source, period, item } = *accepted;
                    input.lines.entry((source, period)).or_default().push(item);
                    break None;
                }
                BillingOutcome::Rejected(reject) => break Some(reject),
            }
        };
        input.next = record.offset + 1;
        input.counts.read += 1;
        self.waiting += 1;
        self.since.get_or_insert(moment.uptime);
        if let Some(flooded) = self.guard.observe(record, reject.as_ref()) {
            bail!(Unrecoverable(flooded));
        }
        if let Some(reject) = reject {
            *input.counts.rejected.entry(reject.reason).or_default() += 1;
            let effect = Effect::DeadLetter(Box::new(DeadLetter::of(record, reject)));
            input.dead.push(encode::effect(effect, &self.setup.topics, &self.setup.output)?);
        }
        Ok(true)
    }

    fn ledger_records(&self, source: &Text, period: &Text, mut items: Vec<LedgerItem>) -> Result<Vec<OutRecord>> {
        let partition = i32::try_from(ledger::partition_of(source, period, self.ledger_partitions))?;
        let mut records = Vec::new();
        while !items.is_empty() {
            let rest = items.split_off(fitting(&items));
            let record = LedgerRecord { source: source.clone(), period: period.clone(), items };
            records.push(OutRecord {
                topic: self.setup.topics.ledger_log.clone(),
                partition: Some(partition),
                value: Some(encode_ledger_record(&record)?),
                ..OutRecord::default()
            });
            items = rest;
        }
        Ok(records)
    }
}

/// How many of the items go into one record: by number, and by what their texts take.
fn fitting(items: &[LedgerItem]) -> usize {
    let mut bytes = 0;
    for (count, item) in items.iter().enumerate().take(LINES_PER_RECORD) {
        bytes += match item {
            LedgerItem::Complete(completion) => 64 + completion.delivery.len(),
            LedgerItem::Line(line) => {
                let leaf = &line.charge.leaf;
                let dimensions: usize = leaf.dimensions().named().iter().map(|(_, text)| text.len()).sum();
                150 + leaf.team.len() + dimensions + line.delivery.as_ref().map_or(0, |delivery| delivery.len())
            }
        };
        if bytes > BYTES_PER_RECORD {
            return count.max(1);
        }
    }
    items.len().min(LINES_PER_RECORD)
}

impl Role for Billing<'_> {
    type Part = Input;
    type Loading = Opening;

    const NAME: &'static str = "billing";

    fn topic(&self) -> &str {
        &self.setup.topics.billing_events
    }

    fn start(&self, committed: Option<&Committed>, low: i64, _high: i64) -> i64 {
        committed.map_or(low, |committed| committed.offset)
    }

    fn begin_loading(&mut self, opening: Opening) -> Result<Opening> {
        Ok(opening)
    }

    fn next_source(&mut self, _loading: &mut Opening) -> Result<Option<Source>> {
        Ok(None)
    }

    fn load(&mut self, _loading: &mut Opening, _record: &Record<'_>) -> Result<()> {
        Ok(())
    }

    fn finish_loading(&mut self, opening: Opening) -> Result<Input> {
        let next = self.start(opening.committed.as_ref(), opening.low, opening.high);
        let (topic, number) = (&self.setup.topics.billing_events, opening.partition);
        if next < opening.low {
            let behind = go_on_behind(&self.setup.connection, Self::NAME, topic, number, opening.low);
            let mend = format!(
                "{behind}. Rows that are lost come back with another import: they replace their predecessors, nothing is counted twice"
            );
            bail!(removed_unread(topic, number, next, opening.low, &mend));
        }
        Ok(Input { next, staged: next, ..Input::default() })
    }

    fn take(&mut self, input: &mut Input, batch: &Batch, from: usize, moment: Moment) -> Result<usize> {
        let is_held = input.held_since.is_some_and(|since| moment.uptime.saturating_sub(since) < RETRY);
        if is_held || self.setup.care.are_shards_behind() {
            return Ok(from);
        }
        self.unknown.each_old(moment.uptime, |id| self.schemas.forget(id));
        input.held_since = None;
        // Rules change between two transactions, and a topic that was quiet for days must not begin with those of then.
        if self.since.is_none() {
            self.rules = self.setup.intake_rules.load_full();
        }
        let mut headers = Vec::new();
        for index in from..batch.len() {
            let Some(record) = batch.get(index) else { break };
            if record.offset < input.next {
                continue;
            }
            headers.clear();
            record.add_headers(&mut headers);
            let Record { topic, partition, offset, timestamp, key, value, .. } = record;
            let record = InputRecord { topic, partition, offset, timestamp, key, value, headers: &headers };
            if self.waiting >= LARGEST_BATCH {
                return Ok(index);
            }
            if !self.take_record(input, &record, moment)? {
                input.held_since = Some(moment.uptime);
                return Ok(index);
            }
        }
        Ok(batch.len())
    }

    fn stand_at(&mut self, input: &mut Input, next: i64) -> bool {
        input.next = input.next.max(next);
        true
    }

    fn demand(&self, _moment: Moment) -> Demand {
        if self.waiting >= LARGEST_BATCH {
            return Demand::Now;
        }
        self.since.map_or(Demand::Nothing, Demand::Since)
    }

    fn stage(&mut self, inputs: &mut BTreeMap<i32, Input>, _moment: Moment) -> Result<Staged> {
        let mut staged = Staged::default();
        for (number, input) in inputs.iter_mut().filter(|(_, input)| input.next > input.staged) {
            let mut records = std::mem::take(&mut input.dead);
            for ((source, period), items) in std::mem::take(&mut input.lines) {
                records.extend(self.ledger_records(&source, &period, items)?);
            }
            let counts = std::mem::take(&mut input.counts);
            self.staged.read += counts.read;
            for (reason, count) in counts.rejected {
                *self.staged.rejected.entry(reason).or_default() += count;
            }
            staged.shares.insert(*number, Share { position: input.next, records });
            input.staged = input.next;
        }
        (self.since, self.waiting) = (None, 0);
        Ok(staged)
    }

    fn committed(&mut self, _inputs: &mut BTreeMap<i32, Input>, _took: Duration) {
        let Counts { read, rejected } = std::mem::take(&mut self.staged);
        let metrics = &self.setup.metrics;
        metrics.billing("accepted", read - rejected.values().sum::<u64>());
        for (reason, count) in rejected {
            metrics.billing(reason.as_str(), count);
        }
    }

    /// A partition takes its share along; nothing of it is anywhere else.
    fn dropped(&mut self, _partitions: &[i32], _inputs: &BTreeMap<i32, Input>) -> Result<()> {
        Ok(())
    }
}
