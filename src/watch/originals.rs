//! Money in other currencies than the one that all is counted in. Intake converts usage, event by event; a bill is converted here, by the
//! hour of a leaf: what its total comes to, less what was counted of it so far, so that the same total is the same amount however it came
//! to be, and a rate that comes later mends what came before it. What was converted has roll-ups of its own, in the currency that it had.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::billed::{self, BilledHour};
use super::matters::MatterKey;
use super::matters::budget;
use super::matters::missing::{bill, rate};
use super::matters::waste::commitment;
use super::rules::WatchRules;
use super::series::{AMENDABLE_HOURS, HourTotals};
use super::shard::Shard;
use crate::model::effect::Effect;
use crate::model::leaf::{Account, Leaf, LeafDimensions, Measure};
use crate::model::money::{Currency, Nanos};
use crate::model::partial::Partial;
use crate::model::time::Hour;

/// Usage is restated for so long.
pub(crate) const KEPT_HOURS: i64 = AMENDABLE_HOURS;

/// What of an hour was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConvertedHour {
    pub cost: Nanos,
    pub quantity: Nanos,
    /// The currency that it was counted in.
    pub target: Currency,
}

/// What usage cost before it was converted. Its roll-up is written when the hour closes, and again with what comes late.
pub(crate) fn take_usage(shard: &mut Shard, partial: &Partial, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let leaf = counted_in(shard, &partial.leaf, rules);
    let hour = partial.minute.hour();
    if shard.header.closed_through.is_some_and(|closed| hour <= closed) {
        billed::restate(shard, &Partial { leaf, ..partial.clone() }, KEPT_HOURS, effects);
        return;
    }
    let (account, leaf) = (leaf.account(), leaf.dimensions());
    shard.teams.insert(account.team.clone());
    let known = shard.matters.billed.entry((account.clone(), leaf.clone())).or_default().entry(hour).or_default();
    known.cost = known.cost.saturating_add(partial.cost);
    shard.matters.changed.insert(MatterKey::Billed(account, leaf, hour));
}

/// The leaf as its converted money is counted: its own, or its team's `(other)` where the team has too many.
fn counted_in(shard: &Shard, leaf: &Leaf, rules: &WatchRules) -> Leaf {
    let Some(currency) = rules.rates.target() else { return leaf.clone() };
    let converted = Leaf { measure: Measure::Estimated, currency, ..leaf.clone() };
    if shard.find(&converted).is_none() && shard.is_full(&converted.account(), rules) {
        return LeafDimensions::other().leaf_of(&leaf.account());
    }
    leaf.clone()
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

/// The difference that a change of the bill makes. Nothing: a rate is missing, or it comes to none.
fn convert(shard: &mut Shard, partial: &Partial, rules: &WatchRules, effects: &mut Vec<Effect>) -> Vec<Partial> {
    let hour = partial.minute.hour();
    let original = Partial { leaf: Leaf { measure: Measure::BilledOriginal, ..partial.leaf.clone() }, ..partial.clone() };
    let more = match billed::restate(shard, &original, billed::KEPT_HOURS, effects) {
        Some(now) => difference(shard, &original.leaf, hour, now, rules),
        // Nobody knows the hour any more: what comes is converted by itself.
        None => rules
            .rates
            .convert(partial.cost, partial.leaf.currency, hour.start())
            .zip(rules.rates.target())
            .map(|(cost, currency)| vec![Partial::of_hour(Leaf { currency, ..partial.leaf.clone() }, hour, cost, partial.quantity)]),
    };
    if more.is_none() {
        rate::take(shard, partial, rules, effects);
    }
    let times = |own: Partial| Partial { last_event_time: partial.last_event_time, last_ingest_time: partial.last_ingest_time, ..own };
    more.into_iter().flatten().map(times).collect()
}

/// What is to be counted of an hour beyond what was, and what is to be taken back where it was counted in another currency. `None`: a rate
/// is missing.
fn difference(shard: &mut Shard, original: &Leaf, hour: Hour, now: BilledHour, rules: &WatchRules) -> Option<Vec<Partial>> {
    let target = rules.rates.target()?;
    let cost = rules.rates.convert(now.cost, original.currency, hour.start())?;
    let name = (original.account(), original.dimensions(), hour);
    let before = shard.matters.converted.get(&name).copied();
    let counted = ConvertedHour { cost, quantity: now.quantity, target };
    if before == Some(counted) {
        return Some(Vec::new());
    }
    shard.matters.converted.insert(name.clone(), counted);
    shard.matters.changed.insert(MatterKey::Converted(name.0, name.1, name.2));
    let in_target =
        before.filter(|before| before.target == target).map_or((Nanos::ZERO, Nanos::ZERO), |before| (before.cost, before.quantity));
    let elsewhere = before.filter(|before| before.target != target);
    let taken_back = elsewhere.map(|before| amount(original, before.target, hour, Nanos(-before.cost.0), Nanos(-before.quantity.0)));
    let more = amount(original, target, hour, cost.saturating_sub(in_target.0), now.quantity.saturating_sub(in_target.1));
    Some(taken_back.into_iter().flatten().chain(more).collect())
}

/// A change of what a bill comes to in a currency; `None` where it is none.
fn amount(original: &Leaf, currency: Currency, hour: Hour, cost: Nanos, quantity: Nanos) -> Option<Partial> {
    let leaf = Leaf { measure: Measure::Billed, currency, ..original.clone() };
    ((cost, quantity) != (Nanos::ZERO, Nanos::ZERO)).then(|| Partial::of_hour(leaf, hour, cost, quantity))
}

/// A leaf's hour on a bill in its own currency.
type Name = (Account, LeafDimensions, Hour);

/// The rules are other ones: hours of bills may come to something else, or are to be counted in another currency, or in their own again.
pub(crate) fn follow(shard: &mut Shard, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let mut counted_before = BTreeSet::new();
    let taken_back = take_back(shard, rules, &mut counted_before);
    count(shard, &taken_back, rules, effects);
    bill::follow(shard, rules);
    for (own, other) in [(Measure::Billed, Measure::BilledOriginal), (Measure::BilledOriginal, Measure::Billed)] {
        let is_original = other == Measure::BilledOriginal;
        let mut moved = Vec::new();
        for (name, known) in hours(shard, own, None, |currency| rules.rates.concern(currency) == is_original) {
            let leaf = name.1.leaf_of(&name.0);
            let gone = Partial::of_hour(leaf.clone(), name.2, Nanos(-known.cost.0), Nanos(-known.quantity.0));
            let come = Partial::of_hour(Leaf { measure: other, ..leaf }, name.2, known.cost, known.quantity);
            let (original, counted) = if is_original { (come, gone) } else { (gone, come) };
            billed::restate(shard, &original, billed::KEPT_HOURS, effects);
            counted_before.insert((original.leaf.account(), name.1, name.2));
            moved.push(counted);
        }
        count(shard, &moved, rules, effects);
    }
    // What was waiting for a rate before has been told.
    for (name, known) in convert_hours(shard, None, &counted_before, rules, effects) {
        if counted_before.contains(&name) {
            let leaf = Leaf { measure: Measure::Billed, ..name.1.leaf_of(&name.0) };
            rate::take(shard, &Partial::of_hour(leaf, name.2, known.cost, known.quantity), rules, effects);
        }
    }
}

/// What was counted in a currency that it is not counted in any more. Before anything else: what is left of a foreign bill then was never
/// converted.
fn take_back(shard: &mut Shard, rules: &WatchRules, counted_before: &mut BTreeSet<Name>) -> Vec<Partial> {
    let (target, first) = (rules.rates.target(), first_kept(shard));
    let is_elsewhere = |counted: &ConvertedHour| target.is_none_or(|target| target != counted.target);
    let elsewhere = shard.matters.converted.iter().filter(|(name, counted)| name.2 >= first && is_elsewhere(counted));
    let elsewhere: Vec<(Name, ConvertedHour)> = elsewhere.map(|(name, counted)| (name.clone(), *counted)).collect();
    let mut taken_back = Vec::new();
    for (name, counted) in elsewhere {
        taken_back.extend(amount(&name.1.leaf_of(&name.0), counted.target, name.2, Nanos(-counted.cost.0), Nanos(-counted.quantity.0)));
        shard.matters.converted.remove(&name);
        shard.matters.changed.insert(MatterKey::Converted(name.0.clone(), name.1.clone(), name.2));
        counted_before.insert(name);
    }
    taken_back
}

/// Converts what is on the bills of all accounts, or of one, as it stands. What has no rate.
pub(crate) fn convert_hours(
    shard: &mut Shard,
    only: Option<&Account>,
    counted_before: &BTreeSet<Name>,
    rules: &WatchRules,
    effects: &mut Vec<Effect>,
) -> Vec<(Name, BilledHour)> {
    let (mut again, mut new, mut lacking) = (Vec::new(), Vec::new(), Vec::new());
    for (name, known) in hours(shard, Measure::BilledOriginal, only, |currency| rules.rates.concern(currency)) {
        match difference(shard, &name.1.leaf_of(&name.0), name.2, known, rules) {
            Some(more) if counted_before.contains(&name) => again.extend(more),
            Some(more) => new.extend(more),
            None => lacking.push((name, known)),
        }
    }
    count(shard, &again, rules, effects);
    new.iter().for_each(|partial| bill::add_billed(shard, partial, rules));
    count(shard, &new, rules, effects);
    lacking
}

/// What stands on bills, of all accounts or of one, of those currencies and not zero.
fn hours(shard: &Shard, measure: Measure, only: Option<&Account>, is_asked: impl Fn(Currency) -> bool) -> Vec<(Name, BilledHour)> {
    let first = first_kept(shard);
    let is_own = |account: &Account| {
        account.measure == measure
            && is_asked(account.currency)
            && only.is_none_or(|only| (&only.team, only.currency) == (&account.team, account.currency))
    };
    let own = shard.matters.billed.iter().filter(|((account, _), _)| is_own(account));
    let all =
        own.flat_map(|((account, leaf), hours)| hours.range(first..).map(|(hour, known)| ((account.clone(), leaf.clone(), *hour), *known)));
    all.filter(|(_, known)| (known.cost, known.quantity) != (Nanos::ZERO, Nanos::ZERO)).collect()
}

/// The first hour that a bill may still change; earlier ones are forgotten at the end of the day.
fn first_kept(shard: &Shard) -> Hour {
    shard.header.closed_through.map_or(Hour(i64::MIN), |closed| Hour(closed.0 - billed::KEPT_HOURS + 1))
}

/// Counts in roll-ups and budgets what a bill comes to. Its days are not judged anew by it: they have moved with their estimate, or have
/// been told.
fn count(shard: &mut Shard, partials: &[Partial], rules: &WatchRules, effects: &mut Vec<Effect>) {
    for partial in partials {
        commitment::take(shard, partial, rules);
        billed::restate(shard, partial, billed::KEPT_HOURS, effects);
    }
    budget::take_partials(shard, partials, rules, effects);
}
