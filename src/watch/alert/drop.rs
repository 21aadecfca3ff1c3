//! Drops: a team or project that always takes something takes hardly anything for hours. A job that died, a key that expired, usage that
//! is no longer reported, a price that got lost. Nothing burns, so it waits until that is certain, and is told as info.
//!
//! Models and leaves are not looked at: they empty whenever work moves on to others. Forecasts are not asked: they follow a series down
//! within hours. What is usual is what the same hours took the day before.

use super::super::Moment;
use super::super::account::AccountState;
use super::super::baseline::{Channel, LocalHour};
use super::super::history::Point;
use super::super::judge::{self, Judged};
use super::super::series::{Node, from_units, to_units};
use super::episode::{Episode, HourExcess, Trigger};
use super::select;
use crate::model::alert::AlertKind;
use crate::model::leaf::{Account, Scope};
use crate::model::time::Hour;

/// An hour is low that takes at most this part of the mean hour before, and a drop goes on up to the second part, ...
const LOW: f64 = 0.2;
const STILL_LOW: f64 = 0.5;
/// ... but not for longer than this: then so little is usual.
const MOST_HOURS: usize = 24;
/// So many hours in a row have to be low.
const LEAST_HOURS: usize = 4;
/// In so many hours before the drop none was low, and this hour of the week is known not to be: who sleeps at night, or at weekends, does
/// not drop.
const LEAST_BEFORE: usize = 36;
const DAY: usize = 24;

/// The hours of a drop and what they usually take.
struct Fall {
    since: Hour,
    expected: Vec<f64>,
    lacks: f64,
}

/// Nodes that have dropped by now: the team, else its projects.
pub(crate) fn triggers(state: &AccountState, account: &Account, hour: Hour, judged: &[Judged], moment: Moment<'_>) -> Vec<Trigger> {
    let local = judge::local_hour_of(moment.rules, &account.team, hour);
    let mut triggers: Vec<Trigger> = Vec::new();
    // What is converted has left this account, and is spent.
    if moment.rules.rates.is_converted(account.currency, hour.start()) {
        return triggers;
    }
    for judged in judged.iter().filter(|judged| matches!(judged.scope, Scope::Team | Scope::Project(_))) {
        // What is told already, and the end of a rise, which is none.
        let is_told = state.episodes.values().any(|episode| !episode.is_held() && select::is_about(episode, &judged.scope));
        let is_wider_told = triggers.iter().any(|wider| judged.scope.within(&wider.judged.scope));
        let limits = judge::thresholds(moment.rules, account, &judged.scope);
        let node = state.get(&judged.scope).filter(|node| !is_told && !is_wider_told && !sleeps(node, local));
        if let Some(fall) = node.and_then(|node| fall(node, judged.actual, hour)).filter(|fall| fall.lacks >= to_units(limits.least_excess))
        {
            let mut judged = judged.clone();
            judged.verdict.channel = Channel::Below;
            judged.verdict.normals[Channel::Below as usize] = fall.expected.first().copied().unwrap_or(0.0);
            judged.verdict.score = (1.0 - 0.05 * judged.actual / judged.expected()).clamp(0.0, 1.0);
            triggers.push(Trigger { since: Some(fall.since), ..Trigger::spike(judged) });
        }
    }
    triggers
}

/// Whether so little is usual at this hour of the week, for all that is known.
fn sleeps(node: &Node, local: LocalHour) -> bool {
    let points: Vec<f64> = node.closed.history.points().map(|point| f64::from(point.actual)).collect();
    let mean = points.iter().sum::<f64>() / points.len().max(1) as f64;
    node.closed.baseline.wake().of_week(local).is_none_or(|usual| usual <= STILL_LOW * mean)
}

/// The drop that an hour stands in, if it is long enough and nothing before it was as low.
fn fall(node: &Node, actual: f64, hour: Hour) -> Option<Fall> {
    let (low, before) = split(node, actual)?;
    let mean = before.iter().map(|point| f64::from(point.actual)).sum::<f64>() / before.len().max(1) as f64;
    if low.len() + 1 < LEAST_HOURS || before.len() < LEAST_BEFORE || before.iter().any(|point| f64::from(point.actual) <= LOW * mean) {
        return None;
    }
    // Newest first: this hour, then those before it.
    let usual = |back: usize| before.get(back + DAY - 1 - low.len()).map_or(mean, |point| f64::from(point.actual));
    let expected: Vec<f64> = (0..=low.len()).map(usual).collect();
    let taken = actual + low.iter().map(|point| f64::from(point.actual)).sum::<f64>();
    let lacks = expected.iter().sum::<f64>() - taken;
    Some(Fall { since: Hour(hour.0 - low.len() as i64), expected, lacks })
}

/// Hours before this one, newest first: the low ones just before it, and the others. Nothing where this one is not low itself.
fn split(node: &Node, actual: f64) -> Option<(Vec<Point>, Vec<Point>)> {
    let mut points: Vec<Point> = node.closed.history.points().collect();
    points.reverse();
    let level = points.iter().map(|point| f64::from(point.actual)).sum::<f64>() / points.len().max(1) as f64;
    if actual > LOW * level || level <= 0.0 {
        return None;
    }
    let before = points.split_off(points.iter().take_while(|point| f64::from(point.actual) <= LOW * level).count());
    Some((points, before))
}

/// Adds what a drop had missed before it was certain.
pub(crate) fn add_earlier_hours(episode: &mut Episode, node: &Node, actual: f64, hour: Hour) {
    let (Some(fall), Some((low, _))) = (fall(node, actual, hour), split(node, actual)) else { return };
    for (point, expected) in low.iter().zip(fall.expected.iter().skip(1)) {
        let part = HourExcess { actual: from_units(f64::from(point.actual)), expected: from_units(*expected), provisional: false };
        episode.hours.insert(point.hour, part);
    }
}

/// What an hour of a drop would have taken, while it goes on.
pub(crate) fn goes_on(episode: &Episode, judged: &Judged) -> Option<f64> {
    let usual = to_units(episode.expected()) / episode.hours.len().max(1) as f64;
    (episode.hours.len() < MOST_HOURS && judged.actual <= STILL_LOW * usual).then_some(usual)
}

impl Episode {
    /// Of too little.
    pub(crate) fn is_of_fall(&self) -> bool {
        self.kind == AlertKind::SpendDrop
    }
}
