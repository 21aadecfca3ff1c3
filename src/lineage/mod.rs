//! LINEAGE: which data feeds which model, where it comes from and where the model answers. Events of OpenLineage make the graph,
//! activity says what is registered and deployed. It never judges: it says what is known, and policies judge that.
//!
//! Read `graph` first (nodes, what reaches them, how a change is carried on), then `runs` (events to flows), `same` (data of several
//! names), `uses` (who reads what), `map` (what a person or a program is shown) and `draw` (the picture of it).

mod draw;
mod graph;
pub mod map;
#[cfg(test)]
mod names_tests;
mod origins;
pub mod rules;
mod runs;
mod same;
pub mod state;
#[cfg(test)]
mod tests;
mod uses;
#[cfg(test)]
mod uses_tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use self::draw::svg;
use self::graph::{Graph, NodeId, What};
use self::rules::LineageRules;
use self::runs::{Runs, Touched};
use self::state::Key;
use self::uses::Uses;
use crate::model::Text;
use crate::model::activity::ActivityEvent;
use crate::model::approval::{self, Approvals};
use crate::model::hash::hash128;
use crate::model::lineage::{
    DatasetUse, Job, Lifecycle, LineageEvent, LineageItem, LineageRecord, ModelFacts, ModelName, StatedDataset, Told,
};
use crate::model::time::Timestamp;

/// Everything that was told of lineage.
#[derive(Clone, Debug, Default)]
pub struct Lineage {
    graph: Graph,
    runs: Runs,
    /// By job: who owns it.
    owners: BTreeMap<Text, Text>,
    registered: BTreeSet<ModelName>,
    deployments: BTreeMap<Place, Deployment>,
    /// By team.
    approvals: BTreeMap<Text, Approvals>,
    /// By model and region: usage was seen.
    answers: BTreeMap<(Text, Text), Answers>,
    /// What was last told of each model.
    told: BTreeMap<ModelName, (Vec<Text>, bool)>,
    uses: Uses,
    /// What the changelog does not have yet.
    changed: BTreeSet<Key>,
}

/// What tells deployments apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Place {
    model: ModelName,
    region: Option<Text>,
    environment: Option<Text>,
    resource_id: Option<Text>,
    team: Text,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Deployment {
    since: Timestamp,
    provider: Option<Text>,
    approval: Option<Text>,
}

#[derive(Clone, Debug, Default)]
struct Answers {
    teams: BTreeSet<Text>,
    provider: Option<Text>,
    last: Timestamp,
}

impl Lineage {
    /// Rules that hold from now on, for what is there as well.
    pub fn follow(&mut self, rules: &LineageRules) {
        self.graph.follow(rules);
    }

    /// Datasets, jobs and models.
    pub fn nodes(&self) -> usize {
        self.graph.nodes.len()
    }

    /// Nodes that were computed so far, again and again counted: what changes have cost.
    pub fn computed(&self) -> u64 {
        self.graph.computed
    }

    /// Takes a record of the lineage log.
    pub fn take(&mut self, record: &LineageRecord) {
        for item in &record.items {
            match item {
                LineageItem::Event(event) => self.apply(event),
                LineageItem::Activity(event) => self.take_activity(event),
            }
        }
    }

    /// Takes an event of the topic `lineage-events`. The same one again changes nothing.
    pub fn apply(&mut self, event: &LineageEvent) {
        match &event.told {
            Told::Run { run_id, state, job, inputs, outputs } => {
                let touched = self.touched(inputs, outputs);
                let name = self.job(job);
                self.runs.take(&mut self.graph, run_id, *state, &name, touched);
            }
            Told::Job { job, inputs, outputs } => {
                let touched = self.touched(inputs, outputs);
                let name = self.job(job);
                self.runs.define(&mut self.graph, &name, &touched);
            }
            Told::Dataset(dataset) => {
                let touched = self.touched(std::slice::from_ref(dataset), &[]);
                touched.name_models(&mut self.graph);
                let named = touched.models.iter().filter_map(|(id, _)| self.graph.dataset_key(*id));
                self.changed.extend(named);
                self.changed.extend(touched.rename(&mut self.graph));
            }
        }
    }

    /// Takes an event of the topic `activity-events`; those that say nothing of models and approvals change nothing.
    pub fn take_activity(&mut self, event: &ActivityEvent) {
        if approval::concerns(event) && self.approvals.entry(event.team.clone()).or_default().take(event, event.event_time) {
            self.changed.insert(Key::Approvals(event.team.clone()));
        }
        if uses::is_use(event) {
            self.uses.take(&mut self.graph, event);
        }
        let Some(model) = event.model.clone() else { return };
        let name = ModelName { model, version: event.model_version.clone() };
        match event.action.as_deref() {
            Some("model_registered") => {
                let id = self.graph.model(&name);
                if let Some(dataset) = &event.dataset {
                    self.changed.insert(Key::Dataset(dataset.clone()));
                    let dataset = self.graph.dataset(dataset);
                    self.graph.link(dataset, id);
                }
                if let Some(origin) = &event.origin_region {
                    self.graph.register(id, std::slice::from_ref(origin));
                }
                self.changed.insert(Key::Model(name.clone()));
                self.registered.insert(name);
            }
            Some("deployment") => {
                self.graph.model(&name);
                let (provider, approval) = (event.provider.clone(), event.approval.clone());
                let place = place(event, name);
                self.changed.insert(Key::Deployment(place.clone()));
                self.deployments.insert(place, Deployment { since: event.event_time, provider, approval });
            }
            Some("undeployment") => {
                let place = place(event, name);
                self.deployments.remove(&place);
                self.changed.insert(Key::Deployment(place));
            }
            _ => {}
        }
    }

    /// Usage of a model was seen. `team` is who pays.
    pub fn take_answer(&mut self, model: &Text, region: &Text, provider: &Text, team: &Text, at: Timestamp) {
        if model.is_empty() || region.is_empty() {
            return;
        }
        let answers = self.answers.entry((model.clone(), region.clone())).or_default();
        answers.teams.insert(team.clone());
        answers.provider = Some(provider.clone()).filter(|provider| !provider.is_empty()).or(answers.provider.take());
        answers.last = answers.last.max(at);
    }

    /// What is known of models of which something else was known when it was last told.
    pub fn take_facts(&mut self) -> Vec<ModelFacts> {
        self.graph.settle();
        let changed = self.graph.take_changed();
        self.uses.stir(changed.iter().copied());
        let changed: Vec<ModelFacts> = changed.into_iter().filter_map(|id| self.facts(id)).collect();
        let mut facts = Vec::new();
        for fact in changed {
            let known = (fact.origins.clone(), fact.has_gap);
            if self.told.get(&fact.model) != Some(&known) {
                self.changed.insert(Key::Told(fact.model.clone()));
                self.told.insert(fact.model.clone(), known);
                facts.push(fact);
            }
        }
        facts
    }

    /// Uses of datasets that are to be judged by the origins of their data: new ones, and those kept of which other origins are known than
    /// when they were last told. Call [`Lineage::take_facts`] first.
    pub fn take_uses(&mut self) -> Vec<DatasetUse> {
        self.uses.take_told(&self.graph)
    }

    /// What is known of a model's data; of the version if it is named and known, else of the model.
    pub fn known(&self, model: &str, version: Option<&str>) -> Option<ModelFacts> {
        let name = |version: Option<&str>| What::Model(ModelName { model: model.into(), version: version.map(Text::from) });
        let id = version.and_then(|version| self.graph.find(&name(Some(version)))).or_else(|| self.graph.find(&name(None)))?;
        self.facts(id)
    }

    fn facts(&self, id: NodeId) -> Option<ModelFacts> {
        let node = self.graph.node(id)?;
        let What::Model(model) = &node.what else { return None };
        Some(ModelFacts { model: model.clone(), origins: self.graph.origins(id), has_gap: self.graph.has_gap(id) })
    }

    fn name(&self, id: NodeId) -> String {
        match self.graph.node(id).map(|node| &node.what) {
            Some(What::Dataset(name) | What::Flow(name)) => name.to_string(),
            Some(What::Model(name)) => name.to_string(),
            None => String::new(),
        }
    }

    fn job(&mut self, job: &Job) -> Text {
        let name: Text = format!("{}/{}", job.namespace, job.name).as_str().into();
        if let Some(owner) = &job.owner
            && self.owners.insert(name.clone(), owner.clone()).as_ref() != Some(owner)
        {
            self.changed.insert(Key::Owner(name.clone()));
        }
        name
    }

    fn touched(&mut self, inputs: &[StatedDataset], outputs: &[StatedDataset]) -> Touched {
        let mut touched = Touched::default();
        for dataset in inputs {
            let id = self.dataset(dataset, &mut touched);
            touched.inputs.insert(id);
        }
        for dataset in outputs {
            let id = self.dataset(dataset, &mut touched);
            touched.outputs.insert(id);
            if dataset.lifecycle.as_ref().is_some_and(Lifecycle::brings_no_data) {
                touched.unwritten.insert(id);
            }
        }
        touched
    }

    /// What is said of the data itself holds at once, whatever becomes of the run.
    fn dataset(&mut self, dataset: &StatedDataset, touched: &mut Touched) -> NodeId {
        let name: Text = format!("{}/{}", dataset.namespace, dataset.name).as_str().into();
        let id = self.graph.dataset(&name);
        if let Some(origins) = &dataset.origins {
            self.graph.state(id, origins);
            self.changed.insert(Key::Dataset(name.clone()));
        }
        for other in &dataset.same_as {
            let other: Text = other.to_string().as_str().into();
            let other_id = self.graph.dataset(&other);
            if self.graph.unite(id, other_id) {
                self.changed.insert(Key::Same(name.clone().min(other.clone()), name.clone().max(other)));
            }
        }
        if let Some(Lifecycle::Rename(Some(previous))) = &dataset.lifecycle {
            touched.renames.insert((self.graph.dataset(&previous.to_string()), id));
        }
        touched.models.extend(dataset.model.iter().map(|model| (id, model.clone())));
        id
    }
}

/// Whether somebody did something that the graph has to know of.
pub fn concerns(event: &ActivityEvent) -> bool {
    approval::concerns(event)
        || uses::is_use(event)
        || (event.model.is_some() && matches!(event.action.as_deref(), Some("model_registered" | "deployment" | "undeployment")))
}

impl Place {
    fn hash(&self) -> u128 {
        let texts = [Some(&self.model.model), self.model.version.as_ref(), self.region.as_ref()];
        let rest = [self.environment.as_ref(), self.resource_id.as_ref(), Some(&self.team)];
        // An absent one differs from any that is there.
        let parts: Vec<String> = texts.into_iter().chain(rest).map(|text| text.map_or(String::new(), |text| format!("={text}"))).collect();
        hash128(&parts.iter().map(String::as_bytes).collect::<Vec<_>>())
    }
}

fn place(event: &ActivityEvent, model: ModelName) -> Place {
    let (region, environment, resource_id) = (event.region.clone(), event.environment.clone(), event.resource_id.clone());
    Place { model, region, environment, resource_id, team: event.team.clone() }
}
