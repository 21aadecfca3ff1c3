//! LINEAGE: which data feeds which model, where it comes from and where the model answers. Events of OpenLineage make the graph,
//! activity says what is registered and deployed. It never judges: it says what is known, and policies judge that.
//!
//! Read `graph` first (nodes, what reaches them, how a change is carried on), then `runs` (events to flows), `map` (what a person or a
//! program is shown) and `draw` (the picture of it).

mod draw;
mod graph;
pub mod map;
mod origins;
pub mod rules;
mod runs;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub use self::draw::svg;
use self::graph::{Graph, NodeId, What};
use self::rules::LineageRules;
use self::runs::{Runs, Touched};
use crate::model::Text;
use crate::model::activity::ActivityEvent;
use crate::model::lineage::{Job, LineageEvent, ModelName, StatedDataset, Told};
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
    /// By model and region: usage was seen.
    answers: BTreeMap<(Text, Text), Answers>,
}

/// What tells deployments apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    model: ModelName,
    region: Option<Text>,
    environment: Option<Text>,
    resource_id: Option<Text>,
    team: Text,
}

#[derive(Clone, Debug)]
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

/// What is known of the data that a model was made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelFacts {
    pub model: ModelName,
    /// Cloud regions and countries, sorted.
    pub origins: Vec<Text>,
    /// Some or all of its data has no known source.
    pub has_gap: bool,
}

impl Lineage {
    /// Rules that hold from now on, for what is there as well.
    pub fn follow(&mut self, rules: &LineageRules) {
        self.graph.follow(rules);
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
                self.runs.define(&mut self.graph, &name, touched);
            }
            Told::Dataset(dataset) => {
                let touched = self.touched(std::slice::from_ref(dataset), &[]);
                touched.name_models(&mut self.graph);
            }
        }
    }

    /// Takes an event of the topic `activity-events`; those that say nothing of models change nothing.
    pub fn take_activity(&mut self, event: &ActivityEvent) {
        let Some(model) = event.model.clone() else { return };
        let name = ModelName { model, version: event.model_version.clone() };
        match event.action.as_deref() {
            Some("model_registered") => {
                let id = self.graph.model(&name);
                if let Some(dataset) = &event.dataset {
                    let dataset = self.graph.dataset(dataset);
                    self.graph.link(dataset, id);
                }
                if let Some(origin) = &event.origin_region {
                    self.graph.register(id, std::slice::from_ref(origin));
                }
                self.registered.insert(name);
            }
            Some("deployment") => {
                self.graph.model(&name);
                let (provider, approval) = (event.provider.clone(), event.approval.clone());
                self.deployments.insert(place(event, name), Deployment { since: event.event_time, provider, approval });
            }
            Some("undeployment") => {
                self.deployments.remove(&place(event, name));
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

    /// Models of which something else is known than at the last call.
    pub fn take_facts(&mut self) -> Vec<ModelFacts> {
        self.graph.settle();
        self.graph.take_changed().into_iter().filter_map(|id| self.facts(id)).collect()
    }

    fn facts(&self, id: NodeId) -> Option<ModelFacts> {
        let node = self.graph.node(id)?;
        let What::Model(model) = &node.what else { return None };
        Some(ModelFacts { model: model.clone(), origins: self.graph.sets.names(node.known.origins), has_gap: node.known.has_gap() })
    }

    fn job(&mut self, job: &Job) -> Text {
        let name: Text = format!("{}/{}", job.namespace, job.name).as_str().into();
        if let Some(owner) = &job.owner {
            self.owners.insert(name.clone(), owner.clone());
        }
        name
    }

    fn touched(&mut self, inputs: &[StatedDataset], outputs: &[StatedDataset]) -> Touched {
        let mut touched = Touched::default();
        for (stated, ids) in [(inputs, &mut touched.inputs), (outputs, &mut touched.outputs)] {
            for dataset in stated {
                let id = self.graph.dataset(&format!("{}/{}", dataset.namespace, dataset.name));
                if let Some(origins) = &dataset.origins {
                    self.graph.state(id, origins);
                }
                touched.models.extend(dataset.model.iter().map(|model| (id, model.clone())));
                ids.insert(id);
            }
        }
        touched
    }
}

fn place(event: &ActivityEvent, model: ModelName) -> Place {
    let (region, environment, resource_id) = (event.region.clone(), event.environment.clone(), event.resource_id.clone());
    Place { model, region, environment, resource_id, team: event.team.clone() }
}
