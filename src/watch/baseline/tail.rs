//! How often a series exceeds its expectation by how much: a decaying log histogram with a Hill tail.
//!
//! Each series calibrates itself: the same distance in scales is daily business for one series and once a year for another
//! (DETECTION.md, section 0 no. 2 and section 6.2 A). Hill's estimator: B. M. Hill, A Simple General Approach to Inference About
//! the Tail of a Distribution, 1975.

use serde::{Deserialize, Serialize};

use super::packed;

const BINS: usize = 40;
/// Lower edge of the first bin, in scales; anything below counts into the total only.
const LEAST: f64 = 0.125;
/// Bins per doubling: 40 bins reach from 1/8 to 128 scales.
const PER_DOUBLING: f64 = 4.0;
/// Weight left after each hour: half after 28 days.
const KEEP: f64 = 0.998_969_1;
/// Hours that the prior counts as.
const PRIOR_WEIGHT: f64 = 24.0;
/// Share of the hours that lies in the fitted tail.
const TAIL_SHARE: f64 = 0.1;
/// A tail of fewer (weighted) hours than this is widened into the bulk.
const LEAST_IN_TAIL: f64 = 6.0;
/// Tail index that is shrunk towards, and how many exceedances that counts as.
const PRIOR_XI: f64 = 0.25;
const PRIOR_XI_WEIGHT: f64 = 10.0;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tail {
    /// Weighted hours per bin of `z`, the excess over the expectation in scales.
    #[serde(with = "packed")]
    bins: [f32; BINS],
    /// Weighted hours in all, those below the first bin included.
    total: f32,
}

/// The upper tail as a power law: P(Z > z) = `share` * (z / `from`)^(-1 / `xi`) from `from` on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TailFit {
    pub from: f64,
    pub share: f64,
    pub xi: f64,
}

impl Tail {
    /// Starts with a prior: half of all hours exceed nothing, the others fall off with the third power.
    pub fn prior() -> Tail {
        let mut bins = [0.0; BINS];
        for (index, bin) in bins.iter_mut().enumerate() {
            *bin = (PRIOR_WEIGHT * (prior_exceedance(edge(index)) - prior_exceedance(edge(index + 1)))) as f32;
        }
        Tail { bins, total: PRIOR_WEIGHT as f32 }
    }

    /// Counts one hour; `z` <= 0 is an hour at or below its expectation.
    pub fn learn(&mut self, z: f64) {
        for bin in &mut self.bins {
            *bin *= KEEP as f32;
        }
        self.total = self.total * KEEP as f32 + 1.0;
        if z >= LEAST {
            let index = (libm::log2(z / LEAST) * PER_DOUBLING) as usize;
            self.bins[index.min(BINS - 1)] += 1.0;
        }
    }

    /// P(Z > z), without a floor; falls strictly from the tail's begin on.
    pub fn exceedance(&self, fit: &TailFit, z: f64) -> f64 {
        if z >= fit.from {
            return fit.share * libm::pow(z / fit.from, -1.0 / fit.xi);
        }
        if z < LEAST {
            return 1.0;
        }
        let position = libm::log2(z / LEAST) * PER_DOUBLING;
        let index = (position as usize).min(BINS - 1);
        let above: f64 = self.bins.iter().skip(index + 1).map(|bin| f64::from(*bin)).sum();
        let within = f64::from(self.bins[index]) * (1.0 - (position - index as f64).clamp(0.0, 1.0));
        ((above + within) / f64::from(self.total)).clamp(fit.share, 1.0)
    }

    /// The power law behind the highest tenth of the hours.
    pub fn fit(&self) -> TailFit {
        let total = f64::from(self.total);
        let wanted = (TAIL_SHARE * total).max(LEAST_IN_TAIL).min(total);
        let mut inside = 0.0;
        let mut first = BINS;
        while first > 0 && inside < wanted {
            first -= 1;
            inside += f64::from(self.bins[first]);
        }
        let from = edge(first);
        let mut logs = 0.0;
        for (index, bin) in self.bins.iter().enumerate().skip(first) {
            logs += f64::from(*bin) * (index as f64 + 0.5 - first as f64) * std::f64::consts::LN_2 / PER_DOUBLING;
        }
        let xi = (logs + PRIOR_XI_WEIGHT * PRIOR_XI) / (inside + PRIOR_XI_WEIGHT);
        TailFit { from, share: (inside / total).clamp(1e-6, 1.0), xi }
    }
}

impl TailFit {
    /// The least `z` within the tail whose exceedance is at most `p`; the tail's begin for a `p` above the tail's share.
    pub fn quantile(&self, p: f64) -> f64 {
        if p >= self.share { self.from } else { self.from * libm::pow(self.share / p, self.xi) }
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
        for xi in [0.2, 0.4] {
            let tail = pareto(997, xi);
            let fit = tail.fit();
            for p in [0.3, 0.03, 0.003, 0.0003] {
                let ratio = tail.exceedance(&fit, libm::pow(p, -xi)) / p;
                assert!((0.4..2.5).contains(&ratio), "xi {xi}, p {p}: {ratio} times the truth");
            }
        }
    }

    #[test]
    fn the_prior_is_calm_and_never_certain() {
        let tail = Tail::prior();
        let fit = tail.fit();
        assert!(tail.exceedance(&fit, 2.0) > 0.05 && tail.exceedance(&fit, 100.0) < 1e-3);
        assert!(tail.exceedance(&fit, 1e6) > 0.0 && tail.exceedance(&fit, -1.0) == 1.0);
    }

    #[test]
    fn exceedance_falls_and_the_quantile_inverts_it() {
        for tail in [Tail::prior(), pareto(300, 0.3), pareto(2_000, 1.0)] {
            let fit = tail.fit();
            let mut last = 1.0;
            for step in 0..400 {
                let p = tail.exceedance(&fit, 0.05 * libm::exp2(f64::from(step) / 20.0));
                assert!(p <= last && p > 0.0, "step {step}: {p} after {last}");
                last = p;
            }
            for p in [1e-2, 1e-4, 1e-9] {
                assert!((tail.exceedance(&fit, fit.quantile(p)) / p - 1.0).abs() < 1e-6 || p >= fit.share);
            }
        }
    }
}
