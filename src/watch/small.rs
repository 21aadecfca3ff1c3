//! Numbers in two bytes, for what is looked at and not added up: sign, six bits of exponent, nine of mantissa. Off by a thousandth at most,
//! from 1e-9 to 8e9; smaller ones are zero, larger ones the largest.

const DROPPED: u32 = 14;
const MANTISSA: u32 = 9;
const BIAS: i32 = 127 - 31;
const LARGEST: u16 = 0x7fff;
/// Stands for "not known".
pub const UNKNOWN: u16 = 0xffff;

pub fn pack(value: f32) -> u16 {
    let sign = if value < 0.0 { 0x8000 } else { 0 };
    // Round to nearest; a carry goes into the exponent, as it should.
    let bits = value.abs().to_bits().saturating_add(1 << (DROPPED - 1));
    let exponent = (bits >> 23) as i32 - BIAS;
    let magnitude = match exponent {
        ..=0 => return 0,
        1..=63 => ((exponent as u16) << MANTISSA) | ((bits >> DROPPED) as u16 & 0x1ff),
        _ => LARGEST,
    };
    // The most negative number is taken for the unknown.
    (sign | magnitude).min(UNKNOWN - 1)
}

pub fn unpack(packed: u16) -> f32 {
    let exponent = i32::from((packed & LARGEST) >> MANTISSA);
    if exponent == 0 {
        return 0.0;
    }
    let bits = (((exponent + BIAS) as u32) << 23) | (u32::from(packed & 0x1ff) << DROPPED);
    let magnitude = f32::from_bits(bits);
    if packed & 0x8000 == 0 { magnitude } else { -magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousandth_at_most_is_lost_and_order_is_kept() {
        let mut last = 0.0;
        for step in 0..4_000 {
            let value = 1e-9 * libm::expf(step as f32 / 100.0);
            let kept = unpack(pack(value));
            assert!((kept / value - 1.0).abs() <= 0.001, "{value} {kept}");
            assert!(kept >= last);
            last = kept;
            assert_eq!(unpack(pack(-value)), -kept);
            assert_eq!(pack(kept), pack(value), "what is kept stays as it is");
        }
        for zero in [0.0, -0.0, 1e-12] {
            assert_eq!(unpack(pack(zero)), 0.0);
        }
        assert!(unpack(pack(f32::MAX)) > 8e9 && pack(f32::MIN) != UNKNOWN);
    }
}
