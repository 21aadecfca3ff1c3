//! What a shard-log record looks like, and what is said about one that cannot be read.

use super::*;
use crate::model::spent::{Spent, SpentMinute};

fn record() -> ShardRecord {
    let leaf = Leaf {
        team: "search".into(),
        project: "ranker".into(),
        model: "gpt-4o".into(),
        provider: "openai".into(),
        region: "".into(),
        environment: "prod".into(),
        meter: "llm.tokens".into(),
        currency: Currency::USD,
        measure: Measure::Billed,
    };
    let partial = Partial {
        leaf,
        minute: Minute(29_500_000),
        events: 3,
        unpriced_events: 0,
        cost: Nanos(-12_300_000_000),
        has_negative: true,
        quantity: Nanos(1),
        requests: 3,
        tokens_input: 70_000,
        tokens_output: 1,
        tokens_cached_input: 0,
        tokens_cache_write: 0,
        tokens_reasoning: 0,
        last_event_time: Timestamp(1_770_000_000_000),
        last_ingest_time: Timestamp(-1),
        users: vec![UserCost { user: "ü-17".into(), cost: Nanos(5) }],
        hits: vec![PolicyHit { policy: "owner-tag".into(), said: Said::Indeterminate, events: 3, cost: Nanos(7) }],
        failed: Failed::default(),
    };
    let source = Source { topic: "usage-events".into(), partition: 7 };
    let marker = Marker { source, watermark: Some(Timestamp(60_000)), idle: false, partitions_of_topic: 12 };
    let unknown = Marker { watermark: None, idle: true, ..marker.clone() };
    ShardRecord { partials: vec![partial.clone(), partial], markers: vec![marker, unknown], events: Vec::new() }
}

fn with_version(version: u8) -> Vec<u8> {
    let mut bytes = encode_shard_record(&record()).unwrap();
    bytes[1] = version;
    bytes
}

/// Each in the lowest version that holds it.
#[test]
fn what_is_written_reads_back() {
    let mut unjudged = record();
    unjudged.partials.iter_mut().for_each(|partial| partial.hits.clear());
    let mut of_failures = record();
    of_failures.partials[1].failed = Failed { events: 2, unpriced_events: 1, requests: 300 };
    let events = vec![ShardEvent::Resource(Box::default())];
    let with_events = ShardRecord { events, ..unjudged.clone() };
    let of_datasets =
        ShardRecord { events: vec![ShardEvent::Grant(Box::default()), ShardEvent::DatasetUse(Box::default())], ..unjudged.clone() };
    let of_grants = ShardRecord { events: vec![ShardEvent::Grant(Box::default())], ..unjudged.clone() };
    let spent = Spent {
        budget: "research".into(),
        team: "ml".into(),
        cost_center: "4711".into(),
        measure: Measure::Estimated,
        currency: Currency::USD,
        minutes: vec![SpentMinute { minute: Minute(29_000_000), cost: Nanos(-7) }],
        without_pace: vec![SpentMinute { minute: Minute(29_000_000), cost: Nanos(-3) }],
        last_event_time: Timestamp(1),
        last_ingest_time: Timestamp(2),
    };
    let events = vec![ShardEvent::Grant(Box::default()), ShardEvent::Spent(Box::new(spent))];
    let of_budgets = ShardRecord { events, ..unjudged.clone() };
    for (record, version) in [
        (of_failures, 6),
        (of_datasets, 5),
        (of_budgets, 5),
        (of_grants, 4),
        (record(), 3),
        (with_events, 2),
        (unjudged, 1),
        (ShardRecord::default(), 1),
    ] {
        let bytes = encode_shard_record(&record).unwrap();
        assert_eq!(bytes[..2], [0x54, version]);
        assert_eq!(decode_shard_record(&bytes), Ok(record));
    }
}

#[test]
fn texts_of_neighbours_are_shared() {
    let decoded = decode_shard_record(&encode_shard_record(&record()).unwrap()).unwrap();
    assert!(Text::ptr_eq(&decoded.partials[0].leaf.team, &decoded.partials[1].leaf.team));
}

#[test]
fn another_version_says_what_to_do() {
    let newer = decode_shard_record(&with_version(7)).unwrap_err();
    assert_eq!(newer.to_string(), "shard log record of format version 7; this program reads version 6: upgrade tollgate");
    assert_eq!(decode_shard_record(&with_version(0)), Err(WireError::OlderVersion { found: 0, reads: 6 }));
    // A version comes before all that it decides on: a newer form may be shorter or carry no checksum.
    assert_eq!(decode_shard_record(b"T\x08"), Err(WireError::NewerVersion { found: 8, reads: 6 }));
}

#[test]
fn damage_is_found() {
    let whole = encode_shard_record(&record()).unwrap();
    for at in 2..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        assert!(matches!(decode_shard_record(&damaged), Err(WireError::Checksum { .. })), "byte {at}");
    }
    for length in 6..whole.len() {
        assert!(matches!(decode_shard_record(&whole[..length]), Err(WireError::Checksum { .. })), "{length} bytes");
    }
    for other in [&b""[..], b"T", b"T\x01\0\0", b"{\"a\":1}"] {
        assert!(matches!(decode_shard_record(other), Err(WireError::NotAShardRecord(_))), "{other:?}");
    }
}

/// With a right checksum, so that the payload itself is judged.
#[test]
fn a_malformed_payload_is_no_record() {
    let whole = encode_shard_record(&record()).unwrap();
    let payload = &whole[HEADER_LENGTH..];
    for length in 0..payload.len() {
        assert!(matches!(decode_payload(&payload[..length], SHARD_FORMAT_VERSION), Err(WireError::Malformed(_))), "{length} bytes");
    }
    let huge_count = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 1, 2, 3];
    let lowest_count = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0];
    let eleven_byte_long = [0xff; 12];
    for bytes in [&huge_count[..], &lowest_count, &eleven_byte_long, &[0, 0, 0, 0]] {
        assert!(matches!(decode_payload(bytes, SHARD_FORMAT_VERSION), Err(WireError::Malformed(_))), "{bytes:?}");
    }
}

#[test]
fn decimals_are_the_text_that_nanos_display() {
    let largest = 1_000_000_000_000_000_000_000_000_000;
    let values = [0, 1, -1, 10, 999_999_999, 1_000_000_000, -12_340_000_000, i128::from(u64::MAX), 1 << 70, largest, -largest];
    for value in values.map(Nanos) {
        let mut text = [0; 32];
        let start = write_decimal(&mut text, value);
        assert_eq!(std::str::from_utf8(&text[start..]).unwrap(), value.to_string());
    }
}

#[test]
fn short_decimals_read_as_the_general_parser_reads_them() {
    for text in ["0", "-0", "7", "-12.5", "0.000000001", "123456789012345678", "12345678.123456789", "1.", "-999999999999999999"] {
        assert_eq!(read_short_decimal(text.as_bytes()), Some(text.parse().unwrap()), "{text}");
    }
    for text in ["", "-", ".", ".5", "1e3", "+1", "1.2.3", "1234567890123456789", "0.1234567891", "١"] {
        assert_eq!(read_short_decimal(text.as_bytes()), None, "{text}");
    }
}

#[test]
fn what_the_form_cannot_hold_is_refused() {
    let mut beyond = record();
    beyond.partials[0].cost = Nanos(i128::MAX);
    assert_eq!(encode_shard_record(&beyond), Err(WireError::OutOfRange("cost")));
    let mut beyond = record();
    beyond.partials[0].requests = u64::MAX;
    assert_eq!(encode_shard_record(&beyond), Err(WireError::OutOfRange("requests")));
}
