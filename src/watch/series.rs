//! What is kept of one series: closed part (baseline, history, recent hours) and open part (hours not yet closed, minutes).

use serde::{Deserialize, Serialize};

use super::account::NodeId;
use super::baseline::Baseline;
use super::baseline::rest::Resting;
use super::detect::ring::MinuteRing;
use super::history::History;
use super::recent::Recent;
use super::stood_out::StoodOut;
use super::user_minutes::UserMinutes;
use super::violation::LeafVerdicts;
use crate::model::alert::{HistoryPoint, Stage};
use crate::model::leaf::{Leaf, Scope};
use crate::model::money::Nanos;
use crate::model::partial::{Partial, UserCost};
use crate::model::rollup::SpendRollup;
use crate::model::time::{Hour, Timestamp};

/// Hours in which late data still amends an hour that is closed.
pub const AMENDABLE_HOURS: i64 = 48;
const USERS_PER_HOUR: usize = 32;
const MOST_COUNTED: u64 = i64::MAX.cast_unsigned();

/// A series: team, project, model (sums of the leaves below) or a leaf.
#[derive(Clone, Debug)]
pub struct Node {
    pub scope: Scope,
    pub closed: NodeClosed,
    pub minutes: Option<MinuteRing>,
    pub grain: Grain,
    /// What is known of an hour that is open. Not a part of the state.
    pub outlook: Option<Outlook>,
    /// Waits to be written with the next transaction. Not a part of the state.
    pub changed: bool,
}

/// Changes only when an hour closes. One changelog key with the leaf's recent hours and who stood out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeClosed {
    pub born: Hour,
    pub baseline: Resting,
    pub history: History,
}

#[derive(Clone, Debug)]
pub enum Grain {
    Sum(Sum),
    Leaf(Box<LeafState>),
}

/// Sums of the leaves below; never stored, re-added on restore.
#[derive(Clone, Debug, Default)]
pub struct Sum {
    pub hours: HourList<NodeHour>,
    /// Leaves below; without any the sum goes too.
    pub leaves: u32,
}

/// What only a leaf has.
#[derive(Clone, Debug)]
pub struct LeafState {
    /// Ids of its sums: team, project, model.
    pub parents: [NodeId; 3],
    /// Offset of the record that created it; what came before it under this name was counted elsewhere.
    pub born_at: i64,
    /// The open part in the changelog holds every record before this offset.
    pub as_of: i64,
    /// Offset of the first record that the changelog's open part lacks.
    pub unsaved_from: Option<i64>,
    /// Hours not closed yet.
    pub hours: HourList<HourTotals>,
    /// Totals of the closed hours that late data may still amend.
    pub recent: Recent,
    /// What its users took in minutes that are not judged yet.
    pub user_minutes: UserMinutes,
    /// Written with the closed part, and changes within an hour.
    pub stood_out: StoodOut,
    /// What policies said of it the last time. Not a part of the state.
    pub(super) verdicts: LeafVerdicts,
}

/// A few hours, oldest first: as good as a map and a fraction of its size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HourList<T>(Vec<(Hour, T)>);

/// What the baseline says of an hour, so that it need not be woken for each amount. Good until the next close or the next rules.
#[derive(Clone, Copy, Debug)]
pub struct Outlook {
    pub hour: Hour,
    /// Made from the last closed hour and the rules' revision.
    pub stamp: u64,
    /// What the series' budget was shared by.
    pub series: f64,
    /// The smallest sum of the hour that fires; infinite where nothing does.
    pub bound: f64,
    pub stage: Stage,
    /// Of the hour, and `Baseline::usual_worst_hour`.
    pub expected: f64,
    pub worst: f64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NodeHour {
    pub cost: Nanos,
    pub has_negative: bool,
    pub last_event_time: Timestamp,
    pub last_ingest_time: Timestamp,
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

    pub fn has_times(&self) -> bool {
        self.last_event_time != Timestamp::default() || self.last_ingest_time != Timestamp::default()
    }

    /// Space-saving: a newcomer to a full table takes the smallest one's place and inherits its sum as the error bound.
    fn add_user(&mut self, user: &UserCost) {
        if let Some(known) = self.users.iter_mut().find(|known| known.user == user.user) {
            known.cost = known.cost.saturating_add(user.cost);
        } else if self.users.len() < USERS_PER_HOUR {
            self.users.reserve_exact(1);
            self.users.push(user.clone());
        } else if let Some(smallest) = self.users.iter_mut().min_by(|a, b| a.cost.cmp(&b.cost).then_with(|| b.user.cmp(&a.user))) {
            smallest.user = user.user.clone();
            smallest.cost = smallest.cost.saturating_add(user.cost);
        }
    }

    /// Roll-up of this hour at its next revision. Counts end at 2^63 - 1: no reader, of Avro or of JSON, takes more.
    pub fn roll_up(&mut self, leaf: &Leaf, hour: Hour) -> SpendRollup {
        self.revision = self.revision.saturating_add(1);
        let counts = [self.events, self.unpriced_events, self.requests].map(|count| count.min(MOST_COUNTED));
        let [events, unpriced_events, requests] = counts;
        let tokens = self.tokens.map(|count| count.min(MOST_COUNTED));
        let [tokens_input, tokens_output, tokens_cached_input, tokens_cache_write, tokens_reasoning] = tokens;
        SpendRollup {
            leaf: leaf.clone(),
            period_start: hour.start(),
            period_end: hour.end(),
            revision: self.revision,
            cost: self.cost,
            quantity: self.quantity,
            events,
            unpriced_events,
            requests,
            tokens_input,
            tokens_output,
            tokens_cached_input,
            tokens_cache_write,
            tokens_reasoning,
        }
    }
}

impl NodeClosed {
    pub fn new(born: Hour) -> NodeClosed {
        NodeClosed { born, baseline: Resting::new(&Baseline::new(born)), history: History::default() }
    }
}

impl Node {
    pub fn new(scope: Scope, born: Hour, grain: Grain) -> Node {
        Node::of(scope, NodeClosed::new(born), grain)
    }

    pub fn of(scope: Scope, closed: NodeClosed, grain: Grain) -> Node {
        Node { scope, closed, minutes: None, grain, outlook: None, changed: false }
    }

    /// Adds to an hour that is not closed yet.
    pub fn add(&mut self, hour: Hour, partial: &Partial) {
        match &mut self.grain {
            Grain::Leaf(leaf) => leaf.hours.or_default(hour).add(partial),
            Grain::Sum(sum) => sum.hours.or_default(hour).add(&NodeHour::of_partial(partial)),
        }
        let minutes = self.minutes.get_or_insert_with(|| MinuteRing::new(partial.minute));
        minutes.add(partial.minute, partial.cost);
        minutes.known_since(self.closed.born);
    }

    /// Adds the open hours of a leaf below, on restore.
    pub fn add_hours(&mut self, leaf: &LeafState) {
        if let Grain::Sum(sum) = &mut self.grain {
            for (hour, totals) in leaf.hours.iter() {
                sum.hours.or_default(*hour).add(&NodeHour::of(totals));
            }
        }
    }

    pub fn leaf(&self) -> Option<&LeafState> {
        match &self.grain {
            Grain::Leaf(leaf) => Some(leaf),
            Grain::Sum(_) => None,
        }
    }

    pub fn leaf_mut(&mut self) -> Option<&mut LeafState> {
        match &mut self.grain {
            Grain::Leaf(leaf) => Some(leaf),
            Grain::Sum(_) => None,
        }
    }

    /// An hour that is open, or closed and still amendable; of a sum that is closed about what it was, to a thousandth.
    pub fn hour(&self, hour: Hour) -> NodeHour {
        match &self.grain {
            Grain::Leaf(leaf) => leaf.hours.get(hour).map(NodeHour::of),
            Grain::Sum(sum) => sum.hours.get(hour).copied(),
        }
        .or_else(|| self.closed_hour(hour))
        .unwrap_or_default()
    }

    fn closed_hour(&self, hour: Hour) -> Option<NodeHour> {
        // Of an hour without usage that is open nothing is read. What began with late amounts has no history yet.
        if self.closed.history.last().is_some_and(|last| hour > last) {
            return None;
        }
        match &self.grain {
            Grain::Leaf(leaf) => leaf.recent.get(hour).as_ref().map(NodeHour::of),
            Grain::Sum(_) => {
                let point = self.closed.history.at(hour)?;
                Some(NodeHour { cost: from_units(f64::from(point.actual)), ..NodeHour::default() })
            }
        }
    }

    /// What is not closed yet, oldest first.
    fn open_hours(&self) -> Vec<(Hour, Nanos)> {
        match &self.grain {
            Grain::Leaf(leaf) => leaf.hours.iter().map(|(hour, totals)| (*hour, totals.cost)).collect(),
            Grain::Sum(sum) => sum.hours.iter().map(|(hour, sum)| (*hour, sum.cost)).collect(),
        }
    }

    /// Closed hours, then the open ones up to `through`, with nothing known about what was normal for those.
    pub fn history(&self, through: Hour) -> Vec<HistoryPoint> {
        let closed = self.closed.history.points().map(|point| HistoryPoint {
            time: point.hour.start(),
            actual: f64::from(point.actual),
            expected: point.band.map(|band| f64::from(band.0)),
            upper: point.band.map(|band| f64::from(band.1)),
        });
        let last = self.closed.history.last();
        let open = self
            .open_hours()
            .into_iter()
            .filter(|(hour, _)| *hour <= through && Some(*hour) > last)
            .map(|(hour, cost)| HistoryPoint { time: hour.start(), actual: to_units(cost), expected: None, upper: None });
        closed.chain(open).collect()
    }
}

/// Caches and what waits to be written do not count.
impl PartialEq for Node {
    fn eq(&self, other: &Node) -> bool {
        let grains = match (&self.grain, &other.grain) {
            (Grain::Sum(own), Grain::Sum(other)) => own.leaves == other.leaves && own.hours == other.hours,
            (Grain::Leaf(own), Grain::Leaf(other)) => {
                (own.born_at, own.as_of, own.unsaved_from) == (other.born_at, other.as_of, other.unsaved_from)
                    && own.hours == other.hours
                    && own.recent == other.recent
                    && own.user_minutes == other.user_minutes
                    && own.stood_out == other.stood_out
            }
            _ => false,
        };
        grains && self.scope == other.scope && self.closed == other.closed && self.minutes == other.minutes
    }
}

impl LeafState {
    /// `born_at`: the offset of the record that creates it; `born`: its first hour.
    pub fn new(parents: [NodeId; 3], born_at: i64, born: Hour) -> LeafState {
        LeafState {
            parents,
            born_at,
            as_of: 0,
            unsaved_from: None,
            hours: HourList::default(),
            recent: Recent::default(),
            user_minutes: UserMinutes::default(),
            stood_out: StoodOut::unknown_before(born),
            verdicts: LeafVerdicts::default(),
        }
    }

    /// Totals of an hour, open or still amendable.
    pub fn totals(&self, hour: Hour) -> Option<HourTotals> {
        self.hours.get(hour).cloned().or_else(|| self.recent.get(hour))
    }
}

impl<T> Default for HourList<T> {
    fn default() -> HourList<T> {
        HourList(Vec::new())
    }
}

impl<T: Default> HourList<T> {
    pub fn get(&self, hour: Hour) -> Option<&T> {
        self.0.iter().find(|(known, _)| *known == hour).map(|(_, value)| value)
    }

    pub fn or_default(&mut self, hour: Hour) -> &mut T {
        let at = self.0.partition_point(|(known, _)| *known < hour);
        if self.0.get(at).is_none_or(|(known, _)| *known != hour) {
            self.0.reserve_exact(1);
            self.0.insert(at, (hour, T::default()));
        }
        &mut self.0[at].1
    }

    pub fn remove(&mut self, hour: Hour) -> Option<T> {
        let at = self.0.iter().position(|(known, _)| *known == hour)?;
        let (_, value) = self.0.remove(at);
        self.0.shrink_to_fit();
        Some(value)
    }

    /// Drops hours up to and with `closed`.
    pub fn drop_through(&mut self, closed: Hour) {
        self.0.retain(|(hour, _)| *hour > closed);
    }

    pub fn first(&self) -> Option<Hour> {
        self.0.first().map(|(hour, _)| *hour)
    }

    pub fn iter(&self) -> std::slice::Iter<'_, (Hour, T)> {
        self.0.iter()
    }
}

impl<T> FromIterator<(Hour, T)> for HourList<T> {
    fn from_iter<I: IntoIterator<Item = (Hour, T)>>(hours: I) -> HourList<T> {
        HourList(hours.into_iter().collect())
    }
}

impl NodeHour {
    fn add(&mut self, part: &NodeHour) {
        self.cost = self.cost.saturating_add(part.cost);
        self.has_negative |= part.has_negative;
        self.last_event_time = self.last_event_time.max(part.last_event_time);
        self.last_ingest_time = self.last_ingest_time.max(part.last_ingest_time);
    }

    fn of_partial(partial: &Partial) -> NodeHour {
        NodeHour {
            cost: partial.cost,
            has_negative: partial.has_negative,
            last_event_time: partial.last_event_time,
            last_ingest_time: partial.last_ingest_time,
        }
    }

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

/// Back from a detector's estimate, rounded to the nano and within what an amount may be; not finite = zero.
pub fn from_units(units: f64) -> Nanos {
    if units.is_finite() { Nanos((units * 1e9) as i128).saturating_add(Nanos::ZERO) } else { Nanos::ZERO }
}
