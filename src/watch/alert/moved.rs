//! Moves: one node spends more, another one less by as much, and the team as a whole what it usually does. A re-tag, a renamed project,
//! work that was handed over: worth a line, not a mail.

use super::super::Moment;
use super::super::account::AccountState;
use super::super::baseline::LocalHour;
use super::super::judge::{self, Judged};
use super::super::series::to_units;
use super::episode::Episode;
use crate::model::alert::AlertKind;
use crate::model::leaf::{Account, Scope};
use crate::model::time::{HOUR_MS, Hour};

/// The team's own excess is at most this part of the node's.
const MOST_LEFT: f64 = 0.3;
/// The other node has lost at least this part of what the node has won.
const LEAST_LOST: f64 = 0.6;
/// A node that takes more than so many times what it has won takes more than has moved.
const MOST_MORE: f64 = 1.5;
/// A move is remembered for so long after its end: by then a day has taught what each node takes.
const REMEMBERED_MS: i64 = 48 * HOUR_MS;

/// The node that lost what `won` has won, if it was a move. `elapsed`: the part of the hour that has passed, 0..1.
fn counterpart(
    state: &AccountState,
    account: &Account,
    won: &Judged,
    hour: Hour,
    local: LocalHour,
    elapsed: f64,
    moment: Moment<'_>,
) -> Option<Scope> {
    let excess = won.actual - usual(won).0 * elapsed;
    let judged = |scope: &Scope| judge::judge(state, account, scope, hour, local, moment.rules);
    let team = judged(&Scope::Team).filter(|_| won.scope != Scope::Team)?;
    if excess <= 0.0 || team.verdict.fires || team.actual - usual(&team).1 * elapsed > MOST_LEFT * excess {
        return None;
    }
    let beside = state.nodes().map(|node| &node.scope).filter(|scope| is_beside(scope, &won.scope));
    let lost = beside.filter_map(judged).map(|other| (usual(&other).1 * elapsed - other.actual, other.scope));
    let most = lost.max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)))?;
    (most.0 >= LEAST_LOST * excess).then_some(most.1)
}

/// Whether it was a move: by now, or lately, while the node takes no more than it has won by then and the team as a whole is not abnormal. Who
/// lost need not be found again in each hour.
pub(crate) fn is_move(
    state: &AccountState,
    account: &Account,
    won: &Judged,
    hour: Hour,
    local: LocalHour,
    elapsed: f64,
    moment: Moment<'_>,
) -> bool {
    let is_remembered = |episode: &Episode| {
        episode.kind == AlertKind::SpendMoved
            && episode.scope == won.scope
            && episode.closed_at.is_none_or(|closed| hour.start().0 - closed.0 <= REMEMBERED_MS)
    };
    let moves = state.episodes.values().filter(|episode| is_remembered(episode));
    // The hour itself says nothing of what was won before it.
    let hours = moves.flat_map(|episode| episode.hours.iter()).filter(|(known, _)| **known != hour);
    let largest = hours.map(|(_, part)| to_units(part.actual)).fold(0.0, f64::max);
    let is_no_more = won.actual <= MOST_MORE * largest
        && judge::judge(state, account, &Scope::Team, hour, local, moment.rules).is_some_and(|team| !team.verdict.fires);
    is_no_more || counterpart(state, account, won, hour, local, elapsed, moment).is_some()
}

/// The least and the most that is usual. Forecasts follow a move within hours, up as well as down: the calendar remembers for days.
fn usual(judged: &Judged) -> (f64, f64) {
    let (expected, calendar) = (judged.expectation.expected, judged.expectation.calendar);
    (expected.min(calendar), expected.max(calendar))
}

/// Of the same kind, and another one.
fn is_beside(scope: &Scope, other: &Scope) -> bool {
    std::mem::discriminant(scope) == std::mem::discriminant(other) && scope != other
}
