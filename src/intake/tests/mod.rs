//! Tests of the whole room, and what the tests of its stages share.

mod billing;
mod examples;
mod hostile;
mod lineage;
mod memory;
mod money;
mod oracle;
mod whole;

use super::decode::{SchemaTable, Stop, decode};
use super::rules::{IntakeRules, PriceBook};
use super::validate::validate;
use super::*;
use crate::model::money::{Currency, Nanos};
use crate::model::partial::Source;
use crate::model::record::RejectReason;

/// 2026-03-01T10:05:00Z.
pub const NOW: Timestamp = Timestamp(1_772_359_500_000);

pub fn rules() -> IntakeRules {
    IntakeRules {
        revision: 1,
        allowed_skew_ms: 300_000,
        out_of_orderness_ms: 60_000,
        dedupe_window: 1_000_000,
        largest_record: 1_000_000,
        reporting_currency: Currency::USD,
        rates: Default::default(),
        attribution: Vec::new(),
        sources: Vec::new(),
        prices: PriceBook::default(),
        policies: std::sync::Arc::default(),
    }
}

pub fn partition() -> PartitionState {
    PartitionState::new(Source { topic: "usage-events".into(), partition: 0 }, 1_000_000)
}

pub fn record(value: Option<&[u8]>) -> InputRecord<'_> {
    InputRecord { topic: "usage-events", partition: 0, offset: 0, timestamp: NOW, key: None, value, headers: &[] }
}

/// A JSON event with these fields besides the required ones.
pub fn json(fields: &str) -> String {
    let comma = if fields.is_empty() { "" } else { "," };
    format!(r#"{{"event_id":"e","source":"gateway/1","event_time":"2026-03-01T10:00:00Z"{comma}{fields}}}"#)
}

pub fn event(fields: &str, check: impl Fn(&UsageEvent<'_>)) {
    let text = json(fields);
    let schemas = SchemaTable::default();
    let mut scratch = Scratch::default();
    let raw = decode(&record(Some(text.as_bytes())), 1_000_000, &schemas, &mut scratch).unwrap_or_else(|stop| panic!("{fields}: {stop:?}"));
    check(&validate(raw, NOW).unwrap_or_else(|reject| panic!("{fields}: {reject:?}")));
}

/// Why these bytes are refused.
pub fn refused(value: &[u8], headers: &[(&str, &[u8])]) -> Reject {
    let schemas = SchemaTable::default();
    let record = InputRecord { headers, ..record(Some(value)) };
    match accept(&record, Some(NOW), &rules(), &schemas, &mut Scratch::default()) {
        Err(Stop::Reject(reject)) => reject,
        other => panic!("{}: {other:?}", String::from_utf8_lossy(value)),
    }
}

/// Seeded, so that what fails fails again.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mixed = (self.0 ^ (self.0 >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 33;
        usize::try_from(mixed).unwrap() % sides.max(1)
    }

    pub fn pick<'t, T>(&mut self, of: &'t [T]) -> &'t T {
        &of[self.roll(of.len())]
    }

    pub fn once_in(&mut self, times: usize) -> bool {
        self.roll(times) == 0
    }
}

#[test]
fn every_record_ends_in_exactly_one_way() {
    let (rules, mut schemas, mut partition, mut batch) = (rules(), SchemaTable::default(), partition(), Batch::default());
    let event = json(r#""team":"search","cost":"1.5","user":"u""#);
    let avro = [&[0, 0, 0, 0, 7][..], b"\x02"].concat();
    let mut offset = 0;
    let mut take = |value: Option<&[u8]>, headers: &[(&str, &[u8])], schemas: &SchemaTable, batch: &mut Batch| {
        offset += 1;
        let record = InputRecord { offset, headers, ..record(value) };
        process(&record, NOW, &rules, schemas, &mut partition, batch)
    };
    assert_eq!(take(Some(event.as_bytes()), &[], &schemas, &mut batch), Outcome::Combined);
    assert_eq!(take(Some(event.as_bytes()), &[], &schemas, &mut batch), Outcome::Duplicate);
    assert_eq!(take(Some(event.as_bytes()), &[(REDRIVE_HEADER, b"1")], &schemas, &mut batch), Outcome::Combined);
    assert!(matches!(take(None, &[], &schemas, &mut batch), Outcome::Rejected(Reject { reason: RejectReason::NoValue, .. })));
    assert_eq!(take(Some(&avro), &[], &schemas, &mut batch), Outcome::NeedsSchema(7));
    schemas.insert_unknown(7);
    assert!(matches!(take(Some(&avro), &[], &schemas, &mut batch), Outcome::Rejected(Reject { reason: RejectReason::UnknownSchema, .. })));
    schemas.forget(7);
    assert_eq!(take(Some(&avro), &[], &schemas, &mut batch), Outcome::NeedsSchema(7));
    schemas.insert(7, "\"string\"");
    assert!(matches!(take(Some(&avro), &[], &schemas, &mut batch), Outcome::Rejected(Reject { reason: RejectReason::UnknownSchema, .. })));
    let counts = batch.take_counts();
    assert_eq!((counts.read, counts.combined, counts.duplicates, counts.rejected), (6, 2, 1, 3));
    assert_eq!(counts.rejected_by, [(RejectReason::NoValue, 1), (RejectReason::UnknownSchema, 2)].into());
    assert_eq!(batch.counts(), &Counts::default());
    let shards = batch.drain_into_shards(4);
    let partials: Vec<_> = shards.values().flatten().collect();
    assert_eq!(partials.len(), 1);
    assert_eq!((partials[0].events, partials[0].cost.to_string(), partials[0].requests), (2, "3".to_owned(), 2));
    assert_eq!(shards.keys().copied().collect::<Vec<_>>(), [crate::model::hash::shard_of("search", 4)]);
}

#[test]
fn the_watermark_follows_what_is_combined_and_nothing_else() {
    let (rules, schemas, mut partition, mut batch) = (rules(), SchemaTable::default(), partition(), Batch::default());
    let mut take = |offset: i64, id: &str, time: &str, partition: &mut PartitionState| {
        let text = format!(r#"{{"event_id":"{id}","source":"s","event_time":"{time}"}}"#);
        let record = InputRecord { offset, ..record(Some(text.as_bytes())) };
        process(&record, NOW, &rules, &schemas, partition, &mut batch)
    };
    let minute_before = |time: &str| Timestamp::parse(time).map(|time| time.minus_ms(60_000));
    assert_eq!(partition.watermark(), None);
    assert_eq!(take(0, "a", "2026-03-01T10:00:00Z", &mut partition), Outcome::Combined);
    assert_eq!(partition.watermark(), minute_before("2026-03-01T10:00:00Z"));
    assert_eq!(take(1, "b", "2026-03-01T09:00:00Z", &mut partition), Outcome::Combined);
    assert_eq!(take(2, "a", "2026-03-01T10:03:00Z", &mut partition), Outcome::Duplicate);
    assert!(matches!(take(3, "c", "2026-03-01T10:10:01Z", &mut partition), Outcome::Rejected(_)));
    assert_eq!(partition.watermark(), minute_before("2026-03-01T10:00:00Z"));
    let before = partition.watermark();
    assert_eq!(take(4, "d", "2026-03-01T10:10:00Z", &mut partition), Outcome::Combined);
    assert_eq!(partition.watermark(), minute_before("2026-03-01T10:10:00Z"));
    assert!(partition.rollback_to(4, before));
    assert_eq!(partition.watermark(), minute_before("2026-03-01T10:00:00Z"));
    assert_eq!(take(4, "d", "2026-03-01T10:10:00Z", &mut partition), Outcome::Combined);
}

#[test]
fn a_warmed_up_window_decides_as_the_one_that_was_running() {
    let (rules, schemas, mut batch) = (rules(), SchemaTable::default(), Batch::default());
    let (mut running, mut restored) = (partition(), partition());
    for offset in 0..200 {
        // Every third is broken and enters no window.
        let currency = if offset % 3 == 0 { "nope" } else { "EUR" };
        let text = format!(r#"{{"event_id":"{}","source":"s","event_time":"2026-03-01T10:00:00Z","currency":"{currency}"}}"#, offset % 70);
        let record = InputRecord { offset, ..record(Some(text.as_bytes())) };
        let live = process(&record, NOW, &rules, &schemas, &mut running, &mut batch);
        let again = match offset {
            0..100 => warm_up(&record, &rules, &schemas, &mut restored),
            _ => process(&record, NOW, &rules, &schemas, &mut restored, &mut Batch::default()),
        };
        assert_eq!(live, again, "{offset}");
    }
    assert_eq!(restored.watermark(), running.watermark());
}

/// An event whose schema nobody knew was not counted: read again once it is known it is no reason to drop the event when it comes again.
#[test]
fn what_was_refused_stands_in_no_window_after_a_restart() {
    const WRITER: &str = r#"{"type":"record","name":"Usage","fields":[{"name":"event_id","type":"string"},{"name":"source","type":"string"},
        {"name":"event_time","type":{"type":"long","logicalType":"timestamp-millis"}}]}"#;
    let (rules, mut schemas, mut batch, mut running) = (rules(), SchemaTable::default(), Batch::default(), partition());
    let time = Timestamp::parse("2026-03-01T10:00:00Z").unwrap().0;
    let mut varint = Vec::new();
    let mut rest = (time << 1).cast_unsigned();
    while rest >= 0x80 {
        varint.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
        rest >>= 7;
    }
    varint.push(u8::try_from(rest).unwrap());
    let value = |id: u8| [&[0, 0, 0, 0, 7, 2, id, 2, b's'][..], &varint].concat();
    let (refused, counted) = (value(b'e'), value(b'f'));
    let at = |offset, value| InputRecord { offset, ..record(Some(value)) };
    schemas.insert_unknown(7);
    assert!(matches!(process(&at(100, &refused), NOW, &rules, &schemas, &mut running, &mut batch), Outcome::Rejected(_)));
    schemas.insert(7, WRITER);
    assert_eq!(process(&at(101, &counted), NOW, &rules, &schemas, &mut running, &mut batch), Outcome::Combined);

    let mut restored = partition().with_refused(running.refused_since(0));
    assert!(matches!(warm_up(&at(100, &refused), &rules, &schemas, &mut restored), Outcome::Rejected(_)));
    assert_eq!(warm_up(&at(101, &counted), &rules, &schemas, &mut restored), Outcome::Combined);
    for (offset, partition) in [(102, &mut running), (102, &mut restored)] {
        assert_eq!(process(&at(offset, &refused), NOW, &rules, &schemas, partition, &mut batch), Outcome::Combined);
        assert_eq!(process(&at(offset + 1, &counted), NOW, &rules, &schemas, partition, &mut batch), Outcome::Duplicate);
    }
}

/// A limit that was raised, or a clock that went on, does not make a duplicate of what was never counted.
#[test]
fn what_was_too_large_or_too_early_is_counted_when_it_comes_again_after_a_restart() {
    let (rules, schemas, mut batch, mut running) = (rules(), SchemaTable::default(), Batch::default(), partition());
    let small = IntakeRules { largest_record: 120, ..rules.clone() };
    let large = json(r#""tags":{"a":"a long text, for which there is no room yet","b":"and another one"}"#).replace("\"e\"", "\"large\"");
    let early = json("").replace("\"e\"", "\"early\"").replace("10:00:00", "12:00:00");
    let counted = json("").replace("\"e\"", "\"counted\"");
    // Whose clock is two hours ahead stamps the record so, too.
    let ahead = NOW.plus_ms(2 * crate::model::time::HOUR_MS);
    let at = |offset, value: &'static str, timestamp| InputRecord { offset, timestamp, ..record(Some(value.as_bytes())) };
    let [large, early, counted] = [large, early, counted].map(|text| &*text.leak());
    let first = [at(100, large, NOW), at(101, early, ahead), at(102, counted, NOW)];
    let outcomes = first.each_ref().map(|record| process(record, NOW, &small, &schemas, &mut running, &mut batch));
    assert!(matches!(&outcomes, [Outcome::Rejected(_), Outcome::Rejected(_), Outcome::Combined]), "{outcomes:?}");

    let mut restored = partition().with_refused(running.refused_since(0));
    let again = first.each_ref().map(|record| warm_up(record, &rules, &schemas, &mut restored));
    assert!(matches!(&again, [Outcome::Rejected(_), Outcome::Rejected(_), Outcome::Combined]), "{again:?}");
    let mended = &*early.replace("12:00:00", "10:00:00").leak();
    let second = [at(200, large, NOW), at(201, mended, NOW), at(202, counted, NOW)];
    let outcomes = second.each_ref().map(|record| process(record, NOW, &rules, &schemas, &mut restored, &mut batch));
    assert_eq!(outcomes, [Outcome::Combined, Outcome::Combined, Outcome::Duplicate]);
}
