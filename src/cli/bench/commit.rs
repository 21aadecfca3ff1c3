//! What a transaction takes on a broker: the commit routine of all roles, one transaction behind the other, each step timed.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::measure::{Measured, Meter, Of};
use crate::clock::Stopwatch;
use crate::kafka::client::Connection;
use crate::kafka::link::{Link as _, OutRecord, Partition, Rebalance};
use crate::kafka::session::Session;
use crate::runtime::commit::{self, Outcome, Share, Staged};

const ROLE: &str = "bench-commit";
/// For the group to form.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a record of intake's holds.
const VALUE: [u8; 400] = [0x5a; 400];

/// `transactions` of `records` records each, spread over the `partitions` of `output`, with the offset of one partition of `input`.
///
/// # Errors
/// The broker does not answer, or a transaction does not go through.
pub fn measure(connection: &Connection, input: &str, output: &str, partitions: i32, transactions: u64, records: u64) -> Result<Measured> {
    let mut session = Session::join(connection, ROLE, 0, input, true)?;
    let owned = assigned(&mut session)?;
    let partitions = u64::from(partitions.max(1).unsigned_abs());
    let mut times = Vec::new();
    let mut meter = Meter::new(Of::Process);
    for number in 0..transactions {
        let staged = staged(&owned, output, partitions, number, records);
        let stopwatch = Stopwatch::start();
        let outcome = meter.count(|| commit::attempt(&mut session, input, &staged, &format!("v1 bench-{number}")));
        match outcome {
            Outcome::Committed => times.push(stopwatch.elapsed()),
            Outcome::Aborted(reason) | Outcome::Uncertain(reason) => bail!("transaction {number} did not go through: {reason}"),
        }
        // Rebalances would be answered here; there is nobody else in this group.
        if let Some(event) = session.event()? {
            bail!("somebody else is in the group of this run: {event:?}");
        }
    }
    let mut measured = meter.finish("commit", transactions * records);
    times.sort_unstable();
    measured.more.extend(quantiles(&times));
    Ok(measured)
}

/// The partition whose offset is committed.
fn assigned(session: &mut Session) -> Result<Partition> {
    let started = Stopwatch::start();
    loop {
        match session.event()? {
            Some(Rebalance::Assign(partitions)) => {
                let starts: Vec<(Partition, i64)> = partitions.iter().cloned().map(|partition| (partition, 0)).collect();
                session.assign(&starts)?;
                return partitions.into_iter().next().context("the input has no partitions");
            }
            Some(other) => bail!("unexpected while the group forms: {other:?}"),
            None if started.elapsed() > PATIENCE => bail!("the group did not form within {PATIENCE:?}"),
            None => session.wait(Duration::from_millis(100)),
        }
    }
}

fn staged(owned: &Partition, output: &str, partitions: u64, number: u64, records: u64) -> Staged {
    let record = |n: u64| OutRecord {
        topic: output.to_owned(),
        partition: Some(i32::try_from((number + n) % partitions).unwrap_or_default()),
        key: Some(n.to_be_bytes().to_vec()),
        value: Some(VALUE.to_vec()),
        headers: Vec::new(),
    };
    let share = Share { position: i64::try_from(number + 1).unwrap_or(i64::MAX), records: (0..records).map(record).collect() };
    Staged { shares: BTreeMap::from([(owned.partition, share)]), common: Vec::new() }
}

/// In milliseconds.
fn quantiles(sorted: &[Duration]) -> Vec<(&'static str, f64)> {
    let at = |share: f64| {
        let place = (sorted.len() as f64 * share) as usize;
        sorted.get(place.min(sorted.len().saturating_sub(1))).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    };
    vec![("p50 ms", at(0.5)), ("p90 ms", at(0.9)), ("p99 ms", at(0.99))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_times() {
        let times: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(quantiles(&times), [("p50 ms", 51.0), ("p90 ms", 91.0), ("p99 ms", 100.0)]);
        assert_eq!(quantiles(&[])[0].1, 0.0);
    }

    #[test]
    fn records_are_spread_over_all_partitions() {
        let owned = Partition { topic: "in".to_owned(), partition: 3 };
        let staged = staged(&owned, "out", 4, 9, 8);
        let share = &staged.shares[&3];
        assert_eq!((share.position, share.records.len()), (10, 8));
        let partitions: std::collections::BTreeSet<Option<i32>> = share.records.iter().map(|record| record.partition).collect();
        assert_eq!(partitions.len(), 4);
    }
}
