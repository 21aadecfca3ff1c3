//! The thread that keeps a local copy of watch's changelog: it follows the shards of this process and writes down what they have written.
//!
//! It only makes restarts faster. Whatever goes wrong with it is a warning and a slower restart: watch never waits for it, and a copy that
//! might lack something is not used.

mod ahead;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

pub use self::ahead::Ahead;
use super::Stop;
use crate::clock::{self, Stopwatch};
use crate::kafka::client::Connection;
use crate::kafka::identity::Inspector;
use crate::kafka::link::{Batch, Partition};
use crate::kafka::tail::Tail;
use crate::metrics::Metrics;
use crate::model::time::Timestamp;
use crate::state::{Copy, CopyReader, Entry, Folder, Origin, Reached};

/// Where nothing is waiting: more often only makes more and smaller batches, of which most write the same keys.
const PERIOD: Duration = Duration::from_secs(1);
/// The longest that an end of the process waits for this thread.
const NAP: Duration = Duration::from_millis(50);
const AT_ONCE: usize = 2_000;
/// A partition that could not be followed is tried again after this.
const TRY_AGAIN: Duration = Duration::from_secs(30);
/// Kafka's own default, where the topic's cannot be read.
const DELETE_RETENTION_MS: i64 = 86_400_000;

/// The copies of this process: asked by the threads of watch, kept by one thread of its own.
pub struct Copies {
    dir: PathBuf,
    topic: String,
    shard_count: u32,
    connection: Connection,
    orders: Mutex<VecDeque<Order>>,
    access: Mutex<Access>,
    /// Something is wrong with the folder: no copies until the next start.
    is_off: AtomicBool,
}

#[derive(Default)]
struct Access {
    folder: Option<Folder>,
    inspector: Option<Inspector>,
    delete_retention_ms: Option<i64>,
    was_refused: bool,
}

enum Order {
    /// `anew`: what is there was found unusable.
    Keep {
        partition: i32,
        anew: bool,
    },
    Leave(i32),
}

/// What a partition's log is now.
struct Log {
    path: PathBuf,
    origin: Origin,
    low: i64,
    high: i64,
    /// A copy older than this may lack the deletion of keys that the log has forgotten altogether.
    oldest: Timestamp,
}

/// A copy that is being written.
struct Kept {
    copy: Copy,
    /// When the end of the log was last reached, or following began.
    current: Stopwatch,
    is_current: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Copies {
    pub fn new(dir: PathBuf, topic: String, shard_count: u32, connection: Connection) -> Copies {
        let (orders, access) = (Mutex::default(), Mutex::default());
        Copies { dir, topic, shard_count, connection, orders, access, is_off: AtomicBool::new(false) }
    }

    /// The copy of a partition, if there is one that may stand for the changelog below its `reached().next`.
    pub fn open(&self, partition: i32) -> Option<Ahead> {
        if self.is_off.load(Ordering::SeqCst) {
            return None;
        }
        match self.try_open(partition) {
            Ok(copy) => copy,
            Err(reason) => {
                tracing::warn!(partition, reason = format!("{reason:#}"), "local copy not used, the changelog is read");
                None
            }
        }
    }

    fn try_open(&self, partition: i32) -> Result<Option<Ahead>> {
        let Some(log) = self.look(partition)? else { return Ok(None) };
        let Some(reader) = CopyReader::open(&log.path, &log.origin)? else { return Ok(None) };
        log.accepts(reader.reached())?;
        Ahead::of(reader).map(Some)
    }

    /// The shard is ours and restored: follow it. `anew`: its copy was found unusable.
    pub fn keep(&self, partition: i32, anew: bool) {
        lock(&self.orders).push_back(Order::Keep { partition, anew });
    }

    /// The shard is another's.
    pub fn leave(&self, partition: i32) {
        lock(&self.orders).push_back(Order::Leave(partition));
    }

    /// `None`: another process uses the folder.
    fn look(&self, partition: i32) -> Result<Option<Log>> {
        let mut access = lock(&self.access);
        let is_new = access.folder.is_none();
        if is_new {
            let taken = Folder::take(&self.dir, &self.topic).with_context(|| format!("cannot use '{}'", self.dir.display()));
            self.is_off.fetch_or(taken.is_err(), Ordering::SeqCst);
            access.folder = taken?;
        }
        let Some(path) = access.folder.as_ref().map(|folder| folder.copy_of(partition)) else {
            if !std::mem::replace(&mut access.was_refused, true) {
                tracing::warn!(dir = %self.dir.display(), "another process uses state.dir: give each its own; no local copy for now");
            }
            return Ok(None);
        };
        let inspector = match access.inspector.take() {
            Some(inspector) => inspector,
            None => Inspector::new(&self.connection)?,
        };
        // The id first: a topic that is made anew while we look then has another id than what we read of it.
        let topic_id = inspector.topic_id(&self.topic)?;
        let (low, high) = inspector.bounds(&Partition { topic: self.topic.clone(), partition })?;
        let retention = match access.delete_retention_ms {
            Some(known) => known,
            None => {
                inspector.setting(&self.topic, "delete.retention.ms")?.and_then(|text| text.parse().ok()).unwrap_or(DELETE_RETENTION_MS)
            }
        };
        access.inspector = Some(inspector);
        access.delete_retention_ms = Some(retention);
        let oldest = clock::now().plus_ms(-retention / 2);
        if is_new && let Some(folder) = &access.folder {
            folder.tidy(oldest).context("cannot remove copies that are too old")?;
        }
        let origin = Origin { topic: self.topic.clone(), topic_id, partition, shard_count: self.shard_count };
        Ok(Some(Log { path, origin, low, high, oldest }))
    }

    /// Keeps copies until asked to stop. Returns early where there can be none.
    pub fn run(&self, metrics: &Metrics, stop: &Stop) {
        if let Err(error) = self.keep_all(metrics, stop) {
            self.is_off.store(true, Ordering::SeqCst);
            let error = format!("{error:#}");
            tracing::warn!(error, "no local copy of the changelog until the next start; the next restart may take longer");
            metrics.copies(0, 0, 0);
        }
    }

    fn keep_all(&self, metrics: &Metrics, stop: &Stop) -> Result<()> {
        let mut tail = Tail::new(&self.connection)?;
        let mut kept: BTreeMap<i32, Kept> = BTreeMap::new();
        let mut later: Vec<(i32, Stopwatch)> = Vec::new();
        while !stop.asked() {
            ensure!(!self.is_off.load(Ordering::SeqCst), "'{}' cannot be used", self.dir.display());
            self.take_orders(&mut tail, &mut kept, &mut later)?;
            let mut has_read = false;
            let partitions: Vec<i32> = kept.keys().copied().collect();
            for partition in partitions {
                let Some(followed) = kept.get_mut(&partition) else { continue };
                match self.follow(&tail, partition, followed) {
                    Ok(more) => has_read |= more,
                    Err(Trouble::Disk(error)) => return Err(error),
                    Err(Trouble::Log(error)) => {
                        tracing::warn!(partition, error = format!("{error:#}"), "local copy: followed anew in a while");
                        tail.leave(&self.place(partition))?;
                        kept.remove(&partition);
                        later.push((partition, Stopwatch::start()));
                    }
                }
            }
            let bytes = kept.values().map(|kept| kept.copy.length()).sum();
            let current = kept.values().filter(|kept| kept.is_current).count();
            metrics.copies(current, kept.len() - current, bytes);
            if has_read {
                continue;
            }
            if current < kept.len() {
                tail.wait(NAP);
            } else {
                rest(stop);
            }
        }
        Ok(())
    }

    fn place(&self, partition: i32) -> Partition {
        Partition { topic: self.topic.clone(), partition }
    }

    fn take_orders(&self, tail: &mut Tail, kept: &mut BTreeMap<i32, Kept>, later: &mut Vec<(i32, Stopwatch)>) -> Result<()> {
        let due = later.extract_if(.., |(_, since)| since.elapsed() >= TRY_AGAIN);
        let again: Vec<Order> = due.map(|(partition, _)| Order::Keep { partition, anew: false }).collect();
        let orders: Vec<Order> = again.into_iter().chain(lock(&self.orders).drain(..)).collect();
        for order in orders {
            match order {
                Order::Leave(partition) => {
                    later.retain(|(known, _)| *known != partition);
                    kept.remove(&partition);
                    tail.leave(&self.place(partition))?;
                }
                Order::Keep { partition, anew } => match self.look(partition) {
                    Ok(Some(log)) => {
                        let begun = begin(&log, anew)?;
                        let from = begun.copy.reached().map_or(log.low, |reached| reached.next);
                        tail.follow(&self.place(partition), from)?;
                        kept.insert(partition, begun);
                    }
                    Ok(None) => later.push((partition, Stopwatch::start())),
                    Err(error) => {
                        tracing::debug!(partition, error = format!("{error:#}"), "local copy: looked at again in a while");
                        if anew {
                            self.forget(partition)?;
                        }
                        later.push((partition, Stopwatch::start()));
                    }
                },
            }
        }
        Ok(())
    }

    /// What was found unusable is not found usable later.
    fn forget(&self, partition: i32) -> Result<()> {
        let path = lock(&self.access).folder.as_ref().map(|folder| folder.copy_of(partition));
        match path.map(std::fs::remove_file) {
            Some(Err(error)) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context("cannot remove a copy"),
            _ => Ok(()),
        }
    }

    /// Writes down what has arrived; whether there was anything.
    fn follow(&self, tail: &Tail, partition: i32, kept: &mut Kept) -> Result<bool, Trouble> {
        let batch = tail.fetch(&self.place(partition), AT_ONCE).map_err(Trouble::Log)?;
        if batch.end {
            kept.current = Stopwatch::start();
        }
        let retention = lock(&self.access).delete_retention_ms.unwrap_or(DELETE_RETENTION_MS);
        if kept.current.elapsed().as_millis() > u128::from(retention.unsigned_abs() / 2) {
            return Err(Trouble::Log(anyhow::anyhow!("too far behind the log: deletions may be missed")));
        }
        // A full batch says that more is there.
        kept.is_current = batch.end || (kept.is_current && batch.len() < AT_ONCE);
        let Some(first) = batch.get(0) else { return Ok(false) };
        if kept.copy.reached().is_some_and(|reached| first.offset < reached.next) {
            return Err(Trouble::Log(anyhow::anyhow!("offset {} comes again: is it another topic of the same name?", first.offset)));
        }
        write(&mut kept.copy, &batch).map_err(Trouble::Disk)?;
        Ok(batch.len() == AT_ONCE || !kept.is_current)
    }
}

/// What one partition may have, and what ends all copies.
enum Trouble {
    Log(anyhow::Error),
    Disk(anyhow::Error),
}

impl Log {
    /// # Errors
    /// Why what a copy holds, and what the log holds behind it, are not all that was written.
    fn accepts(&self, reached: Reached) -> Result<()> {
        if reached.as_of < self.oldest {
            bail!("it was last written at {}: what was deleted since then may be gone from the log already", reached.as_of);
        }
        ensure!(reached.next <= self.high, "it goes to offset {}, the log ends at {}: records were lost", reached.next, self.high);
        ensure!(reached.next >= self.low, "it goes to offset {}, the log begins at {}", reached.next, self.low);
        Ok(())
    }
}

fn begin(log: &Log, anew: bool) -> Result<Kept> {
    let mut copy = if anew { Copy::anew(&log.path, &log.origin)? } else { Copy::open(&log.path, &log.origin)? };
    if copy.reached().is_some_and(|reached| log.accepts(reached).is_err()) {
        copy = Copy::anew(&log.path, &log.origin)?;
    }
    Ok(Kept { copy, current: Stopwatch::start(), is_current: false })
}

/// Of several values of a key in a batch only the last is written: a shard's header comes with every transaction.
fn write(copy: &mut Copy, batch: &Batch) -> Result<()> {
    let now = clock::now();
    let mut last: HashMap<&[u8], i64, foldhash::fast::FixedState> = HashMap::default();
    for record in batch.iter() {
        last.insert(record.key.unwrap_or_default(), record.offset);
    }
    let entries = batch.iter().filter(|record| last.get(record.key.unwrap_or_default()) == Some(&record.offset)).map(|record| {
        let reached = Reached { next: record.offset.saturating_add(1), as_of: record.timestamp.min(now) };
        (reached, Entry { key: record.key.unwrap_or_default(), value: record.value })
    });
    copy.append(entries)?;
    if copy.is_long() {
        copy.rewrite()?;
    }
    Ok(())
}

fn rest(stop: &Stop) {
    let since = Stopwatch::start();
    while since.elapsed() < PERIOD && !stop.asked() {
        thread::sleep(NAP);
    }
}

#[cfg(test)]
mod tests;
