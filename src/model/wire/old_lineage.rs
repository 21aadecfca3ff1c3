//! Records of the lineage log as version 1 writes them: datasets without renames and symlinks.

use serde::Deserialize;

use crate::model::Text;
use crate::model::activity::ActivityEvent;
use crate::model::lineage::{self, Job, ModelName, RunState};
use crate::model::time::Timestamp;

#[derive(Deserialize)]
pub struct LineageRecord {
    items: Vec<Item>,
}

#[derive(Deserialize)]
enum Item {
    Event(Event),
    Activity(Box<ActivityEvent>),
}

#[derive(Deserialize)]
struct Event {
    event_id: Text,
    producer: Text,
    event_time: Timestamp,
    told: Told,
}

#[derive(Deserialize)]
enum Told {
    Run { run_id: Text, state: RunState, job: Job, inputs: Vec<Dataset>, outputs: Vec<Dataset> },
    Job { job: Job, inputs: Vec<Dataset>, outputs: Vec<Dataset> },
    Dataset(Dataset),
}

#[derive(Deserialize)]
struct Dataset {
    namespace: Text,
    name: Text,
    origins: Option<Vec<Text>>,
    model: Option<ModelName>,
}

impl From<LineageRecord> for lineage::LineageRecord {
    fn from(record: LineageRecord) -> lineage::LineageRecord {
        let item = |item| match item {
            Item::Event(event) => lineage::LineageItem::Event(event.into()),
            Item::Activity(activity) => lineage::LineageItem::Activity(activity),
        };
        lineage::LineageRecord { items: record.items.into_iter().map(item).collect() }
    }
}

impl From<Event> for lineage::LineageEvent {
    fn from(event: Event) -> lineage::LineageEvent {
        let Event { event_id, producer, event_time, told } = event;
        let all = |datasets: Vec<Dataset>| datasets.into_iter().map(Into::into).collect();
        let told = match told {
            Told::Run { run_id, state, job, inputs, outputs } => {
                lineage::Told::Run { run_id, state, job, inputs: all(inputs), outputs: all(outputs) }
            }
            Told::Job { job, inputs, outputs } => lineage::Told::Job { job, inputs: all(inputs), outputs: all(outputs) },
            Told::Dataset(dataset) => lineage::Told::Dataset(dataset.into()),
        };
        lineage::LineageEvent { event_id, producer, event_time, told }
    }
}

impl From<Dataset> for lineage::StatedDataset {
    fn from(dataset: Dataset) -> lineage::StatedDataset {
        let Dataset { namespace, name, origins, model } = dataset;
        lineage::StatedDataset { namespace, name, origins, model, lifecycle: None, same_as: Vec::new() }
    }
}
