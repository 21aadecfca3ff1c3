//! What a role tells the worker, and what it is handed.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;

use super::super::commit::Staged;
use crate::kafka::link::{Batch, Committed, From, Partition, Record, Until};
use crate::model::time::Timestamp;

/// What the records of a topic mean, and what has to be remembered of each partition.
pub trait Role {
    /// State of a partition that takes records.
    type Part;
    /// State that is being put together.
    type Loading;

    const NAME: &'static str;

    /// Records that fill a transaction. As long as so many wait to be read, transactions are filled rather than committed early.
    const FULL: Option<i64> = None;

    /// The topic that the group reads.
    fn topic(&self) -> &str;

    /// The first record to fetch of a partition whose log holds `low..high`.
    fn start(&self, committed: Option<&Committed>, low: i64, high: i64) -> i64;

    fn begin_loading(&mut self, opening: Opening) -> Result<Self::Loading>;

    /// Loads a stretch of what the role keeps outside of Kafka, before anything is read from there; whether there was any.
    ///
    /// # Errors
    /// What the worker cannot go on from.
    fn load_own(&mut self, _loading: &mut Self::Loading) -> Result<bool> {
        Ok(false)
    }

    /// What has to be read next, until there is nothing more.
    fn next_source(&mut self, loading: &mut Self::Loading) -> Result<Option<Source>>;

    fn load(&mut self, loading: &mut Self::Loading, record: &Record<'_>) -> Result<()>;

    fn finish_loading(&mut self, loading: Self::Loading) -> Result<Self::Part>;

    /// It was asked whether there is anything of this partition; `take` follows if there is.
    fn looked(&self, _part: &mut Self::Part, _moment: Moment) {}

    /// Takes the records of `batch` from index `from` on; the index of the first one that could not be taken now. The others are offered
    /// again later, before anything else of this partition.
    fn take(&mut self, part: &mut Self::Part, batch: &Batch, from: usize, moment: Moment) -> Result<usize>;

    /// All of the partition is taken, and `next` is the next offset: behind the markers of transactions that follow the last record. A position
    /// below it would look, once retention has removed the record and its marker, as if something had been removed unread. Whether the role
    /// keeps `next` from here on, to be staged like any position.
    fn stand_at(&mut self, _part: &mut Self::Part, _next: i64) -> bool {
        false
    }

    fn demand(&self, moment: Moment) -> Demand;

    /// Everything since the last call, for one transaction. All partitions that hold state are handed in.
    fn stage(&mut self, parts: &mut BTreeMap<i32, Self::Part>, moment: Moment) -> Result<Staged>;

    /// Partitions go to somebody else, or the process ends: the next `stage` is the last one for now, nothing new should be begun.
    fn finishing(&mut self) {}

    /// What `stage` gave is visible to everybody; `took` from begin to commit.
    fn committed(&mut self, parts: &mut BTreeMap<i32, Self::Part>, took: Duration);

    /// These are not ours any more, and nothing staged of theirs was or will be committed by us; `left` are those that stay.
    ///
    /// # Errors
    /// What is not staged yet cannot be taken apart: everything has to begin again from what is committed.
    fn dropped(&mut self, partitions: &[i32], left: &BTreeMap<i32, Self::Part>) -> Result<()>;
}

/// A partition that was assigned and whose state is to be read.
#[derive(Clone, Debug)]
pub struct Opening {
    pub partition: i32,
    pub committed: Option<Committed>,
    /// First and next offset of the partition at the time.
    pub low: i64,
    pub high: i64,
}

/// A stretch of some partition, committed records only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub partition: Partition,
    pub from: From,
    pub until: Until,
}

#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Wall clock, for what people read.
    pub now: Timestamp,
    /// Monotonic, for what is waited for.
    pub uptime: Duration,
}

/// Whether a role has something to commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    Nothing,
    /// Soon: since this moment (uptime) work waits.
    Since(Duration),
    /// As soon as the commits before it allow: somebody waits for it.
    Urgent(Duration),
    /// At once.
    Now,
}
