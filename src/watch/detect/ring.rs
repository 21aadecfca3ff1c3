//! Sums of a series' last minutes, in as few bytes as the largest of them needs.

use serde::{Deserialize, Serialize};

use crate::model::money::Nanos;
use crate::model::time::{Hour, Minute};
use crate::watch::baseline::packed;

pub const MINUTES: usize = 60;

/// Sums of the last 60 minutes in which the series took anything. Whole nanos, so that adding leaves up again in any order gives
/// the parent's very ring.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(into = "Plain", from = "Plain")]
pub struct MinuteRing {
    /// The first minute ever added, or the oldest that is kept.
    first: Minute,
    /// The latest minute added.
    newest: Minute,
    /// Nanos, little endian, at (minute) modulo 60; all of the same width, from none for zeros to eight bytes.
    sums: Box<[u8]>,
}

/// As it is written.
#[derive(Serialize, Deserialize)]
struct Plain {
    first: Minute,
    newest: Minute,
    #[serde(with = "packed")]
    sums: [i64; MINUTES],
}

impl MinuteRing {
    /// An empty ring; `first` = the minute of the first usage.
    pub fn new(first: Minute) -> MinuteRing {
        MinuteRing { first, newest: first, sums: Box::default() }
    }

    pub fn first(&self) -> Minute {
        self.first
    }

    pub fn newest(&self) -> Minute {
        self.newest
    }

    /// Adds to a minute; one that is an hour or more behind the newest changes nothing.
    pub fn add(&mut self, minute: Minute, amount: Nanos) {
        self.first = self.first.min(minute);
        self.advance(minute);
        self.add_known(minute, amount.saturating_i64());
    }

    /// To be added up with others.
    pub fn open(&self) -> OpenRing {
        OpenRing { first: self.first, newest: self.newest, sums: self.all() }
    }

    /// The series had its first usage in this hour, whoever is left to tell of it.
    pub fn known_since(&mut self, born: Hour) {
        let last_minute_of_birth = born.end().minute().0.saturating_sub(1);
        if last_minute_of_birth <= self.oldest().0 {
            self.first = self.oldest();
        }
    }

    /// Sum of the `minutes` up to and with `last`.
    pub fn sum(&self, last: Minute, minutes: u32) -> Nanos {
        if last >= self.newest && i64::from(minutes) >= MINUTES as i64 + (last.0 - self.newest.0) {
            return Nanos(self.all().iter().map(|sum| i128::from(*sum)).sum());
        }
        let from = last.0.saturating_sub(i64::from(minutes) - 1).max(self.oldest().0);
        let to = last.0.min(self.newest.0);
        Nanos((from..=to).map(|minute| i128::from(self.at(slot(minute)))).sum())
    }

    fn add_known(&mut self, minute: Minute, amount: i64) {
        if minute.0 > self.newest.0.saturating_sub(MINUTES as i64) && amount != 0 {
            let slot = slot(minute.0);
            self.set(slot, self.at(slot).saturating_add(amount));
        }
    }

    /// Makes `minute` the newest if it is, and clears the slots of the minutes in between.
    fn advance(&mut self, minute: Minute) {
        let cleared_from = self.newest.0.saturating_add(1).max(minute.0.saturating_sub(MINUTES as i64 - 1));
        for cleared in cleared_from..=minute.0 {
            self.set(slot(cleared), 0);
        }
        self.newest = self.newest.max(minute);
        self.first = self.first.max(self.oldest());
    }

    fn oldest(&self) -> Minute {
        Minute(self.newest.0.saturating_sub(MINUTES as i64 - 1))
    }

    fn width(&self) -> usize {
        self.sums.len() / MINUTES
    }

    fn at(&self, slot: usize) -> i64 {
        let width = self.width();
        let Some(bytes) = self.sums.get(slot * width..(slot + 1) * width).filter(|bytes| !bytes.is_empty()) else { return 0 };
        let mut all = [0; 8];
        all[8 - width..].copy_from_slice(bytes);
        // Shifted down with its sign.
        i64::from_le_bytes(all) >> (8 * (8 - width))
    }

    fn set(&mut self, slot: usize, value: i64) {
        let needed = width_of(value);
        if needed > self.width() {
            let mut all = self.all();
            all[slot] = value;
            return self.set_all(&all);
        }
        let width = self.width();
        if let Some(bytes) = self.sums.get_mut(slot * width..(slot + 1) * width) {
            bytes.copy_from_slice(&value.to_le_bytes()[..width]);
        }
    }

    /// All slots.
    fn all(&self) -> [i64; MINUTES] {
        match self.width() {
            0 => [0; MINUTES],
            1 => read_all::<1>(&self.sums),
            2 => read_all::<2>(&self.sums),
            3 => read_all::<3>(&self.sums),
            4 => read_all::<4>(&self.sums),
            5 => read_all::<5>(&self.sums),
            6 => read_all::<6>(&self.sums),
            7 => read_all::<7>(&self.sums),
            _ => read_all::<8>(&self.sums),
        }
    }

    /// As wide as the largest needs, and never narrower than before.
    fn set_all(&mut self, all: &[i64; MINUTES]) {
        // The widest of several is the one of their magnitudes' common bits.
        let bits = all.iter().fold(0, |bits, sum| bits | if *sum < 0 { !*sum } else { *sum });
        let needed = if all.iter().all(|sum| *sum == 0) { 0 } else { width_of(bits).max(1) };
        let width = needed.max(self.width());
        if width != self.width() {
            self.sums = vec![0; width * MINUTES].into();
        }
        for (bytes, sum) in self.sums.chunks_exact_mut(width.max(1)).zip(all) {
            bytes.copy_from_slice(&sum.to_le_bytes()[..width]);
        }
    }
}

/// A ring that takes all the room it may need, so that many can be added up: those of leaves to their parent's.
#[derive(Clone, Debug)]
pub struct OpenRing {
    first: Minute,
    newest: Minute,
    sums: [i64; MINUTES],
}

impl OpenRing {
    pub fn add(&mut self, other: &OpenRing) {
        let newest = self.newest.max(other.newest);
        let oldest = Minute(newest.0.saturating_sub(MINUTES as i64 - 1));
        for cleared in self.newest.0.saturating_add(1).max(oldest.0)..=newest.0 {
            self.sums[slot(cleared)] = 0;
        }
        self.first = self.first.min(other.first).max(oldest);
        self.newest = newest;
        // What is an hour and more behind the newest minute is over; of the other's 60 the oldest are.
        for minute in oldest.0.max(other.newest.0.saturating_sub(MINUTES as i64 - 1))..=other.newest.0 {
            let slot = slot(minute);
            self.sums[slot] = self.sums[slot].saturating_add(other.sums[slot]);
        }
    }

    pub fn pack(&self) -> MinuteRing {
        let mut ring = MinuteRing { first: self.first, newest: self.newest, sums: Box::default() };
        ring.set_all(&self.sums);
        ring
    }
}

fn read_all<const WIDTH: usize>(bytes: &[u8]) -> [i64; MINUTES] {
    let mut all = [0; MINUTES];
    for (sum, own) in all.iter_mut().zip(bytes.as_chunks::<WIDTH>().0) {
        let mut eight = [0; 8];
        eight[8 - WIDTH..].copy_from_slice(own);
        // Shifted down with its sign.
        *sum = i64::from_le_bytes(eight) >> (8 * (8 - WIDTH));
    }
    all
}

/// Bytes that hold a value and its sign.
fn width_of(value: i64) -> usize {
    let magnitude = if value < 0 { !value } else { value };
    if value == 0 { 0 } else { (64 - magnitude.leading_zeros() as usize) / 8 + 1 }
}

fn slot(minute: i64) -> usize {
    minute.rem_euclid(MINUTES as i64) as usize
}

/// However wide: the same sums are the same ring.
impl PartialEq for MinuteRing {
    fn eq(&self, other: &MinuteRing) -> bool {
        (self.first, self.newest) == (other.first, other.newest) && self.all() == other.all()
    }
}

impl From<MinuteRing> for Plain {
    fn from(ring: MinuteRing) -> Plain {
        Plain { first: ring.first, newest: ring.newest, sums: ring.all() }
    }
}

impl From<Plain> for MinuteRing {
    fn from(plain: Plain) -> MinuteRing {
        let mut ring = MinuteRing { first: plain.first, newest: plain.newest, sums: Box::default() };
        ring.set_all(&plain.sums);
        ring
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn adding_leaves_up_again_gives_the_parents_ring(adds in prop::collection::vec((0_usize..3, 0_i64..200, -5_i128..1_000_000_000_000), 1..60)) {
            let first = Minute(adds[0].1);
            let mut parent = MinuteRing::new(first);
            let mut leaves: Vec<Option<MinuteRing>> = vec![None; 3];
            for (leaf, minute, amount) in &adds {
                parent.add(Minute(*minute), Nanos(*amount));
                leaves[*leaf].get_or_insert_with(|| MinuteRing::new(Minute(*minute))).add(Minute(*minute), Nanos(*amount));
            }
            for order in [[0, 1, 2], [2, 0, 1]] {
                let mut sum: Option<OpenRing> = None;
                for leaf in order.into_iter().filter_map(|leaf| leaves[leaf].as_ref()) {
                    sum.get_or_insert_with(|| MinuteRing::new(leaf.first).open()).add(&leaf.open());
                }
                let sum = sum.map(|sum| sum.pack());
                prop_assert_eq!(sum.as_ref(), Some(&parent));
            }
            let bytes = postcard::to_stdvec(&parent).unwrap();
            prop_assert_eq!(postcard::from_bytes::<MinuteRing>(&bytes).unwrap(), parent);
        }

        #[test]
        fn any_amount_is_kept_to_the_nano(amounts in prop::collection::vec(prop_oneof![any::<i64>(), -70_000_i64..70_000], 1..60)) {
            let mut ring = MinuteRing::new(Minute(0));
            for (minute, amount) in (0..).zip(&amounts) {
                ring.add(Minute(minute), Nanos(i128::from(*amount)));
            }
            for (minute, amount) in (0..).zip(&amounts) {
                prop_assert_eq!(ring.sum(Minute(minute), 1), Nanos(i128::from(*amount)));
            }
        }

        #[test]
        fn sums_are_those_of_a_plain_list(adds in prop::collection::vec((0_i64..120, 0_i128..1_000), 1..60), window in 1_u32..=60) {
            let mut ring = MinuteRing::new(Minute(0));
            let newest = adds.iter().map(|add| add.0).max().unwrap();
            ring.add(Minute(newest), Nanos::ZERO);
            for (minute, amount) in &adds {
                ring.add(Minute(*minute), Nanos(*amount));
            }
            let wanted: i128 = adds.iter().filter(|add| add.0 > newest - i64::from(window)).map(|add| add.1).sum();
            prop_assert_eq!(ring.sum(Minute(newest), window), Nanos(wanted));
        }
    }
}
