//! A shard restored from a copy and the rest of the changelog is the shard restored from the changelog.

use super::*;
use crate::kafka::link::OwnedRecord;
use crate::model::leaf::{Leaf, Measure};
use crate::model::money::{Currency, Nanos};
use crate::model::partial::{Marker, Partial, ShardRecord, Source};
use crate::model::time::Minute;
use crate::watch::rules::WatchRules;
use crate::watch::{Restorer, Shard};

const START: i64 = 20_000 * 24 * 60;

fn rules() -> WatchRules {
    crate::config::load_text("test", "version = 1\n", std::path::Path::new(""), std::iter::empty()).unwrap().watch
}

fn origin() -> Origin {
    Origin { topic: "changelog".into(), topic_id: "id".into(), partition: 0, shard_count: 1 }
}

fn record(step: i64) -> ShardRecord {
    let minute = Minute(START + step * 20);
    let leaf = |number: i64| Leaf {
        team: format!("team-{}", number % 2).into(),
        project: format!("project-{number}").into(),
        model: "gpt-4o".into(),
        provider: "openai".into(),
        region: "eu".into(),
        environment: "prod".into(),
        meter: "llm.tokens".into(),
        currency: Currency::USD,
        measure: Measure::Estimated,
    };
    let partial = |number: i64| Partial {
        leaf: leaf(number),
        minute,
        events: 1,
        unpriced_events: 0,
        cost: Nanos(i128::from(1_000_000 * (1 + (step + number) % 5))),
        has_negative: false,
        quantity: Nanos::ZERO,
        requests: 1,
        tokens_input: 100,
        tokens_output: 10,
        tokens_cached_input: 0,
        tokens_cache_write: 0,
        tokens_reasoning: 0,
        last_event_time: minute.start(),
        last_ingest_time: minute.start(),
        users: Vec::new(),
        hits: Vec::new(),
        failed: Default::default(),
    };
    let source = Source { topic: "usage-events".into(), partition: 0 };
    let marker = Marker { source, watermark: Some(minute.start()), idle: false, partitions_of_topic: 1 };
    ShardRecord { partials: (0..1 + step % 6).map(partial).collect(), markers: vec![marker], events: Vec::new() }
}

/// The changelog of some hours, every third transaction without a commit of its own; offsets have gaps, as markers make them.
fn changelog() -> Vec<OwnedRecord> {
    let (rules, mut records, mut offset) = (rules(), Vec::new(), 0);
    let mut shard = Shard::new(0, 1, &rules);
    for step in 0..60 {
        shard.apply_whole(&record(step), step, Minute(START + step * 20).start(), &rules);
        if step % 3 == 0 {
            continue;
        }
        for change in shard.take_changes() {
            records.push(OwnedRecord {
                offset,
                timestamp: 1_000 * offset,
                key: Some(change.key),
                value: change.value,
                ..Default::default()
            });
            offset += 1;
        }
        offset += 1;
    }
    records
}

fn restored(mut restorer: Restorer, records: &[OwnedRecord]) -> Shard {
    for record in records {
        restorer.put(record.key.as_deref().unwrap(), record.value.as_deref()).unwrap();
    }
    restorer.changelog_read(&rules()).unwrap();
    restorer.finish().unwrap()
}

#[test]
fn a_copy_of_any_length_and_the_rest_are_the_changelog() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("0.copy");
    let records = changelog();
    assert!(records.len() > 300, "{}", records.len());
    let whole = restored(Restorer::new(1), &records);
    let place = Partition { topic: "changelog".into(), partition: 0 };
    for (length, batch) in [(1, 1), (40, 7), (170, 50), (records.len() - 1, 100), (records.len(), 1_000)] {
        let mut copy = Copy::anew(&path, &origin()).unwrap();
        for part in records[..length].chunks(batch) {
            write(&mut copy, &Batch::owned(place.clone(), part.to_vec(), false)).unwrap();
        }
        if length % 2 == 0 {
            copy.rewrite().unwrap();
        }
        let mut reader = Ahead::of(CopyReader::open(&path, &origin()).unwrap().unwrap()).unwrap();
        assert_eq!(reader.reached().next, records[length - 1].offset + 1);
        let mut restorer = Restorer::new(1);
        while reader.read(|key, value| Ok(restorer.put(key, Some(value))?)).unwrap() {}
        assert!(restored(restorer, &records[length..]) == whole, "{length} records in batches of {batch}");
    }
}

#[test]
fn a_copy_is_refused_where_something_may_be_missing() {
    let log = Log { path: PathBuf::new(), origin: origin(), low: 10, high: 20, oldest: Timestamp(1_000) };
    let refused = |next: i64, as_of: i64| {
        log.accepts(Reached { next, as_of: Timestamp(as_of) }).err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert_eq!(refused(10, 1_000), "");
    assert_eq!(refused(20, 5_000), "");
    assert!(refused(15, 999).contains("deleted"));
    assert!(refused(21, 5_000).contains("records were lost"));
    assert!(refused(9, 5_000).contains("begins at 10"));
}
