//! Runs, put together from their events: what one of them leaves out another may name, in any order. A run counts once it is running or
//! complete; one that only started and then failed has led to nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::graph::{Graph, NodeId};
use crate::model::Text;
use crate::model::lineage::{ModelName, RunState};

/// Runs that are remembered; events of an older one are taken for those of a new one.
const MOST_RUNS: usize = 100_000;

#[derive(Clone, Debug, Default)]
pub struct Runs {
    runs: BTreeMap<Text, Run>,
    /// The oldest first.
    order: VecDeque<Text>,
    /// How many runs have counted for each flow.
    flows: BTreeMap<NodeId, u64>,
}

/// Datasets of a run, or of one of its events.
#[derive(Clone, Debug, Default)]
pub struct Touched {
    pub inputs: BTreeSet<NodeId>,
    pub outputs: BTreeSet<NodeId>,
    /// Which of them are models.
    pub models: BTreeSet<(NodeId, ModelName)>,
}

#[derive(Clone, Debug, Default)]
struct Run {
    touched: Touched,
    counts: bool,
    flow: Option<NodeId>,
}

impl Touched {
    pub fn name_models(&self, graph: &mut Graph) {
        for (dataset, name) in &self.models {
            let model = graph.model(name);
            graph.link(*dataset, model);
        }
    }

    fn flow(&self, graph: &mut Graph, job: &str) -> Option<NodeId> {
        if self.outputs.is_empty() {
            return None;
        }
        let (inputs, outputs): (Vec<_>, Vec<_>) = (self.inputs.iter().copied().collect(), self.outputs.iter().copied().collect());
        Some(graph.flow(job, &inputs, &outputs))
    }
}

impl Runs {
    /// `touched` is what one event of the run names.
    pub fn take(&mut self, graph: &mut Graph, id: &Text, state: RunState, job: &str, touched: Touched) {
        if !self.runs.contains_key(id) {
            self.order.push_back(id.clone());
            if self.order.len() > MOST_RUNS
                && let Some(oldest) = self.order.pop_front()
            {
                self.runs.remove(&oldest);
            }
        }
        let run = self.runs.entry(id.clone()).or_default();
        run.touched.inputs.extend(touched.inputs);
        run.touched.outputs.extend(touched.outputs);
        run.touched.models.extend(touched.models);
        match state {
            // A streaming job never completes, and its data moves all the same.
            RunState::Running | RunState::Complete => run.counts = true,
            RunState::Start | RunState::Other | RunState::Abort | RunState::Fail => {}
        }
        if !run.counts {
            return;
        }
        run.touched.name_models(graph);
        let Some(flow) = run.touched.flow(graph, job) else { return };
        let before = run.flow.replace(flow);
        if before == Some(flow) {
            return;
        }
        *self.flows.entry(flow).or_default() += 1;
        // It was taken for a run of fewer datasets until now.
        if let Some(runs) = before.and_then(|before| self.flows.get_mut(&before)) {
            *runs = runs.saturating_sub(1);
            if *runs == 0 {
                before.into_iter().for_each(|before| graph.cut(before));
            }
        }
    }

    /// By its definition a job always counts.
    pub fn define(&mut self, graph: &mut Graph, job: &str, touched: Touched) {
        touched.name_models(graph);
        if let Some(flow) = touched.flow(graph, job) {
            *self.flows.entry(flow).or_default() += 1;
        }
    }
}
