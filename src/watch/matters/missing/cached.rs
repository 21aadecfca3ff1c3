//! A hint: cached tokens that are counted as input a second time. Some sources state input without the cached ones, and config says of
//! which; where it is wrong, the estimate is too high by the price of an input token for each cached one.
//!
//! A day has the sums of several models, and no prices: what a cached token and an output token cost is known as a range. A day's tokens and
//! its bill alone would be explained by many a mismatch, so that they have to fit in all other ways, too.

use super::bill::Day;
use crate::model::money::Nanos;
use crate::watch::series::to_units;

/// What a cached token and an output token cost, in input tokens, at the least and at the most: what price lists have.
const LEAST_WEIGHTS: (f64, f64) = (0.1, 3.0);
const MOST_WEIGHTS: (f64, f64) = (0.5, 8.0);
/// How far the bill may be from that range: it has room enough for prices, and what a discount makes is none of it.
const TOLERANCE: f64 = 0.05;
/// Where counting once would leave more than this part of the estimate, a discount or a line that is missing explains as much.
const MOST_LEFT: f64 = 0.8;
/// Counted twice, cached tokens are a smaller part of the input than they were: below this part of what is usual.
const FALLEN: f64 = 0.9;

/// Cached tokens as a part of the input that they are counted among. `None`: there is no input.
pub(super) fn share(day: &Day) -> Option<f64> {
    let [input, _, cached, ..] = day.tokens;
    (input > 0).then(|| cached as f64 / input as f64)
}

/// Whether counting cached tokens once explains why a day's bill is below what was expected of it. `usual`: their share on days whose bill
/// agrees.
pub(super) fn are_counted_twice(day: &Day, expected: f64, usual: Option<f64>) -> bool {
    let [input, output, cached, ..] = day.tokens.map(|count| count as f64);
    // What is in there twice is half of it at most.
    if expected <= 0.0 || day.billed <= Nanos::ZERO || cached <= 0.0 || cached * 2.0 > input {
        return false;
    }
    // As many are cached as on days that agree: they are counted as they were.
    if usual.is_some_and(|usual| usual > 0.0 && cached / input > FALLEN * usual) {
        return false;
    }
    let full = input - cached;
    let left = |(of_cached, of_output): (f64, f64)| 1.0 - cached / (full + of_cached * cached + of_output * output);
    let (least, most) = (left(LEAST_WEIGHTS), left(MOST_WEIGHTS));
    let is = to_units(day.billed) / expected;
    most <= MOST_LEFT && (least * (1.0 - TOLERANCE)..=most * (1.0 + TOLERANCE)).contains(&is)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::series::from_units;

    /// Input, cached among it, and output; and what is billed.
    fn day([input, cached, output]: [u64; 3], billed: f64) -> Day {
        Day { billed: from_units(billed), tokens: [input, output, cached, 0, 0], ..Day::default() }
    }

    /// As prices in multiples of input say.
    fn cost([input, cached, output]: [u64; 3], (of_cached, of_output): (f64, f64)) -> f64 {
        (input - cached) as f64 + of_cached * cached as f64 + of_output * output as f64
    }

    #[test]
    fn cached_tokens_counted_twice_explain_a_bill_at_real_prices() {
        // Of gpt-4o, gpt-4.1, gpt-5 and Claude.
        for prices in [(0.5, 4.0), (0.25, 4.0), (0.1, 8.0), (0.1, 5.0)] {
            for [input, cached, output] in [[2_000, 1_500, 100], [2_000, 1_000, 50], [1_000, 900, 300]] {
                let (rightly, twice) = ([input, cached, output], [input + cached, cached, output]);
                // Also where a tenth less than the estimate is usual.
                for ratio in [1.0, 0.9] {
                    let (is, expected) = (day(twice, ratio * cost(rightly, prices)), ratio * cost(twice, prices));
                    for usual in [None, Some(0.0), Some(cached as f64 / input as f64)] {
                        assert!(are_counted_twice(&is, expected, usual), "{prices:?} {rightly:?} {usual:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_bill_that_something_else_explains_as_well_gives_no_hint() {
        let parts = [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];
        let none = |tokens: [u64; 3], usual: Option<f64>| {
            let hinted: Vec<f64> = parts.into_iter().filter(|part| are_counted_twice(&day(tokens, *part), 1.0, usual)).collect();
            assert_eq!(hinted, Vec::<f64>::new(), "{tokens:?} {usual:?}");
        };
        // As many are cached as on days that agree.
        none([2_000, 600, 50], Some(0.3));
        none([2_000, 900, 50], Some(0.46));
        // More than half is cached, so that it cannot be in there twice; none is; so little that it explains nothing; output is what costs.
        for tokens in [[2_000, 1_200, 50], [2_000, 0, 50], [2_000, 100, 50], [1_000, 500, 2_000], [0, 0, 0]] {
            none(tokens, None);
        }
        // A third is cached: that explains a bill of some six tenths, and no other.
        let hinted: Vec<f64> = parts.into_iter().filter(|part| are_counted_twice(&day([3_000, 1_000, 50], *part), 1.0, None)).collect();
        assert_eq!(hinted, [0.6]);
        assert!(
            !are_counted_twice(&day([3_000, 1_000, 50], 0.0), 1.0, None) && !are_counted_twice(&day([3_000, 1_000, 50], 0.6), 0.0, None)
        );
    }
}
