//! Allocation of shared cost, as FinOps teams call it: what several teams use in common is split among them by a rule, to the nano.

use std::collections::{BTreeMap, BTreeSet};

use super::Text;
use super::leaf::Leaf;
use super::money::Nanos;

/// Weights are cut to so many bits in all, eleven digits, so that amount times weight stays within 128 bits.
const WEIGHT_BITS: u32 = 38;

/// One `[[showback]]`: which cost is shared, and by which rule it is split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedCost {
    /// Unique.
    pub name: Text,
    /// What is shared: absent = any. At least one is there.
    pub team: Option<Text>,
    pub project: Option<Text>,
    /// Model, or service where there is no model.
    pub model: Option<Text>,
    pub provider: Option<Text>,
    pub environment: Option<Text>,
    pub split: Split,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Split {
    /// The same for each of these teams.
    Even(BTreeSet<Text>),
    /// To each of these teams this part; parts need not add up to anything.
    Fixed(BTreeMap<Text, Nanos>),
    /// To each team in proportion to what it spends itself; `None` = all teams.
    Proportional(Option<BTreeSet<Text>>),
}

impl Split {
    pub fn as_str(&self) -> &'static str {
        match self {
            Split::Even(_) => "even",
            Split::Fixed(_) => "fixed",
            Split::Proportional(_) => "proportional",
        }
    }
}

impl SharedCost {
    pub fn covers(&self, leaf: &Leaf) -> bool {
        let is = |wanted: &Option<Text>, own: &Text| wanted.as_ref().is_none_or(|wanted| wanted == own);
        is(&self.team, &leaf.team)
            && is(&self.project, &leaf.project)
            && is(&self.model, &leaf.model)
            && is(&self.provider, &leaf.provider)
            && is(&self.environment, &leaf.environment)
    }

    /// Parts of a shared amount by team, which add up to it exactly. `direct`: what each team spends itself; what is below zero counts as
    /// nothing. `None`: nobody is there to take it.
    pub fn split(&self, amount: Nanos, direct: &BTreeMap<Text, Nanos>) -> Option<BTreeMap<Text, Nanos>> {
        let weights: BTreeMap<Text, Nanos> = match &self.split {
            Split::Even(teams) => teams.iter().map(|team| (team.clone(), Nanos(1))).collect(),
            Split::Fixed(parts) => parts.clone(),
            Split::Proportional(teams) => {
                let takes = |team: &Text| teams.as_ref().is_none_or(|teams| teams.contains(team));
                direct.iter().filter(|(team, _)| takes(team)).map(|(team, spent)| (team.clone(), *spent)).collect()
            }
        };
        let parts = split(amount, &weights.values().map(|weight| weight.0.max(0).unsigned_abs()).collect::<Vec<u128>>())?;
        Some(weights.into_keys().zip(parts).collect())
    }
}

/// Parts of an amount in proportion to weights, which add up to it exactly: each is rounded down, and the nanos that are left go to those
/// that were cut most (largest remainder), of equals to the first. `None` without any weight, or beyond 10^18 units.
pub fn split(amount: Nanos, weights: &[u128]) -> Option<Vec<Nanos>> {
    let sum = weights.iter().try_fold(0_u128, |sum, weight| sum.checked_add(*weight))?;
    let too_many = (u128::BITS - sum.leading_zeros()).saturating_sub(WEIGHT_BITS);
    let weights: Vec<u128> = weights.iter().map(|weight| weight >> too_many).collect();
    let sum = weights.iter().sum::<u128>();
    if sum == 0 {
        return None;
    }
    let whole = amount.0.unsigned_abs();
    let mut parts = Vec::with_capacity(weights.len());
    let mut remainders = Vec::with_capacity(weights.len());
    for (place, weight) in weights.iter().enumerate() {
        let product = whole.checked_mul(*weight)?;
        parts.push(product / sum);
        remainders.push((product % sum, place));
    }
    let left = whole - parts.iter().sum::<u128>();
    remainders.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    for (_, place) in remainders.into_iter().take(usize::try_from(left).ok()?) {
        parts[place] += 1;
    }
    let sign = amount.0.signum();
    parts.into_iter().map(|part| Some(Nanos(i128::try_from(part).ok()? * sign))).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nanos(parts: &[i128]) -> Vec<Nanos> {
        parts.iter().copied().map(Nanos).collect()
    }

    #[test]
    fn what_is_left_over_goes_to_those_that_were_cut_most() {
        assert_eq!(split(Nanos(100), &[1, 1, 1]), Some(nanos(&[34, 33, 33])));
        assert_eq!(split(Nanos(-100), &[1, 1, 1]), Some(nanos(&[-34, -33, -33])));
        // 33.4, 66.6 of 100.
        assert_eq!(split(Nanos(100), &[334, 666]), Some(nanos(&[33, 67])));
        assert_eq!(split(Nanos(5), &[0, 7]), Some(nanos(&[0, 5])));
        assert_eq!(split(Nanos(5), &[0, 0]), None);
        assert_eq!(split(Nanos(5), &[]), None);
    }

    proptest! {
        /// Whatever is split among whomever: the parts are the whole, and none is off by more than a nano and eleven digits.
        #[test]
        fn parts_add_up_to_the_whole(
            amount in -1_000_000_000_000_000_000_000_000_000_i128..1_000_000_000_000_000_000_000_000_000,
            weights in proptest::collection::vec(prop_oneof![Just(0_u128), 0..1000_u128, 0..1_000_000_000_000_000_000_000_000_000_u128], 0..20),
        ) {
            let sum: u128 = weights.iter().sum();
            match split(Nanos(amount), &weights) {
                None => prop_assert_eq!(sum, 0),
                Some(parts) => {
                    prop_assert_eq!(parts.iter().map(|part| part.0).sum::<i128>(), amount);
                    for (part, weight) in parts.iter().zip(&weights) {
                        let exact = amount as f64 * (*weight as f64 / sum as f64);
                        let bound = 2.0 + 1e-9 * (amount as f64).abs();
                        prop_assert!((part.0 as f64 - exact).abs() <= bound, "{} {exact}", part.0);
                        prop_assert!(part.0.signum() * amount.signum() >= 0);
                    }
                }
            }
        }

        /// The same by rule: no rule makes money or loses any.
        #[test]
        fn no_rule_makes_or_loses_money(
            amount in -1_000_000_000_000_i128..1_000_000_000_000_000,
            direct in proptest::collection::btree_map("[a-e]", -1_000_000_000_i128..1_000_000_000_000, 0..5),
            fixed in proptest::collection::btree_map("[a-h]", 1_i128..100_000_000_000, 1..6),
        ) {
            let direct: BTreeMap<Text, Nanos> = direct.into_iter().map(|(team, spent)| (Text::from(team.as_str()), Nanos(spent))).collect();
            let fixed: BTreeMap<Text, Nanos> = fixed.into_iter().map(|(team, part)| (Text::from(team.as_str()), Nanos(part))).collect();
            let all: BTreeSet<Text> = fixed.keys().cloned().collect();
            for split in [Split::Even(all.clone()), Split::Fixed(fixed), Split::Proportional(None), Split::Proportional(Some(all))] {
                let shared = SharedCost { name: "x".into(), team: None, project: None, model: None, provider: None, environment: None, split };
                if let Some(parts) = shared.split(Nanos(amount), &direct) {
                    prop_assert_eq!(parts.values().map(|part| part.0).sum::<i128>(), amount);
                } else {
                    prop_assert!(matches!(shared.split, Split::Proportional(_)));
                }
            }
        }
    }
}
