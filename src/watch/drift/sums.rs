//! Values of one metric, summed up, and how far two such sums lie apart.

use serde::{Deserialize, Serialize};

use super::rules::DriftRules;
use super::stats;

/// Any number of values of one metric.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sums {
    pub values: u32,
    pub samples: u64,
    /// Values that are no share: outside of 0 to 1, or without a number of samples.
    pub not_shares: u32,
    /// Of shares: the sum of samples x value, and of samples x value^2.
    weighted: f64,
    squares: f64,
    /// Mean of the values, and the sum of their squared distances from it (Welford 1962).
    mean: f64,
    apart: f64,
}

/// Where values come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    #[default]
    Evaluation,
    /// A day's.
    Usage,
    /// Counts of categories.
    Mix,
}

/// How two sums differ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    pub before: f64,
    pub now: f64,
    pub is_share: bool,
    /// Two-sided.
    pub p: f64,
    /// Both gates are passed: it is unlikely, and it is much.
    pub is_out: bool,
}

/// Below so many percentage points no share has changed.
const LEAST_POINTS: f64 = 0.01;
/// Evaluations differ by more than chance that would do so by chance so rarely.
const DISPERSED: f64 = 0.01;
/// Standard deviation of means, as a part of the mean, below which a reference cannot be taken at its word.
const LEAST_DEVIATION: f64 = 0.01;

impl Sums {
    pub fn add(&mut self, value: f64, samples: Option<u64>) {
        self.values = self.values.saturating_add(1);
        match samples.filter(|samples| *samples > 0 && (0.0..=1.0).contains(&value)) {
            Some(samples) => {
                self.samples = self.samples.saturating_add(samples);
                self.weighted += samples as f64 * value;
                self.squares += samples as f64 * value * value;
            }
            None => {
                self.samples = self.samples.saturating_add(samples.unwrap_or_default());
                self.not_shares = self.not_shares.saturating_add(1);
            }
        }
        let distance = value - self.mean;
        self.mean += distance / f64::from(self.values);
        self.apart += distance * (value - self.mean);
    }

    /// So many samples that are no number.
    pub fn count(&mut self, samples: u64) {
        self.values = self.values.saturating_add(1);
        self.samples = self.samples.saturating_add(samples);
        self.not_shares = self.not_shares.saturating_add(1);
    }

    /// As if `more`'s values had been added one by one (Chan, Golub, LeVeque 1979).
    pub fn join(&mut self, more: &Sums) {
        let (own, other) = (f64::from(self.values), f64::from(more.values));
        if more.values == 0 {
            return;
        }
        let distance = more.mean - self.mean;
        self.mean += distance * other / (own + other);
        self.apart += more.apart + distance * distance * own * other / (own + other);
        self.values = self.values.saturating_add(more.values);
        self.samples = self.samples.saturating_add(more.samples);
        self.not_shares = self.not_shares.saturating_add(more.not_shares);
        self.weighted += more.weighted;
        self.squares += more.squares;
    }

    pub fn is_share(&self) -> bool {
        self.values > 0 && self.not_shares == 0
    }

    /// Of shares the share of all samples, else the mean of the values.
    pub fn value(&self) -> f64 {
        if self.is_share() && self.samples > 0 { self.weighted / self.samples as f64 } else { self.mean }
    }

    /// Whether it is enough for a reference.
    pub fn is_reference(&self, kind: Kind, rules: &DriftRules) -> bool {
        match kind {
            Kind::Usage => self.values >= rules.usage_days.max(2),
            Kind::Mix => self.samples >= rules.reference_samples,
            Kind::Evaluation if self.is_share() => self.samples >= rules.reference_samples,
            Kind::Evaluation => self.values >= rules.reference_values.max(2),
        }
    }

    /// Whether it is enough for a look.
    pub fn is_look(&self, rules: &DriftRules) -> bool {
        // Of a mean without a number of samples nothing is known but that somebody thought it worth telling.
        self.values > 0 && (self.samples >= rules.least_samples || (self.samples == 0 && self.not_shares > 0))
    }

    /// Pearson's chi-squared of the shares around their own, and its degrees of freedom.
    fn spread(&self) -> (f64, f64) {
        let own = self.value();
        let spread = (self.squares - self.samples as f64 * own * own).max(0.0);
        let chance = own * (1.0 - own);
        let degrees = f64::from(self.values.saturating_sub(1));
        if chance > 0.0 { (spread / chance, degrees) } else { (0.0, degrees) }
    }
}

/// What a look is held against.
#[derive(Clone, Copy, Debug)]
pub struct Against<'a> {
    pub reference: &'a Sums,
    /// Looks since it froze that were no drift: they say how much values vary, never what is normal.
    pub settled: &'a Sums,
    pub kind: Kind,
}

/// Holds what was seen lately against the reference.
pub fn compare(against: Against<'_>, now: &Sums, rules: &DriftRules) -> Difference {
    if against.reference.is_share() && now.is_share() { compare_shares(against, now, rules) } else { compare_means(against, now, rules) }
}

/// The two-proportion z test with pooled variance and continuity correction (Fleiss, Levin, Paik 2003, 3.2). Scores within 0 to 1 vary less
/// than a share of their mean, so that for them it errs on the side of silence. Where evaluations differ among each other by more than
/// chance, the variance is theirs (quasi-binomial; McCullagh and Nelder 1989, 4.5), and the tail Student's.
fn compare_shares(against: Against<'_>, now: &Sums, rules: &DriftRules) -> Difference {
    let reference = against.reference;
    let (before, share) = (reference.value(), now.value());
    let (first, second) = (reference.samples as f64, now.samples as f64);
    let pooled = (reference.weighted + now.weighted) / (first + second);
    let inverse = 1.0 / first + 1.0 / second;
    let mut all = vec![reference, now];
    all.extend(Some(against.settled).filter(|settled| settled.is_share()));
    let (spread, df) = all.iter().map(|sums| sums.spread()).fold((0.0, 0.0), |(a, b), (spread, df)| (a + spread, b + df));
    let is_dispersed = df > 0.0 && stats::chi_squared(spread, df) < DISPERSED;
    let dispersion = if is_dispersed { (spread / df).max(1.0) } else { 1.0 };
    let deviation = libm::sqrt(dispersion * pooled * (1.0 - pooled) * inverse);
    let distance = ((share - before).abs() - 0.5 * inverse).max(0.0);
    let p = match deviation {
        // All or none, in both.
        deviation if deviation <= 0.0 => 1.0,
        deviation if is_dispersed => stats::student(distance / deviation, df),
        deviation => stats::normal(distance / deviation),
    };
    let rarer = before.min(1.0 - before);
    let is_much = (share - before).abs() >= (rules.least_share_change * rarer).max(LEAST_POINTS);
    Difference { before, now: share, is_share: true, p, is_out: p < rules.alpha && is_much }
}

/// The t test with the variance of the reference and of what has settled: looks are of a few values, whose own variance says nothing (a
/// prediction interval; Hahn and Meeker 1991, 4.7). Exact for independent values of one normal distribution.
fn compare_means(against: Against<'_>, now: &Sums, rules: &DriftRules) -> Difference {
    let (reference, settled) = (against.reference, against.settled);
    let (before, mean) = (reference.mean, now.mean);
    let freedom = |sums: &Sums| f64::from(sums.values.saturating_sub(1));
    let df = (freedom(reference) + freedom(settled)).max(1.0);
    let deviation = libm::sqrt((reference.apart + settled.apart) / df).max(LEAST_DEVIATION * before.abs());
    let inverse = 1.0 / f64::from(reference.values.max(1)) + 1.0 / f64::from(now.values.max(1));
    let distance = (mean - before).abs();
    let scale = deviation * libm::sqrt(inverse);
    let p = match scale {
        scale if scale > 0.0 => stats::student(distance / scale, df),
        _ if distance > 0.0 => 0.0,
        _ => 1.0,
    };
    let least_change = match against.kind {
        Kind::Evaluation | Kind::Mix => rules.least_mean_change,
        Kind::Usage => rules.least_usage_change,
    };
    let is_much = distance >= least_change * before.abs() && distance > 0.0;
    Difference { before, now: mean, is_share: false, p, is_out: reference.values >= 2 && p < rules.alpha && is_much }
}
