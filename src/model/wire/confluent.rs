//! Confluent's wire format: a zero byte, the schema id as four bytes (big endian), the Avro payload.

const MAGIC: u8 = 0;

/// Puts the frame before a payload.
pub fn confluent_frame(schema_id: i32, payload: &[u8]) -> Vec<u8> {
    let mut framed = Vec::with_capacity(5 + payload.len());
    framed.push(MAGIC);
    framed.extend_from_slice(&schema_id.to_be_bytes());
    framed.extend_from_slice(payload);
    framed
}

/// Schema id and payload; `None` when the value has no such frame.
pub fn confluent_unframe(value: &[u8]) -> Option<(i32, &[u8])> {
    let (head, payload) = value.split_first_chunk::<5>()?;
    let [MAGIC, id @ ..] = *head else { return None };
    Some((i32::from_be_bytes(id), payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_is_confluents() {
        assert_eq!(confluent_frame(258, b"xy"), [0, 0, 0, 1, 2, b'x', b'y']);
        assert_eq!(confluent_unframe(&confluent_frame(-7, b"xy")), Some((-7, &b"xy"[..])));
        for other in [&b""[..], b"\0\0\0\x01", b"{\"event_id\":1}"] {
            assert_eq!(confluent_unframe(other), None);
        }
    }
}
