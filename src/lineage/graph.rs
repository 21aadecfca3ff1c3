//! The graph: datasets, flows (a job with what it read and wrote), models; and what is known of the origins at each.
//!
//! What reaches a node is the union of what reaches those before it. Where something is added, it is carried on until nothing changes;
//! where something is taken away or stated anew, everything behind that is computed again from what stands around it. Nothing else is
//! touched, and the result is the same as that of a computation from the start: it is the least that satisfies all nodes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::origins::{NOTHING, SetId, Sets};
use super::rules::LineageRules;
use super::same::Same;
use super::state::Key;
use crate::model::Text;
use crate::model::hash::hash128;
use crate::model::lineage::ModelName;

pub type NodeId = u32;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// `namespace/name`.
    Dataset(Text),
    /// A job, `namespace/name`, with one set of inputs and outputs.
    Flow(Text),
    Model(ModelName),
}

impl What {
    pub fn bytes(&self) -> usize {
        match self {
            What::Dataset(name) | What::Flow(name) => name.len(),
            What::Model(name) => name.model.len() + name.version.as_ref().map_or(0, |version| version.len()),
        }
    }
}

/// What is known of the data at a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    pub origins: SetId,
    /// Some of it comes from where nobody knows.
    is_unknown: bool,
    /// A step has taken origins away, so that none is no gap.
    is_cleared: bool,
}

impl Known {
    const NOTHING: Known = Known { origins: NOTHING, is_unknown: false, is_cleared: false };
}

#[derive(Clone, Debug)]
pub struct Node {
    pub what: What,
    /// As an event states it.
    pub stated: Option<SetId>,
    /// By the rules of the config.
    ruled: Option<SetId>,
    /// As the registration has it.
    pub registered: Option<SetId>,
    /// Of a flow: the origins that its rule lets pass.
    passes: Option<SetId>,
    pub known: Known,
    pub ins: Vec<NodeId>,
    pub outs: Vec<NodeId>,
}

impl Node {
    /// Its own origins, whatever comes in.
    pub fn own(&self) -> Option<SetId> {
        self.stated.or(self.ruled).or(self.registered)
    }
}

#[derive(Clone, Debug, Default)]
pub struct Graph {
    pub nodes: Vec<Node>,
    ids: BTreeMap<u128, NodeId>,
    pub sets: Sets,
    rules: LineageRules,
    same: Same,
    /// More may come out of these.
    grown: BTreeSet<NodeId>,
    /// Less may come out of these.
    restated: BTreeSet<NodeId>,
    /// What nothing comes from: a ring of datasets that no source feeds, or a dataset that is stated to come from nowhere.
    sourceless: BTreeSet<NodeId>,
    /// These, and what they reach: some of their data has no known source, though something may be known of the rest.
    lost: BTreeSet<NodeId>,
    /// Models, and datasets that are watched, of which something else is known than when they were last taken.
    changed: BTreeSet<NodeId>,
    watched: BTreeSet<NodeId>,
    /// Keys of datasets that are to be watched once they are named.
    awaited: BTreeSet<u128>,
    /// Nodes computed so far, to be seen what a change costs.
    pub computed: u64,
}

impl Graph {
    /// The datasets and jobs that are there are judged by these from now on.
    pub fn follow(&mut self, rules: &LineageRules) {
        if *rules == self.rules {
            return;
        }
        self.rules = rules.clone();
        for id in 0..self.nodes.len() {
            let id = NodeId::try_from(id).unwrap_or(NodeId::MAX);
            let was_said = self.has_own(id);
            if self.rule(id) {
                self.restate(id, was_said);
            }
        }
    }

    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(usize::try_from(id).ok()?)
    }

    fn node_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        self.nodes.get_mut(usize::try_from(id).ok()?)
    }

    pub fn find(&self, what: &What) -> Option<NodeId> {
        self.ids.get(&key(what, &[], &[])).copied()
    }

    pub fn dataset(&mut self, name: &str) -> NodeId {
        let what = What::Dataset(name.into());
        self.id_of(key(&what, &[], &[]), what)
    }

    /// What is known of a dataset is told from now on as it changes, whether it is known yet or not.
    pub fn watch(&mut self, dataset: &str) {
        let key = key(&What::Dataset(dataset.into()), &[], &[]);
        match self.ids.get(&key) {
            Some(id) => self.watched.insert(*id),
            None => self.awaited.insert(key),
        };
    }

    pub fn watch_no_more(&mut self, dataset: &str) {
        let key = key(&What::Dataset(dataset.into()), &[], &[]);
        self.awaited.remove(&key);
        if let Some(id) = self.ids.get(&key) {
            self.watched.remove(id);
        }
    }

    /// Of its data, as far as it is known; sorted.
    pub fn origins(&self, id: NodeId) -> Vec<Text> {
        self.node(id).map(|node| self.sets.names(node.known.origins)).unwrap_or_default()
    }

    fn is_told(&self, id: NodeId) -> bool {
        matches!(self.node(id).map(|node| &node.what), Some(What::Model(_))) || self.watched.contains(&id)
    }

    pub fn dataset_key(&self, id: NodeId) -> Option<Key> {
        match &self.node(id)?.what {
            What::Dataset(name) => Some(Key::Dataset(name.clone())),
            What::Flow(_) | What::Model(_) => None,
        }
    }

    /// A version of a model leads to the model: who does not say which version it uses may use any.
    pub fn model(&mut self, name: &ModelName) -> NodeId {
        let what = What::Model(name.clone());
        let id = self.id_of(key(&what, &[], &[]), what);
        if name.version.is_some() {
            let whole = self.model(&ModelName { model: name.model.clone(), version: None });
            self.link(id, whole);
        }
        id
    }

    /// A job with what it reads and writes, both sorted; one that is there is the same.
    pub fn flow(&mut self, job: &str, inputs: &[NodeId], outputs: &[NodeId]) -> NodeId {
        let what = What::Flow(job.into());
        let id = self.id_of(key(&what, inputs, outputs), what);
        for input in inputs {
            self.link(*input, id);
        }
        for output in outputs {
            self.link(id, *output);
        }
        id
    }

    /// Nothing flows through it any more.
    pub fn cut(&mut self, flow: NodeId) {
        let Some(node) = self.node_mut(flow) else { return };
        let (ins, outs) = (std::mem::take(&mut node.ins), std::mem::take(&mut node.outs));
        for input in ins {
            if let Some(node) = self.node_mut(input) {
                node.outs.retain(|out| *out != flow);
            }
        }
        for output in outs {
            if let Some(node) = self.node_mut(output) {
                node.ins.retain(|input| *input != flow);
            }
            self.restated.insert(output);
        }
        self.restated.insert(flow);
    }

    /// Two names of one piece of data: what is known of either holds for the other. Whether that is news.
    pub fn unite(&mut self, one: NodeId, other: NodeId) -> bool {
        if one == other {
            return false;
        }
        let joined = self.same.join((one, self.has_own(one)), (other, self.has_own(other)));
        let is_news = joined.is_some();
        self.restated.extend(joined.into_iter().flatten());
        // Not only one of the two: what either comes from must be reached by the ways of the graph.
        [self.link(one, other), self.link(other, one)].contains(&true) || is_news
    }

    /// Both are names of one piece of data.
    pub fn are_same(&self, one: NodeId, other: NodeId) -> bool {
        self.same.are(one, other)
    }

    /// Whether that is news.
    pub fn link(&mut self, from: NodeId, to: NodeId) -> bool {
        let (Some(source), Some(target)) = (self.node(from), self.node(to)) else { return false };
        // Asked of the shorter list: one of the two may be a hub.
        let is_linked = if source.outs.len() < target.ins.len() { source.outs.contains(&to) } else { target.ins.contains(&from) };
        if from == to || is_linked {
            return false;
        }
        let was_bare = target.ins.is_empty();
        if let Some(node) = self.node_mut(from) {
            node.outs.push(to);
        }
        if let Some(node) = self.node_mut(to) {
            node.ins.push(from);
        }
        // What had no source may have one now.
        if was_bare {
            self.restated.insert(to)
        } else {
            self.grown.insert(to)
        };
        true
    }

    fn has_own(&self, id: NodeId) -> bool {
        self.node(id).is_some_and(|node| node.own().is_some())
    }

    /// Somebody says where it comes from: of it, or of another name of it.
    fn is_said(&self, id: NodeId) -> bool {
        self.has_own(id) || self.same.is_said(id)
    }

    /// Its own origins are others than before; `was_said`: it had any.
    fn restate(&mut self, id: NodeId, was_said: bool) {
        self.restated.insert(id);
        let is_said = self.has_own(id);
        if was_said != is_said {
            self.restated.extend(self.same.say(id, is_said));
        }
    }

    /// `origins` is where an event says that its data comes from.
    pub fn state(&mut self, id: NodeId, origins: &[Text]) {
        let set = self.sets.of(origins);
        let was_said = self.has_own(id);
        if let Some(node) = self.node_mut(id)
            && node.stated != set
        {
            node.stated = set;
            self.restate(id, was_said);
        }
    }

    /// `origins` is where its registration says that its data comes from.
    pub fn register(&mut self, id: NodeId, origins: &[Text]) {
        let set = self.sets.of(origins);
        let was_said = self.has_own(id);
        if let Some(node) = self.node_mut(id)
            && node.registered != set
        {
            node.registered = set;
            self.restate(id, was_said);
        }
    }

    fn id_of(&mut self, key: u128, what: What) -> NodeId {
        if let Some(id) = self.ids.get(&key) {
            return *id;
        }
        let id = NodeId::try_from(self.nodes.len()).unwrap_or(NodeId::MAX);
        assert!(id < NodeId::MAX, "a graph of four billion nodes does not fit into memory");
        self.ids.insert(key, id);
        if self.awaited.remove(&key) {
            self.watched.insert(id);
        }
        let (ins, outs) = (Vec::new(), Vec::new());
        self.nodes.push(Node { what, stated: None, ruled: None, registered: None, passes: None, known: Known::NOTHING, ins, outs });
        self.rule(id);
        self.restated.insert(id);
        id
    }

    /// Whether the rules say something else of it now.
    fn rule(&mut self, id: NodeId) -> bool {
        let Some(what) = self.node(id).map(|node| node.what.clone()) else { return false };
        let (mut ruled, mut passes) = (None, None);
        match &what {
            What::Dataset(name) => ruled = self.rules.origin_of(name).map(<[Text]>::to_vec),
            What::Flow(job) => passes = self.rules.step_of(job).map(<[Text]>::to_vec),
            What::Model(_) => {}
        }
        let [ruled, passes] = [ruled, passes].map(|names| names.and_then(|names| self.sets.of(&names)));
        let Some(node) = self.node_mut(id) else { return false };
        let is_new = (node.ruled, node.passes) != (ruled, passes);
        (node.ruled, node.passes) = (ruled, passes);
        is_new
    }

    /// Computes what has become of all changes since the last call.
    pub fn settle(&mut self) {
        let mut waiting: VecDeque<NodeId> = std::mem::take(&mut self.grown).into_iter().collect();
        let mut before = Vec::new();
        let mut behind: VecDeque<NodeId> = std::mem::take(&mut self.restated).into_iter().collect();
        let mut affected: BTreeSet<NodeId> = behind.iter().copied().collect();
        while let Some(id) = behind.pop_front() {
            let Some(node) = self.node_mut(id) else { continue };
            before.push((id, node.known));
            node.known = Known::NOTHING;
            let outs = node.outs.clone();
            behind.extend(outs.into_iter().filter(|out| affected.insert(*out)));
        }
        waiting.extend(before.iter().map(|(id, _)| *id));
        let mut is_waiting: BTreeSet<NodeId> = waiting.iter().copied().collect();
        let mut touched = BTreeSet::new();
        while let Some(id) = waiting.pop_front() {
            is_waiting.remove(&id);
            touched.insert(id);
            let known = self.compute(id);
            let Some(node) = self.node_mut(id) else { continue };
            if node.known == known {
                continue;
            }
            node.known = known;
            let outs = node.outs.clone();
            if !affected.contains(&id) && self.is_told(id) {
                self.changed.insert(id);
            }
            waiting.extend(outs.into_iter().filter(|out| is_waiting.insert(*out)));
        }
        for (id, known) in before {
            let Some(node) = self.node(id) else { continue };
            if node.known != known && self.is_told(id) {
                self.changed.insert(id);
            }
        }
        self.carry_on_losses(&touched);
    }

    /// What nothing comes from is known only once everything else has settled; what it reaches lacks a part of its data's sources.
    fn carry_on_losses(&mut self, touched: &BTreeSet<NodeId>) {
        let mut concerns = false;
        for id in touched {
            let Some(node) = self.node(*id) else { continue };
            let is_sourceless = node.known == Known::NOTHING;
            let was_lost = self.lost.contains(id) || node.ins.iter().any(|input| self.lost.contains(input));
            concerns |= is_sourceless || was_lost;
            if is_sourceless {
                self.sourceless.insert(*id);
            } else {
                self.sourceless.remove(id);
            }
        }
        if !concerns {
            return;
        }
        let mut lost = self.sourceless.clone();
        let mut waiting: Vec<NodeId> = lost.iter().copied().collect();
        while let Some(id) = waiting.pop() {
            let outs = self.node(id).map(|node| &node.outs[..]).unwrap_or_default();
            let carries = |id: &NodeId| !self.is_said(*id) && self.node(*id).is_some_and(|node| node.passes.is_none());
            waiting.extend(outs.iter().filter(|out| carries(out) && lost.insert(**out)));
        }
        let is_model = |id: &&NodeId| matches!(self.node(**id).map(|node| &node.what), Some(What::Model(_)));
        let differs: Vec<NodeId> = lost.symmetric_difference(&self.lost).filter(is_model).copied().collect();
        self.changed.extend(differs);
        self.lost = lost;
    }

    /// Some or all of a node's data has no known source.
    pub fn has_gap(&self, id: NodeId) -> bool {
        self.lost.contains(&id) || self.node(id).is_some_and(|node| node.known.is_unknown)
    }

    #[cfg(test)]
    pub fn rules(&self) -> LineageRules {
        self.rules.clone()
    }

    /// Forgets all that is known and computes it from the start.
    #[cfg(test)]
    pub fn compute_all(&mut self) {
        self.restated.extend(0..NodeId::try_from(self.nodes.len()).unwrap());
        self.settle();
    }

    fn compute(&mut self, id: NodeId) -> Known {
        self.computed += 1;
        let Some(node) = self.node(id) else { return Known::NOTHING };
        let (own, passes, is_flow) = (node.own(), node.passes, matches!(node.what, What::Flow(_)));
        let is_said = self.is_said(id);
        let ins: Vec<Known> = node.ins.iter().filter_map(|input| self.node(*input)).map(|node| node.known).collect();
        let mut known = Known { origins: own.unwrap_or(NOTHING), is_unknown: ins.is_empty(), is_cleared: false };
        for input in ins {
            known.origins = self.sets.union(known.origins, input.origins);
            known.is_unknown |= input.is_unknown;
            known.is_cleared |= input.is_cleared;
        }
        match passes {
            Some(passes) if is_flow => {
                Known { origins: self.sets.intersection(known.origins, passes), is_unknown: false, is_cleared: true }
            }
            // Somebody says where it comes from.
            _ if is_said => Known { is_unknown: false, ..known },
            _ => known,
        }
    }

    /// Models and watched datasets of which something else is known than at the last call, in the order in which they were first named.
    pub fn take_changed(&mut self) -> Vec<NodeId> {
        std::mem::take(&mut self.changed).into_iter().collect()
    }

    /// The shortest way by which an origin (or, with `None`, data without a known source) comes to a node, its source first.
    pub fn way(&self, to: NodeId, origin: Option<&str>) -> Vec<NodeId> {
        let reaches = |id: NodeId, node: &Node| match origin {
            Some(origin) => self.sets.contains(node.known.origins, origin),
            None => self.has_gap(id),
        };
        let is_source = |id: NodeId, node: &Node| match origin {
            Some(origin) => node.own().is_some_and(|own| self.sets.contains(own, origin)),
            None => node.ins.is_empty() || self.sourceless.contains(&id),
        };
        let mut after: BTreeMap<NodeId, NodeId> = BTreeMap::from([(to, to)]);
        let mut waiting = VecDeque::from([to]);
        while let Some(id) = waiting.pop_front() {
            let Some(node) = self.node(id).filter(|node| reaches(id, node)) else { continue };
            if is_source(id, node) {
                let mut way = vec![id];
                let mut at = id;
                while at != to {
                    at = after.get(&at).copied().unwrap_or(to);
                    way.push(at);
                }
                return way;
            }
            for input in &node.ins {
                if !after.contains_key(input) {
                    after.insert(*input, id);
                    waiting.push_back(*input);
                }
            }
        }
        Vec::new()
    }

    /// A node and everything that leads to it.
    pub fn before(&self, ids: impl IntoIterator<Item = NodeId>) -> BTreeSet<NodeId> {
        let mut found: BTreeSet<NodeId> = ids.into_iter().collect();
        let mut waiting: Vec<NodeId> = found.iter().copied().collect();
        while let Some(id) = waiting.pop() {
            let ins = self.node(id).map(|node| &node.ins[..]).unwrap_or_default();
            waiting.extend(ins.iter().filter(|input| found.insert(**input)));
        }
        found
    }
}

fn key(what: &What, inputs: &[NodeId], outputs: &[NodeId]) -> u128 {
    let bytes = |ids: &[NodeId]| -> Vec<u8> { ids.iter().flat_map(|id| id.to_le_bytes()).collect() };
    match what {
        What::Dataset(name) => hash128(&[b"dataset", name.as_bytes()]),
        What::Flow(job) => hash128(&[b"flow", job.as_bytes(), &bytes(inputs), &bytes(outputs)]),
        What::Model(ModelName { model, version: None }) => hash128(&[b"model", model.as_bytes()]),
        What::Model(ModelName { model, version: Some(version) }) => hash128(&[b"version", model.as_bytes(), version.as_bytes()]),
    }
}
