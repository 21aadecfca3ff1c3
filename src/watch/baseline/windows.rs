//! What lasts: hours that are each a little too dear add up, and a new level or a slow ramp is seen against a reference that hardly moves
//! (DETECTION.md, section 6.2 B and C). Sums fade instead of ending, so that a window is two numbers.

use serde::Deserialize;

use super::faded::Faded;
use super::pace::Pace;

/// Half-lives in hours. A sum that is half gone after 3 hours weighs about as the last 6, after 12 as the last 24.
const FAST: f64 = 3.0;
const SLOW: f64 = 12.0;
/// The reference moves so slowly that a ramp of two weeks does not take it along.
const REFERENCE: f64 = 14.0 * 24.0;
const NOISE: f64 = 7.0 * 24.0;
/// Least noise of a sum, of the mean size of a bucket, and of the level, of the reference.
const LEAST_NOISE: f64 = 0.07;
const LEAST_LEVEL_NOISE: f64 = 0.1;
/// One bucket counts at most so many scales in a sum: it has a detector of its own.
const MOST_SCALES: f64 = 20.0;
/// Noise of a window is learnt up to so many times what it is.
const CLIP_NOISE: f64 = 10.0;
/// The level counts a bucket at most so far from the reference, and the reference follows it at most so far, in mean sizes.
const LEVEL_REACH: f64 = 3.0;
const REFERENCE_REACH: f64 = 1.0;
/// Hours of history, and buckets, from which sums and the reference say something.
const SUMS_FROM: (f64, u32) = (24.0, 8);
const REFERENCE_FROM: (f64, u32) = (72.0, 14);
const LEAST: f64 = 1e-6;

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Windows {
    /// Sums of what buckets took beyond what the calendar says, and how large they usually are.
    fast: Faded,
    slow: Faded,
    fast_noise: Faded,
    slow_noise: Faded,
    /// What buckets of the last day took, what they have taken for weeks, and how far the one usually is from the other.
    level: Faded,
    reference: Faded,
    level_noise: Faded,
}

/// How far a bucket lies from normal on one channel: (value - `zero`) / `unit`, so that the value which lies so far can be told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gauge {
    pub zero: f64,
    /// In the series' own unit; negative where less is stranger. Infinite while nothing can be said.
    pub unit: f64,
    /// Values count as if they lay within these.
    pub within: (f64, f64),
    /// The value from which a normal of so many times itself is reached: `ratio.0` + times * `ratio.1`.
    pub ratio: (f64, f64),
    /// The value from which the channel as a whole has an excess of so much: `worth.0` + excess * `worth.1`.
    pub worth: (f64, f64),
}

/// What windows need to know of the bucket before it begins.
#[derive(Clone, Copy)]
pub struct Bucket {
    /// What the calendar says of it.
    pub seasonal: f64,
    pub scale: f64,
    /// Mean size of a bucket.
    pub size: f64,
    /// Buckets learnt so far.
    pub seen: u32,
    pub pace: Pace,
}

impl Gauge {
    /// Says nothing, whatever the value.
    pub const SILENT: Gauge =
        Gauge { zero: 0.0, unit: f64::INFINITY, within: (f64::NEG_INFINITY, f64::INFINITY), ratio: (0.0, 0.0), worth: (0.0, 1.0) };

    pub fn is_silent(&self) -> bool {
        self.unit.is_infinite()
    }

    /// The distance, in units.
    pub fn z(&self, value: f64) -> f64 {
        (value.clamp(self.within.0, self.within.1) - self.zero) / self.unit
    }

    /// The value at a distance; infinite where none lies so far.
    pub fn value_at(&self, z: f64) -> f64 {
        let value = self.zero + z * self.unit;
        if value <= self.within.1 { value } else { f64::INFINITY }
    }
}

impl Windows {
    /// All that is kept, in the order in which it is written.
    pub(super) fn all(&self) -> [Faded; 7] {
        let Windows { fast, slow, fast_noise, slow_noise, level, reference, level_noise } = *self;
        [fast, slow, fast_noise, slow_noise, level, reference, level_noise]
    }

    /// From what [`Windows::all`] gives.
    pub(super) fn of([fast, slow, fast_noise, slow_noise, level, reference, level_noise]: [Faded; 7]) -> Windows {
        Windows { fast, slow, fast_noise, slow_noise, level, reference, level_noise }
    }

    /// Gauges of the fast sum, the slow sum, and the level against the reference.
    pub fn gauges(&self, bucket: Bucket) -> [Gauge; 3] {
        let known = |from: (f64, u32)| bucket.pace.hours(bucket.seen) >= from.0 && bucket.seen >= from.1;
        let sums = [(self.fast, self.fast_noise, FAST), (self.slow, self.slow_noise, SLOW)];
        let [fast, slow] = sums.map(|(sum, noise, half_life)| {
            if !known(SUMS_FROM) {
                return Gauge::SILENT;
            }
            let keep = bucket.pace.keep(half_life);
            let weight = f64::from(sum.weight) * keep + 1.0;
            let reach = MOST_SCALES * bucket.scale;
            let zero = bucket.seasonal - f64::from(sum.sum) * keep;
            Gauge {
                zero,
                unit: weight * noise_of(noise, LEAST_NOISE * bucket.size),
                within: (bucket.seasonal - reach, bucket.seasonal + reach),
                ratio: (0.0, bucket.seasonal),
                worth: (zero, weight / (2.0 * half_life * bucket.pace.buckets_per_hour())),
            }
        });
        [fast, slow, if known(REFERENCE_FROM) { self.level_gauge(bucket) } else { Gauge::SILENT }]
    }

    fn level_gauge(&self, bucket: Bucket) -> Gauge {
        let keep = bucket.pace.keep(SLOW);
        let weight = f64::from(self.level.weight) * keep + 1.0;
        let reference = self.reference.mean();
        let zero = weight * reference - f64::from(self.level.sum) * keep;
        Gauge {
            zero,
            unit: weight * noise_of(self.level_noise, LEAST_LEVEL_NOISE * reference.abs()),
            within: self.level_reach(bucket.size),
            ratio: (zero - weight * reference, weight * reference),
            worth: (zero, weight / (2.0 * SLOW * bucket.pace.buckets_per_hour())),
        }
    }

    /// One spike is no level: a bucket counts at most so much.
    fn level_reach(&self, size: f64) -> (f64, f64) {
        let (reference, reach) = (self.reference.mean(), LEVEL_REACH * size);
        if self.reference.is_empty() { Gauge::SILENT.within } else { (reference - reach, reference + reach) }
    }

    /// What the level of the last day is in parts of the reference, with a bucket added.
    pub fn level_ratio(&self, value: f64, size: f64, pace: Pace) -> f64 {
        let mut level = self.level;
        let (least, most) = self.level_reach(size);
        level.add(value.clamp(least, most), pace.keep(SLOW));
        let reference = self.reference.mean();
        if reference > 0.0 { level.mean() / reference } else { 1.0 }
    }

    /// Of a series whose mean is known and nothing else.
    pub fn begin_at(&mut self, mean: f64) {
        for faded in [&mut self.level, &mut self.reference] {
            faded.add(mean, 1.0);
        }
        self.level_noise.add(0.5 * mean.abs(), 1.0);
    }

    pub fn learn(&mut self, value: f64, bucket: Bucket) {
        let keep_noise = bucket.pace.keep(NOISE);
        let grown = bucket.pace.hours(bucket.seen) >= SUMS_FROM.0;
        let reach = MOST_SCALES * bucket.scale;
        let over = (value - bucket.seasonal).clamp(-reach, reach);
        for (sum, noise, half_life) in [(&mut self.fast, &mut self.fast_noise, FAST), (&mut self.slow, &mut self.slow_noise, SLOW)] {
            sum.add(over, bucket.pace.keep(half_life));
            if grown {
                let most = CLIP_NOISE * noise_of(*noise, LEAST_NOISE * bucket.size).max(bucket.size);
                noise.add(sum.mean().abs().min(most), keep_noise);
            }
        }
        let (least, most) = self.level_reach(bucket.size);
        self.level.add(value.clamp(least, most), bucket.pace.keep(SLOW));
        let reference = self.reference.mean();
        let reach = REFERENCE_REACH * bucket.size;
        if grown {
            self.level_noise.add((self.level.mean() - reference).abs(), keep_noise);
        }
        let followed = if grown { value.clamp(reference - reach, reference + reach) } else { value };
        self.reference.add(followed, bucket.pace.keep(REFERENCE));
    }
}

fn noise_of(noise: Faded, least: f64) -> f64 {
    (super::DEVIATIONS * noise.mean()).max(least).max(LEAST)
}
