//! A hash index: from a hash to the place of an item that is kept elsewhere. Only asked, never walked, so that its order decides nothing.
//! Five bytes a slot: a byte of the hash stands apart, so that strangers are passed over without a look at what they are, and so that the
//! part that is searched is a fifth of the whole and stays in caches.

use crate::model::ahead;

const EMPTY: u8 = 0;
/// Was taken, and searches go on behind it.
const GONE: u8 = 1;
const FEWEST: usize = 64;
/// Slots of a sweep that are looked at before any is removed: a bit for each.
const AT_ONCE: usize = 64;

#[derive(Debug, Default)]
pub struct Slots {
    /// A byte of the hash of each slot's item. A power of two in number, or none.
    tags: Vec<u8>,
    items: Vec<u32>,
    /// Slots that are not empty.
    used: usize,
    /// Where the sweep goes on.
    broom: usize,
}

fn mixed(hash: u64) -> u64 {
    hash.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// From bits that do not decide where the search begins.
fn tag(hash: u64) -> u8 {
    let [.., byte, _, _, _, _] = mixed(hash).to_be_bytes();
    if byte <= GONE { byte + 2 } else { byte }
}

impl Slots {
    pub fn clear(&mut self) {
        if self.used > 0 {
            self.tags.fill(EMPTY);
            self.used = 0;
        }
    }

    /// The item under `hash` that is the same as what is looked for.
    pub fn find(&self, hash: u64, same: impl Fn(u32) -> bool) -> Option<u32> {
        self.position(hash, same).map(|at| self.items[at])
    }

    /// Asks for where the search for `hash` will begin, and where it will most likely be put.
    #[inline]
    pub fn approach(&self, hash: u64) {
        if let Some((at, _)) = self.home(hash) {
            ahead::ask(&self.tags[at]);
            ahead::ask(&self.items[at]);
        }
    }

    /// What `find` will compare first: most likely what it will find.
    #[inline]
    pub fn candidate(&self, hash: u64) -> Option<u32> {
        self.find(hash, |_| true)
    }

    /// Adds an item that is not there yet, below `u32::MAX`. `hash_of` is asked when the index grows; `None` for those that are no more.
    pub fn insert(&mut self, hash: u64, item: u32, hash_of: impl Fn(u32) -> Option<u64>) {
        if (self.used + 1) * 8 > self.tags.len() * 7 {
            self.grow(hash_of);
        }
        self.put(hash, item);
    }

    /// Lets the slot of one item stand for another one of the same key.
    pub fn replace(&mut self, hash: u64, item: u32, by: u32) {
        if let Some(at) = self.position(hash, |found| found == item) {
            self.items[at] = by;
        }
    }

    /// Removes an item, if it is here.
    pub fn remove(&mut self, hash: u64, item: u32) {
        if let Some(at) = self.position(hash, |found| found == item) {
            self.remove_at(at);
        }
    }

    /// Goes over the next `steps` slots and removes the items that are no more. Neighbours in memory: far cheaper than to look for each.
    pub fn sweep(&mut self, steps: usize, is_gone: impl Fn(u32) -> bool) {
        let length = self.tags.len();
        if length == 0 {
            return;
        }
        let mut left = steps;
        while left > 0 {
            let start = self.broom & (length - 1);
            let end = length.min(start + left.min(AT_ONCE));
            (left, self.broom) = (left - (end - start), end);
            let slots = self.tags[start..end].iter().zip(&self.items[start..end]);
            // Without a branch for each of them.
            let mut gone = slots.rev().fold(0_u64, |gone, (tag, item)| gone << 1 | u64::from((*tag > GONE) & is_gone(*item)));
            while gone != 0 {
                self.remove_at(start + gone.trailing_zeros() as usize);
                gone &= gone - 1;
            }
        }
    }

    /// A search that ends at the next slot may as well end here, and at those before that only led to here.
    fn remove_at(&mut self, mut at: usize) {
        let mask = self.tags.len() - 1;
        self.tags[at] = GONE;
        if self.tags[(at + 1) & mask] != EMPTY {
            return;
        }
        while self.tags[at] == GONE {
            self.tags[at] = EMPTY;
            self.used -= 1;
            at = at.wrapping_sub(1) & mask;
        }
    }

    /// Where the search for a hash begins, and the mask that leads around; `None` while there are no slots.
    fn home(&self, hash: u64) -> Option<(usize, usize)> {
        let mask = self.tags.len().checked_sub(1)?;
        let bits = self.tags.len().trailing_zeros().max(1);
        Some((usize::try_from(mixed(hash) >> (64 - bits)).unwrap_or_default() & mask, mask))
    }

    fn position(&self, hash: u64, same: impl Fn(u32) -> bool) -> Option<usize> {
        let tag = tag(hash);
        let (mut at, mask) = self.home(hash)?;
        // An index that grows in time has an empty slot, so that this ends.
        loop {
            let found = self.tags[at];
            if found == EMPTY {
                return None;
            }
            if found == tag && same(self.items[at]) {
                return Some(at);
            }
            at = (at + 1) & mask;
        }
    }

    fn put(&mut self, hash: u64, item: u32) {
        let Some((mut at, mask)) = self.home(hash) else { return };
        while self.tags[at] > GONE {
            at = (at + 1) & mask;
        }
        self.used += usize::from(self.tags[at] == EMPTY);
        self.tags[at] = tag(hash);
        self.items[at] = item;
    }

    /// To twice the size, or to the same where half of it is taken by what is no more.
    fn grow(&mut self, hash_of: impl Fn(u32) -> Option<u64>) {
        let taken = self.tags.iter().zip(&self.items).filter(|(tag, _)| **tag > GONE).map(|(_, item)| *item);
        let live: Vec<(u64, u32)> = in_order(taken.collect()).into_iter().filter_map(|item| Some((hash_of(item)?, item))).collect();
        let length = if live.len() * 2 < self.tags.len() { self.tags.len() } else { (self.tags.len() * 2).max(FEWEST) };
        (self.tags, self.items, self.used) = (vec![EMPTY; length], vec![0; length], 0);
        for some in live.chunks(AT_ONCE) {
            some.iter().for_each(|(hash, _)| self.approach(*hash));
            some.iter().for_each(|(hash, item)| self.put(*hash, *item));
        }
    }
}

/// In the order in which what they stand for lies in memory, unless they are few among many: half a million looks here and there into a
/// window of ids cost more than all else of a larger index.
fn in_order(items: Vec<u32>) -> Vec<u32> {
    let Some((least, most)) = items.iter().copied().min().zip(items.iter().copied().max()) else { return items };
    let word_of = |item: u32| usize::try_from((item - least) / u64::BITS).unwrap_or_default();
    let words = word_of(most) + 1;
    if words > items.len() {
        return items;
    }
    let mut there = vec![0_u64; words];
    items.iter().for_each(|item| there[word_of(*item)] |= 1 << ((item - least) % u64::BITS));
    let mut ordered = Vec::with_capacity(items.len());
    for (mut bits, begin) in there.into_iter().zip((least..).step_by(64)) {
        while bits != 0 {
            ordered.push(begin + bits.trailing_zeros());
            bits &= bits - 1;
        }
    }
    ordered
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Against a map, with hashes so poor that most of them collide.
    #[test]
    fn finds_what_was_put_in_and_not_taken_out() {
        for spread in [1_u64, 7, 1 << 20] {
            let hash_of = |item: u32| u64::from(item) % spread;
            let (mut slots, mut known) = (Slots::default(), BTreeMap::new());
            let mut state = 7_u64;
            for step in 0..4_000 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let item = u32::try_from(state >> 33).unwrap() % 300;
                if known.remove(&item).is_some() {
                    slots.remove(hash_of(item), item);
                } else {
                    known.insert(item, ());
                    slots.insert(hash_of(item), item, |item| Some(hash_of(item)));
                }
                if step % 16 == 0 {
                    let gone = u32::try_from(state >> 50).unwrap() % 300;
                    known.remove(&gone);
                    slots.sweep(slots.tags.len(), |item| item == gone);
                }
                assert_eq!(slots.tags.iter().filter(|tag| **tag > GONE).count(), known.len());
                assert_eq!(slots.tags.iter().filter(|tag| **tag != EMPTY).count(), slots.used);
                let probe = u32::try_from(state >> 40).unwrap() % 300;
                assert_eq!(slots.find(hash_of(probe), |item| item == probe).is_some(), known.contains_key(&probe));
            }
        }
    }
}
