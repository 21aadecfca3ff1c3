//! All that drifts of a model version as one violation: with its evidence, where it is deployed, and what to do.

use std::collections::BTreeMap;

use super::model::Accepted;
use super::rules::DriftRules;
use super::{POLICY, SeriesName, words};
use crate::model::Text;
use crate::model::effect::Effect;
use crate::model::time::Timestamp;
use crate::watch::rules::WatchRules;
use crate::watch::shard::Shard;
use crate::watch::violation::Key;
use crate::watch::violation::standing::{self, Standing};

/// A metric of a version has drifted, is still outside, or is back. `is_news`: more or fewer metrics than before.
pub(super) fn tell(
    shard: &mut Shard,
    name: &SeriesName,
    at: Timestamp,
    is_news: bool,
    own: &DriftRules,
    rules: &WatchRules,
    effects: &mut Vec<Effect>,
) {
    let (team, model, version) = (&name.team, &name.model, &name.version);
    let open: Vec<_> = shard.drift.of(team, model, Some(version)).filter(|(_, series)| series.is_open).collect();
    if open.is_empty() {
        let over = "its values are again as they were when they froze as the reference";
        return standing::end(shard, key(name), at, &words::over(model, version, over), rules, effects);
    }
    let known = shard.drift.model(team, model);
    let accepted = known.and_then(|known| known.accepted.get(version));
    let deployed = known.and_then(|known| known.deployment(version));
    let mut metrics: Vec<words::Metric<'_>> = open
        .iter()
        .map(|(name, series)| words::Metric { name: &name.metric, series, difference: series.difference(own), shift: series.shift(own) })
        .collect();
    // What has moved most, for its size, is said first.
    metrics.sort_by(|a, b| b.moved().total_cmp(&a.moved()));
    let since = metrics.iter().map(|metric| metric.series.outside.since).min().unwrap_or(at);
    let looks: u32 = metrics.iter().map(|metric| metric.series.outside.looks).sum();
    let told = Standing {
        severity: own.severity,
        dimensions: dimensions(model, version, deployed),
        evidence: words::evidence(&metrics, accepted, version, deployed, own),
        message: words::message(team, model, version, &metrics, accepted, deployed),
        remedy: words::remedy(model, version, deployed),
        first_seen: since,
        last_seen: at,
        count: u64::from(looks),
    };
    standing::stand(shard, key(name), told, is_news, rules, effects);
}

fn key(name: &SeriesName) -> Key {
    Key { team: name.team.clone(), policy: POLICY.into(), subject: words::subject(&name.model, &name.version), currency: None }
}

fn dimensions(model: &Text, version: &Text, deployed: Option<&super::Deployed>) -> BTreeMap<String, String> {
    let mut dimensions = BTreeMap::from([("model".to_string(), model.to_string())]);
    let mut stated = |name: &str, value: Option<&Text>| {
        if let Some(value) = value {
            dimensions.insert(name.to_string(), value.to_string());
        }
    };
    stated("model_version", Some(version).filter(|version| !version.is_empty()));
    if let Some(deployed) = deployed {
        stated("resource_id", deployed.resource.as_ref());
        stated("provider", deployed.provider.as_ref());
        stated("region", deployed.region.as_ref());
        stated("environment", deployed.environment.as_ref());
    }
    dimensions
}

/// A version was accepted: ends what that makes an end of.
pub(super) fn tell_model(shard: &mut Shard, team: &Text, model: &Text, accepted: &Accepted, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let mut versions: BTreeMap<Text, (SeriesName, bool)> = BTreeMap::new();
    for (name, series) in shard.drift.of(team, model, None) {
        versions.entry(name.version.clone()).or_insert((name.clone(), false)).1 |= series.is_open;
    }
    for (version, (name, is_open)) in versions {
        if !is_open {
            let over = words::accepted(accepted, &version);
            standing::end(shard, key(&name), accepted.at, &words::over(model, &version, &over), rules, effects);
        }
    }
}

/// The last deployment of a version has ended.
pub(super) fn tell_gone(shard: &mut Shard, name: &SeriesName, at: Timestamp, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let over = words::over(&name.model, &name.version, "it no longer runs anywhere");
    standing::end(shard, key(name), at, &over, rules, effects);
}

/// A metric that had drifted is not measured any more, and was forgotten.
pub(super) fn tell_silent(
    shard: &mut Shard,
    name: &SeriesName,
    at: Timestamp,
    own: &DriftRules,
    rules: &WatchRules,
    effects: &mut Vec<Effect>,
) {
    if shard.drift.of(&name.team, &name.model, Some(&name.version)).any(|(_, series)| series.is_open) {
        return tell(shard, name, at, false, own, rules, effects);
    }
    let over = words::over(&name.model, &name.version, "nobody has measured it for half a year");
    standing::end(shard, key(name), at, &over, rules, effects);
}

/// Drift is no longer watched.
pub(super) fn end_all(shard: &mut Shard, at: Timestamp, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let open = shard.drift.series.iter().filter(|(_, series)| series.is_open);
    let open: Vec<SeriesName> = open.map(|(name, _)| name.clone()).collect();
    for name in open {
        if let Some(mut series) = shard.drift.series.get(&name).cloned() {
            series.close();
            shard.drift.keep(name.clone(), series);
        }
        let over = words::over(&name.model, &name.version, "model drift is no longer watched");
        standing::end(shard, key(&name), at, &over, rules, effects);
    }
}
