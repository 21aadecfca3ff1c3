//! The quick way, for nearly all events of a busy topic: framed Avro, legal, and like others that were here before.
//!
//! Ids, names and sums of millions of events lie far from the processor: each look at one of them takes as long as some hundred instructions.
//! So several records are taken together, step by step: what one of them will look at is asked for while the others are worked on, and what
//! each adds to sums and window is added in their order.

use super::decode::{self, SchemaTable, quick::QuickEvent};
use super::judge::{self, Asked};
use super::memory::{self, User};
use super::partition::PartitionState;
use super::rules::IntakeRules;
use super::{Batch, attempt, dedupe, latest, stamp, validate};
use crate::model::record::InputRecord;
use crate::model::time::Timestamp;

/// Records that are taken together: enough that memory is what is waited for once and not for each, few enough to stay in the cache.
pub const TOGETHER: usize = 16;

/// How far the quick way has led.
pub(super) struct Taken {
    /// So many records from the first on are combined or duplicates.
    pub records: usize,
    /// Why it does not lead on to the next one.
    pub end: End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// There is none, or it is one more than are taken together.
    Done,
    /// Plain, but texts like these are new.
    Unknown,
    NotPlain,
}

/// What has been found out of a record.
#[derive(Default)]
struct Ahead<'a> {
    event: QuickEvent<'a>,
    time: Timestamp,
    identity: u128,
    user: User,
    /// Of the user's spelling, then of all texts that are looked up.
    hash: u64,
    known: usize,
}

/// Takes up to `N` records. Nothing has happened to those behind them.
pub(super) fn take<const N: usize>(
    records: &[InputRecord<'_>],
    now: Timestamp,
    rules: &IntakeRules,
    schemas: &SchemaTable,
    partition: &mut PartitionState,
    batch: &mut Batch,
) -> Taken {
    let mut all: [Ahead<'_>; N] = std::array::from_fn(|_| Ahead::default());
    let mut end = End::Done;
    let mut count = 0;
    for (record, ahead) in records.iter().zip(&mut all) {
        let Some(read) = read(record, now, rules, schemas, batch.memory.quick_key(count)) else {
            end = End::NotPlain;
            break;
        };
        *ahead = read;
        count += 1;
    }
    count = count.min(approach(&mut all[..count], partition, batch, &mut end));
    count = count.min(recognise(&mut all[..count], batch, &mut end));
    for ahead in &all[..count] {
        batch.approach(ahead.known, ahead.user);
    }
    for ahead in &all[..count] {
        batch.approach_user(ahead.known, ahead.user);
    }
    for (record, ahead) in records.iter().zip(&all[..count]) {
        settle(record, ahead, now, rules, partition, batch);
    }
    Taken { records: count, end }
}

fn read<'a>(
    record: &InputRecord<'a>,
    now: Timestamp,
    rules: &IntakeRules,
    schemas: &'a SchemaTable,
    key: &mut Vec<u8>,
) -> Option<Ahead<'a>> {
    let event = decode::quick(record, rules.largest_record, schemas, key)?;
    let time = Timestamp(event.time_ms);
    if time < validate::EARLIEST || time > latest(record, Some(now), rules) || memory::is_doubtful(&event) {
        return None;
    }
    let identity = dedupe::identity(event.source, event.event_id, attempt(record));
    Some(Ahead { hash: memory::hash_of_user(event.user), time, identity, event, ..Ahead::default() })
}

/// Asks for what the window and the names of users have under these hashes, finds the users. How many of the records go on.
fn approach(all: &mut [Ahead<'_>], partition: &PartitionState, batch: &mut Batch, end: &mut End) -> usize {
    for ahead in &*all {
        partition.approach(ahead.identity);
        batch.memory.approach_user(ahead.hash);
    }
    for (place, ahead) in all.iter_mut().enumerate() {
        let Ok(user) = batch.memory.user_of(ahead.event.user, ahead.hash) else {
            *end = End::NotPlain;
            return place;
        };
        ahead.user = user;
        ahead.hash = batch.memory.complete_quick_key(place, &ahead.event, user);
    }
    all.len()
}

/// Finds what is known of events with these texts. How many of the records go on.
fn recognise(all: &mut [Ahead<'_>], batch: &mut Batch, end: &mut End) -> usize {
    for ahead in &*all {
        batch.memory.approach_input(ahead.hash);
    }
    let mut likely = [None; TOGETHER];
    for (ahead, likely) in all.iter().zip(&mut likely) {
        *likely = batch.memory.approach_meaning(ahead.hash);
    }
    likely.into_iter().flatten().for_each(|input| batch.memory.approach_known(input));
    for (place, ahead) in all.iter_mut().enumerate() {
        let Some(known) = batch.memory.find_quick(place, ahead.hash) else {
            *end = End::Unknown;
            return place;
        };
        if batch.memory.asked(known).is_some_and(Asked::needs_all) {
            *end = End::NotPlain;
            return place;
        }
        ahead.known = known;
    }
    all.len()
}

fn settle(
    record: &InputRecord<'_>,
    ahead: &Ahead<'_>,
    now: Timestamp,
    rules: &IntakeRules,
    partition: &mut PartitionState,
    batch: &mut Batch,
) {
    let Ahead { event, time, user, known, .. } = ahead;
    if partition.enter(ahead.identity, record.offset) {
        batch.duplicate();
        return;
    }
    let combined = batch.combine(*known, *user, &event.usage, *time, stamp(record).unwrap_or(now), rules);
    if let Some(combined) = combined {
        judge::quick(batch, *known, &combined, *user, event, *time, rules);
    }
    partition.advance(*time, rules.out_of_orderness_ms);
}
