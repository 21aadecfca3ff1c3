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
