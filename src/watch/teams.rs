//! The teams of a shard: so many and no more. Their names come from events, and who puts request ids where the team belongs would take the
//! memory of all others.

use std::collections::BTreeSet;

use super::rules::WatchRules;
use super::shard::Shard;
use crate::model::Text;
use crate::model::hash::shard_of;
use crate::model::leaf::{Account, Leaf, LeafDimensions};
use crate::model::partial::Partial;

/// Names of the teams that have series or billed hours here.
pub(super) type Teams = BTreeSet<Text>;

/// The amounts of a record, those of teams that there is no room for under the shard's team `(other N)`: each shard has its own, so that what
/// is said of one hour of it is said once. `None`: there is room for all. A record may bring several new teams, so that a shard may end up
/// with a few more. Teams that the config names always have room.
pub(super) fn within_room(shard: &mut Shard, partials: &[Partial], rules: &WatchRules) -> Option<Vec<Partial>> {
    if shard.teams.len() < rules.teams_per_shard {
        return None;
    }
    let teams = &shard.teams;
    let has_room = |team: &Text| teams.contains(team) || is_configured(team, rules);
    if partials.iter().all(|partial| has_room(&partial.leaf.team)) {
        return None;
    }
    let other = name_of(shard.header.shard, shard.header.shard_count);
    let mut placed = partials.to_vec();
    let mut beyond = 0;
    for partial in placed.iter_mut().filter(|partial| !has_room(&partial.leaf.team)) {
        partial.leaf = leaf_of(other.clone(), &partial.leaf);
        beyond += 1;
    }
    shard.header.capped = shard.header.capped.saturating_add(beyond);
    Some(placed)
}

fn is_configured(team: &Text, rules: &WatchRules) -> bool {
    let budgets = rules.matters.budgets.iter().map(|rule| &rule.team);
    let overrides = rules.overrides.iter().filter_map(|rule| rule.team.as_ref());
    rules.teams.iter().map(|rule| &rule.team).chain(budgets).chain(overrides).any(|known| known == team)
}

/// The leaf that an amount was counted in if its team had no room.
pub(super) fn other_leaf(shard: &Shard, leaf: &Leaf) -> Leaf {
    leaf_of(name_of(shard.header.shard, shard.header.shard_count), leaf)
}

fn leaf_of(team: Text, leaf: &Leaf) -> Leaf {
    LeafDimensions::other().leaf_of(&Account { team, ..leaf.account() })
}

/// A name that belongs into this shard, as those of all teams do: what people answer to its alerts finds them.
fn name_of(shard: u32, shard_count: u32) -> Text {
    let mut names = (0_u32..).map(|more| if more == 0 { format!("(other {shard})") } else { format!("(other {shard}.{more})") });
    names.find(|name| shard_of(name, shard_count) == shard % shard_count.max(1)).unwrap_or_default().into()
}

/// Something of a team has gone: if it was the last, the team makes room.
pub(super) fn let_go(shard: &mut Shard, team: &Text) {
    let has_series = shard.accounts.of_team(team).any(|(_, state)| state.len() > 0);
    if !has_series && !shard.matters.billed.keys().any(|(account, _)| account.team == *team) {
        shard.teams.remove(team);
    }
}

pub(super) fn count(shard: &mut Shard) {
    let with_series = shard.accounts.iter().filter(|(_, state)| state.len() > 0).map(|(_, state)| &state.account.team);
    let billed = shard.matters.billed.keys().map(|(account, _)| &account.team);
    shard.teams = with_series.chain(billed).cloned().collect();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_team_of_a_shard_belongs_into_it() {
        for count in [1, 3, 32, 256] {
            for shard in 0..count {
                assert_eq!(shard_of(&name_of(shard, count), count), shard);
            }
        }
    }
}
