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
