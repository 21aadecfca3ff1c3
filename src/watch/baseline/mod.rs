//! What one series usually takes in an hour, and how far it usually strays from that: constant memory, constant time per hour.
//!
//! Three experts forecast (median of the last hours, hour of the day, hour of the week); the one with the smallest loss lately is
//! believed. Distances are in scales of the same hour of the day and become probabilities by the series' own tail
//! (DETECTION.md, sections 6.1 to 6.3). Signs do not matter here: to watch for drops, feed the negated series.

pub(crate) mod packed;
mod slots;
pub mod tail;
pub mod words;

use serde::{Deserialize, Serialize};

use self::slots::{Slots, WeekSlots};
use self::tail::{Tail, TailFit};
use crate::model::alert::Stage;
use crate::model::time::Hour;

/// Hours after the first usage until something is expected at all.
pub const NEW_HOURS: u32 = 3;
const FIRST_DAY_HOURS: u32 = 24;
const SEASONED_HOURS: u32 = 14 * 24;
/// Hours of the recent median.
const RECENT: usize = 3;
const EXPERTS: usize = 3;
/// The hour of the week must be this much better than the hour of the day (DETECTION.md, section 6.3).
const WEEK_ADVANTAGE: f64 = 0.97;
/// Rates per visit: a slot of the day remembers about a week, a slot of the week about two months.
const DAY_RATE: f64 = 0.25;
const WEEK_RATE: f64 = 0.25;
/// Weight left of losses and of the pooled noise after an hour: half after 3 and after 7 days.
const KEEP_LOSS: f64 = 0.990_419;
const KEEP_NOISE: f64 = 0.995_883;
/// Rate per visit of an hour of the day's own noise, and how many visits the pooled noise counts as.
const NOISE_RATE: f64 = 0.1;
const POOLED_VISITS: f64 = 2.0;
/// Standard deviation of a normal variable in mean absolute deviations.
const DEVIATIONS: f64 = 1.2533;
/// Residuals beyond this many scales are clipped before anything but the tail learns from them.
const CLIP: f64 = 3.0;
/// Noise is clipped later: hours of an intermittent series are far from its usual zero and still its noise.
const CLIP_NOISE: f64 = 10.0;
/// The recent median learns this much of an alarmed hour, in scales: it must not run after an episode.
const ALARMED_STEP: f64 = 0.5;
/// Alarmed hours that may be set aside: at first, at most, and how many more each hour. Beyond that a new normal is learnt, and a
/// series that alarms all the time calibrates itself instead of alarming for ever.
const FIRST_ALLOWANCE: f32 = 4.0;
const MOST_ALLOWANCE: f32 = 24.0;
const ALLOWANCE_PER_HOUR: f32 = 1.0 / 16.0;
/// Least scale, of the mean size of an hour, and in money.
const LEAST_RELATIVE_SCALE: f64 = 0.02;
const LEAST_SCALE: f64 = 1e-6;
/// Scale of an hour of which only the expectation is known, relative to it.
const FIRST_RELATIVE_SCALE: f64 = 0.5;
/// Weight left of the largest hour after an hour: half after 28 days.
const KEEP_LARGEST: f64 = 0.998_969_1;

/// The hour as the team's clocks show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalHour {
    /// 0..=23.
    pub hour_of_day: u8,
    /// 0 = Monday.
    pub day_of_week: u8,
}

/// Whether an hour belongs to an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learn {
    Normal,
    /// Stays out of the tail and the noise, and moves the centres only a little.
    Alarmed,
}

/// Which forecast is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expert {
    None,
    RecentMedian,
    HourOfDay,
    HourOfWeek,
}

/// What is known of an hour before it begins. Money per hour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expectation {
    pub expected: f64,
    /// Three scales below, not below zero where spend is positive: for pictures.
    pub lower: f64,
    /// What one hour in a hundred exceeds.
    pub upper: f64,
    /// The unit of distance from `expected`; never zero.
    pub scale: f64,
    /// The highest of the forecasts that could be right: what distances are measured from.
    pub ceiling: f64,
    pub expert: Expert,
    pub stage: Stage,
    /// Hours learnt from, the alarmed ones included.
    pub hours_seen: u32,
}

/// See the module. Serialises to about 0.9 KB, half of that in its first day.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    born: Hour,
    /// The first hour not learnt yet.
    next: Hour,
    hours_seen: u32,
    /// Values of the last hours, at (hours seen) modulo their number.
    #[serde(with = "packed")]
    recent: [f32; RECENT],
    day: Slots<24>,
    /// Allocated with the second day: most short-lived series never need it.
    week: Option<Box<WeekSlots>>,
    /// Discounted absolute error and its weight, by expert.
    losses: [(f32, f32); EXPERTS],
    /// Discounted mean absolute residual of the believed forecast, and its weight.
    pooled_noise: (f32, f32),
    /// The same by hour of the day.
    noise: Slots<24>,
    /// Discounted mean of absolute values, and its weight.
    size: (f32, f32),
    /// How many more hours may be set aside as alarmed before the series is taken at its word again.
    allowance: f32,
    /// Largest normal hour, fading.
    largest: f32,
    tail: Tail,
}

/// A baseline as format version 1 wrote it.
#[derive(Deserialize)]
pub struct Baseline1 {
    born: Hour,
    next: Hour,
    hours_seen: u32,
    #[serde(with = "packed")]
    recent: [f32; RECENT],
    day: Slots<24>,
    week: Option<Box<Slots<168>>>,
    losses: [(f32, f32); EXPERTS],
    pooled_noise: (f32, f32),
    noise: Slots<24>,
    size: (f32, f32),
    allowance: f32,
    largest: f32,
    tail: Tail,
}

impl From<Baseline1> for Baseline {
    fn from(old: Baseline1) -> Baseline {
        let Baseline1 { born, next, hours_seen, recent, day, losses, pooled_noise, noise, size, allowance, largest, tail, .. } = old;
        let week = old.week.map(|week| Box::new(WeekSlots::from_slots(&week)));
        Baseline { born, next, hours_seen, recent, day, week, losses, pooled_noise, noise, size, allowance, largest, tail }
    }
}

impl LocalHour {
    /// The local hour at the start of `hour` for an offset east of UTC; half-hour zones round down.
    pub fn at(hour: Hour, utc_offset_seconds: i32) -> LocalHour {
        let local_hours = hour.0.saturating_mul(3_600).saturating_add(i64::from(utc_offset_seconds)).div_euclid(3_600);
        // The epoch was a Thursday.
        let day_of_week = (local_hours.div_euclid(24) + 3).rem_euclid(7);
        LocalHour { hour_of_day: local_hours.rem_euclid(24) as u8, day_of_week: day_of_week as u8 }
    }

    fn day_slot(self) -> usize {
        usize::from(self.hour_of_day % 24)
    }

    fn week_slot(self) -> usize {
        usize::from(self.day_of_week % 7) * 24 + self.day_slot()
    }
}

impl Baseline {
    /// `born` = the first hour with usage.
    pub fn new(born: Hour) -> Baseline {
        Baseline {
            born,
            next: born,
            hours_seen: 0,
            recent: [0.0; RECENT],
            day: Slots::new(),
            week: None,
            losses: [(0.0, 0.0); EXPERTS],
            pooled_noise: (0.0, 0.0),
            noise: Slots::new(),
            size: (0.0, 0.0),
            allowance: FIRST_ALLOWANCE,
            largest: 0.0,
            tail: Tail::prior(),
        }
    }

    pub fn born(&self) -> Hour {
        self.born
    }

    /// The first hour that was not observed yet.
    pub fn next_hour(&self) -> Hour {
        self.next
    }

    pub fn hours_seen(&self) -> u32 {
        self.hours_seen
    }

    /// How much history stands behind what is expected of `hour`.
    pub fn stage(&self, hour: Hour) -> Stage {
        let age = hour.0.saturating_sub(self.born.0).clamp(0, i64::from(self.hours_seen)) as u32;
        match age {
            0..NEW_HOURS => Stage::New,
            NEW_HOURS..FIRST_DAY_HOURS => Stage::FirstDay,
            FIRST_DAY_HOURS..SEASONED_HOURS => Stage::FirstWeeks,
            SEASONED_HOURS.. => Stage::Seasoned,
        }
    }

    /// The largest hour that was not alarmed, fading by half in 28 days: what a month's worst hour is like (about its p99.9).
    pub fn usual_worst_hour(&self) -> f64 {
        f64::from(self.largest)
    }

    /// What is expected of an hour, from the hours before it alone.
    pub fn expect(&self, hour: Hour, local: LocalHour) -> Expectation {
        let stage = self.stage(hour);
        let forecasts = self.forecasts(local);
        let expert = self.believed(stage, &forecasts);
        let expected = forecast_of(expert, &forecasts);
        let scale = self.scale(local, expert, &forecasts);
        let ceiling = ceiling(stage, expert, &forecasts);
        let upper = ceiling + scale * self.tail.fit().quantile(0.01);
        let lowest = if expected >= 0.0 { 0.0 } else { f64::NEG_INFINITY };
        let lower = (expected - 3.0 * scale).max(lowest);
        Expectation { expected, lower, upper, scale, ceiling, expert, stage, hours_seen: self.hours_seen }
    }

    /// Learns one hour. Every hour from `born` on is told once, in order, those without usage as zero; earlier ones are ignored.
    pub fn observe(&mut self, hour: Hour, local: LocalHour, value: f64, learn: Learn) {
        if hour < self.next || !value.is_finite() {
            return;
        }
        let learn = self.allowed(learn);
        let stage = self.stage(hour);
        let forecasts = self.forecasts(local);
        let expert = self.believed(stage, &forecasts);
        let expected = forecast_of(expert, &forecasts);
        let scale = self.scale(local, expert, &forecasts);
        let known = stage != Stage::New;
        let clipped = |centre: f64| if known { value.clamp(centre - CLIP * scale, centre + CLIP * scale) } else { value };

        self.learn_losses(&forecasts, value, scale);
        if known && learn == Learn::Normal {
            self.tail.learn((value - ceiling(stage, expert, &forecasts)) / scale);
            let residual = (value - expected).abs().min(CLIP_NOISE * scale.max(mean(self.size)));
            let noise = residual / noise_of_day(expert, &forecasts);
            discount(&mut self.pooled_noise, noise, KEEP_NOISE);
            self.noise.learn(local.day_slot(), noise, NOISE_RATE);
        }
        let kept = if known && learn == Learn::Alarmed {
            value.clamp(expected - ALARMED_STEP * scale, expected + ALARMED_STEP * scale)
        } else {
            value
        };
        discount(&mut self.size, kept.abs(), KEEP_NOISE);
        self.recent[self.hours_seen as usize % RECENT] = kept as f32;
        let day_slot = local.day_slot();
        let day_value = self.day.get(day_slot).map_or(kept, clipped);
        self.day.learn(day_slot, day_value, DAY_RATE);
        if self.hours_seen >= FIRST_DAY_HOURS {
            let week = self.week.get_or_insert_with(|| Box::new(WeekSlots::new()));
            let week_value = week.get(local.week_slot()).map_or(kept, clipped);
            week.learn(local.week_slot(), week_value, WEEK_RATE);
        }
        let worst = if learn == Learn::Normal { value } else { 0.0 };
        self.largest = (f64::from(self.largest) * KEEP_LARGEST).max(worst) as f32;
        self.hours_seen = self.hours_seen.saturating_add(1);
        self.next = hour.next();
    }

    /// The fitted upper tail of distances from the expectation.
    pub fn tail_fit(&self) -> TailFit {
        self.tail.fit()
    }

    /// Probability that a normal hour lies at least `z` scales above its expectation; no floor, see [`Baseline::least_p`].
    pub fn exceedance(&self, fit: &TailFit, z: f64) -> f64 {
        self.tail.exceedance(fit, z)
    }

    /// The smallest probability that so much history can vouch for (DETECTION.md, section 6.2 A).
    pub fn least_p(&self) -> f64 {
        1.0 / (3.0 * (f64::from(self.hours_seen) + 1.0))
    }

    /// Forecasts by expert; `None` where it knows nothing yet.
    fn forecasts(&self, local: LocalHour) -> [Option<f64>; EXPERTS] {
        let week = self.week.as_ref().and_then(|week| week.get(local.week_slot()));
        [self.recent_median(), self.day.get(local.day_slot()), week]
    }

    /// Median of the last [`RECENT`] hours; `None` before there are so many.
    fn recent_median(&self) -> Option<f64> {
        let seen = self.hours_seen as usize;
        if seen < RECENT {
            return None;
        }
        let mut last = [0.0_f32; RECENT];
        for (back, value) in last.iter_mut().enumerate() {
            *value = self.recent[(seen - 1 - back) % RECENT];
        }
        last.sort_by(f32::total_cmp);
        Some(f64::from(last[RECENT / 2]))
    }

    /// The expert with the least discounted loss among those the stage admits.
    fn believed(&self, stage: Stage, forecasts: &[Option<f64>; EXPERTS]) -> Expert {
        let loss = |expert: usize| match (forecasts[expert], self.losses[expert]) {
            (Some(_), (sum, weight)) if weight > 0.0 => f64::from(sum / weight),
            _ => f64::INFINITY,
        };
        match stage {
            Stage::New => Expert::None,
            Stage::FirstDay => Expert::RecentMedian,
            Stage::FirstWeeks | Stage::Seasoned => {
                let by_day = if loss(1) < loss(0) { (Expert::HourOfDay, loss(1)) } else { (Expert::RecentMedian, loss(0)) };
                let by_week = stage == Stage::Seasoned && loss(2) < WEEK_ADVANTAGE * by_day.1;
                if by_week { Expert::HourOfWeek } else { by_day.0 }
            }
        }
    }

    /// Takes an alarmed hour off the allowance; without any left it is learnt like a normal one.
    fn allowed(&mut self, learn: Learn) -> Learn {
        self.allowance = (self.allowance + ALLOWANCE_PER_HOUR).min(MOST_ALLOWANCE);
        if learn == Learn::Normal || self.allowance < 1.0 {
            return Learn::Normal;
        }
        self.allowance -= 1.0;
        Learn::Alarmed
    }

    fn learn_losses(&mut self, forecasts: &[Option<f64>; EXPERTS], value: f64, scale: f64) {
        for (forecast, loss) in forecasts.iter().zip(&mut self.losses) {
            if let Some(forecast) = forecast {
                discount(loss, (value - forecast).abs().min(2.0 * CLIP * scale), KEEP_LOSS);
            }
        }
    }

    /// Scale of the hour: its own noise shrunk to the pooled one, with a floor.
    fn scale(&self, local: LocalHour, expert: Expert, forecasts: &[Option<f64>; EXPERTS]) -> f64 {
        let expected = forecast_of(expert, forecasts);
        let size = mean(self.size);
        let (sum, weight) = self.pooled_noise;
        // The first hours say little about noise: a wide guess counts as a few of them.
        let guess = FIRST_RELATIVE_SCALE * expected.abs().max(size);
        let pooled = (f64::from(sum) + POOLED_VISITS * guess) / (f64::from(weight) + POOLED_VISITS);
        let visits = f64::from(self.noise.visits(local.day_slot()));
        let own = self.noise.get(local.day_slot()).unwrap_or(pooled);
        let noise = (visits * own + POOLED_VISITS * pooled) / (visits + POOLED_VISITS);
        (DEVIATIONS * noise * noise_of_day(expert, forecasts)).max(LEAST_RELATIVE_SCALE * size).max(LEAST_SCALE)
    }
}

fn forecast_of(expert: Expert, forecasts: &[Option<f64>; EXPERTS]) -> f64 {
    let forecast = match expert {
        Expert::None => None,
        Expert::RecentMedian => forecasts[0],
        Expert::HourOfDay => forecasts[1],
        Expert::HourOfWeek => forecasts[2],
    };
    forecast.unwrap_or(0.0)
}

/// The highest of the believed forecast and those that could do as well. A spike is strange to all of them: an hour that is usual for
/// its time of day, or like the hours just before, is none. Where weekends are known to differ, the hour of the day has no say.
fn ceiling(stage: Stage, expert: Expert, forecasts: &[Option<f64>; EXPERTS]) -> f64 {
    let expected = forecast_of(expert, forecasts);
    let rivals = match (stage, expert) {
        (Stage::New | Stage::FirstDay, _) | (_, Expert::HourOfWeek) => [forecasts[0], None],
        (Stage::FirstWeeks | Stage::Seasoned, _) => [forecasts[0], forecasts[1]],
    };
    rivals.into_iter().flatten().fold(expected, f64::max)
}

/// Noise is kept by hour of the day; where the hour of the week is believed, a quiet day is less noisy than a busy one. The square root
/// lies between noise that does not depend on the level and noise proportional to it.
fn noise_of_day(expert: Expert, forecasts: &[Option<f64>; EXPERTS]) -> f64 {
    match (expert, forecasts[1], forecasts[2]) {
        (Expert::HourOfWeek, Some(day), Some(week)) if day.abs() > 0.0 => libm::sqrt((week / day).abs()).clamp(0.25, 4.0),
        _ => 1.0,
    }
}

/// Adds a value to a discounted (sum, weight).
fn discount(pair: &mut (f32, f32), value: f64, keep: f64) {
    pair.0 = (f64::from(pair.0) * keep + value) as f32;
    pair.1 = (f64::from(pair.1) * keep + 1.0) as f32;
}

fn mean(pair: (f32, f32)) -> f64 {
    if pair.1 > 0.0 { f64::from(pair.0) / f64::from(pair.1) } else { 0.0 }
}

#[cfg(test)]
mod tests;
