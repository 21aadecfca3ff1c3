//! Where a budget of what is billed begins: with what the bill has by then. A bill goes on being restated for weeks, and what is taken back of
//! it is taken from what was counted.

use super::super::{MatterKey, Matters};
use super::span::day_of;
use super::{Budget, BudgetRule, Seen, has_pace};
use crate::model::money::Nanos;
use crate::model::time::{Minute, Timestamp};

/// Begins a budget that has counted nothing yet. False: there is nothing to begin with.
pub(super) fn begin(matters: &mut Matters, rule: &BudgetRule, zone: &jiff::tz::TimeZone, now: Timestamp) -> bool {
    let is_new = matters.budgets.get(&rule.name).is_none_or(|budget| budget.days.is_empty());
    // The teams of a cost centre are spread over shards: nobody sees all of its bill.
    if !is_new || !rule.is_of_bill() || rule.cost_center.is_some() {
        return false;
    }
    let mut known = Budget::default();
    for ((account, leaf), hours) in matters.billed.iter().filter(|((account, _), _)| account.team == rule.team) {
        if !rule.counts(&leaf.leaf_of(account)) {
            continue;
        }
        for (hour, billed) in hours.iter().filter(|(_, billed)| billed.cost != Nanos::ZERO) {
            let (minute, at) = (Minute(hour.0.saturating_mul(60)), hour.start());
            let has_pace = has_pace(&leaf.leaf_of(account));
            let seen = Seen { minute, cost: billed.cost, last_event_time: at, last_ingest_time: at, has_pace };
            known.add(&seen, day_of(at, zone), now);
        }
    }
    if known.days.is_empty() {
        return false;
    }
    let budget = matters.budgets.entry(rule.name.clone()).or_default();
    (budget.days, budget.fees, budget.hours) = (known.days, known.fees, known.hours);
    (budget.last_event_time, budget.last_ingest_time) = (known.last_event_time, known.last_ingest_time);
    matters.changed.insert(MatterKey::Budget(rule.name.clone()));
    true
}
