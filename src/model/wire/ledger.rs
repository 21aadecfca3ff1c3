//! The ledger log's record: six bytes of header as the shard log has it ('L', version, CRC-32 of the payload), then postcard.

use super::WireError;
use crate::model::billing::LedgerRecord;

/// The version that this program writes, and the only one that it reads.
pub const LEDGER_FORMAT_VERSION: u8 = 1;

const MAGIC: u8 = b'L';
const HEADER_LENGTH: usize = 6;

/// # Errors
/// A value that postcard cannot write: a bug.
pub fn encode_ledger_record(record: &LedgerRecord) -> Result<Vec<u8>, WireError> {
    let malformed = |_| WireError::Malformed("a ledger record");
    let mut bytes = postcard::to_extend(record, vec![0; HEADER_LENGTH]).map_err(malformed)?;
    let [a, b, c, d] = crc32fast::hash(bytes.get(HEADER_LENGTH..).unwrap_or_default()).to_le_bytes();
    if let Some(header) = bytes.first_chunk_mut::<HEADER_LENGTH>() {
        *header = [MAGIC, LEDGER_FORMAT_VERSION, a, b, c, d];
    }
    Ok(bytes)
}

/// # Errors
/// Not a ledger record, one of another version, or a damaged one.
pub fn decode_ledger_record(bytes: &[u8]) -> Result<LedgerRecord, WireError> {
    let Some((&[magic, found, a, b, c, d], payload)) = bytes.split_first_chunk::<HEADER_LENGTH>() else {
        return Err(WireError::NotALedgerRecord("it is shorter than the header"));
    };
    if magic != MAGIC {
        return Err(WireError::NotALedgerRecord("it does not begin with 'L'"));
    }
    if found != LEDGER_FORMAT_VERSION {
        return Err(WireError::LedgerVersion { found, reads: LEDGER_FORMAT_VERSION });
    }
    let (stored, computed) = (u32::from_le_bytes([a, b, c, d]), crc32fast::hash(payload));
    if stored != computed {
        return Err(WireError::LedgerChecksum { stored, computed });
    }
    postcard::from_bytes(payload).map_err(|_| WireError::Malformed("a ledger record"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::billing::{Completion, LedgerItem};
    use crate::model::time::Timestamp;

    #[test]
    fn what_is_written_reads_back_and_nothing_else_does() {
        let end = Completion { delivery: "d".into(), exported: Timestamp(5), lines: 3 };
        let record = LedgerRecord { source: "focus".into(), period: "2026-03".into(), items: vec![LedgerItem::Complete(end)] };
        let bytes = encode_ledger_record(&record).unwrap();
        assert_eq!(decode_ledger_record(&bytes), Ok(record));
        // As they stand in running deployments.
        assert_eq!(bytes.get(6..), Some(&b"\x05focus\x072026-03\x01\x01\x01d\x0a\x03"[..]));
        for at in 0..bytes.len() {
            let mut broken = bytes.clone();
            broken[at] ^= 1;
            assert!(decode_ledger_record(&broken).is_err(), "{at}");
            assert!(decode_ledger_record(&bytes[..at]).is_err(), "{at}");
        }
        let newer = [&bytes[..1], &[2], &bytes[2..]].concat();
        assert_eq!(decode_ledger_record(&newer), Err(WireError::LedgerVersion { found: 2, reads: 1 }));
    }
}
