//! What one series usually takes in a bucket, and how far it usually strays from that: constant memory, constant time per bucket.
//!
//! Experts forecast; the one with the smallest loss lately is believed. Channels measure how far a bucket lies from normal, each in its
//! own way (alone, as a part of the last hours, of the last day, against the last weeks, below), and each distance becomes a probability
//! by the series' own tail on that channel (DETECTION.md, sections 6.1 to 6.5). WATCH's buckets are hours, and so they are numbered by
//! an [`Hour`]; of a file they may be shorter or longer, and the number is just a number.

mod experts;
mod faded;
pub mod legacy;
pub mod pace;
pub(crate) mod packed;
pub mod rest;
mod slots;
pub mod tail;
mod windows;
pub mod words;

use serde::Deserialize;

pub use self::experts::Expert;
use self::experts::{Experts, Forecasts, Lesson};
use self::faded::Faded;
use self::pace::Pace;
use self::slots::Slots;
use self::tail::Tail;
pub use self::windows::Gauge;
use self::windows::{Bucket, Windows};
use crate::model::alert::Stage;
use crate::model::time::Hour;

/// Buckets after the first usage until something is expected at all; for WATCH they are hours.
pub const NEW_HOURS: u32 = 3;
const FIRST_DAY_HOURS: f64 = 24.0;
const SEASONED_HOURS: f64 = 14.0 * 24.0;
/// Half-lives in hours: of noise and sizes, and of the largest bucket.
const NOISE: f64 = 7.0 * 24.0;
const LARGEST: f64 = 28.0 * 24.0;
/// Rate per visit of an hour of the day's own noise, and how many visits the pooled noise counts as.
const NOISE_RATE: f64 = 0.1;
const POOLED_VISITS: f64 = 4.0;
/// Standard deviation of a normal variable in mean absolute deviations.
const DEVIATIONS: f64 = 1.2533;
/// Residuals beyond this many scales are clipped before anything but the tail learns from them.
const CLIP: f64 = 3.0;
/// Noise is clipped later: hours of an intermittent series are far from its usual zero and still its noise.
const CLIP_NOISE: f64 = 10.0;
/// The experts learn this much of a bucket that is set aside, in scales: they must not run after an episode.
const ALARMED_STEP: f64 = 0.5;
/// Hours that may be set aside: at first, at most, and how many more each hour. Beyond that a new normal is learnt, and a series that is
/// strange all the time calibrates itself instead of alarming for ever.
const FIRST_ALLOWANCE: f64 = 4.0;
const MOST_ALLOWANCE: f64 = 24.0;
const ALLOWANCE_PER_HOUR: f64 = 1.0 / 16.0;
/// Least scale, of the mean size of a bucket, and in money.
const LEAST_RELATIVE_SCALE: f64 = 0.02;
const LEAST_SCALE: f64 = 1e-6;
/// Least scale of a series with idle buckets, of the mean size of its active ones, for the share that is idle.
const IDLE_SCALE: f64 = 0.3;
/// Scale of a bucket of which only the expectation is known, relative to it.
const FIRST_RELATIVE_SCALE: f64 = 0.5;
/// A series that is active in fewer buckets than this is judged by the sizes of its active buckets.
const INTERMITTENT: f64 = 0.8;
/// Least spread of sizes, of their mean; sizes further off than this many spreads are clipped before they are learnt.
const LEAST_SPREAD: f64 = 0.2;
const CLIP_SIZE: f64 = 5.0;
/// Alerts of a series are remembered with this half-life in hours, and a pause of so many hours ends one.
const CAUTION: f64 = 7.0 * 24.0;
const PAUSE_HOURS: f64 = 6.0;

/// -ln of the probability from which a bucket is no lesson: 0.005.
pub const STRANGE: f64 = 5.3;

/// Ways to look at a bucket. Each has a tail of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Channel {
    /// The bucket alone, against the highest of the forecasts that could be right.
    Bucket,
    /// The last hours together (about 6).
    Hours,
    /// The last day together.
    Day,
    /// The level of the last day against that of the last weeks: slow ramps, new levels.
    Level,
    /// The bucket alone, downwards.
    Below,
}

pub const CHANNELS: [Channel; 5] = [Channel::Bucket, Channel::Hours, Channel::Day, Channel::Level, Channel::Below];

/// The hour as the team's clocks show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalHour {
    /// 0..=23.
    pub hour_of_day: u8,
    /// 0 = Monday.
    pub day_of_week: u8,
}

/// What the detectors thought of a bucket that is now learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learn {
    Normal,
    /// Belongs to an alert, so that the series is believed a little less readily for a while; learnt like a normal one.
    Mild,
    /// Stays out of the tails and the noise, and moves the centres only a little. An episode counts once in the tails, by its first
    /// bucket: what has happened once is a little less strange the next time.
    Strange,
    /// Strange, and belongs to an alert.
    Alarmed,
}

/// What is known of a bucket before it begins. Money per bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expectation {
    pub expected: f64,
    /// Three scales below, not below zero where spend is positive: for pictures.
    pub lower: f64,
    /// What one bucket in a hundred exceeds.
    pub upper: f64,
    /// The unit of distance from `expected`; never zero.
    pub scale: f64,
    /// The highest of the forecasts that could be right: what distances are measured from.
    pub ceiling: f64,
    /// What the hour of the week takes, where that is well known.
    pub week: Option<f64>,
    /// What the calendar says, whatever the last buckets were like: the hour of the day, or `week` where that is more.
    pub calendar: f64,
    pub expert: Expert,
    pub stage: Stage,
    /// Hours learnt from, the alarmed ones included.
    pub hours_seen: u32,
    /// By channel, in the order of [`CHANNELS`].
    pub gauges: [Gauge; 5],
}

/// See the module. It rests as about 1 KB ([`rest`]), half of that in its first day. What reads it here is what version 3 of the state
/// wrote.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Baseline {
    born: Hour,
    /// The first bucket not learnt yet.
    next: Hour,
    /// Buckets learnt from.
    seen: u32,
    pace: Pace,
    experts: Experts,
    /// Mean absolute residual of the believed forecast, pooled and by hour of the day.
    pooled_noise: Faded,
    noise: Slots<24>,
    /// Mean of absolute values.
    size: Faded,
    /// Share of active buckets; mean and spread of what active ones take.
    activity: Faded,
    active_size: Faded,
    active_spread: Faded,
    windows: Windows,
    /// How many more hours may be set aside before the series is taken at its word again.
    allowance: f32,
    /// Largest bucket, fading.
    largest: f32,
    /// The last bucket was set aside.
    in_strange: bool,
    /// Alerts so far, fading.
    alerts: f32,
    /// Buckets since the last one that belonged to an alert.
    since_alarm: u16,
    /// By channel, in the order of [`CHANNELS`].
    tails: [Tail; 5],
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

/// What is worked out once for a bucket, before it is judged or learnt.
struct Outlook {
    stage: Stage,
    forecasts: Forecasts,
    expert: Expert,
    expected: f64,
    scale: f64,
    is_intermittent: bool,
    gauges: [Gauge; 5],
}

impl Baseline {
    /// `born` = the first hour with usage.
    pub fn new(born: Hour) -> Baseline {
        Baseline::paced(born, Pace::HOURLY)
    }

    /// With buckets of another length.
    pub fn paced(born: Hour, pace: Pace) -> Baseline {
        Baseline {
            born,
            next: born,
            seen: 0,
            pace,
            experts: Experts::new(),
            pooled_noise: Faded::default(),
            noise: Slots::new(),
            size: Faded::default(),
            activity: Faded::default(),
            active_size: Faded::default(),
            active_spread: Faded::default(),
            windows: Windows::default(),
            allowance: FIRST_ALLOWANCE as f32,
            largest: 0.0,
            in_strange: false,
            alerts: 0.0,
            since_alarm: u16::MAX,
            tails: std::array::from_fn(|_| Tail::prior()),
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
        self.seen
    }

    pub fn pace(&self) -> Pace {
        self.pace
    }

    /// How much history stands behind what is expected of `hour`.
    pub fn stage(&self, hour: Hour) -> Stage {
        let age = hour.0.saturating_sub(self.born.0).clamp(0, i64::from(self.seen)) as u32;
        let hours = self.pace.hours(age);
        if age < NEW_HOURS {
            Stage::New
        } else if hours < FIRST_DAY_HOURS {
            Stage::FirstDay
        } else if hours < SEASONED_HOURS {
            Stage::FirstWeeks
        } else {
            Stage::Seasoned
        }
    }

    /// The largest hour, fading by half in 28 days: what a month's worst hour is like (about its p99.9).
    pub fn usual_worst_hour(&self) -> f64 {
        f64::from(self.largest)
    }

    /// What an hour takes, whatever the time, fading by half in a week.
    pub fn usual_hour(&self) -> f64 {
        self.size.mean() * self.pace.buckets_per_hour()
    }

    /// Idle in a good part of its buckets.
    pub fn is_intermittent(&self) -> bool {
        self.activity.mean() < INTERMITTENT
    }

    /// Alerts that this series has had lately, fading by half in a week.
    pub fn recent_alerts(&self) -> f64 {
        f64::from(self.alerts)
    }

    /// What is expected of an hour, from the hours before it alone.
    pub fn expect(&self, hour: Hour, local: LocalHour) -> Expectation {
        let outlook = self.outlook(hour, local);
        let Outlook { stage, expert, expected, scale, gauges, .. } = outlook;
        let (_, ceiling) = outlook.forecasts.bounds(stage, expert);
        let [alone, ..] = &self.tails;
        let upper = ceiling + scale * alone.fit(self.pace.is_fine()).at_surprise(ONE_IN_A_HUNDRED);
        let lowest = if expected >= 0.0 { 0.0 } else { f64::NEG_INFINITY };
        let lower = (expected - 3.0 * scale).max(lowest);
        let seasonal = outlook.forecasts.seasonal(expert);
        let week = outlook.forecasts.known_week();
        let calendar = week.map_or(seasonal, |week| week.max(seasonal));
        Expectation { expected, lower, upper, scale, ceiling, week, calendar, expert, stage, hours_seen: self.seen, gauges }
    }

    /// What an hour of the day usually takes; `None` until it has been seen once.
    pub fn of_day(&self, hour_of_day: u8) -> Option<f64> {
        self.experts.of_day(usize::from(hour_of_day))
    }

    /// What this hour of the week usually takes; `None` until it has been seen once, after the first day.
    pub fn of_week(&self, local: LocalHour) -> Option<f64> {
        self.experts.forecasts(local, self.seen, self.pace).week
    }

    /// -ln of the probability that a normal bucket lies at least `z` units off on a channel.
    pub fn surprise(&self, channel: Channel, z: f64) -> f64 {
        self.tails[channel as usize].surprise(z, self.pace.is_fine())
    }

    /// The distance on a channel that surprises so much.
    pub fn distance(&self, channel: Channel, surprise: f64) -> f64 {
        self.tails[channel as usize].fit(self.pace.is_fine()).at_surprise(surprise)
    }

    /// The most that so much history can vouch for, as a surprise (DETECTION.md, section 6.2 A).
    pub fn most_surprise(&self) -> f64 {
        libm::log(3.0 * (f64::from(self.seen) + 1.0))
    }

    /// What the level of the last day is in parts of the reference, with this bucket.
    pub fn level_ratio(&self, value: f64) -> f64 {
        self.windows.level_ratio(value, self.size.mean(), self.pace)
    }

    /// Learns one bucket. Every hour from `born` on is told once, in order, those without usage as zero; earlier ones are ignored. A
    /// bucket left out is unknown.
    pub fn observe(&mut self, hour: Hour, local: LocalHour, value: f64, learn: Learn) {
        if hour < self.next || !value.is_finite() {
            return;
        }
        self.count_alert(learn);
        let outlook = self.outlook(hour, local);
        let known = outlook.stage != Stage::New;
        let is_alarmed = self.set_aside(learn) && known;
        let Outlook { expected, scale, .. } = outlook;

        let begins = is_alarmed && !self.in_strange;
        self.in_strange = is_alarmed;
        if known && (!is_alarmed || begins) {
            self.learn_tails(&outlook, value);
        }
        let keep = self.pace.keep(NOISE);
        if known && !is_alarmed {
            let noise_of_day = outlook.forecasts.noise_of_day(outlook.expert);
            let noise = (value - expected).abs().min(CLIP_NOISE * scale.max(self.size.mean())) / noise_of_day;
            self.pooled_noise.add(noise, keep);
            self.noise.learn(local.day_slot(), noise, self.pace.rate(NOISE_RATE));
        }
        self.windows.learn(value, self.bucket(&outlook));
        self.learn_activity(value, keep);
        let step = ALARMED_STEP * scale;
        let kept = if is_alarmed { value.clamp(expected - step, expected + step) } else { value };
        let reach = known.then_some(CLIP * scale);
        let lesson = Lesson { value, kept, reach, most_loss: 2.0 * CLIP * scale, is_alarmed };
        self.experts.learn(local, self.seen, &outlook.forecasts, &lesson, self.pace);
        self.size.add(kept.abs(), keep);
        self.largest = (f64::from(self.largest) * self.pace.keep(LARGEST)).max(value) as f32;
        self.seen = self.seen.saturating_add(1);
        self.next = hour.next();
    }

    fn outlook(&self, hour: Hour, local: LocalHour) -> Outlook {
        let stage = self.stage(hour);
        let forecasts = self.experts.forecasts(local, self.seen, self.pace);
        let expert = self.experts.believed(stage, &forecasts);
        let expected = forecasts.of(expert);
        let scale = self.scale(local, expert, &forecasts);
        let is_intermittent = self.is_intermittent();
        let mut outlook = Outlook { stage, forecasts, expert, expected, scale, is_intermittent, gauges: [Gauge::SILENT; 5] };
        if stage == Stage::New {
            return outlook;
        }
        let (floor, ceiling) = forecasts.bounds(stage, expert);
        let (zero, unit) = if is_intermittent {
            let size = self.active_size.mean();
            (size, (DEVIATIONS * self.active_spread.mean()).max(LEAST_SPREAD * size).max(LEAST_SCALE))
        } else {
            (ceiling, scale)
        };
        let alone = Gauge { zero, unit, ratio: (0.0, expected), worth: (expected, 1.0), ..Gauge::SILENT };
        let below = if stage == Stage::FirstDay { Gauge::SILENT } else { Gauge { zero: floor, unit: -scale, ..Gauge::SILENT } };
        let [hours, day, level] = self.windows.gauges(self.bucket(&outlook));
        outlook.gauges = [alone, hours, day, level, below];
        outlook
    }

    fn bucket(&self, outlook: &Outlook) -> Bucket {
        Bucket {
            seasonal: outlook.forecasts.seasonal(outlook.expert),
            scale: outlook.scale,
            size: self.size.mean(),
            seen: self.seen,
            pace: self.pace,
        }
    }

    fn learn_tails(&mut self, outlook: &Outlook, value: f64) {
        let is_fine = self.pace.is_fine();
        for (channel, (gauge, tail)) in CHANNELS.iter().zip(outlook.gauges.iter().zip(&mut self.tails)) {
            if gauge.is_silent() {
                continue;
            }
            let z = gauge.z(value);
            let is_lesson = match channel {
                // Of an intermittent series sizes are compared with sizes.
                Channel::Bucket => !outlook.is_intermittent || value != 0.0,
                Channel::Below => tail.surprise(z, is_fine) < STRANGE,
                Channel::Hours | Channel::Day | Channel::Level => true,
            };
            if is_lesson {
                tail.learn(z);
            }
        }
    }

    fn learn_activity(&mut self, value: f64, keep: f64) {
        self.activity.add(if value == 0.0 { 0.0 } else { 1.0 }, keep);
        if value == 0.0 {
            return;
        }
        let (mean, spread) = (self.active_size.mean(), DEVIATIONS * self.active_spread.mean());
        let reach = CLIP_SIZE * spread.max(0.1 * mean.abs());
        let clipped = if self.active_size.weight > 3.0 { value.clamp(mean - reach, mean + reach) } else { value };
        if self.active_size.weight > 1.0 {
            self.active_spread.add((clipped - mean).abs(), keep);
        }
        self.active_size.add(clipped, keep);
    }

    /// Notes an alert when it begins.
    fn count_alert(&mut self, learn: Learn) {
        let pause = (PAUSE_HOURS * self.pace.buckets_per_hour()).max(1.0);
        self.alerts = (f64::from(self.alerts) * self.pace.keep(CAUTION)) as f32;
        if matches!(learn, Learn::Mild | Learn::Alarmed) {
            if f64::from(self.since_alarm) >= pause {
                self.alerts += 1.0;
            }
            self.since_alarm = 0;
        } else {
            self.since_alarm = self.since_alarm.saturating_add(1);
        }
    }

    /// Takes a strange bucket off the allowance; without any left it is learnt like a normal one.
    fn set_aside(&mut self, learn: Learn) -> bool {
        let hours = 1.0 / self.pace.buckets_per_hour();
        let allowance = (f64::from(self.allowance) + ALLOWANCE_PER_HOUR * hours).min(MOST_ALLOWANCE.max(2.0 * hours));
        let taken = matches!(learn, Learn::Strange | Learn::Alarmed) && allowance >= hours;
        self.allowance = (if taken { allowance - hours } else { allowance }) as f32;
        taken
    }

    /// Scale of the bucket: its hour's own noise shrunk to the pooled one, with floors.
    fn scale(&self, local: LocalHour, expert: Expert, forecasts: &Forecasts) -> f64 {
        let expected = forecasts.of(expert);
        let size = self.size.mean();
        // The first hours say little about noise: a wide guess counts as a few of them.
        let guess = FIRST_RELATIVE_SCALE * expected.abs().max(size);
        let Faded { sum, weight } = self.pooled_noise;
        let pooled = (f64::from(sum) + POOLED_VISITS * guess) / (f64::from(weight) + POOLED_VISITS);
        let visits = f64::from(self.noise.visits(local.day_slot())) / self.pace.buckets_per_hour().max(1.0);
        let own = self.noise.get(local.day_slot()).unwrap_or(pooled);
        let noise = (visits * own + POOLED_VISITS * pooled) / (visits + POOLED_VISITS);
        let idle = IDLE_SCALE * (1.0 - self.activity.mean()) * self.active_size.mean().abs();
        (DEVIATIONS * noise * forecasts.noise_of_day(expert)).max(LEAST_RELATIVE_SCALE * size).max(idle).max(LEAST_SCALE)
    }
}

/// -ln 0.01.
const ONE_IN_A_HUNDRED: f64 = 4.605_170_185_988_091;

#[cfg(test)]
mod tests;
