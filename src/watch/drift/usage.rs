//! What a model's usage is like: lengths, cost and cache share of each day, from the hours of its leaves.
//!
//! Each project, and working days and weekends, are series of their own: how the traffic is mixed does not look like another model.

use serde::{Deserialize, Serialize};

use super::model::Accepted;
use super::rules::DriftRules;
use super::series::Value;
use super::sums::Kind;
use super::{DriftKey, Measured, SeriesName, heed_config, measure};
use crate::model::Text;
use crate::model::effect::Effect;
use crate::model::hash::hash128;
use crate::model::leaf::{Measure, OTHER};
use crate::model::money::{Currency, Nanos};
use crate::model::time::{DAY_MS, Hour};
use crate::watch::judge;
use crate::watch::rules::WatchRules;
use crate::watch::series::{HourTotals, to_units};
use crate::watch::shard::Shard;

/// The meter whose usage is that of a language model.
const TOKENS: &str = "llm.tokens";
const CACHED: &str = "part of input from the cache";
const LAST_HOUR: u8 = 23;
const SATURDAY: u8 = 5;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DayName {
    pub team: Text,
    pub model: Text,
    pub project: Text,
    pub currency: Currency,
}

/// Usage of a day that is not over. Input has cached tokens in it, output reasoning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Day {
    requests: u64,
    input: u64,
    output: u64,
    cached: u64,
    cost: Nanos,
    unpriced: u64,
}

impl Day {
    fn add(&mut self, totals: &HourTotals) {
        let [input, output, cached, ..] = totals.tokens;
        self.requests = self.requests.saturating_add(totals.requests);
        self.input = self.input.saturating_add(input);
        self.output = self.output.saturating_add(output);
        self.cached = self.cached.saturating_add(cached);
        self.cost = self.cost.saturating_add(totals.cost);
        self.unpriced = self.unpriced.saturating_add(totals.unpriced_events);
    }

    /// Names and values of what can be told of it.
    fn metrics(&self, currency: Currency) -> Vec<(String, f64)> {
        let part = |a: u64, b: u64| a as f64 / b as f64;
        let mut metrics = vec![("tokens of output per request".to_string(), part(self.output, self.requests))];
        let tokens = self.input.saturating_add(self.output);
        if self.unpriced == 0 && self.cost > Nanos::ZERO && tokens > 0 {
            metrics.push((format!("{} per thousand tokens", currency.as_str()), 1000.0 * to_units(self.cost) / tokens as f64));
        }
        if self.input > 0 {
            metrics.push((CACHED.to_string(), part(self.cached, self.input)));
        }
        metrics
    }
}

/// An account's hour is complete; before it is learnt.
pub(crate) fn close_account_hour(shard: &mut Shard, number: u32, hour: Hour, rules: &WatchRules) {
    if rules.matters.drift.is_none() {
        return;
    }
    let Some(state) = shard.accounts.get(number).filter(|state| state.account.measure == Measure::Estimated) else { return };
    let account = &state.account;
    let (days, changed) = (&mut shard.drift.days, &mut shard.drift.changed);
    for (dimensions, _, leaf) in state.leaves() {
        let is_model = *dimensions.meter == *TOKENS && !dimensions.model.is_empty() && *dimensions.model != *OTHER;
        let Some(totals) = leaf.hours.get(hour).filter(|_| is_model) else { continue };
        let name = DayName {
            team: account.team.clone(),
            model: dimensions.model.clone(),
            project: dimensions.project.clone(),
            currency: account.currency,
        };
        days.entry(name.clone()).or_default().add(totals);
        changed.insert(DriftKey::Day(name));
    }
}

/// All teams are done with an hour: days that end with it are looked at.
pub(super) fn end_days(shard: &mut Shard, hour: Hour, own: &DriftRules, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let ends = |team: &Text| judge::local_hour_of(rules, team, hour).hour_of_day == LAST_HOUR;
    let over: Vec<DayName> = shard.drift.days.keys().filter(|name| ends(&name.team)).cloned().collect();
    for name in over {
        if let Some(day) = shard.drift.days.remove(&name) {
            shard.drift.changed.insert(DriftKey::Day(name.clone()));
            look(shard, &name, &day, hour, own, rules, effects);
        }
    }
}

fn look(shard: &mut Shard, name: &DayName, day: &Day, hour: Hour, own: &DriftRules, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let DayName { team, model, project, currency } = name;
    heed_config(shard, team, model, own, rules, effects);
    let current = shard.drift.model(team, model).and_then(|model| model.current());
    // A day in which the version changed is one of both.
    let is_mixed = |accepted: &Accepted| accepted.at > hour.end().minus_ms(DAY_MS);
    if day.requests < own.least_requests.max(1) || current.is_some_and(is_mixed) {
        return;
    }
    let version = current.map_or_else(|| Text::from(""), |accepted| accepted.version.clone());
    let days = if judge::local_hour_of(rules, team, hour).day_of_week >= SATURDAY { "weekends" } else { "working days" };
    let stratum = if project.is_empty() { days.to_string() } else { format!("{project}, {days}") };
    for (metric, value) in day.metrics(*currency) {
        let is_cache = metric == CACHED;
        let metric = Text::from(format!("{metric} ({stratum})"));
        let identity = hash128(&[&hour.0.to_be_bytes(), project.as_bytes(), currency.as_str().as_bytes()]);
        let value = Measured::Number(Value { at: hour.end(), value, samples: None, identity });
        let name = SeriesName { team: team.clone(), model: model.clone(), version: version.clone(), metric };
        // Most providers have no cache, and one that was never used is nothing to watch.
        if is_cache && day.cached == 0 && !shard.drift.series.contains_key(&name) {
            continue;
        }
        measure(shard, name, Kind::Usage, &value, own, rules, effects);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_token_counts_once() {
        let mut day = Day::default();
        let tokens = [1_000, 200, 500, 100, 150];
        day.add(&HourTotals { tokens, requests: 10, cost: Nanos::from_units(6), ..HourTotals::default() });
        let metrics: Vec<(String, f64)> = day.metrics(Currency::USD);
        let wanted = [("tokens of output per request", 20.0), ("USD per thousand tokens", 5.0), ("part of input from the cache", 0.5)];
        assert_eq!(metrics, wanted.map(|(name, value)| (name.to_string(), value)));
    }
}
