//! A hash index: from a hash to the place of an item that is kept elsewhere. Only asked, never walked, so that its order decides nothing.
//! Eight bytes a slot: half of the hash stands beside the place, so that strangers are passed over without a look at what they are.

const EMPTY: u64 = u64::MAX;
const FEWEST: usize = 64;

#[derive(Debug, Default)]
pub struct Slots {
    /// Tag above, item below. A power of two in number, or none.
    slots: Vec<u64>,
    used: usize,
    /// Where the sweep goes on.
    broom: usize,
}

/// 32 well mixed bits of a hash; the upper ones are also where its search begins.
fn tag(hash: u64) -> u64 {
    hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32
}

fn item_of(slot: u64) -> u32 {
    u32::try_from(slot & 0xffff_ffff).unwrap_or(u32::MAX)
}

impl Slots {
    pub fn clear(&mut self) {
        if self.used > 0 {
            self.slots.fill(EMPTY);
            self.used = 0;
        }
    }

    /// The item under `hash` that is the same as what is looked for.
    pub fn find(&self, hash: u64, same: impl Fn(u32) -> bool) -> Option<u32> {
        let tag = tag(hash);
        let (mut at, mask) = self.home(tag)?;
        // An index that grows in time has a free slot, so that this ends.
        loop {
            let slot = self.slots[at];
            if slot == EMPTY {
                return None;
            }
            if slot >> 32 == tag && same(item_of(slot)) {
                return Some(item_of(slot));
            }
            at = (at + 1) & mask;
        }
    }

    /// Looks at where the search for `hash` will begin, for nothing but that its memory is near by then.
    pub fn approach(&self, hash: u64) {
        if let Some((at, _)) = self.home(tag(hash)) {
            std::hint::black_box(self.slots[at]);
        }
    }

    /// Adds an item that is not there yet, below `u32::MAX`.
    pub fn insert(&mut self, hash: u64, item: u32) {
        if (self.used + 1) * 8 > self.slots.len() * 7 {
            self.grow();
        }
        self.put(tag(hash) << 32 | u64::from(item));
        self.used += 1;
    }

    /// Lets the slot of one item stand for another one of the same key.
    pub fn replace(&mut self, hash: u64, item: u32, by: u32) {
        if let Some(at) = self.position(hash, item) {
            self.slots[at] = tag(hash) << 32 | u64::from(by);
        }
    }

    /// Removes an item, if it is here.
    pub fn remove(&mut self, hash: u64, item: u32) {
        if let Some(at) = self.position(hash, item) {
            self.remove_at(at);
        }
    }

    /// Goes over the next `steps` slots and removes the items that are no more. Neighbours in memory: far cheaper than to look for each.
    pub fn sweep(&mut self, steps: usize, is_gone: impl Fn(u32) -> bool) {
        let length = self.slots.len();
        if length == 0 {
            return;
        }
        for _ in 0..steps {
            self.broom &= length - 1;
            let slot = self.slots[self.broom];
            if slot != EMPTY && is_gone(item_of(slot)) {
                // Another one may have moved up to here: it is looked at in the next step.
                self.remove_at(self.broom);
            } else {
                self.broom += 1;
            }
        }
    }

    /// Those behind it move up, so that no search ends early.
    fn remove_at(&mut self, mut hole: usize) {
        let mask = self.slots.len() - 1;
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let next = self.slots[at];
            if next == EMPTY {
                break;
            }
            let Some((home, _)) = self.home(next >> 32) else { break };
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(hole) & mask {
                self.slots[hole] = next;
                hole = at;
            }
        }
        self.slots[hole] = EMPTY;
        self.used -= 1;
    }

    /// Where the search for a tag begins, and the mask that leads around; `None` while there are no slots.
    fn home(&self, tag: u64) -> Option<(usize, usize)> {
        let mask = self.slots.len().checked_sub(1)?;
        let bits = self.slots.len().trailing_zeros().min(32);
        Some((usize::try_from(tag >> (32 - bits)).unwrap_or_default() & mask, mask))
    }

    fn position(&self, hash: u64, item: u32) -> Option<usize> {
        let wanted = tag(hash) << 32 | u64::from(item);
        let (mut at, mask) = self.home(tag(hash))?;
        loop {
            match self.slots[at] {
                EMPTY => return None,
                slot if slot == wanted => return Some(at),
                _ => at = (at + 1) & mask,
            }
        }
    }

    fn put(&mut self, slot: u64) {
        let Some((mut at, mask)) = self.home(slot >> 32) else { return };
        while self.slots[at] != EMPTY {
            at = (at + 1) & mask;
        }
        self.slots[at] = slot;
    }

    fn grow(&mut self) {
        let length = (self.slots.len() * 2).max(FEWEST);
        let old = std::mem::replace(&mut self.slots, vec![EMPTY; length]);
        for slot in old.into_iter().filter(|slot| *slot != EMPTY) {
            self.put(slot);
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
            for step in 0..4_000 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let item = u32::try_from(state >> 33).unwrap() % 300;
                if known.remove(&item).is_some() {
                    slots.remove(hash_of(item), item);
                } else {
                    known.insert(item, ());
                    slots.insert(hash_of(item), item);
                }
                if step % 16 == 0 {
                    let gone = u32::try_from(state >> 50).unwrap() % 300;
                    known.remove(&gone);
                    // Twice around: what moves up behind the broom is met in the second round.
                    slots.sweep(slots.slots.len() * 2, |item| item == gone);
                }
                assert_eq!(slots.used, known.len());
                let probe = u32::try_from(state >> 40).unwrap() % 300;
                assert_eq!(slots.find(hash_of(probe), |item| item == probe).is_some(), known.contains_key(&probe));
            }
        }
    }
}
