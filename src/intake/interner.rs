//! Byte strings by number: each is kept once, all of them in one piece of memory, so that ten thousand cost a handful of allocations.

use super::slots::Slots;
use crate::model::ahead;

#[derive(Debug, Default)]
pub struct Interner {
    bytes: Vec<u8>,
    /// Where each ends; it begins where the one before it ends.
    ends: Vec<u32>,
    slots: Slots,
}

impl Interner {
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Of memory, about.
    pub fn bytes(&self) -> usize {
        self.bytes.len() + self.ends.len() * 20
    }

    pub fn find(&self, key: &[u8]) -> Option<usize> {
        self.find_hashed(hash(key), key)
    }

    /// As [`Interner::find`], where the hash is known.
    pub fn find_hashed(&self, hash: u64, key: &[u8]) -> Option<usize> {
        let item = self.slots.find(hash, |item| self.get(item) == Some(key))?;
        usize::try_from(item).ok()
    }

    /// See `Slots::approach`.
    pub fn approach(&self, hash: u64) {
        self.slots.approach(hash);
    }

    /// Behind [`Interner::approach`]: the number that a search for this hash will most likely find, whose end is asked for.
    pub fn approach_end(&self, hash: u64) -> Option<usize> {
        let item = usize::try_from(self.slots.candidate(hash)?).ok()?;
        ahead::ask(self.ends.get(item)?);
        Some(item)
    }

    /// Behind [`Interner::approach_end`]: asks for its bytes.
    pub fn approach_bytes(&self, number: usize) {
        let start = number.checked_sub(1).map_or(Some(0), |before| self.ends.get(before).copied());
        if let Some(first) = start.and_then(|start| self.bytes.get(usize::try_from(start).ok()?)) {
            ahead::ask(first);
        }
    }

    /// Its number, counted from 0. For a key that is not there yet.
    pub fn add(&mut self, key: &[u8]) -> usize {
        let number = self.ends.len();
        self.bytes.extend_from_slice(key);
        let end = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        assert!(end < u32::MAX, "an interner is emptied long before it holds four gigabytes");
        self.ends.push(end);
        let mut slots = std::mem::take(&mut self.slots);
        slots.insert(hash(key), u32::try_from(number).unwrap_or(u32::MAX), |item| self.get(item).map(hash));
        self.slots = slots;
        number
    }

    pub fn clear(&mut self) {
        *self = Interner::default();
    }

    fn get(&self, item: u32) -> Option<&[u8]> {
        let item = usize::try_from(item).ok()?;
        let start = match item.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        self.bytes.get(usize::try_from(start).ok()?..usize::try_from(*self.ends.get(item)?).ok()?)
    }
}

pub fn hash(key: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_number() {
        let mut interner = Interner::default();
        let keys: Vec<Vec<u8>> = (0..500_u32).map(|n| format!("{n}").repeat(usize::try_from(n % 5).unwrap()).into_bytes()).collect();
        for key in &keys {
            if interner.find(key).is_none() {
                let number = interner.add(key);
                assert_eq!(number + 1, interner.len());
            }
        }
        assert_eq!(interner.len(), 401, "every fifth is empty");
        assert!(keys.iter().all(|key| interner.find(key).is_some_and(|number| interner.get(u32::try_from(number).unwrap()) == Some(key))));
        interner.clear();
        assert_eq!((interner.len(), interner.bytes(), interner.find(b"")), (0, 0, None));
    }
}
