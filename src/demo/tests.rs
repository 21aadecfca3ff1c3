//! The story through the real core, without Kafka: every incident is found, and hardly anything else is said.

use super::cast;
use super::data::BUCKETS;
use super::grade::{self, Waits};
use super::incidents::INCIDENTS;
use super::replay::{self, Sent};
use super::usage::Story;
use crate::intake::rules::IntakeRules;
use crate::intake::{self, Batch, PartitionState, SchemaTable};
use crate::model::alert::Alert;
use crate::model::effect::Effect;
use crate::model::money::{Currency, Nanos};
use crate::model::partial::{Marker, ShardRecord, Source};
use crate::model::record::InputRecord;
use crate::model::time::{HOUR_MS, MINUTE_MS, Timestamp};
use crate::watch::Shard;
use crate::watch::rules::{Thresholds, WatchRules};

const SHARDS: u32 = 4;
const OUT_OF_ORDERNESS_MS: i64 = MINUTE_MS;

fn intake_rules() -> IntakeRules {
    IntakeRules {
        revision: 1,
        allowed_skew_ms: 5 * MINUTE_MS,
        out_of_orderness_ms: OUT_OF_ORDERNESS_MS,
        dedupe_window: 100_000,
        largest_record: 1 << 20,
        reporting_currency: Currency::USD,
        rates: Default::default(),
        attribution: Vec::new(),
        sources: Vec::new(),
        prices: cast::price_book(),
        policies: std::sync::Arc::default(),
    }
}

/// The product's defaults.
fn watch_rules() -> WatchRules {
    let defaults = Thresholds {
        alerts_per_team_month: 2.0,
        least_ratio: 1.5,
        least_excess: Nanos::from_units(10),
        runaway_floor: Nanos::from_units(25),
        runaway_factor: 3.0,
        quiet_hours_to_close: 6,
        update_growth: 1.5,
        refractory_hours: 24,
        wait_below_team_hours: 0.0,
    };
    WatchRules {
        revision: 1,
        lateness_ms: 5 * MINUTE_MS,
        reporting_currency: Currency::USD,
        rates: Default::default(),
        series_per_team: 20_000,
        teams_per_shard: 1_000_000,
        defaults,
        overrides: Vec::new(),
        teams: Vec::new(),
        policies: std::sync::Arc::default(),
        data_origins: Vec::new(),
        lineage_grace_ms: 0,
        matters: Default::default(),
    }
}

/// Every alert record of the whole story with so many buckets in a batch, and how many records were combined, repeated and refused.
fn play(story: &Story, at_once: usize, sent: &mut Sent) -> (Vec<Alert>, [u64; 3]) {
    let (rules, watch) = (intake_rules(), watch_rules());
    let source = Source { topic: "usage-events".into(), partition: 0 };
    let mut partition = PartitionState::restored(source.clone(), rules.dedupe_window, None);
    let mut shards: Vec<Shard> = (0..SHARDS).map(|shard| Shard::new(shard, SHARDS, &watch)).collect();
    let (mut alerts, mut counted, mut offset) = (Vec::new(), [0; 3], 0);
    for bucket in (0..BUCKETS).step_by(at_once) {
        let now = story.start_of(bucket + at_once);
        let mut batch = Batch::default();
        let parcels = (bucket..bucket + at_once).flat_map(|bucket| replay::parcels(story, bucket, sent).unwrap());
        for parcel in parcels.collect::<Vec<_>>() {
            let record = InputRecord {
                topic: "usage-events",
                partition: 0,
                offset,
                timestamp: now,
                key: Some(parcel.key.as_bytes()),
                value: Some(&parcel.value),
                headers: &[],
            };
            intake::process(&record, now, &rules, &SchemaTable::default(), &mut partition, &mut batch);
            offset += 1;
        }
        let counts = batch.take_counts();
        counted = [counted[0] + counts.combined, counted[1] + counts.duplicates, counted[2] + counts.rejected];
        assert_eq!(counts.unpriced, 0, "everything has a price");
        let mut partials = batch.drain_into_shards(SHARDS);
        let marker = Marker { source: source.clone(), watermark: partition.watermark(), idle: false, partitions_of_topic: 1 };
        for (number, shard) in (0..).zip(&mut shards) {
            let record =
                ShardRecord { partials: partials.remove(&number).unwrap_or_default(), markers: vec![marker.clone()], events: Vec::new() };
            let effects = shard.apply_whole(&record, i64::try_from(bucket).unwrap(), now, &watch);
            alerts.extend(effects.into_iter().filter_map(|effect| if let Effect::Alert(alert) = effect { Some(*alert) } else { None }));
        }
    }
    (alerts, counted)
}

#[test]
fn every_incident_is_found_and_little_else() {
    // Other hours of the day, days of the week and sizes of a batch must not change what is found.
    for (hour, at_once) in [(0, 1), (9, 3), (40, 2)] {
        let story = Story::ending_at(Timestamp(1_795_478_400_000 + hour * HOUR_MS)).unwrap();
        let mut sent = Sent::default();
        let (alerts, counted) = play(&story, at_once, &mut sent);
        assert_eq!(counted, [sent.events, sent.repeated, sent.malformed]);
        let grade = grade::grade(&story, &alerts, Waits { lateness_ms: 5 * MINUTE_MS, out_of_orderness_ms: OUT_OF_ORDERNESS_MS });
        let told: Vec<&String> = alerts.iter().map(|alert| &alert.summary).collect();
        assert!(grade.all_found(), "{told:#?}");
        assert!(grade.incidents.iter().all(|(found, _)| found.as_ref().is_some_and(|found| found.cause_named)));
        assert!(grade.unrelated.len() <= 2, "{told:#?}");
        assert!(grade.related <= INCIDENTS.len() + 1, "one alert for one incident: {told:#?}");
    }
}

/// At `--speed 0.001` an hour of the story takes a quarter of one.
#[test]
fn a_slow_story_is_not_stuck() {
    for (called, due, now, is) in
        [(10.0, 5.0, 69.0, false), (10.0, 5.0, 71.0, true), (10.0, 1_000.0, 1_059.0, false), (10.0, 1_000.0, 1_061.0, true)]
    {
        assert_eq!(super::is_stuck(called, due, now), is, "{called} {due} {now}");
    }
}
