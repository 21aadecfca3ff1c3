//! What the bill says against what was estimated, by team, provider and day. A day is judged once its bill has settled, and again when it
//! is restated. How far the two may lie apart is learnt: providers round, discount and bill what no gateway sees, but they do so alike
//! every day.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::super::matter::{self, Matter};
use super::super::rules::MissingRules;
use super::super::unwanted::given_up;
use super::super::{MatterKey, Matters};
use super::apart::{self, Looks, Wrong};
use super::bill_words::end_of;
use super::{ProviderHour, cached, untagged};
use crate::model::Text;
use crate::model::alert::AlertState;
use crate::model::billing::{LONG_PERIOD, is_charge_meter};
use crate::model::effect::Effect;
use crate::model::leaf::{Account, Measure};
use crate::model::money::{Currency, Nanos};
use crate::model::partial::Partial;
use crate::model::time::{DAY_MS, Hour, Timestamp};
use crate::watch::Moment;
use crate::watch::rules::WatchRules;
use crate::watch::series::to_units;
use crate::watch::shard::Shard;

/// Days that are kept: bills are restated for a quarter.
pub(super) const KEPT_DAYS: i64 = 100;
/// A bill has settled when it has not changed for so long.
const SETTLED_AFTER_MS: i64 = DAY_MS;
/// So many days say how far bill and estimate usually lie apart, ...
pub(super) const LEAST_DAYS: usize = 7;
/// A day that is missing on a bill is told once so many later days have settled on it.
const LATER_DAYS: usize = 2;
/// ... with so many of their usual deviations as tolerance, but at least and at most this part.
const DEVIATIONS: f64 = 3.0;
const LEAST_TOLERANCE: f64 = 0.05;
const MOST_TOLERANCE: f64 = 0.5;
/// A normal variable's standard deviation in median absolute deviations.
const DEVIATION_OF_MEDIAN: f64 = 1.4826;
/// A line for more than a day is taken to be for so many at the most: it does not say where it ends.
const LONGEST_PERIOD_DAYS: i64 = 31;
/// A gap is what a day's bill is about from this part of it on.
const LEAST_OF_BILL: f64 = 0.25;
/// A difference in multiples of what is worth an alert from which it is critical.
pub(super) const CRITICAL: f64 = 10.0;

/// Team, currency, provider (in small letters, under its common name) and day since 1970.
pub type DayName = (Text, Currency, Text, i64);

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Day {
    pub estimated: Nanos,
    pub billed: Nanos,
    /// Of the estimate: input, output, cached input, cache write, reasoning.
    pub tokens: [u64; 5],
    /// Shard time of the last change of the bill.
    pub billed_at: Timestamp,
    /// The bill has changed since the day was judged.
    pub is_due: bool,
    /// Of what versions before told of each day alone; see [`apart`].
    pub matter: Option<Matter>,
    /// Events of usage; none in what versions before wrote, where tokens alone say that some was seen.
    pub events: u64,
    /// Billed by lines for more than a day that begin with this one: nobody knows what of them is this day's. `None`: there never were any.
    pub long: Option<Nanos>,
}

/// What is wrong with a day.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Verdict {
    Agrees,
    /// Too little to say anything.
    Little,
    /// Billed, and never seen as usage.
    Unseen,
    /// Billed, and seen as usage that counts no money.
    Uncounted,
    /// ... of which another alert tells already.
    ToldAsGap,
    /// By lines for more than a day, which no day is held against.
    BilledOtherwise,
    /// Used, and missing on a bill that has later days.
    Unbilled,
    /// Billed far from what was estimated.
    Far {
        /// It would agree if cached tokens were counted once.
        cached_twice: bool,
    },
}

impl Verdict {
    /// There is nothing to tell, or nothing more.
    pub fn is_over(self) -> bool {
        matches!(self, Verdict::Agrees | Verdict::Little | Verdict::ToldAsGap | Verdict::BilledOtherwise)
    }

    pub fn wrong(self, is_more: bool) -> Option<Wrong> {
        match self {
            Verdict::Agrees | Verdict::Little | Verdict::ToldAsGap | Verdict::BilledOtherwise => None,
            Verdict::Unseen => Some(Wrong::Unseen),
            Verdict::Uncounted => Some(Wrong::Uncounted),
            Verdict::Unbilled => Some(Wrong::Unbilled),
            Verdict::Far { .. } => Some(if is_more { Wrong::TooMuch } else { Wrong::TooLittle }),
        }
    }

    /// Whether a day of which this is said ends what days before it were wrong by. Days that are left out are missing until they come.
    pub fn ends(self, wrong: Wrong) -> bool {
        !matches!(self, Verdict::Little | Verdict::BilledOtherwise | Verdict::Unbilled) && wrong != Wrong::Unbilled
    }
}

/// What else is known when a day is judged.
#[derive(Clone, Copy, Debug)]
struct Around {
    tolerance: Tolerance,
    /// All usage of the provider would have been seen and estimated.
    is_metered: bool,
    /// Usage of the day was seen, in whatever currency.
    is_seen: bool,
    is_told_as_gap: bool,
    /// A line for more than a day may be about it.
    is_in_long: bool,
}

impl Around {
    fn of(matters: &Matters, name: &DayName, rules: &MissingRules) -> Around {
        let days = &matters.days;
        let is_usual = rules.is_metered(&name.2) || usually_estimated(days, name);
        Around {
            tolerance: tolerance_of(days, name, rules),
            is_metered: is_usual && !of_day(days, name).any(|(other, day)| other != name && day.estimated > Nanos::ZERO),
            is_seen: of_day(days, name).any(|(_, day)| day.events > 0 || day.tokens.iter().any(|count| *count > 0)),
            is_told_as_gap: is_told_as_gap(matters, name, rules),
            is_in_long: is_in_long(days, name),
        }
    }
}

/// How far bill and estimate may lie apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Tolerance {
    /// Billed by estimated, usually.
    pub ratio: f64,
    /// Part of what is billed.
    pub part: f64,
    pub days: usize,
    /// Cached tokens as a part of the input, usually.
    pub cached_share: Option<f64>,
}

fn is_old(name: &DayName, today: i64) -> bool {
    name.3 < today - KEPT_DAYS
}

fn day_of(hour: Hour) -> i64 {
    hour.0.div_euclid(24)
}

pub(crate) fn add_estimated(
    matters: &mut Matters,
    account: &Account,
    provider: &Text,
    hour: Hour,
    sums: &ProviderHour,
    rules: &MissingRules,
) {
    if sums.events == 0 {
        return;
    }
    let name = (account.team.clone(), account.currency, rules.common(provider), day_of(hour));
    let day = matters.days.entry(name.clone()).or_default();
    day.estimated = day.estimated.saturating_add(sums.cost);
    day.events = day.events.saturating_add(sums.events);
    day.is_due |= day.billed != Nanos::ZERO;
    for (sum, more) in day.tokens.iter_mut().zip(sums.tokens) {
        *sum = sum.saturating_add(more);
    }
    matters.changed.insert(MatterKey::Day(name));
}

/// Usage that came late, for a day that may be judged already.
pub(crate) fn add_late(matters: &mut Matters, partial: &Partial, closed: Hour, rules: &WatchRules) {
    let Some(missing) = &rules.matters.missing else { return };
    let is_kept = day_of(partial.minute.hour()) >= day_of(closed.next()) - KEPT_DAYS;
    if partial.leaf.measure != Measure::Estimated || partial.leaf.provider.is_empty() || !is_kept {
        return;
    }
    let Partial { tokens_input, tokens_output, tokens_cached_input, tokens_cache_write, tokens_reasoning, .. } = *partial;
    let tokens = [tokens_input, tokens_output, tokens_cached_input, tokens_cache_write, tokens_reasoning];
    let sums = ProviderHour { cost: partial.cost, events: partial.events, tokens, expected: 0.0, is_used_elsewhere: false };
    add_estimated(matters, &partial.leaf.account(), &partial.leaf.provider, partial.minute.hour(), &sums, missing);
}

/// A change of the bill. Taxes, credits and what is paid in advance are no usage; what is billed for more than a day is none of one day.
pub(crate) fn add_billed(shard: &mut Shard, partial: &Partial, rules: &WatchRules) {
    let shard_time = shard.header.watermarks.shard_time();
    let Some(missing) = &rules.matters.missing else { return };
    let is_long = *partial.leaf.meter == *LONG_PERIOD;
    if (is_charge_meter(&partial.leaf.meter) && !is_long) || partial.leaf.provider.is_empty() {
        return;
    }
    let matters = &mut shard.matters;
    let provider = missing.common(&partial.leaf.provider);
    let name = (partial.leaf.team.clone(), partial.leaf.currency, provider, day_of(partial.minute.hour()));
    // What was told of a day that is not kept any more has had its last word.
    if shard.header.closed_through.is_some_and(|closed| is_old(&name, day_of(closed.next()))) {
        return;
    }
    let day = matters.days.entry(name.clone()).or_default();
    if is_long {
        day.long = Some(day.long.unwrap_or_default().saturating_add(partial.cost));
    } else {
        day.billed = day.billed.saturating_add(partial.cost);
    }
    // Of money for more than a day there is nothing to judge but whose it is.
    if !is_long || untagged::is_nobodys(&partial.leaf.account()) {
        (day.billed_at, day.is_due) = (shard_time, true);
    }
    matters.changed.insert(MatterKey::Day(name));
}

/// Days that were held against a bill in a currency that is converted now go on in the one that all is counted in; those that are told of
/// end where they are.
pub(crate) fn follow(shard: &mut Shard, rules: &WatchRules) {
    let Some(target) = rules.rates.target() else { return };
    let matters = &mut shard.matters;
    let at = |name: &DayName| Timestamp(name.3.saturating_mul(DAY_MS));
    let is_moved = |(name, day): &(&DayName, &Day)| {
        rules.rates.is_converted(name.1, at(name)) && day.matter.is_none() && !apart::has_told(matters, name)
    };
    let moved: Vec<DayName> = matters.days.iter().filter(is_moved).map(|(name, _)| name.clone()).collect();
    for name in moved {
        let Some(day) = matters.days.remove(&name) else { continue };
        let converted = |amount| rules.rates.convert(amount, name.1, at(&name)).unwrap_or_default();
        let here = (name.0.clone(), target, name.2.clone(), name.3);
        let known = matters.days.entry(here.clone()).or_default();
        known.estimated = known.estimated.saturating_add(converted(day.estimated));
        known.billed = known.billed.saturating_add(converted(day.billed));
        known.billed_at = known.billed_at.max(day.billed_at);
        known.is_due |= day.is_due;
        if let Some(long) = day.long {
            known.long = Some(known.long.unwrap_or_default().saturating_add(converted(long)));
        }
        known.events = known.events.saturating_add(day.events);
        for (sum, more) in known.tokens.iter_mut().zip(day.tokens) {
            *sum = sum.saturating_add(more);
        }
        matters.changed.extend([MatterKey::Day(name), MatterKey::Day(here)]);
    }
}

/// All teams are done with an hour: days whose bill has settled are judged, old ones go.
pub(crate) fn close_hour(shard: &mut Shard, hour: Hour, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let Some(missing) = &rules.matters.missing else { return };
    let books = Arc::clone(&shard.books);
    let moment = shard.moment(rules, &books);
    let today = day_of(hour.next());
    let is_settled = |day: &Day| day.is_due && moment.shard_time.0 - day.billed_at.0 >= SETTLED_AFTER_MS;
    let due = shard.matters.days.iter().filter(|(name, day)| name.3 < today && is_settled(day));
    // What is told already goes on to its end.
    let is_told = |name: &DayName, day: &Day| day.matter.is_some() || apart::has_told(&shard.matters, name);
    let due: Vec<(DayName, bool)> = due.map(|(name, day)| (name.clone(), is_told(name, day) || is_watched(shard, name))).collect();
    let (matters, mut looks) = (&mut shard.matters, Looks::new());
    for (name, is_judged) in due {
        let Some(day) = matters.days.get_mut(&name) else { continue };
        day.is_due = false;
        if is_judged {
            let is_wrong = judge_day(matters, &name, missing, moment, &mut looks, effects);
            for told in told_alone(&matters.days, &name).into_iter().filter(|_| is_wrong) {
                judge_day(matters, &told, missing, moment, &mut looks, effects);
            }
        }
        let Some(day) = matters.days.get(&name) else { continue };
        let (account, billed) = (account_of(&name), day.billed.saturating_add(day.long.unwrap_or_default()));
        matters.changed.insert(MatterKey::Day(name.clone()));
        if untagged::is_nobodys(&account) {
            untagged::take_day(matters, &account, &name.2, (name.3, billed), missing, moment, effects);
        }
        for name in unbilled(matters, &name) {
            judge_day(matters, &name, missing, moment, &mut looks, effects);
        }
    }
    apart::tell(matters, looks, moment, effects);
    if hour.0.rem_euclid(24) == 0 {
        let old: Vec<DayName> = matters.days.keys().filter(|name| is_old(name, today)).cloned().collect();
        for name in old {
            if let Some(mut day) = matters.days.remove(&name) {
                end_old(&mut day, &name, hour.end(), moment, effects);
            }
            matters.changed.insert(MatterKey::Day(name));
        }
        apart::end_day(matters, hour, today, moment, effects);
        untagged::end_day(matters, hour, missing, moment, effects);
    }
}

/// Days of the same bill that versions before told of one by one, and have not ended.
fn told_alone(days: &BTreeMap<DayName, Day>, name: &DayName) -> Vec<DayName> {
    let is_open = |day: &Day| day.matter.as_ref().is_some_and(Matter::is_open);
    of_group(days, name).filter(|(other, day)| *other != name && is_open(day)).map(|(name, _)| name.clone()).collect()
}

/// Since when usage of a team is watched: since its first, or else since the first of anybody in its shard, or else, where usage comes to
/// other shards only, since its own is watched. `None`: there is none anywhere.
fn watched_since(shard: &Shard, team: &str) -> Option<Hour> {
    let own = shard.accounts.of_team(team).filter_map(|(_, state)| state.born()).min();
    let anybodys = || shard.accounts.iter().filter_map(|(_, state)| state.born()).min();
    let elsewhere = || shard.header.first_hour.filter(|_| shard.header.watermarks.have_seen_events());
    own.or_else(anybodys).or_else(elsewhere)
}

/// Whether all usage of a day would have been seen: of the days before anybody looked, and of the one within which that began, an estimate
/// that is missing says nothing.
fn is_watched(shard: &Shard, name: &DayName) -> bool {
    watched_since(shard, &name.0).is_some_and(|since| since.0 <= name.3.saturating_mul(24))
}

/// A day that no bill restates any more: what is told of it has its last word.
fn end_old(day: &mut Day, name: &DayName, at: Timestamp, moment: Moment<'_>, effects: &mut Vec<Effect>) {
    let Some(matter) = day.matter.as_mut().filter(|matter| matter.is_open()) else { return };
    let why = format!("no bill changes after {KEPT_DAYS} days, so that the alert of this one ends");
    let story = given_up(matter, &why, at, moment);
    matter::end_of(matter, &name.0, AlertState::Resolved, at, story, moment, effects);
}

/// All days of the same team and provider.
fn of_group<'a>(days: &'a BTreeMap<DayName, Day>, name: &DayName) -> impl Iterator<Item = (&'a DayName, &'a Day)> + use<'a> {
    let (team, currency, provider, _) = name.clone();
    days.range((team.clone(), currency, provider.clone(), i64::MIN)..=(team, currency, provider, i64::MAX))
}

fn others<'a>(days: &'a BTreeMap<DayName, Day>, name: &DayName) -> impl Iterator<Item = &'a Day> + use<'a> {
    let own = name.3;
    of_group(days, name).filter(move |(other, _)| other.3 != own).map(|(_, day)| day)
}

fn usually_estimated(days: &BTreeMap<DayName, Day>, name: &DayName) -> bool {
    others(days, name).any(|day| day.estimated > Nanos::ZERO)
}

/// A day of one team and provider in all currencies: usage in another one than it is billed in is usage all the same, of which nobody knows
/// what it comes to.
fn of_day<'a>(days: &'a BTreeMap<DayName, Day>, name: &'a DayName) -> impl Iterator<Item = (&'a DayName, &'a Day)> {
    let is_of_team = |(other, _): &(&DayName, &Day)| other.0 == name.0;
    let of_team = days.range(..name).rev().take_while(is_of_team).chain(days.range(name..).take_while(is_of_team));
    of_team.filter(|(other, _)| (&other.2, other.3) == (&name.2, name.3))
}

/// Whether nothing of a day has to be on the bill, since a line for more than a day may be about it: the last that is billed up to it is one,
/// and no more than a month before it.
fn is_in_long(days: &BTreeMap<DayName, Day>, name: &DayName) -> bool {
    let (team, currency, provider, own) = name.clone();
    let first = (team, currency, provider, own - LONGEST_PERIOD_DAYS + 1);
    let is_billed =
        |(other, day): &(&DayName, &Day)| day.billed != Nanos::ZERO || day.long.is_some_and(|long| long != Nanos::ZERO || *other == name);
    days.range(&first..=name).rev().find(is_billed).is_some_and(|(_, day)| day.billed == Nanos::ZERO)
}

/// Whether an alert that is open says already that usage of the day counts no money. One of a small part of it says nothing of the rest.
fn is_told_as_gap(matters: &Matters, name: &DayName, rules: &MissingRules) -> bool {
    let billed = matters.days.get(name).map_or(0.0, |day| to_units(day.billed));
    matters.gaps.iter().any(|((account, leaf), gap)| {
        account.team == name.0
            && rules.common(&leaf.provider) == name.2
            && gap.matter.as_ref().is_some_and(Matter::is_open)
            && (day_of(gap.since.hour())..=day_of(gap.last)).contains(&name.3)
            && to_units(gap.lost) >= LEAST_OF_BILL * billed
    })
}

fn account_of(name: &DayName) -> Account {
    Account { team: name.0.clone(), measure: Measure::Billed, currency: name.1 }
}

/// Days of the same team and provider that a bill leaves out although it has days before and after them.
fn unbilled(matters: &Matters, name: &DayName) -> Vec<DayName> {
    let group: Vec<(&DayName, &Day)> = of_group(&matters.days, name).collect();
    let is_billed = |day: &Day| day.billed > Nanos::ZERO && !day.is_due;
    let mut after = group.iter().filter(|(_, day)| is_billed(day)).count();
    let mut before = 0;
    let mut missing = Vec::new();
    for (name, day) in group {
        if is_billed(day) {
            (before, after) = (before + 1, after - 1);
        } else if day.billed == Nanos::ZERO && before > 0 && after >= LATER_DAYS && !apart::has_told(matters, name) {
            missing.push(name.clone());
        }
    }
    missing
}

/// Learnt from other days whose bill has settled.
fn tolerance_of(days: &BTreeMap<DayName, Day>, name: &DayName, rules: &MissingRules) -> Tolerance {
    let is_known = |day: &&Day| !day.is_due && day.billed > Nanos::ZERO && day.estimated > Nanos::ZERO;
    let judged: Vec<(&Day, f64)> =
        others(days, name).filter(is_known).map(|day| (day, to_units(day.billed) / to_units(day.estimated))).collect();
    let mut ratios: Vec<f64> = judged.iter().map(|(_, ratio)| *ratio).collect();
    let (ratio, part) = if ratios.len() < LEAST_DAYS {
        (1.0, rules.first_tolerance)
    } else {
        let ratio = median(&mut ratios);
        let mut apart: Vec<f64> = ratios.iter().map(|other| (other / ratio - 1.0).abs()).collect();
        (ratio, (DEVIATIONS * DEVIATION_OF_MEDIAN * median(&mut apart)).clamp(LEAST_TOLERANCE, MOST_TOLERANCE))
    };
    let agree = judged.iter().filter(|(_, other)| (other / ratio - 1.0).abs() <= part);
    let mut shares: Vec<f64> = agree.filter_map(|(day, _)| cached::share(day)).collect();
    let cached_share = (!shares.is_empty()).then(|| median(&mut shares));
    Tolerance { ratio, part, days: judged.len(), cached_share }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn verdict(day: &Day, around: Around, gate: f64) -> Verdict {
    let tolerance = around.tolerance;
    let (billed, estimated) = (to_units(day.billed), to_units(day.estimated));
    let expected = estimated * tolerance.ratio;
    if day.billed == Nanos::ZERO && around.is_in_long {
        return Verdict::BilledOtherwise;
    }
    if day.estimated == Nanos::ZERO {
        return match around {
            _ if day.billed == Nanos::ZERO || billed < gate => Verdict::Little,
            Around { is_metered: false, .. } => Verdict::Agrees,
            Around { is_seen: false, .. } => Verdict::Unseen,
            Around { is_told_as_gap: true, .. } => Verdict::ToldAsGap,
            _ => Verdict::Uncounted,
        };
    }
    if day.billed == Nanos::ZERO {
        return if expected >= gate { Verdict::Unbilled } else { Verdict::Little };
    }
    let is_far = (billed - expected).abs() > tolerance.part * billed.abs().max(expected);
    if !is_far || (billed - expected).abs() < gate {
        return if is_far { Verdict::Little } else { Verdict::Agrees };
    }
    Verdict::Far { cached_twice: cached::are_counted_twice(day, expected, tolerance.cached_share) }
}

/// Whether it is wrong.
fn judge_day(
    matters: &mut Matters,
    name: &DayName,
    rules: &MissingRules,
    moment: Moment<'_>,
    looks: &mut Looks,
    effects: &mut Vec<Effect>,
) -> bool {
    let limits = moment.rules.thresholds(&name.0, "", "");
    let around = Around::of(matters, name, rules);
    let Some(day) = matters.days.get_mut(name) else { return false };
    let verdict = verdict(day, around, to_units(limits.least_excess));
    if let Some(matter) = day.matter.as_mut().filter(|matter| matter.is_open()) {
        let why = if verdict.is_over() { "this day is right now" } else { "it goes on in one alert for all such days of this bill" };
        let story = given_up(matter, why, end_of(name.3), moment);
        matter::end_of(matter, &name.0, AlertState::Resolved, end_of(name.3), story, moment, effects);
    }
    apart::take_day(matters, name, (verdict, around.tolerance), limits.update_growth, looks);
    matters.changed.insert(MatterKey::Day(name.clone()));
    !verdict.is_over()
}
