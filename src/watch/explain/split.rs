//! Price, volume and mix: what part of a difference in money comes from dearer tokens, from more tokens, and from other models.
//!
//! The classic variance identity: d(money) = d(tokens) x usual price + tokens x d(price) + mix, where the usual price of the first term
//! is the average over all parts, and mix is what their shares have changed. The parts add up to the difference to the last nano-unit.

use crate::model::alert::Split;
use crate::model::money::Nanos;

/// What one part (a leaf) used, and what it usually uses, over any time: only the ratio of money to tokens counts of the usual.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Part {
    pub cost: Nanos,
    pub tokens: u64,
    pub usual_cost: Nanos,
    pub usual_tokens: u64,
}

impl Part {
    /// What its tokens would have cost at its own usual price; `None` without one.
    pub fn at_usual_price(&self) -> Option<Nanos> {
        self.usual_cost.checked_mul_div(i128::from(self.tokens), i128::from(self.usual_tokens))
    }

    /// Money that its price has changed; nothing for what has no usual price.
    pub fn price(&self) -> Nanos {
        self.at_usual_price().map_or(Nanos::ZERO, |usual| self.cost.saturating_sub(usual))
    }
}

/// What all tokens would have cost at the usual average price; `None` where no tokens are known.
pub fn at_average_price(parts: &[Part]) -> Option<Nanos> {
    let usual_cost = parts.iter().fold(Nanos::ZERO, |sum, part| sum.saturating_add(part.usual_cost));
    let sum = |tokens: fn(&Part) -> u64| parts.iter().map(|part| i128::from(tokens(part))).sum::<i128>();
    let (tokens, usual_tokens) = (sum(|part| part.tokens), sum(|part| part.usual_tokens));
    if tokens <= 0 { None } else { usual_cost.checked_mul_div(tokens, usual_tokens) }
}

/// Splits `actual - expected` of the sum of the parts.
pub fn split(parts: &[Part], actual: Nanos, expected: Nanos) -> Option<Split> {
    let volume = at_average_price(parts)?.saturating_sub(expected);
    let price = parts.iter().fold(Nanos::ZERO, |sum, part| sum.saturating_add(part.price()));
    let mix = actual.saturating_sub(expected).saturating_sub(volume).saturating_sub(price);
    Some(Split { price, volume, mix })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn part(cost: i64, tokens: u64, usual_cost: i64, usual_tokens: u64) -> Part {
        Part { cost: Nanos::from_units(cost), tokens, usual_cost: Nanos::from_units(usual_cost), usual_tokens }
    }

    #[test]
    fn each_part_is_told_from_the_others() {
        let units = |split: Split| [split.volume, split.price, split.mix].map(|part| part.to_string());
        let cases = [
            ("twice the tokens", vec![part(40, 200, 20, 100)], 20, ["20", "0", "0"]),
            ("twice the price", vec![part(40, 100, 20, 100)], 20, ["0", "20", "0"]),
            ("both", vec![part(80, 200, 20, 100)], 20, ["20", "40", "0"]),
            ("to the dear model", vec![part(0, 0, 10, 100), part(100, 100, 0, 0)], 10, ["0", "0", "90"]),
            ("another share", vec![part(5, 50, 10, 100), part(75, 150, 50, 100)], 60, ["0", "0", "20"]),
        ];
        for (name, parts, expected, wanted) in cases {
            let actual = parts.iter().fold(Nanos::ZERO, |sum, part| sum.saturating_add(part.cost));
            assert_eq!(units(split(&parts, actual, Nanos::from_units(expected)).unwrap()), wanted, "{name}");
        }
        assert_eq!(split(&[part(40, 0, 20, 0)], Nanos::from_units(40), Nanos::ZERO), None, "no tokens are known");
    }

    proptest! {
        #[test]
        fn parts_add_up_to_the_nano(
            parts in prop::collection::vec((0_i128..1 << 60, 0_u64..1 << 40, 0_i128..1 << 60, 0_u64..1 << 40), 1..8),
            expected in 0_i128..1 << 60,
        ) {
            let parts: Vec<Part> = parts
                .into_iter()
                .map(|(cost, tokens, usual_cost, usual_tokens)| Part { cost: Nanos(cost), tokens, usual_cost: Nanos(usual_cost), usual_tokens })
                .collect();
            let actual = parts.iter().fold(Nanos::ZERO, |sum, part| sum.saturating_add(part.cost));
            if let Some(split) = split(&parts, actual, Nanos(expected)) {
                prop_assert_eq!(split.price.0 + split.volume.0 + split.mix.0, actual.0 - expected);
            }
        }
    }
}
