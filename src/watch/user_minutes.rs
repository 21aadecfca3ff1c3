//! Who took what in a leaf's latest minutes, until these are complete: whoever stands out does so beside all others of the minute, in
//! whichever records they came.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::account::AccountState;
use super::places::Place;
use super::series::{Node, to_units};
use super::shard::Shard;
use crate::model::Text;
use crate::model::money::Nanos;
use crate::model::partial::{Partial, UserCost};
use crate::model::time::{Minute, Timestamp};

/// A minute is judged when the watermark has passed it, or when so many later ones have come: a source that holds the watermark is not
/// waited for without end.
const LATER_MINUTES: usize = 5;
/// Whoever takes three quarters of a minute is among so many, with nearly all of it.
const USERS_PER_MINUTE: usize = 16;
/// A user runs away who takes so many times what all others take in the same minute.
const TIMES_OTHERS: f64 = 3.0;

/// What users took in minutes that are still to be judged, oldest first, those of a minute as they came. A part of a leaf's open part.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserMinutes(Vec<UserMinute>);

/// What a user took in one minute, or, without a name, all who are not told apart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct UserMinute {
    minute: Minute,
    user: Text,
    /// Nanos.
    cost: i64,
}

/// Whoever took most in a minute that is complete.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Leader {
    pub minute: Minute,
    pub user: Text,
    cost: Nanos,
    /// What all others took.
    others: Nanos,
}

impl UserMinutes {
    pub fn add(&mut self, partial: &Partial) {
        let named = || partial.users.iter().filter(|user| !user.user.is_empty());
        let from = self.0.partition_point(|known| known.minute < partial.minute);
        let mut until = self.0.partition_point(|known| known.minute <= partial.minute);
        self.0.reserve_exact((named().count() + 1).min((USERS_PER_MINUTE + 1).saturating_sub(until - from)));
        let mut rest = partial.cost.saturating_i64();
        for UserCost { user, cost } in named() {
            let cost = cost.saturating_i64();
            rest = rest.saturating_sub(cost);
            let new = |cost| UserMinute { minute: partial.minute, user: user.clone(), cost };
            let known = &mut self.0[from..until];
            if let Some(known) = known.iter_mut().find(|known| known.user == *user) {
                known.cost = known.cost.saturating_add(cost);
            } else if known.iter().filter(|known| !known.user.is_empty()).count() < USERS_PER_MINUTE {
                self.0.insert(until, new(cost));
                until += 1;
            } else if let Some(smallest) = known.iter_mut().filter(|known| !known.user.is_empty()).min_by(|a, b| by_cost(a, b)) {
                // As much of both goes, so whoever takes most outlasts them, however small the parts are (Misra and Gries, 1982). Who
                // inherits, as users of an hour do, could come to more than the minute has.
                let gone = smallest.cost.min(cost).max(0);
                rest = rest.saturating_add(gone.saturating_mul(2));
                if smallest.cost >= cost {
                    smallest.cost -= gone;
                } else {
                    *smallest = new(cost - gone);
                }
            }
        }
        match self.0[from..until].iter_mut().find(|known| known.user.is_empty()) {
            Some(known) => known.cost = known.cost.saturating_add(rest),
            None if rest != 0 => self.0.insert(until, UserMinute { minute: partial.minute, user: Text::default(), cost: rest }),
            None => {}
        }
    }

    /// Whether a minute is due, whatever the watermark is.
    pub fn is_full(&self) -> bool {
        self.minutes().nth(LATER_MINUTES).is_some()
    }

    /// Takes the minutes that are due. Of each who took most in it, oldest first.
    fn take_due(&mut self, watermark: Option<Timestamp>) -> Vec<Leader> {
        let too_many = self.minutes().count().saturating_sub(LATER_MINUTES);
        let first_to_stay = self.minutes().nth(too_many);
        let is_due =
            |minute: Minute| first_to_stay.is_none_or(|first| minute < first) || watermark.is_some_and(|passed| minute < passed.minute());
        let due = self.0.partition_point(|known| is_due(known.minute));
        if due == 0 {
            return Vec::new();
        }
        let leaders = self.0[..due].chunk_by(|one, next| one.minute == next.minute).filter_map(leader).collect();
        self.0.drain(..due);
        self.0.shrink_to(2 * self.0.len());
        leaders
    }

    fn first(&self) -> Option<Minute> {
        self.0.first().map(|known| known.minute)
    }

    fn minutes(&self) -> impl Iterator<Item = Minute> {
        self.0.chunk_by(|one, next| one.minute == next.minute).filter_map(|minute| minute.first()).map(|known| known.minute)
    }
}

fn by_cost(a: &UserMinute, b: &UserMinute) -> Ordering {
    a.cost.cmp(&b.cost).then_with(|| b.user.cmp(&a.user))
}

fn leader(minute: &[UserMinute]) -> Option<Leader> {
    let most = minute.iter().filter(|known| !known.user.is_empty()).max_by(|a, b| by_cost(a, b))?;
    let all: i128 = minute.iter().map(|known| i128::from(known.cost)).sum();
    let cost = i128::from(most.cost);
    Some(Leader { minute: most.minute, user: most.user.clone(), cost: Nanos(cost), others: Nanos(all - cost) })
}

impl Leader {
    /// Whether that is several times what all others took, if anybody did; most minutes have nobody who stands out.
    fn stands_out(&self) -> bool {
        self.others > Nanos::ZERO && to_units(self.cost) >= TIMES_OTHERS * to_units(self.others)
    }
}

impl Shard {
    /// Adds what users took in a minute.
    pub(super) fn add_user_minutes(&mut self, place: Place, partial: &Partial) {
        self.with_user_minutes(place, |minutes| minutes.add(partial));
    }

    /// Takes a leaf's minutes that are due. Returns who stands out in them.
    pub(super) fn take_user_minutes(&mut self, place: Place, watermark: Option<Timestamp>) -> Vec<Leader> {
        let mut due = self.with_user_minutes(place, |minutes| minutes.take_due(watermark)).unwrap_or_default();
        due.retain(Leader::stands_out);
        due
    }

    /// Takes the minutes that the watermark has passed. Returns who stands out in them.
    pub(super) fn take_passed_minutes(&mut self, watermark: Timestamp) -> Vec<(Place, Leader)> {
        let mut due = Vec::new();
        while let Some(first) = self.waiting.first().copied().filter(|(minute, _)| *minute < watermark.minute()) {
            // Gone before its leaf is asked, which may have gone, too.
            self.waiting.remove(&first);
            let (_, place) = first;
            due.extend(self.take_user_minutes(place, Some(watermark)).into_iter().map(|leader| (place, leader)));
        }
        due
    }

    /// After a restore: lets go of minutes that were judged after their open part was written, and finds the leaves that wait.
    pub(super) fn settle_user_minutes(&mut self) {
        let watermark = self.header.watermarks.watermark();
        self.waiting.clear();
        let ids =
            |(account, state): (u32, &AccountState)| state.ids().iter().map(|node| Place { account, node: *node }).collect::<Vec<_>>();
        let places: Vec<Place> = self.accounts.iter().flat_map(ids).collect();
        for place in places {
            self.take_user_minutes(place, watermark);
            let leaf = self.accounts.get(place.account).and_then(|state| state.node(place.node)).and_then(Node::leaf);
            self.waiting.extend(leaf.and_then(|leaf| leaf.user_minutes.first()).map(|first| (first, place)));
        }
    }

    /// Each leaf that waits stands in `waiting` once, by its first minute.
    fn with_user_minutes<T>(&mut self, place: Place, change: impl FnOnce(&mut UserMinutes) -> T) -> Option<T> {
        let leaf = self.accounts.get_mut(place.account)?.node_mut(place.node).and_then(Node::leaf_mut)?;
        let before = leaf.user_minutes.first();
        let changed = change(&mut leaf.user_minutes);
        let after = leaf.user_minutes.first();
        if before != after {
            before.map(|first| self.waiting.remove(&(first, place)));
            self.waiting.extend(after.map(|first| (first, place)));
        }
        Some(changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::tests::partial;

    fn spent(minute: i64, users: &[(&str, f64)]) -> Partial {
        let users: Vec<UserCost> =
            users.iter().map(|(user, cost)| UserCost { user: (*user).into(), cost: Nanos((cost * 1e9) as i128) }).collect();
        let cost = users.iter().fold(Nanos::ZERO, |sum, user| sum.saturating_add(user.cost));
        Partial { users, cost, ..partial(Minute(minute), "search", "ranker", "", 0.0) }
    }

    fn waiting(partials: &[Partial]) -> UserMinutes {
        let mut waiting = UserMinutes::default();
        partials.iter().for_each(|partial| waiting.add(partial));
        waiting
    }

    fn due(waiting: &mut UserMinutes, watermark: Option<Timestamp>) -> Vec<i64> {
        waiting.take_due(watermark).iter().map(|leader| leader.minute.0).collect()
    }

    #[test]
    fn a_minute_waits_for_the_watermark_or_for_five_later_ones() {
        let mut some = waiting(&[5, 6, 4].map(|minute| spent(minute, &[("ann", 1.0)])));
        assert_eq!(due(&mut some, Some(Minute(5).start().plus_ms(-1))), [] as [i64; 0], "a second may still come");
        assert_eq!(due(&mut some, Some(Minute(5).start())), [4]);
        assert_eq!(due(&mut some, Some(Minute(9).start())), [5, 6]);
        let mut many = waiting(&[9, 7, 8, 10, 11].map(|minute| spent(minute, &[("ann", 1.0)])));
        assert!(!many.is_full());
        many.add(&spent(14, &[("ann", 1.0)]));
        assert!(many.is_full());
        assert_eq!(due(&mut many, None), [7]);
        assert_eq!(many.minutes().map(|minute| minute.0).collect::<Vec<_>>(), [8, 9, 10, 11, 14]);
    }

    #[test]
    fn who_takes_most_is_found_in_whichever_parts_it_came() {
        let split = |others: f64| [spent(5, &[("ann", 4.0), ("bob", 2.0)]), spent(5, &[("", others)]), spent(5, &[("ann", 6.0)])];
        let whole = |others: f64| [spent(5, &[("ann", 10.0), ("bob", 2.0), ("", others)])];
        let leader = |parts: &[Partial]| waiting(parts).take_due(Some(Minute(6).start())).pop();
        for (others, stands_out) in [(1.0, true), (2.0, false)] {
            for found in [leader(&split(others)), leader(&whole(others))] {
                let found = found.expect("somebody is named");
                assert_eq!((found.minute, &*found.user, found.stands_out()), (Minute(5), "ann", stands_out), "others took {others} more");
            }
        }
        assert_eq!(leader(&[spent(5, &[("", 1.0)])]), None);
        assert!(!leader(&[spent(5, &[("ann", 10.0)])]).unwrap().stands_out(), "there is nobody beside");
    }

    /// However small her parts are, and whenever they come.
    #[test]
    fn many_users_do_not_hide_who_takes_most() {
        let others: Vec<Partial> = (0..40).map(|user| spent(5, &[(&format!("u{user}"), 0.2 + f64::from(user) / 100.0)])).collect();
        let eve = vec![spent(5, &[("eve", 0.1)]); 800];
        let after = [others.clone(), eve.clone()].concat();
        let before = [eve.clone(), others.clone()].concat();
        let between: Vec<Partial> = eve.chunks(20).zip(&others).flat_map(|(eve, other)| eve.iter().chain([other])).cloned().collect();
        for parts in [after, before, between] {
            let mut waiting = waiting(&parts);
            assert_eq!(waiting.0.len(), USERS_PER_MINUTE + 1);
            let leaders = waiting.take_due(Some(Minute(6).start()));
            let all = leaders[0].cost.saturating_add(leaders[0].others);
            assert_eq!(all, parts.iter().fold(Nanos::ZERO, |sum, part| sum.saturating_add(part.cost)), "nothing is lost");
            assert!(&*leaders[0].user == "eve" && leaders[0].cost >= Nanos::from_units(78), "{leaders:?}");
            assert!(leaders[0].stands_out(), "{leaders:?}");
        }
    }
}
