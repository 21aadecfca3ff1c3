//! Model drift: a model version that no longer behaves as it did when it was accepted.
//!
//! What evaluations say of a version, and what its usage is like, is held against a reference that froze when somebody accepted it. Each
//! value that rests on enough samples is a look; several looks in a row on the same side are a drift, one is not. All that drifts of one
//! version is one violation; it ends when the values return, or when a new version is accepted. Reading order: `sums`, `series`, `model`,
//! then `tell`.

#[cfg(test)]
mod deployed_tests;
mod mix;
mod model;
pub mod rules;
mod series;
#[cfg(test)]
mod simulation;
mod stats;
mod sums;
mod tell;
#[cfg(test)]
mod tests;
mod usage;
#[cfg(test)]
mod values_tests;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub(crate) use self::model::end_undeployed;
pub use self::model::{Accepted, Deployed, Model};
use self::rules::DriftRules;
pub use self::series::Series;
use self::series::{Step, Value};
use self::sums::Kind;
use self::usage::Day;
pub(crate) use self::usage::close_account_hour;
use super::rules::WatchRules;
use super::shard::Shard;
use super::state::{StateError, encode, from_payload};
use crate::model::Text;
use crate::model::activity::ActivityEvent;
use crate::model::effect::Effect;
use crate::model::hash::hash128;
use crate::model::time::{DAY_MS, Hour, Timestamp};

/// Stands where violations of policies have the id of theirs.
pub const POLICY: &str = "model-drift";

/// Series of a shard; metrics beyond them are not watched, and counted.
const MOST_SERIES: usize = 50_000;
/// Models of a shard of which acceptances and deployments are remembered.
const MOST_MODELS: usize = 20_000;
/// A series of which nothing was heard for so long is forgotten.
const FORGET_AFTER_MS: i64 = 180 * DAY_MS;

/// Within a team. An empty version: of a model that has none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SeriesName {
    pub team: Text,
    pub model: Text,
    pub version: Text,
    pub metric: Text,
}

/// The name of what is kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DriftKey {
    Series(SeriesName),
    /// Team and model.
    Model(Text, Text),
    Day(usage::DayName),
}

/// All that a shard keeps of models' behaviour.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drift {
    series: BTreeMap<SeriesName, Series>,
    models: BTreeMap<(Text, Text), Model>,
    /// Usage of days that are not over.
    days: BTreeMap<usage::DayName, Day>,
    /// Waits to be written with the next transaction. Not a part of the state.
    changed: BTreeSet<DriftKey>,
    /// Values that were not looked at and models that are not remembered, since there are too many; since the start of the process.
    pub capped: u64,
}

/// What waits to be written and what was counted for metrics is no part of the state.
impl PartialEq for Drift {
    fn eq(&self, other: &Drift) -> bool {
        (&self.series, &self.models, &self.days) == (&other.series, &other.models, &other.days)
    }
}

impl Drift {
    pub fn take_changes(&mut self) -> Vec<(DriftKey, Option<Vec<u8>>)> {
        let changed = std::mem::take(&mut self.changed);
        let value = |key: &DriftKey| match key {
            DriftKey::Series(name) => self.series.get(name).map(encode),
            DriftKey::Model(team, model) => self.models.get(&(team.clone(), model.clone())).map(encode),
            DriftKey::Day(name) => self.days.get(name).map(encode),
        };
        changed.into_iter().map(|key| (key.clone(), value(&key))).collect()
    }

    /// On restore.
    ///
    /// # Errors
    /// Bytes that are not of the key's type.
    pub fn put(&mut self, key: DriftKey, payload: &[u8]) -> Result<(), StateError> {
        match key {
            DriftKey::Series(name) => drop(self.series.insert(name, from_payload(payload)?)),
            DriftKey::Model(team, model) => drop(self.models.insert((team, model), from_payload(payload)?)),
            DriftKey::Day(name) => drop(self.days.insert(name, from_payload(payload)?)),
        }
        Ok(())
    }

    /// On restore.
    pub fn delete(&mut self, key: &DriftKey) {
        match key {
            DriftKey::Series(name) => drop(self.series.remove(name)),
            DriftKey::Model(team, model) => drop(self.models.remove(&(team.clone(), model.clone()))),
            DriftKey::Day(name) => drop(self.days.remove(name)),
        }
    }

    /// Whether there is anything that ends or is forgotten when an hour closes.
    pub fn waits_for_closes(&self) -> bool {
        !self.series.is_empty()
    }

    fn model(&self, team: &Text, model: &Text) -> Option<&Model> {
        self.models.get(&(team.clone(), model.clone()))
    }

    fn keep_model(&mut self, team: &Text, model: &Text, known: Model) {
        let name = (team.clone(), model.clone());
        if self.models.get(&name) == Some(&known) {
            return;
        }
        if !self.models.contains_key(&name) && self.models.len() >= MOST_MODELS {
            self.capped = self.capped.saturating_add(1);
            return;
        }
        self.changed.insert(DriftKey::Model(team.clone(), model.clone()));
        self.models.insert(name, known);
    }

    fn keep(&mut self, name: SeriesName, series: Series) {
        self.changed.insert(DriftKey::Series(name.clone()));
        self.series.insert(name, series);
    }

    fn forget(&mut self, name: &SeriesName) {
        if self.series.remove(name).is_some() {
            self.changed.insert(DriftKey::Series(name.clone()));
        }
    }

    /// Metrics of one version; of all of a model's without one.
    fn of<'a>(&'a self, team: &Text, model: &Text, version: Option<&'a Text>) -> impl Iterator<Item = (&'a SeriesName, &'a Series)> {
        let empty = Text::from("");
        let start = version.unwrap_or(&empty).clone();
        let first = SeriesName { team: team.clone(), model: model.clone(), version: start, metric: empty };
        let (team, model) = (team.clone(), model.clone());
        let is_own = move |name: &SeriesName| name.team == team && name.model == model && version.is_none_or(|own| name.version == *own);
        self.series.range(first..).take_while(move |(name, _)| is_own(name))
    }
}

/// What somebody did: an evaluation, an acceptance, a deployment.
pub(crate) fn take(shard: &mut Shard, activity: &ActivityEvent, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let Some(model) = &activity.model else { return };
    let own = rules.matters.drift.as_ref();
    // While nobody looks, what was known of models is kept up for when somebody looks again.
    if own.is_none() && shard.drift.series.is_empty() && shard.drift.models.is_empty() {
        return;
    }
    let version = activity.model_version.clone().unwrap_or_else(|| Text::from(""));
    match activity.action.as_deref().unwrap_or_default() {
        "evaluation" => {
            let (Some(metric), Some(own)) = (&activity.metric, own) else { return };
            let (at, identity) = (activity.event_time, hash128(&[activity.source.as_bytes(), activity.event_id.as_bytes()]));
            let measured = match activity.value {
                Some(value) => Measured::Number(Value { at, value, samples: activity.samples, identity }),
                None => Measured::Mix { at, identity, counts: mix::counts(&activity.tags) },
            };
            let is_of_nothing = match &measured {
                Measured::Number(value) => value.samples == Some(0),
                Measured::Mix { counts, .. } => mix::total(counts) == 0,
            };
            if is_of_nothing {
                return;
            }
            let kind = if let Measured::Mix { .. } = measured { Kind::Mix } else { Kind::Evaluation };
            heed_config(shard, &activity.team, model, own, rules, effects);
            let version = shard.drift.version_of(&activity.team, model, version);
            let name = SeriesName { team: activity.team.clone(), model: model.clone(), version, metric: metric.clone() };
            measure(shard, name, kind, &measured, own, rules, effects);
        }
        "approval" => model::accept(shard, &activity.team, model, Accepted::by(activity, version), own, rules, effects),
        "model_registered" if activity.approval.is_some() => {
            model::accept(shard, &activity.team, model, Accepted::by(activity, version), own, rules, effects);
        }
        "deployment" => {
            let mut known = shard.drift.model(&activity.team, model).cloned().unwrap_or_default();
            known.deploy(version, Deployed::by(activity));
            shard.drift.keep_model(&activity.team, model, known);
        }
        "undeployment" => {
            let Some(mut known) = shard.drift.model(&activity.team, model).cloned() else { return };
            known.undeploy(activity);
            shard.drift.keep_model(&activity.team, model, known);
        }
        _ => {}
    }
}

/// What config says of this model, where it is later than what anybody else has said.
fn heed_config(shard: &mut Shard, team: &Text, model: &Text, own: &DriftRules, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let meant = own.accepted.iter().filter(|rule| rule.model == *model && rule.team.as_ref().is_none_or(|named| named == team));
    let newest = meant.max_by_key(|rule| rule.at);
    let accepted = newest.map(|rule| Accepted::in_config(rule.version.clone().unwrap_or_else(|| Text::from("")), rule.at));
    if let Some(accepted) = accepted {
        model::accept(shard, team, model, accepted, Some(own), rules, effects);
    }
}

/// What is told of a metric.
enum Measured {
    Number(Value),
    /// How often each category came.
    Mix {
        at: Timestamp,
        identity: u128,
        counts: mix::Counts,
    },
}

/// A value of a series, and what follows of it.
fn measure(
    shard: &mut Shard,
    name: SeriesName,
    kind: Kind,
    measured: &Measured,
    own: &DriftRules,
    rules: &WatchRules,
    effects: &mut Vec<Effect>,
) {
    if !own.watches(&name.metric) || shard.drift.is_superseded(&name) {
        return;
    }
    let at = match measured {
        Measured::Number(value) => value.at,
        Measured::Mix { at, .. } => *at,
    };
    let known = shard.drift.series.get(&name);
    if known.is_none() && shard.drift.series.len() >= MOST_SERIES {
        shard.drift.capped = shard.drift.capped.saturating_add(1);
        return;
    }
    let mut series = known.cloned().unwrap_or_else(|| Series::new(kind, at, None));
    let is_accepted = shard.drift.model(&name.team, &name.model).is_some_and(|model| model.has_accepted(&name.version));
    let step = match measured {
        Measured::Number(value) => series.take(*value, is_accepted, own),
        Measured::Mix { at, identity, counts } => series.take_mix(*at, *identity, counts, is_accepted, own),
    };
    if step == Step::Ignored {
        return;
    }
    shard.drift.keep(name.clone(), series);
    match step {
        Step::Opened | Step::Grown => tell::tell(shard, &name, at, step == Step::Opened, own, rules, effects),
        Step::Back => tell::tell(shard, &name, at, true, own, rules, effects),
        Step::Ignored | Step::Taken => {}
    }
}

/// All teams are done with an hour.
pub(crate) fn close_hour(shard: &mut Shard, hour: Hour, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let Some(own) = &rules.matters.drift else { return tell::end_all(shard, hour.end(), rules, effects) };
    usage::end_days(shard, hour, own, rules, effects);
    if hour.end().0 % DAY_MS != 0 {
        return;
    }
    let old = shard.drift.series.iter().filter(|(_, series)| hour.end().0 - series.last.0 > FORGET_AFTER_MS);
    let old: Vec<(SeriesName, bool)> = old.map(|(name, series)| (name.clone(), series.is_open)).collect();
    for (name, is_open) in old {
        shard.drift.forget(&name);
        if is_open {
            tell::tell_silent(shard, &name, hour.end(), own, rules, effects);
        }
    }
}
