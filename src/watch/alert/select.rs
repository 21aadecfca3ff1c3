//! Which node fires when several do: the lowest one that explains most of the excess, and none that an open episode already covers.

use super::super::baseline::LocalHour;
use super::super::detect::runaway::Runaway;
use super::super::judge::{self, Judged};
use super::super::{AccountState, Moment};
use super::episode::Trigger;
use crate::model::leaf::{Account, Scope};
use crate::model::time::Hour;

/// A lower node stands for a higher one when it carries this share of the excess (DETECTION 6.4).
const EXPLAINS: f64 = 0.7;

/// Nodes to open an episode at, out of those that fire.
pub(crate) fn lowest(
    state: &AccountState,
    account: &Account,
    hour: Hour,
    local: LocalHour,
    firing: &[Judged],
    moment: Moment<'_>,
) -> Vec<Judged> {
    let mut order: Vec<&Judged> = firing.iter().collect();
    order.sort_by(|a, b| a.scope.depth().cmp(&b.scope.depth()).then(b.excess().total_cmp(&a.excess())).then(a.scope.cmp(&b.scope)));
    let mut chosen: Vec<Judged> = Vec::new();
    for candidate in order {
        if !covered(state, hour, candidate, &chosen) {
            chosen.push(descend(state, account, hour, local, candidate, moment));
        }
    }
    chosen
}

/// The guard's counterpart: one trigger for the lowest node that carries most of the runaway money.
pub(crate) fn lowest_runaway(
    state: &AccountState,
    account: &Account,
    hour: Hour,
    local: LocalHour,
    mut firing: Vec<(Judged, Runaway)>,
    moment: Moment<'_>,
) -> Vec<Trigger> {
    firing.sort_by(|a, b| a.0.scope.depth().cmp(&b.0.scope.depth()).then(b.1.actual.cmp(&a.1.actual)).then(a.0.scope.cmp(&b.0.scope)));
    let mut chosen: Vec<(Judged, Runaway)> = Vec::new();
    for (candidate, runaway) in firing {
        let nodes: Vec<Judged> = chosen.iter().map(|(judged, _)| judged.clone()).collect();
        if !covered(state, hour, &candidate, &nodes) {
            chosen.push((descend(state, account, hour, local, &candidate, moment), runaway));
        }
    }
    chosen.into_iter().map(|(judged, runaway)| Trigger::runaway(judged, runaway)).collect()
}

/// Inside an episode's node, or mostly explained by episodes below it.
fn covered(state: &AccountState, hour: Hour, candidate: &Judged, chosen: &[Judged]) -> bool {
    let mut below = 0.0;
    for episode in state.open_episodes() {
        if candidate.scope.within(&episode.scope) {
            return true;
        }
        if episode.scope.within(&candidate.scope) {
            below += episode.hours.get(&hour).map_or(0.0, |part| part.excess_units());
        }
    }
    for other in chosen {
        if candidate.scope.within(&other.scope) {
            return true;
        }
        if other.scope.within(&candidate.scope) {
            below += other.excess();
        }
    }
    below > 0.0 && below >= EXPLAINS * candidate.excess()
}

/// The deepest node within `top` that explains it; of several, the one with the largest excess.
fn descend(state: &AccountState, account: &Account, hour: Hour, local: LocalHour, top: &Judged, moment: Moment<'_>) -> Judged {
    let below = state.nodes.keys().filter(|scope| **scope != top.scope && scope.within(&top.scope));
    let explaining = below
        .filter_map(|scope: &Scope| judge::judge(state, account, scope, hour, local, moment.rules))
        .filter(|judged| judged.excess() > 0.0 && judged.excess() >= EXPLAINS * top.excess());
    explaining
        .max_by(|a, b| a.scope.depth().cmp(&b.scope.depth()).then(a.excess().total_cmp(&b.excess())).then(b.scope.cmp(&a.scope)))
        .unwrap_or_else(|| top.clone())
}
