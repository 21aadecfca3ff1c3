//! Numbers as they are kept for long: seven bits a byte, the lowest first, so that small ones take one byte; signed ones zigzag.

#[inline]
pub fn put(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

#[inline]
pub fn put_signed(bytes: &mut Vec<u8>, value: i64) {
    put(bytes, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

/// The same bytes as [`put_signed`] for what fits into 64 bits.
#[inline]
pub fn put_wide(bytes: &mut Vec<u8>, value: i128) {
    if let Ok(narrow) = i64::try_from(value) {
        return put_signed(bytes, narrow);
    }
    let mut value = ((value << 1) ^ (value >> 127)).cast_unsigned();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// Takes a number off the front; `None`: there is none, or it does not fit.
#[inline]
pub fn take(rest: &mut &[u8]) -> Option<u64> {
    // Nearly all have one or two bytes.
    match **rest {
        [low @ ..0x80, ref behind @ ..] => {
            *rest = behind;
            Some(u64::from(low))
        }
        [low, high @ ..0x80, ref behind @ ..] => {
            *rest = behind;
            Some(u64::from(low & 0x7f) | u64::from(high) << 7)
        }
        _ => take_long(rest),
    }
}

fn take_long(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for (at, byte) in rest.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            *rest = &rest[at + 1..];
            return (at < 9 || *byte <= 1).then_some(value);
        }
    }
    None
}

#[inline]
pub fn take_signed(rest: &mut &[u8]) -> Option<i64> {
    let value = take(rest)?;
    Some((value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
}

#[inline]
pub fn take_wide(rest: &mut &[u8]) -> Option<i128> {
    let start = *rest;
    if let Some(narrow) = take_signed(rest) {
        return Some(i128::from(narrow));
    }
    *rest = start;
    let mut value = 0_u128;
    for (at, byte) in rest.iter().enumerate().take(19) {
        value |= u128::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            *rest = &rest[at + 1..];
            return Some((value >> 1).cast_signed() ^ -((value & 1).cast_signed()));
        }
    }
    None
}

/// Passes over numbers without reading them: every one ends with a byte below 0x80, and eight bytes are looked at together.
#[inline]
pub fn skip(rest: &mut &[u8], mut count: usize) -> Option<()> {
    while count > 0
        && let Some((eight, behind)) = rest.split_first_chunk::<8>()
    {
        let mut ends = !u64::from_le_bytes(*eight) & 0x8080_8080_8080_8080;
        let ended = ends.count_ones() as usize;
        if ended < count {
            count -= ended;
            *rest = behind;
            continue;
        }
        for _ in 1..count {
            ends &= ends - 1;
        }
        *rest = &rest[ends.trailing_zeros() as usize / 8 + 1..];
        return Some(());
    }
    for _ in 0..count {
        let length = rest.iter().position(|byte| byte & 0x80 == 0)?;
        *rest = &rest[length + 1..];
    }
    Some(())
}

#[inline]
pub fn put_floats(bytes: &mut Vec<u8>, values: &[f32]) {
    let start = bytes.len();
    bytes.resize(start + 4 * values.len(), 0);
    for (four, value) in bytes[start..].as_chunks_mut::<4>().0.iter_mut().zip(values) {
        *four = value.to_le_bytes();
    }
}

#[inline]
pub fn take_floats<const N: usize>(rest: &mut &[u8]) -> Option<[f32; N]> {
    let mut values = [0.0; N];
    let (taken, behind) = rest.split_at_checked(4 * N)?;
    for (value, four) in values.iter_mut().zip(taken.as_chunks::<4>().0) {
        *value = f32::from_le_bytes(*four);
    }
    *rest = behind;
    Some(values)
}

#[inline]
pub fn take_bytes<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, behind) = rest.split_first_chunk::<N>()?;
    *rest = behind;
    Some(*taken)
}

/// Serde form of bytes: in one piece, as serde's own form of a list of bytes is not.
pub mod in_one_piece {
    use std::fmt;

    use serde::de::{self, Deserializer, SeqAccess, Visitor};
    use serde::ser::Serializer;

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Box<[u8]>, D::Error> {
        deserializer.deserialize_bytes(Bytes)
    }

    struct Bytes;

    impl<'de> Visitor<'de> for Bytes {
        type Value = Box<[u8]>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("bytes")
        }

        fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Box<[u8]>, E> {
            Ok(bytes.into())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Box<[u8]>, A::Error> {
            let mut bytes = Vec::new();
            while let Some(byte) = elements.next_element()? {
                bytes.push(byte);
            }
            Ok(bytes.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_read_back(all in prop::collection::vec((any::<u64>(), any::<i64>(), any::<i128>()), 0..20), shift in 0_u32..127) {
            let mut bytes = Vec::new();
            for (plain, signed, wide) in &all {
                put(&mut bytes, *plain >> (shift / 2));
                put_signed(&mut bytes, *signed >> (shift / 2));
                put_wide(&mut bytes, *wide >> shift);
            }
            let (mut rest, mut skipped) = (&bytes[..], &bytes[..]);
            for (plain, signed, wide) in all {
                prop_assert_eq!(take(&mut rest), Some(plain >> (shift / 2)));
                prop_assert_eq!(take_signed(&mut rest), Some(signed >> (shift / 2)));
                prop_assert_eq!(take_wide(&mut rest), Some(wide >> shift));
                skip(&mut skipped, 3);
                prop_assert_eq!(rest, skipped);
            }
            prop_assert!(rest.is_empty() && take(&mut rest).is_none() && skip(&mut rest, 1).is_none());
        }

        #[test]
        fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = (take(&mut &bytes[..]), take_signed(&mut &bytes[..]), take_wide(&mut &bytes[..]), skip(&mut &bytes[..], 3));
            let _ = (take_floats::<3>(&mut &bytes[..]), take_bytes::<9>(&mut &bytes[..]));
        }
    }
}
