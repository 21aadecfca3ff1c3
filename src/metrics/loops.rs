//! What every role has: a place in its group, transactions, a loop that spends its time on something.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::kinds::{Rebalanced, Spent, TransactionEnd};
use super::{Fractions, Labels, Metrics, by_role, family, gauges, seconds_between, whole};
use crate::model::time::Timestamp;

type Seconds = Family<Labels, Counter<f64, AtomicU64>>;

pub(super) struct LoopMetrics {
    lag: Family<Labels, Gauge>,
    lag_seconds: Fractions,
    watermark_age: Fractions,
    restore_read: Family<Labels, Gauge>,
    restore_total: Family<Labels, Gauge>,
    assigned: Family<Labels, Gauge>,
    pub(super) rebalances: Family<Labels, Counter>,
    without_owner: Family<Labels, Gauge>,
    pub(super) rebuilds: Family<Labels, Counter>,
    pub(super) transactions: Family<Labels, Counter>,
    spent: Seconds,
    trimmed: Family<Labels, Counter>,
}

impl LoopMetrics {
    pub(super) fn new(r: &mut Registry) -> LoopMetrics {
        LoopMetrics {
            lag: gauges(r, "consumergroup_lag", "Committed records of the partition behind the group's position"),
            lag_seconds: second_gauges(r, "consumergroup_lag", "Age of the oldest record that the group has not taken yet; 0 = none waits"),
            watermark_age: second_gauges(r, "watermark_age", "Wall clock less the event time that the partition has come to, by role"),
            restore_read: gauges(r, "restore_records_read", "Records read so far to have the partition's state again, by role"),
            restore_total: gauges(r, "restore_records", "Records to be read to have the partition's state again, by role"),
            assigned: gauges(r, "assigned_partitions", "Partitions of a thread, by role"),
            rebalances: family(r, "rebalances", "Partitions were assigned, revoked or lost, by role"),
            without_owner: gauges(
                r,
                "partitions_without_owner",
                "Partitions of a role's topic that nobody in its group has, though the group takes itself for complete",
            ),
            rebuilds: family(r, "producer_rebuilds", "Producers that were dropped and made anew, by role"),
            transactions: family(r, "transactions", "Transactions by outcome and role"),
            spent: second_counters(r, "loop", "What a thread's loop spends its time on, by role, thread and phase"),
            trimmed: family(r, "trimmed_records", "Records of the shard log that were deleted, because nobody needs them any more"),
        }
    }
}

impl Metrics {
    /// How far a group is behind in a partition: records that it can read and has not committed, and the age of the oldest of them.
    pub fn lag(&self, group: &str, topic: &str, partition: i32, records: i64, age: Duration) {
        let labels = by_place("consumergroup", group, topic, partition);
        self.loops.lag.get_or_create(&labels).set(records);
        self.loops.lag_seconds.get_or_create(&labels).set(age.as_secs_f64());
    }

    /// How old the event time is that a partition has come to; nothing while it has none.
    pub fn watermark(&self, role: &str, topic: &str, partition: i32, watermark: Option<Timestamp>, now: Timestamp) {
        if let Some(watermark) = watermark {
            self.loops.watermark_age.get_or_create(&by_place("role", role, topic, partition)).set(seconds_between(watermark, now));
        }
    }

    /// Records of state and log that were read, out of those that have to be, to have the partition's state again.
    pub fn restoring(&self, role: &str, topic: &str, partition: i32, read: u64, total: u64) {
        let labels = by_place("role", role, topic, partition);
        self.loops.restore_read.get_or_create(&labels).set(i64::try_from(read).unwrap_or(i64::MAX));
        self.loops.restore_total.get_or_create(&labels).set(i64::try_from(total).unwrap_or(i64::MAX));
    }

    /// The partition is another's now: what was said of it here is not to stand for ever.
    pub fn forget_partition(&self, group: &str, role: &str, topic: &str, partition: i32) {
        let (of_group, of_role) = (by_place("consumergroup", group, topic, partition), by_place("role", role, topic, partition));
        self.loops.lag.remove(&of_group);
        self.loops.lag_seconds.remove(&of_group);
        self.loops.watermark_age.remove(&of_role);
        self.loops.restore_read.remove(&of_role);
        self.loops.restore_total.remove(&of_role);
    }

    /// Partitions that the thread has after a rebalance.
    pub fn rebalanced(&self, role: &str, thread: usize, what: Rebalanced, partitions_now: usize) {
        let what = match what {
            Rebalanced::Assigned => "assigned",
            Rebalanced::Revoked => "revoked",
            Rebalanced::Lost => "lost",
        };
        self.loops.rebalances.get_or_create(&vec![("role", role.to_string()), ("what", what.to_string())]).inc();
        self.assigned(role, thread, partitions_now);
    }

    /// Partitions that the thread has.
    pub fn assigned(&self, role: &str, thread: usize, partitions: usize) {
        self.loops.assigned.get_or_create(&by_thread(role, thread)).set(whole(partitions));
    }

    /// Partitions of a role's topic that no member of its group owns, though the group takes itself for complete.
    pub fn without_owner(&self, role: &str, topic: &str, partitions: usize) {
        let labels = vec![("role", role.to_string()), ("topic", topic.to_string())];
        self.loops.without_owner.get_or_create(&labels).set(whole(partitions));
    }

    pub fn producer_rebuilt(&self, role: &str) {
        self.loops.rebuilds.get_or_create(&by_role(role)).inc();
    }

    pub fn transaction(&self, role: &str, end: TransactionEnd) {
        self.loops.transactions.get_or_create(&vec![("role", role.to_string()), ("outcome", end.as_str().to_string())]).inc();
    }

    pub fn spent(&self, role: &str, thread: usize, spent: &Spent) {
        let Spent { poll, process, commit, restore, idle } = spent;
        for (phase, took) in [("poll", poll), ("process", process), ("commit", commit), ("restore", restore), ("idle", idle)] {
            let mut labels = by_thread(role, thread);
            labels.push(("phase", phase.to_string()));
            self.loops.spent.get_or_create(&labels).inc_by(took.as_secs_f64());
        }
    }

    /// Records of a log of ours that nobody needs any more and that were deleted.
    pub fn trimmed(&self, topic: &str, records: u64) {
        self.loops.trimmed.get_or_create(&vec![("topic", topic.to_string())]).inc_by(records);
    }
}

fn by_thread(role: &str, thread: usize) -> Labels {
    vec![("role", role.to_string()), ("thread", thread.to_string())]
}

fn by_place(what: &'static str, name: &str, topic: &str, partition: i32) -> Labels {
    vec![(what, name.to_string()), ("topic", topic.to_string()), ("partition", partition.to_string())]
}

fn second_gauges(registry: &mut Registry, name: &str, help: &str) -> Fractions {
    let family = Family::default();
    registry.register_with_unit(name, help, Unit::Seconds, Family::clone(&family));
    family
}

fn second_counters(registry: &mut Registry, name: &str, help: &str) -> Seconds {
    let family = Family::default();
    registry.register_with_unit(name, help, Unit::Seconds, Family::clone(&family));
    family
}
