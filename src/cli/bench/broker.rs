//! On a real broker: the floor, and intake as it runs in production, over the same topic.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use super::commit;
use super::events::{self, Events, SCHEMA, SCHEMA_ID, TEAM_MINUTE_ID, TEAM_MINUTE_SCHEMA};
use super::measure::{Measured, Meter, Of, Sums, process_cpu};
use crate::cli::assemble;
use crate::clock::{self, Stopwatch};
use crate::config::Loaded;
use crate::config::settings::Settings;
use crate::health::HealthBoard;
use crate::kafka::client::Connection;
use crate::kafka::floor;
use crate::kafka::link::{From, Partition, Read, Until};
use crate::kafka::read::Reader;
use crate::kafka::topics::{self, TopicPlan};
use crate::metrics::Metrics;
use crate::model::money::Nanos;
use crate::model::wire::decode_shard_record;
use crate::runtime::supervise::{self, Role};
use crate::runtime::{Setup, Stop, intake};

const PARTITIONS: i32 = 8;
/// How often we look how far intake is. A look costs a client of its own, whose CPU time counts, but little.
const LOOK: Duration = Duration::from_millis(500);
/// No progress for so long: it has failed, and its log says why.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whose events are in the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    Ours,
    /// The other systems' of scripts/bench-compare.sh.
    TeamMinute,
    AsConfigured,
}

type Bounds = BTreeMap<i32, (i64, i64)>;

/// What is read, and by whom.
pub struct Run {
    loaded: Loaded,
    topic: String,
    runtime: tokio::runtime::Runtime,
}

impl Run {
    /// # Errors
    /// No threads.
    pub fn new(loaded: Loaded, topic: &str) -> Result<Run> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the Kafka admin client")?;
        Ok(Run { loaded, topic: topic.to_owned(), runtime })
    }

    fn connection(&self) -> Connection {
        assemble::connection(&self.loaded.settings)
    }

    /// The topic with our events in it, made and filled if it is not there; whatever is in it is taken as it is.
    ///
    /// # Errors
    /// The broker refuses.
    pub fn prepare(&self, events: &Events, count: u64) -> Result<Bounds> {
        let connection = self.connection();
        let config = vec![("retention.ms", "-1".to_owned())];
        let plan = TopicPlan { name: self.topic.clone(), partitions: PARTITIONS, exact_partitions: false, config, required: &[] };
        self.runtime.block_on(topics::create(&connection, &[plan], self.loaded.settings.kafka.replication_factor))?;
        let bounds = floor::bounds(&connection, &self.topic)?;
        if bounds.values().any(|(low, high)| low < high) {
            return Ok(bounds);
        }
        eprintln!("filling topic '{}' with {count} events, once", self.topic);
        let partitions = bounds.len() as u64;
        floor::fill(&connection, &self.topic, count, |number, value| events.write(number, partitions, value))?;
        floor::bounds(&connection, &self.topic)
    }

    /// librdkafka's own batches and nothing else.
    ///
    /// # Errors
    /// The broker stops answering.
    pub fn floor(&self, bounds: &Bounds) -> Result<Measured> {
        let mut meter = Meter::new(Of::Process);
        let read = meter.count(|| floor::read_all(&self.connection(), &self.topic, bounds))?;
        ensure!(read.records > 0, "topic '{}' is empty", self.topic);
        let mut measured = meter.finish("floor", read.records);
        measured.more.push(("bytes per event", read.bytes as f64 / read.records as f64));
        Ok(measured)
    }

    /// Intake, exactly once, from the first record to the last committed offset.
    ///
    /// # Errors
    /// A role that ended, or no progress.
    pub fn end_to_end(mut self, bounds: &Bounds, job: Job) -> Result<Measured> {
        let stamp = clock::now().0;
        let names = assemble::topic_names(&self.loaded.settings);
        let settings = &mut self.loaded.settings;
        set_apart(settings, &self.topic, &names.usage_events, stamp);
        let rules = self.loaded.intake.clone();
        self.loaded.intake = match job {
            Job::Ours => events::rules(rules),
            Job::TeamMinute => events::team_minute_rules(rules),
            Job::AsConfigured => rules,
        };
        let connection = assemble::connection(&self.loaded.settings);
        let plans: Vec<TopicPlan> =
            assemble::topic_plans(&self.loaded.settings).into_iter().filter(|plan| plan.name != self.topic).collect();
        self.runtime.block_on(topics::create(&connection, &plans, self.loaded.settings.kafka.replication_factor))?;
        let mut setup = assemble::setup(&self.loaded, Arc::new(Metrics::new()), Arc::new(HealthBoard::default()))?;
        let (id, schema) = if job == Job::TeamMinute { (TEAM_MINUTE_ID, TEAM_MINUTE_SCHEMA) } else { (SCHEMA_ID, SCHEMA) };
        setup.schemas.ids.entry(id).or_insert_with(|| schema.to_owned());
        let shard_log = setup.topics.shard_log.clone();
        let measured =
            measure(&Arc::new(setup), self.loaded.settings.intake.threads, &connection, &self.topic, bounds).and_then(|mut measured| {
                measured.sums = Some(sums(&connection, &shard_log)?);
                Ok(measured)
            });
        let made: Vec<&str> = plans.iter().map(|plan| plan.name.as_str()).collect();
        self.runtime.block_on(floor::delete(&connection, &made)).context("topics of this run are left behind")?;
        measured
    }
}

/// Transactions back to back, between topics that are made for them.
///
/// # Errors
/// The broker does not answer, or a transaction does not go through.
pub fn commits(loaded: &Loaded, transactions: u64, records: u64) -> Result<Measured> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the Kafka admin client")?;
    let mut connection = assemble::connection(&loaded.settings);
    connection.application_id = format!("{}-bench-{}", connection.application_id, clock::now().0);
    let [input, output] = ["input", "output"].map(|name| format!("{}-{name}", connection.application_id));
    let plans = [&input, &output].map(|name| TopicPlan {
        name: name.clone(),
        partitions: PARTITIONS,
        exact_partitions: true,
        config: Vec::new(),
        required: &[],
    });
    runtime.block_on(topics::create(&connection, &plans, loaded.settings.kafka.replication_factor))?;
    let measured = commit::measure(&connection, &input, &output, PARTITIONS, transactions, records);
    runtime.block_on(floor::delete(&connection, &[&input, &output])).context("topics of this run are left behind")?;
    measured
}

/// A run has its own group, its own internal topics and outputs, so that it begins at the beginning and touches nothing of anybody's.
fn set_apart(settings: &mut Settings, topic: &str, usual: &str, stamp: i64) {
    let kafka = &mut settings.kafka;
    kafka.application_id = format!("{}-bench-{stamp}", kafka.application_id);
    kafka.topic_prefix = format!("{}bench-{stamp}-", kafka.topic_prefix);
    let topics = &mut settings.topics;
    topics.input_partitions = PARTITIONS;
    for name in [
        &mut topics.resource_events,
        &mut topics.activity_events,
        &mut topics.lineage_events,
        &mut topics.billing_events,
        &mut topics.feedback,
        &mut topics.dead_letter,
        &mut topics.alerts,
        &mut topics.governance_violations,
        &mut topics.spend_rollups,
    ] {
        *name = format!("{name}-bench-{stamp}");
    }
    debug_assert_ne!(topic, usual, "a bench does not read the real topic");
    topics.usage_events = topic.to_owned();
}

fn measure(setup: &Arc<Setup>, threads: usize, connection: &Connection, topic: &str, bounds: &Bounds) -> Result<Measured> {
    let stop = Stop::default();
    let total: i64 = bounds.values().map(|(low, high)| high - low).sum();
    let partitions: Vec<i32> = bounds.keys().copied().collect();
    let roles: Vec<Role> = (0..threads)
        .map(|thread| {
            let setup = setup.clone();
            Role { name: "intake", thread, run: Box::new(move |stop| intake::run(&setup, thread, stop)) }
        })
        .collect();
    std::thread::scope(|scope| {
        let cpu = process_cpu();
        let ended = scope.spawn(|| supervise::supervise(setup, roles, &stop));
        let looked = watch_progress(connection, topic, bounds, &partitions, total, || ended.is_finished());
        let after = process_cpu();
        stop.ask();
        let ended = ended.join();
        let wall = looked?;
        match ended {
            Ok(ended) => ended?,
            Err(_) => bail!("broken invariant, see above"),
        }
        let mut meter = Meter::new(Of::Process);
        meter.add(wall, after.zip(cpu).map(|(after, before)| after.saturating_sub(before)));
        Ok(meter.finish("end-to-end", total.unsigned_abs()))
    })
}

/// What the partials of a run add up to: whoever made the input can say what is right.
fn sums(connection: &Connection, shard_log: &str) -> Result<Sums> {
    let mut reader = Reader::new(connection)?;
    let mut sums = Sums { events: 0, cost: Nanos(0) };
    let shards = floor::bounds(connection, shard_log)?;
    for shard in shards.into_keys() {
        reader.open(&Partition { topic: shard_log.to_owned(), partition: shard }, From::Beginning, Until::End)?;
        while let Read::Records(batch) = reader.read(10_000)? {
            for record in batch.iter() {
                let Some(value) = record.value else { continue };
                for partial in decode_shard_record(value)?.partials {
                    sums.events += partial.events;
                    sums.cost = sums.cost.checked_add(partial.cost).context("more money than there is")?;
                }
            }
        }
    }
    Ok(sums)
}

/// Time from the first look at which something was committed until all is, made longer by what was done before it.
fn watch_progress(
    connection: &Connection,
    topic: &str,
    bounds: &Bounds,
    partitions: &[i32],
    total: i64,
    has_ended: impl Fn() -> bool,
) -> Result<Duration> {
    let (mut first, mut last, mut since) = (None, 0, Stopwatch::start());
    loop {
        std::thread::sleep(LOOK);
        if has_ended() {
            bail!("intake has ended, its log says why");
        }
        let committed = floor::committed(connection, "intake", topic, partitions)?;
        let low = |partition: &i32| bounds.get(partition).map_or(0, |(low, _)| *low);
        let done: i64 = committed.iter().map(|(partition, offset)| offset - low(partition)).sum();
        if done > last {
            (last, since) = (done, Stopwatch::start());
            first.get_or_insert_with(|| (Stopwatch::start(), done));
        }
        if done >= total {
            let Some((start, before)) = first.filter(|(_, before)| *before < total) else { return Ok(LOOK) };
            let rest = total - before;
            return Ok(start.elapsed().mul_f64(total as f64 / rest.max(1) as f64));
        }
        ensure!(since.elapsed() < PATIENCE, "intake has committed {done} of {total} records and nothing more for {PATIENCE:?}");
    }
}
