//! Adds partials to the open hours of their leaf and of every node above it; late ones amend hours that are closed.

use std::collections::{BTreeMap, BTreeSet};

use super::alert::episode;
use super::detect::runaway::MinuteRing;
use super::rules::WatchRules;
use super::series::{AMENDABLE_HOURS, HourTotals, LeafState, Node, NodeHour};
use super::state::StateKey;
use super::{AccountState, Shard};
use crate::model::effect::Effect;
use crate::model::leaf::{Account, Scope};
use crate::model::partial::Partial;
use crate::model::time::{Hour, Minute};

/// Nodes whose open hours have changed, and the latest minute that changed them.
pub(crate) type Touched = BTreeMap<(Account, Hour), TouchedHour>;

#[derive(Default)]
pub(crate) struct TouchedHour {
    pub scopes: BTreeSet<Scope>,
    pub last_minute: Minute,
}

pub(crate) fn merge(shard: &mut Shard, partials: &[Partial], rules: &WatchRules, effects: &mut Vec<Effect>) -> Touched {
    let mut touched = Touched::new();
    for partial in partials {
        let hour = partial.minute.hour();
        if shard.header.closed_through.is_some_and(|closed| hour <= closed) {
            amend(shard, partial, hour, rules, effects);
            continue;
        }
        let account = partial.leaf.account();
        let Shard { accounts, dirty, .. } = shard;
        let state = accounts.entry(account.clone()).or_default();
        let scopes = add_to_open_hour(state, partial, hour, |scope| {
            dirty.insert(StateKey::Node(account.clone(), scope));
        });
        dirty.insert(StateKey::LeafOpen(account.clone(), partial.leaf.dimensions()));
        let touched_hour = touched.entry((account, hour)).or_default();
        touched_hour.scopes.extend(scopes);
        touched_hour.last_minute = touched_hour.last_minute.max(partial.minute);
    }
    touched
}

/// `born` is called for each node that did not exist before.
fn add_to_open_hour(state: &mut AccountState, partial: &Partial, hour: Hour, mut born: impl FnMut(Scope)) -> [Scope; 4] {
    let leaf = state.leaves.entry(partial.leaf.dimensions()).or_default();
    leaf.open.hours.entry(hour).or_default().add(partial);
    leaf.open.minutes.get_or_insert_with(|| MinuteRing::new(partial.minute)).add(partial.minute, partial.cost);
    let part = NodeHour {
        cost: partial.cost,
        has_negative: partial.has_negative,
        last_event_time: partial.last_event_time,
        last_ingest_time: partial.last_ingest_time,
    };
    let scopes = partial.leaf.scopes();
    for scope in &scopes {
        if !state.nodes.contains_key(scope) {
            born(scope.clone());
        }
        let node = state.nodes.entry(scope.clone()).or_insert_with(|| Node::new(hour));
        if hour < node.closed.born {
            // An earlier open hour has come second: nothing is closed yet, so nothing is learnt yet either.
            node.closed = Node::new(hour).closed;
            born(scope.clone());
        }
        node.add(hour, partial.minute, &part);
    }
    scopes
}

/// Late data: within 48 hours the hour's roll-up is restated and alerts that cover it are amended; older amounts become a roll-up
/// supplement (revision 0), to be added to what the hour already has. Baselines are not rewritten: later hours were judged by them.
fn amend(shard: &mut Shard, partial: &Partial, hour: Hour, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let moment = shard.moment(rules);
    let account = partial.leaf.account();
    let dimensions = partial.leaf.dimensions();
    let amendable = moment.closed_through.is_some_and(|closed| closed.0 - hour.0 < AMENDABLE_HOURS);
    shard.header.late_partials = shard.header.late_partials.saturating_add(1);
    if !amendable {
        let mut totals = HourTotals::default();
        totals.add(partial);
        let mut supplement = totals.roll_up(&partial.leaf, hour);
        supplement.revision = 0;
        let (shard, number) = (shard.header.shard, shard.header.late_partials);
        effects.push(Effect::RollupSupplement { shard, number, rollup: Box::new(supplement) });
        return;
    }
    let state = shard.accounts.entry(account.clone()).or_default();
    let leaf: &mut LeafState = state.leaves.entry(dimensions.clone()).or_default();
    let totals = leaf.closed.recent.entry(hour).or_default();
    totals.add(partial);
    effects.push(Effect::Rollup(Box::new(totals.roll_up(&partial.leaf, hour))));
    shard.dirty.insert(StateKey::LeafClosed(account.clone(), dimensions.clone()));
    for id in episode::amend(state, &account, &Scope::Leaf(dimensions), hour, partial, moment, effects) {
        shard.dirty.insert(StateKey::Episode(account.clone(), id));
    }
}
