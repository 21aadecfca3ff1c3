//! The housekeeping of a process: holds intake back while shards are behind, and deletes of the shard log what nobody needs any more.
//!
//! Neither is needed for a right result: where the brokers do not answer, intake goes on and nothing is deleted.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;

use super::worker::Role as _;
use super::{Setup, Stop};
use crate::clock;
use crate::health::RoleState;
use crate::kafka::housekeeping::Housekeeper;
use crate::model::time::{DAY_MS, Timestamp};

pub const NAME: &str = "caretaker";
const LOOK: Duration = Duration::from_secs(1);
const TRIM: Duration = Duration::from_secs(30);
/// The last day of the shard log stays, whoever needs it: for looking into what happened, and for going back to an older version.
const KEPT_MS: i64 = DAY_MS;

/// What the threads of a process tell its caretaker, and it tells them.
#[derive(Debug, Default)]
pub struct Care {
    /// The first offset that a restore of each shard of this process would read.
    needed: Mutex<BTreeMap<i32, i64>>,
    are_shards_behind: AtomicBool,
}

impl Care {
    pub fn needs(&self, shard: i32, from: i64) {
        self.needed.lock().unwrap_or_else(PoisonError::into_inner).insert(shard, from);
    }

    /// Another process tells it from here on.
    pub fn forget(&self, shard: i32) {
        self.needed.lock().unwrap_or_else(PoisonError::into_inner).remove(&shard);
    }

    /// Intake takes nothing while this holds.
    pub fn are_shards_behind(&self) -> bool {
        self.are_shards_behind.load(Ordering::Relaxed)
    }

    fn needed(&self) -> BTreeMap<i32, i64> {
        self.needed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Until asked to stop.
///
/// # Errors
/// Clients that cannot be made.
pub fn run(setup: &Setup, stop: &Stop) -> Result<()> {
    let keeper = Housekeeper::new(&setup.connection, &format!("{}-{}", setup.connection.application_id, super::watch::Watch::NAME))?;
    setup.health.report(NAME, 0, RoleState::Running, clock::now());
    let mut trimmed: BTreeMap<i32, i64> = BTreeMap::new();
    let mut last_trim = clock::Stopwatch::start();
    while !stop.asked() {
        setup.health.beat(NAME, 0, clock::now());
        look_for_lag(setup, &keeper);
        if let Some(bytes) = clock::resident_memory() {
            setup.metrics.resident_memory(bytes);
        }
        if last_trim.elapsed() >= TRIM {
            last_trim = clock::Stopwatch::start();
            if let Err(error) = trim(setup, &keeper, &mut trimmed, clock::now()) {
                tracing::warn!(error = format!("{error:#}"), "the shard log could not be trimmed now; it is tried again");
            }
        }
        let since = clock::Stopwatch::start();
        while since.elapsed() < LOOK && !stop.asked() {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}

fn look_for_lag(setup: &Setup, keeper: &Housekeeper) {
    let topic = &setup.topics.shard_log;
    let shards = i32::try_from(setup.shard_count).unwrap_or(i32::MAX);
    let before = setup.care.are_shards_behind();
    let behind = match (keeper.ends(topic, shards), keeper.committed(topic, shards)) {
        (Ok(ends), Ok(committed)) => is_behind(&ends, &committed, setup.most_shard_lag, before),
        // Who cannot be asked is not waited for.
        _ => false,
    };
    setup.care.are_shards_behind.store(behind, Ordering::Relaxed);
    if behind != before {
        tracing::info!(behind, bound = setup.most_shard_lag, "shards are behind: intake waits until they have caught up");
    }
}

/// Beyond the bound until below half of it. A shard that has committed nothing yet has nobody who could be waited for.
fn is_behind(ends: &BTreeMap<i32, i64>, committed: &BTreeMap<i32, i64>, bound: i64, was: bool) -> bool {
    let lag = committed.iter().filter_map(|(shard, offset)| Some(ends.get(shard)? - offset)).max().unwrap_or(0);
    lag > if was { bound / 2 } else { bound }
}

fn trim(setup: &Setup, keeper: &Housekeeper, trimmed: &mut BTreeMap<i32, i64>, now: Timestamp) -> Result<()> {
    let needed = setup.care.needed();
    if needed.is_empty() {
        return Ok(());
    }
    let topic = &setup.topics.shard_log;
    let recent = keeper.offsets_at(topic, needed.keys().copied(), now.minus_ms(KEPT_MS).0)?;
    let targets = targets(&needed, &recent, trimmed);
    if targets.is_empty() {
        return Ok(());
    }
    for (shard, low) in keeper.delete_before(topic, &targets)? {
        let before = trimmed.insert(shard, low).unwrap_or(low);
        setup.metrics.trimmed(topic, u64::try_from(low - before).unwrap_or_default());
    }
    Ok(())
}

/// Below what a restore needs and what is younger than a day. A shard with nothing that young is needed from `needed` on; one that
/// `recent` says nothing of keeps what it has.
fn targets(needed: &BTreeMap<i32, i64>, recent: &BTreeMap<i32, Option<i64>>, trimmed: &BTreeMap<i32, i64>) -> BTreeMap<i32, i64> {
    let target = |(shard, from): (&i32, &i64)| {
        let target = recent.get(shard)?.map_or(*from, |recent| recent.min(*from));
        (target > trimmed.get(shard).copied().unwrap_or(0)).then_some((*shard, target))
    };
    needed.iter().filter_map(target).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(i32, i64)]) -> BTreeMap<i32, i64> {
        pairs.iter().copied().collect()
    }

    #[test]
    fn nothing_is_deleted_that_a_restore_needs_or_that_is_younger_than_a_day() {
        // Shard 4's leader is away: that nothing young is known of it does not mean that there is nothing.
        let needed = map(&[(0, 100), (1, 100), (2, 100), (3, 0), (4, 100)]);
        let recent = BTreeMap::from([(0, Some(40)), (1, Some(160)), (2, None), (3, Some(0))]);
        assert_eq!(targets(&needed, &recent, &map(&[])), map(&[(0, 40), (1, 100), (2, 100)]));
        assert_eq!(targets(&needed, &recent, &map(&[(0, 40), (1, 99), (2, 100)])), map(&[(1, 100)]), "once is enough");
    }

    #[test]
    fn intake_waits_from_the_bound_down_to_half_of_it() {
        let committed = map(&[(0, 1_000), (1, 0)]);
        for (end, was, expected) in [(1_100, false, false), (1_101, false, true), (1_051, true, true), (1_050, true, false)] {
            assert_eq!(is_behind(&map(&[(0, end), (1, 0), (2, 9_999)]), &committed, 100, was), expected, "{end} {was}");
        }
    }
}
