//! Is this hour a spike? Three gates, all to be passed: improbable, a multiple of the expectation, and real money.

use crate::model::alert::Stage;
use crate::model::money::Nanos;
use crate::watch::baseline::{Baseline, Expectation};
use crate::watch::rules::Thresholds;

/// Hourly buckets in a month of 30 days.
const HOURS_PER_MONTH: f64 = 720.0;
/// Buckets over the threshold per alert, since an episode is one alert (DETECTION.md, section 6.4: p = 2.5e-3 gave one alert per
/// series and 30 days).
const BUCKETS_PER_ALERT: f64 = 1.8;

/// A series born at night has not seen a morning, one born on a weekend no Monday: until it has seen a day, and a week, an hour must be
/// this many times the least ratio.
const FIRST_DAY_CAUTION: f64 = 4.0;
const FIRST_WEEK_CAUTION: f64 = 2.0;
const HOURS_PER_WEEK: u32 = 168;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// 0..1, higher = stranger: one minus the extrapolated probability, so that two rare hours still differ.
    pub score: f64,
    /// Probability of such an hour when nothing is wrong; never below what the history can vouch for.
    pub p: f64,
    pub fires: bool,
    /// Actual less expected, in money; negative below the expectation.
    pub excess: f64,
}

/// Judges one hour's sum (so far). `expectation` is `baseline.expect` of that hour, `series_in_team` how many series share the budget.
pub fn judge(baseline: &Baseline, expectation: &Expectation, actual: f64, thresholds: &Thresholds, series_in_team: u32) -> Verdict {
    let excess = actual - expectation.expected;
    let fires = bound(baseline, expectation, thresholds, series_in_team).is_some_and(|least| actual >= least);
    if expectation.stage == Stage::New {
        return Verdict { score: 0.0, p: 1.0, fires, excess };
    }
    let fit = baseline.tail_fit();
    let p = baseline.exceedance(&fit, (actual - expectation.ceiling) / expectation.scale);
    Verdict { score: (1.0 - p).clamp(0.0, 1.0), p: p.max(baseline.least_p()), fires, excess }
}

/// The smallest hourly sum that fires; `None` while none does. An open bucket compares its sum with this at each record.
pub fn bound(baseline: &Baseline, expectation: &Expectation, thresholds: &Thresholds, series_in_team: u32) -> Option<f64> {
    let share = p_threshold(thresholds, series_in_team);
    let p = match expectation.stage {
        Stage::New => return None,
        // A few hours vouch for little: at least as rare as they can tell (DETECTION.md, section 6.3).
        Stage::FirstDay => share.min(baseline.least_p()),
        Stage::FirstWeeks | Stage::Seasoned => share,
    };
    let improbable = expectation.ceiling + expectation.scale * baseline.tail_fit().quantile(p);
    let caution = match expectation.stage {
        Stage::New | Stage::FirstDay => FIRST_DAY_CAUTION,
        Stage::FirstWeeks if expectation.hours_seen < HOURS_PER_WEEK => FIRST_WEEK_CAUTION,
        Stage::FirstWeeks | Stage::Seasoned => 1.0,
    };
    let multiple = caution * thresholds.least_ratio * expectation.expected;
    let costly = expectation.expected + units(thresholds.least_excess);
    Some(improbable.max(multiple).max(costly))
}

/// The team's budget of alerts as a probability per series and hour.
pub fn p_threshold(thresholds: &Thresholds, series_in_team: u32) -> f64 {
    let alerts_per_series = thresholds.alerts_per_team_month / f64::from(series_in_team.max(1));
    (BUCKETS_PER_ALERT * alerts_per_series / HOURS_PER_MONTH).clamp(1e-9, 0.05)
}

fn units(amount: Nanos) -> f64 {
    amount.0 as f64 / 1e9
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::time::Hour;
    use crate::watch::baseline::{Learn, LocalHour};

    pub(crate) fn thresholds(alerts_per_team_month: f64) -> Thresholds {
        Thresholds {
            alerts_per_team_month,
            least_ratio: 1.5,
            least_excess: Nanos::from_units(5),
            runaway_floor: Nanos::from_units(20),
            runaway_factor: 3.0,
            quiet_hours_to_close: 6,
            update_growth: 1.5,
            refractory_hours: 24,
        }
    }

    struct XorShift(u64);

    impl XorShift {
        /// 0..1.
        fn unit(&mut self) -> f64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 >> 11) as f64 / (1_u64 << 53) as f64
        }

        /// About normal: mean 0, deviation 1.
        fn normal(&mut self) -> f64 {
            (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
        }
    }

    /// Spend with working hours, quiet weekends and multiplicative noise, in money per hour.
    fn usual(hour: Hour, noise: &mut XorShift) -> f64 {
        let local = LocalHour::at(hour, 0);
        let working = (8..19).contains(&local.hour_of_day) && local.day_of_week < 5;
        let level = if working { 60.0 } else { 15.0 };
        level * libm::exp(0.2 * noise.normal())
    }

    /// Runs a series to its end; the hours that fired. `spike` changes an hour's value.
    fn run(seed: u64, days: i64, budget: f64, spike: impl Fn(i64, f64) -> f64) -> (Vec<i64>, Baseline) {
        // 2026-03-02, a Monday.
        let start = Hour(492_336);
        let (mut noise, mut baseline, mut fired) = (XorShift(seed), Baseline::new(start), Vec::new());
        for at in 0..days * 24 {
            let hour = Hour(start.0 + at);
            let (local, value) = (LocalHour::at(hour, 0), spike(at, usual(hour, &mut noise)));
            let verdict = judge(&baseline, &baseline.expect(hour, local), value, &thresholds(budget), 1);
            if verdict.fires {
                fired.push(at);
            }
            baseline.observe(hour, local, value, if verdict.fires { Learn::Alarmed } else { Learn::Normal });
        }
        (fired, baseline)
    }

    #[test]
    fn ordinary_weeks_raise_few_alarms() {
        let alarms: usize = (1..=20).map(|seed| run(seed * 7_919, 30, 1.0, |_, value| value).0.len()).sum();
        assert!(alarms <= 10, "{alarms} alarmed hours in 20 series of 30 days");
    }

    #[test]
    fn fivefold_hours_are_found_from_the_second_day_on() {
        for (day, least) in [(2, 10), (9, 18), (17, 18), (27, 15)] {
            let at = day * 24 + 10;
            let found = (1..=20).filter(|seed| {
                let (fired, _) = run(seed * 7_919, day + 1, 1.0, |hour, value| if hour == at { 5.0 * value } else { value });
                fired.contains(&at)
            });
            let found = found.count();
            assert!(found >= least, "day {day}: {found} of 20");
        }
    }

    #[test]
    fn a_new_level_is_accepted_after_some_days() {
        let (fired, _) = run(7, 40, 1.0, |hour, value| if hour >= 20 * 24 { 4.0 * value } else { value });
        let late = fired.iter().filter(|hour| **hour >= 30 * 24).count();
        assert!(fired.iter().any(|hour| (480..504).contains(hour)), "the first day of the new level fires");
        assert!(late <= 2, "{late} alarmed hours ten days later");
    }

    #[test]
    fn a_new_series_never_fires() {
        let mut baseline = Baseline::new(Hour(0));
        for at in 0..3 {
            let (hour, local) = (Hour(at), LocalHour::at(Hour(at), 0));
            let expectation = baseline.expect(hour, local);
            assert_eq!(bound(&baseline, &expectation, &thresholds(1_000.0), 1), None);
            assert!(!judge(&baseline, &expectation, 1e9, &thresholds(1_000.0), 1).fires);
            baseline.observe(hour, local, 1.0, Learn::Normal);
        }
        let expectation = baseline.expect(Hour(3), LocalHour::at(Hour(3), 0));
        assert!(judge(&baseline, &expectation, 1e9, &thresholds(4.0), 1).fires, "the fourth hour may");
    }

    #[test]
    fn each_gate_holds_alone() {
        let (_, baseline) = run(7, 20, 1.0, |_, value| value);
        let (hour, local) = (baseline.next_hour(), LocalHour::at(baseline.next_hour(), 0));
        let expectation = baseline.expect(hour, local);
        let fires = |thresholds: &Thresholds, actual: f64| judge(&baseline, &expectation, actual, thresholds, 1).fires;
        let usual = thresholds(4.0);
        let spike = 8.0 * expectation.ceiling;
        assert!(fires(&usual, spike));
        assert!(!fires(&Thresholds { alerts_per_team_month: 1e-6, ..usual.clone() }, spike), "improbable");
        assert!(!fires(&Thresholds { least_ratio: 100.0, ..usual.clone() }, spike), "a multiple");
        assert!(!fires(&Thresholds { least_excess: Nanos::from_units(1_000_000), ..usual }, spike), "real money");
    }

    proptest! {
        #[test]
        fn bound_and_judge_agree(seed in 1_u64..u64::MAX, days in 0_i64..16, budget in 0.01_f64..50.0, series in 1_u32..500, factor in 0.0_f64..40.0) {
            let (_, baseline) = run(seed, days, 1.0, |_, value| value);
            let (hour, local) = (baseline.next_hour(), LocalHour::at(baseline.next_hour(), 0));
            let expectation = baseline.expect(hour, local);
            let verdict = |actual: f64| judge(&baseline, &expectation, actual, &thresholds(budget), series);
            let actual = factor * expectation.expected.max(1.0);
            match bound(&baseline, &expectation, &thresholds(budget), series) {
                None => prop_assert!(!verdict(actual).fires),
                Some(least) => {
                    prop_assert!(verdict(least).fires && !verdict(least.next_down()).fires);
                    prop_assert_eq!(verdict(actual).fires, actual >= least);
                    let share = p_threshold(&thresholds(budget), series);
                    prop_assert!(1.0 - verdict(least).score <= share.max(baseline.tail_fit().share) * 1.001);
                }
            }
            let (lower, higher) = (verdict(actual), verdict(actual + 1.0));
            prop_assert!(lower.score <= higher.score && lower.p >= higher.p);
            prop_assert!((0.0..=1.0).contains(&lower.score) && lower.p >= baseline.least_p());
        }
    }
}
