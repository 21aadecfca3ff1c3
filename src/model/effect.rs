//! Every externally visible effect of the core is one variant here; `runtime/commit.rs` executes them.

use super::alert::Alert;
use super::partial::ShardRecord;
use super::record::DeadLetter;
use super::rollup::SpendRollup;
use super::violation::Violation;

#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// To the shard log, partition `shard`.
    Shard {
        shard: u32,
        record: ShardRecord,
    },
    DeadLetter(Box<DeadLetter>),
    Alert(Box<Alert>),
    Violation(Box<Violation>),
    Rollup(Box<SpendRollup>),
    /// An amount that came too late to restate its hour: to be added to what the hour has. `number` is unique within the shard.
    RollupSupplement {
        shard: u32,
        number: u64,
        rollup: Box<SpendRollup>,
    },
}

/// A key of a compacted changelog; `None` deletes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateChange {
    pub key: Vec<u8>,
    pub value: Option<Vec<u8>>,
}
