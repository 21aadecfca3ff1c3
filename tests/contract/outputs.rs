//! Outputs of any content come back as they were, through Avro and through JSON.

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use tollgate::model::alert::{Alert, AlertKind, AlertState, Cause, HistoryPoint, Severity, Stage};
use tollgate::model::money::Nanos;
use tollgate::model::time::Timestamp;
use tollgate::model::wire;

const EXAMPLE: &[u8] = include_bytes!("../../schemas/examples/alert/valid/spend_spike_updated.json");

fn nanos() -> impl Strategy<Value = Nanos> {
    any::<i64>().prop_map(|nanos| Nanos(i128::from(nanos)))
}

fn time() -> impl Strategy<Value = Timestamp> {
    (-62_000_000_000_000..250_000_000_000_000_i64).prop_map(Timestamp)
}

fn cause() -> impl Strategy<Value = Cause> {
    (btree_map("\\PC{0,8}", "\\PC{0,8}", 0..3), nanos(), nanos(), 0.0..=1.0_f64).prop_map(|(dimensions, actual, expected, share)| Cause {
        dimensions,
        actual,
        expected,
        share,
    })
}

fn point() -> impl Strategy<Value = HistoryPoint> {
    let amount = || prop::num::f64::NORMAL;
    (time(), amount(), option::of(amount()), option::of(amount())).prop_map(|(time, actual, expected, upper)| HistoryPoint {
        time,
        actual,
        expected,
        upper,
    })
}

fn alert() -> impl Strategy<Value = Alert> {
    let state = prop_oneof![Just(AlertState::Open), Just(AlertState::Acknowledged), Just(AlertState::Escalated)];
    let kind = prop_oneof![Just(AlertKind::SpendSpike), Just(AlertKind::Runaway), Just(AlertKind::ModelSwitch)];
    let words =
        (state, kind, prop_oneof![Just(Severity::Info), Just(Severity::Critical)], prop_oneof![Just(Stage::New), Just(Stage::Seasoned)]);
    let content = (vec(cause(), 0..3), vec(point(), 0..3), vec("\\PC{0,8}", 0..3), option::of(time()));
    (words, content, (any::<u32>(), 0.0..1.0_f64, nanos(), "\\PC{0,20}")).prop_map(
        |(words, content, (revision, score, excess, summary))| {
            let mut alert = wire::alert_from_json(EXAMPLE).unwrap();
            (alert.state, alert.kind, alert.severity, alert.stage) = words;
            (alert.causes, alert.history, alert.next_steps, alert.closed_at) = content;
            (alert.revision, alert.score, alert.excess, alert.summary) = (revision, score, excess, summary);
            alert
        },
    )
}

proptest! {
    #[test]
    fn alerts_come_back_as_they_were(alert in alert()) {
        let avro = wire::alert_to_avro(&alert).unwrap();
        prop_assert_eq!(wire::alert_from_avro(&avro, None), Ok(alert.clone()));
        let json = wire::alert_to_json(&alert).unwrap();
        prop_assert_eq!(wire::alert_from_json(&json), Ok(alert));
    }
}
