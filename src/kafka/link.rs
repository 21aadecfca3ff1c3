//! What a worker asks of Kafka, and the plain values that pass: a trait with two implementations, `session` on real
//! brokers and the model of a broker that the simulation runs the same workers on (`runtime/simulation`).

use std::time::Duration;

use anyhow::Result;

pub use super::batch::{Batch, OwnedRecord, Record};
pub use super::producer::{OutRecord, ProduceError};
use crate::model::time::Timestamp;

/// One partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition {
    pub topic: String,
    pub partition: i32,
}

/// What the group has decided. The group waits for [`Link::assign`] or [`Link::unassign`] before it goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rebalance {
    Assign(Vec<Partition>),
    /// `lost`: another member may own them already; nothing may be committed for them.
    Revoke {
        partitions: Vec<Partition>,
        lost: bool,
    },
    Failed(String),
}

/// A group's offset of one partition, and what was written beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The next record to read.
    pub offset: i64,
    /// The commit routine writes the transaction's number here.
    pub metadata: String,
}

/// Where [`Link::open`] begins to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    Beginning,
    Offset(i64),
}

/// Where reading a partition outside of the group ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// The end as it is when reading begins, undecided transactions included: reading waits until they are decided.
    End,
    /// Before this offset.
    Offset(i64),
}

/// One step of reading a partition outside of the group.
#[derive(Debug)]
pub enum Read {
    /// Possibly empty: nothing has arrived yet.
    Records(Batch),
    /// Everything up to the bound has been handed out; the reader is closed. `end`: offset behind the last record that was there.
    Finished { end: i64 },
}

/// One worker's connection: a group member, a transactional producer and a reader of single partitions, used by one thread.
///
/// Every method may fail with what the worker cannot go on from; the worker then ends and its successor begins from what is committed.
/// The steps of a transaction fail with [`ProduceError`], which says what to do about it.
pub trait Link {
    /// Wall clock.
    fn now(&self) -> Timestamp;

    /// Monotonic time since some moment before the worker began.
    fn uptime(&self) -> Duration;

    /// What the group has decided since the last call. Never waits; must be called again and again, else the group gives us up.
    fn event(&mut self) -> Result<Option<Rebalance>>;

    /// Returns when a record or an event has arrived since the last fetch, at the latest after `most`.
    fn wait(&mut self, most: Duration);

    /// Up to `most` records of an assigned partition that have arrived. Never waits.
    fn fetch(&mut self, partition: &Partition, most: usize) -> Result<Batch>;

    /// The end of an assigned partition as the last fetch told it; asks nobody. `None`: not known.
    fn end_seen(&self, partition: &Partition) -> Option<i64>;

    /// Begins to fetch the partitions at our own offsets, beside those already assigned. What the group has given and is not among them may
    /// come later.
    fn assign(&mut self, starts: &[(Partition, i64)]) -> Result<()>;

    /// Some may never have been assigned.
    fn unassign(&mut self, partitions: &[Partition]) -> Result<()>;

    /// The group's offsets, `None` inside where it has none. `None` outside: not to be had now (a transaction that covers them is not
    /// decided yet, or the coordinator does not answer); ask again later.
    fn committed(&mut self, partitions: &[Partition]) -> Result<Option<Vec<Option<Committed>>>>;

    /// First and next offset of each partition, asked from its leader; committed records only. `None`: not to be had now.
    fn bounds(&mut self, partitions: &[Partition]) -> Result<Vec<Option<(i64, i64)>>>;

    /// Begins to read one partition outside of the group, committed records only. One at a time.
    fn open(&mut self, partition: &Partition, from: From, until: Until) -> Result<()>;

    fn read(&mut self, most: usize) -> Result<Read>;

    /// Next offset and end of what is open to be read, once they are known.
    fn reading(&self) -> Option<(i64, i64)> {
        None
    }

    /// Ends reading before it is finished. Without an open reader it does nothing.
    fn close(&mut self) -> Result<()>;

    /// False on the demo's broker: deliver first, then move the offsets with [`Link::commit_offsets`].
    fn is_transactional(&self) -> bool;

    fn begin(&mut self) -> Result<(), ProduceError>;

    fn send(&mut self, record: &OutRecord) -> Result<(), ProduceError>;

    /// Waits until every record sent is acknowledged.
    fn drain(&mut self) -> Result<(), ProduceError>;

    /// Adds offsets to the transaction, after a look at the membership that they are sent under (DESIGN 4).
    fn send_offsets(&mut self, offsets: &[(Partition, i64)], metadata: &str) -> Result<(), ProduceError>;

    fn commit(&mut self) -> Result<(), ProduceError>;

    fn abort(&mut self) -> Result<(), ProduceError>;

    /// At-least-once only.
    fn commit_offsets(&mut self, offsets: &[(Partition, i64)]) -> Result<(), ProduceError>;

    /// Whether a connection of the producer broke since it was started. A request of an ended transaction may then still be under way and
    /// would hit the next one: without KIP-890 only a new producer, whose epoch is higher, is safe (KAFKA.md, trap 4).
    fn is_tainted(&self) -> bool;

    /// A new producer under the same transactional id: fences the old one and decides what it left open.
    fn rebuild(&mut self) -> Result<(), ProduceError>;
}
