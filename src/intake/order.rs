//! The leaves in the order of their texts, and the shard of each: kept from one transaction to the next, as few are new in any.

use super::memory::Dimensions;
use crate::model::hash::shard_of;

#[derive(Debug, Default)]
pub struct Order {
    /// Numbers of leaves, by their texts.
    sorted: Vec<u32>,
    /// By number.
    places: Vec<Place>,
    shard_count: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub rank: u32,
    pub shard: u32,
}

impl Order {
    pub fn clear(&mut self) {
        *self = Order::default();
    }

    /// Takes in the leaves that are new.
    pub fn follow(&mut self, leaves: &[Dimensions], shard_count: u32) {
        if self.shard_count != shard_count {
            *self = Order { shard_count, ..Order::default() };
        }
        let known = self.sorted.len();
        if known == leaves.len() {
            return;
        }
        let texts = |leaf: &u32| usize::try_from(*leaf).ok().and_then(|leaf| leaves.get(leaf));
        self.sorted.extend((0..).zip(leaves).skip(known).map(|(leaf, _)| leaf));
        if let Some(new) = self.sorted.get_mut(known..) {
            new.sort_by(|a, b| texts(a).cmp(&texts(b)));
        }
        // Two runs, which a stable sort only merges.
        self.sorted.sort_by(|a, b| texts(a).cmp(&texts(b)));
        let shards = leaves.iter().skip(known).map(|[team, ..]| Place { rank: 0, shard: shard_of(team, shard_count) });
        self.places.extend(shards);
        for (rank, leaf) in (0..).zip(&self.sorted) {
            if let Some(place) = usize::try_from(*leaf).ok().and_then(|leaf| self.places.get_mut(leaf)) {
                place.rank = rank;
            }
        }
    }

    pub fn place(&self, leaf: usize) -> Place {
        self.places.get(leaf).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_that_come_later_stand_where_they_would_have_stood() {
        let leaf = |team: &str, model: &str| -> Dimensions { [team, "", model, "", "", "", "tokens"].map(Into::into) };
        let leaves = [leaf("b", "y"), leaf("a", "z"), leaf("b", "x"), leaf("a", ""), leaf("c", ""), leaf("b", "xx")];
        let (mut at_once, mut step_by_step) = (Order::default(), Order::default());
        at_once.follow(&leaves, 4);
        for count in [1, 3, 3, 6] {
            step_by_step.follow(&leaves[..count], 4);
        }
        let ranks: Vec<u32> = (0..leaves.len()).map(|leaf| at_once.place(leaf).rank).collect();
        assert_eq!(ranks, [4, 1, 2, 0, 5, 3]);
        assert!((0..leaves.len()).all(|leaf| step_by_step.place(leaf) == at_once.place(leaf)));
        assert!((0..leaves.len()).all(|leaf| at_once.place(leaf).shard == shard_of(&leaves[leaf][0], 4)));
        step_by_step.follow(&leaves[..2], 8);
        assert_eq!(step_by_step.place(0), Place { rank: 1, shard: shard_of("b", 8) });
        step_by_step.clear();
        assert_eq!(step_by_step.place(0), Place::default());
    }
}
