//! Which open parts the changelog lacks something of: a queue by the first record that it lacks.
//!
//! Additions are written by a sweep, oldest first, so that each is written within two minutes of shard time. Its head is what a restore
//! has to read the shard log again from.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::account::NodeId;
use crate::model::time::{SECOND_MS, Timestamp};

/// Additions of this age are written. With the marks' distance and the commit interval it stays below two minutes.
const SWEEP_AFTER_MS: i64 = 100 * SECOND_MS;
const MARK_EVERY_MS: i64 = 10 * SECOND_MS;
/// Open parts that one transaction takes on at most: while the log is caught up with, shard time runs faster than writing can.
pub const MOST_SWEPT: usize = 4_000;

/// One leaf and the offset of the first record that its open part in the changelog lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsaved {
    pub offset: i64,
    pub account: u32,
    pub node: NodeId,
}

/// Ordered by offset. A leaf that was saved meanwhile leaves its entry behind; whoever takes an entry asks the leaf.
#[derive(Clone, Debug, Default)]
pub struct UnsavedQueue {
    entries: VecDeque<Unsaved>,
}

impl UnsavedQueue {
    pub fn push(&mut self, entry: Unsaved) {
        self.entries.push_back(entry);
    }

    pub fn head(&self) -> Option<Unsaved> {
        self.entries.front().copied()
    }

    pub fn pop(&mut self) {
        self.entries.pop_front();
    }

    pub fn iter(&self) -> impl Iterator<Item = &Unsaved> {
        self.entries.iter()
    }
}

/// Where the shard log stood at some moments of shard time, one in ten seconds: the age of an offset.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Marks(VecDeque<(Timestamp, i64)>);

impl Marks {
    /// The record at `offset` is about to be applied.
    pub fn pass(&mut self, shard_time: Timestamp, offset: i64) {
        if self.0.back().is_none_or(|(last, _)| shard_time.0 - last.0 >= MARK_EVERY_MS) {
            self.0.push_back((shard_time, offset));
        }
        // Of those that are old enough the latest says all.
        while self.0.get(1).is_some_and(|(time, _)| is_due(*time, shard_time)) {
            self.0.pop_front();
        }
    }

    /// Additions before this offset have to be written.
    pub fn due_before(&self, shard_time: Timestamp) -> Option<i64> {
        self.0.front().filter(|(time, _)| is_due(*time, shard_time)).map(|(_, offset)| *offset)
    }
}

fn is_due(time: Timestamp, shard_time: Timestamp) -> bool {
    shard_time.0 - time.0 >= SWEEP_AFTER_MS
}
