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
    let multiple = thresholds.least_ratio * expectation.expected;
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
