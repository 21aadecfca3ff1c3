//! All metrics: name, help and labels stand here and nowhere else. The core counts nothing; loops count what they did.

mod kinds;
mod loops;
mod zero;

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

pub use self::kinds::{Rebalanced, RestoredFrom, Spent, StateSize, TransactionEnd};
use self::loops::LoopMetrics;
use crate::model::alert::Alert;
use crate::model::effect::Effect;
use crate::model::record::RejectReason;
use crate::model::time::Timestamp;
use crate::model::violation::Violation;

type Labels = Vec<(&'static str, String)>;
type Histograms = Family<Labels, Histogram, fn() -> Histogram>;
type Fractions = Family<Labels, Gauge<f64, AtomicU64>>;

/// The outcome of activity that states an action nobody knows: it goes on, and meets nothing.
pub const UNKNOWN_ACTION: &str = "unknown_action";

/// Handles are cheap; the registry renders the page.
pub struct Metrics {
    registry: Registry,
    read: Counter,
    combined: Counter,
    duplicates: Counter,
    unpriced: Counter,
    unconverted: Counter,
    rejected: Family<Labels, Counter>,
    billing: Family<Labels, Counter>,
    forwarded: Family<Labels, Counter>,
    ledger_lines: Family<Labels, Gauge>,
    lineage_nodes: Gauge,
    waiting: Family<Labels, Gauge>,
    partials: Counter,
    alerts: Family<Labels, Counter>,
    violations: Family<Labels, Counter>,
    verdicts: Family<Labels, Counter>,
    rollups: Counter,
    commits: Histograms,
    restores: Histograms,
    failures: Family<Labels, Counter>,
    mails: Family<Labels, Counter>,
    mail_delay: Histogram,
    decision_delay: Histogram,
    dead_letter_ratio: Fractions,
    series: Family<Labels, Gauge>,
    resident_memory: Gauge,
    capped: Counter,
    open_alerts: Family<Labels, Gauge>,
    open_violations: Family<Labels, Gauge>,
    resources: Family<Labels, Gauge>,
    undetermined: Family<Labels, Gauge>,
    set_aside: Family<Labels, Gauge>,
    capped_resources: Counter,
    capped_governance: Counter,
    watermark_lag: Gauge,
    restored_from: Family<Labels, Counter>,
    copies: Family<Labels, Gauge>,
    copy_bytes: Gauge,
    loops: LoopMetrics,
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
            unconverted: counter(r, "intake_events_unconverted", "Combined usage events in a currency without a rate: they stay in it"),
            rejected: family(r, "intake_records_rejected", "Records sent to dead-letter, by reason"),
            forwarded: family(
                r,
                "forwarded_records",
                "Events that travel on whole, by role and outcome: accepted, or the reason of their dead letter",
            ),
            billing: family(r, "billing_records", "Records of the billing topic, by outcome: accepted, or the reason of their dead letter"),
            ledger_lines: gauges(r, "ledger_lines", "Lines of bills that the ledger knows, by thread"),
            lineage_nodes: gauge(r, "lineage_nodes", "Datasets, jobs and models that the lineage graph knows"),
            waiting: gauges(r, "intake_partitions_waiting", "Input partitions that wait for the schema registry, by thread"),
            partials: counter(r, "watch_partials_merged", "Partials added to their series"),
            alerts: family(r, "alerts_written", "Alert revisions, by kind and state"),
            violations: family(r, "violations_written", "Violation revisions, by policy and state"),
            verdicts: family(r, "policy_events", "Events that a policy did not just pass, by policy and verdict"),
            rollups: counter(r, "rollups_written", "Roll-ups of closed or amended hours"),
            commits: histograms(r, "commit_duration", "From the begin of a transaction to its commit, by role"),
            restores: histograms(r, "restore_duration", "Reading the state of newly assigned partitions, by role"),
            failures: family(r, "role_failures", "Threads that failed and were started again, by role"),
            mails: family(r, "mails", "Mails by outcome: sent, repeated, retried, given_up, unreadable, or why none was due"),
            mail_delay: histogram(r, "mail_delay", "From the latest input record of an alert's revision to the mail server's acceptance"),
            decision_delay: histogram(r, "alert_delay", "From the latest input record of an alert's revision to its decision"),
            dead_letter_ratio: fractions(r, "intake_dead_letter_ratio", "Share of the last sample that could not be read, by thread"),
            series: gauges(r, "watch_series", "Series with a baseline, by thread"),
            resident_memory: gauge(r, "resident_memory_bytes", "Resident memory of the process"),
            capped: counter(r, "watch_capped_partials", "Partials counted in their team's '(other)': the team has too many series"),
            open_alerts: gauges(r, "watch_open_alerts", "Alerts that are open, by thread"),
            open_violations: gauges(r, "watch_open_violations", "Violations of policies that are open, by thread"),
            resources: gauges(r, "watch_resources", "Resources whose use is watched, by thread"),
            undetermined: gauges(r, "watch_undetermined_resources", "Of those, of how many nobody can tell whether they are used"),
            set_aside: gauges(
                r,
                "watch_sources_set_aside",
                "Partitions of input that held event time for six hours, so that it goes on without them",
            ),
            capped_resources: counter(r, "watch_capped_resources", "Samples not looked at: the team has too many resources"),
            capped_governance: counter(r, "watch_capped_governance", "Grants, models and evaluations not kept: the shard has too many"),
            watermark_lag: gauge(
                r,
                "watch_watermark_lag_milliseconds",
                "Wall clock less the slowest shard's watermark; -1 = no watermark yet",
            ),
            restored_from: family(r, "watch_shards_restored", "Shards whose state was read, by what it was read from"),
            copies: gauges(r, "watch_copies", "Local copies of the changelog by state: current, behind"),
            copy_bytes: gauge(r, "watch_copy_bytes", "Local copies of the changelog, on disk"),
            loops: LoopMetrics::new(r),
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
    pub fn unconverted(&self, events: u64) {
        self.unconverted.inc_by(events);
    }

    pub fn intake(&self, read: u64, combined: u64, duplicates: u64, unpriced: u64) {
        self.read.inc_by(read);
        self.combined.inc_by(combined);
        self.duplicates.inc_by(duplicates);
        self.unpriced.inc_by(unpriced);
    }

    pub fn rejected(&self, reason: RejectReason, count: u64) {
        self.rejected.get_or_create(&vec![("reason", reason.as_str().to_string())]).inc_by(count);
    }

    pub fn billing(&self, outcome: &str, count: u64) {
        self.billing.get_or_create(&vec![("outcome", outcome.to_string())]).inc_by(count);
    }

    pub fn forwarded(&self, role: &str, outcome: &str, count: u64) {
        self.forwarded.get_or_create(&vec![("role", role.to_string()), ("outcome", outcome.to_string())]).inc_by(count);
    }

    pub fn ledger_lines(&self, thread: usize, lines: usize) {
        self.ledger_lines.get_or_create(&vec![("thread", thread.to_string())]).set(whole(lines));
    }

    pub fn lineage_nodes(&self, nodes: usize) {
        self.lineage_nodes.set(whole(nodes));
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
            Effect::Violation(violation) => self.violation(violation),
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

    fn violation(&self, violation: &Violation) {
        let labels = vec![("policy", violation.policy.clone()), ("state", violation.state.as_str().to_string())];
        self.violations.get_or_create(&labels).inc();
    }

    /// Events of which a policy said something; a pass is not counted.
    pub fn verdict(&self, policy: &str, verdict: &str, events: u64) {
        self.verdicts.get_or_create(&vec![("policy", policy.to_string()), ("verdict", verdict.to_string())]).inc_by(events);
    }

    pub fn committed(&self, role: &str, took: Duration) {
        self.commits.get_or_create(&by_role(role)).observe(took.as_secs_f64());
    }

    pub fn restored(&self, role: &str, took: Duration) {
        self.restores.get_or_create(&by_role(role)).observe(took.as_secs_f64());
    }

    pub fn restored_from(&self, from: RestoredFrom) {
        let from = match from {
            RestoredFrom::Copy => "copy",
            RestoredFrom::Changelog => "changelog",
        };
        self.restored_from.get_or_create(&vec![("from", from.to_string())]).inc();
    }

    /// Local copies of the changelog: those that have come to its end, those that have not, and their bytes on disk.
    pub fn copies(&self, current: usize, behind: usize, bytes: u64) {
        for (state, count) in [("current", current), ("behind", behind)] {
            self.copies.get_or_create(&vec![("state", state.to_string())]).set(whole(count));
        }
        self.copy_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    pub fn role_failed(&self, role: &str) {
        self.failures.get_or_create(&by_role(role)).inc();
    }

    pub fn resident_memory(&self, bytes: usize) {
        self.resident_memory.set(whole(bytes));
    }

    pub fn state(&self, thread: usize, size: &StateSize) {
        let labels = vec![("thread", thread.to_string())];
        self.series.get_or_create(&labels).set(whole(size.series));
        self.open_alerts.get_or_create(&labels).set(whole(size.open_alerts));
        self.open_violations.get_or_create(&labels).set(whole(size.open_violations));
        self.resources.get_or_create(&labels).set(whole(size.resources));
        self.undetermined.get_or_create(&labels).set(whole(size.undetermined));
        self.set_aside.get_or_create(&labels).set(whole(size.set_aside));
    }

    /// Partials that found no room for a series of their own.
    pub fn capped(&self, partials: u64) {
        self.capped.inc_by(partials);
    }

    /// Samples of resources that found no room.
    pub fn capped_resources(&self, samples: u64) {
        self.capped_resources.inc_by(samples);
    }

    /// Grants, models and evaluations that found no room.
    pub fn capped_governance(&self, words: u64) {
        self.capped_governance.inc_by(words);
    }

    /// Of all shards of this process.
    pub fn slowest_watermark(&self, watermark: Option<Timestamp>, now: Timestamp) {
        self.watermark_lag.set(watermark.map_or(-1, |watermark| now.0 - watermark.0));
    }

    /// Share of the last records, as many as a sample has, that went to dead-letter.
    pub fn dead_letter_ratio(&self, thread: usize, ratio: f64) {
        self.dead_letter_ratio.get_or_create(&vec![("thread", thread.to_string())]).set(ratio);
    }

    pub fn mail_sent(&self, ingest_time: Timestamp, now: Timestamp) {
        self.mail("sent");
        self.mail_delay.observe(seconds_between(ingest_time, now));
    }

    /// Nothing new, but open for long; it says nothing of delays.
    pub fn mail_repeated(&self) {
        self.mail("repeated");
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

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
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

fn fractions(registry: &mut Registry, name: &str, help: &str) -> Fractions {
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
mod tests;
