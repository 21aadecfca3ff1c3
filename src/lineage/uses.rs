//! Who read or moved which dataset: shards judge that at once by what the event says, and again by what the graph knows of the data, now or
//! as it is learnt later. Of each who and where the first use within an hour is kept for that, and the newest of all.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::graph::{Graph, NodeId, What};
use super::state::Key;
use crate::model::Text;
use crate::model::activity::ActivityEvent;
use crate::model::lineage::DatasetUse;
use crate::model::time::HOUR_MS;

/// Uses that are kept for an origin that may be learnt later; of more the one that came first is forgotten.
const MOST_USES: usize = 20_000;

/// Uses of one kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct UseName {
    /// `namespace/name`.
    pub dataset: Text,
    pub team: Text,
    pub actor: Option<Text>,
    pub region: Option<Text>,
    pub action: Option<Text>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// Counts up with each that is kept.
    pub number: u64,
    pub event: ActivityEvent,
    /// By which origins it was judged.
    pub told: Vec<Text>,
}

#[derive(Clone, Debug, Default)]
pub struct Uses {
    kept: BTreeMap<UseName, Kept>,
    /// By number, the oldest first.
    order: BTreeMap<u64, UseName>,
    next: u64,
    /// To be judged with the next transaction; gone with it.
    waiting: Vec<ActivityEvent>,
    /// Datasets of which something else is known. Gone with the transaction, too.
    stirred: BTreeSet<NodeId>,
    changed: BTreeSet<Key>,
}

/// Whether somebody uses a dataset, and what they say leaves open where it comes from.
pub fn is_use(event: &ActivityEvent) -> bool {
    let leaves_open = event.model.is_none() && event.origin_region.is_none() && event.dataset.is_some();
    leaves_open && matches!(event.action.as_deref(), Some("access" | "transfer"))
}

impl Uses {
    pub fn take(&mut self, graph: &mut Graph, event: &ActivityEvent) {
        let Some(name) = name_of(event) else { return };
        self.waiting.push(event.clone());
        if self.kept.get(&name).is_some_and(|kept| event.event_time.0 - kept.event.event_time.0 < HOUR_MS) {
            return;
        }
        self.next += 1;
        self.changed.insert(Key::Use(name.clone()));
        self.put(graph, name, Kept { number: self.next, event: event.clone(), told: Vec::new() });
    }

    /// One of the changelog, or a new one.
    pub fn put(&mut self, graph: &mut Graph, name: UseName, kept: Kept) {
        self.next = self.next.max(kept.number);
        self.order.insert(kept.number, name.clone());
        graph.watch(&name.dataset);
        if let Some(before) = self.kept.insert(name, kept) {
            self.order.remove(&before.number);
        }
        if self.order.len() > MOST_USES
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.kept.remove(&oldest);
            if self.of(&oldest.dataset).next().is_none() {
                graph.watch_no_more(&oldest.dataset);
            }
            self.changed.insert(Key::Use(oldest));
        }
    }

    pub fn get(&self, name: &UseName) -> Option<&Kept> {
        self.kept.get(name)
    }

    pub fn stir(&mut self, datasets: impl Iterator<Item = NodeId>) {
        self.stirred.extend(datasets);
    }

    /// Those that are to be judged by the origins of their data, now that these are known, or are others.
    pub fn take_told(&mut self, graph: &Graph) -> Vec<DatasetUse> {
        let mut all = Vec::new();
        for event in std::mem::take(&mut self.waiting) {
            let id = event.dataset.as_ref().and_then(|dataset| graph.find(&What::Dataset(dataset.clone())));
            let origins = id.map(|id| graph.origins(id)).unwrap_or_default();
            if let Some(name) = name_of(&event) {
                self.tell(&name, Some(&event), &origins);
            }
            if !origins.is_empty() {
                all.push(DatasetUse { activity: event, origins });
            }
        }
        for id in std::mem::take(&mut self.stirred) {
            let origins = graph.origins(id);
            let Some(What::Dataset(dataset)) = graph.node(id).map(|node| &node.what) else { continue };
            let names: Vec<UseName> = self.of(dataset).map(|(name, _)| name.clone()).collect();
            for name in names {
                all.extend(self.tell(&name, None, &origins).map(|activity| DatasetUse { activity, origins: origins.clone() }));
            }
        }
        all
    }

    /// The one that is kept, or this one if it is that, has been judged by these origins; it, if they are news.
    fn tell(&mut self, name: &UseName, only: Option<&ActivityEvent>, origins: &[Text]) -> Option<ActivityEvent> {
        let kept = self.kept.get_mut(name)?;
        let is_another = only.is_some_and(|event| (&event.source, &event.event_id) != (&kept.event.source, &kept.event.event_id));
        if is_another || origins.is_empty() || kept.told == origins {
            return None;
        }
        kept.told = origins.to_vec();
        self.changed.insert(Key::Use(name.clone()));
        Some(kept.event.clone())
    }

    fn of<'a>(&'a self, dataset: &Text) -> impl Iterator<Item = (&'a UseName, &'a Kept)> {
        let dataset = dataset.clone();
        let first = UseName { dataset: dataset.clone(), team: "".into(), actor: None, region: None, action: None };
        self.kept.range(first..).take_while(move |(name, _)| name.dataset == dataset)
    }

    pub fn take_changed(&mut self) -> BTreeSet<Key> {
        std::mem::take(&mut self.changed)
    }

    #[cfg(test)]
    pub fn image(&self) -> String {
        format!("{:?} {}", self.kept, self.next)
    }
}

fn name_of(event: &ActivityEvent) -> Option<UseName> {
    let ActivityEvent { team, actor, region, action, .. } = event;
    let dataset = event.dataset.clone()?;
    Some(UseName { dataset, team: team.clone(), actor: actor.clone(), region: region.clone(), action: action.clone() })
}
