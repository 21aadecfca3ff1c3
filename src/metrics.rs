//! All metrics: name, help and labels stand here and nowhere else. The core counts nothing; loops count what they did.

use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::model::alert::Alert;
use crate::model::effect::Effect;
use crate::model::record::RejectReason;
use crate::model::time::Timestamp;

type Labels = Vec<(&'static str, String)>;
type Histograms = Family<Labels, Histogram, fn() -> Histogram>;

/// Handles are cheap; the registry renders the page.
pub struct Metrics {
    registry: Registry,
    read: Counter,
    combined: Counter,
    duplicates: Counter,
    unpriced: Counter,
    rejected: Family<Labels, Counter>,
    waiting: Family<Labels, Gauge>,
    partials: Counter,
    alerts: Family<Labels, Counter>,
    rollups: Counter,
    commits: Histograms,
    restores: Histograms,
    failures: Family<Labels, Counter>,
    mails: Family<Labels, Counter>,
    mail_delay: Histogram,
    decision_delay: Histogram,
    series: Gauge,
    open_alerts: Gauge,
    watermark_lag: Gauge,
}

/// Milliseconds to minutes.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 18))
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new()
    }
}

impl Metrics {
    pub fn new() -> Metrics {
        let mut registry = Registry::with_prefix("tollgate");
        let build: Family<Labels, Gauge> = Family::default();
        build.get_or_create(&vec![("version", env!("CARGO_PKG_VERSION").to_string())]).set(1);
        registry.register("build", "Version that runs, as a label", build);
        let r = &mut registry;
        Metrics {
            read: counter(r, "intake_records_read", "Records of input topics that were decided; read = combined + duplicates + rejected"),
            combined: counter(r, "intake_records_combined", "Usage events summed into partials"),
            duplicates: counter(r, "intake_records_duplicate", "Usage events whose source and id were seen within the dedupe window"),
            unpriced: counter(r, "intake_events_unpriced", "Combined usage events without a cost of their own and without a price"),
            rejected: family(r, "intake_records_rejected", "Records sent to dead-letter, by reason"),
            waiting: gauges(r, "intake_partitions_waiting", "Input partitions that wait for the schema registry, by thread"),
            partials: counter(r, "watch_partials_merged", "Partials added to their series"),
            alerts: family(r, "alerts_written", "Alert revisions, by kind and state"),
            rollups: counter(r, "rollups_written", "Roll-ups of closed or amended hours"),
            commits: histograms(r, "commit_duration", "From the begin of a transaction to its commit, by role"),
            restores: histograms(r, "restore_duration", "Reading the state of newly assigned partitions, by role"),
            failures: family(r, "role_failures", "Threads that failed and were started again, by role"),
            mails: family(r, "mails", "Mails by outcome: sent, retried, given_up, unreadable, or why none was due"),
            mail_delay: histogram(r, "mail_delay", "From the latest input record of an alert's revision to the mail server's acceptance"),
            decision_delay: histogram(r, "alert_delay", "From the latest input record of an alert's revision to its decision"),
            series: gauge(r, "watch_series", "Series with a baseline in the shards of this process"),
            open_alerts: gauge(r, "watch_open_alerts", "Alerts that are open in the shards of this process"),
            watermark_lag: gauge(
                r,
                "watch_watermark_lag_milliseconds",
                "Wall clock less the slowest shard's watermark; -1 = no watermark yet",
            ),
            registry,
        }
    }

    /// The page in OpenMetrics text.
    pub fn page(&self) -> String {
        let mut page = String::new();
        match encode(&mut page, &self.registry) {
            Ok(()) => page,
            Err(error) => format!("# {error}\n# EOF\n"),
        }
    }

    /// What one intake transaction decided.
    pub fn intake(&self, read: u64, combined: u64, duplicates: u64, unpriced: u64) {
        self.read.inc_by(read);
        self.combined.inc_by(combined);
        self.duplicates.inc_by(duplicates);
        self.unpriced.inc_by(unpriced);
    }

    pub fn rejected(&self, reason: RejectReason, count: u64) {
        self.rejected.get_or_create(&vec![("reason", reason.as_str().to_string())]).inc_by(count);
    }

    pub fn partitions_waiting(&self, thread: usize, count: usize) {
        self.waiting.get_or_create(&vec![("thread", thread.to_string())]).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub fn shard_record(&self, partials: usize) {
        self.partials.inc_by(partials as u64);
    }

    pub fn effect(&self, effect: &Effect, now: Timestamp) {
        match effect {
            Effect::Alert(alert) => self.alert(alert, now),
            Effect::Rollup(_) | Effect::RollupSupplement { .. } => {
                self.rollups.inc();
            }
            Effect::Shard { .. } | Effect::DeadLetter(_) => {}
        }
    }

    fn alert(&self, alert: &Alert, now: Timestamp) {
        let labels = vec![("kind", alert.kind.as_str().to_string()), ("state", alert.state.as_str().to_string())];
        self.alerts.get_or_create(&labels).inc();
        if alert.provisional {
            self.decision_delay.observe(seconds_between(alert.ingest_time, now));
        }
    }

    pub fn committed(&self, role: &str, took: Duration) {
        self.commits.get_or_create(&by_role(role)).observe(took.as_secs_f64());
    }

    pub fn restored(&self, role: &str, took: Duration) {
        self.restores.get_or_create(&by_role(role)).observe(took.as_secs_f64());
    }

    pub fn role_failed(&self, role: &str) {
        self.failures.get_or_create(&by_role(role)).inc();
    }

    pub fn shards(&self, series: usize, open_alerts: usize, watermark: Option<Timestamp>, now: Timestamp) {
        self.series.set(i64::try_from(series).unwrap_or(i64::MAX));
        self.open_alerts.set(i64::try_from(open_alerts).unwrap_or(i64::MAX));
        self.watermark_lag.set(watermark.map_or(-1, |watermark| now.0 - watermark.0));
    }

    pub fn mail_sent(&self, ingest_time: Timestamp, now: Timestamp) {
        self.mail("sent");
        self.mail_delay.observe(seconds_between(ingest_time, now));
    }

    pub fn mail_failed(&self, is_retried: bool) {
        self.mail(if is_retried { "retried" } else { "given_up" });
    }

    pub fn mail_unreadable(&self) {
        self.mail("unreadable");
    }

    pub fn mail_skipped(&self, why: &str) {
        self.mail(why);
    }

    fn mail(&self, outcome: &str) {
        self.mails.get_or_create(&vec![("outcome", outcome.to_string())]).inc();
    }

    /// Records that intake has decided so far.
    pub fn records_read(&self) -> u64 {
        self.read.get()
    }

    pub fn partials_merged(&self) -> u64 {
        self.partials.get()
    }
}

fn by_role(role: &str) -> Labels {
    vec![("role", role.to_string())]
}

fn seconds_between(from: Timestamp, to: Timestamp) -> f64 {
    (to.0 - from.0).max(0) as f64 / 1000.0
}

fn counter(registry: &mut Registry, name: &str, help: &str) -> Counter {
    let counter = Counter::default();
    registry.register(name, help, counter.clone());
    counter
}

fn gauge(registry: &mut Registry, name: &str, help: &str) -> Gauge {
    let gauge = Gauge::default();
    registry.register(name, help, gauge.clone());
    gauge
}

fn family(registry: &mut Registry, name: &str, help: &str) -> Family<Labels, Counter> {
    let family = Family::default();
    registry.register(name, help, Family::clone(&family));
    family
}

fn gauges(registry: &mut Registry, name: &str, help: &str) -> Family<Labels, Gauge> {
    let family = Family::default();
    registry.register(name, help, Family::clone(&family));
    family
}

fn histogram(registry: &mut Registry, name: &str, help: &str) -> Histogram {
    let histogram = seconds();
    registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
    histogram
}

fn histograms(registry: &mut Registry, name: &str, help: &str) -> Histograms {
    let family: Histograms = Family::new_with_constructor(seconds);
    registry.register_with_unit(name, help, Unit::Seconds, family.clone());
    family
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_counts_and_ends_as_openmetrics_does() {
        let metrics = Metrics::new();
        metrics.intake(5, 3, 1, 2);
        metrics.rejected(RejectReason::InvalidJson, 1);
        metrics.committed("watch", Duration::from_millis(8));
        let page = metrics.page();
        for line in [
            "tollgate_intake_records_read_total 5",
            "tollgate_intake_records_rejected_total{reason=\"invalid_json\"} 1",
            "tollgate_commit_duration_seconds_count{role=\"watch\"} 1",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\n{page}");
        }
        assert!(page.ends_with("# EOF\n"));
    }
}
