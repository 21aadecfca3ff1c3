//! The shard log's hand-written codec against the schema and the general Avro library, and against random bytes.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use tollgate::model::activity::ActivityEvent;
use tollgate::model::feedback::Feedback;
use tollgate::model::leaf::{Leaf, Measure};
use tollgate::model::money::{Currency, Nanos};
use tollgate::model::partial::{Failed, Marker, Partial, PolicyHit, Said, ShardEvent, ShardRecord, Source, UserCost};
use tollgate::model::resource::ResourceSample;
use tollgate::model::time::{Minute, Timestamp};
use tollgate::model::wire::{self, SchemaName, decode_shard_record, encode_shard_record};

use super::twin::Twin;

/// Bytes before the Avro payload.
const HEADER: usize = 6;

fn count() -> impl Strategy<Value = u64> {
    prop_oneof![0..100_u64, 0..=i64::MAX.unsigned_abs()]
}

fn nanos() -> impl Strategy<Value = Nanos> {
    const LARGEST: i128 = 1_000_000_000_000_000_000_000_000_000;
    prop_oneof![-1_000_000_000_000..1_000_000_000_000_i128, -LARGEST..=LARGEST].prop_map(Nanos)
}

/// Few texts, so that neighbours share some, and any text.
fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[ab]?", "\\PC{0,20}"]
}

fn leaf() -> impl Strategy<Value = Leaf> {
    let currency = prop_oneof![Just("USD"), Just("EUR"), Just("JPY")];
    let measures = [Measure::Estimated, Measure::Billed, Measure::EstimatedOriginal, Measure::BilledOriginal];
    let measure = proptest::sample::select(measures.to_vec());
    (vec(text(), 7), currency, measure).prop_map(|(texts, currency, measure)| Leaf {
        team: texts[0].as_str().into(),
        project: texts[1].as_str().into(),
        model: texts[2].as_str().into(),
        provider: texts[3].as_str().into(),
        region: texts[4].as_str().into(),
        environment: texts[5].as_str().into(),
        meter: texts[6].as_str().into(),
        currency: Currency::parse(currency).unwrap(),
        measure,
    })
}

/// A time that has an RFC 3339 text.
fn time() -> impl Strategy<Value = Timestamp> {
    (-62_000_000_000_000..250_000_000_000_000_i64).prop_map(Timestamp)
}

fn partial() -> impl Strategy<Value = Partial> {
    let user = (text(), nanos()).prop_map(|(user, cost)| UserCost { user: user.as_str().into(), cost });
    let said = proptest::sample::select(Said::ALL.to_vec());
    let hit = ("[ab-]{1,9}", said, count(), nanos()).prop_map(|(policy, said, events, cost)| PolicyHit {
        policy: policy.as_str().into(),
        said,
        events,
        cost,
    });
    let failed = (count(), count(), count()).prop_map(|(events, unpriced_events, requests)| Failed { events, unpriced_events, requests });
    let lists = (vec(user, 0..4), vec(hit, 0..3), prop_oneof![Just(Failed::default()), failed]);
    (leaf(), any::<i64>(), vec(count(), 8), (nanos(), nanos()), any::<bool>(), (time(), time()), lists).prop_map(
        |(leaf, minute, counts, (cost, quantity), has_negative, times, (users, hits, failed))| Partial {
            leaf,
            minute: Minute(minute),
            events: counts[0],
            unpriced_events: counts[1],
            cost,
            has_negative,
            quantity,
            requests: counts[2],
            tokens_input: counts[3],
            tokens_output: counts[4],
            tokens_cached_input: counts[5],
            tokens_cache_write: counts[6],
            tokens_reasoning: counts[7],
            last_event_time: times.0,
            last_ingest_time: times.1,
            users,
            hits,
            failed,
        },
    )
}

fn marker() -> impl Strategy<Value = Marker> {
    (text(), any::<i32>(), option::of(time()), any::<bool>(), any::<i32>()).prop_map(|(topic, partition, watermark, idle, partitions)| {
        Marker { source: Source { topic: topic.as_str().into(), partition }, watermark, idle, partitions_of_topic: partitions }
    })
}

fn record() -> impl Strategy<Value = ShardRecord> {
    (vec(partial(), 0..6), vec(marker(), 0..4), vec(event(), 0..3)).prop_map(|(partials, markers, events)| ShardRecord {
        partials,
        markers,
        events,
    })
}

fn event() -> impl Strategy<Value = ShardEvent> {
    (text(), option::of(text()), time(), option::of(nanos()), 0..4).prop_map(|(team, other, event_time, hourly_cost, kind)| {
        let (team, other) = (team.as_str().into(), other.map(|text| text.as_str().into()));
        match kind {
            0 => ShardEvent::Resource(Box::new(ResourceSample { team, event_time, hourly_cost, owner: other, ..Default::default() })),
            1 => ShardEvent::Activity(Box::new(ActivityEvent { team, event_time, actor: other, ..Default::default() })),
            2 => ShardEvent::Grant(Box::new(ActivityEvent { team, event_time, actor: other, ..Default::default() })),
            _ => ShardEvent::Feedback(Box::new(Feedback { team, event_time, note: other, ..Default::default() })),
        }
    })
}

fn sealed(payload: &[u8]) -> Vec<u8> {
    [b"T\x06", &crc32fast::hash(payload).to_le_bytes()[..], payload].concat()
}

proptest! {
    #[test]
    fn what_is_written_reads_back(record in record()) {
        let bytes = encode_shard_record(&record).unwrap();
        prop_assert_eq!(decode_shard_record(&bytes), Ok(record));
    }

    /// Written by hand and written by the general library after the schema: the same bytes.
    #[test]
    fn the_payload_follows_the_schema(record in record()) {
        let schema = &wire::schema(SchemaName::Partial).avro;
        let twin = Twin::new(schema);
        let mut value = serde_json::to_value(&record).unwrap();
        value["events"] = record.events.iter().map(|event| serde_json::to_string(event).unwrap()).collect();
        let by_library = twin.encode(&value).unwrap();
        let mut by_hand = encode_shard_record(&record).unwrap();
        if record.partials.is_empty() && record.events.is_empty() {
            // Version 1 ends before the events: an empty array is one zero.
            by_hand.push(0);
        }
        // Earlier versions leave out what is empty, in the midst of a partial too.
        if by_hand[1] >= 6 || record.partials.is_empty() {
            prop_assert_eq!(&by_hand[HEADER..], &by_library[..]);
        }
        prop_assert_eq!(decode_shard_record(&sealed(&by_library)), Ok(record));
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        let _ = decode_shard_record(&bytes);
        let _ = decode_shard_record(&sealed(&bytes));
        let _ = wire::alert_from_avro(&bytes, None);
        let _ = wire::rollup_from_avro(&bytes, None);
        let _ = wire::alert_from_json(&bytes);
        let _ = wire::confluent_unframe(&bytes);
    }

    /// Nearly right payloads go deeper than random ones.
    #[test]
    fn damaged_payloads_never_panic(record in record(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut payload = encode_shard_record(&record).unwrap().split_off(HEADER);
        let at = at.index(payload.len());
        payload[at] = byte;
        let _ = decode_shard_record(&sealed(&payload));
    }
}
