//! One series by itself, bucket after bucket: baseline, detectors and decisions as a shard has them, without money and without a team.

use super::baseline::{Baseline, Expectation, Learn, LocalHour};
use super::detect::spike;
use super::rules::Thresholds;
use crate::model::alert::Stage;
use crate::model::money::Nanos;
use crate::model::time::Hour;

/// Which way a series has to leave its normal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Up,
    Down,
    Both,
}

/// What happened to the series' alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Open,
    Update,
    Close,
}

/// What was thought of a bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// As it was known before the bucket; `None` while nothing was.
    pub normal: Option<Normal>,
    /// 0..1, higher = stranger.
    pub score: f64,
    pub decision: Option<Decision>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normal {
    pub expected: f64,
    pub lower: f64,
    pub upper: f64,
}

/// See the module. Constant in size.
#[derive(Clone, Debug)]
pub struct Track {
    up: Side,
    down: Option<Side>,
    limits: Thresholds,
    bucket_minutes: u16,
    open: Option<Open>,
    closed_at: Option<i64>,
}

/// The series as it is, or turned upside down.
#[derive(Clone, Debug)]
struct Side {
    sign: f64,
    baseline: Option<Baseline>,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    excess: f64,
    told_excess: f64,
    quiet: u32,
}

impl Track {
    /// `limits` as for a team that has this one series; the gate of money is off.
    pub fn new(bucket_minutes: u16, limits: Thresholds, direction: Direction) -> Track {
        let limits = Thresholds { least_excess: Nanos::ZERO, ..limits };
        let (up, down) = match direction {
            Direction::Up => (1.0, None),
            Direction::Down => (-1.0, None),
            Direction::Both => (1.0, Some(Side { sign: -1.0, baseline: None })),
        };
        Track { up: Side { sign: up, baseline: None }, down, limits, bucket_minutes, open: None, closed_at: None }
    }

    /// Judges a bucket by what was before it, then learns it. Buckets come in order; those left out are unknown, not zero.
    pub fn next(&mut self, bucket: i64, local: LocalHour, value: f64) -> Seen {
        let hour = Hour(bucket);
        let sides = [Some(&self.up), self.down.as_ref()].into_iter().flatten();
        let mut normal = None;
        let (mut score, mut fires, mut abnormal, mut excess) = (0.0_f64, false, false, 0.0_f64);
        for side in sides {
            let Some(baseline) = &side.baseline else { continue };
            let expectation = baseline.expect(hour, local);
            let verdict = spike::judge(baseline, &expectation, side.sign * value, &self.limits, 1);
            score = score.max(verdict.score);
            fires |= verdict.fires;
            excess = excess.max(verdict.excess);
            abnormal |= verdict.fires || side.sign * value > expectation.upper;
            if normal.is_none() && expectation.stage != Stage::New {
                normal = Some(shown(&expectation, side.sign));
            }
        }
        let decision = self.decide(bucket, fires, abnormal, excess);
        let learn = if fires || (self.open.is_some() && abnormal) { Learn::Alarmed } else { Learn::Normal };
        for side in [Some(&mut self.up), self.down.as_mut()].into_iter().flatten() {
            side.baseline.get_or_insert_with(|| Baseline::new(hour)).observe(hour, local, side.sign * value, learn);
        }
        Seen { normal, score, decision }
    }

    fn decide(&mut self, bucket: i64, fires: bool, abnormal: bool, excess: f64) -> Option<Decision> {
        let buckets = |hours: u32| (i64::from(hours) * 60 / i64::from(self.bucket_minutes)).max(1);
        if let Some(open) = &mut self.open {
            if abnormal {
                open.quiet = 0;
                open.excess += excess;
                let grown = open.excess >= self.limits.update_growth * open.told_excess;
                open.told_excess = if grown { open.excess } else { open.told_excess };
                return grown.then_some(Decision::Update);
            }
            open.quiet += 1;
            if i64::from(open.quiet) < buckets(self.limits.quiet_hours_to_close) {
                return None;
            }
            self.open = None;
            self.closed_at = Some(bucket);
            return Some(Decision::Close);
        }
        if !fires {
            return None;
        }
        self.open = Some(Open { excess, told_excess: excess, quiet: 0 });
        Some(Decision::Open)
    }
}

fn shown(expectation: &Expectation, sign: f64) -> Normal {
    let (one, other) = (sign * expectation.lower, sign * expectation.upper);
    Normal { expected: sign * expectation.expected, lower: one.min(other), upper: one.max(other) }
}
