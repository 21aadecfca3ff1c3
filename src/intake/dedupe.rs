//! The ids of the last N offsets of one partition. A record is a duplicate iff the same (source, id, redrive attempt) stands at a smaller
//! offset within them; a duplicate stands there too, so that reading the window again from any offset gives the same window.

use std::collections::VecDeque;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed, xxh3_128_with_seed};

use super::slots::Slots;

/// Entries are kept this many offsets longer than they count, so that an aborted batch can be taken back and nothing is missing.
const KEPT_FOR_ROLLBACK: i64 = 100_000;
/// Slots that are swept for each record: forgotten items are gone from the index after an eighth of its size in records.
const SWEPT: usize = 8;
/// Items are numbered in a ring, far larger than any window.
const RING: u32 = 1 << 31;
pub const LARGEST_WINDOW: u64 = 1 << 30;

/// The identity of an event within its partition.
///
/// Source and attempt are a seed and not a part of the text: ids are hashed where they lie. Nothing that is stored depends on it.
pub fn identity(source: &[u8], event_id: &[u8], redrive_attempt: &[u8]) -> u128 {
    let attempt = if redrive_attempt == b"0" { 0 } else { xxh3_64(redrive_attempt) };
    xxh3_128_with_seed(event_id, xxh3_64_with_seed(source, attempt))
}

#[derive(Debug)]
pub struct Window {
    offsets: i64,
    entries: VecDeque<Entry>,
    /// Number of the first entry.
    first: u32,
    /// For each key its latest entry; also some that are forgotten already and not yet swept.
    latest: Slots,
    /// One above the largest offset that was entered.
    next: i64,
}

/// 24 bytes; with its slots 30 to 37.
#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: [u32; 4],
    /// The lowest 32 bits, which are enough within a window.
    offset: u32,
    /// How many entries before this one the same key stood; 0 = nowhere.
    back: u32,
}

impl Entry {
    fn new(identity: u128, offset: i64) -> Entry {
        let hash = [96, 64, 32, 0].map(|shift| low32(identity >> shift));
        Entry { hash, offset: low32(offset.cast_unsigned().into()), back: 0 }
    }

    fn slot_hash(&self) -> u64 {
        let [a, b, c, d] = self.hash;
        u64::from(a ^ c) << 32 | u64::from(b ^ d)
    }
}

impl Window {
    pub fn new(offsets: u64) -> Window {
        let offsets = i64::try_from(offsets.min(LARGEST_WINDOW)).unwrap_or_default();
        Window { offsets, entries: VecDeque::new(), first: 0, latest: Slots::default(), next: 0 }
    }

    /// Says which record will be entered next. The index is larger than any cache, so that the way there takes a while; other work can be
    /// done meanwhile.
    pub fn approach(&self, identity: u128) {
        self.latest.approach(Entry::new(identity, 0).slot_hash());
    }

    /// Enters an accepted record; whether it is a duplicate. Offsets only grow.
    pub fn enter(&mut self, identity: u128, offset: i64) -> bool {
        assert!(offset >= self.next, "offset {offset} after {}: a partition is read in order", self.next - 1);
        self.forget_before(offset.saturating_sub(self.offsets).saturating_sub(KEPT_FOR_ROLLBACK), offset);
        self.next = offset + 1;
        let entry = Entry::new(identity, offset);
        let item = self.item(self.entries.len());
        let (entries, first) = (&self.entries, self.first);
        let entry_of = |item: u32| entries.get(place_of(first, item));
        let known = self.latest.find(entry.slot_hash(), |item| entry_of(item).is_some_and(|known| known.hash == entry.hash));
        self.latest.sweep(SWEPT, |item| place_of(first, item) >= entries.len());
        let Some(known) = known else {
            self.push(entry);
            let (entries, first) = (&self.entries, self.first);
            self.latest.insert(entry.slot_hash(), item, |item| entries.get(place_of(first, item)).map(Entry::slot_hash));
            return false;
        };
        let distance =
            self.entry(known).map_or(i64::MAX, |known| self.offset_of(known, offset).abs_diff(offset).try_into().unwrap_or(i64::MAX));
        self.push(Entry { back: ring_distance(known, item), ..entry });
        self.latest.replace(entry.slot_hash(), known, item);
        distance <= self.offsets
    }

    /// Takes back every record from offset `next` on. False when that is further back than the window remembers: then it has to be read anew.
    pub fn rollback_to(&mut self, next: i64) -> bool {
        let possible = self.next.saturating_sub(next) <= KEPT_FOR_ROLLBACK;
        while let Some(entry) = self.entries.back().copied() {
            if self.offset_of(&entry, self.next) < next {
                break;
            }
            let place = self.entries.len() - 1;
            let item = self.item(place);
            match usize::try_from(entry.back).ok().filter(|back| *back > 0 && *back <= place) {
                Some(back) => {
                    let before = self.item(place - back);
                    self.latest.replace(entry.slot_hash(), item, before);
                }
                None => self.latest.remove(entry.slot_hash(), item),
            }
            self.entries.pop_back();
        }
        self.next = self.next.min(next);
        possible
    }

    fn forget_before(&mut self, oldest: i64, now: i64) {
        while let Some(entry) = self.entries.front().copied() {
            if self.offset_of(&entry, now) >= oldest {
                break;
            }
            self.entries.pop_front();
            self.first = (self.first + 1) % RING;
        }
        if self.entries.is_empty() {
            self.latest.clear();
        }
    }

    /// Room for a whole window and no more: doubling would take up to twice as much.
    fn push(&mut self, entry: Entry) {
        let length = self.entries.len();
        if length == self.entries.capacity() {
            let most = usize::try_from(self.offsets + KEPT_FOR_ROLLBACK).unwrap_or(usize::MAX).saturating_add(1);
            let wanted = if length < most { (length * 2).clamp(64, most) } else { length * 2 };
            self.entries.reserve_exact(wanted.saturating_sub(length).max(1));
        }
        self.entries.push_back(entry);
    }

    fn item(&self, place: usize) -> u32 {
        (self.first + u32::try_from(place).unwrap_or(RING)) % RING
    }

    fn entry(&self, item: u32) -> Option<&Entry> {
        self.entries.get(place_of(self.first, item))
    }

    /// The whole offset of an entry that is not above `now`.
    fn offset_of(&self, entry: &Entry, now: i64) -> i64 {
        now.saturating_sub(i64::from(low32(now.cast_unsigned().into()).wrapping_sub(entry.offset)))
    }
}

fn place_of(first: u32, item: u32) -> usize {
    usize::try_from(ring_distance(first, item)).unwrap_or(usize::MAX)
}

fn ring_distance(from: u32, to: u32) -> u32 {
    to.wrapping_sub(from) % RING
}

#[allow(clippy::cast_possible_truncation, reason = "the lowest bits are what is asked for")]
fn low32(value: u128) -> u32 {
    value as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition itself: all of the partition, searched.
    fn is_duplicate(accepted: &[(u128, i64)], identity: u128, offset: i64, window: i64) -> bool {
        accepted.iter().any(|(known, at)| *known == identity && *at < offset && *at >= offset - window)
    }

    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, sides: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % sides
        }
    }

    #[test]
    fn a_window_does_what_its_definition_says_also_after_rollbacks() {
        for seed in 0..20 {
            let mut dice = Dice(seed);
            let size = 1 + dice.roll(40);
            let window_size = i64::try_from(size).unwrap();
            let mut window = Window::new(size);
            let (mut accepted, mut offset) = (Vec::new(), 0_i64);
            for _ in 0..3_000 {
                if dice.roll(50) == 0 {
                    let back = offset - i64::try_from(dice.roll(30)).unwrap();
                    assert!(window.rollback_to(back));
                    accepted.retain(|(_, at)| *at < back);
                    offset = back.max(0);
                }
                offset += i64::try_from(dice.roll(4) * dice.roll(3)).unwrap();
                let identity = u128::from(dice.roll(25)) * 0x0123_4567_89ab_cdef_0011_2233;
                let expected = is_duplicate(&accepted, identity, offset, window_size);
                assert_eq!(window.enter(identity, offset), expected, "seed {seed}, offset {offset}");
                accepted.push((identity, offset));
                offset += 1;
            }
        }
    }

    /// What is re-read on assignment ([committed - N, committed)) decides the same as what was running.
    #[test]
    fn reading_the_window_again_gives_the_same_verdicts() {
        let mut dice = Dice(3);
        let ids: Vec<u128> = (0..4_000).map(|_| u128::from(dice.roll(600))).collect();
        let (size, restart) = (500, 2_000);
        let mut running = Window::new(size);
        let mut again = Window::new(size);
        for (offset, id) in (0_i64..).zip(&ids) {
            let verdict = running.enter(*id, offset);
            if offset >= restart - 500 {
                let repeated = again.enter(*id, offset);
                assert!(offset < restart || repeated == verdict, "{offset}");
            }
        }
    }

    #[test]
    fn memory_is_bounded_whatever_the_offsets() {
        assert_eq!(std::mem::size_of::<Entry>(), 24);
        let mut window = Window::new(1_000);
        let mut largest = 0;
        for step in 0..400_000_i64 {
            window.enter(u128::from(step.unsigned_abs()) << 40, step + if step > 200_000 { 1 << 40 } else { 0 });
            largest = largest.max(window.entries.len());
        }
        assert!(largest <= 1_001 + 100_000, "{largest}");
    }

    #[test]
    fn numbers_of_items_may_wrap() {
        let mut window = Window::new(10);
        window.first = RING - 5;
        for offset in 0..100 {
            assert_eq!(window.enter(u128::from(offset % 7_u32), offset.into()), offset >= 7, "{offset}");
        }
    }

    #[test]
    fn parts_of_an_identity_do_not_run_into_each_other() {
        assert_ne!(identity(b"ab", b"c", b"0"), identity(b"a", b"bc", b"0"));
        assert_ne!(identity(b"a", b"b", b"0"), identity(b"a", b"b", b"1"));
    }
}
