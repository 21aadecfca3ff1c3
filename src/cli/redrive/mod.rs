//! `tollgate redrive`: dead letters go back to the topic that they came from, byte for byte, each once.

mod select;

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal as _;

use anyhow::{Context as _, Result, anyhow, bail};

use self::select::{Letter, Named, Past, Progress, Selection, Verdict, judge};
use super::confirm::{Answer, confirm};
use super::telemetry::{self, Logging};
use super::{ConfigFile, Ended, assemble, moment, print};
use crate::clock;
use crate::config::settings::Settings;
use crate::kafka::client::Connection;
use crate::kafka::link::{Partition, Record};
use crate::kafka::scan::Scanner;
use crate::kafka::transfer::{GroupOffset, Parcel, Transfer};
use crate::kafka::{groups, topics};
use crate::model::counted::counted;
use crate::model::record::RejectReason;
use crate::model::time::Timestamp;
use crate::model::wire::{HeaderRef, Origin, redrive_headers};

/// Name of the group whose offsets say what went back, and of the transactional id.
const COMMAND: &str = "redrive";
/// Letters, and bytes, of one transaction.
const BATCH_LETTERS: usize = 1_000;
const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// Put dead letters back to where they came from, once what was wrong is repaired
///
/// First says what would go, by reason; then asks. A letter goes to its original topic and partition with its original key, value and
/// headers, and the headers tollgate.redrive.attempt, one higher each time, and tollgate.redrive.letter, its place here. What went back is
/// remembered as the offsets of the group <application.id>-redrive, in the same transaction: run it again and only what is new goes.
/// Letters that were cut because they were too large stay, and so do those that came back too often. Ends with 2 if something prevents it.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  tollgate redrive --config tollgate.toml --dry-run\n  tollgate redrive --config tollgate.toml --reason unknown_schema --since 2h\n  tollgate redrive --config tollgate.toml --to usage-sandbox --limit 10 --yes"
)]
pub struct Arguments {
    #[command(flatten)]
    config: ConfigFile,

    /// Say what would go, change nothing
    #[arg(long)]
    dry_run: bool,

    /// Do not ask
    #[arg(long)]
    yes: bool,

    /// Only letters of this reason; may be repeated
    #[arg(long, value_name = "REASON", value_delimiter = ',', value_parser = clap::builder::PossibleValuesParser::new(RejectReason::ALL.map(RejectReason::as_str)))]
    reason: Vec<String>,

    /// Only letters written at this time or later: 2026-03-01T10:00:00Z, or how long ago: 2h
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    since: Option<moment::Moment>,

    /// Only letters written before this time
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    until: Option<moment::Moment>,

    /// Only letters that came from this topic
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,

    /// Only letters in this partition of dead-letter
    #[arg(long, value_name = "NUMBER")]
    partition: Option<i32>,

    /// Only the letter at this offset of that partition
    #[arg(long, value_name = "OFFSET", requires = "partition")]
    offset: Option<i64>,

    /// At most so many letters, the oldest of each partition first
    #[arg(long, value_name = "COUNT")]
    limit: Option<u64>,

    /// Put them into this topic instead, for a trial; it is not remembered
    #[arg(long, value_name = "TOPIC")]
    to: Option<String>,

    /// Leave letters that were put back so often already
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    most_attempts: u32,

    /// From the beginning, also what went back before and is not here again as a later letter. Intake recognises an event that it counted
    /// as long as it stands within its dedupe window; beyond, it counts twice
    #[arg(long)]
    again: bool,
}

/// Everything that both passes need.
struct Redrive<'a> {
    connection: Connection,
    scanner: Scanner,
    topic: String,
    inputs: Vec<String>,
    selection: Selection,
    limit: u64,
    to: Option<&'a str>,
    again: bool,
    /// Partitions of topics that letters go to.
    partitions: BTreeMap<String, i32>,
}

/// Counts by reason, `?` for what is not ours.
type Tally = BTreeMap<String, Counts>;

#[derive(Clone, Copy, Default)]
struct Counts {
    go: u64,
    before: u64,
    too_often: u64,
    cut: u64,
    other: u64,
}

/// What waits for the next transaction.
#[derive(Default)]
struct Batch {
    parcels: Vec<Parcel>,
    bytes: usize,
}

pub fn run(arguments: &Arguments, logging: &Logging) -> Result<Ended> {
    let Some(loaded) = arguments.config.load_or_say() else { return Ok(Ended::Unusable) };
    telemetry::start(logging, &loaded.settings.log)?;
    let redrive = match Redrive::new(arguments, &loaded.settings)? {
        Ok(redrive) => redrive,
        Err(problem) => {
            eprintln!("{problem}");
            return Ok(Ended::Unusable);
        }
    };
    let ends = redrive.ends()?;
    if arguments.yes && !arguments.dry_run {
        // A run that was killed in a transaction holds its progress until that times out, or until somebody ends it.
        drop(Transfer::start(&redrive.connection, COMMAND, COMMAND)?);
    }
    let named = redrive.named(&ends)?;
    let tally = redrive.count(&ends, &named)?;
    print(&table(&redrive.topic, &tally))?;
    let go: u64 = tally.values().map(|counts| counts.go).sum::<u64>().min(redrive.limit);
    let target = redrive.to.map_or("where they came from".to_string(), |to| format!("into '{to}'"));
    if go == 0 {
        print("\nNothing to put back.\n")?;
        return Ok(Ended::Well);
    }
    if arguments.dry_run {
        print(&format!("\n{go} would go back {target}. Dry run: nothing was changed.\n"))?;
        return Ok(Ended::Well);
    }
    if confirm(&format!("Put {} back {target}?", counted(go, "letter")), arguments.yes)? != Answer::Yes {
        return Ok(Ended::Unusable);
    }
    let put = redrive.put_back(&ends, &named, go)?;
    let by_reason: String = put.iter().map(|(reason, count)| format!("{reason:<22} {count:>9}\n")).collect();
    print(&format!("\n{by_reason}put back {} {target}\n", counted(put.values().sum::<u64>(), "letter")))?;
    Ok(Ended::Well)
}

impl<'a> Redrive<'a> {
    /// The inner error is one of the command line.
    fn new(arguments: &'a Arguments, settings: &Settings) -> Result<Result<Redrive<'a>, String>> {
        let connection = assemble::connection(settings);
        let names = assemble::topic_names(settings);
        let counts = topics::partition_counts(&connection)?;
        let inputs = vec![
            names.usage_events,
            names.resource_events,
            names.activity_events,
            names.lineage_events,
            names.billing_events,
            names.feedback,
        ];
        if let Some(topic) = arguments.topic.as_ref().filter(|topic| !inputs.contains(topic)) {
            return Ok(Err(format!("--topic '{topic}' is no input topic; known are {}", inputs.join(", "))));
        }
        for topic in arguments.to.iter().chain([&names.dead_letter]) {
            if !counts.contains_key(topic) {
                return Ok(Err(format!("topic '{topic}' does not exist")));
            }
        }
        if arguments.to.as_ref() == Some(&names.dead_letter) {
            return Ok(Err("--to is dead-letter itself".to_string()));
        }
        let now = clock::now();
        let selection = Selection {
            reasons: arguments.reason.clone(),
            since: arguments.since.map(|moment| moment.at(now)),
            until: arguments.until.map(|moment| moment.at(now)),
            topic: arguments.topic.clone(),
            partition: arguments.partition,
            offset: arguments.offset,
            most_attempts: arguments.most_attempts,
        };
        Ok(Ok(Redrive {
            scanner: Scanner::new(&connection)?,
            connection,
            topic: names.dead_letter,
            inputs,
            selection,
            limit: arguments.limit.unwrap_or(u64::MAX),
            to: arguments.to.as_deref(),
            again: arguments.again,
            partitions: counts,
        }))
    }

    fn dead_partitions(&self) -> Vec<Partition> {
        let count = self.partitions.get(&self.topic).copied().unwrap_or_default();
        (0..count).map(|partition| Partition { topic: self.topic.clone(), partition }).collect()
    }

    /// Where the letters of this run end: those that come meanwhile are for the next one. Our own that come back rejected are among them.
    fn ends(&self) -> Result<Vec<(Partition, i64, i64)>> {
        let bounds = |partition: Partition| {
            let bounds = self.scanner.bounds(&partition)?;
            Ok((partition, bounds.low, bounds.high))
        };
        self.dead_partitions().into_iter().map(bounds).collect()
    }

    fn past(&self) -> Result<BTreeMap<i32, Past>> {
        let partitions = self.dead_partitions();
        let mut past = BTreeMap::new();
        for (partition, committed) in partitions.iter().zip(groups::committed(&self.connection, COMMAND, &partitions)?) {
            let metadata = committed.map(|committed| committed.metadata).unwrap_or_default();
            let hint = || {
                format!(
                    "the offsets of group '{}' were not committed by this version of tollgate redrive; use that version, or --again",
                    groups::name(&self.connection, COMMAND)
                )
            };
            past.insert(partition.partition, Past::read(&metadata, self.again).map_err(|error| anyhow!(error)).with_context(hint)?);
        }
        Ok(past)
    }

    /// Of all letters, whatever is asked for.
    fn named(&self, ends: &[(Partition, i64, i64)]) -> Result<Named> {
        let mut named = Named::default();
        for (partition, low, high) in ends {
            self.scanner.scan(partition, *low, *high, |message| {
                named.note(&letter(message, Origin::of(&message.nullable_headers()).as_ref()));
                Ok(true)
            })?;
        }
        Ok(named)
    }

    fn count(&self, ends: &[(Partition, i64, i64)], named: &Named) -> Result<Tally> {
        let mut all = self.past()?;
        let mut tally = Tally::new();
        for (partition, low, high) in ends {
            let Past { known, .. } = all.remove(&partition.partition).unwrap_or_default();
            self.scanner.scan(partition, *low, *high, |message| {
                let headers = message.nullable_headers();
                let (verdict, origin) = self.judge(message, &headers, &known, named);
                let reason = origin.map_or("?".to_string(), |origin| origin.reason);
                tally.entry(reason).or_default().add(verdict);
                Ok(true)
            })?;
        }
        Ok(tally)
    }

    fn judge(&self, message: &Record<'_>, headers: &[HeaderRef<'_>], progress: &Progress, named: &Named) -> (Verdict, Option<Origin>) {
        let origin = Origin::of(headers);
        let verdict = judge(&letter(message, origin.as_ref()), &self.selection, &self.inputs, progress, named);
        (verdict, origin.filter(|_| verdict != Verdict::NotOurs))
    }

    /// Whoever runs this at the same time is fenced; so progress is read after that.
    /// Answers how many went back, by reason.
    fn put_back(&self, ends: &[(Partition, i64, i64)], named: &Named, most: u64) -> Result<BTreeMap<String, u64>> {
        let transfer = Transfer::start(&self.connection, COMMAND, COMMAND)?;
        let mut all = self.past()?;
        self.keep_alive(&transfer, &all)?;
        let (mut put, mut taken, mut by_reason) = (0_u64, 0_u64, BTreeMap::new());
        for (partition, low, high) in ends {
            let Past { known, kept: mut progress } = all.remove(&partition.partition).unwrap_or_default();
            let mut batch = Batch::default();
            self.scanner.scan(partition, *low, *high, |message| {
                if taken >= most {
                    return Ok(false);
                }
                let headers = message.nullable_headers();
                let (Verdict::Go, Some(origin)) = self.judge(message, &headers, &known, named) else { return Ok(true) };
                if self.selection.offset.is_none() {
                    progress.put_back(&origin.reason, message.offset);
                } else if !progress.put_back_single(&origin.reason, message.offset) {
                    bail!("too many single letters were picked in partition {}; put the rest back by reason", message.partition);
                }
                taken += 1;
                *by_reason.entry(origin.reason.clone()).or_default() += 1;
                batch.add(self.parcel(message, &headers, &origin));
                if batch.is_full() {
                    put += self.commit(&transfer, &mut batch, partition, &progress).with_context(|| went_before(put))?;
                    show(put, most);
                }
                Ok(true)
            })?;
            put += self.commit(&transfer, &mut batch, partition, &progress).with_context(|| went_before(put))?;
            show(put, most);
        }
        Ok(by_reason)
    }

    /// Brokers forget offsets that nobody commits for long (offsets.retention.minutes): each run commits those of all partitions anew.
    fn keep_alive(&self, transfer: &Transfer, all: &BTreeMap<i32, Past>) -> Result<()> {
        let known = all.iter().filter(|(_, past)| past.kept.offset() > 0);
        let offsets: Vec<GroupOffset> = known
            .map(|(partition, Past { kept, .. })| GroupOffset {
                partition: Partition { topic: self.topic.clone(), partition: *partition },
                offset: kept.offset(),
                metadata: kept.encode(),
            })
            .collect();
        if offsets.is_empty() { Ok(()) } else { transfer.commit(&[], &offsets).context("cannot commit the progress so far") }
    }

    fn parcel(&self, message: &Record<'_>, headers: &[HeaderRef<'_>], origin: &Origin) -> Parcel {
        let known = self.partitions.get(&origin.topic).copied().unwrap_or_default();
        Parcel {
            topic: self.to.unwrap_or(&origin.topic).to_string(),
            // Where it was: there intake meets the same event again, should it ever come twice.
            partition: Some(origin.partition).filter(|partition| self.to.is_none() && (0..known).contains(partition)),
            key: message.key.map(<[u8]>::to_vec),
            value: message.value.map(<[u8]>::to_vec),
            headers: redrive_headers(headers, origin, self.to.is_none().then_some((message.partition, message.offset))),
        }
    }

    fn commit(&self, transfer: &Transfer, batch: &mut Batch, partition: &Partition, progress: &Progress) -> Result<u64> {
        if batch.parcels.is_empty() {
            return Ok(0);
        }
        let batch = std::mem::take(batch);
        // A trial is not remembered.
        let offsets = match self.to {
            Some(_) => Vec::new(),
            None => vec![GroupOffset { partition: partition.clone(), offset: progress.offset(), metadata: progress.encode() }],
        };
        transfer.commit(&batch.parcels, &offsets)?;
        Ok(batch.parcels.len() as u64)
    }
}

fn letter<'o>(message: &Record<'_>, origin: Option<&'o Origin>) -> Letter<'o> {
    Letter { partition: message.partition, offset: message.offset, written: Timestamp(message.timestamp.0), origin }
}

fn went_before(put: u64) -> String {
    format!("{} went back before; run it again to go on, nothing goes twice", counted(put, "letter"))
}

/// One line that is written over, for whoever watches.
fn show(put: u64, most: u64) {
    if std::io::stderr().is_terminal() {
        eprint!("\r{put} of {most}");
        if put >= most {
            eprintln!();
        }
    }
}

impl Batch {
    fn add(&mut self, parcel: Parcel) {
        let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        self.bytes += length(&parcel.key) + length(&parcel.value);
        self.parcels.push(parcel);
    }

    fn is_full(&self) -> bool {
        self.parcels.len() >= BATCH_LETTERS || self.bytes >= BATCH_BYTES
    }
}

impl Counts {
    fn add(&mut self, verdict: Verdict) {
        let count = match verdict {
            Verdict::Go => &mut self.go,
            Verdict::Before => &mut self.before,
            Verdict::TooOften => &mut self.too_often,
            Verdict::Cut => &mut self.cut,
            Verdict::NotAskedFor | Verdict::NotOurs => &mut self.other,
        };
        *count += 1;
    }
}

/// One line per reason.
fn table(topic: &str, tally: &Tally) -> String {
    let letters = |counts: &Counts| counts.go + counts.before + counts.too_often + counts.cut + counts.other;
    let total: u64 = tally.values().map(letters).sum();
    let mut out = format!(
        "{topic}: {}\n\n{:<22} {:>9} {:>9} {:>9} {:>10} {:>9} {:>9}\n",
        counted(total, "letter"),
        "reason",
        "letters",
        "to go",
        "before",
        "too often",
        "cut",
        "other"
    );
    for (reason, counts) in tally {
        let Counts { go, before, too_often, cut, other } = counts;
        let all = letters(counts);
        out.push_str(&format!("{reason:<22} {all:>9} {go:>9} {before:>9} {too_often:>10} {cut:>9} {other:>9}\n"));
    }
    let explained: BTreeSet<&str> = tally
        .values()
        .flat_map(|counts| {
            [
                (counts.before > 0).then_some(
                    "before: put back, or passed over, by an earlier run; --again takes those too of which no later letter has come",
                ),
                (counts.too_often > 0).then_some("too often: came back as often as --most-attempts allows; look at their message"),
                (counts.cut > 0).then_some("cut: too large to be kept whole; only their producer has them"),
                (counts.other > 0).then_some("other: not asked for, or not written by intake (?)"),
            ]
        })
        .flatten()
        .collect();
    if !explained.is_empty() {
        out.push('\n');
    }
    explained.iter().for_each(|line| out.push_str(&format!("{line}\n")));
    out
}
