//! What happens every day at that time is no news, however strange it was the first time; and who takes much that never did, is.

use super::super::account::AccountState;
use super::super::detect::runaway::Runaway;
use super::super::judge::{self, Judged};
use super::super::recent::USUAL_HOURS;
use super::super::rules::Thresholds;
use super::super::series::{Node, to_units};
use super::super::{Moment, baseline::LocalHour};
use super::select;
use crate::model::Text;
use crate::model::alert::Stage;
use crate::model::leaf::{Account, Scope};
use crate::model::time::{Hour, Minute};

/// An hour that took this part of what an hour takes now, a day or two ago at about the same time, makes it a habit.
const AS_MUCH: f64 = 0.7;
const HOURS_PER_DAY: i64 = 24;
/// A nightly job is not on the minute.
const ABOUT: i64 = 1;
/// One user took at most this part of it in any hour of the last day, ...
const MOST_SO_FAR: f64 = 1.0 / 3.0;
/// ... and takes now this part of what the whole leaf usually takes in an hour.
const LEAST_OF_HOUR: f64 = 0.5;
/// So many hours have to say who usually takes what.
const LEAST_HOURS: usize = 12;

/// Whether a node took about as much a day or two ago at the same time.
pub(crate) fn is_habit(state: &AccountState, scope: &Scope, hour: Hour, money: f64) -> bool {
    let is_then = |then: Hour| {
        let days = (hour.0 - then.0 + ABOUT).div_euclid(HOURS_PER_DAY);
        days >= 1 && (hour.0 - then.0 - days * HOURS_PER_DAY).abs() <= ABOUT
    };
    let points = state.get(scope).into_iter().flat_map(|node| node.closed.history.points());
    points.filter(|point| is_then(point.hour)).any(|point| f64::from(point.actual) >= AS_MUCH * money)
}

/// A user who takes within an open hour as much as half of the leaf in an hour, and never took a third of that: an agent in a loop, a
/// leaked key. Seen long before the leaf's own sum leaves its normal.
pub(crate) fn heavy_users(
    state: &AccountState,
    account: &Account,
    hour: Hour,
    local: LocalHour,
    touched: &[Scope],
    moment: Moment<'_>,
) -> Vec<(Scope, Judged, Runaway)> {
    let mut found = Vec::new();
    for scope in touched {
        let Some(node) = state.get(scope) else { continue };
        let limits = judge::thresholds(moment.rules, account, scope);
        let Some((user, money)) = largest_user(node, hour, limits) else { continue };
        let Some(judged) = judge::judge(state, account, scope, hour, local, moment.rules) else { continue };
        let expected = judged.expectation.expected;
        let is_known = matches!(judged.expectation.stage, Stage::FirstWeeks | Stage::Seasoned);
        if !is_known || money < LEAST_OF_HOUR * expected || most_so_far(node, &user, hour).is_none_or(|most| most > MOST_SO_FAR * money) {
            continue;
        }
        if is_habit(state, scope, hour, judged.actual) || state.open_episodes().any(|episode| select::is_about(episode, scope)) {
            continue;
        }
        let newest = node.minutes.as_ref().map_or(hour.start().minute(), |minutes| minutes.newest());
        let onset = Minute(newest.0 - 4).max(hour.start().minute());
        let limit = LEAST_OF_HOUR * expected;
        let score = (1.0 - 0.05 * limit / money).clamp(0.0, 1.0);
        let runaway = Runaway { window_minutes: 5, onset, actual: super::super::series::from_units(money), expected: 0.0, limit, score };
        found.push((scope.clone(), judged, runaway));
    }
    found
}

/// Who took most in this hour, if it is worth an alert.
fn largest_user(node: &Node, hour: Hour, limits: &Thresholds) -> Option<(Text, f64)> {
    let totals = node.leaf()?.hours.get(hour)?;
    let largest = totals.users.iter().filter(|user| !user.user.is_empty()).max_by(|a, b| a.cost.cmp(&b.cost).then(b.user.cmp(&a.user)))?;
    (largest.cost >= limits.least_excess).then(|| (largest.user.clone(), to_units(largest.cost)))
}

/// The most that a user took in any of the last hours; `None` while too few are known.
fn most_so_far(node: &Node, user: &Text, hour: Hour) -> Option<f64> {
    let hours = node.leaf()?.recent.hours();
    let past: Vec<_> = hours.iter().rev().filter(|(past, _)| *past < hour).take(USUAL_HOURS).collect();
    let costs = past.iter().flat_map(|(_, totals)| &totals.users).filter(|known| known.user == *user).map(|known| to_units(known.cost));
    (past.len() >= LEAST_HOURS).then(|| costs.fold(0.0, f64::max))
}
