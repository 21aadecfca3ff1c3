//! Money as people read it: grouped, with as many decimals as matter.

use crate::model::money::{Currency, Nanos};

use super::language::Language;

const UNIT: i128 = 1_000_000_000;

/// `1,234.50 USD`, `1.234,50 USD`: for the body, with the currency's own number of decimals; amounts under a cent show what they have.
pub fn exact(amount: Nanos, currency: Currency, language: Language) -> String {
    format!("{} {currency}", digits(amount, decimals(amount, currency), language))
}

/// `312 USD`, `12.40 USD`: for subjects, without decimals that nobody reads.
pub fn brief(amount: Nanos, currency: Currency, language: Language) -> String {
    let places = if amount.0.abs() >= 100 * UNIT { 0 } else { decimals(amount, currency) };
    format!("{} {currency}", digits(amount, places, language))
}

/// With the sign that a difference has: `+312 USD`.
pub fn difference(amount: Nanos, text: String) -> String {
    if amount.0 > 0 { format!("+{text}") } else { text }
}

/// How many times one amount is of another: `9`, `2.4`; `None` where the other is nothing.
pub fn times(amount: Nanos, of: Nanos, language: Language) -> Option<String> {
    if of.0 <= 0 || amount.0 < 0 {
        return None;
    }
    let tenths = amount.0.checked_mul(10)?.checked_add(of.0 / 2)? / of.0;
    Some(match tenths {
        10_000.. => language.pick("over 1,000", "über 1.000").to_string(),
        100.. => ((tenths + 5) / 10).to_string(),
        _ if tenths % 10 == 0 => (tenths / 10).to_string(),
        _ => format!("{}{}{}", tenths / 10, point(language), tenths % 10),
    })
}

fn decimals(amount: Nanos, currency: Currency) -> u32 {
    let places = minor_digits(currency);
    let smallest = UNIT / 10_i128.pow(places);
    // A tenth of a cent is money too where a call costs that much.
    if amount.0 != 0 && amount.0.abs() < smallest { 6.max(places) } else { places }
}

fn point(language: Language) -> char {
    language.pick('.', ',')
}

fn digits(amount: Nanos, places: u32, language: Language) -> String {
    let text = amount.rounded(places);
    let (sign, rest) = text.strip_prefix('-').map_or(("", text.as_str()), |rest| ("-", rest));
    let (whole, fraction) = rest.split_once('.').unwrap_or((rest, ""));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push(language.pick(',', '.'));
        }
        grouped.push(digit);
    }
    if fraction.is_empty() { format!("{sign}{grouped}") } else { format!("{sign}{grouped}{}{fraction}", point(language)) }
}

/// ISO 4217 minor units where they are not 2.
fn minor_digits(currency: Currency) -> u32 {
    match currency.as_str() {
        "BIF" | "CLP" | "DJF" | "GNF" | "ISK" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF" | "UGX" | "VND" | "VUV" | "XAF" | "XOF" | "XPF" => 0,
        "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_for_people() {
        let cases = [
            ("312.2", "312.20 USD", "312 USD"),
            ("12.4", "12.40 USD", "12.40 USD"),
            ("1234567.891", "1,234,567.89 USD", "1,234,568 USD"),
            ("-1500", "-1,500.00 USD", "-1,500 USD"),
            ("0", "0.00 USD", "0.00 USD"),
            ("0.000123", "0.000123 USD", "0.000123 USD"),
            ("999.999", "1,000.00 USD", "1,000 USD"),
        ];
        for (amount, long, short) in cases {
            let amount: Nanos = amount.parse().unwrap();
            let texts = |language| (exact(amount, Currency::USD, language), brief(amount, Currency::USD, language));
            assert_eq!(texts(Language::English), (long.to_string(), short.to_string()));
            let swapped = |text: &str| text.replace(',', "_").replace('.', ",").replace('_', ".");
            assert_eq!(texts(Language::German), (swapped(long), swapped(short)));
        }
        let yen = Currency::parse("JPY").unwrap();
        assert_eq!(exact(Nanos::from_units(12_345), yen, Language::English), "12,345 JPY");
    }

    #[test]
    fn how_many_times() {
        let times = |a: &str, b: &str| times(a.parse().unwrap(), b.parse().unwrap(), Language::English);
        assert_eq!(times("351.4", "39.2").as_deref(), Some("9"));
        assert_eq!(times("2.4", "1").as_deref(), Some("2.4"));
        assert_eq!(times("1204.75", "0.8").as_deref(), Some("over 1,000"));
        assert_eq!(times("12.34", "1").as_deref(), Some("12"));
        assert_eq!(times("5", "0"), None);
    }
}
