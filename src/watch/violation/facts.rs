//! What lineage has told of the data that models were made of, and what follows when that changes. A model may have data from many places:
//! policies are asked once for each, and of what they say the gravest counts.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Violations, deployments, judge};
use crate::model::Text;
use crate::model::approval::{About, Approval};
use crate::model::effect::Effect;
use crate::model::lineage::{ModelFacts, ModelName, origin_of};
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
    let now = shard.header.watermarks.shard_time();
    if !shard.violations.keep_data(&facts.model, data, now) || rules.policies.is_empty() {
        return;
    }
    let models = BTreeSet::from([facts.model.model.clone()]);
    for team in shard.violations.teams_of(&facts.model.model) {
        deployments::judge_again(shard, &team, &models, &BTreeSet::new(), rules, effects);
    }
    judge::judge_again(shard, (None, Some(&facts.model.model)), rules, effects);
}

impl Violations {
    /// Whether it is news.
    fn keep_data(&mut self, model: &ModelName, data: KnownData, now: Timestamp) -> bool {
        let is_known = self.data.contains_key(model);
        if self.data.get(model) == Some(&data) || (!is_known && self.data.len() >= MOST) {
            return false;
        }
        self.models_revision += 1;
        if data.has_gap != self.gaps.contains_key(model) {
            if data.has_gap {
                self.gaps.insert(model.clone(), now);
            } else {
                self.gaps.remove(model);
            }
            self.gaps_changed.insert(model.clone());
            self.next_look = None;
        }
        self.data_changed.insert(model.clone());
        self.data.insert(model.clone(), data);
        true
    }

    pub fn take_changed_data(&mut self) -> Vec<(ModelName, KnownData)> {
        let changed = std::mem::take(&mut self.data_changed);
        changed.into_iter().filter_map(|name| Some((name.clone(), self.data.get(&name)?.clone()))).collect()
    }

    pub fn take_changed_gaps(&mut self) -> Vec<(ModelName, Option<Timestamp>)> {
        let changed = std::mem::take(&mut self.gaps_changed);
        changed.into_iter().map(|name| (name.clone(), self.gaps.get(&name).copied())).collect()
    }

    /// On restore.
    pub fn put_gap(&mut self, model: ModelName, since: Option<Timestamp>) {
        match since {
            Some(since) => self.gaps.insert(model, since),
            None => self.gaps.remove(&model),
        };
    }

    /// On restore.
    pub fn put_data(&mut self, model: ModelName, data: Option<KnownData>) {
        match data {
            Some(data) => self.data.insert(model, data),
            None => self.data.remove(&model),
        };
    }

    /// Teams of which something is known about a model of this name.
    pub(super) fn teams_of(&self, model: &Text) -> Vec<Text> {
        self.models.keys().filter(|(_, name)| name == model).map(|(team, _)| team.clone()).collect()
    }

    /// What lineage knows, of the version if it is named and known; else what activity of the team has said. Of a dataset what the config says.
    pub(super) fn origins<'a>(&'a self, team: &Text, about: &About<'_>, at: Timestamp, rules: &'a WatchRules) -> Origins<'a> {
        let approval = self.approval(team, about, at);
        let Some(model) = about.model.map(Text::from) else { return of_dataset(about.dataset, approval, rules) };
        let known = self.model(team, &model);
        let region = known.and_then(|known| known.origin_region.as_deref());
        let id = approval.map(|approval| &*approval.id).or_else(|| known.and_then(|known| known.old_approval(at)));
        let basis = approval.and_then(|approval| approval.basis.as_deref());
        let plain = Origin { region, approval: id, basis, lineage: None };
        let name = |version: Option<&str>| ModelName { model: model.clone(), version: version.map(Text::from) };
        let of_version = about.version.map(|version| name(Some(version))).filter(|name| self.data.contains_key(name));
        let name = of_version.unwrap_or_else(|| name(None));
        let Some(data) = self.data.get(&name) else { return Origins { all: vec![plain], is_cleared: false } };
        let is_cleared = data.origins.is_empty() && !data.has_gap;
        let lineage = match self.gaps.get(&name).filter(|_| data.has_gap) {
            Some(since) if at < since.plus_ms(rules.lineage_grace_ms) => "pending",
            _ if data.has_gap => "unknown",
            _ if is_cleared => "cleared",
            _ => "known",
        };
        let plain = Origin { lineage: Some(lineage), ..plain };
        let mut all: Vec<Origin<'_>> = data.origins.iter().map(|origin| Origin { region: Some(&**origin), ..plain }).collect();
        if all.is_empty() || data.has_gap {
            all.push(Origin { region: region.filter(|_| all.is_empty()), ..plain });
        }
        Origins { all, is_cleared }
    }

    /// Times before and after which something else is known of a model, whatever is told.
    pub(super) fn turns(&self, team: &Text, model: &Text, rules: &WatchRules) -> Vec<Timestamp> {
        let old = self.model(team, model).and_then(|known| known.old_approval_ends());
        let gap = self.gaps.get(&ModelName { model: model.clone(), version: None });
        let gap = gap.map(|since| since.plus_ms(rules.lineage_grace_ms));
        self.ends_of(team, model).chain(old).chain(gap).collect()
    }
}

fn of_dataset<'a>(dataset: Option<&str>, approval: Option<&'a Approval>, rules: &'a WatchRules) -> Origins<'a> {
    let basis = approval.and_then(|approval| approval.basis.as_deref());
    let plain = Origin { approval: approval.map(|approval| &*approval.id), basis, ..Origin::default() };
    let regions = dataset.and_then(|dataset| origin_of(&rules.data_origins, dataset)).unwrap_or_default();
    let mut all: Vec<Origin<'_>> = regions.iter().map(|region| Origin { region: Some(&**region), ..plain }).collect();
    if all.is_empty() {
        all.push(plain);
    }
    Origins { all, is_cleared: false }
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
