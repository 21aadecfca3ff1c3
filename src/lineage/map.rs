//! What a person or a program is shown: which data feeds which model, where it comes from, where it answers, and which of these ways
//! break a rule or are unknown.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::graph::{NodeId, What};
use super::{Lineage, Place};
use crate::model::Text;
use crate::model::approval::About;
use crate::model::lineage::ModelName;
use crate::model::time::Timestamp;

/// A model's data from one origin (`None`: nobody knows where from) and a region in which it answers or is deployed.
#[derive(Clone, Copy, Debug)]
pub struct Crossing<'a> {
    pub model: &'a ModelName,
    pub origin: Option<&'a Text>,
    pub region: Option<&'a Text>,
    pub provider: Option<&'a Text>,
    pub environment: Option<&'a Text>,
    pub resource_id: Option<&'a Text>,
    pub team: &'a Text,
    /// One that is known and holds, or that the deployment names and nobody has sent.
    pub approval: Option<&'a Text>,
    /// What it rests on.
    pub basis: Option<&'a Text>,
    /// As the field `lineage` of policies says it.
    pub lineage: &'static str,
}

/// A policy that a way breaks, or cannot be judged by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Broken {
    pub policy: String,
    pub message: String,
    /// False: what is known does not say enough for a verdict.
    pub is_certain: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Dataset,
    Job,
    Model,
    Region,
}

#[derive(Clone, Debug, Serialize)]
pub struct MapNode {
    pub id: usize,
    pub kind: Kind,
    pub name: String,
    /// Who owns the job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Cloud regions and countries that its data comes from, sorted.
    pub origins: Vec<String>,
    /// Some or all of its data has no known source, or (of a region) nobody says which it is.
    pub is_unknown: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EdgeState {
    Known,
    /// What flows here comes, in part or all of it, from where nobody knows.
    Unknown,
    Breaks,
}

/// What an edge between two datasets says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// `to` is a new name of what was `from`.
    Renamed,
    /// Both are names of one piece of data, read it both ways.
    Same,
}

#[derive(Clone, Debug, Serialize)]
pub struct MapEdge {
    pub from: usize,
    pub to: usize,
    pub state: EdgeState,
    /// `None`: data flows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relation: Option<Relation>,
    /// Of a model and a region: who deployed it there or pays for its answers.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub teams: BTreeSet<String>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub broken: BTreeSet<Broken>,
    /// Names of what the data passed on its way here, its source first: why the first of `broken` is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub way: Vec<String>,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct DataFlow {
    pub nodes: Vec<MapNode>,
    pub edges: Vec<MapEdge>,
}

impl Lineage {
    /// All of it, or what concerns a team: models that it deployed or pays for or whose jobs it owns, and what leads to these.
    ///
    /// `judge` names the policies that a crossing breaks, `now` is when. Call [`Lineage::take_facts`] first: what came since is not in it.
    pub fn map(&self, team: Option<&str>, now: Timestamp, judge: &dyn Fn(&Crossing<'_>) -> Vec<Broken>) -> DataFlow {
        let mut map = DataFlow::default();
        let mut places: BTreeMap<NodeId, usize> = BTreeMap::new();
        for id in self.shown(team) {
            let Some(node) = self.graph.node(id) else { continue };
            let (kind, owner) = match &node.what {
                What::Dataset(_) => (Kind::Dataset, None),
                What::Flow(job) => (Kind::Job, self.owners.get(job).map(ToString::to_string)),
                What::Model(_) => (Kind::Model, None),
            };
            let is_idle = node.ins.is_empty() && node.outs.is_empty();
            // A dataset that was only dropped, or named by a run that failed, leads nowhere and says nothing.
            if is_idle && (kind == Kind::Job || (kind == Kind::Dataset && node.own().is_none())) {
                continue;
            }
            places.insert(id, map.nodes.len());
            map.nodes.push(MapNode {
                id: map.nodes.len(),
                kind,
                name: self.name(id),
                owner,
                origins: self.graph.sets.names(node.known.origins).iter().map(ToString::to_string).collect(),
                is_unknown: self.graph.has_gap(id),
            });
        }
        for (id, from) in &places {
            let Some(node) = self.graph.node(*id) else { continue };
            let state = if self.graph.has_gap(*id) { EdgeState::Unknown } else { EdgeState::Known };
            for (out, to) in node.outs.iter().filter_map(|out| Some((out, places.get(out)?))) {
                let relation = self.relation(*id, *out);
                if relation != Some(Relation::Same) || self.stands_before(*id, *out) {
                    map.edges.push(MapEdge { state, relation, ..edge(*from, *to) });
                }
            }
        }
        self.add_regions(&mut map, &places, (team, now), judge);
        map
    }

    fn relation(&self, from: NodeId, to: NodeId) -> Option<Relation> {
        let is_dataset = |id: NodeId| matches!(self.graph.node(id).map(|node| &node.what), Some(What::Dataset(_)));
        if !is_dataset(from) || !is_dataset(to) {
            return None;
        }
        Some(if self.graph.are_same(from, to) { Relation::Same } else { Relation::Renamed })
    }

    /// Of two names of one piece of data the one by which it is written stands before the one by which it is read.
    fn stands_before(&self, one: NodeId, other: NodeId) -> bool {
        let place = |id: NodeId| {
            let node = self.graph.node(id);
            let is_other = |next: &&NodeId| self.relation(id, **next).is_none();
            let is_written = node.is_some_and(|node| node.ins.iter().any(|next| is_other(&next)));
            let is_read = node.is_some_and(|node| node.outs.iter().any(|next| is_other(&next)));
            (i32::from(is_read) - i32::from(is_written), id)
        };
        place(one) < place(other)
    }

    fn shown(&self, team: Option<&str>) -> BTreeSet<NodeId> {
        let of = |id: NodeId| self.graph.node(id).map(|node| &node.what);
        // A model as a whole says nothing beside its versions, unless somebody uses it without naming one.
        let says_something = |id: &NodeId| match of(*id) {
            Some(What::Model(name @ ModelName { model, version: None })) => {
                self.registered.contains(name) || self.deployed(name).next().is_some() || self.answering(model).next().is_some()
            }
            what => what.is_some(),
        };
        let all = (0..NodeId::try_from(self.graph.nodes.len()).unwrap_or(NodeId::MAX)).filter(says_something);
        let Some(team) = team else { return all.collect() };
        let owns = |id: &NodeId| match of(*id) {
            Some(What::Flow(job)) => self.owners.get(job).is_some_and(|owner| **owner == *team),
            Some(What::Model(name)) => {
                self.deployed(name).any(|place| *place.team == *team)
                    || (name.version.is_none() && self.answering(&name.model).any(|(_, answers)| answers.teams.contains(team)))
            }
            _ => false,
        };
        let own: BTreeSet<NodeId> = all.filter(owns).collect();
        // Of its own jobs what they write is shown as well.
        let jobs = own.iter().filter(|id| matches!(of(**id), Some(What::Flow(_))));
        let written = jobs.filter_map(|id| self.graph.node(*id)).flat_map(|node| node.outs.iter().copied());
        self.graph.before(own.iter().copied().chain(written)).into_iter().filter(says_something).collect()
    }

    /// Where a model, or a version of one, is deployed.
    fn deployed<'a>(&'a self, name: &'a ModelName) -> impl Iterator<Item = &'a Place> {
        let first = Place { model: name.clone(), region: None, environment: None, resource_id: None, team: "".into() };
        self.deployments.range(first..).map(|(place, _)| place).take_while(move |place| place.model == *name)
    }

    /// Regions in which a model answers.
    fn answering(&self, model: &Text) -> impl Iterator<Item = (&Text, &super::Answers)> {
        let model = model.clone();
        let from = (model.clone(), Text::from(""));
        self.answers.range(from..).take_while(move |((known, _), _)| *known == model).map(|((_, region), answers)| (region, answers))
    }

    /// Where models are deployed, and where they answer; `names` of those that answer.
    fn crossings<'a>(&'a self, names: &'a BTreeMap<&Text, ModelName>) -> impl Iterator<Item = Crossing<'a>> {
        let deployed = self.deployments.iter().map(|(place, deployment)| {
            let Place { model, region, environment, resource_id, team } = place;
            let (environment, resource_id) = (environment.as_ref(), resource_id.as_ref());
            let (provider, approval) = (deployment.provider.as_ref(), deployment.approval.as_ref());
            Crossing {
                model,
                origin: None,
                region: region.as_ref(),
                provider,
                environment,
                resource_id,
                team,
                approval,
                basis: None,
                lineage: "",
            }
        });
        let answered = self.answers.iter().flat_map(|((model, region), answers)| {
            let provider = answers.provider.as_ref();
            answers.teams.iter().filter_map(|team| names.get(model).map(|name| (name, team))).map(move |(model, team)| Crossing {
                model,
                origin: None,
                region: Some(region),
                provider,
                environment: None,
                resource_id: None,
                team,
                approval: None,
                basis: None,
                lineage: "",
            })
        });
        deployed.chain(answered)
    }

    fn add_regions(
        &self,
        map: &mut DataFlow,
        places: &BTreeMap<NodeId, usize>,
        (team, now): (Option<&str>, Timestamp),
        judge: &dyn Fn(&Crossing<'_>) -> Vec<Broken>,
    ) {
        let mut regions: BTreeMap<Option<Text>, usize> = BTreeMap::new();
        let mut edges: BTreeMap<(usize, usize), MapEdge> = BTreeMap::new();
        let is_shown = |other: &Text| team.is_none_or(|team| *team == **other);
        let names: BTreeMap<&Text, ModelName> =
            self.answers.keys().map(|(model, _)| (model, ModelName { model: model.clone(), version: None })).collect();
        for crossing in self.crossings(&names).filter(|crossing| is_shown(crossing.team)) {
            let Some((id, from)) = self.graph.find(&What::Model(crossing.model.clone())).and_then(|id| Some((id, *places.get(&id)?)))
            else {
                continue;
            };
            let to = *regions.entry(crossing.region.cloned()).or_insert_with(|| {
                map.nodes.push(MapNode {
                    id: map.nodes.len(),
                    kind: Kind::Region,
                    name: crossing.region.map_or_else(|| "no region stated".to_string(), ToString::to_string),
                    owner: None,
                    origins: Vec::new(),
                    is_unknown: crossing.region.is_none(),
                });
                map.nodes.len() - 1
            });
            let edge = edges.entry((from, to)).or_insert_with(|| edge(from, to));
            edge.teams.insert(crossing.team.to_string());
            self.judge_edge(edge, id, self.reviewed(crossing, now), judge);
        }
        map.edges.extend(edges.into_values());
    }

    /// With the approval that covers it, if there is one.
    fn reviewed<'a>(&'a self, crossing: Crossing<'a>, now: Timestamp) -> Crossing<'a> {
        let Some(own) = self.approvals.get(crossing.team) else { return crossing };
        let about = About {
            model: Some(&crossing.model.model),
            version: crossing.model.version.as_deref(),
            region: crossing.region.map(AsRef::as_ref),
            dataset: None,
        };
        let named = crossing.approval.map(|id| own.named(id));
        let found = match named {
            Some(None) => return crossing,
            Some(Some(named)) if named.holds_at(now) => Some(named),
            _ => own.find(&about, now),
        };
        Crossing { approval: found.map(|found| &found.id), basis: found.and_then(|found| found.basis.as_ref()), ..crossing }
    }

    fn judge_edge(&self, edge: &mut MapEdge, id: NodeId, crossing: Crossing<'_>, judge: &dyn Fn(&Crossing<'_>) -> Vec<Broken>) {
        let Some(facts) = self.facts(id) else { return };
        // Nobody waits here: what is not known is unknown.
        let lineage = match (facts.has_gap, facts.origins.is_empty()) {
            (true, _) => "unknown",
            (false, true) => "cleared",
            (false, false) => "known",
        };
        let unknown = (facts.has_gap || facts.origins.is_empty()).then_some(None);
        for origin in facts.origins.iter().map(Some).chain(unknown) {
            let mut broken = judge(&Crossing { origin, lineage, ..crossing });
            // Free of all origins it is no matter of where it comes from.
            broken.retain(|broken| broken.is_certain || lineage != "cleared");
            let is_worse = broken.iter().any(|broken| broken.is_certain) && edge.state != EdgeState::Breaks;
            if is_worse || (edge.way.is_empty() && !broken.is_empty()) {
                let way = self.graph.way(id, origin.map(AsRef::as_ref));
                edge.way = way.into_iter().map(|id| self.name(id)).collect();
            }
            if is_worse {
                edge.state = EdgeState::Breaks;
            }
            edge.broken.extend(broken);
        }
        if edge.state == EdgeState::Known && (facts.has_gap || crossing.region.is_none()) {
            edge.state = EdgeState::Unknown;
        }
    }

    /// Models that are deployed or answer without ever having been registered, or written by a job; of a team those that it deployed or
    /// pays for.
    pub fn unregistered(&self, team: Option<&str>) -> Vec<ModelName> {
        let deployed =
            self.deployments.keys().filter(|place| team.is_none_or(|team| *place.team == *team)).map(|place| place.model.clone());
        let answering = self.answers.iter().filter(|(_, answers)| team.is_none_or(|team| answers.teams.contains(team)));
        let answering = answering.map(|((model, _), _)| ModelName { model: model.clone(), version: None });
        let all: BTreeSet<ModelName> = deployed.chain(answering).collect();
        let is_known = |name: &ModelName| {
            let written =
                self.graph.find(&What::Model(name.clone())).and_then(|id| self.graph.node(id)).is_some_and(|node| !node.ins.is_empty());
            let any_version = || {
                let first = ModelName { model: name.model.clone(), version: None };
                self.registered.range(first..).next().is_some_and(|known| known.model == name.model)
            };
            written || self.registered.contains(name) || (name.version.is_none() && any_version())
        };
        all.into_iter().filter(|name| !is_known(name)).collect()
    }
}

fn edge(from: usize, to: usize) -> MapEdge {
    let (teams, broken) = (BTreeSet::new(), BTreeSet::new());
    MapEdge { from, to, state: EdgeState::Known, relation: None, teams, broken, way: Vec::new() }
}
