//! How often a series strays from its normal by how much: a histogram on a log scale with a Hill tail.
//!
//! Each series calibrates itself: the same distance in scales is daily business for one series and once a year for another
//! (DETECTION.md, section 0 no. 2 and section 6.2 A). Hill's estimator: B. M. Hill, A Simple General Approach to Inference About
//! the Tail of a Distribution, 1975.

use std::sync::LazyLock;

use serde::Deserialize;

use super::packed;

pub(super) const BINS: usize = 40;
/// Lower edge of the first bin, in units; anything below counts into the total only.
const LEAST: f64 = 0.125;
/// Bins per doubling: 40 bins reach from 1/8 to 128 units.
const PER_DOUBLING: f64 = 4.0;
/// A bucket counts so much at first and twice as much after `HALVED` buckets, when all counts are halved: whole numbers that fade
/// smoothly, by half in four weeks of hours.
const ONE: u16 = 16;
const HALVED: u16 = 672;
/// Buckets that the prior counts as.
const PRIOR_WEIGHT: f64 = 24.0;
/// Share of the buckets that lies in the fitted tail. Of buckets shorter than an hour less: their exceedances come in runs.
const TAIL_SHARE: f64 = 0.15;
const FINE_TAIL_SHARE: f64 = 0.1;
/// A tail of fewer buckets than this is widened into the bulk.
const LEAST_IN_TAIL: f64 = 12.0;
/// Tail index that is shrunk towards, and how many exceedances that counts as: little, since calm series and bursty ones differ by more
/// than any prior knows, and heavy, so that a short history is not taken for a calm one.
const PRIOR_XI: f64 = 1.0;
const PRIOR_XI_WEIGHT: f64 = 2.0;

/// Worked out once: a series that begins takes five of them.
static PRIOR: LazyLock<Tail> = LazyLock::new(|| {
    let share = |index: usize| prior_exceedance(edge(index)) - prior_exceedance(edge(index + 1));
    let bins = std::array::from_fn(|index| libm::rint(PRIOR_WEIGHT * f64::from(ONE) * share(index)) as u16);
    Tail { bins, total: (PRIOR_WEIGHT * f64::from(ONE)) as u16, age: 0 }
});

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Tail {
    /// Buckets per bin of `z`, the distance from normal in units.
    #[serde(with = "packed")]
    pub(super) bins: [u16; BINS],
    /// Buckets in all, those below the first bin included.
    pub(super) total: u16,
    /// Buckets since counts were last halved.
    pub(super) age: u16,
}

/// The upper tail as a power law: P(Z > z) = `share` * (z / `from`)^(-1 / `xi`) from `from` on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TailFit {
    pub from: f64,
    pub share: f64,
    pub xi: f64,
}

impl Tail {
    /// Starts with a prior: half of all buckets exceed nothing, the others fall off with the third power.
    pub fn prior() -> Tail {
        PRIOR.clone()
    }

    /// From weighted buckets, as formats before version 3 kept them.
    pub fn from_weights(weights: &[f32; BINS], total: f32) -> Tail {
        // Those fell by half in 28 days and never held more than 971 buckets.
        let counted = |weight: f32| (f64::from(weight).clamp(0.0, 1_000.0) * f64::from(ONE)) as u16;
        let bins = weights.map(counted);
        let sum = bins.iter().fold(0_u16, |sum, bin| sum.saturating_add(*bin));
        Tail { bins, total: counted(total).max(sum), age: 0 }
    }

    /// Counts one bucket; `z` <= 0 is one at or below its normal.
    pub fn learn(&mut self, z: f64) {
        if self.age >= HALVED {
            self.bins.iter_mut().for_each(|bin| *bin /= 2);
            self.total /= 2;
            self.age = 0;
        }
        let weight = libm::rint(f64::from(ONE) * libm::exp2(f64::from(self.age) / f64::from(HALVED))) as u16;
        self.age += 1;
        self.total = self.total.saturating_add(weight);
        if z >= LEAST {
            let index = (libm::log2(z / LEAST) * PER_DOUBLING) as usize;
            if let Some(bin) = self.bins.get_mut(index.min(BINS - 1)) {
                *bin = bin.saturating_add(weight);
            }
        }
    }

    /// -ln P(Z > z), without a bound; rises strictly from the tail's begin on.
    pub fn surprise(&self, z: f64, is_fine: bool) -> f64 {
        if z < LEAST || z.is_nan() {
            return 0.0;
        }
        let fit = self.fit(is_fine);
        if z >= fit.from {
            return libm::log(z / fit.from) / fit.xi - libm::log(fit.share);
        }
        let position = libm::log2(z / LEAST) * PER_DOUBLING;
        let index = (position as usize).min(BINS - 1);
        let above: f64 = self.bins.iter().skip(index + 1).map(|bin| f64::from(*bin)).sum();
        let within = f64::from(self.bins[index]) * (1.0 - (position - index as f64).clamp(0.0, 1.0));
        -libm::log(((above + within) / f64::from(self.total)).clamp(fit.share, 1.0))
    }

    /// The power law behind the highest share of the buckets; it begins where exactly so many lie above.
    pub fn fit(&self, is_fine: bool) -> TailFit {
        let total = f64::from(self.total);
        let share = if is_fine { FINE_TAIL_SHARE } else { TAIL_SHARE };
        let one = f64::from(ONE) * libm::exp2(f64::from(self.age) / f64::from(HALVED));
        let wanted = (share * total).max(LEAST_IN_TAIL * one).min(total);
        let (mut above, mut first, mut logs) = (0.0, BINS, 0.0);
        // Whole bins of the tail, each at the log of its middle over the first edge.
        while first > 0 {
            let count = f64::from(self.bins[first - 1]);
            if above + count >= wanted {
                break;
            }
            first -= 1;
            above += count;
            logs += count * (first as f64 + 0.5);
        }
        // The bin in which the tail begins lies in it in part.
        let part = (wanted - above).max(0.0);
        let begin = match first.checked_sub(1).map(|index| f64::from(self.bins[index])) {
            Some(count) if count > 0.0 => first as f64 - (part / count).min(1.0),
            _ => first as f64,
        };
        let inside = if first > 0 { wanted } else { above };
        logs += part * 0.5 * (first as f64 + begin);
        let excess = (logs - inside * begin).max(0.0) * std::f64::consts::LN_2 / PER_DOUBLING / one;
        let exceedances = inside / one;
        let xi = (excess + PRIOR_XI_WEIGHT * PRIOR_XI) / (exceedances + PRIOR_XI_WEIGHT);
        TailFit { from: LEAST * libm::exp2(begin / PER_DOUBLING), share: (inside / total).clamp(1e-6, 1.0), xi }
    }
}

impl TailFit {
    /// The least `z` within the tail that surprises so much; the tail's begin where less does.
    pub fn at_surprise(&self, surprise: f64) -> f64 {
        self.from * libm::exp(self.xi * (surprise + libm::log(self.share)).max(0.0))
    }
}

/// Lower edge of a bin, in scales.
fn edge(index: usize) -> f64 {
    LEAST * libm::exp2(index as f64 / PER_DOUBLING)
}

/// P(Z > z) before anything is known.
fn prior_exceedance(z: f64) -> f64 {
    0.5 / (1.0 + libm::pow(z / 1.5, 3.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tail after `hours` draws of a Pareto variable of index `xi`, at its evenly spread quantiles in a scattered order.
    fn pareto(hours: u32, xi: f64) -> Tail {
        let mut tail = Tail::prior();
        for hour in 0..hours {
            let quantile = (f64::from(hour * 7_919 % hours) + 0.5) / f64::from(hours);
            tail.learn(libm::pow(1.0 - quantile, -xi));
        }
        tail
    }

    #[test]
    fn probabilities_are_honest_within_and_beyond_what_was_seen() {
        for xi in [0.2, 0.4, 1.0] {
            for hours in [997, 9_973] {
                let tail = pareto(hours, xi);
                for p in [0.3, 0.03, 0.003, 0.0003] {
                    let ratio = libm::exp(-tail.surprise(libm::pow(p, -xi), false)) / p;
                    assert!((0.4..2.5).contains(&ratio), "xi {xi}, {hours} hours, p {p}: {ratio} times the truth");
                }
            }
        }
    }

    #[test]
    fn the_prior_is_calm_and_never_certain() {
        let tail = Tail::prior();
        assert!(tail.surprise(2.0, false) < 3.0 && tail.surprise(200.0, false) > 4.0);
        assert!(tail.surprise(1e6, false).is_finite() && tail.surprise(-1.0, false) == 0.0);
    }

    #[test]
    fn surprise_rises_and_the_quantile_inverts_it() {
        for tail in [Tail::prior(), pareto(300, 0.3), pareto(5_003, 1.0)] {
            let (fit, mut last) = (tail.fit(false), 0.0);
            for step in 0..400 {
                let surprise = tail.surprise(0.05 * libm::exp2(f64::from(step) / 20.0), false);
                assert!(surprise >= last, "step {step}: {surprise} after {last}");
                last = surprise;
            }
            for wanted in [5.0, 9.0, 20.0] {
                assert!((tail.surprise(fit.at_surprise(wanted), false) / wanted - 1.0).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn an_old_tail_is_read_as_what_it_was() {
        let mut weights = [0.0; BINS];
        (weights[10], weights[20], weights[30]) = (80.0, 15.0, 0.5);
        let tail = Tail::from_weights(&weights, 700.0);
        assert_eq!((tail.bins[10], tail.bins[30], tail.total), (1_280, 8, 11_200));
    }
}
