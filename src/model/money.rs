//! Money without floats: `i128` nano-units, checked arithmetic, a decimal string outside.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const NANOS_PER_UNIT: i128 = 1_000_000_000;
/// 10^18 units: far above any bill, far below where sums of many amounts could leave `i128`.
const LARGEST: i128 = 1_000_000_000_000_000_000 * NANOS_PER_UNIT;

/// A number in nano-units: an amount of money in some currency, or a quantity of some meter.
///
/// Serialises as `i128`; use `#[serde(with = "crate::model::money::decimal")]` for the decimal string of outside forms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Nanos(pub i128);

/// Why text is not a usable amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    #[error("not a decimal number")]
    NotANumber,
    #[error("beyond 10^18 units")]
    OutOfRange,
}

impl Nanos {
    pub const ZERO: Nanos = Nanos(0);

    pub fn from_units(units: i64) -> Nanos {
        Nanos(i128::from(units) * NANOS_PER_UNIT)
    }

    /// Sum; `None` beyond 10^18 units, where something upstream is broken.
    pub fn checked_add(self, other: Nanos) -> Option<Nanos> {
        self.0.checked_add(other.0).filter(|sum| sum.abs() <= LARGEST).map(Nanos)
    }

    pub fn saturating_add(self, other: Nanos) -> Nanos {
        Nanos(self.0.saturating_add(other.0).clamp(-LARGEST, LARGEST))
    }

    /// In half the bits, which hold 9 billion units: where many are kept.
    pub fn saturating_i64(self) -> i64 {
        self.0.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
    }

    pub fn saturating_sub(self, other: Nanos) -> Nanos {
        Nanos(self.0.saturating_sub(other.0).clamp(-LARGEST, LARGEST))
    }

    /// `self * numerator / denominator`, rounded half to even; `None` on overflow or a denominator of zero.
    pub fn checked_mul_div(self, numerator: i128, denominator: i128) -> Option<Nanos> {
        if denominator <= 0 {
            return None;
        }
        if let Some(value) = small_mul_div(self.0, numerator, denominator) {
            return Some(Nanos(value));
        }
        let product = self.0.checked_mul(numerator)?;
        let (quotient, remainder) = (product.div_euclid(denominator), product.rem_euclid(denominator));
        let twice = remainder.checked_mul(2)?;
        let up = twice > denominator || (twice == denominator && quotient % 2 != 0);
        Some(Nanos(quotient + i128::from(up))).filter(|value| value.0.abs() <= LARGEST)
    }

    /// Fixed number of digits after the point, rounded half away from zero: for people, not for sums.
    pub fn rounded(self, digits: u32) -> String {
        let step = 10_i128.pow(9_u32.saturating_sub(digits.min(9)));
        let magnitude = (self.0.abs() + step / 2) / step * step;
        let sign = if self.0 < 0 && magnitude != 0 { "-" } else { "" };
        let whole = magnitude / NANOS_PER_UNIT;
        let fraction = magnitude % NANOS_PER_UNIT / step;
        if digits == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction:0width$}", width = digits.min(9) as usize) }
    }
}

/// The same in 64 bits, several times quicker; `None` where a number or the product is negative or takes more.
fn small_mul_div(value: i128, numerator: i128, denominator: i128) -> Option<i128> {
    let [value, numerator, denominator] = [u64::try_from(value).ok()?, u64::try_from(numerator).ok()?, u64::try_from(denominator).ok()?];
    let product = value.checked_mul(numerator)?;
    let (quotient, remainder) = (product / denominator, product % denominator);
    let rest = denominator - remainder;
    let up = remainder > rest || (remainder == rest && quotient % 2 != 0);
    Some(i128::from(quotient) + i128::from(up))
}

impl FromStr for Nanos {
    type Err = AmountError;

    /// Parses `-12.5`, `3`, `1e-6`, `2.5E+3`. Digits below the nano are rounded half to even.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (mantissa, exponent) = match text.find(['e', 'E']) {
            Some(at) => (&text[..at], text[at + 1..].parse::<i32>().map_err(|_| AmountError::NotANumber)?),
            None => (text, 0),
        };
        let (negative, digits) = match mantissa.as_bytes().first() {
            Some(b'-') => (true, &mantissa[1..]),
            Some(b'+') => (false, &mantissa[1..]),
            _ => (false, mantissa),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if (whole.is_empty() && fraction.is_empty()) || !all_digits(whole) || !all_digits(fraction) {
            return Err(AmountError::NotANumber);
        }
        scaled(whole, fraction, exponent).map(|value| Nanos(if negative { -value } else { value }))
    }
}

/// `whole.fraction * 10^exponent` in nanos.
fn scaled(whole: &str, fraction: &str, exponent: i32) -> Result<i128, AmountError> {
    // Position of the first digit below the nano, counted from the left of whole+fraction.
    let kept = i64::try_from(whole.len()).map_err(|_| AmountError::OutOfRange)? + i64::from(exponent) + 9;
    let mut value: i128 = 0;
    let mut rest = (0_u8, false); // first dropped digit, any non-zero digit behind it
    for (index, digit) in (0_i64..).zip(whole.bytes().chain(fraction.bytes()).map(|byte| byte - b'0')) {
        if index < kept {
            value = value.saturating_mul(10).saturating_add(i128::from(digit));
        } else if index == kept {
            rest.0 = digit;
        } else {
            rest.1 |= digit != 0;
        }
    }
    let present = i64::try_from(whole.len() + fraction.len()).map_err(|_| AmountError::OutOfRange)?;
    if value != 0 {
        for _ in present..kept {
            value = value.checked_mul(10).ok_or(AmountError::OutOfRange)?;
        }
    }
    let up = rest.0 > 5 || (rest.0 == 5 && (rest.1 || value % 2 != 0));
    value = value.saturating_add(i128::from(up && kept >= 0));
    if value > LARGEST { Err(AmountError::OutOfRange) } else { Ok(value) }
}

impl fmt::Display for Nanos {
    /// The exact value, without trailing zeros: `12.5`, `0`, `-0.000001`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let magnitude = self.0.unsigned_abs();
        let unit = NANOS_PER_UNIT.unsigned_abs();
        let fraction = format!("{:09}", magnitude % unit);
        let fraction = fraction.trim_end_matches('0');
        let sign = if self.0 < 0 { "-" } else { "" };
        let point = if fraction.is_empty() { "" } else { "." };
        write!(f, "{sign}{}{point}{fraction}", magnitude / unit)
    }
}

/// Serde form of [`Nanos`] as a decimal string, in JSON and Avro alike.
pub mod decimal {
    use super::*;

    pub fn serialize<S: Serializer>(value: &Nanos, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Nanos, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|error| de::Error::custom(format!("'{text}' is {error}")))
    }
}

/// Serde form of an amount that may be absent, as [`decimal`].
pub mod optional_decimal {
    use super::*;

    pub fn serialize<S: Serializer>(value: &Option<Nanos>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.serialize_some(&format_args!("{value}")),
            None => serializer.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Nanos>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        text.parse().map(Some).map_err(|error| de::Error::custom(format!("'{text}' is {error}")))
    }
}

/// An ISO 4217 code, three upper-case letters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

impl Currency {
    pub const USD: Currency = Currency(*b"USD");
    /// No currency: where a walk through all of them begins.
    pub const BEFORE_ALL: Currency = Currency(*b"AAA");

    /// `None` unless the text is an active ISO 4217 code (any case).
    pub fn parse(text: &str) -> Option<Currency> {
        let mut code = [0_u8; 3];
        if text.len() != 3 {
            return None;
        }
        code.copy_from_slice(text.as_bytes());
        code.make_ascii_uppercase();
        let (entries, _) = ACTIVE_CODES.as_bytes().as_chunks::<4>();
        entries.binary_search_by(|[a, b, c, _]| [*a, *b, *c].cmp(&code)).ok().map(|_| Currency(code))
    }

    pub fn code(&self) -> &[u8; 3] {
        &self.0
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("???")
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(CurrencyCode)
    }
}

struct CurrencyCode;

impl de::Visitor<'_> for CurrencyCode {
    type Value = Currency;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an ISO 4217 currency code")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Currency, E> {
        Currency::parse(text).ok_or_else(|| E::custom(format!("'{text}' is not an ISO 4217 currency code")))
    }
}

/// Active ISO 4217 codes that money is kept in (no funds codes, metals or test codes), sorted.
const ACTIVE_CODES: &str = "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF \
CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD \
IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN \
NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL \
THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_text_is_exact() {
        let cases = [
            ("0", 0),
            ("12.5", 12_500_000_000),
            ("-0.000001", -1_000),
            ("1e-6", 1_000),
            ("2.5E+3", 2_500_000_000_000),
            (".5", 500_000_000),
            ("0.0000000005", 0),
            ("0.0000000015", 2),
            ("0.00000000051", 1),
            ("1e-12", 0),
            ("0e99", 0),
        ];
        for (text, nanos) in cases {
            assert_eq!(text.parse::<Nanos>(), Ok(Nanos(nanos)), "{text}");
        }
        for text in ["", "-", "1,5", "NaN", "inf", "0x1", "1e", "1 ", "--1"] {
            assert_eq!(text.parse::<Nanos>(), Err(AmountError::NotANumber), "{text:?}");
        }
        for text in ["1e19", "99999999999999999999999999999999999999999999", "1e2000000000"] {
            assert_eq!(text.parse::<Nanos>(), Err(AmountError::OutOfRange), "{text:?}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for nanos in [0, 1, -1, 999_999_999, 1_000_000_000, -12_340_000_000, LARGEST] {
            assert_eq!(Nanos(nanos).to_string().parse(), Ok(Nanos(nanos)));
        }
    }

    #[test]
    fn rounding_for_people() {
        assert_eq!(Nanos(1_005_000_000).rounded(2), "1.01");
        assert_eq!(Nanos(-4_000_000).rounded(2), "0.00");
        assert_eq!(Nanos(41_500_000_000).rounded(0), "42");
        assert_eq!(Nanos(7).checked_mul_div(1, 2), Some(Nanos(4)));
        assert_eq!(Nanos(5).checked_mul_div(1, 2), Some(Nanos(2)));
        assert_eq!(Nanos(1).checked_mul_div(i128::MAX, 1), None);
    }

    #[test]
    fn currencies_are_iso_codes() {
        for code in ACTIVE_CODES.split_whitespace() {
            assert_eq!(Currency::parse(code).map(|currency| currency.to_string()).as_deref(), Some(code), "the list is sorted");
        }
        assert_eq!(Currency::parse("eur").map(|code| code.to_string()), Some("EUR".to_string()));
        for text in ["", "EU", "EURO", "XXX", "BTC", "US "] {
            assert_eq!(Currency::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn small_numbers_take_the_short_way_to_the_same_place() {
        for value in [0_i128, 1, 2, 3, 24, 25, 26, 999_999_999, 4_294_967_295] {
            for numerator in [0_i128, 1, 3, 499_999, 500_000, 1_500_000, 2_500_000] {
                for denominator in [1_i128, 2, 3, 50, 1_000_000, 1_000_000_007] {
                    // One factor more on both sides leads the long way around.
                    let factor = 1_i128 << 64;
                    let long = Nanos(value).checked_mul_div(numerator * factor, denominator * factor);
                    assert_eq!(Nanos(value).checked_mul_div(numerator, denominator), long, "{value} * {numerator} / {denominator}");
                }
            }
        }
    }
}
