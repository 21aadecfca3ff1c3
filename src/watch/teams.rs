//! The teams of a shard: so many and no more. Their names come from events, and who puts request ids where the team belongs would take the
//! memory of all others.

use std::collections::BTreeSet;

use super::rules::WatchRules;
use super::shard::Shard;
use crate::model::Text;
use crate::model::leaf::{Account, LeafDimensions};
use crate::model::partial::Partial;
use crate::model::time::Hour;

/// Names of the teams that have series or billed hours here, and of some that had until today.
pub(super) type Teams = BTreeSet<Text>;

/// The amounts of a record, those of teams that there is no room for under the team `(other N)`: each shard has its own, so that what is said
/// of one hour of it is said once. `None`: there is room for all. A record may bring several new teams, so that a shard may end up with a few
/// more. Teams that the config names always have room.
pub(super) fn within_room(shard: &mut Shard, partials: &[Partial], rules: &WatchRules) -> Option<Vec<Partial>> {
    if shard.teams.len() < rules.teams_per_shard {
        return None;
    }
    let teams = &shard.teams;
    let has_room = |team: &Text| teams.contains(team) || rules.teams.iter().any(|rule| rule.team == *team);
    if partials.iter().all(|partial| has_room(&partial.leaf.team)) {
        return None;
    }
    let other: Text = format!("(other {})", shard.header.shard).into();
    let mut placed = partials.to_vec();
    let mut beyond = 0;
    for partial in placed.iter_mut().filter(|partial| !has_room(&partial.leaf.team)) {
        partial.leaf = LeafDimensions::other().leaf_of(&Account { team: other.clone(), ..partial.leaf.account() });
        beyond += 1;
    }
    shard.header.capped = shard.header.capped.saturating_add(beyond);
    Some(placed)
}

/// A day is over: teams of which nothing is left make room.
pub(super) fn forget(shard: &mut Shard, hour: Hour) {
    if hour.0.rem_euclid(24) == 0 {
        count(shard);
    }
}

pub(super) fn count(shard: &mut Shard) {
    let with_series = shard.accounts.iter().filter(|(_, state)| state.len() > 0).map(|(_, state)| &state.account.team);
    let billed = shard.matters.billed.keys().map(|(account, _)| &account.team);
    shard.teams = with_series.chain(billed).cloned().collect();
}
