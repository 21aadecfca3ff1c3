//! What is kept of one series: closed part (baseline, history, recent hours) and open part (hours not yet closed, minutes).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::baseline::Baseline;
use super::detect::runaway::MinuteRing;
use crate::model::alert::HistoryPoint;
use crate::model::leaf::Leaf;
use crate::model::money::Nanos;
use crate::model::partial::{Partial, UserCost};
use crate::model::rollup::SpendRollup;
use crate::model::time::{Hour, Minute, Timestamp};

/// Hours of history that alerts carry for their picture.
pub const HISTORY_HOURS: usize = 48;
/// Hours in which late data still amends an hour that is closed.
pub const AMENDABLE_HOURS: i64 = 48;
const USERS_PER_HOUR: usize = 32;

/// Baseline of a node (team, project, model or leaf) and its sums of hours not yet closed.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub closed: NodeClosed,
    pub open: NodeOpen,
}

/// Changes only when an hour closes: one changelog key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeClosed {
    pub born: Hour,
    pub baseline: Baseline,
    pub history: Vec<PackedPoint>,
}

/// Sums of the leaves below; never stored, re-added on restore.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeOpen {
    pub hours: BTreeMap<Hour, NodeHour>,
    pub minutes: Option<MinuteRing>,
    /// The smallest sum of `hour` that fires, as computed when the shard was closed through `closed_through`.
    pub bound: Option<CachedBound>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CachedBound {
    pub hour: Hour,
    pub closed_through: Option<Hour>,
    pub rules_revision: u64,
    pub bound: Option<f64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NodeHour {
    pub cost: Nanos,
    pub has_negative: bool,
    pub last_event_time: Timestamp,
    pub last_ingest_time: Timestamp,
}

/// One hour of history in 20 bytes or so; NaN never occurs, unknown is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PackedPoint {
    pub hour: Hour,
    pub actual: f32,
    pub band: Option<(f32, f32)>,
}

/// The part of a leaf that only grows by additions: one changelog key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LeafOpen {
    pub hours: BTreeMap<Hour, HourTotals>,
    pub minutes: Option<MinuteRing>,
}

/// The part of a leaf that changes when hours close or are amended: one changelog key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LeafClosed {
    /// Totals of the closed hours that late data may still amend.
    pub recent: BTreeMap<Hour, HourTotals>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct LeafState {
    pub open: LeafOpen,
    pub closed: LeafClosed,
}

/// Everything one leaf used in one hour.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HourTotals {
    pub cost: Nanos,
    pub quantity: Nanos,
    pub events: u64,
    pub unpriced_events: u64,
    pub requests: u64,
    pub tokens: [u64; 5],
    pub has_negative: bool,
    pub last_event_time: Timestamp,
    pub last_ingest_time: Timestamp,
    pub users: Vec<UserCost>,
    /// Revision of the roll-up that was last written for this hour; 0 = none yet.
    pub revision: u32,
}

impl HourTotals {
    pub fn add(&mut self, partial: &Partial) {
        self.cost = self.cost.saturating_add(partial.cost);
        self.quantity = self.quantity.saturating_add(partial.quantity);
        self.events = self.events.saturating_add(partial.events);
        self.unpriced_events = self.unpriced_events.saturating_add(partial.unpriced_events);
        self.requests = self.requests.saturating_add(partial.requests);
        let added = [
            partial.tokens_input,
            partial.tokens_output,
            partial.tokens_cached_input,
            partial.tokens_cache_write,
            partial.tokens_reasoning,
        ];
        for (total, more) in self.tokens.iter_mut().zip(added) {
            *total = total.saturating_add(more);
        }
        self.has_negative |= partial.has_negative;
        self.last_event_time = self.last_event_time.max(partial.last_event_time);
        self.last_ingest_time = self.last_ingest_time.max(partial.last_ingest_time);
        for user in &partial.users {
            self.add_user(user);
        }
    }

    /// Space-saving: a newcomer to a full table takes the smallest one's place and inherits its sum as the error bound.
    fn add_user(&mut self, user: &UserCost) {
        if let Some(known) = self.users.iter_mut().find(|known| known.user == user.user) {
            known.cost = known.cost.saturating_add(user.cost);
        } else if self.users.len() < USERS_PER_HOUR {
            self.users.push(user.clone());
        } else if let Some(smallest) = self.users.iter_mut().min_by(|a, b| a.cost.cmp(&b.cost).then_with(|| b.user.cmp(&a.user))) {
            smallest.user = user.user.clone();
            smallest.cost = smallest.cost.saturating_add(user.cost);
        }
    }

    /// Roll-up of this hour at its next revision.
    pub fn roll_up(&mut self, leaf: &Leaf, hour: Hour) -> SpendRollup {
        self.revision = self.revision.saturating_add(1);
        let [tokens_input, tokens_output, tokens_cached_input, tokens_cache_write, tokens_reasoning] = self.tokens;
        SpendRollup {
            leaf: leaf.clone(),
            period_start: hour.start(),
            period_end: hour.end(),
            revision: self.revision,
            cost: self.cost,
            quantity: self.quantity,
            events: self.events,
            unpriced_events: self.unpriced_events,
            requests: self.requests,
            tokens_input,
            tokens_output,
            tokens_cached_input,
            tokens_cache_write,
            tokens_reasoning,
        }
    }
}

impl Node {
    pub fn new(born: Hour) -> Node {
        Node { closed: NodeClosed { born, baseline: Baseline::new(born), history: Vec::new() }, open: NodeOpen::default() }
    }

    /// Adds to an hour that is not closed yet.
    pub fn add(&mut self, hour: Hour, minute: Minute, part: &NodeHour) {
        let sum = self.open.hours.entry(hour).or_default();
        sum.cost = sum.cost.saturating_add(part.cost);
        sum.has_negative |= part.has_negative;
        sum.last_event_time = sum.last_event_time.max(part.last_event_time);
        sum.last_ingest_time = sum.last_ingest_time.max(part.last_ingest_time);
        self.open.minutes.get_or_insert_with(|| MinuteRing::new(minute)).add(minute, part.cost);
    }

    pub fn remember(&mut self, point: PackedPoint) {
        if self.closed.history.len() >= HISTORY_HOURS {
            self.closed.history.remove(0);
        }
        self.closed.history.push(point);
    }

    pub fn hour(&self, hour: Hour) -> NodeHour {
        self.open.hours.get(&hour).copied().unwrap_or_default()
    }

    /// Closed hours, then the open ones up to `through`, with nothing known about what was normal for those.
    pub fn history(&self, through: Hour) -> Vec<HistoryPoint> {
        let closed = self.closed.history.iter().map(|point| HistoryPoint {
            time: point.hour.start(),
            actual: f64::from(point.actual),
            expected: point.band.map(|band| f64::from(band.0)),
            upper: point.band.map(|band| f64::from(band.1)),
        });
        let last = self.closed.history.last().map(|point| point.hour);
        let open = self.open.hours.range(..=through).filter(|(hour, _)| Some(**hour) > last).map(|(hour, sum)| HistoryPoint {
            time: hour.start(),
            actual: to_units(sum.cost),
            expected: None,
            upper: None,
        });
        closed.chain(open).collect()
    }
}

impl NodeHour {
    pub fn of(totals: &HourTotals) -> NodeHour {
        NodeHour {
            cost: totals.cost,
            has_negative: totals.has_negative,
            last_event_time: totals.last_event_time,
            last_ingest_time: totals.last_ingest_time,
        }
    }
}

/// Money as the detectors see it. Exact to 2^53 nanos (9 million units), and to 15 digits beyond.
pub fn to_units(amount: Nanos) -> f64 {
    amount.0 as f64 / 1e9
}

/// Back from a detector's estimate, rounded to the nano; not finite = zero.
pub fn from_units(units: f64) -> Nanos {
    if units.is_finite() { Nanos((units.clamp(-1e18, 1e18) * 1e9) as i128) } else { Nanos::ZERO }
}
