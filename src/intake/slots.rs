//! A hash index: from a hash to the place of an item that is kept elsewhere. Only asked, never walked, so that its order decides nothing;
//! four bytes a slot, where a map would hold every key a second time.

const EMPTY: u32 = u32::MAX;
const FEWEST: usize = 64;

#[derive(Debug, Default)]
pub struct Slots {
    /// A power of two in number, or none.
    slots: Vec<u32>,
    used: usize,
}

impl Slots {
    pub fn clear(&mut self) {
        self.slots.fill(EMPTY);
        self.used = 0;
    }

    /// The item under `hash` that is the same as what is looked for.
    pub fn find(&self, hash: u64, same: impl Fn(u32) -> bool) -> Option<u32> {
        self.probe(hash).map(|(_, item)| item).take_while(|item| *item != EMPTY).find(|item| same(*item))
    }

    /// Adds an item that is not there yet, below `u32::MAX`.
    pub fn insert(&mut self, hash: u64, item: u32, hash_of: impl Fn(u32) -> u64) {
        if (self.used + 1) * 8 > self.slots.len() * 7 {
            self.grow(hash_of);
        }
        self.put(hash, item);
        self.used += 1;
    }

    /// Lets the slot of one item stand for another one of the same key.
    pub fn replace(&mut self, hash: u64, item: u32, by: u32) {
        if let Some(at) = self.position(hash, item) {
            self.slots[at] = by;
        }
    }

    /// Removes an item, if it is here; those behind it move up, so that no probe ends early.
    pub fn remove(&mut self, hash: u64, item: u32, hash_of: impl Fn(u32) -> u64) {
        let Some(mut hole) = self.position(hash, item) else { return };
        let mask = self.slots.len() - 1;
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let next = self.slots[at];
            if next == EMPTY {
                break;
            }
            let home = self.home(hash_of(next));
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(hole) & mask {
                self.slots[hole] = next;
                hole = at;
            }
        }
        self.slots[hole] = EMPTY;
        self.used -= 1;
    }

    fn home(&self, hash: u64) -> usize {
        let bits = self.slots.len().trailing_zeros();
        let mixed = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        usize::try_from(mixed >> (64 - bits.max(1))).unwrap_or_default() & (self.slots.len() - 1)
    }

    /// Every slot once, from the hash's own on.
    fn probe(&self, hash: u64) -> impl Iterator<Item = (usize, u32)> + '_ {
        let length = self.slots.len();
        let home = if length == 0 { 0 } else { self.home(hash) };
        (0..length).map(move |step| {
            let at = (home + step) & (length - 1);
            (at, self.slots[at])
        })
    }

    fn position(&self, hash: u64, item: u32) -> Option<usize> {
        self.probe(hash).take_while(|(_, found)| *found != EMPTY).find(|(_, found)| *found == item).map(|(at, _)| at)
    }

    fn put(&mut self, hash: u64, item: u32) {
        let free = self.probe(hash).find(|(_, found)| *found == EMPTY).map(|(at, _)| at);
        assert!(free.is_some(), "an index that grows in time has a free slot");
        if let Some(at) = free {
            self.slots[at] = item;
        }
    }

    fn grow(&mut self, hash_of: impl Fn(u32) -> u64) {
        let length = (self.slots.len() * 2).max(FEWEST);
        let old = std::mem::replace(&mut self.slots, vec![EMPTY; length]);
        for item in old.into_iter().filter(|item| *item != EMPTY) {
            self.put(hash_of(item), item);
        }
    }
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
            for _ in 0..4_000 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let item = u32::try_from(state >> 33).unwrap() % 300;
                if known.remove(&item).is_some() {
                    slots.remove(hash_of(item), item, hash_of);
                } else {
                    known.insert(item, ());
                    slots.insert(hash_of(item), item, hash_of);
                }
                assert_eq!(slots.used, known.len());
                let probe = u32::try_from(state >> 40).unwrap() % 300;
                assert_eq!(slots.find(hash_of(probe), |item| item == probe).is_some(), known.contains_key(&probe));
            }
        }
    }
}
