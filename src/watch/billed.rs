//! Billed money: a bill comes days after the hours that it is about and is restated for weeks, so that nothing waits for it and nothing
//! learns from it. What is billed of a leaf's hour is kept for as long as bills are restated, and each change of it restates the hour's
//! roll-up; older changes become supplements, to be added to what the hour has. Its days are held against the estimate.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Shard;
use super::matters::MatterKey;
use super::matters::missing::bill;
use super::matters::waste::commitment;
use super::rules::WatchRules;
use super::series::HourTotals;
use super::{originals, teams};
use crate::model::Text;
use crate::model::effect::Effect;
use crate::model::leaf::{Account, LeafDimensions, Measure};
use crate::model::money::Nanos;
use crate::model::partial::Partial;
use crate::model::time::Hour;

/// Bills are restated for a quarter.
pub(crate) const KEPT_HOURS: i64 = 100 * 24;

/// What is billed of one leaf's hour by now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BilledHour {
    pub cost: Nanos,
    pub quantity: Nanos,
    /// Of its last roll-up.
    pub revision: u32,
}

/// By leaf, then hour.
pub(crate) type BilledHours = BTreeMap<(Account, LeafDimensions), BTreeMap<Hour, BilledHour>>;

pub(crate) fn roll_up(shard: &mut Shard, partial: &Partial, rules: &WatchRules, effects: &mut Vec<Effect>) {
    bill::add_billed(shard, partial, rules);
    commitment::take(shard, partial, rules);
    restate(shard, partial, KEPT_HOURS, effects);
}

/// Adds to an hour and tells what it has now; what it has. `None`: it is older than so many hours, and what comes is told by itself.
pub(crate) fn restate(shard: &mut Shard, partial: &Partial, kept_hours: i64, effects: &mut Vec<Effect>) -> Option<BilledHour> {
    shard.header.late_partials = shard.header.late_partials.saturating_add(1);
    let hour = partial.minute.hour();
    let mut totals = HourTotals::default();
    if shard.header.closed_through.is_some_and(|closed| hour.0 <= closed.0 - kept_hours) {
        totals.add(partial);
        let mut supplement = totals.roll_up(&partial.leaf, hour);
        supplement.revision = 0;
        let (shard, number) = (shard.header.shard, shard.header.late_partials);
        effects.push(Effect::RollupSupplement { shard, number, rollup: Box::new(supplement) });
        return None;
    }
    let leaf = (partial.leaf.account(), partial.leaf.dimensions());
    shard.teams.insert(partial.leaf.team.clone());
    let known = shard.matters.billed.entry(leaf.clone()).or_default().entry(hour).or_default();
    known.cost = known.cost.saturating_add(partial.cost);
    known.quantity = known.quantity.saturating_add(partial.quantity);
    (totals.cost, totals.quantity, totals.revision) = (known.cost, known.quantity, known.revision);
    let restated = totals.roll_up(&partial.leaf, hour);
    known.revision = restated.revision;
    let now = *known;
    effects.push(Effect::Rollup(Box::new(restated)));
    shard.matters.changed.insert(MatterKey::Billed(leaf.0, leaf.1, hour));
    Some(now)
}

/// A day is over: hours that no bill restates any more are not kept.
pub(crate) fn forget(shard: &mut Shard, hour: Hour) {
    if hour.0.rem_euclid(24) != 0 {
        return;
    }
    let matters = &mut shard.matters;
    for ((account, leaf), hours) in &mut matters.billed {
        let kept_hours = if account.measure == Measure::EstimatedOriginal { originals::KEPT_HOURS } else { KEPT_HOURS };
        let kept = hours.split_off(&Hour(hour.0 - kept_hours + 1));
        for old in std::mem::replace(hours, kept).into_keys() {
            matters.changed.insert(MatterKey::Billed(account.clone(), leaf.clone(), old));
            let name = (account.clone(), leaf.clone(), old);
            if matters.converted.remove(&name).is_some() {
                matters.changed.insert(MatterKey::Converted(name.0, name.1, name.2));
            }
        }
    }
    let gone: BTreeSet<Text> =
        matters.billed.iter().filter(|(_, hours)| hours.is_empty()).map(|((account, _), _)| account.team.clone()).collect();
    matters.billed.retain(|_, hours| !hours.is_empty());
    gone.iter().for_each(|team| teams::let_go(shard, team));
}
