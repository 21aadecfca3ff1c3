//! Rates of exchange with the days they hold from, and what an amount comes to in the currency that all is counted in.
//!
//! An amount is converted once, with the rate of the day (UTC) that it belongs to, and rounded once: to the nano, half to even. A rate holds
//! until the next one of its currency, but no longer than a rate may be old; an amount without a rate is not converted at all.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::money::{Currency, Nanos};
use super::time::{DAY_MS, Timestamp};

/// None at all: nothing is converted. A clone is the same table.
#[derive(Clone, Debug, Default)]
pub struct Rates(Option<Arc<Table>>);

#[derive(Debug, PartialEq, Eq)]
struct Table {
    target: Currency,
    base: Currency,
    most_age_days: i64,
    /// Day since 1970 from which a rate holds, and how much of the currency one unit of the base is; ascending.
    by_currency: BTreeMap<Currency, Vec<(i64, Nanos)>>,
}

/// How one currency is turned into another on a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cross {
    /// Units of each for one unit of the base.
    pub from: Nanos,
    pub to: Nanos,
    /// Day since 1970 of the older of the two.
    pub day: i64,
}

/// From here on a currency costs so much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DatedRate {
    pub currency: Currency,
    /// Since 1970.
    pub day: i64,
    /// Units of it for one unit of the base; above zero.
    pub per_base: Nanos,
}

impl PartialEq for Rates {
    fn eq(&self, other: &Rates) -> bool {
        self.is_same(other) || self.0 == other.0
    }
}

impl Cross {
    /// `None` beyond what money is kept in.
    pub fn convert(&self, amount: Nanos) -> Option<Nanos> {
        amount.checked_mul_div(self.to.0, self.from.0)
    }
}

impl Rates {
    /// Of two rates of one currency and day the last one holds.
    pub fn new(target: Currency, base: Currency, most_age_days: i64, rates: impl IntoIterator<Item = DatedRate>) -> Rates {
        let mut by_day: BTreeMap<(Currency, i64), Nanos> = BTreeMap::new();
        for DatedRate { currency, day, per_base } in rates {
            if per_base > Nanos::ZERO && currency != base {
                by_day.insert((currency, day), per_base);
            }
        }
        let mut by_currency: BTreeMap<Currency, Vec<(i64, Nanos)>> = BTreeMap::new();
        for ((currency, day), rate) in by_day {
            by_currency.entry(currency).or_default().push((day, rate));
        }
        Rates(Some(Arc::new(Table { target, base, most_age_days, by_currency })))
    }

    /// What all is converted into; `None`: nothing is converted.
    pub fn target(&self) -> Option<Currency> {
        self.0.as_ref().map(|table| table.target)
    }

    pub fn base(&self) -> Option<Currency> {
        self.0.as_ref().map(|table| table.base)
    }

    /// Those that are converted somehow, on some day.
    pub fn currencies(&self) -> impl Iterator<Item = Currency> {
        let known = self.0.iter().flat_map(|table| table.by_currency.keys().copied().chain([table.base]));
        known.filter(|currency| self.concern(*currency))
    }

    /// Whether amounts of this currency are to be converted.
    pub fn concern(&self, currency: Currency) -> bool {
        self.target().is_some_and(|target| target != currency)
    }

    /// Whether both are clones of one table, or both none; equal ones need not be.
    pub fn is_same(&self, other: &Rates) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }

    /// How a currency is turned into the target on the day of a time. `None`: a rate is missing.
    pub fn cross(&self, currency: Currency, at: Timestamp) -> Option<Cross> {
        let table = self.0.as_ref()?;
        let day = at.0.div_euclid(DAY_MS);
        let ((from_day, from), (to_day, to)) = (table.rate(currency, day)?, table.rate(table.target, day)?);
        Some(Cross { from, to, day: from_day.min(to_day) })
    }

    /// Whether amounts of this currency and time are converted: there is a rate.
    pub fn is_converted(&self, currency: Currency, at: Timestamp) -> bool {
        self.concern(currency) && self.cross(currency, at).is_some()
    }

    /// An amount in the target. `None`: a rate is missing, or the result is beyond what money is kept in. Nothing is nothing in any currency.
    pub fn convert(&self, amount: Nanos, currency: Currency, at: Timestamp) -> Option<Nanos> {
        if amount == Nanos::ZERO || self.target() == Some(currency) {
            return Some(amount);
        }
        self.cross(currency, at)?.convert(amount)
    }
}

impl Table {
    /// The day that the rate which holds on a day is of, and the rate.
    fn rate(&self, currency: Currency, day: i64) -> Option<(i64, Nanos)> {
        if currency == self.base {
            return Some((day, Nanos::from_units(1)));
        }
        let rates = self.by_currency.get(&currency)?;
        let place = rates.partition_point(|(from, _)| *from <= day).checked_sub(1)?;
        rates.get(place).copied().filter(|(from, _)| day.saturating_sub(*from) <= self.most_age_days)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn currency(code: &str) -> Currency {
        Currency::parse(code).unwrap()
    }

    fn rates(target: &str) -> Rates {
        let rate = |code: &str, day, text: &str| DatedRate { currency: currency(code), day, per_base: text.parse().unwrap() };
        let all = [
            rate("USD", 100, "1.25"),
            rate("USD", 103, "1.0823"),
            rate("GBP", 100, "0.8"),
            rate("JPY", 101, "163.21"),
            rate("USD", 99, "2"),
            rate("EUR", 100, "7"),
        ];
        Rates::new(currency(target), currency("EUR"), 7, all)
    }

    fn on(day: i64) -> Timestamp {
        Timestamp(day * DAY_MS + 1)
    }

    #[test]
    fn the_rate_of_the_day_holds() {
        let rates = rates("USD");
        let of = |amount: &str, code: &str, day: i64| {
            rates.convert(amount.parse().unwrap(), currency(code), on(day)).map(|amount| amount.to_string())
        };
        let some = |text: &str| Some(text.to_string());
        assert_eq!(
            ["98", "99", "100", "102", "103", "110"].map(|day| of("10", "EUR", day.parse().unwrap())),
            [None, some("20"), some("12.5"), some("12.5"), some("10.823"), some("10.823"),]
        );
        // Older than a week is as good as none, of either of the two; nothing is nothing, and what is there already stays.
        assert_eq!((of("10", "EUR", 111), of("10", "GBP", 107), of("10", "GBP", 108)), (None, some("13.52875"), None));
        assert_eq!((of("0", "CHF", 100), of("-3.5", "USD", 1), of("1", "CHF", 100)), (some("0"), some("-3.5"), None));
        assert_eq!(of("1000000", "JPY", 103), some("6631.333864347"));
        assert_eq!(rates.cross(currency("JPY"), on(103)).map(|cross| cross.day), Some(101));
        assert_eq!(Rates::default().convert(Nanos(5), currency("USD"), on(100)), None);
        assert!(!Rates::default().concern(currency("EUR")) && rates.concern(currency("EUR")) && !rates.concern(currency("USD")));
    }

    proptest! {
        /// A correction takes away exactly what it corrects; each amount is off by half a nano at most, so that of any split the sum is off
        /// by half a nano a part at most; larger amounts never come to less.
        #[test]
        fn conversion_is_exact_to_half_a_nano_whatever_the_split(
            parts in proptest::collection::vec(-10_i128.pow(21)..10_i128.pow(21), 1..40),
            code in proptest::sample::select(vec!["EUR", "GBP", "JPY", "USD"]),
            day in 101_i64..106,
        ) {
            let rates = rates("USD");
            let convert = |amount: i128| rates.convert(Nanos(amount), currency(code), on(day)).unwrap().0;
            for part in &parts {
                prop_assert_eq!(convert(*part) + convert(-*part), 0);
                prop_assert!(convert(*part) <= convert(*part + 1));
            }
            let Cross { from, to, .. } = rates.cross(currency(code), on(day)).unwrap();
            let (whole, sum) = (parts.iter().sum::<i128>(), parts.iter().map(|part| convert(*part)).sum::<i128>());
            // In units of 1 / (2 * from) nano, without a division.
            let off = (sum * from.0 - whole * to.0).abs() * 2;
            let allowed = if code == "USD" { 0 } else { from.0 * i128::try_from(parts.len()).unwrap() };
            prop_assert!(off <= allowed, "{} parts are off by {} of {}", parts.len(), off, allowed);
        }
    }
}
