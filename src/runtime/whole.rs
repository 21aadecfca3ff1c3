//! The parts of intake that read `resource-events`, `activity-events`, `feedback` and `lineage-events`: each event goes on whole, to the
//! shard of its team or, where lineage needs it, to the lineage log; what cannot be read to dead-letter. Nothing is remembered: who is
//! behind knows which event it has seen.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};

use super::commit::{Share, Staged};
use super::flood::Guard;
use super::schemas::{Client, Lookup, RETRY, Unknown};
use super::seldom::Seldom;
use super::worker::{Demand, Moment, Opening, Role, Source, Worker};
use super::{Setup, Stop, Unrecoverable, encode, go_on_behind, removed_unread};
use crate::intake::decode::table::WriterSchemas;
use crate::intake::lineage;
use crate::intake::rules::IntakeRules;
use crate::intake::whole::{self, Topic, WholeOutcome};
use crate::kafka::link::{Batch, Committed, OutRecord, Record};
use crate::kafka::session::Session;
use crate::lineage::concerns;
use crate::metrics::UNKNOWN_ACTION;
use crate::model::activity::ACTIONS;
use crate::model::effect::Effect;
use crate::model::hash::shard_of;
use crate::model::lineage::{LineageItem, LineageRecord};
use crate::model::partial::{ShardEvent, ShardRecord};
use crate::model::record::{DeadLetter, InputRecord, Reject, RejectReason};
use crate::model::time::Timestamp;
use crate::model::wire::{encode_lineage_record, encode_shard_record};

/// Events of one transaction, whatever the time.
const LARGEST_BATCH: usize = 5_000;
/// Events packed into one record of the shard log: some 100 KB.
const EVENTS_PER_RECORD: usize = 200;

/// What all partitions of one of the topics share, by its place in [`NAMES`].
pub struct Whole<'a, const TOPIC: usize> {
    setup: &'a Setup,
    registry: Client,
    schemas: WriterSchemas,
    unknown: Unknown,
    rules: Arc<IntakeRules>,
    guard: Guard,
    since: Option<Duration>,
    waiting: usize,
    unknown_actions: Seldom,
    /// Counts of what is staged, told to the metrics once it is committed.
    staged: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    read: u64,
    /// Activity with an action that nothing here knows: it goes on, and meets nothing.
    unknown_actions: u64,
    rejected: BTreeMap<RejectReason, u64>,
}

/// One input partition, and what its records have led to since the last transaction.
#[derive(Default)]
pub struct Input {
    next: i64,
    /// What `next` was when it was last staged.
    staged: i64,
    events: BTreeMap<u32, Vec<ShardEvent>>,
    lineage: Vec<LineageItem>,
    dead: Vec<OutRecord>,
    counts: Counts,
    held_since: Option<Duration>,
}

/// Names of the roles, as groups, metrics and the health page have them.
pub const NAMES: [&str; 4] = ["resources", "activity", "feedback", "openlineage"];

/// How the records of each are read.
#[derive(Clone, Copy)]
enum Reads {
    Whole(Topic),
    OpenLineage,
}

const READS: [Reads; 4] =
    [Reads::Whole(Topic::Resources), Reads::Whole(Topic::Activity), Reads::Whole(Topic::Feedback), Reads::OpenLineage];

/// An event that could be read: where it goes.
#[derive(Default)]
struct Accepted {
    shard: Option<(u32, ShardEvent)>,
    lineage: Option<LineageItem>,
    /// For every shard: what one team grants another one uses.
    all: Option<ShardEvent>,
}

enum Taken {
    Accepted(Accepted),
    Rejected(Reject),
    NeedsSchema(u32),
}

/// Runs until asked to stop; every error leaves what is committed as it was, and the supervisor starts anew from there.
///
/// # Errors
/// What this thread cannot go on from: no broker, transactions that do not go through.
pub fn run<const TOPIC: usize>(setup: &Setup, thread: usize, stop: &Stop) -> Result<()> {
    let role = Whole::<TOPIC>::new(setup)?;
    let name = Whole::<TOPIC>::NAME;
    let link = Session::join(&setup.connection, name, thread, role.topic(), setup.is_exactly_once())?;
    setup.check_shard_count(&link)?;
    Worker::new(link, role, setup, thread, setup.incarnation(name, thread)).run(stop)
}

impl<'a, const TOPIC: usize> Whole<'a, TOPIC> {
    const READS: Reads = READS[TOPIC];

    /// # Errors
    /// A registry client that cannot be made.
    pub fn new(setup: &'a Setup) -> Result<Whole<'a, TOPIC>> {
        Ok(Whole {
            setup,
            registry: Client::new(&setup.schemas)?,
            schemas: WriterSchemas::new(match Self::READS {
                Reads::Whole(topic) => topic.table(),
                // Always JSON: none is ever looked up.
                Reads::OpenLineage => Topic::Activity.table(),
            }),
            unknown: Unknown::default(),
            rules: setup.intake_rules.load_full(),
            guard: Guard::new(setup.dead_letter_ratio, setup.dead_letter_sample),
            since: None,
            waiting: 0,
            unknown_actions: Seldom::default(),
            staged: Counts::default(),
        })
    }

    /// False: its schema cannot be had now.
    fn take_record(&mut self, input: &mut Input, record: &InputRecord<'_>, moment: Moment) -> Result<bool> {
        let reject = loop {
            match self.read(record, moment.now) {
                Taken::NeedsSchema(id) => match self.registry.look_up(id) {
                    Lookup::Schema(text) => self.schemas.insert(id, &text),
                    Lookup::Unknown => {
                        self.unknown.note(id, moment.uptime);
                        self.schemas.insert_unknown(id);
                    }
                    Lookup::Unavailable(reason) => {
                        let InputRecord { topic, partition, offset, .. } = record;
                        tracing::warn!(schema = id, reason, topic, partition, offset, "schema not available, the partition waits");
                        return Ok(false);
                    }
                },
                Taken::Accepted(Accepted { shard, lineage, all }) => {
                    for (number, event) in
                        all.into_iter().flat_map(|event| (0..self.setup.shard_count).map(move |number| (number, event.clone())))
                    {
                        input.events.entry(number).or_default().push(event);
                    }
                    if let Some((shard, event)) = shard {
                        self.note_action(&event, input, record, moment);
                        input.events.entry(shard).or_default().push(event);
                    }
                    input.lineage.extend(lineage);
                    break None;
                }
                Taken::Rejected(reject) => break Some(reject),
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

    /// Whoever sends it believes that it is heard.
    fn note_action(&mut self, event: &ShardEvent, input: &mut Input, record: &InputRecord<'_>, moment: Moment) {
        let ShardEvent::Activity(activity) = event else { return };
        let Some(action) = activity.unknown_action() else { return };
        input.counts.unknown_actions += 1;
        let Some(events) = self.unknown_actions.say(1, moment.uptime) else { return };
        let (topic, partition, offset) = (record.topic, record.partition, record.offset);
        let (team, source, event_id, known) = (&*activity.team, &*activity.source, &*activity.event_id, ACTIONS.join(", "));
        let what = "activity with an action that nothing knows; one of the events";
        tracing::warn!(topic, partition, offset, events, action, known, team, source, event_id, "{what}");
    }

    fn read(&self, record: &InputRecord<'_>, now: Timestamp) -> Taken {
        match Self::READS {
            Reads::OpenLineage => match lineage::read(record, now, &self.rules) {
                Ok(event) => Taken::Accepted(Accepted { lineage: Some(LineageItem::Event(event)), ..Accepted::default() }),
                Err(reject) => Taken::Rejected(reject),
            },
            Reads::Whole(topic) => match whole::process(topic, record, now, &self.rules, &self.schemas) {
                WholeOutcome::Accepted(event) => {
                    let lineage = match &event {
                        ShardEvent::Activity(activity) if concerns(activity) => Some(LineageItem::Activity(activity.clone())),
                        _ => None,
                    };
                    let all = event.for_all();
                    let shard = event.team().map(|team| shard_of(team, self.setup.shard_count));
                    Taken::Accepted(Accepted { shard: shard.map(|shard| (shard, event)), lineage, all })
                }
                WholeOutcome::Rejected(reject) => Taken::Rejected(reject),
                WholeOutcome::NeedsSchema(id) => Taken::NeedsSchema(id),
            },
        }
    }

    fn lineage_records(&self, items: Vec<LineageItem>) -> Result<Vec<OutRecord>> {
        encode::packed(items, EVENTS_PER_RECORD, (&self.setup.topics.lineage_log, 0), &|items| {
            let record = LineageRecord { items };
            Ok((encode_lineage_record(&record)?, record.items))
        })
    }

    fn shard_records(&self, shard: u32, events: Vec<ShardEvent>) -> Result<Vec<OutRecord>> {
        encode::packed(events, EVENTS_PER_RECORD, (&self.setup.topics.shard_log, i32::try_from(shard)?), &|events| {
            let record = ShardRecord { events, ..ShardRecord::default() };
            Ok((encode_shard_record(&record)?, record.events))
        })
    }
}

impl<const TOPIC: usize> Role for Whole<'_, TOPIC> {
    type Part = Input;
    type Loading = Opening;

    const NAME: &'static str = NAMES[TOPIC];

    fn topic(&self) -> &str {
        let topics = &self.setup.topics;
        match Self::READS {
            Reads::Whole(Topic::Resources) => &topics.resource_events,
            Reads::Whole(Topic::Activity) => &topics.activity_events,
            Reads::Whole(Topic::Feedback) => &topics.feedback,
            Reads::OpenLineage => &topics.lineage_events,
        }
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
        let (topic, number) = (self.topic(), opening.partition);
        if next < opening.low {
            let mend = go_on_behind(&self.setup.connection, Self::NAME, topic, number, opening.low);
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
            for (shard, events) in std::mem::take(&mut input.events) {
                records.extend(self.shard_records(shard, events)?);
            }
            records.extend(self.lineage_records(std::mem::take(&mut input.lineage))?);
            let counts = std::mem::take(&mut input.counts);
            self.staged.read += counts.read;
            self.staged.unknown_actions += counts.unknown_actions;
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
        let Counts { read, unknown_actions, rejected } = std::mem::take(&mut self.staged);
        let metrics = &self.setup.metrics;
        metrics.forwarded(Self::NAME, "accepted", read - unknown_actions - rejected.values().sum::<u64>());
        if unknown_actions > 0 {
            metrics.forwarded(Self::NAME, UNKNOWN_ACTION, unknown_actions);
        }
        for (reason, count) in rejected {
            metrics.forwarded(Self::NAME, reason.as_str(), count);
        }
    }

    /// A partition takes its share along; nothing of it is anywhere else.
    fn dropped(&mut self, _partitions: &[i32], _inputs: &BTreeMap<i32, Input>) -> Result<()> {
        Ok(())
    }
}
