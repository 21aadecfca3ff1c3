//! The commit routine, one for all roles: outputs, state changes, dead letters and offsets become visible together or not at all.
//!
//! What a batch has led to is kept, encoded, until its transaction has gone through. After an abort the very same records are sent again:
//! state in memory is never taken back, and a retry cannot come to another result than the first attempt.

use std::collections::BTreeMap;

use crate::kafka::link::{Committed, Link, OutRecord, Partition, ProduceError};

/// What one transaction is to make visible.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Staged {
    /// By input partition; a partition that is taken away takes its share with it.
    pub shares: BTreeMap<i32, Share>,
    /// What several partitions have led to together: it is committed with all shares or not at all.
    pub common: Vec<OutRecord>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Our own number: the next record to read.
    pub position: i64,
    pub records: Vec<OutRecord>,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Committed,
    /// Nothing became visible; the same may be tried again.
    Aborted(String),
    /// Nobody knows, or the producer is done for: it has to be rebuilt, then [`went_through`] tells from the group's offsets.
    Uncertain(String),
}

impl Staged {
    pub fn is_empty(&self) -> bool {
        self.shares.is_empty()
    }

    /// Leaves out the shares of these partitions. False where that cannot be done, because others' work is entangled with theirs.
    #[must_use]
    pub fn leave_out(&mut self, partitions: &[i32]) -> bool {
        let mut complete = true;
        for partition in partitions {
            complete &= self.shares.remove(partition).is_none() || self.common.is_empty();
        }
        complete
    }

    fn records(&self) -> impl Iterator<Item = &OutRecord> {
        self.shares.values().flat_map(|share| &share.records).chain(&self.common)
    }

    fn offsets(&self, topic: &str) -> Vec<(Partition, i64)> {
        let place = |partition: &i32| Partition { topic: topic.to_string(), partition: *partition };
        self.shares.iter().map(|(partition, share)| (place(partition), share.position)).collect()
    }
}

/// One attempt. `topic` is the group's; the shares name partitions of it, at least one of them owned: without valid offsets librdkafka
/// answers success and the broker checks no fencing. `metadata` names this transaction and stands beside the offsets.
pub fn attempt(link: &mut impl Link, topic: &str, staged: &Staged, metadata: &str) -> Outcome {
    assert!(!staged.shares.is_empty(), "a commit without offsets is not fenced");
    let offsets = staged.offsets(topic);
    let result = if link.is_transactional() {
        link.begin().and_then(|()| fill_and_commit(link, staged, &offsets, metadata))
    } else {
        at_least_once(link, staged, &offsets)
    };
    match result {
        Ok(()) => Outcome::Committed,
        Err(ProduceError::Abort { step, reason }) => {
            let why = format!("{step}: {reason}");
            match if link.is_transactional() { link.abort() } else { Ok(()) } {
                Ok(()) => Outcome::Aborted(why),
                Err(error) => Outcome::Uncertain(format!("{why}; then {error}")),
            }
        }
        Err(error @ ProduceError::Rebuild { .. }) => Outcome::Uncertain(error.to_string()),
    }
}

fn fill_and_commit(link: &mut impl Link, staged: &Staged, offsets: &[(Partition, i64)], metadata: &str) -> Result<(), ProduceError> {
    for record in staged.records() {
        link.send(record)?;
    }
    link.drain()?;
    link.send_offsets(offsets, metadata)?;
    link.commit()
}

/// The demo's broker has no transactions: deliver first, then move the offsets. A crash in between repeats.
fn at_least_once(link: &mut impl Link, staged: &Staged, offsets: &[(Partition, i64)]) -> Result<(), ProduceError> {
    for record in staged.records() {
        link.send(record)?;
    }
    link.drain()?;
    link.commit_offsets(offsets)
}

/// After an uncertain outcome and a new producer: what the group's offsets say of the transaction that was named `metadata`.
/// `before` holds what was last known to be committed of each partition, `found` what is committed now.
///
/// `None`: neither ours nor what stood before. Somebody else has committed, so these partitions are not ours any more.
pub fn went_through(
    staged: &Staged,
    metadata: &str,
    before: &BTreeMap<i32, Option<Committed>>,
    found: &BTreeMap<i32, Option<Committed>>,
) -> Option<bool> {
    let of = |all: &BTreeMap<i32, Option<Committed>>, partition: &i32| all.get(partition).cloned().flatten();
    let is_ours = |(partition, share): (&i32, &Share)| {
        of(found, partition).is_some_and(|found| found.offset == share.position && found.metadata == metadata)
    };
    if staged.shares.iter().all(is_ours) {
        return Some(true);
    }
    staged.shares.keys().all(|partition| of(found, partition) == of(before, partition)).then_some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn staged(positions: &[(i32, i64)]) -> Staged {
        let shares = positions.iter().map(|(partition, position)| (*partition, Share { position: *position, records: Vec::new() }));
        Staged { shares: shares.collect(), common: Vec::new() }
    }

    fn committed(all: &[(i32, i64, &str)]) -> BTreeMap<i32, Option<Committed>> {
        let value = |offset: i64, metadata: &str| Some(Committed { offset, metadata: metadata.to_string() });
        all.iter().map(|(partition, offset, metadata)| (*partition, value(*offset, metadata))).collect()
    }

    /// Also where nothing moved: a partition without news is committed at its old offset, only the metadata tells.
    #[test]
    fn the_metadata_tells_whose_transaction_it_was() {
        let ours = staged(&[(0, 10), (1, 5)]);
        let before = committed(&[(0, 7, "t1"), (1, 5, "t1")]);
        let table = [
            ("ours", committed(&[(0, 10, "t2"), (1, 5, "t2")]), Some(true)),
            ("the one before", before.clone(), Some(false)),
            ("somebody else's, same offset", committed(&[(0, 10, "x9"), (1, 5, "x9")]), None),
            ("half: a torn transaction, or another owner of one", committed(&[(0, 10, "t2"), (1, 5, "t1")]), None),
            ("gone", BTreeMap::new(), None),
        ];
        for (name, found, expected) in table {
            assert_eq!(went_through(&ours, "t2", &before, &found), expected, "{name}");
        }
        assert_eq!(went_through(&ours, "t2", &BTreeMap::new(), &BTreeMap::new()), Some(false), "the first transaction ever");
    }

    #[test]
    fn a_share_leaves_alone_unless_it_is_entangled() {
        let mut apart = staged(&[(0, 1), (1, 2)]);
        assert!(apart.leave_out(&[1, 9]) && apart == staged(&[(0, 1)]));
        let mut entangled = Staged { common: vec![OutRecord::default()], ..staged(&[(0, 1), (1, 2)]) };
        assert!(entangled.leave_out(&[9]));
        assert!(!entangled.leave_out(&[1]));
    }
}
