//! Who took what in a leaf's latest minutes, until these are complete: whoever stands out does so beside all others of the minute, in
//! whichever records they came.

use serde::{Deserialize, Serialize};

use super::places::Place;
use super::series::{Node, to_units};
use super::shard::Shard;
use crate::model::money::Nanos;
use crate::model::partial::{Partial, UserCost};
use crate::model::time::{Minute, Timestamp};

/// A minute is judged when the watermark has passed it, or when so many later ones have come: nobody waits for a source that lags.
const LATER_MINUTES: usize = 3;
/// Whoever takes most of a minute is among so many, however many there are.
const USERS_PER_MINUTE: usize = 16;
/// A user runs away who takes so many times what all others take in the same minute.
const TIMES_OTHERS: f64 = 3.0;

/// Minutes that are still to be judged, oldest first. A part of a leaf's open part.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserMinutes(Vec<UserMinute>);

/// Named users of one minute, as they came.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UserMinute {
    pub minute: Minute,
    users: Vec<UserCost>,
}

impl UserMinutes {
    /// Whether that began a minute.
    pub fn add(&mut self, partial: &Partial) -> bool {
        let mut named = partial.users.iter().filter(|user| !user.user.is_empty()).peekable();
        if named.peek().is_none() {
            return false;
        }
        let at = self.0.partition_point(|known| known.minute < partial.minute);
        let is_new = self.0.get(at).is_none_or(|known| known.minute != partial.minute);
        if is_new {
            self.0.reserve_exact(1);
            self.0.insert(at, UserMinute { minute: partial.minute, users: Vec::new() });
        }
        for user in named {
            self.0[at].add(user);
        }
        is_new
    }

    /// Whether a minute is due, whatever the watermark is.
    pub fn is_full(&self) -> bool {
        self.0.len() > LATER_MINUTES
    }

    /// Takes the minutes that are due, oldest first.
    pub fn take_due(&mut self, watermark: Option<Timestamp>) -> Vec<UserMinute> {
        let passed = watermark.map_or(0, |watermark| self.0.partition_point(|known| known.minute.0 < watermark.minute().0));
        let due: Vec<UserMinute> = self.0.drain(..passed.max(self.0.len().saturating_sub(LATER_MINUTES))).collect();
        if self.0.is_empty() {
            self.0 = Vec::new();
        }
        due
    }

    /// Minutes that wait.
    pub fn minutes(&self) -> impl Iterator<Item = Minute> {
        self.0.iter().map(|known| known.minute)
    }
}

impl UserMinute {
    /// A newcomer to a full table takes the place of the smallest, if it has more.
    fn add(&mut self, user: &UserCost) {
        if let Some(known) = self.users.iter_mut().find(|known| known.user == user.user) {
            known.cost = known.cost.saturating_add(user.cost);
        } else if self.users.len() < USERS_PER_MINUTE {
            self.users.reserve_exact(1);
            self.users.push(user.clone());
        } else if let Some(smallest) = self.users.iter_mut().min_by(|a, b| a.cost.cmp(&b.cost).then_with(|| b.user.cmp(&a.user)))
            && smallest.cost < user.cost
        {
            *smallest = user.clone();
        }
    }

    /// The user who takes several times what all others take; most minutes have none. `all`: what the leaf cost in this minute.
    pub fn dominant(&self, all: Nanos) -> Option<&UserCost> {
        let largest = self.users.iter().max_by(|a, b| a.cost.cmp(&b.cost).then_with(|| b.user.cmp(&a.user)))?;
        let others = to_units(all.saturating_sub(largest.cost));
        (others > 0.0 && to_units(largest.cost) >= TIMES_OTHERS * others).then_some(largest)
    }
}

impl Shard {
    /// Takes a leaf's minutes of users that are due.
    pub(super) fn take_user_minutes(&mut self, place: Place, watermark: Option<Timestamp>) -> Vec<UserMinute> {
        let node = self.accounts.get_mut(place.account).and_then(|state| state.node_mut(place.node));
        node.and_then(Node::leaf_mut).map_or_else(Vec::new, |leaf| leaf.user_minutes.take_due(watermark))
    }

    /// Leaves with a minute of users that the watermark has passed.
    pub(super) fn take_passed_minutes(&mut self, watermark: Timestamp) -> Vec<Place> {
        let waiting = self.user_minutes.split_off(&watermark.minute());
        std::mem::replace(&mut self.user_minutes, waiting).into_values().flatten().collect()
    }

    /// After a restore: what an open part says of minutes that were judged after it was written, and which leaf waits for what.
    pub(super) fn forget_judged_minutes(&mut self) {
        let watermark = self.header.watermarks.watermark();
        self.user_minutes.clear();
        for (account, state) in self.accounts.iter_mut() {
            for node in state.ids().to_vec() {
                let Some(leaf) = state.node_mut(node).and_then(Node::leaf_mut) else { continue };
                leaf.user_minutes.take_due(watermark);
                for minute in leaf.user_minutes.minutes() {
                    self.user_minutes.entry(minute).or_default().push(Place { account, node });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::tests::partial;

    fn spent(minute: i64, users: &[(&str, f64)]) -> Partial {
        let users: Vec<UserCost> =
            users.iter().map(|(user, cost)| UserCost { user: (*user).into(), cost: Nanos((cost * 1e9) as i128) }).collect();
        Partial { users, ..partial(Minute(minute), "search", "ranker", "", 0.0) }
    }

    fn minutes(due: &[UserMinute]) -> Vec<i64> {
        due.iter().map(|minute| minute.minute.0).collect()
    }

    #[test]
    fn a_minute_waits_for_the_watermark_or_for_three_later_ones() {
        let mut waiting = UserMinutes::default();
        assert!(!waiting.add(&spent(5, &[("", 1.0)])), "nobody is named");
        assert!(waiting.add(&spent(5, &[("ann", 1.0)])));
        assert!(!waiting.add(&spent(5, &[("bob", 1.0)])));
        assert_eq!(minutes(&waiting.take_due(Some(Minute(6).start().plus_ms(-1)))), [] as [i64; 0], "a second may still come");
        assert_eq!(minutes(&waiting.take_due(Some(Minute(6).start()))), [5]);
        for minute in [9, 7, 8] {
            waiting.add(&spent(minute, &[("ann", 1.0)]));
        }
        assert!(!waiting.is_full());
        waiting.add(&spent(12, &[("ann", 1.0)]));
        assert!(waiting.is_full());
        assert_eq!(minutes(&waiting.take_due(None)), [7]);
        assert_eq!(waiting.minutes().map(|minute| minute.0).collect::<Vec<_>>(), [8, 9, 12]);
    }

    #[test]
    fn who_takes_most_is_found_in_whichever_parts_it_came() {
        let all = Nanos::from_units(13);
        let split = [spent(5, &[("ann", 4.0), ("bob", 3.0)]), spent(5, &[("ann", 6.0)])];
        for parts in [&split[..], &[spent(5, &[("ann", 10.0), ("bob", 3.0)])]] {
            let mut waiting = UserMinutes::default();
            for part in parts {
                waiting.add(part);
            }
            let due = waiting.take_due(Some(Minute(6).start()));
            assert_eq!(due[0].dominant(all).map(|user| &*user.user), Some("ann"));
            assert_eq!(due[0].dominant(Nanos::from_units(14)), None, "others took more than a third");
            assert_eq!(due[0].dominant(Nanos::from_units(10)), None, "there is nobody beside");
        }
    }

    #[test]
    fn many_small_ones_do_not_push_out_the_large_one() {
        let mut waiting = UserMinutes::default();
        for user in 0..40 {
            waiting.add(&spent(5, &[(&format!("u{user}"), 0.01 + f64::from(user) / 1e4)]));
            waiting.add(&spent(5, &[("ann", 1.0)]));
        }
        let due = waiting.take_due(Some(Minute(6).start()));
        assert_eq!(due[0].users.len(), USERS_PER_MINUTE);
        assert_eq!(due[0].dominant(Nanos::from_units(41)).map(|user| user.cost), Some(Nanos::from_units(40)));
    }
}
