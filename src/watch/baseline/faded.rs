//! A discounted sum and its weight: a mean that fades.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Faded {
    pub sum: f32,
    pub weight: f32,
}

impl Faded {
    /// Adds a value, with what was there before reduced to `keep` of itself.
    pub fn add(&mut self, value: f64, keep: f64) {
        self.sum = (f64::from(self.sum) * keep + value) as f32;
        self.weight = (f64::from(self.weight) * keep + 1.0) as f32;
    }

    /// 0 while there is nothing.
    pub fn mean(self) -> f64 {
        if self.weight > 0.0 { f64::from(self.sum) / f64::from(self.weight) } else { 0.0 }
    }

    pub fn is_empty(self) -> bool {
        self.weight <= 0.0
    }
}
