//! What is known of a team's model besides its metrics: which version is accepted, by whom, and where each is deployed.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::rules::DriftRules;
use super::series::Series;
use super::{Drift, SeriesName, tell};
use crate::model::Text;
use crate::model::activity::ActivityEvent;
use crate::model::effect::Effect;
use crate::model::partial::ShardEvent;
use crate::model::time::Timestamp;
use crate::watch::rules::WatchRules;
use crate::watch::shard::Shard;
use crate::watch::violation;

/// Versions of a model that are remembered, the latest.
const MOST_VERSIONS: usize = 16;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// By version; each as it was last accepted.
    pub accepted: BTreeMap<Text, Accepted>,
    /// By version; the last deployment of each.
    pub deployed: BTreeMap<Text, Deployed>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accepted {
    pub version: Text,
    pub at: Timestamp,
    pub by: Option<Text>,
    pub approval: Option<Text>,
    pub in_config: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Deployed {
    pub at: Timestamp,
    pub resource: Option<Text>,
    pub provider: Option<Text>,
    pub region: Option<Text>,
    pub environment: Option<Text>,
}

impl Accepted {
    pub fn by(activity: &ActivityEvent, version: Text) -> Accepted {
        let (by, approval) = (activity.actor.clone(), activity.approval.clone());
        Accepted { version, at: activity.event_time, by, approval, in_config: false }
    }

    pub fn in_config(version: Text, at: Timestamp) -> Accepted {
        Accepted { version, at, by: None, approval: None, in_config: true }
    }
}

impl Deployed {
    pub fn by(activity: &ActivityEvent) -> Deployed {
        Deployed {
            at: activity.event_time,
            resource: activity.resource_id.clone(),
            provider: activity.provider.clone(),
            region: activity.region.clone(),
            environment: activity.environment.clone(),
        }
    }
}

impl Model {
    /// The version that was accepted last.
    pub fn current(&self) -> Option<&Accepted> {
        self.accepted.values().max_by_key(|accepted| accepted.at)
    }

    fn has_versions(&self) -> bool {
        self.accepted.keys().any(|version| !version.is_empty())
    }

    pub fn has_accepted(&self, version: &Text) -> bool {
        self.accepted.contains_key(version)
    }

    /// Of the version, else of one that nobody told the version of.
    pub fn deployment(&self, version: &Text) -> Option<&Deployed> {
        self.deployed.get(version).or_else(|| self.deployed.get(""))
    }

    pub fn deploy(&mut self, version: Text, deployed: Deployed) {
        if self.deployed.get(&version).is_none_or(|known| known.at <= deployed.at) {
            self.deployed.insert(version, deployed);
            forget_oldest(&mut self.deployed, |deployed| deployed.at);
        }
    }

    /// One that names no version or no region is of all of them.
    pub fn undeploy(&mut self, activity: &ActivityEvent) {
        let is_other =
            |stated: &Option<Text>, known: Option<&Text>| stated.as_ref().zip(known).is_some_and(|(stated, known)| stated != known);
        self.deployed.retain(|version, deployed| {
            deployed.at > activity.event_time
                || is_other(&activity.model_version, Some(version))
                || is_other(&activity.region, deployed.region.as_ref())
                || is_other(&activity.resource_id, deployed.resource.as_ref())
        });
    }
}

fn forget_oldest<T>(versions: &mut BTreeMap<Text, T>, at: impl Fn(&T) -> Timestamp) {
    while versions.len() > MOST_VERSIONS {
        let oldest = versions.iter().min_by_key(|(_, known)| at(known)).map(|(version, _)| version.clone());
        oldest.and_then(|oldest| versions.remove(&oldest));
    }
}

impl Drift {
    /// What names no version is of the one that is accepted.
    pub(super) fn version_of(&self, team: &Text, model: &Text, stated: Text) -> Text {
        if !stated.is_empty() {
            return stated;
        }
        self.model(team, model).and_then(Model::current).map_or(stated, |accepted| accepted.version.clone())
    }

    /// Another version was accepted since this one began.
    pub(super) fn is_superseded(&self, name: &SeriesName) -> bool {
        let Some(current) = self.model(&name.team, &name.model).and_then(Model::current).filter(|it| it.version != name.version) else {
            return false;
        };
        self.series.get(name).is_some_and(|series| series.since < current.at)
    }
}

/// Of versions that no longer run anywhere what has drifted is nobody's trouble any more. For all events of a record at once: one that is
/// deployed elsewhere and undeployed here goes on, in whatever order that is told.
pub(crate) fn end_undeployed(shard: &mut Shard, events: &[ShardEvent], rules: &WatchRules, effects: &mut Vec<Effect>) {
    let mut undeployed: BTreeMap<(&Text, &Text), Timestamp> = BTreeMap::new();
    for event in events {
        if let ShardEvent::Activity(activity) = event
            && let (Some("undeployment"), Some(model)) = (activity.action.as_deref(), &activity.model)
        {
            let at = undeployed.entry((&activity.team, model)).or_insert(activity.event_time);
            *at = activity.event_time.max(*at);
        }
    }
    for ((team, model), at) in undeployed {
        let [before, after] = violation::versions_around(shard, events, team, model);
        let runs = |versions: &BTreeSet<Text>, version: &Text| versions.contains(version) || versions.contains("");
        let is_gone = |name: &SeriesName| runs(&before, &name.version) && !runs(&after, &name.version);
        let open = shard.drift.of(team, model, None).filter(|(name, series)| series.is_open && is_gone(name));
        let open: Vec<(SeriesName, Series)> = open.map(|(name, series)| (name.clone(), series.clone())).collect();
        let versions: BTreeMap<Text, SeriesName> = open.iter().map(|(name, _)| (name.version.clone(), name.clone())).collect();
        for (name, mut series) in open {
            series.close();
            shard.drift.keep(name, series);
        }
        for name in versions.values() {
            tell::tell_gone(shard, name, at, rules, effects);
        }
    }
}

/// A version is accepted. Of another one what has drifted is over; of the same it is what is wanted from now on. `own`: `None` while nobody
/// looks.
pub(super) fn accept(
    shard: &mut Shard,
    team: &Text,
    model: &Text,
    accepted: Accepted,
    own: Option<&DriftRules>,
    rules: &WatchRules,
    effects: &mut Vec<Effect>,
) {
    let mut known = shard.drift.model(team, model).cloned().unwrap_or_default();
    // An approval that names no version is about something else where versions are told: where the model may run, what data it may see.
    if accepted.version.is_empty() && (known.has_versions() || shard.drift.of(team, model, None).any(|(name, _)| !name.version.is_empty()))
    {
        return;
    }
    if known.accepted.get(&accepted.version).is_some_and(|known| known.at >= accepted.at) {
        return;
    }
    known.accepted.insert(accepted.version.clone(), accepted.clone());
    forget_oldest(&mut known.accepted, |accepted| accepted.at);
    let is_current = known.current() == Some(&accepted);
    shard.drift.keep_model(team, model, known);
    let all: Vec<(SeriesName, Series)> = shard.drift.of(team, model, None).map(|(name, series)| (name.clone(), series.clone())).collect();
    for (name, mut series) in all {
        if name.version == accepted.version {
            if series.is_open && series.outside.since <= accepted.at {
                // It has been accepted as it is now: what was before is no reference any more.
                series = Series::new(series.kind, accepted.at, Some(accepted.at));
            } else if let Some(own) = own {
                series.freeze(true, accepted.at, own);
            }
            shard.drift.keep(name, series);
        } else if is_current && series.is_open && series.since < accepted.at {
            series.close();
            shard.drift.keep(name, series);
        }
    }
    tell::tell_model(shard, team, model, &accepted, rules, effects);
}
