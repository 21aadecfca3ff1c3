//! Is this bucket abnormal? Each channel says how improbable it is; whoever is to be told has gates besides: a multiple of what is
//! normal, and real money.

use crate::model::alert::Stage;
use crate::model::money::Nanos;
use crate::watch::baseline::{Baseline, CHANNELS, Channel, Expectation, Gauge, Learn, STRANGE};
use crate::watch::rules::Thresholds;

/// Hours in a month of 30 days.
const HOURS_PER_MONTH: f64 = 720.0;
/// Buckets over the threshold per alert: an episode is one alert, four channels look at the same bucket, and not all that is improbable
/// passes the other gates. Set so that untouched series of the evaluation kit raise as many alerts as the setting names.
const BUCKETS_PER_ALERT: f64 = 5.4;
/// How much more surprising a bucket must be for each alert that the series has had lately, as -ln p: a series that alarms often is
/// believed less readily, which keeps the number of alerts near the setting whatever its tail is like.
const STEP_PER_ALERT: f64 = 1.5;
/// Alerts of this many days are remembered; where the setting allows more than one in that time, each weighs less.
const CAUTION_DAYS: f64 = 10.0;
/// A series has at most so many budgets, however quiet its team.
const MOST_OF_BUDGET: f64 = 0.25;
/// Beyond this surprise (a probability of 1e-4) a series' own history vouches for nothing, and scores only keep their order.
const VOUCHED: f64 = 9.210_340_371_976_184;

/// A series born at night has not seen a morning, one born on a weekend no Monday: until it has seen a day, and a week, a bucket must be
/// this many times the least ratio.
const FIRST_DAY_CAUTION: f64 = 4.0;
const FIRST_WEEK_CAUTION: f64 = 2.0;
const FIRST_WEEK_HOURS: f64 = 168.0;
/// Windows hold what was before: an hour stands in what lasts if it takes itself so many times what the calendar says of it.
pub(crate) const LASTS: f64 = 1.25;
/// The calendar follows slow growth at a distance of a few days: an hour that stands in a new level is at least so far beyond it.
const RISES: f64 = 1.15;

/// Channels on which too much shows.
const UPWARD: [Channel; 4] = [Channel::Bucket, Channel::Hours, Channel::Day, Channel::Level];

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// 0..1, higher = stranger, and of the same meaning for every series.
    pub score: f64,
    /// Probability of such a bucket when nothing is wrong; never below what the history can vouch for.
    pub p: f64,
    pub fires: bool,
    /// So improbable that nothing is to be learnt from it, whether anybody is told or not.
    pub is_strange: bool,
    /// The strangest of those that fire.
    pub channel: Channel,
    /// What each channel takes for normal, in the order of [`CHANNELS`].
    pub normals: [f64; 5],
}

impl Verdict {
    /// What that channel takes for normal.
    pub fn expected(&self) -> f64 {
        self.normals[self.channel as usize]
    }
}

/// Judges one bucket's sum (so far). `expectation` is `baseline.expect` of it, `series_in_team` how many series share the
/// budget, more if it is overdrawn.
pub fn judge(baseline: &Baseline, expectation: &Expectation, actual: f64, thresholds: &Thresholds, series_in_team: f64) -> Verdict {
    judge_on(&UPWARD, baseline, expectation, actual, thresholds, series_in_team)
}

/// Judges a bucket that is over by itself: the sums of the last hours and days are of another time.
pub fn judge_alone(baseline: &Baseline, expectation: &Expectation, actual: f64, thresholds: &Thresholds, series_in_team: f64) -> Verdict {
    judge_on(&[Channel::Bucket], baseline, expectation, actual, thresholds, series_in_team)
}

fn judge_on(
    channels: &[Channel],
    baseline: &Baseline,
    expectation: &Expectation,
    actual: f64,
    thresholds: &Thresholds,
    series_in_team: f64,
) -> Verdict {
    if expectation.stage == Stage::New {
        let normals = [expectation.expected; 5];
        return Verdict { score: 0.0, p: 1.0, fires: false, is_strange: false, channel: Channel::Bucket, normals };
    }
    let needed = needed(baseline, expectation, thresholds, series_in_team);
    let (mut strangest, mut firing) = ((0.0, Channel::Bucket), None::<(f64, Channel)>);
    for channel in channels.iter().copied() {
        let gauge = &expectation.gauges[channel as usize];
        let surprise = surprise(baseline, channel, gauge, actual);
        if surprise > strangest.0 {
            strangest = (surprise, channel);
        }
        // Most buckets end at the gates that cost nothing.
        let exceeds = surprise > 0.0
            && actual >= gates_on(baseline, expectation, channel, thresholds)
            && actual >= improbable_on(baseline, expectation, channel, needed);
        if exceeds && firing.is_none_or(|(known, _)| surprise > known) {
            firing = Some((surprise, channel));
        }
    }
    // Nobody is told of what does not fire: then what is believed is normal.
    let (_, channel) = firing.unwrap_or((0.0, Channel::Bucket));
    let surprise = believable(baseline, expectation, strangest.0);
    Verdict {
        score: score_of(surprise),
        p: libm::exp(-surprise.min(baseline.most_surprise())),
        fires: firing.is_some(),
        is_strange: surprise >= STRANGE,
        channel,
        normals: CHANNELS.map(|channel| normal_for(baseline, expectation, channel, actual)),
    }
}

/// The smallest sum that fires; `None` while none does. An open bucket compares its sum with this at each record.
pub fn bound(baseline: &Baseline, expectation: &Expectation, thresholds: &Thresholds, series_in_team: f64) -> Option<f64> {
    if expectation.stage == Stage::New {
        return None;
    }
    let needed = needed(baseline, expectation, thresholds, series_in_team);
    let bounds = UPWARD.map(|channel| bound_on(baseline, expectation, channel, needed, thresholds));
    Some(bounds.into_iter().fold(f64::INFINITY, f64::min))
}

/// Fires, or has not come back into its band: what keeps an episode open.
pub fn is_abnormal(verdict: &Verdict, expectation: &Expectation, actual: f64, thresholds: &Thresholds) -> bool {
    verdict.fires || (actual > expectation.upper && actual >= thresholds.least_ratio * expectation.expected)
}

/// What is to be learnt from a bucket. On the first day, when hardly anything is strange, a bucket that fires is no lesson.
pub fn lesson(verdict: &Verdict, expectation: &Expectation, is_told: bool) -> Learn {
    let is_strange = verdict.is_strange || (verdict.fires && expectation.stage == Stage::FirstDay);
    match (is_told, is_strange) {
        (false, false) => Learn::Normal,
        (true, false) => Learn::Mild,
        (false, true) => Learn::Strange,
        (true, true) => Learn::Alarmed,
    }
}

/// The other way: how strange it is that a bucket took so little, and whether that is worth a word.
pub fn judge_below(baseline: &Baseline, expectation: &Expectation, actual: f64, thresholds: &Thresholds, series_in_team: f64) -> Verdict {
    let gauge = &expectation.gauges[Channel::Below as usize];
    let surprise = believable(baseline, expectation, surprise(baseline, Channel::Below, gauge, actual));
    let lacks = expectation.expected - actual;
    let fires = surprise > 0.0
        && surprise >= needed(baseline, expectation, thresholds, series_in_team)
        && actual <= expectation.expected / if expectation.expected > 0.0 { thresholds.least_ratio } else { 1.0 }
        && lacks >= units(thresholds.least_excess);
    Verdict {
        score: score_of(surprise),
        p: libm::exp(-surprise.min(baseline.most_surprise())),
        fires,
        is_strange: surprise >= STRANGE,
        channel: Channel::Below,
        normals: [expectation.expected; 5],
    }
}

fn surprise(baseline: &Baseline, channel: Channel, gauge: &Gauge, actual: f64) -> f64 {
    if gauge.is_silent() { 0.0 } else { baseline.surprise(channel, gauge.z(actual)) }
}

/// A few hours vouch for little: what they cannot vouch for only keeps its order (DETECTION.md, section 6.3).
fn believable(baseline: &Baseline, expectation: &Expectation, surprise: f64) -> f64 {
    let most = baseline.most_surprise();
    if expectation.stage == Stage::FirstDay && surprise > most { most + 0.1 * libm::log1p(surprise - most) } else { surprise }
}

/// The surprise from which a bucket may fire.
fn needed(baseline: &Baseline, expectation: &Expectation, thresholds: &Thresholds, series_in_team: f64) -> f64 {
    let budget = thresholds.alerts_per_team_month / series_in_team.max(MOST_OF_BUDGET);
    let share = share_of_buckets(thresholds, series_in_team, baseline.pace().buckets_per_hour());
    let step = STEP_PER_ALERT / (budget * CAUTION_DAYS / 30.0).max(1.0);
    let needed = step * baseline.recent_alerts() - libm::log(share);
    if expectation.stage == Stage::FirstDay { needed.max(baseline.most_surprise()) } else { needed }
}

/// The team's budget of alerts as a probability per series and bucket.
pub fn share_of_buckets(thresholds: &Thresholds, series_in_team: f64, buckets_per_hour: f64) -> f64 {
    let alerts_per_series = thresholds.alerts_per_team_month / series_in_team.max(MOST_OF_BUDGET);
    (BUCKETS_PER_ALERT * alerts_per_series / (HOURS_PER_MONTH * buckets_per_hour)).clamp(1e-9, 0.05)
}

/// The smallest sum that passes all gates on a channel.
fn bound_on(baseline: &Baseline, expectation: &Expectation, channel: Channel, needed: f64, thresholds: &Thresholds) -> f64 {
    gates_on(baseline, expectation, channel, thresholds).max(improbable_on(baseline, expectation, channel, needed))
}

/// The smallest sum that is so surprising on a channel.
fn improbable_on(baseline: &Baseline, expectation: &Expectation, channel: Channel, needed: f64) -> f64 {
    let gauge = &expectation.gauges[channel as usize];
    if gauge.is_silent() { f64::INFINITY } else { gauge.value_at(baseline.distance(channel, needed)) }
}

/// The smallest sum that is a multiple of what is normal, and real money, on a channel.
fn gates_on(baseline: &Baseline, expectation: &Expectation, channel: Channel, thresholds: &Thresholds) -> f64 {
    let gauge = &expectation.gauges[channel as usize];
    if gauge.is_silent() {
        return f64::INFINITY;
    }
    let caution = match expectation.stage {
        Stage::New | Stage::FirstDay => FIRST_DAY_CAUTION,
        Stage::FirstWeeks if baseline.pace().hours(expectation.hours_seen) < FIRST_WEEK_HOURS => FIRST_WEEK_CAUTION,
        Stage::FirstWeeks | Stage::Seasoned => 1.0,
    };
    let multiple = gauge.ratio.0 + caution * thresholds.least_ratio * gauge.ratio.1;
    let costly = gauge.worth.0 + gauge.worth.1 * units(thresholds.least_excess);
    // An ordinary hour after a spike belongs to nothing, however long the windows remember it, and what an hour of the week always takes is no
    // news after a holiday.
    let ordinary = match channel {
        Channel::Bucket => expectation.week.map_or(f64::NEG_INFINITY, |week| LASTS * week),
        Channel::Level => RISES * expectation.calendar,
        _ => LASTS * expectation.calendar,
    };
    multiple.max(costly).max(ordinary)
}

/// What lasts is measured from what the calendar says, a level from the reference; believed forecasts have followed both by then.
pub fn normal_for(baseline: &Baseline, expectation: &Expectation, channel: Channel, actual: f64) -> f64 {
    let expected = expectation.expected;
    match channel {
        // After an outage the last buckets forecast nothing; that is not what is usual of a series that is hardly ever idle.
        Channel::Bucket | Channel::Below if expected <= 0.0 && !baseline.is_intermittent() => expected.max(expectation.calendar),
        Channel::Bucket | Channel::Below => expected,
        Channel::Hours | Channel::Day => expected.min(expectation.gauges[channel as usize].ratio.1),
        Channel::Level => expected.min(actual / baseline.level_ratio(actual).max(1.0)),
    }
}

/// One minus the probability as far as that is vouched for; beyond, what is left of the way to 1 shrinks by the logarithm.
fn score_of(surprise: f64) -> f64 {
    let rest = libm::exp(-surprise.min(VOUCHED)) / (1.0 + (surprise - VOUCHED).max(0.0));
    (1.0 - rest).clamp(0.0, 1.0)
}

fn units(amount: Nanos) -> f64 {
    amount.0 as f64 / 1e9
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::time::Hour;
    use crate::watch::baseline::LocalHour;

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
            wait_below_team_hours: 0.0,
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
        let (fired, baseline) = run_on(seed, days, budget, spike);
        (fired.into_iter().map(|(at, _)| at).collect(), baseline)
    }

    /// The same, with the channels that fired.
    fn run_on(seed: u64, days: i64, budget: f64, spike: impl Fn(i64, f64) -> f64) -> (Vec<(i64, Channel)>, Baseline) {
        // 2026-03-02, a Monday.
        let start = Hour(492_336);
        let (mut noise, mut baseline, mut fired) = (XorShift(seed), Baseline::new(start), Vec::new());
        for at in 0..days * 24 {
            let hour = Hour(start.0 + at);
            let (local, value) = (LocalHour::at(hour, 0), spike(at, usual(hour, &mut noise)));
            let expectation = baseline.expect(hour, local);
            let verdict = judge(&baseline, &expectation, value, &thresholds(budget), 1.0);
            if verdict.fires {
                fired.push((at, verdict.channel));
            }
            baseline.observe(hour, local, value, lesson(&verdict, &expectation, verdict.fires));
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

    /// Hours of which each alone is hardly strange.
    #[test]
    fn what_lasts_is_found_by_the_channels_that_add_up() {
        let (begin, end) = (17 * 24, 18 * 24);
        let (mut found, mut together) = (0, 0);
        for seed in 1..=20 {
            let lasting = |hour: i64, value: f64| if (begin..end).contains(&hour) { 1.8 * value } else { value };
            let (fired, _) = run_on(seed * 7_919, 18, 1.0, lasting);
            let within: Vec<Channel> = fired.into_iter().filter(|(at, _)| *at >= begin).map(|(_, channel)| channel).collect();
            found += usize::from(!within.is_empty());
            together += usize::from(within.iter().any(|channel| matches!(channel, Channel::Hours | Channel::Day)));
        }
        assert!(found >= 12 && together >= 6, "{found} of 20, {together} of them by sums");
    }

    /// Six per cent a day, which no hour alone shows.
    #[test]
    fn a_slow_ramp_is_found() {
        let begin = 21 * 24;
        let mut found = 0;
        for seed in 1..=20 {
            let ramp = |hour: i64, value: f64| value * if hour < begin { 1.0 } else { 1.0 + 0.06 * (hour - begin) as f64 / 24.0 };
            let (fired, _) = run(seed * 7_919, 42, 1.0, ramp);
            found += usize::from(fired.into_iter().any(|at| at >= begin));
        }
        assert!(found >= 10, "{found} of 20");
    }

    #[test]
    fn a_series_that_falls_silent_is_strange_below_only() {
        let (_, baseline) = run(7, 20, 1.0, |_, value| value);
        // Tuesday, 10:00.
        let hour = Hour(492_336 + 20 * 24 + 10 + 24);
        let local = LocalHour::at(hour, 0);
        let expectation = baseline.expect(hour, local);
        let limits = thresholds(20.0);
        let below = judge_below(&baseline, &expectation, 0.0, &limits, 1.0);
        assert!(below.fires && below.score > 0.9, "{below:?}");
        assert!(!judge(&baseline, &expectation, 0.0, &limits, 1.0).fires);
        assert!(!judge_below(&baseline, &expectation, expectation.expected, &limits, 1.0).fires);
    }

    /// Each alert makes the series less readily believed, and time makes it forgotten.
    #[test]
    fn many_alerts_raise_the_threshold() {
        let (_, mut baseline) = run(7, 20, 1.0, |_, value| value);
        let next = |baseline: &Baseline| {
            let hour = baseline.next_hour();
            let expectation = baseline.expect(hour, LocalHour::at(hour, 0));
            (hour, needed(baseline, &expectation, &thresholds(1.0), 1.0))
        };
        let calm = next(&baseline).1;
        let learn = |baseline: &mut Baseline, lesson: Learn| {
            let hour = baseline.next_hour();
            let value = baseline.expect(hour, LocalHour::at(hour, 0)).expected;
            baseline.observe(hour, LocalHour::at(hour, 0), value, lesson);
        };
        learn(&mut baseline, Learn::Mild);
        let once = next(&baseline).1;
        assert!(once > calm + 1.0, "{calm} {once}");
        for _ in 0..30 * 24 {
            learn(&mut baseline, Learn::Normal);
        }
        let later = next(&baseline).1;
        assert!(later < calm + 0.2, "{calm} {later}");
    }

    #[test]
    fn scores_keep_their_order_at_the_top() {
        let mut last = 0.0;
        for step in 1..2_000 {
            let score = score_of(0.5 * f64::from(step));
            assert!(score > last && score < 1.0, "step {step}: {score} after {last}");
            last = score;
        }
    }

    #[test]
    fn a_new_series_never_fires() {
        let mut baseline = Baseline::new(Hour(0));
        for at in 0..3 {
            let (hour, local) = (Hour(at), LocalHour::at(Hour(at), 0));
            let expectation = baseline.expect(hour, local);
            assert_eq!(bound(&baseline, &expectation, &thresholds(1_000.0), 1.0), None);
            assert!(!judge(&baseline, &expectation, 1e9, &thresholds(1_000.0), 1.0).fires);
            baseline.observe(hour, local, 1.0, Learn::Normal);
        }
        let expectation = baseline.expect(Hour(3), LocalHour::at(Hour(3), 0));
        assert!(judge(&baseline, &expectation, 1e9, &thresholds(4.0), 1.0).fires, "the fourth hour may");
    }

    #[test]
    fn each_gate_holds_alone() {
        let (_, baseline) = run(7, 20, 1.0, |_, value| value);
        let (hour, local) = (baseline.next_hour(), LocalHour::at(baseline.next_hour(), 0));
        let expectation = baseline.expect(hour, local);
        let fires = |thresholds: &Thresholds, actual: f64| judge(&baseline, &expectation, actual, thresholds, 1.0).fires;
        let usual = thresholds(4.0);
        let spike = 8.0 * expectation.ceiling;
        assert!(fires(&usual, spike));
        assert!(!fires(&Thresholds { alerts_per_team_month: 1e-6, ..usual.clone() }, spike), "improbable");
        assert!(!fires(&Thresholds { least_ratio: 100.0, ..usual.clone() }, spike), "a multiple");
        assert!(!fires(&Thresholds { least_excess: Nanos::from_units(1_000_000), ..usual }, spike), "real money");
    }

    proptest! {
        #[test]
        fn bound_and_judge_agree(seed in 1_u64..u64::MAX, days in 0_i64..16, budget in 0.01_f64..50.0, series in 1.0_f64..500.0, factor in 0.0_f64..40.0) {
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
                    let share = share_of_buckets(&thresholds(budget), series, 1.0);
                    // A tail begins at a share of 0.15; what is likelier than that is not told apart.
                    prop_assert!(verdict(least).p <= share.max(0.16) * 1.001);
                }
            }
            let (lower, higher) = (verdict(actual), verdict(actual + 1.0));
            prop_assert!(lower.score <= higher.score && lower.p >= higher.p);
            prop_assert!((0.0..=1.0).contains(&lower.score) && lower.p >= 0.999 * libm::exp(-baseline.most_surprise()));
        }
    }
}
