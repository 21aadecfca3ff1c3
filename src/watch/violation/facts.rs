//! What lineage has told of the data that models were made of, and what follows when that changes. A model may have data from many places:
//! policies are asked once for each, and of what they say the gravest counts.

use serde::{Deserialize, Serialize};

use super::{Violations, life, whole};
use crate::model::Text;
use crate::model::effect::Effect;
use crate::model::lineage::{ModelFacts, ModelName};
use crate::model::partial::Said;
use crate::model::time::Timestamp;
use crate::policy::stream::{Origin, Told};
use crate::watch::rules::WatchRules;
use crate::watch::shard::Shard;

/// Models and versions that are remembered; of more nothing is known, and that is no pass.
const MOST: usize = 100_000;

/// See [`ModelFacts`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownData {
    pub origins: Vec<Text>,
    pub has_gap: bool,
}

/// The origins that a model's data may have, at least one; `region` is `None` for what nobody knows.
pub struct Origins<'a> {
    pub all: Vec<Origin<'a>>,
    /// A step has taken all origins away: what asks for one passes.
    pub is_cleared: bool,
}

/// Lineage tells of a model, or tells something else of it.
pub(crate) fn take(shard: &mut Shard, facts: &ModelFacts, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let data = KnownData { origins: facts.origins.clone(), has_gap: facts.has_gap };
    if !shard.violations.keep_data(&facts.model, data) || rules.policies.is_empty() {
        return;
    }
    for team in shard.violations.teams_of(&facts.model.model) {
        whole::judge_waiting(shard, &team, &facts.model.model, rules, effects);
    }
    life::judge_again(shard, None, rules, effects);
}

impl Violations {
    /// Whether it is news.
    fn keep_data(&mut self, model: &ModelName, data: KnownData) -> bool {
        let is_known = self.data.contains_key(model);
        if self.data.get(model) == Some(&data) || (!is_known && self.data.len() >= MOST) {
            return false;
        }
        self.models_revision += 1;
        self.data_changed.insert(model.clone());
        self.data.insert(model.clone(), data);
        true
    }

    pub fn take_changed_data(&mut self) -> Vec<(ModelName, KnownData)> {
        let changed = std::mem::take(&mut self.data_changed);
        changed.into_iter().filter_map(|name| Some((name.clone(), self.data.get(&name)?.clone()))).collect()
    }

    /// On restore.
    pub fn put_data(&mut self, model: ModelName, data: Option<KnownData>) {
        match data {
            Some(data) => self.data.insert(model, data),
            None => self.data.remove(&model),
        };
    }

    /// Teams of which something is known about a model of this name.
    fn teams_of(&self, model: &Text) -> Vec<Text> {
        self.models.keys().filter(|(_, name)| name == model).map(|(team, _)| team.clone()).collect()
    }

    /// What lineage knows, of the version if it is named and known; else what activity of the team has said.
    pub(super) fn origins(&self, team: &Text, model: &Text, version: Option<&Text>, at: Timestamp) -> Origins<'_> {
        let Origin { region, approval } = self.model(team, model).map_or(Origin::default(), |known| known.origin(at));
        let name = |version: Option<&Text>| ModelName { model: model.clone(), version: version.cloned() };
        let of_version = version.and_then(|version| self.data.get(&name(Some(version))));
        let Some(data) = of_version.or_else(|| self.data.get(&name(None))) else {
            return Origins { all: vec![Origin { region, approval }], is_cleared: false };
        };
        let mut all: Vec<Origin<'_>> = data.origins.iter().map(|origin| Origin { region: Some(&**origin), approval }).collect();
        if all.is_empty() || data.has_gap {
            all.push(Origin { region: region.filter(|_| all.is_empty()), approval });
        }
        Origins { all, is_cleared: data.origins.is_empty() && !data.has_gap }
    }
}

/// Of each policy the gravest that it says, and the place of the list in which it says so.
pub(super) fn gravest(told: impl Iterator<Item = Vec<Told>>) -> Vec<(Told, usize)> {
    let rank = |said: Said| match said {
        Said::DryRun => 0,
        Said::Exempt => 1,
        Said::Indeterminate => 2,
        Said::Violates => 3,
    };
    let mut gravest: Vec<(Told, usize)> = Vec::new();
    for (place, told) in told.enumerate() {
        for told in told {
            match gravest.iter_mut().find(|(known, _)| known.policy == told.policy) {
                Some(known) if rank(known.0.said) < rank(told.said) => *known = (told, place),
                Some(_) => {}
                None => gravest.push((told, place)),
            }
        }
    }
    gravest.sort_by_key(|(told, _)| told.policy);
    gravest
}
