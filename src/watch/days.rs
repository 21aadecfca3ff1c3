//! Daily totals of a team and its projects, four weeks of them: what slow growth is seen against. A forecast follows a ramp and sees nothing.

use serde::{Deserialize, Serialize};

use super::account::AccountState;
use super::series::Node;
use super::small::{pack, unpack};
use crate::model::leaf::Scope;
use crate::model::time::Hour;

pub(crate) const DAY: usize = 24;
/// Days that are kept.
const MOST_DAYS: usize = 28;
/// An hour counts at most so many times the mean hour of the days before: one spike is no growth.
const MOST_OF_MEAN: f64 = 3.0;
/// So many days say what a mean hour is.
const LEAST_FOR_MEAN: usize = 3;
/// The mean hour of who does not spend around the clock is that of the hours in which he does, of at least so many a day: else each ordinary hour of an
/// office would count as a spike, and its days less and less.
const LEAST_HOURS: usize = 8;

/// Of one account, by team and project, in the order of these: one changelog key, written once a day.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Days(Box<[(Scope, Totals)]>);

/// Money per day, oldest first, without a gap.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Totals {
    /// The first hour that is not in them.
    next: Hour,
    packed: Vec<u16>,
}

impl Days {
    /// Totals of the days that had ended by an hour's beginning, oldest first.
    pub fn until(&self, scope: &Scope, hour: Hour) -> Vec<f64> {
        let Some(totals) = self.get(scope) else { return Vec::new() };
        let beyond = (totals.next.0 - hour.0).max(0) as usize;
        let known = totals.packed.len().saturating_sub(beyond.div_ceil(DAY));
        totals.packed.iter().take(known).map(|packed| f64::from(unpack(*packed))).collect()
    }

    fn get(&self, scope: &Scope) -> Option<&Totals> {
        let at = self.0.binary_search_by(|(known, _)| known.cmp(scope)).ok()?;
        self.0.get(at).map(|(_, totals)| totals)
    }
}

/// Sum of hours, of each as much as counts beside these days.
pub(crate) fn counted(hours: &[f64], days: &[f64]) -> f64 {
    let spent = |amounts: &[f64], least: usize| amounts.iter().filter(|amount| **amount > 0.0).count().max(least) as f64;
    let mean = days.iter().sum::<f64>() / (spent(days, 1) * spent(hours, LEAST_HOURS));
    let most = if days.len() >= LEAST_FOR_MEAN { MOST_OF_MEAN * mean } else { f64::INFINITY };
    hours.iter().map(|hour| hour.min(most)).sum()
}

/// What a node took in the hours up to its last closed one, oldest first.
pub(crate) fn last_hours(node: &Node) -> Vec<f64> {
    node.closed.history.points().map(|point| f64::from(point.actual)).collect()
}

/// Whether a day ends with this hour. Days are those of UTC: what they are compared with may begin at any hour.
pub(crate) fn ends_with(hour: Hour) -> bool {
    hour.next().0.rem_euclid(DAY as i64) == 0
}

/// Adds the day that has ended with an hour, which is closed, of each series that has seen all of it.
pub(crate) fn add(state: &mut AccountState, hour: Hour) {
    let mut days = Vec::new();
    for node in state.nodes().filter(|node| matches!(node.scope, Scope::Team | Scope::Project(_))) {
        let hours = last_hours(node);
        let Some(day) = hours.len().checked_sub(DAY).and_then(|first| hours.get(first..)) else { continue };
        let mut totals =
            state.days.get(&node.scope).filter(|known| known.next == Hour(hour.next().0 - DAY as i64)).cloned().unwrap_or_default();
        let before: Vec<f64> = totals.packed.iter().map(|packed| f64::from(unpack(*packed))).collect();
        totals.packed.push(pack(counted(day, &before) as f32));
        let beyond = totals.packed.len().saturating_sub(MOST_DAYS);
        totals.packed.drain(..beyond);
        totals.next = hour.next();
        days.push((node.scope.clone(), totals));
    }
    state.days = Days(days.into());
}
