//! How many alerts a team is told, kept near the setting by control: each alert makes all of the team's series a little less readily
//! believed, and each hour without one a little more so. Whatever the series are like, how many they are, and how much of their spend is
//! the same money, the number of alerts in the long run is the setting: more would raise the threshold for ever.
//!
//! Stochastic approximation of a quantile (H. Robbins, S. Monro, A Stochastic Approximation Method, 1951) with a constant step, within bounds,
//! so that a quiet team does not end with a hair trigger, nor a loud one deaf.

use serde::{Deserialize, Serialize};

use crate::model::time::Hour;

/// In nats: how much rarer a bucket must be for each alert told.
const STEP: f64 = 0.25;
/// Bounds, in nats.
const LEAST: f64 = -0.7;
const MOST: f64 = 3.0;
const HOURS_PER_MONTH: f64 = 720.0;

/// Of one team; see the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Budget {
    /// Nats by which buckets must be rarer than the setting alone says, as of an hour.
    strictness: f32,
    as_of: Hour,
    /// Nats for the alerts of that hour. They count from the next hour on: an alert must not take itself back when its hour closes.
    fresh: f32,
}

impl Budget {
    /// At an hour, for a setting of so many alerts a month and a team with this first hour.
    pub fn strictness(&self, hour: Hour, alerts_per_month: f64, born: Hour) -> f64 {
        let hours = hour.0.saturating_sub(self.as_of.max(born).0).max(0) as f64;
        let fresh = if hour > self.as_of { f64::from(self.fresh) } else { 0.0 };
        let told = (f64::from(self.strictness) + fresh).clamp(LEAST, MOST);
        (told - STEP * alerts_per_month * hours / HOURS_PER_MONTH).clamp(LEAST, MOST)
    }

    /// An alert is told, or taken back (`alerts` = -1).
    pub fn spend(&mut self, hour: Hour, alerts_per_month: f64, born: Hour, alerts: f64) {
        if hour > self.as_of {
            *self = Budget { strictness: self.strictness(hour, alerts_per_month, born) as f32, as_of: hour, fresh: 0.0 };
        }
        self.fresh += (STEP * alerts) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Alerts in the last twelve of fifteen months, of a team whose hours alert with a probability of `rate` times exp(-strictness).
    fn alerts_per_month(setting: f64, rate: f64) -> f64 {
        let (mut budget, mut state, mut alerts) = (Budget::default(), 0x9e37_79b9_7f4a_7c15_u64, 0);
        for hour in 1..15 * 720 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let unit = (state >> 11) as f64 / (1_u64 << 53) as f64;
            if unit < rate * libm::exp(-budget.strictness(Hour(hour), setting, Hour(0))) {
                budget.spend(Hour(hour), setting, Hour(0), 1.0);
                alerts += usize::from(hour > 3 * 720);
            }
        }
        alerts as f64 / 12.0
    }

    #[test]
    fn the_setting_is_kept_whatever_the_team_is_like() {
        for setting in [1.0, 2.0, 10.0] {
            // From a tenth of what the setting presumes, to ten times as much.
            for times in [0.7, 1.0, 3.0, 10.0] {
                let realised = alerts_per_month(setting, times * setting / 720.0) / setting;
                assert!((0.5..1.5).contains(&realised), "setting {setting}, a team {times} times as loud: {realised} times the setting");
            }
        }
    }

    #[test]
    fn a_quiet_team_gets_no_hair_trigger_and_what_is_taken_back_was_never_spent() {
        let mut budget = Budget::default();
        let born = Hour(500_000);
        assert_eq!(budget.strictness(born, 2.0, born), 0.0);
        assert_eq!(budget.strictness(Hour(600_000), 2.0, born), LEAST);
        let later = Hour(500_100);
        let before = budget.strictness(later, 2.0, born);
        budget.spend(later, 2.0, born, 1.0);
        assert!((budget.strictness(later, 2.0, born) - before).abs() < 1e-6, "not against its own hour");
        assert!(budget.strictness(later.next(), 2.0, born) > before + 0.9 * STEP);
        budget.spend(later, 2.0, born, -1.0);
        assert!((budget.strictness(later.next(), 2.0, born) - before).abs() < 0.01);
    }
}
