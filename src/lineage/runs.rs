//! Runs, put together from their events: what one of them leaves out another may name, in any order. A run counts once it is running or
//! complete; one that only started and then failed has led to nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::graph::{Graph, NodeId};
use super::state::Key;
use crate::model::Text;
use crate::model::lineage::{ModelName, RunState};

/// Runs that are remembered; events of an older one are taken for those of a new one.
const MOST_RUNS: usize = 100_000;
/// Datasets of one run, and bytes of their names. A job that streams for ever names ever new ones under one run id: what it names beyond is
/// taken for another run of the same id, so that neither memory nor the run's one key grow without end. An output may stand three times in
/// that key, which has to fit into a record of the changelog ([`crate::kafka::client::INTERNAL_RECORD`]).
const MOST_DATASETS: usize = if cfg!(test) { 20 } else { 20_000 };
const MOST_BYTES: usize = if cfg!(test) { 4_096 } else { 2 * 1024 * 1024 };

#[derive(Clone, Debug, Default)]
pub struct Runs {
    runs: BTreeMap<Text, Run>,
    /// By number, the oldest first.
    order: BTreeMap<u64, Text>,
    next: u64,
    flows: BTreeMap<NodeId, Flow>,
    changed: BTreeSet<Key>,
}

/// How many runs have counted for it, and what it was made of.
#[derive(Clone, Debug, Default)]
struct Flow {
    runs: u64,
    inputs: Vec<NodeId>,
    outputs: Vec<NodeId>,
}

/// Datasets of a run, or of one of its events.
#[derive(Clone, Debug, Default)]
pub struct Touched {
    pub inputs: BTreeSet<NodeId>,
    pub outputs: BTreeSet<NodeId>,
    /// Which of them are models.
    pub models: BTreeSet<(NodeId, ModelName)>,
    /// Old name and new one.
    pub renames: BTreeSet<(NodeId, NodeId)>,
    /// Outputs that were only dropped, emptied, altered or renamed, as far as one knows.
    pub unwritten: BTreeSet<NodeId>,
}

#[derive(Clone, Debug)]
pub struct Run {
    /// Counts up with each new run.
    pub number: u64,
    pub job: Text,
    pub touched: Touched,
    pub counts: bool,
    pub flow: Option<NodeId>,
}

impl Touched {
    fn datasets(&self) -> usize {
        self.inputs.len() + self.outputs.len()
    }

    fn bytes(&self, graph: &Graph) -> usize {
        self.inputs.iter().chain(&self.outputs).filter_map(|id| graph.node(*id)).map(|node| node.what.bytes()).sum()
    }

    fn has_room_for(&self, more: &Touched, graph: &Graph) -> bool {
        self.datasets() + more.datasets() <= MOST_DATASETS && self.bytes(graph) + more.bytes(graph) <= MOST_BYTES
    }

    pub fn name_models(&self, graph: &mut Graph) {
        for (dataset, name) in &self.models {
            let model = graph.model(name);
            graph.link(*dataset, model);
        }
    }

    /// The data under the old name is what the new one begins with. Keys of those that are news.
    pub fn rename(&self, graph: &mut Graph) -> Vec<Key> {
        let mut news = Vec::new();
        for (from, to) in &self.renames {
            if graph.link(*from, *to)
                && let (Some(Key::Dataset(from)), Some(Key::Dataset(to))) = (graph.dataset_key(*from), graph.dataset_key(*to))
            {
                news.push(Key::Renamed(from, to));
            }
        }
        news
    }

    /// What data came into. Where nothing was read, nothing came into what was only renamed or the like.
    fn written(&self) -> impl Iterator<Item = NodeId> {
        let is_written = |id: &&NodeId| !self.inputs.is_empty() || !self.unwritten.contains(id);
        self.outputs.iter().filter(is_written).copied()
    }
}

impl Runs {
    /// `touched` is what one event of the run names.
    pub fn take(&mut self, graph: &mut Graph, id: &Text, state: RunState, job: &Text, touched: Touched) {
        let mut run = self.runs.remove(id).unwrap_or_else(|| {
            self.next += 1;
            Run { number: self.next, job: job.clone(), touched: Touched::default(), counts: false, flow: None }
        });
        if run.touched.datasets() > 0 && !run.touched.has_room_for(&touched, graph) {
            // What it reads stays known, where that is not what is ever new: it is not named again with each event.
            let kept = Touched { inputs: std::mem::take(&mut run.touched.inputs), ..Touched::default() };
            let is_short = kept.datasets() <= MOST_DATASETS / 2 && kept.bytes(graph) <= MOST_BYTES / 2;
            (run.touched, run.flow) = (if is_short { kept } else { Touched::default() }, None);
        }
        run.touched.inputs.extend(touched.inputs);
        run.touched.outputs.extend(touched.outputs);
        run.touched.models.extend(touched.models);
        run.touched.renames.extend(touched.renames);
        run.touched.unwritten.extend(touched.unwritten);
        match state {
            // A streaming job never completes, and its data moves all the same.
            RunState::Running | RunState::Complete => run.counts = true,
            RunState::Start | RunState::Other | RunState::Abort | RunState::Fail => {}
        }
        if run.counts {
            run.touched.name_models(graph);
            self.changed.extend(run.touched.models.iter().filter_map(|(dataset, _)| graph.dataset_key(*dataset)));
            self.changed.extend(run.touched.rename(graph));
            self.count(graph, &mut run);
        }
        self.changed.insert(Key::Run(id.clone()));
        self.keep(id.clone(), run);
    }

    /// Counts it for the flow of what it touched, as far as that is known by now.
    fn count(&mut self, graph: &mut Graph, run: &mut Run) {
        let flow = self.flow(graph, &run.job, &run.touched);
        let before = std::mem::replace(&mut run.flow, flow);
        if before == flow {
            return;
        }
        if let Some(flow) = flow {
            self.add(flow, 1);
        }
        // It was taken for a run of other datasets until now.
        let Some(before) = before else { return };
        self.changed.insert(Key::Flow(before));
        if let Some(known) = self.flows.get_mut(&before) {
            known.runs = known.runs.saturating_sub(1);
            if known.runs == 0 {
                graph.cut(before);
            }
        }
    }

    /// By its definition a job always counts.
    pub fn define(&mut self, graph: &mut Graph, job: &str, touched: &Touched) {
        touched.name_models(graph);
        self.changed.extend(touched.models.iter().filter_map(|(dataset, _)| graph.dataset_key(*dataset)));
        self.changed.extend(touched.rename(graph));
        if let Some(flow) = self.flow(graph, job, touched) {
            // Said again it is no other one.
            if self.of_flow(flow) == 0 {
                self.add(flow, 1);
            }
        }
    }

    fn flow(&mut self, graph: &mut Graph, job: &str, touched: &Touched) -> Option<NodeId> {
        let (inputs, outputs): (Vec<NodeId>, Vec<NodeId>) = (touched.inputs.iter().copied().collect(), touched.written().collect());
        if outputs.is_empty() {
            return None;
        }
        let flow = graph.flow(job, &inputs, &outputs);
        let known = self.flows.entry(flow).or_default();
        if known.runs == 0 {
            (known.inputs, known.outputs) = (inputs, outputs);
        }
        Some(flow)
    }

    /// What a flow was made of is not asked for any more once nothing flows and its key is written.
    pub fn lay_down(&mut self, flow: NodeId) {
        if let Some(known) = self.flows.get_mut(&flow)
            && known.runs == 0
        {
            *known = Flow::default();
        }
    }

    fn add(&mut self, flow: NodeId, runs: u64) {
        self.changed.insert(Key::Flow(flow));
        self.flows.entry(flow).or_default().runs += runs;
    }

    fn keep(&mut self, id: Text, run: Run) {
        self.next = self.next.max(run.number);
        self.order.insert(run.number, id.clone());
        self.runs.insert(id, run);
        if self.order.len() > MOST_RUNS
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.runs.remove(&oldest);
            self.changed.insert(Key::Run(oldest));
        }
    }

    pub fn get(&self, id: &str) -> Option<&Run> {
        self.runs.get(id)
    }

    pub fn of_flow(&self, flow: NodeId) -> u64 {
        self.flows.get(&flow).map_or(0, |flow| flow.runs)
    }

    /// What a flow was made of, whether anything still flows or not.
    pub fn shape(&self, flow: NodeId) -> Option<(&[NodeId], &[NodeId])> {
        self.flows.get(&flow).map(|flow| (&flow.inputs[..], &flow.outputs[..]))
    }

    /// A run of the changelog. Its flow has a key of its own, and is counted there.
    pub fn put(&mut self, graph: &mut Graph, id: Text, mut run: Run) {
        if run.counts {
            run.touched.name_models(graph);
            run.touched.rename(graph);
            run.flow = self.flow(graph, &run.job, &run.touched);
        }
        self.keep(id, run);
    }

    /// A flow of the changelog.
    pub fn put_flow(&mut self, graph: &mut Graph, job: &str, touched: &Touched, runs: u64) {
        if let Some(flow) = self.flow(graph, job, touched) {
            self.flows.entry(flow).or_default().runs = runs;
        }
    }

    pub fn take_changed(&mut self) -> BTreeSet<Key> {
        std::mem::take(&mut self.changed)
    }

    /// Datasets that are held for flows, each as often as it is.
    #[cfg(test)]
    pub fn held(&self) -> usize {
        self.flows.values().map(|flow| flow.inputs.len() + flow.outputs.len()).sum()
    }

    #[cfg(test)]
    pub fn image(&self, name: &dyn Fn(NodeId) -> String) -> String {
        let names = |ids: &BTreeSet<NodeId>| {
            let mut names: Vec<String> = ids.iter().map(|id| name(*id)).collect();
            names.sort();
            names
        };
        let runs: Vec<_> = self
            .runs
            .iter()
            .map(|(id, run)| {
                let Touched { inputs, outputs, renames, unwritten, .. } = &run.touched;
                let renames: BTreeSet<_> = renames.iter().map(|(from, to)| (name(*from), name(*to))).collect();
                (id, run.number, &run.job, run.counts, names(inputs), names(outputs), renames, names(unwritten))
            })
            .collect();
        let mut flows: Vec<_> =
            self.flows.iter().filter(|(_, flow)| flow.runs > 0).map(|(id, flow)| (name(*id), flow.runs, flow.outputs.len())).collect();
        flows.sort();
        format!("{runs:?} {flows:?}")
    }
}
