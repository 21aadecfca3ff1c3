//! The page as a scraper reads it.

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

/// What is not there has no increase.
#[test]
fn what_may_fail_stands_at_zero_before_it_does() {
    let metrics = Metrics::new();
    metrics.begin(&["intake", "activity", "billing", "watch", "deliver", "caretaker"]);
    metrics.begin_policies(["approved-provider"].into_iter());
    let page = metrics.page();
    for line in [
        "tollgate_intake_records_rejected_total{reason=\"invalid_json\"} 0",
        "tollgate_forwarded_records_total{role=\"activity\",outcome=\"missing_field\"} 0",
        "tollgate_forwarded_records_total{role=\"activity\",outcome=\"unknown_action\"} 0",
        "tollgate_billing_records_total{outcome=\"accepted\"} 0",
        "tollgate_alerts_written_total{kind=\"runaway\",state=\"open\"} 0",
        "tollgate_violations_written_total{policy=\"approved-provider\",state=\"open\"} 0",
        "tollgate_policy_events_total{policy=\"approved-provider\",verdict=\"violates\"} 0",
        "tollgate_mails_total{outcome=\"given_up\"} 0",
        "tollgate_role_failures_total{role=\"caretaker\"} 0",
        "tollgate_producer_rebuilds_total{role=\"watch\"} 0",
        "tollgate_transactions_total{role=\"watch\",outcome=\"uncertain_not_committed\"} 0",
        "tollgate_rebalances_total{role=\"deliver\",what=\"lost\"} 0",
        "tollgate_watch_shards_restored_total{from=\"copy\"} 0",
    ] {
        assert!(page.lines().any(|found| found == line), "{line}\n{page}");
    }
    assert!(!page.contains("transactions_total{role=\"caretaker\""), "{page}");
    metrics.rejected(RejectReason::InvalidJson, 2);
    metrics.begin(&["intake"]);
    assert!(metrics.page().contains("rejected_total{reason=\"invalid_json\"} 2"), "a thread that starts again takes nothing back");
}
