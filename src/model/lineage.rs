//! A lineage event: which datasets a run of a job read and wrote, as OpenLineage tells it, and what Tollgate's own facets say of them.

use serde::{Deserialize, Serialize};

use super::Text;
use super::activity::ActivityEvent;
use super::pattern::matches;
use super::time::Timestamp;

/// Value of a record of the lineage log: what one transaction of intake has read that lineage needs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LineageRecord {
    pub items: Vec<LineageItem>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum LineageItem {
    Event(LineageEvent),
    /// A registration or deployment of a model, or the end of one.
    Activity(Box<ActivityEvent>),
}

/// What is known of the data that a model was made of; LINEAGE tells it to every shard when it changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelFacts {
    pub model: ModelName,
    /// Cloud regions and countries (ISO 3166-1 alpha-2), sorted.
    pub origins: Vec<Text>,
    /// Some or all of its data has no known source.
    pub has_gap: bool,
}

/// Somebody read or moved a dataset of which lineage knows where it comes from; for the shard of their team, which knows the event already.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DatasetUse {
    pub activity: ActivityEvent,
    /// Cloud regions and countries, sorted; at least one.
    pub origins: Vec<Text>,
}

/// A validated event of the topic `lineage-events`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineageEvent {
    /// 32 hex digits, made of producer, run (or job, or dataset), type and time: the same event twice has it twice.
    pub event_id: Text,
    pub producer: Text,
    pub event_time: Timestamp,
    pub told: Told,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Told {
    /// A run, as far as it has come. Its events add up: what one of them names another may leave out.
    Run { run_id: Text, state: RunState, job: Job, inputs: Vec<StatedDataset>, outputs: Vec<StatedDataset> },
    /// What a job reads and writes by its definition, whether it runs or not.
    Job { job: Job, inputs: Vec<StatedDataset>, outputs: Vec<StatedDataset> },
    /// Something about a dataset alone.
    Dataset(StatedDataset),
}

/// `eventType` of a run event (OpenLineage spec, RunEvent); an absent one is `Other`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunState {
    Start,
    Running,
    Complete,
    Abort,
    Fail,
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Job {
    pub namespace: Text,
    pub name: Text,
    /// The first owner of the ownership facet, without its `team:`.
    pub owner: Option<Text>,
}

/// A dataset as one event names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatedDataset {
    pub namespace: Text,
    pub name: Text,
    /// Facet `tollgate_origin`: where the data comes from, as cloud regions or countries (ISO 3166-1 alpha-2). `None`: it does not say.
    pub origins: Option<Vec<Text>>,
    /// Facet `tollgate_model`: the dataset is this model, or a version of it.
    pub model: Option<ModelName>,
    /// Facet `lifecycleStateChange`: what was done to the dataset itself.
    pub lifecycle: Option<Lifecycle>,
    /// Facet `symlinks`: other names of the same data.
    pub same_as: Vec<DatasetName>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DatasetName {
    pub namespace: Text,
    pub name: Text,
}

/// `lifecycleStateChange` of the facet of this name (OpenLineage spec, LifecycleStateChangeDatasetFacet 1-0-1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lifecycle {
    Alter,
    Create,
    Drop,
    Overwrite,
    /// From its previous name; `None`: the event does not say from which.
    Rename(Option<DatasetName>),
    Truncate,
}

/// A model, or one version of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ModelName {
    pub model: Text,
    pub version: Option<Text>,
}

/// What the config says of the origin of data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginRule {
    /// Pattern with `*` over `namespace/name`.
    pub dataset: Text,
    /// Cloud regions or countries.
    pub regions: Vec<Text>,
}

/// Where data comes from by the first rule that fits it.
pub fn origin_of<'a>(rules: &'a [OriginRule], dataset: &str) -> Option<&'a [Text]> {
    rules.iter().find(|rule| matches(&rule.dataset, dataset)).map(|rule| &rule.regions[..])
}

impl RunState {
    pub const ALL: [(&'static str, RunState); 6] = [
        ("START", RunState::Start),
        ("RUNNING", RunState::Running),
        ("COMPLETE", RunState::Complete),
        ("ABORT", RunState::Abort),
        ("FAIL", RunState::Fail),
        ("OTHER", RunState::Other),
    ];

    pub fn named(name: &str) -> Option<RunState> {
        RunState::ALL.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, state)| *state)
    }
}

impl Lifecycle {
    /// What is only dropped, emptied, altered or renamed is not written: no data comes into it. To create or overwrite may bring some.
    pub fn brings_no_data(&self) -> bool {
        matches!(self, Lifecycle::Alter | Lifecycle::Drop | Lifecycle::Rename(_) | Lifecycle::Truncate)
    }
}

impl std::fmt::Display for DatasetName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl std::fmt::Display for ModelName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.version {
            Some(version) => write!(f, "{} {version}", self.model),
            None => f.write_str(&self.model),
        }
    }
}
