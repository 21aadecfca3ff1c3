//! Records of internal logs: six bytes of header (a letter for the log, a version, the CRC-32 of the payload), then postcard.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{WireError, old_lineage};
use crate::model::billing::LedgerRecord;
use crate::model::lineage::LineageRecord;

const HEADER_LENGTH: usize = 6;

/// How a log's records are told from those of others.
struct Form {
    log: &'static str,
    magic: u8,
    /// The version that this program writes.
    version: u8,
    /// The oldest one that it reads.
    oldest: u8,
}

const LEDGER: Form = Form { log: "ledger", magic: b'L', version: 1, oldest: 1 };
const LINEAGE: Form = Form { log: "lineage", magic: b'G', version: 2, oldest: 1 };

/// # Errors
/// A value that postcard cannot write: a bug.
pub fn encode_ledger_record(record: &LedgerRecord) -> Result<Vec<u8>, WireError> {
    LEDGER.encode(record)
}

/// # Errors
/// Not a ledger record, one of another version, or a damaged one.
pub fn decode_ledger_record(bytes: &[u8]) -> Result<LedgerRecord, WireError> {
    decoded(LEDGER.payload(bytes)?.1)
}

/// # Errors
/// A value that postcard cannot write: a bug.
pub fn encode_lineage_record(record: &LineageRecord) -> Result<Vec<u8>, WireError> {
    LINEAGE.encode(record)
}

/// # Errors
/// Not a lineage record, one of another version, or a damaged one.
pub fn decode_lineage_record(bytes: &[u8]) -> Result<LineageRecord, WireError> {
    match LINEAGE.payload(bytes)? {
        (1, payload) => decoded::<old_lineage::LineageRecord>(payload).map(LineageRecord::from),
        (_, payload) => decoded(payload),
    }
}

impl Form {
    fn encode<T: Serialize>(&self, record: &T) -> Result<Vec<u8>, WireError> {
        let malformed = |_| WireError::Malformed("a record of an internal log");
        let mut bytes = postcard::to_extend(record, vec![0; HEADER_LENGTH]).map_err(malformed)?;
        let [a, b, c, d] = crc32fast::hash(bytes.get(HEADER_LENGTH..).unwrap_or_default()).to_le_bytes();
        if let Some(header) = bytes.first_chunk_mut::<HEADER_LENGTH>() {
            *header = [self.magic, self.version, a, b, c, d];
        }
        Ok(bytes)
    }

    /// Its version, and what comes after the header.
    fn payload<'a>(&self, bytes: &'a [u8]) -> Result<(u8, &'a [u8]), WireError> {
        let Form { log, magic, version: reads, oldest } = *self;
        let Some((&[first, found, a, b, c, d], payload)) = bytes.split_first_chunk::<HEADER_LENGTH>() else {
            return Err(WireError::NotALogRecord { log, why: "it is shorter than the header" });
        };
        if first != magic {
            return Err(WireError::NotALogRecord { log, why: "its first byte is that of something else" });
        }
        if !(oldest..=reads).contains(&found) {
            return Err(WireError::LogVersion { log, found, reads });
        }
        let (stored, computed) = (u32::from_le_bytes([a, b, c, d]), crc32fast::hash(payload));
        if stored != computed {
            return Err(WireError::LogChecksum { log, stored, computed });
        }
        Ok((found, payload))
    }
}

fn decoded<T: DeserializeOwned>(payload: &[u8]) -> Result<T, WireError> {
    postcard::from_bytes(payload).map_err(|_| WireError::Malformed("a record of an internal log"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::activity::ActivityEvent;
    use crate::model::billing::{Completion, LedgerItem};
    use crate::model::lineage::{DatasetName, Job, Lifecycle, LineageItem, ModelName, RunState, StatedDataset, Told};
    use crate::model::time::Timestamp;

    fn damage<T: std::fmt::Debug + PartialEq>(bytes: &[u8], decode: impl Fn(&[u8]) -> Result<T, WireError>, log: &'static str, reads: u8) {
        // An older version is no damage.
        for at in (0..bytes.len()).filter(|at| *at != 1) {
            let mut broken = bytes.to_vec();
            broken[at] ^= 1;
            assert!(decode(&broken).is_err(), "{at}");
            assert!(decode(&bytes[..at]).is_err(), "{at}");
        }
        for found in [0, reads + 1] {
            let other = [&bytes[..1], &[found], &bytes[2..]].concat();
            assert_eq!(decode(&other), Err(WireError::LogVersion { log, found, reads }));
        }
    }

    #[test]
    fn what_is_written_reads_back_and_nothing_else_does() {
        let end = Completion { delivery: "d".into(), exported: Timestamp(5), lines: 3 };
        let record = LedgerRecord { source: "focus".into(), period: "2026-03".into(), items: vec![LedgerItem::Complete(end)] };
        let bytes = encode_ledger_record(&record).unwrap();
        assert_eq!(decode_ledger_record(&bytes), Ok(record));
        // As they stand in running deployments.
        assert_eq!(bytes.get(6..), Some(&b"\x05focus\x072026-03\x01\x01\x01d\x0a\x03"[..]));
        damage(&bytes, decode_ledger_record, "ledger", 1);

        let dataset = StatedDataset {
            namespace: "s3".into(),
            name: "a".into(),
            origins: Some(vec!["DE".into()]),
            model: Some(ModelName { model: "m".into(), version: None }),
            lifecycle: Some(Lifecycle::Rename(Some(DatasetName { namespace: "s3".into(), name: "b".into() }))),
            same_as: vec![DatasetName { namespace: "hive".into(), name: "c".into() }],
        };
        let event = crate::model::lineage::LineageEvent {
            event_id: "e".into(),
            producer: "p".into(),
            event_time: Timestamp(5),
            told: Told::Dataset(dataset),
        };
        let activity = ActivityEvent { model: Some("m".into()), value: Some(0.5), ..ActivityEvent::default() };
        let record = LineageRecord { items: vec![LineageItem::Event(event), LineageItem::Activity(Box::new(activity))] };
        let bytes = encode_lineage_record(&record).unwrap();
        assert_eq!(decode_lineage_record(&bytes), Ok(record));
        damage(&bytes, decode_lineage_record, "lineage", 2);
        assert!(decode_ledger_record(&bytes).is_err());
    }

    /// As an earlier program has written it.
    #[test]
    fn lineage_of_version_1_is_read() {
        let activity = ActivityEvent { model: Some("m".into()), value: Some(0.5), ..ActivityEvent::default() };
        let run =
            b"\x00\x01e\x01p\x0a\x00\x01r\x02\x01j\x01k\x01\x01o\x01\x02s3\x01a\x01\x01\x02DE\x00\x01\x02s3\x01b\x00\x01\x01m\x01\x013";
        let defined = b"\x00\x01e\x01p\x0a\x01\x01j\x01k\x01\x01o\x00\x01\x02s3\x01a\x00\x00";
        let told = b"\x00\x01e\x01p\x0a\x02\x02s3\x01a\x01\x01\x02DE\x00";
        let payload = [b"\x04", &run[..], defined, told, b"\x01", &postcard::to_stdvec(&activity).unwrap()].concat();
        let [a, b, c, d] = crc32fast::hash(&payload).to_le_bytes();
        let bytes = [&[b'G', 1, a, b, c, d], &payload[..]].concat();
        let dataset =
            |namespace: &str, name: &str| StatedDataset { namespace: namespace.into(), name: name.into(), ..StatedDataset::default() };
        let event =
            |told| crate::model::lineage::LineageEvent { event_id: "e".into(), producer: "p".into(), event_time: Timestamp(5), told };
        let job = || Job { namespace: "j".into(), name: "k".into(), owner: Some("o".into()) };
        let input = StatedDataset { origins: Some(vec!["DE".into()]), ..dataset("s3", "a") };
        let output = StatedDataset { model: Some(ModelName { model: "m".into(), version: Some("3".into()) }), ..dataset("s3", "b") };
        let run =
            Told::Run { run_id: "r".into(), state: RunState::Complete, job: job(), inputs: vec![input.clone()], outputs: vec![output] };
        let defined = Told::Job { job: job(), inputs: vec![], outputs: vec![dataset("s3", "a")] };
        let items = [event(run), event(defined), event(Told::Dataset(input))].map(LineageItem::Event);
        let items = items.into_iter().chain([LineageItem::Activity(Box::new(activity))]).collect();
        assert_eq!(decode_lineage_record(&bytes), Ok(LineageRecord { items }));
    }
}
