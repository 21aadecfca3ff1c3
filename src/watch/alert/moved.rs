//! Moves: one node spends more, another one less by as much, and the team as a whole what it usually does. A re-tag, a renamed project,
//! work that was handed over: worth a line, not a mail.

use super::super::Moment;
use super::super::account::AccountState;
use super::super::baseline::LocalHour;
use super::super::judge::{self, Judged};
use crate::model::leaf::{Account, Scope};
use crate::model::time::Hour;

/// The team's own excess is at most this part of the node's.
const MOST_LEFT: f64 = 0.3;
/// The other node has lost at least this part of what the node has won.
const LEAST_LOST: f64 = 0.6;

/// The node that lost what `won` has won, if it was a move. `elapsed`: the part of the hour that has passed, 0..1.
pub(crate) fn counterpart(
    state: &AccountState,
    account: &Account,
    won: &Judged,
    hour: Hour,
    local: LocalHour,
    elapsed: f64,
    moment: Moment<'_>,
) -> Option<Scope> {
    let excess = won.actual - won.expectation.expected * elapsed;
    let judged = |scope: &Scope| judge::judge(state, account, scope, hour, local, moment.rules);
    let team = judged(&Scope::Team).filter(|_| won.scope != Scope::Team)?;
    if excess <= 0.0 || team.verdict.fires || team.actual - team.expectation.expected * elapsed > MOST_LEFT * excess {
        return None;
    }
    let beside = state.nodes().map(|node| &node.scope).filter(|scope| is_beside(scope, &won.scope));
    let lost = beside.filter_map(judged).map(|other| (other.expectation.expected * elapsed - other.actual, other.scope));
    let most = lost.max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)))?;
    (most.0 >= LEAST_LOST * excess).then_some(most.1)
}

/// Of the same kind, and another one.
fn is_beside(scope: &Scope, other: &Scope) -> bool {
    std::mem::discriminant(scope) == std::mem::discriminant(other) && scope != other
}
