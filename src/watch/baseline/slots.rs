//! What each hour of the day, or of the week, usually takes: one slowly moving centre per slot.

use serde::Deserialize;

use super::super::small::{pack, unpack};
use super::packed;

/// `N` = 24 (hours of the day) or 168 (hours of the week, Monday 00:00 first).
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Slots<const N: usize> {
    /// In money per hour.
    #[serde(with = "packed")]
    pub(super) centres: [f32; N],
    /// How often each slot was learnt from; stays at 255.
    #[serde(with = "packed")]
    pub(super) visits: [u8; N],
}

impl<const N: usize> Slots<N> {
    pub fn new() -> Slots<N> {
        Slots { centres: [0.0; N], visits: [0; N] }
    }

    /// The usual value of a slot; `None` before its first visit.
    pub fn get(&self, slot: usize) -> Option<f64> {
        let visits = self.visits.get(slot)?;
        let centre = self.centres.get(slot)?;
        (*visits > 0).then_some(f64::from(*centre))
    }

    pub fn visits(&self, slot: usize) -> u8 {
        self.visits.get(slot).copied().unwrap_or(0)
    }

    /// Moves a slot's centre towards `value`: a plain mean at first, an exponential one (`rate` per visit) later.
    pub fn learn(&mut self, slot: usize, value: f64, rate: f64) {
        let (Some(centre), Some(visits)) = (self.centres.get_mut(slot), self.visits.get_mut(slot)) else { return };
        *visits = visits.saturating_add(1);
        let weight = rate.max(1.0 / f64::from(*visits));
        *centre += (weight * (value - f64::from(*centre))) as f32;
    }
}

pub(super) const WEEK: usize = 168;

/// Hours of the week as [`Slots`], in two bytes and two bits each: their centres move slowly, and after the fourth visit all weights
/// are the same.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct WeekSlots {
    #[serde(with = "packed")]
    pub(super) centres: [u8; 2 * WEEK],
    #[serde(with = "packed")]
    pub(super) visits: [u8; WEEK / 4],
}

impl WeekSlots {
    pub fn new() -> WeekSlots {
        WeekSlots { centres: [0; 2 * WEEK], visits: [0; WEEK / 4] }
    }

    /// The usual value of a slot; `None` before its first visit.
    pub fn get(&self, slot: usize) -> Option<f64> {
        (self.visits(slot) > 0).then(|| f64::from(self.centre(slot)))
    }

    /// Seen three times or more.
    pub fn is_known(&self, slot: usize) -> bool {
        self.visits(slot) >= 3
    }

    /// As [`Slots::learn`], with rates of a quarter and above.
    pub fn learn(&mut self, slot: usize, value: f64, rate: f64) {
        let visits = self.visits(slot) + 1;
        let centre = f64::from(self.centre(slot));
        let weight = rate.max(1.0 / f64::from(visits));
        self.set(slot, (centre + weight * (value - centre)) as f32, visits.min(3));
    }

    pub fn from_slots(slots: &Slots<WEEK>) -> WeekSlots {
        let mut week = WeekSlots::new();
        for (slot, (centre, visits)) in slots.centres.iter().zip(slots.visits).enumerate() {
            week.set(slot, *centre, visits.min(3));
        }
        week
    }

    fn visits(&self, slot: usize) -> u8 {
        self.visits.get(slot / 4).map_or(0, |four| four >> (slot % 4 * 2) & 3)
    }

    fn centre(&self, slot: usize) -> f32 {
        match self.centres.get(2 * slot..2 * slot + 2) {
            Some(&[low, high]) => unpack(u16::from_le_bytes([low, high])),
            _ => 0.0,
        }
    }

    fn set(&mut self, slot: usize, centre: f32, visits: u8) {
        if let Some(bytes) = self.centres.get_mut(2 * slot..2 * slot + 2) {
            bytes.copy_from_slice(&pack(centre).to_le_bytes());
        }
        if let Some(four) = self.visits.get_mut(slot / 4) {
            *four = *four & !(3 << (slot % 4 * 2)) | visits << (slot % 4 * 2);
        }
    }
}
