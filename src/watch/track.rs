//! One series by itself, bucket after bucket: baseline, detectors and decisions as a shard has them, without money and without a team.

use super::baseline::pace::Pace;
use super::baseline::{Baseline, Expectation, LocalHour};
use super::detect::verdict;
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

/// Of the bucket by itself, whatever else an alert is measured from: `lower` <= `expected` <= `upper`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normal {
    pub expected: f64,
    pub lower: f64,
    pub upper: f64,
}

/// See the module. Constant in size.
#[derive(Clone, Debug)]
pub struct Track {
    direction: Direction,
    limits: Thresholds,
    pace: Pace,
    /// From the first value that is not zero.
    baseline: Option<Baseline>,
    open: Option<Open>,
}

/// An alert that is not over.
#[derive(Clone, Copy, Debug)]
struct Open {
    /// How far the series has been off, in all, and when that was last told.
    excess: f64,
    told_excess: f64,
    quiet: u32,
}

impl Track {
    /// `limits` as for a team that has this one series; the gate of money is off.
    pub fn new(bucket_minutes: u16, limits: Thresholds, direction: Direction) -> Track {
        let limits = Thresholds { least_excess: Nanos::ZERO, ..limits };
        Track { direction, limits, pace: Pace::of_minutes(bucket_minutes), baseline: None, open: None }
    }

    /// Judges a bucket by what was before it, then learns it. Buckets come in order; those left out are unknown, not zero.
    pub fn next(&mut self, bucket: i64, local: LocalHour, value: f64) -> Seen {
        let hour = Hour(bucket);
        if self.baseline.is_none() && value != 0.0 {
            self.baseline = Some(Baseline::paced(hour, self.pace));
        }
        let Some(baseline) = &mut self.baseline else { return Seen { normal: None, score: 0.0, decision: None } };
        let expectation = baseline.expect(hour, local);
        let up = verdict::judge(baseline, &expectation, value, &self.limits, 1.0);
        let down = verdict::judge_below(baseline, &expectation, value, &self.limits, 1.0);
        let is_high = verdict::is_abnormal(&up, &expectation, value, &self.limits);
        let (score, fires, abnormal, excess) = match self.direction {
            Direction::Up => (up.score, up.fires, is_high, value - up.expected()),
            Direction::Down => (down.score, down.fires, down.fires, down.expected() - value),
            Direction::Both => {
                let most = (value - up.expected()).max(down.expected() - value);
                (up.score.max(down.score), up.fires || down.fires, is_high || down.fires, most)
            }
        };
        let told = fires || (abnormal && self.open.is_some());
        baseline.observe(hour, local, value, verdict::lesson(&up, &expectation, told));
        Seen { normal: normal(&expectation), score, decision: self.decide(fires, abnormal, excess) }
    }

    fn decide(&mut self, fires: bool, abnormal: bool, excess: f64) -> Option<Decision> {
        let Some(open) = &mut self.open else {
            if !fires {
                return None;
            }
            self.open = Some(Open { excess, told_excess: excess, quiet: 0 });
            return Some(Decision::Open);
        };
        if abnormal {
            open.quiet = 0;
            open.excess += excess;
            let grown = open.excess >= self.limits.update_growth * open.told_excess;
            open.told_excess = if grown { open.excess } else { open.told_excess };
            return grown.then_some(Decision::Update);
        }
        open.quiet += 1;
        let pause = f64::from(self.limits.quiet_hours_to_close).max(self.pace.hours(1));
        if self.pace.hours(open.quiet) < pause {
            return None;
        }
        self.open = None;
        Some(Decision::Close)
    }
}

fn normal(expectation: &Expectation) -> Option<Normal> {
    let Expectation { expected, lower, upper, stage, .. } = *expectation;
    (stage != Stage::New).then_some(Normal { expected, lower, upper })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::watch::detect::verdict::tests::thresholds;

    /// A wave over the day with a little noise, in buckets of so many minutes; what was seen in each.
    fn seen(minutes: u16, days: i64, direction: Direction, change: impl Fn(i64, f64) -> f64) -> Vec<Seen> {
        let mut track = Track::new(minutes, thresholds(2.0), direction);
        let buckets = days * 1_440 / i64::from(minutes);
        (0..buckets)
            .map(|bucket| {
                let hour = Hour(492_336 + bucket * i64::from(minutes) / 60);
                let level = 100.0 + 50.0 * libm::sin(f64::from(LocalHour::at(hour, 0).hour_of_day) * 0.2618);
                let noise = 1.0 + 0.1 * ((bucket * 7_919 % 101) as f64 / 101.0 - 0.5);
                track.next(bucket, LocalHour::at(hour, 0), change(bucket, level * noise))
            })
            .collect()
    }

    fn opened(seen: &[Seen]) -> Vec<usize> {
        (0..seen.len()).filter(|at| seen[*at].decision == Some(Decision::Open)).collect()
    }

    #[test]
    fn a_spike_opens_and_closes_whatever_the_spacing() {
        for minutes in [1, 10, 60, 240] {
            let per_day = 1_440 / i64::from(minutes);
            let spike = (9 * per_day + per_day / 2, (240 / i64::from(minutes)).max(1));
            let change = |bucket: i64, value: f64| if (spike.0..spike.0 + spike.1).contains(&bucket) { 8.0 * value } else { value };
            let seen = seen(minutes, 12, Direction::Up, change);
            assert_eq!(opened(&seen), [spike.0 as usize], "{minutes} minutes");
            assert_eq!(seen.iter().filter(|seen| seen.decision == Some(Decision::Close)).count(), 1, "{minutes} minutes");
        }
    }

    #[test]
    fn days_are_buckets_too() {
        let seen = seen(1_440, 120, Direction::Up, |bucket, value| if bucket == 100 { 8.0 * value } else { value });
        assert!(opened(&seen).contains(&100), "{:?}", opened(&seen));
    }

    #[test]
    fn direction_says_which_way_is_strange() {
        let silent = |bucket: i64, value: f64| if (250..256).contains(&bucket) { 0.0 } else { value };
        assert_eq!(opened(&seen(60, 12, Direction::Up, silent)), [] as [usize; 0]);
        for direction in [Direction::Down, Direction::Both] {
            assert_eq!(opened(&seen(60, 12, direction, silent)).first(), Some(&250), "{direction:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Also where sums of hours and days open an alert: those are measured from what the calendar says, not from the bucket's forecast.
        #[test]
        fn what_is_expected_lies_in_its_own_band(
            minutes in prop::sample::select(vec![10_u16, 60, 240]), sign in prop::sample::select(vec![1.0, -1.0]),
            spike in 1.5_f64..20.0, length in 1_i64..72, ramp in 0.0_f64..0.6,
        ) {
            let hour = |bucket: i64| bucket * i64::from(minutes) / 60;
            let change = |bucket: i64, value: f64| match hour(bucket) - 15 * 24 {
                at if (0..length).contains(&at) => sign * spike * value,
                at => sign * value * (1.0 + ramp * (at - 5 * 24).max(0) as f64 / 24.0),
            };
            for (at, seen) in seen(minutes, 30, Direction::Both, change).into_iter().enumerate() {
                let Some(Normal { expected, lower, upper }) = seen.normal else { continue };
                prop_assert!(lower <= expected && expected <= upper, "bucket {at}: {expected} is not in {lower}..={upper}");
            }
        }
    }

    #[test]
    fn nothing_is_known_before_the_first_value() {
        let late = |bucket: i64, value: f64| if bucket < 100 { 0.0 } else { value };
        let seen = seen(60, 6, Direction::Both, late);
        assert!(seen[..103].iter().all(|seen| seen.score == 0.0 && seen.normal.is_none() && seen.decision.is_none()));
        assert!(seen[103].normal.is_some());
    }
}
