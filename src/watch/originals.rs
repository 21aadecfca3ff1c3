//! Money in other currencies than the one that all is counted in. Intake converts usage, event by event; a bill is converted here, by the
//! hour of a leaf: what its total comes to, less what was counted of it so far, so that the same total is the same amount however it came
//! to be, and a rate that comes later mends what came before it. What was converted has roll-ups of its own, in the currency that it had.

use serde::{Deserialize, Serialize};

use super::billed::{self, BilledHour};
use super::matters::MatterKey;
use super::matters::budget;
use super::matters::missing::rate;
use super::rules::WatchRules;
use super::series::{AMENDABLE_HOURS, HourTotals};
use super::shard::Shard;
use crate::model::effect::Effect;
use crate::model::leaf::{Account, Leaf, LeafDimensions, Measure};
use crate::model::money::Nanos;
use crate::model::partial::Partial;
use crate::model::time::Hour;

/// Usage is restated for so long.
pub(crate) const KEPT_HOURS: i64 = AMENDABLE_HOURS;

/// What of an hour was counted, in the currency that all is counted in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConvertedHour {
    pub cost: Nanos,
    pub quantity: Nanos,
}

/// What usage cost before it was converted. Its roll-up is written when the hour closes, and again with what comes late.
pub(crate) fn take_usage(shard: &mut Shard, partial: &Partial, effects: &mut Vec<Effect>) {
    let hour = partial.minute.hour();
    if shard.header.closed_through.is_some_and(|closed| hour <= closed) {
        billed::restate(shard, partial, KEPT_HOURS, effects);
        return;
    }
    let (account, leaf) = (partial.leaf.account(), partial.leaf.dimensions());
    let known = shard.matters.billed.entry((account.clone(), leaf.clone())).or_default().entry(hour).or_default();
    known.cost = known.cost.saturating_add(partial.cost);
    shard.matters.changed.insert(MatterKey::Billed(account, leaf, hour));
}

/// The hour is closed for all teams.
pub(crate) fn close_hour(shard: &mut Shard, hour: Hour, effects: &mut Vec<Effect>) {
    let matters = &mut shard.matters;
    for ((account, leaf), hours) in &mut matters.billed {
        let Some(known) = hours.get_mut(&hour).filter(|_| account.measure == Measure::EstimatedOriginal) else { continue };
        let mut totals = HourTotals { cost: known.cost, revision: known.revision, ..HourTotals::default() };
        let rollup = totals.roll_up(&leaf.leaf_of(account), hour);
        known.revision = rollup.revision;
        effects.push(Effect::Rollup(Box::new(rollup)));
        matters.changed.insert(MatterKey::Billed(account.clone(), leaf.clone(), hour));
    }
}

/// The sums of a record with what is on a bill in another currency converted. `None`: there is none of that.
pub(crate) fn convert_bill(shard: &mut Shard, partials: &[Partial], rules: &WatchRules, effects: &mut Vec<Effect>) -> Option<Vec<Partial>> {
    let is_foreign = |partial: &Partial| partial.leaf.measure == Measure::Billed && rules.rates.concern(partial.leaf.currency);
    if !partials.iter().any(is_foreign) {
        return None;
    }
    let mut all = Vec::with_capacity(partials.len());
    for partial in partials {
        if is_foreign(partial) {
            all.extend(convert(shard, partial, rules, effects));
        } else {
            all.push(partial.clone());
        }
    }
    Some(all)
}

/// The difference that a change of the bill makes. `None`: a rate is missing.
fn convert(shard: &mut Shard, partial: &Partial, rules: &WatchRules, effects: &mut Vec<Effect>) -> Option<Partial> {
    let hour = partial.minute.hour();
    let original = Partial { leaf: Leaf { measure: Measure::BilledOriginal, ..partial.leaf.clone() }, ..partial.clone() };
    let more = match billed::restate(shard, &original, billed::KEPT_HOURS, effects) {
        Some(now) => difference(shard, &original.leaf, hour, now, rules),
        // Nobody knows the hour any more: what comes is converted by itself.
        None => rules.rates.convert(partial.cost, partial.leaf.currency, hour.start()).map(|cost| (cost, partial.quantity)),
    };
    let Some((cost, quantity)) = more else {
        rate::take(shard, partial, rules, effects);
        return None;
    };
    let leaf = Leaf { currency: rules.rates.target()?, ..partial.leaf.clone() };
    Some(Partial { leaf, cost, quantity, has_negative: cost < Nanos::ZERO, ..partial.clone() })
}

/// Cost and quantity that are to be counted of an hour beyond what was. `None`: a rate is missing.
fn difference(shard: &mut Shard, original: &Leaf, hour: Hour, now: BilledHour, rules: &WatchRules) -> Option<(Nanos, Nanos)> {
    let cost = rules.rates.convert(now.cost, original.currency, hour.start())?;
    let (account, leaf) = (original.account(), original.dimensions());
    let counted = shard.matters.converted.entry((account.clone(), leaf.clone(), hour)).or_default();
    let before = std::mem::replace(counted, ConvertedHour { cost, quantity: now.quantity });
    shard.matters.changed.insert(MatterKey::Converted(account, leaf, hour));
    Some((cost.saturating_sub(before.cost), now.quantity.saturating_sub(before.quantity)))
}

/// The rules are other ones: with new rates, hours of bills may come to something else.
pub(crate) fn convert_again(shard: &mut Shard, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let Some(target) = rules.rates.target() else { return };
    let foreign = shard.matters.billed.iter().filter(|((account, _), _)| account.measure == Measure::BilledOriginal);
    let all: Vec<(Account, LeafDimensions, Hour, BilledHour)> = foreign
        .filter(|((account, _), _)| account.currency != target)
        .flat_map(|((account, leaf), hours)| hours.iter().map(|(hour, known)| (account.clone(), leaf.clone(), *hour, *known)))
        .collect();
    let mut partials = Vec::new();
    for (account, leaf, hour, known) in all {
        let original = leaf.leaf_of(&account);
        let Some((cost, quantity)) = difference(shard, &original, hour, known, rules) else { continue };
        if (cost, quantity) != (Nanos::ZERO, Nanos::ZERO) {
            let leaf = Leaf { measure: Measure::Billed, currency: target, ..original };
            partials.push(Partial::of_hour(leaf, hour, cost, quantity));
        }
    }
    for partial in &partials {
        billed::roll_up(shard, partial, rules, effects);
    }
    budget::take_partials(shard, &partials, rules, effects);
}
