//! INTAKE on one thread: usage events in, partials, markers and dead letters out, one transaction per short interval.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::commit::{Share, Staged};
use super::flood::Guard;
use super::schemas::{Client, Lookup, RETRY, Unknown};
use super::worker::{Demand, Moment, Opening, Role, Source as StateSource, Worker};
use super::{Delivery, Setup, Stop, Unrecoverable, encode, removed_unread};
use crate::intake::rules::IntakeRules;
use crate::intake::state::Stored;
use crate::intake::{self, Batch as Sums, Counts, Outcome, PartitionState, Progress, SchemaTable, TOGETHER};
use crate::kafka::identity::Inspector;
use crate::kafka::link::{Batch, Committed, From, OutRecord, Partition, Record, Until};
use crate::kafka::session::Session;
use crate::model::effect::{Effect, StateChange};
use crate::model::partial::{Marker, Partial, ShardRecord, Source};
use crate::model::record::{DeadLetter, InputRecord, Reject};

/// Markers go to every shard this often even where there is nothing to say: ticks are records.
const TICK: Duration = Duration::from_secs(1);
/// Caught up and empty for this long: the partition is idle and does not hold the watermark.
const IDLE_AFTER: Duration = Duration::from_secs(10);
/// Who has not looked for so long (brokers did not answer) does not know whether there was anything: it is no silence.
const LOOKED_AWAY: Duration = Duration::from_secs(3);
/// Records of one transaction, whatever the time.
const LARGEST_BATCH: u64 = 200_000;
/// Partials packed into one shard-log record: some 100 KB.
const PARTIALS_PER_RECORD: usize = 500;
/// ... and never more than this, long names and many users included.
const BYTES_PER_RECORD: usize = 512 * 1024;

/// What all input partitions of a thread share.
pub struct Intake<'a> {
    setup: &'a Setup,
    thread: usize,
    registry: Client,
    schemas: SchemaTable,
    unknown: Unknown,
    rules: Arc<IntakeRules>,
    topics: Topics,
    sums: Sums,
    dead: Vec<DeadLetter>,
    guard: Guard,
    /// When the oldest record that is not staged was taken.
    since: Option<Duration>,
    ticked: Duration,
    /// Counts of what is staged, told to the metrics once it is committed.
    staged: Counts,
    partitions: usize,
}

/// What the brokers say of its topics: partition counts, and which topic the input's name stands for now.
#[derive(Clone, Debug)]
pub struct Topics {
    pub input: i32,
    pub changelog: i32,
    /// `None`: brokers before Kafka 2.8 give topics no id.
    pub input_id: Option<String>,
}

/// One input partition that takes records.
pub struct Input {
    number: i32,
    state: PartitionState,
    /// Records below it were committed before this worker began: they only fill the dedupe window.
    begin: i64,
    next: i64,
    caught_up: bool,
    /// Nothing yet: it has just been taken over, and what has come meanwhile was not fetched yet.
    quiet_since: Option<Duration>,
    /// When there was last a look whether there is anything.
    looked: Option<Duration>,
    /// Waits for a schema since then.
    held_since: Option<Duration>,
    topic_id: String,
}

impl Input {
    /// After a time in which nobody looked it is not known to be quiet: much may have come meanwhile.
    fn look(&mut self, now: Duration) {
        let away = self.looked.replace(now).map_or(Duration::ZERO, |looked| now.saturating_sub(looked));
        if away > LOOKED_AWAY {
            self.quiet_since = Some(now);
        }
    }
}

/// An input partition whose key is being read.
pub struct Loading {
    opening: Opening,
    is_read: bool,
    stored: Option<Stored>,
}

/// Runs until asked to stop; every error leaves what is committed as it was, and the supervisor starts anew from there.
///
/// # Errors
/// What this thread cannot go on from: no broker, a state that contradicts the committed offsets, transactions that do not go through.
pub fn run(setup: &Setup, thread: usize, stop: &Stop) -> Result<()> {
    let link = Session::join(&setup.connection, Intake::NAME, thread, &setup.topics.usage_events, setup.is_exactly_once())?;
    setup.check_shard_count(&link)?;
    let topics = Topics {
        input: link.partition_count(&setup.topics.usage_events)?,
        changelog: link.partition_count(&setup.topics.intake_changelog)?,
        input_id: topic_id(setup)?,
    };
    let role = Intake::new(setup, thread, topics)?;
    Worker::new(link, role, setup, thread, setup.incarnation(Intake::NAME, thread)).run(stop)
}

/// A topic that was recreated is noticed by its id. Without one it is still noticed where it is shorter than what was read of it.
fn topic_id(setup: &Setup) -> Result<Option<String>> {
    if !setup.is_exactly_once() {
        return Ok(None);
    }
    let asked = Inspector::new(&setup.connection)?.topic_id(&setup.topics.usage_events);
    Ok(asked.inspect_err(|error| tracing::warn!(error = format!("{error:#}"), "a recreated topic may go unnoticed")).ok())
}

impl<'a> Intake<'a> {
    /// # Errors
    /// A registry client that cannot be made.
    pub fn new(setup: &'a Setup, thread: usize, topics: Topics) -> Result<Intake<'a>> {
        Ok(Intake {
            setup,
            thread,
            registry: Client::new(&setup.schemas)?,
            schemas: SchemaTable::default(),
            unknown: Unknown::default(),
            rules: setup.intake_rules.load_full(),
            topics,
            sums: Sums::default(),
            dead: Vec::new(),
            guard: Guard::new(setup.dead_letter_ratio, setup.dead_letter_sample),
            since: None,
            ticked: Duration::ZERO,
            staged: Counts::default(),
            partitions: 0,
        })
    }

    /// Takes records of one partition; how many, before one whose schema cannot be had now.
    fn take_records(&mut self, input: &mut Input, records: &[InputRecord<'_>], moment: Moment) -> Result<usize> {
        let mut taken = 0;
        while let Some(first) = records.get(taken) {
            let is_new = first.offset >= input.begin;
            let Progress { taken: more, stopped } = if is_new {
                let rest = records.get(taken..).unwrap_or_default();
                intake::process_all(rest, moment.now, &self.rules, &self.schemas, &mut input.state, &mut self.sums)
            } else {
                match intake::warm_up(first, &self.rules, &self.schemas, &mut input.state) {
                    Outcome::Combined | Outcome::Duplicate => Progress { taken: 1, stopped: None },
                    stopped => Progress { taken: 0, stopped: Some(stopped) },
                }
            };
            for record in records.iter().skip(taken).take(more) {
                self.note(input, record, is_new, None, moment)?;
            }
            taken += more;
            let Some((stopped, record)) = stopped.zip(records.get(taken)) else { continue };
            match stopped {
                Outcome::NeedsSchema(id) if self.look_up(id, record, moment) => {}
                Outcome::NeedsSchema(_) => return Ok(taken),
                Outcome::Rejected(reject) => {
                    self.note(input, record, is_new, Some(&reject), moment)?;
                    if is_new {
                        self.dead.push(DeadLetter::of(record, reject));
                    }
                    taken += 1;
                }
                Outcome::Combined | Outcome::Duplicate => {}
            }
        }
        Ok(taken)
    }

    /// A record is done with.
    fn note(&mut self, input: &mut Input, record: &InputRecord<'_>, is_new: bool, reject: Option<&Reject>, moment: Moment) -> Result<()> {
        input.next = record.offset + 1;
        if is_new {
            self.since.get_or_insert(moment.uptime);
            if let Some(flooded) = self.guard.observe(record, reject) {
                bail!(Unrecoverable(flooded));
            }
        }
        Ok(())
    }

    /// Asks the registry for the schema that a record needs. False: it cannot be had now.
    fn look_up(&mut self, id: u32, record: &InputRecord<'_>, moment: Moment) -> bool {
        match self.registry.look_up(id) {
            Lookup::Schema(text) => self.schemas.insert(id, &text),
            Lookup::Unknown => {
                self.unknown.note(id, moment.uptime);
                self.schemas.insert_unknown(id);
            }
            Lookup::Unavailable(reason) => {
                let InputRecord { partition, offset, .. } = record;
                tracing::warn!(schema = id, reason, partition, offset, "schema not available, the partition waits");
                return false;
            }
        }
        true
    }

    fn is_full(&self) -> bool {
        self.sums.counts().read >= LARGEST_BATCH || self.sums.is_full()
    }

    fn is_tick(&self, moment: Moment) -> bool {
        self.partitions > 0 && moment.uptime.saturating_sub(self.ticked) >= TICK
    }

    /// Markers ride behind the last partials of a shard; on a tick every shard gets them.
    fn shard_records(&self, markers: &[Marker], mut shards: BTreeMap<u32, Vec<Partial>>, tick: bool) -> Result<Vec<OutRecord>> {
        if tick {
            for shard in 0..self.setup.shard_count {
                shards.entry(shard).or_default();
            }
        }
        let mut records = Vec::new();
        for (shard, mut partials) in shards {
            loop {
                let rest = partials.split_off(fitting(&partials));
                let last = rest.is_empty();
                let record = ShardRecord { partials, markers: if last { markers.to_vec() } else { Vec::new() }, events: Vec::new() };
                records.push(encode::effect(Effect::Shard { shard, record }, &self.setup.topics, &self.setup.output)?);
                if last {
                    break;
                }
                partials = rest;
            }
        }
        Ok(records)
    }

    fn marker(&self, input: &Input, moment: Moment) -> Marker {
        let passed = |since: Duration| moment.uptime.saturating_sub(since);
        let has_looked = input.looked.is_some_and(|looked| passed(looked) <= LOOKED_AWAY);
        let quiet = has_looked && input.quiet_since.is_some_and(|since| passed(since) >= IDLE_AFTER);
        Marker {
            source: Source { topic: self.setup.topics.usage_events.as_str().into(), partition: input.number },
            watermark: input.state.watermark(),
            idle: input.caught_up && input.held_since.is_none() && quiet,
            partitions_of_topic: self.topics.input,
        }
    }

    fn changelog_of(&self, partition: i32) -> i32 {
        intake::state::changelog_partition(partition, self.topics.changelog)
    }

    /// Offset and key are written in one transaction: where they disagree somebody reset one of them, and guessing would lose or repeat.
    fn next_offset(&self, opening: &Opening, stored: Option<i64>) -> Result<i64> {
        let group = format!("{}-{}", self.setup.connection.application_id, Intake::NAME);
        let (topic, number) = (&self.setup.topics.usage_events, opening.partition);
        let exactly_once = self.setup.delivery == Delivery::ExactlyOnce;
        let committed = opening.committed.as_ref().map(|committed| committed.offset);
        match (committed, stored) {
            (None, None) => Ok(opening.low),
            (Some(committed), Some(stored)) if committed == stored => Ok(committed),
            (committed, Some(stored)) if exactly_once => bail!(Unrecoverable(format!(
                "the group '{group}' stands at {} of {topic}[{number}], but intake's own key says {stored}: somebody reset the one without \
                 the other. `tollgate reset --repair` sets the group's offset to {stored}",
                committed.map_or("nothing".to_string(), |offset| offset.to_string()),
            ))),
            (Some(committed), None) if exactly_once => bail!(Unrecoverable(format!(
                "the group '{group}' stands at {committed} of {topic}[{number}], but intake has no key for it in '{}'. \
                 `tollgate reset --repair --only intake` writes it from the group's offsets",
                self.setup.topics.intake_changelog,
            ))),
            (committed, stored) => Ok(committed.or(stored).unwrap_or(opening.low)),
        }
    }
}

impl Role for Intake<'_> {
    type Part = Input;
    type Loading = Loading;

    const NAME: &'static str = "intake";
    const FULL: Option<i64> = Some(LARGEST_BATCH.cast_signed());

    fn topic(&self) -> &str {
        &self.setup.topics.usage_events
    }

    /// The dedupe window is read again from the input.
    fn start(&self, committed: Option<&Committed>, low: i64, _high: i64) -> i64 {
        let window = i64::try_from(self.rules.dedupe_window).unwrap_or(i64::MAX);
        committed.map_or(low, |committed| committed.offset.saturating_sub(window).max(low))
    }

    fn begin_loading(&mut self, opening: Opening) -> Result<Loading> {
        Ok(Loading { opening, is_read: false, stored: None })
    }

    fn next_source(&mut self, loading: &mut Loading) -> Result<Option<StateSource>> {
        if std::mem::replace(&mut loading.is_read, true) {
            return Ok(None);
        }
        let partition =
            Partition { topic: self.setup.topics.intake_changelog.clone(), partition: self.changelog_of(loading.opening.partition) };
        Ok(Some(StateSource { partition, from: From::Beginning, until: Until::End }))
    }

    fn load(&mut self, loading: &mut Loading, record: &Record<'_>) -> Result<()> {
        let ours = intake::state::key(&self.setup.topics.usage_events, loading.opening.partition);
        if record.key == Some(ours.as_slice()) {
            let decode = |value| intake::state::decode(value).with_context(|| format!("intake's key at offset {}", record.offset));
            loading.stored = record.value.map(decode).transpose()?;
        }
        Ok(())
    }

    fn finish_loading(&mut self, loading: Loading) -> Result<Input> {
        let Loading { opening, stored, .. } = loading;
        let (topic, number, low, high) = (&self.setup.topics.usage_events, opening.partition, opening.low, opening.high);
        if let (Some(stored), Some(id)) = (&stored, &self.topics.input_id)
            && stored.is_of_another(id)
        {
            bail!(Unrecoverable(format!(
                "{topic}[{number}] was read up to {}, but the topic was recreated since (its id was {}, it is {id} now). `tollgate reset \
                 --repair --skip-lost` goes on with what is there now",
                stored.next, stored.topic_id,
            )));
        }
        let next = self.next_offset(&opening, stored.as_ref().map(|stored| stored.next))?;
        if next < low {
            let mend = "`tollgate reset --repair --skip-lost` goes on with the first record that is left; nothing is skipped silently";
            bail!(removed_unread(topic, number, next, low, mend));
        }
        if next > high {
            bail!(Unrecoverable(format!(
                "{topic}[{number}] ends at {high}, but {next} is committed: the topic was recreated or truncated. `tollgate reset --repair \
                 --skip-lost` goes on with what is there now"
            )));
        }
        let source = Source { topic: topic.as_str().into(), partition: number };
        let watermark = stored.as_ref().and_then(|stored| stored.watermark);
        let refused = stored.as_ref().map(|stored| stored.refused.clone()).unwrap_or_default();
        self.partitions += 1;
        Ok(Input {
            number,
            state: PartitionState::restored(source, self.rules.dedupe_window, watermark).with_refused(refused),
            begin: next,
            next: self.start(opening.committed.as_ref(), low, high),
            caught_up: next == high,
            quiet_since: None,
            looked: None,
            held_since: None,
            topic_id: self.topics.input_id.clone().or(stored.map(|stored| stored.topic_id)).unwrap_or_default(),
        })
    }

    fn looked(&self, input: &mut Input, moment: Moment) {
        input.look(moment.uptime);
    }

    fn take(&mut self, input: &mut Input, batch: &Batch, from: usize, moment: Moment) -> Result<usize> {
        if input.held_since.is_some_and(|since| moment.uptime.saturating_sub(since) < RETRY) {
            return Ok(from);
        }
        if self.setup.care.are_shards_behind() {
            input.caught_up = false;
            return Ok(from);
        }
        self.unknown.each_old(moment.uptime, |id| self.schemas.forget(id));
        input.held_since = None;
        let (mut headers, mut fetched, mut index) = (Vec::new(), Vec::with_capacity(TOGETHER), from);
        while index < batch.len() {
            if self.is_full() {
                return Ok(index);
            }
            input.quiet_since = Some(moment.uptime);
            input.caught_up = false;
            (index + TOGETHER..index + 2 * TOGETHER).for_each(|ahead| batch.approach(ahead));
            headers.clear();
            fetched.clear();
            for record in (index..batch.len()).take(TOGETHER).filter_map(|place| batch.get(place)) {
                let begin = headers.len();
                record.add_headers(&mut headers);
                fetched.push((record, begin..headers.len()));
            }
            let Some(last) = fetched.len().checked_sub(1) else { break };
            // Without an allocation: the last one stands for all that there is no other for.
            let records: [InputRecord<'_>; TOGETHER] = std::array::from_fn(|place| {
                let (Record { topic, partition, offset, timestamp, key, value, .. }, of_it) = &fetched[place.min(last)];
                let headers = headers.get(of_it.clone()).unwrap_or_default();
                let (topic, partition, offset, timestamp) = (*topic, *partition, *offset, *timestamp);
                InputRecord { topic, partition, offset, timestamp, key: *key, value: *value, headers }
            });
            let records = &records[..=last];
            let taken = self.take_records(input, records, moment)?;
            index += taken;
            if taken < records.len() {
                input.held_since = Some(moment.uptime);
                return Ok(index);
            }
        }
        input.caught_up |= batch.end;
        Ok(batch.len())
    }

    fn stand_at(&mut self, input: &mut Input, next: i64) -> bool {
        input.next = input.next.max(next);
        true
    }

    fn demand(&self, moment: Moment) -> Demand {
        if self.is_full() || self.is_tick(moment) {
            return Demand::Now;
        }
        self.since.map_or(Demand::Nothing, Demand::Since)
    }

    fn stage(&mut self, inputs: &mut BTreeMap<i32, Input>, moment: Moment) -> Result<Staged> {
        // Rules change between two transactions.
        self.rules = self.setup.intake_rules.load_full();
        let tick = self.is_tick(moment);
        if inputs.is_empty() || (self.since.is_none() && !tick) {
            return Ok(Staged::default());
        }
        for input in inputs.values_mut() {
            input.quiet_since.get_or_insert(moment.uptime);
        }
        let counts = self.sums.take_counts();
        assert!(counts.balance(), "records in = combined + duplicates + rejected: {counts:?}");
        assert!(counts.rejected == self.dead.len() as u64, "every rejected record has its dead letter");
        self.staged = counts;
        let markers: Vec<Marker> = inputs.values().map(|input| self.marker(input, moment)).collect();
        let shards = self.sums.drain_into_shards(self.setup.shard_count);
        let mut staged = Staged { shares: BTreeMap::new(), common: self.shard_records(&markers, shards, tick)? };
        for dead in std::mem::take(&mut self.dead) {
            staged.common.push(encode::effect(Effect::DeadLetter(Box::new(dead)), &self.setup.topics, &self.setup.output)?);
        }
        let window = i64::try_from(self.rules.dedupe_window).unwrap_or(i64::MAX);
        for (number, input) in inputs.iter() {
            let position = input.next.max(input.begin);
            let key = intake::state::key(&self.setup.topics.usage_events, *number);
            let refused = input.state.refused_since(position.saturating_sub(window));
            let (topic_id, watermark) = (input.topic_id.clone(), input.state.watermark());
            let value = intake::state::encode(&Stored { topic_id, next: position, watermark, refused });
            let change = StateChange { key, value: Some(value) };
            let record = encode::change(change, &self.setup.topics.intake_changelog, self.changelog_of(*number));
            staged.shares.insert(*number, Share { position, records: vec![record] });
        }
        self.since = None;
        if tick {
            self.ticked = moment.uptime;
        }
        let waiting = inputs.values().filter(|input| input.held_since.is_some()).count();
        self.setup.metrics.partitions_waiting(self.thread, waiting);
        Ok(staged)
    }

    fn committed(&mut self, _inputs: &mut BTreeMap<i32, Input>, _took: Duration) {
        let counts = std::mem::take(&mut self.staged);
        self.setup.metrics.intake(counts.read, counts.combined, counts.duplicates, counts.unpriced);
        self.setup.metrics.unconverted(counts.unconverted);
        self.setup.metrics.dead_letter_ratio(self.thread, self.guard.share());
        for (reason, count) in &counts.rejected_by {
            self.setup.metrics.rejected(*reason, *count);
        }
    }

    fn dropped(&mut self, partitions: &[i32], inputs: &BTreeMap<i32, Input>) -> Result<()> {
        if self.sums.counts().read > 0 {
            bail!("{} partitions were taken away before what was read of them was committed", partitions.len());
        }
        self.partitions = inputs.len();
        Ok(())
    }
}

/// How many of the partials go into one record: by number, and by what their texts take.
pub(super) fn fitting(partials: &[Partial]) -> usize {
    let mut bytes = 0;
    for (count, partial) in partials.iter().enumerate().take(PARTIALS_PER_RECORD) {
        let leaf = &partial.leaf;
        let dimensions: usize = leaf.dimensions().named().iter().map(|(_, text)| text.len()).sum();
        let users: usize = partial.users.iter().map(|user| user.user.len() + 24).sum();
        bytes += 200 + leaf.team.len() + dimensions + users;
        if bytes > BYTES_PER_RECORD {
            return count.max(1);
        }
    }
    partials.len().min(PARTIALS_PER_RECORD)
}
