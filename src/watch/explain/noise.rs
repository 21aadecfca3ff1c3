//! What leaves do by themselves: their log ratios, and how large these usually are for leaves of their size.

use super::ripple::{Table, tail};

/// Noise that is thought of before any leaf is seen, and how many leaves that is worth.
const USUAL_NOISE: f64 = 0.2;
const USUAL_LEAVES: f64 = 10.0;
/// No leaf is foreseen better than this.
const LEAST_NOISE: f64 = 0.03;
/// Leaves are told apart by size into at most so many classes, each of at least so many leaves.
const MOST_CLASSES: usize = 8;
const LEAVES_PER_CLASS: usize = 40;
/// Fewer leaves cannot vouch for more noise than is usual: any of them may be a cause.
const FEW_LEAVES: usize = 30;
/// Causes may hold more than half of the leaves, so scale is read where they do not reach: 40 % of normal deviations lie below .524.
const QUANTILE: f64 = 0.4;
const NORMAL_QUANTILE: f64 = 0.524_400_512_708;
/// A leaf that vanished counts as this ratio.
const LEAST_RATIO: f64 = 0.01;
/// A drift common to all leaves is no more than this part of their noise; beyond it, it is a change.
const MOST_DRIFT: f64 = 0.5;

/// One leaf on the scale of logarithms.
#[derive(Clone, Copy, Debug)]
pub enum Log {
    /// Neither expected nor there.
    Nothing,
    /// There, and not expected.
    New,
    Known {
        /// Logarithm of actual over expected.
        ratio: f64,
        /// What is usual for a leaf of its size, as a standard deviation.
        noise: f64,
        /// Nats by which the ratio is less likely than none, if it is noise.
        surprise: f64,
    },
}

pub fn logs(table: &Table, least_expected: f64) -> Vec<Log> {
    let expected = &table.expected;
    let mut known: Vec<usize> = (0..expected.len()).filter(|leaf| expected[*leaf] > least_expected).collect();
    let ratio = |leaf: usize| libm::log((table.actual[leaf] / expected[leaf]).max(LEAST_RATIO));
    let mut ratios = vec![0.0; expected.len()];
    known.iter().for_each(|leaf| ratios[*leaf] = ratio(*leaf));
    let drift = drift(&known.iter().map(|leaf| ratios[*leaf]).collect::<Vec<f64>>());
    let is_new = |leaf: usize| if table.actual[leaf] > least_expected { Log::New } else { Log::Nothing };
    let mut logs: Vec<Log> = (0..expected.len()).map(is_new).collect();
    known.sort_by(|a, b| expected[*a].total_cmp(&expected[*b]).then(a.cmp(b)));
    let classes = (known.len() / LEAVES_PER_CLASS).clamp(1, MOST_CLASSES);
    for class in known.chunks(known.len().div_ceil(classes).max(1)) {
        let noise = noise(class.iter().map(|leaf| (ratios[*leaf] - drift).abs()).collect());
        for leaf in class {
            let surprise = tail((ratios[*leaf] - drift) / noise);
            logs[*leaf] = Log::Known { ratio: ratios[*leaf], noise, surprise };
        }
    }
    logs
}

/// What all leaves have in common, as long as it is small against their noise.
fn drift(ratios: &[f64]) -> f64 {
    if ratios.len() < FEW_LEAVES {
        return 0.0;
    }
    let middle = quantile(ratios.to_vec(), 0.5);
    let scale = quantile(ratios.iter().map(|ratio| (ratio - middle).abs()).collect(), QUANTILE) / NORMAL_QUANTILE;
    middle.clamp(-MOST_DRIFT * scale, MOST_DRIFT * scale)
}

fn noise(deviations: Vec<f64>) -> f64 {
    let leaves = deviations.len();
    let own = quantile(deviations, QUANTILE) / NORMAL_QUANTILE;
    let own = if leaves < FEW_LEAVES { own.min(USUAL_NOISE) } else { own };
    let variance = (own * own * leaves as f64 + USUAL_NOISE * USUAL_NOISE * USUAL_LEAVES) / (leaves as f64 + USUAL_LEAVES);
    libm::sqrt(variance).max(LEAST_NOISE)
}

/// Interpolated between the two values around it; 0 of none.
fn quantile(mut values: Vec<f64>, part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = part * values.len().saturating_sub(1) as f64;
    let below = place as usize;
    match (values.get(below), values.get(below + 1)) {
        (Some(low), Some(high)) => low + (high - low) * (place - below as f64),
        (Some(only), None) => *only,
        (None, _) => 0.0,
    }
}
