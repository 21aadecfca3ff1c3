//! Every metric, and the only file that names the metrics library. A field's help text says what it counts; callers say what happened.

use std::fmt;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::model::alert::{Alert, AlertKind, AlertState};
use crate::model::effect::Effect;
use crate::model::record::RejectReason;
use crate::model::time::Timestamp;

/// Content type of what [`Metrics::render`] writes.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What became of the records that one intake transaction read of one topic. Rejected ones are told one by one, with their reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IntakeCounts {
    pub read: u64,
    pub combined: u64,
    pub duplicates: u64,
    pub forwarded: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TopicLabel {
    topic: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PartitionLabels {
    topic: String,
    partition: i32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RoleLabel {
    role: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: Name,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AlertLabels {
    kind: Name,
    state: Name,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ThreadLabels {
    role: String,
    thread: u32,
}

/// A name out of a fixed set, which needs no copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Name(&'static str);

impl EncodeLabelValue for Name {
    fn encode(&self, encoder: &mut LabelValueEncoder) -> Result<(), fmt::Error> {
        EncodeLabelValue::encode(&self.0, encoder)
    }
}

type Seconds = Gauge<f64, AtomicU64>;

/// All metrics of the process; cheap to share behind an `Arc`.
pub struct Metrics {
    registry: Mutex<Registry>,
    records_in: Family<TopicLabel, Counter>,
    records_combined: Family<TopicLabel, Counter>,
    records_duplicate: Family<TopicLabel, Counter>,
    records_forwarded: Family<TopicLabel, Counter>,
    records_rejected: Family<ReasonLabel, Counter>,
    dead_letters: Counter,
    input_lag: Family<PartitionLabels, Gauge>,
    shard_records: Counter,
    partials: Counter,
    transactions_committed: Family<RoleLabel, Counter>,
    transactions_aborted: Family<RoleLabel, Counter>,
    commit_seconds: Family<RoleLabel, Histogram, fn() -> Histogram>,
    role_failures: Family<RoleLabel, Counter>,
    alerts: Family<AlertLabels, Counter>,
    rollups: Counter,
    alert_latency_seconds: Histogram,
    series: Family<ThreadLabels, Gauge>,
    open_alerts: Family<ThreadLabels, Gauge>,
    watermark_lag_seconds: Family<ThreadLabels, Seconds>,
    restore_seconds: Family<RoleLabel, Seconds>,
    mails_sent: Counter,
    mails_failed: Counter,
    mails_retried: Counter,
    rules_revision: Gauge,
    reloads_refused: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new()
    }
}

/// 1 ms to 16 s.
fn commit_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 15))
}

impl Metrics {
    pub fn new() -> Metrics {
        let metrics = Metrics {
            registry: Mutex::default(),
            records_in: Family::default(),
            records_combined: Family::default(),
            records_duplicate: Family::default(),
            records_forwarded: Family::default(),
            records_rejected: Family::default(),
            dead_letters: Counter::default(),
            input_lag: Family::default(),
            shard_records: Counter::default(),
            partials: Counter::default(),
            transactions_committed: Family::default(),
            transactions_aborted: Family::default(),
            commit_seconds: Family::new_with_constructor(commit_histogram),
            role_failures: Family::default(),
            alerts: Family::default(),
            rollups: Counter::default(),
            // 10 ms to about a minute and a half.
            alert_latency_seconds: Histogram::new(exponential_buckets(0.01, 2.0, 14)),
            series: Family::default(),
            open_alerts: Family::default(),
            watermark_lag_seconds: Family::default(),
            restore_seconds: Family::default(),
            mails_sent: Counter::default(),
            mails_failed: Counter::default(),
            mails_retried: Counter::default(),
            rules_revision: Gauge::default(),
            reloads_refused: Counter::default(),
        };
        let mut registry = Registry::with_prefix("tollgate");
        metrics.register_intake(&mut registry);
        metrics.register_watch(&mut registry);
        metrics.register_process(&mut registry);
        *metrics.registry.lock().unwrap_or_else(PoisonError::into_inner) = registry;
        metrics
    }

    // The library adds `_total` to counters, and the full stop to help texts.
    fn register_intake(&self, registry: &mut Registry) {
        registry.register("records_in", "Records read of an input topic and committed", self.records_in.clone());
        registry.register("records_combined", "Records summed into partials", self.records_combined.clone());
        registry.register("records_duplicate", "Records whose id stood in the dedupe window already", self.records_duplicate.clone());
        registry.register("records_forwarded", "Records that travel on as they are, in internal form", self.records_forwarded.clone());
        registry.register("records_rejected", "Records that could not be used, by reason", self.records_rejected.clone());
        registry.register("dead_letters", "Records written to the dead-letter topic", self.dead_letters.clone());
        registry.register("input_lag_records", "Records of an input partition that are not read yet", self.input_lag.clone());
    }

    fn register_watch(&self, registry: &mut Registry) {
        registry.register("shard_records", "Shard-log records applied", self.shard_records.clone());
        registry.register("partials", "Partials merged into series", self.partials.clone());
        registry.register("alerts", "Alert records written, by kind and state", self.alerts.clone());
        registry.register("rollups", "Spend roll-ups written", self.rollups.clone());
        let help = "Time from the Kafka timestamp of the latest input record that an opening alert rests on to its decision";
        registry.register("alert_latency_seconds", help, self.alert_latency_seconds.clone());
        registry.register("series", "Series that the thread's shards hold", self.series.clone());
        registry.register("open_alerts", "Alerts that are open now", self.open_alerts.clone());
        let help = "How far the slowest shard's watermark lies behind the clock";
        registry.register("shard_watermark_lag_seconds", help, self.watermark_lag_seconds.clone());
        registry.register("restore_seconds", "How long the last restore of state took", self.restore_seconds.clone());
    }

    fn register_process(&self, registry: &mut Registry) {
        registry.register("transactions_committed", "Transactions that went through", self.transactions_committed.clone());
        registry.register("transactions_aborted", "Transactions that were taken back and done again", self.transactions_aborted.clone());
        registry.register("commit_seconds", "From the first record produced to the committed transaction", self.commit_seconds.clone());
        registry.register("role_failures", "Threads of a role that ended with an error and were started again", self.role_failures.clone());
        registry.register("mails_sent", "Mails that the server took", self.mails_sent.clone());
        registry.register("mails_failed", "Mails that were given up", self.mails_failed.clone());
        registry.register("mails_retried", "Attempts to send a mail that failed and will be repeated", self.mails_retried.clone());
        registry.register("rules_revision", "Revision of the rules in use", self.rules_revision.clone());
        registry.register("reloads_refused", "Reloads that left everything as it was, because the file was wrong", self.reloads_refused.clone());
        let version = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The program that runs here", version);
    }

    /// OpenMetrics text.
    pub fn render(&self) -> String {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing to a text cannot fail; half a page would be worse than none.
        if encode(&mut text, &registry).is_err() {
            text.clear();
        }
        text
    }

    /// One committed transaction of intake.
    pub fn intake(&self, topic: &str, counts: &IntakeCounts) {
        let label = TopicLabel { topic: topic.to_string() };
        let counters = [
            (&self.records_in, counts.read),
            (&self.records_combined, counts.combined),
            (&self.records_duplicate, counts.duplicates),
            (&self.records_forwarded, counts.forwarded),
        ];
        for (family, count) in counters {
            family.get_or_create(&label).inc_by(count);
        }
    }

    pub fn rejected(&self, reason: RejectReason) {
        self.records_rejected.get_or_create(&ReasonLabel { reason: Name(reason.as_str()) }).inc();
    }

    pub fn input_lag(&self, topic: &str, partition: i32, records: i64) {
        self.input_lag.get_or_create(&PartitionLabels { topic: topic.to_string(), partition }).set(records);
    }

    /// The partition belongs to another member now.
    pub fn forget_partition(&self, topic: &str, partition: i32) {
        self.input_lag.remove(&PartitionLabels { topic: topic.to_string(), partition });
    }

    pub fn committed(&self, role: &str, took: Duration) {
        let label = RoleLabel { role: role.to_string() };
        self.transactions_committed.get_or_create(&label).inc();
        self.commit_seconds.get_or_create(&label).observe(took.as_secs_f64());
    }

    pub fn aborted(&self, role: &str) {
        self.transactions_aborted.get_or_create(&RoleLabel { role: role.to_string() }).inc();
    }

    pub fn role_failed(&self, role: &str) {
        self.role_failures.get_or_create(&RoleLabel { role: role.to_string() }).inc();
    }

    pub fn shard_record(&self, partials: usize) {
        self.shard_records.inc();
        self.partials.inc_by(partials as u64);
    }

    /// An effect on its way out.
    pub fn effect(&self, effect: &Effect, now: Timestamp) {
        match effect {
            Effect::Shard { .. } => {}
            Effect::DeadLetter(_) => {
                self.dead_letters.inc();
            }
            Effect::Alert(alert) => self.alert(alert, now),
            Effect::Rollup(_) => {
                self.rollups.inc();
            }
        }
    }

    fn alert(&self, alert: &Alert, now: Timestamp) {
        let (kind, state) = (Name(AlertKind::as_str(alert.kind)), Name(AlertState::as_str(alert.state)));
        self.alerts.get_or_create(&AlertLabels { kind, state }).inc();
        if alert.state == AlertState::Open {
            self.alert_latency_seconds.observe(seconds_between(alert.ingest_time, now).max(0.0));
        }
    }

    /// What one thread's shards hold. No watermark yet = no lag to speak of.
    pub fn shards(&self, thread: usize, series: usize, open_alerts: usize, watermark: Option<Timestamp>, now: Timestamp) {
        let labels = ThreadLabels { role: "watch".to_string(), thread: u32::try_from(thread).unwrap_or(u32::MAX) };
        let number = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        self.series.get_or_create(&labels).set(number(series));
        self.open_alerts.get_or_create(&labels).set(number(open_alerts));
        match watermark {
            Some(watermark) => {
                self.watermark_lag_seconds.get_or_create(&labels).set(seconds_between(watermark, now));
            }
            None => {
                self.watermark_lag_seconds.remove(&labels);
            }
        }
    }

    pub fn restored(&self, role: &str, took: Duration) {
        self.restore_seconds.get_or_create(&RoleLabel { role: role.to_string() }).set(took.as_secs_f64());
    }

    pub fn mail_sent(&self) {
        self.mails_sent.inc();
    }

    pub fn mail_failed(&self) {
        self.mails_failed.inc();
    }

    pub fn mail_retried(&self) {
        self.mails_retried.inc();
    }

    pub fn rules(&self, revision: u64) {
        self.rules_revision.set(i64::try_from(revision).unwrap_or(i64::MAX));
    }

    pub fn reload_refused(&self) {
        self.reloads_refused.inc();
    }
}

fn seconds_between(earlier: Timestamp, later: Timestamp) -> f64 {
    later.0.saturating_sub(earlier.0) as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_is_on_the_page() {
        let metrics = Metrics::new();
        metrics.intake("usage-events", &IntakeCounts { read: 10, combined: 7, duplicates: 2, forwarded: 0 });
        metrics.rejected(RejectReason::InvalidJson);
        metrics.committed("intake", Duration::from_millis(8));
        metrics.shards(0, 12, 1, Some(Timestamp(1_000)), Timestamp(31_000));
        metrics.input_lag("usage-events", 3, 5);
        metrics.rules(4);
        let page = metrics.render();
        for line in [
            "tollgate_records_in_total{topic=\"usage-events\"} 10",
            "tollgate_records_combined_total{topic=\"usage-events\"} 7",
            "tollgate_records_rejected_total{reason=\"invalid_json\"} 1",
            "tollgate_commit_seconds_bucket{le=\"0.008\",role=\"intake\"} 1",
            "tollgate_shard_watermark_lag_seconds{role=\"watch\",thread=\"0\"} 30.0",
            "tollgate_open_alerts{role=\"watch\",thread=\"0\"} 1",
            "tollgate_input_lag_records{topic=\"usage-events\",partition=\"3\"} 5",
            "tollgate_rules_revision 4",
            "tollgate_mails_sent_total 0",
            "# HELP tollgate_dead_letters Records written to the dead-letter topic.",
            "# EOF",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\n{page}");
        }
        assert!(page.contains("tollgate_build_info{version="), "{page}");
        metrics.forget_partition("usage-events", 3);
        assert!(!metrics.render().contains("partition=\"3\""));
    }
}
