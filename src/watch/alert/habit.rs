//! What happens every day at that time is no news, however strange it was the first time; who takes much and never did, is.

use super::super::Moment;
use super::super::account::AccountState;
use super::super::baseline::{Channel, LocalHour};
use super::super::detect::runaway::Runaway;
use super::super::judge::{self, Judged};
use super::super::recent::USUAL_HOURS;
use super::super::rules::Thresholds;
use super::super::series::{LeafState, Node, to_units};
use super::super::user_minutes::Leader;
use super::episode::Trigger;
use super::select;
use crate::model::Text;
use crate::model::alert::Stage;
use crate::model::leaf::{Account, Scope};
use crate::model::time::Hour;

/// An hour that took this part of what an hour takes now, a day or two ago at about the same time, makes it a habit.
const AS_MUCH: f64 = 0.7;
const HOURS_PER_DAY: i64 = 24;
/// A nightly job is not on the minute.
const ABOUT: i64 = 1;
/// A user who stands out in a minute runs away who in no hour of the last day took more than so many times what he has taken in this one, ...
const MOST_SO_FAR: f64 = 0.5;
/// ... and takes by now this part of what the whole leaf usually takes in an hour, ...
const LEAST_OF_HOUR: f64 = 0.4;
/// ... and of the money that is worth an alert: within the hour it will be all of it.
const PART_OF_EXCESS: f64 = 0.25;
/// ... while the leaf takes by now this part of an hour more than usual: on a Monday morning whoever works most took nothing on Sunday.
const LEAST_ON_TOP: f64 = 0.25;
/// Where nobody has stood out for a week, that somebody does is news by itself, and so many times are enough, ...
const MOST_WHERE_NEWS: f64 = 2.0;
/// ... while all others take at least this part of what the leaf usually takes in the time, and it takes `LEAST_OF_HOUR` more. Else he has his
/// turn, and does not come on top: who has a leaf to himself stands out as soon as somebody else makes one call.
const LEAST_OF_OTHERS: f64 = 0.5;
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

/// Whether most of what a node takes is taken by a leaf of which that is usual, at this hour of the week or at all: a job that runs every
/// Sunday is known to itself long before the sums above it, which do not learn from hours that were told.
pub(crate) fn is_usual_of_part(state: &AccountState, top: &Judged, hour: Hour, local: LocalHour, limits: &Thresholds) -> bool {
    // What lasts is not seen in one hour of a part.
    if top.verdict.channel != Channel::Bucket {
        return false;
    }
    let is_part = |node: &&Node| node.scope.within(&top.scope) && node.scope != top.scope;
    let mut parts = state.leaves().map(|(_, node, _)| node).filter(is_part);
    parts.any(|node| {
        let actual = to_units(node.hour(hour).cost);
        // Nearly all leaves end here: only one that has most of the money is woken.
        if actual < select::EXPLAINS * top.actual {
            return false;
        }
        let baseline = node.closed.baseline.wake();
        let expectation = baseline.expect(hour, local);
        let is_usual = baseline.of_week(local).is_some_and(|usual| usual >= AS_MUCH * actual) || expectation.upper >= actual;
        let excess_beside = (top.actual - actual) - (top.expectation.expected - expectation.expected).max(0.0);
        expectation.stage == Stage::Seasoned && is_usual && excess_beside < to_units(limits.least_excess)
    })
}

/// An agent in a loop, a leaked key: somebody who is rarely seen stands out beside all others of a minute, and within the hour so far takes
/// what nearly half of the leaf's hour costs. The others are the yardstick: what makes everybody busy makes nobody stand out. So it is
/// seen within minutes, long before the leaf's own sum has left its normal. Where nobody has stood out for a week, it takes less to be rare.
pub(crate) fn runaway_user(state: &AccountState, account: &Account, scope: &Scope, leader: &Leader, moment: Moment<'_>) -> Option<Trigger> {
    let (node, hour) = (state.get(scope)?, leader.minute.hour());
    let leaf = node.leaf()?;
    let totals = leaf.hours.get(hour)?;
    let user = &leader.user;
    let cost = totals.users.iter().find(|known| known.user == *user)?.cost;
    let money = to_units(cost);
    let limits = judge::thresholds(moment.rules, account, scope);
    if money < PART_OF_EXCESS * to_units(limits.least_excess) {
        return None;
    }
    let local = judge::local_hour_of(moment.rules, &account.team, hour);
    let judged = judge::judge(state, account, scope, hour, local, moment.rules)?;
    let expected = judged.expectation.expected;
    let is_known = matches!(judged.expectation.stage, Stage::FirstWeeks | Stage::Seasoned);
    let (all, usual_by_now) = (to_units(totals.cost), judge::elapsed(node, hour) * expected);
    let comes_on_top = all - money >= LEAST_OF_OTHERS * usual_by_now && all >= usual_by_now + LEAST_OF_HOUR * expected;
    let most = if leaf.stood_out.is_news(hour) && comes_on_top { MOST_WHERE_NEWS } else { MOST_SO_FAR };
    let is_rare = most_so_far(leaf, user, hour)? <= most * money;
    let limit = LEAST_OF_HOUR * expected;
    let is_ordinary = all < usual_by_now + LEAST_ON_TOP * expected;
    if !is_known || !is_rare || is_ordinary || money < limit || is_told(state, scope, hour) {
        return None;
    }
    let score = (1.0 - 0.05 * limit / money).clamp(0.0, 1.0);
    let runaway = Runaway { window_minutes: 5, onset: leader.minute, actual: cost, expected: 0.0, limit, score };
    Some(Trigger { at_once: true, ..Trigger::runaway(judged, runaway) })
}

/// Whether an open alert is about a node, other than that it has grown for days or that money has moved.
fn is_told(state: &AccountState, scope: &Scope, hour: Hour) -> bool {
    state.open_rises().any(|episode| select::hides_runaway(episode, hour) && select::is_about(episode, scope))
}

/// The most that a user took in any of the last hours; `None` while too few are known.
fn most_so_far(leaf: &LeafState, user: &Text, hour: Hour) -> Option<f64> {
    let hours = leaf.recent.hours();
    let past: Vec<_> = hours.iter().rev().filter(|(past, _)| *past < hour).take(USUAL_HOURS).collect();
    let costs = past.iter().flat_map(|(_, totals)| &totals.users).filter(|known| known.user == *user).map(|known| to_units(known.cost));
    (past.len() >= LEAST_HOURS).then(|| costs.fold(0.0, f64::max))
}
