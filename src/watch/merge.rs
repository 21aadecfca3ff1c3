//! Adds partials to the open hours of their leaf and of every node above it; those for hours that are closed are `late`.

use std::collections::BTreeMap;

use super::Shard;
use super::account::{AccountState, NodeId};
use super::billed;
use super::late;
use super::originals;
use super::places::Place;
use super::rules::WatchRules;
use crate::model::effect::Effect;
use crate::model::leaf::Measure;
use crate::model::partial::Partial;
use crate::model::time::Hour;

/// Nodes of which a minute has changed, by account number.
pub(crate) type Touched = BTreeMap<u32, Vec<NodeId>>;

/// What is merged first: however a record was filled, its minutes are taken one after the other.
pub(crate) fn in_order(partials: &[Partial]) -> Vec<&Partial> {
    let mut order: Vec<&Partial> = partials.iter().collect();
    order.sort_by_key(|partial| partial.minute);
    order
}

/// Takes all but estimates of open hours. Returns these, oldest minute first.
pub(crate) fn take_others<'a>(
    shard: &mut Shard,
    partials: &'a [Partial],
    offset: i64,
    rules: &WatchRules,
    effects: &mut Vec<Effect>,
) -> Vec<&'a Partial> {
    let (mut open, mut amended) = (Vec::new(), late::Amended::new());
    for partial in in_order(partials) {
        match partial.leaf.measure {
            Measure::Estimated => {}
            Measure::Billed => {
                billed::roll_up(shard, partial, rules, effects);
                continue;
            }
            Measure::EstimatedOriginal => {
                originals::take_usage(shard, partial, rules, effects);
                continue;
            }
            // Made here, and not sent.
            Measure::BilledOriginal => continue,
        }
        match shard.header.closed_through {
            Some(closed) if partial.minute.hour() <= closed => late::take(shard, partial, closed, offset, rules, &mut amended, effects),
            _ => open.push(partial),
        }
    }
    late::judge_closed_hours(shard, amended, rules, effects);
    open
}

/// Adds the amounts of one minute.
pub(crate) fn merge(shard: &mut Shard, partials: &[&Partial], offset: i64, rules: &WatchRules) -> Touched {
    let mut touched = Touched::new();
    for partial in partials {
        let hour = partial.minute.hour();
        let place = shard.place_for(&partial.leaf, hour, offset, rules);
        begin_earlier(shard, place, hour);
        touched.entry(place.account).or_default().extend(shard.add(place, partial, offset));
        if shard.header.closed_through.is_none() {
            let first = shard.header.first_hour.map_or(hour, |first| first.min(hour));
            shard.header.first_hour = Some(first);
        }
    }
    for nodes in touched.values_mut() {
        nodes.sort_unstable();
        nodes.dedup();
    }
    touched
}

/// An earlier open hour has come second.
fn begin_earlier(shard: &mut Shard, place: Place, hour: Hour) {
    for id in shard.lineage(place) {
        if shard.begin_earlier(place.account, id, hour) {
            shard.changed(place.account, id);
        }
    }
}

/// Adds to a leaf and its sums. Returns their ids, coarsest first.
pub(crate) fn add_to_open_hour(state: &mut AccountState, leaf: NodeId, partial: &Partial) -> [NodeId; 4] {
    let hour = partial.minute.hour();
    let [team, project, model] = state.node(leaf).and_then(|node| node.leaf()).map_or([leaf; 3], |leaf| leaf.parents);
    let lineage = [team, project, model, leaf];
    for id in lineage {
        if let Some(node) = state.node_mut(id) {
            node.add(hour, partial);
        }
    }
    lineage
}
