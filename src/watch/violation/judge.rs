//! What policies say of the usage in a record, and of violations of which nothing was heard for a day.

use super::life::{self, Hit};
use super::{Key, LeafVerdicts};
use crate::model::effect::Effect;
use crate::model::leaf::{Leaf, Measure};
use crate::model::partial::{Partial, Said};
use crate::model::time::Timestamp;
use crate::policy::stream::Told;
use crate::watch::rules::WatchRules;
use crate::watch::shard::Shard;

/// After merge and alerts, so that a violation finds the alert that it explains.
pub(crate) fn judge(shard: &mut Shard, partials: &[Partial], rules: &WatchRules, effects: &mut Vec<Effect>) {
    let policies = &*rules.policies;
    if shard.violations.judged_by != policies.hash() {
        life::judge_again(shard, rules, effects);
        shard.violations.judged_by = policies.hash();
        shard.violations.is_judged_by_changed = true;
    }
    if !policies.is_empty() {
        // Of the bill it is not known by which team's doing it came about, and it names providers and regions in its own words.
        for partial in partials.iter().filter(|partial| partial.leaf.measure == Measure::Estimated) {
            judge_partial(shard, partial, rules, effects);
        }
    }
    life::end_quiet_ones(shard, rules, effects);
}

fn judge_partial(shard: &mut Shard, partial: &Partial, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let policies = &*rules.policies;
    for told in of_leaf(shard, &partial.leaf, partial.minute.start(), rules) {
        let Some(policy) = policies.policy(told.policy) else { continue };
        *shard.violations.verdicts.entry((policy.id.clone(), told.said)).or_default() += partial.events;
        if told.said == Said::Violates {
            let hit = Hit { place: told.policy, policy, leaf: &partial.leaf, events: partial.events, cost: partial.cost, partial };
            life::hit(shard, &hit, rules, effects);
        }
    }
    for said in &partial.hits {
        *shard.violations.verdicts.entry((said.policy.clone(), said.said)).or_default() += said.events;
        // Intake may have other rules for a moment; what nobody knows here is counted, and no violation.
        let Some(place) = policies.place_of(&said.policy).filter(|_| said.said == Said::Violates) else { continue };
        let Some(policy) = policies.policy(place) else { continue };
        let hit = Hit { place, policy, leaf: &partial.leaf, events: said.events, cost: said.cost, partial };
        life::hit(shard, &hit, rules, effects);
    }
}

/// What is said of a leaf at a time: remembered with the leaf, or worked out.
fn of_leaf(shard: &mut Shard, leaf: &Leaf, at: Timestamp, rules: &WatchRules) -> Vec<Told> {
    let policies = &*rules.policies;
    let place = shard.find(leaf);
    let state = place.and_then(|place| shard.accounts.get_mut(place.account)?.node_mut(place.node)?.leaf_mut());
    let Some(state) = state else { return policies.of_leaf(leaf, at) };
    let known = &mut state.verdicts;
    if known.hash != policies.hash() || at < known.from || at >= known.until {
        let (from, until) = policies.window(at);
        *known = LeafVerdicts { hash: policies.hash(), from, until, told: policies.of_leaf(leaf, at).into() };
    }
    known.told.to_vec()
}

/// Whether a leaf violates a policy.
pub(super) fn violates(key: &Key, leaf: &Leaf, at: Timestamp, rules: &WatchRules) -> bool {
    let policies = &*rules.policies;
    let is_of = |told: &Told| policies.policy(told.policy).is_some_and(|policy| policy.id == key.policy);
    policies.of_leaf(leaf, at).iter().any(|told| told.said == Said::Violates && is_of(told))
}
