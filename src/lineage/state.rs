//! How the graph stands in its changelog: one key for the position, and one for each thing that was told. A value begins with a version.
//! What follows from them (known origins, flows between nodes) is computed again on restore.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::graph::{NodeId, What};
use super::runs::{Run, Touched};
use super::uses::{Kept, UseName};
use super::{Deployment, Lineage, Place};
use crate::model::Text;
use crate::model::approval::Approvals;
use crate::model::effect::StateChange;
use crate::model::hash::hash128;
use crate::model::lineage::ModelName;

/// A change of any form below is a new one. Version 1 has the first nine kinds of values, in the same form.
const VERSION: u8 = 2;

/// What has a key of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Dataset(Text),
    Model(ModelName),
    Run(Text),
    /// By the node's place; the key is made of the names.
    Flow(NodeId),
    Owner(Text),
    Deployment(Place),
    Told(ModelName),
    /// Of a team.
    Approvals(Text),
    /// Old name and new one.
    Renamed(Text, Text),
    /// Two names of one piece of data, sorted.
    Same(Text, Text),
    Use(UseName),
}

/// Whether a key of the changelog says what watch was told of a model.
pub fn is_of_what_was_told(key: &[u8]) -> bool {
    key.first() == Some(&b't')
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    #[error("state of the lineage graph of version {0}; this program reads version {VERSION}: upgrade tollgate")]
    OtherVersion(u8),
    #[error("a key of the lineage changelog that nobody knows: is the topic written by something else?")]
    UnknownKey,
    #[error("state of the lineage graph that cannot be read or written: {0}")]
    Malformed(String),
}

/// Values, as they stand in the changelog; the names of what they are about are in them.
#[derive(Debug, Serialize, Deserialize)]
enum Stored {
    Position(i64),
    Dataset {
        name: Text,
        stated: Option<Vec<Text>>,
        models: Vec<ModelName>,
    },
    Model {
        name: ModelName,
        origins: Option<Vec<Text>>,
        is_registered: bool,
    },
    /// As version 1 writes it.
    Run {
        id: Text,
        number: u64,
        job: Text,
        counts: bool,
        inputs: Vec<Text>,
        outputs: Vec<Text>,
        models: Vec<(Text, ModelName)>,
    },
    Flow {
        job: Text,
        inputs: Vec<Text>,
        outputs: Vec<Text>,
        runs: u64,
    },
    Owner {
        job: Text,
        owner: Text,
    },
    Deployment(Place, Deployment),
    Told {
        model: ModelName,
        origins: Vec<Text>,
        has_gap: bool,
    },
    Approvals(Text, Approvals),
    Renamed {
        from: Text,
        to: Text,
    },
    Same {
        one: Text,
        other: Text,
    },
    RunOf(StoredRun),
    Use(UseName, Box<Kept>),
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredRun {
    id: Text,
    number: u64,
    job: Text,
    counts: bool,
    inputs: Vec<Text>,
    outputs: Vec<Text>,
    models: Vec<(Text, ModelName)>,
    renames: Vec<(Text, Text)>,
    unwritten: Vec<Text>,
}

impl Lineage {
    /// Keys of the changelog that have changed since the last call. `position` is the next record of the log to read.
    ///
    /// # Errors
    /// A value that cannot be written: a bug.
    pub fn take_changes(&mut self, position: i64) -> Result<Vec<StateChange>, StateError> {
        let mut changes = vec![StateChange { key: vec![b'p'], value: Some(written(&Stored::Position(position))?) }];
        let (runs, uses) = (self.runs.take_changed(), self.uses.take_changed());
        let keys = std::mem::take(&mut self.changed).into_iter().chain(runs).chain(uses);
        for key in keys.collect::<BTreeSet<Key>>() {
            let value = self.stored(&key).map(|stored| written(&stored)).transpose()?;
            changes.push(StateChange { key: self.key_bytes(&key), value });
            if let Key::Flow(flow) = key {
                self.runs.lay_down(flow);
            }
        }
        Ok(changes)
    }

    fn stored(&self, key: &Key) -> Option<Stored> {
        match key {
            Key::Dataset(name) => {
                let node = self.graph.node(self.graph.find(&What::Dataset(name.clone()))?)?;
                let model = |id: &NodeId| match &self.graph.node(*id)?.what {
                    What::Model(name) => Some(name.clone()),
                    _ => None,
                };
                let stated = node.stated.map(|set| self.graph.sets.names(set));
                Some(Stored::Dataset { name: name.clone(), stated, models: node.outs.iter().filter_map(model).collect() })
            }
            Key::Model(name) => {
                let node = self.graph.node(self.graph.find(&What::Model(name.clone()))?)?;
                let origins = node.registered.map(|set| self.graph.sets.names(set));
                Some(Stored::Model { name: name.clone(), origins, is_registered: self.registered.contains(name) })
            }
            Key::Run(id) => {
                let run = self.runs.get(id)?;
                let name = |id: NodeId| Text::from(self.name(id).as_str());
                let names = |ids: &BTreeSet<NodeId>| ids.iter().map(|id| name(*id)).collect();
                let Touched { inputs, outputs, models, renames, unwritten } = &run.touched;
                Some(Stored::RunOf(StoredRun {
                    id: id.clone(),
                    number: run.number,
                    job: run.job.clone(),
                    counts: run.counts,
                    inputs: names(inputs),
                    outputs: names(outputs),
                    models: models.iter().map(|(id, model)| (name(*id), model.clone())).collect(),
                    renames: renames.iter().map(|(from, to)| (name(*from), name(*to))).collect(),
                    unwritten: names(unwritten),
                }))
            }
            Key::Flow(id) => {
                let runs = self.runs.of_flow(*id);
                let node = self.graph.node(*id).filter(|_| runs > 0)?;
                let names = |ids: &[NodeId]| ids.iter().map(|id| self.name(*id).as_str().into()).collect();
                Some(Stored::Flow { job: self.name(*id).as_str().into(), inputs: names(&node.ins), outputs: names(&node.outs), runs })
            }
            Key::Owner(job) => Some(Stored::Owner { job: job.clone(), owner: self.owners.get(job)?.clone() }),
            Key::Deployment(place) => Some(Stored::Deployment(place.clone(), self.deployments.get(place)?.clone())),
            Key::Approvals(team) => Some(Stored::Approvals(team.clone(), self.approvals.get(team)?.clone())),
            Key::Renamed(from, to) => Some(Stored::Renamed { from: from.clone(), to: to.clone() }),
            Key::Same(one, other) => Some(Stored::Same { one: one.clone(), other: other.clone() }),
            Key::Use(name) => Some(Stored::Use(name.clone(), Box::new(self.uses.get(name)?.clone()))),
            Key::Told(model) => {
                let (origins, has_gap) = self.told.get(model)?.clone();
                Some(Stored::Told { model: model.clone(), origins, has_gap })
            }
        }
    }

    fn key_bytes(&self, key: &Key) -> Vec<u8> {
        let of_model = |name: &ModelName| hash128(&[name.model.as_bytes(), name.version.as_deref().unwrap_or("\n").as_bytes()]);
        let (kind, hash) = match key {
            Key::Dataset(name) => (b'd', hash128(&[name.as_bytes()])),
            Key::Model(name) => (b'm', of_model(name)),
            Key::Run(id) => (b'r', hash128(&[id.as_bytes()])),
            Key::Flow(id) => (b'f', self.flow_hash(*id)),
            Key::Owner(job) => (b'o', hash128(&[job.as_bytes()])),
            Key::Deployment(place) => (b'e', place.hash()),
            Key::Told(name) => (b't', of_model(name)),
            Key::Approvals(team) => (b'a', hash128(&[team.as_bytes()])),
            Key::Use(UseName { dataset, team, actor, region, action }) => {
                let of = |text: &Option<Text>| text.as_ref().map_or(String::new(), |text| format!("={text}"));
                let [actor, region, action] = [actor, region, action].map(of);
                (b'u', hash128(&[dataset.as_bytes(), team.as_bytes(), actor.as_bytes(), region.as_bytes(), action.as_bytes()]))
            }
            Key::Renamed(from, to) => (b'n', hash128(&[from.as_bytes(), to.as_bytes()])),
            Key::Same(one, other) => (b's', hash128(&[one.as_bytes(), other.as_bytes()])),
        };
        [&[kind], &hash.to_be_bytes()[..]].concat()
    }

    /// Of the names, sorted, that it had when it was made: a flow that was cut has none any more.
    fn flow_hash(&self, id: NodeId) -> u128 {
        let Some((inputs, outputs)) = self.runs.shape(id) else { return 0 };
        let names = |ids: &[NodeId]| -> String {
            let mut names: Vec<String> = ids.iter().map(|id| self.name(*id)).collect();
            names.sort();
            names.join("\n")
        };
        hash128(&[self.name(id).as_bytes(), names(inputs).as_bytes(), names(outputs).as_bytes()])
    }

    /// Takes everything back in that the changelog holds: the newest value of each key that was not deleted. The position.
    ///
    /// # Errors
    /// Bytes of another program or version.
    pub fn restore_all(&mut self, live: BTreeMap<Vec<u8>, Vec<u8>>) -> Result<Option<i64>, StateError> {
        let mut position = None;
        for (key, value) in live {
            position = self.restore(&key, &value)?.or(position);
        }
        Ok(position)
    }

    /// Takes one key back in, in any order; the position, if it was that.
    ///
    /// # Errors
    /// Bytes of another program or version.
    pub fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<Option<i64>, StateError> {
        if !matches!(key.first(), Some(b'p' | b'd' | b'm' | b'r' | b'f' | b'o' | b'e' | b't' | b'a' | b'n' | b's' | b'u')) {
            return Err(StateError::UnknownKey);
        }
        match read(value)? {
            Stored::Position(position) => return Ok(Some(position)),
            Stored::Dataset { name, stated, models } => {
                let id = self.graph.dataset(&name);
                if let Some(stated) = stated {
                    self.graph.state(id, &stated);
                }
                for model in models {
                    let model = self.graph.model(&model);
                    self.graph.link(id, model);
                }
            }
            Stored::Model { name, origins, is_registered } => {
                let id = self.graph.model(&name);
                if let Some(origins) = origins {
                    self.graph.register(id, &origins);
                }
                if is_registered {
                    self.registered.insert(name);
                }
            }
            Stored::Run { id, number, job, counts, inputs, outputs, models } => {
                let (renames, unwritten) = (Vec::new(), Vec::new());
                self.restore_run(StoredRun { id, number, job, counts, inputs, outputs, models, renames, unwritten });
            }
            Stored::RunOf(run) => self.restore_run(run),
            Stored::Use(name, kept) => self.uses.put(&mut self.graph, name, *kept),
            Stored::Renamed { from, to } => {
                let (from, to) = (self.graph.dataset(&from), self.graph.dataset(&to));
                self.graph.link(from, to);
            }
            Stored::Same { one, other } => {
                let (one, other) = (self.graph.dataset(&one), self.graph.dataset(&other));
                self.graph.unite(one, other);
            }
            Stored::Flow { job, inputs, outputs, runs } => {
                let [inputs, outputs] = [inputs, outputs].map(|names| names.iter().map(|name| self.graph.dataset(name)).collect());
                self.runs.put_flow(&mut self.graph, &job, &Touched { inputs, outputs, ..Touched::default() }, runs);
            }
            Stored::Owner { job, owner } => {
                self.owners.insert(job, owner);
            }
            Stored::Deployment(place, deployment) => {
                self.graph.model(&place.model);
                self.deployments.insert(place, deployment);
            }
            Stored::Approvals(team, approvals) => {
                self.approvals.insert(team, approvals);
            }
            Stored::Told { model, origins, has_gap } => {
                self.told.insert(model, (origins, has_gap));
            }
        }
        Ok(None)
    }

    fn restore_run(&mut self, run: StoredRun) {
        let StoredRun { id, number, job, counts, inputs, outputs, models, renames, unwritten } = run;
        let graph = &mut self.graph;
        let touched = Touched {
            inputs: inputs.iter().map(|name| graph.dataset(name)).collect(),
            outputs: outputs.iter().map(|name| graph.dataset(name)).collect(),
            models: models.into_iter().map(|(name, model)| (graph.dataset(&name), model)).collect(),
            renames: renames.iter().map(|(from, to)| (graph.dataset(from), graph.dataset(to))).collect(),
            unwritten: unwritten.iter().map(|name| graph.dataset(name)).collect(),
        };
        self.runs.put(graph, id, Run { number, job, counts, touched, flow: None });
    }

    /// Everything that a restore must give back, in an order of its own: for tests.
    #[cfg(test)]
    pub(super) fn image(&mut self) -> BTreeMap<String, String> {
        self.take_facts();
        let nodes = self.graph.nodes.iter().enumerate().filter(|(_, node)| match node.what {
            // Without flows and statements it is as good as never named; a restore does not name it.
            What::Flow(_) => !node.outs.is_empty(),
            _ => !(node.ins.is_empty() && node.outs.is_empty()),
        });
        let names = |ids: &[NodeId]| {
            let mut names: Vec<String> = ids.iter().map(|id| self.name(*id)).collect();
            names.sort();
            names
        };
        let mut image: BTreeMap<String, String> = nodes
            .map(|(id, node)| {
                let has_gap = self.graph.has_gap(NodeId::try_from(id).unwrap());
                let origins = self.graph.sets.names(node.known.origins);
                let known = format!("{origins:?} {} {:?}", has_gap, node.own().map(|own| self.graph.sets.names(own)));
                (format!("{:?} {:?} {:?}", node.what, names(&node.ins), names(&node.outs)), known)
            })
            .collect();
        image.insert(
            "rest".to_string(),
            format!("{:?} {:?} {:?} {:?} {:?}", self.owners, self.registered, self.deployments, self.approvals, self.told),
        );
        image.insert("uses".to_string(), self.uses.image());
        image.insert("runs".to_string(), self.runs.image(&|id| self.name(id)));
        image
    }
}

fn written(stored: &Stored) -> Result<Vec<u8>, StateError> {
    postcard::to_extend(stored, vec![VERSION]).map_err(|error| StateError::Malformed(error.to_string()))
}

fn read<T: DeserializeOwned>(value: &[u8]) -> Result<T, StateError> {
    match value.split_first() {
        // What version 1 has is as it was.
        Some((1 | &VERSION, rest)) => postcard::from_bytes(rest).map_err(|error| StateError::Malformed(error.to_string())),
        Some((other, _)) => Err(StateError::OtherVersion(*other)),
        None => Err(StateError::Malformed("empty".to_owned())),
    }
}
