//! Untagged spend: money that no event, tag or rule gives to a team. It is in every total and in nobody's alerts or budgets, so it is told
//! by provider once a day of it is worth a look: estimated from the usage of the last 24 hours, billed from the latest settled day.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::matter::{self, Matter, Story};
use super::super::rules::MissingRules;
use super::super::{MatterKey, Matters};
use crate::model::Text;
use crate::model::alert::{AlertKind, AlertState, Cause, Severity, Stage};
use crate::model::effect::Effect;
use crate::model::leaf::{Account, LeafDimensions, Measure, UNATTRIBUTED};
use crate::model::money::Nanos;
use crate::model::time::{Hour, Timestamp};
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
    let from = Hour(day.saturating_mul(24));
    let spent = Spent { total, from: from.start(), to: Hour(from.0.saturating_add(HOURS)).start(), causes: Vec::new() };
    judge(matters, account, provider, spent, rules, moment, effects);
    if let Some(kept) = matters.untagged.get_mut(&(account.clone(), provider.clone())) {
        kept.day = day;
    }
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
    let who = if provider.is_empty() { "a provider without a name" } else { provider };
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
