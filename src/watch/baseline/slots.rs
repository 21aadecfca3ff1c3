//! What each hour of the day, or of the week, usually takes: one slowly moving centre per slot.

use serde::{Deserialize, Serialize};

use super::packed;

/// `N` = 24 (hours of the day) or 168 (hours of the week, Monday 00:00 first).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slots<const N: usize> {
    /// In money per hour.
    #[serde(with = "packed")]
    centres: [f32; N],
    /// How often each slot was learnt from; stays at 255.
    #[serde(with = "packed")]
    visits: [u8; N],
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
