//! A mix of categories (topics, languages, lengths of inputs) against the one that was frozen: the population stability index.

use std::collections::BTreeMap;

use super::rules::DriftRules;
use super::stats;
use crate::model::Text;
use crate::model::leaf::OTHER;

/// How often each category came.
pub type Counts = BTreeMap<Text, u64>;

/// Categories that are told apart, and characters of a name; the rest is one together.
const MOST_CATEGORIES: usize = 50;
const LONGEST_NAME: usize = 100;

/// How two mixes differ.
#[derive(Clone, Debug, PartialEq)]
pub struct Shift {
    pub psi: f64,
    pub p: f64,
    pub is_out: bool,
    /// The category that contributes most, and its share before and now.
    pub most: Option<(Text, f64, f64)>,
}

/// Tags of an evaluation that are whole numbers.
pub fn counts(tags: &BTreeMap<Text, Text>) -> Counts {
    tags.iter().filter_map(|(name, count)| Some((name.clone(), count.trim().parse().ok()?))).collect()
}

pub fn total(counts: &Counts) -> u64 {
    counts.values().fold(0, |sum, count| sum.saturating_add(*count))
}

/// Adds `more`. `bins`: the categories that there are, where they are frozen.
pub fn join(sum: &mut Counts, more: &Counts, bins: Option<&Counts>) {
    for (name, count) in more {
        let is_known = bins.map_or(sum.contains_key(name) || sum.len() < MOST_CATEGORIES, |bins| bins.contains_key(name));
        let name = if is_known && name.len() <= LONGEST_NAME { name.clone() } else { Text::from(OTHER) };
        let known = sum.entry(name).or_default();
        *known = known.saturating_add(*count);
    }
}

/// The sum of (now - before) ln(now / before) over all categories (Siddiqi 2006), of which one that never came counts as half a time. Where
/// nothing has changed, divided by 1/n + 1/m it follows chi-squared with one degree of freedom less than there are categories (Yurdakul 2018):
/// few samples or many categories make an index that means nothing.
pub fn compare(reference: &Counts, now: &Counts, rules: &DriftRules) -> Shift {
    let (first, second) = (total(reference).max(1) as f64, total(now).max(1) as f64);
    let mut names: Vec<&Text> = reference.keys().chain(now.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let part = |counts: &Counts, name: &Text, all: f64| (counts.get(name).copied().unwrap_or_default() as f64).max(0.5) / all;
    let mut psi = 0.0;
    let mut most: Option<(f64, Text, f64, f64)> = None;
    for name in &names {
        let (before, after) = (part(reference, name, first), part(now, name, second));
        let own = (after - before) * libm::log(after / before);
        psi += own;
        if most.as_ref().is_none_or(|(largest, ..)| own > *largest) {
            most = Some((own, Text::clone(name), before, after));
        }
    }
    let degrees = names.len().saturating_sub(1) as f64;
    let p = if degrees > 0.0 { stats::chi_squared(psi / (1.0 / first + 1.0 / second), degrees) } else { 1.0 };
    Shift { psi, p, is_out: p < rules.alpha && psi >= rules.psi, most: most.map(|(_, name, before, now)| (name, before, now)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::drift::tests::drift_rules;

    fn mix(counts: &[(&str, u64)]) -> Counts {
        counts.iter().map(|(name, count)| (Text::from(*name), *count)).collect()
    }

    #[test]
    fn the_index_is_that_of_the_books_and_small_samples_prove_nothing() {
        let rules = drift_rules();
        let shift = compare(&mix(&[("a", 500), ("b", 500)]), &mix(&[("a", 700), ("b", 300)]), &rules);
        // 0.2 ln 1.4 - 0.2 ln 0.6
        assert!((shift.psi - 0.169_459_6).abs() < 1e-6 && !shift.is_out && shift.p < 1e-9, "{shift:?}");
        let shift = compare(&mix(&[("a", 500), ("b", 500)]), &mix(&[("a", 800), ("b", 200)]), &rules);
        assert!(shift.is_out && shift.most == Some(("b".into(), 0.5, 0.2)), "{shift:?}");
        let few = compare(&mix(&[("a", 5), ("b", 5)]), &mix(&[("a", 8), ("b", 2)]), &rules);
        assert!(few.psi > 0.25 && !few.is_out, "{few:?}");
        assert_eq!(compare(&mix(&[]), &mix(&[]), &rules).psi, 0.0);
        let new = compare(&mix(&[("a", 500)]), &mix(&[("a", 100), ("b", 400)]), &rules);
        assert!(new.is_out && new.psi.is_finite(), "{new:?}");
    }

    #[test]
    fn categories_are_bounded_and_frozen() {
        let many: Counts = (0..200).map(|number| (Text::from(format!("c{number}")), 1)).collect();
        let mut sum = Counts::new();
        join(&mut sum, &many, None);
        assert_eq!((sum.len(), total(&sum)), (MOST_CATEGORIES + 1, 200));
        let mut now = Counts::new();
        join(&mut now, &mix(&[("x", 3), ("c0", 2), ("y", 1)]), Some(&sum));
        assert_eq!(now, mix(&[("(other)", 4), ("c0", 2)]));
        assert_eq!(counts(&[("a".into(), "12".into()), ("note".into(), "x".into()), ("b".into(), "-1".into())].into()), mix(&[("a", 12)]));
    }
}
