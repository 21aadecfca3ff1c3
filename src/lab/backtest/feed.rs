//! From lines of event files to records of the shard log, by way of intake and the lineage graph.
//!
//! Time is event time: the clock of the shard log is the latest event so far. Where nothing comes, it goes on in steps until usage is
//! there again, as live: hours close when they are over and not when the pause is. Files have one partition and one shard, which no verdict
//! depends on.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::bill::Bill;
use crate::config::Problem;
use crate::config::problem::{Place, did_you_mean};
use crate::intake::decode::table::WriterSchemas;
use crate::intake::rules::IntakeRules;
use crate::intake::whole::{self, Topic, WholeOutcome};
use crate::intake::{self, Batch, Outcome, PartitionState, SchemaTable};
use crate::lab::read::{self, Rejected, names_a_schema};
use crate::lineage::rules::LineageRules;
use crate::lineage::{self, Lineage};
use crate::model::Text;
use crate::model::hash::hash128;
use crate::model::partial::{Marker, Partial, ShardEvent, ShardRecord, Source};
use crate::model::record::{InputRecord, Reject};
use crate::model::time::{MINUTE_MS, Minute, Timestamp};

const USAGE: &str = "usage-events";
const OPENLINEAGE: &str = "lineage-events";
/// A pause is longer than this, and passes in steps of it.
const PAUSE_MS: i64 = 10 * MINUTE_MS;
const BILL: &str = "billing-events";
/// Topics whose events go on whole.
const WHOLE: [(&str, Topic); 3] =
    [("resource-events", Topic::Resources), ("activity-events", Topic::Activity), ("feedback", Topic::Feedback)];

/// What every line is, said where one is not.
const EXPECTED: &str = r#"a line is {"topic": "usage-events", "value": {...}}"#;

/// What became of the lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub read: u64,
    pub rejected: u64,
    pub duplicates: u64,
    /// By reason, as dead letters name it.
    pub reasons: BTreeMap<String, u64>,
    pub first_rejected: Option<Rejected>,
    /// The first of each reason.
    pub examples: BTreeMap<String, Rejected>,
    /// Where what people have said stands, by source and id.
    pub words: BTreeMap<(Text, Text), Place>,
}

impl Counts {
    /// There was something, and nothing of it could be used.
    pub fn is_unusable(&self) -> bool {
        self.read > 0 && self.rejected == self.read
    }
}

#[derive(Deserialize)]
struct Line<'a> {
    topic: &'a str,
    #[serde(borrow)]
    value: &'a RawValue,
}

#[derive(Deserialize)]
struct Identity<'a> {
    #[serde(borrow)]
    event_id: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    source: std::borrow::Cow<'a, str>,
    event_time: serde_json::Value,
}

impl Identity<'_> {
    /// A text, or milliseconds, as intake takes it.
    fn time(&self) -> Option<Timestamp> {
        let text = self.event_time.as_str().and_then(Timestamp::parse);
        text.or_else(|| self.event_time.as_i64().map(|milliseconds| Timestamp(milliseconds).within_calendar()))
    }
}

/// Reads all files in order and hands each record of the shard log to `each`, with the time at which it was appended.
///
/// `now`: events stamped later than that, plus the allowed skew, are rejected.
///
/// # Errors
/// The first file that cannot be read.
pub fn feed(
    files: &[PathBuf],
    rules: &IntakeRules,
    lineage: &LineageRules,
    now: Timestamp,
    each: &mut dyn FnMut(&ShardRecord, Timestamp),
) -> Result<Counts, Problem> {
    let mut feed = Feed::new(rules, now);
    feed.graph.follow(lineage);
    for file in files {
        read::lines(file, |place, line| {
            feed.take(place, line);
            feed.flush_if_due(each);
        })?;
    }
    feed.flush(each, true);
    Ok(feed.counts)
}

struct Feed<'a> {
    rules: &'a IntakeRules,
    now: Timestamp,
    schemas: SchemaTable,
    partition: PartitionState,
    batch: Batch,
    offset: i64,
    /// Up to which minute everything has been handed on.
    flushed: Option<Minute>,
    /// Clock and watermark of the last record.
    told: Option<(Timestamp, Option<Timestamp>)>,
    others: Seen,
    bill: Bill,
    graph: Lineage,
    /// What goes on whole with the next record.
    events: Vec<ShardEvent>,
    /// How many of them had come before the latest line.
    earlier: usize,
    /// The latest time of those.
    heard: Option<Timestamp>,
    /// Where the latest line stands.
    place: Place,
    counts: Counts,
}

impl<'a> Feed<'a> {
    fn new(rules: &'a IntakeRules, now: Timestamp) -> Feed<'a> {
        let source = Source { topic: USAGE.into(), partition: 0 };
        Feed {
            rules,
            now,
            schemas: SchemaTable::default(),
            partition: PartitionState::new(source, rules.dedupe_window),
            batch: Batch::default(),
            offset: 0,
            flushed: None,
            told: None,
            others: Seen { window: usize::try_from(rules.dedupe_window).unwrap_or(usize::MAX), ..Seen::default() },
            bill: Bill::new(),
            graph: Lineage::default(),
            events: Vec::new(),
            earlier: 0,
            heard: None,
            place: Place::whole(""),
            counts: Counts::default(),
        }
    }

    fn take(&mut self, place: &Place, line: &[u8]) {
        if line.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        self.counts.read += 1;
        self.place.clone_from(place);
        self.earlier = self.events.len();
        let Line { topic, value } = match serde_json::from_slice::<Line<'_>>(line) {
            Ok(line) => line,
            Err(error) => {
                let (reason, message) = read::unreadable_line(line, &error, EXPECTED);
                return self.reject_as(reason, message);
            }
        };
        if topic == USAGE {
            self.take_usage(value.get().as_bytes());
        } else if let Some((name, whole)) = WHOLE.into_iter().find(|(name, _)| *name == topic) {
            self.take_whole(name, whole, value.get());
        } else if topic == BILL {
            self.take_bill(value.get());
        } else if topic == OPENLINEAGE {
            self.take_openlineage(value.get());
        } else {
            let topics = WHOLE.map(|(name, _)| name).into_iter().chain([USAGE, BILL, OPENLINEAGE]);
            let meant =
                did_you_mean(topic, topics.clone()).unwrap_or_else(|| format!("topics are {}", topics.collect::<Vec<_>>().join(", ")));
            self.reject_as("unknown_topic", format!("'{topic}' is no topic; {meant}"));
        }
    }

    /// A line's value, as a record of its topic.
    fn record<'r>(&self, topic: &'r str, value: &'r [u8]) -> InputRecord<'r> {
        InputRecord { topic, partition: 0, offset: self.offset, timestamp: self.now, key: None, value: Some(value), headers: &[] }
    }

    fn take_usage(&mut self, value: &[u8]) {
        let record = self.record(USAGE, value);
        self.offset += 1;
        match intake::process(&record, self.now, self.rules, &self.schemas, &mut self.partition, &mut self.batch) {
            Outcome::Combined => {}
            Outcome::Duplicate => self.counts.duplicates += 1,
            Outcome::Rejected(reject) => self.reject(reject),
            Outcome::NeedsSchema(_) => self.reject(names_a_schema()),
        }
    }

    fn take_whole(&mut self, name: &str, topic: Topic, value: &str) {
        let record = self.record(name, value.as_bytes());
        match whole::process(topic, &record, self.now, self.rules, &WriterSchemas::new(topic.table())) {
            WholeOutcome::Accepted(event) if self.is_repeated(name, &event) => {}
            WholeOutcome::Accepted(event) => {
                self.heard = self.heard.max(event.event_time());
                if let ShardEvent::Activity(activity) = &event
                    && lineage::concerns(activity)
                {
                    self.graph.take_activity(activity);
                }
                if let ShardEvent::Feedback(said) = &event {
                    self.counts.words.insert((said.source.clone(), said.event_id.clone()), self.place.clone());
                }
                self.events.extend(event.for_all());
                self.events.push(event);
            }
            WholeOutcome::Rejected(reject) => self.reject(reject),
            WholeOutcome::NeedsSchema(_) => self.reject(names_a_schema()),
        }
    }

    fn is_repeated(&mut self, topic: &str, event: &ShardEvent) -> bool {
        event.source().zip(event.event_id()).is_some_and(|(source, event_id)| self.is_known(topic, source, event_id))
    }

    /// Whether it was there; then it is counted.
    fn is_known(&mut self, topic: &str, source: &str, event_id: &str) -> bool {
        let is_known = self.others.enter(hash128(&[topic.as_bytes(), source.as_bytes(), event_id.as_bytes()]));
        self.counts.duplicates += u64::from(is_known);
        is_known
    }

    fn take_bill(&mut self, value: &str) {
        // One that has none is refused below, with what is wrong with it.
        let identity = serde_json::from_str::<Identity<'_>>(value).ok();
        if identity.as_ref().is_some_and(|identity| self.is_known(BILL, &identity.source, &identity.event_id)) {
            return;
        }
        let record = self.record(BILL, value.as_bytes());
        match self.bill.take(&record, self.now, self.rules) {
            Ok(()) => self.heard = self.heard.max(identity.and_then(|identity| identity.time())),
            Err(reject) => self.reject(reject),
        }
    }

    fn take_openlineage(&mut self, value: &str) {
        let record = self.record(OPENLINEAGE, value.as_bytes());
        match intake::lineage::read(&record, self.now, self.rules) {
            Ok(event) => {
                self.heard = self.heard.max(Some(event.event_time));
                self.graph.apply(&event);
            }
            Err(reject) => self.reject(reject),
        }
    }

    fn reject(&mut self, reject: Reject) {
        self.reject_as(reject.reason.as_str(), reject.message);
    }

    fn reject_as(&mut self, reason: &str, message: String) {
        self.counts.rejected += 1;
        *self.counts.reasons.entry(reason.to_string()).or_default() += 1;
        if !self.counts.examples.contains_key(reason) {
            let rejected = Rejected { place: self.place.clone(), reason: reason.to_string(), message };
            self.counts.first_rejected.get_or_insert_with(|| rejected.clone());
            self.counts.examples.insert(reason.to_string(), rejected);
        }
    }

    /// The latest event time.
    fn clock(&self) -> Option<Timestamp> {
        self.partition.watermark().map(|watermark| watermark.plus_ms(self.rules.out_of_orderness_ms)).max(self.heard)
    }

    /// Hands on what has come once a minute of event time, or when it is much.
    fn flush_if_due(&mut self, each: &mut dyn FnMut(&ShardRecord, Timestamp)) {
        let minute = self.clock().map(Timestamp::minute);
        if minute > self.flushed || self.batch.is_full() {
            self.flushed = minute;
            self.flush(each, false);
        }
    }

    /// At the end of the files nothing can come any more that is out of order.
    fn flush(&mut self, each: &mut dyn FnMut(&ShardRecord, Timestamp), is_end: bool) {
        let Some(clock) = self.clock() else { return };
        let counts = self.batch.take_counts();
        assert!(counts.balance(), "records in = combined + duplicates + rejected: {counts:?}");
        let mut partials: Vec<Partial> = self.batch.drain_into_shards(1).into_values().flatten().collect();
        partials.extend(self.bill.drain());
        self.pass_pause(&mut partials, each);
        let watermark = if is_end { Some(clock) } else { self.partition.watermark() };
        self.told = Some((clock, watermark));
        each(&ShardRecord { partials, markers: vec![self.marker(watermark, false)], events: std::mem::take(&mut self.events) }, clock);
        self.tell_found(clock, each);
    }

    /// What the graph has found out of what was handed on, in a record of its own, as the role that keeps it writes one.
    fn tell_found(&mut self, clock: Timestamp, each: &mut dyn FnMut(&ShardRecord, Timestamp)) {
        let facts = self.graph.take_facts().into_iter().map(|fact| ShardEvent::Facts(Box::new(fact)));
        let mut events: Vec<ShardEvent> = facts.collect();
        events.extend(self.graph.take_uses().into_iter().map(|used| ShardEvent::DatasetUse(Box::new(used))));
        if !events.is_empty() {
            each(&ShardRecord { events, ..ShardRecord::default() }, clock);
        }
    }

    fn marker(&self, watermark: Option<Timestamp>, idle: bool) -> Marker {
        Marker { source: self.partition.source().clone(), watermark, idle, partitions_of_topic: 1 }
    }

    /// What had come before usage paused, then records of an idle source up to where nothing can come any more that is out of order.
    fn pass_pause(&mut self, partials: &mut Vec<Partial>, each: &mut dyn FnMut(&ShardRecord, Timestamp)) {
        let (Some((clock, watermark)), Some(until)) = (self.told, self.partition.watermark()) else { return };
        if until.0 - clock.0 <= PAUSE_MS {
            return;
        }
        let before: Vec<Partial> = partials.extract_if(.., |partial| partial.minute <= clock.minute()).collect();
        let events = self.events.drain(..self.earlier).collect();
        self.earlier = 0;
        each(&ShardRecord { partials: before, markers: vec![self.marker(watermark, false)], events }, clock);
        // The line that ends a pause is one of usage, and tells the graph nothing.
        self.tell_found(clock, each);
        let mut now = clock.plus_ms(PAUSE_MS);
        while now <= until {
            let idle = ShardRecord { partials: Vec::new(), markers: vec![self.marker(watermark, true)], events: Vec::new() };
            each(&idle, now);
            now = now.plus_ms(PAUSE_MS);
        }
    }
}

/// Ids of other topics' events, the latest ones. Asked, never walked.
#[derive(Default)]
struct Seen {
    window: usize,
    known: HashSet<u128>,
    order: VecDeque<u128>,
}

impl Seen {
    /// Whether it was there.
    fn enter(&mut self, identity: u128) -> bool {
        if !self.known.insert(identity) {
            return true;
        }
        self.order.push_back(identity);
        if self.order.len() > self.window
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        false
    }
}
