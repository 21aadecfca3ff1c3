//! Untagged spend: money that no event, tag or rule gives to a team. It is in every total and in nobody's alerts or budgets, so it is told
//! by provider once a day of it is worth a look: estimated from the usage of the last 24 hours, billed from the latest settled day.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::super::matter::{self, Matter, Story};
use super::super::rules::MissingRules;
use super::super::unwanted::{given_up, last_word};
use super::super::{MatterKey, Matters};
use super::bill::{Day, DayName};
use crate::model::Text;
use crate::model::alert::{AlertKind, AlertState, Cause, Severity, Stage};
use crate::model::effect::Effect;
use crate::model::leaf::{Account, LeafDimensions, Measure, UNATTRIBUTED};
use crate::model::money::Nanos;
use crate::model::time::{DAY_MS, Hour, Timestamp};
use crate::watch::Moment;
use crate::watch::account::AccountState;
use crate::watch::series::to_units;

/// Hours that are looked at.
const HOURS: i64 = 24;
/// It is over below this part of what is worth an alert.
const OVER: f64 = 0.5;
/// In multiples of what is worth an alert: from here on a person is told, below it is only noted.
const MUCH: f64 = 10.0;
const MOST_CAUSES: usize = 5;
/// Of a bill that has no more days without a team it is over once teams have so many later days on it, ...
const LATER_DAYS: usize = 2;
/// ... or if nothing has come for so many days: bills come once a month at least.
const LATEST_BILL_DAYS: i64 = 35;

/// What is kept of one provider's spend without a team.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Untagged {
    /// Of a bill: the latest day that was looked at, by days since 1970.
    pub day: i64,
    pub matter: Option<Matter>,
}

/// Of one day.
struct Spent {
    total: Nanos,
    from: Timestamp,
    to: Timestamp,
    causes: Vec<Cause>,
}

impl Spent {
    /// Of a bill, which names no leaves.
    fn of_day(day: i64, total: Nanos) -> Spent {
        let from = Hour(day.saturating_mul(HOURS));
        Spent { total, from: from.start(), to: Hour(from.0.saturating_add(HOURS)).start(), causes: Vec::new() }
    }
}

pub(super) fn is_nobodys(account: &Account) -> bool {
    *account.team == *UNATTRIBUTED
}

/// An hour of what has no team is complete.
pub(super) fn close_hour(
    matters: &mut Matters,
    state: &AccountState,
    hour: Hour,
    rules: &MissingRules,
    moment: Moment<'_>,
    effects: &mut Vec<Effect>,
) {
    let mut providers: BTreeMap<Text, BTreeMap<LeafDimensions, Nanos>> = BTreeMap::new();
    for (dimensions, _, leaf) in state.leaves() {
        let recent = leaf.recent.hours().into_iter().filter(|(known, _)| known.0 > hour.0 - HOURS && known.0 <= hour.0);
        let closed = recent.fold(Nanos::ZERO, |sum, (_, totals)| sum.saturating_add(totals.cost));
        let cost = leaf.hours.get(hour).map_or(closed, |totals| closed.saturating_add(totals.cost));
        if cost != Nanos::ZERO {
            providers.entry(dimensions.provider.clone()).or_default().insert(dimensions.clone(), cost);
        }
    }
    let open = matters.untagged.iter().filter(|((account, _), kept)| *account == state.account && is_open(kept));
    let known: Vec<Text> = open.map(|((_, provider), _)| provider.clone()).collect();
    for provider in known {
        providers.entry(provider).or_default();
    }
    for (provider, leaves) in providers {
        let total = leaves.values().fold(Nanos::ZERO, |sum, cost| sum.saturating_add(*cost));
        let spent = Spent { total, from: Hour(hour.0 - HOURS + 1).start(), to: hour.end(), causes: causes(leaves, total) };
        judge(matters, &state.account, &provider, spent, rules, moment, effects);
    }
}

/// A day of a bill without a team has settled.
pub(super) fn take_day(
    matters: &mut Matters,
    account: &Account,
    provider: &Text,
    day: (i64, Nanos),
    rules: &MissingRules,
    moment: Moment<'_>,
    effects: &mut Vec<Effect>,
) {
    let (day, total) = day;
    if matters.untagged.get(&(account.clone(), provider.clone())).is_some_and(|kept| kept.day > day) {
        return;
    }
    judge(matters, account, provider, Spent::of_day(day, total), rules, moment, effects);
    if let Some(kept) = matters.untagged.get_mut(&(account.clone(), provider.clone())) {
        kept.day = day;
    }
}

/// A day is over: what is told of ends that nobody wants to know of any more, or that the bill has no days of any more.
pub(super) fn end_day(matters: &mut Matters, hour: Hour, rules: &MissingRules, moment: Moment<'_>, effects: &mut Vec<Effect>) {
    let open = matters.untagged.iter().filter(|(_, kept)| is_open(kept));
    let open: Vec<((Account, Text), i64)> = open.map(|(name, kept)| (name.clone(), kept.day)).collect();
    for (name, told) in open {
        let is_unwanted = rules.untagged_per_day <= Nanos::ZERO;
        let over = if is_unwanted || name.0.measure != Measure::Billed { None } else { over(&matters.days, &name, told, hour) };
        if let Some(Over::HasTeams(day)) = over {
            judge(matters, &name.0, &name.1, Spent::of_day(day, Nanos::ZERO), rules, moment, effects);
            continue;
        }
        let matter = matters.untagged.get_mut(&name).and_then(|kept| kept.matter.as_mut());
        let Some(matter) = matter.filter(|_| is_unwanted || over.is_some()) else { continue };
        let story = if is_unwanted {
            last_word(matter, "missing_money.untagged_per_day", hour.end(), moment)
        } else {
            given_up(matter, &no_more_bills(&name.1, told), hour.end(), moment)
        };
        matter::end_of(matter, &name.0.team, AlertState::Resolved, hour.end(), story, moment, effects);
        matters.changed.insert(MatterKey::Untagged(name.0, name.1));
    }
}

/// How a bill without a team is over.
enum Over {
    /// On this day all that the provider bills has a team.
    HasTeams(i64),
    /// Nobody is billed anything later.
    Ends,
}

/// Whether the provider bills nothing without a team after the day that is told of, once that is sure: it has billed teams since then, for
/// several days, or nothing new for longer than any bill takes.
fn over(days: &BTreeMap<DayName, Day>, name: &(Account, Text), told: i64, hour: Hour) -> Option<Over> {
    let (account, provider) = name;
    let is_billed = |day: &Day| day.billed != Nanos::ZERO || day.long.is_some_and(|long| long != Nanos::ZERO);
    let of_provider = |name: &DayName| (name.1, &name.2) == (account.currency, provider) && name.3 > told;
    let (mut with_teams, mut is_waiting) = (BTreeSet::new(), false);
    for (name, day) in days.iter().filter(|(name, day)| of_provider(name) && is_billed(day)) {
        match (name.0 == account.team, day.is_due) {
            // It is judged by itself once it has settled.
            (true, true) => return None,
            (false, false) => drop(with_teams.insert(name.3)),
            (false, true) => is_waiting = true,
            (true, false) => {}
        }
    }
    // A month's line is a month old when it comes, and the next one as long in coming.
    let of_told = days.get(&(account.team.clone(), account.currency, provider.clone(), told));
    let came = of_told.map_or(Hour(told.saturating_mul(HOURS)).start(), |day| day.billed_at);
    let yesterday = hour.0.div_euclid(HOURS) - 1;
    let is_late = yesterday - told >= LATEST_BILL_DAYS && hour.start().0 - came.0 >= LATEST_BILL_DAYS * DAY_MS;
    match with_teams.last() {
        Some(day) if is_late || with_teams.len() >= LATER_DAYS => Some(Over::HasTeams(*day)),
        None if is_late && !is_waiting => Some(Over::Ends),
        Some(_) | None => None,
    }
}

/// Nobody knows whose it was, and nobody will.
fn no_more_bills(provider: &str, told: i64) -> String {
    let date = Hour(told.saturating_mul(HOURS)).start().to_string();
    let date = date.get(..10).unwrap_or(&date);
    format!(
        "nothing of {} is billed any more after {date}, for {LATEST_BILL_DAYS} days now, so that this alert ends; whose that was is still open",
        who(provider)
    )
}

fn who(provider: &str) -> &str {
    if provider.is_empty() { "a provider without a name" } else { provider }
}

fn is_open(kept: &Untagged) -> bool {
    kept.matter.as_ref().is_some_and(Matter::is_open)
}

/// The largest leaves of one provider.
fn causes(leaves: BTreeMap<LeafDimensions, Nanos>, total: Nanos) -> Vec<Cause> {
    let mut leaves: Vec<(LeafDimensions, Nanos)> = leaves.into_iter().collect();
    leaves.sort_by(|(left_name, left), (right_name, right)| right.cmp(left).then_with(|| left_name.cmp(right_name)));
    let cause = |(dimensions, cost): (LeafDimensions, Nanos)| Cause {
        dimensions: crate::model::leaf::Scope::Leaf(dimensions).dimensions(),
        actual: cost,
        expected: Nanos::ZERO,
        share: (to_units(cost) / to_units(total).max(1e-9)).clamp(0.0, 1.0),
    };
    leaves.into_iter().take(MOST_CAUSES).map(cause).collect()
}

fn judge(
    matters: &mut Matters,
    account: &Account,
    provider: &Text,
    spent: Spent,
    rules: &MissingRules,
    moment: Moment<'_>,
    effects: &mut Vec<Effect>,
) {
    let (total, gate) = (to_units(spent.total), to_units(rules.untagged_per_day));
    let name = (account.clone(), provider.clone());
    let was_open = matters.untagged.get(&name).is_some_and(is_open);
    if gate <= 0.0 || (!was_open && total < gate) {
        return;
    }
    let kept = matters.untagged.entry(name.clone()).or_default();
    let to = spent.to;
    let about: [&[u8]; 4] = [b"untagged", account.measure.as_str().as_bytes(), account.currency.as_str().as_bytes(), provider.as_bytes()];
    let is_over = total < OVER * gate;
    let story = story(account, provider, spent, total >= MUCH * gate, is_over, moment);
    if is_over {
        matter::end(&mut kept.matter, &account.team, AlertState::Resolved, to, story, moment, effects);
    } else {
        let growth = moment.rules.thresholds(&account.team, "", "").update_growth;
        matter::tell(&mut kept.matter, &account.team, &about, story, growth, moment, effects);
    }
    matters.changed.insert(MatterKey::Untagged(name.0, name.1));
}

fn story(account: &Account, provider: &Text, spent: Spent, is_much: bool, is_over: bool, moment: Moment<'_>) -> Story {
    let (total, currency) = (spent.total.rounded(2), account.currency);
    let who = who(provider);
    let when = match account.measure {
        Measure::Estimated | Measure::EstimatedOriginal => "in the last 24 hours".to_string(),
        Measure::Billed | Measure::BilledOriginal => format!("on {}", spent.from.to_string().get(..10).unwrap_or_default()),
    };
    let named = [("provider".to_string(), provider.to_string())];
    Story {
        kind: AlertKind::UntaggedSpend,
        severity: if is_much { Severity::Warning } else { Severity::Info },
        onset: spent.from,
        dimensions: named.into_iter().filter(|(_, value)| !value.is_empty()).collect(),
        measure: account.measure,
        currency,
        event_time: spent.to,
        ingest_time: moment.shard_time,
        actual: spent.total,
        expected: Nanos::ZERO,
        excess: spent.total,
        burn_rate: spent.total.checked_mul_div(1, i128::from(HOURS)).unwrap_or_default(),
        score: 0.8,
        stage: Stage::Seasoned,
        normal: "every event and every line of a bill names a team, or a rule of [[attribution]] does".to_string(),
        summary: if is_over {
            format!("spend at {who} has teams again: {total} {currency} without one {when}")
        } else {
            format!("{total} {currency} at {who} {when} belong to no team: they are in nobody's alerts and budgets")
        },
        causes: spent.causes,
        next_steps: vec![
            "Give it a team: by a tag at its source, or by a rule of [[attribution]] for what it has in common.".to_string(),
            "What was spent before stays without one in estimates; a bill that is delivered again is counted anew.".to_string(),
        ],
        history: Vec::new(),
    }
}
