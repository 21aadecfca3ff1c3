//! Adds partials to the open hours of their leaf and of every node above it; late ones amend hours that are closed.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Shard;
use super::account::{AccountState, NodeId};
use super::alert::episode;
use super::billed;
use super::matters::missing::bill;
use super::originals;
use super::places::Place;
use super::recent::Held;
use super::rules::WatchRules;
use super::series::{AMENDABLE_HOURS, HourTotals};
use crate::model::effect::Effect;
use crate::model::leaf::{Measure, Scope};
use crate::model::partial::Partial;
use crate::model::time::Hour;

/// Nodes whose open hours have changed, by account number and hour.
pub(crate) type Touched = BTreeMap<(u32, Hour), Vec<NodeId>>;

pub(crate) fn merge(shard: &mut Shard, partials: &[Partial], offset: i64, rules: &WatchRules, effects: &mut Vec<Effect>) -> Touched {
    let mut touched = Touched::new();
    for partial in partials {
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
        let hour = partial.minute.hour();
        if let Some(closed) = shard.header.closed_through
            && hour <= closed
        {
            late(shard, partial, hour, closed, offset, rules, effects);
            continue;
        }
        let place = shard.place_for(&partial.leaf, hour, offset, rules);
        begin_earlier(shard, place, hour);
        let nodes = shard.add(place, partial, offset);
        touched.entry((place.account, hour)).or_default().extend(nodes);
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

/// Late data: within 48 hours the hour's roll-up is restated and alerts that cover it are amended; older amounts become a roll-up
/// supplement (revision 0), to be added to what the hour already has. Baselines are not rewritten: later hours were judged by them.
fn late(shard: &mut Shard, partial: &Partial, hour: Hour, closed: Hour, offset: i64, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let books = Arc::clone(&shard.books);
    let moment = shard.moment(rules, &books);
    shard.header.late_partials = shard.header.late_partials.saturating_add(1);
    bill::add_late(&mut shard.matters, partial, rules);
    if closed.0 - hour.0 >= AMENDABLE_HOURS {
        let mut totals = HourTotals::default();
        totals.add(partial);
        let mut supplement = totals.roll_up(&partial.leaf, hour);
        supplement.revision = 0;
        let (shard, number) = (shard.header.shard, shard.header.late_partials);
        effects.push(Effect::RollupSupplement { shard, number, rollup: Box::new(supplement) });
        return;
    }
    // A series that begins with late data has learnt nothing before the hours that are open now.
    let place = shard.place_for(&partial.leaf, closed.next(), offset, rules);
    shard.changed(place.account, place.node);
    let Some(state) = shard.accounts.get_mut(place.account) else { return };
    let account = state.account.clone();
    let in_episodes = state.hours_of_episodes();
    let onset = state.first_onset().map_or(closed.next(), |onset| onset.min(closed.next()));
    let held = Held { holds: &|hour| in_episodes.contains(&hour), onset };
    let Some(node) = state.node_mut(place.node) else { return };
    let scope = node.scope.clone();
    let Some(leaf) = node.leaf_mut() else { return };
    let mut totals = leaf.recent.get(hour).unwrap_or_default();
    totals.add(partial);
    if let Scope::Leaf(dimensions) = &scope {
        effects.push(Effect::Rollup(Box::new(totals.roll_up(&dimensions.leaf_of(&account), hour))));
    }
    leaf.recent.put(hour, totals, Hour(closed.0 - AMENDABLE_HOURS), &held);
    let changed = episode::amend(state, &account, &scope, hour, partial, moment, effects);
    shard.episodes_changed(place.account, changed);
}
