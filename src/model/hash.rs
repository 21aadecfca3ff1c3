//! Stable hashes that records and partitions depend on; changing one breaks running deployments.

/// Kafka's murmur2, as the Java client partitions with it (`org.apache.kafka.common.utils.Utils.murmur2`).
pub fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let mut hash: u32 = 0x9747_b28c ^ length;
    let mut chunks = data.chunks_exact(4);
    for chunk in &mut chunks {
        let mut k = chunk.iter().rev().fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
        k = k.wrapping_mul(M);
        k ^= k >> 24;
        k = k.wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    let tail = chunks.remainder();
    if !tail.is_empty() {
        let word = tail.iter().rev().fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
        hash = (hash ^ word).wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

/// The shard-log partition of a team: the one that a Java producer with key = team would choose.
pub fn shard_of(team: &str, shard_count: u32) -> u32 {
    (murmur2(team.as_bytes()) & 0x7fff_ffff) % shard_count.max(1)
}

const SEED: u64 = 0x746f_6c6c_6761_7465;
/// Up to here one call on the joined parts is several times quicker than a streaming hasher, and gives the same.
const SHORT: usize = 240;

/// 128 bits of XXH3 over length-prefixed parts, so that ("ab","c") and ("a","bc") differ.
pub fn hash128(parts: &[&[u8]]) -> u128 {
    let mut joined = [0_u8; SHORT];
    let mut rest: &mut [u8] = &mut joined;
    for part in parts {
        let length = (part.len() as u64).to_le_bytes();
        for piece in [&length[..], part] {
            let Some((head, tail)) = std::mem::take(&mut rest).split_at_mut_checked(piece.len()) else { return hash128_long(parts) };
            head.copy_from_slice(piece);
            rest = tail;
        }
    }
    let length = SHORT - rest.len();
    xxhash_rust::xxh3::xxh3_128_with_seed(joined.get(..length).unwrap_or_default(), SEED)
}

fn hash128_long(parts: &[&[u8]]) -> u128 {
    let mut hasher = xxhash_rust::xxh3::Xxh3::with_seed(SEED);
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.digest128()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of the Java client's own test (`UtilsTest.testMurmur2`).
    #[test]
    fn murmur2_agrees_with_the_java_client() {
        let cases: [(&str, i32); 7] = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
            ("", 275_646_681),
        ];
        for (text, expected) in cases {
            assert_eq!(murmur2(text.as_bytes()).cast_signed(), expected, "{text}");
        }
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(hash128(&[b"ab", b"c"]), hash128(&[b"a", b"bc"]));
    }

    #[test]
    fn short_and_long_parts_are_hashed_alike() {
        let text = [7_u8; 300];
        for length in 0..300 {
            let parts = [&text[..length / 3], &text[..length - length / 3]];
            assert_eq!(hash128(&parts), hash128_long(&parts), "{length}");
        }
    }
}
