//! What callers say of what happened: labels in words of the program.

use std::time::Duration;

/// What a group has done with partitions of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rebalanced {
    Assigned,
    Revoked,
    /// Another member may have had them already.
    Lost,
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionEnd {
    Committed,
    Aborted,
    /// The broker did not say; the committed offsets did: it went through.
    UncertainCommitted,
    /// ... it did not.
    UncertainNotCommitted,
}

impl TransactionEnd {
    pub const ALL: [TransactionEnd; 4] =
        [TransactionEnd::Committed, TransactionEnd::Aborted, TransactionEnd::UncertainCommitted, TransactionEnd::UncertainNotCommitted];

    pub fn as_str(self) -> &'static str {
        match self {
            TransactionEnd::Committed => "committed",
            TransactionEnd::Aborted => "aborted",
            TransactionEnd::UncertainCommitted => "uncertain_committed",
            TransactionEnd::UncertainNotCommitted => "uncertain_not_committed",
        }
    }
}

/// What a loop spent its time on since it last said so. The sum is the time that passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// What the group does: rebalances, and where to begin.
    pub poll: Duration,
    pub process: Duration,
    pub commit: Duration,
    pub restore: Duration,
    /// Waiting for records.
    pub idle: Duration,
}

/// What the state of a shard was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoredFrom {
    /// The local copy, and the end of the changelog.
    Copy,
    Changelog,
}

/// State of the shards of one thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateSize {
    pub series: usize,
    pub open_alerts: usize,
    pub open_violations: usize,
    /// Whose use is watched, and of how many it cannot be told.
    pub resources: usize,
    pub undetermined: usize,
    /// Partitions of input that the watermark goes on without, of the shard that has most of them.
    pub set_aside: usize,
}
